//! What a state says of itself: what is open, due, idle. No decision.

use super::{Guest, Phase, Rules, State, Turn};
use crate::db::OpenTurn;
use crate::ids::{Incarnation, TurnId};
use crate::ipc::record::{Session, TurnKind};

impl State {
    /// The state that the rows say: `open` turns, and an incarnation that is not
    /// known to be dead.
    pub fn from_rows(open: &[OpenTurn], incarnation: Option<Incarnation>) -> State {
        State {
            guest: incarnation.map_or(Guest::Absent, |id| Guest::Lost { id }),
            turns: open.iter().map(Turn::from).collect(),
            heard_others: false,
            work: false,
            draining: false,
            barred: false,
            held: 0,
        }
    }

    /// The incarnation that exists, in whatever condition.
    pub fn incarnation(&self) -> Option<Incarnation> {
        match self.guest {
            Guest::Absent | Guest::Waiting { .. } => None,
            Guest::Starting { id, .. }
            | Guest::Live { id, .. }
            | Guest::Closing { id, .. }
            | Guest::Stopping { id }
            | Guest::Lost { id } => Some(id),
        }
    }

    /// Whether the guest could go at once without loss, and since when.
    pub fn idle_since(&self) -> Option<i64> {
        match self.guest {
            Guest::Live { idle_since, .. } => idle_since,
            _ => None,
        }
    }

    pub(super) fn busy(&self) -> bool {
        self.turns.iter().any(|t| t.phase.is_given())
    }

    /// The queued turns that are to be given now, oldest first. None overtakes an earlier
    /// one that waits for its next attempt; runs of tasks that are alone wait for nobody.
    pub(super) fn due(&self, now: i64) -> Vec<TurnId> {
        if self.held > now {
            return Vec::new();
        }
        let mut queued: Vec<(&Turn, i64)> = self.turns.iter().filter_map(Turn::queued).collect();
        queued.sort_by_key(|(t, _)| t.id);
        let mut held_up = false;
        queued.retain(|(t, not_before)| {
            let alone = t.is_task && t.session == Session::Isolated;
            let is_due = *not_before <= now && (alone || !held_up);
            held_up |= *not_before > now && !alone;
            is_due
        });
        queued.iter().map(|(t, _)| t.id).collect()
    }

    /// Whether what waits may be claimed: not while a turn before it waits for its
    /// next attempt, or it would be overtaken.
    pub(super) fn may_claim(&self, now: i64) -> bool {
        let later = |t: &Turn| matches!(t.phase, Phase::Queued { not_before } if not_before > now);
        self.work && self.held <= now && !self.turns.iter().any(later)
    }

    /// The last attempt begins a new conversation: a poisoned transcript must not
    /// fail a group for ever. A turn with a conversation of its own always has a new one.
    pub(super) fn wants_fresh(&self, rules: &Rules, now: i64) -> bool {
        self.turns.iter().filter(|t| t.session == Session::Group).any(|t| {
            matches!(t.phase, Phase::Queued { not_before } if not_before <= now)
                && (t.cost + 1 >= rules.attempts || t.attempt + 1 >= rules.attempts_in_all)
        })
    }
}

impl Turn {
    /// With the time before which it is not to be given, if no guest has it.
    fn queued(&self) -> Option<(&Turn, i64)> {
        match self.phase {
            Phase::Queued { not_before } => Some((self, not_before)),
            _ => None,
        }
    }
}

impl From<&OpenTurn> for Turn {
    fn from(open: &OpenTurn) -> Turn {
        let phase = match (open.incarnation, open.deadline) {
            (Some(_), Some(deadline)) => Phase::Given { deadline },
            _ => Phase::Queued { not_before: open.not_before },
        };
        Turn {
            id: open.id,
            cost: open.cost,
            attempt: open.attempt,
            created_at: open.created_at,
            noticed: open.noticed,
            trusted: open.trusted,
            session: open.session,
            is_task: open.kind == TurnKind::Task,
            phase,
        }
    }
}
