//! What holds for every text.

use std::ops::Range;

use maypole_sql::{Excerpt, name_parameters, nature, parameters, source_character, statements};
use proptest::prelude::*;

const NAMES: [&str; 4] = ["a", "name", "größe", "in"];

/// A piece of a text: a parameter by its number, or something that must stay as it is.
#[derive(Clone, Debug)]
enum Piece {
    Parameter(usize),
    Other(String),
}

/// What looks like a parameter, a quote or a comment, and is none inside of quotes.
fn contents() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(":a".to_owned()),
        Just("$1".to_owned()),
        Just("--".to_owned()),
        Just("/*".to_owned()),
        Just("*/".to_owned()),
        Just("\\".to_owned()),
        Just("'".to_owned()),
        Just("\"".to_owned()),
        Just("$$".to_owned()),
        Just("::name".to_owned()),
        Just(";\n".to_owned()),
        "[a-z é語🐘\n]{1,4}",
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

fn other() -> impl Strategy<Value = String> {
    const OPERATORS: [&str; 9] =
        ["@>", "?|", "=", "<->", "|| -", "x::int", "f(b := 1, c => 2)", "y[1:n]", "z[lo : hi]"];
    prop_oneof![
        contents().prop_map(|text| format!("'{}'", text.replace('\'', "''"))),
        contents().prop_map(|text| format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))),
        contents().prop_map(|text| format!("U&'{}'", text.replace('\'', "''"))),
        contents().prop_map(|text| format!("\"{}\"", text.replace('"', "\"\""))),
        contents().prop_map(|text| format!("$${}$$", text.replace('$', "€"))),
        contents().prop_map(|text| format!("$été1${}$été1$", text.replace("$été1$", ""))),
        contents().prop_map(|text| format!("-- {}\n", text.replace('\n', " "))),
        contents().prop_map(|text| format!("/* {} /* '*/ */", text.replace("/*", "+").replace("*/", "+"))),
        "[a-z_é語][a-z0-9_$é語]{0,5}",
        "[0-9]{1,3}(\\.[0-9]{1,2})?(e[0-9])?",
        prop::sample::select(&OPERATORS[..]).prop_map(str::to_owned),
    ]
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let piece = prop_oneof![
        1 => (0..NAMES.len()).prop_map(Piece::Parameter),
        2 => other().prop_map(Piece::Other),
    ];
    prop::collection::vec(piece, 0..12)
}

/// Characters and words of which the lexer makes something.
fn soup() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "'",
        "\"",
        "$",
        "$$",
        "$a$",
        ":",
        ":a",
        "::",
        ":=",
        "/*",
        "*/",
        "--",
        "\n",
        "\r",
        " ",
        "\\",
        "E'",
        "U&'",
        "U&\"",
        "e",
        "1",
        "0x",
        ".",
        "(",
        ")",
        "[",
        "]",
        ";",
        ",",
        "+",
        "@",
        "=",
        "a",
        "é",
        "🐘",
        "\0",
        "WITH ",
        "AS ",
        "SELECT ",
        "INSERT ",
        "INTO ",
        "BEGIN ATOMIC ",
        "END ",
        "CASE ",
        "CREATE FUNCTION ",
        "SEARCH ",
        "CYCLE ",
        "SET ",
        "USING ",
        "RECURSIVE ",
        "TEMP ",
        "FOR UPDATE",
        "nextval(",
        "set_config(",
        "pg_temp.",
        "ROLLBACK ",
        "IS NULL ",
        "BETWEEN ",
        "AND ",
        "IN (",
        "NOT ",
        "ARRAY[",
        "RETURNING ",
    ];
    prop_oneof![
        any::<String>(),
        prop::collection::vec(prop::sample::select(WORDS), 0..24).prop_map(|words| words.concat()),
    ]
}

fn characters(text: &str, range: Range<usize>) -> Range<u32> {
    let count = |bytes: usize| u32::try_from(text[..bytes].chars().count()).unwrap();
    count(range.start)..count(range.end)
}

