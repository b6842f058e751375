//! `app.toml`: the settings of a program by environment. Uses: config, error, suggest.

mod file;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use maypole_sql::parse_duration;

use crate::config::Config;
use crate::error::{Error, Result};
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

/// How a program uses one database.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseSettings {
    pub(crate) url: Url,
    /// The most connections that are ever open.
    pub(crate) limit: usize,
    /// How long a borrower waits for a connection.
    pub(crate) acquire_timeout: Duration,
    /// How long a query may take; `None` is no limit.
    pub(crate) query_timeout: Option<Duration>,
    /// How many borrowers may wait; the next one is refused.
    pub(crate) max_waiting: usize,
    /// `Some(None)`: no limit was asked for.
    connect_timeout: Option<Option<Duration>>,
    statement_cache_capacity: Option<usize>,
    application_name: Option<String>,
}

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) enum Url {
    /// A private server that this program starts: see [`DatabaseSettings::configure`].
    Embedded,
    /// A server that runs already; the settings beside the URL are applied.
    Config(Box<Config>),
}

impl DatabaseSettings {
    /// The defaults for this database.
    fn new(url: Url) -> DatabaseSettings {
        DatabaseSettings {
            url,
            limit: 10,
            acquire_timeout: Duration::from_secs(5),
            query_timeout: Some(Duration::from_secs(30)),
            max_waiting: 8192,
            connect_timeout: None,
            statement_cache_capacity: None,
            application_name: None,
        }
    }

    /// Applies the settings that say how to connect: to the embedded server's `Config`, once it is known.
    pub(crate) fn configure(&self, mut config: Config) -> Config {
        if let Some(limit) = self.connect_timeout {
            config = config.connect_timeout(limit);
        }
        if let Some(statements) = self.statement_cache_capacity {
            config = config.statement_cache_capacity(statements);
        }
        if let Some(name) = &self.application_name {
            config = config.application_name(name);
        }
        config
    }
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

    /// The settings of the database with this name. Environment variables are those of the process.
    ///
    /// # Errors
    ///
    /// There is no such name, or its value is wrong: the error tells the line, the key and what would be right, and
    /// quotes no value.
    pub(crate) fn database(&self, name: &str) -> Result<DatabaseSettings> {
        self.database_with(name, &|variable| env::var(variable).ok())
    }

    fn database_with(&self, name: &str, variables: Variables<'_>) -> Result<DatabaseSettings> {
        let Some(entry) = self.entry(name) else {
            let names: Vec<&str> = self.names().collect();
            return Err(Error::config(format!(
                "{}: there is no setting \"{name}\" in [{}]{}; there {}{}",
                self.path.display(),
                self.environment,
                if self.environment == DEFAULT { String::new() } else { format!(" or [{DEFAULT}]") },
                listed(&names),
                did_you_mean(name, names.iter().copied()),
            )));
        };
        match &entry.value {
            Value::Text(_) => Ok(DatabaseSettings::new(self.url(entry, variables)?)),
            Value::Table(entries) => self.database_table(entry, entries, variables),
            _ => {
                Err(self
                    .wrong_value(entry, "must be \"embedded\", a connection string, or a table with a url"))
            }
        }
    }

