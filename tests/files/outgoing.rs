//! What the agent sends.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{Client, Home, eventually, message, pause};
use super::{FILES, names, served};

/// Hangs up, and waits until the daemon knows.
fn leave(client: &Client) {
    client.hang_up();
    client.wait("the end of the connection", |h| h.closed);
}

fn out(home: &Home) -> PathBuf {
    home.path().join("data/files/out")
}

/// The `send` lines with files, in order, repetitions too.
fn sends(client: &Client) -> Vec<Value> {
    let with_files = |l: &&Value| l["type"] == "send" && l["attachments"] != json!([]);
    client.heard(|h| h.lines.iter().filter(with_files).cloned().collect())
}

fn sent_file(client: &Client) -> Value {
    client.wait("a file", |h| {
        h.lines.iter().any(|l| l["type"] == "send" && l["attachments"] != json!([]))
    });
    sends(client).remove(0)
}

#[test]
fn a_file_of_the_agent_is_delivered_whole_and_under_one_id_until_it_is_taken() {
    let (home, daemon, client) = served();
    client.message("t:1", "m0", "hello");
    client.answer("t:1", "hello");
    leave(&client);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let report = home.path().join("groups/family/report.pdf");
    fs::write(&report, &bytes).unwrap();

    let client = Client::join(&home, "t:", &FILES, false);
    client.message("t:1", "m1", r#"tool:send_file {"path":"report.pdf","caption":"the report"}"#);
    let first = sent_file(&client);
    assert_eq!((&first["jid"], &first["text"]), (&json!("t:1"), &json!("the report")));
    let file = &first["attachments"][0];
    assert_eq!(
        (&file["mime"], &file["size"], &file["name"]),
        (&json!("application/pdf"), &json!(3_000_000), &json!("report.pdf"))
    );
    let path = PathBuf::from(file["path"].as_str().unwrap());
    assert!(path.starts_with(out(&home)) && fs::read(&path).unwrap() == bytes);
    fs::write(&report, "changed since").unwrap();
    leave(&client);

    let client = Client::join(&home, "t:", &FILES, false);
    assert_eq!(sent_file(&client), first, "the same again after a reconnect");
    drop(client);
    daemon.kill();
    let daemon = home.start();
    let client = Client::join(&home, "t:", &FILES, true);
    assert_eq!(sent_file(&client), first, "and after a crash");
    assert!(fs::read(&path).unwrap() == bytes, "what was sent is what was meant");
    client.answer("t:1", "sent_to");
    let state = "SELECT state FROM outbox WHERE attachments IS NOT NULL";
    eventually("sent", || home.ledger::<String>(state) == "sent");
    drop(client);
    drop(daemon);

    // Kept for a day after it was sent, then removed; so is what nobody names.
    fs::write(out(&home).join("nobody-s"), "x").unwrap();
    fs::write(out(&home).join(".new-1-1"), "x").unwrap();
    drop(home.start());
    assert_eq!(names(&out(&home)), [path.file_name().unwrap().to_str().unwrap()]);
    let ledger = rusqlite::Connection::open(home.path().join("store/messages.db")).unwrap();
    ledger.execute("UPDATE outbox SET sent_at = sent_at - 86400001", []).unwrap();
    drop(home.start());
    assert_eq!(names(&out(&home)), [""; 0]);
}

#[test]
fn only_files_of_the_group_s_folder_leave_it() {
    let (home, _daemon, client) = served();
    home.add_group("work", "t:2");
    client.message("t:1", "first", "hello");
    client.answer("t:1", "hello");
    let group = home.path().join("groups/family");
    let other = home.path().join("groups/work");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("plan"), "the plan").unwrap();
    fs::write(group.join("own"), "own").unwrap();
    symlink(other.join("plan"), group.join("link")).unwrap();
    symlink(&other, group.join("door")).unwrap();
    fs::hard_link(other.join("plan"), group.join("hard")).unwrap();
    fs::create_dir(group.join("directory")).unwrap();
    fs::File::create(group.join("huge")).unwrap().set_len(1 << 40).unwrap();
    let pipe = group.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (n, (path, word)) in [
        ("/etc/passwd", "only files in"),
        ("/workspace/global/CLAUDE.md", "only files in"),
        ("/workspace/group/../global/CLAUDE.md", "not a path beneath"),
        ("../work/plan", "not a path beneath"),
        ("link", "not a regular file"),
        ("door/plan", "not a directory"),
        ("hard", "more than one hard link"),
        ("directory", "not a regular file"),
        ("pipe", "not a regular file"),
        ("huge", "larger than the 64 MiB"),
        ("none", "does not exist"),
        ("", "names no file"),
    ]
    .into_iter()
    .enumerate()
    {
        let call = json!({"path": path, "caption": format!("number {n}")});
        client.message("t:1", &format!("m{n}"), &format!("tool:send_file {call}"));
        let refused = client.answer("t:1", word);
        assert!(refused.starts_with("tool error: "), "{path}: {refused}");
        client.wait("its end", |h| {
            h.lines.iter().any(|l| l["type"] == "status" && l["id"] == format!("m{n}"))
        });
    }
    client.message("t:1", "x", r#"tool:send_file {"path":"own","chat":"t:2"}"#);
    client.answer("t:1", "only main may write");
    assert!(sends(&client).is_empty());
    assert_eq!(names(&out(&home)), [""; 0], "no copy of what was refused");
    client.message("t:1", "y", r#"tool:send_file {"path":"/workspace/group/own"}"#);
    assert_eq!(sent_file(&client)["text"], "");
    client.answer("t:1", "sent_to");
    assert_eq!(names(&out(&home)).len(), 1);
}

#[test]
fn a_group_that_has_sent_much_takes_no_other_group_s_place() {
    let (home, _daemon, client) = served();
    home.add_group("other", "t:8");
    for folder in ["family", "other"] {
        fs::create_dir_all(home.path().join("groups").join(folder)).unwrap();
        fs::write(home.path().join("groups").join(folder).join("a.txt"), "a").unwrap();
    }
    let held = fs::File::create(out(&home).join("family~0-large")).unwrap();
    held.set_len(257 << 20).unwrap();
    let call = r#"tool:send_file {"path":"a.txt"}"#;
    client.message("t:1", "m1", call);
    client.answer("t:1", "too many files were sent lately");
    client.message("t:8", "m2", call);
    client.answer("t:8", "sent");
}

#[test]
fn main_sends_a_file_to_another_group_unless_a_stranger_asked() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let (code, _, error) = home.run(&["groups", "add", "later", "--jid", "t:8"]);
    assert_eq!(code, 0, "{error}");
    let _daemon = home.start();
    let (code, _, error) = home.run(&["groups", "link", "main", "t:9"]);
    assert_eq!(code, 0, "{error}");
    fs::create_dir_all(home.path().join("groups/main")).unwrap();
    fs::write(home.path().join("groups/main/menu.txt"), "fish").unwrap();
    let client = Client::join(&home, "t:", &FILES, true);
    let call = r#"tool:send_file {"path":"menu.txt","chat":"t:1"}"#;
    client.message("t:9", "a", call);
    client.answer("t:9", "refused");
    assert!(sends(&client).is_empty());
    let mut mine = message("t:9", "b", call);
    mine["from_me"] = json!(true);
    client.write(&mine);
    assert_eq!(sent_file(&client)["jid"], "t:1");
}

#[test]
fn a_client_that_shows_no_files_says_that_there_is_one() {
    let (home, _daemon, client) = served();
    leave(&client);
    let client = Client::connect(&home, "t:");
    fs::create_dir_all(home.path().join("groups/family")).unwrap();
    fs::write(home.path().join("groups/family/a.csv"), "1,2").unwrap();
    client.message("t:1", "m1", r#"tool:send_file {"path":"a.csv","caption":"the table"}"#);
    let text = client.answer("t:1", "the table");
    assert_eq!(text, "the table\n[a file that this channel cannot show: a.csv]");
}

/// When to kill, by what is seen in the directory of outgoing files.
type Moment = fn(&[String]) -> bool;

#[test]
fn a_daemon_that_dies_around_the_copy_sends_the_file_once() {
    let (home, daemon, client) = served();
    let mut daemon = Some(daemon);
    client.message("t:1", "m0", "hello");
    client.answer("t:1", "hello");
    leave(&client);
    let bytes: Vec<u8> = (0..40_000_000_u32).map(|n| ((n * 13) >> 5) as u8).collect();
    fs::write(home.path().join("groups/family/film.mp4"), &bytes).unwrap();
    let half: Moment = |names| names.iter().any(|n| n.starts_with(".new-"));
    let whole: Moment = |names| names.iter().any(|n| n.ends_with("film.mp4"));
    let mut ids: Vec<String> = Vec::new();
    for (round, moment) in [half, whole, half, whole].into_iter().enumerate() {
        let before = names(&out(&home));
        assert_eq!(before.len(), round);
        let client = Client::join(&home, "t:", &FILES, false);
        let call = json!({"path": "film.mp4", "caption": format!("round {round}")});
        client.message("t:1", &format!("m1-{round}"), &format!("tool:send_file {call}"));
        let began = Instant::now();
        loop {
            let new: Vec<_> =
                names(&out(&home)).into_iter().filter(|n| !before.contains(n)).collect();
            if moment(&new) {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "no copy was begun");
            pause(Duration::from_micros(200));
        }
        daemon.take().unwrap().kill();
        drop(client);
        daemon = Some(home.start());
        let client = Client::join(&home, "t:", &FILES, true);
        client.wait("the end of the turn", |h| {
            h.lines.iter().any(|l| l["type"] == "status" && l["id"] == format!("m1-{round}"))
        });
        let sent = sends(&client);
        let of_round: Vec<&Value> =
            sent.iter().filter(|l| l["text"] == format!("round {round}")).collect();
        assert_eq!(of_round.len(), 1, "round {round}: {sent:#?}");
        let path = of_round[0]["attachments"][0]["path"].as_str().unwrap();
        assert!(fs::read(path).unwrap() == bytes, "round {round}");
        ids.push(of_round[0]["id"].as_str().unwrap().to_owned());
        let rows: i64 = home.ledger("SELECT count(*) FROM outbox WHERE attachments IS NOT NULL");
        assert_eq!(rows, round as i64 + 1);
        // What the crash left is gone, and so is what the repetition copied again.
        eventually("one copy a round", || names(&out(&home)).len() == round + 1);
        leave(&client);
    }
    let distinct: std::collections::HashSet<String> = ids.into_iter().collect();
    assert_eq!(distinct.len(), 4);
}

#[test]
fn the_terminal_says_where_a_file_is() {
    let home = Home::new();
    fs::create_dir_all(home.path().join("groups/main")).unwrap();
    fs::write(home.path().join("groups/main/a.csv"), "1,2").unwrap();
    let _daemon = home.start();
    let mut chat = home
        .command(&["chat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let typed = b"tool:send_file {\"path\":\"a.csv\",\"caption\":\"the table\"}\n";
    chat.stdin.take().unwrap().write_all(typed).unwrap();
    let said = String::from_utf8(chat.wait_with_output().unwrap().stdout).unwrap();
    let path = said.split("the table\n[file: ").nth(1).and_then(|s| s.split(']').next());
    let path = path.unwrap_or_else(|| panic!("{said}"));
    assert_eq!(fs::read_to_string(path).unwrap(), "1,2");
}
