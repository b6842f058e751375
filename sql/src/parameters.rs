//! Where the named parameters of a text are. Uses: lexer, tokens.

use crate::lexer::Kind;
use crate::tokens::Tokens;

/// The parameters a text seems to have.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Parameters<'s> {
    /// Every `:name`, in order, as often as it stands there.
    pub named: Vec<Use<'s>>,
    /// Where the first `$1`, `$2` … is, in bytes, if there is one.
    pub numbered: Option<usize>,
}

/// One place where a named parameter is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use<'s> {
    /// The name, without the colon.
    pub name: &'s str,
    /// Where the colon is, in bytes.
    pub at: usize,
    /// Whether it is all there is in `IN (:name)`.
    pub sole_in: bool,
    /// Whether that is `NOT IN (:name)`.
    pub negated: bool,
}

/// The parameters of a text, without knowing which names there should be.
///
/// A parameter is a colon directly followed by a name, outside of quotes and comments. `::` and `:=` are no such
/// colons. Inside `[ ]`, a colon that follows a value separates the bounds of a slice: `a[1:n]` is the slice up to
/// column `n`, `a[1 : :n]` up to parameter `n`. `a[:n]` is the element at parameter `n`.
///
/// If a quote is not closed, what comes before it counts.
///
/// ```
/// let found = maypole_sql::parameters("SELECT a[1:2], ':no' FROM t WHERE id IN (:ids) AND b::int = :b");
/// assert_eq!(found.named.iter().map(|used| used.name).collect::<Vec<_>>(), ["ids", "b"]);
/// assert!(found.named[0].sole_in);
/// assert_eq!(found.numbered, None);
/// ```
pub fn parameters(source: &str) -> Parameters<'_> {
    let (tokens, _) = Tokens::of(source);
    let found = colons(&tokens);
    let named = found.into_iter().filter(|colon| !colon.separates).map(|colon| colon.used).collect();
    let numbered = (0..tokens.len()).find(|index| tokens.is(*index, Kind::Numbered));
    Parameters { named, numbered: numbered.and_then(|index| tokens.get(index)).map(|token| token.start) }
}

/// A colon with a name directly behind it.
pub(crate) struct Colon<'s> {
    /// Which token it is.
    pub(crate) index: usize,
    /// What it would be as a parameter.
    pub(crate) used: Use<'s>,
    /// Whether it is between the bounds of a slice, and the name no parameter.
    pub(crate) separates: bool,
    /// Whether it is in the brackets of a subscript.
    pub(crate) in_subscript: bool,
}

/// Whose brackets they are.
#[derive(Clone, Copy, PartialEq)]
enum Bracket {
    Round,
    /// `a[1]`
    Subscript,
    /// `ARRAY[1, 2]`
    Constructor,
}

pub(crate) fn colons<'s>(tokens: &Tokens<'s>) -> Vec<Colon<'s>> {
    let mut found = Vec::new();
    let mut open: Vec<Bracket> = Vec::new();
    // Whether a value has just ended.
    let mut value = false;
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        let mut next = index + 1;
        value = match token.kind {
            Kind::Colon if tokens.is(next, Kind::Word) && tokens.touches_next(index) => {
                let in_subscript = open.last() == Some(&Bracket::Subscript);
                let (sole_in, negated) = in_list(tokens, index);
                let used = Use { name: tokens.text(next), at: token.start, sole_in, negated };
                found.push(Colon { index, used, separates: in_subscript && value, in_subscript });
                next += 1;
                true
            }
            Kind::OpenRound => {
                open.push(Bracket::Round);
                false
            }
            Kind::OpenSquare => {
                open.push(if value { Bracket::Subscript } else { Bracket::Constructor });
                false
            }
            Kind::CloseRound | Kind::CloseSquare => {
                open.pop();
                true
            }
            Kind::Word => !tokens.is_one_of(index, BEFORE_VALUES) || tokens.follows_dot(index),
            Kind::QuotedName | Kind::Text | Kind::Number | Kind::Numbered => true,
            _ => false,
        };
        index = next;
    }
    found
}

/// The keywords that can stand in an expression with a value behind them. They are reserved: no column has such a
/// name without quotes.
const BEFORE_VALUES: &[&str] = &[
    "AND",
    "ARRAY",
    "ASYMMETRIC",
    "BETWEEN",
    "CASE",
    "DISTINCT",
    "ELSE",
    "FROM",
    "ILIKE",
    "IN",
    "IS",
    "LIKE",
    "NOT",
    "OR",
    "SIMILAR",
    "SYMMETRIC",
    "THEN",
    "TO",
    "WHEN",
];

/// Whether the parameter with this colon is all there is in `IN ( )`, and whether that is negated.
fn in_list(tokens: &Tokens<'_>, colon: usize) -> (bool, bool) {
    let Some(keyword) = colon.checked_sub(2) else { return (false, false) };
    let sole_in = tokens.is_word(keyword, "IN")
        && tokens.is(colon - 1, Kind::OpenRound)
        && tokens.is(colon + 2, Kind::CloseRound);
    (sole_in, sole_in && keyword > 0 && tokens.is_word(keyword - 1, "NOT"))
}
