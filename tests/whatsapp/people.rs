//! One person is one chat, by number and by LID.

use crate::rig::Rig;
use crate::server::{Draft, Person};

/// Chats with messages, and how many messages there are.
const CHATS: &str =
    "SELECT count(DISTINCT chat_jid) || ' ' || count(*) FROM messages WHERE reason IS NULL";

#[tokio::test(flavor = "current_thread")]
async fn a_chat_that_moves_from_the_number_to_the_lid_stays_one_chat() {
    let rig = Rig::linked().await;
    let ann = rig.server.person("491702222222", "Ann");
    // Linked by the number, as in a directory of 1.x.
    rig.serve("ann", &ann.jid().to_string()).await;
    ann.send(&rig.owner.jid(), "by number").await;
    ann.wait_text("Andy: echo: by number").await;
    ann.send(&rig.owner.lid(), "by lid").await;
    ann.wait_text("Andy: echo: by lid").await;
    ann.send(&rig.owner.jid(), "and back").await;
    ann.wait_text("Andy: echo: and back").await;
    rig.wait_ledger(CHATS, "1 3").await;
    let jid: String = rig.home.ledger("SELECT DISTINCT chat_jid FROM messages");
    assert_eq!(jid, ann.jid().to_string());
}

#[tokio::test(flavor = "current_thread")]
async fn a_lid_without_a_known_number_is_served_under_the_lid() {
    let rig = Rig::linked().await;
    let eve = Person {
        number: "491704444444".into(),
        name: "Eve".into(),
        unresolved: true,
        ..Default::default()
    };
    let eve = rig.server.person_with(eve);
    rig.serve("eve", &eve.lid().to_string()).await;
    eve.send(&rig.owner.lid(), "who am I?").await;
    eve.wait_text("Andy: echo: who am I?").await;
    let jid: String = rig.home.ledger("SELECT chat_jid FROM messages");
    assert_eq!(jid, eve.lid().to_string());
}

#[tokio::test(flavor = "current_thread")]
async fn the_chat_with_oneself_is_main_by_either_address() {
    let rig = Rig::linked().await;
    for (to, text) in [(rig.owner.jid(), "by number"), (rig.owner.lid(), "by lid")] {
        rig.owner.send(&to, text).await;
        rig.owner.wait_text(&format!("Andy: echo: {text}")).await;
    }
    assert_eq!(rig.home.ledger::<i64>("SELECT count(*) FROM messages WHERE trusted"), 2);
    rig.wait_ledger("SELECT DISTINCT folder FROM turns", "main").await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_allowlist_of_numbers_knows_people_by_their_lids() {
    let rig = Rig::linked_with(|home| {
        let directory = home.path().join(".config/nanoclaw");
        std::fs::create_dir_all(&directory).unwrap();
        let list = r#"{"default":{"allow":["+491702222222"],"mode":"drop"}}"#;
        std::fs::write(directory.join("sender-allowlist.json"), list).unwrap();
    })
    .await;
    let (ann, ben) =
        (rig.server.person("491702222222", "Ann"), rig.server.person("491703333333", "Ben"));
    let group = rig.server.group("Family", &ann, &[&ben, &rig.owner], true);
    let jid = group.jid().to_string();
    let (code, _, error) =
        rig.run(&["groups", "add", "family", "--jid", &jid, "--who", "everybody"]).await;
    assert_eq!(code, 0, "{error}");
    ben.send(&group.jid(), "@Andy not for me").await;
    ann.send(&group.jid(), "@Andy hello").await;
    let answer = ann.wait_for("the answer", |m| m.text.starts_with("Andy: echo")).await;
    assert!(
        answer.text.contains("hello") && !answer.text.contains("not for me"),
        "{}",
        answer.text
    );
    rig.wait_ledger("SELECT group_concat(sender_name) FROM messages", "Ann").await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_was_said_under_a_lid_moves_to_the_number_when_the_network_tells_it() {
    let rig = Rig::linked().await;
    let eve = Person {
        number: "491704444444".into(),
        name: "Eve".into(),
        unresolved: true,
        ..Default::default()
    };
    let eve = rig.server.person_with(eve);
    rig.serve("eve", &eve.lid().to_string()).await;
    eve.send(&rig.owner.lid(), Draft::text("who am I?").vanishing(86_400)).await;
    eve.wait_text("Andy: echo: who am I?").await;
    eve.resolve();
    eve.send(&rig.owner.lid(), Draft::text("and now?").vanishing(86_400)).await;
    let answer = eve.wait_text("Andy: echo: and now?").await;
    assert_eq!(answer.vanishes, Some(86_400));
    rig.wait_ledger(CHATS, "1 2").await;
    for table in ["messages", "outbox", "turns"] {
        let jid: String = rig.home.ledger(&format!("SELECT DISTINCT chat_jid FROM {table}"));
        assert_eq!(jid, eve.jid().to_string(), "{table}");
    }
    let left = "SELECT count(*) FROM chats WHERE jid LIKE '%@lid' AND folder IS NOT NULL";
    assert_eq!(rig.home.ledger::<i64>(left), 0);
    // Either address names the chat.
    let (_, out, _) = rig.run(&["groups", "list", "--json"]).await;
    assert!(out.contains(&eve.jid().to_string()), "{out}");
}

#[tokio::test(flavor = "current_thread")]
async fn whom_the_owner_writes_into_the_address_book_may_speak_from_then_on() {
    let rig = Rig::linked().await;
    let ann = rig.server.person("491702222222", "Ann");
    let group = rig.server.group("Family", &ann, &[&rig.owner], true);
    let (code, _, error) =
        rig.run(&["groups", "add", "family", "--jid", &group.jid().to_string()]).await;
    assert_eq!(code, 0, "{error}");
    ann.send(&group.jid(), "@Andy do you know me?").await;
    let refused = "SELECT state || ': ' || reason FROM messages";
    rig.wait_ledger(refused, "context: called by somebody whom the owner does not know").await;
    rig.owner.know(&ann.jid(), "Aunt Ann");
    rig.wait_ledger("SELECT contact FROM people WHERE contact IS NOT NULL", "Aunt Ann").await;
    ann.send(&group.jid(), "@Andy and now?").await;
    ann.wait_for("the answer", |m| m.text.starts_with("Andy: echo")).await;
}
