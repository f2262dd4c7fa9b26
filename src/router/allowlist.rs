//! Who may wake the assistant: `sender-allowlist.json` in the format of 1.x.
//!
//! `{"default":{"allow":"*","mode":"trigger"},"chats":{"<jid>":{"allow":["id"],"mode":"drop"}},"logDenied":true}`
//!
//! In mode `trigger` everything is stored and only the allowed may trigger; in
//! mode `drop` what others write is not stored. A chat's entry replaces the
//! default. The owner is not asked about. Where 1.x let everybody in when the
//! file was broken, here nobody but the owner may trigger until it is mended,
//! and [`SenderAllowlist::problem`] says so.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

/// The rules for senders.
#[derive(Clone, Debug)]
pub struct SenderAllowlist {
    default: Entry,
    chats: BTreeMap<String, Entry>,
    log_denied: bool,
    /// One sentence for each thing that is wrong with the file.
    problem: Option<String>,
}

/// The rule for one chat.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    allow: Allow,
    mode: Mode,
}

#[derive(Clone, Debug)]
enum Allow {
    Everybody,
    These(BTreeSet<String>),
    /// The file does not say it in a way that can be read.
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Trigger,
    Drop,
}

impl<'de> Deserialize<'de> for Allow {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Word(String),
            List(BTreeSet<String>),
        }
        match Written::deserialize(d) {
            Ok(Written::Word(word)) if word == "*" => Ok(Allow::Everybody),
            Ok(Written::List(ids)) => Ok(Allow::These(ids)),
            _ => Err(serde::de::Error::custom("\"allow\" must be \"*\" or a list of texts")),
        }
    }
}

const UNREADABLE: Entry = Entry { allow: Allow::Unreadable, mode: Mode::Trigger };

impl SenderAllowlist {
    /// The rules where there is no file: everybody may trigger.
    pub fn everybody() -> SenderAllowlist {
        let default = Entry { allow: Allow::Everybody, mode: Mode::Trigger };
        SenderAllowlist { default, chats: BTreeMap::new(), log_denied: true, problem: None }
    }

