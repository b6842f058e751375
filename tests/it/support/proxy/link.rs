//! One connection through a proxy: a thread for each direction. Uses: proxy, proxy/rules, eventually, frame.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{SockAddr, SockFilter, Socket};

use super::super::eventually::eventually;
use super::super::frame::{
    ANSWER_BYTE, Direction, END, Fill, Frame, FrameReader, Framing, GSS_REQUEST, SSL_REQUEST, STARTUP,
};
use super::rules::{Cut, Plan};
use super::{Event, Shared};

/// A sender that is silent for so long has nothing more to be glued.
const QUIET: Duration = Duration::from_millis(5);

/// The state of one connection.
pub(super) struct Link {
    /// Client and server, until both directions have ended.
    sockets: Option<[Arc<Socket>; 2]>,
    /// Directions that have not ended.
    pub(super) open: usize,
    /// Closed by a rule, by the test, or because a peer does not take bytes any more.
    pub(super) cut: bool,
    /// The client has asked for encryption and awaits the answer byte.
    asked: bool,
    /// The server has agreed to encryption: what follows is not ours to read.
    encrypted: bool,
    /// The client has sent its startup packet.
    tagged: bool,
}

impl Link {
    pub(super) fn new(client: &Arc<Socket>, server: &Arc<Socket>) -> Link {
        let sockets = Some([Arc::clone(client), Arc::clone(server)]);
        Link { sockets, open: 2, cut: false, asked: false, encrypted: false, tagged: false }
    }

