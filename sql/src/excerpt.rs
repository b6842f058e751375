//! One line of SQL with carets under a place, drawn like a compiler's message. Uses: nothing.

use std::fmt;
use std::ops::Range;

/// One line of a text with carets under a place of it; long lines are cut.
///
/// ```
/// use maypole_sql::Excerpt;
///
/// let excerpt = Excerpt::of_character("SELECT id\nFROM customer", 15);
/// assert_eq!(excerpt.to_string(), "   | FROM customer\n   |      ^^^^^^^^");
/// assert_eq!(excerpt.line(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct Excerpt {
    line: u32,
    shown: Vec<Piece>,
    carets: Option<(usize, usize)>,
}

impl Excerpt {
    /// The line with this character of the text, counted from 0, and carets under the word that begins there.
    ///
    /// PostgreSQL counts positions in characters too, but from 1. A place behind the end is the end.
    pub fn of_character(text: &str, character: u32) -> Excerpt {
        let character = usize::try_from(character).unwrap_or(usize::MAX);
        let at = text.char_indices().nth(character).map_or(text.len(), |(at, _)| at);
        Excerpt::at(text, at, None)
    }

    /// The line in which these bytes of the text begin, and carets under as many of them as it holds.
    pub fn of_bytes(text: &str, bytes: Range<usize>) -> Excerpt {
        Excerpt::at(text, bytes.start, Some(bytes.end))
    }

    /// The first three lines without carets, by which a statement can be recognised.
    pub fn of_beginning(text: &str) -> Excerpt {
        let mut lines = text.trim().lines();
        let mut shown: Vec<Piece> = lines.by_ref().take(3).map(|line| Piece::around(line, 0)).collect();
        if lines.next().is_some() {
            shown.push(Piece::around("…", 0));
        }
        Excerpt { line: 0, shown, carets: None }
    }

    /// How many lines of the text are above this one.
    pub fn line(&self) -> u32 {
        self.line
    }

    fn at(text: &str, start: usize, end: Option<usize>) -> Excerpt {
        let start = text.floor_char_boundary(start);
        let (before, after) = text.split_at(start);
        let from = before.rfind('\n').map_or(0, |feed| feed + 1);
        let to = after.find('\n').map_or(text.len(), |feed| start + feed);
        let line = text[from..to].trim_end();
        // The place may be in the white space that is not shown.
        let at = text[from..start].chars().count().min(line.chars().count());
        let rest = line.get(start - from..).unwrap_or_default();
        let width = match end {
            Some(end) => rest[..rest.floor_char_boundary(end.saturating_sub(start))].chars().count(),
            None => token_width(rest),
        };
        let piece = Piece::around(line, at);
        let carets = (piece.column(at), width.min(piece.end - at).max(1));
        let line = u32::try_from(before.matches('\n').count()).unwrap_or(u32::MAX);
        Excerpt { line, shown: vec![piece], carets: Some(carets) }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, piece) in self.shown.iter().enumerate() {
            write!(f, "{}   | {}", if index > 0 { "\n" } else { "" }, piece.text)?;
        }
        match self.carets {
            Some((indent, width)) => write!(f, "\n   | {:indent$}{:^<width$}", "", ""),
            None => Ok(()),
        }
    }
}

/// What is shown of a line, which may be of any length.
#[derive(Clone, Debug)]
struct Piece {
    text: String,
    /// In characters of the line.
    start: usize,
    end: usize,
}

impl Piece {
    /// The most characters shown. Also keeps widths below what formatting takes, 65,535.
    const MOST: usize = 120;

    fn around(line: &str, at: usize) -> Piece {
        let line: Vec<char> = line.trim_end().chars().collect();
        let start = if line.len() > Piece::MOST { at.saturating_sub(Piece::MOST / 2) } else { 0 };
        let end = line.len().min(start + Piece::MOST);
        let mut text = String::new();
        text.extend((start > 0).then_some('…'));
        // Tabs and the like would move the line away from the carets.
        text.extend(line[start..end].iter().map(|c| if c.is_control() { ' ' } else { *c }));
        text.extend((end < line.len()).then_some('…'));
        Piece { text, start, end }
    }

    /// Where a character of the line is shown.
    fn column(&self, at: usize) -> usize {
        at - self.start + usize::from(self.start > 0)
    }
}

/// How many characters are underlined: the word, the quoted name, or one character.
fn token_width(rest: &str) -> usize {
    let mut characters = rest.chars();
    match characters.next() {
        Some(quote @ ('"' | '\'')) => characters.position(|c| c == quote).map_or(1, |at| at + 2),
        // A named parameter, and what it became.
        Some(':' | '$') => 1 + characters.take_while(|c| is_word(*c)).count(),
        _ => rest.chars().take_while(|c| is_word(*c)).count(),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carets_are_under_the_word_that_begins_there() {
        let drawn = |text, character| Excerpt::of_character(text, character).to_string();
        assert_eq!(drawn("SELECT größe, nmae", 14), "   | SELECT größe, nmae\n   |               ^^^^");
        assert_eq!(drawn("SELECT \"a b\"", 7), "   | SELECT \"a b\"\n   |        ^^^^^");
        assert_eq!(drawn("a = :name", 4), "   | a = :name\n   |     ^^^^^");
        assert_eq!(drawn("a =", 2), "   | a =\n   |   ^");
        assert_eq!(drawn("SELECT", 6), "   | SELECT\n   |       ^", "the end");
        assert_eq!(drawn("SELECT", u32::MAX), "   | SELECT\n   |       ^");
        assert_eq!(drawn("", 0), "   | \n   | ^");
    }

    #[test]
    fn lines_are_told_apart() {
        let text = "SELECT 1,\r\n\tnmae\r\nFROM t";
        let excerpt = Excerpt::of_character(text, 12);
        assert_eq!(excerpt.to_string(), "   |  nmae\n   |  ^^^^");
        assert_eq!(excerpt.line(), 1);
        assert_eq!(Excerpt::of_character(text, 9).line(), 0, "the end of a line belongs to it");
    }

    #[test]
    fn carets_stay_on_the_line() {
        let text = "SELECT 'a\nb'";
        assert_eq!(Excerpt::of_bytes(text, 7..12).to_string(), "   | SELECT 'a\n   |        ^^");
        assert_eq!(Excerpt::of_bytes("é", 1..2).to_string(), "   | é\n   | ^", "inside of a character");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}nmae{}", "x ".repeat(500), " y".repeat(500));
        let excerpt = Excerpt::of_character(&text, 1000).to_string();
        let (line, carets) = excerpt.split_once('\n').unwrap();
        assert!(line.starts_with("   | …x x") && line.ends_with('…'), "{line}");
        assert_eq!(line.chars().count(), 5 + 1 + 120 + 1);
        let at = line.chars().position(|c| c == 'n');
        assert_eq!(carets.chars().position(|c| c == '^'), at);
        assert_eq!(carets.matches('^').count(), 4);
        let word = "w".repeat(100_000);
        assert_eq!(Excerpt::of_bytes(&word, 0..word.len()).to_string().matches('^').count(), 120);
    }

    #[test]
    fn a_beginning_is_three_lines() {
        assert_eq!(Excerpt::of_beginning("\n a\nb").to_string(), "   | a\n   | b");
        assert_eq!(Excerpt::of_beginning("a\nb\nc\nd\ne").to_string(), "   | a\n   | b\n   | c\n   | …");
    }
}
