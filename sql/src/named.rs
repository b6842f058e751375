//! Named parameters become numbered ones. Uses: closest, foreign, keys, lexer, mistake, parameters,
//! tokens.

use std::collections::HashMap;
use std::ops::Range;

use crate::closest::closest;
use crate::foreign::foreign;
use crate::keys::keys;
use crate::lexer::Kind;
use crate::mistake::Mistake;
use crate::parameters::{Colon, colons};
use crate::tokens::Tokens;

/// A text whose named parameters have become numbered ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What the server is to get.
    pub text: String,
    /// What stands for `$1`, `$2` ….
    pub slots: Vec<Slot>,
    /// Where characters of the text are from; see [`source_character`].
    pub edits: Vec<Edit>,
}

/// What stands for a `$n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The position of its name among those given.
    pub parameter: usize,
    /// Whether it is only compared with NULL. The server can't tell the type of such a parameter.
    pub null_test: bool,
}

/// From the character `sent` of the text on, characters are those of the source from `source` on, up to the next edit.
/// Both count characters from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// A place in the text that is sent.
    pub sent: u32,
    /// The same place in the source.
    pub source: u32,
}

/// Replaces `:name` by `$n`, numbered in the order in which they first appear.
///
/// What is a parameter, [`parameters`](crate::parameters()) tells. Upper and lower case are told apart; a name
/// given as `r#type` is `:type`. All uses of a name share a `$n`, but `:name IS NULL` and `:name IS NOT NULL` have
/// one of their own: the type the server finds for the name elsewhere does not reach it, so that
/// `:name IS NULL OR name = :name` works with every type of column. Nothing else of the text changes; only where
/// `$1` would become part of the word before it, a space is put between.
///
/// ```
/// let named = maypole_sql::name_parameters(
///     "SELECT id FROM customers WHERE :name IS NULL OR name = :name AND age::int4 > :age",
///     &["age", "name"],
/// )
/// .unwrap();
/// assert_eq!(named.text, "SELECT id FROM customers WHERE $1 IS NULL OR name = $2 AND age::int4 > $3");
/// let slots: Vec<_> = named.slots.iter().map(|slot| (slot.parameter, slot.null_test)).collect();
/// assert_eq!(slots, [(1, true), (1, false), (0, false)]);
/// ```
///
/// # Errors
///
/// All mistakes there are: a name in the text that is not among the names, a name that the text does not use, `$1`
/// in the text, a slice that looks as if it had a parameter, a parameter by which rows would be sorted or grouped though
/// it is the same for all (`ORDER BY :column`), a quote or comment without an end.
pub fn name_parameters(source: &str, names: &[&str]) -> Result<Named, Vec<Mistake>> {
    let (tokens, mistake) = Tokens::of(source);
    if let Some(mistake) = mistake {
        return Err(vec![mistake]);
    }
    let names: Vec<&str> = names.iter().map(|name| name.strip_prefix("r#").unwrap_or(name)).collect();
    let colons = colons(&tokens);
    let mistakes = mistakes(&tokens, &colons, &names);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let mut rewriting = Rewriting::new(source);
    let mut numbers: HashMap<Slot, usize> = HashMap::new();
    let mut slots = Vec::new();
    for colon in colons.iter().filter(|colon| !colon.separates) {
        let Some(parameter) = names.iter().position(|name| *name == colon.used.name) else { continue };
        let slot = Slot { parameter, null_test: is_null_test(&tokens, colon.index) };
        let number = *numbers.entry(slot).or_insert_with(|| {
            slots.push(slot);
            slots.len()
        });
        rewriting.replace(place(colon), &format!("${number}"));
    }
    let (text, edits) = rewriting.finish();
    Ok(Named { text, slots, edits })
}

/// Where a character of the sent text stands in the source; both count from 0.
///
/// A character of a `$n` is somewhere in the parameter's name. If something was put before the text, add its length to
/// all `sent` and begin the list with `(length, 0)`.
///
/// ```
/// use maypole_sql::{name_parameters, source_character};
///
/// let source = "SELECT :größe::int4 + x";
/// let named = name_parameters(source, &["größe"]).unwrap();
/// assert_eq!(named.text, "SELECT $1::int4 + x");
/// let edits: Vec<_> = named.edits.iter().map(|edit| (edit.sent, edit.source)).collect();
/// assert_eq!(source_character(&edits, 18), 22);
/// ```
pub fn source_character(edits: &[(u32, u32)], sent: u32) -> u32 {
    let next = edits.partition_point(|edit| edit.0 <= sent);
    let (begin, source) = match next.checked_sub(1) {
        Some(index) => edits[index],
        None => (0, 0),
    };
    let found = source.saturating_add(sent.saturating_sub(begin));
    // What was put in is longer than what was there: it ends where that ends.
    match edits.get(next) {
        Some((_, limit)) => found.min(limit.saturating_sub(1)).max(source),
        None => found,
    }
}

