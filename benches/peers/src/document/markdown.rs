//! Tables in Markdown.

/// Rows of cells under heads; the first columns are text, the others are figures.
pub fn table(texts: usize, heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|", heads.join(" | "));
    for column in 0..heads.len() {
        text += if column < texts { " --- |" } else { " ---: |" };
    }
    text.push('\n');
    for row in rows {
        text += &format!("| {} |\n", row.join(" | "));
    }
    text.push('\n');
    text
}

/// To three digits or so, with commas between thousands.
pub fn figure(figure: Option<f64>) -> String {
    match figure {
        None => "–".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(figure) if figure >= 1_000.0 => with_commas(rounded(figure)),
        Some(figure) if figure >= 100.0 => format!("{figure:.0}"),
        Some(figure) if figure >= 10.0 => format!("{figure:.1}"),
        Some(figure) => format!("{figure:.2}"),
    }
}

/// A number of things.
pub fn count(number: u64) -> String {
    with_commas(number)
}

/// How many times as much the first has.
pub fn times(mine: Option<f64>, theirs: Option<f64>) -> String {
    match (mine, theirs) {
        (Some(mine), Some(theirs)) if theirs > 0.0 && mine / theirs >= 9.95 => {
            format!("{:.0} ×", mine / theirs)
        }
        (Some(mine), Some(theirs)) if theirs > 0.0 && mine / theirs >= 0.995 => {
            format!("{:.1} ×", mine / theirs)
        }
        (Some(mine), Some(theirs)) if theirs > 0.0 => format!("{:.2} ×", mine / theirs),
        _ => "–".to_owned(),
    }
}

/// To three digits.
fn rounded(figure: f64) -> u64 {
    let unit = 10_f64.powf(figure.log10().floor() - 2.0).max(1.0);
    ((figure / unit).round() * unit) as u64
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_long_as_they_are_worth() {
        for (number, text) in [
            (1_234_567.0, "1,230,000"),
            (12_345.0, "12,300"),
            (999.6, "1000"),
            (45.67, "45.7"),
            (0.456, "0.46"),
        ] {
            assert_eq!(figure(Some(number)), text);
        }
        assert_eq!(figure(None), "–");
    }

    #[test]
    fn ratios_say_who_does_more() {
        assert_eq!(times(Some(80.0), Some(8.0)), "10 ×");
        assert_eq!(times(Some(20.0), Some(8.0)), "2.5 ×");
        assert_eq!(times(Some(4.0), Some(8.0)), "0.50 ×");
        assert_eq!(times(Some(4.0), None), "–");
    }
}
