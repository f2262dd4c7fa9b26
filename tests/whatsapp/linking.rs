//! From no account to an answer, and back.

use std::time::Duration;

use crate::rig::Rig;
use crate::server::Draft;

#[tokio::test(flavor = "current_thread")]
async fn a_phone_that_scans_the_code_is_linked_and_its_own_chat_is_main() {
    let mut rig = Rig::new().await;
    rig.link().await;
    let status = rig.status().await;
    assert_eq!(status["whatsapp"]["account"], "+491701111111");
    let said = status["whatsapp"]["sentence"].as_str().unwrap();
    assert!(said.contains("the daemon does not run"), "{said}");
    rig.start().await;
    rig.owner.send(&rig.owner.jid(), "hello").await;
    let answer = rig.owner.wait_text("Andy: echo: hello").await;
    assert_eq!((answer.chat, answer.from_me), (rig.owner.jid(), true));
    assert_eq!(rig.home.ledger::<String>("SELECT folder FROM turns"), "main");
    // Whoever has these bytes is the owner's WhatsApp.
    for file in ["whatsapp.db", "whatsapp.db-wal"] {
        use std::os::unix::fs::PermissionsExt;
        let path = rig.home.path().join("store").join(file);
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_daemon_without_a_link_serves_the_rest_and_links_by_a_typed_code() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let status = rig.status().await;
    assert_eq!(status["whatsapp"]["state"], "unlinked");
    let said = status["whatsapp"]["sentence"].as_str().unwrap();
    assert!(said.contains("`nanoclaw auth whatsapp`"), "{said}");
    let mut auth = rig.spawn(&["auth", "whatsapp", "--phone", "+49 170 1111111"]);
    let code = auth.line_after("code to type: ").await;
    rig.owner.enter(&code).await.unwrap();
    let (exit, rest) = auth.end().await;
    assert_eq!(exit, Some(0), "{rest}");
    rig.owner.send(&rig.owner.jid(), "still here").await;
    rig.owner.wait_text("Andy: echo: still here").await;
}

#[tokio::test(flavor = "current_thread")]
async fn who_is_linked_already_is_told_so_and_may_remove_the_link() {
    let rig = Rig::linked().await;
    let (code, out, error) = rig.run(&["auth", "whatsapp"]).await;
    assert!(code == 0 && out.contains("--unlink"), "{out}{error}");
    let (code, out, error) = rig.run(&["auth", "whatsapp", "--unlink"]).await;
    assert_eq!(code, 0, "{out}{error}");
    assert!(rig.owner.devices().is_empty(), "the phone lists it no more");
    assert!(!rig.home.path().join("store/whatsapp.db").exists());
}

#[tokio::test(flavor = "current_thread")]
async fn a_link_that_is_removed_without_a_daemon_is_gone_from_the_phone_too() {
    let mut rig = Rig::new().await;
    rig.link().await;
    let (code, out, error) = rig.run(&["auth", "whatsapp", "--unlink"]).await;
    assert_eq!(code, 0, "{out}{error}");
    assert!(rig.owner.devices().is_empty(), "the phone lists it no more");
    // Also where WhatsApp cannot be reached: then the phone is not told.
    rig.link().await;
    rig.server.stop().await;
    let (code, out, error) = rig.run(&["auth", "whatsapp", "--unlink"]).await;
    assert_eq!(code, 0, "{out}{error}");
    assert!(!rig.home.path().join("store/whatsapp.db").exists());
}

#[tokio::test(flavor = "current_thread")]
async fn a_daemon_that_ends_ends_the_linking_too() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let mut auth = rig.spawn(&["auth", "whatsapp"]);
    auth.line_after("code to scan: ").await;
    rig.daemon.take().unwrap().kill();
    assert_eq!(auth.end().await.0, Some(1));
}

#[tokio::test(flavor = "current_thread")]
async fn a_code_that_nobody_wants_any_more_is_withdrawn() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let mut auth = rig.spawn(&["auth", "whatsapp"]);
    let code = auth.line_after("code to scan: ").await;
    let pid = rustix::process::Pid::from_raw(auth.child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(auth.end().await.0, Some(1));
    rig.wait_state("unlinked").await;
    assert!(rig.owner.scan(&code).await.is_err(), "it links nothing");
}

#[tokio::test(flavor = "current_thread")]
async fn a_wrong_number_is_refused_before_anything_is_tried() {
    let rig = Rig::new().await;
    let (code, _, error) = rig.run(&["auth", "whatsapp", "--phone", "0170 1111111"]).await;
    assert!(code == 1 && error.contains("country code"), "{error}");
}

#[tokio::test(flavor = "current_thread")]
async fn with_a_number_of_its_own_the_assistant_signs_nothing_and_obeys_the_linked_chat() {
    let mut rig = Rig::with(|home| home.set("ASSISTANT_HAS_OWN_NUMBER", "true")).await;
    rig.link().await;
    let ann = rig.server.person("491702222222", "Ann");
    let (code, _, error) = rig.run(&["groups", "link", "main", &ann.jid().to_string()]).await;
    assert_eq!(code, 0, "{error}");
    rig.start().await;
    rig.wait_state("connected").await;
    ann.send(&rig.owner.jid(), "hello").await;
    ann.wait_text("echo: hello").await;
    // What the account says elsewhere is the assistant's own.
    rig.owner.send(&ann.jid(), Draft::text("by hand")).await;
    rig.wait_ledger("SELECT state FROM messages WHERE content = 'by hand'", "ignored").await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.home.ledger::<i64>("SELECT count(*) FROM turns"), 1);
}
