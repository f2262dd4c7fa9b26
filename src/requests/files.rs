//! `send_file`: from a group's folder to a chat.
//!
//! The bytes are copied to the host's side before the commit that names them, so
//! that what is sent is what the agent meant, whatever its folder holds later. The
//! copy lies in `data/files/out`, where channels read it. It is removed some time
//! after its row came to an end, and at the next start if no row came to name it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asker, Outcome, addressee, arguments};
use crate::config::Config;
use crate::crash;
use crate::db::{self, Attachment, Ledger, NewRow, now_ms, refuse};
use crate::files;
use crate::ids::{Folder, random_hex};
use crate::prompt::chat_text::chat_text;
use crate::prompt::outgoing;
use crate::tree::{Tree, TreeError};

/// How long a copy is kept after its row was sent.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a copy may wait for the commit that names it.
const UNNAMED: Duration = Duration::from_secs(60 * 60);
/// The most bytes that lie in the directory, of all groups and of one, so that no agent
/// fills the disk, or takes the others' place.
const MOST: u64 = 2 << 30;
const MOST_OF_GROUP: u64 = 256 << 20;
/// The most rows with files that wait in one chat.
const WAITING: i64 = 20;
/// The directory, beneath the one that channels exchange files in.
const OUT: &str = "out";

#[derive(Deserialize)]
struct SendFile {
    path: String,
    caption: Option<String>,
    chat: Option<String>,
}

/// A copy that no row names yet.
#[derive(Clone, Debug)]
pub struct Staged(Attachment);

impl Staged {
    /// Its path beneath the directory of files.
    pub fn path(&self) -> &str {
        &self.0.path
    }
}

/// Copies the file that a call names; `None` if the tool names none.
pub async fn stage(
    config: &Config,
    folder: &Folder,
    tool: &str,
    value: &Value,
) -> Option<Result<Staged, String>> {
    if tool != "send_file" {
        return None;
    }
    let call: SendFile = match arguments(value.clone()) {
        Ok(call) => call,
        Err(refusal) => return Some(Err(refusal.to_string())),
    };
    let (group, files) = (config.groups().join(folder.as_str()), config.files());
    let folder = folder.clone();
    let copy = move || copy(&folder, &group, &files, &call.path);
    let copied = tokio::task::spawn_blocking(copy).await;
    Some(copied.unwrap_or_else(|e| Err(format!("the file could not be copied: {e}"))))
}

/// Removes a copy that no row came to name.
pub async fn discard(config: &Config, staged: Staged) {
    let files = config.files();
    let removed = tokio::task::spawn_blocking(move || Tree::open(&files)?.remove(staged.path()));
    if let Ok(Err(error)) = removed.await {
        tracing::warn!(%error, "a copy stays until the next start");
    }
}

fn copy(folder: &Folder, group: &Path, exchanged: &Path, named: &str) -> Result<Staged, String> {
    let path = beneath_group(named)?;
    let name = files::shown_name(named);
    let cannot = |e: TreeError| match e {
        TreeError::TooLarge { .. } => {
            format!("{named:?} is larger than the {} MiB that can be sent", files::MAX_FILE >> 20)
        }
        other => format!("cannot send that file: {other}"),
    };
    let from = Tree::open(group).map_err(cannot)?;
    let out = exchanged.join(OUT);
    let into = Tree::open(&out).map_err(|_| "the host has no directory for files".to_owned())?;
    let own = format!("{folder}~");
    if held(&out, "") > MOST || held(&out, &own) > MOST_OF_GROUP {
        return Err(
            "too many files were sent lately and lie on the host: try again tomorrow".into()
        );
    }
    let random = random_hex().map_err(|e| e.to_string())?;
    let own = format!("{own}{random}-{}", files::plain_name(&name));
    crash::point("before copying", &"file");
    let size = from.copy(path, &into, &own, files::MAX_FILE, None).map_err(cannot)?;
    crash::point("after copying", &"file");
    let mime = files::type_of(&name).to_owned();
    Ok(Staged(Attachment { path: format!("{OUT}/{own}"), mime, size, name, error: None }))
}

