//! Ending a CLI together with everything that it started.
//!
//! A shell that was put into the background by the agent may have left its
//! parent, its process group and its session. What it keeps is its environment,
//! so each CLI is started with a tag there, and orphans come to us because we are
//! their subreaper. Reads `/proc`; where there is none (the guest always runs on
//! Linux, tests on a Mac may not) only direct children are known.

use std::collections::HashSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;
use std::{fs, io};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::process::{Child, Command};

use crate::lock::lock;

/// The environment variable that marks the descendants of one CLI.
pub const TAG: &str = "NANOCLAW_SESSION";

/// One line of the process table.
struct Process {
    pid: i32,
    parent: i32,
    zombie: bool,
}

/// Makes orphaned descendants our children, so that none escapes.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(e) = rustix::process::set_child_subreaper(Pid::from_raw(1)) {
        eprintln!("[agent] orphans will not be adopted: {e}");
    }
}

/// Living descendants of this process.
pub fn descendants() -> Vec<i32> {
    below(rustix::process::getpid().as_raw_nonzero().get(), &table())
}

/// Living processes of one session: `root` and what is below it, and every other
/// descendant of ours that carries `tag`.
pub fn of_session(root: Option<i32>, tag: &str) -> Vec<i32> {
    let table = table();
    let mut found = HashSet::new();
    if let Some(root) = root {
        found.extend(below(root, &table));
        found.extend(table.iter().filter(|p| p.pid == root && !p.zombie).map(|p| p.pid));
    }
    let ours = below(rustix::process::getpid().as_raw_nonzero().get(), &table);
    found.extend(ours.into_iter().filter(|&pid| is_tagged(pid, tag)));
    found.into_iter().collect()
}

/// Sends `signal` to each of `pids`.
pub fn signal(pids: &[i32], signal: Signal) {
    for pid in pids.iter().filter_map(|&pid| Pid::from_raw(pid)) {
        // It may have ended since we looked; that is what we want.
        let _ = kill_process(pid, signal);
    }
}

/// Kills whatever `find` finds until it finds nothing, for at most two seconds: a
/// process may start another while we look.
pub async fn kill_all(find: impl Fn() -> Vec<i32>) {
    for _ in 0..100 {
        let left = find();
        if left.is_empty() {
            return;
        }
        signal(&left, Signal::KILL);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts what is to be ended with everything that it starts itself, with this
/// environment and no other, and its output to read.
pub fn spawn(
    command: &mut Command,
    cwd: &Path,
    env: &[(String, String)],
) -> io::Result<(Child, WaitedFor)> {
    let child = command
        .env_clear()
        .envs(env.iter().map(|(k, v)| (k, v)))
        .current_dir(cwd)
        .process_group(0)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    Ok((child, WaitedFor::new(pid.ok_or_else(|| io::Error::other("no pid"))?)))
}

/// The children that the runtime waits for and whose status it must find.
static WAITED_FOR: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// A child that somebody waits for; [`reap_orphans`] leaves it alone until this
/// is dropped.
#[derive(Debug)]
pub struct WaitedFor(i32);

impl WaitedFor {
    /// Whose end it is.
    pub fn pid(&self) -> i32 {
        self.0
    }

    /// To be made before the next await after the start of `pid`.
    pub fn new(pid: i32) -> WaitedFor {
        lock(&WAITED_FOR).push(pid);
        WaitedFor(pid)
    }
}

impl Drop for WaitedFor {
    fn drop(&mut self) {
        lock(&WAITED_FOR).retain(|&pid| pid != self.0);
    }
}

/// Removes dead orphans from the process table, where they would count against
/// the container's limit of processes.
pub fn reap_orphans() {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let kept = lock(&WAITED_FOR);
    for dead in table().iter().filter(|p| p.zombie && p.parent == me && !kept.contains(&p.pid)) {
        let _ = waitpid(Pid::from_raw(dead.pid), WaitOptions::NOHANG);
    }
}

fn below(root: i32, table: &[Process]) -> Vec<i32> {
    let mut family = HashSet::from([root]);
    loop {
        let before = family.len();
        family.extend(
            table.iter().filter(|p| family.contains(&p.parent)).map(|p| p.pid).collect::<Vec<_>>(),
        );
        if family.len() == before {
            break;
        }
    }
    table
        .iter()
        .filter(|p| p.pid != root && !p.zombie && family.contains(&p.pid))
        .map(|p| p.pid)
        .collect()
}

fn is_tagged(pid: i32, tag: &str) -> bool {
    let wanted = format!("{TAG}={tag}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|&b| b == 0).any(|entry| entry == wanted.as_bytes())
}

/// The fields of `/proc/PID/stat` after the name: state, parent, group, ...
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, parentheses included; the last one ends it.
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn table() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let fields = stat(pid)?;
        Some(Process { pid, parent: fields.get(1)?.parse().ok()?, zombie: fields.first()? == "Z" })
    })
    .collect()
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    #[tokio::test(flavor = "current_thread")]
    async fn a_daemon_that_left_its_group_is_found_by_its_tag_and_killed() {
        adopt_orphans();
        let tag = format!("test-{}", std::process::id());
        let mut shell = Command::new("bash")
            .args(["-c", "setsid sleep 300 & disown; exit 0"])
            .env(TAG, &tag)
            .spawn()
            .unwrap();
        let root = i32::try_from(shell.id()).unwrap();
        shell.wait().unwrap();
        for _ in 0..100 {
            if !of_session(Some(root), &tag).is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(of_session(Some(root), &tag).len(), 1);
        kill_all(|| of_session(Some(root), &tag)).await;
        assert!(of_session(Some(root), &tag).is_empty());
    }
}
