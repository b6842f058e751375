//! What may be a select, what needs a session, what returns columns.

use maypole_sql::nature;

/// Which part of the text keeps it from being a select; empty if nothing does.
fn against_select(source: &str) -> &str {
    nature(source).select.map_or("", |mistake| &source[mistake.at..mistake.at + mistake.length])
}

/// What needs a session or a transaction, and what it is to be run with.
fn need(source: &str) -> Option<(String, &'static str)> {
    let (what, mistake) = nature(source).session?;
    let with = [".on(&conn)", ".on(&tx)", "DB.transaction(|q| …)"];
    let with = with.into_iter().find(|with| mistake.message.contains(with)).expect("says what to do");
    Some((what, with))
}

fn assert_need(source: &str, what: &str, with: &str) {
    let found = need(source);
    assert_eq!(found.as_ref().map(|(what, with)| (what.as_str(), *with)), Some((what, with)), "{source}");
}

#[test]
fn what_only_reads_is_a_select() {
    for source in [
        "SELECT 1",
        "select 1;",
        "-- the first\n/* one */ SELECT 1",
        "(SELECT 1) UNION (SELECT 2)",
        "((SELECT 1)) LIMIT 1",
        "VALUES (1), (2)",
        "TABLE customers",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "WITH RECURSIVE a(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM a) TABLE a",
        "WITH recursive AS (SELECT 1) SELECT * FROM recursive",
        "WITH RECURSIVE recursive(n) AS (SELECT 1) SELECT 1",
        "WITH a AS MATERIALIZED (SELECT 1), b AS NOT MATERIALIZED (TABLE a) (SELECT * FROM b)",
        "WITH a AS (WITH b AS (SELECT 1) TABLE b) SELECT 1",
        "WITH a AS (SELECT 1) (WITH b AS (SELECT 1) SELECT 1)",
        "WITH RECURSIVE a AS (SELECT 1) SEARCH DEPTH FIRST BY update, delete SET o, b AS (SELECT 1) SELECT 1",
        "WITH RECURSIVE a AS (SELECT 1) CYCLE n SET c TO 1 DEFAULT 0 USING p SELECT 1",
        "WITH RECURSIVE a AS (SELECT 1) SEARCH BREADTH FIRST BY n SET o CYCLE n SET c USING p, b AS (SELECT 1) TABLE b",
        "SELECT update, delete, insert, merge FROM listen",
        "SELECT a AS for, b AS into, t.into FROM t",
        "SELECT 'FOR UPDATE', $$ INSERT INTO $$, \"INTO\" -- FOR UPDATE",
        "SELECT substring(a FOR 3), overlay(a PLACING b FROM 1 FOR 2)",
        "SELECT pg_sleep(1), now(), random(), currentval(1), nextval, \"PG_NOTIFY\"(1), lo_get(1)",
        "SELECT shop.nextval('a'), count(*) FILTER (WHERE a)",
        "SELECT current_setting('a'), txid_current_if_assigned()",
    ] {
        assert_eq!(nature(source).select, None, "{source}");
        assert_eq!(nature(source).session, None, "{source}");
        assert!(nature(source).columns, "{source}");
    }
}

#[test]
fn what_writes_is_no_select() {
    assert_eq!(against_select("INSERT INTO t VALUES (1) RETURNING id"), "INSERT");
    assert_eq!(against_select("WITH a AS (SELECT 1) DELETE FROM t"), "DELETE");
    assert_eq!(
        against_select("WITH a AS (SELECT 1), b AS (UPDATE t SET a = 1 RETURNING *) SELECT 1"),
        "UPDATE"
    );
    assert_eq!(against_select("WITH a AS (WITH b AS (DELETE FROM t) SELECT 1) SELECT 1"), "DELETE");
    assert_eq!(against_select("WITH a AS (SELECT 1) (WITH b AS (MERGE INTO t) SELECT 1)"), "MERGE");
    assert_eq!(
        nature("UPDATE t SET a = 1").select.unwrap().message,
        "UPDATE changes rows, and a #[select] only reads: declare it with #[query]"
    );
}

