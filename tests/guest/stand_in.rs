//! Every way in which a turn can end, with the stand-in.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use nanoclaw::ids::TurnId;
use nanoclaw::ipc::record::{GuestRecord, HostRecord, Session, TurnKind};
use serde_json::json;

use super::host::{Guest, ids, room, stand_in, turn};

const SECOND: Duration = Duration::from_secs(1);

fn guest() -> Guest {
    Guest::start(room(), &stand_in(), None)
}

fn seen(text: &str) -> Option<String> {
    Some(format!("echo: {text}"))
}

#[test]
fn a_turn_is_answered_and_the_guest_closes_without_a_trace() {
    let mut g = guest();
    g.wait_for("ready", |r| {
        matches!(r, GuestRecord::Ready { cli_version } if cli_version.contains("stand-in"))
            .then_some(())
    });
    g.turn(1, "<messages>\n<message sender=\"Ann\" time=\"now\">a &lt; b</message>\n<message sender=\"B\">c</message></messages>");
    assert_eq!(g.answer(), (ids(&[1]), seen("a < b | c")));
    let session =
        g.told.iter().filter(|r| matches!(r, GuestRecord::Session { turn: TurnId(1), .. })).count();
    assert_eq!(session, 1);
    g.turn(2, "again");
    assert_eq!(g.answer(), (ids(&[2]), seen("again")));
    g.close();
}

#[test]
fn what_arrives_during_a_run_is_folded_and_ends_with_it() {
    let mut g = guest();
    g.turn(1, "think:1000 one");
    sleep(SECOND / 2);
    g.turn(2, "two");
    assert_eq!(g.answer(), (ids(&[1, 2]), seen("think:1000 one | two")));
    g.close();
}

#[test]
fn an_empty_answer_is_told_as_nothing_to_say() {
    let mut g = guest();
    g.turn(1, "silent");
    assert_eq!(g.answer(), (ids(&[1]), None));
    g.close();
}

#[test]
fn a_dropped_duplicate_ends_without_a_text() {
    let mut g = guest();
    g.turn(1, "one");
    let session = g.session();
    g.answer();
    g.turn(1, "one");
    assert_eq!(g.answer(), (ids(&[1]), None), "the same process");
    let dir = g.close();
    let mut g = Guest::start(dir, &stand_in(), Some(&session));
    g.turn(1, "one");
    assert_eq!(g.answer(), (ids(&[1]), None), "a resumed session");
    g.turn(2, "two");
    assert_eq!(g.answer(), (ids(&[2]), seen("two")));
    g.close();
}

#[test]
fn a_forgotten_session_is_begun_afresh_and_the_model_is_told() {
    let mut g = Guest::start(room(), &stand_in(), Some("00000000-0000-4000-8000-00000000dead"));
    g.turn(1, "remember?");
    let session = g.session();
    assert_ne!(session, "00000000-0000-4000-8000-00000000dead");
    let (turns, text) = g.answer();
    let text = text.unwrap();
    assert_eq!(turns, ids(&[1]));
    assert!(text.contains("could not be resumed") && text.ends_with("remember?"), "{text}");
    g.turn(2, "now");
    assert_eq!(g.answer(), (ids(&[2]), seen("now")), "told once");
    g.close();
}

#[test]
fn an_isolated_task_runs_beside_the_group_and_is_swept_away() {
    let mut g = guest();
    g.turn(1, "think:2500 long");
    let mut task = turn(2, "tool:send_message {\"text\":\"hi\"}");
    (task.kind, task.session) = (TurnKind::Task, Session::Isolated);
    g.send(HostRecord::Turn(task));
    let (id, of) = g.wait_for("a request", |r| match r {
        GuestRecord::Request { id, turn, .. } => Some((id.clone(), *turn)),
        _ => None,
    });
    assert_eq!(of, TurnId(2), "the call belongs to the task, not to the group's turn");
    g.send(HostRecord::Reply { request: id, ok: true, result: Some(json!("sent")), error: None });
    assert_eq!(g.answer(), (ids(&[2]), Some("tool: sent".into())));
    assert_eq!(g.answer(), (ids(&[1]), seen("think:2500 long")));
    let sessions = g.told.iter().filter(|r| matches!(r, GuestRecord::Session { .. })).count();
    assert_eq!(sessions, 1, "an isolated session is nobody's to resume");
    let clis = g.processes().iter().filter(|p| p.contains("--output-format")).count();
    assert_eq!(clis, 1, "{:?}", g.processes());
    g.close();
}

#[test]
fn isolated_messages_are_answered_one_after_the_other() {
    let mut g = guest();
    for (n, prompt) in [(1, "think:1000 one"), (2, "hang"), (3, "three")] {
        let mut message = turn(n, prompt);
        message.session = Session::Isolated;
        g.send(HostRecord::Turn(message));
    }
    sleep(SECOND / 2);
    g.send(HostRecord::Interrupt { turn: TurnId(2) });
    assert_eq!(g.failure(), (ids(&[2]), "interrupted".into(), true), "while it waits");
    assert_eq!(g.answer(), (ids(&[1]), seen("think:1000 one")));
    assert_eq!(g.answer(), (ids(&[3]), seen("three")));
    g.close();
}

