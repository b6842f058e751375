//! "Did you mean": the known word that is closest to a mistyped one. Uses: nothing.

use maypole_sql::closest;

/// The end of an error message: `; did you mean "x"?`, or nothing if no known word is close.
///
/// The mistyped word itself is not repeated: it may be part of a password.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match closest(word, known) {
        Some(close) => format!("; did you mean \"{close}\"?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
