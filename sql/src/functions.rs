//! The functions of PostgreSQL that do more than read, though a read-only transaction does not stop most of them, or
//! that need a session. Uses: nothing.

/// What such a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It does what the words say: "notifies others".
    Acts(&'static str),
    /// It changes or reads something that belongs to the session.
    Session,
    /// What it does belongs to the transaction and is gone with it.
    Transaction,
    /// It changes a setting, of the transaction or of the session.
    Setting,
}

const NOTIFIES: Effect = Effect::Acts("notifies others");
const SEQUENCE: Effect = Effect::Acts("changes a sequence");
const LOCKS: Effect = Effect::Acts("takes a lock");
const ASSIGNS: Effect = Effect::Acts("assigns a transaction id");
const OBJECTS: Effect = Effect::Acts("changes large objects");
const LOG: Effect = Effect::Acts("writes to the log of changes");
const SIGNALS: Effect = Effect::Acts("signals other processes of the server");
const SERVER: Effect = Effect::Acts("changes the state of the server");
const STATISTICS: Effect = Effect::Acts("changes statistics");
const INDEX: Effect = Effect::Acts("changes a table or an index");
const FILES: Effect = Effect::Acts("changes files of the server");
const ELSEWHERE: Effect = Effect::Acts("acts on another server");

/// The functions of `pg_catalog`. A `*` at the end stands for any end.
///
/// From the functions that PostgreSQL 15 calls volatile, and the pages of the manual on system administration
/// functions up to 18. Those that only read, wait or roll dice are left out: `pg_sleep`, `random`, `lo_get`, ….
const BUILT_IN: &[(&str, Effect)] = &[
    ("binary_upgrade_*", SERVER),
    ("brin_desummarize_range", INDEX),
    ("brin_summarize_new_values", INDEX),
    ("brin_summarize_range", INDEX),
    ("currval", Effect::Session),
    ("cursor_to_xml*", Effect::Transaction),
    ("gin_clean_pending_list", INDEX),
    ("lastval", Effect::Session),
    ("lo_close", Effect::Transaction),
    ("lo_creat", OBJECTS),
    ("lo_create", OBJECTS),
    ("lo_export", FILES),
    ("lo_from_bytea", OBJECTS),
    ("lo_import", OBJECTS),
    ("lo_lseek*", Effect::Transaction),
    ("lo_open", Effect::Transaction),
    ("lo_put", OBJECTS),
    ("lo_tell*", Effect::Transaction),
    ("lo_truncate*", Effect::Transaction),
    ("lo_unlink", OBJECTS),
    ("loread", Effect::Transaction),
    ("lowrite", Effect::Transaction),
    ("nextval", SEQUENCE),
    ("pg_advisory_lock*", Effect::Session),
    ("pg_advisory_unlock*", Effect::Session),
    ("pg_advisory_xact_lock*", LOCKS),
    ("pg_backup_start", Effect::Session),
    ("pg_backup_stop", Effect::Session),
    ("pg_cancel_backend", SIGNALS),
    ("pg_clear_*_stats", STATISTICS),
    ("pg_copy_logical_replication_slot", SERVER),
    ("pg_copy_physical_replication_slot", SERVER),
    ("pg_create_logical_replication_slot", SERVER),
    ("pg_create_physical_replication_slot", SERVER),
    ("pg_create_restore_point", LOG),
    ("pg_current_xact_id", ASSIGNS),
    ("pg_drop_replication_slot", SERVER),
    ("pg_export_snapshot", Effect::Transaction),
    ("pg_extension_config_dump", SERVER),
    ("pg_file_rename", FILES),
    ("pg_file_sync", FILES),
    ("pg_file_unlink", FILES),
    ("pg_file_write", FILES),
    ("pg_import_system_collations", SERVER),
    ("pg_log_backend_memory_contexts", SIGNALS),
    ("pg_log_standby_snapshot", LOG),
    ("pg_logfile_rotate", SIGNALS),
    ("pg_logical_emit_message", LOG),
    ("pg_logical_slot_get_binary_changes", SERVER),
    ("pg_logical_slot_get_changes", SERVER),
    ("pg_nextoid", SERVER),
    ("pg_notify", NOTIFIES),
    ("pg_promote", SIGNALS),
    ("pg_reload_conf", SIGNALS),
    ("pg_replication_origin_advance", SERVER),
    ("pg_replication_origin_create", SERVER),
    ("pg_replication_origin_drop", SERVER),
    ("pg_replication_origin_session_*", Effect::Session),
    ("pg_replication_origin_xact_*", Effect::Transaction),
    ("pg_replication_slot_advance", SERVER),
    ("pg_restore_*_stats", STATISTICS),
    ("pg_rotate_logfile*", SIGNALS),
    ("pg_start_backup", Effect::Session),
    ("pg_stat_reset*", STATISTICS),
    ("pg_stop_backup", Effect::Session),
    ("pg_stop_making_pinned_objects", SERVER),
    ("pg_switch_wal", LOG),
    ("pg_sync_replication_slots", SERVER),
    ("pg_terminate_backend", SIGNALS),
    ("pg_try_advisory_lock*", Effect::Session),
    ("pg_try_advisory_xact_lock*", LOCKS),
    ("pg_wal_replay_pause", SERVER),
    ("pg_wal_replay_resume", SERVER),
    ("set_config", Effect::Setting),
    ("setseed", Effect::Session),
    ("setval", SEQUENCE),
    ("txid_current", ASSIGNS),
];

