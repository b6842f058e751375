//! Keywords, environment variables and setters, and what they make. Uses: config.

use super::*;

/// Reads a connection string in a process that has only these environment variables.
fn parsed(text: &str, variables: &[(&str, &str)]) -> Result<Config> {
    Config::from_text(text, &|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned()).or_else(|| (name == "USER").then(|| "ann".to_owned()))
    })
}

fn config(text: &str) -> Config {
    parsed(text, &[]).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    parsed(text, &[]).err().unwrap_or_else(|| panic!("{text} was accepted")).to_string()
}

fn places(config: &Config) -> Vec<String> {
    config.targets().unwrap().iter().map(Target::to_string).collect()
}

#[test]
fn an_empty_string_has_libpqs_defaults() {
    let config = config("");
    assert_eq!(places(&config), [defaults::socket_folder().join(".s.PGSQL.5432").display().to_string()]);
    assert_eq!(
        config.startup_parameters(),
        [("user", "ann"), ("database", "ann"), ("client_encoding", "UTF8")]
    );
    assert_eq!(config.get_password(), None);
    assert_eq!(config.sslmode, SslMode::Prefer);
    assert_eq!(config.get_connect_timeout(), Some(Duration::from_secs(5)));
    assert_eq!(config.get_tcp_user_timeout(), Some(Duration::from_secs(30)));
    let keepalives = Keepalives {
        idle: Some(Duration::from_secs(60)),
        interval: Some(Duration::from_secs(10)),
        count: Some(3),
    };
    assert_eq!(config.get_keepalives(), Some(keepalives));
    assert_eq!(config.get_max_message_size(), 1 << 30);
    assert_eq!(config.get_statement_cache_capacity(), 256);
}

#[test]
fn setters_and_both_forms_of_text_make_the_same() {
    let built = Config::new()
        .host("db1")
        .host("/run/pg")
        .port(6000)
        .port(5432)
        .user("bob")
        .password("secret")
        .dbname("shop")
        .application_name("till")
        .options("-c a=1")
        .sslmode(SslMode::Disable)
        .connect_timeout(Duration::from_secs(2))
        .keepalives(false)
        .keepalives_idle(Duration::from_secs(7))
        .keepalives_interval(None)
        .keepalives_count(9)
        .tcp_user_timeout(Duration::from_millis(1500));
    let rest = "application_name=till&options=-c%20a%3D1&sslmode=disable&connect_timeout=2&keepalives=0\
                &keepalives_idle=7&keepalives_interval=0&keepalives_count=9&tcp_user_timeout=1500";
    assert_eq!(config(&format!("postgres://bob:secret@db1:6000,%2Frun%2Fpg/shop?{rest}")), built);
    let pairs = rest.replace('&', " ").replace("-c%20a%3D1", "'-c a=1'");
    assert_eq!(
        config(&format!("host=db1,/run/pg port=6000, user=bob password=secret dbname=shop {pairs}")),
        built
    );
    assert_eq!("host=x user=y".parse::<Config>().unwrap(), Config::try_from("host=x user=y").unwrap());
}

#[test]
fn what_the_startup_message_tells_is_not_empty() {
    let config = config("user=bob application_name=till options='-c a=1'");
    assert_eq!(
        config.startup_parameters(),
        [
            ("user", "bob"),
            ("database", "bob"),
            ("client_encoding", "UTF8"),
            ("application_name", "till"),
            ("options", "-c a=1")
        ]
    );
    let emptied = config.application_name("").options("").dbname("").password("");
    assert_eq!(emptied.startup_parameters().len(), 3);
    assert_eq!(emptied.get_password(), None);
}

#[test]
fn target_session_attrs_has_the_words_of_libpq() {
    assert_eq!(config("").get_target_session_attrs(), TargetSessionAttrs::Any);
    for word in ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"] {
        let config = config(&format!("target_session_attrs={word}"));
        assert_eq!(config.get_target_session_attrs().to_string(), word);
    }
    let from_environment = parsed("", &[("PGTARGETSESSIONATTRS", "primary")]).unwrap();
    let built = config("").target_session_attrs(TargetSessionAttrs::Primary);
    assert_eq!(from_environment, built);
}

