//! What groups that came from 1.x have besides: main's note where the project was, and
//! the records that their agents write by hand.
//!
//! Those records are read by the actor's tick, and once more when the guest is dead.
//! They name no turn, so what they may do outside their own group is judged by
//! everybody who wrote in any turn of the incarnation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::actor::Actor;
use super::guest::{self, GuestError, Host};
use crate::config::Config;
use crate::container::Mount;
use crate::db::past::{self, Past};
use crate::db::{self, Group, LedgerError, refuse};
use crate::ids::{Folder, Incarnation};
use crate::ipc::legacy::{LegacyRecord, LegacyTask, Message};
use crate::ipc::record::{MAX_RECORD, MAX_WAITING};
use crate::requests::{self, Asker, Outcome};
use crate::tree::{Tree, TreeError};
use crate::upgrade::project;

type Parse = fn(&[u8]) -> Result<LegacyRecord, String>;

/// The directories of records, and what reads those.
const KINDS: [(&str, Parse); 2] =
    [("messages", LegacyRecord::message), ("tasks", LegacyRecord::task)];

/// A file that changed within this time may not be whole yet.
const FRESH: Duration = Duration::from_secs(1);

/// What lies aside before no more is kept.
const MOST_ASIDE: usize = 1_000;

/// The most records that one look handles.
const BATCH: usize = 100;

fn directory(config: &Config, folder: &Folder) -> PathBuf {
    config.data().join("ipc").join(folder.as_str()).join("legacy")
}

/// What the container of a group that came from 1.x has beyond the usual.
pub fn extras(host: &Host, group: &Group, past: &Past) -> Result<Vec<Mount>, GuestError> {
    let config = &host.config;
    let mut extras = Vec::new();
    if !past.ipc {
        return Ok(extras);
    }
    let legacy = directory(config, &group.folder);
    for (kind, _) in KINDS {
        let path = legacy.join(kind);
        adopt(&legacy, kind)?;
        if let Some((uid, gid)) = host.owner {
            guest::own(&path, uid, gid)?;
        }
        let guest = Path::new("/workspace/ipc").join(kind);
        extras.push(Mount { host: path, guest, writable: true });
    }
    if group.is_main {
        let path = project::directory(config)
            .map_err(|source| guest::io(&config.data().join("project"), source))?;
        extras.push(Mount { host: path, guest: "/workspace/project".into(), writable: false });
    }
    Ok(extras)
}

/// Makes the directory of one kind; what 1.x left unread in its own comes along. In 1.x
/// the agent could write above it, so that anything may lie there: a link is refused.
fn adopt(legacy: &Path, kind: &str) -> Result<(), GuestError> {
    let above = legacy.parent().unwrap_or(legacy);
    std::fs::create_dir_all(above).map_err(|source| guest::io(above, source))?;
    let above = Tree::open(above)?;
    let into = above.create_dir("legacy")?;
    if into.open_dir(kind).is_err() && above.open_dir(kind).is_ok() {
        above.set_aside(kind, &into, kind)?;
    }
    into.create_dir(kind).map(drop).map_err(GuestError::from)
}

impl Actor {
    /// Gives the records by hand that wait their effect. Those that waited before
    /// the incarnation began have none that could vouch for them.
    pub(super) async fn read_legacy(&self, incarnation: Option<Incarnation>) {
        let legacy = directory(&self.host.config, &self.folder);
        let above = legacy.parent().unwrap_or(&legacy);
        for (kind, parse) in KINDS {
            let tree =
                Tree::open(above).and_then(|tree| tree.open_dir(Path::new("legacy").join(kind)));
            let Ok(tree) = tree else { continue };
            if let Err(error) = self.read_kind(&tree, kind, parse, incarnation).await {
                tracing::warn!(group = %self.folder, %error, "records by hand cannot be read");
            }
        }
    }

