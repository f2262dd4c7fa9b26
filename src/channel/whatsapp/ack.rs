//! What WhatsApp says of a message that was sent: only its acknowledgement means
//! that it was taken. That writing it worked means nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::channel::SendError;
use crate::crash;
use crate::db::{self, Ledger};

/// The sends that wait, by message id.
#[derive(Default)]
pub struct Acks(Mutex<HashMap<String, oneshot::Sender<Option<String>>>>);

impl Acks {
    /// Waits for the acknowledgement of `id`: `None` for taken, else the code of the
    /// refusal. An error of the receiver means that the connection was lost.
    pub fn expect(&self, id: &str) -> oneshot::Receiver<Option<String>> {
        let (said, heard) = oneshot::channel();
        self.waiting().insert(id.to_owned(), said);
        heard
    }

    /// Tells whoever waits for `id`.
    pub fn tell(&self, id: &str, error: Option<String>) {
        if let Some(waiting) = self.waiting().remove(id) {
            // Whoever gave up waiting sends again, under the same id.
            let _ = waiting.send(error);
        }
    }

    /// The connection is lost: nobody will be told.
    pub fn forget(&self) {
        self.waiting().clear();
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Option<String>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a refusal means for the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Perhaps the chat's other address is taken.
    OtherAddress(String),
    /// WhatsApp restricts the account: nothing should be sent for a while.
    Restricted,
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
        "463" => Refusal::Restricted,
        "401" | "403" => never("the assistant may not write in this chat"),
        "404" | "410" => never("there is no such chat any more"),
        "405" | "406" | "413" => never("this kind of message is not taken"),
        "420" | "429" => {
            Refusal::Send(SendError::Later(format!("WhatsApp asks to send less ({code})")))
        }
        _ => Refusal::Send(SendError::Later(format!("WhatsApp did not take it ({code})"))),
    }
}

/// What a restricted account's message waits with.
pub fn restricted() -> SendError {
    SendError::Later(
        "WhatsApp restricts what this account may send (463); it is tried again, less often".into(),
    )
}

/// Notes that people's phones have these messages.
pub async fn delivered(ledger: &Ledger, ids: &[String]) {
    let ids = ids.to_vec();
    let noted = ledger.write(move |c| db::outbox::delivered(c, &ids)).await;
    crash::point("whatsapp after noting", &"delivery");
    if let Err(error) = noted {
        tracing::warn!(%error, "a delivery was not noted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_consequence() {
        let later = |code| matches!(judge(code), Refusal::Send(SendError::Later(_)));
        let never = |code| matches!(judge(code), Refusal::Send(SendError::Never(_)));
        assert!(["429", "500", "503", "999"].into_iter().all(later));
        assert!(["403", "404", "406"].into_iter().all(never));
        assert!(matches!(judge("400"), Refusal::OtherAddress(_)));
        assert!(matches!(judge("479"), Refusal::OtherAddress(_)));
        assert_eq!(judge("463"), Refusal::Restricted);
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
