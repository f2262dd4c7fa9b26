//! One run of the stand-in: what its user lines ask of it.

use std::time::{Duration, Instant};

use crate::out::{die, flood};
use crate::words::{Word, texts, words};

/// One run: the user lines that it works on.
pub struct Run {
    pub uuids: Vec<String>,
    pub answers: Vec<String>,
    pub until: Instant,
    pub hang: bool,
    pub deaf: bool,
    pub interrupted: bool,
    pub error: Option<u16>,
    pub retries: bool,
    pub background: Option<Duration>,
    pub compact: bool,
    pub asks: bool,
}

impl Run {
    pub fn new() -> Run {
        Run {
            uuids: Vec::new(),
            answers: Vec::new(),
            until: Instant::now(),
            hang: false,
            deaf: false,
            interrupted: false,
            error: None,
            retries: false,
            background: None,
            compact: false,
            asks: false,
        }
    }

    pub fn add(&mut self, uuid: String, text: &str) {
        self.uuids.push(uuid);
        self.compact |= text == "/compact";
        for text in texts(text) {
            let mut answer = format!("echo: {text}");
            let mut silent = false;
            for word in words(&text) {
                match word {
                    Word::Think(time) => self.until = self.until.max(Instant::now() + time),
                    Word::Say(said) => answer = said,
                    Word::Tool(call) => answer = format!("\0{call}"),
                    Word::Silent => silent = true,
                    Word::Hang => self.hang = true,
                    Word::Deaf => self.deaf = true,
                    Word::Crash => die("told to crash"),
                    Word::Flood => flood(),
                    Word::Error(status) => self.error = Some(status),
                    Word::Retry401 => {
                        (self.retries, self.error) = (true, Some(401));
                        self.until = Instant::now() + Duration::from_secs(10);
                    }
                    Word::Model => self.asks = true,
                    Word::Background(time) => self.background = Some(time),
                }
            }
            if silent {
                continue;
            }
            // One `echo:` for the whole run, then the messages.
            match answer.strip_prefix("echo: ") {
                Some(rest) if !self.answers.is_empty() => self.answers.push(rest.to_owned()),
                _ => self.answers.push(answer),
            }
        }
    }
}
