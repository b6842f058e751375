//! The session against a model of the server: whatever is asked, however the bytes are cut and whatever comes between
//! them, each reply reaches the request it belongs to.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::protocol::encode::{
    CLOSE, EXECUTE, EXECUTE_FIRST, EXECUTE_NEXT, EXECUTE_NEXT_AND_SYNC, SIMPLE, SYNC,
};

const PREPARE: Exchange = Exchange::new(&[Step::Close, Step::Parse, Step::Describe, Step::Sync]);

const EXCHANGES: [Exchange; 8] =
    [PREPARE, EXECUTE, EXECUTE_FIRST, EXECUTE_NEXT, EXECUTE_NEXT_AND_SYNC, CLOSE, SYNC, SIMPLE];

/// What is asked, and what the server makes of it.
#[derive(Clone, Debug)]
struct Asked {
    exchange: Exchange,
    /// The same without the commands that go with it.
    plain: Exchange,
    rows: usize,
    suspends: bool,
    /// The step at which an error comes, if there are so many.
    fails_at: Option<u8>,
    given_up: bool,
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        0..EXCHANGES.len(),
        0..4usize,
        any::<bool>(),
        prop::option::weighted(0.3, 0..12u8),
        prop::bool::weighted(0.2),
        0..3usize,
        any::<bool>(),
    )
        .prop_map(|(exchange, rows, suspends, fails_at, given_up, before, behind)| {
            let plain = EXCHANGES[exchange];
            // Only what ends with Sync has commands with it.
            let synced = plain.sync_step().is_some();
            let exchange = if synced { plain.with_commands(before, behind) } else { plain };
            Asked { exchange, plain, rows, suspends, fails_at, given_up }
        })
}

pub(super) fn message(out: &mut BytesMut, tag: u8, body: &[u8]) {
    out.put_u8(tag);
    out.put_u32(u32::try_from(body.len() + 4).expect("short"));
    out.put_slice(body);
}

/// A message that may come at any time.
fn aside(out: &mut BytesMut, kind: u8) {
    match kind % 4 {
        0 => message(out, b'N', b"SNOTICE\0Mhear, hear\0\0"),
        1 => message(out, b'A', b"\0\0\0\x07channel\0payload\0"),
        2 => message(out, b'S', b"TimeZone\0UTC\0"),
        _ => {}
    }
}

/// The server: reads requests in order and passes over what stands between an error and the next Sync.
#[derive(Default)]
struct Server {
    skipping: bool,
}

impl Server {
    fn answer(
        &mut self,
        id: usize,
        asked: &Asked,
        asides: &mut impl FnMut(&mut BytesMut),
    ) -> (BytesMut, End) {
        let mut out = BytesMut::new();
        let mut end = End::Complete;
        let mut at = 0;
        while let Some(step) = asked.exchange.step(at) {
            let fails = asked.fails_at == Some(at) && step != Step::Sync;
            at += 1;
            if self.skipping && step != Step::Sync {
                if end == End::Complete {
                    end = End::Skipped;
                }
                continue;
            }
            asides(&mut out);
            let at = at - 1;
            let behind = asked.exchange.behind().is_some_and(|behind| at >= behind);
            let (suspends, rows, mark) = match () {
                () if at < asked.exchange.begin() => (false, 0, String::new()),
                () if behind => (false, 1, format!("behind {id}\0")),
                () => (asked.suspends, asked.rows, format!("row of {id}\0")),
            };
            if fails {
                message(&mut out, b'E', format!("VERROR\0C22012\0Mfailed {id}\0\0").as_bytes());
                end = End::Failed;
                if step == Step::Simple {
                    message(&mut out, b'Z', b"E");
                } else {
                    self.skipping = true;
                }
                continue;
            }
            match step {
                Step::Close => message(&mut out, b'3', b""),
                Step::Parse => message(&mut out, b'1', b""),
                Step::Describe => {
                    message(&mut out, b't', b"\0\0");
                    asides(&mut out);
                    message(&mut out, b'n', b"");
                }
                Step::Bind => message(&mut out, b'2', b""),
                Step::Execute | Step::Simple => {
                    if step == Step::Simple {
                        message(&mut out, b'T', b"\0\0");
                    }
                    for _ in 0..rows {
                        message(&mut out, b'D', mark.as_bytes());
                        asides(&mut out);
                    }
                    if suspends && step == Step::Execute {
                        message(&mut out, b's', b"");
                    } else {
                        message(&mut out, b'C', format!("SELECT {id}\0").as_bytes());
                    }
                    if step == Step::Simple {
                        message(&mut out, b'Z', b"I");
                    }
                }
                Step::Sync => {
                    self.skipping = false;
                    message(&mut out, b'Z', b"T");
                }
            }
        }
        (out, end)
    }
}

