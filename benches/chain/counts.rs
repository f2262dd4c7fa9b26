//! What the kernel counts of a process, read from `/proc`, and its syncs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The counters of a process, thread by thread: one that ends takes its counts
/// with it, and must not make the sum smaller.
pub struct Counts(BTreeMap<PathBuf, Spent>);

/// What threads used.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    pub cpu: Duration,
    /// Voluntary and involuntary: each is one wake-up.
    pub switches: u64,
}

impl Counts {
    pub fn of(pid: u32) -> Counts {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        Counts(tasks.map(|task| (task.path(), Spent::by_thread(&task.path()))).collect())
    }

    pub fn since(&self, before: &Counts) -> Spent {
        self.0.iter().fold(Spent::default(), |sum, (thread, now)| {
            let then = before.0.get(thread).copied().unwrap_or_default();
            sum.and(&Spent {
                cpu: now.cpu.saturating_sub(then.cpu),
                switches: now.switches.saturating_sub(then.switches),
            })
        })
    }
}

impl Spent {
    fn by_thread(task: &Path) -> Spent {
        // A thread that ends while we look counts nothing.
        let read = |name| std::fs::read_to_string(task.join(name)).unwrap_or_default();
        let schedstat = read("schedstat");
        let nanoseconds = schedstat.split_whitespace().next().and_then(|n| n.parse().ok());
        let status = read("status");
        let switches = status.lines().filter(|l| l.contains("voluntary_ctxt_switches"));
        Spent {
            cpu: Duration::from_nanos(nanoseconds.unwrap_or(0)),
            switches: switches.map(number).sum(),
        }
    }

    pub fn and(&self, other: &Spent) -> Spent {
        Spent { cpu: self.cpu + other.cpu, switches: self.switches + other.switches }
    }
}

/// In MB of 1,000,000 bytes.
pub struct Memory {
    pub resident: f64,
    pub proportional: f64,
    pub private_dirty: f64,
    pub threads: u64,
}

pub fn memory(pid: u32) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let field = |text: &str, key: &str| text.lines().find(|l| l.starts_with(key)).map_or(0, number);
    let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
    Memory {
        resident: mb(field(&status, "VmRSS:")),
        proportional: mb(field(&rollup, "Pss:")),
        private_dirty: mb(field(&rollup, "Private_Dirty:")),
        threads: field(&status, "Threads:"),
    }
}

fn number(line: &str) -> u64 {
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The processes below this one.
pub fn descendants(of: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
            let parent = status.lines().find(|l| l.starts_with("PPid:")).map(number)?;
            Some((pid, u32::try_from(parent).ok()?))
        })
        .collect();
    let mut found = vec![of];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        found.extend(all.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

/// Counts the calls that make a disk wait, with strace.
pub struct Syncs {
    strace: Child,
    log: PathBuf,
}

impl Syncs {
    /// `None` where there is no strace.
    pub fn attach(pid: u32) -> Option<Syncs> {
        let log = std::env::temp_dir().join(format!("nanoclaw-syncs-{pid}"));
        let strace = Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-e",
                "trace=fsync,fdatasync,sync_file_range,msync",
                "-e",
                "signal=none",
                "-o",
            ])
            .arg(&log)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        super::support::eventually("strace to attach", || {
            std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().all(|task| {
                let status =
                    std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
                status.lines().any(|l| l.starts_with("TracerPid:") && number(l) != 0)
            })
        });
        Some(Syncs { strace, log })
    }

    pub fn count(mut self) -> usize {
        super::table::interrupt(&mut self.strace);
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let _ = std::fs::remove_file(&self.log);
        // A call that was interrupted by another thread's is told in two lines.
        text.lines().filter(|l| l.contains("sync") && !l.contains("resumed>")).count()
    }
}
