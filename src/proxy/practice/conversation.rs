//! What a request to the Messages API says: what people asked since the last
//! complete answer, and what the commands have given that were run for it.
//!
//! Knows the forms in which prompts arrive: NanoClaw's `<messages>`, plain text,
//! and what the CLI adds around and between them. Pure.

use serde_json::Value;

/// Begins what the CLI puts in place of a turn that was interrupted.
const INTERRUPTED: &str = "[Request interrupted";
/// Precedes a message that came during a turn, in a `system` message of the CLI.
const MEANWHILE: &str = "sent a new message while you were working:";
/// Follows it.
const MEANWHILE_END: &str = "\n\nThis is how Claude Code";

/// What is to be answered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    /// The texts of people, oldest first.
    pub(super) asks: Vec<String>,
    /// The commands that were called for them, in order.
    pub(super) calls: Vec<Called>,
    /// Whether the request offers a shell at all.
    pub(super) has_shell: bool,
}

/// A command that was called, and what came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Called {
    id: String,
    pub(super) command: String,
    pub(super) outcome: Option<Outcome>,
}

/// What a command gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) failed: bool,
    pub(super) output: String,
}

impl Exchange {
    /// Reads the newest exchange of a request. Whatever it does not know it
    /// passes over.
    pub(super) fn read(request: &Value) -> Exchange {
        let tools = request["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
        let has_shell = tools.iter().any(|tool| tool["name"] == "Bash");
        let mut exchange = Exchange { has_shell, ..Exchange::default() };
        for message in request["messages"].as_array().into_iter().flatten() {
            match message["role"].as_str() {
                Some("assistant") => exchange.assistant(message),
                Some("user") => exchange.user(message),
                Some("system") => texts(&message["content"])
                    .for_each(|text| exchange.asks.extend(meanwhile(text))),
                _ => {}
            }
        }
        exchange
    }

    fn assistant(&mut self, message: &Value) {
        let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let calls: Vec<Called> =
            blocks.iter().filter(|b| b["type"] == "tool_use").map(called).collect();
        if calls.is_empty() {
            // An answer: what is before it is done.
            self.asks.clear();
            self.calls.clear();
        }
        self.calls.extend(calls);
    }

    fn user(&mut self, message: &Value) {
        for block in message["content"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|b| b["type"] == "tool_result")
        {
            let call = self.calls.iter_mut().find(|c| block["tool_use_id"] == c.id.as_str());
            if let Some(call) = call {
                call.outcome = Some(outcome(block));
            }
        }
        for text in texts(&message["content"]) {
            if text.trim_start().starts_with(INTERRUPTED) {
                self.asks.clear();
                self.calls.clear();
            } else {
                self.asks.extend(asks(&without_reminders(text)));
            }
        }
    }
}

fn called(block: &Value) -> Called {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Called { id: text(&block["id"]), command: text(&block["input"]["command"]), outcome: None }
}

fn outcome(block: &Value) -> Outcome {
    let output = texts(&block["content"]).collect::<Vec<_>>().join("\n");
    Outcome { failed: block["is_error"] == true, output }
}

/// The texts of a `content`, which is a string or a list of blocks.
fn texts(content: &Value) -> impl Iterator<Item = &str> {
    let blocks = content.as_array().into_iter().flatten().filter(|b| b["type"] == "text");
    content.as_str().into_iter().chain(blocks.filter_map(|b| b["text"].as_str()))
}

/// The CLI's own remarks are not what people said.
fn without_reminders(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<system-reminder>") {
        kept.push_str(before);
        rest = after.split_once("</system-reminder>").map_or("", |(_, rest)| rest);
    }
    kept + rest
}

/// The messages in a prompt.
fn asks(text: &str) -> Vec<String> {
    let Some((_, messages)) = text.split_once("<messages>") else {
        let plain = without_heading(text.trim());
        return if plain.is_empty() { Vec::new() } else { vec![plain.to_owned()] };
    };
    // Within messages everything is escaped, so each `<message` is a real one.
    let mut found = Vec::new();
    let mut rest = messages;
    while let Some((_, after)) = rest.split_once("<message ") {
        let Some((body, after)) = after.split_once("</message>") else { break };
        // What is before the last `>` is the tag and perhaps a quoted message.
        let said = body.rsplit_once('>').map_or("", |(_, said)| said);
        found.push(unescape(said.trim()));
        rest = after;
    }
    found
}

