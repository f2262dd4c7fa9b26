//! Where and as whom the daemon runs: paths of any kind, an ordinary user, one
//! daemon a directory, and an end in bounded time.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Client, Home, NANOCLAW};

/// One message and its answer, and nothing left behind.
fn answers(home: &Home) {
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(home, "t:");
    client.message("t:1", "m", "hello");
    assert_eq!(client.answer("t:1", "echo"), "echo: hello");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(home.guests(), [0_u32; 0]);
}

#[test]
fn a_deep_home_works() {
    let home = Home::below(&["a-rather-long-name-for-a-directory"; 6].join("/"));
    assert!(home.path().as_os_str().len() > 200);
    answers(&home);
    let chat = home.command(&["chat"]).stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(chat.status.code(), Some(0), "{}", String::from_utf8_lossy(&chat.stderr));
}

#[test]
fn spaces_unicode_and_quotes_in_the_home_work() {
    answers(&Home::below("My Assistant/Zuhause größer 家/it's \"here\" $HOME;#"));
}

#[test]
fn a_home_that_only_its_owner_may_enter_works() {
    let home = Home::below("private/home");
    let outer = home.path().parent().unwrap();
    std::fs::set_permissions(outer, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    answers(&home);
}

#[test]
fn an_ordinary_user_can_run_everything() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root, so that every other test runs as an ordinary user");
        return;
    }
    // No account is needed: to the kernel a number is a user.
    const USER: u32 = 60_321;
    let mut home = Home::below("home");
    let program = home.path().with_file_name("nanoclaw");
    std::fs::copy(NANOCLAW, &program).unwrap();
    let words = ["setpriv", "--reuid=60321", "--regid=60321", "--clear-groups", "--no-new-privs"];
    let mut words: Vec<String> = words.map(str::to_owned).to_vec();
    words.push(program.to_str().unwrap().to_owned());
    home.run_by(words);
    own(home.path().parent().unwrap(), USER);
    home.add_group("family", "t:1");
    home.add_group("other", "t:2");
    let daemon = home.start();
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    assert!(status.contains("Uid:\t60321\t60321"), "{status}");
    let client = Client::connect(&home, "t:");
    for jid in ["t:1", "t:2"] {
        client.message(jid, "m", &format!("hello {jid}"));
        assert_eq!(client.answer(jid, "echo"), format!("echo: hello {jid}"));
    }
    client.message("t:1", "c", "crash");
    client.answer("t:1", "I could not answer");
    client.message("t:1", "n", "and on");
    client.answer("t:1", "and on");
    let (code, out, error) = home.run(&["status"]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("isolation   bwrap"), "{out}");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(home.guests(), [0_u32; 0]);
    // Everything that it and its agents wrote is the user's.
    for place in ["groups/family/CLAUDE.md", "data/sessions/family/.claude", "store/messages.db"] {
        assert_eq!(std::fs::metadata(home.path().join(place)).unwrap().uid(), USER, "{place}");
    }
}

/// Gives a directory and all in it to a user.
fn own(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().flatten().for_each(|entry| own(&entry.path(), user));
    }
}

#[test]
fn a_second_daemon_refuses_and_names_the_first() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let daemon = home.start();
    let (code, out, error) = home.run(&["start"]);
    assert_eq!(code, 1, "{out}");
    assert!(error.contains(&format!("process {}", daemon.pid())), "{error}");
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m", "unharmed?");
    client.answer("t:1", "unharmed?");
    daemon.kill();
    // What a killed one left is in nobody's way.
    home.start();
}

#[test]
fn without_isolation_it_does_not_start_and_says_what_helps() {
    let mut home = Home::new();
    home.set("CONTAINER_RUNTIME", "docker");
    let (code, out, error) = home.run(&["start"]);
    assert!(code == 1 && out.is_empty() && error.contains("no isolation"), "{error}");
    home.set("CONTAINER_RUNTIME", "bwrap");
    // An older bubblewrap, and none that can be run, in its view alone.
    let bwrap = home.path().join("bwrap");
    std::fs::write(&bwrap, "#!/bin/sh\necho bubblewrap 0.4.1\n").unwrap();
    std::fs::set_permissions(&bwrap, std::fs::Permissions::from_mode(0o755)).unwrap();
    if !home.run_with_a_view_of_its_own("mount --bind bwrap /usr/bin/bwrap") {
        return;
    }
    let (code, out, error) = home.run(&["start"]);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.is_empty() && error.contains("no isolation") && error.contains("install 0.8 or newer"),
        "{error}"
    );
    std::fs::write(&bwrap, "#!/bin/sh\nexit 1\n").unwrap();
    let (code, out, error) = home.run(&["start"]);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.is_empty() && error.contains("no isolation") && error.contains("bubblewrap"),
        "{error}"
    );
    home.run_by(vec![NANOCLAW.into()]);
    home.start();
}