    /// The rules in what reading the file gave; a missing file is
    /// [`SenderAllowlist::everybody`].
    pub fn from_read(text: std::io::Result<String>) -> SenderAllowlist {
        match text {
            Ok(text) => SenderAllowlist::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                SenderAllowlist::everybody()
            }
            Err(error) => SenderAllowlist::broken(&error.to_string()),
        }
    }

    /// The rules in the text of the file.
    pub fn parse(text: &str) -> SenderAllowlist {
        #[derive(Deserialize)]
        struct File {
            default: Entry,
            #[serde(default)]
            chats: BTreeMap<String, Value>,
            #[serde(rename = "logDenied", default)]
            log_denied: Value,
        }
        let file: File = match serde_json::from_str(text) {
            Ok(file) => file,
            Err(error) => return SenderAllowlist::broken(&error.to_string()),
        };
        let mut problems = Vec::new();
        let mut chats = BTreeMap::new();
        for (jid, value) in file.chats {
            let entry = serde_json::from_value(value).unwrap_or_else(|error| {
                problems.push(format!(
                    "the entry of sender-allowlist.json for {jid} cannot be used ({error}): until it is mended only \
                     you may wake the assistant there"
                ));
                UNREADABLE
            });
            chats.insert(jid, entry);
        }
        SenderAllowlist {
            default: file.default,
            chats,
            log_denied: file.log_denied != Value::Bool(false),
            problem: (!problems.is_empty()).then(|| problems.join("; ")),
        }
    }

    /// Which of a chat's addresses has an entry of its own; else the first.
    pub fn address<'a>(&self, jids: &'a [String]) -> &'a str {
        let own = jids.iter().find(|jid| self.chats.contains_key(*jid));
        own.or(jids.first()).map_or("", String::as_str)
    }

    /// Whether the owner has written down one of these addresses anywhere.
    pub fn names(&self, senders: &[String]) -> bool {
        std::iter::once(&self.default).chain(self.chats.values()).any(|entry| match &entry.allow {
            Allow::These(ids) => senders.iter().any(|sender| ids.contains(sender)),
            Allow::Everybody | Allow::Unreadable => false,
        })
    }

    /// Whether this sender may trigger in this chat.
    pub fn may_trigger(&self, jid: &str, sender: &str) -> bool {
        match &self.entry(jid).allow {
            Allow::Everybody => true,
            Allow::These(ids) => ids.contains(sender),
            Allow::Unreadable => false,
        }
    }

    /// Whether what this sender writes in this chat is not even stored.
    pub fn drops(&self, jid: &str, sender: &str) -> bool {
        self.entry(jid).mode == Mode::Drop && !self.may_trigger(jid, sender)
    }

    /// Whether the rule for this chat is unknown because it cannot be read.
    pub fn is_unreadable(&self, jid: &str) -> bool {
        matches!(self.entry(jid).allow, Allow::Unreadable)
    }

    /// Whether the owner wants denials in the log.
    pub fn log_denied(&self) -> bool {
        self.log_denied
    }

    /// What is wrong with the file and what that means, for `status`.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    fn broken(reason: &str) -> SenderAllowlist {
        let problem = format!(
            "sender-allowlist.json cannot be used ({reason}): until it is mended only you may wake the assistant in \
             groups"
        );
        SenderAllowlist {
            default: UNREADABLE,
            problem: Some(problem),
            ..SenderAllowlist::everybody()
        }
    }

    fn entry(&self, jid: &str) -> &Entry {
        self.chats.get(jid).unwrap_or(&self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> SenderAllowlist {
        let list = SenderAllowlist::parse(text);
        assert_eq!(list.problem(), None);
        list
    }

    #[test]
    fn sa_01_without_a_file_everybody_may_trigger() {
        let missing = SenderAllowlist::from_read(Err(std::io::ErrorKind::NotFound.into()));
        assert!(missing.may_trigger("c", "ann") && !missing.drops("c", "ann"));
        assert!(missing.log_denied() && missing.problem().is_none());
    }

    #[test]
    fn sa_02_and_10_the_star_allows_anybody_and_log_denied_can_be_false() {
        let star =
            list(r#"{"default":{"allow":"*","mode":"trigger"},"chats":{},"logDenied":false}"#);
        assert!(star.may_trigger("c", "anybody") && !star.log_denied());
        assert!(list(r#"{"default":{"allow":"*","mode":"trigger"},"logDenied":0}"#).log_denied());
    }

    #[test]
    fn sa_03_and_11_an_empty_list_denies_anybody() {
        assert!(!list(r#"{"default":{"allow":[],"mode":"trigger"}}"#).may_trigger("c", "ann"));
    }

    #[test]
    fn sa_04_12_17_and_18_a_list_is_matched_exactly() {
        let some = list(r#"{"default":{"allow":["ann","bob"],"mode":"drop"}}"#);
        assert!(some.may_trigger("c", "ann") && some.may_trigger("c", "bob"));
        for other in ["eve", "Ann", "an", "ann ", ""] {
            assert!(!some.may_trigger("c", other), "{other}");
        }
    }

    #[test]
    fn sa_05_and_13_a_chats_entry_replaces_the_default() {
        let text = r#"{"default":{"allow":"*","mode":"trigger"},"chats":{"c":{"allow":["ann"],"mode":"trigger"}}}"#;
        let own = list(text);
        assert!(
            own.may_trigger("c", "ann")
                && !own.may_trigger("c", "bob")
                && own.may_trigger("d", "bob")
        );
    }

    #[test]
    fn sa_06_to_08_a_broken_file_lets_in_nobody_and_says_so() {
        let sa_06 = ["", "{", "null", "[]"];
        let sa_07 = [
            "{}",
            r#"{"default":{"allow":"*"}}"#,
            r#"{"default":{"allow":"all","mode":"trigger"}}"#,
            r#"{"default":{"allow":"*","mode":"block"}}"#,
        ];
        let sa_08 = [r#"{"default":{"allow":["ann",7],"mode":"trigger"}}"#];
        for text in sa_06.into_iter().chain(sa_07).chain(sa_08) {
            let broken = SenderAllowlist::parse(text);
            assert!(!broken.may_trigger("c", "ann") && !broken.drops("c", "ann"), "{text}");
            assert!(broken.problem().is_some_and(|p| p.contains("only you")), "{text}");
        }
        let unreadable =
            SenderAllowlist::from_read(Err(std::io::ErrorKind::PermissionDenied.into()));
        assert!(!unreadable.may_trigger("c", "ann") && unreadable.problem().is_some());
    }

    #[test]
    fn sa_09_a_bad_entry_closes_its_chat_alone() {
        let text = r#"{"default":{"allow":"*","mode":"trigger"},
            "chats":{"bad":{"allow":7,"mode":"trigger"},"good":{"allow":["ann"],"mode":"drop"}}}"#;
        let list = SenderAllowlist::parse(text);
        assert!(
            !list.may_trigger("bad", "ann")
                && list.may_trigger("good", "ann")
                && list.drops("good", "bob")
        );
        assert!(
            list.may_trigger("other", "bob")
                && list.is_unreadable("bad")
                && !list.is_unreadable("other")
        );
        assert!(list.problem().is_some_and(|p| p.contains("bad") && !p.contains("good")));
    }

    #[test]
    fn sa_14_to_16_and_19_only_drop_mode_drops() {
        let text = r#"{"default":{"allow":["ann"],"mode":"trigger"},"chats":{"c":{"allow":["ann"],"mode":"drop"}}}"#;
        let mixed = list(text);
        assert!(
            mixed.log_denied()
                && !mixed.drops("d", "bob")
                && mixed.drops("c", "bob")
                && !mixed.drops("c", "ann")
        );
    }
}
