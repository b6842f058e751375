//! A floor for a lease: one thread per connection on a blocking socket, requests encoded beforehand, answers read where they
//! must lie. No pool, no library; what remains is the kernel and the server.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::System;
use super::threads::{ask_for_rows, measure};
use crate::workload::{Load, Workload};
use crate::{Result, session};

pub const SYSTEM: System =
    System { name: "floor-blocking", workloads: &[Workload::Select, Workload::Latency], run: select };

fn select(name: &'static str, load: &Load) -> Result<()> {
    let threads = load.conns.min(load.tasks);
    let floors = (0..threads).map(|_| Floor::open(&load.url)).collect::<Result<Vec<_>>>()?;
    let selects = load.selects();
    measure(
        name,
        load,
        floors
            .into_iter()
            .map(|mut floor| move |tally: &mut _| ask_for_rows(tally, selects, |id| floor.ask(id))),
    )
}

pub struct Floor<S> {
    stream: S,
    /// Bind, Execute and Sync; the id is written over.
    request: Vec<u8>,
    /// Where the id lies in the request.
    id_at: usize,
    answer: [u8; 4096],
}

/// The end of every answer: ReadyForQuery, idle.
pub const READY: &[u8] = b"Z\0\0\0\x05I";

/// How long the answer to one Execute is: BindComplete, DataRow, CommandComplete `SELECT 1`.
pub const MEMBER: usize = 5 + 23 + 14;

/// The row of a member: where the two values lie, and what they are.
pub fn row(member: &[u8]) -> Result<(i32, i32)> {
    let value = |at| Some(i32::from_be_bytes(member.get(at..at + 4)?.try_into().ok()?));
    match (member.get(5), value(16), value(24), member.get(28)) {
        (Some(b'D'), Some(id), Some(number), Some(b'C')) => Ok((id, number)),
        _ => Err("the answer is no row".into()),
    }
}

impl Floor<TcpStream> {
    pub fn open(url: &str) -> Result<Floor<TcpStream>> {
        let stream = session::prepared(url)?;
        let (request, ids) = session::request(1)?;
        Ok(Floor { stream, request, id_at: ids[0], answer: [0; 4096] })
    }
}

impl<S: Read + Write> Floor<S> {
    /// The same on another kind of stream.
    pub fn onto<T, E>(
        self,
        convert: impl FnOnce(S) -> std::result::Result<T, E>,
    ) -> std::result::Result<Floor<T>, E> {
        let Floor { stream, request, id_at, answer } = self;
        Ok(Floor { stream: convert(stream)?, request, id_at, answer })
    }

    pub fn ask(&mut self, id: i32) -> Result<(i32, i32)> {
        self.request[self.id_at..self.id_at + 4].copy_from_slice(&id.to_be_bytes());
        self.stream.write_all(&self.request)?;
        let mut length = 0;
        while !self.answer[..length].ends_with(READY) {
            match self.stream.read(&mut self.answer[length..])? {
                0 => return Err("the server hung up, or its answer is too long".into()),
                count => length += count,
            }
        }
        row(&self.answer[..length])
    }
}
