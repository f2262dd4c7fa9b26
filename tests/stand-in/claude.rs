//! A stand-in for the Claude Code CLI: the same line protocol, no model.
//!
//! For tests where load, timing or faults matter. It answers `echo: ` and the
//! contents of the `<message>` elements it was given (or the whole text), and
//! obeys words in them:
//!
//! * `think:MS` works that long; what arrives meanwhile is folded into the run
//! * `say:TEXT` answers the rest of the message; `silent` answers the message
//!   with nothing
//! * `crash` ends the process; `hang` never ends the run, but obeys an
//!   interrupt; `deaf` does not even do that
//! * `flood` writes 100 MB of rubbish first
//! * `error:STATUS` ends in a model error; `retry401` retries a refused
//!   credential for ten seconds first
//! * `tool:NAME {json}` calls the MCP server of `--mcp-config` and answers with
//!   its words
//! * `model` asks the model first, and fails without an answer of it
//! * an image is answered by its type and the length of its base64
//! * `background:MS` starts a background task, whose end starts a run by itself
//!
//! `/compact` asks the PreCompact hook. `STANDIN_START` may be `crash`, `hang` or
//! `slow:MS`, and `STANDIN_MCP=failed` reports our server as failed.
#![allow(clippy::disallowed_methods)]

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::exit;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[path = "model.rs"]
mod model;
#[path = "out.rs"]
mod out;
#[path = "run.rs"]
mod run;
#[path = "tool.rs"]
mod tool;
#[path = "words.rs"]
mod words;

use out::{die, uuid, write};
use run::Run;
use words::text_of;

const VERSION: &str = "2.1.329-stand-in";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| {
        args.iter().find_map(|a| a.strip_prefix(flag)?.strip_prefix('=').map(str::to_owned))
    };
    if args.iter().any(|a| a == "--version") {
        return println!("{VERSION} (Claude Code)");
    }
    start_fault();
    let mut cli = Cli::open(value("--resume"), value("--mcp-config"));
    let (sender, events) = channel();
    read_stdin(sender.clone());
    cli.live(&events, &sender);
    exit(i32::from(cli.last_was_error));
}

fn start_fault() {
    match std::env::var("STANDIN_START").unwrap_or_default().split_once(':') {
        Some(("slow", ms)) => thread::sleep(millis(ms)),
        _ => match std::env::var("STANDIN_START").as_deref() {
            Ok("crash") => {
                eprintln!("stand-in: told to crash at the start");
                exit(1);
            }
            Ok("hang") => loop {
                thread::sleep(Duration::from_secs(3600));
            },
            _ => {}
        },
    }
}

fn millis(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap_or(0))
}

/// What the main loop waits for.
enum Event {
    Line(Value),
    /// Standard input closed.
    Closed,
    /// A background task ended.
    Woken(String),
}

fn read_stdin(sender: Sender<Event>) {
    thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { break };
            if line.trim().is_empty() {
                continue;
            }
            match serde_json::from_str(&line) {
                Ok(line) => drop(sender.send(Event::Line(line))),
                Err(_) => {
                    eprintln!("stand-in: malformed input");
                    exit(1);
                }
            }
        }
        let _ = sender.send(Event::Closed);
    });
}

struct Cli {
    session: String,
    transcript: File,
    path: PathBuf,
    seen: HashSet<String>,
    servers: BTreeMap<String, Value>,
    background: Vec<String>,
    hook: Option<String>,
    last_was_error: bool,
    closed: bool,
}

impl Cli {
    fn open(resume: Option<String>, config: Option<String>) -> Cli {
        let base = std::env::var("CLAUDE_CONFIG_DIR").unwrap_or_else(|_| ".claude".into());
        let cwd = std::env::current_dir().unwrap_or_default().display().to_string();
        let project: String =
            cwd.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let directory = PathBuf::from(base).join("projects").join(project);
        fs::create_dir_all(&directory)
            .unwrap_or_else(|e| die(&format!("{}: {e}", directory.display())));
        let session = resume.clone().unwrap_or_else(uuid);
        let path = directory.join(format!("{session}.jsonl"));
        let mut seen = HashSet::new();
        if resume.is_some() {
            let Ok(old) = fs::read_to_string(&path) else {
                let text = format!("No conversation found with session ID: {session}");
                eprintln!("{text}");
                write(
                    &json!({"type": "result", "subtype": "error_during_execution", "is_error": true,
                    "errors": [text], "session_id": session, "uuid": uuid()}),
                );
                exit(1);
            };
            let lines = old.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
            seen.extend(lines.filter_map(|l| l["uuid"].as_str().map(str::to_owned)));
        }
        let transcript = OpenOptions::new().create(true).append(true).open(&path);
        let config = config
            .and_then(|path| fs::read_to_string(path).ok())
            .and_then(|t| serde_json::from_str(&t).ok());
        let config: Value = config.unwrap_or_default();
        let servers = serde_json::from_value(config["mcpServers"].clone()).unwrap_or_default();
        Cli {
            session,
            transcript: transcript.unwrap_or_else(|e| die(&e.to_string())),
            path,
            seen,
            servers,
            background: Vec::new(),
            hook: None,
            last_was_error: false,
            closed: false,
        }
    }

