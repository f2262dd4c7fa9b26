//! A stand-in for the Messages API on loopback. It can refuse, fail, answer, and
//! have the agent run a command.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What it does with the next questions.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers with this status and no answer.
    Refuse(u16),
    /// Answers this.
    Say(&'static str),
    /// Has the agent run a command, and answers with what it printed.
    Bash(String),
    /// Answers these bytes, whatever they are, and hangs up.
    Raw(&'static str),
    /// Begins this answer and hangs up in the middle of it.
    Cut(&'static str),
    /// Takes the question and says nothing.
    Silence,
}

/// One request: its headers as they came, and its body.
#[derive(Clone)]
pub struct Asked {
    pub head: String,
    pub body: Value,
}

/// The API.
pub struct Api {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    act: Mutex<Act>,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
}

impl Api {
    pub fn start(act: Act) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            act: Mutex::new(act),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let served = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                served.connections.fetch_add(1, Ordering::SeqCst);
                let shared = served.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Api { port, shared }
    }

    /// For `ANTHROPIC_BASE_URL`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn act(&self, act: Act) {
        *self.shared.act.lock().unwrap() = act;
    }

    /// Every request for an answer so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Connections that it took.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

/// Serves one connection until it closes.
fn serve(stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (mut head, mut length) = (String::new(), 0);
        reader.read_line(&mut head).ok().filter(|&n| n > 0)?;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            head += &header;
            if header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let act = shared.act.lock().unwrap().clone();
        let (status, kind, text) = reply(&act, &body);
        shared.asked.lock().unwrap().push(Asked { head, body });
        match act {
            Act::Raw(bytes) => {
                writer.write_all(bytes.as_bytes()).ok()?;
                return writer.shutdown(Shutdown::Both).ok();
            }
            // Until the other side has had enough.
            Act::Silence => return reader.read(&mut [0]).ok().map(drop),
            _ => {}
        }
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        let half = if matches!(act, Act::Cut(_)) { text.len() / 2 } else { text.len() };
        writer
            .write_all(head.as_bytes())
            .and_then(|()| writer.write_all(&text.as_bytes()[..half]))
            .ok()?;
        if half < text.len() {
            return writer.shutdown(Shutdown::Both).ok();
        }
    }
}

fn reply(act: &Act, body: &Value) -> (u16, &'static str, String) {
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let asked = messages.iter().rposition(|m| m["role"] == "assistant").map_or(0, |at| at + 1);
    let parts =
        messages[asked..].iter().flat_map(|m| m["content"].as_array().cloned().unwrap_or_default());
    let result: Vec<String> =
        parts.filter(|p| p["type"] == "tool_result").map(|p| texts_of(&p["content"])).collect();
    let (block, delta, stop) = match act {
        Act::Refuse(status) => {
            let kind = if *status == 401 { "authentication_error" } else { "api_error" };
            let error = json!({"type": "error", "error": {"type": kind, "message": "scripted"}});
            return (*status, "application/json", error.to_string());
        }
        Act::Bash(command) if result.is_empty() => (
            json!({"type": "tool_use", "id": format!("toolu_{}", messages.len()), "name": "Bash", "input": {}}),
            json!({"type": "input_json_delta", "partial_json": json!({"command": command}).to_string()}),
            "tool_use",
        ),
        Act::Bash(_) => spoken(&format!("after: {}", result.concat())),
        Act::Say(text) | Act::Cut(text) | Act::Raw(text) => spoken(text),
        Act::Silence => spoken(""),
    };
    let message = json!({"id": format!("msg_{}", messages.len()), "type": "message", "role": "assistant",
        "model": body["model"], "content": [], "stop_reason": null, "usage": {"input_tokens": 5, "output_tokens": 1}});
    let events = [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 3}}),
        json!({"type": "message_stop"}),
    ];
    let lines = events
        .iter()
        .map(|e| format!("event: {}\ndata: {e}\n\n", e["type"].as_str().unwrap_or_default()));
    (200, "text/event-stream", lines.collect())
}

fn spoken(text: &str) -> (Value, Value, &'static str) {
    (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": text}), "end_turn")
}

fn texts_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect(),
        _ => String::new(),
    }
}
