//! What goes wrong inside or around a container is told in the chat, and the next
//! message works when the cause is gone.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use support::api::{Act, Api};
use support::{Client, Home};

/// A group, the running daemon and a client.
fn serve(home: &Home) -> (support::Daemon, Client) {
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(home, "t:");
    (daemon, client)
}

/// Writes `text`, and expects a notice with `reason` that says what happens next;
/// no answer besides.
fn told(client: &Client, id: &str, text: &str, reason: &str) {
    let before = client.heard(|h| h.sends.len());
    client.message("t:1", id, text);
    client.wait_for(Duration::from_secs(120), &format!("the end of {id}"), |h| {
        h.lines.iter().any(|l| l["type"] == "status" && l["id"] == id)
    });
    let said: Vec<String> =
        client.heard(|h| h.sends[before..].iter().map(|s| s.2.clone()).collect());
    assert_eq!(said.len(), 1, "one notice and nothing else: {said:?}");
    assert!(said[0].starts_with("I could not answer: "), "{said:?}");
    assert!(said[0].contains(reason), "{reason:?} is not in {said:?}");
    assert!(said[0].contains("please write again"), "{said:?}");
    let state = client.heard(|h| {
        h.lines.iter().find(|l| l["type"] == "status" && l["id"] == id).map(|l| l["state"].clone())
    });
    assert_eq!(state.unwrap(), "failed");
}

/// Writes a message and expects its answer.
fn answered(client: &Client, id: &str) {
    client.message("t:1", id, &format!("hello {id}."));
    client.answer("t:1", &format!("hello {id}."));
}

#[test]
fn a_refused_credential_is_told_in_seconds_and_mended_without_a_restart() {
    let Some(mut home) = Home::with_real_cli() else { return };
    let api = Api::start(Act::Refuse(401));
    home.set("ANTHROPIC_API_KEY", "sk-ant-of-the-test");
    home.set("ANTHROPIC_BASE_URL", &api.url());
    let (_daemon, client) = serve(&home);
    let began = Instant::now();
    told(&client, "a", "hello", "credential (401)");
    assert!(began.elapsed() < Duration::from_secs(30), "told only after {:?}", began.elapsed());
    // By itself the CLI takes it for an overload and tries again and again.
    let asked = api.asked().iter().filter(|a| a.head.starts_with("POST /v1/messages?")).count();
    assert!(asked <= 2, "the model was asked {asked} times with a refused credential");
    api.act(Act::Say("back again"));
    client.message("t:1", "b", "and now?");
    assert_eq!(client.answer("t:1", "back"), "back again");
    assert!(!home.log().contains("and now?"), "a message's text is in the log");
}

#[test]
fn an_overloaded_model_costs_no_answer() {
    let Some(mut home) = Home::with_real_cli() else { return };
    let api = Api::start(Act::Refuse(529));
    home.set("ANTHROPIC_API_KEY", "sk-ant-of-the-test");
    home.set("ANTHROPIC_BASE_URL", &api.url());
    let (_daemon, client) = serve(&home);
    client.message("t:1", "a", "hello");
    support::eventually("two questions to the model", || api.asked().len() >= 2);
    api.act(Act::Say("calm again"));
    assert_eq!(client.answer("t:1", "calm"), "calm again");
    client.heard(|h| assert_eq!(h.sends.len(), 1, "{:?}", h.sends));
}

#[test]
fn a_model_error_is_told_and_never_posted_as_an_answer() {
    let home = Home::new();
    let (_daemon, client) = serve(&home);
    told(&client, "a", "error:500", "The model API failed (500)");
    told(&client, "b", "error:529", "The model API is overloaded (529)");
    told(&client, "c", "error:400", "The model API refused the request (400)");
    answered(&client, "d");
}

#[test]
fn a_missing_cli_is_told_and_found_when_it_is_back() {
    let home = Home::new();
    let (_daemon, client) = serve(&home);
    std::fs::rename(home.cli().join("claude"), home.cli().join("away")).unwrap();
    told(&client, "a", "hello", "Claude Code is missing");
    let (_, out, _) = home.run(&["status"]);
    assert!(out.starts_with("! Claude Code is missing"), "{out}");
    std::fs::rename(home.cli().join("away"), home.cli().join("claude")).unwrap();
    answered(&client, "b");
}

#[test]
fn a_cli_that_crashes_at_its_start_is_told_with_its_last_words() {
    let home = Home::scripted("echo out of cheese >&2; exit 7");
    let (_daemon, client) = serve(&home);
    told(&client, "a", "hello", "out of cheese");
    home.script("");
    answered(&client, "b");
}

#[test]
fn a_cli_that_cannot_be_run_is_told() {
    let home = Home::scripted("");
    let (_daemon, client) = serve(&home);
    let mode = |mode| {
        std::fs::set_permissions(home.cli().join("claude"), std::fs::Permissions::from_mode(mode))
            .unwrap();
    };
    mode(0o644);
    told(&client, "a", "hello", "Permission denied");
    mode(0o755);
    std::fs::write(home.cli().join("claude"), b"\x7fELF nonsense").unwrap();
    told(&client, "b", "hello", "cannot be started");
    home.script("");
    answered(&client, "c");
}