#[test]
fn hosts_are_tried_in_order_each_with_its_port() {
    assert_eq!(places(&config("postgres://db1:5433,db2,[::1]:1/")), ["db1:5433", "db2:5432", "[::1]:1"]);
    assert_eq!(places(&config("host=db1,db2 port=7")), ["db1:7", "db2:7"]);
    assert_eq!(places(&config("host=/run/a,db2 port=7")), ["/run/a/.s.PGSQL.7", "db2:7"]);
    let folder = defaults::socket_folder().join(".s.PGSQL.7").display().to_string();
    assert_eq!(places(&config("host=,db2 port=7")), [folder, "db2:7".to_owned()]);
    assert!(refused("host=a,b port=1,2,3").contains("port (byte 14): 3 ports for 2 hosts"));
    assert!(Config::new().user("a").host("a").port(1).port(2).targets().is_err());
}

#[test]
fn an_address_spares_the_look_up_of_its_host() {
    let target = &config("host=db1 hostaddr=10.0.0.1").targets().unwrap()[0];
    assert_eq!(target.host, Host::Tcp("db1".into()));
    assert_eq!(target.address, Some([10, 0, 0, 1].into()));
    assert_eq!(places(&config("hostaddr=10.0.0.1,::1 port=1,2")), ["10.0.0.1:1", "[::1]:2"]);
    assert!(refused("host=a,b hostaddr=10.0.0.1").contains("hostaddr (byte 18): 1 addresses for 2 hosts"));
    assert!(refused("host=/run/pg hostaddr=10.0.0.1").contains("a Unix socket has no address"));
    assert!(refused("hostaddr=db1").contains("hostaddr (byte 9): must be an IP address"));
}

#[test]
fn the_environment_fills_in_what_the_text_leaves_out() {
    let variables = [
        ("PGHOST", "db1,db2"),
        ("PGPORT", "6000"),
        ("PGUSER", "bob"),
        ("PGPASSWORD", "secret"),
        ("PGDATABASE", "shop"),
        ("PGAPPNAME", "till"),
        ("PGOPTIONS", "-c a=1"),
        ("PGCONNECT_TIMEOUT", "7"),
        ("PGSSLMODE", "disable"),
    ];
    let expected = config(
        "host=db1,db2 port=6000 user=bob password=secret dbname=shop application_name=till \
         options='-c a=1' connect_timeout=7 sslmode=disable",
    );
    assert_eq!(parsed("", &variables).unwrap(), expected);
    assert_eq!(parsed("postgres://", &variables).unwrap(), expected);
    let some = parsed("postgres://carl@/till?connect_timeout=0", &variables).unwrap();
    assert_eq!((some.get_user(), some.get_dbname(), some.get_connect_timeout()), ("carl", "till", None));
    assert_eq!(places(&some), ["db1:6000", "db2:6000"]);
}

#[test]
fn an_empty_value_is_the_built_in_default_and_hides_the_environment() {
    let config =
        parsed("user='' port='' password=", &[("PGUSER", "bob"), ("PGPORT", "1"), ("PGPASSWORD", "x")]);
    let config = config.unwrap();
    assert_eq!((config.get_user(), config.get_password()), ("ann", None));
    assert_eq!(config.targets().unwrap()[0].port, 5432);
}

#[test]
fn a_host_of_the_text_is_not_mixed_with_an_address_of_the_environment() {
    let config = parsed("host=db1", &[("PGHOSTADDR", "10.0.0.1")]).unwrap();
    assert_eq!(config.targets().unwrap()[0].address, None);
    let config = parsed("hostaddr=10.0.0.1", &[("PGHOST", "/run/pg")]).unwrap();
    assert_eq!(places(&config), ["10.0.0.1:5432"]);
    let config = parsed("", &[("PGHOST", "db1"), ("PGHOSTADDR", "10.0.0.1")]).unwrap();
    let target = &config.targets().unwrap()[0];
    assert_eq!((&target.host, target.address), (&Host::Tcp("db1".into()), Some([10, 0, 0, 1].into())));
}

#[test]
fn a_wrong_variable_is_named_without_its_value() {
    for name in [
        "PGPORT",
        "PGHOSTADDR",
        "PGCONNECT_TIMEOUT",
        "PGSSLMODE",
        "PGCLIENTENCODING",
        "PGTARGETSESSIONATTRS",
        "PGREQUIREAUTH",
        "PGSERVICE",
    ] {
        let message = parsed("", &[(name, "Zq7XjK9wVb")]).unwrap_err().to_string();
        assert!(message.starts_with(&format!("environment variable {name} (")), "{message}");
        assert!(!message.contains("Zq7"), "{message}");
    }
    assert!(parsed("host=db1", &[("PGSERVICE", "mine")]).is_ok(), "the host is known, no service is needed");
}

