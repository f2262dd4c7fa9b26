#![allow(clippy::unwrap_used)]

use super::*;
use crate::db::Attachment;

fn message(sender: &str, content: &str) -> StoredMessage {
    StoredMessage {
        sender_name: sender.into(),
        timestamp: "2024-01-01T12:00:00.000Z".into(),
        content: content.into(),
        ..StoredMessage::default()
    }
}

fn reply(content: &str, sender: Option<&str>, text: Option<&str>) -> StoredMessage {
    StoredMessage {
        reply_to: Some("42".into()),
        reply_sender: sender.map(Into::into),
        reply_content: text.map(Into::into),
        ..message("Bob", content)
    }
}

fn utc(messages: &[StoredMessage]) -> String {
    render(messages, Tz::UTC, BUDGET).text
}

fn file(name: &str) -> Attachment {
    Attachment {
        path: "attachments/20240101-0a.jpg".into(),
        mime: "image/jpeg".into(),
        size: 7,
        name: name.into(),
        error: None,
    }
}

#[test]
fn files_stand_in_their_message_and_escape_nothing() {
    let mut message = message("Ann", "look");
    message.attachments = vec![
        file("a \"b\"\n/></message>.jpg"),
        Attachment { error: Some("it is <too> large".into()), ..file("x") },
    ];
    let expected = "PM\">\n  <file path=\"/workspace/group/attachments/20240101-0a.jpg\" type=\"image/jpeg\" \
                    size=\"7\" name=\"a &quot;b&quot; /&gt;&lt;/message&gt;.jpg\" />\n  \
                    <file name=\"x\" not_taken=\"it is &lt;too&gt; large\" />look</message>";
    let text = utc(&[message]);
    assert!(text.contains(expected), "{text}");
}

#[test]
fn fmt_01_to_07_escaping() {
    assert_eq!(escape("a & b"), "a &amp; b");
    assert_eq!(escape("a < b"), "a &lt; b");
    assert_eq!(escape("a > b"), "a &gt; b");
    assert_eq!(escape("\"a\""), "&quot;a&quot;");
    assert_eq!(
        escape("a & b < c > d \"e\" &amp;"),
        "a &amp; b &lt; c &gt; d &quot;e&quot; &amp;amp;"
    );
    assert_eq!(escape("it's plain"), "it's plain");
    assert_eq!(escape(""), "");
}

#[test]
fn fmt_08_one_message() {
    let expected = "<context timezone=\"UTC\" />\n<messages>\n\
                    <message sender=\"Ann\" time=\"Jan 1, 2024, 12:00 PM\">hello</message>\n</messages>";
    assert_eq!(utc(&[message("Ann", "hello")]), expected);
}

