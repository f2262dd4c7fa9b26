//! The ledger's rules on a real file: what counts once, what a claim takes, what
//! costs a look at every row.
#![allow(clippy::unwrap_used)]

use rusqlite::Connection;

use super::*;
use crate::ids::{Folder, Incarnation, TurnId};

mod retained;
mod tasks_and_runs;

/// Behind all that was said.
const END: history::Place = (i64::MAX, 0);

fn ledger() -> (tempfile::TempDir, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("messages.db");
    let c = Connection::open(&path).unwrap();
    migrate::run(&c, &path).unwrap();
    c.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    (dir, c)
}

fn family() -> Folder {
    Folder::parse("family").unwrap()
}

fn with_family(c: &Connection, chats: &[&str]) {
    let group = Group::new(family(), "Family".into());
    let chats = chats.iter().map(|&jid| jid.to_owned()).collect();
    groups::add(c, &NewGroup { group, chats }).unwrap();
}

fn message(jid: &str, id: &str) -> Incoming {
    Incoming {
        jid: jid.into(),
        id: id.into(),
        sender: "ann".into(),
        sender_name: "Ann".into(),
        content: format!("text of {id}"),
        timestamp: "2026-01-01T00:00:00.000Z".into(),
        ..Incoming::default()
    }
}

fn claimed(c: &Connection, incarnation: Incarnation) -> Option<Claimed> {
    let render = |messages: &[StoredMessage]| {
        messages.iter().map(|m| m.id.as_str()).collect::<Vec<_>>().join(" ")
    };
    let wanted = Claim {
        folder: &family(),
        incarnation: Some(incarnation),
        deadline: 1,
        render: &render,
        command: &|m| (m.content == "/new").then_some("/clear"),
        isolate_strangers: false,
    };
    claim(c, &wanted).unwrap()
}

#[test]
fn a_message_counts_once() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let m = message("1", "a");
    assert_eq!(messages::store(&c, &m, MessageState::Queued, None).unwrap(), Stored::New);
    let again = Incoming { content: "other".into(), ..m };
    assert_eq!(messages::store(&c, &again, MessageState::Queued, None).unwrap(), Stored::Known);
    assert_eq!(messages::by_id(&c, "a").unwrap()[0].content, "text of a");
}

#[test]
fn a_claim_takes_context_once_and_the_chat_that_waits_longest() {
    let (_dir, c) = ledger();
    with_family(&c, &["1", "2"]);
    for (jid, id, state) in [
        ("1", "a", MessageState::Context),
        ("2", "b", MessageState::Queued),
        ("1", "c", MessageState::Queued),
        ("1", "d", MessageState::Context),
    ] {
        messages::store(&c, &message(jid, id), state, None).unwrap();
    }
    let one = incarnations::open(&c, &family(), "bwrap").unwrap();
    let first = claimed(&c, one).unwrap();
    assert_eq!((first.prompt.as_str(), first.jid.as_str(), first.more), ("b", "2", true));
    let second = claimed(&c, one).unwrap();
    assert_eq!((second.prompt.as_str(), second.more), ("a c d", false));
    assert_eq!(claimed(&c, one), None);
    messages::store(&c, &message("1", "e"), MessageState::Queued, None).unwrap();
    assert_eq!(claimed(&c, one).unwrap().prompt, "e", "context is shown once");
}

#[test]
fn a_command_is_a_turn_of_its_own_after_what_was_written_before_it() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    for id in ["a", "/new", "b"] {
        let m = Incoming { content: id.into(), ..message("1", id) };
        messages::store(&c, &m, MessageState::Queued, None).unwrap();
    }
    let one = incarnations::open(&c, &family(), "bwrap").unwrap();
    let turns: Vec<(String, bool)> =
        std::iter::from_fn(|| claimed(&c, one)).map(|t| (t.prompt, t.more)).collect();
    assert_eq!(turns, [("a".into(), true), ("/clear".into(), true), ("b".into(), false)]);
}

