//! Histories in a model world: the rows, a guest, its mailbox. The host dies before
//! and after every effect; what is left are the rows and what the guest wrote.
//! However it goes, each turn ends once, in an answer or in a notice.

use std::collections::{BTreeMap, VecDeque};

use super::*;

#[derive(Default)]
struct World {
    /// Messages that wait for a claim.
    queued: u32,
    /// Rows of open turns.
    rows: BTreeMap<TurnId, OpenTurn>,
    /// Rows of turns that ended.
    ended: Vec<TurnId>,
    incarnations: i64,
    /// The incarnation that no row says is dead.
    alive: Option<Incarnation>,
    /// Whether its process lives, what it works on, and its records that nobody
    /// has read.
    process: bool,
    given: Vec<TurnId>,
    mailbox: VecDeque<Event>,
    now: i64,
    random: u64,
    /// One crash at about every how-many-th place.
    odds: u64,
    crash: bool,
}

/// The host died here.
struct Died;

impl World {
    fn chance(&mut self, of: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % of
    }

    fn crash_point(&mut self) -> Result<(), Died> {
        if self.chance(self.odds) == 0 { Err(Died) } else { Ok(()) }
    }

    fn restart(&mut self) -> State {
        self.process = false;
        self.given.clear();
        self.crash = self.alive.is_some();
        let open: Vec<OpenTurn> = self.rows.values().cloned().collect();
        // The dispatcher's look into the ledger tells of work.
        State { work: self.queued > 0, ..State::from_rows(&open, self.alive) }
    }

    /// One event with everything that follows, as the actor does it: rows in one
    /// commit, then the rest, with a crash point around each.
    fn handle(&mut self, s: &mut State, event: Event) -> Result<(), Died> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (next, effects) = step(&RULES, s, &event, self.now);
            self.crash_point()?;
            // Reading a record and its effect are one commit.
            effects.iter().filter(|e| e.is_row()).for_each(|e| self.commit(e));
            self.crash_point()?;
            *s = next;
            for effect in effects.iter().filter(|e| !e.is_row()) {
                let follow = self.act(s, effect)?;
                events.extend(follow);
                self.crash_point()?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, effect: &Effect) {
        match effect {
            Effect::Complete(turns) => turns.iter().for_each(|t| self.end(*t)),
            Effect::GiveUp { turn, .. } => self.end(*turn),
            Effect::Requeue { turn, not_before, costs } => {
                let row = self.rows.get_mut(turn).unwrap();
                row.incarnation = None;
                row.not_before = *not_before;
                row.cost += u32::from(*costs);
            }
            Effect::Notice(turn) => self.rows.get_mut(turn).unwrap().noticed = true,
            Effect::Dead(_) => self.alive = None,
            other => panic!("{other:?} is no row"),
        }
    }

    fn end(&mut self, turn: TurnId) {
        assert!(self.rows.remove(&turn).is_some(), "{turn} ends twice");
        self.ended.push(turn);
    }

