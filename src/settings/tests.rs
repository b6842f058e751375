//! Environments, databases as text and table, and what is refused. Uses: settings.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::value::substitute;
use super::*;
use crate::config::TargetSessionAttrs;
use crate::pool::{Pool, SessionReset};

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
        "LIMIT" => Some("7".to_owned()),
        "OFF" => Some("false".to_owned()),
        "WAIT" => Some("9s".to_owned()),
        "NONE" => Some("none".to_owned()),
        _ => None,
    }
}

fn settings(text: &str, environment: &str) -> Result<Settings> {
    Settings::from_text(text, Path::new("app.toml"), environment)
}

/// What stands for the embedded server's address.
fn embedded(pool: PoolBuilder) -> Result<(PoolBuilder, Config)> {
    Ok((pool, Config::new().host("embedded").user("ann")))
}

fn not_embedded(_: PoolBuilder) -> Result<(PoolBuilder, Config)> {
    panic!("it has a server");
}

fn database(environment: &str, name: &str) -> Result<(PoolBuilder, Config)> {
    settings(TEXT, environment)?.database(name, &variables, embedded)
}

/// What these lines make of a database that is not embedded.
fn read(lines: &str) -> (PoolBuilder, Config) {
    let settings = settings(&format!("[default]\n{lines}"), "default");
    let made = settings.and_then(|settings| settings.database("database", &variables, not_embedded));
    made.unwrap_or_else(|error| panic!("{lines}: {error}"))
}

/// What is wrong with a database whose settings are these lines; they begin in line 2.
fn refused(lines: &str) -> String {
    let settings = settings(&format!("[default]\n{lines}"), "default");
    let error = settings.and_then(|settings| settings.database("database", &variables, embedded)).err();
    let error = error.unwrap_or_else(|| panic!("accepted: {lines}"));
    assert!(error.is_config());
    format!("{error:?}")
}

fn is_like(made: &PoolBuilder, expected: &PoolBuilder) {
    assert_eq!(format!("{made:#?}"), format!("{expected:#?}"));
}

#[test]
fn a_text_is_the_url_and_the_rest_has_defaults() {
    let (pool, config) = database("default", "database").unwrap();
    is_like(&pool, &Pool::builder().name("database"));
    assert_eq!(config, Config::new().host("embedded").user("ann"));
}

#[test]
fn a_table_sets_what_it_names() {
    let (pool, config) = database("test", "database").unwrap();
    let expected = Pool::builder()
        .name("database")
        .limit(3)
        .max_waiting(5)
        .acquire_timeout(Duration::from_millis(250))
        .query_timeout(None);
    is_like(&pool, &expected);
    assert_eq!(config.get_connect_timeout(), Some(Duration::from_secs(90)));
    assert_eq!(config.get_statement_cache_capacity(), 7);
    assert!(config.startup_parameters().contains(&("application_name", "till of ann")));
}

/// A value that is not the default for each key, and the same with setters.
const EVERY_KEY: &str = r#"
url = "postgres://app@db1/shop"
password = "${SECRET}"
target_session_attrs = "prefer-standby"
application_name = "till"
connect_timeout = "2s"
keepalives = true
keepalives_idle = "1m"
keepalives_interval = "7s"
keepalives_count = 9
tcp_user_timeout = "1500ms"
statement_cache_capacity = 12
max_message_size = 65536
name = "shop of ${USER}"
limit = 20
lanes = 6
largest_group = 16
min_idle = 3
max_waiting = 100
max_connecting = 4
acquire_timeout = "none"
query_timeout = "1m30s"
max_lifetime = "1h"
idle_timeout = "5m"
ping_after_idle = "10s"
ping_timeout = "500ms"
clean_up_timeout = "3s"
leak_warning = "1m"
max_hold = "2m"
session_reset = "lazy"
"#;

