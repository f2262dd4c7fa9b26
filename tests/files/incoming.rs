//! What people send.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{Client, Home, message, pause};
use super::{FILES, attachments, files, names, served, with};

#[test]
fn a_file_that_somebody_sends_is_named_and_can_be_read_by_the_agent() {
    let home = Home::scripted(
        "cd /workspace/group && cat attachments/*.txt > seen && for f in attachments/*; do mv \"$f\" \"$f.mine\"; done",
    );
    home.add_group("family", "t:1");
    let _daemon = home.start();
    let client = Client::join(&home, "t:", &FILES, true);
    let files = files(&home, &client);
    fs::create_dir(files.join("in")).unwrap();
    fs::write(files.join("in/a.txt"), "the boiler code is 4711").unwrap();
    fs::write(files.join("b.txt"), " and the door's 0815").unwrap();
    client.write(&with(
        "m1",
        "look",
        &json!([
            {"path": "in/a.txt", "mime": "text/plain", "size": 23, "name": "my \"notes\".txt"},
            {"path": files.join("b.txt"), "mime": "x", "name": "b.txt"},
        ]),
    ));
    let answer = client.answer("t:1", "look");
    let kept = names(&attachments(&home));
    assert_eq!(kept.len(), 2, "{kept:?}");
    for name in &kept {
        assert!(name.starts_with("20260101-") && name.ends_with(".txt.mine"), "{name}");
        let path = format!("path=\"/workspace/group/attachments/{}\"", name.replace(".mine", ""));
        assert!(answer.contains(&path), "{answer}");
    }
    for part in
        ["type=\"text/plain\" size=\"23\" name=\"my \"notes\".txt\"", "size=\"20\" name=\"b.txt\""]
    {
        assert!(answer.contains(part), "{answer}");
    }
    let seen = fs::read_to_string(home.path().join("groups/family/seen")).unwrap();
    let both = ["the boiler code is 4711", " and the door's 0815"];
    assert!(both.iter().all(|part| seen.contains(part)) && seen.len() == 43, "{seen}");
    assert_eq!(names(&files), ["b.txt", "in", "out"], "the client's files are the client's");
    assert_eq!(fs::read_to_string(files.join("b.txt")).unwrap(), both[1]);
}

#[test]
fn a_file_alone_is_a_message_and_the_same_message_brings_it_once() {
    let (home, _daemon, client) = served();
    fs::write(files(&home, &client).join("a.pdf"), "%PDF").unwrap();
    let line = with("m1", "", &json!([{"path": "a.pdf", "name": "a.pdf"}]));
    client.write(&line);
    client.answer("t:1", "type=\"application/pdf\" size=\"4\" name=\"a.pdf\"");
    client.write(&line);
    client.write(&message("t:1", "m2", "next"));
    client.answer("t:1", "next");
    assert_eq!(names(&attachments(&home)).len(), 1);
    assert_eq!(home.states().get("ignored"), None);
    client.message("t:1", "m3", "tool:read_history {}");
    let history = client.answer("t:1", "\"messages\"");
    assert!(history.contains("\"name\":\"a.pdf\""), "{history}");
}

#[test]
fn of_a_sender_who_is_dropped_no_file_stays() {
    let home = Home::new();
    home.add_group("family", "t:1");
    fs::create_dir_all(home.path().join(".config/nanoclaw")).unwrap();
    fs::write(
        home.path().join(".config/nanoclaw/sender-allowlist.json"),
        r#"{"default":{"allow":["bob"],"mode":"drop"}}"#,
    )
    .unwrap();
    let _daemon = home.start();
    let client = Client::join(&home, "t:", &FILES, true);
    fs::write(files(&home, &client).join("a.txt"), "a").unwrap();
    let offered = json!([{"path": "a.txt"}]);
    let mut of_bob = with("m1", "look", &offered);
    of_bob["sender"] = json!("bob");
    client.write(&of_bob);
    client.answer("t:1", "look");
    client.write(&with("m2", "look", &offered));
    client.acked("m2");
    assert_eq!(names(&attachments(&home)).len(), 1);
}

#[test]
fn a_daemon_that_dies_while_it_copies_takes_the_message_again() {
    let (home, daemon, client) = served();
    let bytes: Vec<u8> = (0..40_000_000_u32).map(|n| ((n * 11) >> 4) as u8).collect();
    fs::write(files(&home, &client).join("film.mp4"), &bytes).unwrap();
    let line = with("m1", "look", &json!([{"path": "film.mp4"}]));
    client.write(&line);
    let began = Instant::now();
    while !names(&attachments(&home)).iter().any(|n| n.starts_with(".new-")) {
        assert!(began.elapsed() < Duration::from_secs(60), "no copy was begun");
        pause(Duration::from_micros(200));
    }
    daemon.kill();
    assert!(!client.heard(|h| h.lines.iter().any(|l| l["type"] == "ack")));
    fs::write(attachments(&home).join(".own"), "the agent's").unwrap();
    let _daemon = home.start();
    assert_eq!(names(&attachments(&home)), [".own"], "what was half copied is gone");
    let client = Client::join(&home, "t:", &FILES, true);
    client.write(&line);
    client.answer("t:1", "look");
    let kept = names(&attachments(&home));
    assert!(kept.len() == 2 && fs::read(attachments(&home).join(&kept[1])).unwrap() == bytes);
}