#[test]
fn a_group_task_waits_for_an_idle_cli() {
    let mut g = guest();
    g.turn(1, "think:800 one");
    let mut task = turn(2, "task");
    task.kind = TurnKind::Task;
    g.send(HostRecord::Turn(task));
    g.turn(3, "after");
    assert_eq!(g.answer(), (ids(&[1]), seen("think:800 one")));
    assert_eq!(g.answer(), (ids(&[2]), seen("task")));
    assert_eq!(g.answer(), (ids(&[3]), seen("after")));
    g.close();
}

#[test]
fn a_script_decides_whether_the_model_is_woken() {
    let mut g = guest();
    for (n, session) in [(1, Session::Group), (2, Session::Isolated)] {
        let mut task = turn(n, "look at it");
        (task.kind, task.session) = (TurnKind::Task, session);
        task.script = Some("echo '{\"wakeAgent\":true,\"data\":\"new mail\"}'".into());
        g.send(HostRecord::Turn(task.clone()));
        let (turns, text) = g.answer();
        let text = text.unwrap();
        assert_eq!(turns, ids(&[n]));
        assert!(
            text.contains("[SCHEDULED TASK]")
                && text.contains("new mail")
                && text.ends_with("look at it"),
            "{text}"
        );
        task.turn = TurnId(n + 10);
        task.script = Some("echo '{\"wakeAgent\":false}'".into());
        g.send(HostRecord::Turn(task));
        assert_eq!(g.answer(), (ids(&[n + 10]), None));
    }
    let mut task = turn(5, "p");
    (task.kind, task.script) =
        (TurnKind::Task, Some("sleep 25; echo '{\"wakeAgent\":true}'".into()));
    g.send(HostRecord::Turn(task));
    sleep(SECOND / 2);
    g.send(HostRecord::Interrupt { turn: TurnId(5) });
    assert_eq!(g.failure(), (ids(&[5]), "interrupted".into(), true));
    g.close();
}

#[test]
fn a_tool_call_gets_the_words_of_the_host() {
    let mut g = guest();
    g.turn(1, "tool:read_history {\"limit\":3}");
    let wanted = json!({"limit": 3});
    let id = g.wait_for("a request", |r| match r {
        GuestRecord::Request { id, turn: TurnId(1), tool, arguments }
            if tool == "read_history" && *arguments == wanted =>
        {
            Some(id.clone())
        }
        _ => None,
    });
    g.send(HostRecord::Reply {
        request: id.clone(),
        ok: false,
        result: None,
        error: Some("not today".into()),
    });
    assert_eq!(g.answer(), (ids(&[1]), Some("tool error: not today".into())));
    g.turn(2, "tool:list_groups {}");
    let next = g.wait_for("a request", |r| match r {
        GuestRecord::Request { id, turn: TurnId(2), .. } => Some(id.clone()),
        _ => None,
    });
    assert_ne!(id, next);
    g.send(HostRecord::Reply {
        request: next,
        ok: true,
        result: Some(json!({"groups": 2})),
        error: None,
    });
    assert_eq!(g.answer(), (ids(&[2]), Some("tool: {\"groups\":2}".into())));
    g.close();
}

#[test]
fn background_work_is_counted_and_its_end_is_told_as_a_text() {
    let mut g = guest();
    g.turn(1, "background:700 go");
    g.answer();
    let text = g.wait_for("a text", |r| match r {
        GuestRecord::Text { text, uuid } if !uuid.is_empty() => Some(text.clone()),
        _ => None,
    });
    assert_eq!(text, "background done");
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
fn compaction_archives_the_conversation_first() {
    let mut g = guest();
    g.turn(1, "remember the milk");
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
    assert!(
        text.contains("**User**: remember the milk") && text.contains("**Andy**: echo: remember"),
        "{text}"
    );
}

#[test]
fn close_waits_for_the_running_turn() {
    let mut g = guest();
    g.turn(1, "think:700 last");
    g.send(HostRecord::Close);
    assert_eq!(g.answer(), (ids(&[1]), seen("think:700 last")));
    assert!(g.exit(5 * SECOND).success());
}

#[test]
fn nothing_of_the_hosts_environment_reaches_the_cli() {
    let mut g = guest();
    g.turn(1, "say:x");
    g.answer();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let (line, env) = (read("cmdline"), read("environ"));
        let (line, env) = (String::from_utf8_lossy(&line), String::from_utf8_lossy(&env));
        if line.contains("stream-json") && env.contains(&g.dir.path().display().to_string()) {
            assert!(
                env.contains("ANTHROPIC_BASE_URL=http://127.0.0.1:")
                    && !env.contains("SECRET_OF_THE_HOST")
            );
            assert!(!line.contains("placeholder-token"));
            g.close();
            return;
        }
    }
    panic!("the CLI was not found");
}