#[test]
fn a_pause_that_another_clock_began_is_as_long_as_any() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    messages::store(&c, &message("1", "a"), MessageState::Queued, None).unwrap();
    let one = incarnations::open(&c, &family(), "bwrap").unwrap();
    let turn = claimed(&c, one).unwrap().open.id;
    turns::requeue(&c, turn, now_ms() + 86_400_000, true, "x").unwrap();
    let left = turns::open(&c, turn).unwrap().not_before - now_ms();
    assert!((1..=LONGEST_PAUSE).contains(&left), "{left}");
}

#[test]
fn a_turn_ends_once_and_takes_its_messages_along() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    messages::store(&c, &message("1", "a"), MessageState::Queued, None).unwrap();
    let one = incarnations::open(&c, &family(), "bwrap").unwrap();
    let turn = claimed(&c, one).unwrap().open.id;
    assert!(turns::complete(&c, turn, true).unwrap());
    assert!(!turns::complete(&c, turn, false).unwrap());
    assert!(!turns::fail(&c, turn, "late").unwrap());
    let m = &messages::by_id(&c, "a").unwrap()[0];
    assert_eq!((m.state.as_str(), m.reason.as_deref()), ("answered", Some("silent")));
}

#[test]
fn a_record_has_its_effect_once() {
    let (_dir, c) = ledger();
    let one = incarnations::open(&c, &family(), "bwrap").unwrap();
    assert!(incarnations::advance(&c, one, 1).unwrap());
    assert!(!incarnations::advance(&c, one, 1).unwrap());
    assert!(incarnations::advance(&c, one, 3).unwrap());
    assert_eq!(incarnations::out_seq(&c, one).unwrap(), 3);
}

#[test]
fn the_same_key_is_said_once_and_has_its_network_id_at_once() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    messages::store(&c, &message("1", "a"), MessageState::Queued, None).unwrap();
    let one = incarnations::open(&c, &family(), "bwrap").unwrap();
    let turn = claimed(&c, one).unwrap().open.id;
    for text in ["hello", "hello again"] {
        let row = NewRow { turn: Some(turn), key: "answer", part: 0, jid: "1", text };
        outbox::add(&c, &row).unwrap();
    }
    let said = outbox::of_turn(&c, turn).unwrap();
    assert_eq!(said.len(), 1);
    assert!(said[0].channel_id.starts_with("3EB0") && said[0].channel_id.len() == 22);
}

#[test]
fn a_folder_or_chat_that_is_taken_is_refused_not_replaced() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    let other =
        Group { folder: Folder::parse("other").unwrap(), ..groups::all(&c).unwrap()[0].clone() };
    let taken = NewGroup { group: other.clone(), chats: vec!["1".into()] };
    let refused = groups::add(&c, &taken).unwrap_err().to_string();
    assert!(refused.contains("belongs to family"), "{refused}");
}

#[test]
fn a_group_at_work_is_not_removed_and_a_removed_one_keeps_its_history() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    messages::store(&c, &message("1", "a"), MessageState::Queued, None).unwrap();
    let one = incarnations::open(&c, &family(), "bwrap").unwrap();
    let turn = claimed(&c, one).unwrap().open.id;
    assert!(groups::remove(&c, &family()).is_err());
    turns::complete(&c, turn, false).unwrap();
    incarnations::dead(&c, one, "ended").unwrap();
    groups::remove(&c, &family()).unwrap();
    assert_eq!(groups::all(&c).unwrap(), []);
    assert_eq!(messages::by_id(&c, "a").unwrap().len(), 1);
}

