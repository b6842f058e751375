//! Something that is done in one transaction, again and again.

use std::fmt::Debug;
use std::future::Future;

use crate::world::Ids;

/// One of many of its kind.
pub trait Transaction: Copy + Debug {
    /// What its statements say.
    type Answer: Debug;

    fn random(ids: &mut Ids) -> Self;

    fn is_right(&self, answer: &Self::Answer) -> bool;
}

/// How often one is tried again.
pub const RETRIES: u32 = 3;

/// What PostgreSQL says of one that it gave up because another one was in its way (manual, "Serialization Failure
/// Handling").
pub const CONFLICTS: [&str; 2] = ["40001", "40P01"];

pub fn is_conflict(sqlstate: Option<&str>) -> bool {
    sqlstate.is_some_and(|code| CONFLICTS.contains(&code))
}

/// Tries again after conflicts.
pub fn retried<R, E>(
    is_conflict: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<R, E>,
) -> Result<R, E> {
    let mut left = RETRIES;
    loop {
        match attempt() {
            Err(error) if left > 0 && is_conflict(&error) => left -= 1,
            done => return done,
        }
    }
}

/// The same for futures.
pub async fn retried_async<R, E, F: Future<Output = Result<R, E>>>(
    is_conflict: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> F,
) -> Result<R, E> {
    let mut left = RETRIES;
    loop {
        match attempt().await {
            Err(error) if left > 0 && is_conflict(&error) => left -= 1,
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[test]
    fn conflicts_are_tried_again_but_not_for_ever_and_nothing_else_is() {
        let tries = |answers: &[Result<u8, &'static str>]| {
            let conflict = |code: &&str| is_conflict(Some(code));
            let mut answers_now = answers.iter().copied();
            let now = retried(conflict, || answers_now.next().unwrap());
            let mut answers_later = answers.iter().copied();
            let later = retried_async(conflict, || ready(answers_later.next().unwrap()));
            let later = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(later);
            assert_eq!((now, answers_now.len()), (later, answers_later.len()));
            (now, answers.len() - answers_now.len())
        };
        assert_eq!(tries(&[Ok(1), Ok(2)]), (Ok(1), 1));
        assert_eq!(tries(&[Err("40001"), Err("40P01"), Ok(3)]), (Ok(3), 3));
        assert_eq!(tries(&[Err("40001"), Err("23505"), Ok(3)]), (Err("23505"), 2));
        assert_eq!(tries(&[Err("40001"); 6]), (Err("40001"), 4));
        assert!(!is_conflict(None));
    }
}