/// The bytes of a parameter, with its colon.
fn place(colon: &Colon<'_>) -> Range<usize> {
    colon.used.at..colon.used.at + 1 + colon.used.name.len()
}

fn mistakes(tokens: &Tokens<'_>, colons: &[Colon<'_>], names: &[&str]) -> Vec<Mistake> {
    let mut found = Vec::new();
    let mut meant: Vec<&str> = Vec::new();
    let mut keys = keys(tokens, colons).into_iter().peekable();
    for colon in colons {
        let key = keys.next_if(|(index, _)| *index == colon.index).map(|(_, key)| key);
        let name = colon.used.name;
        let known = names.contains(&name);
        let message = match (known, colon.separates) {
            (true, false) => {
                meant.push(name);
                let Some(key) = key else { continue };
                key.mistake(name)
            }
            (false, true) => continue,
            (true, true) => {
                meant.push(name);
                format!(
                    "this colon separates the bounds of a slice, so {name} would be a column: \
                     write `: :{name}` for the parameter, or `: {name}` for the column"
                )
            }
            (false, false) => {
                let close = closest(name, names.iter().copied());
                meant.extend(close);
                unknown(colon, close, names)
            }
        };
        let place = place(colon);
        found.push(Mistake::new(place.start, place.len(), message));
    }
    for index in (0..tokens.len()).filter(|index| tokens.is(*index, Kind::Numbered)) {
        let (Some(token), number) = (tokens.get(index), tokens.text(index)) else { continue };
        let message = format!("numbered and named parameters do not mix: give {number} a name, as in :name");
        found.push(Mistake::new(token.start, token.end - token.start, message));
    }
    for (position, name) in names.iter().enumerate().filter(|(_, name)| !meant.contains(name)) {
        let foreign = foreign(tokens, name, position);
        found.push(foreign.unwrap_or_else(|| unused(tokens, name)));
    }
    found
}

fn unknown(colon: &Colon<'_>, close: Option<&str>, names: &[&str]) -> String {
    let name = colon.used.name;
    let mut message = format!("unknown parameter :{name}");
    match close {
        Some(close) => message += &format!(", did you mean :{close}?"),
        None if names.is_empty() => message += ", there are no parameters",
        None => message += &format!(", there is only :{}", names.join(", :")),
    }
    if colon.in_subscript {
        message += &format!(" For the slice up to column {name} write `: {name}`");
    }
    message
}

/// A name that the text does not use. It may look as if it did.
fn unused(tokens: &Tokens<'_>, name: &str) -> Mistake {
    for index in 0..tokens.len() {
        let Some(token) = tokens.get(index) else { continue };
        let message = match token.kind {
            Kind::Text | Kind::QuotedName => {
                let Some(at) = find_parameter(tokens.text(index), name) else { continue };
                let message = format!(
                    "parameter :{name} is not used: in quotes it is text; write it outside, as in '%' || :{name} || '%'"
                );
                return Mistake::new(token.start + at, 1 + name.len(), message);
            }
            Kind::Cast => {
                format!("`::{name}` is a cast to a type; if it is to end a slice, write `: :{name}`")
            }
            Kind::Colon => format!("write `:{name}` without a space"),
            _ => continue,
        };
        // A name after a colon that is no parameter's.
        let (cast, named) = (token.kind == Kind::Cast, tokens.text(index + 1) == name);
        if let Some(next) = tokens.get(index + 1)
            && named
            && tokens.touches_next(index) == cast
        {
            let message = format!("parameter :{name} is not used: {message}");
            return Mistake::new(token.start, next.end - token.start, message);
        }
    }
    Mistake::new(0, 0, format!("parameter :{name} is not used: use it in the SQL, or remove it"))
}

