//! A network behind the socket channel, as networks are: it keeps what the daemon
//! has not acknowledged and says it again, shows each id once, does not confirm
//! everything, and outlives every daemon.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use super::plan::Random;
use super::support::{Home, message, pause};

/// One text that people saw.
#[derive(Clone, Debug)]
pub struct Shown {
    pub jid: String,
    pub id: String,
    pub text: String,
    /// The file that came with it.
    pub file: Option<Vec<u8>>,
}

/// What the network remembers.
#[derive(Default)]
pub struct Memory {
    /// (chat, id, line, acknowledged), in the order in which people wrote.
    pub written: Vec<(String, String, Value, bool)>,
    /// In order of arrival, one an id.
    pub shown: Vec<Shown>,
    /// How often an id came again.
    pub repeats: usize,
    /// Ids that came again with another text or for another chat.
    pub altered: Vec<String>,
    /// Errors of the daemon.
    pub errors: Vec<String>,
    /// Times that a send was refused for now, by id.
    refused: HashMap<String, usize>,
    welcomes: usize,
    /// Draws what is confirmed; everything, if there is none.
    moods: Option<u64>,
}

/// The network of one prefix.
pub struct Network {
    prefix: &'static str,
    memory: Arc<(Mutex<Memory>, Condvar)>,
    stream: Option<UnixStream>,
}

impl Network {
    pub fn new(prefix: &'static str) -> Network {
        Network { prefix, memory: Arc::default(), stream: None }
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.0.lock().unwrap()
    }

    /// Connects and says again what was not acknowledged. What it confirms depends
    /// on `moods` and the text alone.
    pub fn connect(&mut self, home: &Home, moods: Option<u64>) {
        let stream = UnixStream::connect(home.socket()).unwrap();
        let (reading, writing, memory) =
            (stream.try_clone().unwrap(), stream.try_clone().unwrap(), self.memory.clone());
        self.memory().moods = moods;
        std::thread::spawn(move || listen(reading, writing, &memory));
        self.stream = Some(stream);
        let hello = json!({"type": "hello", "channel": "net", "prefix": self.prefix, "capabilities": ["files"]});
        let welcomes = self.memory().welcomes;
        let errors = self.memory().errors.len();
        while self.memory().welcomes == welcomes {
            self.line(&hello);
            self.until("the welcome", |m| m.welcomes > welcomes || m.errors.len() > errors);
            // The daemon may not have seen the end of the connection before.
            if self.memory().errors.pop_if(|e| e.contains("is held by")).is_some() {
                pause(Duration::from_millis(20));
            }
        }
        let again: Vec<Value> =
            self.memory().written.iter().filter(|w| !w.3).map(|w| w.2.clone()).collect();
        again.iter().for_each(|line| self.line(line));
    }

    /// Forgets the connection.
    pub fn disconnect(&mut self) {
        if let Some(stream) = self.stream.take() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Somebody writes, or the network repeats what somebody wrote. `file` lies in
    /// the directory of files.
    pub fn write(&self, jid: &str, id: &str, content: &str, file: Option<&str>) {
        let mut line = message(jid, id, content);
        if let Some(path) = file {
            line["attachments"] = json!([{"path": path, "mime": "image/png", "name": path}]);
        }
        {
            let mut memory = self.memory();
            if !memory.written.iter().any(|(j, i, ..)| j == jid && i == id) {
                memory.written.push((jid.into(), id.into(), line.clone(), false));
            }
        }
        self.line(&line);
    }

    fn line(&self, line: &Value) {
        if let Some(mut stream) = self.stream.as_ref() {
            // A daemon that is gone gets it from the next connection.
            let _ = stream.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Waits for up to a minute.
    pub fn until(&self, what: &str, done: impl Fn(&Memory) -> bool) {
        let (lock, changed) = &*self.memory;
        let memory = lock.lock().unwrap();
        let (memory, waited) =
            changed.wait_timeout_while(memory, Duration::from_secs(60), |m| !done(m)).unwrap();
        assert!(!waited.timed_out(), "waited for {what}; errors: {:?}", memory.errors);
    }
}

fn listen(reading: UnixStream, mut writing: UnixStream, memory: &(Mutex<Memory>, Condvar)) {
    let mut reading = BufReader::new(reading);
    let mut text = String::new();
    loop {
        text.clear();
        // A line without its end is one that the daemon's end cut off.
        match reading.read_line(&mut text) {
            Ok(_) if text.ends_with('\n') => {}
            _ => return,
        }
        let line: Value = serde_json::from_str(&text).unwrap();
        let field = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let mut heard = memory.0.lock().unwrap();
        let answer = match field("type").as_str() {
            "send" => {
                let path = line["attachments"][0]["path"].as_str();
                let file = path.map(|path| std::fs::read(path).unwrap_or_default());
                heard.send(Shown { jid: field("jid"), id: field("id"), text: field("text"), file })
            }
            "ack" => {
                let (jid, id) = (field("jid"), field("id"));
                heard
                    .written
                    .iter_mut()
                    .filter(|w| w.0 == jid && w.1 == id)
                    .for_each(|w| w.3 = true);
                None
            }
            "error" => {
                heard.errors.push(field("error"));
                None
            }
            "welcome" => {
                heard.welcomes += 1;
                None
            }
            _ => None,
        };
        drop(heard);
        memory.1.notify_all();
        if let Some(answer) = answer {
            let _ = writing.write_all(format!("{answer}\n").as_bytes());
        }
    }
}

impl Memory {
    /// Shows a text and says what the network answers: that it was sent, nothing,
    /// or, once, that it cannot be sent now.
    fn send(&mut self, new: Shown) -> Option<Value> {
        let mood = self.moods.map_or(usize::MAX, |moods| {
            let text = new
                .text
                .bytes()
                .fold(moods, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
            Random(text).below(16)
        });
        if mood == 0 && !self.refused.contains_key(&new.id) {
            self.refused.insert(new.id.clone(), 1);
            return Some(
                json!({"type": "failed", "id": new.id, "error": "busy", "retryable": true}),
            );
        }
        let sent = json!({"type": "sent", "id": new.id});
        match self.shown.iter().find(|s| s.id == new.id) {
            None => self.shown.push(new),
            Some(old) => {
                self.repeats += 1;
                if (&old.text, &old.jid, &old.file) != (&new.text, &new.jid, &new.file) {
                    self.altered.push(new.id);
                }
            }
        }
        (mood >= 6).then_some(sent)
    }
}
