//! The link's task in the daemon, with its alarm.

use std::sync::Arc;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::{Life, WhatsApp, alert, link, voice};
use crate::channel::Inlet;
use crate::db::{self, Ledger};
use crate::outbox::Outbox;

/// The task that owns the link.
pub struct LinkTask {
    /// Notified when there may be a wish.
    pub poke: Arc<Notify>,
    stop: oneshot::Sender<()>,
    life: JoinHandle<()>,
    alarm: JoinHandle<()>,
}

impl LinkTask {
    /// Connects if an account is linked, and waits for wishes.
    pub fn start(whatsapp: WhatsApp, inlet: Inlet, outbox: Outbox) -> LinkTask {
        let (config, ledger) = (whatsapp.config().clone(), whatsapp.ledger().clone());
        voice::sweep(&config);
        let life = Life::new(whatsapp, Some(inlet), Some(outbox));
        let (poke, (stop, stopped)) = (life.poke(), oneshot::channel::<()>());
        let alarm = alert::watch(life.watch(), ledger, config.alert.clone(), config.timezone);
        let alarm = tokio::spawn(alarm);
        LinkTask { poke, stop, life: tokio::spawn(life.run(async { _ = stopped.await })), alarm }
    }

    /// How things stand, for people.
    pub async fn sentence(&self, ledger: &Ledger, zone: chrono_tz::Tz) -> db::Result<String> {
        Ok(ledger.write(link::read).await?.sentence(zone))
    }

    /// Says goodbye to WhatsApp.
    pub async fn end(self) {
        // It is gone only if it failed, and then there is nothing to end.
        _ = self.stop.send(());
        _ = self.life.await;
        self.alarm.abort();
    }
}