#[test]
fn reading_commands_work_with_the_daemon_up_and_down() {
    let home = Home::new();
    let json = |words: &[&str]| -> Value {
        let (code, out, error) = home.run(words);
        assert_eq!(code, 0, "{words:?}: {error}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{words:?}: {e}: {out}"))
    };
    // Before there is anything.
    assert_eq!(json(&["status", "--json"])["daemon"], Value::Null);
    assert_eq!(json(&["groups", "list", "--json"]), serde_json::json!([]));
    assert_eq!(home.run(&["explain"]).0, 3);
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m", "hello");
    client.wait("its end", |h| h.lines.iter().any(|l| l["type"] == "status"));
    let look = |up: bool| {
        let status = json(&["status", "--json"]);
        assert_eq!(status["daemon"].is_string(), up, "{status}");
        assert_eq!(status["messages"]["answered"], 1, "{status}");
        assert_eq!(status["containers"].as_array().unwrap().len(), usize::from(up), "{status}");
        let groups = json(&["groups", "list", "--json"]);
        assert!(groups.to_string().contains("t:1"), "{groups}");
        let explained = json(&["explain", "m", "--json"]);
        assert!(explained.to_string().contains("answered"), "{explained}");
        for words in [["status"].as_slice(), &["groups", "list"], &["explain", "m"], &["explain"]] {
            let (code, out, error) = home.run(words);
            assert!(code == 0 && !out.is_empty(), "{words:?}: {error}");
        }
    };
    look(true);
    let status = json(&["status", "--json"]);
    assert!(status["daemon"].as_str().unwrap().contains(&daemon.pid().to_string()), "{status}");
    assert_eq!(daemon.stop(), 0);
    look(false);
    // A group that is added while the daemon runs is served at once.
    let daemon = home.start();
    home.add_group("later", "t:2");
    let client = Client::connect(&home, "t:");
    client.message("t:2", "m2", "hello");
    client.answer("t:2", "hello");
    daemon.kill();
    let status = json(&["status", "--json"]);
    assert_eq!(status["daemon"], Value::Null, "{status}");
}

#[test]
fn an_end_that_is_asked_for_comes_in_bounded_time() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let ends = |text: Option<&str>, most: u64| {
        let daemon = home.start();
        let client = Client::connect(&home, "t:");
        if let Some(text) = text {
            client.message("t:1", &format!("{most}{text}"), text);
            support::eventually("the turn", || {
                home.ledger::<i64>("SELECT count(*) FROM turns WHERE state = 'running'") == 1
                    && !home.guests().is_empty()
            });
            support::pause(Duration::from_millis(300));
        }
        let began = Instant::now();
        assert_eq!(daemon.stop(), 0, "{text:?}");
        assert!(began.elapsed() < Duration::from_secs(most), "{text:?}: {:?}", began.elapsed());
        assert_eq!(home.guests(), [0_u32; 0], "{text:?}");
        client.heard(|h| h.sends.iter().map(|s| s.2.clone()).collect::<Vec<_>>())
    };
    // Idle; at work, and done within the grace; at work for longer; deaf.
    assert!(ends(None, 5).is_empty());
    assert_eq!(ends(Some("think:1000 say:in time"), 20), ["in time"]);
    assert!(ends(Some("hang"), 40).is_empty(), "an interruption by us is not told as a failure");
    let queued: i64 = home.ledger("SELECT count(*) FROM turns WHERE state = 'queued'");
    assert_eq!(queued, 1, "it waits for the next start");
    let cost: i64 = home.ledger("SELECT cost FROM turns WHERE state = 'queued'");
    assert_eq!(cost, 0, "and cost no attempt");
}

#[test]
fn a_second_signal_ends_it_at_once_and_its_guests_with_it() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m", "deaf");
    support::eventually("a guest", || !home.guests().is_empty());
    daemon.signal(rustix::process::Signal::TERM);
    support::pause(Duration::from_millis(500));
    let began = Instant::now();
    assert_eq!(daemon.stop(), 1);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    support::eventually("the guests' end", || home.guests().is_empty());
}

#[test]
fn a_closed_standard_output_is_no_reason_to_end() {
    let home = Home::new();
    home.add_group("family", "t:1");
    let mut child = Command::new("sh")
        .args(["-c", "exec \"$0\" start >&- 2>&- <&-", NANOCLAW])
        .current_dir(home.path())
        .env_clear()
        .envs(home.command(&[]).get_envs().filter_map(|(k, v)| Some((k, v?))))
        .spawn()
        .unwrap();
    support::eventually("the socket", || home.socket().exists());
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m", "hello");
    client.answer("t:1", "hello");
    child.kill().unwrap();
    child.wait().unwrap();
}
