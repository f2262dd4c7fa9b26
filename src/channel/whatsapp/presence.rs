//! That the assistant is at work: shown while a turn is, and not a moment longer.
//!
//! Phones forget "typing" after some seconds, so it is said again until it ends.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::AbortHandle;
use whatsapp_rust::Jid;

use super::send::WhatsApp;

use crate::lock::lock;

/// How long a phone shows it.
const AGAIN: Duration = Duration::from_secs(10);
/// The longest that it is shown for one piece of work: nobody believes more.
const MOST: u32 = 180;

/// The chats where it is shown.
#[derive(Default)]
pub struct Typing(Mutex<HashMap<String, AbortHandle>>);

impl Typing {
    /// Shows or hides it.
    pub fn set(&self, whatsapp: &WhatsApp, jid: &str, on: bool) {
        let mut shown = lock(&self.0);
        if on && shown.contains_key(jid) {
            return;
        }
        if let Some(task) = shown.remove(jid) {
            task.abort();
        }
        let (whatsapp, chat) = (whatsapp.clone(), jid.to_owned());
        if !on {
            tokio::spawn(async move { whatsapp.show_typing(&chat, false).await });
            return;
        }
        let task = tokio::spawn(async move {
            for _ in 0..MOST {
                whatsapp.show_typing(&chat, true).await;
                tokio::time::sleep(AGAIN).await;
            }
        });
        shown.insert(jid.to_owned(), task.abort_handle());
    }
}

impl WhatsApp {
    /// Says it once. Without a connection nobody would see it.
    async fn show_typing(&self, jid: &str, on: bool) {
        let Some(client) = self.client() else { return };
        let Ok(to) = self.reachable(&client, jid).await.parse::<Jid>() else { return };
        let state = client.chatstate();
        let said = if on { state.send_composing(&to).await } else { state.send_paused(&to).await };
        if let Err(error) = said {
            tracing::debug!(%error, "typing was not shown");
        }
    }
}
