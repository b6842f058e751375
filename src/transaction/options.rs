//! What a transaction is asked to be. Uses: nothing.

use std::borrow::Cow;
use std::time::Duration;

/// Which changes of others a transaction may see (PostgreSQL manual, "Transaction Isolation").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isolation {
    /// Each statement sees what was committed before it began.
    ReadCommitted,
    /// All statements see what was committed before the first began.
    RepeatableRead,
    /// As if transactions ran one after the other; else one of them fails with 40001 and is to be retried.
    Serializable,
}

impl Isolation {
    /// In SQL.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "READ COMMITTED",
            Isolation::RepeatableRead => "REPEATABLE READ",
            Isolation::Serializable => "SERIALIZABLE",
        }
    }
}

/// What a transaction is asked to be: isolation, retries, limits.
///
/// ```
/// use std::time::Duration;
/// use maypole::{Database, Isolation, Result, TxOptions};
///
/// const CAREFUL: TxOptions =
///     TxOptions::new().isolation(Isolation::Serializable).retries(3).deadline(Duration::from_secs(2));
///
/// fn pay(db: &Database) -> Result<u64> {
///     db.transaction_with(&CAREFUL, |q| {
///         q.query("UPDATE accounts SET balance = balance - 10 WHERE id = 1", ()).run()
///     })
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "options do nothing until a transaction is given them"]
pub struct TxOptions {
    pub(crate) name: Option<&'static str>,
    pub(crate) retries: u32,
    pub(crate) retry_on: &'static [&'static str],
    pub(crate) isolation: Option<Isolation>,
    pub(crate) read_only: bool,
    pub(crate) deferrable: bool,
    pub(crate) durable: bool,
    pub(crate) deadline: Option<Duration>,
    pub(crate) confirm_commit: bool,
    pub(crate) outside: bool,
}

/// When another client got in the way (PostgreSQL manual, "Serialization Failure Handling"): a serialization failure, a
/// deadlock; and a key that was chosen after looking at those that exist, which somebody else took meanwhile.
const RETRY_ON: &[&str] = &["40001", "40P01", "23505", "23P01"];

impl TxOptions {
    /// No retries; the server's isolation, READ COMMITTED unless it is told otherwise; no limit but those of the queries.
    pub const fn new() -> TxOptions {
        TxOptions {
            name: None,
            retries: 0,
            retry_on: RETRY_ON,
            isolation: None,
            read_only: false,
            deferrable: false,
            durable: false,
            deadline: None,
            confirm_commit: false,
            outside: false,
        }
    }

    /// What it is called in errors and in the log.
    pub const fn name(self, name: &'static str) -> TxOptions {
        TxOptions { name: Some(name), ..self }
    }

    /// How often the function is called again when another client got in the way: 3 means up to 4 attempts.
    ///
    /// The function may have no effects outside of the transaction: those belong into [`Tx::after_commit`](crate::Tx::after_commit).
    pub const fn retries(self, again: u32) -> TxOptions {
        TxOptions { retries: again, ..self }
    }

    /// The SQLSTATEs that are retried, instead of 40001, 40P01, 23505 and 23P01.
    pub const fn retry_on(self, codes: &'static [&'static str]) -> TxOptions {
        TxOptions { retry_on: codes, ..self }
    }

    /// Which changes of others it may see.
    pub const fn isolation(self, isolation: Isolation) -> TxOptions {
        TxOptions { isolation: Some(isolation), ..self }
    }

    /// It can't write (25006). As a part of another transaction it can do what that can.
    pub const fn read_only(self) -> TxOptions {
        TxOptions { read_only: true, ..self }
    }

    /// Waits for a moment in which it can't fail with 40001. Only together with [`read_only`](TxOptions::read_only) and
    /// [`Isolation::Serializable`].
    pub const fn deferrable(self) -> TxOptions {
        TxOptions { deferrable: true, ..self }
    }

    /// What it has done is to be kept once it returns: it refuses to be a part of another transaction, which may roll
    /// it back.
    pub const fn durable(self) -> TxOptions {
        TxOptions { durable: true, ..self }
    }

    /// How long it may take: all attempts, what they wait for and the wait for a connection. No attempt begins afterwards;
    /// if the answer to COMMIT has not come by then its outcome is unknown.
    pub const fn deadline(self, limit: Duration) -> TxOptions {
        TxOptions { deadline: Some(limit), ..self }
    }

    /// If the connection is lost with COMMIT under way, asks the server on another connection what became of it.
    ///
    /// For that the number of the transaction is asked for with its first statement that may write, at the cost of some 60 µs on the server and
    /// no round trip, unless all of those are sent with `later()`. After a failover nobody can tell, nor after a crash of the server that a transaction was
    /// committed: the outcome stays unknown then. Looking it up takes up to 10 s beyond any deadline.
    pub const fn confirm_commit(self) -> TxOptions {
        TxOptions { confirm_commit: true, ..self }
    }

    /// It may begin within another transaction of the same database, on a connection of its own, and is committed or
    /// rolled back on its own.
    pub const fn outside(self) -> TxOptions {
        TxOptions { outside: true, ..self }
    }

    /// The statement that begins it.
    pub(crate) fn begin(&self) -> Cow<'static, str> {
        let mut text = Cow::Borrowed("BEGIN");
        if let Some(isolation) = self.isolation {
            text.to_mut().push_str(" ISOLATION LEVEL ");
            text.to_mut().push_str(isolation.words());
        }
        for (wanted, words) in [(self.read_only, " READ ONLY"), (self.deferrable, " DEFERRABLE")] {
            if wanted {
                text.to_mut().push_str(words);
            }
        }
        text
    }
}

impl Default for TxOptions {
    fn default() -> TxOptions {
        TxOptions::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_words_of_begin() {
        assert!(matches!(TxOptions::new().begin(), Cow::Borrowed("BEGIN")));
        let all = TxOptions::new().isolation(Isolation::Serializable).read_only().deferrable();
        assert_eq!(all.begin(), "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE");
    }
}