    /// Closes both sockets. Not by dropping: what was forwarded must still arrive, and closing with unread
    /// bytes is a reset.
    pub(super) fn close(&mut self) {
        self.cut = true;
        for socket in self.sockets.iter().flatten() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// A filter that takes nothing sits before the protocol: not even a keepalive probe is answered.
    pub(super) fn drop_what_comes_from_the_client(&self) {
        // What the client has not acknowledged would be sent again and again, and tell it that somebody is there.
        eventually("the client has acknowledged everything", || self.unacknowledged() == 0);
        // "Return 0 bytes of it", in the code of BPF's classic machine.
        let take_nothing = SockFilter::new(0x06, 0, 0, 0);
        let [client, _] = self.sockets.as_ref().expect("a connection that is open");
        client.attach_filter(&[take_nothing]).expect("the system knows socket filters");
    }

    /// How many bytes to the client have been sent and are not acknowledged, as Linux counts them in proc(5).
    fn unacknowledged(&self) -> u32 {
        let [client, _] = self.sockets.as_ref().expect("a connection that is open");
        let hexadecimal =
            |address: std::io::Result<SockAddr>| match address.map(|address| address.as_socket()) {
                Ok(Some(SocketAddr::V4(address))) => {
                    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
                }
                other => panic!("a TCP connection of this machine, not {other:?}"),
            };
        let (ours, theirs) = (hexadecimal(client.local_addr()), hexadecimal(client.peer_addr()));
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
        let mut sockets = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let socket = sockets.find(|words| words.get(1..3) == Some(&[ours.as_str(), theirs.as_str()]));
        let queues = socket.expect("a connection that is open")[4];
        u32::from_str_radix(queues.split(':').next().expect("two numbers"), 16).expect("a number")
    }

    fn one_direction_ended(&mut self) {
        self.open -= 1;
        if self.open == 0 && !self.cut {
            self.sockets = None;
        }
    }
}

/// Starts the thread of one direction of link `number`.
pub(super) fn start(
    number: usize,
    direction: Direction,
    source: Arc<Socket>,
    sink: Arc<Socket>,
    shared: &Arc<Shared>,
) -> JoinHandle<()> {
    let reader = FrameReader::new(source);
    let mut pump = Pump { number, direction, reader, sink, glued: Vec::new(), shared: Arc::clone(shared) };
    thread::Builder::new()
        .name(format!("proxy connection {} {direction:?}", number + 1))
        .spawn(move || {
            // A peer that does not take bytes any more: the other one shall know.
            if pump.run().is_err() {
                pump.close();
            }
            pump.shared.with(|state| state.links[number].one_direction_ended());
        })
        .expect("a test can start a thread")
}

struct Pump {
    number: usize,
    direction: Direction,
    reader: FrameReader,
    sink: Arc<Socket>,
    /// What waits to be sent together.
    glued: Vec<u8>,
    shared: Arc<Shared>,
}

impl Pump {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let frame = self.receive()?;
            if frame.tag == END && self.is_over() {
                // Our own doing.
                return Ok(());
            }
            let plan = self.shared.with(|state| {
                if !state.forgetful {
                    state.seen.push(Event {
                        connection: self.number + 1,
                        direction: self.direction,
                        tag: frame.tag,
                    });
                }
                state.rules.plan(self.number, self.direction, frame.tag)
            });
            if !self.carry_out(&frame, plan)? {
                return Ok(());
            }
            if frame.tag == END {
                self.flush()?;
                let _ = self.sink.shutdown(Shutdown::Write);
                return Ok(());
            }
        }
    }

    /// The next message, or the end of the stream.
    fn receive(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(frame);
            }
            // While bytes wait to be glued, a pause of the sender is the sign to send them.
            self.reader.set_patience((!self.glued.is_empty()).then_some(QUIET))?;
            match self.reader.fill()? {
                Fill::Bytes => {}
                Fill::Quiet => self.flush()?,
                Fill::End => {
                    // An unfinished message goes as far as it got.
                    if let Some(rest) = self.reader.next(Framing::Opaque)? {
                        self.glued.extend(rest.bytes);
                    }
                    return Ok(Frame::end());
                }
            }
        }
    }

    /// A message that has been read whole.
    fn next(&mut self) -> io::Result<Option<Frame>> {
        let Some(first) = self.reader.peek() else { return Ok(None) };
        let direction = self.direction;
        let framing = self.shared.with(|state| {
            let link = &state.links[self.number];
            match direction {
                _ if link.encrypted => Framing::Opaque,
                Direction::Frontend if !link.tagged => Framing::Untagged,
                // A server may also answer the question with an ErrorResponse.
                Direction::Backend if link.asked && first != b'E' => Framing::Byte,
                _ => Framing::Tagged,
            }
        });
        let frame = self.reader.next(framing)?;
        if let Some(frame) = &frame {
            self.shared.with(|state| {
                let link = &mut state.links[self.number];
                match frame.tag {
                    SSL_REQUEST | GSS_REQUEST => link.asked = true,
                    STARTUP => link.tagged = true,
                    ANSWER_BYTE => {
                        link.asked = false;
                        link.encrypted = frame.bytes != b"N";
                    }
                    _ => {}
                }
            });
        }
        Ok(frame)
    }

    /// Whether the connection goes on.
    fn carry_out(&mut self, frame: &Frame, plan: Plan) -> io::Result<bool> {
        let waits = !plan.delay.is_zero() || !plan.holds.is_empty();
        if waits || plan.cut.is_some() || plan.split || !plan.hold_inside.is_empty() {
            self.flush()?;
        }
        if !plan.delay.is_zero() {
            self.sleep(plan.delay);
        }
        for rule in plan.holds {
            self.wait_for_release(rule);
        }
        if self.is_over() {
            return Ok(false);
        }
        if plan.cut == Some(Cut::Before) {
            self.close();
            return Ok(false);
        }
        let mut bytes = plan.before;
        let start = bytes.len();
        for _ in 0..plan.copies {
            bytes.extend_from_slice(&frame.bytes);
        }
        bytes.extend(plan.after);
        // Places inside the message, counted from its first byte.
        let place = |count: usize| (start + count).min(bytes.len());
        let mut sent = 0;
        let mut inside = plan.hold_inside;
        inside.sort_unstable();
        for (count, rule) in inside {
            let stop = place(count);
            self.write(&bytes[sent..stop], plan.split)?;
            sent = stop;
            self.wait_for_release(rule);
            if self.is_over() {
                return Ok(false);
            }
        }
        let end = match plan.cut {
            Some(Cut::Inside(count)) => place(count).max(sent),
            _ => bytes.len(),
        };
        if plan.glue && plan.cut.is_none() {
            self.glued.extend_from_slice(&bytes[sent..end]);
            return Ok(true);
        }
        if plan.cut.is_some() {
            // First of all: an answer to this message must not slip through in the other direction.
            self.shared.with(|state| state.links[self.number].cut = true);
        }
        let mut all = std::mem::take(&mut self.glued);
        all.extend_from_slice(&bytes[sent..end]);
        self.write(&all, plan.split)?;
        if plan.cut.is_some() {
            self.close();
            return Ok(false);
        }
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<()> {
        let glued = std::mem::take(&mut self.glued);
        self.write(&glued, false)
    }

    fn write(&mut self, bytes: &[u8], split: bool) -> io::Result<()> {
        if !split {
            return (&*self.sink).write_all(bytes);
        }
        // The inside of a long value is the same everywhere: after a while larger pieces do.
        let (single, long) = bytes.split_at(bytes.len().min(4096));
        for piece in single.chunks(1).chain(long.chunks(1021)) {
            (&*self.sink).write_all(piece)?;
            // Gives the reader a chance to see the piece alone. On a busy machine each costs a slice of time.
            thread::yield_now();
        }
        Ok(())
    }

    fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut state = self.shared.lock();
        while !state.is_over(self.number) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.shared.changed.wait_timeout(state, left).expect("no holder panics").0;
        }
    }

    fn wait_for_release(&self, rule: usize) {
        let mut state = self.shared.lock();
        while state.rules.is_active(rule) && !state.is_over(self.number) {
            state = self.shared.changed.wait(state).expect("no holder panics");
        }
    }

    fn is_over(&self) -> bool {
        self.shared.lock().is_over(self.number)
    }

    fn close(&self) {
        self.shared.with(|state| state.links[self.number].close());
    }
}
