//! No rider ever gets another's answer, wherever a cancel, a panic or a wrong value hits (reliability cases 1, 2, 4 and 6).

use std::error::Error as StdError;

use bytes::BytesMut;
use maypole::types::{IsNull, Type};
use maypole::{FromSql, Outcome, Query, Scalar, ToSql, select, spawn};

use crate::lanes::selects;
use crate::support::chaos::cancel;
use crate::support::eventually::eventually;
use crate::support::pool::TestPool;
use crate::support::proxy::{Backend, Frontend, Proxy, Rule, every, nth};
use crate::support::server::server;

/// Cases 1 and 2: one of nine is cancelled while the exchange is held at each of these places.
#[test]
fn a_rider_cancelled_while_its_group_is_out_leaves_the_others_their_own_answers() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    let places: [(&str, &dyn Fn() -> Rule); 8] = [
        ("before the first Bind arrives", &|| proxy.on(Frontend, b'B', nth(1)).hold()),
        ("between two members", &|| proxy.on(Frontend, b'B', nth(4)).hold()),
        ("before the Sync arrives", &|| proxy.on(Frontend, b'S', nth(1)).hold()),
        ("before the first answer", &|| proxy.on(Backend, b'2', nth(1)).hold()),
        ("between two answers", &|| proxy.on(Backend, b'C', nth(1)).hold()),
        ("inside a row", &|| proxy.on(Backend, b'D', nth(2)).hold_after_bytes(9)),
        ("before ReadyForQuery", &|| proxy.on(Backend, b'Z', nth(1)).hold()),
        ("inside ReadyForQuery", &|| proxy.on(Backend, b'Z', nth(1)).hold_after_bytes(5)),
    ];
    for (place, hold) in places {
        for victim in [0, 4, 8] {
            // What was held counts as slow for a while.
            test.warm(|| echo(1).value().expect("an answer"));
            let leases = test.all();
            let riders = test.ask_while_all_are_lent(9, |n| echo(n).value());
            let held = hold();
            drop(leases);
            held.wait_hits(1);
            for (n, rider) in (0..9).zip(&riders) {
                if n == victim {
                    cancel(rider);
                }
            }
            let next = spawn(|| echo(77).value());
            held.release();
            for (n, rider) in (0..9).zip(riders) {
                match rider.join() {
                    Ok(answer) => assert_eq!(answer.expect("an answer"), n, "{place}"),
                    Err(_) => assert_eq!(n, victim, "{place}"),
                }
            }
            assert_eq!(next.join().expect("no panic").expect("an answer"), 77, "{place}");
        }
    }
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0), "the session is kept");
    test.finish();
}

/// Case 1: cancelled in the queue.
#[test]
fn a_rider_cancelled_in_the_queue_leaves_it_at_once_and_is_never_sent() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    test.warm(|| echo(1).value().expect("an answer"));
    let leases = test.all();
    let riders = test.ask_while_all_are_lent(9, |n| echo(n).value());
    let sent = proxy.on(Frontend, b'E', every()).watch();
    for (n, rider) in riders.iter().enumerate() {
        if n % 2 == 0 {
            cancel(rider);
        }
    }
    eventually("four are left", || test.pool.stats().waiting == 4);
    drop(leases);
    for (n, rider) in (0..9).zip(riders) {
        match rider.join() {
            Ok(answer) => assert_eq!((answer.expect("an answer"), n % 2), (n, 1)),
            Err(_) => assert_eq!(n % 2, 0, "{n} was not cancelled"),
        }
    }
    assert_eq!(sent.hits(), 4, "only those that were still there");
    sent.release();
    test.finish();
}

/// Case 1: cancelled at the very moment at which the group is made up.
#[test]
fn a_rider_cancelled_while_it_is_taken_along_disturbs_nobody() {
    selects!(DB);
    let test = DB.is(TestPool::new(1));
    test.warm(|| echo(1).value().expect("an answer"));
    for round in 0..100_i32 {
        let leases = test.all();
        let riders = test.ask_while_all_are_lent(5, move |n| echo(round * 5 + n).value());
        let returned = std::thread::spawn(move || drop(leases));
        cancel(&riders[usize::try_from(round % 5).expect("small")]);
        returned.join().expect("a drop does not panic");
        for (n, rider) in (0..5).zip(riders) {
            match rider.join() {
                Ok(answer) => assert_eq!(answer.expect("an answer"), round * 5 + n),
                Err(_) => assert_eq!(n, round % 5),
            }
        }
    }
    test.finish();
}

/// A number that can't be read if it is 13.
#[derive(Debug, PartialEq)]
struct Fragile(i32);

impl<'a> FromSql<'a> for Fragile {
    fn from_sql(type_: &Type, raw: &'a [u8]) -> Result<Fragile, Box<dyn StdError + Sync + Send>> {
        let number = i32::from_sql(type_, raw)?;
        assert_ne!(number, 13, "the user's own type panics");
        Ok(Fragile(number))
    }

    fn accepts(type_: &Type) -> bool {
        <i32 as FromSql>::accepts(type_)
    }
}

impl Scalar for Fragile {}

/// Case 4.
#[test]
fn a_rider_that_panics_while_it_reads_its_rows_disturbs_nobody() {
    selects!(DB);
    #[select(DB, "SELECT :n::int4")]
    fn fragile(n: i32) -> Query<Fragile>;
    let test = DB.is(TestPool::new(1));
    test.warm(|| assert_eq!(fragile(1).value().expect("an answer"), Fragile(1)));
    for _ in 0..5 {
        let leases = test.all();
        let riders = test.ask_while_all_are_lent(20, |n| fragile(n).value());
        drop(leases);
        for (n, rider) in (0..20).zip(riders) {
            match rider.join() {
                Ok(answer) => assert_eq!(answer.expect("an answer"), Fragile(n)),
                Err(_) => assert_eq!(n, 13),
            }
        }
    }
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0), "the session is kept");
    test.finish();
}

/// A number that can't be written if it is 13.
#[derive(Debug)]
struct Shy(i32);

impl ToSql for Shy {
    fn to_sql(&self, type_: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        // Something is in the buffer by then.
        let written = self.0.to_sql(type_, out)?;
        if self.0 == 13 { Err("it does not want to".into()) } else { Ok(written) }
    }

    fn accepts(type_: &Type) -> bool {
        <i32 as ToSql>::accepts(type_)
    }

    maypole::types::to_sql_checked!();
}

/// Case 6.
#[test]
fn a_value_that_can_not_be_written_costs_its_asker_an_error_and_nobody_else_anything() {
    selects!(DB);
    #[select(DB, "SELECT :a::int4 + :b::int4 + :c::int4 + :d::int4 + :e::int4")]
    fn sum(a: i32, b: i32, c: Shy, d: i32, e: &str) -> Query<i32>;
    let test = DB.is(TestPool::new(1));
    test.warm(|| assert_eq!(sum(1, 2, Shy(3), 4, "5").value().expect("a sum"), 15));
    for _ in 0..5 {
        let leases = test.all();
        let riders: Vec<_> = (0..20).map(|n| spawn(move || sum(n, 1, Shy(n), 1, "1").value())).collect();
        // It is found out before it waits.
        eventually("all but one wait", || test.pool.stats().waiting == 19);
        drop(leases);
        for (n, rider) in (0..20).zip(riders) {
            let answer = rider.join().expect("no panic");
            match n {
                13 => assert_eq!(answer.expect_err("not written").outcome(), Outcome::NotSent),
                _ => assert_eq!(answer.expect("a sum"), n * 2 + 3),
            }
        }
    }
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0), "the session is kept");
    test.finish();
}
