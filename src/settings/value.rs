//! One value of the file, as text, number, switch or duration. Uses: config, error.

use std::fs;
use std::time::Duration;

use maypole_sql::parse_duration;

use super::file::{Entry, Value};
use super::{Settings, Variables};
use crate::error::{Error, Result};

/// The longest password that a file may hold, in bytes: what is longer is another file, given by mistake.
const LONGEST_PASSWORD: u64 = 64 * 1024;

/// A key that is set, with what is needed to read its value. Errors tell file, line, key, and what would be right.
#[derive(Clone, Copy)]
pub(super) struct Given<'s> {
    pub(super) settings: &'s Settings,
    pub(super) entry: &'s Entry,
    pub(super) variables: Variables<'s>,
}

impl Given<'_> {
    /// A text in which `${VARIABLE}` is replaced.
    pub(super) fn text(&self) -> Result<String> {
        self.as_text("must be a text in quotes")
    }

    /// One of these words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T> {
        let names: Vec<String> = words.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let what = format!("must be {}", names.join(" or "));
        let text = self.as_text(&what)?;
        let found = words.iter().find(|(name, _)| *name == text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| self.wrong(&what))
    }

    /// `true` or `false`.
    pub(super) fn switch(&self) -> Result<bool> {
        let what = "must be true or false";
        match &self.entry.value {
            Value::Switch(on) => Ok(*on),
            Value::Text(text) if text.contains("${") => match self.as_text(what)?.as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(self.wrong(what)),
            },
            _ => Err(self.wrong(what)),
        }
    }

    /// A whole number; from a variable it comes as a text.
    pub(super) fn number(&self, least: usize) -> Result<usize> {
        let what = format!("must be a whole number, at least {least}");
        let number = self.whole(&what)?.and_then(|number| usize::try_from(number).ok());
        number.filter(|number| *number >= least).ok_or_else(|| self.wrong(&what))
    }

    /// A number, or "none".
    pub(super) fn number_or_none(&self, least: u32) -> Result<Option<u32>> {
        if self.is_none()? {
            return Ok(None);
        }
        let what = format!("must be a whole number, at least {least}, or \"none\"");
        match self.whole(&what)?.and_then(|number| u32::try_from(number).ok()) {
            Some(number) if number >= least => Ok(Some(number)),
            _ => Err(self.wrong(&what)),
        }
    }

    /// A duration longer than nothing.
    pub(super) fn duration(&self) -> Result<Duration> {
        let duration = self.any_duration(DURATION)?;
        if duration.is_zero() {
            return Err(self.wrong("must be longer than nothing"));
        }
        Ok(duration)
    }

    /// A limit that "none" takes away.
    pub(super) fn limit(&self) -> Result<Option<Duration>> {
        let limit = self.limit_or_nothing()?;
        if limit == Some(Duration::ZERO) {
            return Err(self.wrong("must be longer than nothing; no limit is \"none\""));
        }
        Ok(limit)
    }

    /// The same where no time at all has a sense too.
    pub(super) fn limit_or_nothing(&self) -> Result<Option<Duration>> {
        match self.is_none()? {
            true => Ok(None),
            false => self.any_duration(DURATION_OR_NONE).map(Some),
        }
    }

    /// A limit that the system counts in whole seconds; "none" leaves it to the system.
    pub(super) fn seconds(&self) -> Result<Option<Duration>> {
        let limit = self.limit_or_nothing()?;
        if limit.is_some_and(|limit| limit.as_secs() == 0 || limit.subsec_nanos() > 0) {
            return Err(
                self.wrong("must be whole seconds, such as \"30s\"; \"none\" leaves it to the system")
            );
        }
        Ok(limit)
    }

    /// The password in the file that is named.
    pub(super) fn password_file(&self) -> Result<String> {
        let what = "must be the path of a file, in quotes";
        let path = self.as_text(what)?;
        if path.is_empty() {
            return Err(self.wrong(what));
        }
        let folder = self.settings.path.parent();
        let path = folder.map_or_else(|| path.clone().into(), |folder| folder.join(&path));
        // The path itself is not told: it may be the password, by mistake.
        let unreadable = |error| {
            self.wrong("the file can't be read; a relative path begins at the settings file").caused_by(error)
        };
        let metadata = fs::metadata(&path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(self.wrong("must be the path of a file, and it is none"));
        }
        #[cfg(unix)]
        {
            // The rule of libpq for its password file.
            use std::os::unix::fs::PermissionsExt;
            if metadata.permissions().mode() & 0o077 != 0 {
                return Err(self.wrong("others than its owner may use the file: run `chmod 600` on it"));
            }
        }
        if metadata.len() > LONGEST_PASSWORD {
            return Err(self.wrong("the file is too long for a password"));
        }
        let mut password = String::from_utf8(fs::read(&path).map_err(unreadable)?)
            .map_err(|_| self.wrong("the file is not UTF-8"))?;
        if password.ends_with('\n') {
            password.pop();
            if password.ends_with('\r') {
                password.pop();
            }
        }
        if password.is_empty() {
            return Err(self.wrong("the file is empty"));
        }
        Ok(password)
    }

    pub(super) fn wrong(&self, what: &str) -> Error {
        self.settings.wrong_value(self.entry, what)
    }

    fn is_none(&self) -> Result<bool> {
        Ok(matches!(&self.entry.value, Value::Text(_)) && self.text()? == "none")
    }

    fn whole(&self, what: &str) -> Result<Option<i64>> {
        Ok(match &self.entry.value {
            Value::Integer(number) => Some(*number),
            Value::Text(text) if text.contains("${") => self.as_text(what)?.trim().parse().ok(),
            _ => None,
        })
    }

    fn any_duration(&self, what: &str) -> Result<Duration> {
        parse_duration(&self.as_text(what)?).ok_or_else(|| self.wrong(what))
    }

    fn as_text(&self, what: &str) -> Result<String> {
        let Value::Text(text) = &self.entry.value else {
            return Err(self.wrong(what));
        };
        substitute(text, self.variables).map_err(|what| self.wrong(&what))
    }
}

const DURATION: &str = "must be a duration in quotes, such as \"30s\", \"250ms\" or \"1m30s\"";
const DURATION_OR_NONE: &str =
    "must be a duration in quotes, such as \"30s\", \"250ms\" or \"1m30s\", or \"none\"";

/// Replaces `${VARIABLE}` by the variable's value, and `$${` by `${`.
///
/// An error names the variable and quotes nothing else.
pub(super) fn substitute(text: &str, variables: Variables<'_>) -> std::result::Result<String, String> {
    let mut done = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            done.extend([before, "${"]);
            rest = after;
            continue;
        }
        let is_name = |name: &&str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let Some(name) = after.find('}').map(|end| &after[..end]).filter(is_name) else {
            return Err("a variable is written ${NAME}; a plain \"${\" is written \"$${\"".to_owned());
        };
        let value = variables(name).ok_or_else(|| format!("the environment variable {name} is not set"))?;
        done.extend([before, &value]);
        rest = &after[name.len() + 1..];
    }
    done.push_str(rest);
    Ok(done)
}
