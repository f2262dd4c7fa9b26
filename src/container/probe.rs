//! Whether a runtime really isolates here: a guest is run, and what it saw is
//! compared with what it must see. The same question for every runtime.
//!
//! Owns a directory of its own for as long as it asks. Nothing that the guest says
//! is believed beyond the comparison.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::start::{failed, unusable};
use super::{Health, Limits, Mount, Runtime, RuntimeError, Spec, VM, io_error};
use crate::ids::{Folder, Incarnation, random_hex};
use crate::tree::Tree;

/// What the runtime that is asked about is held to.
const LIMITS: Limits = Limits { memory: 256 << 20, cpus: 1.0, pids: 64, tmp: 1 << 20 };

/// Run in the guest: says what it sees, into a file that the host reads back.
const SCRIPT: &str = r#"
exec >/workspace/group/report
read -r nonce </workspace/global/nonce && echo "nonce $nonce"
while read -r key value rest; do
    case $key in Uid:) echo "uid $value" ;; CapEff: | CapBnd:) echo "caps $value" ;; esac
done </proc/self/status
(: >/workspace/global/nonce) 2>/dev/null && echo "readonly written"
(: >/x) 2>/dev/null && echo "root written"
while read -r name rest; do
    case $name in lo: | Inter-* | face) ;; *) echo "interface $name" ;; esac
done </proc/net/dev
unshare -U true 2>/dev/null && echo "userns open"
for file in memory.max memory/memory.limit_in_bytes; do
    { read -r limit <"/sys/fs/cgroup/$file" && echo "memory $limit"; } 2>/dev/null
done
for file in pids.max pids/pids.max; do
    { read -r limit <"/sys/fs/cgroup/$file" && echo "pids $limit"; } 2>/dev/null
done
while read -r key value rest; do
    case $key in MemTotal:) echo "total $value" ;; esac
done </proc/meminfo
echo end
"#;

/// What is asked.
pub struct Question<'a> {
    /// Of whom.
    pub runtime: &'a dyn Runtime,
    /// The uid and gid that its guests must have.
    pub user: (u32, u32),
    /// Where the probe's directory is made: one that the runtime can mount from.
    pub place: &'a Path,
    /// The version of its tool.
    pub version: String,
    /// What separates guest and host. In a [`VM`] namespaces concern nobody else.
    pub boundary: &'static str,
    /// For everything that it does.
    pub deadline: Duration,
    /// What the runtime's own words on standard error mean, and what helps.
    pub explain: fn(&str) -> String,
}

/// Runs the guest and judges.
pub async fn ask(question: Question<'_>) -> Result<Health, RuntimeError> {
    let unusable = |reason: String| unusable(question.runtime.name(), reason);
    let place = Place::new(question.place, question.user)?;
    let stop = question.deadline / 4;
    let seen = tokio::time::timeout(question.deadline - stop, run(&question, &place)).await;
    let seen = seen.unwrap_or_else(|_| {
        let most = (question.deadline - stop).as_millis();
        Err(unusable(format!("the probe did not end within {most} ms")))
    });
    let stopped = question.runtime.stop(&place.id, Incarnation(1), stop).await;
    let machine = question.boundary == VM;
    let limits = judge(&seen?, &place.nonce, question.user.0, machine).map_err(unusable)?;
    stopped?;
    Ok(Health {
        runtime: question.runtime.name().to_owned(),
        version: question.version,
        boundary: question.boundary.to_owned(),
        limits,
        egress: "enforced: no network but the proxy's socket".to_owned(),
        warning: None,
    })
}

/// Runs the guest and returns its report.
async fn run(question: &Question<'_>, place: &Place) -> Result<String, RuntimeError> {
    let mount = |name: &str, guest: &str, writable| Mount {
        host: place.dir.join(name),
        guest: guest.into(),
        writable,
    };
    let lost = |e: io::Error| io_error("watch", &place.dir, e);
    let broken = |said: &str| unusable(question.runtime.name(), (question.explain)(said));
    let spec = Spec {
        install: place.id.clone(),
        incarnation: Incarnation(1),
        group: Folder::parse("probe").map_err(|e| failed(e.to_string()))?,
        mounts: vec![
            mount("group", "/workspace/group", true),
            mount("global", "/workspace/global", false),
        ],
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        argv: ["/bin/sh", "-c", SCRIPT].map(str::to_owned).to_vec(),
        scratch: place.dir.join("scratch"),
        limits: LIMITS,
    };
    let mut running = question.runtime.spawn(&spec).await?;
    let mut said = Vec::new();
    if let Some(stderr) = running.child.stderr.take() {
        // Bounded, since it may be anything; what is left is not needed.
        stderr.take(4096).read_to_end(&mut said).await.map_err(lost)?;
    }
    let status = running.child.wait().await.map_err(lost)?;
    if !status.success() {
        return Err(broken(String::from_utf8_lossy(&said).trim()));
    }
    let report = Tree::open(&place.dir.join("group")).and_then(|tree| tree.read("report", 4096));
    match report {
        Ok(report) => Ok(String::from_utf8_lossy(&report).into_owned()),
        Err(e) => Err(broken(&format!("the guest's report: {e}"))),
    }
}

