//! "Did you mean": the known word that is closest to a mistyped one. Uses: nothing.

/// The end of an error message: `; did you mean "x"?`, or nothing if no known word is close.
///
/// The mistyped word itself is not repeated: it may be part of a password.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match closest(word, known) {
        Some(close) => format!("; did you mean \"{close}\"?"),
        None => String::new(),
    }
}

/// The known word that is closest, if about a third of the letters or fewer are wrong.
fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
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
        assert_eq!(did_you_mean("prot", known), "; did you mean \"port\"?");
    }

    #[test]
    fn nothing_is_suggested_when_nothing_is_close() {
        assert_eq!(did_you_mean("hunter2", ["port", "password"]), "");
        assert_eq!(did_you_mean("", ["a", "port"]), "");
        assert_eq!(did_you_mean(&"password".repeat(1000), ["password"]), "");
    }
}
