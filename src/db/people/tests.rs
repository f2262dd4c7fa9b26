//! One person is one chat, whichever address a message comes from, and nothing that
//! was stored under the other is lost.
#![allow(clippy::unwrap_used)]

use rusqlite::Connection;

use super::*;
use crate::db::{self, Group, Incoming, MessageState, NewGroup, NewRow, Speakers};
use crate::ids::{Folder, TurnId};

const LID1: &str = "111@lid";
const PN1: &str = "491701234@s.whatsapp.net";

fn ledger() -> (tempfile::TempDir, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("messages.db");
    let c = Connection::open(&path).unwrap();
    db::migrate::run(&c, &path).unwrap();
    c.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    (dir, c)
}

fn with_group(c: &Connection, folder: &str, jid: &str) {
    let group = Group::new(Folder::parse(folder).unwrap(), folder.into());
    db::groups::add(c, &NewGroup { group, chats: vec![jid.into()] }).unwrap();
}

fn stored(c: &Connection, jid: &str, id: &str) {
    db::groups::see_chat(c, jid, None, "2026-01-01T00:00:00.000Z", Some("whatsapp"), Some(false))
        .unwrap();
    let m = Incoming { jid: jid.into(), id: id.into(), sender: jid.into(), ..Incoming::default() };
    db::messages::store(c, &m, MessageState::Queued, None).unwrap();
}

fn chats(c: &Connection) -> Vec<String> {
    db::groups::chats(c, None).unwrap().into_iter().map(|chat| chat.jid).collect()
}

fn sound(c: &Connection) {
    let broken: i64 =
        c.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |r| r.get(0)).unwrap();
    assert_eq!(broken, 0, "a row names a chat that is gone");
}

#[test]
fn a_chat_of_1x_keeps_working_when_its_person_writes_from_the_lid() {
    let (_dir, c) = ledger();
    with_group(&c, "ann", PN1);
    stored(&c, PN1, "old");
    learn(&c, LID1, PN1).unwrap();
    saw(&c, LID1, Some("Ann")).unwrap();
    assert_eq!(canonical(&c, LID1).unwrap(), PN1);
    assert_eq!(canonical(&c, PN1).unwrap(), PN1);
    assert_eq!(reach(&c, PN1).unwrap(), LID1, "written to where the last message came from");
    assert_eq!(db::groups::of_chat(&c, PN1).unwrap().unwrap().folder.as_str(), "ann");
    assert_eq!(chats(&c), [PN1]);
}

#[test]
fn an_unresolved_lid_is_kept_and_all_that_is_its_moves_when_the_number_is_known() {
    let (_dir, c) = ledger();
    saw(&c, LID1, Some("Ann")).unwrap();
    stored(&c, LID1, "a");
    with_group(&c, "ann", LID1);
    stored(&c, LID1, "b");
    let row = |part, text| NewRow { turn: None, key: "notice:x", part, jid: LID1, text };
    db::outbox::add(&c, &row(0, "first")).unwrap();
    db::outbox::add(&c, &row(1, "second")).unwrap();
    c.execute(
        "INSERT INTO scheduled_tasks (id, group_folder, chat_jid, prompt, schedule_type, schedule_value, created_at)
         VALUES ('t', 'ann', ?1, 'p', 'once', '', '')",
        [LID1],
    )
    .unwrap();
    db::groups::set_timer(&c, LID1, 86_400).unwrap();
    learn(&c, LID1, PN1).unwrap();
    assert_eq!(chats(&c), [PN1]);
    assert_eq!(db::groups::timer(&c, PN1).unwrap(), Some(86_400), "its messages still disappear");
    let of = |sql: &str| c.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(of("SELECT count(*) FROM messages WHERE chat_jid LIKE '%@s.whatsapp.net'"), 2);
    assert_eq!(
        of("SELECT count(*) FROM scheduled_tasks WHERE chat_jid LIKE '%@s.whatsapp.net'"),
        1
    );
    assert_eq!(db::groups::of_chat(&c, PN1).unwrap().unwrap().folder.as_str(), "ann");
    let first = db::outbox::head(&c, PN1).unwrap().unwrap();
    assert_eq!(first.text, "first", "in the same order");
    assert_eq!(name(&c, PN1).unwrap().as_deref(), Some("Ann"));
    sound(&c);
}