    async fn read_kind(
        &self,
        tree: &Tree,
        kind: &str,
        parse: Parse,
        incarnation: Option<Incarnation>,
    ) -> Result<(), GuestError> {
        let names = tree.list(2 * MAX_WAITING)?;
        let records = names.iter().filter_map(|name| name.to_str());
        for name in records.filter(|n| n.ends_with(".json") && !n.starts_with('.')).take(BATCH) {
            let read = tree.read(name, MAX_RECORD);
            let changed =
                tree.open_file(name).ok().and_then(|f| f.metadata().ok()?.modified().ok());
            let record = match read {
                Ok(bytes) => parse(&bytes).map(|record| (record, bytes)),
                Err(TreeError::Missing(_)) => continue,
                Err(error) => Err(error.to_string()),
            };
            let outcome = match record {
                Ok((record, bytes)) => {
                    // The same file is the same effect; a new one of its name is not.
                    let text = String::from_utf8_lossy(&bytes);
                    let of =
                        serde_json::json!([self.folder, kind, name, text, format!("{changed:?}")]);
                    let key = format!("legacy:{}", db::digest(&of));
                    self.effect(record, key, incarnation).await
                }
                Err(_) if changed.is_some_and(is_fresh) => continue,
                Err(reason) => refuse(reason),
            };
            match outcome {
                Ok(()) => tree.remove(name)?,
                Err(LedgerError::Refused(reason)) => self.set_aside(tree, kind, name, &reason)?,
                Err(error) => {
                    tracing::error!(group = %self.folder, %error, "a record by hand waits");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn effect(
        &self,
        record: LegacyRecord,
        key: String,
        incarnation: Option<Incarnation>,
    ) -> db::Result<()> {
        let (folder, zone) = (self.folder.clone(), self.host.config.timezone);
        let outcome = self.host.ledger.write(move |c| {
            let group = db::groups::by_folder(c, &folder)?;
            let Some(group) = group.filter(|_| past::of(c, &folder).is_ok_and(|p| p.ipc)) else {
                return refuse("this group writes no records by hand");
            };
            let trusted = match incarnation {
                Some(id) => db::turns::all_trusted(c, id)?,
                None => false,
            };
            let own = db::groups::chats(c, Some(&group.folder))?;
            let asker = Asker {
                group: &group,
                chat: own.into_iter().next().map(|chat| chat.jid).unwrap_or_default(),
                turn: incarnation.map(|id| db::turns::latest_of(c, id)).transpose()?.flatten(),
                trusted,
                zone,
                file: None,
            };
            match &record {
                LegacyRecord::Message(message) => say(c, &asker, message, &key),
                LegacyRecord::Task(task) => perform(c, &asker, task, &key),
            }
        });
        let outcome = outcome.await;
        self.host.outbox.wake();
        self.host.tasks.notify_one();
        outcome.map(drop)
    }

    fn set_aside(
        &self,
        tree: &Tree,
        kind: &str,
        name: &str,
        reason: &str,
    ) -> Result<(), GuestError> {
        tracing::warn!(group = %self.folder, kind, reason, "set a record by hand aside");
        let errors = guest::errors(&self.host.config);
        let aside = format!("{}-{kind}-{name}", self.folder);
        std::fs::create_dir_all(&errors).map_err(|source| guest::io(&errors, source))?;
        let errors = Tree::open(&errors)?;
        if errors.list(MOST_ASIDE + 1)?.len() > MOST_ASIDE {
            return Ok(tree.remove_all(name)?);
        }
        tree.set_aside(name, &errors, &aside)?;
        Ok(errors.write_new(format!("{aside}.reason"), reason.as_bytes())?)
    }
}

fn is_fresh(changed: std::time::SystemTime) -> bool {
    changed.elapsed().is_ok_and(|age| age < FRESH)
}

/// As the tool `send_message`, once for this key.
fn say(c: &Connection, asker: &Asker<'_>, message: &Message, key: &str) -> Outcome {
    if !db::told::once(c, key)? {
        return Ok(serde_json::Value::Null);
    }
    if let Some(turn) = asker.turn
        && db::outbox::count(c, turn)? >= requests::MOST
    {
        return refuse(format!(
            "more than {} messages since the agent was last asked",
            requests::MOST
        ));
    }
    let arguments = serde_json::json!({"text": message.text, "chat": message.chat_jid});
    requests::perform(c, asker, "send_message", key, arguments)
}

/// Carries out a command of 1.x by the tool of that name, with its rights.
fn perform(c: &Connection, asker: &Asker<'_>, task: &LegacyTask, key: &str) -> Outcome {
    let Some((tool, mut arguments)) = task.call() else {
        // `list_groups` is always fresh.
        return match asker.group.is_main {
            true => Ok(serde_json::Value::Null),
            false => refuse("only main may ask for the groups"),
        };
    };
    if let LegacyTask::ScheduleTask { group_folder, target_jid, task_id, .. } = task {
        if task_id.is_none() {
            // Read again after a crash, it is the same task.
            arguments["task_id"] = key.replace(':', "-").into();
        }
        if let (None, Some(folder)) = (target_jid, group_folder) {
            let chats = db::groups::chats(c, crate::ids::Folder::parse(folder).ok().as_ref())?;
            let own = chats
                .into_iter()
                .find(|chat| chat.folder.as_ref().is_some_and(|f| f.as_str() == folder));
            let Some(chat) = own else { return refuse(format!("there is no group {folder}")) };
            arguments["target_group_jid"] = chat.jid.into();
        }
    }
    requests::perform(c, asker, &tool, key, arguments)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_an_agent_of_1x_left_in_place_of_its_directory_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let ipc = |path: &str| dir.path().join("ipc").join(path);
        adopt(&ipc("main/legacy"), "tasks").unwrap();
        std::fs::create_dir_all(ipc("family/tasks")).unwrap();
        std::fs::write(ipc("family/tasks/1.json"), "{}").unwrap();
        std::os::unix::fs::symlink("../main/legacy", ipc("family/legacy")).unwrap();
        assert!(adopt(&ipc("family/legacy"), "tasks").is_err());
        std::fs::remove_file(ipc("family/legacy")).unwrap();
        adopt(&ipc("family/legacy"), "tasks").unwrap();
        assert!(ipc("family/legacy/tasks/1.json").exists(), "what was unread came along");
        assert!(std::fs::read_dir(ipc("main/legacy/tasks")).unwrap().next().is_none());
        // The same for one kind.
        std::os::unix::fs::symlink("../../main/legacy/tasks", ipc("family/legacy/messages"))
            .unwrap();
        assert!(adopt(&ipc("family/legacy"), "messages").is_err());
    }
}
