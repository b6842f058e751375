//! A server that sends nonsense causes errors and closed connections: no panic, no hang, no wrong answer (reliability
//! case 40).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use maypole::{Database, Error, FromRow, Result, Row, spawn};

use crate::support::backend::{self, INT8};
use crate::support::eventually::eventually;
use crate::support::pool::{TestPool, in_coroutine};
use crate::support::random::Random;
use crate::support::raw::{Raw, echo};
use crate::support::responder::{Answer, Outcome, Value, text};

/// An answer carries its question and a check, so that one to another question can be told from a garbled one.
fn checked(values: &[Value]) -> Vec<Vec<Value>> {
    let question = match values {
        [Value::Int8(question)] => *question,
        _ => 0,
    };
    vec![vec![Value::Int8(question), Value::Int8(check_of(question))]]
}

fn check_of(question: i64) -> i64 {
    let mut mixer = Random::with_seed(question.cast_unsigned());
    mixer.next();
    mixer.next().cast_signed()
}

fn question(_: &str) -> Answer {
    Answer::rows(&[INT8], &[("question", INT8), ("check", INT8)], checked)
}

/// Cuts the bytes into whole messages; what is left over is one too.
fn messages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut all, mut rest) = (Vec::new(), bytes);
    while let Some(length) = rest.get(1..5) {
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        let end = (usize::try_from(length).expect("64 bits") + 1).min(rest.len());
        all.push(rest[..end].to_vec());
        rest = &rest[end..];
    }
    all.extend((!rest.is_empty()).then(|| rest.to_vec()));
    all
}

/// Does one thing to a reply that no server should.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let mut parts = messages(bytes);
    let (one, other) = (random.below(parts.len()), random.below(parts.len()));
    match random.below(12) {
        0 => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
            return;
        }
        1 => {
            let at = random.below(bytes.len());
            bytes[at] = random.next().to_le_bytes()[0];
            return;
        }
        2 => return bytes.truncate(random.below(bytes.len())),
        3 => drop(parts.remove(one)),
        4 => parts.swap(one, other),
        5 => parts.insert(one, parts[other].clone()),
        6 => {
            let odd = *random.pick(b"123ACDEGHIKNRSTVWZdnst\0\xff");
            let body: Vec<u8> = (0..random.below(20)).map(|_| random.next().to_le_bytes()[0]).collect();
            parts.insert(one, backend::message(odd, &body));
        }
        7 => {
            // A length that is not that of the message.
            let length = *random.pick(&[0, 3, 4, 5, 1000, -1, i32::MAX, i32::MIN]);
            if let Some(place) = parts[one].get_mut(1..5) {
                place.copy_from_slice(&length.to_be_bytes());
            }
        }
        8 => {
            // A count or a length inside it.
            let number = *random.pick(&[0_u16, 1, 2, 3, 0x7fff, 0x8000, 0xffff]);
            let at = random.below(parts[one].len());
            if let Some(place) = parts[one].get_mut(at..at + 2) {
                place.copy_from_slice(&number.to_be_bytes());
            }
        }
        9 => parts.insert(one, fields(random)),
        10 => {
            // Cut inside, with a length that fits.
            let keep = 5 + random.below(parts[one].len().saturating_sub(4).max(1));
            if let Some(body) = parts[one].get(5..keep.min(parts[one].len())) {
                parts[one] = backend::message(parts[one][0], body);
            }
        }
        _ => {
            let again = parts.clone();
            parts.extend(again);
        }
    }
    *bytes = parts.concat();
}

/// An ErrorResponse or NoticeResponse with odd fields, or none.
fn fields(random: &mut Random) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..random.below(6) {
        body.push(*random.pick(b"SVCMDHPpqWstcdnFLR!\0\xff"));
        let value = *random.pick::<&[u8]>(&[
            b"ERROR",
            b"FATAL",
            b"PANIC",
            b"42703",
            b"",
            b"0",
            b"-1",
            b"4294967296",
            b"99999999999999999999",
            b"\xff\xfe",
            b"a longer text with \xc3\xa4 in it",
        ]);
        body.extend_from_slice(value);
        if !random.one_in(8) {
            body.push(0);
        }
    }
    if !random.one_in(4) {
        body.push(0);
    }
    backend::message(*random.pick(b"EN"), &body)
}

