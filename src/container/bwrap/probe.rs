//! Whether bubblewrap really isolates here: a guest is run and what it saw is
//! compared with what it must see.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::Bwrap;
use super::launch;
use super::view::{self, failed, io_error};
use crate::container::{Health, Limits, Mount, Runtime, RuntimeError, Spec};
use crate::ids::{Folder, Incarnation};
use crate::tree::Tree;

/// For everything that the probe does.
const DEADLINE: Duration = Duration::from_secs(5);
/// Of that, for ending what hangs.
const STOP: Duration = Duration::from_secs(1);

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
echo end
"#;

/// See [`Runtime::probe`].
pub async fn probe(runtime: &Bwrap) -> Result<Health, RuntimeError> {
    let version = version().await?;
    let (uid, _) = runtime.user()?;
    let place = Place::new(runtime.user()?)?;
    let seen = match tokio::time::timeout(DEADLINE - STOP, run(runtime, &place)).await {
        Ok(result) => result,
        Err(_) => {
            Err(unusable(format!("the probe did not end within {} s", (DEADLINE - STOP).as_secs())))
        }
    };
    let stopped = runtime.stop(&place.id, Incarnation(1), STOP).await;
    judge(&seen?, &place.nonce, uid).map_err(unusable)?;
    stopped?;
    Ok(Health {
        runtime: runtime.name().to_owned(),
        version,
        boundary: "namespaces".to_owned(),
        limits: runtime.limiter().await.describe(),
    })
}

async fn version() -> Result<String, RuntimeError> {
    let bwrap = launch::bwrap()?;
    let output = Command::new(&bwrap).arg("--version").kill_on_drop(true).output();
    let output = tokio::time::timeout(STOP, output)
        .await
        .map_err(|_| unusable("bwrap --version hangs".to_owned()))?;
    let output = output.map_err(|e| io_error("run", &bwrap, e))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().last().unwrap_or_default().to_owned();
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) < (0, 8) {
        return Err(unusable(format!(
            "bubblewrap {version} cannot forbid nested user namespaces: install 0.8 or newer"
        )));
    }
    Ok(version)
}

/// Runs the guest and returns its report.
pub(in crate::container) async fn run(
    runtime: &dyn Runtime,
    place: &Place,
) -> Result<String, RuntimeError> {
    let mount = |name: &str, guest: &str, writable| Mount {
        host: place.dir.join(name),
        guest: guest.into(),
        writable,
    };
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
        limits: Limits { memory: 256 << 20, cpus: 1.0, pids: 32, tmp: 1 << 20 },
    };
    let mut running = runtime.spawn(&spec).await?;
    let mut said = Vec::new();
    if let Some(stderr) = running.child.stderr.take() {
        // Bounded, since it may be anything; what is left is not needed.
        stderr
            .take(4096)
            .read_to_end(&mut said)
            .await
            .map_err(|e| io_error("read from", Path::new("bwrap"), e))?;
    }
    let status =
        running.child.wait().await.map_err(|e| io_error("wait for", Path::new("bwrap"), e))?;
    if !status.success() {
        return Err(unusable(with_remedy(String::from_utf8_lossy(&said).trim(), |path| {
            fs::read_to_string(path).ok()
        })));
    }
    let report = Tree::open(&place.dir.join("group")).and_then(|tree| tree.read("report", 4096));
    Ok(String::from_utf8_lossy(&report.map_err(|e| unusable(format!("the guest's report: {e}")))?)
        .into_owned())
}

/// What is wrong with a report.
pub(in crate::container) fn judge(report: &str, nonce: &str, uid: u32) -> Result<(), String> {
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
        if !values(key).is_empty() {
            return Err(what.to_owned());
        }
    }
    Ok(())
}

/// What bubblewrap said, and what to do about it. `read` gives a kernel setting.
fn with_remedy(said: &str, read: impl Fn(&str) -> Option<String>) -> String {
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    // Only bubblewrap's own words are about the kernel; others are the guest's.
    if !said.lines().any(|line| line.starts_with("bwrap:")) {
        return if said.is_empty() {
            "it failed without a word".to_owned()
        } else {
            said.to_owned()
        };
    }
    let remedy = if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "the kernel forbids user namespaces: sudo sysctl -w kernel.unprivileged_userns_clone=1"
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "the kernel allows no user namespaces: sudo sysctl -w user.max_user_namespaces=10000"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor restricts user namespaces (Ubuntu 23.10 and newer): give /usr/bin/bwrap a profile that allows them, \
         or sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    } else if ["/.dockerenv", "/run/.containerenv"].iter().any(|path| read(path).is_some()) {
        "this is a container: start it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
    } else {
        "see `man bwrap`"
    };
    format!("{said}; {remedy}")
}

