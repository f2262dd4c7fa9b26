//! What the practice model does: remember, recall, look around, and else say
//! what it is. Pure; all state is in the request.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::ask::{ABOUT, Ask, ShellCall};
use super::conversation::{Called, Exchange, Outcome};

/// How every text begins, so that nobody takes it for Claude.
pub(super) const LABEL: &str = "[practice model] ";
/// An answer of the model, before it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Reply {
    /// Differs for different requests: the CLI takes equal ids for one message.
    pub(super) id: String,
    pub(super) content: Content,
    /// A guess: four bytes a token.
    pub(super) input_tokens: u64,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The end of the turn.
    Text(String),
    /// Shell commands to run first.
    Calls(Vec<ShellCall>),
}

/// Answers a request of `POST /v1/messages`.
pub(in crate::proxy) fn reply(request: &Value) -> Reply {
    let text = request.to_string();
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Reply {
        id: format!("msg_practice_{:016x}", hasher.finish()),
        content: content(&Exchange::read(request)),
        input_tokens: tokens(&text),
    }
}

/// About how many tokens a text is.
pub(super) fn tokens(text: &str) -> u64 {
    text.len() as u64 / 4 + 1
}

fn content(exchange: &Exchange) -> Content {
    if !exchange.has_shell {
        // The CLI asks for titles and summaries on the side.
        return Content::Text(format!("{LABEL}Practice conversation"));
    }
    let asks: Vec<Ask> = exchange.asks.iter().map(|text| Ask::understand(text)).collect();
    let question = asks.iter().rfind(|ask| !matches!(ask, Ask::Remember(_)));
    let facts = asks.iter().filter(|ask| matches!(ask, Ask::Remember(_)));
    let no_result = Outcome { failed: true, output: "the command gave no result".to_owned() };
    // A call serves one ask, so that the same fact told twice is written twice.
    let mut calls: Vec<&Called> = exchange.calls.iter().collect();
    let mut said = Vec::new();
    let mut missing = Vec::new();
    for ask in facts.chain(question) {
        // The question comes last, and its command only when all is written down.
        if !missing.is_empty() && !matches!(ask, Ask::Remember(_)) {
            break;
        }
        let Some(call) = ask.call() else {
            said.push(ABOUT.to_owned());
            continue;
        };
        match calls.iter().position(|c| c.command == call.command) {
            Some(at) => {
                said.push(ask.tell(calls.remove(at).outcome.as_ref().unwrap_or(&no_result)))
            }
            None => missing.push(call),
        }
    }
    if !missing.is_empty() {
        return Content::Calls(missing);
    }
    if said.is_empty() {
        said.push(ABOUT.to_owned());
    }
    Content::Text(format!("{LABEL}{}", said.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::super::ask::ELSEWHERE;
    use super::*;
    use serde_json::json;

    fn ask(text: &str) -> Value {
        json!({"tools": [{"name": "Bash"}], "messages": [{"role": "user", "content": text}]})
    }

    /// The request after the model's calls were run with these results.
    fn after(mut request: Value, content: &Content, results: &[(&str, bool)]) -> Value {
        let Content::Calls(calls) = content else { panic!("no calls: {content:?}") };
        assert_eq!(calls.len(), results.len());
        let ids: Vec<String> = (0..calls.len())
            .map(|i| format!("{}-{i}", request["messages"].as_array().map_or(0, Vec::len)))
            .collect();
        let uses: Vec<Value> = calls
            .iter()
            .zip(&ids)
            .map(|(c, id)| json!({"type": "tool_use", "id": id, "name": "Bash", "input": {"command": c.command}}))
            .collect();
        let results: Vec<Value> = results
            .iter()
            .zip(&ids)
            .map(|((text, failed), id)| json!({"type": "tool_result", "tool_use_id": id, "content": text, "is_error": failed}))
            .collect();
        let messages = request["messages"].as_array_mut().expect("messages");
        messages.push(json!({"role": "assistant", "content": uses}));
        messages.push(json!({"role": "user", "content": results}));
        request
    }

    fn text(request: &Value) -> String {
        match reply(request).content {
            Content::Text(text) => text,
            calls => panic!("not a text: {calls:?}"),
        }
    }

    #[test]
    fn remembering_is_confirmed_only_when_it_worked() {
        let request = ask("@Andy remember that it's late.");
        let calls = reply(&request).content;
        let ok = after(request.clone(), &calls, &[("", false)]);
        assert_eq!(text(&ok), "[practice model] I will remember that it's late.");
        let failed = after(request, &calls, &[("Exit code 1\nDisk full", true)]);
        let said = text(&failed);
        assert!(
            said.starts_with(LABEL) && said.contains("could not") && said.contains("Disk full"),
            "{said}"
        );
    }

    #[test]
    fn recalling_tells_the_file() {
        let request = ask("what do you remember?");
        let calls = reply(&request).content;
        for (output, failed, expected) in [
            ("- tea\n- late", false, "- tea\n- late"),
            ("Exit code 1\ncat: x: No such file or directory", true, "nothing yet"),
            ("(Bash completed with no output)", false, "nothing yet"),
            ("Exit code 1\ncat: x: Permission denied", true, "Permission denied"),
        ] {
            let said = text(&after(request.clone(), &calls, &[(output, failed)]));
            assert!(said.starts_with(LABEL) && said.contains(expected), "{said}");
        }
    }

    #[test]
    fn several_messages_are_all_served_the_question_last() {
        let request = ask("<messages>\n<message sender=\"A\" time=\"t\">remember one</message>\n\
             <message sender=\"A\" time=\"t\">what do you remember?</message>\n\
             <message sender=\"A\" time=\"t\">remember two</message>\n</messages>");
        let writes = reply(&request).content;
        let request = after(request, &writes, &[("", false), ("", false)]);
        let read = reply(&request).content;
        assert_eq!(read, Content::Calls(Ask::Recall.call().into_iter().collect()));
        let said = text(&after(request, &read, &[("- one\n- two", false)]));
        assert!(
            said.contains("remember that one")
                && said.contains("remember that two")
                && said.ends_with("- one\n- two"),
            "{said}"
        );
    }

    #[test]
    fn looking_around_is_told_as_it_was_found() {
        let request = ask("what can you see?");
        let calls = reply(&request).content;
        let Content::Calls(list) = &calls else { panic!("{calls:?}") };
        // A real shell runs it; here, outside of a container, nothing is there.
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(&list[0].command)
            .output()
            .expect("a shell");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        for place in ELSEWHERE {
            assert!(output.contains(&format!(": {place}\n")), "{output}");
        }
        let said = text(&after(
            request.clone(),
            &calls,
            &[("/workspace:\ngroup\nnot there: /workspace/../groups", false)],
        ));
        assert!(
            said.contains("group\n") && said.contains("not there: /workspace/../groups"),
            "{said}"
        );
        let leak = text(&after(request, &calls, &[("/workspace:\ngroup\nvisible: /store", false)]));
        assert!(leak.contains("should not be visible but are: /store"), "{leak}");
    }

    #[test]
    fn everything_else_says_what_it_is() {
        let said = text(&ask("hello"));
        for part in [
            "not Claude",
            "remember that",
            "what do you remember?",
            "what can you see?",
            "ANTHROPIC_API_KEY",
            ".env",
        ] {
            assert!(said.contains(part), "{part}");
        }
        let title = text(&json!({"messages": [{"role": "user", "content": "remember x"}]}));
        assert!(title.starts_with(LABEL) && title.len() < 60, "{title}");
        assert_ne!(reply(&ask("a")).id, reply(&ask("b")).id);
    }
}
