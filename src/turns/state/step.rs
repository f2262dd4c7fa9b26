//! The function itself: [`step`] at the top, what it leans on below.

use super::{Effect, Event, Guest, Phase, Rules, State, Turn, Why};
use crate::db::LONGEST_PAUSE;
use crate::ids::TurnId;

/// The one decision. `now` is in milliseconds since 1970.
pub fn step(rules: &Rules, state: &State, event: &Event, now: i64) -> (State, Vec<Effect>) {
    let mut s = state.clone();
    let mut effects = Vec::new();
    match event {
        Event::Work => s.work = true,
        Event::Slot if matches!(s.guest, Guest::Waiting { .. }) && !s.draining => {
            effects.push(Effect::Open { fresh: s.wants_fresh(rules, now) });
        }
        Event::Slot => effects.push(Effect::FreeSlot),
        Event::Opened(id) => {
            s.guest = Guest::Starting { id: *id, since: now };
            s.heard_others = false;
            give_and_claim(rules, &mut s, &mut effects, now);
            effects.push(Effect::Spawn);
        }
        Event::GroupGone => {
            s.guest = Guest::Absent;
            s.work = false;
            s.turns.clear();
            effects.push(Effect::FreeSlot);
        }
        Event::Claimed(open) => {
            s.turns.retain(|t| t.id != open.id);
            s.turns.push(Turn::from(open));
            s.heard_others |= !open.trusted;
        }
        Event::NotClaimed { again } => s.work |= again,
        Event::NotGiven(id) => {
            for t in s.turns.iter_mut().filter(|t| t.id == *id) {
                t.phase = Phase::Queued { not_before: now + rules.backoff };
            }
        }
        Event::Ready => {
            if let Guest::Starting { id, .. } = s.guest {
                s.guest = Guest::Live { id, quiet_since: None, idle_since: None, background: 0 };
            }
        }
        Event::Done(turns) => {
            let ended: Vec<TurnId> =
                s.turns.iter().map(|t| t.id).filter(|id| turns.contains(id)).collect();
            s.turns.retain(|t| !ended.contains(&t.id));
            if !ended.is_empty() {
                effects.push(Effect::Complete(ended));
            }
        }
        Event::Failed { turns, retryable } => {
            let end = if *retryable { End::Fault } else { End::Final };
            fail(rules, &mut s, &mut effects, now, end, |t| turns.contains(&t.id));
        }
        Event::Outage(turns) => {
            fail(rules, &mut s, &mut effects, now, End::Outage, |t| turns.contains(&t.id));
        }
        Event::Background(count) => {
            if let Guest::Live { background, .. } = &mut s.guest {
                *background = *count;
            }
        }
        Event::Barred(barred) => {
            s.barred = *barred;
            if *barred {
                wait_no_longer(&mut s, &mut effects);
            }
        }
        Event::Evict => {
            if s.idle_since().is_some() {
                close(rules, &mut s, &mut effects, now);
            }
        }
        Event::Held(until) => hold(rules, &mut s, &mut effects, now, *until),
        Event::Runaway => stop(&mut s, &mut effects),
        Event::Exited => {
            if let Some(id) = s.incarnation() {
                s.guest = Guest::Lost { id };
                effects.push(Effect::Bury);
            }
        }
        Event::Buried { crash } => {
            let given = |t: &Turn| t.phase.is_given();
            let end = if *crash { End::HostDied } else { End::Fault };
            fail(rules, &mut s, &mut effects, now, end, given);
            if let Some(id) = s.incarnation() {
                effects.extend([Effect::Dead(id), Effect::Clean(id), Effect::FreeSlot]);
            }
            s.guest = Guest::Absent;
        }
        Event::Jumped(by) => s.shift(*by),
        Event::Tick => tick(rules, &mut s, &mut effects, now),
        Event::Drain => {
            s.draining = true;
            wait_no_longer(&mut s, &mut effects);
        }
        Event::DrainNow => drain_now(rules, &mut s, &mut effects, now),
    }
    // What the ledger refused is not asked of it again at once, but by the tick.
    if !matches!(event, Event::NotClaimed { .. } | Event::NotGiven(_)) {
        go_on(rules, &mut s, &mut effects, now);
    }
    (s, effects)
}

