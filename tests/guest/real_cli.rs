//! The guest with the real Claude Code CLI and a scripted model.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nanoclaw::ids::TurnId;
use nanoclaw::ipc::record::{GuestRecord, HostRecord, Image};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::host::{Guest, ids, room, turn};
use super::model::{self, Log, texts};

/// The CLI takes 200 MB, so there is one at a time.
static ONE: Mutex<()> = Mutex::new(());

/// One pixel.
const PIXEL: &[u8] = &[
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 1, 0, 0, 0, 1, 8, 6, 0,
    0, 0, 31, 21, 196, 137, 0, 0, 0, 13, 73, 68, 65, 84, 120, 218, 99, 100, 248, 207, 80, 15, 0, 3,
    134, 1, 128, 90, 52, 125, 107, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130,
];

struct Bench {
    cli: PathBuf,
    dir: TempDir,
    log: Log,
    _one: MutexGuard<'static, ()>,
}

/// A room with a model, or none where there is no CLI.
fn bench(test: &str) -> Option<Bench> {
    let Some(cli) = std::env::var_os("NANOCLAW_CLAUDE") else {
        assert!(
            std::env::var_os("CI").is_none(),
            "{test}: NANOCLAW_CLAUDE does not name the Claude Code CLI"
        );
        // Not by `eprintln!`, which the test harness hides where a test passes.
        let line = format!("skipped: {test}: NANOCLAW_CLAUDE does not name the Claude Code CLI\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    };
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = room();
    let log = model::listen(&dir.path().join("run/nanoclaw/proxy.sock"));
    Some(Bench { cli: cli.into(), dir, log, _one: one })
}

fn last(log: &Log) -> Value {
    log.lock().unwrap().last().cloned().unwrap()
}

fn conversation(log: &Log) -> String {
    texts(last(log)["messages"].as_array().unwrap())
}

fn ok() -> Option<String> {
    Some("ok".into())
}

#[test]
fn two_turns_share_a_session_and_a_resumed_one_remembers() {
    let Some(Bench { cli, dir, log, _one }) = bench("two_turns_share_a_session") else { return };
    fs::write(dir.path().join("workspace/global/CLAUDE.md"), "The house rule is BLUE.").unwrap();
    fs::write(dir.path().join("workspace/group/CLAUDE.md"), "The group likes CHESS.").unwrap();
    let mut g = Guest::start(dir, &cli, None);
    g.wait_for("ready", |r| {
        matches!(r, GuestRecord::Ready { cli_version } if cli_version.starts_with("2."))
            .then_some(())
    });
    g.turn(1, "my cat is TOM");
    let session = g.session();
    assert_eq!(g.answer(), (ids(&[1]), ok()));
    let system = last(&log)["system"].to_string();
    assert!(system.contains("You are Andy") && system.contains("BLUE"), "{system}");
    assert!(conversation(&log).contains("CHESS"));
    g.turn(2, "@nobody and you?");
    assert_eq!(g.answer(), (ids(&[2]), ok()));
    assert!(conversation(&log).contains("TOM") && conversation(&log).contains("@nobody and you?"));

    let dir = g.close();
    fs::write(dir.path().join("workspace/global/CLAUDE.md"), "The house rule is GREEN.").unwrap();
    let mut g = Guest::start(dir, &cli, Some(&session));
    g.turn(3, "what is my cat called?");
    assert_eq!(g.session(), session);
    assert_eq!(g.answer(), (ids(&[3]), ok()));
    assert!(conversation(&log).contains("TOM"), "it forgot");
    let system = last(&log)["system"].to_string();
    assert!(
        system.contains("GREEN") && !system.contains("BLUE"),
        "the changed memory did not reach the model"
    );

    g.turn(1, "my cat is TOM");
    assert_eq!(g.answer(), (ids(&[1]), None), "a known uuid is dropped");
    g.close();
}

#[test]
fn a_follow_up_is_folded_during_a_tool() {
    let Some(Bench { cli, dir, log, _one }) = bench("a_follow_up_is_folded") else { return };
    let mut g = Guest::start(dir, &cli, None);
    g.turn(1, "TOOL Bash {\"command\":\"perl -e 'sleep 3'; echo slept\"} END");
    let until = Instant::now() + Duration::from_secs(20);
    while log.lock().unwrap().is_empty() && Instant::now() < until {
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_millis(500));
    g.turn(2, "and the OTHER thing");
    let (turns, text) = g.answer();
    assert_eq!(turns, ids(&[1, 2]));
    assert!(text.unwrap().contains("slept"));
    assert!(conversation(&log).contains("and the OTHER thing"));
    g.close();
}

#[test]
fn an_unknown_session_is_begun_afresh() {
    let Some(Bench { cli, dir, log, _one }) = bench("an_unknown_session") else { return };
    let mut g = Guest::start(dir, &cli, Some("00000000-0000-4000-8000-00000000dead"));
    g.turn(1, "hello");
    assert_ne!(g.session(), "00000000-0000-4000-8000-00000000dead");
    assert_eq!(g.answer(), (ids(&[1]), ok()));
    assert!(conversation(&log).contains("could not be resumed"));
    g.close();
}

#[test]
fn a_refused_credential_is_told_within_three_seconds() {
    let Some(Bench { cli, dir, log: _log, _one }) = bench("a_refused_credential") else { return };
    let mut g = Guest::start(dir, &cli, None);
    g.wait_for("ready", |r| matches!(r, GuestRecord::Ready { .. }).then_some(()));
    let asked = Instant::now();
    g.turn(1, "STATUS401 END");
    let (turns, error, retryable) = g.failure();
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!((turns, retryable), (ids(&[1]), false));
    assert!(error.contains("credential (401)"), "{error}");
    g.turn(2, "STATUS400 END");
    let (turns, error, retryable) = g.failure();
    assert_eq!(turns, ids(&[2]), "the session goes on");
    assert!(!retryable && !error.contains("tools"), "{error}");
    g.close();
}

#[test]
fn the_model_calls_our_tools_and_has_none_that_compete() {
    let Some(Bench { cli, dir, log, _one }) = bench("the_model_calls_our_tools") else { return };
    let mut g = Guest::start(dir, &cli, None);
    g.turn(1, "TOOL mcp__nanoclaw__send_message {\"text\":\"half way\"} END");
    let id = g.wait_for("a request", |r| match r {
        GuestRecord::Request { id, turn: TurnId(1), tool, arguments }
            if tool == "send_message" && *arguments == json!({"text": "half way"}) =>
        {
            Some(id.clone())
        }
        _ => None,
    });
    g.send(HostRecord::Reply {
        request: id,
        ok: true,
        result: Some(json!("sent to the chat")),
        error: None,
    });
    assert_eq!(g.answer(), (ids(&[1]), Some("after: sent to the chat".into())));
    let request = last(&log);
    let names: Vec<&str> =
        request["tools"].as_array().unwrap().iter().filter_map(|t| t["name"].as_str()).collect();
    for tool in ["Bash", "Read"] {
        assert!(names.contains(&tool), "{tool} is missing in {names:?}");
    }
    for tool in [
        "CronCreate",
        "CronDelete",
        "CronList",
        "ScheduleWakeup",
        "Workflow",
        "EnterWorktree",
        "ExitWorktree",
    ] {
        assert!(!names.contains(&tool), "{tool} in {names:?}");
    }
    g.close();
}

#[test]
fn compaction_is_an_empty_answer_and_leaves_an_archive() {
    let Some(Bench { cli, dir, log: _log, _one }) = bench("compaction") else { return };
    let mut g = Guest::start(dir, &cli, None);
    g.turn(1, "my cat is TOM");
    g.answer();
    g.turn(2, "/compact");
    assert_eq!(g.answer(), (ids(&[2]), None));
    let dir = g.close();
    let archive = fs::read_dir(dir.path().join("workspace/group/conversations"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let text = fs::read_to_string(archive.path()).unwrap();
    assert!(text.contains("**User**: my cat is TOM") && text.contains("**Andy**: ok"), "{text}");
}

#[test]
fn an_interrupt_ends_the_run_and_spares_what_waits_behind_it() {
    let Some(Bench { cli, dir, log, _one }) = bench("an_interrupt") else { return };
    let mut g = Guest::start(dir, &cli, None);
    g.turn(1, "TOOL Bash {\"command\":\"perl -e 'sleep 20'\"} END");
    let until = Instant::now() + Duration::from_secs(20);
    while log.lock().unwrap().is_empty() && Instant::now() < until {
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_millis(500));
    g.turn(2, "taken back");
    g.turn(3, "and this");
    sleep(Duration::from_millis(300));
    g.send(HostRecord::Interrupt { turn: TurnId(2) });
    assert_eq!(g.failure(), (ids(&[2]), "interrupted".into(), true));
    g.send(HostRecord::Interrupt { turn: TurnId(1) });
    assert_eq!(g.failure(), (ids(&[1]), "interrupted".into(), true));
    assert_eq!(g.answer().0, ids(&[3]));
    assert!(conversation(&log).contains("and this"));
    assert!(!conversation(&log).contains("taken back"));
    g.close();
}

#[test]
fn an_isolated_task_shares_nothing_with_the_group() {
    let Some(Bench { cli, dir, log, _one }) = bench("an_isolated_task") else { return };
    let mut g = Guest::start(dir, &cli, None);
    g.turn(1, "my cat is TOM");
    g.answer();
    let mut task = turn(2, "a task");
    task.kind = nanoclaw::ipc::record::TurnKind::Task;
    task.session = nanoclaw::ipc::record::Session::Isolated;
    g.send(HostRecord::Turn(task));
    assert_eq!(g.answer(), (ids(&[2]), ok()));
    assert!(conversation(&log).contains("a task") && !conversation(&log).contains("TOM"));
    g.close();
}

#[test]
fn the_end_of_background_work_is_told_as_a_text() {
    let Some(Bench { cli, dir, log: _log, _one }) = bench("background") else { return };
    let mut g = Guest::start(dir, &cli, None);
    g.turn(1, "TOOL Bash {\"command\":\"perl -e 'sleep 2'\",\"run_in_background\":true} END");
    assert_eq!(g.answer().0, ids(&[1]));
    g.wait_for("a text", |r| {
        matches!(r, GuestRecord::Text { uuid, .. } if !uuid.is_empty()).then_some(())
    });
    let states: Vec<u32> = g
        .told
        .iter()
        .filter_map(|r| {
            if let GuestRecord::State { background } = r { Some(*background) } else { None }
        })
        .collect();
    assert_eq!(states, [1, 0]);
    g.close();
}

#[test]
fn an_image_reaches_the_model_as_an_image_block() {
    let Some(Bench { cli, dir, log, _one }) = bench("an_image_reaches_the_model") else { return };
    let attachments = dir.path().join("workspace/group/attachments");
    fs::create_dir(&attachments).unwrap();
    let data = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    fs::write(attachments.join("dot.png"), PIXEL).unwrap();
    fs::write(attachments.join("no.png"), "no image").unwrap();
    fs::write(dir.path().join("workspace/group/outside.png"), PIXEL).unwrap();
    std::os::unix::fs::symlink("../outside.png", attachments.join("link.png")).unwrap();
    let image = |path: &str| Image { path: path.into(), mime: "image/png".into() };
    let mut with_images = turn(1, "what is on @these?");
    with_images.images = [
        "/workspace/group/attachments/dot.png",
        "/workspace/group/attachments/none.png",
        "/workspace/group/attachments/no.png",
        "/workspace/group/attachments/link.png",
        "/workspace/group/attachments/../outside.png",
        "/workspace/group/outside.png",
        "/etc/passwd",
    ]
    .map(image)
    .to_vec();
    let mut g = Guest::start(dir, &cli, None);
    g.send(HostRecord::Turn(with_images));
    assert_eq!(g.answer(), (ids(&[1]), ok()));
    let asked = last(&log)["messages"].as_array().unwrap().clone();
    let blocks = asked.iter().flat_map(|m| m["content"].as_array().cloned().unwrap_or_default());
    let images: Vec<Value> = blocks.filter(|b| b["type"] == "image").collect();
    assert_eq!(images.len(), 1, "{images:#?}");
    let source = &images[0]["source"];
    assert_eq!((&source["type"], &source["media_type"]), (&json!("base64"), &json!("image/png")));
    assert_eq!(source["data"], data);
    let text = conversation(&log);
    assert!(text.contains("what is on @these?"), "{text}");
    for hidden in
        ["none.png", "no.png", "link.png", "../outside.png", "group/outside.png", "passwd"]
    {
        assert!(text.contains(&format!("{hidden} is not shown: ")), "{hidden}: {text}");
    }
    g.turn(2, "and now?");
    assert_eq!(g.answer(), (ids(&[2]), ok()));
    g.close();
}
