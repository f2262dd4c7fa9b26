//! Groups with their directories as the daemon lays them out, run by the real
//! drivers.
#![allow(dead_code, clippy::unwrap_used)]

pub mod engines;
pub mod vms;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use nanoclaw::container::bwrap::Bwrap;
use nanoclaw::container::user::guest;
use nanoclaw::container::{Limits, Mount, Running, Runtime, RuntimeError, Spec};
use nanoclaw::ids::{Folder, Incarnation};
use nanoclaw::tree::Tree;
use tokio::io::AsyncReadExt;

/// An installation in a directory of its own.
pub struct World {
    pub home: tempfile::TempDir,
    pub runtime: Box<dyn Runtime>,
    pub kind: Kind,
    pub install: String,
    /// `full` or what is not limited here.
    pub limits: String,
}

/// What a guest left.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub said: String,
}

/// Which driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bwrap,
    /// By software alone.
    Microvm,
    Podman,
    Docker,
    /// The stand-in of `tests/apple` for that version of Apple's tool.
    Apple(&'static str),
}

/// A bubblewrap world, or none where that does not work.
pub async fn world(install: &str) -> Option<World> {
    world_of(Kind::Bwrap, install).await
}

/// A world of that kind, or none where its runtime does not work; the reason is
/// printed, and in CI it is a failure.
pub async fn world_of(kind: Kind, install: &str) -> Option<World> {
    let skip = |why: String| {
        assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI: {why}");
        println!("skipped: {why}");
        None
    };
    let runtime: Box<dyn Runtime> = match kind {
        Kind::Bwrap => Box::new(Bwrap::new(None)),
        Kind::Microvm => match vms::microvm().await {
            Ok(microvm) => Box::new(microvm),
            Err(why) => return skip(why),
        },
        _ => match engines::engine(kind) {
            Ok(engine) => Box::new(engine),
            Err(why) => return skip(why),
        },
    };
    // What a probe says is the same for every test of a program.
    static PROBED: Mutex<Vec<(Kind, String)>> = Mutex::new(Vec::new());
    let known = PROBED.lock().unwrap().iter().find(|(k, _)| *k == kind).map(|(_, l)| l.clone());
    let limits = match known {
        Some(limits) => limits,
        None => match runtime.probe().await {
            Ok(health) => {
                PROBED.lock().unwrap().push((kind, health.limits.clone()));
                health.limits
            }
            Err(e @ (RuntimeError::Missing { .. } | RuntimeError::Unusable { .. })) => {
                return skip(e.to_string());
            }
            Err(e) => panic!("the probe of {kind:?} failed: {e}"),
        },
    };
    let home = tempfile::tempdir().unwrap();
    // As the daemon's directory: nobody but its owner may enter.
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let install = format!("{install}-{}", std::process::id());
    Some(World { home, runtime, kind, install, limits })
}

impl World {
    /// Uid and gid of the guests, on the host.
    pub fn user(&self) -> (u32, u32) {
        guest(None).unwrap()
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.home.path().canonicalize().unwrap().join(relative)
    }

    /// A directory of the installation that the guest owns.
    pub fn dir(&self, relative: &str) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(&path).unwrap();
        let (uid, gid) = self.user();
        Tree::open(&path).unwrap().chown_all(uid, gid).unwrap();
        path
    }

    /// A container of `group` that runs `script`; what it prints is `said`.
    pub fn spec(&self, group: &str, incarnation: i64, script: &str) -> Spec {
        let mount = |host: String, guest: &str, writable| Mount {
            host: self.dir(&host),
            guest: guest.into(),
            writable,
        };
        let ipc = format!("data/ipc/{group}/{incarnation}");
        if matches!(self.kind, Kind::Apple(_)) {
            // What its tool relays must be there.
            let socket = self.dir(&format!("data/proxy/{group}")).join("proxy.sock");
            let _ = std::os::unix::net::UnixListener::bind(socket);
        }
        Spec {
            install: self.install.clone(),
            incarnation: Incarnation(incarnation),
            group: Folder::parse(group).unwrap(),
            mounts: vec![
                mount(format!("groups/{group}"), "/workspace/group", true),
                mount("groups/global".into(), "/workspace/global", false),
                mount(format!("data/sessions/{group}/.claude"), "/home/node/.claude", true),
                mount(format!("{ipc}/in"), "/workspace/ipc/in", false),
                mount(format!("{ipc}/out"), "/workspace/ipc/out", true),
                mount("program".into(), "/opt/nanoclaw", false),
                mount(format!("data/proxy/{group}"), "/run/nanoclaw", false),
            ],
            env: vec![
                ("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into()),
                ("HOME".into(), "/home/node".into()),
            ],
            argv: ["/bin/bash", "-c", &format!("exec >&2\n{script}")].map(str::to_owned).to_vec(),
            scratch: self.path(&format!("data/scratch/{incarnation}")),
            limits: Limits { memory: 192 << 20, cpus: 1.0, pids: 64, tmp: 4 << 20 },
        }
    }

    pub async fn start(&self, spec: &Spec) -> Running {
        self.runtime.spawn(spec).await.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Runs a container to its end; its standard input stays open.
    pub async fn run(&self, spec: &Spec) -> Outcome {
        let mut running = self.start(spec).await;
        let stdin = running.child.stdin.take();
        let outcome = tokio::time::timeout(Duration::from_secs(400), finish(&mut running)).await;
        drop(stdin);
        self.stop(spec.incarnation).await;
        outcome.expect("the guest ended in time")
    }

    pub async fn stop(&self, incarnation: Incarnation) {
        self.runtime
            .stop(&self.install, incarnation, Duration::from_secs(20))
            .await
            .unwrap_or_else(|e| panic!("{e}"));
    }

    pub async fn list(&self) -> Vec<i64> {
        self.runtime.list(&self.install).await.unwrap().into_iter().map(|i| i.0).collect()
    }
}

/// Reads all that a guest says and waits for its end.
pub async fn finish(running: &mut Running) -> Outcome {
    let mut said = Vec::new();
    running.child.stderr.take().unwrap().read_to_end(&mut said).await.unwrap();
    let status = running.child.wait().await.unwrap();
    Outcome { code: status.code(), said: String::from_utf8_lossy(&said).into_owned() }
}

/// Waits until a guest has made a file.
pub async fn appears(path: &Path) {
    // A VM takes its time.
    for _ in 0..3000 {
        if path.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} did not appear", path.display());
}

/// Host processes with `mark` on their command line.
pub fn marked(mark: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let own = std::process::id();
    pids.filter(|pid| *pid != own)
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(mark)
        })
        .collect()
}
