//! The floor: groups of up to 32 selects under one Sync, encoded beforehand, on blocking sockets of two threads; answers are
//! read where they must lie and checked. No pool, no tasks, no library; what remains is the kernel and the server.
//!
//! Each thread has half of the connections, writes to all of them, and reads from one after the other, so that the server has
//! work while a group is checked. The members of a group stand for as many tasks.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::System;
use super::floor_blocking::{MEMBER, READY, row};
use super::threads::measure;
use crate::measure::Tally;
use crate::workload::{Load, Workload};
use crate::{Result, session};

pub const SYSTEM: System =
    System { name: "floor", workloads: &[Workload::Select, Workload::Latency, Workload::Queries20], run };

const LARGEST_GROUP: usize = 32;
const THREADS: usize = 2;

fn run(name: &'static str, load: &Load) -> Result<()> {
    let load = &load.of_shared();
    let group = LARGEST_GROUP.min(load.tasks / load.conns).max(1);
    let sessions = (0..load.conns).map(|_| Session::open(&load.url, group)).collect::<Result<Vec<_>>>()?;
    let mut threads: Vec<Vec<Session>> = (0..THREADS.min(load.conns)).map(|_| Vec::new()).collect();
    let count = threads.len();
    sessions.into_iter().enumerate().for_each(|(at, session)| threads[at % count].push(session));
    let selects = load.selects();
    measure(
        name,
        load,
        threads.into_iter().map(|sessions| move |tally: &mut _| ask_all(sessions, tally, selects)),
    )
}

/// One group after the other on each session.
fn ask_all(mut sessions: Vec<Session>, tally: &mut Tally, selects: usize) {
    let mut asked = 0;
    let mut done = sessions.iter_mut().try_for_each(|session| session.ask(tally));
    // What was asked first in a round is what its operations began with; a group waits for those of the other sessions.
    while done.is_ok() && tally.goes_on() {
        asked += 1;
        done = sessions.iter_mut().try_for_each(|session| {
            session.answer(tally)?;
            session.ask(tally)
        });
        if done.is_ok() && asked % selects == 0 {
            let members = sessions.iter().map(|session| session.ids.len() as u64).sum();
            tally.done_together(members);
        }
    }
    if let Err(error) = done {
        tally.fail(error);
    }
}

struct Session {
    stream: TcpStream,
    request: Vec<u8>,
    /// Where the ids lie in the request.
    ids_at: Vec<usize>,
    /// The ids that were asked for.
    ids: Vec<i32>,
    answer: Vec<u8>,
}

impl Session {
    fn open(url: &str, group: usize) -> Result<Session> {
        let stream = session::prepared(url)?;
        let (request, ids_at) = session::request(group)?;
        let answer = vec![0; group * MEMBER + READY.len()];
        Ok(Session { stream, request, ids_at, ids: vec![0; group], answer })
    }

    fn ask(&mut self, tally: &mut Tally) -> Result<()> {
        for (id, at) in self.ids.iter_mut().zip(&self.ids_at) {
            *id = tally.id();
            self.request[*at..*at + 4].copy_from_slice(&id.to_be_bytes());
        }
        Ok(self.stream.write_all(&self.request)?)
    }

    fn answer(&mut self, tally: &mut Tally) -> Result<()> {
        self.stream.read_exact(&mut self.answer)?;
        for (id, member) in self.ids.iter().zip(self.answer.chunks(MEMBER)) {
            if !tally.is_right(*id, row(member)) {
                return Err("a wrong answer".into());
            }
        }
        if self.answer.ends_with(READY) { Ok(()) } else { Err("the group did not end as it should".into()) }
    }
}
