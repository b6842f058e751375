//! Durations as text: `30s`, `250ms`, `1m30s`. Uses: nothing.

use std::time::Duration;

/// The units, longest first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads whole numbers with their units, the longer unit first: `2h`, `1m30s`, `250ms`.
///
/// `None` if the text is anything else, or too long for 64 bits of milliseconds.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(maypole_sql::parse_duration("1m30s"), Some(Duration::from_secs(90)));
/// assert_eq!(maypole_sql::parse_duration("1.5s"), None);
/// ```
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    loop {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        // The iterator goes on from the unit before, so that no unit comes twice or after a shorter one.
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        if next.is_empty() {
            return Some(Duration::from_millis(total));
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1m30s", 90_000),
            ("1h1m1s1ms", 3_661_001),
            (" 0s ", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "1.5s",
            "5S",
            "5d",
            "30s1m",
            "1m1m",
            "1ms1s",
            "5s6",
            "99999999999999999999s",
            "18446744073709551615h",
            "ä",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9hmsä ]{0,8}") {
            if let Some(duration) = parse_duration(&text) {
                prop_assert!(duration < Duration::from_secs(100_000_000 * 3600));
            }
        }
    }
}
