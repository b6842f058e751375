//! Environments, databases as text and table, and what is refused. Uses: settings.

use super::*;

const TEXT: &str = r#"
[default]
database = "embedded"
archive = "postgres://ann@db1:6000/old"

[production]
database = { url = "postgres://app@db1,db2/shop?connect_timeout=9", limit = 20 }

[test.database]
url = "embedded"
limit = 3
acquire_timeout = "250ms"
query_timeout = "none"
connect_timeout = "1m30s"
max_waiting = 5
statement_cache_capacity = 7
application_name = "till of ${USER}"
"#;

fn variables(name: &str) -> Option<String> {
    match name {
        "USER" => Some("ann".to_owned()),
        "SECRET" => Some("Zq7XjK9wVb".to_owned()),
        _ => None,
    }
}

fn settings(text: &str, environment: &str) -> Result<Settings> {
    Settings::from_text(text, Path::new("app.toml"), environment)
}

fn database(environment: &str, name: &str) -> Result<DatabaseSettings> {
    settings(TEXT, environment)?.database_with(name, &variables)
}

/// What is wrong with a database whose settings are these lines; they begin in line 2.
fn refused(lines: &str) -> String {
    let settings = settings(&format!("[default]\n{lines}"), "default");
    let error = settings.and_then(|settings| settings.database_with("database", &variables)).err();
    let error = error.unwrap_or_else(|| panic!("accepted: {lines}"));
    assert!(error.is_config());
    error.to_string()
}

fn config(settings: DatabaseSettings) -> Config {
    match settings.url {
        Url::Config(config) => *config,
        Url::Embedded => panic!("embedded"),
    }
}

#[test]
fn a_text_is_the_url_and_the_rest_has_defaults() {
    let settings = database("default", "database").unwrap();
    assert!(matches!(settings.url, Url::Embedded));
    assert_eq!((settings.limit, settings.max_waiting), (10, 8192));
    assert_eq!(settings.acquire_timeout, Duration::from_secs(5));
    assert_eq!(settings.query_timeout, Some(Duration::from_secs(30)));
    let plain = Config::new().host("db1").user("ann");
    assert_eq!(settings.configure(plain.clone()), plain);
}

#[test]
fn a_table_sets_what_it_names() {
    let settings = database("test", "database").unwrap();
    assert!(matches!(settings.url, Url::Embedded));
    assert_eq!((settings.limit, settings.max_waiting), (3, 5));
    assert_eq!(settings.acquire_timeout, Duration::from_millis(250));
    assert_eq!(settings.query_timeout, None);
    let configured = settings.configure(Config::new().user("ann"));
    assert_eq!(configured.get_connect_timeout(), Some(Duration::from_secs(90)));
    assert_eq!(configured.get_statement_cache_capacity(), 7);
    assert!(configured.startup_parameters().contains(&("application_name", "till of ann")));
}

#[test]
fn settings_beside_the_url_are_applied_to_it() {
    let text = "[default]\ndatabase = { url = 'postgres://app@db1?connect_timeout=9', connect_timeout = 'none',\
                password = '${SECRET}', application_name = 'till' }";
    let settings = settings(text, "default").unwrap().database_with("database", &variables).unwrap();
    assert!(!format!("{settings:?}").contains("Zq7"));
    let config = config(settings);
    assert_eq!(config.get_connect_timeout(), None);
    assert_eq!(config.get_password().map(|password| password.expose()), Some(&b"Zq7XjK9wVb"[..]));
    assert!(config.startup_parameters().contains(&("application_name", "till")));
}

#[test]
fn the_environment_is_chosen_and_the_default_fills_in() {
    let settings = database("production", "database").unwrap();
    assert_eq!(settings.limit, 20);
    let config = config(settings);
    assert_eq!(config.get_connect_timeout(), Some(Duration::from_secs(9)));
    let places: Vec<_> = config.targets().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(places, ["db1:5432", "db2:5432"]);
    assert!(matches!(database("production", "archive").unwrap().url, Url::Config(_)));
    let names = self::settings(TEXT, "production").unwrap();
    assert_eq!(names.names().collect::<Vec<_>>(), ["database", "archive"]);
}

#[test]
fn an_unknown_environment_is_told_what_there_is() {
    let message = settings(TEXT, "prodution").err().unwrap().to_string();
    assert_eq!(
        message,
        "app.toml: there is no environment [prodution], which MAYPOLE_ENV asks for; \
         there are default, production, test; did you mean \"production\"?"
    );
    let message = settings("[production]\n", "default").err().unwrap().to_string();
    assert!(message.contains("is used if MAYPOLE_ENV is not set; there is production"), "{message}");
    assert!(settings("", "default").err().unwrap().to_string().contains("there are none"));
}

#[test]
fn an_unknown_database_is_told_what_there_is() {
    let message = database("production", "databse").unwrap_err().to_string();
    assert_eq!(
        message,
        "app.toml: there is no setting \"databse\" in [production] or [default]; \
         there are database, archive; did you mean \"database\"?"
    );
}

