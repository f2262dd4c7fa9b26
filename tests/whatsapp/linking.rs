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

#[tokio::test(flavor = "current_thread")]
async fn who_lets_all_codes_run_out_is_told_so_and_nothing_is_linked() {
    for daemon in [false, true] {
        let mut rig = Rig::new().await;
        // As after six codes that nobody scanned.
        rig.server.codes(0);
        if daemon {
            rig.start().await;
        }
        let (code, _, error) = rig.run(&["auth", "whatsapp"]).await;
        assert_eq!(code, 1);
        assert!(error.contains("no phone scanned the code in time: run `nanoclaw auth"), "{error}");
        rig.wait_state("unlinked").await;
        // The next try is a fresh one.
        rig.server.codes(6);
        rig.link().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_doctor_says_how_the_link_is_what_helps_and_who_can_read_its_keys() {
    use std::os::unix::fs::PermissionsExt;
    async fn check(rig: &Rig, name: &str) -> String {
        let (_, out, error) = rig.run(&["doctor", "--json"]).await;
        let doctor: serde_json::Value = serde_json::from_str(&out).expect(&error);
        let found = doctor["checks"].as_array().unwrap().iter().find(|c| c["name"] == name);
        found
            .map_or_else(String::new, |c| format!("{} {} -> {}", c["level"], c["found"], c["next"]))
    }
    let mut rig = Rig::new().await;
    let said = check(&rig, "WhatsApp").await;
    assert!(
        said.starts_with("\"ok\" \"not linked") && said.ends_with("\"nanoclaw auth whatsapp\""),
        "{said}"
    );
    assert_eq!(check(&rig, "whatsapp.db").await, "");
    rig.link().await;
    let said = check(&rig, "WhatsApp").await;
    assert!(
        said.contains("does not run (since 20") && said.ends_with("\"nanoclaw start\""),
        "{said}"
    );
    rig.start().await;
    rig.owner.send(&rig.owner.jid(), "hello").await;
    rig.owner.wait_text("Andy: echo: hello").await;
    let said = check(&rig, "WhatsApp").await;
    assert!(
        said.starts_with("\"ok\" \"linked to +491701111111, connected") && said.ends_with("null"),
        "{said}"
    );
    assert!(check(&rig, "whatsapp.db").await.starts_with("\"ok\""));
    let keys = rig.home.path().join("store/whatsapp.db");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = check(&rig, "whatsapp.db").await;
    assert!(
        said.starts_with("\"warn\"") && said.contains("644") && said.contains("chmod 600"),
        "{said}"
    );
    rig.owner.unlink(rig.device);
    rig.wait_state("logged_out").await;
    let said = check(&rig, "WhatsApp").await;
    assert!(said.starts_with("\"warn\"") && said.ends_with("\"nanoclaw auth whatsapp\""), "{said}");
}
