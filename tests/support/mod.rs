//! What the black-box tests share: an installation in a directory of its own, the
//! real daemon, and a client of its socket. Nothing here knows the code inside.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub mod api;
pub mod forge;
pub mod special;

/// The program under test.
pub const NANOCLAW: &str = env!("CARGO_BIN_EXE_nanoclaw");

/// An installation.
pub struct Home {
    mounted: Option<PathBuf>,
    _directory: tempfile::TempDir,
    path: PathBuf,
    env: BTreeMap<String, String>,
    /// What runs the program, and the program.
    program: Vec<String>,
}

impl Home {
    /// With the stand-in for the CLI.
    pub fn new() -> Home {
        Home::below("")
    }

    /// With the stand-in, at `relative` in a temporary directory.
    pub fn below(relative: &str) -> Home {
        let mut home = Home::bare_below(relative);
        let cli = home.cli();
        std::fs::create_dir(&cli).unwrap();
        std::fs::copy(stand_in(), cli.join("claude")).unwrap();
        home.set("NANOCLAW_CLAUDE", cli.join("claude").to_str().unwrap());
        home
    }

    /// The directory of the CLI.
    pub fn cli(&self) -> PathBuf {
        self.path.join("cli")
    }

    /// With the real CLI; `None` where there is none (a failure in CI).
    pub fn with_real_cli() -> Option<Home> {
        let mut home = Home::bare_below("");
        let path = std::env::var("NANOCLAW_CLAUDE").ok().filter(|p| Path::new(p).is_file());
        let Some(path) = path else {
            assert!(
                std::env::var_os("CI").is_none(),
                "NANOCLAW_CLAUDE names no file, and CI skips nothing"
            );
            eprintln!("skipped: NANOCLAW_CLAUDE does not name the Claude Code CLI");
            return None;
        };
        home.set("NANOCLAW_CLAUDE", &path);
        Some(home)
    }

    fn bare_below(relative: &str) -> Home {
        let directory = tempfile::Builder::new().prefix("nanoclaw-").tempdir().unwrap();
        let path = directory.path().join(relative);
        std::fs::create_dir_all(&path).unwrap();
        let mut home = Home {
            mounted: None,
            _directory: directory,
            path,
            env: BTreeMap::new(),
            program: vec![NANOCLAW.into()],
        };
        let path = home.path().to_str().unwrap().to_owned();
        home.set("HOME", &path);
        home.set("NANOCLAW_HOME", &path);
        home.set("TZ", "Europe/Berlin");
        home.set("PATH", &std::env::var("PATH").unwrap());
        home
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another copy of the program.
    pub fn program(&mut self, path: PathBuf) {
        self.program = vec![path.to_str().unwrap().into()];
    }

    /// A setting, in the environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.into(), value.into());
    }

    /// Has a library of `tests/support` within the program; `false` without a C compiler.
    pub fn preload(&mut self, source: &str) -> bool {
        let library = self.path().join(source).with_extension("so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(source);
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
        let built = compile.status();
        if !built.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("skipped: no C compiler: {built:?}");
            return false;
        }
        self.set("LD_PRELOAD", library.to_str().unwrap());
        true
    }

    /// One value from the ledger.
    pub fn ledger<T: rusqlite::types::FromSql>(&self, query: &str) -> T {
        let c = rusqlite::Connection::open(self.path().join("store/messages.db")).unwrap();
        c.busy_timeout(Duration::from_secs(10)).unwrap();
        c.query_row(query, [], |row| row.get(0)).unwrap_or_else(|e| panic!("{query}: {e}"))
    }