    fn live(&mut self, events: &Receiver<Event>, sender: &Sender<Event>) {
        while !self.closed {
            match events.recv() {
                Ok(Event::Line(line)) => {
                    if let Some(run) = self.hear(&line, None) {
                        self.work(run, events, sender);
                    }
                }
                Ok(Event::Woken(task)) => self.woken(&task),
                Ok(Event::Closed) | Err(_) => self.closed = true,
            }
        }
    }

    /// Takes one line. A user line begins a run, or joins `run`.
    fn hear(&mut self, line: &Value, run: Option<&mut Run>) -> Option<Run> {
        match line["type"].as_str() {
            Some("control_request") => {
                let request = &line["request"];
                let answer = match request["subtype"].as_str() {
                    Some("initialize") => {
                        self.hook = request["hooks"]["PreCompact"][0]["hookCallbackIds"][0]
                            .as_str()
                            .map(str::to_owned);
                        json!({"commands": [], "claude_code_version": VERSION, "pid": std::process::id()})
                    }
                    Some("interrupt") => {
                        if let Some(run) = run {
                            run.interrupted = true;
                        }
                        json!({"still_queued": []})
                    }
                    _ => json!({}),
                };
                write(&json!({"type": "control_response", "response":
                    {"subtype": "success", "request_id": line["request_id"], "response": answer}}));
                None
            }
            Some("user") => {
                let uuid = line["uuid"].as_str().map_or_else(uuid, str::to_owned);
                let text = text_of(&line["message"]["content"]);
                if !self.seen.insert(uuid.clone()) {
                    self.lifecycle(&uuid, "completed");
                    return None;
                }
                let entry = json!({"type": "user", "uuid": uuid, "sessionId": self.session, "message": line["message"]});
                let _ = writeln!(self.transcript, "{entry}");
                self.lifecycle(&uuid, "queued");
                match run {
                    Some(run) => {
                        run.add(uuid, &text);
                        None
                    }
                    None => {
                        let mut run = Run::new();
                        run.add(uuid, &text);
                        Some(run)
                    }
                }
            }
            _ => None,
        }
    }

