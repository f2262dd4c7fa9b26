//! What the model's answers cost, read from them as they pass.
//!
//! A [`Meter`] sees each chunk before the container does and keeps at most one
//! line of a stream, or one JSON document, up to a bound. It counts what the API
//! reports, never what the container says. Prices are not its business.

use std::sync::Arc;

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
}

/// Reads one answer of the model. The usage is in the book before the container
/// sees the end of the answer, and also when it does not wait for the end.
#[derive(Debug)]
pub(super) struct Meter {
    book: Arc<Book>,
    form: Form,
    held: Vec<u8>,
    overflow: bool,
    usage: Option<Usage>,
}

impl Meter {
    pub(super) fn new(book: Arc<Book>, form: Form) -> Meter {
        Meter { book, form, held: Vec::new(), overflow: false, usage: None }
    }

    /// Takes the next bytes of the answer.
    pub(super) fn see(&mut self, chunk: &[u8]) {
        match self.form {
            Form::Document => self.hold(chunk, MAX_DOCUMENT),
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
        self.book.failed(ModelError::BrokeOff(reason));
    }

    /// The answer is over, whole or not.
    pub(super) fn end(&mut self) {
        if self.form == Form::Document && !self.overflow {
            if let Ok(message) = serde_json::from_slice::<Message>(&self.held) {
                self.take(message);
            }
            self.held.clear();
        }
        if self.overflow && self.form == Form::Document {
            tracing::warn!("an answer of the model was too long to be metered");
        }
        if let Some(usage) = self.usage.take() {
            self.book.add(usage);
        }
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
        if !std::mem::take(&mut self.overflow) && matters(&line) {
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
                self.usage.get_or_insert_default().raise(&counts)
            }
            Ok(Event::MessageStop) => self.end(),
            Ok(Event::Error { error }) => self.book.failed(ModelError::BrokeOff(error.kind)),
            Ok(Event::MessageDelta { usage: None } | Event::Other) | Err(_) => {}
        }
    }

    fn take(&mut self, message: Message) {
        if let Some(counts) = message.usage {
            let usage = self.usage.get_or_insert_default();
            usage.model = message.model;
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
    /// The counts of a later event are totals, and may leave out some.
    fn raise(&mut self, counts: &Counts) {
        let raise = |mine: &mut u64, theirs: Option<u64>| *mine = (*mine).max(theirs.unwrap_or(0));
        raise(&mut self.input_tokens, counts.input_tokens);
        raise(&mut self.output_tokens, counts.output_tokens);
        raise(&mut self.cache_read_tokens, counts.cache_read_input_tokens);
        raise(&mut self.cache_write_tokens, counts.cache_creation_input_tokens);
    }
}

/// Most lines carry content; only those that can matter are parsed.
fn matters(line: &[u8]) -> bool {
    let names: [&[u8]; 4] = [b"message_start", b"message_delta", b"message_stop", b"error"];
    // `type` comes first in what the API writes, but that is not promised: look
    // at the whole line.
    line.starts_with(b"data:")
        && names.iter().any(|name| line.windows(name.len()).any(|w| w == *name))
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

#[derive(Deserialize)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = concat!(
        "event: message_start\n",
        r#"data: {"type":"message_start","message":{"id":"m","model":"claude-x","usage":{"input_tokens":25,"#,
        r#""cache_creation_input_tokens":7,"cache_read_input_tokens":11,"output_tokens":1}}}"#,
        "\n\nevent: content_block_delta\n",
        r#"data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"message_delta usage"}}"#,
        "\r\n\r\n",
        r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}"#,
        "\n\n",
        r#"data: {"type":"message_stop"}"#,
        "\n\n",
    );

    fn expected() -> Usage {
        Usage {
            model: "claude-x".to_owned(),
            input_tokens: 25,
            output_tokens: 15,
            cache_read_tokens: 11,
            cache_write_tokens: 7,
        }
    }

    #[test]
    fn a_stream_is_counted_once_however_it_is_cut() {
        for size in [1, 7, 64, STREAM.len()] {
            let book = Arc::new(Book::default());
            let mut meter = Meter::new(book.clone(), Form::Stream);
            STREAM.as_bytes().chunks(size).for_each(|c| meter.see(c));
            assert_eq!(book.take(), [expected()], "before the end is relayed, in pieces of {size}");
            drop(meter);
            assert_eq!(book.take(), []);
        }
    }

    #[test]
    fn a_stream_that_is_cut_short_counts_what_was_reported() {
        let book = Arc::new(Book::default());
        let mut meter = Meter::new(book.clone(), Form::Stream);
        meter.see(&STREAM.as_bytes()[..400]);
        assert_eq!(book.take(), []);
        drop(meter);
        assert_eq!(book.take(), [Usage { output_tokens: 1, ..expected() }]);
    }

    #[test]
    fn a_document_is_counted() {
        let book = Arc::new(Book::default());
        let mut meter = Meter::new(book.clone(), Form::Document);
        let text = r#"{"type":"message","model":"claude-x","content":[],"usage":{"input_tokens":25,"output_tokens":15,
            "cache_read_input_tokens":11,"cache_creation_input_tokens":7,"service_tier":"standard"}}"#;
        text.as_bytes().chunks(10).for_each(|c| meter.see(c));
        meter.end();
        assert_eq!(book.take(), [expected()]);
    }

    #[test]
    fn what_is_too_long_is_passed_over_without_being_held() {
        let book = Arc::new(Book::default());
        let mut meter = Meter::new(book.clone(), Form::Stream);
        let long = vec![b'x'; MAX_LINE];
        for _ in 0..10 {
            meter.see(&long);
            assert!(meter.held.len() <= MAX_LINE);
        }
        meter.see(b"\n");
        meter.see(STREAM.as_bytes());
        assert_eq!(book.take(), [expected()], "the lines after it still count");
        let mut meter = Meter::new(book.clone(), Form::Document);
        (0..=MAX_DOCUMENT / MAX_LINE).for_each(|_| meter.see(&long));
        assert!(meter.held.is_empty());
        drop(meter);
        assert_eq!(book.take(), []);
    }

    #[test]
    fn an_error_in_the_stream_is_noted() {
        let book = Arc::new(Book::default());
        let mut meter = Meter::new(book.clone(), Form::Stream);
        meter.see(b"data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n");
        assert_eq!(book.error(), Some(ModelError::BrokeOff("overloaded_error".to_owned())));
        book.succeeded();
        assert_eq!(book.error(), None);
    }

    use proptest::strategy::Strategy as _;

    proptest::proptest! {
        /// Whatever a model's server sends, in whatever pieces.
        #[test]
        fn rubbish_is_counted_as_nothing_and_held_within_bounds(
            pieces in proptest::collection::vec(proptest::prop_oneof![
                proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..40),
                proptest::sample::select(vec![
                    "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":", "-1}}}\n", "1e400}}}\n",
                    "data: {\"type\":\"error\"", "\n", "data: message_stop\n\n", "event: x\r\n",
                ]).prop_map(|text| text.as_bytes().to_vec()),
            ], 0..30),
            stream: bool,
        ) {
            let book = Arc::new(Book::default());
            let form = if stream { Form::Stream } else { Form::Document };
            let mut meter = Meter::new(book.clone(), form);
            for piece in &pieces {
                meter.see(piece);
                proptest::prop_assert!(meter.held.len() <= pieces.concat().len());
            }
            drop(meter);
            let counted: u64 = book.take().iter().map(|u| u.input_tokens + u.output_tokens).sum();
            proptest::prop_assert_eq!(counted, 0);
        }
    }
}