/// Where in a quoted text this parameter would be.
fn find_parameter(text: &str, name: &str) -> Option<usize> {
    let parameter = format!(":{name}");
    text.match_indices(&parameter).map(|(at, _)| at).find(|at| {
        let rest = &text[at + parameter.len()..];
        !text[..*at].ends_with(':') && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

/// Whether the parameter with this colon is nothing but the operand of `IS [NOT] NULL`.
///
/// Comparison and all other operators bind closer than IS, only NOT, AND and OR do not. So it depends on what is before.
fn is_null_test(tokens: &Tokens<'_>, colon: usize) -> bool {
    let after = colon + 2;
    let tested = tokens.are_words(after, &["IS", "NULL"])
        || tokens.are_words(after, &["IS", "NOT", "NULL"])
        || tokens.is_one_of(after, &["ISNULL", "NOTNULL"]);
    tested && begins_operand(tokens, colon)
}

/// Whether what begins here can't be the right side of something that binds closer than IS.
fn begins_operand(tokens: &Tokens<'_>, index: usize) -> bool {
    let Some(before) = index.checked_sub(1) else { return false };
    match tokens.kind(before) {
        Some(Kind::OpenRound | Kind::Comma | Kind::Assign) => true,
        Some(Kind::Operator) => tokens.text(before) == "=>",
        Some(Kind::Word) if tokens.follows_dot(before) => false,
        Some(Kind::Word) if tokens.is_word(before, "AND") => !is_of_between(tokens, before),
        Some(Kind::Word) => tokens.is_one_of(
            before,
            &[
                "BY",
                "CASE",
                "ELSE",
                "HAVING",
                "NOT",
                "ON",
                "OR",
                "RETURNING",
                "SELECT",
                "THEN",
                "WHEN",
                "WHERE",
            ],
        ),
        _ => false,
    }
}

/// Whether this AND belongs to a BETWEEN: one is before it in the same brackets, and no other AND between.
fn is_of_between(tokens: &Tokens<'_>, and: usize) -> bool {
    let (mut depth, mut cases) = (0_u32, 0_u32);
    for index in (0..and).rev() {
        match tokens.kind(index) {
            Some(Kind::CloseRound | Kind::CloseSquare) => depth += 1,
            Some(Kind::OpenRound | Kind::OpenSquare) if depth == 0 => return false,
            Some(Kind::OpenRound | Kind::OpenSquare) => depth -= 1,
            Some(Kind::Word) if depth == 0 => {
                if tokens.is_word(index, "END") {
                    cases += 1;
                } else if tokens.is_word(index, "CASE") {
                    cases = cases.saturating_sub(1);
                } else if cases == 0 && tokens.is_word(index, "AND") {
                    return false;
                } else if cases == 0 && tokens.is_word(index, "BETWEEN") {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// A text in which places are replaced, from left to right.
struct Rewriting<'s> {
    source: &'s str,
    /// What of the source is done, in bytes and in characters.
    done: usize,
    done_characters: usize,
    text: String,
    text_characters: usize,
    edits: Vec<Edit>,
}

impl<'s> Rewriting<'s> {
    fn new(source: &'s str) -> Rewriting<'s> {
        Rewriting {
            source,
            done: 0,
            done_characters: 0,
            text: String::with_capacity(source.len()),
            text_characters: 0,
            edits: Vec::new(),
        }
    }

    fn replace(&mut self, place: Range<usize>, number: &str) {
        self.copy(place.start);
        if self.text.ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii())
        {
            self.text.push(' ');
            self.text_characters += 1;
            self.mark();
        }
        self.text += number;
        self.text_characters += number.len();
        self.done_characters += self.source[place.clone()].chars().count();
        self.done = place.end;
        self.mark();
    }

    fn copy(&mut self, to: usize) {
        let piece = &self.source[self.done..to];
        let characters = piece.chars().count();
        self.text += piece;
        self.text_characters += characters;
        self.done_characters += characters;
        self.done = to;
    }

    /// From here on, the text goes on as the source does.
    fn mark(&mut self) {
        let count = |characters| u32::try_from(characters).unwrap_or(u32::MAX);
        self.edits.push(Edit { sent: count(self.text_characters), source: count(self.done_characters) });
    }

    fn finish(mut self) -> (String, Vec<Edit>) {
        self.copy(self.source.len());
        (self.text, self.edits)
    }
}
