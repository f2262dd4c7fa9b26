//! The link's bad days: each has its own state and its own way out.

use std::time::Duration;

use crate::rig::Rig;
use crate::server::{What, When};

/// The number of the latest connection on which anything was said.
fn latest(rig: &Rig) -> u64 {
    rig.server.log().iter().map(|entry| entry.connection).max().unwrap_or(0)
}

/// That no connection is tried while one could be.
async fn nothing_is_tried(rig: &Rig) {
    let before = latest(rig);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(latest(rig), before, "it connects again");
}

#[tokio::test(flavor = "current_thread")]
async fn a_device_that_the_phone_removed_forgets_its_keys_and_links_again() {
    let mut rig = Rig::linked().await;
    rig.owner.unlink(rig.device);
    let status = rig.wait_state("logged_out").await;
    let problem = status["problems"][0].as_str().unwrap();
    assert!(problem.contains("nanoclaw auth whatsapp"), "{problem}");
    assert!(!rig.home.path().join("store/whatsapp.db").exists());
    nothing_is_tried(&rig).await;
    rig.link().await;
    rig.owner.send(&rig.owner.jid(), "back again").await;
    rig.owner.wait_text("Andy: echo: back again").await;
    // What `status` says needs no daemon.
    rig.owner.unlink(rig.device);
    rig.wait_state("logged_out").await;
    rig.stop().await;
    rig.wait_state("logged_out").await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_link_that_another_program_took_waits_until_the_owner_says_so() {
    let rig = Rig::linked().await;
    rig.owner.replace(rig.device);
    let status = rig.wait_state("replaced").await;
    assert!(status["problems"][0].as_str().unwrap().contains("another program"));
    nothing_is_tried(&rig).await;
    rig.owner.send(&rig.owner.jid(), "meanwhile").await;
    let (code, out, error) = rig.run(&["auth", "whatsapp"]).await;
    assert_eq!(code, 0, "{out}{error}");
    rig.owner.wait_text("Andy: echo: meanwhile").await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_ban_is_waited_for_to_its_end_and_not_longer() {
    let rig = Rig::linked().await;
    rig.owner.fault(When::Login, What::Ban { code: 101, seconds: 6 });
    rig.owner.cut(rig.device);
    let status = rig.wait_state("banned").await;
    assert!(status["whatsapp"]["until"].is_i64());
    nothing_is_tried(&rig).await;
    rig.wait_state("connected").await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_version_or_an_account_that_is_refused_is_not_tried_again() {
    for (code, state) in [(405, "outdated"), (409, "rejected")] {
        let mut rig = Rig::linked().await;
        rig.owner.fault(When::Login, What::Fail(code));
        rig.owner.cut(rig.device);
        rig.wait_state(state).await;
        nothing_is_tried(&rig).await;
        // To start the daemon is to ask.
        rig.stop().await;
        rig.start().await;
        rig.wait_state("connected").await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_lost_connection_comes_back_by_itself_with_what_was_missed() {
    let mut rig = Rig::linked().await;
    rig.server.stop().await;
    rig.wait_state("down").await;
    rig.server.resume().await;
    rig.owner.send(&rig.owner.jid(), "are you there?").await;
    rig.owner.wait_text("Andy: echo: are you there?").await;
    rig.wait_state("connected").await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_says_nothing_any_more_is_made_anew() {
    let rig = Rig::linked().await;
    let before = latest(&rig);
    rig.owner.silence(rig.device);
    let anew = async {
        while latest(&rig) == before {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), anew).await.expect("a new connection");
    rig.owner.send(&rig.owner.jid(), "hello").await;
    rig.owner.wait_text("Andy: echo: hello").await;
}

#[tokio::test(flavor = "current_thread")]
async fn after_sleep_the_connection_is_made_anew_at_once_and_what_came_meanwhile_is_answered() {
    use rustix::process::Signal;
    let rig = Rig::linked().await;
    let daemon = rig.daemon.as_ref().unwrap();
    for silently in [true, false] {
        let before = latest(&rig);
        daemon.signal(Signal::STOP);
        // A router forgets the connection, or the server ends it.
        if silently {
            rig.owner.silence(rig.device);
        } else {
            rig.owner.cut(rig.device);
        }
        let text = format!("are you awake, {silently}?");
        rig.owner.send(&rig.owner.jid(), text.as_str()).await;
        tokio::time::sleep(Duration::from_secs(16)).await;
        daemon.signal(Signal::CONT);
        // Without the look at the clock a silent one is noticed by nobody for 35 seconds.
        rig.owner.wait_text(&format!("Andy: echo: {text}")).await;
        assert!(latest(&rig) > before);
    }
    assert!(rig.home.log().contains("slept=true"), "{}", rig.home.log());
}

#[tokio::test(flavor = "current_thread")]
async fn a_link_that_is_down_for_five_minutes_is_told_of_outside_of_it_once() {
    // By what a desktop has, or by the owner's command.
    for own in [false, true] {
        let mut rig = Rig::linked_with(|home| {
            use std::os::unix::fs::PermissionsExt;
            let bin = home.path().join("bin");
            std::fs::create_dir(&bin).unwrap();
            let (notify, told) = (bin.join("notify-send"), home.path().join("told"));
            std::fs::write(&notify, format!("#!/bin/sh\necho \"$*\" >>{}\n", told.display()))
                .unwrap();
            std::fs::set_permissions(&notify, std::fs::Permissions::from_mode(0o700)).unwrap();
            let path = std::env::var("PATH").unwrap();
            home.set("PATH", &format!("{}:{path}", bin.display()));
            if own {
                home.set("NANOCLAW_ALERT", "notify-send mine");
            }
        })
        .await;
        rig.server.stop().await;
        rig.wait_state("down").await;
        let told = rig.home.path().join("told");
        assert!(!told.exists());
        rig.stop().await;
        // It has been so for six minutes; then a restart in the middle of it.
        rig.home.ledger::<String>(
            "UPDATE settings SET value = json_set(value, '$.since', (unixepoch() - 360) * 1000)
             WHERE key = 'whatsapp' RETURNING key",
        );
        for _ in 0..2 {
            rig.start().await;
            rig.wait_ledger("SELECT group_concat(key LIKE 'alert:%') FROM told", "1").await;
            crate::support::eventually("the alert", || told.exists());
            rig.stop().await;
        }
        rig.start().await;
        rig.server.resume().await;
        rig.wait_state("connected").await;
        rig.stop().await;
        let told = std::fs::read_to_string(told).unwrap();
        let begin = if own {
            "mine NanoClaw: WhatsApp is"
        } else {
            "--urgency=critical NanoClaw NanoClaw: WhatsApp is"
        };
        assert!(told.starts_with(begin) && told.contains("but not connected"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_the_owner_wrote_and_cannot_be_read_is_asked_for_again() {
    let rig = Rig::linked().await;
    rig.owner.send(&rig.owner.jid(), "first").await;
    rig.owner.wait_text("Andy: echo: first").await;
    rig.owner.fault(When::Deliver, What::Garble);
    rig.owner.send(&rig.owner.jid(), "garbled").await;
    rig.owner.wait_text("Andy: echo: garbled").await;
    // The phone has made a new session, and uses it.
    rig.owner.send(&rig.owner.jid(), "last").await;
    rig.owner.wait_text("Andy: echo: last").await;
    assert_eq!(rig.home.ledger::<i64>("SELECT count(*) FROM messages"), 3);
}
