//! What main finds in `/workspace/project`, where 1.x showed it the whole
//! installation: one note.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::config::Config;

const NOTE: &str = "\
# The project is not here any more

NanoClaw is now one program outside this container, and no agent sees its code, its
database or its settings. What was reached through this directory is reached so:

| Before | Now |
|---|---|
| `/workspace/project/store/messages.db`, `sqlite3` | the tools `read_history` and `list_groups` |
| `/workspace/project/data/registered_groups.json`, the table `registered_groups` | the tool `list_groups`; the owner adds groups with `nanoclaw groups add` |
| `/workspace/ipc/available_groups.json`, `current_tasks.json` | the tools `list_groups` and `list_tasks` |
| `/workspace/project/groups/global` | `/workspace/global` |
| `/workspace/project/groups/main` | `/workspace/group` |
| `/workspace/project/groups/<another group>` | not visible: ask the owner, or write to that group's chat |
| `~/.config/nanoclaw/*.json` | the owner edits these on the machine itself |

If a memory (`CLAUDE.md`) still names one of the old paths, say so to your owner and offer to change the line.
";

/// Writes the note's directory, and says where it is on the host.
pub fn directory(config: &Config) -> io::Result<PathBuf> {
    let directory = config.data().join("project");
    let path = directory.join("README.md");
    std::fs::create_dir_all(&directory)?;
    if std::fs::read(&path).ok().as_deref() != Some(NOTE.as_bytes()) {
        std::fs::write(&path, NOTE)?;
    }
    // The guest may be another user.
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
    Ok(directory)
}
