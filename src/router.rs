//! What becomes of a message that a channel delivers: may it be stored, does it
//! wake the agent, is it the assistant's own.
//!
//! Pure: the group's rules, the message and the sender allowlist come in as
//! data, a [`Route`] goes out. It reads no file and knows no ledger.

pub mod allowlist;
pub mod command;
mod trigger;

pub use allowlist::SenderAllowlist;
pub use command::Command;

/// What a group demands of a message.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The chat's address, for the allowlist.
    pub jid: &'a str,
    /// The administering group: nothing needs a trigger there.
    pub is_main: bool,
    /// Whether a message must begin with the trigger; 1.x's default is yes.
    pub requires_trigger: bool,
    /// The group's own trigger text. None or blank: `@` and the assistant's name.
    pub trigger: Option<&'a str>,
}

/// A delivered message, as far as its way depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The sender's id as the channel writes it.
    pub sender: &'a str,
    /// Sent from the account that the channel is logged in with.
    pub from_me: bool,
    /// Typed at this machine, in the terminal.
    pub local: bool,
    /// The channel knows that the assistant sent it.
    pub is_bot: bool,
    /// The text.
    pub content: &'a str,
    /// Neither text nor attachment.
    pub is_empty: bool,
}

/// Who the assistant is.
#[derive(Clone, Copy, Debug)]
pub struct Assistant<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether the account of this message's channel is the assistant's alone.
    /// Then `from_me` means the assistant; else it means the owner, and what the
    /// assistant sends begins with its name and a colon.
    pub own_number: bool,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Not stored.
    Drop(Reason),
    /// Stored, never shown to the agent.
    Ignore(Reason),
    /// Stored and shown with the next turn.
    Context,
    /// Stored, and the agent is to answer.
    Queue,
}

/// Why the agent does not see a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The allowlist drops what this sender writes here.
    NotAllowed,
    /// The assistant sent it.
    OwnMessage,
    /// There is nothing in it.
    Empty,
}

impl Reason {
    /// As it stands in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NotAllowed => "sender not allowed",
            Reason::OwnMessage => "own message",
            Reason::Empty => "empty",
        }
    }
}

/// The way of `message` into a registered group.
pub fn route(
    rules: &Rules,
    message: &Incoming,
    allowlist: &SenderAllowlist,
    assistant: &Assistant,
) -> Route {
    if is_own(message, assistant) {
        return Route::Ignore(Reason::OwnMessage);
    }
    let owner = message.from_me || message.local;
    if !owner && allowlist.drops(rules.jid, message.sender) {
        return Route::Drop(Reason::NotAllowed);
    }
    if message.is_empty {
        return Route::Ignore(Reason::Empty);
    }
    // As in 1.x, a readable allowlist decides only who may trigger: where nothing
    // needs a trigger everybody is answered. A broken one may have said anything,
    // so strangers wake only main, which is the owner's own chat.
    let woken = if rules.is_main {
        true
    } else if !rules.requires_trigger {
        owner || !allowlist.is_unreadable(rules.jid)
    } else {
        let text = trigger::effective(rules.trigger, assistant.name);
        trigger::matches(&text, message.content)
            && (owner || allowlist.may_trigger(rules.jid, message.sender))
    };
    if woken { Route::Queue } else { Route::Context }
}

/// Whether a message would have gone further if the allowlist named its sender: it is
/// dropped, or it calls the assistant in vain.
pub fn denied(
    rules: &Rules,
    message: &Incoming,
    allowlist: &SenderAllowlist,
    assistant: &Assistant,
) -> bool {
    let as_allowed = route(rules, message, &SenderAllowlist::everybody(), assistant);
    as_allowed != route(rules, message, allowlist, assistant)
}

/// Whether a message carries the owner's authority: typed at this machine, or
/// sent from an account that the owner shares with the assistant. With a number
/// of its own the assistant knows of no WhatsApp message that it is the owner's.
pub fn trusted(message: &Incoming, assistant: &Assistant) -> bool {
    message.local || (message.from_me && !is_own(message, assistant))
}

