//! What a server says unasked while a group is out: what may come at any time disturbs nobody, and what may not ends the lane before
//! an answer could reach the wrong asker (reliability cases 3 and 7).

use crate::lanes::{Lanes, selects};
use crate::support::backend::{
    INT4, command_complete, data_row, greeting, notice, notification, parameter_status, ready,
};
use crate::support::eventually::eventually;
use crate::support::frame::STARTUP;
use crate::support::pool::TestPool;
use crate::support::proxy::{ANY, Backend, Proxy, Rule, every, nth};
use crate::support::responder::Answer;
use crate::support::script::Script;
use crate::support::server::server;

/// Nine ask while the rule is at work; whatever it does, each gets its own answer.
fn nine_get_their_own_answers(
    test: &Lanes,
    what: &str,
    echo: impl Fn(i32) -> maypole::Result<i32> + Clone + Send + 'static,
    rule: impl FnOnce() -> Rule,
) {
    let leases = test.all();
    let riders = test.ask_while_all_are_lent(9, echo);
    let rule = rule();
    drop(leases);
    for (n, rider) in (0..9).zip(riders) {
        assert_eq!(rider.join().expect("no panic").expect("an answer"), n, "{what}");
    }
    // The answers may be there before the end of their group is.
    rule.wait_hits(1);
    rule.release();
}

/// Case 7.
#[test]
fn notices_and_notifications_between_any_two_messages_disturb_no_group() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    let said = [
        notice("hear, hear"),
        notification(1, "channel", "payload"),
        parameter_status("in_hot_standby", "off"),
        parameter_status("default_transaction_read_only", "on"),
    ]
    .concat();
    for round in 0..5 {
        test.warm(|| divide(1).value().expect("an answer"));
        nine_get_their_own_answers(
            &test,
            "between",
            |n| echo(n).value(),
            || proxy.on(Backend, ANY, every()).insert_before(said.clone()),
        );
        let answers = test.together(9, |n| divide(if n == 4 { 0 } else { 1 }).value());
        for (n, answer) in (0..9).zip(answers) {
            assert_eq!(answer.ok(), (n != 4).then_some(5040), "{round}");
        }
    }
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0), "the session is kept");
    test.finish();
}

/// Case 7: a setting that changes in a lane is one that a stranger has changed. The session is given up, and each gets its
/// answer.
#[test]
fn a_change_of_a_setting_in_a_group_ends_the_lane_and_costs_nobody_an_answer() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    for (name, value) in
        [("default_transaction_read_only", "off"), ("TimeZone", "Mars"), ("DateStyle", "German")]
    {
        for (tag, place) in [(b'2', 1), (b'D', 3), (b'C', 9), (b'Z', 1)] {
            test.warm(|| who(1).unique().expect("an answer"));
            let old = who(1).unique().expect("an answer").1;
            nine_get_their_own_answers(
                &test,
                name,
                |n| who(n).unique().map(|(n, ..)| n),
                || proxy.on(Backend, tag, nth(place)).insert_before(parameter_status(name, value)),
            );
            eventually("another session", || who(1).unique().expect("an answer").1 != old);
        }
    }
    test.finish();
}

/// As PostgreSQL 13, and some poolers: what a lane relies on is not told.
#[test]
fn a_server_that_does_not_tell_what_lanes_rely_on_gets_none() {
    selects!(DB);
    let hidden = parameter_status("default_transaction_read_only", "off");
    let greeting = greeting();
    let at = greeting.windows(hidden.len()).position(|bytes| bytes == hidden).expect("it is told otherwise");
    let greeting = [&greeting[..at], &greeting[at + hidden.len()..]].concat();
    let script = Script::new().any_further_connection(move |steps| {
        steps.expect(STARTUP).send(greeting).answer_queries(|sql| match sql {
            "/* echo */ SELECT $1::int4" => {
                Answer::rows(&[INT4], &[("n", INT4)], |values| vec![values.to_vec()])
            }
            _ => Answer::error("42601", "a lane, or what else?"),
        })
    });
    let server = script.start();
    let test = DB.is(TestPool::at(&server.url(), 2));
    for _ in 0..5 {
        let answers = test.together(20, |n| echo(n).value().expect("an answer"));
        assert_eq!(answers, (0..20).collect::<Vec<_>>());
    }
    assert_eq!((test.pool.stats().lanes, test.pool.stats().closed), (0, 0));
    test.settled();
    drop(test);
    server.finish();
}

/// Case 35, and what a network does: single bytes, and everything at once.
#[test]
fn a_group_that_comes_in_single_bytes_or_all_at_once_is_the_same() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    test.warm(|| echo(1).value().expect("an answer"));
    nine_get_their_own_answers(
        &test,
        "split",
        |n| echo(n).value(),
        || proxy.on(Backend, ANY, every()).split(),
    );
    nine_get_their_own_answers(
        &test,
        "glued",
        |n| echo(n).value(),
        || proxy.on(Backend, ANY, every()).glue(),
    );
    assert_eq!((test.pool.stats().opened, test.pool.stats().closed), (1, 0), "the session is kept");
    test.finish();
}

/// Case 3: whatever is too much in a group's answers, nobody gets the answer of his neighbour.
#[test]
fn messages_that_nobody_asked_for_end_the_lane_and_shift_no_answer() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    let too_much: [(&str, &dyn Fn() -> Rule); 6] = [
        ("a ReadyForQuery in front", &|| proxy.on(Backend, b'2', nth(1)).insert_before(ready(b'I'))),
        ("a ReadyForQuery between two", &|| proxy.on(Backend, b'C', nth(2)).insert_after(ready(b'I'))),
        ("a ReadyForQuery at the end", &|| proxy.on(Backend, b'Z', nth(1)).duplicate()),
        ("a CommandComplete twice", &|| proxy.on(Backend, b'C', nth(3)).duplicate()),
        ("an answer that nobody asked for", &|| {
            let answer = [data_row(&[Some(b"\0\0\x30\x39")]), command_complete("SELECT 1")].concat();
            proxy.on(Backend, b'C', nth(2)).insert_after(answer)
        }),
        ("a BindComplete twice", &|| proxy.on(Backend, b'2', nth(2)).duplicate()),
    ];
    for (what, rule) in too_much {
        test.warm(|| echo(1).value().expect("an answer"));
        let closed = test.pool.stats().closed;
        nine_get_their_own_answers(&test, what, |n| echo(n).value(), rule);
        eventually(what, || test.pool.stats().closed > closed);
    }
    test.finish();
}

/// Case 3: while nothing is out.
#[test]
fn a_lane_at_rest_on_which_something_came_is_not_used_again() {
    selects!(DB);
    let proxy = Proxy::start(&server().url());
    let test = DB.is(TestPool::at(&proxy.url(), 1));
    for message in [ready(b'I'), command_complete("SELECT 1"), data_row(&[None])] {
        test.warm(|| who(1).unique().expect("an answer"));
        let old = who(1).unique().expect("an answer").1;
        test.at_rest();
        let rule = proxy.on(Backend, b'Z', nth(1)).insert_after(message);
        assert_eq!(who(2).unique().expect("an answer").0, 2);
        // The answer may be there before the end of its group is.
        rule.wait_hits(1);
        rule.release();
        eventually("another session", || who(3).unique().expect("an answer").1 != old);
    }
    test.finish();
}
