//! The old program, still running on this directory: it would answer every message
//! a second time, and write to a database that it no longer understands.

use std::path::{Path, PathBuf};

use crate::config::Config;

/// What its command line ends in.
const SCRIPTS: [&str; 2] = ["dist/index.js", "src/index.ts"];
/// What runs it.
const RUNNERS: [&str; 5] = ["node", "nodejs", "tsx", "ts-node", "bun"];

/// Why this program must not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "NanoClaw 1.x is still running here (process {pid}), and both would answer every message. \
     Stop it first: {stop}. Then start again; nothing was changed"
)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// The commands that end it, and keep it ended.
    pub stop: String,
}

/// Looks for the old program at work in this installation.
pub fn check(config: &Config) -> Result<(), Running> {
    match find(&config.home) {
        Some(pid) => Err(Running { pid, stop: stop(&services(config), pid) }),
        None => Ok(()),
    }
}

/// A sentence for each service that would start the old program again.
pub fn warnings(config: &Config) -> Vec<String> {
    let say = |service: &Service| {
        format!("{} still starts NanoClaw 1.x: {}", service.file.display(), service.stop)
    };
    services(config).iter().map(say).collect()
}

/// A service file of 1.x for this installation.
struct Service {
    file: PathBuf,
    stop: &'static str,
}

fn services(config: &Config) -> Vec<Service> {
    let user = config.config_dir.parent().unwrap_or(Path::new("/"));
    let home = user.parent().unwrap_or(Path::new("/"));
    let known = [
        (user.join("systemd/user/nanoclaw.service"), "systemctl --user disable --now nanoclaw"),
        (PathBuf::from("/etc/systemd/system/nanoclaw.service"), "systemctl disable --now nanoclaw"),
        (
            home.join("Library/LaunchAgents/com.nanoclaw.plist"),
            "launchctl unload -w ~/Library/LaunchAgents/com.nanoclaw.plist",
        ),
    ];
    let ours = config.home.to_string_lossy();
    known
        .into_iter()
        .filter(|(file, _)| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            SCRIPTS.iter().any(|script| text.contains(script)) && text.contains(&*ours)
        })
        .map(|(file, stop)| Service { file, stop })
        .collect()
}

fn stop(services: &[Service], pid: u32) -> String {
    match services.first() {
        Some(service) => format!("`{}`", service.stop),
        None => format!("`kill {pid}`, and whatever starts it again"),
    }
}

/// Whether these arguments run the old program.
fn is_old(arguments: &[&str]) -> bool {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let runner = arguments.first().is_some_and(|first| RUNNERS.contains(&name(first).as_str()));
    let script = |a: &str| SCRIPTS.iter().any(|s| a == *s || a.ends_with(&format!("/{s}")));
    runner && arguments.iter().skip(1).any(|a| script(a))
}

#[cfg(target_os = "linux")]
fn find(home: &Path) -> Option<u32> {
    let home = home.canonicalize().ok()?;
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|p| p.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let arguments: Vec<&str> = line.split('\0').filter(|a| !a.is_empty()).collect();
        is_old(&arguments)
            && std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == home)
    })
}

/// Where a process's directory is not to be had, its command line must name ours:
/// the service of 1.x is written so.
#[cfg(not(target_os = "linux"))]
fn find(home: &Path) -> Option<u32> {
    let listed = std::process::Command::new("ps").args(["-axo", "pid=,command="]).output().ok()?;
    listed_old(&String::from_utf8_lossy(&listed.stdout), &home.canonicalize().ok()?)
}

#[cfg(any(not(target_os = "linux"), test))]
fn listed_old(listed: &str, home: &Path) -> Option<u32> {
    let paths = SCRIPTS.map(|script| home.join(script).display().to_string());
    listed.lines().find_map(|line| {
        let (pid, command) = line.trim().split_once(' ')?;
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let ours = paths.iter().any(|path| command.contains(path.as_str()));
        (ours && is_old(&arguments)).then(|| pid.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_old_program_is_taken_for_it() {
        assert!(is_old(&["/usr/bin/node", "/home/a/nanoclaw/dist/index.js"]));
        assert!(is_old(&["node", "--import", "x", "src/index.ts"]));
        assert!(is_old(&["node", "/x/node_modules/.bin/tsx", "src/index.ts"]));
        for other in [
            &["vim", "src/index.ts"][..],
            &["node", "mydist/index.js"],
            &["node", "dist/index.json"],
            &["dist/index.js"],
            &[],
        ] {
            assert!(!is_old(other), "{other:?}");
        }
    }

    #[test]
    fn a_list_of_processes_shows_it_by_its_path() {
        let listed = "  1 /sbin/init\n 77 /opt/bin/node /home/a/claw/dist/index.js\n 78 node /home/b/dist/index.js\n";
        assert_eq!(listed_old(listed, Path::new("/home/a/claw")), Some(77));
        assert_eq!(listed_old(listed, Path::new("/home/c")), None);
    }
}