proptest! {
    #[test]
    fn everything_but_parameters_survives_and_is_found_again(pieces in pieces()) {
        // The comma keeps pieces apart, as an expression does.
        let (mut source, mut sent) = (String::from("é"), String::from("é"));
        let mut used: Vec<usize> = Vec::new();
        let mut kept = Vec::new();
        for piece in &pieces {
            let starts = (source.len(), sent.len());
            match piece {
                Piece::Parameter(index) => {
                    source += &format!(", :{}", NAMES[*index]);
                    if !used.contains(index) {
                        used.push(*index);
                    }
                    let number = 1 + used.iter().position(|used| used == index).unwrap();
                    sent += &format!(", ${number}");
                    kept.push((starts.0..starts.0 + 3, starts.1..starts.1 + 3));
                }
                Piece::Other(text) => {
                    source += &format!(", {text}");
                    sent += &format!(", {text}");
                    kept.push((starts.0..source.len(), starts.1..sent.len()));
                }
            }
        }
        let names: Vec<&str> = used.iter().map(|index| NAMES[*index]).collect();
        let named = name_parameters(&source, &names).unwrap();
        prop_assert_eq!(&named.text, &sent);
        prop_assert!(named.slots.iter().enumerate().all(|(index, slot)| slot.parameter == index && !slot.null_test));
        let edits: Vec<(u32, u32)> = named.edits.iter().map(|edit| (edit.sent, edit.source)).collect();
        for (in_source, in_sent) in kept {
            let (in_source, in_sent) = (characters(&source, in_source), characters(&sent, in_sent));
            for (expected, character) in in_source.zip(in_sent) {
                prop_assert_eq!(source_character(&edits, character), expected);
            }
        }
        let found = parameters(&source).named;
        prop_assert!(found.iter().all(|found| source[found.at + 1..].starts_with(found.name)));
        prop_assert_eq!(found.len(), pieces.iter().filter(|piece| matches!(piece, Piece::Parameter(_))).count());
    }

    #[test]
    fn a_text_without_parameters_stays_as_it_is(text in soup()) {
        if let Ok(named) = name_parameters(&text, &[]) {
            prop_assert_eq!(&named.text, &text);
            prop_assert!(named.edits.is_empty() && named.slots.is_empty());
        }
    }

    #[test]
    fn what_was_rewritten_has_its_numbers_and_no_names(text in soup()) {
        // What looks like a number and is part of something else could not be told from one below.
        prop_assume!(!text.contains("$1") && !text.contains("$2"));
        if let Ok(named) = name_parameters(&text, &["a"]) {
            let again = parameters(&named.text);
            prop_assert!(again.named.is_empty(), "{}", named.text);
            prop_assert!(again.numbered.is_some(), "{}", named.text);
            // The numbers are the only change.
            let back = named.text.replace(" $1", ":a").replace("$1", ":a").replace("$2", ":a");
            let plain = |text: &str| text.replace(' ', "");
            prop_assert_eq!(plain(&back), plain(&text));
        }
    }

    #[test]
    fn no_text_is_too_strange(text in soup(), at in 0_u32..60) {
        if let Err(mistakes) = name_parameters(&text, &["a"]) {
            for mistake in mistakes {
                prop_assert!(text.get(mistake.at..mistake.at + mistake.length).is_some(), "{mistake:?}");
                prop_assert!(mistake.report(&text).starts_with(&mistake.message));
            }
        }
        let nature = nature(&text);
        for mistake in nature.select.into_iter().chain(nature.session.map(|(_, mistake)| mistake)) {
            prop_assert!(text.get(mistake.at..mistake.at + mistake.length).is_some(), "{mistake:?}");
        }
        if let Ok(statements) = statements(&text) {
            let mut end = 0;
            for statement in statements {
                prop_assert!(end <= statement.start && statement.start < statement.end);
                // Only these are white space to PostgreSQL: U+2000 is a name.
                prop_assert!(!text[statement.clone()].trim_ascii().is_empty());
                end = statement.end;
            }
            prop_assert!(end <= text.len());
        }
        prop_assert!(Excerpt::of_character(&text, at).to_string().contains('^'));
        prop_assert!(Excerpt::of_bytes(&text, at as usize..at as usize + 3).to_string().contains('^'));
        prop_assert!(!Excerpt::of_beginning(&text).to_string().contains('\r'));
    }
}
