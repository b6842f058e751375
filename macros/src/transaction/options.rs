//! The options of a transaction function, checked.

use std::time::Duration;

use maypole_sql::{closest, parse_duration};
use syn::{Error, Expr, Lit, LitStr};

use super::parse::{Setting, literal};

/// What the transaction is asked to be.
#[derive(Default)]
pub(super) struct Options {
    pub(super) retries: u32,
    /// Other SQLSTATEs than the usual ones.
    pub(super) retry_on: Option<Vec<String>>,
    /// The name of the level in Rust.
    pub(super) isolation: Option<&'static str>,
    pub(super) deadline: Option<Duration>,
    /// The options that have no value.
    pub(super) flags: Vec<&'static str>,
}

/// The options that have a value, and how they are written.
const WITH_VALUES: [(&str, &str); 4] = [
    ("retries", "retries = 3"),
    ("retry_on", "retry_on = [\"40001\"]"),
    ("isolation", "isolation = \"serializable\""),
    ("deadline", "deadline = \"2s\""),
];

/// What else people may write, and mean.
const MEANT: [(&str, &str); 7] = [
    ("retry", "retries"),
    ("attempts", "retries"),
    ("timeout", "deadline"),
    ("isolation_level", "isolation"),
    ("serializable", "isolation = \"serializable\""),
    ("repeatable_read", "isolation = \"repeatable read\""),
    ("read_committed", "isolation = \"read committed\""),
];

/// The options without one. They are functions of `TxOptions`, too.
const FLAGS: [&str; 5] = ["read_only", "deferrable", "durable", "confirm_commit", "outside"];

/// What the levels are called in SQL and in Rust.
const ISOLATION: [(&str, &str); 3] = [
    ("read committed", "ReadCommitted"),
    ("repeatable read", "RepeatableRead"),
    ("serializable", "Serializable"),
];

fn names() -> impl Iterator<Item = &'static str> {
    WITH_VALUES.iter().map(|(name, _)| *name).chain(FLAGS)
}

pub(super) fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}

impl Options {
    /// Reads them all, and adds all mistakes.
    pub(super) fn read(settings: &[Setting], mistakes: &mut Vec<Error>) -> Options {
        let mut options = Options::default();
        let mut seen: Vec<String> = Vec::new();
        for setting in settings {
            let name = setting.name.to_string();
            if seen.contains(&name) {
                mistakes.push(Error::new_spanned(&setting.name, format!("{name} is given twice")));
                continue;
            }
            let read = match name.as_str() {
                "retries" => retries(setting).map(|again| options.retries = again),
                "retry_on" => codes(setting, mistakes).map(|codes| options.retry_on = Some(codes)),
                "isolation" => isolation(setting).map(|level| options.isolation = Some(level)),
                "deadline" => deadline(setting).map(|limit| options.deadline = Some(limit)),
                _ => match FLAGS.iter().find(|flag| **flag == name) {
                    Some(flag) => no_value(setting).map(|()| options.flags.push(flag)),
                    None => Err(unknown(setting)),
                },
            };
            mistakes.extend(read.err());
            seen.push(name);
        }
        options.check_together(settings, mistakes);
        options
    }

    fn check_together(&self, settings: &[Setting], mistakes: &mut Vec<Error>) {
        let given = |name: &str| settings.iter().find(|setting| setting.name == name);
        // What has a mistake of its own is not to blame for another.
        let asked_for_retries =
            given("retries").is_some_and(|retries| self.retries > 0 || self::retries(retries).is_err());
        if let Some(retry_on) = given("retry_on")
            && !asked_for_retries
        {
            let why = "nothing is retried without retries: add retries = 3, or leave out retry_on";
            mistakes.push(Error::new_spanned(&retry_on.name, why));
        }
        if let Some(deferrable) = given("deferrable") {
            let serializable = match given("isolation") {
                Some(level) => self.isolation == Some("Serializable") || isolation(level).is_err(),
                None => false,
            };
            if !serializable || given("read_only").is_none() {
                let why = "only a serializable transaction that reads can wait for a moment in which it can't fail: add \
                           read_only and isolation = \"serializable\", or leave out deferrable";
                mistakes.push(Error::new_spanned(&deferrable.name, why));
            }
        }
    }
}

