//! The TOML of a settings file as entries that know their lines. Uses: nothing.

use toml::de::{DeTable, DeValue};

/// A key with its value. Has no `Debug`: the value may hold a password.
pub(super) struct Entry {
    pub(super) name: String,
    /// The line of the key, from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

pub(super) enum Value {
    Text(String),
    Integer(i64),
    Switch(bool),
    Table(Vec<Entry>),
    /// What no setting of ours is.
    Other,
}

/// Why the text is not TOML, without any of it.
pub(super) struct Malformed {
    pub(super) line: usize,
    pub(super) what: String,
}

pub(super) fn parse(text: &str) -> Result<Vec<Entry>, Malformed> {
    let line_at = |byte: usize| 1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count();
    match DeTable::parse(text) {
        Ok(table) => Ok(entries(table.into_inner(), &line_at)),
        // Its `message` is made of fixed texts only, while its `Display` shows the line, passwords included.
        Err(error) => {
            let at = error.span().map_or(text.len(), |span| span.start);
            Err(Malformed { line: line_at(at), what: error.message().to_owned() })
        }
    }
}

fn entries(table: DeTable<'_>, line_at: &dyn Fn(usize) -> usize) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            line: line_at(key.span().start),
            name: key.into_inner().into_owned(),
            value: match value.into_inner() {
                DeValue::String(text) => Value::Text(text.into_owned()),
                DeValue::Integer(number) => {
                    i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Other, Value::Integer)
                }
                DeValue::Boolean(on) => Value::Switch(on),
                DeValue::Table(table) => Value::Table(self::entries(table, line_at)),
                _ => Value::Other,
            },
        })
        .collect();
    entries.sort_by_key(|entry| entry.line);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_knows_its_line() {
        let text = "# settings\n[default]\na = \"x\"\n\n[default.b]\nc = 0x10\nd = [1]\n[z]\n";
        let parsed = parse(text).unwrap_or_else(|error| panic!("{}", error.what));
        let lines: Vec<_> = parsed.iter().map(|entry| (entry.name.as_str(), entry.line)).collect();
        assert_eq!(lines, [("default", 2), ("z", 8)]);
        let Value::Table(default) = &parsed[0].value else { panic!("a table") };
        let lines: Vec<_> = default.iter().map(|entry| (entry.name.as_str(), entry.line)).collect();
        assert_eq!(lines, [("a", 3), ("b", 5)]);
        let Value::Table(inner) = &default[1].value else { panic!("a table") };
        assert!(matches!(inner[0].value, Value::Integer(16)));
        assert!(matches!(inner[1].value, Value::Other));
    }

    #[test]
    fn malformed_text_is_told_by_line_and_not_quoted() {
        let marker = "Zq7XjK9wVb";
        for (text, line) in [
            (format!("[default]\ndatabase = \"postgres://ann:{marker}@db1"), 2),
            (format!("[default]\n\ndatabase = postgres://ann:{marker}@db1"), 3),
            (format!("database = '{marker}' {marker}"), 1),
            (format!("a = 1\n{marker}"), 2),
            (format!("a = 1\n{marker} = 1\n{marker} = 2"), 3),
            (format!("[{marker}"), 1),
            (format!("a = \"\\{marker}\""), 1),
            (format!("a = 12{marker}"), 1),
            (format!("a = 2024-99-99T{marker}"), 1),
            (format!("a = {{ {marker} }}"), 1),
        ] {
            let error = parse(&text).err().unwrap_or_else(|| panic!("accepted: {text}"));
            assert_eq!(error.line, line, "{text}: {}", error.what);
            assert!(!error.what.contains("Zq7"), "{}", error.what);
        }
    }
}
