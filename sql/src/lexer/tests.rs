//! The tokens of texts in which PostgreSQL's rules surprise. Uses: lexer.

use proptest::prelude::*;

use super::Kind::*;
use super::*;

/// The tokens without white space, each with its text.
fn lexed(source: &str) -> Vec<(Kind, &str)> {
    let (found, mistake) = tokens(source);
    assert_eq!(mistake, None, "{source}");
    let meaning = found.into_iter().filter(|token| token.kind != Space);
    meaning.map(|token| (token.kind, &source[token.start..token.end])).collect()
}

#[test]
fn prefixes_of_strings_count_only_where_a_word_begins() {
    assert_eq!(lexed("E'a'xE'b'"), [(Text, "E'a'"), (Word, "xE"), (Text, "'b'")]);
    assert_eq!(
        lexed("U&'a' U&\"a\" U & 'a'"),
        [(Text, "U&'a'"), (QuotedName, "U&\"a\""), (Word, "U"), (Operator, "&"), (Text, "'a'")]
    );
    assert_eq!(lexed("E 'a' n'b'"), [(Word, "E"), (Text, "'a'"), (Text, "n'b'")]);
}

#[test]
fn a_continued_string_is_one_token() {
    let source = "'a' -- and\n  'b'";
    assert_eq!(lexed(source), [(Text, source)]);
    assert_eq!(lexed("'a' 'b'"), [(Text, "'a'"), (Text, "'b'")]);
    assert_eq!(lexed("'a'\n-- c"), [(Text, "'a'"), (Comment, "-- c")]);
}

#[test]
fn dollar_quotes_need_a_beginning_of_their_own() {
    assert_eq!(lexed("a$1$ $a$ $$ $a$"), [(Word, "a$1$"), (Text, "$a$ $$ $a$")]);
    assert_eq!(lexed("$b$ $b $a$b$"), [(Text, "$b$ $b $a$b$")]);
    assert_eq!(lexed("$1$2"), [(Numbered, "$1"), (Numbered, "$2")]);
    assert_eq!(lexed("$a $é1$x$é1$"), [(Other, "$"), (Word, "a"), (Text, "$é1$x$é1$")]);
    assert_eq!(lexed("$a$$a$"), [(Text, "$a$$a$")]);
}

#[test]
fn numbers_end_where_they_must() {
    for number in
        ["1", "1.", ".5", "1.5", "1e5", "1.e-5", ".5E+10", "0x1F", "0b01", "0o17", "1_000.5", "1_0e1_0"]
    {
        assert_eq!(lexed(number), [(Number, number)]);
    }
    assert_eq!(lexed("1..2"), [(Number, "1"), (Other, ".."), (Number, "2")]);
    assert_eq!(lexed("1e"), [(Number, "1"), (Word, "e")]);
    assert_eq!(lexed("1e+"), [(Number, "1"), (Word, "e"), (Operator, "+")]);
    assert_eq!(lexed("0xg"), [(Number, "0"), (Word, "xg")]);
    assert_eq!(lexed("1FROM"), [(Number, "1"), (Word, "FROM")]);
    assert_eq!(lexed("a.5"), [(Word, "a"), (Number, ".5")]);
    assert_eq!(lexed("1$1"), [(Number, "1"), (Numbered, "$1")]);
}

#[test]
fn operators_end_before_comments_and_signs() {
    assert_eq!(lexed("+--c"), [(Operator, "+"), (Comment, "--c")]);
    assert_eq!(lexed("@-/**/"), [(Operator, "@-"), (Comment, "/**/")]);
    assert_eq!(lexed("=-1"), [(Operator, "="), (Operator, "-"), (Number, "1")]);
    assert_eq!(lexed("=+-"), [(Operator, "="), (Operator, "+"), (Operator, "-")]);
    assert_eq!(lexed("@+-"), [(Operator, "@+-")]);
    assert_eq!(lexed("=>:a"), [(Operator, "=>"), (Colon, ":"), (Word, "a")]);
    assert_eq!(lexed("?|&"), [(Operator, "?|&")]);
}

#[test]
fn colons_join_from_the_left() {
    assert_eq!(lexed(":::=:"), [(Cast, "::"), (Assign, ":="), (Colon, ":")]);
    assert_eq!(lexed("a:::b"), [(Word, "a"), (Cast, "::"), (Colon, ":"), (Word, "b")]);
}

#[test]
fn characters_beyond_ascii_are_letters() {
    assert_eq!(lexed("é$1 \u{a0}x 語"), [(Word, "é$1"), (Word, "\u{a0}x"), (Word, "語")]);
}

#[test]
fn comments_nest() {
    assert_eq!(lexed("/*/*/*/ */*/ */x"), [(Comment, "/*/*/*/ */*/ */"), (Word, "x")]);
    assert_eq!(lexed("--a\r--b\n"), [(Comment, "--a"), (Comment, "--b")]);
}

proptest! {
    #[test]
    fn the_tokens_tile_every_text(
        text in prop_oneof![any::<String>(), "[a'\"$:/*\\-\\\\\nEU&\\[\\]();é🐘1.e+=_@]{0,40}"],
    ) {
        let (found, mistake) = tokens(&text);
        let mut end = 0;
        for token in found {
            prop_assert_eq!(token.start, end);
            prop_assert!(token.start < token.end && text.is_char_boundary(token.end));
            end = token.end;
        }
        match mistake {
            None => prop_assert_eq!(end, text.len()),
            Some(mistake) => prop_assert!(end <= mistake.at && mistake.at + mistake.length <= text.len()),
        }
    }
}