#[derive(Default)]
struct Seen {
    replies: Vec<(usize, Reply)>,
    given_up: Vec<usize>,
    failed: Vec<usize>,
    asides: usize,
}

impl Sink<usize> for Seen {
    fn reply(&mut self, token: usize, reply: Reply) {
        self.replies.push((token, reply));
    }
    fn wanted(&self, token: &usize) -> bool {
        !self.given_up.contains(token)
    }
    fn failed(&mut self, token: &usize, _: &[u8]) {
        self.failed.push(*token);
    }
    fn notice(&mut self, _: &[u8]) {
        self.asides += 1;
    }
    fn notification(&mut self, _: &[u8]) {
        self.asides += 1;
    }
    fn parameter(&mut self, _: &[u8]) {
        self.asides += 1;
    }
}

/// Runs it all and checks that every token got its own reply, in order.
fn converse(all: &[Asked], cuts: &[usize], ahead: usize, kinds: &[u8]) -> Result<(), TestCaseError> {
    let mut server = Server::default();
    let mut session: Session<usize> = Session::new(1 << 20);
    let mut seen = Seen::default();
    let mut input = BytesMut::new();
    let mut wire = BytesMut::new();
    let mut expected = Vec::new();
    let mut cut = cuts.iter().cycle();
    let mut kind = kinds.iter().cycle();
    let mut deliver = |session: &mut Session<usize>, seen: &mut Seen, wire: &mut BytesMut, keep: usize| {
        while wire.len() > keep {
            let count = (*cut.next().expect("not empty")).min(wire.len() - keep).max(1);
            input.extend_from_slice(&wire.split_to(count));
            session.feed(&mut input, seen).map_err(|fatal| TestCaseError::fail(format!("{fatal:?}")))?;
        }
        Ok::<_, TestCaseError>(())
    };
    for (id, asked) in all.iter().enumerate() {
        if asked.given_up {
            seen.given_up.push(id);
        }
        let (bytes, end) = server.answer(id, asked, &mut |out| aside(out, *kind.next().expect("not empty")));
        match session.submit(b"request", asked.exchange, id) {
            Ok(()) => {}
            Err(PassedOver(id)) => {
                prop_assert_eq!(end, End::Skipped, "{} was not sent", id);
                prop_assert!(bytes.is_empty());
                seen.replies.push((id, Reply::skipped(Status::Idle)));
            }
        }
        expected.push(end);
        wire.extend_from_slice(&bytes);
        deliver(&mut session, &mut seen, &mut wire, ahead)?;
    }
    deliver(&mut session, &mut seen, &mut wire, 0)?;

    // A request whose Sync the server has not passed yet leaves the session unsynced, not waiting.
    prop_assert_eq!(seen.replies.len(), all.len());
    prop_assert!(!session.is_waiting());
    for (at, ((id, reply), end)) in seen.replies.iter().zip(&expected).enumerate() {
        prop_assert_eq!(*id, at);
        prop_assert_eq!(reply.end, *end, "request {}: {:?}", id, all[*id]);
        if seen.given_up.contains(id) {
            continue;
        }
        let (own, behind) = reply.bytes.split_at(reply.behind.unwrap_or(reply.bytes.len()));
        let rows = decode::tests_only_bodies(own, b'D');
        let mark = format!("row of {id}\0");
        let plain = &all[*id].plain.steps[..usize::from(all[*id].plain.length)];
        let executes = plain.contains(&Step::Execute);
        if *end == End::Complete {
            prop_assert!(rows.iter().all(|row| *row == mark.as_bytes()), "only its own rows");
            prop_assert_eq!(reply.behind.is_some(), all[*id].exchange.behind, "as was asked");
            prop_assert_eq!(rows.len(), if executes { all[*id].rows } else { rows.len() });
            let parsed = decode::tests_only_bodies(own, b'1').len();
            let parses = plain.iter().filter(|step| **step == Step::Parse).count();
            prop_assert_eq!(parsed, parses, "the answers to the commands before it are not its own");
            let rows = decode::tests_only_bodies(behind, b'D');
            let mark = format!("behind {id}\0");
            prop_assert!(rows.iter().all(|row| *row == mark.as_bytes()), "only those of the command behind");
            prop_assert_eq!(rows.len(), usize::from(all[*id].exchange.behind));
        }
        if *end == End::Failed {
            let error = format!("VERROR\0C22012\0Mfailed {id}\0\0");
            let errors = decode::tests_only_bodies(&reply.bytes, b'E');
            prop_assert_eq!(errors, vec![error.as_bytes()], "the error is in the reply, wherever it came");
            if all[*id].fails_at < Some(all[*id].exchange.begin()) {
                let parsed = decode::tests_only_bodies(&reply.bytes, b'1');
                prop_assert!(parsed.is_empty(), "and nothing of the commands before it");
            }
        }
    }
    let failed: Vec<usize> =
        expected.iter().enumerate().filter(|(_, end)| **end == End::Failed).map(|(id, _)| id).collect();
    prop_assert_eq!(&seen.failed, &failed, "each failure is told once, whoever waits");
    prop_assert!(input.is_empty(), "nothing is left over");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_reply_ever_reaches_another_request(
        all in prop::collection::vec(asked(), 1..12),
        cuts in prop::collection::vec(1..40usize, 1..8),
        ahead in 0..60usize,
        kinds in prop::collection::vec(any::<u8>(), 1..6),
    ) {
        converse(&all, &cuts, ahead, &kinds)?;
    }

    #[test]
    fn any_bytes_end_in_replies_or_in_an_error_but_never_in_a_panic(
        exchanges in prop::collection::vec(0..EXCHANGES.len(), 0..5),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        tags in prop::collection::vec(prop::sample::select(&b"12tTnDCsIEZGHdcNASRK3"[..]), 0..20),
        cut in 1..50usize,
    ) {
        let mut session: Session<usize> = Session::new(200);
        let mut seen = Seen::default();
        for (id, exchange) in exchanges.iter().enumerate() {
            let _ = session.submit(b"request", EXCHANGES[*exchange], id);
        }
        let mut stream = BytesMut::new();
        for (at, tag) in tags.iter().enumerate() {
            let body = bytes.get(at..at + at % 7).unwrap_or_default();
            message(&mut stream, *tag, body);
        }
        stream.extend_from_slice(&bytes);
        let mut input = BytesMut::new();
        for piece in stream.chunks(cut) {
            input.extend_from_slice(piece);
            if session.feed(&mut input, &mut seen).is_err() {
                break;
            }
            prop_assert!(input.len() <= 400 + cut, "nothing piles up");
        }
        prop_assert!(seen.replies.len() <= exchanges.len());
    }
}

