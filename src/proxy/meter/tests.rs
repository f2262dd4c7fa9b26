//! What is counted, of answers whole, cut, large and odd.

#![allow(clippy::unwrap_used)]
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
        web_searches: 0,
    }
}

/// For an answer to a question of ten bytes.
fn meter(book: &Arc<Book>, form: Form) -> Meter {
    let mut meter = Meter::new(book.clone(), Arc::new(AtomicU64::new(10)));
    meter.begin(form);
    meter
}

#[test]
fn a_stream_is_counted_once_however_it_is_cut() {
    for size in [1, 7, 64, STREAM.len()] {
        let book = Arc::new(Book::default());
        let mut meter = meter(&book, Form::Stream);
        STREAM.as_bytes().chunks(size).for_each(|c| meter.see(c));
        assert_eq!(book.take(), [expected()], "before the end is relayed, in pieces of {size}");
        drop(meter);
        assert_eq!(book.take(), []);
    }
}

#[test]
fn a_stream_that_is_cut_short_counts_what_was_reported_and_what_was_read() {
    let book = Arc::new(Book::default());
    let mut meter = meter(&book, Form::Stream);
    let cut = STREAM.find("data: {\"type\":\"message_delta\"").unwrap();
    meter.see(&STREAM.as_bytes()[..cut]);
    for delta in [r#""text":"äö""#, r#""thinking":"four""#, r#""partial_json":"{\"a\"""#] {
        let line = format!("data: {{\"type\":\"content_block_delta\",\"delta\":{{{delta}}}}}\n\n");
        meter.see(line.as_bytes());
    }
    assert_eq!(book.take(), []);
    drop(meter);
    // "message_delta usage" and the three: 19 + 4 + 4 + 4 bytes.
    assert_eq!(book.take(), [Usage { output_tokens: 11, ..expected() }]);
}

#[test]
fn hanging_up_before_anything_was_reported_saves_nothing() {
    let book = Arc::new(Book::default());
    let entered = |input_tokens, output_tokens| Usage {
        model: book.model(),
        input_tokens,
        output_tokens,
        ..Usage::default()
    };
    drop(meter(&book, Form::Stream));
    assert_eq!(book.take(), [entered(3, 0)], "as much as the question's bytes");
    // A document that is not waited for, or too long to be read.
    let mut cut = meter(&book, Form::Document);
    cut.see(b"{\"type\":\"message\",\"model\":\"claude-x\",\"usage\"");
    drop(cut);
    assert_eq!(book.take(), [entered(3, 15)]);
    let mut long = meter(&book, Form::Document);
    (0..40).for_each(|_| long.see(&vec![b'x'; MAX_LINE]));
    assert!(long.held.is_empty());
    drop(long);
    assert_eq!(book.take(), [entered(3, (40 * MAX_LINE as u64).div_ceil(3))]);
    // As the API last named it, so that the price is right.
    let mut whole = meter(&book, Form::Stream);
    whole.see(STREAM.as_bytes());
    drop((whole, meter(&book, Form::Stream)));
    assert_eq!(book.take()[1].model, "claude-x");
    // Nothing went out, or the model refused.
    drop(Meter::new(book.clone(), Arc::default()));
    meter(&book, Form::Stream).forget();
    assert_eq!(book.take(), []);
}

#[test]
fn several_runs_of_the_model_and_its_searches_are_counted() {
    let book = Arc::new(Book::default());
    let mut meter = meter(&book, Form::Document);
    meter.see(
        br#"{"model":"claude-x","usage":{"input_tokens":5,"output_tokens":6,"server_tool_use":{"web_search_requests":2},
            "iterations":[{"type":"compaction","input_tokens":100,"output_tokens":20},
            {"type":"message","input_tokens":5,"output_tokens":6,"cache_read_input_tokens":7}]}}"#,
    );
    drop(meter);
    assert_eq!(
        book.take(),
        [Usage {
            model: "claude-x".to_owned(),
            input_tokens: 105,
            output_tokens: 26,
            cache_read_tokens: 7,
            cache_write_tokens: 0,
            web_searches: 2,
        }]
    );
}

#[test]
fn a_document_is_counted() {
    let book = Arc::new(Book::default());
    let mut meter = meter(&book, Form::Document);
    let text = r#"{"type":"message","model":"claude-x","content":[],"usage":{"input_tokens":25,"output_tokens":15,
        "cache_read_input_tokens":11,"cache_creation_input_tokens":7,"service_tier":"standard"}}"#;
    text.as_bytes().chunks(10).for_each(|c| meter.see(c));
    meter.end();
    assert_eq!(book.take(), [expected()]);
}

#[test]
fn what_is_too_long_is_passed_over_without_being_held() {
    let book = Arc::new(Book::default());
    let mut meter = meter(&book, Form::Stream);
    let long = vec![b'x'; MAX_LINE];
    for _ in 0..10 {
        meter.see(&long);
        assert!(meter.held.len() <= MAX_LINE);
    }
    meter.see(b"\n");
    meter.see(STREAM.as_bytes());
    assert_eq!(book.take(), [expected()], "the lines after it still count");
}

#[test]
fn an_error_in_the_stream_is_noted() {
    let book = Arc::new(Book::default());
    let mut meter = meter(&book, Form::Stream);
    meter.see(b"data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n");
    assert_eq!(book.error(), Some(ModelError::BrokeOff("overloaded_error".to_owned())));
    book.succeeded();
    assert_eq!(book.error(), None);
}

use proptest::strategy::Strategy as _;

proptest::proptest! {
    /// Whatever a model's server sends, in whatever pieces.
    #[test]
    fn rubbish_is_counted_by_its_bytes_and_held_within_bounds(
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
        let mut meter = meter(&book, form);
        for piece in &pieces {
            meter.see(piece);
            proptest::prop_assert!(meter.held.len() <= pieces.concat().len());
        }
        drop(meter);
        let usage = book.take();
        let answer = if stream { 0 } else { pieces.concat().len() as u64 };
        proptest::prop_assert_eq!(usage.len(), 1);
        proptest::prop_assert_eq!(usage[0].input_tokens, 3);
        proptest::prop_assert_eq!(usage[0].output_tokens, answer.div_ceil(PER_OUTPUT));
    }
}
