//! Groups (folders) and chats (addresses linked to them).

use rusqlite::{Connection, params};
use serde::Serialize;

use super::ledger::{LedgerError, Result, refuse};
use super::people;
use super::rooms::Closed;
use super::sql::{FromRow, Sql, row, words};
use crate::ids::Folder;

mod meant;
pub use meant::{meant, pick};

row! {
    /// A group: a folder with an agent of its own.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct Group {
        /// Its folder under `groups/`, which is its identity.
        pub folder: Folder,
        /// The name for people.
        pub name: String,
        /// Whether it may administer.
        pub is_main: bool,
        /// What wakes the agent; empty for `@` and the assistant's name.
        pub trigger: String,
        /// Whether a message must begin with the trigger.
        pub requires_trigger: bool,
        /// What its agent may reach: `web`, `api`, or domains with commas between.
        pub egress: String,
        /// The model to ask for, if not the installation's.
        pub model: Option<String>,
        /// Who may wake the agent besides the owner.
        pub speakers: Speakers => Speakers::stored,
        /// Whether what others say without waking the agent is kept and shown to it.
        pub keeps_context: bool,
        /// What it wants of its container.
        pub container: Wants = "isolation = 'vm', memory, cpus, once",
    }
}

row! {
    /// What a group wants of its container, from its next one on.
    #[derive(Clone, Debug, Default, PartialEq, Serialize)]
    pub struct Wants {
        /// Whether it waits rather than run without a virtual machine.
        pub vm: bool = "isolation = 'vm'",
        /// MiB of memory, if not the usual.
        pub memory: Option<u32>,
        /// CPUs, if not the usual.
        pub cpus: Option<f64>,
        /// Whether each container ends with its turn.
        pub once: bool,
    }
}

words! {
    /// Who may wake a group's agent besides the owner.
    pub enum Speakers {
        /// Whoever the sender allowlist lets.
        Everybody = "everybody",
        /// People whom the owner knows.
        Known = "known",
        /// Nobody.
        Owner = "owner",
    }
}

impl Speakers {
    /// Who is meant by a word: those of [`Speakers::as_str`], and `me` for the owner.
    pub fn parse(word: &str) -> Option<Speakers> {
        if word == "me" { Some(Speakers::Owner) } else { Speakers::from_word(word) }
    }

    /// What a word in the ledger means.
    fn stored(word: String) -> Speakers {
        Speakers::parse(&word).unwrap_or(Speakers::Owner)
    }

    /// What holds for a new group with this chat, if nobody says: where strangers may
    /// be in it, those whom the owner knows; where the network does not say who is who,
    /// everybody.
    pub fn default_for(jid: &str) -> Speakers {
        if jid.ends_with("@g.us") { Speakers::Known } else { Speakers::Everybody }
    }
}

impl Group {
    /// A group as one is that nobody says anything about.
    pub fn new(folder: Folder, name: String) -> Group {
        Group {
            folder,
            name,
            is_main: false,
            trigger: String::new(),
            requires_trigger: true,
            egress: "web".into(),
            model: None,
            speakers: Speakers::Everybody,
            keeps_context: true,
            container: Wants::default(),
        }
    }
}

/// What a new group is made of.
#[derive(Clone, Debug)]
pub struct NewGroup {
    /// The group.
    pub group: Group,
    /// The addresses that are linked to it.
    pub chats: Vec<String>,
}

row! {
    /// An address on some network.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct Chat {
        /// The address, such as `tg:1` or `terminal:main`.
        pub jid: String,
        /// Its name, or the address while none is known.
        pub name: String = "COALESCE(name, jid)",
        /// Whether several people are in it.
        pub is_group: bool = "COALESCE(is_group, 0)",
        /// The channel that reported it.
        pub channel: Option<String>,
        /// The group that it is linked to.
        pub folder: Option<Folder>,
        /// When somebody last wrote there (ISO 8601); empty if nobody did.
        pub last_activity: String = "COALESCE(last_message_time, '')",
        /// Why it cannot be written to, if it cannot.
        pub closed: Option<Closed> => Closed::stored,
    }
}

