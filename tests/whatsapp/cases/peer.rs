//! Baileys as a linked device: `tests/whatsapp/baileys/peer.mjs` in a Node process.
//! Anything that links to the server can have it as the other side.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::server::{Phone, Server};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running Baileys.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    seen: Vec<Value>,
    _state: tempfile::TempDir,
}

impl Peer {
    /// Starts one on new keys; `None`, said aloud, where there is no Node. In CI that
    /// is a failure.
    pub async fn start(server: &Server) -> Option<Peer> {
        let script = installed().await?;
        let state = tempfile::tempdir().unwrap();
        let root: String = server.root_key().iter().map(|byte| format!("{byte:02x}")).collect();
        // Its Signal library is talkative.
        let aloud = std::env::var_os("WHATSAPP_SERVER_LOG").is_some();
        let mut child = Command::new("node")
            .arg(script)
            .env("PEER_URL", server.url())
            .env("PEER_ROOT", root)
            .env("PEER_STATE", state.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if aloud { Stdio::inherit() } else { Stdio::null() })
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Some(Peer { child, input, output, seen: Vec::new(), _state: state })
    }

    /// Links it to a phone, and waits until it is connected.
    pub async fn link(&mut self, phone: &Phone) {
        let code = self.event("qr").await["code"].as_str().unwrap().to_owned();
        phone.scan(&code).await.unwrap();
        self.event("open").await;
    }

    /// Tells it to do something.
    pub async fn tell(&mut self, line: Value) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Lets it say something; the message's id.
    pub async fn say(&mut self, to: &str, text: &str, quote: Option<&str>) -> String {
        self.seen.retain(|line| line["event"] != "sent");
        self.tell(json!({ "do": "send", "to": to, "text": text, "quote": quote })).await;
        self.event("sent").await["id"].as_str().unwrap().to_owned()
    }

    /// Waits for the next line of that kind.
    pub async fn event(&mut self, event: &str) -> Value {
        self.find(event, |line| line["event"] == event).await
    }

    /// Waits for a message that says exactly that.
    pub async fn text(&mut self, text: &str) -> Value {
        self.find(text, |line| line["event"] == "message" && line["text"] == text).await
    }

    pub async fn find(&mut self, what: &str, like: impl Fn(&Value) -> bool) -> Value {
        if let Some(found) = self.seen.iter().find(|line| like(line)) {
            return found.clone();
        }
        let search = async {
            loop {
                let line = self.output.next_line().await.unwrap().expect("Baileys ended");
                let Ok(line) = serde_json::from_str::<Value>(&line) else {
                    panic!("Baileys said {line:?}");
                };
                assert_ne!(line["event"], "error", "{line}");
                self.seen.push(line.clone());
                if like(&line) {
                    return line;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(found) => found,
            Err(_) => panic!("Baileys did not bring {what}; {:?}", self.seen),
        }
    }

    /// Ends it.
    pub async fn end(mut self) {
        self.tell(json!({ "do": "end" })).await;
        let _ = self.child.wait().await;
    }
}

/// The script beside its dependencies, which are installed once for each lock file.
async fn installed() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/whatsapp/baileys");
    let lock = std::fs::read(source.join("package-lock.json")).unwrap();
    let sum = lock.iter().fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("baileys-{sum:016x}"));
    if let Err(why) = install(&source, &place).await {
        assert!(std::env::var_os("CI").is_none(), "Baileys cannot be had: {why}");
        println!("skipped: Baileys cannot be had: {why}");
        return None;
    }
    let script = place.join("peer.mjs");
    std::fs::copy(source.join("peer.mjs"), &script).unwrap();
    Some(script)
}

async fn install(source: &Path, place: &Path) -> Result<(), String> {
    run(Command::new("node").arg("--version")).await?;
    let done = place.join("installed");
    if done.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(place).unwrap();
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(file), place.join(file)).unwrap();
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--omit=dev", "--omit=peer", "--omit=optional"])
        .args(["--no-audit", "--no-fund"])
        .current_dir(place);
    run(&mut npm).await?;
    std::fs::write(done, "").unwrap();
    Ok(())
}

async fn run(command: &mut Command) -> Result<(), String> {
    match command.stdin(Stdio::null()).output().await {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        Err(error) => Err(format!("{:?}: {error}", command.as_std().get_program())),
    }
}