/// Looks at an error as a program would that logs it.
fn look_at(error: &Error) {
    let _ = format!("{error} {error:?} {error:#?}");
    let _ = (
        error.sqlstate(),
        error.constraint(),
        error.outcome(),
        error.is_retryable(),
        error.phase(),
        error.sql(),
    );
    if let Some(error) = error.db_error() {
        let _ = format!("{error} {error:?}");
    }
}

/// Case 40.
#[test]
fn a_server_that_garbles_its_messages_never_causes_a_wrong_answer() {
    let random = Arc::new(Mutex::new(Random::new()));
    let (honest, garbled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (truth, count) = (honest.clone(), garbled.clone());
    let seed = random.clone();
    let server = Raw::start(move |mut peer| {
        let mut random = seed.lock().expect("no holder panics").fork();
        let (truth, count) = (truth.clone(), count.clone());
        peer.enter();
        peer.serve(question, move |out| {
            if truth.load(Ordering::SeqCst) || !random.one_in(3) {
                return true;
            }
            count.fetch_add(1, Ordering::SeqCst);
            for _ in 0..=random.below(2) {
                mutate(out, &mut random);
            }
            // Most that is cut short is waited for until the limit: then the end comes faster.
            random.one_in(2)
        });
    });
    let test = TestPool::built(&server.url(), |builder| {
        builder.limit(4).query_timeout(Duration::from_millis(150)).acquire_timeout(Duration::from_secs(30))
    });
    let rounds = 60;
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let db = Database::from(test.pool.clone());
            let mut random = random.lock().expect("no holder panics").fork();
            spawn(move || {
                let mut right = 0;
                for _ in 0..rounds {
                    let asked = random.next().cast_signed();
                    let answers: Result<Vec<(i64, i64)>> = match random.below(4) {
                        0 => db.query("SELECT question, check", (asked,)).rows(),
                        1 => db.query("SELECT question, check", (asked,)).unique().map(|one| vec![one]),
                        2 => db.query("SELECT question, check", (asked,)).iter().collect(),
                        _ => db.transaction(|q| q.query("SELECT question, check", (asked,)).rows()),
                    };
                    match answers {
                        Err(error) => look_at(&error),
                        Ok(answers) => {
                            for (question, check) in answers {
                                let whole = check == check_of(question);
                                assert!(
                                    !whole || question == asked,
                                    "worker {worker}: the answer to another question"
                                );
                                right += usize::from(whole);
                            }
                        }
                    }
                }
                right
            })
        })
        .collect();
    let right: usize = workers.into_iter().map(|worker| worker.join().expect("no panic")).sum();
    let garbled = garbled.load(Ordering::SeqCst);
    assert!(garbled > 50 && right > 50, "{garbled} replies garbled, {right} right answers");
    honest.store(true, Ordering::SeqCst);
    test.settled();
    for asked in 0..20 {
        let answer: (i64, i64) =
            test.db.query("SELECT question, check", (asked,)).unique().expect("it heals");
        assert_eq!(answer, (asked, check_of(asked)));
    }
    test.settled();
}

/// Built-in types whose values have a structure of their own.
const TYPES: [u32; 38] = [
    16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 142, 600, 700, 701, 829, 869, 1000, 1005, 1007, 1009, 1015,
    1016, 1022, 1042, 1082, 1083, 1114, 1184, 1186, 1231, 1266, 1560, 1562, 1700, 2950, 3802, 3807, 3904,
];

