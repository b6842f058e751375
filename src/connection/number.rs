//! The number of a transaction, by which its fate can be asked on another connection. Uses: protocol.

use crate::protocol::decode::{self, Messages};

/// Where the number of a transaction means something: in a database cluster and on a timeline of it, until the server
/// crashes. Numbers whose transactions had not reached the disk are given out again afterwards; that the server crashed is
/// told by its statistics, which it then begins anew (PostgreSQL manual, "Transaction ID and Snapshot Information
/// Functions", "The Cumulative Statistics System").
macro_rules! home {
    () => {
        "(SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()), \
         CASE WHEN NOT pg_catalog.pg_is_in_recovery() \
         THEN pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) END, \
         (SELECT pg_catalog.date_part('epoch', stats_reset)::pg_catalog.text FROM pg_catalog.pg_stat_bgwriter)"
    };
}

/// Asks which number the transaction has, once it has one.
const ASK_NUMBER: &str = "SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text";

/// Asks where it is at home, too: once on each session, which does not outlive a crash and does not change its timeline.
const ASK_NUMBER_AND_HOME: &str =
    concat!("SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text, ", home!());

/// Asks another connection where it is, and what became of the transaction with a number.
pub(crate) const ASK_FATE: &str =
    concat!("SELECT ", home!(), ", pg_catalog.pg_xact_status($1::pg_catalog.text::pg_catalog.xid8)");

/// How to ask for the number of a transaction on a session whose home is known or not.
pub(super) fn ask_number(home: Option<&Home>) -> &'static str {
    if home.is_some() { ASK_NUMBER } else { ASK_NUMBER_AND_HOME }
}

/// What was answered: the number, if there is one by now, and the home if it was asked for.
pub(super) fn read_number(answer: &[u8]) -> (Option<String>, Option<Home>) {
    let row = Messages::new(answer).find(|(tag, _)| *tag == b'D');
    let Some(Ok(values)) = row.map(|(_, body)| decode::text_row(&answer[body])) else { return (None, None) };
    let mut values = values.into_iter();
    let id = values.next().flatten();
    let home = values.collect::<Option<Vec<_>>>().and_then(|home| Home::try_from(home).ok());
    (id, home)
}

/// The same where it was asked for in a script, last.
pub(super) fn read_last_number(reply: &[u8]) -> (Option<String>, Option<Home>) {
    let last = Messages::new(reply).filter(|(tag, _)| *tag == b'T').last();
    last.map_or((None, None), |(_, body)| read_number(&reply[body.end..]))
}

/// The cluster, the timeline, and since when the server has not crashed: elsewhere the same number is another transaction's.
pub(crate) type Home = [String; 3];

/// A transaction as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) id: String,
    pub(crate) home: Home,
}
