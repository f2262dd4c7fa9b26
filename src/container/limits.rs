//! Limits on memory, cpus and processes: cgroup v2, else v1, else a systemd
//! scope, else what a resource limit can do.
//!
//! Owns the control groups named by a container's label and touches no other. All
//! functions work beneath a root path, `/sys/fs/cgroup` in life and a directory of
//! files in tests. The sandbox's own shell enters its groups before it becomes the
//! sandbox, so no process of a guest was ever outside of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

use super::process::kill_if;
use super::{Limits, RuntimeError, io_error};

/// Where control groups are mounted.
pub const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// What a limit needs, by the name that both versions use.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// Microseconds in which the cpu share is measured; the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// How containers are limited on this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// One hierarchy; groups are made in `parent`.
    V2 {
        /// The group above the containers'.
        parent: PathBuf,
        /// The controllers that it passes on.
        controllers: Vec<&'static str>,
    },
    /// One hierarchy a controller, each at `root/<controller>`.
    V1 {
        /// Where they are mounted.
        root: PathBuf,
        /// The controllers that we may use.
        controllers: Vec<&'static str>,
    },
    /// The user's service manager makes the group.
    Scope {
        /// The controllers that it may use.
        controllers: Vec<&'static str>,
    },
    /// No group: only the number of processes.
    Rlimits,
}

impl Limiter {
    /// Finds a hierarchy beneath `root` in which groups can be made. `own` is the
    /// text of `/proc/self/cgroup`.
    pub fn detect(root: &Path, own: &str) -> Option<Limiter> {
        if root.join("cgroup.controllers").exists() {
            detect_v2(root, own)
        } else {
            detect_v1(root)
        }
    }

