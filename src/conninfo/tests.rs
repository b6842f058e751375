//! Both forms of connection strings, and that no error of them holds a password. Uses: config, conninfo.

use proptest::prelude::*;

use super::*;
use crate::config::Config;

/// Key and value of every parameter, in the order of the keywords.
fn read(text: &str) -> Vec<(&'static str, String)> {
    let mut found: Vec<_> = match parse(text) {
        Ok(parameters) => parameters.into_iter().map(|p| (p.key, p.value)).collect(),
        Err(error) => panic!("{text}: {error}"),
    };
    found.sort();
    found
}

fn refused(text: &str) -> String {
    parse(text).err().unwrap_or_else(|| panic!("{text} was accepted")).to_string()
}

#[track_caller]
fn same(text: &str, expected: &[(&str, &str)]) {
    let found = read(text);
    let found: Vec<(&str, &str)> = found.iter().map(|(key, value)| (*key, value.as_str())).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn a_url_has_all_its_parts() {
    for scheme in ["postgres", "postgresql"] {
        same(
            &format!("{scheme}://ann:secret@db1:6000/shop?application_name=till&connect_timeout=3"),
            &[
                ("application_name", "till"),
                ("connect_timeout", "3"),
                ("dbname", "shop"),
                ("host", "db1"),
                ("password", "secret"),
                ("port", "6000"),
                ("user", "ann"),
            ],
        );
    }
}

#[test]
fn every_part_of_a_url_may_be_empty() {
    same("postgres://", &[]);
    same("postgresql:///", &[]);
    same("postgres://?", &[]);
    same("postgres:///?", &[]);
    same("postgres://@/", &[]);
    same("postgres://ann@", &[("user", "ann")]);
    same("postgres://:@", &[("password", "")]);
    same("postgres://:6000", &[("port", "6000")]);
    same("postgres://db1:/", &[("host", "db1")]);
    same("postgres:///shop", &[("dbname", "shop")]);
    same("postgres://db1?dbname=shop&", &[("dbname", "shop"), ("host", "db1")]);
}

#[test]
fn percent_codes_are_decoded_in_every_part_of_a_url() {
    same(
        "postgres://a%40b:p%2Fw%3A%25%c3%a4@d%62:5%34/s%2fh?%75ser=c%3Dd",
        &[("dbname", "s/h"), ("host", "db"), ("password", "p/w:%ä"), ("port", "54"), ("user", "c=d")],
    );
    same("postgres://h/d?options=-c%20a%3D1", &[("dbname", "d"), ("host", "h"), ("options", "-c a=1")]);
    same("postgres://a+b@h", &[("host", "h"), ("user", "a+b")]);
}

#[test]
fn a_socket_folder_is_a_percent_encoded_host_or_a_parameter() {
    same("postgres://%2Frun%2Fpg/shop", &[("dbname", "shop"), ("host", "/run/pg")]);
    same("postgres://%2Frun%2Fpg:6000", &[("host", "/run/pg"), ("port", "6000")]);
    same("postgres:///shop?host=/run/pg", &[("dbname", "shop"), ("host", "/run/pg")]);
    same("postgres://db1:6000/?host=/run/pg", &[("host", "/run/pg"), ("port", "6000")]);
}

#[test]
fn ipv6_addresses_stand_in_brackets() {
    same("postgres://[::1]/", &[("host", "::1")]);
    same(
        "postgres://ann@[fe80::1%25eth0]:6000/",
        &[("host", "fe80::1%eth0"), ("port", "6000"), ("user", "ann")],
    );
    same("postgres://[::1]:1,[::2],c:3", &[("host", "::1,::2,c"), ("port", "1,,3")]);
    assert!(refused("postgres://[::1/d").contains("host (byte 11)"));
    assert!(refused("postgres://[]/d").contains("IPv6"));
    assert!(refused("postgres://[::1]6000/d").contains("[::1]:5432"));
}

#[test]
fn lists_of_hosts_keep_empty_items() {
    same("postgres://db1:5432,db2/", &[("host", "db1,db2"), ("port", "5432,")]);
    same("postgres://db1,db2/", &[("host", "db1,db2")]);
    same("postgres://db1,,db3:1/", &[("host", "db1,,db3"), ("port", ",,1")]);
}

#[test]
fn pairs_may_have_spaces_quotes_and_backslashes() {
    same("", &[]);
    same("  \n\t", &[]);
    same("host=db1 port=6000", &[("host", "db1"), ("port", "6000")]);
    same("  host = db1\n\tport\t=\t6000 ", &[("host", "db1"), ("port", "6000")]);
    same("password='it\\'s a \\\\' user=ann", &[("password", "it's a \\"), ("user", "ann")]);
    same(r"password=it\'s\ a\\b", &[("password", r"it's a\b")]);
    same(r"password=a\ ", &[("password", "a ")]);
    same(r"password=a\", &[("password", "a")]);
    same("password='' user=", &[("password", ""), ("user", "")]);
    same("options='-c a=1 -c b=2'", &[("options", "-c a=1 -c b=2")]);
    same("password=a=b%20c", &[("password", "a=b%20c")]);
    same("user = 'ä ö'", &[("user", "ä ö")]);
}

#[test]
fn the_last_one_of_several_values_counts() {
    same("host=a host=b host=c", &[("host", "c")]);
    same(
        "postgres://ann@db1:1/shop?user=bob&port=2&dbname=till",
        &[("dbname", "till"), ("host", "db1"), ("port", "2"), ("user", "bob")],
    );
}

#[test]
fn errors_name_the_keyword_and_the_byte() {
    let cases = [
        ("postgres://ann:a%zz@h", "password (byte 16): two hexadecimal digits"),
        ("postgres://ann:a%4", "port (byte 16): two hexadecimal digits"),
        ("postgres://ann:ä%00@h", "password (byte 18): %00"),
        ("postgres://%ff@h", "user (byte 11): is not UTF-8"),
        ("postgres://ann:a@b@h", "host (byte 18): a second '@'"),
        ("postgres://ann:1/2@h/d", "dbname (byte 18): an '@' is written %40"),
        ("postgres://ann:1?2@h/d", "(byte 16): a '?' before the '@'"),
        ("postgres://h/d?user", "parameter (byte 15): a keyword without '='"),
        ("postgres://h/d?user=a&&port=1", "parameter (byte 22)"),
        ("postgres://h/d?user=a=b", "user (byte 21): a second '='"),
        ("postgres://h/d?%=b", "parameter (byte 15): two hexadecimal digits"),
        ("  postgres://h/d?prot=1 ", "no such keyword (byte 17); did you mean \"port\"?"),
        ("host=a prot=1", "no such keyword (byte 7); did you mean \"port\"?"),
        ("host=a password='b c", "password (byte 16): the quote that begins here has no end"),
        ("password='a'b'", "password (byte 12): a space must follow"),
        ("host=a b c=d", "keyword (byte 7): no '='"),
        ("host=a b", "keyword (byte 7): no '='"),
        ("=a", "no such keyword (byte 0)"),
        ("postgress://h/d?user=a", "begins with postgres://"),
        ("HTTP://h", "begins with postgres://"),
    ];
    for (text, expected) in cases {
        let message = refused(text);
        assert!(message.contains(expected), "{text}: {message}");
    }
}

/// A password that shares no three characters with any message.
const MARKER: &str = "Zq7XjK9wVb";

fn free_of_marker(text: &str, error: &Error) {
    for message in [error.to_string(), format!("{error:?}"), format!("{:?}", error.duplicate())] {
        for start in 0..MARKER.len() - 2 {
            let piece = &MARKER[start..start + 3];
            assert!(!message.contains(piece), "{piece} of the password in: {message}\nfrom: {text}");
        }
    }
}

fn parsed(text: &str) -> Result<Config> {
    Config::from_text(text, &|name| (name == "USER").then(|| "ann".to_owned()))
}

#[test]
fn no_error_quotes_a_password_in_an_odd_place() {
    let (a, b) = MARKER.split_at(5);
    let texts = [
        format!("postgres://ann:{a}@{b}@db1/shop"),
        format!("postgres://ann:{a}/{b}@db1/shop"),
        format!("postgres://ann:12/{MARKER}@db1/shop"),
        format!("postgres://ann:{a}%{b}@db1/shop"),
        format!("postgres://ann:{a}?{b}@db1/shop"),
        format!("postgres://ann:12?{a}={b}@db1/shop"),
        format!("postgres://ann:{MARKER}"),
        format!("postgres://ann:{MARKER}/db1"),
        format!("postgres://db1:{MARKER}:5432/shop"),
        format!("postgres://ann@[{MARKER}/shop"),
        format!("postgres://db1/shop?{MARKER}=1"),
        format!("postgres://db1/shop?{MARKER}"),
        format!("postgres://db1/shop?sslmode={MARKER}"),
        format!("postgres://db1/shop?passwrod={MARKER}"),
        format!("postgres://db1/shop?password={a}={b}"),
        format!("postgresq://ann:{MARKER}@db1/shop"),
        format!("postgres:/ann:{MARKER}@db1/shop"),
        format!("password={a} {b} host=db1"),
        format!("password={a} {b}=x host=db1"),
        format!("password='{MARKER} host=db1"),
        format!("password='{a}'{b}' host=db1"),
        MARKER.to_owned(),
        format!("{MARKER}={MARKER}"),
        format!("passwrod={MARKER}"),
        format!("password={MARKER}\0"),
        format!("port={MARKER}"),
        format!("hostaddr={MARKER}"),
        format!("host=ann:{MARKER}@db1"),
        format!("host=@{MARKER}"),
        format!("host=ann:{MARKER}"),
        format!("connect_timeout={MARKER}"),
        format!("keepalives={MARKER}"),
        format!("client_encoding={MARKER}"),
        format!("target_session_attrs={MARKER}"),
        format!("channel_binding={MARKER}"),
        format!("sslpassword={MARKER}"),
        format!("service={MARKER}"),
        format!("dbname=postgres://ann:{MARKER}@db1/shop"),
        format!("password={MARKER} port=1,2,3"),
        format!("password={MARKER} sslmode=require"),
    ];
    for text in texts {
        match parsed(&text) {
            Ok(_) => panic!("accepted: {text}"),
            Err(error) => free_of_marker(&text, &error),
        }
    }
}

#[test]
fn a_password_is_masked_once_it_is_read() {
    for text in [format!("postgres://ann:{MARKER}@db1"), format!("password='{MARKER}'")] {
        let config = parsed(&text).unwrap();
        assert_eq!(config.get_password().map(|password| password.expose()), Some(MARKER.as_bytes()));
        assert!(!format!("{config:?}").contains(MARKER));
        assert!(!format!("{config:#?}").contains(MARKER));
    }
}

/// Texts that look like connection strings, with the marker at random places.
fn broken_text() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let pieces = prop::sample::select(vec![
        MARKER, MARKER, "postgres://", "postgresql://", ":", "@", "/", "?", "&", "=", " ", "'", "\\", "%", "%4",
        "%40", "%00", "%ff", "[", "]", "::1", ",", "host", "host=", "port", "port=", "password", "password=",
        "passwrod=", "user=", "dbname=", "sslmode=", "sslmode=require", "hostaddr=", "options=", "connect_timeout=",
        "keepalives_idle=", "target_session_attrs=", "client_encoding=", "passfile=", "db1", "5432", "0", "-1",
        "\0", "\n", "ä", "€",
    ]);
    let made = prop::collection::vec(pieces, 0..14).prop_map(|pieces| pieces.concat());
    let any =
        (any::<String>(), any::<String>()).prop_map(|(before, after)| [&before, MARKER, &after].concat());
    prop_oneof![4 => made, 1 => any]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused_without_quoting_the_password(text in broken_text()) {
        match parsed(&text) {
            Err(error) => free_of_marker(&text, &error),
            Ok(config) => {
                prop_assert!(!config.targets().unwrap().is_empty());
                let parameters = config.startup_parameters();
                prop_assert!(parameters.iter().all(|(_, value)| !value.is_empty() && !value.contains('\0')));
            }
        }
    }

    #[test]
    fn any_password_survives_both_forms(password in "[^\0]+") {
        let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
        for text in [format!("postgres://ann:{encoded}@db1/shop"), format!("password = '{quoted}' user=ann")] {
            let config = parsed(&text).unwrap();
            prop_assert_eq!(config.get_password().map(|secret| secret.expose()), Some(password.as_bytes()));
        }
    }
}
