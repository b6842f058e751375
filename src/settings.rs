//! `app.toml`: the settings of a program by environment. Uses: config, error, pool, suggest.

mod database;
mod file;
mod value;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::pool::PoolBuilder;
use crate::suggest::did_you_mean;
use file::{Entry, Value};

/// The name of the file.
const FILE: &str = "app.toml";

/// The environment that is chosen unless told otherwise, and that fills in what the chosen one leaves out.
const DEFAULT: &str = "default";

/// How environment variables are looked up.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The settings of one environment. Has no `Debug`: it holds passwords.
pub(crate) struct Settings {
    path: PathBuf,
    environment: String,
    /// The environment's own settings, then those that only `[default]` has.
    entries: Vec<Entry>,
}

impl Settings {
    /// Finds and reads the settings of this process.
    ///
    /// The file is named by `MAYPOLE_SETTINGS`, or is the `app.toml` in the working directory or in the closest
    /// one above. `MAYPOLE_ENV` chooses the environment. Reads files: not for a coroutine.
    ///
    /// # Errors
    ///
    /// There is no file, it can't be read, or what [`Settings::from_text`] says.
    pub(crate) fn find() -> Result<Settings> {
        let here = env::current_dir()
            .map_err(|error| Error::config("the working directory is not known").caused_by(error))?;
        Settings::read(&here, env::var_os("MAYPOLE_SETTINGS"), env::var_os("MAYPOLE_ENV"))
    }

    /// [`Settings::find`] in this folder and with these variables.
    fn read(here: &Path, named: Option<OsString>, environment: Option<OsString>) -> Result<Settings> {
        let path = match named.filter(|path| !path.is_empty()) {
            Some(path) => here.join(path),
            None => search(here)?,
        };
        let text = fs::read_to_string(&path).map_err(|error| {
            Error::config(format!("the settings file {} can't be read", path.display())).caused_by(error)
        })?;
        let environment = match environment.filter(|name| !name.is_empty()) {
            Some(name) => name.into_string().map_err(|_| Error::config("MAYPOLE_ENV is not UTF-8"))?,
            None => DEFAULT.to_owned(),
        };
        Settings::from_text(&text, &path, &environment)
    }

    /// Takes the settings of one environment from the text of a file; `path` is only for errors.
    ///
    /// # Errors
    ///
    /// It is not TOML, has settings outside of an environment, or lacks the environment. Errors tell the line and
    /// quote no value.
    pub(crate) fn from_text(text: &str, path: &Path, environment: &str) -> Result<Settings> {
        let mut settings =
            Settings { path: path.to_owned(), environment: environment.to_owned(), entries: Vec::new() };
        let parsed =
            file::parse(text).map_err(|malformed| settings.wrong(malformed.line, &malformed.what))?;
        let mut names = Vec::new();
        let mut defaults = Vec::new();
        for Entry { name, line, value } in parsed {
            let Value::Table(entries) = value else {
                return Err(settings.wrong(line, "settings stand below an environment, such as [default]"));
            };
            if name == environment {
                settings.entries = entries;
            } else if name == DEFAULT {
                defaults = entries;
            }
            names.push(name);
        }
        if !names.iter().any(|name| name == environment) {
            let hint = did_you_mean(environment, names.iter().map(String::as_str));
            return Err(Error::config(format!(
                "{}: there is no environment [{environment}], which {}; there {}{hint}",
                path.display(),
                if environment == DEFAULT {
                    "is used if MAYPOLE_ENV is not set"
                } else {
                    "MAYPOLE_ENV asks for"
                },
                listed(&names),
            )));
        }
        defaults.retain(|entry| settings.entry(&entry.name).is_none());
        settings.entries.append(&mut defaults);
        Ok(settings)
    }

    /// The names of all settings of the environment.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The pool of the database with this name, with everything that is set. Environment variables are those of the
    /// process.
    ///
    /// Calls `embedded` for the server of a database that has no other: it is given the builder, and gives it back with how
    /// to reach the server. May read the file of a password: not for a coroutine.
    ///
    /// # Errors
    ///
    /// There is no such name, or its value is wrong: the error tells the line, the key and what would be right, and
    /// quotes no value. Or what `embedded` says.
    pub(crate) fn pool(
        &self,
        name: &str,
        embedded: impl FnOnce(PoolBuilder) -> Result<(PoolBuilder, Config)>,
    ) -> Result<PoolBuilder> {
        let variables = |variable: &str| env::var(variable).ok();
        let (pool, config) = self.database(name, &variables, embedded)?;
        Ok(pool.config(config))
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    fn wrong_value(&self, entry: &Entry, what: &str) -> Error {
        self.wrong(entry.line, &format!("{}: {what}", entry.name))
    }

    fn wrong(&self, line: usize, what: &str) -> Error {
        Error::config(format!("{}, line {line}: {what}", self.path.display()))
    }
}

/// The file in this folder or in the closest one above.
fn search(from: &Path) -> Result<PathBuf> {
    from.ancestors().map(|folder| folder.join(FILE)).find(|path| path.is_file()).ok_or_else(|| {
        Error::config(format!(
            "there is no {FILE} in {} or above: write one with [{DEFAULT}] and database = \"embedded\" below it, \
             or name the file with MAYPOLE_SETTINGS",
            from.display()
        ))
    })
}

fn listed<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => "are none".to_owned(),
        [one] => format!("is {}", one.as_ref()),
        many => format!("are {}", many.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests;
