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

use crate::db::Speakers;

/// What a group demands of a message.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The chat's addresses, for the allowlist.
    pub jids: &'a [String],
    /// The administering group: nothing needs a trigger there.
    pub is_main: bool,
    /// Whether a message must begin with the trigger; 1.x's default is yes.
    pub requires_trigger: bool,
    /// The group's own trigger text. None or blank: `@` and the assistant's name.
    pub trigger: Option<&'a str>,
    /// Who may wake the agent besides the owner. Main answers everybody in it.
    pub speakers: Speakers,
    /// Whether what others say without waking the agent is kept.
    pub keeps_context: bool,
}

/// A delivered message, as far as its way depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The sender's addresses, in every form in which the allowlist may have them.
    pub senders: &'a [String],
    /// Sent from the account that the channel is logged in with.
    pub from_me: bool,
    /// Typed at this machine, in the terminal.
    pub local: bool,
    /// The sender is somebody whose direct chat is main's: the owner, on a telephone
    /// of another number than the assistant's.
    pub is_owner: bool,
    /// The sender is somebody whom the owner knows.
    pub is_known: bool,
    /// It mentions the assistant in the network's own way, wherever in the text.
    pub calls: bool,
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
    /// Stored and shown with the next turn; the reason why the agent is not woken, if
    /// it was called.
    Context(Option<Reason>),
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
    /// Called the agent, and the owner does not know them.
    NotKnown,
    /// Called the agent, which answers the owner alone here.
    NotTheOwner,
    /// Called the agent; the allowlist does not let them.
    MayNotTrigger,
    /// The group keeps nothing of what others say among themselves.
    NotKept,
}

impl Reason {
    /// As it stands in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NotAllowed => "sender not allowed",
            Reason::OwnMessage => "own message",
            Reason::Empty => "empty",
            Reason::NotKnown => "called by somebody whom the owner does not know",
            Reason::NotTheOwner => "called by somebody else than the owner",
            Reason::MayNotTrigger => "called by somebody whom the sender allowlist does not let",
            Reason::NotKept => "talk of others, which the group does not keep",
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
    let owner = message.from_me || message.local || message.is_owner;
    let jid = allowlist.address(rules.jids);
    if !owner && message.senders.iter().all(|sender| allowlist.drops(jid, sender)) {
        return Route::Drop(Reason::NotAllowed);
    }
    if message.is_empty {
        return Route::Ignore(Reason::Empty);
    }
    // As in 1.x, a readable allowlist decides only who may trigger: where nothing
    // needs a trigger everybody is answered. A broken one may have said anything,
    // so strangers wake only main, which is the owner's own chat.
    let called = || {
        let text = trigger::effective(rules.trigger, assistant.name);
        message.calls || trigger::matches(&text, message.content)
    };
    let refused = if rules.is_main || (owner && (!rules.requires_trigger || called())) {
        return Route::Queue;
    } else if owner {
        return Route::Context(None);
    } else if !rules.requires_trigger {
        allowlist.is_unreadable(jid)
    } else if called() {
        !message.senders.iter().any(|sender| allowlist.may_trigger(jid, sender))
    } else if rules.keeps_context {
        return Route::Context(None);
    } else {
        return Route::Drop(Reason::NotKept);
    };
    let reason = match rules.speakers {
        Speakers::Owner => Reason::NotTheOwner,
        Speakers::Known if !message.is_known => Reason::NotKnown,
        Speakers::Known | Speakers::Everybody if refused => Reason::MayNotTrigger,
        Speakers::Known | Speakers::Everybody => return Route::Queue,
    };
    if rules.keeps_context { Route::Context(Some(reason)) } else { Route::Drop(Reason::NotKept) }
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
/// sent from an account that the owner shares with the assistant, or sent by somebody
/// whose direct chat the owner linked to main.
pub fn trusted(message: &Incoming, assistant: &Assistant) -> bool {
    message.local || message.is_owner || (message.from_me && !is_own(message, assistant))
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
    message.from_me && !message.local && echo()
}

#[cfg(test)]
mod tests;
