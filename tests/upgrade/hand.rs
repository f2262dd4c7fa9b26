//! What agents and owners of 1.x are used to: records by hand, the project, shared
//! directories.

use std::process::Command;

use rusqlite::Connection;
use serde_json::json;

use crate::old::{Stage, build};
use crate::support::{Client, Home, eventually, message};

#[test]
fn records_by_hand_work_with_the_rights_of_the_tools() {
    // The CLI writes them as an agent's shell would, before it answers.
    let home = Home::scripted(
        "cp -r /workspace/group/hand/. /workspace/ipc/ 2>/dev/null; rm -rf /workspace/group/hand",
    );
    build(home.path(), Stage::Last);
    let ipc = home.path().join("data/ipc/family/messages");
    std::fs::create_dir_all(&ipc).unwrap();
    let record = |jid: &str, text: &str| {
        json!({"type": "message", "chatJid": jid, "text": text, "groupFolder": "main"}).to_string()
    };
    std::fs::write(ipc.join("1.json"), record("tg:-2", "left by the old one")).unwrap();
    let hand = home.path().join("groups/family/hand");
    std::fs::create_dir_all(hand.join("messages")).unwrap();
    std::fs::create_dir_all(hand.join("tasks")).unwrap();
    std::fs::write(hand.join("messages/a.json"), record("tg:-2", "<internal>x</internal>by hand"))
        .unwrap();
    std::fs::write(hand.join("messages/b.json"), record("tg:1", "not mine to say")).unwrap();
    std::fs::write(hand.join("messages/c.json"), "{").unwrap();
    std::fs::write(hand.join("messages/d.txt"), "not a record").unwrap();
    std::fs::write(hand.join("tasks/e.json"), r#"{"type":"pause_task","taskId":"task-cron"}"#)
        .unwrap();
    let early = json!({"type": "schedule_task", "prompt": "water the plants", "schedule_type": "cron",
        "schedule_value": "0 9 * * *", "groupFolder": "family"});
    std::fs::write(hand.join("tasks/g.json"), early.to_string()).unwrap();
    std::fs::write(hand.join("tasks/f.json"), r#"{"type":"refresh_groups"}"#).unwrap();
    let _daemon = home.start();
    let client = Client::connect(&home, "tg:");
    client.answer("tg:-2", "what is up");
    assert_eq!(client.answer("tg:-2", "left by"), "left by the old one");
    assert_eq!(client.answer("tg:-2", "by hand"), "by hand");
    let errors = home.path().join("data/ipc/errors");
    let reason = |name: &str| {
        std::fs::read_to_string(errors.join(format!("family-{name}.reason"))).unwrap_or_default()
    };
    eventually("what is refused to be set aside", || {
        ["messages-b.json", "messages-c.json", "tasks-f.json"].iter().all(|n| !reason(n).is_empty())
    });
    assert!(reason("messages-b.json").contains("only main"), "{}", reason("messages-b.json"));
    assert!(reason("tasks-f.json").contains("only main"), "{}", reason("tasks-f.json"));
    let tasks = || -> Vec<serde_json::Value> {
        serde_json::from_str(&home.run(&["tasks", "list", "--group", "family", "--json"]).1)
            .unwrap()
    };
    eventually("the task to be paused", || {
        tasks().iter().any(|t| t["id"] == "task-cron" && t["status"] == "paused")
    });
    eventually("the task by hand", || tasks().iter().any(|t| t["prompt"] == "water the plants"));
    let left = home.path().join("data/ipc/family/legacy/messages");
    let left: Vec<_> = std::fs::read_dir(left).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left, ["d.txt"]);
    assert!(client.heard(|h| h.sends.iter().all(|s| !s.2.contains("not mine"))));
}

#[test]
fn main_by_hand_writes_anywhere_unless_a_stranger_was_heard() {
    let write = r#"printf '{"type":"message","chatJid":"tg:-2","text":"dinner %s"}' "$$" > /workspace/ipc/messages/x.json"#;
    let home = Home::scripted(write);
    build(home.path(), Stage::Last);
    // The message that waits in main is the owner's: a direct chat.
    let daemon = home.start();
    let client = Client::connect(&home, "tg:");
    client.answer("tg:1", "still open in main");
    client.answer("tg:-2", "dinner");
    assert_eq!(daemon.stop(), 0);
    let sent = home.ledger::<i64>("SELECT count(*) FROM outbox WHERE text LIKE 'dinner%'");

    let daemon = home.start();
    let (code, _, error) = home.run(&["groups", "link", "main", "tg:-9"]);
    assert_eq!(code, 0, "{error}");
    let client = Client::connect(&home, "tg:");
    client.write(&message("tg:-9", "s", "from a stranger"));
    client.answer("tg:-9", "from a stranger");
    let reason = home.path().join("data/ipc/errors/main-messages-x.json.reason");
    eventually("the refusal", || reason.exists());
    assert!(std::fs::read_to_string(reason).unwrap().contains("somebody else"));
    assert_eq!(daemon.stop(), 0);
    assert_eq!(home.ledger::<i64>("SELECT count(*) FROM outbox WHERE text LIKE 'dinner%'"), sent);
}

#[test]
fn main_finds_a_note_where_the_project_was_and_groups_what_the_owner_shares() {
    let look = "for p in /workspace/project/README.md /workspace/project/x /workspace/extra/work/x /workspace/extra/photos/x; do
        if [ -r \"$p\" ]; then grep -c . \"$p\"; fi; ( : > \"$p\" ) 2>/dev/null && echo \"wrote $p\"; done > /workspace/group/seen 2>&1
        ls /workspace/extra /workspace/ipc >> /workspace/group/seen 2>&1";
    let home = Home::scripted(look);
    build(home.path(), Stage::Last);
    let shared = home
        .path()
        .with_file_name(format!("{}-shared", home.path().file_name().unwrap().to_string_lossy()));
    for name in ["work", "photos", "keys.ssh"] {
        std::fs::create_dir_all(shared.join(name)).unwrap();
    }
    let _ = Command::new("chmod").args(["-R", "a+rwx"]).arg(&shared).status().unwrap();
    let config = home.path().join(".config/nanoclaw");
    std::fs::create_dir_all(&config).unwrap();
    let list = json!({"allowedRoots": [{"path": shared, "allowReadWrite": true}], "blockedPatterns": [], "nonMainReadOnly": false});
    std::fs::write(config.join("mount-allowlist.json"), list.to_string()).unwrap();
    let mounts = json!({"additionalMounts": [{"hostPath": shared.join("work"), "readonly": false},
        {"hostPath": shared.join("photos")}, {"hostPath": shared.join("keys.ssh")}, {"hostPath": home.path()}]});
    let c = Connection::open(home.path().join("store/messages.db")).unwrap();
    c.execute(
        "UPDATE registered_groups SET container_config = ?1 WHERE folder = 'family'",
        [mounts.to_string()],
    )
    .unwrap();
    drop(c);
    let _daemon = home.start();
    let client = Client::connect(&home, "tg:");
    client.answer("tg:-2", "what is up");
    client.answer("tg:1", "still open in main");
    let seen = |group: &str| {
        std::fs::read_to_string(home.path().join(format!("groups/{group}/seen"))).unwrap()
    };
    let family = seen("family");
    assert!(family.contains("wrote /workspace/extra/work/x"), "{family}");
    assert!(
        !family.contains("wrote /workspace/extra/photos") && family.contains("photos"),
        "{family}"
    );
    assert!(!family.contains("ssh") && !family.contains("project"), "{family}");
    assert!(family.contains("messages") && family.contains("tasks"), "{family}");
    let main = seen("main");
    assert!(main.lines().next().is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 5)), "{main}");
    assert!(!main.contains("wrote"), "the note is read-only: {main}");
    let told = client.answer("tg:1", "works without directories");
    assert!(told.contains("keys.ssh") && told.contains("family"), "{told}");
    std::fs::remove_dir_all(shared).unwrap();
}
