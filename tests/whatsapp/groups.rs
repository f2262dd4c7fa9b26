//! Groups: given by name, who may speak in them, and when nothing can be written there.

use crate::rig::Rig;
use crate::server::{Phone, What, When};

/// Asks the assistant in the owner's own chat; its next answer that contains `part`.
async fn ask(rig: &Rig, text: &str, part: &str) -> String {
    rig.owner.send(&rig.owner.jid(), text).await;
    let said = |m: &crate::server::Shown| m.text.starts_with("Andy:") && m.text.contains(part);
    rig.owner.wait_for(part, said).await.text
}

async fn known_as(rig: &Rig, name: &str) {
    let query = format!("SELECT count(*) || '' FROM chats WHERE name = '{name}'");
    rig.wait_ledger(&query, "1").await;
}

/// Ann's group with Ben and the owner in it, known to the daemon.
async fn family(rig: &Rig) -> (Phone, Phone, crate::server::Group) {
    let ann = rig.server.person("491702222222", "Ann");
    let ben = rig.server.person("491703333333", "Ben");
    let group = rig.server.group("Our family", &ann, &[&ben, &rig.owner], true);
    // Founded after the daemon came: the notification tells it.
    known_as(rig, "Our family").await;
    (ann, ben, group)
}

#[tokio::test(flavor = "current_thread")]
async fn the_owner_gives_a_chat_a_group_by_name_and_those_whom_they_know_may_speak() {
    let rig = Rig::linked().await;
    let (ann, ben, group) = family(&rig).await;
    // To write to somebody is to know them.
    rig.owner.send(&ben.jid(), "dinner at 7?").await;
    rig.wait_ledger("SELECT count(*) || '' FROM people WHERE wrote", "1").await;
    let said = ask(&rig, r#"tool:register_group {"jid": "our family"}"#, "registered").await;
    for word in [
        "whatsapp_our-family",
        "\"who_may_trigger\":\"known\"",
        "\"keep_context\":true",
        "\"web\":true",
    ] {
        assert!(said.contains(word), "{word} in {said}");
    }
    ann.send(&group.jid(), "@Andy do you hear me?").await;
    rig.wait_ledger(
        "SELECT state || ': ' || reason FROM messages WHERE sender_name = 'Ann'",
        "context: called by somebody whom the owner does not know",
    )
    .await;
    ben.send(&group.jid(), "@Andy and me?").await;
    let answer = ben.wait_for("the answer", |m| m.text.starts_with("Andy: echo")).await;
    assert!(answer.text.contains("do you hear me?"), "context comes along: {}", answer.text);
    let prompt: String = rig.home.ledger("SELECT prompt FROM turns WHERE folder <> 'main'");
    let told = r#"not_answered="called by somebody whom the owner does not know">@Andy do you"#;
    assert!(prompt.contains(told), "{prompt}");
    let said = ask(
        &rig,
        r#"tool:register_group {"jid": "our family", "who_may_trigger": "everybody"}"#,
        "\"changed\":",
    )
    .await;
    assert!(said.contains("\"who_may_trigger\":\"everybody\""), "{said}");
    ann.send(&group.jid(), "@Andy and now?").await;
    ann.wait_for("the answer", |m| m.text.starts_with("Andy: echo") && m.text.contains("and now?"))
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_name_that_several_chats_have_is_asked_back() {
    let rig = Rig::linked().await;
    let (ann, _, one) = family(&rig).await;
    let other = rig.server.group("Our family abroad", &ann, &[&rig.owner], false);
    known_as(&rig, "Our family abroad").await;
    let said = ask(&rig, r#"tool:register_group {"jid": "family"}"#, "may be meant").await;
    assert!(
        said.contains(&one.jid().to_string()) && said.contains(&other.jid().to_string()),
        "{said}"
    );
    let (code, out, _) = rig.run(&["groups", "chats"]).await;
    assert!(code == 0 && out.contains("Our family abroad"), "{out}");
    // The whole name is enough.
    let (code, out, error) = rig.run(&["groups", "add", "fam", "--chat", "our family"]).await;
    assert!(code == 0 && out.contains("of people whom you know"), "{out}{error}");
}

#[tokio::test(flavor = "current_thread")]
async fn what_happens_to_a_chat_is_noted_and_nothing_is_sent_where_nothing_can_be() {
    let rig = Rig::linked().await;
    let (ann, _, group) = family(&rig).await;
    let added =
        rig.run(&["groups", "add", "fam", "--chat", "Our family", "--who", "everybody"]).await;
    assert_eq!(added.0, 0, "{}", added.2);
    group.rename(&ann, "The family");
    known_as(&rig, "The family").await;
    group.announcement(&ann, true);
    rig.wait_ledger("SELECT closed FROM chats WHERE name = 'The family'", "admins_only").await;
    let status = rig.status().await;
    let problems = status["problems"].to_string();
    assert!(
        problems.contains("The family cannot be answered: only admins may write"),
        "{problems}"
    );
    ann.send(&group.jid(), "@Andy quiet?").await;
    rig.wait_ledger(
        "SELECT state || ' ' || error FROM outbox WHERE key = 'answer'",
        "failed only admins may write in this chat, and your account is none",
    )
    .await;
    // As an admin it may.
    group.promote(&ann, &rig.owner);
    rig.wait_ledger("SELECT (closed IS NULL) || '' FROM chats WHERE name = 'The family'", "1")
        .await;
    ann.send(&group.jid(), "@Andy and now?").await;
    ann.wait_for("the answer", |m| m.text.contains("and now?") && m.text.starts_with("Andy")).await;
    group.remove(&ann, &rig.owner);
    rig.wait_ledger("SELECT closed FROM chats WHERE name = 'The family'", "removed").await;
    let (_, out, _) = rig.run(&["groups", "list"]).await;
    assert!(out.contains("your account is not in this chat any more"), "{out}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_group_that_cannot_be_looked_at_for_a_moment_is_not_taken_for_lost() {
    let rig = Rig::linked().await;
    let (ann, _, group) = family(&rig).await;
    rig.serve("fam", &group.jid().to_string()).await;
    let who = rig.run(&["groups", "set", "fam", "--who", "everybody"]).await;
    assert_eq!(who.0, 0, "{}", who.2);
    // The first to ask is the library, for whom it encrypts.
    ann.send(&group.jid(), "hello").await;
    ann.wait_text("Andy: echo: hello").await;
    rig.owner.fault(When::Group, What::Fail(500));
    group.rename(&ann, "The family");
    rig.server.wait_faults().await;
    // An answer of the server's takes no longer than this.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    ann.send(&group.jid(), "are you there?").await;
    ann.wait_text("Andy: echo: are you there?").await;
    known_as(&rig, "The family").await;
}

#[tokio::test(flavor = "current_thread")]
async fn markdown_is_shown_in_whatsapp_s_way() {
    let rig = Rig::linked().await;
    let text = "say:# Plan\n\n**Tea** at [home](https://e.org/a_b)\n\n* one\n  * two\n\n| a | b |\n|---|---|\n| 1 | 2 |";
    rig.owner.send(&rig.owner.jid(), text).await;
    let answer = rig.owner.wait_for("the answer", |m| m.text.starts_with("Andy: *Plan*")).await;
    assert_eq!(
        answer.text,
        "Andy: *Plan*\n\n*Tea* at home (https://e.org/a_b)\n\n- one\n  ◦ two\n\n```\na  b\n----\n1  2\n```"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_long_answer_comes_as_somebody_writes_and_within_the_ceiling() {
    let rig = Rig::linked_with(|home| home.set("NANOCLAW_WHATSAPP_PACE", "2 0")).await;
    let paragraph = "word ".repeat(700);
    let text = format!("say:{paragraph}\n\n{paragraph}\n\n{paragraph}");
    rig.owner.send(&rig.owner.jid(), text.as_str()).await;
    rig.wait_ledger("SELECT count(*) || '' FROM outbox WHERE state <> 'pending'", "2").await;
    rig.wait_ledger(
        "SELECT count(*) || ' ' || max(attempts) || ' ' || max(error) FROM outbox WHERE state = 'pending'",
        "1 0 too many messages in this chat within a minute",
    )
    .await;
    let sent: i64 = rig.home.ledger("SELECT max(sent_at) - min(sent_at) FROM outbox");
    assert!(sent >= 2_500, "{sent} ms between two long messages");
    let status = rig.status().await;
    assert_eq!(status["outbox"]["held"], 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_chat_in_which_nobody_wrote_gets_no_first_message() {
    let rig = Rig::linked().await;
    let (_, _, group) = family(&rig).await;
    let call = serde_json::json!({"text": "hello, strangers", "chat": group.jid().to_string()});
    rig.owner.send(&rig.owner.jid(), format!("tool:send_message {call}").as_str()).await;
    rig.wait_ledger(
        "SELECT state || ' ' || (error LIKE '%first message to a stranger%') FROM outbox WHERE chat_jid LIKE '%@g.us'",
        "failed 1",
    )
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_mention_of_the_assistant_s_own_number_calls_it_and_others_go_by_name() {
    let rig = Rig::linked_with(|home| home.set("ASSISTANT_HAS_OWN_NUMBER", "true")).await;
    let (ann, ben, group) = family(&rig).await;
    let added =
        rig.run(&["groups", "add", "fam", "--chat", "Our family", "--who", "everybody"]).await;
    assert_eq!(added.0, 0, "{}", added.2);
    ben.send(&group.jid(), "I cook").await;
    rig.wait_ledger("SELECT count(*) || '' FROM messages", "1").await;
    let text = format!("what does @{} cook, @{}?", ben.lid().user, rig.owner.lid().user);
    let draft = crate::server::Draft::text(&text).mentioning(&[ben.lid(), rig.owner.lid()]);
    ann.send(&group.jid(), draft).await;
    let answer = ann.wait_for("the answer", |m| m.text.starts_with("echo:")).await;
    assert!(answer.text.contains("what does @Ben cook, @Andy?"), "{}", answer.text);
}
