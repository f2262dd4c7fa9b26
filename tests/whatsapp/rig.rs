//! The daemon as a user runs it, and phones around it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::server::{Phone, Server};
use crate::support::{Daemon, Home};

/// An installation, WhatsApp, and the owner's telephone.
pub struct Rig {
    pub server: Server,
    pub home: Arc<Home>,
    pub owner: Phone,
    pub daemon: Option<Daemon>,
    /// The number of the linked device; 0 before there is one.
    pub device: u16,
}

/// A command of the program at work, line by line.
pub struct Running {
    pub child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Rig {
    /// Nothing is linked and no daemon runs.
    pub async fn new() -> Rig {
        Rig::with(|_| {}).await
    }

    /// The same with settings of the test's own.
    pub async fn with(set: impl FnOnce(&mut Home)) -> Rig {
        let server = Server::start().await;
        let owner = server.person("491701111111", "Olga");
        let mut home = Home::new();
        home.set("NANOCLAW_WHATSAPP_URL", &server.url());
        home.set("NANOCLAW_WHATSAPP_MEDIA", &server.media_url());
        // Tests do not wait as people do, but for those about that.
        home.set("NANOCLAW_WHATSAPP_PACE", "off");
        set(&mut home);
        Rig { server, home: Arc::new(home), owner, daemon: None, device: 0 }
    }

    /// Linked, and the daemon runs and is connected.
    pub async fn linked() -> Rig {
        Rig::linked_with(|_| {}).await
    }

    /// The same with settings of the test's own.
    pub async fn linked_with(set: impl FnOnce(&mut Home)) -> Rig {
        let mut rig = Rig::with(set).await;
        rig.link().await;
        // The connection that linked it is no more; the daemon makes one of its own.
        let before = rig.status().await["whatsapp"]["since"].as_i64().unwrap();
        rig.start().await;
        while rig.wait_state("connected").await["whatsapp"]["since"] == before {}
        rig
    }

    /// Links by scanning, with the daemon down or up.
    pub async fn link(&mut self) {
        let mut auth = self.spawn(&["auth", "whatsapp"]);
        let code = auth.line_after("code to scan: ").await;
        self.device = self.owner.scan(&code).await.unwrap();
        let (code, rest) = auth.end().await;
        assert_eq!(code, Some(0), "{rest}");
        assert!(rest.contains("linked to +491701111111, and connected"), "{rest}");
    }

    /// A command with its standard output in our hands.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        let mut command = tokio::process::Command::from(self.home.command(arguments));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    /// Runs a command to its end without holding up the phones.
    pub async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let (home, arguments) = (self.home.clone(), own(arguments));
        let run = move || home.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    /// Starts the daemon.
    pub async fn start(&mut self) {
        let home = self.home.clone();
        self.daemon = Some(tokio::task::spawn_blocking(move || home.start()).await.unwrap());
    }

    /// Stops it as the service manager does.
    pub async fn stop(&mut self) {
        let daemon = self.daemon.take().unwrap();
        assert_eq!(tokio::task::spawn_blocking(move || daemon.stop()).await.unwrap(), 0);
    }

    /// Adds a group without a trigger that serves somebody's chat.
    pub async fn serve(&self, folder: &str, jid: &str) {
        let added = self.run(&["groups", "add", folder, "--jid", jid, "--no-trigger"]).await;
        assert_eq!(added.0, 0, "{}", added.2);
    }

    /// `status --json`.
    pub async fn status(&self) -> Value {
        let (code, out, error) = self.run(&["status", "--json"]).await;
        assert_eq!(code, 0, "{error}");
        serde_json::from_str(&out).unwrap()
    }

    /// What `status` says of WhatsApp, once it is in this state.
    pub async fn wait_state(&self, state: &str) -> Value {
        let mut status = Value::Null;
        for _ in 0..600 {
            status = self.status().await;
            if status["whatsapp"]["state"] == state {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("WhatsApp is not {state}: {:#}", status["whatsapp"]);
    }

    /// Waits until it is one of these; which.
    #[allow(dead_code)]
    pub async fn wait_states(&self, states: &[&str]) -> String {
        for _ in 0..600 {
            let status = self.status().await;
            let state = status["whatsapp"]["state"].as_str().unwrap_or_default();
            if states.contains(&state) {
                return state.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("WhatsApp is none of {states:?}: {:#}", self.status().await["whatsapp"]);
    }

    /// Waits until a query of the ledger gives this text.
    pub async fn wait_ledger(&self, query: &str, wanted: &str) {
        let mut found = String::new();
        for _ in 0..1200 {
            // None where there is no such row yet.
            let (home, query) = (self.home.clone(), format!("SELECT ({query})"));
            let look = move || home.ledger::<Option<String>>(&query).unwrap_or_default();
            found = tokio::task::spawn_blocking(look).await.unwrap();
            if found == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{query} is {found:?}, not {wanted:?}");
    }
}

impl Running {
    /// The rest of the first line that begins like this.
    pub async fn line_after(&mut self, begin: &str) -> String {
        self.next_line(begin).await.unwrap_or_else(|| panic!("it ended without {begin:?}"))
    }

    /// The same; `None` if it ends without.
    pub async fn next_line(&mut self, begin: &str) -> Option<String> {
        let found = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if let Some(rest) = line.strip_prefix(begin) {
                    return Some(rest.to_owned());
                }
            }
            None
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.expect(begin)
    }

    /// Waits for the end: the exit code and what it still said.
    pub async fn end(mut self) -> (Option<i32>, String) {
        let end = async {
            let mut said = String::new();
            while let Some(line) = self.lines.next_line().await.unwrap() {
                said += &line;
                said.push('\n');
            }
            (self.child.wait().await.unwrap().code(), said)
        };
        tokio::time::timeout(Duration::from_secs(60), end).await.expect("its end")
    }
}

fn own(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