    fn act(&mut self, s: &mut State, effect: &Effect) -> Result<Vec<Event>, Died> {
        Ok(match effect {
            Effect::AskSlot => vec![Event::Slot],
            Effect::Open { .. } => {
                assert_eq!(self.alive, None, "one container a group");
                self.incarnations += 1;
                self.alive = Some(Incarnation(self.incarnations));
                self.crash_point()?;
                vec![Event::Opened(Incarnation(self.incarnations))]
            }
            Effect::Claim if self.queued == 0 => vec![Event::NotClaimed { again: false }],
            Effect::Claim => {
                let id = TurnId(i64::try_from(self.rows.len() + self.ended.len()).unwrap() + 1);
                self.queued = 0;
                let row = OpenTurn {
                    incarnation: self.alive,
                    deadline: self.alive.map(|_| self.now + RULES.turn),
                    attempt: u32::from(self.alive.is_some()),
                    created_at: self.now,
                    ..super::open(id.0)
                };
                self.rows.insert(id, row.clone());
                self.crash_point()?;
                if self.alive.is_some() {
                    self.given.push(id);
                }
                vec![Event::Claimed(row)]
            }
            Effect::Give(turn) => {
                let (alive, now) = (self.alive, self.now);
                let row = self.rows.get_mut(turn).unwrap();
                row.incarnation = alive;
                row.attempt += 1;
                row.deadline = Some(now + RULES.turn);
                let row = row.clone();
                self.crash_point()?;
                self.given.push(*turn);
                vec![Event::Claimed(row)]
            }
            Effect::Spawn if self.chance(8) == 0 => vec![Event::Exited],
            Effect::Spawn => {
                self.process = true;
                self.mailbox.push_back(Event::Ready);
                vec![]
            }
            Effect::Interrupt(turn) => {
                self.given.retain(|t| t != turn);
                self.mailbox.push_back(Event::Failed { turns: vec![*turn], retryable: true });
                vec![]
            }
            Effect::Stop => {
                self.process = false;
                vec![Event::Exited]
            }
            Effect::Close if self.given.is_empty() => {
                self.process = false;
                vec![Event::Exited]
            }
            Effect::Bury => {
                self.process = false;
                self.given.clear();
                while let Some(record) = self.mailbox.front().cloned() {
                    let (next, effects) = step(&RULES, s, &record, self.now);
                    effects.iter().filter(|e| e.is_row()).for_each(|e| self.commit(e));
                    self.mailbox.pop_front();
                    *s = next;
                    self.crash_point()?;
                }
                vec![Event::Buried { crash: std::mem::take(&mut self.crash) }]
            }
            Effect::Close | Effect::Clean(_) | Effect::FreeSlot => vec![],
            row => panic!("{row:?} is a row"),
        })
    }

    /// The guest gets on with its work: an answer, a folded one, an error, death.
    fn work(&mut self) -> Option<Event> {
        if !self.process || self.given.is_empty() {
            return None;
        }
        let record = match self.chance(10) {
            0 => {
                self.process = false;
                return Some(Event::Exited);
            }
            1 => Event::Failed { turns: vec![self.given.remove(0)], retryable: true },
            2 => return None,
            3..6 => Event::Done(std::mem::take(&mut self.given)),
            _ => Event::Done(vec![self.given.remove(0)]),
        };
        self.mailbox.push_back(record);
        None
    }
}

fn history(seed: u64, odds: u64) -> World {
    let mut world =
        World { random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, odds, ..World::default() };
    let mut s = world.restart();
    let mut left = 12;
    for _ in 0..20_000 {
        world.now += 1 + i64::try_from(world.chance(20)).unwrap();
        let next = match world.chance(4) {
            0 if left > 0 => {
                left -= 1;
                world.queued += 1;
                Some(Event::Work)
            }
            1 => Some(Event::Tick),
            2 => world.mailbox.pop_front(),
            _ => world.work(),
        };
        let Some(event) = next else { continue };
        let open = world.rows.len();
        if world.handle(&mut s, event.clone()).is_err() {
            // A record is gone from the mailbox only if its effect was committed.
            let lasting = matches!(event, Event::Done(_) | Event::Failed { .. });
            if lasting && world.rows.len() == open {
                world.mailbox.push_front(event);
            }
            s = world.restart();
        }
        if left == 0 && world.queued == 0 && world.rows.is_empty() {
            return world;
        }
    }
    panic!("seed {seed}: not settled: {s:?} {:?} queued {}", world.rows, world.queued);
}

#[test]
fn every_history_settles_and_each_turn_ends_once() {
    for seed in 1..300 {
        // Without crashes, with some, and with one at about every tenth effect.
        for odds in [u64::MAX, 40, 10] {
            let world = history(seed, odds);
            let mut ended = world.ended.clone();
            ended.sort_unstable();
            ended.dedup();
            assert_eq!(ended.len(), world.ended.len(), "seed {seed}: a turn ended twice");
        }
    }
}
