//! What a group begins with: its memory, what all groups share, and the agent's
//! skills. Memories are people's and agents' own from then on; skills are ours and
//! follow the program.

use std::path::Path;

use super::guest::GuestError;
use crate::config::Config;
use crate::db::Group;
use crate::tree::{Tree, TreeError};

/// The agent's skills, by name.
const SKILLS: [(&str, &str); 2] = [
    ("status", include_str!("../../skills/agent/status/SKILL.md")),
    ("capabilities", include_str!("../../skills/agent/capabilities/SKILL.md")),
];

/// Gives a group what it lacks.
pub fn seed(config: &Config, group: &Group) -> Result<(), GuestError> {
    let name = |text: &str| text.replace("Andy", &config.assistant_name);
    let own = if group.is_main {
        name(include_str!("../../groups/main/CLAUDE.md"))
    } else {
        format!(
            "# {}\n\nWhat this group wants remembered. Long notes go into files of their own, named here.\n",
            group.name
        )
    };
    memory(&config.groups().join(group.folder.as_str()), &own)?;
    memory(&config.groups().join("global"), &name(include_str!("../../groups/global/CLAUDE.md")))?;
    skills(&config.sessions(&group.folder))
}

fn memory(directory: &Path, memory: &str) -> Result<(), GuestError> {
    let tree = Tree::open(directory)?;
    match tree.open_file("CLAUDE.md") {
        Err(TreeError::Missing(_)) => Ok(tree.write_new("CLAUDE.md", memory.as_bytes())?),
        // Whatever else stands there is the group's own affair.
        _ => Ok(()),
    }
}

/// Where the agent has put something of its own in their place, it keeps that.
fn skills(sessions: &Path) -> Result<(), GuestError> {
    let tree = Tree::open(sessions)?;
    for (name, text) in SKILLS {
        let place = tree.create_dir("skills").and_then(|skills| skills.create_dir(name));
        let Ok(place) = place else { continue };
        if place.read("SKILL.md", 64 * 1024).is_ok_and(|old| old == text.as_bytes()) {
            continue;
        }
        match place.remove("SKILL.md") {
            Ok(()) | Err(TreeError::Missing(_)) => place.write_new("SKILL.md", text.as_bytes())?,
            Err(error) => tracing::warn!(skill = name, %error, "a skill is not renewed"),
        }
    }
    Ok(())
}
