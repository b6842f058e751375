//! Where the machine keeps PostgreSQL's server programs. Uses: error.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// The oldest version whose servers maypole supports.
const OLDEST: Version = Version { major: 13, minor: 0 };

/// Where distributions put the programs; a star stands for one folder name, or a part of one.
const USUAL_FOLDERS: [&str; 13] = [
    "usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
    "usr/pgsql-*/bin",                                   // packages of postgresql.org for Red Hat and SUSE
    "usr/bin",                                           // Fedora, Arch
    "usr/libexec/postgresql*",                           // Alpine
    "usr/lib/postgresql*/bin",                           // SUSE
    "usr/lib64/postgresql-*/bin",                        // Gentoo
    "usr/local/pgsql/bin",                               // built from source
    "usr/local/bin",                                     // the BSDs
    "opt/homebrew/opt/postgresql*/bin",                  // Homebrew on ARM
    "usr/local/opt/postgresql*/bin",                     // Homebrew on Intel
    "home/linuxbrew/.linuxbrew/opt/postgresql*/bin",     // Homebrew on Linux
    "opt/local/lib/postgresql*/bin",                     // MacPorts
    "Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
];

/// Package managers, each with the command that brings the programs.
const INSTALL_COMMANDS: [(&str, &str); 8] = [
    ("apt-get", "apt-get install postgresql"),
    ("dnf", "dnf install postgresql-server"),
    ("yum", "yum install postgresql-server"),
    ("zypper", "zypper install postgresql-server"),
    ("apk", "apk add postgresql"),
    ("pacman", "pacman -S postgresql"),
    ("brew", "brew install postgresql"),
    ("pkg", "pkg install postgresql17-server"),
];

