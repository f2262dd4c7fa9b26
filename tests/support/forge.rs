//! Records that a guest did not write.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use super::Home;

/// The live incarnation's outgoing mailbox, and the number that the host reads next.
pub fn mailbox(home: &Home, folder: &str) -> (PathBuf, u64) {
    let of = |column: &str| -> i64 {
        home.ledger(&format!(
            "SELECT {column} FROM incarnations WHERE folder = '{folder}' ORDER BY id DESC LIMIT 1"
        ))
    };
    // What the guest tells after its answer is in, so that it writes nothing more.
    super::pause(std::time::Duration::from_millis(300));
    let out = home.path().join("data/ipc").join(folder).join(of("id").to_string()).join("out");
    (out, u64::try_from(of("out_seq")).unwrap() + 1)
}

/// Writes a record as the guest does: under a hidden name, as its own uid, renamed.
pub fn put(out: &Path, number: u64, bytes: &[u8]) {
    let hidden = out.join(".forged");
    std::fs::write(&hidden, bytes).unwrap();
    let owner = std::fs::metadata(out).unwrap();
    chown(&hidden, Some(owner.uid()), Some(owner.gid())).unwrap();
    std::fs::rename(hidden, out.join(name(number))).unwrap();
}

pub fn name(number: u64) -> String {
    format!("{number:016}.json")
}
