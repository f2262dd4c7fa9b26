//! A newcomer without a key: the real CLI in the real sandbox, and the practice
//! model instead of Claude.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::process::Stdio;

use support::Home;

/// Pipes lines into `nanoclaw chat`: (exit code, standard output, standard error).
fn chat(home: &Home, lines: &str) -> (i32, String, String) {
    let mut child = home
        .command(&["chat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn what_is_remembered_is_a_file_and_is_read_again_by_the_next_daemon() {
    let Some(home) = Home::with_real_cli() else { return };
    let (code, out, error) =
        chat(&home, "remember that the bins go out on Tuesday\nwhat do you remember?\n");
    assert_eq!(code, 0, "{error}");
    let answers: Vec<&str> = out.split("[practice model]").skip(1).collect();
    assert_eq!(answers.len(), 2, "{out}");
    assert!(answers[1].contains("Tuesday"), "{out}");
    assert!(error.contains("ANTHROPIC_API_KEY"), "says how to get the real one: {error}");
    let memory = std::fs::read_to_string(home.path().join("groups/main/memory.md")).unwrap();
    assert!(memory.contains("the bins go out on Tuesday"), "{memory}");

    let (code, out, _) = chat(&home, "what do you remember?\n");
    assert_eq!(code, 0);
    assert!(out.contains("Tuesday"), "{out}");
}

#[test]
fn the_agent_sees_its_own_group_and_nothing_of_another() {
    let Some(home) = Home::with_real_cli() else { return };
    home.add_group("family", "t:1");
    std::fs::write(home.path().join("groups/family/diary.md"), "private").unwrap();
    let (code, out, _) = chat(&home, "what can you see?\n");
    assert_eq!(code, 0);
    assert!(out.contains("/workspace/group"), "{out}");
    assert!(!out.contains("diary"), "{out}");
}

#[test]
fn anything_else_says_what_this_is() {
    let Some(home) = Home::with_real_cli() else { return };
    let (code, out, _) = chat(&home, "how is the weather?\n\n");
    assert_eq!(code, 0);
    assert!(out.contains("practice model") && out.contains("ANTHROPIC_API_KEY"), "{out}");
}

#[test]
fn the_agent_s_skills_reach_the_cli() {
    let Some(home) = Home::with_real_cli() else { return };
    let (code, _, error) = chat(&home, "hello\n");
    assert_eq!(code, 0, "{error}");
    let skills = home.path().join("data/sessions/main/.claude/skills");
    for skill in ["status", "capabilities"] {
        assert!(skills.join(skill).join("SKILL.md").is_file());
    }
    // The CLI lists each skill that it found in the first request of a session.
    let sessions = home.path().join("data/sessions/main/.claude/projects/-workspace-group");
    let transcripts: String = std::fs::read_dir(sessions)
        .unwrap()
        .map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap_or_default())
        .collect();
    assert!(transcripts.contains("Say how this assistant is doing"), "no skill in the transcript");
}
