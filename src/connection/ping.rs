//! A sign of life from a session that has been idle. Uses: clean_up, deadline, link.

use super::clean_up::CleanUp;
use super::link::Link;
use crate::deadline::Deadline;

impl Link {
    /// Asks the server for a sign of life: one bare Sync, which executes nothing. Then `done` is called; if none has come by
    /// the deadline the connection dies. For a session that is idle. Does not wait.
    ///
    /// What the end of a socket tells the driver sees without asking. This finds what neither side can see, such as a firewall
    /// that has forgotten the connection; and what the server says only when it is asked, such as a setting that was changed.
    pub(crate) fn ping(&self, deadline: Deadline, done: impl FnOnce() + Send + 'static) {
        let ping = CleanUp::new(deadline, "it gave no sign of life", done);
        self.ask(deadline, |state| {
            state.owes_round_trip = true;
            state.clean_up = Some(ping);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::connection::{Fitness, Knowledge, News, open};

    /// A session with a server that answers the first message with these bytes, and what the server has received by then.
    fn enter(answer: &'static [u8]) -> (Arc<Link>, mpsc::Receiver<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its port").port();
        let (received, receive) = mpsc::channel();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a connection");
            // AuthenticationOk, ReadyForQuery.
            let _ = socket.read(&mut [0; 1024]).expect("the start-up");
            socket.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").expect("the client reads");
            let mut chunk = [0; 1024];
            while let Ok(count @ 1..) = socket.read(&mut chunk) {
                let _ = received.send(chunk[..count].to_vec());
                socket.write_all(answer).expect("the client reads");
            }
        });
        let config = Config::new().host("127.0.0.1").port(port).user("me");
        let (report, reported) = mpsc::channel();
        open(Arc::new(config), Knowledge::new(8), move |result| {
            report.send(result).expect("it is waited for")
        })
        .expect("a coroutine");
        (reported.recv().expect("a report").expect("a connection"), receive)
    }

    #[test]
    fn a_living_session_answers_one_sync_and_is_clean_again() {
        let (link, received) = enter(b"Z\0\0\0\x05I");
        let (done, is_done) = mpsc::channel();
        let still = link.clone();
        link.ping(Deadline::after(Duration::from_mins(1)), move || {
            done.send(still.fitness()).expect("it is waited for");
        });
        assert_eq!(is_done.recv().expect("an answer"), Fitness::Clean);
        assert_eq!(received.recv().expect("a request"), b"S\0\0\0\x04");
        assert!(received.try_recv().is_err(), "nothing but one Sync");
        link.end(Deadline::after(Duration::from_secs(1)));
    }

    #[test]
    fn a_deaf_session_dies_at_the_deadline() {
        let (link, received) = enter(b"");
        let (died, death) = mpsc::channel();
        link.observe(Box::new(move |news| {
            if let News::Died(error) = news {
                died.send(error.duplicate()).expect("it is waited for");
            }
        }));
        link.ping(Deadline::after(Duration::from_millis(20)), || panic!("nobody answered"));
        let error = death.recv().expect("its death");
        assert!(error.to_string().contains("no sign of life"), "{error}");
        assert_eq!(received.recv().expect("a request"), b"S\0\0\0\x04");
        assert_eq!(link.fitness(), Fitness::Broken);
    }
}
