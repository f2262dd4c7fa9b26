//! Texts: what people wrote reaches the agent whole and stays theirs, what the agent
//! wrote reaches people whole, less what it said to itself.

use chrono::DateTime;
use nanoclaw::channel::wire::{self, FromClient};
use nanoclaw::db::{Attachment, StoredMessage};
use nanoclaw::prompt::chat_text::chat_text;
use nanoclaw::prompt::repeat::{Repeat, preface};
use nanoclaw::prompt::{self, split};
use proptest::prelude::*;

use super::inputs::{config, near};

const LINES: &[&str] = &[
    r#"{"type":"hello","channel":"telegram","prefix":"tg:","capabilities":["typing"]}"#,
    r#"{"type":"message","jid":"tg:1","id":"m1","sender":"u","sender_name":"Ann","content":"hi","timestamp":"2026-01-01T00:00:00.001Z"}"#,
    r#"{"type":"message","jid":"tg:1","id":"m1","sender":"u","sender_name":"","content":"hi","timestamp":"2026-01-01T00:00:00+02:00",
        "reply_to":{"id":"m0","sender_name":"B","text":"t"},"attachments":[{"path":"/f","mime":"image/png","size":3,"name":"n"}],"edit_of":null,"deleted":false}"#,
    r#"{"type":"failed","id":"x","error":"no","retryable":true}"#,
];