#[test]
fn two_chats_that_turn_out_to_be_one_become_one() {
    let (_dir, c) = ledger();
    with_group(&c, "ann", PN1);
    stored(&c, PN1, "same");
    saw(&c, PN1, None).unwrap();
    stored(&c, LID1, "same");
    stored(&c, LID1, "other");
    saw(&c, LID1, Some("Ann")).unwrap();
    learn(&c, LID1, PN1).unwrap();
    learn(&c, LID1, PN1).unwrap();
    assert_eq!(chats(&c), [PN1]);
    let all: i64 = c
        .query_row("SELECT count(*) FROM messages WHERE chat_jid = ?1", [PN1], |r| r.get(0))
        .unwrap();
    assert_eq!(all, 3, "nothing is lost");
    assert_eq!(name(&c, LID1).unwrap().as_deref(), Some("Ann"));
    sound(&c);
}

#[test]
fn a_running_turn_answers_into_the_chat_as_it_is_called_now() {
    let (_dir, c) = ledger();
    with_group(&c, "ann", LID1);
    stored(&c, LID1, "a");
    let claim = db::Claim {
        folder: &Folder::parse("ann").unwrap(),
        incarnation: None,
        deadline: 0,
        render: &|_| String::new(),
        command: &|_| None,
        isolate_strangers: false,
    };
    let turn: TurnId = db::claim(&c, &claim).unwrap().unwrap().open.id;
    learn(&c, LID1, PN1).unwrap();
    assert_eq!(db::turns::jid(&c, turn).unwrap(), PN1);
    sound(&c);
}

#[test]
fn a_number_that_changed_hands_does_not_bring_its_new_owner_into_the_chat() {
    let (_dir, c) = ledger();
    with_group(&c, "ann", PN1);
    learn(&c, LID1, PN1).unwrap();
    stored(&c, PN1, "secret");
    contact(&c, LID1, Some("Ann")).unwrap();
    learn(&c, "222@lid", PN1).unwrap();
    assert_eq!(canonical(&c, "222@lid").unwrap(), PN1);
    assert_eq!(canonical(&c, LID1).unwrap(), LID1);
    assert!(db::groups::of_chat(&c, PN1).unwrap().is_none(), "a stranger is in no group");
    assert_eq!(db::groups::of_chat(&c, LID1).unwrap().unwrap().folder.as_str(), "ann");
    assert!(!known(&c, "222@lid").unwrap() && known(&c, LID1).unwrap());
    sound(&c);
}

#[test]
fn somebody_with_a_new_number_stays_who_they_are() {
    let (_dir, c) = ledger();
    with_group(&c, "ann", PN1);
    learn(&c, LID1, PN1).unwrap();
    let new = "49199@s.whatsapp.net";
    learn(&c, LID1, new).unwrap();
    saw(&c, new, None).unwrap();
    assert_eq!(canonical(&c, new).unwrap(), PN1, "one chat, as before");
    assert_eq!(reach(&c, PN1).unwrap(), new);
    assert!(same(&c, new, LID1).unwrap());
    // As the network says it, with a LID that is new, too.
    also(&c, new, "333@lid").unwrap();
    assert_eq!(canonical(&c, "333@lid").unwrap(), PN1);
    sound(&c);
}

#[test]
fn addresses_of_other_networks_are_left_alone() {
    let (_dir, c) = ledger();
    for jid in ["tg:1", "terminal:main", "1-2@g.us"] {
        saw(&c, jid, Some("x")).unwrap();
        wrote_to(&c, jid).unwrap();
        learn(&c, jid, PN1).unwrap();
        assert_eq!(canonical(&c, jid).unwrap(), jid);
        assert_eq!(addresses(&c, jid).unwrap(), [jid]);
    }
    let people: i64 = c.query_row("SELECT count(*) FROM people", [], |r| r.get(0)).unwrap();
    assert_eq!(people, 0);
}

