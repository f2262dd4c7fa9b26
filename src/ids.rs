//! Newtypes for the numbers that name things, so that a turn is never taken
//! for an incarnation; names that nobody can guess; and the one checksum.

use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// One piece of work for one group: a row of `turns`.
    TurnId
}
id! {
    /// One start of one group's container, never reused: a row of `incarnations`.
    Incarnation
}

/// The name of a group's folder under `groups/`, checked once.
///
/// The rule is the original's: a letter or digit, then up to 63 letters, digits,
/// `-` or `_`. `global` and `errors` are taken by directories of that name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Folder(String);

/// Why a text is not a folder name.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} cannot name a group's folder: use 1 to 64 letters, digits, '-' or '_', \
     beginning with a letter or digit; 'global' and 'errors' are taken"
)]
pub struct BadFolder(String);

impl Folder {
    /// Checks `name`.
    pub fn parse(name: &str) -> Result<Folder, BadFolder> {
        let mut bytes = name.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let taken = ["global", "errors"].iter().any(|t| name.eq_ignore_ascii_case(t));
        if first && rest && name.len() <= 64 && !taken {
            Ok(Folder(name.to_owned()))
        } else {
            Err(BadFolder(name.chars().take(80).collect()))
        }
    }

    /// The name, which is safe as one path component.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Folder {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Folder::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// 128 random bits in hexadecimal: an installation's id, a container's token.
pub fn random_hex() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|e| io::Error::new(e.kind(), format!("/dev/urandom: {e}")))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// What [`fnv`] begins with.
pub const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a of more bytes. It tells texts apart, on any machine and build, and finds
/// damage; it is nothing against forgery.
pub fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_of_the_original_are_accepted() {
        for name in ["main", "family-chat", "Team_42", "a", &"x".repeat(64)] {
            assert_eq!(Folder::parse(name).map(|f| f.to_string()).ok().as_deref(), Some(name));
        }
    }

    #[test]
    fn names_that_leave_the_groups_directory_are_refused() {
        for name in
            ["../../etc", "/tmp", "global", "GLOBAL", "errors", "", ".", "a b", "-a", "ä", "a\0"]
        {
            assert!(Folder::parse(name).is_err(), "{name:?}");
        }
        assert!(Folder::parse(&"x".repeat(65)).is_err());
    }
}
