//! What became of a history: counts of everything that must not happen, from what
//! people saw and from `explain`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::network::Shown;
use super::plan::{CHATS, Kind, Message, Plan};
use super::support::Home;

/// After so many attempts a turn ends, whoever interrupted them.
const ATTEMPTS_IN_ALL: u64 = 20;

/// Everything here should be empty.
#[derive(Default)]
pub struct Verdict {
    /// Acknowledged, called the agent, and is in no answer and no notice.
    pub lost: Vec<String>,
    /// Shown under more than one id.
    pub double: Vec<String>,
    /// Has no end in the ledger.
    pub silent: Vec<String>,
    /// Ended badly though nothing but the host was at fault.
    pub failed: Vec<String>,
    /// Answered before an earlier one of its chat.
    pub reordered: Vec<String>,
    /// Shown in a chat that did not ask.
    pub misplaced: Vec<String>,
    /// Came again under its id as something else.
    pub altered: Vec<String>,
    /// Processes, directories and groups of dead guests.
    pub orphaned: Vec<String>,
    /// The daemon did not do what it was told, or ended by itself.
    pub broken: Vec<String>,
}

impl Verdict {
    fn all(&self) -> [(&'static str, &Vec<String>); 9] {
        [
            ("lost", &self.lost),
            ("double", &self.double),
            ("silent", &self.silent),
            ("failed", &self.failed),
            ("reordered", &self.reordered),
            ("misplaced", &self.misplaced),
            ("altered", &self.altered),
            ("orphaned", &self.orphaned),
            ("broken", &self.broken),
        ]
    }

    pub fn is_clean(&self) -> bool {
        self.all().iter().all(|(_, found)| found.is_empty())
    }

    /// Each finding on a line.
    pub fn findings(&self) -> String {
        let lines = self.all().map(|(what, found)| {
            found.iter().map(|f| format!("{what}: {f}\n")).collect::<String>()
        });
        lines.concat()
    }

    /// Counts what happened to each message of `plan`. Where guests were `hurt`,
    /// messages may end in a notice, and one that waits for its next attempt may be
    /// overtaken.
    pub fn judge(&mut self, home: &Home, plan: &Plan, shown: &[Shown], hurt: bool) {
        let mut lives: HashMap<String, Vec<Value>> = HashMap::new();
        for message in &plan.messages {
            let told =
                lives.entry(message.id.clone()).or_insert_with(|| explain(home, &message.id));
            let chat = &CHATS[message.chat];
            let Some(life) = told.iter().find(|l| l["message"]["chat_jid"] == chat.jid) else {
                self.lost.push(format!("{} of {}: not in the ledger", message.id, chat.jid));
                continue;
            };
            let place = format!("{} ({}) of {}", message.id, message.token, chat.jid);
            let state = life["message"]["state"].as_str().unwrap_or_default();
            let turn = life["turn"]["state"].as_str().unwrap_or_default();
            let with: Vec<&Shown> =
                shown.iter().filter(|s| words(&s.text).any(|w| w == message.token)).collect();
            if with.iter().filter(|s| s.jid == chat.jid).count() > 1 {
                self.double.push(format!("{place}: {with:?}\n{life:#}"));
            }
            // One result for two chats of a group goes to both.
            let own = |jid: &str| CHATS.iter().any(|c| c.jid == jid && c.folder == chat.folder);
            if with.iter().any(|s| !own(&s.jid)) {
                self.misplaced.push(format!("{place}: {with:?}"));
            }
            let by_tool = [Kind::Tool, Kind::Send, Kind::Task].contains(&message.kind);
            if by_tool && with.len() > 1 {
                self.double.push(format!("{place}: {with:?}\n{life:#}"));
            }
            let notice = || {
                let rows = life["outbox"].as_array().into_iter().flatten();
                let ids: Vec<&Value> = rows
                    .filter(|r| r["key"] == "notice:failed")
                    .map(|r| &r["channel_id"])
                    .collect();
                ids.iter().any(|id| {
                    shown
                        .iter()
                        .any(|s| s.id == id.as_str().unwrap_or_default() && s.jid == chat.jid)
                })
            };
            let there = match message.kind {
                Kind::Tool => !with.is_empty(),
                Kind::Send => with.iter().any(|s| s.file == message.wanted()),
                Kind::Task => !with.is_empty() || self.was_not_due(home, message, shown, hurt),
                _ => with.iter().any(|s| s.jid == chat.jid),
            };
            if let Some(wrong) = brought(home, message) {
                self.lost.push(format!("{place}: {wrong}\n{life:#}"));
            }
            let fine = match (message.kind, state) {
                (Kind::Context, "context") => there || turn == "failed",
                (Kind::Context, _) => false,
                (_, "failed") => notice(),
                (Kind::Crash, _) => false,
                (Kind::Silent, "answered") => !there,
                (_, "answered") => there,
                _ => {
                    self.silent.push(format!("{place}: {life:#}"));
                    true
                }
            };
            if !fine {
                self.lost.push(format!("{place}: shown {with:?}\n{life:#}"));
            }
            // A turn that the daemon's end interrupts again and again is given up at last.
            let tried = life["turn"]["attempt"].as_u64().is_some_and(|n| n >= ATTEMPTS_IN_ALL);
            if state == "failed" && !hurt && !chat.odd && !tried {
                self.failed.push(format!("{place}: {life:#}"));
            }
        }
        if !hurt {
            self.order(plan, shown);
        }
        self.orphaned.extend(unnamed(home));
    }

    /// Whether a task need not have been said: it was refused, as past; or, where
    /// guests were hurt, its failure was told.
    fn was_not_due(&self, home: &Home, message: &Message, shown: &[Shown], hurt: bool) -> bool {
        let like = format!("prompt LIKE '%{}%'", message.token);
        let planned: i64 =
            home.ledger(&format!("SELECT count(*) FROM scheduled_tasks WHERE {like}"));
        planned == 0 || (hurt && shown.iter().any(|s| s.text.contains("The scheduled task")))
    }

    fn order(&mut self, plan: &Plan, shown: &[Shown]) {
        for (number, chat) in CHATS.iter().enumerate().filter(|(_, c)| !c.odd) {
            let mut latest: Option<usize> = None;
            for answer in shown.iter().filter(|s| s.jid == chat.jid && s.text.starts_with("echo: "))
            {
                for word in words(&answer.text) {
                    let asked = |m: &Message| m.chat == number && m.token == word;
                    let Some(place) = plan.messages.iter().position(asked) else { continue };
                    if latest.is_some_and(|l| l > place) {
                        self.reordered.push(format!(
                            "{word} of {} after {:?}",
                            chat.jid,
                            latest.map(|l| &plan.messages[l].token)
                        ));
                    }
                    latest = latest.max(Some(place));
                }
            }
        }
    }

    /// What guests left: to be called when no daemon runs.
    pub fn look_for_orphans(&mut self, home: &Home, when: &str) {
        let mut found: BTreeSet<String> =
            home.guests().iter().map(|pid| format!("process {pid}")).collect();
        for folder in directories(&home.path().join("data/ipc")) {
            let numbered = |d: &std::path::PathBuf| {
                d.file_name().is_some_and(|n| n.to_string_lossy().parse::<u64>().is_ok())
            };
            found.extend(
                directories(&folder).into_iter().filter(numbered).map(|d| d.display().to_string()),
            );
        }
        let ledger = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
        let install: String = ledger
            .query_row("SELECT value FROM settings WHERE key = 'install'", [], |r| r.get(0))
            .unwrap();
        groups(Path::new("/sys/fs/cgroup"), &format!("nanoclaw-{install}-"), 0, &mut found);
        self.orphaned.extend(found.into_iter().map(|what| format!("{when}: {what}")));
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.all().map(|(what, found)| format!("{what} {}", found.len()));
        f.write_str(&counts.join(", "))
    }
}

/// How much the ledger says has not ended.
pub fn open(home: &Home) -> i64 {
    home.ledger(
        "SELECT (SELECT count(*) FROM messages WHERE state IN ('queued', 'in_turn'))
              + (SELECT count(*) FROM turns WHERE state IN ('queued', 'running'))
              + (SELECT count(*) FROM scheduled_tasks WHERE status = 'active')
              + (SELECT count(*) FROM outbox WHERE state = 'pending')",
    )
}

/// What the ledger says was sent, and nobody saw.
pub fn unseen(home: &Home, shown: &[Shown]) -> Vec<String> {
    let sent: String = home.ledger(
        "SELECT coalesce(group_concat(channel_id), '') FROM outbox WHERE state IN ('sent', 'delivered')",
    );
    let seen: HashSet<&str> = shown.iter().map(|s| s.id.as_str()).collect();
    sent.split_terminator(',').filter(|id| !seen.contains(id)).map(str::to_owned).collect()
}

/// What is wrong with the file that a message brought.
fn brought(home: &Home, message: &Message) -> Option<String> {
    let wanted = message.file()?;
    let chat = &CHATS[message.chat];
    let named: Option<String> = home.ledger(&format!(
        "SELECT attachments ->> '$[0].path' FROM messages WHERE chat_jid = '{}' AND id = '{}'",
        chat.jid, message.id
    ));
    let Some(path) = named else { return Some("its file is not there".into()) };
    let found = std::fs::read(home.path().join("groups").join(chat.folder).join(&path));
    (found.ok() != Some(wanted)).then(|| format!("its file {path} is another"))
}

/// Copies and halves of copies that nothing names.
fn unnamed(home: &Home) -> Vec<String> {
    let named: String = home.ledger(
        "SELECT coalesce(group_concat(attachments), '') FROM
         (SELECT attachments FROM messages UNION ALL SELECT attachments FROM outbox)",
    );
    let files = home.path().join("data/files/out");
    let groups = directories(&home.path().join("groups"));
    let places = groups.iter().map(|g| g.join("attachments")).chain([files]);
    let names = |directory: &Path| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let copies = places.flat_map(|place| names(&place)).filter(|name| !named.contains(name));
    let voices = names(&home.path().join("data/files"));
    let voices = voices.into_iter().filter(|name| name.starts_with("whatsapp-voice-"));
    copies.chain(voices).map(|name| format!("file {name}")).collect()
}

fn explain(home: &Home, id: &str) -> Vec<Value> {
    let (code, out, error) = home.run(&["explain", id, "--json"]);
    // 3: no such message, which is a finding.
    assert!(code == 0 || code == 3, "explain {id}: {error}");
    serde_json::from_str(&out).unwrap_or_default()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
}

fn directories(of: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn groups(at: &Path, prefix: &str, depth: usize, found: &mut BTreeSet<String>) {
    for directory in directories(at) {
        if directory.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)) {
            found.insert(directory.display().to_string());
        } else if depth < 4 {
            groups(&directory, prefix, depth + 1, found);
        }
    }
}
