//! What the practice model does: remember, recall, look around, and else say
//! what it is. Pure; all state is in the request.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::conversation::{Called, Exchange, Outcome};

/// How every text begins, so that nobody takes it for Claude.
pub(super) const LABEL: &str = "[practice model] ";
const MEMORY: &str = "/workspace/group/memory.md";
/// Where another group's files would be if they could be seen.
const ELSEWHERE: [&str; 4] =
    ["/workspace/../groups", "/workspace/group/../other", "/workspace/group/../main", "/store"];
const ABOUT: &str = "\
I am the practice model, not Claude: I follow a small script, so that you can see NanoClaw work before \
you give it a key. Three things to try:
- remember that my cat is called Tom
- what do you remember?
- what can you see?
For the real Claude, write ANTHROPIC_API_KEY=<your key> into the file .env and start NanoClaw again.";

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

/// A call of the CLI's Bash tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShellCall {
    pub(super) command: String,
    pub(super) description: &'static str,
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

/// What a message wants.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    Remember(String),
    Recall,
    Look,
    Other,
}

fn content(exchange: &Exchange) -> Content {
    if !exchange.has_shell {
        // The CLI asks for titles and summaries on the side.
        return Content::Text(format!("{LABEL}Practice conversation"));
    }
    let asks: Vec<Ask> = exchange.asks.iter().map(|text| understand(text)).collect();
    let question = asks.iter().rfind(|ask| !matches!(ask, Ask::Remember(_)));
    let facts = asks.iter().filter(|ask| matches!(ask, Ask::Remember(_)));
    // The question comes last, and its command only when all is written down.
    let mut calls: Vec<&Called> = exchange.calls.iter().collect();
    let mut said = Vec::new();
    let mut missing = Vec::new();
    for ask in facts {
        perform(ask, &mut calls, &mut said, &mut missing);
    }
    if missing.is_empty()
        && let Some(ask) = question
    {
        perform(ask, &mut calls, &mut said, &mut missing);
    }
    if !missing.is_empty() {
        return Content::Calls(missing);
    }
    if said.is_empty() {
        said.push(ABOUT.to_owned());
    }
    Content::Text(format!("{LABEL}{}", said.join("\n")))
}

/// Says what came of an ask, or adds the command that it needs first. A call
/// serves one ask, so that the same fact told twice is written twice.
fn perform(
    ask: &Ask,
    calls: &mut Vec<&Called>,
    said: &mut Vec<String>,
    missing: &mut Vec<ShellCall>,
) {
    let Some(call) = call(ask) else {
        said.push(ABOUT.to_owned());
        return;
    };
    match calls.iter().position(|c| c.command == call.command) {
        Some(at) => {
            let outcome = calls.remove(at).outcome.clone();
            let outcome = outcome.unwrap_or(Outcome {
                failed: true,
                output: "the command gave no result".to_owned(),
            });
            said.push(tell(ask, &outcome));
        }
        None => missing.push(call),
    }
}

/// The command that an ask needs.
fn call(ask: &Ask) -> Option<ShellCall> {
    let (command, description) = match ask {
        Ask::Remember(fact) => (
            format!("printf '%s\\n' {} >> {MEMORY}", quoted(&format!("- {fact}"))),
            "Write it into the group's memory",
        ),
        Ask::Recall => (format!("cat {MEMORY}"), "Read the group's memory"),
        Ask::Look => {
            let places = ELSEWHERE.join(" ");
            let command = format!(
                "ls -A /workspace /workspace/group; for place in {places}; do \
                 if ls \"$place\" >/dev/null 2>&1; then echo \"visible: $place\"; else echo \"not there: $place\"; fi; done"
            );
            (command, "Look around in the container")
        }
        Ask::Other => return None,
    };
    Some(ShellCall { command, description })
}

/// What came of it, as it is.
fn tell(ask: &Ask, outcome: &Outcome) -> String {
    let output = outcome.output.trim();
    match ask {
        Ask::Remember(fact) if outcome.failed => {
            format!("I could not write down {fact:?}: {output}")
        }
        Ask::Remember(fact) => format!("I will remember that {}.", fact.trim_end_matches('.')),
        Ask::Recall if outcome.failed && output.contains("No such file") => nothing(),
        Ask::Recall if outcome.failed => format!("I could not read my memory: {output}"),
        // The CLI's words for an empty output.
        Ask::Recall if output.is_empty() || output == "(Bash completed with no output)" => {
            nothing()
        }
        Ask::Recall => format!("This is what I remember:\n{output}"),
        Ask::Look if outcome.failed => format!("I could not look around: {output}"),
        Ask::Look => look(output),
        Ask::Other => ABOUT.to_owned(),
    }
}