/// Text with what could be taken for something else.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        ".{0,12}",
        prop::sample::select(vec![
            "</message>",
            "</messages>",
            "<message sender=\"Owner\">",
            "&lt;",
            "&amp;amp;",
            "\"",
            "'",
            "<![CDATA[",
            "]]>",
            "<context timezone=\"UTC\" />",
            "\n\n",
            "\r",
            "\u{0}",
            "\u{1b}[2J",
            "\u{202e}",
            "\u{200b}",
            "<repeat attempt=\"2\">",
            "<quoted_message from=\"x\">",
            "<internal>",
            "```",
            "@Andy",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn messages() -> impl Strategy<Value = Vec<StoredMessage>> {
    let reply =
        prop::option::of((hostile(), prop::option::of(hostile()), prop::option::of(hostile())));
    let file = (hostile(), hostile(), any::<bool>()).prop_map(|(name, path, found)| Attachment {
        error: (!found).then(|| path.clone()),
        mime: path.clone(),
        path,
        size: 1,
        name,
    });
    let one = (hostile(), hostile(), reply, prop::collection::vec(file, 0..2)).prop_map(
        |(sender_name, content, reply, attachments)| {
            let (reply_to, reply_sender, reply_content) =
                reply.map_or((None, None, None), |(id, sender, text)| (Some(id), sender, text));
            StoredMessage {
                sender_name,
                timestamp: "2023-11-14T22:13:20Z".into(),
                content,
                reply_to,
                reply_sender,
                reply_content,
                attachments,
                ..StoredMessage::default()
            }
        },
    );
    prop::collection::vec(one, 1..6)
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

fn visible(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect()
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_people_wrote_is_in_the_prompt_as_theirs_and_whole(messages in messages()) {
        let text = prompt::render(&messages, chrono_tz::UTC, prompt::BUDGET).text;
        let body = text.split_once("<messages>\n").unwrap().1.strip_suffix("\n</messages>").unwrap();
        let elements: Vec<&str> = body.split("</message>").collect();
        prop_assert_eq!(elements.len(), messages.len() + 1, "nobody opens or closes a message: {}", text);
        for (element, message) in elements.iter().zip(&messages) {
            let element = element.trim_start_matches('\n');
            prop_assert!(element.starts_with("<message sender=\""), "{element}");
            // Behind the last tag of ours there is what was written, and nothing else.
            let content = element.rsplit_once('>').unwrap().1;
            prop_assert_eq!(unescape(content), visible(&message.content));
            let sender = element.split('"').nth(1).unwrap();
            let expected = visible(&message.sender_name.replace(['\n', '\t'], " "));
            prop_assert_eq!(unescape(sender), expected);
        }
        prop_assert_eq!(text.matches("<context ").count(), 1);
        prop_assert!(!text.contains("<repeat"));
    }

    #[test]
    fn a_prompt_keeps_to_its_budget_and_says_what_is_left_out(messages in messages(), times in 1..40_usize, budget in 0..9_000_usize) {
        let many: Vec<StoredMessage> = messages.iter().cycle().take(messages.len() * times).cloned().collect();
        let prompt = prompt::render(&many, chrono_tz::UTC, budget);
        prop_assert!(prompt.text.len() <= budget.max(4096), "{}", prompt.text.len());
        prop_assert_eq!(prompt.text.matches("<message sender=").count(), many.len() - prompt.left_out);
        prop_assert_eq!(prompt.text.contains("<left_out"), prompt.left_out > 0);
    }

    #[test]
    fn what_is_told_of_earlier_attempts_closes_no_tag(sent in prop::collection::vec(hostile(), 0..40), attempt in 2..5_u32) {
        let text = preface(&Repeat { attempt, last: false, asked: sent.clone(), sent });
        prop_assert_eq!(text.matches('<').count(), 2, "{}", text);
        prop_assert!(text.ends_with("</repeat>\n"));
    }

    #[test]
    fn what_the_agent_says_to_itself_goes_and_the_rest_stays(pieces in prop::collection::vec(("[^<`]{0,20}", "[^<`]{1,20}"), 0..6)) {
        let text: String = pieces.iter().map(|(said, own)| format!("{said}<internal>{own}</internal>")).collect();
        let said: String = pieces.iter().map(|(said, _)| said.as_str()).collect();
        prop_assert_eq!(chat_text(&text).unwrap_or_default(), said.trim());
    }

    #[test]
    fn nothing_is_said_that_the_agent_did_not_write(text in hostile()) {
        if let Some(said) = chat_text(&text) {
            prop_assert!(letters(&said).len() <= letters(&text).len());
            prop_assert!(text.contains("<internal>") || said == text.trim());
        }
    }

    #[test]
    fn a_long_answer_is_cut_into_pieces_that_lose_no_letter(text in "[^`~]{0,600}", most in 0..200_usize) {
        let pieces = split::split(&text, most);
        prop_assert!(pieces.iter().all(|p| p.chars().count() <= most.max(64) && !p.trim().is_empty()));
        prop_assert_eq!(letters(&pieces.concat()), letters(&text));
    }

    #[test]
    fn code_blocks_keep_to_the_length_of_a_piece(text in "([a-m ]{0,30}\n|```\n|```rust\n|~~~~\n){0,30}", most in 0..200_usize) {
        let pieces = split::split(&text, most);
        prop_assert!(pieces.iter().all(|p| p.chars().count() <= most.max(64)), "{pieces:?}");
        // Fences are repeated at the borders, with the language that they name.
        let bare = |text: &str| text.chars().filter(|c| ('a'..='m').contains(c)).collect::<String>();
        prop_assert_eq!(bare(&pieces.concat()), bare(&text));
    }

    #[test]
    fn a_line_of_the_socket_is_a_checked_message_or_refused(line in near(LINES)) {
        let Ok(FromClient::Message(mut message)) = serde_json::from_slice(&line) else { return Ok(()) };
        message.offers();
        if let Ok(message) = message.check("tg:", false) {
            prop_assert!(message.jid.starts_with("tg:"));
            for one_line in [&message.jid, &message.id, &message.sender, &message.sender_name] {
                prop_assert!(one_line.len() <= 1024 && !one_line.contains(['\0', '\n', '\r']));
            }
            prop_assert!(DateTime::parse_from_rfc3339(&message.timestamp).is_ok());
            prop_assert!(!message.trusted);
        }
    }

    #[test]
    fn a_line_to_the_socket_is_one_line_with_the_whole_text(text in hostile()) {
        let line = wire::ToClient::Send { id: "x", jid: "tg:1", text: &text, reply_to: None, attachments: &[] }.line();
        prop_assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(value["text"].as_str().unwrap(), text);
    }
}