fn unusable(reason: String) -> RuntimeError {
    RuntimeError::Unusable { runtime: "bwrap".to_owned(), reason }
}

/// A directory of the probe's own, removed with it.
pub(in crate::container) struct Place {
    dir: PathBuf,
    /// An installation of its own, so that its sandbox is nobody else's.
    pub id: String,
    pub nonce: String,
}

impl Place {
    pub fn new((uid, gid): (u32, u32)) -> Result<Place, RuntimeError> {
        let random = || {
            let path = Path::new("/proc/sys/kernel/random/uuid");
            fs::read_to_string(path)
                .map(|s| s.trim().to_owned())
                .map_err(|e| io_error("read", path, e))
        };
        let (id, nonce) = (format!("probe-{}", random()?), random()?);
        let dir = std::env::temp_dir().join(format!("nanoclaw-{id}"));
        // Fails if somebody has taken the name, which nobody can guess.
        fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|e| io_error("create", &dir, e))?;
        let place = Place { dir, id, nonce };
        for name in ["group", "global"] {
            let path = place.dir.join(name);
            fs::DirBuilder::new()
                .mode(0o755)
                .create(&path)
                .map_err(|e| io_error("create", &path, e))?;
        }
        view::write(
            &place.dir.join("global/nonce"),
            format!("{}\n", place.nonce).as_bytes(),
            0o644,
        )?;
        let group = place.dir.join("group");
        let owner = fs::metadata(&group).map_err(|e| io_error("look at", &group, e))?;
        if (owner.uid(), owner.gid()) != (uid, gid) {
            std::os::unix::fs::lchown(&group, Some(uid), Some(gid))
                .map_err(|e| io_error("chown", &group, e))?;
        }
        // Writable for the guest, so that only the mount can refuse.
        let global = place.dir.join("global");
        Tree::open(&global)
            .and_then(|t| t.chown_all(uid, gid))
            .map_err(|e| failed(e.to_string()))?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no harm.
        if let Some((parent, name)) = self.dir.parent().zip(self.dir.file_name()) {
            let _ = Tree::open(parent).and_then(|tree| tree.remove_all(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "nonce n\nuid 7\ncaps 0000\ncaps 0000\nend\n";

    #[test]
    fn a_report_passes_only_if_everything_is_as_it_must_be() {
        assert_eq!(judge(GOOD, "n", 7), Ok(()));
        for (bad, why) in [
            (GOOD.replace("nonce n", "nonce m"), "not read back"),
            (GOOD.replace("end\n", ""), "not read back"),
            (GOOD.replace("uid 7", "uid 0"), "uid 0"),
            (GOOD.replace("caps 0000\nend", "caps 0020\nend"), "capabilities"),
            (GOOD.replace("end", "readonly written\nend"), "read-only"),
            (GOOD.replace("end", "root written\nend"), "root directory"),
            (GOOD.replace("end", "interface eth0:\nend"), "interface"),
            (GOOD.replace("end", "userns open\nend"), "user namespaces"),
        ] {
            let error = judge(&bad, "n", 7).expect_err(&bad);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_failure_names_the_setting_that_mends_it() {
        let say = |path: &'static str, value: &'static str| {
            with_remedy("bwrap: no", move |p| (p == path).then(|| value.to_owned()))
        };
        assert!(
            say("/proc/sys/kernel/unprivileged_userns_clone", "0\n")
                .contains("kernel.unprivileged_userns_clone=1")
        );
        assert!(
            say("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")
                .contains("AppArmor")
        );
        assert!(
            say("/proc/sys/user/max_user_namespaces", "0\n").contains("max_user_namespaces=10000")
        );
        assert!(say("/.dockerenv", "").contains("this is a container"));
        assert!(say("/none", "").starts_with("bwrap: no; "));
        assert_eq!(with_remedy("sh: cannot fork", |_| Some("0".to_owned())), "sh: cannot fork");
    }
}