#[test]
fn every_cut_of_a_recorded_exchange_gives_the_same_replies() {
    let all: Vec<Asked> = [PREPARE, EXECUTE, SIMPLE, EXECUTE_FIRST, EXECUTE_NEXT, SYNC]
        .into_iter()
        .flat_map(|plain| {
            let with = if plain.sync_step().is_some() { plain.with_commands(2, true) } else { plain };
            [(plain, plain), (plain, with)]
        })
        .map(|(plain, exchange)| Asked {
            exchange,
            plain,
            rows: 2,
            suspends: false,
            fails_at: None,
            given_up: false,
        })
        .collect();
    for cut in 1..200 {
        converse(&all, &[cut], 0, &[0, 3, 1, 2]).expect("its own replies");
    }
}

fn fed(exchange: Option<Exchange>, bytes: &[u8]) -> (Result<(), Fatal>, Session<usize>, Seen) {
    let mut session = Session::new(1000);
    let mut seen = Seen::default();
    if let Some(exchange) = exchange {
        session.submit(b"request", exchange, 0).expect("taken");
    }
    let result = session.feed(&mut BytesMut::from(bytes), &mut seen);
    (result, session, seen)
}

#[test]
fn an_unasked_ready_for_query_is_fatal() {
    assert!(matches!(fed(None, b"Z\0\0\0\x05I").0, Err(Fatal::Violation(_))));
    assert!(matches!(fed(Some(SYNC), b"Z\0\0\0\x05IZ\0\0\0\x05I").0, Err(Fatal::Violation(_))));
    assert!(
        matches!(fed(Some(SIMPLE), b"Z\0\0\0\x05I").0, Err(Fatal::Violation(_))),
        "no statement was answered"
    );
}

