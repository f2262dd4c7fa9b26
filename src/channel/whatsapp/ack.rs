//! What WhatsApp says of a message that was sent: only its acknowledgement means
//! that it was taken. That writing it worked means nothing.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::sync::oneshot;

use crate::channel::SendError;
use crate::lock::lock;

/// The sends that wait, by message id.
#[derive(Default)]
pub struct Acks(Mutex<HashMap<String, oneshot::Sender<Option<String>>>>);

impl Acks {
    /// Waits for the acknowledgement of `id`: `None` for taken, else the code of the
    /// refusal. An error of the receiver means that the connection was lost.
    pub fn expect(&self, id: &str) -> oneshot::Receiver<Option<String>> {
        let (said, heard) = oneshot::channel();
        lock(&self.0).insert(id.to_owned(), said);
        heard
    }

    /// Tells whoever waits for `id`.
    pub fn tell(&self, id: &str, error: Option<String>) {
        if let Some(waiting) = lock(&self.0).remove(id) {
            // Whoever gave up waiting sends again, under the same id.
            let _ = waiting.send(error);
        }
    }

    /// The connection is lost: nobody will be told.
    pub fn forget(&self) {
        lock(&self.0).clear();
    }
}

/// What a refusal means for the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Perhaps the chat's other address is taken.
    OtherAddress(String),
    /// Nothing should be sent for a while.
    Quiet(String),
    /// Another attempt, or none.
    Send(SendError),
}

/// Judges a refusal by its code.
pub fn judge(code: &str) -> Refusal {
    let never = |why: &str| Refusal::Send(SendError::Never(format!("{why} (WhatsApp: {code})")));
    match code {
        "400" => {
            Refusal::OtherAddress(format!("WhatsApp does not take it for this address ({code})"))
        }
        "479" => Refusal::OtherAddress(format!("WhatsApp finds fault with its form ({code})")),
        "420" | "429" | "463" => Refusal::Quiet(code.into()),
        "401" | "403" => never("the assistant may not write in this chat"),
        "404" | "410" => never("there is no such chat any more"),
        "405" | "406" | "413" => never("this kind of message is not taken"),
        _ => Refusal::Send(SendError::Later(format!("WhatsApp did not take it ({code})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_consequence() {
        let later = |code| matches!(judge(code), Refusal::Send(SendError::Later(_)));
        let never = |code| matches!(judge(code), Refusal::Send(SendError::Never(_)));
        assert!(["500", "503", "999"].into_iter().all(later));
        assert!(["403", "404", "406"].into_iter().all(never));
        assert!(matches!(judge("400"), Refusal::OtherAddress(_)));
        assert!(matches!(judge("479"), Refusal::OtherAddress(_)));
        assert!(["429", "463"].into_iter().all(|code| judge(code) == Refusal::Quiet(code.into())));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_waits_hears_of_its_own_message_or_of_the_lost_connection() {
        let acks = Acks::default();
        let (one, two) = (acks.expect("1"), acks.expect("2"));
        acks.tell("1", Some("463".into()));
        acks.tell("3", None);
        assert_eq!(one.await, Ok(Some("463".into())));
        acks.forget();
        assert!(two.await.is_err());
    }
}
