//! `store/whatsapp.db`: the keys of the linked device, for this user alone.
//!
//! Whoever has this file is the owner's WhatsApp. It is made 0600 before anything is
//! in it; the files that SQLite lays beside it take its mode over.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use whatsapp_rust::store::{SqliteStore, SqliteStoreConfig, Synchronous};

/// Opens the store, and makes it if there is none.
pub async fn open(path: &Path) -> anyhow::Result<SqliteStore> {
    std::fs::File::options().append(true).create(true).mode(0o600).open(path)?;
    // A session that has moved on must be on the disk before its message is
    // acknowledged: after a loss of power the next message could not be read.
    let config = SqliteStoreConfig { synchronous: Synchronous::Full, ..Default::default() };
    Ok(SqliteStore::with_config(&path.display().to_string(), config).await?)
}

/// Removes the keys.
pub fn wipe(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
