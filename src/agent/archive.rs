//! Keeps a readable copy of a conversation before the CLI compacts it.
//!
//! Reads the CLI's transcript and writes `conversations/<date>-<name>.md` in the
//! group's folder, in the form of NanoClaw 1.x. It never overwrites, and its
//! failure never holds up the compaction.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::Value;

/// The most characters of one message that are kept.
const MAX_MESSAGE: usize = 2000;

/// Writes the archive and returns its path, or none if the transcript holds no
/// text. `timezone` is an IANA name; an unknown one counts as UTC.
pub fn write(
    transcript: &Path,
    group: &Path,
    assistant: &str,
    timezone: &str,
    now: DateTime<Utc>,
) -> io::Result<Option<PathBuf>> {
    let messages = read(File::open(transcript)?)?;
    if messages.is_empty() {
        return Ok(None);
    }
    let local = now.with_timezone(&timezone.parse::<Tz>().unwrap_or(Tz::UTC));
    let mut text =
        format!("# Conversation\n\nArchived: {}\n\n---\n\n", local.format("%b %-d, %-I:%M %p"));
    for (from_user, message) in messages {
        let speaker = if from_user { "User" } else { assistant };
        text.push_str(&format!("**{speaker}**: {}\n\n", cut(&message)));
    }
    let directory = group.join("conversations");
    fs::create_dir_all(&directory)?;
    let name = format!("{}-conversation-{}", now.format("%Y-%m-%d"), local.format("%H%M"));
    let (path, mut file) = create(&directory, &name)?;
    file.write_all(text.as_bytes())?;
    Ok(Some(path))
}

/// A file that did not exist: `name.md`, else `name-2.md`, ...
fn create(directory: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    for n in 1..1000 {
        let suffix = if n == 1 { String::new() } else { format!("-{n}") };
        let path = directory.join(format!("{name}{suffix}.md"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            file => return Ok((path, file?)),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many archives of one minute"))
}

/// The texts of people (true) and of the assistant (false), in order.
fn read(transcript: impl io::Read) -> io::Result<Vec<(bool, String)>> {
    let mut messages = Vec::new();
    for line in BufReader::new(transcript).split(b'\n') {
        // A line that is no JSON was cut by a crash; the others are still good.
        let Ok(entry) = serde_json::from_slice::<Value>(&line?) else { continue };
        let from_user = match entry["type"].as_str() {
            Some("user") => true,
            Some("assistant") => false,
            _ => continue,
        };
        if entry["isMeta"] == true || entry["isSidechain"] == true {
            continue;
        }
        let text = match &entry["message"]["content"] {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts
                .iter()
                .filter(|p| p["type"] == "text")
                .filter_map(|p| p["text"].as_str())
                .collect(),
            _ => String::new(),
        };
        if !text.trim().is_empty() {
            messages.push((from_user, text));
        }
    }
    Ok(messages)
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn transcript(dir: &Path) -> PathBuf {
        let lines = [
            json!({"type": "user", "message": {"content": "hello"}}).to_string(),
            json!({"type": "user", "isMeta": true, "message": {"content": "reminder"}}).to_string(),
            json!({"type": "user", "message": {"content": [{"type": "tool_result", "content": "x"}]}}).to_string(),
            "{\"type\":\"assis".to_owned(),
            json!({"type": "assistant", "message": {"content": [{"type": "text", "text": "ä".repeat(2001)}]}})
                .to_string(),
        ];
        let path = dir.join("t.jsonl");
        fs::write(&path, lines.join("\n")).unwrap();
        path
    }

    #[test]
    fn two_archives_of_one_minute_are_both_kept() {
        let dir = tempfile::tempdir().unwrap();
        let now = "2026-07-01T22:30:00Z".parse().unwrap();
        let put = || {
            write(&transcript(dir.path()), dir.path(), "Andy", "Europe/Berlin", now)
                .unwrap()
                .unwrap()
        };
        let (first, second) = (put(), put());
        assert!(first.ends_with("conversations/2026-07-01-conversation-0030.md"), "{first:?}");
        assert!(second.ends_with("conversations/2026-07-01-conversation-0030-2.md"), "{second:?}");
        let text = fs::read_to_string(first).unwrap();
        assert!(text.contains("Archived: Jul 2, 12:30 AM") && text.contains("**User**: hello"));
        assert!(text.contains(&format!("**Andy**: {}...\n", "ä".repeat(2000))));
        assert!(!text.contains("reminder"));
    }

    #[test]
    fn a_transcript_without_text_gives_no_archive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        fs::write(&path, "{}\n").unwrap();
        let now = Utc::now();
        assert_eq!(write(&path, dir.path(), "Andy", "nowhere", now).unwrap(), None);
        assert!(!dir.path().join("conversations").exists());
    }
}
