//! Directories of the owner's that a group may see besides its own, as 1.x has
//! them: a group's `containerConfig` asks, `mount-allowlist.json` allows. The file
//! lies where no agent can reach it; without it nothing is mounted.
//!
//! A group that asks for something it may not have starts without it.

use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Mount;

/// Where they are in the guest.
pub const EXTRA: &str = "/workspace/extra";

/// In whose real path one of these occurs anywhere is never mounted. (So
/// `credentials` also keeps `credentials-docs` out: the safe side, as in 1.x.)
const BLOCKED: [&str; 17] = [
    ".ssh",
    ".gnupg",
    ".gpg",
    ".aws",
    ".azure",
    ".gcloud",
    ".kube",
    ".docker",
    "credentials",
    ".env",
    ".netrc",
    ".npmrc",
    ".pypirc",
    "id_rsa",
    "id_ed25519",
    "private_key",
    ".secret",
];

/// `mount-allowlist.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allowlist {
    allowed_roots: Vec<Root>,
    blocked_patterns: Vec<String>,
    non_main_read_only: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Root {
    path: String,
    #[serde(default)]
    allow_read_write: bool,
}

impl Allowlist {
    /// The rules in what reading the file gave, or why there are none.
    pub fn from_read(text: io::Result<String>) -> Result<Allowlist, String> {
        let text = text.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => "there is no mount-allowlist.json".to_owned(),
            _ => format!("mount-allowlist.json cannot be read ({e})"),
        })?;
        serde_json::from_str(&text)
            .map_err(|e| format!("mount-allowlist.json cannot be used ({e})"))
    }
}

/// One entry of `additionalMounts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Absolute, or from `~`.
    pub host_path: String,
    /// Beneath `/workspace/extra`; the last name of the host's path if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_path: Option<String>,
    /// Unless it is exactly false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    readonly: Option<bool>,
}

impl Asked {
    /// As it is typed: `PATH`, `PATH:NAME`, either with `:rw` or `:ro` at the end.
    pub fn parse(text: &str) -> Result<Asked, String> {
        let (rest, readonly) = match text.strip_suffix(":rw") {
            Some(rest) => (rest, Some(false)),
            None => (text.strip_suffix(":ro").unwrap_or(text), None),
        };
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name.to_owned())),
            None => (rest, None),
        };
        if !(path.starts_with('/') || path.starts_with('~')) {
            return Err(
                "a path is absolute or begins with ~; write PATH, PATH:NAME or PATH:NAME:rw".into(),
            );
        }
        if name.as_deref().is_some_and(|name| !is_plain(name)) {
            return Err(format!("the name must be a plain relative path: it lies beneath {EXTRA}"));
        }
        Ok(Asked { host_path: path.into(), container_path: name, readonly })
    }
}

/// The longest and shortest limit of a turn that a group may have, milliseconds.
pub const TIMEOUTS: std::ops::RangeInclusive<i64> = 100..=604_800_000;

/// A `containerConfig` as it is stored, or why it makes no sense. Whether the owner
/// allows its directories is asked when a container starts.
pub fn checked(config: &Value) -> Result<String, String> {
    let Some(fields) = config.as_object() else {
        return Err("containerConfig is an object with additionalMounts and timeout".into());
    };
    if fields.get("additionalMounts").is_some_and(|mounts| !mounts.is_array() && !mounts.is_null())
    {
        return Err("additionalMounts is a list of {hostPath, containerPath, readonly}".into());
    }
    match fields.get("timeout") {
        None | Some(Value::Null) => {}
        Some(timeout) if timeout.as_i64().is_some_and(|ms| TIMEOUTS.contains(&ms)) => {}
        Some(_) => return Err("timeout is milliseconds, from 100 to 604800000 (a week)".into()),
    }
    let text = config.to_string();
    asked(&text).into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(text)
}

/// A `containerConfig` with other mounts or another time limit; `None` leaves as it
/// is, a limit of 0 removes it.
pub fn configured(old: Option<&str>, mounts: Option<&[Asked]>, timeout: Option<i64>) -> String {
    let old = old.and_then(|old| serde_json::from_str::<Value>(old).ok());
    let mut config = old.filter(Value::is_object).unwrap_or_else(|| json!({}));
    if let Some(mounts) = mounts {
        config["additionalMounts"] = json!(mounts);
    }
    match timeout {
        None => {}
        Some(0) => config["timeout"] = Value::Null,
        Some(ms) => config["timeout"] = ms.into(),
    }
    config.to_string()
}

