//! What a chat says to the assistant's conversation rather than to the assistant:
//! `/compact` and `/new`, alone in a message, with or without the trigger.

use super::trigger;

/// A word that changes the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Shortens the conversation to a summary of itself.
    Compact,
    /// Leaves the conversation and begins another.
    New,
}

impl Command {
    /// The command that `content` is, if it is one and nothing else.
    pub fn parse(
        content: &str,
        own_trigger: Option<&str>,
        assistant_name: &str,
    ) -> Option<Command> {
        let call = trigger::effective(own_trigger, assistant_name);
        let text = content.trim();
        let rest = match text.get(..call.len()) {
            Some(start) if trigger::matches(&call, text) && start.eq_ignore_ascii_case(&call) => {
                text[call.len()..].trim_start_matches([',', ':']).trim()
            }
            _ => text,
        };
        match rest {
            "/compact" => Some(Command::Compact),
            "/new" => Some(Command::New),
            _ => None,
        }
    }

    /// What the CLI calls it. A rendered prompt never begins with a slash, so this
    /// also tells a command's turn from any other.
    pub fn line(self) -> &'static str {
        match self {
            Command::Compact => "/compact",
            Command::New => "/clear",
        }
    }

    /// What the chat is told when it is done: the CLI itself says nothing.
    pub fn confirmation(line: &str) -> Option<&'static str> {
        match line {
            "/compact" => Some("The conversation is compacted."),
            "/clear" => Some("A new conversation begins. What I wrote into files is still there."),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sc_01_to_07_a_command_stands_alone() {
        let parse = |text| Command::parse(text, None, "Andy");
        for text in ["/compact", "  /compact ", "@Andy /compact", "@andy, /compact"] {
            assert_eq!(parse(text), Some(Command::Compact), "{text}");
        }
        for text in
            ["/compact now", "/compaction", "please /compact", "/COMPACT", "@Andyx /compact", ""]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("/new"), Some(Command::New));
        assert_eq!(Command::parse("!bot /new", Some("!bot"), "Andy"), Some(Command::New));
    }
}