    /// `full`, or `partial: ` and what is not limited.
    pub fn describe(&self) -> String {
        let have = match self {
            Limiter::V2 { controllers, .. }
            | Limiter::V1 { controllers, .. }
            | Limiter::Scope { controllers } => controllers,
            Limiter::Rlimits => {
                return "partial: no cgroup, so memory and cpu are not limited".to_owned();
            }
        };
        let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|c| !have.contains(c)).collect();
        if missing.is_empty() {
            "full".to_owned()
        } else {
            format!("partial: no cgroup controller for {}", missing.join(", "))
        }
    }

    /// Makes a container's groups and sets their limits. Returns the files into
    /// which a process writes its pid to enter.
    pub fn create(&self, label: &str, limits: &Limits) -> Result<Vec<PathBuf>, RuntimeError> {
        let mut entrances = Vec::new();
        for dir in self.dirs(label) {
            make(&dir).map_err(|e| io_error("make the cgroup", &dir, e))?;
            entrances.push(dir.join("cgroup.procs"));
        }
        for (path, value, required) in self.settings(label, limits) {
            match fs::write(&path, &value) {
                Err(e) if required => return Err(io_error("set the limit", &path, e)),
                _ => {}
            }
        }
        Ok(entrances)
    }

    /// The files that set the limits, their values, and whether they must exist:
    /// a kernel without swap accounting lacks the swap limit and needs none.
    fn settings(&self, label: &str, limits: &Limits) -> Vec<(PathBuf, String, bool)> {
        let quota = (limits.cpus * CPU_PERIOD as f64).max(1000.0) as u64;
        let (memory, pids) = (limits.memory.to_string(), limits.pids.to_string());
        let mut settings = Vec::new();
        match self {
            Limiter::V2 { parent, controllers } => {
                let mut set = |c, file, value, required| {
                    if controllers.contains(&c) {
                        settings.push((parent.join(label).join(file), value, required));
                    }
                };
                set("memory", "memory.max", memory, true);
                set("memory", "memory.swap.max", "0".to_owned(), false);
                set("pids", "pids.max", pids, true);
                set("cpu", "cpu.max", format!("{quota} {CPU_PERIOD}"), true);
            }
            Limiter::V1 { root, controllers } => {
                let mut set = |c, file, value, required| {
                    if controllers.contains(&c) {
                        settings.push((root.join(c).join(label).join(file), value, required));
                    }
                };
                set("memory", "memory.limit_in_bytes", memory.clone(), true);
                set("memory", "memory.memsw.limit_in_bytes", memory, false);
                set("pids", "pids.max", pids, true);
                set("cpu", "cpu.cfs_period_us", CPU_PERIOD.to_string(), true);
                set("cpu", "cpu.cfs_quota_us", quota.to_string(), true);
            }
            Limiter::Scope { .. } | Limiter::Rlimits => {}
        }
        settings
    }

    /// The program and arguments that must stand before the sandbox's own shell.
    pub fn outside(&self, label: &str, limits: &Limits) -> Vec<String> {
        match self {
            Limiter::Scope { .. } => scope(Some(label), limits),
            _ => Vec::new(),
        }
    }

    /// The program and arguments that must stand before the guest's, inside. The
    /// kernel counts a user's processes for each user namespace (since 5.14), so
    /// this limit is the container's own only if it is set in there.
    pub fn inside(&self, limits: &Limits) -> Vec<String> {
        match self {
            Limiter::Rlimits => {
                // More than this user may have cannot be set.
                let most = getrlimit(Resource::Nproc).maximum.unwrap_or(u64::MAX);
                let pids = most.min(limits.pids.into());
                vec!["prlimit".to_owned(), format!("--nproc={pids}"), "--".to_owned()]
            }
            _ => Vec::new(),
        }
    }

    fn dirs(&self, label: &str) -> Vec<PathBuf> {
        match self {
            Limiter::V2 { parent, .. } => vec![parent.join(label)],
            Limiter::V1 { root, controllers } => {
                controllers.iter().map(|c| root.join(c).join(label)).collect()
            }
            Limiter::Scope { .. } | Limiter::Rlimits => Vec::new(),
        }
    }

    /// The labels that begin with `prefix` and have a group.
    pub fn labels(&self, prefix: &str) -> Vec<String> {
        let mut labels = Vec::new();
        for parent in self.dirs("") {
            let names = fs::read_dir(parent).into_iter().flatten().flatten();
            labels.extend(
                names
                    .filter_map(|e| e.file_name().into_string().ok())
                    .filter(|n| n.starts_with(prefix)),
            );
        }
        labels.sort();
        labels.dedup();
        labels
    }

    /// The processes in a container's groups.
    pub fn pids(&self, label: &str) -> Vec<u32> {
        let mut pids: Vec<u32> = Vec::new();
        for dir in self.dirs(label) {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|l| l.parse::<u32>().ok()));
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills what is in a container's groups, once; what forks meanwhile is for
    /// the next call, and nothing can fork after the first.
    pub fn kill(&self, label: &str) {
        for dir in self.dirs(label) {
            // Absent files are of other controllers, or of an older kernel; the
            // caller looks at what is left.
            let exists = |file: &str| Some(dir.join(file)).filter(|p| p.exists());
            let _ = exists("pids.max").map(|p| fs::write(p, "0"));
            let _ = exists("cgroup.kill").map(|p| fs::write(p, "1"));
        }
        for pid in self.pids(label) {
            let name = format!("/{label}");
            let inside = || {
                let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
                groups.lines().any(|line| line.ends_with(&name))
            };
            let _ = kill_if(pid, inside);
        }
    }

    /// Removes a container's groups; an error while a process is left in them.
    pub fn remove(&self, label: &str) -> io::Result<()> {
        for dir in self.dirs(label) {
            match fs::remove_dir(&dir) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The parent is our own group where that passes controllers on, else the
/// topmost. We are in our own group, and the kernel lets a group with processes
/// pass controllers on only if it is the topmost of the whole system, so the
/// first is rare; the second takes root.
fn detect_v2(root: &Path, own: &str) -> Option<Limiter> {
    let own = own.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or_default();
    [root.join(own), root.to_owned()].into_iter().find_map(|parent| {
        let subtree = parent.join("cgroup.subtree_control");
        for c in CONTROLLERS {
            // One by one: a missing controller must not refuse the others.
            let on = read_words(&subtree).iter().any(|w| w == c);
            if !on && read_words(&parent.join("cgroup.controllers")).iter().any(|w| w == c) {
                let _ = fs::write(&subtree, format!("+{c}"));
            }
        }
        let passed = read_words(&subtree);
        let controllers: Vec<_> =
            CONTROLLERS.into_iter().filter(|c| passed.iter().any(|w| w == c)).collect();
        (can_make_groups(&parent)
            && controllers.contains(&"memory")
            && controllers.contains(&"pids"))
        .then_some(Limiter::V2 { parent, controllers })
    })
}

fn detect_v1(root: &Path) -> Option<Limiter> {
    let usable =
        |c: &&str| root.join(c).join("cgroup.procs").exists() && can_make_groups(&root.join(c));
    let controllers: Vec<_> = CONTROLLERS.into_iter().filter(usable).collect();
    (!controllers.is_empty()).then(|| Limiter::V1 { root: root.to_owned(), controllers })
}

fn can_make_groups(parent: &Path) -> bool {
    // A name of its own for each try, since several may run at once; no label can
    // look like it.
    static TRY: AtomicU64 = AtomicU64::new(0);
    let n = TRY.fetch_add(1, Ordering::Relaxed);
    let dir = parent.join(format!("nanoclaw.try-{}-{n}", std::process::id()));
    make(&dir).is_ok() && fs::remove_dir(&dir).is_ok()
}

fn make(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn read_words(path: &Path) -> Vec<String> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .split_whitespace()
        .map(|w| w.trim_start_matches('+').to_owned())
        .collect()
}

/// The command line that runs what follows it in a scope of the user's service
/// manager.
fn scope(label: Option<&str>, limits: &Limits) -> Vec<String> {
    let mut words =
        ["systemd-run", "--user", "--scope", "--quiet", "--collect"].map(str::to_owned).to_vec();
    words.extend(label.map(|label| format!("--unit={label}")));
    for property in [
        format!("MemoryMax={}", limits.memory),
        "MemorySwapMax=0".to_owned(),
        format!("TasksMax={}", limits.pids),
        format!("CPUQuota={}%", (limits.cpus * 100.0).max(1.0) as u64),
    ] {
        words.extend(["-p".to_owned(), property]);
    }
    words.push("--".to_owned());
    words
}

/// The command that prints the controllers of a scope of the user's service
/// manager, or fails where there is none.
pub fn scope_probe() -> Vec<String> {
    let script = "cat /sys/fs/cgroup\"$(sed -n s/^0:://p /proc/self/cgroup)\"/cgroup.controllers";
    let mut words = scope(None, &Limits::default());
    words.extend(["sh", "-c", script].map(str::to_owned));
    words
}

/// What [`scope_probe`] printed, as a limiter.
pub fn scope_from(printed: &str) -> Option<Limiter> {
    let words: Vec<&str> = printed.split_whitespace().collect();
    let controllers: Vec<_> = CONTROLLERS.into_iter().filter(|c| words.contains(c)).collect();
    (!controllers.is_empty()).then_some(Limiter::Scope { controllers })
}

#[cfg(test)]
mod tests;