/// All groups, main first. Rows of a 1.x database whose folder breaks the naming
/// rule are passed over, as the original does.
pub fn all(c: &Connection) -> Result<Vec<Group>> {
    let sql = Group::select("FROM groups ORDER BY is_main DESC, folder");
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map([], |row| Ok(Group::read(row, &mut 0).ok()))?;
    Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// One group.
pub fn by_folder(c: &Connection, folder: &Folder) -> Result<Option<Group>> {
    c.first(Group::select("FROM groups WHERE folder = ?1"), [folder])
}

/// The group that a chat is linked to.
pub fn of_chat(c: &Connection, jid: &str) -> Result<Option<Group>> {
    c.first(
        Group::select("FROM groups WHERE folder = (SELECT folder FROM chats WHERE jid = ?1)"),
        [jid],
    )
}

/// The chats of one group, or of all; unlinked ones too when `folder` is `None`.
pub fn chats(c: &Connection, folder: Option<&Folder>) -> Result<Vec<Chat>> {
    let whose = if folder.is_some() { "folder = ?1" } else { "?1 IS NULL" };
    let sql = Chat::select(&format!(
        "FROM chats WHERE jid <> '__group_sync__' AND {whose}
         ORDER BY COALESCE(last_message_time, '') DESC, jid",
    ));
    c.all(sql, [folder])
}

/// The chats of main that its owner uses: those that somebody has written in, else
/// all of them.
pub fn chats_of_owner(c: &Connection) -> Result<Vec<String>> {
    let all: Vec<(String, bool)> = c.all(
        "SELECT c.jid, EXISTS (SELECT 1 FROM messages m WHERE m.chat_jid = c.jid)
         FROM chats c JOIN groups g ON g.folder = c.folder WHERE g.is_main = 1 ORDER BY c.jid",
        [],
    )?;
    let used: Vec<String> = all.iter().filter(|c| c.1).map(|c| c.0.clone()).collect();
    Ok(if used.is_empty() { all.into_iter().map(|c| c.0).collect() } else { used })
}

/// Notes that a chat exists. A name replaces the old one, no name keeps it; time
/// never moves backwards; what is unknown (`None`) keeps what was known.
pub fn see_chat(
    c: &Connection,
    jid: &str,
    name: Option<&str>,
    timestamp: &str,
    channel: Option<&str>,
    is_group: Option<bool>,
) -> Result<()> {
    c.run(
        "INSERT INTO chats (jid, name, last_message_time, channel, is_group)
         VALUES (?1, COALESCE(?2, ?1), ?3, ?4, COALESCE(?5, 0))
         ON CONFLICT (jid) DO UPDATE SET
            name = COALESCE(?2, name),
            last_message_time = MAX(COALESCE(last_message_time, ''), ?3),
            channel = COALESCE(?4, channel),
            is_group = COALESCE(?5, is_group)",
        params![jid, name, timestamp, channel, is_group],
    )
}

/// After how many seconds messages of a chat disappear, if they do.
pub fn timer(c: &Connection, jid: &str) -> Result<Option<u32>> {
    let seconds: Option<u32> = c.first("SELECT timer FROM chats WHERE jid = ?1", [jid])?;
    Ok(seconds.filter(|seconds| *seconds > 0))
}

/// Notes that; 0 for never. A chat that is not known yet has none.
pub fn set_timer(c: &Connection, jid: &str, seconds: u32) -> Result<()> {
    let jid = people::canonical(c, jid)?;
    c.run("UPDATE chats SET timer = ?2 WHERE jid = ?1 AND timer <> ?2", params![jid, seconds])
}

/// Adds a group. A folder or chat that is taken is refused, never replaced.
pub fn add(c: &Connection, new: &NewGroup) -> Result<()> {
    let g = &new.group;
    if by_folder(c, &g.folder)?.is_some() {
        return refuse(format!(
            "{} exists already; link another chat to it with `nanoclaw groups link`",
            g.folder
        ));
    }
    c.run(
        "INSERT INTO groups (folder, name, is_main, added_at)
         VALUES (?1, ?2, ?3, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
        params![g.folder, g.name, g.is_main],
    )?;
    update(c, g)?;
    new.chats.iter().try_for_each(|jid| link(c, &g.folder, jid))
}

/// Changes a group's settings; its folder and whether it is main stay.
pub fn update(c: &Connection, g: &Group) -> Result<()> {
    let Wants { vm, memory, cpus, once } = &g.container;
    c.run(
        "UPDATE groups SET name = ?2, trigger = ?3, requires_trigger = ?4, egress = ?5, model = ?6,
            speakers = ?7, keeps_context = ?8, isolation = iif(?9, 'vm', 'any'), isolation_told = 0,
            memory = ?10, cpus = ?11, once = ?12
         WHERE folder = ?1",
        params![
            g.folder,
            g.name,
            g.trigger,
            g.requires_trigger,
            g.egress,
            g.model,
            g.speakers.as_str(),
            g.keeps_context,
            vm,
            memory,
            cpus,
            once,
        ],
    )
}

/// Notes whether a group waits for a virtual machine. The chats where that is to be
/// told now: those with a message that waits, once.
pub fn bar(c: &Connection, folder: &Folder, waits: bool) -> Result<Vec<String>> {
    let chats = match waits {
        true => c.all(
            "SELECT jid FROM chats JOIN groups g USING (folder)
             WHERE folder = ?1 AND NOT g.isolation_told
                 AND jid IN (SELECT chat_jid FROM messages WHERE state = 'queued')
             ORDER BY jid",
            [folder],
        )?,
        false => Vec::new(),
    };
    if !waits || !chats.is_empty() {
        c.run("UPDATE groups SET isolation_told = ?2 WHERE folder = ?1", params![folder, waits])?;
    }
    Ok(chats)
}

/// There is no such group.
pub fn unknown(folder: &Folder) -> LedgerError {
    LedgerError::Refused(format!(
        "there is no group {folder}; `nanoclaw groups list` shows those there are"
    ))
}

/// Links a chat to a group, unless it is linked to another.
pub fn link(c: &Connection, folder: &Folder, jid: &str) -> Result<()> {
    let jid = &people::canonical(c, jid)?;
    if by_folder(c, folder)?.is_none() {
        return Err(unknown(folder));
    }
    match of_chat(c, jid)? {
        Some(other) if other.folder != *folder => {
            return refuse(format!("{jid} belongs to {}; remove that group first", other.folder));
        }
        _ => {}
    }
    see_chat(c, jid, None, "", None, None)?;
    c.run("UPDATE chats SET folder = ?2 WHERE jid = ?1", params![jid, folder])
}

/// Unlinks a group's chats and forgets it; its folder, its history and what is
/// owed to its chats stay, its tasks are paused. Refused while it has open turns.
pub fn remove(c: &Connection, folder: &Folder) -> Result<()> {
    if by_folder(c, folder)?.is_none() {
        return Err(unknown(folder));
    }
    let open: i64 = c.one(
        "SELECT (SELECT count(*) FROM turns WHERE folder = ?1 AND state IN ('queued', 'running'))
              + (SELECT count(*) FROM incarnations WHERE folder = ?1 AND state <> 'dead')",
        [folder],
    )?;
    if open > 0 {
        return refuse(format!(
            "{folder} has an agent at work; try again when it has answered, or stop the daemon first"
        ));
    }
    c.run(
        "UPDATE messages SET state = 'ignored', reason = 'group removed'
         WHERE state = 'queued' AND chat_jid IN (SELECT jid FROM chats WHERE folder = ?1)",
        [folder],
    )?;
    super::tasks::pause_of_group(c, folder, "the group was removed")?;
    c.run("UPDATE chats SET folder = NULL WHERE folder = ?1", [folder])?;
    c.run("DELETE FROM sessions WHERE group_folder = ?1", [folder])?;
    c.run("DELETE FROM groups WHERE folder = ?1", [folder])
}