#[test]
fn other_commands_are_no_selects() {
    for source in [
        "CREATE TABLE t ()",
        "CALL p()",
        "EXPLAIN SELECT 1",
        "SHOW work_mem",
        "COPY t TO STDOUT",
        "SET a = 1",
    ] {
        assert_eq!(against_select(source), source.split(' ').next().unwrap());
    }
    assert_eq!(
        nature("explain select 1").select.unwrap().message,
        "a #[select] is a SELECT, VALUES, TABLE or WITH, not EXPLAIN: declare it with #[query]"
    );
    for (source, message) in [
        ("SELEC 1", "there is no command SELEC, did you mean SELECT?"),
        ("WITH a AS (slect 1) SELECT 1", "there is no command SLECT, did you mean SELECT?"),
        ("UPDAET t SET a = 1", "there is no command UPDAET, did you mean UPDATE?"),
        ("FROB", "a #[select] is a SELECT, VALUES, TABLE or WITH, not FROB: declare it with #[query]"),
    ] {
        assert_eq!(nature(source).select.unwrap().message, message);
    }
    assert_eq!(against_select("WITH"), "WITH");
    assert_eq!(against_select("WITH a AS DELETE"), "DELETE");
}

#[test]
fn what_locks_rows_or_makes_a_table_is_no_select() {
    assert_eq!(against_select("SELECT 1 FROM t FOR UPDATE"), "FOR UPDATE");
    assert_eq!(
        against_select("SELECT 1 FROM t for /* no */ no key\nupdate SKIP LOCKED"),
        "for /* no */ no key\nupdate"
    );
    assert_eq!(against_select("SELECT * FROM (SELECT 1 FROM t FOR KEY SHARE OF t) q"), "FOR KEY SHARE");
    assert_eq!(against_select("TABLE t FOR SHARE"), "FOR SHARE");
    assert_eq!(against_select("WITH a AS (SELECT 1 FROM t FOR UPDATE) TABLE a"), "FOR UPDATE");
    assert_eq!(against_select("SELECT * INTO u FROM t"), "INTO");
}

#[test]
fn functions_that_do_more_than_read_are_refused_however_they_are_written() {
    assert_eq!(against_select("SELECT pg_notify('a', 'b')"), "pg_notify");
    assert_eq!(against_select("SELECT PG_Catalog . Pg_Notify /* x */ ('a', 'b')"), "Pg_Notify");
    assert_eq!(against_select("SELECT \"pg_notify\"('a', 'b')"), "\"pg_notify\"");
    assert_eq!(against_select("SELECT U&\"pg_notify\"('a', 'b')"), "U&\"pg_notify\"");
    assert_eq!(against_select("SELECT * FROM dblink('a', 'b') AS t(a int)"), "dblink");
    assert_eq!(against_select("SELECT * FROM ext.dblink_exec('a', 'b')"), "dblink_exec");
    assert_eq!(against_select("SELECT 1 WHERE EXISTS (SELECT nextval('s'))"), "nextval");
    for call in [
        "set_config('a', 'b', true)",
        "pg_advisory_xact_lock(1)",
        "pg_try_advisory_lock(1)",
        "setval('s', 1)",
        "currval('s')",
        "lastval()",
        "lo_create(0)",
        "lo_open(1, 2)",
        "pg_cancel_backend(1)",
        "pg_terminate_backend(1)",
        "pg_reload_conf()",
        "pg_rotate_logfile()",
        "pg_switch_wal()",
        "pg_create_restore_point('a')",
        "pg_create_logical_replication_slot('a', 'b')",
        "pg_logical_emit_message(true, 'a', 'b')",
        "txid_current()",
        "pg_current_xact_id()",
        "pg_export_snapshot()",
        "pg_stat_reset()",
        "pg_stat_reset_shared('bgwriter')",
        "setseed(0)",
        "pg_stat_statements_reset()",
    ] {
        let source = format!("SELECT {call}");
        assert_eq!(against_select(&source), call.split('(').next().unwrap());
    }
    let message = nature("SELECT pg_notify('a', 'b')").select.unwrap().message;
    assert_eq!(message, "pg_notify notifies others, and a #[select] only reads: declare it with #[query]");
}

