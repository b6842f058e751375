//! Failures by kind.

use std::collections::BTreeMap;

use super::Failure;

/// How many there were of each kind. What is like another one except for its numbers is of the same kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kinds(BTreeMap<String, u64>);

/// Of a failure that says something else each time, so many are told apart.
const MOST: usize = 32;
const LONGEST: usize = 120;

impl Kinds {
    pub fn count(&mut self, failure: &Failure) {
        let mut kind = kind(failure);
        if self.0.len() >= MOST && !self.0.contains_key(&kind) {
            kind = "other".to_owned();
        }
        *self.0.entry(kind).or_default() += 1;
    }

    pub fn add(&mut self, other: &Kinds) {
        for (kind, count) in &other.0 {
            *self.0.entry(kind.clone()).or_default() += count;
        }
    }

    pub fn into_map(self) -> BTreeMap<String, u64> {
        self.0
    }
}

/// What it says and why, without numbers.
fn kind(failure: &Failure) -> String {
    let mut text = String::new();
    let mut level: Option<&dyn std::error::Error> = Some(failure.as_ref());
    while let Some(error) = level {
        let said = error.to_string();
        let said = said.lines().next().unwrap_or_default().trim();
        if !text.contains(said) {
            let between = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{between}{said}");
        }
        level = error.source();
    }
    let text: String = text.chars().take(LONGEST).collect();
    let mut kind = String::new();
    for word in text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        let letters = word.bytes().skip(digits).any(|byte| byte.is_ascii_alphanumeric());
        // An SQLSTATE has five characters.
        if digits == 0 || digits == 5 || letters {
            kind += word;
        } else {
            kind.push('#');
            kind += &word[digits..];
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_differ_in_numbers_are_of_one_kind() {
        let mut kinds = Kinds::default();
        for failure in ["lost 17 of 20 [57P01]\nand more", "lost 1 of 2 [57P01]", "gone 40001"] {
            kinds.count(&failure.into());
        }
        let map = kinds.into_map();
        assert_eq!(
            map,
            BTreeMap::from([("lost # of # [57P01]".to_owned(), 2), ("gone 40001".to_owned(), 1)])
        );
    }
}
