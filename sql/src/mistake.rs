//! Something wrong in a text of SQL. Uses: excerpt.

use std::fmt;

use crate::excerpt::Excerpt;

/// Something wrong in a text of SQL, and where.
///
/// ```
/// let source = "SELECT id FROM customers WHERE name = :nmae";
/// let mistakes = maypole_sql::name_parameters(source, &["name"]).unwrap_err();
/// assert_eq!(
///     mistakes[0].report(source),
///     "unknown parameter :nmae, did you mean :name?\n   \
///      | SELECT id FROM customers WHERE name = :nmae\n   \
///      |                                       ^^^^^"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it begins: bytes of the source text.
    pub at: usize,
    /// How long it is, in bytes. 0 if it stands nowhere in particular, as a parameter that is missing.
    pub length: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Mistake {
    pub(crate) fn new(at: usize, length: usize, message: impl Into<String>) -> Mistake {
        Mistake { at, length, message: message.into() }
    }

    /// The message, and below it the line of the source with carets under the mistake.
    ///
    /// The source has to be the text in which the mistake was found; with another one the carets are elsewhere.
    pub fn report(&self, source: &str) -> String {
        if self.length == 0 {
            return self.message.clone();
        }
        let excerpt = Excerpt::of_bytes(source, self.at..self.at.saturating_add(self.length));
        format!("{}\n{excerpt}", self.message)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}