#[test]
fn a_copy_that_no_message_came_to_name_is_removed_at_the_start() {
    let (home, daemon, client) = served();
    fs::write(files(&home, &client).join("a.txt"), "a").unwrap();
    client.write(&with("m1", "look", &json!([{"path": "a.txt"}])));
    client.answer("t:1", "look");
    let named = names(&attachments(&home));
    assert_eq!(named.len(), 1);
    daemon.kill();
    // As if it had died between the copy and the commit.
    fs::write(attachments(&home).join("20260101-0123456789ab.txt"), "a").unwrap();
    fs::write(attachments(&home).join("20260101-notes.txt"), "the agent's").unwrap();
    let _daemon = home.start();
    assert_eq!(names(&attachments(&home)), [named[0].as_str(), "20260101-notes.txt"]);
}

#[test]
fn a_hostile_file_costs_nothing_but_itself() {
    let (home, _daemon, client) = served();
    let files = files(&home, &client);
    let secret = home.path().join("secret");
    fs::write(&secret, "the secret").unwrap();
    fs::create_dir(files.join("directory")).unwrap();
    symlink(&secret, files.join("link")).unwrap();
    symlink(home.path(), files.join("up")).unwrap();
    fs::write(files.join("two"), "names").unwrap();
    fs::hard_link(&secret, files.join("hard")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        files.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o644),
        0,
    )
    .unwrap();
    fs::File::create(files.join("huge")).unwrap().set_len(1 << 40).unwrap();
    fs::File::create(files.join("little-too-large")).unwrap().set_len((64 << 20) + 1).unwrap();
    fs::write(files.join("new\nline"), "fine").unwrap();
    let bad = [
        json!("../../secret"),
        json!(secret),
        json!("/etc/passwd"),
        json!("link"),
        json!("up/secret"),
        json!("hard"),
        json!("pipe"),
        json!("directory"),
        json!("huge"),
        json!("little-too-large"),
        json!("missing"),
        json!(""),
        json!("a\0b"),
        json!("."),
        json!(files),
        json!("x".repeat(1 << 20)),
        json!(7),
        json!(null),
    ];
    for (n, path) in bad.iter().enumerate() {
        let id = format!("m{n}");
        client.write(&with(&id, &format!("number {n}!"), &json!([{"path": path, "name": "n"}])));
        client.acked(&id);
        let answer = client.answer("t:1", &format!("number {n}!"));
        assert!(answer.contains("not_taken=\"") && !answer.contains(" path="), "{path}: {answer}");
    }
    for (n, whole) in [json!("x"), json!({"path": "two"}), json!([[]])].iter().enumerate() {
        client.write(&with(&format!("w{n}"), &format!("whole {n}!"), whole));
        let answer = client.answer("t:1", &format!("whole {n}!"));
        assert!(answer.contains("not_taken=\""), "{whole}: {answer}");
    }
    assert_eq!(names(&attachments(&home)), [""; 0], "nothing was taken, nothing half is left");

    // A good one with a bad name, another with a path that is odd and harmless, and
    // too many.
    let name = "../../x\n\0</message>\"".to_owned() + &"é".repeat(5000);
    let mut many = vec![json!({"path": "two", "name": name, "mime": "a\nb"})];
    many.push(json!({"path": "new\nline"}));
    many.extend(vec![json!({"path": "two"}); 50]);
    client.write(&with("last", "the last", &json!(many)));
    let answer = client.answer("t:1", "the last");
    assert_eq!(answer.matches(" path=").count(), 10, "{answer}");
    assert!(answer.contains("42 more were not taken"), "{answer}");
    let kept = names(&attachments(&home));
    assert_eq!(kept.len(), 10);
    let plain = |n: &String| n.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    assert!(kept.iter().all(plain), "{kept:?}");
    assert!(!client.heard(|h| h.sends.iter().any(|s| s.2.contains("the secret"))));
    assert_eq!(names(&home.path().join("groups")), ["family", "global"]);
}

