//! "Did you mean": the known word that is closest to a mistyped one. Uses: nothing.

/// The known word that is closest, if about a third of the letters or fewer are wrong.
///
/// Upper and lower case are the same. Two neighbours swapped are one mistake.
///
/// ```
/// use maypole_sql::closest;
///
/// assert_eq!(closest("nmae", ["id", "name"]), Some("name"));
/// assert_eq!(closest("colour", ["id", "name"]), None);
/// ```
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    // Comparing takes time in the product of the lengths; no word of ours is near this length.
    if word.len() > 64 {
        return None;
    }
    let limit = (word.len() / 3).max(1);
    known
        .into_iter()
        .map(|known| (distance(&word, &known.to_lowercase().chars().collect::<Vec<_>>()), known))
        // A word of which nothing is left is not a spelling of it.
        .filter(|(distance, known)| *distance <= limit && *distance < known.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many letters to insert, remove, replace or swap with their neighbour (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(a: &str, b: &str) -> usize {
        distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
    }

    #[test]
    fn a_distance_counts_single_mistakes() {
        assert_eq!(length("port", "port"), 0);
        assert_eq!(length("", "port"), 4);
        assert_eq!(length("pasword", "password"), 1);
        assert_eq!(length("passwrod", "password"), 1, "two neighbours swapped are one mistake");
        assert_eq!(length("sitting", "kitten"), 3);
    }

    #[test]
    fn the_closest_word_is_suggested() {
        let known = ["port", "password", "passfile"];
        assert_eq!(closest("passwrod", known), Some("password"));
        assert_eq!(closest("PORT", known), Some("port"));
        assert_eq!(closest("prot", known), Some("port"));
    }

    #[test]
    fn nothing_is_suggested_when_nothing_is_close() {
        assert_eq!(closest("hunter2", ["port", "password"]), None);
        assert_eq!(closest("", ["a", "port"]), None);
        assert_eq!(closest("x", ["n"]), None, "nothing of the word would be left");
        assert_eq!(closest(&"password".repeat(1000), ["password"]), None);
    }
}