/// The path in the group's folder that an agent means, which is relative to it or
/// begins with the folder's name in the container.
fn beneath_group(named: &str) -> Result<&Path, String> {
    let path = Path::new(named);
    let relative = if path.is_absolute() {
        path.strip_prefix(files::GROUP).map_err(|_| {
            format!("only files in {} can be sent; copy it there first", files::GROUP)
        })?
    } else {
        path
    };
    if named.contains('\0') || relative.as_os_str().is_empty() {
        return Err("the path names no file".into());
    }
    Ok(relative)
}

/// Bytes of what lies in a directory of ours.
/// How many bytes lie there in files whose names begin so.
fn held(out: &Path, begin: &str) -> u64 {
    let entries = std::fs::read_dir(out).into_iter().flatten().flatten();
    let entries = entries.filter(|e| e.file_name().to_string_lossy().starts_with(begin));
    entries.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
}

/// The same rights as [`send_message`](super::send_message).
pub fn send_file(c: &Connection, asker: &Asker<'_>, key: &str, value: Value) -> Outcome {
    let call: SendFile = arguments(value)?;
    let Some(Ok(Staged(file))) = asker.file else { return refuse("the file was not copied") };
    let Some(turn) = asker.turn else { return refuse("files are sent in the course of a turn") };
    let jid = addressee(c, asker, call.chat)?;
    if db::files::waiting(c, &jid)? >= WAITING {
        return refuse(format!("{WAITING} files wait for this chat already: try again later"));
    }
    let caption = call.caption.as_deref().and_then(chat_text).unwrap_or_default();
    let mut pieces = outgoing::pieces(&jid, &caption);
    // A file without a caption is a row, too.
    pieces.resize_with(pieces.len().max(1), String::new);
    for (part, text) in pieces.iter().enumerate() {
        db::outbox::add(c, &NewRow { turn: Some(turn), key, part, jid: &jid, text })?;
    }
    db::files::attach(c, turn, key, std::slice::from_ref(file))?;
    Ok(json!({"sent_to": jid, "name": file.name, "size": file.size}))
}

/// Removes copies that are not needed any more. At a start nothing waits for a
/// commit; later, what is new may.
pub async fn sweep(ledger: &Ledger, files: PathBuf, at_start: bool) -> db::Result<()> {
    let since = now_ms() - i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
    let needed = ledger.write(move |c| db::files::needed(c, since)).await?;
    let swept = tokio::task::spawn_blocking(move || {
        let before = SystemTime::now() - UNNAMED;
        let out = Tree::open(&files.join(OUT))?;
        for name in out.list(usize::MAX)? {
            let path = format!("{OUT}/{}", name.to_string_lossy());
            let modified = std::fs::symlink_metadata(files.join(&path)).and_then(|m| m.modified());
            if !needed.contains(&path) && (at_start || modified.is_ok_and(|at| at < before)) {
                out.remove(&name)?;
            }
        }
        Ok::<(), TreeError>(())
    });
    if let Ok(Err(error)) = swept.await {
        tracing::warn!(%error, "cannot remove files that were sent");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn what_may_still_be_committed_is_not_swept_from_a_daemon_at_work() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
        let out = dir.path().join(OUT);
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join("new"), "").unwrap();
        let old = std::fs::File::create(out.join("old")).unwrap();
        old.set_modified(SystemTime::now() - 2 * UNNAMED).unwrap();
        let left = || std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name());
        sweep(&ledger, dir.path().into(), false).await.unwrap();
        assert_eq!(left().collect::<Vec<_>>(), ["new"]);
        sweep(&ledger, dir.path().into(), true).await.unwrap();
        assert_eq!(left().count(), 0);
    }

    #[test]
    fn only_paths_in_the_group_s_folder_are_meant() {
        for good in ["a.pdf", "sub/a.pdf", "/workspace/group/sub/a.pdf"] {
            assert!(beneath_group(good).is_ok_and(Path::is_relative), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "/workspace/group",
            "/workspace/groups/a",
            "a\0",
            "/workspace/global/x",
        ] {
            assert!(beneath_group(bad).is_err(), "{bad:?}");
        }
    }
}