impl State {
    /// Keeps every span of time as it is where the clock is not: deadlines are for
    /// work, and there was none while the machine slept. The day's end stays.
    fn shift(&mut self, by: i64) {
        match &mut self.guest {
            Guest::Waiting { since: at }
            | Guest::Starting { since: at, .. }
            | Guest::Closing { until: at, .. } => *at += by,
            Guest::Live { quiet_since, idle_since, .. } => {
                [quiet_since, idle_since].into_iter().flatten().for_each(|at| *at += by);
            }
            _ => {}
        }
        for turn in &mut self.turns {
            turn.created_at += by;
            let (Phase::Queued { not_before: at }
            | Phase::Given { deadline: at }
            | Phase::Interrupted { until: at, .. }) = &mut turn.phase;
            *at += by;
        }
    }
}

/// What follows from the state alone, whatever the event was.
fn go_on(rules: &Rules, s: &mut State, effects: &mut Vec<Effect>, now: i64) {
    match s.guest {
        Guest::Lost { .. } if !effects.contains(&Effect::Bury) => effects.push(Effect::Bury),
        Guest::Absent
            if !s.draining && !s.barred && (s.may_claim(now) || !s.due(now).is_empty()) =>
        {
            s.guest = Guest::Waiting { since: now };
            effects.push(Effect::AskSlot);
        }
        Guest::Live { background, quiet_since, idle_since, id } => {
            let fresh = s.wants_fresh(rules, now);
            let last = s.draining || fresh || rules.once;
            if (last || (rules.apart && s.heard_others)) && !s.busy() {
                return close(rules, s, effects, now);
            }
            if !last {
                give_and_claim(rules, s, effects, now);
            }
            let acts = effects.iter().any(|e| matches!(e, Effect::Give(_) | Effect::Claim));
            let quiet = !acts && !s.busy();
            let quiet_since = quiet.then(|| quiet_since.unwrap_or(now));
            let idle = quiet_since.filter(|since| background == 0 || since + rules.turn <= now);
            let idle_since = idle.map(|_| idle_since.unwrap_or(now));
            s.guest = Guest::Live { id, background, quiet_since, idle_since };
        }
        _ => {}
    }
}

fn give_and_claim(rules: &Rules, s: &mut State, effects: &mut Vec<Effect>, now: i64) {
    for id in s.due(now) {
        effects.push(Effect::Give(id));
        for t in s.turns.iter_mut().filter(|t| t.id == id) {
            t.phase = Phase::Given { deadline: now + rules.turn };
        }
    }
    if s.may_claim(now) {
        s.work = false;
        effects.push(Effect::Claim);
    }
}

/// Why an attempt ended.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// Something failed; another attempt may not.
    Fault,
    /// Another attempt would fail likewise.
    Final,
    /// There was no model. Not the turn's fault, and it may take a while.
    Outage,
    /// The host died. Not the turn's fault, and over.
    HostDied,
}

/// Ends an attempt of the `chosen` turns: another one, or the end.
fn fail(
    rules: &Rules,
    s: &mut State,
    effects: &mut Vec<Effect>,
    now: i64,
    end: End,
    chosen: impl Fn(&Turn) -> bool,
) {
    s.turns.retain_mut(|t| {
        if !chosen(t) {
            return true;
        }
        let costs = matches!(end, End::Fault | End::Final);
        let cost = t.cost + u32::from(costs);
        // The last attempt begins a new conversation, which mends no outage.
        let last = t.attempt + u32::from(end == End::Outage) >= rules.attempts_in_all;
        let why = match t.phase {
            Phase::Interrupted { why: Why::Drain | Why::Budget, .. } => {
                t.phase = Phase::Queued { not_before: now };
                effects.push(Effect::Requeue { turn: t.id, not_before: now, costs: false });
                return true;
            }
            Phase::Interrupted { why, .. } => why,
            // While the host was dead, time passed that the turn never had.
            Phase::Given { deadline } if deadline <= now && end != End::HostDied => Why::Deadline,
            _ if end != End::Final && cost < rules.attempts && !last => {
                let before = if costs { cost } else { t.attempt }.saturating_sub(1);
                let pause = match end {
                    End::HostDied => 0,
                    _ => (rules.backoff * 3_i64.pow(before.min(9))).min(LONGEST_PAUSE),
                };
                t.cost = cost;
                t.phase = Phase::Queued { not_before: now + pause };
                effects.push(Effect::Requeue { turn: t.id, not_before: now + pause, costs });
                return true;
            }
            _ if end == End::HostDied && last => Why::Interrupted,
            _ => Why::Failed,
        };
        effects.push(Effect::GiveUp { turn: t.id, why });
        false
    });
}