/// The messages in a remark of the CLI about messages that came during a turn.
fn meanwhile(text: &str) -> Vec<String> {
    let parts = text.split(MEANWHILE).skip(1);
    parts
        .flat_map(|part| asks(part.split_once(MEANWHILE_END).map_or(part, |(said, _)| said)))
        .collect()
}

/// A scheduled task's prompt has a line in brackets before it.
fn without_heading(text: &str) -> &str {
    match text.split_once("]\n") {
        Some((heading, rest)) if heading.starts_with('[') => rest.trim(),
        _ => text,
    }
}

/// `&amp;` last, so that `&amp;lt;` stays `&lt;`.
fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SHELL: &str = "Bash";

    fn read(messages: Value) -> Exchange {
        Exchange::read(&json!({"messages": messages, "tools": [{"name": SHELL}]}))
    }

    #[test]
    fn messages_come_out_of_their_xml_in_order() {
        let prompt = "This repeats an interrupted turn.\n<context timezone=\"UTC\" />\n<messages>\n\
             <message sender=\"Ann &gt; Bob\" time=\"12:00\">remember a &lt;b&gt; &amp;amp; &quot;c&quot;</message>\n\
             <message sender=\"Bob\" time=\"12:01\"><quoted_message from=\"Ann\">x</quoted_message>what do you remember?</message>\n\
             </messages>";
        let exchange = read(json!([{"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>\nremember nothing\n</system-reminder>\n"},
            {"type": "text", "text": prompt},
        ]}]));
        assert_eq!(exchange.asks, ["remember a <b> &amp; \"c\"", "what do you remember?"]);
        assert!(exchange.has_shell);
    }

    #[test]
    fn plain_prompts_and_tasks_are_read_too() {
        assert_eq!(read(json!([{"role": "user", "content": "remember x"}])).asks, ["remember x"]);
        let task = "[SCHEDULED TASK - nobody is waiting]\n\nwhat can you see?";
        assert_eq!(read(json!([{"role": "user", "content": task}])).asks, ["what can you see?"]);
    }

    #[test]
    fn only_what_follows_the_last_answer_is_open() {
        let exchange = read(json!([
            {"role": "user", "content": "remember old"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t0", "name": SHELL, "input": {"command": "old"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t0", "content": ""}]},
            {"role": "assistant", "content": [{"type": "text", "text": "done"}]},
            {"role": "user", "content": "remember new"},
            {"role": "system", "content": [{"type": "text", "text": "# Environment"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": SHELL, "input": {"command": "new"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": true,
                "content": [{"type": "text", "text": "Exit code 1"}]}]},
        ]));
        assert_eq!(exchange.asks, ["remember new"]);
        let outcome = Some(Outcome { failed: true, output: "Exit code 1".to_owned() });
        assert_eq!(
            exchange.calls,
            [Called { id: "t1".to_owned(), command: "new".to_owned(), outcome }]
        );
    }

    #[test]
    fn a_message_during_a_turn_joins_it() {
        let remark = "The user sent a new message while you were working:\n<messages>\n\
             <message sender=\"A\" time=\"t\">remember two &amp; three</message>\n</messages>\n\n\
             This is how Claude Code surfaces messages.";
        let exchange = read(json!([
            {"role": "user", "content": "remember one"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": SHELL, "input": {"command": "c"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "a"}]},
            {"role": "system", "content": [{"type": "text", "text": remark}]},
        ]));
        assert_eq!(exchange.asks, ["remember one", "remember two & three"]);
        let plain = "The user sent a new message while you were working:\nhello\n\nThis is how Claude Code does it.";
        assert_eq!(read(json!([{"role": "system", "content": plain}])).asks, ["hello"]);
    }

    #[test]
    fn an_interrupted_turn_is_over() {
        let exchange = read(json!([
            {"role": "user", "content": "remember old"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": SHELL, "input": {"command": "c"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "is_error": true, "content": "rejected"},
                {"type": "text", "text": "[Request interrupted by user for tool use]"},
                {"type": "text", "text": "remember new"},
            ]},
        ]));
        assert_eq!(exchange.asks, ["remember new"]);
        assert_eq!(exchange.calls, []);
    }
}
