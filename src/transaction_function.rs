//! What a function with `#[transaction]` calls. Uses: database, error, transaction.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::transaction::{Tx, TxOptions};

/// What a transaction function returns: a `Result`, by whatever name.
#[diagnostic::on_unimplemented(
    message = "a transaction function returns a `Result`, which decides between commit and rollback, not `{Self}`",
    label = "write `Result<{Self}>`"
)]
pub trait Fallible: Sized {
    /// What it returns if all went well.
    type Value;
    /// Its error.
    type Error;

    /// As a `Result` by that name.
    ///
    /// # Errors
    ///
    /// Its own.
    fn into_result(self) -> Result<Self::Value, Self::Error>;

    /// From a `Result` by that name.
    fn from_result(result: Result<Self::Value, Self::Error>) -> Self;
}

impl<R, E> Fallible for Result<R, E> {
    type Value = R;
    type Error = E;

    #[inline]
    fn into_result(self) -> Result<R, E> {
        self
    }

    #[inline]
    fn from_result(result: Result<R, E>) -> Result<R, E> {
        result
    }
}

/// Compiles if a transaction function can return this. All that is written for a function begins with it: so what is
/// wrong is reported once, in the same words.
#[inline]
pub fn returns<T: Fallible>()
where
    T::Error: From<Error> + 'static,
{
}

/// Runs the function in a transaction, again if another client got in the way.
#[track_caller]
pub fn run<T: Fallible>(database: &Database, options: &'static TxOptions, function: impl Fn(&Tx) -> T) -> T
where
    T::Error: From<Error> + 'static,
{
    T::from_result(database.transaction_with(options, |q| function(q).into_result()))
}

/// Runs the function in a transaction, once.
#[track_caller]
pub fn run_once<T: Fallible>(
    database: &Database,
    options: &'static TxOptions,
    function: impl FnOnce(&Tx) -> T,
) -> T
where
    T::Error: From<Error> + 'static,
{
    T::from_result(database.transaction_once(options, |q| function(q).into_result()))
}

/// Runs the function in a savepoint, once.
pub fn run_within<T: Fallible>(q: &Tx, options: &'static TxOptions, function: impl FnOnce(&Tx) -> T) -> T
where
    T::Error: From<Error> + 'static,
{
    T::from_result(q.savepoint_with(options, |q| function(q).into_result()))
}

/// An argument by value of a transaction function with retries.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be cloned, and with `retries` each attempt gets an argument of its own",
    label = "an argument by value needs `Clone` here",
    note = "derive `Clone`, take a reference, or leave out `retries`"
)]
pub trait Again {
    /// The value for one attempt.
    #[must_use]
    fn again(&self) -> Self;
}

impl<T: Clone> Again for T {
    #[inline]
    fn again(&self) -> T {
        self.clone()
    }
}

/// The value of an argument for one attempt; compiles if it can be cloned.
#[inline]
pub fn again<T: Again>(value: &T) -> T {
    value.again()
}
