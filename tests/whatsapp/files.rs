//! Files both ways, and voice notes.

use whatsapp_rust::wacore::download::MediaType;

use crate::rig::Rig;
use crate::server::{Draft, What, When};

/// The smallest picture there is.
const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";

/// The content of the message that came last, and what stands of its file.
fn last(rig: &Rig) -> (String, String) {
    let of = |column: &str| {
        rig.home.ledger::<Option<String>>(&format!(
            "SELECT {column} FROM messages ORDER BY seq DESC LIMIT 1"
        ))
    };
    (of("content").unwrap_or_default(), of("attachments").unwrap_or_default())
}

#[tokio::test(flavor = "current_thread")]
async fn a_picture_reaches_the_agent_and_a_document_comes_back() {
    let rig = Rig::linked().await;
    let own = rig.owner.jid();
    rig.owner.send(&own, Draft::image(PNG, "look at this")).await;
    // The stand-in says what image it was shown.
    let answer = rig.owner.wait_for("the answer", |m| m.text.contains("image/png")).await;
    assert!(answer.text.contains("look at this"), "{}", answer.text);
    let path: String = rig.home.ledger("SELECT attachments ->> '$[0].path' FROM messages");
    let kept = rig.home.path().join("groups/main").join(path);
    assert_eq!(std::fs::read(kept).unwrap(), PNG);
    // Nothing stays where it was exchanged.
    let left = std::fs::read_dir(rig.home.path().join("data/files")).unwrap();
    assert_eq!(left.filter(|e| e.as_ref().unwrap().path().is_file()).count(), 0);

    std::fs::write(rig.home.path().join("groups/main/plan.pdf"), b"%PDF-1.4 plan").unwrap();
    let ask = r#"tool:send_file {"path":"plan.pdf","caption":"the plan"}"#;
    rig.owner.send(&own, ask).await;
    let sent = rig
        .owner
        .wait_for("the document", |m| {
            m.file.is_some() && m.from_me && m.message.document_message.is_set()
        })
        .await;
    let file = sent.file.clone().unwrap();
    assert_eq!(rig.owner.open(&file).unwrap(), b"%PDF-1.4 plan");
    assert_eq!(file.name.as_deref(), Some("plan.pdf"));
    assert!(sent.text.contains("the plan"), "{}", sent.text);
}

#[tokio::test(flavor = "current_thread")]
async fn pictures_and_sound_go_out_as_what_they_are() {
    let rig = Rig::linked().await;
    let group = rig.home.path().join("groups/main");
    std::fs::create_dir_all(&group).unwrap();
    std::fs::write(group.join("a.png"), PNG).unwrap();
    std::fs::write(group.join("b.mp3"), b"ID3 sound").unwrap();
    for (file, kind) in [("a.png", MediaType::Image), ("b.mp3", MediaType::Audio)] {
        let ask = format!("tool:send_file {{\"path\":\"{file}\"}}");
        rig.owner.send(&rig.owner.jid(), ask.as_str()).await;
        rig.owner.wait_for(file, |m| m.file.as_ref().is_some_and(|f| f.kind == kind)).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_that_whatsapp_has_forgotten_is_asked_for_again() {
    let mut rig = Rig::linked().await;
    let own = rig.owner.jid();
    rig.stop().await;
    let id = rig.owner.send(&own, Draft::document(b"old news", "news.txt", "text/plain")).await;
    let path = rig.owner.file_of(&id).unwrap();
    rig.server.expire_file(&path, 410);
    rig.start().await;
    rig.owner.wait_for("an answer", |m| m.text.starts_with("Andy:")).await;
    let (_, file) = last(&rig);
    assert!(file.contains("\"size\":8"), "{file}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_whose_connection_is_lost_meanwhile_comes_with_its_message_again() {
    let rig = Rig::linked().await;
    // The library tries three times, and longer than the cut takes.
    for _ in 0..3 {
        rig.server.fault(When::Media, What::Delay(std::time::Duration::from_secs(1)));
        rig.server.fault(When::Media, What::Fail(500));
    }
    rig.owner.send(&rig.owner.jid(), Draft::document(b"dear", "dear.txt", "text/plain")).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    rig.owner.cut(rig.device);
    rig.owner.wait_for("an answer", |m| m.text.starts_with("Andy:")).await;
    let (_, file) = last(&rig);
    assert!(file.contains("\"size\":4"), "{file}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_that_cannot_be_had_is_told_of_and_its_message_is_answered() {
    let rig = Rig::linked().await;
    for _ in 0..8 {
        rig.server.fault(When::Media, What::Fail(500));
    }
    rig.owner.send(&rig.owner.jid(), Draft::document(b"x", "lost.txt", "text/plain")).await;
    rig.owner.wait_for("an answer", |m| m.text.starts_with("Andy:")).await;
    let (_, file) = last(&rig);
    assert!(file.contains("error") && file.contains("lost.txt"), "{file}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_that_is_said_to_lie_elsewhere_is_not_asked_for_there() {
    let rig = Rig::linked().await;
    let own = rig.owner.jid();
    rig.owner.send(&own, Draft::image(PNG, "look at this")).await;
    rig.owner.wait_for("the answer", |m| m.text.contains("image/png")).await;
    let honest = rig.owner.shown().into_iter().find(|m| m.here).unwrap().message.clone();
    let path = honest.image_message.direct_path.clone().unwrap();
    // Every host is the test server in the end: who asks gets the file.
    for (number, url) in [true, false].into_iter().enumerate() {
        let mut message = honest.clone();
        let image = message.image_message.as_option_mut().unwrap();
        image.caption = Some(format!("lie {number}"));
        match url {
            true => image.static_url = Some(format!("https://evil.example{path}")),
            false => image.direct_path = Some(format!("@evil.example{path}")),
        }
        rig.owner.send(&own, message).await;
        let heard = format!("lie {number}");
        rig.owner.wait_for(&heard, |m| !m.here && m.text.contains(&heard)).await;
        let (_, file) = last(&rig);
        assert!(file.contains("elsewhere than at WhatsApp"), "{file}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_voice_note_is_heard_by_the_owner_s_program_without_a_network() {
    let rig = Rig::linked_with(|home| {
        let path = home.path().display();
        // All that is left of the network is loopback.
        let script = format!(
            "#!/bin/sh\n\
             [ \"$(grep -c : /proc/net/dev)\" = 1 ] || echo network\n\
             [ ! -e {path}/store/messages.db ] || echo ledger\n\
             (echo x >{path}/listen.sh) 2>/dev/null && echo writes\n\
             env | grep -q NANOCLAW && echo settings\n\
             cat \"$1\"\n"
        );
        let listen = home.path().join("listen.sh");
        std::fs::write(&listen, script).unwrap();
        home.set("NANOCLAW_TRANSCRIBE", &format!("sh {}", listen.display()));
    })
    .await;
    rig.owner.send(&rig.owner.jid(), Draft::voice(b"buy milk", 2)).await;
    rig.owner.wait_for("the answer", |m| m.text.contains("buy milk")).await;
    let (text, _) = last(&rig);
    assert_eq!(text, "[voice note, transcribed] buy milk");
}

#[tokio::test(flavor = "current_thread")]
async fn a_voice_note_that_nobody_can_hear_is_said_to_be_one() {
    let rig = Rig::linked().await;
    rig.owner.send(&rig.owner.jid(), Draft::voice(b"OggS", 2)).await;
    rig.owner.wait_for("the answer", |m| m.text.contains("cannot hear")).await;
}