/// Whether the assistant itself sent this.
///
/// The outbox knows its messages by id, and channels mark them. What is left is
/// the echo of a shared number from before: exactly `Name:`, in that case, and
/// sent by that account; anybody else's "andy: ..." is ordinary text.
fn is_own(message: &Incoming, assistant: &Assistant) -> bool {
    let echo = || {
        let rest = message.content.strip_prefix(assistant.name);
        assistant.own_number || rest.is_some_and(|rest| rest.starts_with(':'))
    };
    message.is_bot || (message.from_me && !message.local && echo())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANDY: Assistant = Assistant { name: "Andy", own_number: false };
    const OWN_NUMBER: Assistant = Assistant { name: "Andy", own_number: true };
    const FAMILY: Rules =
        Rules { jid: "family@g.us", is_main: false, requires_trigger: true, trigger: None };
    const MAIN: Rules = Rules { jid: "me", is_main: true, requires_trigger: true, trigger: None };

    fn from_ann(content: &str) -> Incoming<'_> {
        Incoming {
            sender: "ann",
            from_me: false,
            local: false,
            is_bot: false,
            content,
            is_empty: false,
        }
    }

    fn from_me(content: &str) -> Incoming<'_> {
        Incoming { sender: "me", from_me: true, ..from_ann(content) }
    }

    fn everybody(rules: &Rules, content: &str) -> Route {
        route(rules, &from_ann(content), &SenderAllowlist::everybody(), &ANDY)
    }

    #[test]
    fn fmt_35_and_36_main_needs_no_trigger_even_if_its_row_says_so() {
        assert_eq!(everybody(&MAIN, "hello"), Route::Queue);
        assert_eq!(everybody(&Rules { requires_trigger: true, ..MAIN }, "hello"), Route::Queue);
    }

    #[test]
    fn fmt_37_to_39_other_groups_need_the_trigger() {
        assert_eq!(everybody(&FAMILY, "hello"), Route::Context);
        assert_eq!(everybody(&FAMILY, "@Andy hello"), Route::Queue);
    }

    #[test]
    fn fmt_40_and_41_a_group_with_its_own_trigger_wakes_by_that_alone() {
        let own = Rules { trigger: Some("@Bot"), ..FAMILY };
        assert_eq!(everybody(&own, "@bot hello"), Route::Queue);
        assert_eq!(everybody(&own, "@Andy hello"), Route::Context);
    }

    #[test]
    fn fmt_42_a_group_without_required_trigger_is_always_answered() {
        assert_eq!(everybody(&Rules { requires_trigger: false, ..FAMILY }, "hello"), Route::Queue);
    }

    #[test]
    fn strangers_are_context_or_dropped_as_the_allowlist_says() {
        let trigger = SenderAllowlist::parse(r#"{"default":{"allow":["bob"],"mode":"trigger"}}"#);
        let drop = SenderAllowlist::parse(r#"{"default":{"allow":["bob"],"mode":"drop"}}"#);
        let open = Rules { requires_trigger: false, ..FAMILY };
        let ann = from_ann("@Andy hi");
        let bob = Incoming { sender: "bob", ..ann };
        assert_eq!(route(&FAMILY, &ann, &trigger, &ANDY), Route::Context);
        assert_eq!(route(&open, &ann, &trigger, &ANDY), Route::Queue);
        for rules in [FAMILY, open, MAIN] {
            assert_eq!(route(&rules, &ann, &drop, &ANDY), Route::Drop(Reason::NotAllowed));
            assert_eq!(route(&rules, &bob, &drop, &ANDY), Route::Queue);
            assert_eq!(route(&rules, &from_me("@Andy hi"), &drop, &ANDY), Route::Queue);
            assert!(denied(&rules, &ann, &drop, &ANDY) && !denied(&rules, &bob, &drop, &ANDY));
        }
        assert!(denied(&FAMILY, &ann, &trigger, &ANDY));
        assert!(!denied(&FAMILY, &from_ann("hi"), &trigger, &ANDY), "it calls nobody");
        assert!(!denied(&open, &ann, &trigger, &ANDY) && !denied(&FAMILY, &bob, &trigger, &ANDY));
        assert_eq!(route(&FAMILY, &from_me("@Andy hi"), &trigger, &ANDY), Route::Queue);
        assert_eq!(route(&FAMILY, &from_me("hi"), &trigger, &ANDY), Route::Context);
    }

    /// Quirk 35: 1.x lets everybody in when the file is broken.
    #[test]
    fn with_a_broken_allowlist_only_the_owner_wakes_a_group() {
        let broken = SenderAllowlist::parse("{");
        let open = Rules { requires_trigger: false, ..FAMILY };
        for rules in [FAMILY, open] {
            assert_eq!(route(&rules, &from_ann("@Andy hi"), &broken, &ANDY), Route::Context);
            assert_eq!(route(&rules, &from_me("@Andy hi"), &broken, &ANDY), Route::Queue);
        }
        assert_eq!(route(&MAIN, &from_ann("hi"), &broken, &OWN_NUMBER), Route::Queue);
        let elsewhere =
            SenderAllowlist::parse(r#"{"default":{"allow":"*","mode":"trigger"},"chats":{"x":0}}"#);
        assert_eq!(route(&open, &from_ann("hi"), &elsewhere, &ANDY), Route::Queue);
    }

    /// Quirk 1: 1.x takes any "andy:" and wildcards in the name for its own.
    #[test]
    fn only_the_exact_prefix_from_the_shared_number_is_an_echo() {
        let own = |message: &Incoming, who: &Assistant| {
            route(&MAIN, message, &SenderAllowlist::everybody(), who)
                == Route::Ignore(Reason::OwnMessage)
        };
        assert!(own(&from_me("Andy: done"), &ANDY));
        for text in ["andy: call him", "Andy, hi", "Andyx: hi", " Andy: hi", "tell Andy: hi"] {
            assert!(!own(&from_me(text), &ANDY), "{text}");
        }
        assert!(!own(&from_ann("Andy: hi"), &ANDY));
        assert!(!own(&from_me("Anna: hi"), &Assistant { name: "A%_", ..ANDY }));
        assert!(!own(&Incoming { local: true, ..from_me("Andy: hi") }, &ANDY));
        assert!(own(&Incoming { is_bot: true, ..from_ann("x") }, &ANDY));
    }

    #[test]
    fn with_its_own_number_the_account_is_the_assistant() {
        let all = SenderAllowlist::everybody();
        assert_eq!(
            route(&MAIN, &from_me("hi"), &all, &OWN_NUMBER),
            Route::Ignore(Reason::OwnMessage)
        );
        assert_eq!(route(&MAIN, &from_ann("Andy: hi"), &all, &OWN_NUMBER), Route::Queue);
        let typed = Incoming { local: true, ..from_me("hi") };
        assert_eq!(route(&MAIN, &typed, &all, &OWN_NUMBER), Route::Queue);
    }

    #[test]
    fn nothing_in_it_is_nothing_to_do() {
        let empty = Incoming { is_empty: true, ..from_ann("") };
        assert_eq!(
            route(&MAIN, &empty, &SenderAllowlist::everybody(), &ANDY),
            Route::Ignore(Reason::Empty)
        );
    }

    #[test]
    fn trust_is_for_the_terminal_and_the_shared_account() {
        assert!(trusted(&from_me("hi"), &ANDY));
        assert!(!trusted(&from_me("Andy: hi"), &ANDY));
        assert!(!trusted(&from_me("hi"), &OWN_NUMBER));
        assert!(!trusted(&from_ann("hi"), &ANDY));
        assert!(trusted(&Incoming { local: true, ..from_ann("hi") }, &OWN_NUMBER));
    }
}