/// The functions of the extensions that come with PostgreSQL, which may be in any schema.
const OF_EXTENSIONS: &[(&str, Effect)] = &[
    ("autoprewarm_dump_now", FILES),
    ("autoprewarm_start_worker", SERVER),
    ("dblink_connect*", Effect::Session),
    ("dblink_disconnect", Effect::Session),
    ("dblink*", ELSEWHERE),
    ("heap_force_freeze", INDEX),
    ("heap_force_kill", INDEX),
    ("isn_weak", Effect::Session),
    ("pg_buffercache_evict*", SERVER),
    ("pg_stat_statements_reset", STATISTICS),
    ("pg_truncate_visibility_map", INDEX),
    ("postgres_fdw_disconnect*", Effect::Session),
    ("set_limit", Effect::Session),
];

/// What a function does besides reading, if it is known to. The name as PostgreSQL keeps it: in lower case, unless quoted.
pub(crate) fn effect(schema: Option<&str>, name: &str) -> Option<Effect> {
    let known = |functions: &[(&str, Effect)]| {
        functions.iter().find(|(pattern, _)| matches(pattern, name)).map(|(_, effect)| *effect)
    };
    let built_in = schema.is_none_or(|schema| schema == "pg_catalog");
    built_in.then(|| known(BUILT_IN)).flatten().or_else(|| known(OF_EXTENSIONS))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((begin, end)) => name.strip_prefix(begin).is_some_and(|rest| rest.ends_with(end)),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_known_by_their_whole_name() {
        assert_eq!(effect(None, "pg_notify"), Some(NOTIFIES));
        assert_eq!(effect(None, "pg_try_advisory_lock_shared"), Some(Effect::Session));
        assert_eq!(effect(None, "pg_try_advisory_xact_lock_shared"), Some(LOCKS));
        assert_eq!(effect(None, "pg_restore_relation_stats"), Some(STATISTICS));
        for reads in [
            "pg_sleep",
            "random",
            "lo_get",
            "txid_current_if_assigned",
            "pg_current_xact_id_if_assigned",
            "pg_notification_queue_usage",
            "nextval_of_mine",
            "PG_NOTIFY",
            "pg_prewarm",
            "now",
        ] {
            assert_eq!(effect(None, reads), None, "{reads}");
        }
    }

    #[test]
    fn functions_of_other_schemas_are_others_unless_an_extension_may_be_there() {
        assert_eq!(effect(Some("pg_catalog"), "setval"), Some(SEQUENCE));
        assert_eq!(effect(Some("shop"), "setval"), None);
        assert_eq!(effect(Some("extensions"), "dblink_exec"), Some(ELSEWHERE));
        assert_eq!(effect(None, "dblink_connect_u"), Some(Effect::Session));
    }
}