#[test]
fn what_a_guest_plants_leads_no_copy_astray() {
    let (home, _daemon, client) = served();
    fs::write(files(&home, &client).join("a.txt"), "a").unwrap();
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir_all(home.path().join("groups/family")).unwrap();
    symlink(&elsewhere, attachments(&home)).unwrap();
    client.write(&with("m1", "look", &json!([{"path": "a.txt"}])));
    let answer = client.answer("t:1", "look");
    assert!(answer.contains("not_taken=\""), "{answer}");
    assert_eq!(names(&elsewhere), [""; 0]);
}

#[test]
fn a_large_file_holds_up_its_message_and_does_not_let_later_ones_pass() {
    let (home, _daemon, client) = served();
    client.message("t:1", "m0", "hello");
    client.answer("t:1", "hello");
    let agent = fs::metadata(home.path().join("groups/family/CLAUDE.md")).unwrap().uid();
    let large = vec![b'x'; 64 << 20];
    fs::write(files(&home, &client).join("large"), &large).unwrap();
    client.write(&with("m1", "first", &json!([{"path": "large"}, {"path": "large"}])));
    for n in 2..6 {
        client.message("t:1", &format!("m{n}"), "later");
    }
    client.acked("m5");
    let order: String =
        home.ledger("SELECT group_concat(id) FROM (SELECT id FROM messages ORDER BY seq)");
    assert_eq!(order, "m0,m1,m2,m3,m4,m5");
    let acks = client.heard(|h| {
        let acks = h.lines.iter().filter(|l| l["type"] == "ack");
        acks.map(|l| l["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(acks, ["m0", "m1", "m2", "m3", "m4", "m5"]);
    for name in names(&attachments(&home)) {
        let path = attachments(&home).join(name);
        assert!(fs::read(&path).unwrap() == large);
        assert_eq!(fs::metadata(&path).unwrap().uid(), agent, "the copy is the agent's own");
    }
}

#[test]
fn of_a_chat_that_is_nobody_s_nothing_is_copied() {
    let (home, _daemon, client) = served();
    fs::write(files(&home, &client).join("a.txt"), "a").unwrap();
    let mut line = with("m1", "look", &json!([{"path": "a.txt"}]));
    line["jid"] = json!("t:99");
    client.write(&line);
    client.acked("m1");
    assert!(!attachments(&home).exists());
    assert_eq!(names(&home.path().join("data/files")), ["a.txt", "out"]);
}

#[test]
fn an_image_reaches_the_model_as_an_image_if_it_is_one_and_small() {
    let (home, _daemon, client) = served();
    let files = files(&home, &client);
    let png = [b"\x89PNG\r\n\x1a\n".as_slice(), &[7; 292]].concat();
    fs::write(files.join("a"), &png).unwrap();
    fs::write(files.join("no.png"), "no image").unwrap();
    fs::write(files.join("large.png"), [png.clone(), vec![0; 3 << 20]].concat()).unwrap();
    client.write(&with(
        "m1",
        "look",
        &json!([{"path": "a", "mime": "image/jpeg", "name": "a.jpg"},
            {"path": "no.png", "mime": "image/png"}, {"path": "large.png", "mime": "image/png"}]),
    ));
    let answer = client.answer("t:1", "look");
    assert_eq!(answer.matches(" of ").count(), 1, "{answer}");
    assert!(answer.contains("[image/png of 400]"), "{answer}");
    assert!(
        answer.contains("type=\"application/octet-stream\" size=\"8\" name=\"no.png\""),
        "{answer}"
    );
    assert!(answer.contains("type=\"image/png\" size=\"3146028\" name=\"large.png\""), "{answer}");
}

#[test]
fn the_last_attempt_of_a_turn_shows_no_image() {
    let (home, _daemon, client) = served();
    let png = [b"\x89PNG\r\n\x1a\n".as_slice(), &[7; 292]].concat();
    fs::write(files(&home, &client).join("a.png"), &png).unwrap();
    client.write(&with("m1", " error:400", &json!([{"path": "a.png"}])));
    client.answer("t:1", "I could not answer");
    let project = home.path().join("data/sessions/family/.claude/projects/-workspace-group");
    let transcripts = names(&project);
    let read = |name: &String| fs::read_to_string(project.join(name)).unwrap();
    let lines: Vec<String> = transcripts
        .iter()
        .flat_map(|n| read(n).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let shown: Vec<bool> = lines
        .iter()
        .filter(|l| l.contains("a.png"))
        .map(|l| l.contains("\"media_type\":\"image/png\""))
        .collect();
    assert_eq!(shown.len(), 3, "{lines:#?}");
    assert_eq!(shown.iter().filter(|s| **s).count(), 2, "{lines:#?}");
    let last = lines.iter().find(|l| l.contains("last attempt")).unwrap();
    assert!(!last.contains("media_type"), "{last}");
}
