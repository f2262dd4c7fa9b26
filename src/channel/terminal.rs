//! The terminal: a client of the socket channel that talks as the owner, in main.
//!
//! At a keyboard, what you type goes out as you type it and answers appear when
//! they come. From a pipe, each line waits for the end of the one before, so that
//! the answers stand in the order of the lines.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::socket::TERMINAL;
use crate::cli::plain::plain;
use crate::unix;

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every line was answered.
    Answered,
    /// At least one line was not.
    Failed,
    /// Ctrl-C. What was not answered yet stays in the ledger.
    Interrupted,
}

/// A connection to the daemon as the owner's terminal.
pub struct Terminal {
    reading: Lines<BufReader<OwnedReadHalf>>,
    writing: OwnedWriteHalf,
    jid: String,
    name: String,
}

impl Terminal {
    /// Connects to the daemon that listens at `socket`; `None` if there is none.
    pub async fn connect(socket: &Path, assistant: &str) -> anyhow::Result<Option<Terminal>> {
        let Ok(stream) = unix::connect(socket).await else { return Ok(None) };
        let (reading, writing) = stream.into_split();
        let mut terminal = Terminal {
            reading: BufReader::new(reading).lines(),
            writing,
            jid: format!("{TERMINAL}main"),
            name: assistant.into(),
        };
        terminal
            .say(&json!({"type": "hello", "channel": "terminal", "prefix": TERMINAL, "capabilities": ["status", "files"]}))
            .await?;
        let answer = terminal.hear().await?.context("the daemon hung up")?;
        if answer["type"] != "welcome" {
            bail!(
                "the daemon does not take this terminal: {}",
                answer["error"].as_str().unwrap_or("no reason given")
            );
        }
        Ok(Some(terminal))
    }

    /// Talks until standard input ends.
    pub async fn converse(mut self) -> anyhow::Result<Ended> {
        let at_keyboard = std::io::stdin().is_terminal();
        let mut typed = typed_lines();
        let mut open: Vec<String> = Vec::new();
        let mut failed = false;
        let mut input_ended = false;
        prompt(at_keyboard);
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(interrupt);
        while !(input_ended && open.is_empty()) {
            let may_type = !input_ended && (at_keyboard || open.is_empty());
            tokio::select! {
                _ = &mut interrupt => return Ok(Ended::Interrupted),
                line = typed.recv(), if may_type => match line {
                    None => input_ended = true,
                    Some(Err(error)) => {
                        eprintln!("standard input: {error}; the line was skipped");
                        failed = true;
                    }
                    Some(Ok(line)) if line.trim().is_empty() => prompt(at_keyboard),
                    Some(Ok(line)) => open.push(self.send(&line).await?),
                },
                heard = self.hear() => {
                    let Some(heard) = heard? else { bail!("the daemon ended; what it had taken it answers when it runs again") };
                    failed |= self.take(&heard, &mut open, at_keyboard).await?;
                }
            }
        }
        Ok(if failed { Ended::Failed } else { Ended::Answered })
    }

    /// Shows what the daemon said. `true` if a line of ours came to a bad end.
    async fn take(
        &mut self,
        heard: &Value,
        open: &mut Vec<String>,
        at_keyboard: bool,
    ) -> anyhow::Result<bool> {
        let id = heard["id"].as_str().unwrap_or_default();
        match heard["type"].as_str().unwrap_or_default() {
            "send" => {
                let mut text = heard["text"].as_str().unwrap_or_default().to_owned();
                for file in heard["attachments"].as_array().into_iter().flatten() {
                    let path = file["path"].as_str().unwrap_or_default();
                    text += &format!("{}[file: {path}]", if text.is_empty() { "" } else { "\n" });
                }
                show(&self.name, &text, at_keyboard)?;
                let sent = json!({"type": "sent", "id": id});
                self.say(&sent).await?;
                Ok(false)
            }
            "status" => {
                let before = open.len();
                open.retain(|other| other != id);
                Ok(open.len() < before && heard["state"] != "answered")
            }
            "error" => {
                let error = heard["error"].as_str().unwrap_or_default();
                eprintln!("not taken: {error}");
                // It names the message that it is about, if it is about one.
                let before = open.len();
                open.retain(|id| !error.contains(id.as_str()));
                Ok(open.len() < before)
            }
            _ => Ok(false),
        }
    }

    async fn send(&mut self, line: &str) -> anyhow::Result<String> {
        let id = crate::ids::random_hex()?;
        let now = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        self.say(&json!({"type": "message", "jid": self.jid, "id": id, "sender": "owner",
            "sender_name": "You", "content": line, "timestamp": now, "is_group": false, "from_me": true}))
            .await?;
        Ok(id)
    }

    async fn say(&mut self, value: &Value) -> anyhow::Result<()> {
        let line = format!("{value}\n");
        self.writing.write_all(line.as_bytes()).await.context("the daemon hung up")
    }

    async fn hear(&mut self) -> anyhow::Result<Option<Value>> {
        match self.reading.next_line().await {
            Ok(Some(line)) => Ok(Some(serde_json::from_str(&line)?)),
            Ok(None) | Err(_) => Ok(None),
        }
    }
}

/// Lines of standard input, read on a thread of their own: a blocking read must
/// not keep the process from ending.
fn typed_lines() -> mpsc::Receiver<std::io::Result<String>> {
    let (lines, typed) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    typed
}

fn prompt(at_keyboard: bool) {
    if at_keyboard {
        print!("> ");
        let _ = std::io::stdout().flush();
    }
}

/// What an agent writes must not steer the terminal.
fn show(name: &str, text: &str, at_keyboard: bool) -> std::io::Result<()> {
    let clean = plain(text);
    let mut out = std::io::stdout().lock();
    if at_keyboard {
        write!(out, "\r\x1b[K{name}: {clean}\n> ")?;
    } else {
        writeln!(out, "{clean}")?;
    }
    out.flush()
}