#[test]
fn messages_out_of_turn_and_unknown_ones_are_fatal() {
    for bytes in
        [&b"D\0\0\0\x06\0\0"[..], b"1\0\0\0\x04", b"W\0\0\0\x04", b"v\0\0\0\x04", b"R\0\0\0\x08\0\0\0\0"]
    {
        assert!(matches!(fed(Some(EXECUTE), bytes).0, Err(Fatal::Violation(_))), "{bytes:?}");
    }
    assert!(matches!(fed(Some(SYNC), b"Z\0\0\0\x05X").0, Err(Fatal::Violation(_))), "unknown status");
}

#[test]
fn a_farewell_while_idle_says_why_and_in_a_reply_is_that_requests_error() {
    let mut bytes = BytesMut::new();
    message(&mut bytes, b'E', b"VFATAL\0C57P01\0Mterminating\0\0");
    assert!(matches!(fed(None, &bytes).0, Err(Fatal::Farewell(_))));
    let (result, mut session, seen) = fed(Some(EXECUTE), &bytes);
    assert!(matches!(result, Err(Fatal::Farewell(_))));
    assert_eq!(seen.replies.first().map(|(id, reply)| (*id, reply.end)), Some((0, End::Failed)));
    assert_eq!(session.abandon(0).count(), 0);
}

#[test]
fn a_copy_from_the_client_is_refused_and_the_session_goes_on() {
    let mut bytes = BytesMut::new();
    message(&mut bytes, b'2', b"");
    message(&mut bytes, b'G', b"\0\0\0");
    let (mut session, mut seen) = (Session::new(1000), Seen::default());
    session.submit(b"request", EXECUTE, 0).expect("taken");
    session.feed(&mut bytes, &mut seen).expect("goes on");
    let output = session.output().split();
    assert!(output.ends_with(b"S\0\0\0\x04") && output.contains(&b'f'), "CopyFail, then Sync: {output:?}");
    message(&mut bytes, b'E', b"VERROR\0C57014\0Mstopped\0\0");
    message(&mut bytes, b'Z', b"I");
    session.feed(&mut bytes, &mut seen).expect("goes on");
    assert_eq!(seen.replies.first().map(|(_, reply)| reply.end), Some(End::Copy));
    assert!(session.is_quiet());
}

#[test]
fn a_reply_that_nobody_wants_any_more_does_not_pile_up() {
    let mut session = Session::new(1000);
    session.submit(b"request", EXECUTE, 0).expect("taken");
    let mut seen = Seen { given_up: vec![0], ..Seen::default() };
    let mut input = BytesMut::new();
    message(&mut input, b'2', b"");
    for _ in 0..1000 {
        message(&mut input, b'D', &[7; 90]);
        session.feed(&mut input, &mut seen).expect("goes on");
        assert!(input.is_empty());
    }
}

#[test]
fn a_reply_that_somebody_wants_is_bounded() {
    let mut session = Session::new(1000);
    session.submit(b"request", EXECUTE, 0).expect("taken");
    let mut input = BytesMut::new();
    message(&mut input, b'2', b"");
    let fatal = (0..1000).find_map(|_| {
        message(&mut input, b'D', &[7; 90]);
        session.feed(&mut input, &mut Seen::default()).err()
    });
    assert!(matches!(fatal, Some(Fatal::Violation(violation)) if violation.0.contains("max_message_size")));
}

#[test]
fn what_was_not_sent_is_told_apart_from_what_was() {
    let mut session = Session::new(1000);
    for id in 0..3 {
        session.submit(b"0123456789", EXECUTE, id).expect("taken");
    }
    let left: Vec<(usize, bool)> = session.abandon(11).collect();
    assert_eq!(left, [(0, true), (1, true), (2, false)]);
}
