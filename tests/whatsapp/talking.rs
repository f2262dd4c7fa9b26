//! Messages and answers, with everything that phones show around them.

use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp as wa;

use crate::rig::Rig;
use crate::server::{Draft, Shown, What, When};

#[tokio::test(flavor = "current_thread")]
async fn a_friend_s_chat_is_answered_once_and_shown_as_read_typed_and_delivered() {
    let rig = Rig::linked().await;
    let ann = rig.server.person("491702222222", "Ann");
    let owner = rig.owner.jid();
    // A chat that belongs to no group: nothing of it is kept.
    ann.send(&owner, "are you there?").await;
    rig.wait_ledger(
        "SELECT count(*) || '' FROM chats WHERE jid = '491702222222@s.whatsapp.net'",
        "1",
    )
    .await;
    rig.serve("ann", &ann.jid().to_string()).await;
    let id = ann.send(&owner, "think:300 hello").await;
    let answer = ann.wait_for("the answer", |m| m.text.contains("hello") && m.id != id).await;
    assert_eq!(answer.text, "Andy: echo: think:300 hello");
    ann.wait_tick(&id, "read").await;
    ann.wait_screen("typing and its end", |screen| {
        let states: Vec<&str> = screen.states.iter().map(|(_, _, s)| s.as_str()).collect();
        let typed = states.iter().position(|s| *s == "composing")?;
        states[typed..].contains(&"paused").then_some(())
    })
    .await;
    ann.wait_screen("the mark of an answered message", |screen| {
        let reactions = &screen.find(&id)?.reactions;
        (reactions.len() == 1 && reactions[0].1 == "✅").then_some(())
    })
    .await;
    rig.wait_ledger("SELECT state FROM outbox WHERE key = 'answer'", "delivered").await;
    assert_eq!(ann.screen().find(&answer.id).unwrap().arrivals, 1);
    assert_eq!(rig.home.ledger::<i64>("SELECT count(*) FROM messages"), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn nobody_seems_online_but_for_the_time_of_a_login() {
    let rig = Rig::linked().await;
    for text in ["hello", "again, after a lost connection"] {
        rig.owner.send(&rig.owner.jid(), text).await;
        rig.owner.wait_text(&format!("Andy: echo: {text}")).await;
        // Whatever was said at the login and while it worked: in the end nobody is there.
        rig.server
            .wait_log("unavailable", |e| e.sent("presence") && e.is("type", "unavailable"))
            .await;
        let log = rig.server.log();
        let last = log.iter().rfind(|e| e.sent("presence")).unwrap();
        assert!(last.is("type", "unavailable"), "{last}");
        rig.owner.cut(rig.device);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_answer_quotes_its_message_when_others_wrote_meanwhile() {
    let rig = Rig::linked().await;
    let (ann, ben) =
        (rig.server.person("491702222222", "Ann"), rig.server.person("491703333333", "Ben"));
    let group = rig.server.group("Family", &ann, &[&ben, &rig.owner], false);
    let jid = group.jid().to_string();
    let added = ["groups", "add", "family", "--jid", &jid, "--who", "everybody"];
    let (code, _, error) = rig.run(&added).await;
    assert_eq!(code, 0, "{error}");
    let asked = ann.send(&group.jid(), "@Andy think:4000 what is for dinner?").await;
    ann.wait_screen("the mark of a message at work", |screen| {
        screen.find(&asked)?.reactions.iter().any(|(_, emoji)| emoji == "👀").then_some(())
    })
    .await;
    ben.send(&group.jid(), "I am late").await;
    let answer = ann.wait_for("the answer", |m| m.text.starts_with("Andy: echo:")).await;
    let (quoted, text) = answer.quoted.expect("it quotes");
    assert_eq!(quoted, asked);
    assert!(text.contains("dinner"), "{text}");
    // Nobody wrote since: the next needs no quote.
    ann.send(&group.jid(), "@Andy say:fine thanks").await;
    let answer = ann.wait_for("the next", |m| m.text.ends_with("| fine thanks")).await;
    assert_eq!(answer.quoted, None);
    ben.wait_for("the same", |m| m.id == answer.id).await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_was_written_while_the_daemon_was_away_is_answered_in_order() {
    let mut rig = Rig::linked().await;
    let ann = rig.server.person("491702222222", "Ann");
    rig.serve("ann", &ann.jid().to_string()).await;
    rig.stop().await;
    for n in 0..20 {
        ann.send(&rig.owner.jid(), format!("line {n}.").as_str()).await;
    }
    rig.start().await;
    ann.wait_for("the answer to the last", |m| {
        m.text.contains("line 19.") && !m.from_me && m.text.starts_with("Andy")
    })
    .await;
    rig.wait_ledger("SELECT group_concat(DISTINCT state) FROM messages", "answered").await;
    let order: String = rig.home.ledger(
        "SELECT group_concat(content, ' ') FROM (SELECT content FROM messages ORDER BY seq)",
    );
    let expected: Vec<String> = (0..20).map(|n| format!("line {n}.")).collect();
    assert_eq!(order, expected.join(" "));
}

#[tokio::test(flavor = "current_thread")]
async fn an_edit_before_the_answer_changes_the_question() {
    let mut rig = Rig::linked().await;
    let ann = rig.server.person("491702222222", "Ann");
    rig.serve("ann", &ann.jid().to_string()).await;
    rig.stop().await;
    let id = ann.send(&rig.owner.jid(), "one").await;
    ann.send(&rig.owner.jid(), Draft::edit(&rig.owner.jid(), &id, "two")).await;
    let gone = ann.send(&rig.owner.jid(), "forget me").await;
    ann.send(&rig.owner.jid(), Draft::revoke(&rig.owner.jid(), &gone)).await;
    rig.start().await;
    let answer = ann.wait_for("the answer", |m| m.text.starts_with("Andy: echo")).await;
    assert!(answer.text.contains("two") && !answer.text.contains("one"), "{}", answer.text);
    assert!(!answer.text.contains("forget"), "{}", answer.text);
}

#[tokio::test(flavor = "current_thread")]
async fn a_disappearing_chat_gets_disappearing_answers() {
    let rig = Rig::linked().await;
    let ann = rig.server.person("491702222222", "Ann");
    rig.serve("ann", &ann.jid().to_string()).await;
    ann.send(&rig.owner.jid(), Draft::text("hello").vanishing(86_400)).await;
    let answer = ann.wait_text("Andy: echo: hello").await;
    assert_eq!(answer.vanishes, Some(86_400));
}

#[tokio::test(flavor = "current_thread")]
async fn answers_go_on_to_disappear_until_somebody_says_that_they_shall_not() {
    let rig = Rig::linked().await;
    let ann = rig.server.person("491702222222", "Ann");
    rig.serve("ann", &ann.jid().to_string()).await;
    let own = rig.owner.jid();
    let id = ann.send(&own, Draft::text("hello").vanishing(86_400)).await;
    let answer = ann.wait_text("Andy: echo: hello").await;
    // None of these has a place to say it in.
    ann.send(&own, Draft::reaction(&answer, "👍")).await;
    ann.send(&own, Draft::edit(&own, &id, "hello there")).await;
    ann.send(&own, "one").await;
    let said = |word| move |m: &Shown| !m.here && m.text.contains(word);
    assert_eq!(ann.wait_for("one", said("one")).await.vanishes, Some(86_400));
    let set = wa::message::ProtocolMessage {
        r#type: Some(wa::message::protocol_message::Type::EPHEMERAL_SETTING),
        ephemeral_expiration: Some(0),
        ..Default::default()
    };
    let off = wa::Message { protocol_message: MessageField::some(set), ..Default::default() };
    ann.send(&own, off).await;
    ann.send(&own, "two").await;
    assert_eq!(ann.wait_for("two", said("two")).await.vanishes, None);
}

#[tokio::test(flavor = "current_thread")]
async fn reactions_can_be_switched_off() {
    let rig = Rig::linked_with(|home| home.set("NANOCLAW_REACTIONS", "off")).await;
    let ann = rig.server.person("491702222222", "Ann");
    rig.serve("ann", &ann.jid().to_string()).await;
    let id = ann.send(&rig.owner.jid(), "hello").await;
    ann.wait_text("Andy: echo: hello").await;
    ann.wait_tick(&id, "read").await;
    ann.send(&rig.owner.jid(), "again").await;
    ann.wait_text("Andy: echo: again").await;
    assert_eq!(ann.screen().find(&id).unwrap().reactions, []);
}

#[tokio::test(flavor = "current_thread")]
async fn a_message_that_cannot_be_read_is_told_of_once_and_answered_if_it_still_comes() {
    let rig = Rig::linked().await;
    let (ann, eve) =
        (rig.server.person("491702222222", "Ann"), rig.server.person("491704444444", "Eve"));
    rig.serve("ann", &ann.jid().to_string()).await;
    ann.send(&rig.owner.jid(), "hello").await;
    ann.wait_text("Andy: echo: hello").await;
    // Somebody whose chat is nobody's, and Ann in her own; their phones help with nothing.
    for phone in [&eve, &ann] {
        rig.owner.fault(When::Deliver, What::Garble);
        phone.send(&rig.owner.jid(), "lost on the way").await;
        phone.switch_off();
    }
    rig.wait_ledger(
        "SELECT json_array_length(value) || '' FROM settings WHERE key = 'unread'",
        "1",
    )
    .await;
    // A minute later.
    rig.home.ledger::<String>(
        "UPDATE settings SET value = json_set(value, '$[0].at', 1) WHERE key = 'unread' RETURNING key",
    );
    let told =
        "SELECT group_concat(chat_jid || ' ' || state) FROM outbox WHERE key = 'notice:unread'";
    rig.wait_ledger(told, &format!("{} sent", ann.jid())).await;
    rig.wait_ledger(
        "SELECT state || ' ' || content FROM messages ORDER BY seq DESC LIMIT 1",
        "context [a message that could not be read here]",
    )
    .await;
    ann.switch_on();
    let notice = ann.wait_for("the notice", |m| m.text.contains("send it again")).await;
    assert!(notice.text.contains("from Ann"), "{}", notice.text);
    // Her phone heard that it was asked for it, and says it again.
    let answer =
        ann.wait_for("the answer", |m| m.text.contains("lost on the way") && !m.here).await;
    assert!(answer.text.contains("a message that could not be read"), "{}", answer.text);
    rig.wait_ledger("SELECT value FROM settings WHERE key = 'unread'", "[]").await;
    assert_eq!(rig.home.ledger::<i64>("SELECT count(*) FROM outbox WHERE key LIKE 'notice%'"), 1);
    assert!(eve.received().is_empty());
}