    /// A command of the program, with this installation's environment alone.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program[0]);
        command
            .args(&self.program[1..])
            .args(arguments)
            .env_clear()
            .envs(&self.env)
            .current_dir(self.path());
        command
    }

    /// Runs a command to its end: (exit code, standard output, standard error).
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Adds a group with one chat that needs no trigger.
    pub fn add_group(&self, folder: &str, jid: &str) {
        let (code, _, error) = self.run(&["groups", "add", folder, "--jid", jid, "--no-trigger"]);
        assert_eq!(code, 0, "{error}");
    }

    pub fn socket(&self) -> PathBuf {
        self.path().join("data/nanoclaw.sock")
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start(&self) -> Daemon {
        let (daemon, line) = self.begin();
        assert!(line.starts_with("ready in "), "the daemon said {line:?}\n{}", self.log());
        daemon
    }

    /// Starts the daemon and waits for its first line, which is empty if it ends.
    pub fn begin(&self) -> (Daemon, String) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path().join("daemon.log"))
            .unwrap();
        let mut child = self
            .command(&["start"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Daemon { child }, line)
    }

    /// What daemons of this installation logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("daemon.log")).unwrap_or_default()
    }

    /// `(state, count)` of all messages.
    pub fn states(&self) -> HashMap<String, i64> {
        let (code, out, error) = self.run(&["status", "--json"]);
        assert_eq!(code, 0, "{error}");
        let status: Value = serde_json::from_str(&out).unwrap();
        serde_json::from_value(status["messages"].clone()).unwrap()
    }

    /// Containers of this installation that live now.
    pub fn containers(&self) -> usize {
        let labels = self.guests().into_iter().filter_map(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            Some(line.split('\0').find(|a| a.starts_with("nanoclaw-"))?.to_owned())
        });
        labels.collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Pids of processes that belong to this installation's containers.
    pub fn guests(&self) -> Vec<u32> {
        let Ok(c) = rusqlite::Connection::open(self.path().join("store/messages.db")) else {
            return Vec::new();
        };
        let install: String = c
            .query_row("SELECT value FROM settings WHERE key = 'install'", [], |r| r.get(0))
            .unwrap();
        let label = format!("nanoclaw-{install}-");
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|p| p.file_name().to_str()?.parse().ok())
            .filter(|pid: &u32| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.split(|&b| b == 0).any(|a| a.starts_with(label.as_bytes()))
            })
            .collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
        if let Some(path) = &self.mounted {
            let _ = Command::new("umount").arg("--lazy").arg(path).status();
        }
    }
}

/// The stand-in that cargo built beside this test.
pub fn stand_in() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/claude")
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// SIGKILL, and reaped.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its exit code.
    pub fn stop(self) -> i32 {
        self.stop_status().code().unwrap_or(-1)
    }

    /// SIGTERM, and how it ended.
    pub fn stop_status(mut self) -> std::process::ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a client heard, in order.
#[derive(Default)]
pub struct Heard {
    /// Every line but `typing`.
    pub lines: Vec<Value>,
    /// Texts of distinct `send` ids, in order of arrival: (jid, id, text).
    pub sends: Vec<(String, String, String)>,
    /// How often a `send` id came again.
    pub repeats: usize,
    pub closed: bool,
}

/// A client of the socket channel. Confirms every `send` unless told otherwise.
pub struct Client {
    stream: UnixStream,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

impl Client {
    /// Connects and says hello. `known` sends are those that the client has seen in
    /// earlier connections, so that it can tell repetitions.
    pub fn connect(home: &Home, prefix: &str) -> Client {
        Client::join(home, prefix, &["status"], true)
    }

    pub fn join(home: &Home, prefix: &str, capabilities: &[&str], confirm: bool) -> Client {
        let client = Client::raw(home, confirm);
        let name = prefix.trim_end_matches(':');
        client.write(&json!({"type": "hello", "channel": name, "prefix": prefix, "capabilities": capabilities}));
        client.wait("welcome", |h| h.lines.iter().any(|l| l["type"] == "welcome"));
        client
    }