/// What is wrong with a report; else `full`, or `partial: ` and what has no limit that
/// the guest could see.
fn judge(report: &str, nonce: &str, uid: u32, machine: bool) -> Result<String, String> {
    let values = |key: &str| -> Vec<&str> {
        report.lines().filter_map(|l| l.strip_prefix(key)?.strip_prefix(' ')).collect()
    };
    if values("nonce") != [nonce] || !report.ends_with("end\n") {
        return Err("a file of the host was not read back inside".to_owned());
    }
    if values("uid") != [uid.to_string()] {
        return Err(format!("the guest runs as uid {} instead of {uid}", values("uid").join(" ")));
    }
    let caps = values("caps");
    if caps.is_empty() || caps.iter().any(|c| c.bytes().any(|b| b != b'0')) {
        return Err(format!("the guest has capabilities: {}", caps.join(" ")));
    }
    for (key, what) in [
        ("readonly", "a read-only mount could be written"),
        ("root", "the root directory could be written"),
        ("interface", "the guest has a network interface"),
        ("userns", "the guest can make user namespaces"),
    ] {
        let own = machine && key == "userns";
        if !own && !values(key).is_empty() {
            return Err(what.to_owned());
        }
    }
    let at_most = |key: &str, most: u64| {
        values(key).iter().any(|v| v.parse::<u64>().is_ok_and(|limit| limit <= most))
    };
    // The second is a machine of its own, with no more memory than that.
    let memory = at_most("memory", LIMITS.memory) || at_most("total", LIMITS.memory >> 10);
    let missing = match (memory, at_most("pids", LIMITS.pids.into())) {
        (true, true) => return Ok("full".to_owned()),
        (false, true) => "memory",
        (true, false) => "processes",
        (false, false) => "memory and processes",
    };
    Ok(format!("partial: {missing} not limited"))
}

/// A directory of the probe's own, removed with it.
struct Place {
    dir: PathBuf,
    /// An installation of its own, so that its guest is nobody else's.
    id: String,
    nonce: String,
}

impl Place {
    fn new(parent: &Path, (uid, gid): (u32, u32)) -> Result<Place, RuntimeError> {
        let random = || random_hex().map_err(|e| failed(e.to_string()));
        let (id, nonce) = (format!("probe-{}", random()?), random()?);
        let dir = parent.join(format!("nanoclaw-{id}"));
        let create = |dir: &Path, mode: u32| {
            fs::DirBuilder::new().mode(mode).create(dir).map_err(|e| io_error("create", dir, e))
        };
        // Fails if somebody has taken the name, which nobody can guess.
        create(&dir, 0o700)?;
        let place = Place { dir, id, nonce };
        let (group, global) = (place.dir.join("group"), place.dir.join("global"));
        create(&group, 0o755)?;
        create(&global, 0o755)?;
        let nonce = global.join("nonce");
        fs::write(&nonce, format!("{}\n", place.nonce))
            .map_err(|e| io_error("write", &nonce, e))?;
        let owner = fs::metadata(&group).map_err(|e| io_error("look at", &group, e))?;
        if (owner.uid(), owner.gid()) != (uid, gid) {
            // Writable for the guest both, so that only the mount can refuse.
            for dir in [group, global] {
                Tree::open(&dir)
                    .and_then(|t| t.chown_all(uid, gid))
                    .map_err(|e| failed(e.to_string()))?;
            }
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A leftover of the probe is no harm.
        if let Some((parent, name)) = self.dir.parent().zip(self.dir.file_name()) {
            let _ = Tree::open(parent).and_then(|tree| tree.remove_all(name));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = "nonce n\nuid 7\ncaps 0000\ncaps 0000\ntotal 24000000\nend\n";

    #[test]
    fn a_report_passes_only_if_everything_is_as_it_must_be() {
        assert!(judge(GOOD, "n", 7, false).is_ok());
        for (bad, why) in [
            (GOOD.replace("nonce n", "nonce m"), "not read back"),
            (GOOD.replace("end\n", ""), "not read back"),
            (GOOD.replace("uid 7", "uid 0"), "uid 0"),
            (GOOD.replace("caps 0000\ntotal", "caps 0020\ntotal"), "capabilities"),
            (GOOD.replace("end", "readonly written\nend"), "read-only"),
            (GOOD.replace("end", "root written\nend"), "root directory"),
            (GOOD.replace("end", "interface eth0:\nend"), "interface"),
            (GOOD.replace("end", "userns open\nend"), "user namespaces"),
        ] {
            let error = judge(&bad, "n", 7, false).expect_err(&bad);
            assert!(error.contains(why), "{error}");
        }
        let open = GOOD.replace("end", "userns open\nend");
        assert!(judge(&open, "n", 7, true).is_ok(), "a machine's own namespaces");
    }

    #[test]
    fn limits_count_only_where_the_guest_has_seen_them() {
        let with = |lines: &str| {
            judge(&GOOD.replace("end", &format!("{lines}\nend")), "n", 7, false).unwrap()
        };
        assert_eq!(with("memory 268435456\npids 64"), "full");
        assert_eq!(with("memory max\npids 64"), "partial: memory not limited");
        assert_eq!(
            with("memory 9223372036854771712\npids max"),
            "partial: memory and processes not limited"
        );
        assert_eq!(with("total 250000"), "partial: processes not limited");
    }
}