#[test]
fn every_key_has_its_effect_in_a_section_and_in_an_inline_table() {
    let seconds = Duration::from_secs;
    let expected_pool = Pool::builder()
        .name("shop of ann")
        .limit(20)
        .lanes(6)
        .largest_group(16)
        .min_idle(3)
        .max_waiting(100)
        .max_connecting(4)
        .acquire_timeout(None)
        .query_timeout(seconds(90))
        .max_lifetime(seconds(3600))
        .idle_timeout(seconds(300))
        .ping_after_idle(seconds(10))
        .ping_timeout(Duration::from_millis(500))
        .clean_up_timeout(seconds(3))
        .leak_warning(seconds(60))
        .max_hold(seconds(120))
        .session_reset(SessionReset::Lazy);
    let expected_config = Config::from_text("postgres://app@db1/shop", &variables)
        .unwrap()
        .password("Zq7XjK9wVb")
        .target_session_attrs(TargetSessionAttrs::PreferStandby)
        .application_name("till")
        .connect_timeout(seconds(2))
        .keepalives(true)
        .keepalives_idle(seconds(60))
        .keepalives_interval(seconds(7))
        .keepalives_count(9)
        .tcp_user_timeout(Duration::from_millis(1500))
        .statement_cache_capacity(12)
        .max_message_size(65536);
    let section = format!("[default.database]{EVERY_KEY}");
    let inline = format!("database = {{ {} }}", EVERY_KEY.trim().replace('\n', ", "));
    for lines in [section, inline] {
        let (pool, config) = read(&lines);
        is_like(&pool, &expected_pool);
        assert_eq!(config, expected_config);
    }
    let named: Vec<&str> = EVERY_KEY.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    for key in database::keys().filter(|key| *key != "password_file") {
        assert!(named.contains(&key), "{key} is not tried here");
    }
    assert_eq!(named.len() + 1, database::keys().count());
}

/// The page for operators has each key once, and its defaults, given as settings, change nothing.
#[test]
fn the_page_for_operators_lists_every_key_with_its_default() {
    let page = include_str!("../../docs/operating.md");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.strip_suffix('`')?, cells.next()?, cells.next()?))
    });
    let table: Vec<_> = rows.take_while(|(key, ..)| !key.starts_with("db.client")).collect();
    let listed: Vec<&str> = table.iter().map(|(key, ..)| *key).collect();
    let known: Vec<&str> = database::keys().collect();
    for key in &known {
        assert_eq!(listed.iter().filter(|other| *other == key).count(), 1, "{key}");
    }
    assert_eq!(listed.len(), known.len(), "a key that there is not: {listed:?}");
    let defaults: Vec<String> = table
        .iter()
        .filter_map(|(key, default, _)| {
            Some(format!("{key} = {}\n", default.strip_prefix('`')?.strip_suffix('`')?))
        })
        .collect();
    assert_eq!(defaults.len(), table.len() - 6, "all but the URL, passwords, names and lanes have a default");
    let (pool, config) =
        read(&format!("[default.database]\nurl = \"host=db1 user=ann\"\n{}", defaults.concat()));
    is_like(&pool, &Pool::builder().name("database"));
    assert_eq!(config, Config::new().host("db1").user("ann"));
}

#[test]
fn none_takes_each_limit_away_that_can_be_absent() {
    let keys = [
        "acquire_timeout",
        "query_timeout",
        "max_lifetime",
        "idle_timeout",
        "ping_after_idle",
        "leak_warning",
        "max_hold",
        "connect_timeout",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
    ];
    let lines: String = keys.iter().map(|key| format!("{key} = \"none\"\n")).collect();
    let (pool, config) = read(&format!("[default.database]\nurl = \"host=db1 user=ann\"\n{lines}"));
    let expected = Pool::builder()
        .name("database")
        .acquire_timeout(None)
        .query_timeout(None)
        .max_lifetime(None)
        .idle_timeout(None)
        .ping_after_idle(None)
        .leak_warning(None)
        .max_hold(None);
    is_like(&pool, &expected);
    let expected = Config::new()
        .host("db1")
        .user("ann")
        .connect_timeout(None)
        .keepalives_idle(None)
        .keepalives_interval(None)
        .keepalives_count(None)
        .tcp_user_timeout(None);
    assert_eq!(config, expected);
}