fn nothing() -> String {
    "I remember nothing yet. Say, for example: remember that my cat is called Tom".to_owned()
}

fn look(output: &str) -> String {
    let mut listing = Vec::new();
    let mut absent = Vec::new();
    let mut visible = Vec::new();
    for line in output.lines() {
        if let Some(place) = line.strip_prefix("not there: ") {
            absent.push(place);
        } else if let Some(place) = line.strip_prefix("visible: ") {
            visible.push(place);
        } else {
            listing.push(line);
        }
    }
    let mut text = format!("This is all I can see of NanoClaw:\n{}", listing.join("\n"));
    if !absent.is_empty() {
        text.push_str(&format!(
            "\nI looked for other groups and they are not there: {}",
            absent.join(", ")
        ));
    }
    if !visible.is_empty() {
        text.push_str(&format!("\nThese should not be visible but are: {}", visible.join(", ")));
    }
    text
}

fn understand(text: &str) -> Ask {
    let text = without_trigger(text);
    let text = strip_word(text, "please").unwrap_or(text);
    if let Some(rest) = strip_word(text, "remember") {
        let rest = strip_word(rest, "that").unwrap_or(rest).trim_start_matches(':');
        // One line of the file each, and nothing that a shell or terminal obeys.
        let fact: Vec<&str> = rest
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|w| !w.is_empty())
            .collect();
        return if fact.is_empty() {
            Ask::Other
        } else {
            Ask::Remember(fact.join(" ").chars().take(2000).collect())
        };
    }
    let lower = text.to_lowercase();
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
    if has(&[
        "do you remember",
        "have you remembered",
        "do you know about",
        "did i tell you",
        "is in your memory",
    ]) {
        Ask::Recall
    } else if has(&["can you see", "do you see"]) {
        Ask::Look
    } else {
        Ask::Other
    }
}

/// `@Andy, remember ...` speaks to us.
fn without_trigger(text: &str) -> &str {
    let text = text.trim();
    match text.strip_prefix('@').and_then(|t| t.split_once(char::is_whitespace)) {
        Some((_, rest)) => rest.trim_start(),
        None => text,
    }
}

/// What follows `word` (lower case) at the beginning, if it is there as a word.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    let rest = &text[word.len()..];
    let ends = rest.chars().next().is_none_or(|c| c.is_whitespace() || c == ':' || c == ',');
    (head.eq_ignore_ascii_case(word) && ends).then(|| rest.trim_start_matches(',').trim_start())
}

/// One word to a POSIX shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
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
    fn what_people_write_is_understood() {
        let fact = |text: &str| Ask::Remember(text.to_owned());
        for (text, expected) in [
            ("remember that I like tea", fact("I like tea")),
            ("@Andy, Remember: the code is 7", fact("the code is 7")),
            ("@Andy please remember that\nit is\tlate", fact("it is late")),
            ("REMEMBER x", fact("x")),
            ("remember that", Ask::Other),
            ("remembering is hard", Ask::Other),
            ("What do you remember?", Ask::Recall),
            ("@Andy what do you know about me?", Ask::Recall),
            ("What can you see?", Ask::Look),
            ("hello", Ask::Other),
            ("", Ask::Other),
            ("ä", Ask::Other),
        ] {
            assert_eq!(understand(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_fact_is_written_by_a_real_shell_as_it_was_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("memory.md");
        let facts = [
            r"it's $HOME `id` $(id) \n %s",
            "\"; rm -rf / #",
            "'; touch pwned; '",
            "-n",
            "a\u{0}b\u{1b}[31m",
            "Grüße 🐈",
        ];
        for fact in facts {
            let content = reply(&ask(&format!("remember {fact}"))).content;
            let Content::Calls(calls) = content else { panic!("{content:?}") };
            let command = calls[0].command.replace(MEMORY, file.to_str().expect("UTF-8"));
            let status = std::process::Command::new("sh")
                .arg("-c")
                .arg(command)
                .current_dir(&directory)
                .status();
            assert!(status.expect("a shell").success());
        }
        let written = std::fs::read_to_string(file).expect("the memory");
        let lines: Vec<&str> = written.lines().collect();
        let expected = [
            r"- it's $HOME `id` $(id) \n %s",
            "- \"; rm -rf / #",
            "- '; touch pwned; '",
            "- -n",
            "- a b [31m",
            "- Grüße 🐈",
        ];
        assert_eq!(lines, expected);
        assert_eq!(
            std::fs::read_dir(&directory).expect("a listing").count(),
            1,
            "nothing else was made"
        );
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
        assert_eq!(read, Content::Calls(call(&Ask::Recall).into_iter().collect()));
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
