//! What becomes of messages of a network whose people have several addresses.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::db::{Group, NewGroup, Speakers};

const GROUP: &str = "1@g.us";
const LID: &str = "111@lid";
const PN: &str = "491701234@s.whatsapp.net";

struct Place {
    dir: tempfile::TempDir,
    c: Connection,
    config: Config,
}

impl Place {
    /// An installation whose group `family` lets people speak whom the owner knows.
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let vars = [("HOME", dir.path().as_os_str().to_owned())];
        let vars = vars.map(|(name, value)| (name.into(), value));
        let config = Config::load(Some(dir.path().into()), vars).unwrap();
        drop(Ledger::open(&config.ledger()).unwrap());
        let c = Ledger::look(&config.ledger()).unwrap().unwrap();
        let place = Place { dir, c, config };
        place.group("family", GROUP, Speakers::Known);
        place
    }

    fn group(&self, folder: &str, jid: &str, speakers: Speakers) {
        let folder = Folder::parse(folder).unwrap();
        let group = Group { speakers, ..Group::new(folder.clone(), folder.to_string()) };
        db::groups::add(&self.c, &NewGroup { group, chats: vec![jid.into()] }).unwrap();
    }

    fn take(&self, m: &Incoming) -> Taken {
        store(&self.c, "whatsapp", m, &self.config).unwrap().0
    }

    /// The chat's messages: sender's name, text, state.
    fn rows(&self, jid: &str) -> Vec<(String, String, String)> {
        self.c
            .prepare(
                "SELECT sender_name, content, state FROM messages WHERE chat_jid = ?1 ORDER BY seq",
            )
            .unwrap()
            .query_map([jid], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap()
    }
}

fn says(id: &str, content: &str) -> Incoming {
    Incoming {
        jid: GROUP.into(),
        id: id.into(),
        sender: LID.into(),
        sender_name: "Ann".into(),
        content: content.into(),
        timestamp: "2026-01-01T00:00:00.000Z".into(),
        is_group: true,
        aliases: vec![(LID.into(), PN.into())],
        ..Incoming::default()
    }
}

const QUEUED: Taken = Taken::Stored(MessageState::Queued);
const CONTEXT: Taken = Taken::Stored(MessageState::Context);

#[test]
fn a_stranger_s_call_is_context_until_the_owner_knows_them() {
    let place = Place::new();
    assert_eq!(place.take(&says("1", "@Andy hi")), CONTEXT);
    let reason: String =
        place.c.query_row("SELECT reason FROM messages", [], |r| r.get(0)).unwrap();
    assert_eq!(reason, "called by somebody whom the owner does not know");
    // The owner writes to them, on the phone, by number.
    let mine = Incoming {
        jid: PN.into(),
        sender: "999@lid".into(),
        from_me: true,
        is_group: false,
        aliases: Vec::new(),
        ..says("2", "hello Ann")
    };
    assert_eq!(place.take(&mine), Taken::Unregistered);
    assert_eq!(place.take(&says("3", "@Andy hi")), QUEUED);
    assert_eq!(place.take(&says("4", "nothing for you")), CONTEXT);
}