#[test]
fn a_variable_may_stand_for_a_number_a_switch_or_a_duration() {
    let (pool, config) = read(
        "[default.database]\nurl = \"host=db1\"\nlimit = \"${LIMIT}\"\nkeepalives = \"${OFF}\"\n\
         query_timeout = \"${WAIT}\"\nmax_hold = \"${NONE}\"\nkeepalives_count = \"${LIMIT}\"",
    );
    let expected = Pool::builder().name("database").limit(7).query_timeout(Duration::from_secs(9));
    is_like(&pool, &expected);
    assert_eq!(config.get_keepalives(), None);
    for (line, expected) in [
        ("limit = \"${NO_SUCH}\"", "limit: the environment variable NO_SUCH is not set"),
        ("keepalives_count = \"${NO_SUCH}\"", "the environment variable NO_SUCH is not set"),
        ("limit = \"${SECRET}\"", "limit: must be a whole number, at least 1"),
        ("keepalives = \"${SECRET}\"", "keepalives: must be true or false"),
        ("query_timeout = \"${SECRET}\"", "query_timeout: must be a duration"),
        ("session_reset = \"${SECRET}\"", "session_reset: must be \"never\" or \"lazy\""),
    ] {
        let message = refused(&format!("[default.database]\nurl = \"host=db1\"\n{line}"));
        assert!(message.starts_with("app.toml, line 4: ") && message.contains(expected), "{message}");
        assert!(!message.contains("Zq7"), "{message}");
    }
}

#[test]
fn settings_beside_the_url_are_applied_to_it() {
    let (pool, config) = read(
        "database = { url = 'postgres://app@db1?connect_timeout=9', connect_timeout = 'none',\
         password = '${SECRET}', application_name = 'till' }",
    );
    assert!(!format!("{pool:?} {config:?}").contains("Zq7"));
    assert_eq!(config.get_connect_timeout(), None);
    assert_eq!(config.get_password().map(|password| password.expose()), Some(&b"Zq7XjK9wVb"[..]));
    assert!(config.startup_parameters().contains(&("application_name", "till")));
}

#[test]
fn the_environment_is_chosen_and_the_default_fills_in() {
    let (pool, config) = database("production", "database").unwrap();
    is_like(&pool, &Pool::builder().name("database").limit(20));
    assert_eq!(config.get_connect_timeout(), Some(Duration::from_secs(9)));
    let places: Vec<_> = config.targets().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(places, ["db1:5432", "db2:5432"]);
    let (pool, config) = database("production", "archive").unwrap();
    is_like(&pool, &Pool::builder().name("archive"));
    assert_eq!(config.targets().unwrap()[0].port, 6000);
    let names = self::settings(TEXT, "production").unwrap();
    assert_eq!(names.names().collect::<Vec<_>>(), ["database", "archive"]);
}

/// A folder with a settings file whose database has its password in a file.
fn with_password_file(content: &[u8], mode: u32, named: &str) -> Result<Config> {
    let folder = Folder::new("password");
    let file = folder.0.join("a/secret");
    fs::write(&file, content).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }
    let named = named.replace("FOLDER", folder.0.to_str().unwrap());
    let text =
        format!("[default.database]\nurl = \"host=db1 user=ann password=old\"\npassword_file = \"{named}\"");
    let settings = Settings::from_text(&text, &folder.0.join("app.toml"), "default")?;
    Ok(settings.database("database", &variables, not_embedded)?.1)
}

#[test]
fn a_password_is_read_from_a_file_without_its_last_newline() {
    for (content, expected) in [
        ("Zq7XjK9wVb", "Zq7XjK9wVb"),
        ("Zq7XjK9wVb\n", "Zq7XjK9wVb"),
        ("Zq7XjK9wVb\r\n", "Zq7XjK9wVb"),
        (" Zq7 \n\n", " Zq7 \n"),
    ] {
        for named in ["a/secret", "FOLDER/a/secret"] {
            let config = with_password_file(content.as_bytes(), 0o600, named).unwrap();
            assert_eq!(config.get_password().map(|password| password.expose()), Some(expected.as_bytes()));
        }
    }
}