fn unknown(setting: &Setting) -> Error {
    let name = setting.name.to_string();
    let meant = MEANT.iter().find(|(other, _)| *other == name).map(|(_, meant)| *meant);
    let message = match meant.or_else(|| closest(&name, names())) {
        Some(close) => format!("unknown option, did you mean {close}?"),
        None => {
            let forms: Vec<&str> = WITH_VALUES.iter().map(|(_, form)| *form).chain(FLAGS).collect();
            match forms.split_last() {
                Some((last, others)) => {
                    format!("unknown option; there are {} and {last}", others.join(", "))
                }
                None => "unknown option".to_owned(),
            }
        }
    };
    Error::new_spanned(&setting.name, message)
}

/// An error at the value, or where one should be.
fn wrong(setting: &Setting, message: impl Into<String>) -> Error {
    match &setting.value {
        Some(value) => Error::new_spanned(value, message.into()),
        None => Error::new_spanned(&setting.name, message.into()),
    }
}

fn no_value(setting: &Setting) -> Result<(), Error> {
    let name = &setting.name;
    match &setting.value {
        Some(value) => {
            let why = format!("{name} takes no value: write {name}, or leave it out");
            Err(Error::new_spanned(value, why))
        }
        None => Ok(()),
    }
}

fn text<'a>(setting: &'a Setting, form: &str) -> Result<&'a LitStr, Error> {
    match setting.literal() {
        Some(Lit::Str(text)) => Ok(text),
        _ => Err(wrong(setting, form)),
    }
}

fn retries(setting: &Setting) -> Result<u32, Error> {
    let form = "retries is a whole number: retries = 3 calls the function up to 4 times";
    match setting.literal() {
        Some(Lit::Int(number)) => number.base10_parse().map_err(|_| wrong(setting, form)),
        _ => Err(wrong(setting, form)),
    }
}

fn isolation(setting: &Setting) -> Result<&'static str, Error> {
    let form = "isolation is \"read committed\", \"repeatable read\" or \"serializable\"";
    let text = text(setting, form)?;
    let level = text.value();
    if let Some((_, name)) = ISOLATION.iter().find(|(words, _)| *words == level) {
        return Ok(name);
    }
    let words = || ISOLATION.iter().map(|(words, _)| *words);
    let message = match closest(&level, words()) {
        _ if level.eq_ignore_ascii_case("read uncommitted") => {
            "PostgreSQL treats read uncommitted as read committed: write \"read committed\"".to_owned()
        }
        Some(close) => format!("unknown isolation, did you mean \"{close}\"?"),
        None => form.to_owned(),
    };
    Err(wrong(setting, message))
}

fn deadline(setting: &Setting) -> Result<Duration, Error> {
    let form = "deadline is a duration in quotes, such as \"2s\", \"250ms\" or \"1m30s\"";
    let limit = parse_duration(&text(setting, form)?.value()).ok_or_else(|| wrong(setting, form))?;
    if limit.is_zero() {
        return Err(wrong(setting, "a deadline is longer than nothing; for no limit, leave it out"));
    }
    Ok(limit)
}

/// The codes of a list; mistakes of single ones are added.
fn codes(setting: &Setting, mistakes: &mut Vec<Error>) -> Result<Vec<String>, Error> {
    let form = "retry_on takes a list of SQLSTATEs: retry_on = [\"40001\", \"40P01\"]";
    let Some(Expr::Array(list)) = &setting.value else { return Err(wrong(setting, form)) };
    if list.elems.is_empty() {
        return Err(wrong(setting, "nothing is retried on no SQLSTATE: name one, or leave out retry_on"));
    }
    let mut codes = Vec::new();
    for element in &list.elems {
        let Some(Lit::Str(text)) = literal(element) else {
            mistakes
                .push(Error::new_spanned(element, "an SQLSTATE stands in quotes: retry_on = [\"40001\"]"));
            continue;
        };
        let code = text.value();
        if !is_sqlstate(&code) {
            mistakes.push(Error::new(text.span(), no_sqlstate(&code)));
        } else if codes.contains(&code) {
            mistakes.push(Error::new(text.span(), format!("{code} is named twice")));
        }
        codes.push(code);
    }
    Ok(codes)
}

fn is_sqlstate(code: &str) -> bool {
    code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

fn no_sqlstate(code: &str) -> String {
    let upper = code.to_ascii_uppercase();
    if is_sqlstate(&upper) {
        return format!("an SQLSTATE is written in capitals: \"{upper}\"");
    }
    "an SQLSTATE has five characters, digits and capitals, such as 40001 for a serialization failure; they are listed in \
     appendix A of PostgreSQL's manual"
        .to_owned()
}