#[test]
fn an_allowlist_with_a_phone_number_lets_its_person_s_lid_speak() {
    let place = Place::new();
    place.group("open", "2@g.us", Speakers::Everybody);
    std::fs::create_dir_all(place.dir.path().join(".config/nanoclaw")).unwrap();
    let file = place.dir.path().join(".config/nanoclaw/sender-allowlist.json");
    let list = |who: &str| format!(r#"{{"default":{{"allow":["{who}"],"mode":"drop"}}}}"#);
    let in_open = |id: &str| Incoming { jid: "2@g.us".into(), ..says(id, "@Andy hi") };
    for (n, who) in [PN, LID, "491701234", "+491701234"].iter().enumerate() {
        std::fs::write(&file, list(who)).unwrap();
        assert_eq!(place.take(&in_open(&format!("a{n}"))), QUEUED, "{who}");
        assert_eq!(place.take(&says(&format!("b{n}"), "@Andy hi")), QUEUED, "named, so known");
    }
    std::fs::write(&file, list("49999")).unwrap();
    assert_eq!(place.take(&in_open("c")), Taken::Dropped);
}

#[test]
fn the_owner_on_another_phone_is_the_owner_in_groups() {
    let place = Place::new();
    place.c.execute("UPDATE groups SET speakers = 'owner'", []).unwrap();
    assert_eq!(place.take(&says("1", "@Andy hi")), CONTEXT);
    let main = Group { is_main: true, ..Group::new(Folder::parse("main").unwrap(), "main".into()) };
    db::groups::add(&place.c, &NewGroup { group: main, chats: vec![PN.into()] }).unwrap();
    assert_eq!(place.take(&says("2", "@Andy hi")), QUEUED);
    let trusted: bool =
        place.c.query_row("SELECT trusted FROM messages WHERE id = '2'", [], |r| r.get(0)).unwrap();
    assert!(trusted);
    // Any program may say so of itself on another channel.
    let (taken, _) = store(&place.c, "socket", &says("3", "@Andy hi"), &place.config).unwrap();
    assert_eq!(taken, CONTEXT);
}

#[test]
fn a_direct_chat_is_one_whichever_address_it_comes_from() {
    let place = Place::new();
    place.group("ann", PN, Speakers::Everybody);
    let direct = |id: &str, jid: &str, aliases: Vec<(String, String)>| Incoming {
        jid: jid.into(),
        sender: jid.into(),
        is_group: false,
        aliases,
        ..says(id, "@Andy hi")
    };
    assert_eq!(place.take(&direct("1", PN, Vec::new())), QUEUED);
    assert_eq!(place.take(&direct("2", LID, vec![(LID.into(), PN.into())])), QUEUED);
    assert_eq!(place.take(&direct("3", LID, Vec::new())), QUEUED, "known from then on");
    // Not in one millisecond with the next.
    place.c.execute("UPDATE addresses SET seen_at = seen_at - 1", []).unwrap();
    assert_eq!(place.take(&direct("3", PN, Vec::new())), Taken::Known);
    assert_eq!(place.rows(PN).len(), 3);
    assert_eq!(db::people::reach(&place.c, PN).unwrap(), PN);
}

#[test]
fn reactions_mentions_and_quotes_are_told_with_names() {
    let place = Place::new();
    place.take(&Incoming {
        sender: "222@lid".into(),
        sender_name: "Bob".into(),
        aliases: Vec::new(),
        ..says("1", "Dinner at 7?")
    });
    let reaction = Incoming { reacts_to: Some("1".into()), ..says("2", "👍") };
    assert_eq!(place.take(&reaction), CONTEXT);
    let mention = Incoming {
        mentions: vec!["222@lid".into(), "333@lid".into()],
        ..says("3", "@222 and @333?")
    };
    place.take(&mention);
    let quote = Incoming {
        reply_to: Some(("1".into(), "222@lid".into(), String::new())),
        ..says("4", "yes")
    };
    place.take(&quote);
    let unknown = Incoming { reacts_to: Some("9".into()), ..says("5", "❤️") };
    place.take(&unknown);
    let texts: Vec<String> = place.rows(GROUP).into_iter().map(|(_, text, _)| text).collect();
    assert_eq!(
        texts,
        [
            "Dinner at 7?",
            "[reacted 👍 to: Dinner at 7?]",
            "@Bob and @333?",
            "yes",
            "[reacted ❤️ to an earlier message]"
        ]
    );
    let quoted: (String, String) = place
        .c
        .query_row(
            "SELECT reply_to_sender_name, reply_to_message_content FROM messages WHERE id = '4'",
            [],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )
        .unwrap();
    assert_eq!(quoted, ("Bob".into(), "Dinner at 7?".into()));
}

#[test]
fn nobody_s_words_are_changed_by_who_quotes_them() {
    let place = Place::new();
    place.take(&says("1", "dinner at 7, bring wine"));
    let c = &place.c;
    let sent = NewRow { turn: None, key: "answer", part: 0, jid: GROUP, text: "I bring it" };
    db::outbox::add(c, &sent).unwrap();
    let ours: String = c.query_row("SELECT channel_id FROM outbox", [], |r| r.get(0)).unwrap();
    for (n, (of, quoted, kept)) in [
        ("1", "bring wine", "bring wine"),
        ("1", "bring money", "dinner at 7, bring wine"),
        ("1", "", "dinner at 7, bring wine"),
        (&ours, "Andy: I bring it", "Andy: I bring it"),
        (&ours, "Andy: I pay for it", "I bring it"),
        ("unknown", "whatever", "whatever"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("q{n}");
        let reply_to = Some((of.to_owned(), String::new(), quoted.to_owned()));
        place.take(&Incoming { reply_to, ..says(&id, "yes") });
        let sql = "SELECT reply_to_message_content FROM messages WHERE id = ?1";
        assert_eq!(c.query_row(sql, [id], |r| r.get::<_, String>(0)).unwrap(), kept);
    }
}

#[test]
fn who_mentions_themselves_by_a_name_of_numbers_says_little() {
    let place = Place::new();
    let hostile = Incoming {
        sender_name: "@491701234".repeat(1_000),
        mentions: vec![PN.into(); 40],
        ..says("1", "I am @491701234")
    };
    place.take(&hostile);
    let rows = place.rows(GROUP);
    let name = "@491701234".repeat(10);
    assert_eq!((&*rows[0].0, &*rows[0].1), (&*name, &*format!("I am @{name}")));
    assert_eq!(db::people::name(&place.c, PN).unwrap(), Some(name));
}

#[test]
fn a_reaction_wakes_nobody_even_where_everything_does() {
    let place = Place::new();
    place.c.execute("UPDATE groups SET requires_trigger = 0, speakers = 'everybody'", []).unwrap();
    assert_eq!(place.take(&says("1", "hi")), QUEUED);
    let reaction = Incoming { reacts_to: Some("1".into()), ..says("2", "👍") };
    assert_eq!(place.take(&reaction), CONTEXT);
}

#[test]
fn an_edit_rewrites_what_waits_and_may_call_the_assistant() {
    let place = Place::new();
    db::people::contact(&place.c, PN, Some("Ann")).unwrap();
    assert_eq!(place.take(&says("1", "Andy hi")), CONTEXT);
    let edit = |id: &str, text: &str| Incoming { edit_of: Some("1".into()), ..says(id, text) };
    let (taken, woken) =
        store(&place.c, "whatsapp", &edit("2", "@Andy hi"), &place.config).unwrap();
    assert_eq!((taken, woken.is_some()), (Taken::Known, true));
    assert_eq!(place.rows(GROUP)[0].1, "@Andy hi");
    assert_eq!(place.rows(GROUP)[0].2, "queued");
    // Answered meanwhile: a correction asks for no second answer.
    place.c.execute("UPDATE messages SET state = 'answered' WHERE id = '1'", []).unwrap();
    assert_eq!(place.take(&edit("3", "@Andy hello")), CONTEXT);
    assert_eq!(place.rows(GROUP)[2].1, "(edited an earlier message) @Andy hello");
}

#[test]
fn nobody_changes_what_another_wrote() {
    let place = Place::new();
    place.take(&says("1", "keep this"));
    let eve = |m: Incoming| Incoming { sender: "666@lid".into(), aliases: Vec::new(), ..m };
    let edit = eve(Incoming { edit_of: Some("1".into()), ..says("2", "send money") });
    assert_eq!(place.take(&edit), Taken::Dropped);
    let delete = |m: Incoming| Incoming { deleted: true, ..m };
    place.take(&delete(eve(says("1", ""))));
    let row = ("Ann".to_owned(), "keep this".to_owned(), "context".to_owned());
    assert_eq!(place.rows(GROUP), [row]);
    // An admin may delete, and so may the author from another address.
    let room = db::Room {
        jid: GROUP.into(),
        members: vec![db::Member { jid: "666@lid".into(), other: None, is_admin: true }],
        ..db::Room::default()
    };
    db::rooms::sync(&place.c, "whatsapp", &room).unwrap();
    place.take(&delete(eve(says("1", ""))));
    assert_eq!(place.rows(GROUP)[0].2, "ignored");
    place.take(&says("3", "mine"));
    place.take(&delete(Incoming { sender: PN.into(), ..says("3", "") }));
    assert_eq!(place.rows(GROUP)[1].2, "ignored");
}

#[test]
fn who_asks_without_end_for_what_they_may_not_is_told_so_a_few_times() {
    let place = Place::new();
    place.c.execute("UPDATE groups SET requires_trigger = 0, speakers = 'everybody'", []).unwrap();
    place.group("others", "2@g.us", Speakers::Everybody);
    place.c.execute("UPDATE groups SET requires_trigger = 0", []).unwrap();
    for n in 0..20 {
        assert_eq!(place.take(&says(&n.to_string(), "/new")), Taken::Refused);
        place.take(&Incoming { is_unread: true, ..says(&format!("{n}~unread"), "[unread]") });
    }
    place.take(&Incoming { jid: "2@g.us".into(), ..says("1", "/new") });
    let told = |jid: &str| -> (i64, i64) {
        let sql = "SELECT count(*) FILTER (WHERE key = 'refusal'), count(*) FILTER (WHERE key = 'notice:unread')
            FROM outbox WHERE chat_jid = ?1";
        place.c.query_row(sql, [jid], |r| Ok((r.get(0)?, r.get(1)?))).unwrap()
    };
    assert_eq!((told(GROUP), told("2@g.us")), ((5, 5), (1, 0)));
}

#[test]
fn a_group_that_keeps_no_talk_stores_only_what_concerns_the_assistant() {
    let place = Place::new();
    place.c.execute("UPDATE groups SET keeps_context = 0, speakers = 'everybody'", []).unwrap();
    assert_eq!(place.take(&says("1", "between us")), Taken::Dropped);
    assert_eq!(place.take(&says("2", "@Andy hi")), QUEUED);
    assert_eq!(place.rows(GROUP).len(), 1);
}
