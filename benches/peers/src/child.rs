//! One system is measured once, in a process of its own.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use maypole::embedded::Server;

use crate::arguments::Arguments;
use crate::systems::System;
use crate::workload::{URL_VARIABLE, Workload};
use crate::{Result, restart};

/// A run that takes so much longer than it should has hung.
const PATIENCE: Duration = Duration::from_secs(150);

/// Runs one system once: its lines. `None` if it failed or hung; its own message says why.
pub fn run(
    system: &System,
    case: Workload,
    round: u64,
    arguments: &Arguments,
    server: &mut Server,
) -> Result<Option<String>> {
    let own = env::current_exe()?.into_os_string();
    let mut words = arguments.under.iter().map(OsString::from).chain([own]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command.args(["--child", system.name, "--workload", case.name()]);
    let mut numbers = vec![
        ("--seconds", arguments.seconds.to_string()),
        ("--conns", arguments.conns.to_string()),
        ("--shared", arguments.shared.to_string()),
        ("--round", round.to_string()),
    ];
    numbers.extend(arguments.tasks.map(|tasks| ("--tasks", tasks.to_string())));
    numbers.extend(arguments.operations.map(|operations| ("--operations", operations.to_string())));
    numbers.extend(arguments.rate.map(|rate| ("--rate", rate.to_string())));
    for (name, value) in numbers {
        command.args([name, &value]);
    }
    command.env(URL_VARIABLE, server.tcp_url()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let output = child.stdout.take().ok_or("the child has no standard output")?;
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + Duration::from_secs_f64(arguments.seconds * 6.0) + PATIENCE;
    let mut lines = String::new();
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line == restart::REQUEST => server.restart(false)?,
            Ok(line) => lines += &(line + "\n"),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill()?;
                eprintln!("peers: {} hung in {} and was killed", system.name, case.name());
                break;
            }
        }
    }
    let status = child.wait()?;
    let _ = reader.join();
    if !status.success() {
        eprintln!("peers: {} failed in {}: {status}", system.name, case.name());
        return Ok(None);
    }
    Ok(Some(lines))
}
