//! The host's side of the mailbox, for one guest in a temporary directory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nanoclaw::ids::{Incarnation, TurnId};
use nanoclaw::ipc::record::{GuestRecord, HostRecord, Session, Start, Turn, TurnKind, file_name};
use tempfile::TempDir;

pub struct Guest {
    pub dir: TempDir,
    child: Child,
    stdin: Option<ChildStdin>,
    sent: u64,
    taken: u64,
    /// Everything it told, in order.
    pub told: Vec<GuestRecord>,
}

/// The directories of a guest, before it is started.
pub fn room() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in [
        "workspace/ipc/in",
        "workspace/ipc/out",
        "workspace/group",
        "workspace/global",
        "workspace/extra",
    ] {
        fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    for path in ["run/nanoclaw", "tmp", "home/node/.claude"] {
        fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    dir
}

pub fn start_record(session_id: Option<&str>) -> Start {
    Start {
        incarnation: Incarnation(7),
        group: "family".into(),
        is_main: false,
        assistant_name: "Andy".into(),
        timezone: "Europe/Berlin".into(),
        session_id: session_id.map(str::to_owned),
        model: None,
    }
}

pub fn turn(n: i64, prompt: &str) -> Turn {
    Turn {
        turn: TurnId(n),
        attempt: 1,
        uuid: format!("00000000-0000-4000-8000-{n:012}"),
        kind: TurnKind::Message,
        session: Session::Group,
        deadline_ms: 60_000,
        prompt: prompt.into(),
        script: None,
        images: Vec::new(),
    }
}

pub fn ids(turns: &[i64]) -> Vec<TurnId> {
    turns.iter().map(|&n| TurnId(n)).collect()
}

impl Guest {
    /// Starts the guest in `dir` with `cli`, and tells it to start.
    pub fn start(dir: TempDir, cli: &Path, session: Option<&str>) -> Guest {
        for side in ["in", "out"] {
            // A new incarnation has new directories.
            let path = dir.path().join("workspace/ipc").join(side);
            fs::remove_dir_all(&path).unwrap();
            fs::create_dir(&path).unwrap();
        }
        let home = dir.path().join("home/node");
        let mut child = Command::new(env!("CARGO_BIN_EXE_nanoclaw"))
            .arg("agent")
            .current_dir(dir.path().join("workspace/group"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("NANOCLAW_ROOT", dir.path())
            .env("NANOCLAW_CLAUDE", cli)
            .env("HOME", &home)
            .env("CLAUDE_CONFIG_DIR", home.join(".claude"))
            .env("TZ", "Europe/Berlin")
            .env("ANTHROPIC_API_KEY", "placeholder-token")
            .env("SECRET_OF_THE_HOST", "must not be passed on")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut guest = Guest { dir, child, stdin, sent: 0, taken: 0, told: Vec::new() };
        guest.send(HostRecord::Start(start_record(session)));
        guest
    }

    pub fn send(&mut self, record: HostRecord) {
        self.sent += 1;
        let directory = self.dir.path().join("workspace/ipc/in");
        let hidden = directory.join(".new");
        fs::write(&hidden, serde_json::to_vec(&record).unwrap()).unwrap();
        fs::rename(hidden, directory.join(file_name(self.sent))).unwrap();
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(b"\n");
        }
    }

    pub fn turn(&mut self, n: i64, prompt: &str) {
        self.send(HostRecord::Turn(turn(n, prompt)));
    }

    /// Takes the next record, if it is there.
    fn take(&mut self) -> Option<GuestRecord> {
        let path = self.dir.path().join("workspace/ipc/out").join(file_name(self.taken + 1));
        let bytes = fs::read(&path).ok()?;
        fs::remove_file(path).unwrap();
        self.taken += 1;
        let record: GuestRecord = serde_json::from_slice(&bytes).unwrap();
        self.told.push(record.clone());
        Some(record)
    }

    /// The first coming record that `wanted` accepts.
    pub fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&GuestRecord) -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            match self.take() {
                Some(record) => {
                    if let Some(found) = wanted(&record) {
                        return found;
                    }
                }
                None => sleep(Duration::from_millis(5)),
            }
        }
        panic!("{what} did not come; told were {:#?}", self.told);
    }

    /// The end of turns, whatever it is: who, and the text or (error, retryable).
    #[allow(clippy::type_complexity)]
    pub fn end(&mut self) -> (Vec<TurnId>, Result<Option<String>, (String, bool)>) {
        self.wait_for("the end of a turn", |record| match record.clone() {
            GuestRecord::Done { turns, text } => Some((turns, Ok(text))),
            GuestRecord::Failed { turns, error, retryable } => {
                Some((turns, Err((error, retryable))))
            }
            _ => None,
        })
    }

    /// The end of a turn that is answered.
    pub fn answer(&mut self) -> (Vec<TurnId>, Option<String>) {
        let (turns, end) = self.end();
        (turns, end.unwrap_or_else(|e| panic!("failed: {e:?}")))
    }

    /// The end of a turn that fails: who, the sentence, and whether to retry.
    pub fn failure(&mut self) -> (Vec<TurnId>, String, bool) {
        let (turns, end) = self.end();
        let (error, retryable) = end.expect_err("a failure");
        (turns, error, retryable)
    }

    pub fn session(&mut self) -> String {
        self.wait_for("a session", |record| match record {
            GuestRecord::Session { session_id, .. } => Some(session_id.clone()),
            _ => None,
        })
    }

    /// The host dies: the guest's standard input closes.
    pub fn abandon(&mut self) {
        self.stdin = None;
    }

    pub fn exit(&mut self, within: Duration) -> ExitStatus {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                while self.take().is_some() {}
                return status;
            }
            while self.take().is_some() {}
            sleep(Duration::from_millis(10));
        }
        panic!("the guest still runs after {within:?}; told were {:#?}", self.told);
    }

    /// Closes the guest and gives its directories back for another.
    pub fn close(mut self) -> TempDir {
        self.send(HostRecord::Close);
        assert!(self.exit(Duration::from_secs(20)).success());
        assert_eq!(self.processes(), Vec::<String>::new(), "processes outlived the guest");
        let empty = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.dir, empty)
    }

    /// Command lines of the living processes that know this guest's directory.
    pub fn processes(&self) -> Vec<String> {
        let me = format!("{}", self.dir.path().display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let text = |name: &str| String::from_utf8_lossy(&read(name)).replace('\0', " ");
            let own = entry.file_name().to_string_lossy() == self.child.id().to_string();
            if !own && !text("cmdline").is_empty() && text("environ").contains(&me) {
                found.push(text("cmdline"));
            }
        }
        found
    }

    /// Resident memory of the guest itself, in MB, at its highest.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stdin = None;
        for _ in 0..200 {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The stand-in, built once. `cargo test --test guest` alone does not build it.
pub fn stand_in() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--example", "claude"]);
            // With the same features: else everything that they touch is built twice.
            if cfg!(feature = "test-server") {
                cargo.args(["--features", "test-server"]);
            }
            // What cargo tells a test would make it build the crates anew that
            // look at these variables.
            let told = |name: &str| {
                name.starts_with("CARGO_")
                    && !name.starts_with("CARGO_TARGET")
                    && name != "CARGO_HOME"
            };
            for (name, _) in std::env::vars().filter(|(name, _)| told(name)) {
                cargo.env_remove(name);
            }
            let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
            assert!(built.success());
            Path::new(env!("CARGO_BIN_EXE_nanoclaw")).parent().unwrap().join("examples/claude")
        })
        .clone()
}

/// The stand-in with a setting that the guest would not pass on.
pub fn stand_in_with(dir: &TempDir, setting: &str) -> PathBuf {
    let path = dir.path().join("claude.sh");
    let text = format!("#!/bin/sh\nexport {setting}\nexec '{}' \"$@\"\n", stand_in().display());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}