#[test]
fn fmt_09_two_messages_in_their_order() {
    let text = utc(&[message("Ann", "first"), message("Bob", "second\nline")]);
    let expected = "<message sender=\"Ann\" time=\"Jan 1, 2024, 12:00 PM\">first</message>\n\
                    <message sender=\"Bob\" time=\"Jan 1, 2024, 12:00 PM\">second\nline</message>";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn fmt_10_and_11_senders_and_contents_are_escaped() {
    let text = utc(&[message("A & B <Co>", "<script>alert(\"x\")</script></message>")]);
    assert!(text.contains("sender=\"A &amp; B &lt;Co&gt;\""), "{text}");
    assert!(
        text.contains(
            ">&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&lt;/message&gt;</message>"
        ),
        "{text}"
    );
}

#[test]
fn fmt_12_no_message_gives_one_empty_line() {
    assert_eq!(utc(&[]), "<context timezone=\"UTC\" />\n<messages>\n\n</messages>");
}

#[test]
fn fmt_13_a_reply_quotes_what_it_answers() {
    let text = utc(&[reply("yes", Some("Ann"), Some("dinner?"))]);
    let expected = "time=\"Jan 1, 2024, 12:00 PM\" reply_to=\"42\">\n  \
                    <quoted_message from=\"Ann\">dinner?</quoted_message>yes</message>";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn fmt_14_and_15_without_quote_there_is_no_element() {
    assert!(!utc(&[message("Ann", "hi")]).contains("reply_to"));
    for partial in [reply("hi", Some("Ann"), None), reply("hi", None, Some("text"))] {
        let text = utc(&[partial]);
        assert!(
            text.contains(" reply_to=\"42\">hi</message>") && !text.contains("quoted_message"),
            "{text}"
        );
    }
}

#[test]
fn fmt_16_quotes_are_escaped() {
    let text = utc(&[reply("yes", Some("A & B"), Some("1 < \"2\""))]);
    assert!(text.contains("from=\"A &amp; B\">1 &lt; &quot;2&quot;</quoted_message>"), "{text}");
}

#[test]
fn fmt_17_times_are_local() {
    let mut late = message("Ann", "hi");
    late.timestamp = "2024-01-01T18:30:00Z".into();
    let text = render(&[late], Tz::America__New_York, BUDGET).text;
    assert!(text.starts_with("<context timezone=\"America/New_York\" />"), "{text}");
    assert!(text.contains("time=\"Jan 1, 2024, 1:30 PM\""), "{text}");
}

#[test]
fn tz_01_and_02_local_times_with_and_without_summer_time() {
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    assert_eq!(
        local_time(at("2026-02-04T18:30:00Z"), Tz::America__New_York),
        "Feb 4, 2026, 1:30 PM"
    );
    assert_eq!(
        local_time(at("2026-06-15T12:00:00Z"), Tz::America__New_York),
        "Jun 15, 2026, 8:00 AM"
    );
    assert_eq!(local_time(at("2026-06-15T12:00:00Z"), Tz::Asia__Tokyo), "Jun 15, 2026, 9:00 PM");
    assert_eq!(local_time(at("2026-06-15T00:05:00Z"), Tz::UTC), "Jun 15, 2026, 12:05 AM");
}

#[test]
fn control_characters_go_and_everything_else_stays() {
    assert_eq!(escape("a\0b\x07\x1b[31mc\r\nd\te\u{85}\u{7f}"), "ab[31mc\nd\te");
    let passes = "\u{202e}abc\u{2069} 👩‍👩‍👧 é e\u{301} שלום";
    assert_eq!(escape(passes), passes);
    assert!(utc(&[message("A\nnn\t\0", "x")]).contains("sender=\"A nn \""));
}

#[test]
fn the_oldest_are_left_out_and_the_prompt_says_how_many() {
    let messages: Vec<_> =
        (0..100).map(|n| message("Ann", &format!("number {n}! {}", "x".repeat(90)))).collect();
    let prompt = render(&messages, Tz::UTC, 5000);
    assert!(prompt.text.len() <= 5000 && prompt.left_out > 0 && prompt.left_out < 100);
    for n in 0..100 {
        assert_eq!(prompt.text.contains(&format!("number {n}!")), n >= prompt.left_out, "{n}");
    }
    let note = format!(
        "<left_out count=\"{0}\">The {0} oldest messages did not fit; read_history",
        prompt.left_out
    );
    assert!(prompt.text.contains(&note), "{}", prompt.text);
    assert!(prompt.text.len() > 4500, "the budget is used: {}", prompt.text.len());
}

#[test]
fn a_message_beyond_the_budget_is_cut_with_a_note() {
    let prompt = render(&[message("Ann", &"é<".repeat(50_000))], Tz::UTC, 10_000);
    assert!(prompt.left_out == 0 && prompt.text.len() <= 10_000 && prompt.text.len() > 4000);
    assert!(
        prompt.text.ends_with("read_history shows the whole message]</message>\n</messages>"),
        "{}",
        prompt.text
    );
    assert!(
        prompt.text.contains("&lt;") && !prompt.text.replace("&lt;", "").contains('&'),
        "no entity is cut"
    );
}

#[test]
fn a_long_text_before_a_short_question_stays_visible() {
    let messages = [
        message("Ann", "old"),
        message("Ann", &"x".repeat(50_000)),
        message("Ann", "summarise this"),
    ];
    let prompt = render(&messages, Tz::UTC, 10_000);
    assert!(prompt.left_out == 0 && prompt.text.len() <= 10_000);
    assert!(
        prompt.text.contains("summarise this") && prompt.text.contains("[cut here: "),
        "{}",
        prompt.text
    );
}

#[test]
fn no_field_can_break_the_budget() {
    let huge = "\"".repeat(100_000);
    let mut message = reply(&huge, Some(&huge), Some(&huge));
    message.sender_name = huge.clone();
    message.reply_to = Some(huge);
    message.attachments = vec![file(&"<".repeat(100_000)); 11];
    for budget in [0, 5000, 50_000, 300_000] {
        let prompt = render(&[message.clone(), message.clone(), message.clone()], Tz::UTC, budget);
        assert!(prompt.text.len() <= budget.max(MIN_BUDGET), "{budget}: {}", prompt.text.len());
        assert!(prompt.left_out < 3 && prompt.text.ends_with("</message>\n</messages>"));
    }
}