#[test]
fn what_was_said_is_found_by_its_words_by_whomever() {
    let (_dir, c) = ledger();
    with_family(&c, &["1", "2"]);
    for (n, text) in
        ["Grüße aus Köln", "the boiler's code is 4711", "\"quoted\" AND (odd) *"].iter().enumerate()
    {
        let m = Incoming { content: (*text).into(), ..message("1", &n.to_string()) };
        messages::store(&c, &m, MessageState::Queued, None).unwrap();
    }
    let one = incarnations::open(&c, &family(), "bwrap").unwrap();
    let turn = claimed(&c, one).unwrap().open.id;
    let row =
        NewRow { turn: Some(turn), key: "answer", part: 0, jid: "1", text: "I noted the boiler" };
    outbox::add(&c, &row).unwrap();
    let find = |query| {
        let found = history::page(&c, "family", Some(query), END, 10).unwrap();
        found.into_iter().map(|said| said.text).collect::<Vec<_>>()
    };
    assert_eq!(find("koln GRUSSE"), [""; 0], "ß is no s");
    assert_eq!(find("koln gruß"), ["Grüße aus Köln"]);
    assert_eq!(find("BOILER"), ["the boiler's code is 4711", "I noted the boiler"]);
    assert_eq!(find("code 47"), ["the boiler's code is 4711"]);
    assert_eq!(find("b code"), [""; 0], "one letter begins too many words");
    assert_eq!(find("s code"), ["the boiler's code is 4711"], "but may be one");
    assert_eq!(find("\"quoted\" and (odd"), ["\"quoted\" AND (odd) *"]);
    assert_eq!(find("!?"), [""; 0]);
    assert_eq!(history::page(&c, "other", None, END, 10).unwrap(), []);
    assert_eq!(history::page(&c, "family", None, END, 2).unwrap().len(), 2);
}

#[test]
fn pages_follow_each_other_without_a_gap_also_where_times_are_the_same() {
    let (_dir, c) = ledger();
    with_family(&c, &["1", "2"]);
    for n in 0..9 {
        let m = Incoming {
            content: format!("boiler {n}"),
            ..message(["1", "2"][n % 2], &n.to_string())
        };
        messages::store(&c, &m, MessageState::Queued, None).unwrap();
        let key = format!("request:{n}");
        let text = format!("boiler noted {n}");
        let row = NewRow { turn: None, key: &key, part: 0, jid: "1", text: &text };
        outbox::add(&c, &row).unwrap();
    }
    c.execute_batch(
        "UPDATE messages SET stored_at = 1000 + seq / 4; UPDATE outbox SET created_at = 1000 + id / 4;
         UPDATE messages SET reason = 'deleted by its sender' WHERE id = '3'",
    )
    .unwrap();
    let all = history::page(&c, "family", None, END, 100).unwrap();
    assert_eq!(all.len(), 17);
    assert!(all.is_sorted_by_key(|said| said.place));
    for (query, limit) in [(None, 1), (None, 4), (Some("boil"), 1), (Some("boiler"), 4)] {
        let (mut pages, mut before) = (Vec::new(), END);
        loop {
            let mut page = history::page(&c, "family", query, before, limit).unwrap();
            let Some(first) = page.first() else { break };
            before = first.place;
            page.append(&mut pages);
            pages = page;
        }
        assert_eq!(pages, all, "{query:?} by {limit}");
    }
}