/// What a read-only session that is shared could not bear, each family by some of its functions.
const EFFECTS: &[(&str, &[&str])] = &[
    ("notifications", &["pg_notify"]),
    ("settings", &["set_config", "setseed"]),
    (
        "advisory locks",
        &[
            "pg_advisory_lock",
            "pg_advisory_lock_shared",
            "pg_advisory_unlock",
            "pg_advisory_unlock_shared",
            "pg_advisory_unlock_all",
            "pg_advisory_xact_lock",
            "pg_advisory_xact_lock_shared",
            "pg_try_advisory_lock",
            "pg_try_advisory_lock_shared",
            "pg_try_advisory_xact_lock",
            "pg_try_advisory_xact_lock_shared",
        ],
    ),
    ("sequences", &["nextval", "setval", "currval", "lastval"]),
    (
        "large objects",
        &[
            "lo_creat",
            "lo_create",
            "lo_from_bytea",
            "lo_import",
            "lo_export",
            "lo_put",
            "lo_unlink",
            "lo_open",
            "lo_close",
            "lo_lseek64",
            "lo_tell64",
            "lo_truncate",
            "loread",
            "lowrite",
        ],
    ),
    (
        "signals",
        &[
            "pg_cancel_backend",
            "pg_terminate_backend",
            "pg_reload_conf",
            "pg_rotate_logfile",
            "pg_log_backend_memory_contexts",
            "pg_promote",
        ],
    ),
];

#[test]
fn each_family_of_effects_is_refused_in_every_spelling() {
    for (family, functions) in EFFECTS {
        for name in *functions {
            for call in [
                format!("{name}(1)"),
                format!("{} (1)", name.to_uppercase()),
                format!("\"{name}\"(1)"),
                format!("pg_catalog.{name}(1)"),
                format!("PG_CATALOG . {name}\n(1)"),
                format!("\"pg_catalog\".\"{name}\"(1)"),
                format!("shop.pg_catalog.{name}(1)"),
                format!("pg_catalog./* no */\"{name}\"(1)"),
            ] {
                for source in [
                    format!("SELECT {call}"),
                    format!("VALUES (1), ({call})"),
                    format!("SELECT * FROM {call} AS x"),
                    format!("SELECT * FROM ROWS FROM ({call}) AS x"),
                    format!("WITH a AS (SELECT {call}) TABLE a"),
                    format!("SELECT a FROM t ORDER BY {call}"),
                    format!("SELECT coalesce(a, (SELECT {call}::int)) FROM t"),
                ] {
                    let refused = against_select(&source).to_ascii_lowercase();
                    assert_eq!(refused.trim_matches('"'), *name, "{family}: {source}");
                }
            }
        }
    }
    // Extensions may be in any schema.
    for name in
        ["dblink", "dblink_exec", "dblink_connect", "dblink_send_query", "dblink_get_result", "set_limit"]
    {
        for call in [format!("{name}('a')"), format!("ext.{name}('a')"), format!("\"Ext\".\"{name}\"('a')")] {
            let source = format!("SELECT * FROM {call} AS x");
            assert_eq!(against_select(&source).trim_matches('"'), name, "{source}");
        }
    }
}

#[test]
fn what_belongs_to_a_session_needs_one() {
    for source in [
        "SET work_mem = 1",
        "SET SESSION a = 1",
        "set role x",
        "RESET ALL",
        "DISCARD ALL",
        "LISTEN a",
        "UNLISTEN *",
        "PREPARE a AS SELECT 1",
        "EXECUTE a",
        "DEALLOCATE a",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "FETCH c",
        "MOVE c",
        "CLOSE c",
        "LOAD 'x'",
    ] {
        let word = source.split(' ').next().unwrap().to_uppercase();
        assert_need(source, &word, ".on(&conn)");
    }
    for source in [
        "CREATE TEMP TABLE t (a int)",
        "create local temporary table t as select 1",
        "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
        "CREATE TEMP SEQUENCE s",
    ] {
        assert_need(source, "CREATE TEMP", ".on(&conn)");
    }
    assert_need("SELECT * INTO TEMP u FROM t", "INTO TEMP", ".on(&conn)");
    assert_need("SELECT * INTO LOCAL TEMPORARY u FROM t", "INTO LOCAL TEMPORARY", ".on(&conn)");
    assert_need("CREATE TABLE pg_temp.t (a int)", "pg_temp", ".on(&conn)");
    assert_need("SELECT pg_advisory_lock(1)", "pg_advisory_lock", ".on(&conn)");
    assert_need("INSERT INTO t SELECT lastval()", "lastval", ".on(&conn)");
    assert_need("WITH a AS (INSERT INTO t VALUES (1)) SELECT currval('s')", "currval", ".on(&conn)");
    assert_need("SELECT set_config('a', :b, FALSE)", "set_config", ".on(&conn)");
    assert_need("SELECT 1; LISTEN a", "LISTEN", ".on(&conn)");
}

