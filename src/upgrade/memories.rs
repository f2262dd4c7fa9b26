//! Lines of the groups' memories that name what 1.x had and is gone. They are shown,
//! never rewritten: a memory is its owner's.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::tree::Tree;

/// What is gone, and what to write instead.
const GONE: &[(&str, &str)] = &[
    ("messages.db", "use the tools read_history and list_groups"),
    ("sqlite3", "use the tools read_history and list_groups"),
    (
        "registered_groups",
        "use the tool list_groups; the owner adds groups with `nanoclaw groups add`",
    ),
    ("available_groups.json", "use the tool list_groups"),
    ("current_tasks.json", "use the tool list_tasks"),
    ("/workspace/ipc/tasks", "use the tools of the server nanoclaw; records by hand still work"),
    ("/workspace/ipc/messages", "use the tool send_message; records by hand still work"),
    ("/workspace/ipc", "remove the line: the mailbox has no use for agents"),
    ("/workspace/project/groups/global", "write /workspace/global"),
    ("/workspace/project/groups/main", "write /workspace/group"),
    ("/workspace/project", "remove the line: the project is not visible any more"),
    ("/workspace/env-dir", "remove the line: credentials never enter the container"),
    ("/app/src", "remove the line: the agent's program is read-only"),
];

/// Larger memories are read up to here, bytes.
const MOST: usize = 1 << 20;

/// A line that names something gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// From the installation's directory, such as `groups/main/CLAUDE.md`.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// The line's text, shortened, without characters that a terminal obeys.
    pub text: String,
    /// What to do about it.
    pub change: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}:{}: {}\n      -> {}", self.file, self.line, self.text, self.change)
    }
}

/// All such lines in `groups/*/CLAUDE.md`, in the order of files and lines. What
/// cannot be read has none.
pub fn find(groups: &Path) -> Vec<Finding> {
    let Ok(tree) = Tree::open(groups) else { return Vec::new() };
    let mut found = Vec::new();
    for folder in tree.list(10_000).unwrap_or_default() {
        let Ok(bytes) = tree.read(Path::new(&folder).join("CLAUDE.md"), MOST) else { continue };
        let file = format!("groups/{}/CLAUDE.md", plain(&folder.to_string_lossy()));
        found.extend(find_in(&file, &String::from_utf8_lossy(&bytes)));
    }
    found
}

fn find_in(file: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().enumerate();
    let found = lines.filter_map(|(index, text)| {
        let (_, change) = GONE.iter().find(|(gone, _)| text.contains(gone))?;
        Some(Finding { file: file.to_owned(), line: index + 1, text: plain(text.trim()), change })
    });
    found.collect()
}

fn plain(text: &str) -> String {
    let hidden = |c: &char| {
        !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(hidden).take(120).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_that_name_what_is_gone_are_found_with_what_to_write() {
        let text = "# Andy\nRead `/workspace/group/notes.md`.\n\
            sqlite3 /workspace/project/store/messages.db \"SELECT jid\"\n\
            Edit /workspace/project/data/registered_groups.json\n\
            Global memory is /workspace/project/groups/global/CLAUDE.md\n\
            echo '{\"type\":\"refresh_groups\"}' > /workspace/ipc/tasks/x.json\x1b[31m\n";
        let found = find_in("f", text);
        let said: Vec<(usize, bool)> = [
            "read_history and list_groups",
            "use the tool list_groups",
            "write /workspace/global",
            "records by hand still work",
        ]
        .iter()
        .zip(&found)
        .map(|(change, f)| (f.line, f.change.contains(change)))
        .collect();
        assert_eq!(said, [(3, true), (4, true), (5, true), (6, true)]);
        assert_eq!(found.len(), 4);
        assert!(!found[3].text.contains('\x1b'));
        assert_eq!(find_in("f", "Your files are in /workspace/group and /workspace/extra."), []);
    }

    #[test]
    fn links_and_other_oddities_have_no_lines() {
        let dir = tempfile::tempdir().unwrap();
        let groups = dir.path().join("groups");
        for folder in ["a", "b", "c"] {
            std::fs::create_dir_all(groups.join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("secret"), "sqlite3").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), groups.join("a/CLAUDE.md")).unwrap();
        std::fs::create_dir(groups.join("b/CLAUDE.md")).unwrap();
        std::fs::write(groups.join("c/CLAUDE.md"), "x\nsqlite3 it").unwrap();
        let found = find(&groups);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].file.as_str(), found[0].line), ("groups/c/CLAUDE.md", 2));
        assert_eq!(find(&dir.path().join("none")), []);
    }
}
