//! Who may what: whatever the order of messages, senders, turns and calls, main's
//! rights hold only while every turn that its container ever had is the owner's, and no
//! other group has any.

use std::collections::VecDeque;

use nanoclaw::db::{self, Claim, Group, Incoming, Ledger, MessageState, NewGroup, Speakers};
use nanoclaw::ids::{Folder, Incarnation, TurnId};
use nanoclaw::requests::{Origin, handle, look, only_looks};
use nanoclaw::router::{self, Assistant, Route, Rules, SenderAllowlist};
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::inputs::{config, json};

const TOOLS: &[&str] = &[
    "send_message",
    "send_file",
    "schedule_task",
    "list_tasks",
    "pause_task",
    "resume_task",
    "cancel_task",
    "update_task",
    "register_group",
    "list_groups",
    "read_history",
    "rm_rf",
];

/// What happens, in any order.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody writes in main's chat: the owner or not, waking the agent or not.
    Write { owner: bool, wakes: bool },
    /// What waits becomes a turn.
    Claim,
    /// The oldest open turn ends.
    End,
    /// The agent asks, in the name of one of its turns, which may have ended.
    Ask { turn: usize, tool: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<bool>(), any::<bool>()).prop_map(|(owner, wakes)| Step::Write { owner, wakes }),
        3 => Just(Step::Claim),
        2 => Just(Step::End),
        4 => (any::<usize>(), any::<usize>()).prop_map(|(turn, tool)| Step::Ask { turn, tool }),
    ]
}