#[test]
fn what_belongs_to_a_transaction_needs_one() {
    assert_need("SAVEPOINT a", "SAVEPOINT", ".on(&tx)");
    assert_need("RELEASE a", "RELEASE", ".on(&tx)");
    assert_need("ROLLBACK TO a", "ROLLBACK TO", ".on(&tx)");
    assert_need("ROLLBACK WORK TO SAVEPOINT a", "ROLLBACK WORK TO", ".on(&tx)");
    assert_need("LOCK TABLE t", "LOCK", ".on(&tx)");
    assert_need("SET LOCAL work_mem = 1", "SET LOCAL", ".on(&tx)");
    assert_need("SET TRANSACTION READ ONLY", "SET TRANSACTION", ".on(&tx)");
    assert_need("SET CONSTRAINTS ALL DEFERRED", "SET CONSTRAINTS", ".on(&tx)");
    assert_need("SELECT pg_export_snapshot()", "pg_export_snapshot", ".on(&tx)");
    assert_need("SELECT lo_open(1, 2)", "lo_open", ".on(&tx)");
}

#[test]
fn transactions_are_not_begun_or_ended_by_statements() {
    for source in [
        "BEGIN",
        "START TRANSACTION",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ROLLBACK WORK",
        "ABORT",
        "PREPARE TRANSACTION 'a'",
    ] {
        assert_need(source, source.split(' ').next().unwrap(), "DB.transaction(|q| …)");
    }
}

#[test]
fn what_any_session_can_do_needs_none() {
    for source in [
        "COMMIT PREPARED 'a'",
        "ROLLBACK PREPARED 'a'",
        "CREATE TABLE temp (a int DEFAULT lastval())",
        "DROP TABLE temp",
        "GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO x",
        "CREATE FUNCTION f() RETURNS void BEGIN ATOMIC SELECT pg_advisory_lock(1); END",
        "INSERT INTO lastval (a) VALUES (1)",
        "SELECT set_config('a', 'b', true)",
        "SELECT set_config('a', 'b', :local)",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT nextval('s')",
        "NOTIFY a",
        "SELECT 'LISTEN', \"set\" FROM listen",
        "SELECT a.temp INTO x FROM t",
        "INSERT INTO t SELECT 1",
        "SELECT t.pg_temp.a FROM t",
    ] {
        assert_eq!(nature(source).session, None, "{source}");
    }
}

#[test]
fn only_what_certainly_returns_no_columns_is_said_to() {
    for source in [
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = (SELECT 1)",
        "delete from t",
        "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
        "WITH a AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM a",
        "CREATE TABLE t AS SELECT 1",
        "DROP TABLE t",
        "SET a = 1",
        "NOTIFY a",
        "GRANT SELECT ON t TO x",
        "TRUNCATE t",
        "DO $$ BEGIN END $$",
        "INSERT INTO t VALUES ('RETURNING') -- RETURNING",
        "",
    ] {
        assert!(!nature(source).columns, "{source}");
    }
    for source in [
        "INSERT INTO t VALUES (1) RETURNING a",
        "WITH a AS (SELECT 1) UPDATE t SET a = 1 RETURNING *",
        "SHOW a",
        "EXPLAIN DELETE FROM t",
        "CALL p()",
        "EXECUTE a",
        "FETCH c",
        "SOMETHING NEW",
        "DELETE FROM t; SELECT 1",
        "WITH",
    ] {
        assert!(nature(source).columns, "{source}");
    }
}

#[test]
fn a_text_without_a_statement_or_without_an_end_is_no_select() {
    assert_eq!(nature(" -- nothing").select.unwrap().message, "there is no statement in it: write one");
    assert_eq!(nature("SELECT 'a").select.unwrap().message, "the string has no end: close it with '");
}

#[test]
fn deep_brackets_take_no_stack() {
    let deep = 50_000;
    let source = format!("{}SELECT 1{}", "(".repeat(deep), ")".repeat(deep));
    assert_eq!(nature(&source).select, None);
    let source = format!("{}SELECT 1{}", "WITH a AS (".repeat(deep), ") SELECT 1".repeat(deep));
    assert_eq!(nature(&source).select, None);
}