#[test]
fn numbers_have_libpqs_units_and_zero_is_none() {
    let set = config("connect_timeout=3 tcp_user_timeout=250 keepalives_idle=9 keepalives_count=2");
    assert_eq!(set.get_connect_timeout(), Some(Duration::from_secs(3)));
    assert_eq!(set.get_tcp_user_timeout(), Some(Duration::from_millis(250)));
    assert_eq!(set.get_keepalives().unwrap().idle, Some(Duration::from_secs(9)));
    assert_eq!(set.get_keepalives().unwrap().count, Some(2));
    let none = config("connect_timeout=0 tcp_user_timeout=-1 keepalives_idle=0 keepalives=1");
    assert_eq!((none.get_connect_timeout(), none.get_tcp_user_timeout()), (None, None));
    assert_eq!(none.get_keepalives().unwrap().idle, None);
    assert_eq!(config("keepalives=0").get_keepalives(), None);
    for text in ["connect_timeout=3s", "port=65536", "port=0", "keepalives=on", "keepalives_idle=99999999999"]
    {
        assert!(refused(text).contains("number"), "{text}");
    }
}

#[test]
fn tls_is_refused_until_there_is_tls() {
    for mode in ["disable", "allow", "prefer"] {
        config(&format!("sslmode={mode}"));
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let message = refused(&format!("postgres://db1/shop?sslmode={mode}"));
        assert!(message.contains("sslmode (byte 28): this build of maypole has no TLS yet"), "{message}");
    }
    for key in ["sslcert", "sslrootcert", "ssl"] {
        assert!(refused(&format!("{key}=x")).contains(&format!("{key} (byte")), "{key}");
    }
}

#[test]
fn what_maypole_does_not_do_is_refused_by_name() {
    for key in ["passfile", "service", "requirepeer", "require_auth", "krbsrvname", "replication"] {
        let message = refused(&format!("host=db1 {key}=x"));
        assert!(message.contains(&format!("{key} (byte")) && message.contains("not supported by maypole"));
    }
    config("target_session_attrs=any load_balance_hosts=disable channel_binding=prefer gssencmode=disable");
    let message = refused("target_session_attrs=writable");
    let right = "target_session_attrs (byte 21): must be any, read-write, read-only, primary, standby or prefer-standby";
    assert!(message.contains(right), "{message}");
    assert!(refused("channel_binding=require").contains("no TLS yet"));
    config("client_encoding=UTF8 user=a");
    config("client_encoding=utf-8");
    assert!(refused("client_encoding=latin1").contains("must be UTF8"));
}

#[test]
fn every_keyword_of_libpq_is_known_here() {
    for key in crate::conninfo::KEYWORDS {
        let message =
            parsed(&format!("{key}=x"), &[]).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.is_empty() || message.contains(&format!("{key} (byte")), "{message}");
    }
}

#[test]
fn nul_is_refused_by_name_in_text_and_setters() {
    for key in ["host", "user", "password", "dbname", "application_name", "options"] {
        let message = refused(&format!("{key}=a\0b"));
        assert!(message.contains(&format!("{key} (byte {}): a NUL", key.len() + 1)), "{message}");
    }
    let new = || Config::new().host("db1").user("ann");
    for (key, config) in [
        ("host", new().host("a\0b")),
        ("host", new().host("/a\0b")),
        ("user", new().user("a\0b")),
        ("password", new().password("a\0b")),
        ("dbname", new().dbname("a\0b")),
        ("application_name", new().application_name("a\0b")),
        ("options", new().options("a\0b")),
    ] {
        let message = config.targets().unwrap_err().to_string();
        assert_eq!(message, format!("connection settings: {key}: a NUL character is not allowed"));
    }
}

#[test]
fn what_is_no_host_is_refused() {
    for host in ["@abstract", "a@b", "db 1", "db1:5432", "user:pass", "[::1]", "a/b"] {
        assert!(refused(&format!("host='{host}'")).contains("host (byte 5)"), "{host}");
        assert!(Config::new().user("ann").host(host).targets().is_err(), "{host}");
    }
    for host in ["db-1.example.org", "::1", "fe80::1%eth0", "10.0.0.1", "bücher.example"] {
        config(&format!("host={host}"));
    }
}

#[test]
fn a_user_must_be_known() {
    let message = Config::new().user("").targets().unwrap_err().to_string();
    assert!(message.contains("user: is missing"), "{message}");
}

#[test]
fn debug_masks_the_password() {
    let config = Config::new().host("db1").password("Zq7XjK9wVb");
    let text = format!("{config:?} {config:#?} {:?}", config.clone());
    assert!(text.contains("db1") && !text.contains("Zq7"), "{text}");
}
