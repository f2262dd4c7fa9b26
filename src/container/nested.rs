//! Whether this daemon is itself in a container, and what its directories are
//! called outside: an engine that is reached through a mounted socket takes names
//! of the host, not ours.
//!
//! Guesses nothing that the probe does not prove: a source that cannot be told is
//! refused, with what to mount.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The container that we are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// The engine's id for it, or its host name.
    pub id: String,
    /// Directories here, and what they are outside; longest first.
    mounts: Vec<(PathBuf, PathBuf)>,
}

/// Our own container's id, if we are in one of an engine's.
pub fn own_id() -> Option<String> {
    let marked = ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists());
    if !marked {
        return None;
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let host = fs::read_to_string("/etc/hostname").unwrap_or_default();
    id_in(&mounts).or_else(|| Some(host.trim().to_owned()).filter(|h| !h.is_empty()))
}

/// The id is part of the path of a file that engines mount into each container.
fn id_in(mountinfo: &str) -> Option<String> {
    let line = mountinfo.lines().find(|l| l.split(' ').nth(4) == Some("/etc/hostname"))?;
    let is_id = |w: &&str| w.len() == 64 && w.bytes().all(|b| b.is_ascii_hexdigit());
    line.split(['/', ' ']).find(is_id).map(str::to_owned)
}

impl Inside {
    /// `inspected` is what the engine says of our own mounts, as JSON. None if it says
    /// nothing: then it runs where we do, or the probe shows that it does not.
    pub fn new(id: String, inspected: &str) -> Option<Inside> {
        let mut mounts = mounts(inspected)?;
        mounts.sort_by_key(|(here, _)| std::cmp::Reverse(here.as_os_str().len()));
        Some(Inside { id, mounts })
    }

    /// What a path of ours is called outside.
    pub fn outside(&self, path: &Path) -> Result<PathBuf, String> {
        let found = self.mounts.iter().find_map(|(here, there)| {
            let rest = path.strip_prefix(here).ok()?;
            Some(if rest.as_os_str().is_empty() { there.clone() } else { there.join(rest) })
        });
        found.ok_or_else(|| {
            format!(
                "cannot mount {0}: this daemon runs in a container, and {0} lies on none of its mounts, so the engine \
                 outside cannot find it; start that container with the installation mounted, such as -v /srv/nanoclaw:/srv/nanoclaw",
                path.display()
            )
        })
    }
}

fn mounts(json: &str) -> Option<Vec<(PathBuf, PathBuf)>> {
    let mounts: Vec<Value> = serde_json::from_str(json).ok()?;
    let pair = |m: &Value| {
        let pair: (PathBuf, PathBuf) =
            (m["Destination"].as_str()?.into(), m["Source"].as_str()?.into());
        Some(pair).filter(|(_, there)| there.is_absolute())
    };
    Some(mounts.iter().filter_map(pair).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_own_id_is_found_where_engines_leave_it() {
        let id = "0123456789abcdef".repeat(4);
        let line = format!(
            "1 2 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda rw\n"
        );
        assert_eq!(id_in(&line), Some(id));
        assert_eq!(id_in("1 2 8:1 / / rw - ext4 /dev/sda rw\n"), None);
    }

    #[test]
    fn paths_are_translated_by_the_longest_mount() {
        let json = r#"[{"Type":"bind","Source":"/srv/nano","Destination":"/app"},
            {"Type":"volume","Name":"v","Source":"/var/lib/docker/volumes/v/_data","Destination":"/app/data"}]"#;
        let inside = Inside::new("x".into(), json).unwrap();
        let outside = |path: &str| inside.outside(Path::new(path));
        assert_eq!(outside("/app/groups/a b").unwrap(), Path::new("/srv/nano/groups/a b"));
        assert_eq!(
            outside("/app/data/ipc").unwrap(),
            Path::new("/var/lib/docker/volumes/v/_data/ipc")
        );
        assert_eq!(outside("/app").unwrap(), Path::new("/srv/nano"));
        assert_eq!(Inside::new("x".into(), "no such container"), None);
        assert!(outside("/application").unwrap_err().contains("/application lies on none"));
    }
}
