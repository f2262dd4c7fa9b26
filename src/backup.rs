//! A copy of an installation, made while it is at work, and the way back.
//!
//! A backup is a directory: `store/` (databases, each as one consistent moment),
//! `groups/`, `sessions/`, `out/` (files that are still to be sent), `config/` (the
//! owner's rules), `env` (the settings, secrets among them) and `manifest.json`. The
//! ledger is copied first, so that no file that it names is missing. Directories that
//! guests write are read through [`Tree`]: links and other odd things stay behind, and
//! are named.
//!
//! A backup that broke off has another name; a restore checks the backup against its
//! manifest before, and what it wrote after.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::crash;
use crate::db::{self, SCHEMA_VERSION};
use crate::ids::{FNV, fnv, random_hex};
use crate::tree::{Tree, TreeError};

/// Deeper directories are left out.
const DEPTH: usize = 100;
/// The most names in one directory.
const NAMES: usize = 1_000_000;
/// A file may hold so many times the bytes that it takes on the disk, which may pack
/// them, and so many more. One of a terabyte of nothing would fill the disk here.
const PACKED: u64 = 8;
const HOLES: u64 = 16 << 20;

/// What a backup says of itself.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// When it was begun, ISO 8601.
    pub made: String,
    /// The program's version.
    pub version: String,
    /// The ledger's.
    pub schema: i64,
    /// Every file: its size, and a checksum against damage (FNV-1a, not against forgery).
    pub files: BTreeMap<String, (u64, String)>,
    /// What was left behind: links, pipes, what could not be read.
    pub left_out: Vec<String>,
}

impl Manifest {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|(size, _)| size).sum()
    }
}