/// What only main may do, each in a way that would succeed.
fn administers(nth: usize) -> [(&'static str, Value); 3] {
    [
        ("send_message", json!({"text": format!("hi {nth}"), "chat": "t:other"})),
        (
            "register_group",
            json!({"jid": format!("t:new{nth}"), "name": "N", "folder": format!("new{nth}"), "trigger": "@N"}),
        ),
        (
            "schedule_task",
            json!({"prompt": "p", "schedule_type": "interval", "schedule_value": "1h",
            "target_group_jid": "t:other", "nth": nth}),
        ),
    ]
}

struct World {
    _place: tempfile::TempDir,
    c: Connection,
    main: Group,
    other: Group,
    guest: Incarnation,
    others_guest: Incarnation,
}

impl World {
    fn new() -> World {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ledger.db");
        drop(Ledger::open(&path).unwrap());
        let c = Ledger::look(&path).unwrap().unwrap();
        let group = |folder: &str, is_main| Group {
            is_main,
            requires_trigger: false,
            ..Group::new(Folder::parse(folder).unwrap(), folder.into())
        };
        let (main, other) = (group("main", true), group("other", false));
        for (group, jid) in [(&main, "t:main"), (&other, "t:other")] {
            db::groups::add(&c, &NewGroup { group: group.clone(), chats: vec![jid.into()] })
                .unwrap();
        }
        for n in 0..60 {
            db::groups::see_chat(&c, &format!("t:new{n}"), Some("N"), "", Some("t"), Some(true))
                .unwrap();
        }
        let guest = db::incarnations::open(&c, &main.folder, "test").unwrap();
        let others_guest = db::incarnations::open(&c, &other.folder, "test").unwrap();
        World { _place: place, c, main, other, guest, others_guest }
    }

    fn write(&self, jid: &str, id: usize, owner: bool, wakes: bool) {
        let message = Incoming {
            jid: jid.into(),
            id: format!("m{id}"),
            trusted: owner,
            is_group: true,
            ..Incoming::default()
        };
        let state = if wakes { MessageState::Queued } else { MessageState::Context };
        db::messages::store(&self.c, &message, state, None).unwrap();
    }

    fn claim(&self, group: &Group, guest: Incarnation) -> Option<TurnId> {
        let claim = Claim {
            folder: &group.folder,
            incarnation: Some(guest),
            deadline: i64::MAX,
            render: &|_| String::new(),
            command: &|_| None,
            isolate_strangers: group.is_main,
        };
        Some(db::claim(&self.c, &claim).unwrap()?.open.id)
    }

    fn ask(
        &self,
        group: &Group,
        guest: Incarnation,
        turn: TurnId,
        tool: &str,
        arguments: &Value,
    ) -> bool {
        let origin = Origin { group, incarnation: guest, turn, zone: chrono_tz::UTC, file: None };
        let asked = match only_looks(tool) {
            true => look(&self.c, &origin, tool, arguments.clone()),
            false => handle(&self.c, &origin, tool, arguments),
        };
        asked.unwrap().ok
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..config() })]

    #[test]
    fn main_s_rights_hold_while_its_container_has_heard_nobody_but_the_owner(steps in prop::collection::vec(step(), 1..40)) {
        let world = World::new();
        // Waiting messages: whether the owner wrote them, and whether one wakes.
        let (mut waiting, mut woken) = (Vec::<bool>::new(), false);
        let (mut turns, mut open) = (Vec::<TurnId>::new(), VecDeque::new());
        let mut only_owner = true;
        for (nth, step) in steps.iter().enumerate() {
            match *step {
                Step::Write { owner, wakes } => {
                    world.write("t:main", nth, owner, wakes);
                    waiting.push(owner);
                    woken |= wakes;
                }
                Step::Claim => {
                    let turn = world.claim(&world.main, world.guest);
                    prop_assert_eq!(turn.is_some(), woken);
                    if let Some(turn) = turn {
                        turns.push(turn);
                        open.push_back(turn);
                        only_owner &= waiting.drain(..).all(|owner| owner);
                        woken = false;
                    }
                }
                Step::End => {
                    if let Some(turn) = open.pop_front() {
                        db::turns::complete(&world.c, turn, true).unwrap();
                    }
                }
                Step::Ask { turn, tool } => {
                    let Some(&turn) = turns.get(turn % turns.len().max(1)) else { continue };
                    let (tool, arguments) = &administers(nth)[tool % 3];
                    let granted = world.ask(&world.main, world.guest, turn, tool, arguments);
                    prop_assert_eq!(granted, only_owner, "{} of {:?}", tool, turns);
                }
            }
        }
    }

    #[test]
    fn arguments_of_any_kind_are_carried_out_or_refused_and_reach_no_other_group(
        tool in prop::sample::select(TOOLS),
        arguments in json(),
        key in prop::sample::select(vec!["text", "chat", "task_id", "prompt", "schedule_type", "schedule_value",
            "target_group_jid", "jid", "folder", "limit", "before", "query", "path", "caption"]),
        value in json(),
        known in prop::sample::select(vec!["t:main", "terminal:main", "task-of-main", "main", "cron", "* * * * *"]),
    ) {
        let world = World::new();
        world.write("t:other", 1, true, true);
        let turn = world.claim(&world.other, world.others_guest).unwrap();
        let mut arguments = arguments;
        if let Some(map) = arguments.as_object_mut() {
            map.insert(key.into(), if nested(&value) { known.into() } else { value });
            map.entry("text").or_insert("hi".into());
            map.entry("chat").or_insert("t:main".into());
        }
        let before = rows_of_main(&world.c);
        world.ask(&world.other, world.others_guest, turn, tool, &arguments);
        prop_assert_eq!(rows_of_main(&world.c), before);
        // Nor in the name of a turn that is not its own.
        prop_assert!(!world.ask(&world.other, world.others_guest, TurnId(turn.0 + 1), tool, &arguments));
        prop_assert!(!world.ask(&world.other, world.guest, turn, tool, &arguments));
    }

    #[test]
    fn nobody_but_the_owner_is_trusted_whatever_they_write(
        sender in ".{0,12}", content in ".{0,30}", is_known: bool, is_main: bool, requires_trigger: bool, own_number: bool,
    ) {
        let (jids, senders) = (["t:1".to_owned()], [sender]);
        let speakers = Speakers::Everybody;
        let rules = Rules { jids: &jids, is_main, requires_trigger, trigger: None, speakers, keeps_context: true };
        let message = router::Incoming { senders: &senders, from_me: false, local: false, is_owner: false, is_known,
            calls: false, content: &content, is_empty: content.trim().is_empty() };
        let assistant = Assistant { name: "Andy", own_number };
        prop_assert!(!router::trusted(&message, &assistant));
        // What only looks like the assistant's own words is a stranger's text.
        let route = router::route(&rules, &message, &SenderAllowlist::everybody(), &assistant);
        prop_assert!(content.trim().is_empty() || !matches!(route, Route::Ignore(_)));
    }
}

fn nested(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// What another group must not change: main's outbox, tasks and groups.
fn rows_of_main(c: &Connection) -> Vec<i64> {
    [
        "SELECT count(*) FROM outbox WHERE chat_jid <> 't:other'",
        "SELECT count(*) FROM scheduled_tasks WHERE chat_jid <> 't:other'",
        "SELECT count(*) FROM groups",
        "SELECT count(*) FROM chats WHERE folder = 'main'",
    ]
    .map(|sql| c.query_row(sql, [], |r| r.get(0)).unwrap())
    .to_vec()
}