    /// Connects and says nothing.
    pub fn raw(home: &Home, confirm: bool) -> Client {
        let stream = reach(&home.socket());
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let (reading, mut writing, shared) =
            (stream.try_clone().unwrap(), stream.try_clone().unwrap(), heard.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(reading).lines() {
                let Ok(line) = line else { break };
                let value: Value = serde_json::from_str(&line).unwrap();
                let (lock, changed) = &*shared;
                let mut heard = lock.lock().unwrap();
                if value["type"] == "send" {
                    let text = |key: &str| value[key].as_str().unwrap().to_owned();
                    let sent = (text("jid"), text("id"), text("text"));
                    if heard.sends.iter().any(|(_, id, _)| *id == sent.1) {
                        heard.repeats += 1;
                    } else {
                        heard.sends.push(sent);
                    }
                    if confirm {
                        let line = format!("{}\n", json!({"type": "sent", "id": value["id"]}));
                        let _ = writing.write_all(line.as_bytes());
                    }
                }
                if value["type"] != "typing" {
                    heard.lines.push(value);
                }
                changed.notify_all();
            }
            let (lock, changed) = &*shared;
            lock.lock().unwrap().closed = true;
            changed.notify_all();
        });
        Client { stream, heard }
    }

    pub fn write(&self, value: &Value) {
        self.write_bytes(format!("{value}\n").as_bytes());
    }

    /// Bytes as they are; an error means that the daemon is gone.
    pub fn write_bytes(&self, bytes: &[u8]) {
        let _ = (&self.stream).write_all(bytes);
    }

    /// Closes the connection, in the middle of a line if that is where it is.
    pub fn hang_up(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// A message from somebody in a chat.
    pub fn message(&self, jid: &str, id: &str, content: &str) {
        self.write(&message(jid, id, content));
    }

    /// Waits until `done`, or fails after 60 s saying what was waited for.
    pub fn wait(&self, what: &str, done: impl Fn(&Heard) -> bool) {
        self.wait_for(Duration::from_secs(60), what, done);
    }

    pub fn wait_for(&self, most: Duration, what: &str, done: impl Fn(&Heard) -> bool) {
        let began = Instant::now();
        let (lock, changed) = &*self.heard;
        let mut heard = lock.lock().unwrap();
        while !done(&heard) {
            let left = most.checked_sub(began.elapsed());
            let Some(left) = left else {
                panic!("waited {most:?} for {what}; heard {:#?}", heard.lines);
            };
            heard = changed.wait_timeout(heard, left).unwrap().0;
        }
    }

    /// Waits for the acknowledgement of a message.
    pub fn acked(&self, id: &str) {
        self.wait(&format!("ack of {id}"), |h| {
            h.lines.iter().any(|l| l["type"] == "ack" && l["id"] == id)
        });
    }

    /// Waits for a text in a chat that contains `part`, and returns it whole.
    pub fn answer(&self, jid: &str, part: &str) -> String {
        let fits = |(j, _, text): &&(String, String, String)| j == jid && text.contains(part);
        self.wait(&format!("{part:?} in {jid}"), |h| h.sends.iter().any(|s| fits(&s)));
        self.heard(|h| h.sends.iter().find(fits).unwrap().2.clone())
    }

    pub fn heard<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.0.lock().unwrap())
    }
}

/// Connects to a socket whose path may be longer than an address can be.
fn reach(path: &Path) -> UnixStream {
    use std::os::fd::AsRawFd;
    let directory = std::fs::File::open(path.parent().unwrap()).unwrap();
    let short = format!("/proc/self/fd/{}", directory.as_raw_fd());
    UnixStream::connect(Path::new(&short).join(path.file_name().unwrap())).unwrap()
}

/// A `message` line.
pub fn message(jid: &str, id: &str, content: &str) -> Value {
    json!({"type": "message", "jid": jid, "id": id, "sender": "u1", "sender_name": "Ann",
        "content": content, "timestamp": "2026-01-01T00:00:00.001Z", "is_group": true, "from_me": false})
}

/// The text of a line of a transcript, whichever form its content has.
pub fn text_of(content: &Value) -> String {
    match content.as_array() {
        Some(blocks) => blocks.iter().filter_map(|b| b["text"].as_str()).collect(),
        None => content.as_str().unwrap_or_default().to_owned(),
    }
}

/// Polls until `done`, or fails after 60 s saying what was waited for.
pub fn eventually(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited for {what}");
        pause(Duration::from_millis(20));
    }
}

/// Lets time pass.
pub fn pause(time: Duration) {
    let (lock, never) = (Mutex::new(()), Condvar::new());
    let held = lock.lock().unwrap();
    drop(never.wait_timeout(held, time));
}
