//! A floor: one thread per connection on a blocking socket, requests encoded beforehand, answers read where they must lie.
//! No pool, no library; what remains is the kernel and the server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::IsNull;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::{backend, frontend};
use tokio_postgres::config::Host;

use super::System;
use crate::meter::Tally;
use crate::report::Report;
use crate::workload::{Load, Workload};
use crate::{Result, world};

pub const SYSTEM: System =
    System { name: "floor-blocking", workloads: &[Workload::Select, Workload::Latency], run: select };

fn select(name: &'static str, load: &Load) -> Result<()> {
    let threads = load.conns.min(load.tasks);
    let floors = (0..threads).map(|_| Floor::open(&load.url)).collect::<Result<Vec<_>>>()?;
    let window = load.window();
    let threads: Vec<_> = floors
        .into_iter()
        .enumerate()
        .map(|(task, mut floor)| {
            let mut tally = Tally::new(window, load.seed(task));
            thread::spawn(move || {
                while let Some(id) = tally.next_id() {
                    tally.answered(id, floor.ask(id));
                }
                tally
            })
        })
        .collect();
    let cost = window.watch()?;
    let tallies = threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked"));
    Report::new(name, load, cost, tallies.collect::<std::result::Result<_, _>>()?)?.print()
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
const READY: &[u8] = b"Z\0\0\0\x05I";
/// Where the two values lie: behind BindComplete and the head of DataRow.
const FIRST: usize = 16;
const SECOND: usize = 24;

impl Floor<TcpStream> {
    pub fn open(url: &str) -> Result<Floor<TcpStream>> {
        let mut stream = log_in(url)?;
        let mut bytes = BytesMut::new();
        frontend::parse("s", world::SELECT, [], &mut bytes)?;
        frontend::sync(&mut bytes);
        stream.write_all(&bytes)?;
        let mut input = BytesMut::new();
        while !matches!(next_message(&mut stream, &mut input)?, backend::Message::ReadyForQuery(_)) {}

        let marker = i32::from_be_bytes(*b"\xff\xfe\xfd\xfc");
        let mut bytes = BytesMut::new();
        let encode = |id: i32, bytes: &mut BytesMut| {
            bytes.extend_from_slice(&id.to_be_bytes());
            Ok(IsNull::No)
        };
        frontend::bind("", "s", [1], [marker], encode, [1], &mut bytes)
            .map_err(|_| "the request can't be encoded")?;
        frontend::execute("", 0, &mut bytes)?;
        frontend::sync(&mut bytes);
        let request = bytes.to_vec();
        let id_at = request.windows(4).position(|window| window == marker.to_be_bytes());
        let id_at = id_at.ok_or("the request has no id")?;
        Ok(Floor { stream, request, id_at, answer: [0; 4096] })
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
        let value = |at| self.answer.get(at..at + 4)?.try_into().ok().map(i32::from_be_bytes);
        match (self.answer[5], value(FIRST), value(SECOND)) {
            (b'D', Some(id), Some(number)) => Ok((id, number)),
            _ => Err("the answer is no row".into()),
        }
    }
}

fn log_in(url: &str) -> Result<TcpStream> {
    let config: tokio_postgres::Config = url.parse()?;
    let (Some(Host::Tcp(host)), Some(port)) = (config.get_hosts().first(), config.get_ports().first()) else {
        return Err("the floor needs a host and a port".into());
    };
    let mut stream = TcpStream::connect((host.as_str(), *port))?;
    stream.set_nodelay(true)?;
    let user = config.get_user().unwrap_or("postgres");
    let mut bytes = BytesMut::new();
    let database = config.get_dbname().unwrap_or("postgres");
    frontend::startup_message([("user", user), ("database", database)], &mut bytes)?;
    stream.write_all(&bytes)?;
    let mut scram =
        ScramSha256::new(config.get_password().unwrap_or_default(), ChannelBinding::unsupported());
    let mut input = BytesMut::new();
    loop {
        let message = next_message(&mut stream, &mut input)?;
        bytes.clear();
        match message {
            backend::Message::AuthenticationSasl(_) => {
                frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut bytes)?;
            }
            backend::Message::AuthenticationSaslContinue(body) => {
                scram.update(body.data())?;
                frontend::sasl_response(scram.message(), &mut bytes)?;
            }
            backend::Message::AuthenticationSaslFinal(body) => scram.finish(body.data())?,
            backend::Message::ReadyForQuery(_) => return Ok(stream),
            _ => {}
        }
        stream.write_all(&bytes)?;
    }
}

fn next_message(stream: &mut TcpStream, input: &mut BytesMut) -> Result<backend::Message> {
    loop {
        match backend::Message::parse(input)? {
            Some(backend::Message::ErrorResponse(body)) => {
                let text = body.fields().find(|field| Ok(field.type_() == b'M'))?;
                let text = text.map(|field| String::from_utf8_lossy(field.value_bytes()).into_owned());
                return Err(text.unwrap_or_default().into());
            }
            Some(message) => return Ok(message),
            None => {}
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => return Err("the server hung up".into()),
            count => input.extend_from_slice(&chunk[..count]),
        }
    }
}
