//! Deaths of an upgrade from 1.x, of a backup and of a restore: what comes after goes on
//! as if nothing was, or says what to do.

use std::os::unix::process::ExitStatusExt;

use super::old::{Stage, build};
use super::support::{Client, Home, eventually};

/// The first start of a directory of 1.x dies; the next serves it.
pub fn upgrade(point: &str) -> Vec<String> {
    let mut home = Home::new();
    build(home.path(), Stage::First);
    let said = |home: &Home| {
        home.ledger::<String>(
            "SELECT group_concat(chat_jid || id || content || timestamp) FROM
             (SELECT * FROM messages ORDER BY chat_jid, id)",
        )
    };
    let before = said(&home);
    if let Some(wrong) = dies(&mut home, point, &["start"]) {
        return vec![wrong];
    }
    let daemon = home.start();
    let mut wrong = Vec::new();
    if said(&home) != before {
        wrong.push("messages are not what they were".to_owned());
    }
    let client = Client::connect(&home, "tg:");
    client.answer("tg:-2", "what is up");
    client.answer("tg:1", "still open in main");
    client.answer("tg:-2", "One older message was left unanswered");
    eventually("all to be settled", || home.states().get("answered") == Some(&304));
    let answers = client.heard(|h| h.sends.len());
    if answers != 3 {
        wrong.push(format!("{answers} texts instead of 3"));
    }
    let files = std::fs::read_dir(home.path().join("data")).unwrap().flatten();
    let left = files.filter(|f| f.path().extension().is_some_and(|e| e == "json")).count();
    if left > 0 {
        wrong.push(format!("{left} files of 1.x were not renamed"));
    }
    if daemon.stop() != 0 {
        wrong.push("the last stop".into());
    }
    wrong
}

/// A backup dies, or the restore of one; made again, the copy is served.
pub fn backup(point: &str) -> Vec<String> {
    let mut home = Home::new();
    home.add_group("family", "t:1");
    std::fs::write(home.path().join("groups/family/note"), "mine").unwrap();
    std::fs::create_dir_all(home.path().join("data/sessions/family")).unwrap();
    std::fs::write(home.path().join("data/sessions/family/s"), "").unwrap();
    std::fs::create_dir_all(home.path().join("data/files/out")).unwrap();
    std::fs::write(home.path().join("data/files/out/f"), "").unwrap();
    assert_eq!(home.start().stop(), 0);
    let place = home.path().join("backup");
    let to = place.to_str().unwrap().to_owned();
    if point.starts_with("backup") {
        if let Some(wrong) = dies(&mut home, point, &["backup", &to]) {
            return vec![wrong];
        }
        assert!(!place.exists(), "half a backup has no name");
        let (code, _, error) = home.run(&["backup", &to]);
        assert!(
            code == 1 && error.contains("backup.part") && error.contains("remove it"),
            "{error}"
        );
        std::fs::remove_dir_all(home.path().join("backup.part")).unwrap();
    }
    let (code, _, error) = home.run(&["backup", &to]);
    assert_eq!(code, 0, "{error}");
    let mut other = Home::new();
    if point.starts_with("restore")
        && let Some(wrong) = dies(&mut other, point, &["restore", &to])
    {
        return vec![wrong];
    }
    let install = "SELECT value FROM settings WHERE key = 'install'";
    // The ledger comes last and is whole: with it there is nothing left to restore.
    let (code, _, error) = other.run(&["restore", &to]);
    if point != "restore after naming store" {
        assert_eq!(code, 0, "{error}");
    }
    assert_ne!(home.ledger::<String>(install), other.ledger::<String>(install));
    assert_eq!(std::fs::read(other.path().join("groups/family/note")).unwrap(), b"mine");
    let daemon = other.start();
    let client = Client::connect(&other, "t:");
    client.message("t:1", "a", "hello");
    client.answer("t:1", "hello");
    drop(client);
    match daemon.stop() {
        0 => Vec::new(),
        code => vec![format!("the last stop: {code}")],
    }
}

/// Runs a command that dies there; what is wrong if it does not.
fn dies(home: &mut Home, point: &str, arguments: &[&str]) -> Option<String> {
    home.set("CRASH_AT", point);
    let ended = home.command(arguments).output().unwrap();
    home.set("CRASH_AT", "");
    let abort = rustix::process::Signal::ABORT.as_raw();
    (ended.status.signal() != Some(abort)).then(|| {
        format!("never reached: {} {}", ended.status, String::from_utf8_lossy(&ended.stderr))
    })
}
