//! A scripted Messages API on a Unix socket, for the real CLI.
//!
//! It looks at the texts after the last answer. `TOOL name {json} END` calls a
//! tool, `STATUS400 END` fails, anything else is answered by `ok`; a tool's
//! result is answered by `after: ` and the result.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// The bodies of all requests, in order.
pub type Log = Arc<Mutex<Vec<Value>>>;

pub fn listen(path: &Path) -> Log {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).unwrap();
    let log = Log::default();
    let shared = log.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let log = shared.clone();
            thread::spawn(move || serve(stream, &log));
        }
    });
    log
}

/// Serves one connection until it closes.
fn serve(stream: UnixStream, log: &Log) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).ok().filter(|&n| n > 0)?;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
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
        let (status, kind, text) = match serde_json::from_slice::<Value>(&body) {
            Ok(body) if first.starts_with("POST /v1/messages") => {
                let reply = reply(&body);
                log.lock().unwrap().push(body);
                reply
            }
            _ => (404, "application/json", "{}".into()),
        };
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(text.as_bytes())).ok()?;
    }
}

fn reply(body: &Value) -> (u16, &'static str, String) {
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let asked = messages.iter().rposition(|m| m["role"] == "assistant").map_or(0, |at| at + 1);
    let text = texts(&messages[asked..]);
    let result =
        messages[asked..].iter().flat_map(|m| m["content"].as_array().into_iter().flatten());
    let result = result
        .filter(|p| p["type"] == "tool_result")
        .map(|p| texts_of(&p["content"]))
        .collect::<String>();
    if let Some(status) = between(&text, "STATUS", " END").and_then(|s| s.parse().ok()) {
        let error =
            json!({"type": "error", "error": {"type": "scripted_error", "message": "scripted"}});
        return (status, "application/json", error.to_string());
    }
    let (block, delta, stop) = match between(&text, "TOOL ", " END").and_then(|c| c.split_once(' '))
    {
        Some((name, input)) if result.is_empty() => (
            json!({"type": "tool_use", "id": format!("toolu_{}", messages.len()), "name": name, "input": {}}),
            json!({"type": "input_json_delta", "partial_json": input}),
            "tool_use",
        ),
        _ => {
            let said = if result.is_empty() { "ok".to_owned() } else { format!("after: {result}") };
            (
                json!({"type": "text", "text": ""}),
                json!({"type": "text_delta", "text": said}),
                "end_turn",
            )
        }
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

/// All texts in `messages`, joined.
pub fn texts(messages: &[Value]) -> String {
    messages.iter().map(|m| texts_of(&m["content"]) + "\n").collect()
}

fn texts_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = &text[text.find(start)? + start.len()..];
    Some(&rest[..rest.find(end)?])
}