/// Why there is no backup, or why it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The place cannot be used.
    #[error("{path}: {reason}")]
    Place {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The backup is not what its manifest says.
    #[error("the backup is damaged: {0}; nothing was restored")]
    Damaged(String),
    /// What was written is not what was read.
    #[error("what was restored differs from the backup: {0}; the disk may be failing")]
    Differs(String),
    /// A database.
    #[error("a database could not be copied: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A directory that guests write.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The disk.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

type Result<T> = std::result::Result<T, BackupError>;

/// The directories of an installation, and what a backup calls them.
fn trees(config: &Config) -> [(&'static str, PathBuf); 3] {
    [
        ("groups", config.groups()),
        ("sessions", config.data().join("sessions")),
        ("out", config.files().join("out")),
    ]
}

/// Makes a backup in the new directory `to`.
pub fn make(config: &Config, to: &Path) -> Result<Manifest> {
    if to.symlink_metadata().is_ok() {
        return place(to, "is there already: name a new directory");
    }
    if !config.ledger().is_file() {
        return place(&config.ledger(), "there is no ledger yet, so nothing to back up");
    }
    let to = std::path::absolute(to).map_err(|e| at(to, e))?;
    let parent = to.parent().unwrap_or(Path::new("/"));
    let real = parent.canonicalize().map_err(|e| at(parent, e))?;
    for (_, own) in trees(config) {
        if own.canonicalize().is_ok_and(|own| real.starts_with(own)) {
            return place(&to, "lies where agents can write: name another place");
        }
    }
    let part = part(&to);
    if part.symlink_metadata().is_ok() {
        return place(&part, "is what a backup that broke off has left: remove it");
    }
    std::fs::DirBuilder::new().mode(0o700).create(&part).map_err(|e| at(&part, e))?;
    let made = fill(config, &part).inspect_err(|_| {
        // Its own failure matters; a disk that is full gets its room back.
        let _ = std::fs::remove_dir_all(&part);
    })?;
    crash::point("backup before naming", &"it");
    std::fs::rename(&part, &to).map_err(|e| at(&to, e))?;
    Ok(made)
}

fn fill(config: &Config, to: &Path) -> Result<Manifest> {
    let made = chrono::Utc::now().to_rfc3339();
    let store = new_dir(&to.join("store"))?;
    let databases = std::fs::read_dir(config.store()).map_err(|e| at(&config.store(), e))?;
    for entry in databases.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Not the copies that upgrades left: `messages.v5.20260101T000000000.db`.
        if name.ends_with(".db") && !name.contains(".v") {
            db::copy_database(&entry.path(), &store.join(&name))?;
        }
    }
    let mut left_out = Vec::new();
    for (name, from) in trees(config) {
        crash::point("backup before copying", &name);
        let into = Tree::open(&new_dir(&to.join(name))?)?;
        match Tree::open(&from) {
            Ok(from) => copy(&from, &into, &PathBuf::from(name), 0, &mut left_out)?,
            Err(TreeError::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let rules = new_dir(&to.join("config"))?;
    for entry in std::fs::read_dir(&config.config_dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_file()) {
            private_copy(&entry.path(), &rules.join(entry.file_name()))?;
        }
    }
    let env = config.home.join(".env");
    if env.is_file() {
        private_copy(&env, &to.join("env"))?;
    }
    let files = contents(&Tree::open(to)?)?;
    let version = env!("CARGO_PKG_VERSION").into();
    let manifest = Manifest { made, version, schema: SCHEMA_VERSION, files, left_out };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| at(to, e.into()))?;
    Tree::open(to)?.write_new("manifest.json", &text)?;
    Tree::open(to)?.sync()?;
    Ok(manifest)
}

/// Restores a backup into an installation that has no ledger and no groups yet. The
/// caller holds the daemon's lock.
pub fn restore(config: &Config, from: &Path) -> Result<Manifest> {
    let text = std::fs::read(from.join("manifest.json"))
        .map_err(|e| at(&from.join("manifest.json"), e))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|e| BackupError::Damaged(format!("its manifest cannot be read ({e})")))?;
    if manifest.schema > SCHEMA_VERSION {
        return place(from, "was made by a newer NanoClaw: restore it with that one");
    }
    if config.ledger().exists() {
        return place(
            &config.ledger(),
            "is there already: move store/, groups/ and data/sessions/ away first",
        );
    }
    let backup = Tree::open(from)?;
    let mut found = contents(&backup)?;
    found.remove("manifest.json");
    if let Some(what) = difference(&manifest.files, &found) {
        return Err(BackupError::Damaged(what));
    }
    for (name, to) in trees(config) {
        lay(&manifest, &backup, name, &to)?;
    }
    std::fs::create_dir_all(&config.config_dir).map_err(|e| at(&config.config_dir, e))?;
    for name in backup.open_dir("config")?.list(NAMES)? {
        restore_one(&from.join("config").join(&name), &config.config_dir.join(&name))?;
    }
    if from.join("env").is_file() {
        restore_one(&from.join("env"), &config.home.join(".env"))?;
    }
    // Last: an installation without a ledger is none.
    lay(&manifest, &backup, "store", &config.store())?;
    Ok(manifest)
}

/// Restores one directory: it is there whole or not at all. What a restore that broke
/// off has laid stays.
fn lay(manifest: &Manifest, backup: &Tree, name: &str, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).map_err(|e| at(to, e))?;
    if std::fs::read_dir(to).is_ok_and(|mut d| d.next().is_some()) {
        let same = check(manifest, name, to);
        return same.or_else(|_| place(to, "is not empty: move it away first"));
    }
    let part = part(to);
    if part.exists() {
        std::fs::remove_dir_all(&part).map_err(|e| at(&part, e))?;
    }
    new_dir(&part)?;
    copy(&backup.open_dir(name)?, &Tree::open(&part)?, Path::new(name), 0, &mut Vec::new())?;
    check(manifest, name, &part)?;
    if name == "store" {
        become_another(&part)?;
    }
    crash::point("restore before naming", &name);
    std::fs::rename(&part, to).map_err(|e| at(to, e))?;
    crash::point("restore after naming", &name);
    Ok(())
}

/// What is not whole yet has another name.
fn part(of: &Path) -> PathBuf {
    let mut part = of.to_owned().into_os_string();
    part.push(".part");
    PathBuf::from(part)
}

/// The installation that was backed up may still run here: by the same name the two
/// would end each other's containers.
fn become_another(store: &Path) -> Result<()> {
    let ledger = store.join("messages.db");
    let failed = |e: &dyn std::error::Error| at(&ledger, io::Error::other(e.to_string()));
    let fresh = random_hex().map_err(|e| failed(&e))?;
    let c = Connection::open(&ledger)?;
    db::settings::set(&c, db::settings::INSTALL, &fresh).map_err(|e| failed(&e))
}

/// The owner's own rules and settings are not replaced.
fn restore_one(from: &Path, to: &Path) -> Result<()> {
    if to.exists() { Ok(()) } else { private_copy(from, to) }
}

