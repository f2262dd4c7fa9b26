//! Processes of the host, told apart beyond the reuse of their pids.
//!
//! A process is its pid, its start time and the boot it lives in. Signals go
//! through a pidfd that was opened before the identity was checked, so they hit
//! that process or nothing.
//!
//! The label scan recognises sandboxes by one exact pair of arguments on the
//! command line. A guest chooses its own command lines, so only two places count:
//! processes of our own pid namespace, and the first process of one below. A guest
//! has neither. Processes of other users never count.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Process;

/// The environment variable whose setting on a command line is the label.
pub const LABEL_VARIABLE: &str = "NANOCLAW_LABEL";

/// The boot that this system lives in.
fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// What `/proc/PID/stat` says of state and start time. The command's name, the
/// second field, may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // Field 22 of the file; the state was field 3.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

fn stat(pid: u32) -> io::Result<(char, u64)> {
    // Not read as UTF-8: the name of a command is any bytes.
    let bytes = fs::read(format!("/proc/{pid}/stat"))?;
    parse_stat(&String::from_utf8_lossy(&bytes)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Process {
    /// The process that has this pid now.
    pub fn of(pid: u32) -> io::Result<Process> {
        let (_, start_time) = stat(pid)?;
        Ok(Process { pid, start_time, boot_id: boot_id()? })
    }

    /// Whether it still runs. A zombie does not: it holds nothing but its number.
    pub fn is_alive(&self) -> bool {
        let same_boot = boot_id().is_ok_and(|id| id == self.boot_id);
        same_boot
            && stat(self.pid)
                .is_ok_and(|(state, start)| start == self.start_time && !matches!(state, 'Z' | 'X'))
    }

    /// Kills it, if it is still the same one; false if it had already gone.
    pub fn kill(&self) -> io::Result<bool> {
        kill_if(self.pid, || self.is_alive())
    }
}

/// Kills the process of this pid if `is_it` holds once the pid is pinned.
pub(super) fn kill_if(pid: u32, is_it: impl FnOnce() -> bool) -> io::Result<bool> {
    let gone =
        |e: rustix::io::Errno| if e == rustix::io::Errno::SRCH { Ok(false) } else { Err(e.into()) };
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(e) => return gone(e),
    };
    if !is_it() {
        return Ok(false);
    }
    match pidfd_send_signal(&handle, Signal::KILL) {
        Ok(()) => Ok(true),
        Err(e) => gone(e),
    }
}

/// Every sandbox process with a label, and the label.
pub fn labelled() -> io::Result<Vec<(Process, String)>> {
    let boot_id = boot_id()?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // A process that ends while we look is not found; no error.
        let Some(label) = label_of(Path::new("/proc"), pid) else { continue };
        let Ok((_, start_time)) = stat(pid) else { continue };
        // Once more: the pid may have changed hands between the two reads.
        if label_of(Path::new("/proc"), pid).as_deref() == Some(label.as_str()) {
            found.push((Process { pid, start_time, boot_id: boot_id.clone() }, label));
        }
    }
    Ok(found)
}

fn label_of(proc: &Path, pid: u32) -> Option<String> {
    let dir = proc.join(pid.to_string());
    let command_line = fs::read(dir.join("cmdline")).ok()?;
    let label = parse_label(&command_line)?;
    let status = fs::read(dir.join("status")).ok()?;
    let uid = rustix::process::geteuid().as_raw();
    is_ours(&String::from_utf8_lossy(&status), uid).then_some(label)
}

/// The label in a command line of NUL-ended arguments: what follows
/// `--setenv NANOCLAW_LABEL`. The shell that becomes the sandbox carries the same
/// three arguments, so there is no moment without a label.
fn parse_label(command_line: &[u8]) -> Option<String> {
    let arguments: Vec<&[u8]> = command_line.split(|&b| b == 0).collect();
    let found =
        arguments.windows(3).find(|w| w[0] == b"--setenv" && w[1] == LABEL_VARIABLE.as_bytes())?;
    String::from_utf8(found[2].to_vec()).ok()
}

/// Whether `/proc/PID/status` shows a process of this user, in our pid namespace
/// or the first of one below. `NSpid` lists its number in each, ours first.
fn is_ours(status: &str, uid: u32) -> bool {
    let words = |key| {
        Some(
            status
                .lines()
                .find_map(|l| l.strip_prefix(key))?
                .split_ascii_whitespace()
                .collect::<Vec<_>>(),
        )
    };
    let (Some(pids), Some(uids)) = (words("NSpid:"), words("Uid:")) else { return false };
    let place = pids.len() == 1 || (pids.len() == 2 && pids[1] == "1");
    // The second of real, effective, saved and filesystem uid.
    place && uids.get(1).is_some_and(|u| *u == uid.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    #[test]
    fn a_strange_command_name_does_not_confuse_the_start_time() {
        let stat = "42 (a) R 1 (b)) S 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0";
        assert_eq!(parse_stat(stat), Some(('S', 987_654)));
        assert_eq!(parse_stat("42 (x"), None);
    }

    #[test]
    fn only_the_same_process_is_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.is_alive());
        let other = Process { start_time: process.start_time + 1, ..process.clone() };
        assert!(!other.is_alive());
        assert!(!other.kill().unwrap());
        let earlier = Process { boot_id: "another".into(), ..process.clone() };
        assert!(!earlier.kill().unwrap());
        assert!(child.try_wait().unwrap().is_none(), "still running");
        assert!(process.kill().unwrap());
        child.wait().unwrap();
        assert!(!process.is_alive());
        assert!(!process.kill().unwrap());
    }

    #[test]
    fn a_label_counts_only_in_its_place() {
        let line = |words: &[&str]| parse_label(format!("{}\0", words.join("\0")).as_bytes());
        assert_eq!(
            line(&["bwrap", "--setenv", LABEL_VARIABLE, "nanoclaw-a-1", "--args"]).as_deref(),
            Some("nanoclaw-a-1")
        );
        assert_eq!(
            line(&["sh", "-c", "...", "--setenv", LABEL_VARIABLE, "nanoclaw-a-1"]).as_deref(),
            Some("nanoclaw-a-1")
        );
        assert_eq!(line(&["sh", LABEL_VARIABLE, "nanoclaw-a-1"]), None);
        assert_eq!(line(&["grep", "nanoclaw-a-1"]), None);
        assert_eq!(line(&[]), None);
    }

    #[test]
    fn a_guest_cannot_wear_a_label() {
        let ours =
            |pids: &str| is_ours(&format!("Name:\tx\nUid:\t7\t7\t7\t7\nNSpid:\t{pids}\n"), 7);
        assert!(ours("4711"));
        assert!(ours("4712\t1"));
        assert!(!ours("4713\t2"));
        assert!(!ours("4714\t3\t1"));
        assert!(!is_ours("Uid:\t7\t8\t7\t7\nNSpid:\t4711\n", 7), "another user's process");
        assert!(!is_ours("Name:\tx\n", 7));
    }
}
