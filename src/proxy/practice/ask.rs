//! What a message asks of the practice model, the command that it needs, and the
//! words for what came of it. Pure.

use super::conversation::Outcome;

const MEMORY: &str = "/workspace/group/memory.md";
/// Where another group's files would be if they could be seen.
pub(super) const ELSEWHERE: [&str; 4] =
    ["/workspace/../groups", "/workspace/group/../other", "/workspace/group/../main", "/store"];
/// What it is, and how to have the real one.
pub(super) const ABOUT: &str = "\
I am the practice model, not Claude: I follow a small script, so that you can see NanoClaw work before \
you give it a key. Three things to try:
- remember that my cat is called Tom
- what do you remember?
- what can you see?
For the real Claude, write ANTHROPIC_API_KEY=<your key> into the file .env and start NanoClaw again.";

/// A call of the CLI's Bash tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShellCall {
    pub(super) command: String,
    pub(super) description: &'static str,
}

/// What a message wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Remember(String),
    Recall,
    Look,
    Other,
}

impl Ask {
    /// Takes a message as people write it.
    pub(super) fn understand(text: &str) -> Ask {
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

    /// The command that an ask needs.
    pub(super) fn call(&self) -> Option<ShellCall> {
        let (command, description) = match self {
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
    pub(super) fn tell(&self, outcome: &Outcome) -> String {
        let output = outcome.output.trim();
        match self {
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
}

fn nothing() -> String {
    "I remember nothing yet. Say, for example: remember that my cat is called Tom".to_owned()
}

fn look(output: &str) -> String {
    let with = |mark| output.lines().filter_map(move |line| line.strip_prefix(mark));
    let absent: Vec<&str> = with("not there: ").collect();
    let visible: Vec<&str> = with("visible: ").collect();
    let marked = |line: &&str| line.starts_with("not there: ") || line.starts_with("visible: ");
    let listing: Vec<&str> = output.lines().filter(|line| !marked(line)).collect();
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
            assert_eq!(Ask::understand(text), expected, "{text:?}");
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
            let call = Ask::understand(&format!("remember {fact}")).call().expect("a command");
            let command = call.command.replace(MEMORY, file.to_str().expect("UTF-8"));
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
}
