//! Marks on messages: read, at work, done, failed. Best effort, from rows: what could
//! not be shown now is shown with the next reason to look, or after a restart.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::channel::{Channel, SendError};
use crate::db::{self, Emoji, Ledger, Mark};

/// Shows what is due each time that `look` is notified.
pub fn start(
    ledger: Ledger,
    channels: Vec<Arc<dyn Channel>>,
    emoji: Option<Emoji>,
    look: Arc<Notify>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            look.notified().await;
            let emoji = emoji.clone();
            match ledger.write(move |c| db::marks::due(c, emoji.as_ref())).await {
                Ok(marks) if marks.is_empty() => {}
                Ok(marks) => show(&ledger, &channels, marks).await,
                Err(error) => tracing::warn!(%error, "cannot read which marks are due"),
            }
        }
    })
}

async fn show(ledger: &Ledger, channels: &[Arc<dyn Channel>], mut marks: Vec<Mark>) {
    for channel in channels {
        let (ours, others) = marks.into_iter().partition(|mark| channel.owns(&mark.jid));
        marks = others;
        let ours: Vec<Mark> = ours;
        let unread: Vec<Mark> = ours.iter().filter(|mark| mark.unread).cloned().collect();
        if !unread.is_empty() && is_over(channel.read(&unread).await) {
            let read = move |c: &rusqlite::Connection| {
                unread.iter().try_for_each(|mark| db::marks::read(c, mark))
            };
            ledger.note("a mark", read).await;
        }
        for mark in ours {
            let Some(emoji) = mark.emoji.clone() else { continue };
            if is_over(channel.react(&mark, &emoji).await) {
                ledger.note("a mark", move |c| db::marks::reacted(c, &mark, &emoji)).await;
            }
        }
    }
}

/// Whether nothing more is to be tried: a mark is no reason to insist.
fn is_over(shown: Result<(), SendError>) -> bool {
    match shown {
        Ok(()) | Err(SendError::Never(_)) => true,
        Err(SendError::Offline | SendError::Later(_)) => false,
    }
}