/// Random bytes, as a rule with a number at the front that promises much.
fn bytes(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(10) {
        let word: i32 = *random.pick(&[
            0,
            1,
            2,
            3,
            6,
            7,
            16,
            20,
            23,
            25,
            255,
            1700,
            -1,
            -2,
            i32::MAX,
            i32::MIN,
            0x0101_0101,
            0x4000_0000,
        ]);
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    for _ in 0..random.below(9) {
        bytes.push(random.next().to_le_bytes()[0]);
    }
    bytes
}

/// All ways to read a value; which of them fit is checked by the library.
fn read_all(row: &Row) {
    let _ = format!("{row} {row:?} {:?}", row.columns());
    let _ = serde_json::to_string(row);
    for at in 0..row.len() {
        fn look<T>(result: Result<T>) {
            if let Err(error) = result {
                look_at(&error);
            }
        }
        look(row.get::<bool>(at));
        look(row.get::<i32>(at));
        look(row.get::<Option<i64>>(at));
        look(row.get::<f64>(at));
        look(row.get::<&str>(at));
        look(row.get::<&[u8]>(at));
        look(row.get::<Vec<i32>>(at));
        look(row.get::<Vec<Option<String>>>(at));
        look(row.get::<Vec<Vec<u8>>>(at));
        look(row.get::<serde_json::Value>(at));
        look(row.get::<Vec<serde_json::Value>>(at));
        look(row.get::<std::net::IpAddr>(at));
        look(row.get::<std::time::SystemTime>(at));
        look(row.get::<std::collections::HashMap<String, Option<String>>>(at));
    }
}

/// Case 40: huge dimensions, negative lengths, broken texts, numbers of days beyond all calendars.
#[test]
fn values_of_random_bytes_can_be_read_and_shown_without_a_panic() {
    let random = Arc::new(Mutex::new(Random::new()));
    let seed = random.clone();
    let server = Raw::start(move |mut peer| {
        let seed = seed.clone();
        peer.enter();
        peer.serve(
            move |sql| {
                // "SELECT 23, 25": the types of the columns.
                let types: Vec<u32> = sql
                    .trim_start_matches("SELECT ")
                    .split(", ")
                    .map(|oid| oid.parse().expect("a type"))
                    .collect();
                let columns: Vec<_> = types.iter().map(|oid| ("value", *oid)).collect();
                let seed = seed.clone();
                let count = types.len();
                Answer::rows(&[], &columns, move |_| {
                    let mut random = seed.lock().expect("no holder panics").fork();
                    (0..40).map(|_| (0..count).map(|_| Value::Raw(bytes(&mut random))).collect()).collect()
                })
            },
            |_| true,
        );
    });
    let test = TestPool::at(&server.url(), 1);
    for oid in TYPES {
        let db = Database::from(test.pool.clone());
        in_coroutine(move || {
            let sql = format!("SELECT {oid}, 1007");
            for row in db.query(&sql, ()).rows::<Row>().expect("rows") {
                read_all(&row);
            }
        });
    }
    // Reading what cannot be read is the caller's error; the session is as good as before.
    assert_eq!(test.pool.stats().opened, 1);
    test.settled();
}

/// Case 40: the catalogue itself lies about a type that is not built in.
#[test]
fn a_catalogue_of_nonsense_is_an_error_and_no_panic() {
    let random = Arc::new(Mutex::new(Random::new()));
    let seed = random.clone();
    let server = Raw::start(move |mut peer| {
        let seed = seed.clone();
        peer.enter();
        peer.serve(move |sql| catalogue(sql, &seed), |_| true);
    });
    let test = TestPool::at(&server.url(), 2);
    for round in 0..60 {
        let db = Database::from(test.pool.clone());
        in_coroutine(move || {
            // Types are remembered for the whole pool: a new one each round.
            let sql = format!("SELECT {}", 100_000 + round * 1000);
            match db.query(&sql, ()).timeout(Duration::from_secs(5)).rows::<Row>() {
                Ok(rows) => rows.iter().for_each(read_all),
                Err(error) => look_at(&error),
            }
        });
    }
    test.settled();
}

/// Case 40: the answers to the library's own questions about types have types that are not built in, and so on without
/// end; or a type contains itself.
#[test]
fn a_catalogue_without_end_is_an_error_and_no_overflow() {
    for itself in [false, true] {
        let server = Raw::start(move |mut peer| {
            let next = AtomicUsize::new(100_000);
            peer.enter();
            peer.serve(
                move |sql| {
                    let strange = u32::try_from(next.fetch_add(1, Ordering::SeqCst)).expect("small");
                    let oid = |usual: u32| if itself { usual } else { strange };
                    if sql.contains("pg_catalog.pg_type") {
                        let columns = [
                            ("typname", oid(25)),
                            ("typtype", oid(18)),
                            ("typelem", oid(26)),
                            ("rngsubtype", oid(26)),
                            ("typbasetype", oid(26)),
                            ("nspname", oid(25)),
                            ("typrelid", oid(26)),
                            ("no_binary_form", oid(16)),
                        ];
                        Answer::rows(&[oid(26)], &columns, |values| {
                            let zero = || Value::Raw(0_u32.to_be_bytes().to_vec());
                            // An array of itself.
                            let element = match &values[0] {
                                Value::Raw(oid) => Value::Raw(oid.clone()),
                                _ => zero(),
                            };
                            vec![vec![
                                text("t"),
                                Value::Raw(vec![b'b']),
                                element,
                                Value::Null,
                                zero(),
                                text("s"),
                                zero(),
                                Value::Raw(vec![0]),
                            ]]
                        })
                    } else {
                        Answer::rows(&[], &[("value", strange)], |_| vec![vec![Value::Null]])
                    }
                },
                |_| true,
            );
        });
        let test = TestPool::at(&server.url(), 1);
        let db = Database::from(test.pool.clone());
        let error =
            in_coroutine(move || db.query("SELECT strange", ()).rows::<Row>()).expect_err("without end");
        assert!(!error.is_timeout(), "{error:?}");
        look_at(&error);
        assert_eq!(itself, error.to_string().contains("contains itself"), "{error}");
        test.settled();
    }
}

/// Answers the library's questions about types at random: types that contain themselves, that are everything at once,
/// or that do not exist.
fn catalogue(sql: &str, seed: &Arc<Mutex<Random>>) -> Answer {
    const NAME: u32 = 25;
    let seed = seed.clone();
    let type_of = |random: &mut Random| {
        let oid = *random.pick(&[0, 0, 23, 25, 1007, 100_000, 100_001, 4_000_000_000_u32]);
        Value::Raw(oid.to_be_bytes().to_vec())
    };
    if sql.contains("pg_catalog.pg_type") {
        let columns = [
            ("typname", NAME),
            ("typtype", 18),
            ("typelem", 26),
            ("rngsubtype", 26),
            ("typbasetype", 26),
            ("nspname", NAME),
            ("typrelid", 26),
            ("no_binary_form", 16),
        ];
        return Answer::rows(&[26], &columns, move |_| {
            let mut random = seed.lock().expect("no holder panics").fork();
            let random = &mut random;
            (0..random.below(3))
                .map(|_| {
                    let kind = vec![*random.pick(b"becdprm?\0\xff")];
                    let name = *random.pick(&["t", "", "hstore", "citext"]);
                    let range = if random.one_in(2) { Value::Null } else { type_of(random) };
                    vec![
                        text(name),
                        Value::Raw(kind),
                        type_of(random),
                        range,
                        type_of(random),
                        text("public"),
                        type_of(random),
                        Value::Raw(vec![u8::from(random.one_in(4))]),
                    ]
                })
                .collect()
        });
    }
    if sql.contains("pg_enum") {
        return Answer::rows(&[26], &[("enumlabel", NAME)], |_| vec![vec![text("one")], vec![text("")]]);
    }
    if sql.contains("pg_attribute") {
        return Answer::rows(&[26], &[("attname", NAME), ("atttypid", 26)], move |_| {
            let mut random = seed.lock().expect("no holder panics").fork();
            (0..random.below(4)).map(|_| vec![text("a"), type_of(&mut random)]).collect()
        });
    }
    let oid: u32 = sql.trim_start_matches("SELECT ").parse().expect("a type");
    Answer::rows(&[], &[("value", oid)], move |_| {
        let mut random = seed.lock().expect("no holder panics").fork();
        (0..5).map(|_| vec![Value::Raw(bytes(&mut random))]).collect()
    })
}

/// Case 40: counts that disagree, each on its own.
#[test]
fn rows_that_disagree_with_their_description_are_errors_and_close_the_connection() {
    let good = backend::data_row(&[Some(&7_i64.to_be_bytes())]);
    let two = backend::data_row(&[Some(&7_i64.to_be_bytes()), None]);
    let none = backend::data_row(&[]);
    let short = backend::message(b'D', &[0, 1, 0, 0, 0, 8, 1, 2]);
    let negative = backend::message(b'D', &[0, 1, 0xff, 0xff, 0xff, 0xfe]);
    let longer = backend::message(b'D', &[0, 1, 0, 0, 0, 0, 9, 9]);
    let empty = backend::message(b'D', &[]);
    for wrong in [two, none, short, negative, longer, empty] {
        for stream in [false, true] {
            let (good, wrong) = (good.clone(), wrong.clone());
            let server = Raw::start(move |mut peer| {
                peer.enter();
                let first = peer.number == 1;
                let (good, wrong) = (good.clone(), wrong.clone());
                peer.serve(echo, move |out| {
                    if first && messages(out).iter().any(|message| message[0] == b'D') {
                        let parts = messages(out);
                        let parts = parts.iter().flat_map(|part| match part[0] {
                            b'D' => vec![good.clone(), wrong.clone()],
                            _ => vec![part.clone()],
                        });
                        *out = parts.collect::<Vec<_>>().concat();
                    }
                    true
                });
            });
            let test = TestPool::at(&server.url(), 1);
            let lease = test.pool.connection().expect("lent");
            let query = lease.query("SELECT $1", (7_i64,));
            let read: Result<Vec<i64>> = if stream { query.iter().collect() } else { query.flat() };
            let error = read.expect_err("it disagrees");
            assert!(error.to_string().contains("a row can't be read"), "{error}");
            assert!(
                lease.query("SELECT $1", (8_i64,)).rows::<maypole::Row>().is_err(),
                "the connection is closed"
            );
            drop(lease);
            assert_eq!(test.db.query("SELECT $1", (9_i64,)).value::<i64>().expect("another session"), 9);
            assert_eq!(test.pool.stats().opened, 2);
            test.settled();
        }
    }
}

/// Case 40: an error is shown whatever it says, also about a very long line.
#[test]
fn errors_of_nonsense_are_errors_and_the_connection_works_on() {
    let random = Arc::new(Mutex::new(Random::new()));
    let seed = random.clone();
    let server = Raw::start(move |mut peer| {
        let mut random = seed.lock().expect("no holder panics").fork();
        peer.enter();
        peer.serve(
            |sql| {
                if sql.starts_with("fail") {
                    Answer::new(&[], &[], |_| Outcome::Error("22012".into(), "an error".into()))
                } else {
                    echo(sql)
                }
            },
            move |out| {
                let parts = messages(out);
                let parts = parts.iter().map(|part| match part[0] {
                    b'E' => loop {
                        let odd = fields(&mut random);
                        // FATAL is the end, and allowed to be.
                        if odd[0] == b'E' && !odd.windows(5).any(|word| word == b"FATAL" || word == b"PANIC")
                        {
                            break odd;
                        }
                    },
                    _ => part.clone(),
                });
                *out = parts.collect::<Vec<_>>().concat();
                true
            },
        );
    });
    let test = TestPool::at(&server.url(), 1);
    let statements = [
        "fail".to_owned(),
        format!("fail {}", "x".repeat(200_000)),
        format!("fail {}", "ä\n".repeat(3000)),
        "fail \n\n".into(),
    ];
    for round in 0..200 {
        let sql = statements[round % statements.len()].clone();
        let db = Database::from(test.pool.clone());
        let error = in_coroutine(move || db.query(&sql, ()).run()).expect_err("it fails");
        look_at(&error);
        assert!(error.sqlstate().is_some(), "an error without a code has one all the same: {error}");
    }
    assert_eq!(test.db.query("SELECT $1", (1_i64,)).value::<i64>().expect("an answer"), 1);
    assert_eq!(test.pool.stats().opened, 1);
    test.settled();
}

/// The place of an error may be anywhere in a statement of any shape: found on the real server.
#[test]
fn an_error_far_out_in_a_long_line_can_be_shown() {
    let test = TestPool::new(1);
    let far = format!("SELECT '{}', nmae", "x".repeat(100_000));
    let wide = format!("SELECT {}", "nmae".repeat(30_000));
    let down = format!("SELECT {}nmae", "\n".repeat(100_000));
    for sql in [far, wide, down] {
        let error = test.db.query(&sql, ()).run().expect_err("there is no such column");
        assert_eq!(error.sqlstate(), Some("42703"));
        let shown = catch_unwind(AssertUnwindSafe(|| error.to_string())).expect("showing it panicked");
        assert!(shown.contains('^'), "{}", &shown[..shown.len().min(300)]);
        assert!(shown.len() < 2000, "{} bytes tell less than a few lines", shown.len());
    }
    test.finish();
}

/// Case 40, mixed with a stream inside a transaction: the pieces of one answer are never those of another.
#[test]
fn a_server_that_answers_one_message_twice_is_found_out() {
    for tag in [b'Z', b'C', b'2', b'1', b't', b'T', b'n', b's'] {
        let server = Raw::start(move |mut peer| {
            peer.enter();
            let first = peer.number == 1;
            peer.serve(question, move |out| {
                if first {
                    let parts = messages(out);
                    let twice =
                        parts.iter().flat_map(|part| vec![part.clone(); 1 + usize::from(part[0] == tag)]);
                    *out = twice.collect::<Vec<_>>().concat();
                }
                true
            });
        });
        let test = TestPool::at(&server.url(), 1);
        for asked in 0..10_i64 {
            if let Ok(answer) = test.db.query("SELECT question, check", (asked,)).unique::<(i64, i64)>() {
                assert_eq!(answer, (asked, check_of(asked)), "{}", char::from(tag));
            }
        }
        if !matches!(tag, b'n' | b's') {
            eventually("the first session has left", || test.pool.stats().closed == 1);
        }
        test.settled();
    }
}

#[derive(Debug, FromRow)]
struct Pair {
    question: i64,
    check: i64,
}

/// Case 40: the columns change between the description and the next use, without a word of the server.
#[test]
fn a_description_that_is_no_longer_true_is_not_believed_for_long() {
    let described = Arc::new(AtomicUsize::new(0));
    let server = Raw::start(move |mut peer| {
        peer.enter();
        let uses = described.clone();
        peer.serve(
            move |_| {
                let uses = uses.clone();
                Answer::rows(&[INT8], &[("question", INT8), ("check", INT8)], move |values| {
                    let mut rows = checked(values);
                    if uses.fetch_add(1, Ordering::SeqCst) == 2 {
                        rows[0].push(Value::Int8(3));
                    }
                    rows
                })
            },
            |_| true,
        );
    });
    let test = TestPool::at(&server.url(), 1);
    for asked in 0..6_i64 {
        let pair = test.db.query("SELECT question, check", (asked,)).unique::<Pair>();
        assert_eq!(pair.is_err(), asked == 2, "{pair:?}");
        if let Ok(pair) = pair {
            assert_eq!((pair.question, pair.check), (asked, check_of(asked)));
        }
    }
    assert_eq!(test.pool.stats().opened, 2);
    test.settled();
}
