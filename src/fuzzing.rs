//! Doors for the fuzz targets, behind a feature. Uses: columns, config, protocol, row.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use postgres_types::Type;

use crate::columns::{Column, Columns};
use crate::config::Config;
use crate::protocol::session::{Exchange, Reply, Session, Sink, Step};
use crate::protocol::{decode, encode, frame};
use crate::row::RowReader;

#[derive(Default)]
struct Count {
    replies: usize,
}

impl Sink<u8> for Count {
    fn reply(&mut self, _: u8, reply: Reply) {
        self.replies += 1;
        assert!(reply.behind.is_none_or(|at| at <= reply.bytes.len()), "it begins in the reply");
        for (tag, body) in decode::Messages::new(&reply.bytes) {
            let body = &reply.bytes[body];
            match tag {
                b'T' => drop(black_box(decode::row_description(body))),
                b't' => drop(black_box(decode::parameter_description(body))),
                b'E' => drop(black_box(decode::error_fields(body))),
                b'C' => drop(black_box(decode::affected_rows(decode::command_tag(body)))),
                _ => {}
            }
        }
    }
    fn failed(&mut self, _: &u8, body: &[u8]) {
        drop(black_box(decode::error_fields(body)));
    }
    fn wanted(&self, token: &u8) -> bool {
        token % 5 != 0
    }
    fn notice(&mut self, body: &[u8]) {
        black_box(decode::error_fields(body));
    }
    fn notification(&mut self, _: &[u8]) {}
    fn parameter(&mut self, body: &[u8]) {
        black_box(decode::parameter_status(body));
    }
}

/// The first byte says how many requests are queued, each next one which; then how the rest is cut.
pub fn session(data: &[u8]) {
    const LIMIT: usize = 4096;
    let prepare = Exchange::new(&[Step::Close, Step::Parse, Step::Describe, Step::Sync]);
    let exchanges = [
        prepare,
        encode::EXECUTE,
        encode::EXECUTE_FIRST,
        encode::EXECUTE_NEXT,
        encode::EXECUTE_NEXT_AND_SYNC,
        encode::CLOSE,
        encode::SYNC,
        encode::SIMPLE,
        encode::EXECUTE.with_commands(2, true),
        encode::EXECUTE_FIRST.with_commands(1, false),
    ];
    let Some((count, rest)) = data.split_first() else { return };
    let (requests, rest) = rest.split_at(usize::from(count % 16).min(rest.len()));
    let Some((cut, rest)) = rest.split_first() else { return };
    let mut session = Session::new(LIMIT);
    let mut sink = Count::default();
    for request in requests {
        let _ = session.submit(b"request", exchanges[usize::from(*request) % exchanges.len()], *request);
    }
    let mut input = BytesMut::new();
    for piece in rest.chunks(usize::from(*cut).max(1)) {
        input.extend_from_slice(piece);
        if session.feed(&mut input, &mut sink).is_err() {
            break;
        }
        assert!(input.len() <= 2 * LIMIT + piece.len(), "bytes pile up");
    }
    assert!(sink.replies <= requests.len(), "a reply too many");
    let _ = frame::next(rest, LIMIT);
}

/// The first byte says how many columns there are, each next one of which type; the rest is a row.
pub fn rows(data: &[u8]) {
    let types = [
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::NUMERIC,
        Type::TEXT,
        Type::JSON,
        Type::JSONB,
        Type::UUID,
        Type::DATE,
        Type::TIME,
        Type::TIMETZ,
        Type::TIMESTAMP,
        Type::TIMESTAMPTZ,
        Type::INTERVAL,
        Type::BYTEA,
        Type::INET,
        Type::CIDR,
        Type::MACADDR,
        Type::INT4_ARRAY,
        Type::TEXT_ARRAY,
        Type::NUMERIC_ARRAY,
        Type::OID,
        Type::POINT,
        Type::INT4_RANGE,
        Type::RECORD,
    ];
    let Some((count, rest)) = data.split_first() else { return };
    let (kinds, body) = rest.split_at(usize::from(count % 8).min(rest.len()));
    let columns = kinds
        .iter()
        .enumerate()
        .map(|(at, kind)| Column::new(format!("c{at}"), types[usize::from(*kind) % types.len()].clone()));
    let mut reader = RowReader::new(Arc::new(Columns::new(columns.collect())));
    let body = Bytes::copy_from_slice(body);
    let whole: Range<usize> = 0..body.len();
    let Ok(row) = reader.read(&body, whole) else { return };
    for at in 0..row.len() {
        let _ = black_box(row.get::<Option<i32>>(at));
        let _ = black_box(row.get::<Option<&str>>(at));
        let _ = black_box(row.get::<Option<f64>>(at));
        let _ = black_box(row.get::<Option<Vec<Option<i32>>>>(at));
        let _ = black_box(row.get::<Option<Vec<Option<String>>>>(at));
        let _ = black_box(row.get::<Option<serde_json::Value>>(at));
        let _ = black_box(row.get::<Option<Vec<u8>>>(at));
    }
    black_box(row.to_row().to_string());
    let _ = black_box(serde_json::to_string(&row.to_row()));
}

/// Any text.
pub fn conninfo(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::from_text(text, &|_| None) {
        Ok(config) => drop(black_box((format!("{config:?}"), config.targets()))),
        Err(error) => drop(black_box(format!("{error:?}"))),
    }
}
