//! Where it was measured.

use std::fmt;
use std::fs;
use std::thread;

use maypole::Pool;
use serde::{Deserialize, Serialize};

use crate::Result;

/// The first line of a measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub system: String,
    pub server: String,
    pub date: String,
}

impl Machine {
    /// This one, and the server.
    pub fn look(url: &str) -> Result<Machine> {
        let connection = Pool::builder().url(url)?.limit(1).build()?.connection()?;
        let server: String =
            connection.query("SELECT 'PostgreSQL ' || current_setting('server_version')", ()).value()?;
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Machine {
            cpu: cpu.map_or("unknown CPU", |(_, name)| name).to_owned(),
            cores: thread::available_parallelism()?.get(),
            system: format!("Linux {}", kernel.split('-').next().unwrap_or_default().trim()),
            server,
            date: chrono::Utc::now().date_naive().to_string(),
        })
    }

    pub fn print(&self) -> Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, system, server, date } = self;
        write!(f, "{date}: {cores} cores of {cpu}, {system}, {server}")
    }
}
