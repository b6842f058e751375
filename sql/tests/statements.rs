//! Where statements begin and end.

use maypole_sql::statements;

fn found(source: &str) -> Vec<&str> {
    statements(source).expect("no mistake").into_iter().map(|place| &source[place]).collect()
}

#[test]
fn semicolons_separate_statements() {
    assert_eq!(found("SELECT 1"), ["SELECT 1"]);
    assert_eq!(found(" SELECT 1 ; \n SELECT 2;"), ["SELECT 1", "SELECT 2"]);
    assert_eq!(
        found("SELECT ';', \";\", $$;$$, E'\\';' /* ; */ -- ;\n, 2"),
        ["SELECT ';', \";\", $$;$$, E'\\';' /* ; */ -- ;\n, 2"]
    );
}

#[test]
fn nothing_and_comments_are_no_statements() {
    assert_eq!(found(""), [""; 0]);
    assert_eq!(found(" ; ;; -- one\n ; /* two */"), [""; 0]);
    assert_eq!(found("-- one\nSELECT 1 -- two\n; -- three"), ["SELECT 1"]);
    assert_eq!(found("SELECT /* in */ 1; /* after */"), ["SELECT /* in */ 1"]);
}

#[test]
fn semicolons_in_brackets_separate_nothing() {
    let rule = "CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO a VALUES (1); DELETE FROM b)";
    assert_eq!(found(&format!("{rule}; SELECT 1")), [rule, "SELECT 1"]);
    assert_eq!(found("SELECT 1); SELECT 2"), ["SELECT 1)", "SELECT 2"], "the server finds the mistake");
}

#[test]
fn semicolons_in_the_body_of_a_function_separate_nothing() {
    for function in [
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a THEN 1 END; END",
        "create or replace procedure p(a int) language sql begin atomic; insert into t values (a); end",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end, t.case FROM t; SELECT \"end\" FROM t; END",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$",
        "CREATE FUNCTION f() RETURNS int RETURN CASE WHEN true THEN 1 END",
    ] {
        assert_eq!(found(&format!("{function}; SELECT 2;")), [function, "SELECT 2"]);
    }
}

#[test]
fn begin_is_a_statement_elsewhere() {
    assert_eq!(
        found("BEGIN; SELECT CASE WHEN a THEN 1 END; END"),
        ["BEGIN", "SELECT CASE WHEN a THEN 1 END", "END"]
    );
    assert_eq!(found("SELECT begin atomic; SELECT 2"), ["SELECT begin atomic", "SELECT 2"]);
}

#[test]
fn a_text_that_breaks_off_is_a_mistake() {
    let mistake = statements("SELECT 1; SELECT 'a").unwrap_err();
    assert_eq!(
        mistake.report("SELECT 1; SELECT 'a"),
        "the string has no end: close it with '\n   | SELECT 1; SELECT 'a\n   |                  ^"
    );
}