/// Whether what was written under `name` is what the manifest says.
fn check(manifest: &Manifest, name: &str, at: &Path) -> Result<()> {
    let prefix = format!("{name}/");
    let wanted = manifest
        .files
        .iter()
        .filter_map(|(path, file)| Some((path.strip_prefix(&prefix)?.to_owned(), file.clone())));
    match difference(&wanted.collect(), &contents(&Tree::open(at)?)?) {
        Some(what) => Err(BackupError::Differs(format!("{name}: {what}"))),
        None => Ok(()),
    }
}

type Contents = BTreeMap<String, (u64, String)>;

fn difference(wanted: &Contents, found: &Contents) -> Option<String> {
    let missing = wanted.iter().find(|(path, file)| found.get(*path) != Some(file));
    let extra = found.keys().find(|path| !wanted.contains_key(*path));
    missing
        .map(|(path, _)| format!("{path} is missing or changed"))
        .or_else(|| extra.map(|path| format!("{path} does not belong to it")))
}

/// Copies what is beneath a directory; what is no file and no directory is named.
fn copy(from: &Tree, to: &Tree, at: &Path, depth: usize, left_out: &mut Vec<String>) -> Result<()> {
    for name in from.list(NAMES)? {
        let path = at.join(&name);
        let mut leave = |why: &str| left_out.push(format!("{}: {why}", path.display()));
        let Some(text) = name.to_str() else {
            leave("its name is not UTF-8");
            continue;
        };
        match from.open_dir(&name) {
            Ok(_) if depth == DEPTH => leave("it lies too deep"),
            Ok(below) => copy(&below, &to.create_dir(&name)?, &path, depth + 1, left_out)?,
            Err(TreeError::NotDirectory(_)) => match from.open_file(&name) {
                Ok(file) => {
                    let meta = file.metadata().map_err(|e| self::at(&path, e))?;
                    let mode = meta.permissions();
                    let most = (meta.blocks() * 512).saturating_mul(PACKED) + HOLES;
                    if meta.len() > most {
                        leave("it is a large file of hardly anything but holes");
                        continue;
                    }
                    match from.copy(&name, to, text, most, None) {
                        Ok(_) if mode.mode() & 0o100 != 0 => to.make_executable(&name)?,
                        Ok(_) => {}
                        // The host's side of the copy: the disk is full, for one.
                        Err(error @ TreeError::Io { .. }) => return Err(error.into()),
                        Err(error) => leave(&error.to_string()),
                    }
                }
                Err(error) => leave(&error.to_string()),
            },
            // Gone since it was listed.
            Err(TreeError::Missing(_)) => {}
            Err(error) => leave(&error.to_string()),
        }
    }
    Ok(())
}

/// Every file beneath a directory, with its size and checksum.
fn contents(tree: &Tree) -> Result<Contents> {
    let mut found = Contents::new();
    list(tree, &PathBuf::new(), &mut found)?;
    Ok(found)
}

fn list(tree: &Tree, at: &Path, found: &mut Contents) -> Result<()> {
    for name in tree.list(NAMES)? {
        let path = at.join(&name);
        match tree.open_dir(&name) {
            Ok(below) => list(&below, &path, found)?,
            Err(TreeError::NotDirectory(_)) => {
                let file = tree.open_file(&name)?;
                let sum = sum(file).map_err(|e| self::at(&path, e))?;
                found.insert(path.to_string_lossy().into_owned(), sum);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn sum(mut file: std::fs::File) -> io::Result<(u64, String)> {
    let (mut size, mut hash) = (0_u64, FNV);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((size, format!("{hash:016x}")));
        }
        size += read as u64;
        hash = fnv(hash, &buffer[..read]);
    }
}

/// Of the owner's files, which no guest can write: readable to the owner alone.
fn private_copy(from: &Path, to: &Path) -> Result<()> {
    let mut read = std::fs::File::open(from).map_err(|e| at(from, e))?;
    let opened = std::fs::File::options().write(true).create_new(true).mode(0o600).open(to);
    let mut written = opened.map_err(|e| at(to, e))?;
    io::copy(&mut read, &mut written).and_then(|_| written.sync_all()).map_err(|e| at(to, e))
}

fn new_dir(path: &Path) -> Result<PathBuf> {
    std::fs::create_dir(path).map_err(|e| at(path, e))?;
    Ok(path.to_owned())
}

fn at(path: &Path, source: io::Error) -> BackupError {
    BackupError::Io { path: path.to_owned(), source }
}

fn place<T>(path: &Path, reason: &str) -> Result<T> {
    Err(BackupError::Place { path: path.to_owned(), reason: reason.into() })
}