/// What runs for every message, every answer and every 2 seconds must not look at
/// every row.
#[test]
fn no_hot_query_scans_a_table() {
    let (_dir, c) = ledger();
    let watched = Traced::new(&c);
    with_family(&c, &["1"]);
    watched.begin();
    messages::store(&c, &message("1", "a"), MessageState::Queued, None).unwrap();
    groups::of_chat(&c, "1").unwrap();
    messages::waiting_folders(&c).unwrap();
    turns::open_folders(&c).unwrap();
    turns::open_of(&c, "family").unwrap();
    let one = incarnations::open(&c, &family(), "bwrap").unwrap();
    let turn = claimed(&c, one).unwrap().open.id;
    turns::give(&c, turn, one, 1).unwrap();
    turns::all_trusted(&c, one).unwrap();
    turns::latest_of(&c, one).unwrap();
    turns::requeue(&c, turn, 0, true, "x").unwrap();
    turns::complete(&c, turn, false).unwrap();
    let row = NewRow { turn: Some(turn), key: "answer", part: 0, jid: "1", text: "x" };
    outbox::add(&c, &row).unwrap();
    outbox::pending_chats(&c).unwrap();
    let row = outbox::head(&c, "1").unwrap().unwrap();
    outbox::settle(&c, row.id, &Delivery::Sent).unwrap();
    outbox::of_turn(&c, turn).unwrap();
    messages::of_turn(&c, turn.0).unwrap();
    incarnations::advance(&c, one, 1).unwrap();
    requests::nth(&c, TurnId(1), "t", "d").unwrap();
    requests::repeat(&c, one, turn, "t", "d").unwrap();
    occurrences::due(&c, 1).unwrap();
    occurrences::next_wake(&c).unwrap();
    occurrences::finished(&c, turn, true, None, 1).unwrap();
    usage::enter(&c, turn, &spent("2026-01-01", 1)).unwrap();
    usage::today(&c, &family(), "2026-01-01").unwrap();
    usage::waiting_chats(&c, &family()).unwrap();
    told::once(&c, "x").unwrap();
    // What full-text search does within itself is its own affair.
    for sql in watched.end().into_iter().filter(|sql| !sql.contains("search_")) {
        let mut plan = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = plan.raw_query();
        let mut steps: Vec<String> = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get(3).unwrap());
        }
        // A partial index that holds only open rows is what a scan may use.
        let scan = steps.iter().find(|s| s.starts_with("SCAN") && !s.contains("USING"));
        assert!(scan.is_none(), "{sql}\n{steps:?}");
    }
}

fn spent(day: &str, cost: i64) -> usage::Spent {
    let tokens = Tokens { input: 10, output: 2, cache_read: 3, cache_write: 4 };
    usage::Spent { day: day.into(), model: "m".into(), tokens, cost }
}

/// Collects the SQL that a connection runs.
struct Traced;

thread_local! {
    static SEEN: std::cell::RefCell<Option<Vec<String>>> = const { std::cell::RefCell::new(None) };
}

impl Traced {
    fn new(c: &Connection) -> Traced {
        c.trace_v2(
            rusqlite::trace::TraceEventCodes::SQLITE_TRACE_STMT,
            Some(|event| {
                if let rusqlite::trace::TraceEvent::Stmt(statement, _) = event {
                    let sql = statement.sql().to_string();
                    SEEN.with(|seen| {
                        if let Some(seen) = seen.borrow_mut().as_mut() {
                            seen.push(sql);
                        }
                    });
                }
            }),
        );
        Traced
    }

    fn begin(&self) {
        SEEN.with(|seen| *seen.borrow_mut() = Some(Vec::new()));
    }

    fn end(self) -> Vec<String> {
        let sql = SEEN.with(|seen| seen.borrow_mut().take()).unwrap_or_default();
        assert!(sql.len() > 20, "the trace saw {} statements", sql.len());
        sql
    }
}

#[test]
fn of_what_was_said_while_nobody_asked_the_newest_is_shown() {
    let (_dir, c) = ledger();
    with_family(&c, &["1"]);
    c.execute_batch("BEGIN").unwrap();
    for n in 0..1_005 {
        messages::store(&c, &message("1", &n.to_string()), MessageState::Context, None).unwrap();
    }
    messages::store(&c, &message("1", "ask"), MessageState::Queued, None).unwrap();
    let one = incarnations::open(&c, &family(), "bwrap").unwrap();
    let turn = claimed(&c, one).unwrap().open.id;
    let shown = messages::of_turn(&c, turn.0).unwrap();
    assert_eq!((shown.len(), shown[0].id.as_str()), (1_001, "5"));
}
