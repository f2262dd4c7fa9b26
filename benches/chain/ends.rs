//! The two ends of the chain: a client of the socket, and the stand-in alone.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{self, Home, pause, stand_in};

/// A client that does one thing at a time, in one thread.
pub struct Client {
    writing: UnixStream,
    lines: std::io::Lines<BufReader<UnixStream>>,
}

impl Client {
    pub fn connect(home: &Home) -> Client {
        let writing = UnixStream::connect(home.socket()).unwrap();
        writing.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let lines = BufReader::new(writing.try_clone().unwrap()).lines();
        let mut client = Client { writing, lines };
        client.write(&json!({"type": "hello", "channel": "bench", "prefix": "b:", "capabilities": ["status"]}));
        client.read("welcome");
        client
    }

    /// From the message to its answer. Returns when the chain is at rest again.
    pub fn ask(&mut self, id: &str) -> Duration {
        let line = support::message("b:1", id, "hello");
        let began = Instant::now();
        self.write(&line);
        let send = self.read("send");
        let taken = began.elapsed();
        self.write(&json!({"type": "sent", "id": send["id"]}));
        self.read("status");
        pause(Duration::from_millis(2));
        taken
    }

    fn write(&mut self, line: &Value) {
        self.writing.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn read(&mut self, kind: &str) -> Value {
        loop {
            let line: Value = serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
            assert_ne!(line["type"], "error", "{line}");
            if line["type"] == kind {
                return line;
            }
        }
    }
}

/// The stand-in without anything around it.
pub struct StandIn {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl StandIn {
    /// Starts it and has one answer, as a cold start does. And how long that took.
    pub fn start(home: &Home) -> (StandIn, Duration) {
        let began = Instant::now();
        let mut child = Command::new(stand_in())
            .env("CLAUDE_CONFIG_DIR", home.path().join("alone"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut alone = StandIn { child, lines };
        alone.exchange(&json!({"type": "control_request", "request_id": "i", "request": {"subtype": "initialize"}}), "control_response");
        alone.ask(0);
        (alone, began.elapsed())
    }

    pub fn ask(&mut self, n: usize) -> Duration {
        let prompt = "<messages><message sender=\"Ann\" time=\"Jan 1, 2026, 1:00 AM\">hello</message></messages>";
        let uuid = format!("00000000-0000-4000-8000-{n:012}");
        let line =
            json!({"type": "user", "uuid": uuid, "message": {"role": "user", "content": prompt}});
        self.exchange(&line, "result")
    }

    fn exchange(&mut self, line: &Value, until: &str) -> Duration {
        let began = Instant::now();
        self.child.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
        loop {
            let line: Value = serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
            if line["type"] == until {
                return began.elapsed();
            }
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
