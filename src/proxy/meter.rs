//! What the model's answers cost, read from them as they pass.
//!
//! A [`Meter`] sees each chunk before the container does and keeps at most one
//! line of a stream, or one JSON document, up to a bound. It counts what the API
//! reports, never what the container says. What the API was not heard to report,
//! since the container hung up or the answer broke off, is taken from the bytes that
//! passed, so that hanging up saves nothing. Prices are not its business.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use super::book::{Book, ModelError, Usage};

/// The longest line of a stream that may hold usage, in bytes; longer ones carry
/// content.
const MAX_LINE: usize = 256 * 1024;
/// The largest document that is read for its usage. The longest answer that a
/// model can give is a fraction of it.
const MAX_DOCUMENT: usize = 8 * 1024 * 1024;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Server-sent events.
    Stream,
    /// One JSON document.
    Document,
    /// Not by the model, but by something on the way to it.
    Page,
}

/// Bytes for a token of the prompt, where none are reported.
const PER_INPUT: u64 = 4;
/// Bytes for a token of the answer, where none are reported.
const PER_OUTPUT: u64 = 3;

/// Reads one answer of the model. The usage is in the book before the container
/// sees the end of the answer, and also when it does not wait for the end.
#[derive(Debug)]
pub(super) struct Meter {
    book: Arc<Book>,
    form: Form,
    held: Vec<u8>,
    overflow: bool,
    /// What the API said so far; nothing once it is in the book.
    usage: Option<Usage>,
    /// Whether it said what the prompt took, and what the whole answer took.
    told: (bool, bool),
    /// Bytes of the question that went out.
    sent: Arc<AtomicU64>,
    /// Bytes of the answer's content.
    content: u64,
}

impl Meter {
    /// For a question that goes out now; `sent` counts its bytes.
    pub(super) fn new(book: Arc<Book>, sent: Arc<AtomicU64>) -> Meter {
        let usage = Some(Usage { model: book.model(), ..Usage::default() });
        Meter {
            book,
            form: Form::Document,
            held: Vec::new(),
            overflow: false,
            usage,
            told: (false, false),
            sent,
            content: 0,
        }
    }

    /// The answer begins.
    pub(super) fn begin(&mut self, form: Form) {
        self.form = form;
        if form == Form::Page {
            self.forget();
        }
    }

    /// What comes is no answer of the model, which takes nothing for it.
    pub(super) fn forget(&mut self) {
        self.usage = None;
    }

    /// Takes the next bytes of the answer.
    pub(super) fn see(&mut self, chunk: &[u8]) {
        match self.form {
            Form::Page => {}
            Form::Document => {
                self.content += chunk.len() as u64;
                self.hold(chunk, MAX_DOCUMENT);
            }
            Form::Stream => {
                let mut lines = chunk.split(|&b| b == b'\n');
                // `split` yields at least one piece; the last has no line end yet.
                let mut piece = lines.next().unwrap_or_default();
                for next in lines {
                    self.hold(piece, MAX_LINE);
                    self.line();
                    piece = next;
                }
                self.hold(piece, MAX_LINE);
            }
        }
    }

    /// The answer broke off.
    pub(super) fn broke_off(&self, reason: String) {
        if self.usage.is_some() {
            self.book.failed(ModelError::BrokeOff(reason));
        }
    }

    /// The answer is over, whole or not.
    pub(super) fn end(&mut self) {
        if self.form == Form::Document && !self.overflow {
            if let Ok(message) = serde_json::from_slice::<Message>(&self.held) {
                self.told.1 = message.usage.is_some();
                self.take(message);
            }
            self.held.clear();
        }
        let Some(mut usage) = self.usage.take() else { return };
        if !self.told.0 {
            usage.input_tokens = self.sent.load(Ordering::Relaxed).div_ceil(PER_INPUT);
        }
        if !self.told.1 {
            usage.output_tokens = usage.output_tokens.max(self.content.div_ceil(PER_OUTPUT));
        }
        self.book.add(usage);
    }

    fn hold(&mut self, bytes: &[u8], limit: usize) {
        if self.overflow || self.held.len() + bytes.len() > limit {
            self.overflow = true;
            self.held.clear();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }

    fn line(&mut self) {
        let line = std::mem::take(&mut self.held);
        if !std::mem::take(&mut self.overflow) {
            self.event(&line);
        }
        // Keeps the allocation for the next line.
        self.held = line;
        self.held.clear();
    }

    fn event(&mut self, line: &[u8]) {
        let data = line.strip_prefix(b"data:").unwrap_or_default();
        match serde_json::from_slice(data) {
            Ok(Event::MessageStart { message }) => self.take(message),
            Ok(Event::MessageDelta { usage: Some(counts) }) => {
                self.told.1 |= counts.output_tokens.is_some();
                if let Some(usage) = &mut self.usage {
                    usage.raise(&counts);
                }
            }
            Ok(Event::ContentBlockDelta { delta }) => self.content += delta.bytes(),
            Ok(Event::MessageStop) => self.end(),
            Ok(Event::Error { error }) => self.book.failed(ModelError::BrokeOff(error.kind)),
            Ok(Event::MessageDelta { usage: None } | Event::Other) | Err(_) => {}
        }
    }

    fn take(&mut self, message: Message) {
        let Some(usage) = &mut self.usage else { return };
        if !message.model.is_empty() {
            usage.model = message.model;
        }
        if let Some(counts) = message.usage {
            self.told.0 |= counts.input_tokens.is_some();
            usage.raise(&counts);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.end();
    }
}

impl Usage {
    /// The counts of a later event are totals, and may leave out some. Where the
    /// model ran several times for one answer, the totals may be those of the last.
    fn raise(&mut self, counts: &Counts) {
        let raise = |mine: &mut u64, of: fn(&Counts) -> Option<u64>| {
            let runs = counts.iterations.iter().flatten().filter_map(of);
            let sum = runs.fold(0, u64::saturating_add);
            *mine = (*mine).max(of(counts).unwrap_or(0)).max(sum);
        };
        raise(&mut self.input_tokens, |c| c.input_tokens);
        raise(&mut self.output_tokens, |c| c.output_tokens);
        raise(&mut self.cache_read_tokens, |c| c.cache_read_input_tokens);
        raise(&mut self.cache_write_tokens, |c| c.cache_creation_input_tokens);
        raise(&mut self.web_searches, |c| c.server_tool_use.as_ref()?.web_search_requests);
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Message,
    },
    MessageDelta {
        usage: Option<Counts>,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    MessageStop,
    Error {
        error: Reason,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    model: String,
    usage: Option<Counts>,
}

/// What the model wrote; one of these.
#[derive(Deserialize)]
struct Delta {
    text: Option<String>,
    thinking: Option<String>,
    partial_json: Option<String>,
    signature: Option<String>,
}

impl Delta {
    fn bytes(&self) -> u64 {
        let parts = [&self.text, &self.thinking, &self.partial_json, &self.signature];
        parts.into_iter().flatten().map(|part| part.len() as u64).sum()
    }
}

#[derive(Deserialize)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    server_tool_use: Option<ServerTools>,
    /// Each run of the model, where there were several.
    iterations: Option<Vec<Counts>>,
}

#[derive(Deserialize)]
struct ServerTools {
    web_search_requests: Option<u64>,
}

#[cfg(test)]
mod tests;