    fn database_table(
        &self,
        database: &Entry,
        entries: &[Entry],
        variables: Variables<'_>,
    ) -> Result<DatabaseSettings> {
        let Some(url) = entries.iter().find(|entry| entry.name == "url") else {
            return Err(self.wrong_value(database, "has no url: give \"embedded\" or a connection string"));
        };
        let mut settings = DatabaseSettings::new(self.url(url, variables)?);
        for entry in entries {
            match entry.name.as_str() {
                "url" => {}
                "password" => match settings.url {
                    Url::Config(config) => {
                        settings.url = Url::Config(Box::new(config.password(self.text(entry, variables)?)));
                    }
                    Url::Embedded => return Err(self.wrong_value(entry, "the embedded server has none")),
                },
                "application_name" => settings.application_name = Some(self.text(entry, variables)?),
                "limit" => settings.limit = self.number(entry, 1)?,
                "max_waiting" => settings.max_waiting = self.number(entry, 0)?,
                "statement_cache_capacity" => {
                    settings.statement_cache_capacity = Some(self.number(entry, 0)?)
                }
                "acquire_timeout" => settings.acquire_timeout = self.duration(entry)?,
                "query_timeout" => settings.query_timeout = self.duration_or_none(entry)?,
                "connect_timeout" => settings.connect_timeout = Some(self.duration_or_none(entry)?),
                unknown => {
                    let hint = did_you_mean(unknown, KEYS.iter().copied());
                    let what = format!("no such key; a database has {}{hint}", KEYS.join(", "));
                    return Err(self.wrong(entry.line, &what));
                }
            }
        }
        if let Url::Config(config) = settings.url.clone() {
            let config = settings.configure(*config);
            // Finds what the table added and can't work, such as a NUL, while the line is known.
            config.targets().map_err(|error| self.wrong_value(database, &error.to_string()))?;
            settings.url = Url::Config(Box::new(config));
        }
        Ok(settings)
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    fn url(&self, entry: &Entry, variables: Variables<'_>) -> Result<Url> {
        let text = self.text(entry, variables)?;
        if text == "embedded" {
            return Ok(Url::Embedded);
        }
        if !text.contains(['=', ':']) {
            let hint = did_you_mean(&text, ["embedded"]);
            return Err(
                self.wrong_value(entry, &format!("must be \"embedded\" or a connection string{hint}"))
            );
        }
        match Config::from_text(&text, variables) {
            Ok(config) => Ok(Url::Config(Box::new(config))),
            Err(error) => Err(self.wrong_value(entry, &error.to_string())),
        }
    }

    /// A text in which `${VARIABLE}` is replaced.
    fn text(&self, entry: &Entry, variables: Variables<'_>) -> Result<String> {
        let Value::Text(text) = &entry.value else {
            return Err(self.wrong_value(entry, "must be a text in quotes"));
        };
        substitute(text, variables).map_err(|what| self.wrong_value(entry, &what))
    }

    fn number(&self, entry: &Entry, least: usize) -> Result<usize> {
        let number = match entry.value {
            Value::Integer(number) => usize::try_from(number).ok().filter(|number| *number >= least),
            _ => None,
        };
        number.ok_or_else(|| self.wrong_value(entry, &format!("must be a whole number, at least {least}")))
    }

    fn duration(&self, entry: &Entry) -> Result<Duration> {
        let duration = match &entry.value {
            Value::Text(text) => parse_duration(text),
            _ => None,
        };
        let what = "must be a duration in quotes, such as \"30s\", \"250ms\" or \"1m30s\"";
        duration.ok_or_else(|| self.wrong_value(entry, what))
    }

    fn duration_or_none(&self, entry: &Entry) -> Result<Option<Duration>> {
        if matches!(&entry.value, Value::Text(text) if text == "none") {
            return Ok(None);
        }
        let duration = self.duration(entry)?;
        if duration.is_zero() {
            return Err(self.wrong_value(entry, "must be longer than nothing; no limit is \"none\""));
        }
        Ok(Some(duration))
    }

    fn wrong_value(&self, entry: &Entry, what: &str) -> Error {
        self.wrong(entry.line, &format!("{}: {what}", entry.name))
    }

    fn wrong(&self, line: usize, what: &str) -> Error {
        Error::config(format!("{}, line {line}: {what}", self.path.display()))
    }
}

/// The keys of a database's table.
const KEYS: [&str; 9] = [
    "url",
    "password",
    "application_name",
    "limit",
    "max_waiting",
    "acquire_timeout",
    "query_timeout",
    "connect_timeout",
    "statement_cache_capacity",
];

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

/// Replaces `${VARIABLE}` by the variable's value, and `$${` by `${`.
///
/// An error names the variable and quotes nothing else.
fn substitute(text: &str, variables: Variables<'_>) -> std::result::Result<String, String> {
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

#[cfg(test)]
mod tests;