#[test]
fn the_owner_knows_contacts_those_written_to_and_those_in_groups() {
    let (_dir, c) = ledger();
    saw(&c, LID1, Some("Ann")).unwrap();
    assert!(!known(&c, LID1).unwrap() && !known(&c, "9@lid").unwrap());
    contact(&c, LID1, Some("Annie")).unwrap();
    assert!(known(&c, LID1).unwrap());
    contact(&c, LID1, None).unwrap();
    assert!(!known(&c, LID1).unwrap(), "no longer in the address book");
    wrote_to(&c, LID1).unwrap();
    learn(&c, LID1, PN1).unwrap();
    assert!(known(&c, PN1).unwrap(), "by the other address too");
    saw(&c, "222@lid", None).unwrap();
    with_group(&c, "bob", "222@lid");
    assert!(known(&c, "222@lid").unwrap());
}

#[test]
fn a_room_is_what_the_network_said_last() {
    let (_dir, c) = ledger();
    let member = |jid: &str, other: Option<&str>, is_admin| db::Member {
        jid: jid.into(),
        other: other.map(str::to_owned),
        is_admin,
    };
    let mut room = db::Room {
        jid: "1@g.us".into(),
        name: Some("Chess".into()),
        members: vec![member(PN1, Some(LID1), true), member("222@lid", None, false)],
        timer: 0,
        closed: None,
    };
    db::rooms::sync(&c, "whatsapp", &room).unwrap();
    contact(&c, LID1, Some("Ann")).unwrap();
    let members = db::rooms::members(&c, "1@g.us").unwrap();
    assert_eq!(members, [("Ann".to_owned(), true), ("222@lid".to_owned(), false)]);
    assert!(db::rooms::is_admin(&c, "1@g.us", LID1).unwrap());
    assert!(!db::rooms::is_admin(&c, "1@g.us", "222@lid").unwrap());
    room.name = Some("Chess club".into());
    room.members.clear();
    room.closed = Some(db::Closed::Removed);
    db::rooms::sync(&c, "whatsapp", &room).unwrap();
    let chat = db::groups::pick(&c, "chess").unwrap();
    assert_eq!((chat.name.as_str(), chat.closed), ("Chess club", Some(db::Closed::Removed)));
    assert!(chat.is_group && db::rooms::members(&c, "1@g.us").unwrap().is_empty());
}

#[test]
fn a_chat_is_found_by_address_number_and_name() {
    let (_dir, c) = ledger();
    learn(&c, LID1, PN1).unwrap();
    for (jid, name, time) in [
        (PN1, "Ann", "2026-01-03T00:00:00.000Z"),
        ("1@g.us", "Family", "2026-01-02T00:00:00.000Z"),
        ("2@g.us", "Family", "2026-01-04T00:00:00.000Z"),
        ("3@g.us", "Chess club", "2026-01-01T00:00:00.000Z"),
        ("__group_sync__", "x", "2026-02-01T00:00:00.000Z"),
    ] {
        db::groups::see_chat(&c, jid, Some(name), time, None, Some(jid != PN1)).unwrap();
    }
    assert_eq!(chats(&c), ["2@g.us", PN1, "1@g.us", "3@g.us"], "the latest first");
    let one = |text: &str| db::groups::pick(&c, text).unwrap().jid;
    assert_eq!(
        (one(LID1), one("+49 (170) 12-34"), one("ann"), one("chess")),
        (PN1.into(), PN1.into(), PN1.into(), "3@g.us".into())
    );
    let several = db::groups::pick(&c, "family").unwrap_err().to_string();
    assert!(several.contains("1@g.us") && several.contains("2026-01-04"), "{several}");
    with_group(&c, "family", "1@g.us");
    assert_eq!(one("family"), "2@g.us", "the one that belongs to no group");
    assert!(db::groups::pick(&c, "nobody").is_err() && db::groups::pick(&c, "").is_err());
    assert_eq!(Speakers::default_for("1@g.us"), Speakers::Known);
    assert_eq!(Speakers::default_for("tg:1"), Speakers::Everybody);
}