/// A version of PostgreSQL; newer is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// Reads what `postgres --version` prints, such as `postgres (PostgreSQL) 15.13 (Debian 15.13-1)`.
    fn parse(text: &str) -> Option<Version> {
        let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        // `18beta1` has no minor version.
        let mut parts = number.split(|c: char| !c.is_ascii_digit());
        let major = parts.next()?.parse().ok()?;
        let minor = if number.contains('.') { parts.next().and_then(|part| part.parse().ok()) } else { None };
        Some(Version { major, minor: minor.unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Where to look.
pub(super) struct Search {
    /// The folder that `MAYPOLE_PG_BIN` names: nothing else is looked at.
    named: Option<PathBuf>,
    /// The folders of `PATH`.
    path: Vec<PathBuf>,
    /// The root of the file system.
    root: PathBuf,
    /// Runs a program with one argument and gives what it prints, if it succeeds.
    ask: fn(&Path, &str) -> Option<String>,
}

impl Search {
    /// This machine, as the environment describes it.
    pub(super) fn here() -> Search {
        Search {
            named: env::var_os("MAYPOLE_PG_BIN").filter(|value| !value.is_empty()).map(PathBuf::from),
            path: env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default(),
            root: PathBuf::from("/"),
            ask: output,
        }
    }

    /// The folder of `initdb` and `postgres`, as an absolute path.
    ///
    /// # Errors
    /// There are none, or only such as are too old: the error names the command that installs them.
    pub(super) fn run(&self) -> Result<PathBuf> {
        let mut too_old = None;
        let mut fits = |folder: &Path| {
            let version = self.version(folder)?;
            if version < OLDEST {
                too_old = too_old.max(Some(version));
                return None;
            }
            Some(version)
        };
        let found = if let Some(named) = &self.named {
            fits(named).map(|_| named.clone())
        } else if let Some(folder) = self.path.iter().find(|folder| fits(folder).is_some()) {
            Some(folder.clone())
        } else if let Some(folder) = self.told_by_pg_config().filter(|folder| fits(folder).is_some()) {
            Some(folder)
        } else {
            let usual = USUAL_FOLDERS.iter().flat_map(|pattern| matching(&self.root, pattern));
            usual.filter_map(|folder| Some((fits(&folder)?, folder))).max().map(|(_, folder)| folder)
        };
        match found {
            Some(folder) => std::path::absolute(&folder).map_err(|error| {
                Error::config("the working folder is gone: start in another").caused_by(error)
            }),
            None => Err(Error::config(self.missing(too_old))),
        }
    }

    /// The version of the server programs in a folder; `None` if they are not there or do not run.
    fn version(&self, folder: &Path) -> Option<Version> {
        let postgres = folder.join("postgres");
        if !postgres.is_file() || !folder.join("initdb").is_file() {
            return None;
        }
        Version::parse(&(self.ask)(&postgres, "--version")?)
    }

    fn told_by_pg_config(&self) -> Option<PathBuf> {
        let program = self.path.iter().map(|folder| folder.join("pg_config")).find(|file| file.is_file())?;
        Some(PathBuf::from((self.ask)(&program, "--bindir")?.trim_end()))
    }

    /// What to tell somebody who has no programs.
    fn missing(&self, too_old: Option<Version>) -> String {
        let place = match &self.named {
            Some(named) => format!("in {}, the folder that MAYPOLE_PG_BIN names", named.display()),
            None => "on this machine".to_string(),
        };
        let but = too_old.map(|version| format!(" (only version {version})")).unwrap_or_default();
        let has = |manager: &str| self.path.iter().any(|folder| folder.join(manager).is_file());
        let install = match INSTALL_COMMANDS.iter().find(|(manager, _)| has(manager)) {
            Some((_, command)) => format!("install them with `{command}`"),
            None => "install them (https://www.postgresql.org/download/)".to_string(),
        };
        format!(
            "the embedded server needs PostgreSQL's server programs `initdb` and `postgres`, version {} or later, \
             and there are none {place}{but}: {install}, or set MAYPOLE_PG_BIN to the folder that has them",
            OLDEST.major
        )
    }
}

/// The folders that fit a pattern with at most one star.
fn matching(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let Some((head, tail)) = pattern.split_once('*') else { return vec![root.join(pattern)] };
    let (parent, start) = head.rsplit_once('/').unwrap_or(("", head));
    let Ok(entries) = fs::read_dir(root.join(parent)) else { return Vec::new() };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let fitting = names.filter(|name| name.as_encoded_bytes().starts_with(start.as_bytes()));
    fitting.map(|name| root.join(parent).join(name).join(tail.trim_start_matches('/'))).collect()
}

/// What a program prints, if it runs and succeeds.
fn output(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is a small file system, removed at the end. Its programs are files of what they would print.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Root {
            let folder = env::temp_dir().join(format!("maypole-programs-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Root(folder)
        }

        fn program(&self, file: &str, prints: &str) {
            let file = self.0.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, format!("{prints}\n")).unwrap();
        }

        fn server(&self, folder: &str, version: &str) {
            self.program(&format!("{folder}/postgres"), &format!("postgres (PostgreSQL) {version}"));
            self.program(&format!("{folder}/initdb"), "");
        }

        fn search(&self, path: &[&str]) -> Search {
            let path = path.iter().map(|folder| self.0.join(folder)).collect();
            let ask = |program: &Path, _: &str| fs::read_to_string(program).ok();
            Search { named: None, path, root: self.0.clone(), ask }
        }

        fn found(&self, search: &Search) -> Result<PathBuf> {
            search.run().map(|folder| folder.strip_prefix(&self.0).unwrap().to_path_buf())
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        let version = |number: &str| Version::parse(&format!("postgres (PostgreSQL) {number}")).unwrap();
        assert!(version("9.6.24") < version("10.1"));
        assert!(version("15.9") < version("15.13 (Debian 15.13-0+deb12u1)"));
        assert!(version("15.13") < version("18beta1"));
        assert_eq!(version("18beta1"), Version { major: 18, minor: 0 });
        assert_eq!(Version::parse("no such option"), None);
    }

    #[test]
    fn of_the_usual_folders_the_newest_wins() {
        let root = Root::new("newest");
        root.server("usr/lib/postgresql/9.6/bin", "9.6.24");
        root.server("usr/lib/postgresql/15/bin", "15.13");
        root.server("usr/pgsql-16/bin", "16.2");
        root.program("usr/lib/postgresql/17/bin/postgres", "postgres (PostgreSQL) 17.0 without initdb");
        assert_eq!(root.found(&root.search(&["usr/bin"])).unwrap(), Path::new("usr/pgsql-16/bin"));
    }

    #[test]
    fn path_comes_before_pg_config_and_pg_config_before_the_usual_folders() {
        let root = Root::new("order");
        root.server("usr/lib/postgresql/16/bin", "16.2");
        root.server("opt/elsewhere/bin", "14.1");
        root.program("usr/bin/pg_config", root.0.join("opt/elsewhere/bin").to_str().unwrap());
        let search = root.search(&["usr/bin", "home/me/bin"]);
        assert_eq!(root.found(&search).unwrap(), Path::new("opt/elsewhere/bin"));
        root.server("home/me/bin", "13.0");
        assert_eq!(root.found(&search).unwrap(), Path::new("home/me/bin"));
    }

    #[test]
    fn a_folder_that_is_named_is_the_only_one_looked_at() {
        let root = Root::new("named");
        root.server("usr/lib/postgresql/16/bin", "16.2");
        root.server("mine", "14.1");
        let mut search = root.search(&[]);
        search.named = Some(root.0.join("mine"));
        assert_eq!(root.found(&search).unwrap(), Path::new("mine"));
        search.named = Some(root.0.join("nothing/here"));
        let message = search.run().unwrap_err().to_string();
        assert!(message.contains("nothing/here, the folder that MAYPOLE_PG_BIN names"), "{message}");
    }

    #[test]
    fn missing_programs_are_an_error_with_the_install_command() {
        let root = Root::new("missing");
        root.server("usr/lib/postgresql/12/bin", "12.9");
        let search = root.search(&["sbin"]);
        let error = search.run().unwrap_err();
        assert!(error.is_config());
        assert!(error.to_string().contains("(only version 12.9)"), "{error}");
        assert!(error.to_string().contains("postgresql.org/download"), "{error}");
        for (manager, command) in [("apk", "apk add postgresql"), ("apt-get", "apt-get install postgresql")] {
            root.program(&format!("sbin/{manager}"), "");
            let message = search.run().unwrap_err().to_string();
            assert!(message.contains(&format!("install them with `{command}`")), "{message}");
        }
    }
}
