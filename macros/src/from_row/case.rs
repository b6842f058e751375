//! The spellings of `rename_all`: serde's eight.

/// How the name of a column is made of the name of a field.
#[derive(Clone, Copy)]
pub(super) enum Case {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

const CASES: [(&str, Case); 8] = [
    ("lowercase", Case::Lower),
    ("UPPERCASE", Case::Upper),
    ("PascalCase", Case::Pascal),
    ("camelCase", Case::Camel),
    ("snake_case", Case::Snake),
    ("SCREAMING_SNAKE_CASE", Case::ScreamingSnake),
    ("kebab-case", Case::Kebab),
    ("SCREAMING-KEBAB-CASE", Case::ScreamingKebab),
];

impl Case {
    /// The spelling of this name, or all names there are.
    pub(super) fn named(name: &str) -> Result<Case, String> {
        let found = CASES.iter().find(|(known, _)| *known == name);
        found.map(|(_, case)| *case).ok_or_else(|| {
            let names: Vec<_> = CASES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            format!("there is no such spelling; there are {}", names.join(", "))
        })
    }

    /// The column of a field, which is written in `snake_case`.
    pub(super) fn of(self, field: &str) -> String {
        match self {
            // As serde has it: the words of a field's name are separated already.
            Case::Lower | Case::Snake => field.into(),
            Case::Upper | Case::ScreamingSnake => field.to_uppercase(),
            Case::Pascal => field.split('_').map(capitalized).collect(),
            Case::Camel => {
                let pascal = Case::Pascal.of(field);
                let mut letters = pascal.chars();
                letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect()
            }
            Case::Kebab => field.replace('_', "-"),
            Case::ScreamingKebab => field.to_uppercase().replace('_', "-"),
        }
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spellings_are_those_of_serde() {
        let all: Vec<_> = CASES.iter().map(|(_, case)| case.of("zip_code_2")).collect();
        let expected = [
            "zip_code_2",
            "ZIP_CODE_2",
            "ZipCode2",
            "zipCode2",
            "zip_code_2",
            "ZIP_CODE_2",
            "zip-code-2",
            "ZIP-CODE-2",
        ];
        assert_eq!(all, expected);
    }
}
