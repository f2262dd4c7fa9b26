//! Deaths: whenever the daemon is killed, what WhatsApp was told is stored is answered,
//! and the phone shows each answer once.

use std::time::Duration;

use crate::rig::Rig;

/// How often it is killed.
const ROUNDS: u32 = 50;

/// A small generator: the moments of a failed run can be had again by its seed.
struct Moments(u64);

impl Moments {
    fn next(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

#[tokio::test(flavor = "current_thread")]
async fn whenever_the_daemon_dies_each_message_is_answered_once() {
    let seed = std::env::var("NANOCLAW_WHATSAPP_SEED").ok().and_then(|n| n.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("NANOCLAW_WHATSAPP_SEED={seed}");
    let mut moments = Moments(seed);
    // All of it comes within minutes, which is not what this is about.
    let mut rig = Rig::linked_with(|home| home.set("NANOCLAW_CHAT_TURNS", "1000")).await;
    let ann = rig.server.person("491702222222", "Ann");
    rig.serve("ann", &ann.jid().to_string()).await;
    let mut sent = 0;
    for round in 0..ROUNDS {
        if rig.daemon.is_none() {
            rig.start().await;
        }
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(moments.next(100))).await;
            ann.send(&rig.owner.jid(), format!("message {sent}.").as_str()).await;
            sent += 1;
        }
        let moment = moments.next(1_000);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        eprintln!("round {round}: killed {moment} ms after the last of {sent}");
        let daemon = rig.daemon.take().unwrap();
        tokio::task::spawn_blocking(move || daemon.kill()).await.unwrap();
    }
    rig.start().await;
    let answered = "SELECT count(*) || '' FROM messages WHERE state = 'answered'";
    rig.wait_ledger(answered, &sent.to_string()).await;
    rig.wait_ledger("SELECT count(*) || '' FROM outbox WHERE state = 'pending'", "0").await;
    for n in 0..sent {
        let text = format!("message {n}.");
        ann.wait_for(&text, |m| m.text.starts_with("Andy:") && m.text.contains(&text)).await;
        let shown = ann.shown();
        let answers =
            shown.iter().filter(|m| m.text.starts_with("Andy: echo") && m.text.contains(&text));
        assert_eq!(answers.count(), 1, "answers to {text}");
    }
    let unreadable = ann.screen().unreadable.clone();
    assert_eq!(unreadable, Vec::<String>::new(), "every answer can be read");
}
