//! Files that come with a message: from the directory that channels exchange files
//! in, into the folder of the group that the message is for.
//!
//! The client says where its file lies and what it is; where the copy lies and
//! what it is called is the host's to say. A file that cannot be taken costs
//! nothing but itself: its message says why. Nothing of the client's is removed.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::db::Attachment;
use crate::files;
use crate::ids::{Folder, random_hex};
use crate::tree::{Owner, Tree, TreeError, UNFINISHED};

/// The longest path that is looked at, in bytes.
const MAX_PATH: usize = 4096;

/// A file as a client offers it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Offer {
    path: String,
    mime: Option<String>,
    name: Option<String>,
}

impl Offer {
    /// A file that lies in the directory that channels exchange files in.
    pub fn new(path: String, mime: String, name: String) -> Offer {
        Offer { path, mime: Some(mime), name: Some(name) }
    }
}

/// Reads the `attachments` of a message. What is not understood is an offer that
/// cannot be taken, never a refused message.
pub fn offers(value: Value) -> Vec<Result<Offer, String>> {
    let list = match value {
        Value::Null => return Vec::new(),
        Value::Array(list) => list,
        _ => return vec![Err("the channel did not write a list of files".into())],
    };
    let more = list.len().saturating_sub(files::MAX_FILES);
    let one = |v| serde_json::from_value(v).map_err(|e| format!("the channel wrote no file: {e}"));
    let mut offers: Vec<_> = list.into_iter().take(files::MAX_FILES).map(one).collect();
    if more > 0 {
        let most = files::MAX_FILES;
        offers.push(Err(format!("{more} more were not taken: a message brings at most {most}")));
    }
    offers
}

/// Where copies come from and go to.
#[derive(Clone, Debug)]
pub struct Place {
    /// The directory that channels exchange files in, absolute.
    pub files: PathBuf,
    /// The directory of all groups.
    pub groups: PathBuf,
    /// Whose the copies are, when not the daemon's own.
    pub owner: Owner,
}

impl Place {
    /// Copies what a message brings into the group's folder. Blocks. `day` is when
    /// the message was sent, ISO 8601.
    pub fn bring(
        &self,
        folder: &Folder,
        day: &str,
        offers: Vec<Result<Offer, String>>,
    ) -> Vec<Attachment> {
        let into = self.attachments(folder);
        let one = |offer: Result<Offer, String>| {
            let (name, taken) = match offer {
                Err(error) => (String::new(), Err(error)),
                Ok(offer) => {
                    let name = files::shown_name(offer.name.as_deref().unwrap_or(&offer.path));
                    let taken = match &into {
                        Ok(into) => self.take(&offer, &name, day, into),
                        Err(error) => Err(error.to_string()),
                    };
                    (name, taken)
                }
            };
            taken.unwrap_or_else(|error| {
                tracing::warn!(group = %folder, error, "a file was not taken");
                Attachment { name, error: Some(error), ..Attachment::default() }
            })
        };
        offers.into_iter().map(one).collect()
    }

    /// Removes copies that no message came to name. Blocks.
    pub fn take_back(&self, folder: &Folder, copies: &[Attachment]) {
        let Ok(tree) = Tree::open(&self.groups.join(folder.as_str())) else { return };
        for copy in copies.iter().filter(|a| a.error.is_none()) {
            if let Err(error) = tree.remove(&copy.path) {
                tracing::warn!(group = %folder, %error, "cannot remove a copy");
            }
        }
    }

    /// Removes what a crash left: half a copy, and a copy that no message came to
    /// name. `named` are the paths that messages name. The agent's own files stay.
    /// Blocks.
    pub fn sweep(&self, folder: &Folder, named: &BTreeSet<String>) {
        let group = Tree::open(&self.groups.join(folder.as_str()));
        let Ok(tree) = group.and_then(|group| group.open_dir(files::ATTACHMENTS)) else { return };
        for name in tree.list(100_000).unwrap_or_default() {
            let text = name.to_string_lossy();
            let orphan = || {
                files::is_host_name(&text)
                    && !named.contains(&format!("{}/{text}", files::ATTACHMENTS))
            };
            if text.starts_with(UNFINISHED) || orphan() {
                let _ = tree.remove(&name);
            }
        }
    }

    fn attachments(&self, folder: &Folder) -> Result<Tree, TreeError> {
        let path = self.groups.join(folder.as_str());
        // The directories above what a guest can write are the host's.
        std::fs::create_dir_all(&path)
            .map_err(|source| TreeError::Io { path: folder.as_str().into(), source })?;
        let group = Tree::open(&path)?;
        match group.open_dir(files::ATTACHMENTS) {
            Err(TreeError::Missing(_)) => {
                let made = group.create_dir(files::ATTACHMENTS)?;
                made.chown(self.owner)?;
                group.sync()?;
                Ok(made)
            }
            opened => opened,
        }
    }

    fn take(
        &self,
        offer: &Offer,
        name: &str,
        day: &str,
        into: &Tree,
    ) -> Result<Attachment, String> {
        let said = |e: TreeError| e.to_string();
        let path = self.beneath(&offer.path)?;
        let from = Tree::open(&self.files).map_err(said)?;
        let mut head = Vec::new();
        let opened = from.open_file(path).map_err(said)?;
        opened.take(files::HEAD).read_to_end(&mut head).map_err(|e| e.to_string())?;
        let mime = files::kind(&head, offer.mime.as_deref().unwrap_or_default(), name);
        let random = random_hex().map_err(|e| e.to_string())?;
        let own = files::host_name(day, &random, name, &mime);
        let size = from.copy(path, into, &own, files::MAX_FILE, self.owner).map_err(said)?;
        let path = format!("{}/{own}", files::ATTACHMENTS);
        Ok(Attachment { path, mime, size, name: name.to_owned(), error: None })
    }

    /// The path beneath the directory of files that a client means.
    fn beneath<'a>(&self, path: &'a str) -> Result<&'a Path, String> {
        if path.is_empty() || path.len() > MAX_PATH || path.contains('\0') {
            return Err(format!("its path must be 1 to {MAX_PATH} bytes without NUL"));
        }
        let path = Path::new(path);
        if path.is_relative() {
            return Ok(path);
        }
        path.strip_prefix(&self.files)
            .map_err(|_| "its path is outside the directory that channels exchange files in".into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_file_is_an_offer_that_cannot_be_taken() {
        assert!(offers(Value::Null).is_empty() && offers(json!([])).is_empty());
        let mixed = offers(json!([{"path": "a", "mime": null, "size": -1}, 7, {"path": 7}]));
        assert_eq!(mixed.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false]);
        let many = offers(json!(vec![json!({"path": "a"}); 1000]));
        assert_eq!(many.len(), 11);
        assert!(many[10].as_ref().unwrap_err().starts_with("990 more"));
    }
}