fn tick(rules: &Rules, s: &mut State, effects: &mut Vec<Effect>, now: i64) {
    let mut overdue = false;
    for t in &mut s.turns {
        match t.phase {
            Phase::Given { deadline } if deadline <= now => {
                t.phase = Phase::Interrupted { until: now + rules.grace, why: Why::Deadline };
                effects.push(Effect::Interrupt(t.id));
            }
            Phase::Interrupted { until, .. } if until <= now => overdue = true,
            _ => {}
        }
        // That one waits for the day to end was said.
        if !t.noticed && t.created_at >= s.held && t.created_at + rules.notice <= now {
            t.noticed = true;
            effects.push(Effect::Notice(t.id));
        }
    }
    match s.guest {
        Guest::Starting { since, .. } if since + rules.start <= now => overdue = true,
        Guest::Closing { until, .. } if until <= now => overdue = true,
        Guest::Stopping { .. } => effects.push(Effect::Stop),
        // Nobody can be told of messages that no turn has: give them one.
        Guest::Waiting { since } if since + rules.notice <= now && s.work && s.held <= now => {
            s.work = false;
            effects.push(Effect::Claim);
        }
        Guest::Live { idle_since: Some(since), .. } if since + rules.idle <= now => {
            close(rules, s, effects, now);
        }
        _ => {}
    }
    if overdue {
        stop(s, effects);
    }
}

fn hold(rules: &Rules, s: &mut State, effects: &mut Vec<Effect>, now: i64, until: i64) {
    s.held = until;
    if until <= now {
        return;
    }
    interrupt(s, effects, now + rules.grace, Why::Budget);
    wait_no_longer(s, effects);
}

fn drain_now(rules: &Rules, s: &mut State, effects: &mut Vec<Effect>, now: i64) {
    s.draining = true;
    interrupt(s, effects, now + rules.grace, Why::Drain);
    match s.guest {
        Guest::Starting { .. } => stop(s, effects),
        Guest::Live { .. } => close(rules, s, effects, now),
        _ => {}
    }
}

/// What runs has until `until` to end by itself.
fn interrupt(s: &mut State, effects: &mut Vec<Effect>, until: i64, why: Why) {
    for t in s.turns.iter_mut().filter(|t| matches!(t.phase, Phase::Given { .. })) {
        t.phase = Phase::Interrupted { until, why };
        effects.push(Effect::Interrupt(t.id));
    }
}

/// A place that was asked for is not taken.
fn wait_no_longer(s: &mut State, effects: &mut Vec<Effect>) {
    if matches!(s.guest, Guest::Waiting { .. }) {
        s.guest = Guest::Absent;
        effects.push(Effect::FreeSlot);
    }
}

fn close(rules: &Rules, s: &mut State, effects: &mut Vec<Effect>, now: i64) {
    if let Guest::Live { id, .. } = s.guest {
        s.guest = Guest::Closing { id, until: now + rules.grace };
        effects.push(Effect::Close);
    }
}

fn stop(s: &mut State, effects: &mut Vec<Effect>) {
    if let Guest::Starting { id, .. } | Guest::Live { id, .. } | Guest::Closing { id, .. } = s.guest
    {
        s.guest = Guest::Stopping { id };
        effects.push(Effect::Stop);
    }
}
