//! Begins the runs of scheduled tasks when their time has come.
//!
//! It owns no fact: what is due, and that it was begun, are rows. A begun run is a
//! queued turn, which its group's actor gives to the guest like any other.

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use rusqlite::Connection;
use tokio::sync::{Notify, mpsc::UnboundedSender};

use crate::clock::Clock;
use crate::crash;
use crate::db::{self, Begun, Ledger, now_ms};
use crate::ids::Folder;
use crate::outbox::Outbox;
use crate::turns::dispatch::Wake;
use crate::turns::rows;

/// Clocks are set, machines sleep: it looks at least this often.
const LONGEST: Duration = Duration::from_secs(60);

/// Begins runs.
pub struct Scheduler {
    /// The ledger.
    pub ledger: Ledger,
    /// Is told of groups with a new turn.
    pub wake: UnboundedSender<Wake>,
    /// Carries what is said of tasks that cannot run.
    pub outbox: Outbox,
    /// Notified when a task may have changed or ended.
    pub changed: Arc<Notify>,
    /// The owner's zone.
    pub zone: Tz,
}

impl Scheduler {
    /// Serves until dropped.
    pub async fn run(self) {
        let (mut clock, mut replan) = (Clock::default(), true);
        loop {
            replan |= clock.jump() < 0;
            let pause = match self.begin_due(&mut replan).await {
                Ok(Some(at)) => Duration::from_millis((at - now_ms()).max(0).unsigned_abs()),
                Ok(None) => LONGEST,
                Err(error) => {
                    tracing::error!(%error, "cannot look for due tasks; trying again");
                    Duration::from_secs(2)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause.min(LONGEST)) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Begins what is due, one commit a run, and says when the next is. What was
    /// planned by another clock, or in another zone, is planned anew before.
    async fn begin_due(&self, replan: &mut bool) -> db::Result<Option<i64>> {
        if *replan {
            let zone = self.zone;
            self.ledger.write(move |c| db::tasks::replan(c, zone, now_ms())).await?;
            *replan = false;
        }
        for due in self.ledger.write(|c| db::occurrences::due(c, now_ms())).await? {
            let zone = self.zone;
            let (id, planned) = (due.id.clone(), due.planned);
            crash::point("before beginning", &"run");
            let begun = self.ledger.write(move |c| begin(c, &id, planned, zone)).await?;
            crash::point("after beginning", &"run");
            tracing::info!(task = due.id, group = due.folder, ?begun, "due");
            match begun {
                Begun::Turn { .. } => {
                    if let Ok(folder) = Folder::parse(&due.folder) {
                        // The next look into the ledger finds the turn if the loop is ending.
                        let _ = self.wake.send(Wake::Turns(folder));
                    }
                }
                Begun::Paused(_) => self.outbox.wake(),
                Begun::NotDue => {}
            }
        }
        self.ledger.write(db::occurrences::next_wake).await
    }
}

/// One run; a task that cannot run is paused, and main is told, in the same step.
fn begin(c: &Connection, id: &str, planned: i64, zone: Tz) -> db::Result<Begun> {
    let begun = db::occurrences::begin(c, id, planned, zone, now_ms())?;
    if let Begun::Paused(reason) = &begun {
        crash::point("before pausing", &"task");
        let text = format!("I paused the task {id}: {reason}.");
        rows::tell_main(c, &format!("task:{id}:paused"), &text)?;
    }
    Ok(begun)
}
