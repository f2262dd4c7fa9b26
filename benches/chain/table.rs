//! What the benchmarks print, and the stand-in that they need. None needs all of it.
#![allow(dead_code)]

use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::support::stand_in;

/// The stand-in is an example: cargo does not build it for a benchmark.
pub fn build_stand_in() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What cargo says to a benchmark would make it build half of the crates anew.
    for (name, _) in std::env::vars_os() {
        let said = name
            .to_str()
            .is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"));
        if said {
            command.env_remove(name);
        }
    }
    let built = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--example", "claude"])
        .args((!cfg!(debug_assertions)).then_some("--release"))
        .args(cfg!(feature = "test-server").then_some("--features=test-server"))
        .status()
        .unwrap();
    assert!(built.success() && stand_in().is_file(), "the stand-in was not built");
}

/// Times, in order.
pub struct Times(Vec<Duration>);

impl Times {
    pub fn of(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        Times(times)
    }

    pub fn least(&self) -> Duration {
        self.0[0]
    }

    pub fn middle(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    pub fn row(&self, figure: &str, aim: &str, method: &str) {
        let n = self.0.len();
        let (min, p99) = (self.0[0], self.0[(n * 99).div_ceil(100) - 1]);
        println!(
            "| {figure} | {} | {} | {} | {n} | {aim} | {method} |",
            ms(min),
            ms(self.middle()),
            ms(p99)
        );
    }
}

pub fn row(figure: &str, value: &str, aim: &str, method: &str) {
    println!("| {figure} | | {value} | | | {aim} | {method} |");
}

pub fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

pub fn machine() -> String {
    let first = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with(key)).map(str::to_owned);
        line.and_then(|l| l.split(':').next_back().map(|v| v.trim().to_owned()))
            .unwrap_or_else(|| "?".into())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let place = std::env::temp_dir();
    let system = Command::new("df").arg("--output=fstype").arg(&place).output();
    let system =
        system.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let system = system.lines().last().unwrap_or("?").trim();
    format!(
        "{}, {cores} cores, Linux {}, file system {system}; load average {}",
        first("/proc/cpuinfo", "model name"),
        kernel.trim(),
        load()
    )
}

pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Ends what we started ourselves, politely.
pub fn interrupt(child: &mut std::process::Child) {
    let _ = kill_process(Pid::from_child(child), Signal::INT);
    let _ = child.wait();
}