#[test]
fn a_password_file_that_will_not_do_is_told_by_line_and_never_quoted() {
    let marker = "Zq7XjK9wVb";
    for (content, mode, named, expected) in [
        (marker.as_bytes(), 0o600, "Zq7", "the file can't be read"),
        (marker.as_bytes(), 0o600, "a", "must be the path of a file, and it is none"),
        (marker.as_bytes(), 0o600, "", "must be the path of a file, in quotes"),
        (marker.as_bytes(), 0o640, "a/secret", "chmod 600"),
        (marker.as_bytes(), 0o604, "a/secret", "chmod 600"),
        (b"\xffZq7XjK9wVb", 0o600, "a/secret", "not UTF-8"),
        (b"Zq7\0", 0o600, "a/secret", "password: a NUL character"),
        (b"\n", 0o600, "a/secret", "the file is empty"),
        (&[b'Z'; 70_000], 0o600, "a/secret", "too long"),
    ] {
        let error = with_password_file(content, mode, named).unwrap_err();
        let message = format!("{error:?}");
        assert!(message.contains("app.toml, line "), "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("Zq7") && !message.contains("ZZZ"), "{message}");
    }
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
    let message = database("production", "databse").map(drop).unwrap_err().to_string();
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
            "[default.database]\nurl = \"embedded\"\nmax_connections = 3",
            "no such key; it is \"limit\" here; a",
        ),
        (
            "[default.database]\nurl = \"host=h\"\nsslmode = \"prefer\"",
            "no such key; it is a part of the url; a",
        ),
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
            "[default.database]\nurl = \"embedded\"\nping_timeout = \"none\"",
            "line 4: ping_timeout: must be a duration in quotes, such as \"30s\", \"250ms\" or \"1m30s\"",
        ),
        (
            "[default.database]\nurl = \"embedded\"\nping_timeout = \"0s\"",
            "ping_timeout: must be longer than",
        ),
        ("[default.database]\nurl = \"embedded\"\nmax_hold = \"0ms\"", "no limit is \"none\""),
        ("[default.database]\nurl = \"embedded\"\nkeepalives_idle = \"500ms\"", "must be whole seconds"),
        ("[default.database]\nurl = \"embedded\"\nkeepalives = \"on\"", "keepalives: must be true or false"),
        ("[default.database]\nurl = \"embedded\"\nkeepalives_count = 0", "at least 1, or \"none\""),
        (
            "[default.database]\nurl = \"embedded\"\nsession_reset = \"lasy\"",
            "line 4: session_reset: must be \"never\" or \"lazy\"",
        ),
        (
            "[default.database]\nurl = \"embedded\"\nlimit = 3\nmin_idle = 4",
            "line 5: min_idle: there can't be more idle",
        ),
        (
            "[default.database]\nurl = \"embedded\"\nlanes = -1",
            "line 4: lanes: must be a whole number, at least 0",
        ),
        (
            "[default.database]\nurl = \"embedded\"\nlanes = \"all\"",
            "line 4: lanes: must be a whole number, at least 0",
        ),
        (
            "[default.database]\nurl = \"embedded\"\nlimit = 3\nlanes = 4",
            "line 5: lanes: there can't be more lanes than the limit allows",
        ),
        ("database = { url = \"embedded\", lanes = 11 }", "line 2: lanes: there can't be more lanes"),
        (
            "[default.database]\nurl = \"embedded\"\nlargest_group = 0",
            "line 4: largest_group: must be a whole number, at least 1",
        ),
        ("[default.database]\nurl = \"embedded\"\nlane = 0", "did you mean \"lanes\"?"),
        ("database = { url = \"embedded\", limit = 70000 }", "line 2: limit: a pool has at most 4,095"),
        (
            "[default.database]\nurl = \"host=h\"\npassword_file = \"x\"\npassword = \"y\"",
            "line 4: password_file: password is given too",
        ),
        ("[default.database]\nurl = \"embedded\"\npassword_file = \"x\"", "the embedded server has none"),
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
    assert!(settings.database("database", &variables, embedded).is_ok());
    assert!(settings.database("other", &variables, embedded).is_err());
}

/// A folder of its own that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        // Tests run at the same time, and some make several.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("maypole-settings-{name}-{}-{number}", std::process::id()));
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