/// The mounts that a `containerConfig` asks for; each that cannot be understood is
/// an error of its own.
pub fn asked(container_config: &str) -> Vec<Result<Asked, String>> {
    let config: serde_json::Value = match serde_json::from_str(container_config) {
        Ok(config) => config,
        Err(e) => return vec![Err(format!("its containerConfig cannot be read ({e})"))],
    };
    let entries = config["additionalMounts"].as_array().cloned().unwrap_or_default();
    let parse = |entry| {
        serde_json::from_value(entry)
            .map_err(|e| format!("an additional mount makes no sense ({e})"))
    };
    entries.into_iter().map(parse).collect()
}

/// What decides besides the allowlist.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Whose `~` it is.
    pub user_home: &'a Path,
    /// Directories of the host's own, which no mount may hold or lie in.
    pub own: &'a [PathBuf],
    /// Directories that other groups' guests may write: beneath them a link may
    /// appear at any moment.
    pub others: &'a [PathBuf],
    /// Whether it is for main.
    pub is_main: bool,
}

/// The mounts of one group, and why others are none. Real paths, checked now.
pub fn resolve(
    container_config: &str,
    allowlist: &Result<Allowlist, String>,
    place: &Place<'_>,
) -> (Vec<Mount>, Vec<String>) {
    let (mut mounts, mut rejected) = (Vec::<Mount>::new(), Vec::new());
    for asked in asked(container_config) {
        let checked = asked.and_then(|asked| {
            let mount = check(&asked, allowlist, place)
                .map_err(|why| format!("{:?} is not mounted: {why}", asked.host_path))?;
            let overlaps =
                |m: &Mount| m.guest.starts_with(&mount.guest) || mount.guest.starts_with(&m.guest);
            match mounts.iter().find(|m| overlaps(m)) {
                Some(other) => Err(format!(
                    "{:?} is not mounted: {} is taken by {}",
                    asked.host_path,
                    mount.guest.display(),
                    other.host.display()
                )),
                None => Ok(mount),
            }
        });
        match checked {
            Ok(mount) => mounts.push(mount),
            Err(why) => rejected.push(why),
        }
    }
    (mounts, rejected)
}

/// In the order of 1.x, so that the reason is the one its users know.
fn check(
    asked: &Asked,
    allowlist: &Result<Allowlist, String>,
    place: &Place<'_>,
) -> Result<Mount, String> {
    let allowlist = allowlist.as_ref().map_err(Clone::clone)?;
    let host = expand(&asked.host_path, place.user_home);
    let name = match &asked.container_path {
        Some(name) => name.clone(),
        None => host.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    if !is_plain(&name) {
        return Err(format!("{name:?} is no place beneath {EXTRA}"));
    }
    if !host.is_absolute() {
        return Err("its path is neither absolute nor from ~".into());
    }
    let real = host.canonicalize().map_err(|e| format!("it cannot be found ({e})"))?;
    let text = real.to_string_lossy();
    let mut patterns =
        BLOCKED.iter().copied().chain(allowlist.blocked_patterns.iter().map(String::as_str));
    if let Some(pattern) = patterns.find(|p| !p.is_empty() && text.contains(p)) {
        return Err(format!("{text} contains {pattern:?}, which is blocked"));
    }
    let root = allowlist.allowed_roots.iter().find(|root| {
        expand(&root.path, place.user_home).canonicalize().is_ok_and(|root| real.starts_with(root))
    });
    let root = root.ok_or_else(|| format!("{text} lies in no allowed root"))?;
    if !real.is_dir() {
        return Err("it is not a directory".into());
    }
    if place.own.iter().any(|own| real.starts_with(own) || own.starts_with(&real)) {
        return Err("NanoClaw's own files are there".into());
    }
    if place.others.iter().any(|other| real != *other && real.starts_with(other)) {
        return Err("another group may write above it, and so put another directory there".into());
    }
    let writable = asked.readonly == Some(false)
        && (place.is_main || !allowlist.non_main_read_only)
        && root.allow_read_write;
    if asked.readonly == Some(false) && !writable {
        tracing::info!(path = %text, "mounted read-only: the allowlist allows no more");
    }
    Ok(Mount { guest: Path::new(EXTRA).join(name), host: real, writable })
}

fn expand(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}

fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components().peekable();
    components.peek().is_some()
        && components.all(|c| matches!(c, Component::Normal(_)))
        && !name.trim().is_empty()
        && !name.contains("..")
        && !name.contains(|c: char| c == ':' || c.is_control())
}

#[cfg(test)]
mod tests;