#[test]
fn errors_tell_file_line_key_and_what_would_be_right() {
    let cases = [
        ("database = 5", "line 2: database: must be \"embedded\", a connection string"),
        (
            "database = \"embeded\"",
            "line 2: database: must be \"embedded\" or a connection string; did you mean",
        ),
        ("\ndatabase = { limit = 3 }", "line 3: database: has no url"),
        ("database = { url = 5 }", "line 2: url: must be a text"),
        ("[default.database]\nurl = \"embedded\"\nlimt = 3", "did you mean \"limit\"?"),
        (
            "[default.database]\nurl = \"embedded\"\nlimit = 0",
            "line 4: limit: must be a whole number, at least 1",
        ),
        ("[default.database]\nurl = \"embedded\"\nlimit = \"3\"", "line 4: limit: must be a whole number"),
        ("[default.database]\nurl = \"embedded\"\nlimit = 99999999999999999999", "line 4: limit"),
        ("[default.database]\nmax_waiting = -1\nurl = \"embedded\"", "line 3: max_waiting"),
        (
            "[default.database]\nurl = \"embedded\"\nquery_timeout = 30",
            "line 4: query_timeout: must be a duration",
        ),
        ("[default.database]\nurl = \"embedded\"\nquery_timeout = \"0s\"", "no limit is \"none\""),
        (
            "[default.database]\nurl = \"embedded\"\nacquire_timeout = \"none\"",
            "acquire_timeout: must be a duration",
        ),
        ("[default.database]\nurl = \"embedded\"\npassword = \"x\"", "line 4: password: the embedded server"),
        ("[default.database]\nurl = \"host=h\"\npassword = \"a\\u0000b\"", "password: a NUL character"),
        (
            "database = \"postgres://db1?prot=1\"",
            "line 2: database: connection string: no such keyword (byte 15)",
        ),
        ("[default.database]\nurl = \"port=x\"", "line 3: url: connection string: port (byte 5)"),
        ("database = \"${NO_SUCH}\"", "line 2: database: the environment variable NO_SUCH is not set"),
        ("database = \"${NO_SUCH\"", "a variable is written ${NAME}"),
        ("database = ", "line 2: "),
    ];
    for (lines, expected) in cases {
        let message = refused(lines);
        assert!(message.starts_with("app.toml, line "), "{message}");
        assert!(message.contains(expected), "{lines}: {message}");
    }
    let message = settings("database = \"embedded\"", "default").err().unwrap().to_string();
    assert_eq!(message, "app.toml, line 1: settings stand below an environment, such as [default]");
}

#[test]
fn no_error_quotes_a_url() {
    let marker = "Zq7XjK9wVb";
    for lines in [
        format!("database = \"postgres://ann:{marker}@x@db1/shop\""),
        format!("database = \"postgres://ann:{marker}@db1/shop?sslmode=require\""),
        format!("database = \"postgres://ann:{marker}@db1/shop"),
        format!("database = postgres://ann:{marker}@db1/shop"),
        format!("database = \"{marker}\""),
        format!("database = \"${{{marker}@\""),
        format!("database = {{ \"postgres://ann:{marker}@db1\" }}"),
        format!("database = {{ url = \"host=a\", \"postgres://ann:{marker}@db1\" = 1 }}"),
        format!("database = {{ url = \"host=a\", limit = \"{marker}\" }}"),
        format!("database = {{ url = \"host=a\", query_timeout = \"{marker}\" }}"),
        format!("database = [\"postgres://ann:{marker}@db1\"]"),
        "database = \"postgres://ann:${SECRET}:@@db1\"".to_owned(),
    ] {
        let message = refused(&lines);
        assert!(!message.contains("Zq7"), "{message}");
    }
}

#[test]
fn variables_are_substituted() {
    let read = |text| substitute(text, &variables);
    assert_eq!(read("a ${USER}, ${USER}$").as_deref(), Ok("a ann, ann$"));
    assert_eq!(read("$${USER} $USER {USER} $$").as_deref(), Ok("${USER} $USER {USER} $$"));
    assert_eq!(read("ä${SECRET}ö").as_deref(), Ok("äZq7XjK9wVbö"));
    assert_eq!(read("${NO_SUCH}").unwrap_err(), "the environment variable NO_SUCH is not set");
    for text in ["${", "${}", "${A B}", "${1}", "x${A"] {
        assert!(read(text).unwrap_err().contains("${NAME}"), "{text}");
    }
}

#[test]
fn only_the_database_that_is_asked_for_needs_its_variables() {
    let text = "[default]\ndatabase = \"embedded\"\nother = \"${NO_SUCH}\"\n[x]\ndatabase = \"${NO_SUCH}\"";
    let settings = settings(text, "default").unwrap();
    assert!(settings.database_with("database", &variables).is_ok());
    assert!(settings.database_with("other", &variables).is_err());
}

/// A folder of its own that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = env::temp_dir().join(format!("maypole-settings-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_file_is_searched_upward() {
    let folder = Folder::new("search");
    let deep = folder.0.join("a/b");
    let message = search(&deep).unwrap_err().to_string();
    assert!(message.contains("there is no app.toml") && message.contains("MAYPOLE_SETTINGS"), "{message}");
    fs::write(folder.0.join(FILE), TEXT).unwrap();
    assert_eq!(search(&deep).unwrap(), folder.0.join(FILE));
    fs::write(folder.0.join("a").join(FILE), TEXT).unwrap();
    assert_eq!(search(&deep).unwrap(), folder.0.join("a").join(FILE));
}

#[test]
fn variables_name_the_file_and_the_environment() {
    let folder = Folder::new("read");
    fs::write(folder.0.join(FILE), TEXT).unwrap();
    fs::write(folder.0.join("other.toml"), "[default]\nother = \"embedded\"").unwrap();
    let read = |named: &str, environment: &str| {
        let settings = Settings::read(&folder.0.join("a"), Some(named.into()), Some(environment.into()))?;
        Ok::<_, Error>(settings.names().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(read("", "").unwrap(), ["database", "archive"]);
    assert_eq!(read("../other.toml", "default").unwrap(), ["other"]);
    assert!(read("", "staging").unwrap_err().to_string().contains("[staging], which MAYPOLE_ENV asks for"));
    let missing = format!("{:?}", read("missing.toml", "").unwrap_err());
    assert!(missing.contains("missing.toml can't be read") && missing.contains("caused by"), "{missing}");
    assert!(Settings::read(&folder.0, None, None).is_ok());
}