#[test]
fn a_cli_that_crashes_in_a_turn_is_told_and_the_group_goes_on() {
    let home = Home::new();
    let (_daemon, client) = serve(&home);
    answered(&client, "a");
    told(&client, "b", "crash", "ended unexpectedly");
    answered(&client, "c");
}

#[test]
fn a_crash_that_passes_is_not_told_but_answered() {
    // The session directory remembers that it crashed once.
    let home = Home::scripted(
        "if ! [ -e \"$CLAUDE_CONFIG_DIR/once\" ]; then touch \"$CLAUDE_CONFIG_DIR/once\"; exit 1; fi",
    );
    let (_daemon, client) = serve(&home);
    answered(&client, "a");
    client.heard(|h| assert_eq!(h.sends.len(), 1, "{:?}", h.sends));
    let attempts: i64 = home.ledger("SELECT max(attempt) FROM turns");
    assert_eq!(attempts, 2);
}

#[test]
fn a_turn_that_never_ends_is_stopped_at_its_deadline() {
    let mut home = Home::new();
    home.set("CONTAINER_TIMEOUT", "1500");
    let (_daemon, client) = serve(&home);
    told(&client, "a", "hang", "longer than a turn may");
    answered(&client, "b");
    // Not even an interrupt helps: the container is stopped.
    told(&client, "c", "deaf", "longer than a turn may");
    answered(&client, "d");
}

#[test]
fn a_cli_that_hangs_at_its_start_is_given_up_and_delays_no_other_group() {
    let home = Home::scripted("[ -e /workspace/group/hang ] && exec perl -e 'sleep 1000'");
    home.add_group("other", "t:2");
    let (_daemon, client) = serve(&home);
    let mark = home.path().join("groups/family/hang");
    std::fs::create_dir_all(mark.parent().unwrap()).unwrap();
    std::fs::write(&mark, "").unwrap();
    client.message("t:1", "a", "first");
    support::eventually("the container to start", || !home.guests().is_empty());
    client.message("t:2", "x", "other");
    client.answer("t:2", "other");
    std::fs::remove_file(mark).unwrap();
    client.wait_for(Duration::from_secs(120), "the answer of the second attempt", |h| {
        h.sends.iter().any(|s| s.0 == "t:1" && s.2.contains("first"))
    });
}

#[test]
fn a_flood_of_output_harms_nobody() {
    let home = Home::new();
    home.add_group("other", "t:2");
    let (daemon, client) = serve(&home);
    client.message("t:1", "a", "flood say:after the flood");
    client.message("t:2", "x", "dry");
    client.answer("t:2", "dry");
    client.answer("t:1", "after the flood");
    answered(&client, "b");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 150_000, "the daemon took {kilobytes} kB");
}

#[test]
fn a_container_that_cannot_be_prepared_is_told() {
    let home = Home::new();
    let (_daemon, client) = serve(&home);
    let (folder, away) = (home.path().join("groups/family"), home.path().join("away"));
    std::fs::rename(&folder, &away).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    told(&client, "a", "hello", "container cannot start");
    std::fs::remove_file(&folder).unwrap();
    symlink("/", &folder).unwrap();
    told(&client, "b", "hello", "container cannot start");
    assert!(!std::path::Path::new("/CLAUDE.md").exists(), "it wrote through a link");
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    answered(&client, "c");
}

#[test]
fn a_sandbox_program_that_cannot_be_run_is_told() {
    let mut home = Home::new();
    // A copy of it, in the daemon's view alone.
    let bwrap = home.path().join("bwrap");
    std::fs::copy("/usr/bin/bwrap", &bwrap).unwrap();
    if !home.run_with_a_view_of_its_own("mount --bind bwrap /usr/bin/bwrap") {
        return;
    }
    let mode =
        |mode| std::fs::set_permissions(&bwrap, std::fs::Permissions::from_mode(mode)).unwrap();
    let (_daemon, client) = serve(&home);
    answered(&client, "a");
    mode(0o644);
    // The present container lives on; the next one cannot be started.
    told(&client, "b", "crash", "container cannot start");
    mode(0o755);
    answered(&client, "c");
}

#[test]
fn a_deadline_is_kept_while_messages_keep_coming() {
    let mut home = Home::new();
    home.set("CONTAINER_TIMEOUT", "3000");
    home.add_group("family", "t:1");
    let (code, _, error) = home.run(&["groups", "set", "family", "--requires-trigger", "true"]);
    assert_eq!(code, 0, "{error}");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "hangs", "@Andy deaf");
    client.acked("hangs");
    let told = || client.heard(|h| h.sends.iter().any(|s| s.2.contains("longer than a turn may")));
    // Each of these wakes the group's actor more often than it looks by itself.
    for n in 0..300 {
        if told() {
            return;
        }
        client.message("t:1", &format!("m{n}"), "@Andy and this");
        support::pause(std::time::Duration::from_millis(200));
    }
    panic!("the deadline was put off for a minute");
}