    fn work(&mut self, mut run: Run, events: &Receiver<Event>, sender: &Sender<Event>) {
        self.lifecycle(&run.uuids[0], "started");
        self.init();
        if run.compact {
            self.compact(events);
        }
        let (mut told, mut waiting) = (0, Vec::new());
        let mut retry = Instant::now();
        loop {
            if run.interrupted && !run.deaf {
                break;
            }
            if run.retries && Instant::now() >= retry {
                told += 1;
                retry += Duration::from_millis(500);
                write(
                    &json!({"type": "system", "subtype": "api_retry", "attempt": told, "max_retries": 20,
                    "retry_delay_ms": 500, "error_status": 401, "error": "authentication_failed"}),
                );
            }
            let now = Instant::now();
            if now >= run.until && !run.hang && !run.deaf {
                break;
            }
            let step = if run.hang || run.deaf { Duration::from_secs(1) } else { run.until - now };
            let known = run.uuids.len();
            match events.recv_timeout(step.min(Duration::from_millis(100))) {
                Ok(Event::Line(line)) => drop(self.hear(&line, Some(&mut run))),
                Ok(Event::Closed) => self.closed = true,
                Ok(Event::Woken(task)) => waiting.push(task),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            for uuid in &run.uuids[known..] {
                self.lifecycle(uuid, "started");
            }
        }
        self.finish(run, sender);
        for task in waiting {
            self.woken(&task);
        }
    }

    fn finish(&mut self, mut run: Run, sender: &Sender<Event>) {
        for uuid in &run.uuids[1..] {
            self.lifecycle(uuid, if run.interrupted { "cancelled" } else { "completed" });
        }
        let texts = std::mem::take(&mut run.answers);
        let mut text: Vec<String> = texts.into_iter().map(|t| self.answer(t)).collect();
        if run.compact {
            text.clear();
        }
        if let Some(error) = Some(run.asks).filter(|asks| *asks).and_then(|_| model::ask().err()) {
            die(&format!("no model: {error}"));
        }
        let text = text.join(" | ");
        let mut result = json!({"duration_ms": 1, "session_id": self.session, "uuid": uuid(), "num_turns": 1,
            "is_error": false, "subtype": "success", "result": text, "user_message_uuids": run.uuids,
            "total_cost_usd": 0, "type": "result"});
        if run.interrupted {
            result["subtype"] = json!("error_during_execution");
            result["is_error"] = json!(true);
            result["errors"] = json!(["interrupted by the user"]);
            result["result"] = Value::Null;
        } else if let Some(status) = run.error {
            result["is_error"] = json!(true);
            result["api_error_status"] = json!(status);
            result["result"] = json!(format!("API Error: {status} stand-in"));
        } else if !text.is_empty() {
            let message = json!({"role": "assistant", "content": [{"type": "text", "text": text}]});
            let _ = writeln!(
                self.transcript,
                "{}",
                json!({"type": "assistant", "uuid": uuid(), "message": message})
            );
            write(&json!({"type": "assistant", "message": message, "session_id": self.session}));
        }
        self.last_was_error = result["is_error"] == true;
        if let Some(time) = run.background {
            let task = uuid();
            self.background.push(task.clone());
            self.tell_background();
            let sender = sender.clone();
            thread::spawn(move || {
                thread::sleep(time);
                let _ = sender.send(Event::Woken(task));
            });
        }
        write(&result);
        self.lifecycle(&run.uuids[0], if run.interrupted { "cancelled" } else { "completed" });
    }

    /// An answer as it is, unless it begins with a tool's call.
    fn answer(&self, text: String) -> String {
        let Some(call) = text.strip_prefix('\0') else { return text };
        let (name, arguments) = call.split_once(' ').unwrap_or((call, "{}"));
        let arguments = serde_json::from_str(arguments)
            .unwrap_or_else(|e| json!({"unreadable": e.to_string()}));
        match self.servers.get("nanoclaw") {
            Some(server) => {
                tool::call(server, name, &arguments).unwrap_or_else(|e| format!("no tool: {e}"))
            }
            None => "no server nanoclaw".to_owned(),
        }
    }

    fn compact(&mut self, events: &Receiver<Event>) {
        let Some(hook) = self.hook.clone() else { return };
        let input = json!({"hook_event_name": "PreCompact", "transcript_path": self.path, "trigger": "manual",
            "session_id": self.session});
        write(&json!({"type": "control_request", "request_id": "hook-1", "request":
            {"subtype": "hook_callback", "callback_id": hook, "input": input}}));
        loop {
            match events.recv() {
                Ok(Event::Line(line)) if line["type"] == "control_response" => return,
                Ok(Event::Closed) | Err(_) => {
                    self.closed = true;
                    return;
                }
                Ok(_) => {}
            }
        }
    }

    /// The end of a background task starts a run by itself.
    fn woken(&mut self, task: &str) {
        self.background.retain(|t| t != task);
        write(
            &json!({"type": "system", "subtype": "task_notification", "task_id": task, "status": "completed"}),
        );
        self.tell_background();
        self.init();
        write(
            &json!({"type": "result", "subtype": "success", "is_error": false, "result": "background done",
            "session_id": self.session, "uuid": uuid(), "origin": {"kind": "task-notification"}}),
        );
    }

    fn tell_background(&self) {
        let tasks: Vec<Value> = self.background.iter().map(|t| json!({"task_id": t})).collect();
        write(&json!({"type": "system", "subtype": "background_tasks_changed", "tasks": tasks}));
    }

    fn init(&self) {
        let status = std::env::var("STANDIN_MCP").unwrap_or_else(|_| "connected".into());
        let servers: Vec<Value> =
            self.servers.keys().map(|n| json!({"name": n, "status": status})).collect();
        write(
            &json!({"type": "system", "subtype": "init", "session_id": self.session, "tools": ["Bash"],
            "mcp_servers": servers, "claude_code_version": VERSION, "uuid": uuid()}),
        );
    }

    fn lifecycle(&self, of: &str, state: &str) {
        write(
            &json!({"type": "command_lifecycle", "command_uuid": of, "state": state, "uuid": uuid(),
            "session_id": self.session}),
        );
    }
}
