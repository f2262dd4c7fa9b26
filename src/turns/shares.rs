//! The owner's directories that a group's container has besides the usual: asked
//! for by the group's `containerConfig`, granted by the owner's allowlist. Both are
//! looked at anew for each container; here too is what is looked at.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::container::Mount;
use crate::container::mounts::{self, Allowlist, Place};
use crate::db::past::Past;

/// What a group gets now, and why it does not get the rest. `configured` is every
/// group with a `containerConfig`: a mount must not lie where another group can write.
pub fn granted(config: &Config, past: &Past, configured: &[Past]) -> (Vec<Mount>, Vec<String>) {
    let Some(asked) = &past.container_config else { return (Vec::new(), Vec::new()) };
    let list = std::fs::read_to_string(config.config_dir.join("mount-allowlist.json"));
    let list = Allowlist::from_read(list);
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let own = [real(&config.home), real(&config.config_dir)];
    let user_home = config.config_dir.ancestors().nth(2).unwrap_or(Path::new("/"));
    let of = |past: &Past, asked: &str, others: &[PathBuf]| {
        let place = Place { user_home, own: &own, others, is_main: past.is_main };
        mounts::resolve(asked, &list, &place)
    };
    let others: Vec<PathBuf> = configured
        .iter()
        .filter(|other| other.folder != past.folder)
        .filter_map(|other| Some(of(other, other.container_config.as_deref()?, &[]).0))
        .flatten()
        .filter(|mount| mount.writable)
        .map(|mount| mount.host)
        .collect();
    of(past, asked, &others)
}
