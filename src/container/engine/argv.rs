//! The command line of a start in each dialect. Pure but for our own limits, which
//! no start may exceed.
//!
//! Mounts are directories, in the `--mount` form, which fails where a source is
//! missing; `-v` would make it, as root. Docker and Podman read the value as a line
//! of CSV, so that any path can be quoted. Apple's tool splits at `,` and `=`
//! without a way to quote: such a path is refused and named.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::Dialect;
use crate::container::checked::{self, Checked};
use crate::container::mounts::EXTRA;
use crate::container::start::{self, Words};
use crate::container::{PROXY_DIR, PROXY_SOCKET, RuntimeError, Spec, failed};

/// The label that says whose a container is.
pub const INSTALL: &str = "org.nanoclaw.install";
/// The label with the number of this start.
pub const INCARNATION: &str = "org.nanoclaw.incarnation";
/// Bytes of `/dev/shm` at most.
const SHM: u64 = 64 << 20;

/// All that a command line is made of.
pub struct Start<'a> {
    /// Whose.
    pub dialect: Dialect,
    /// What is to run.
    pub spec: &'a Spec,
    /// The container's name.
    pub name: &'a str,
    /// What it is made from.
    pub image: &'a str,
    /// Uid and gid.
    pub user: (u32, u32),
    /// The spec's, checked, as the engine knows them.
    pub mounts: &'a [Checked<'a>],
    /// A file of `NAME=value` lines.
    pub env: &'a Path,
    /// A filter of system calls that is stricter than the engine's own.
    pub seccomp: Option<&'a Path>,
}

/// The words after the program's name.
pub fn run(order: &Start<'_>) -> Result<Vec<OsString>, RuntimeError> {
    let (spec, (uid, gid)) = (order.spec, order.user);
    start::argv(&spec.argv)?;
    let mut w = Words::default();
    w.all(order.dialect.options()).all(["run", "--rm", "-i", "--name", order.name]);
    w.all(["--label", &format!("{INSTALL}={}", spec.install)]);
    w.all(["--label", &format!("{INCARNATION}={}", spec.incarnation)]);
    w.all(["--user", &format!("{uid}:{gid}"), "--read-only", "--cap-drop", "ALL"]);
    w.all(["--network", "none"]).add("--env-file").add(order.env);
    let nofile = limit(Resource::Nofile);
    w.all(["--ulimit", &format!("nofile={nofile}:{nofile}"), "--ulimit", "core=0:0"]);
    for mount in order.mounts {
        if order.dialect == Dialect::Apple && mount.guest == Path::new(PROXY_DIR) {
            // Sockets do not cross a shared directory; the tool relays one by itself.
            let socket = mount.source.join(PROXY_SOCKET);
            plain(&socket, ":")?;
            let mut relay = socket.into_os_string();
            relay.push(format!(":{PROXY_DIR}/{PROXY_SOCKET}"));
            w.add("-v").add(relay);
            continue;
        }
        w.add("--mount").add(bind(order.dialect, mount)?);
    }
    w.all(["--workdir", start::cwd(spec)]);
    match order.dialect {
        Dialect::Apple => apple(&mut w, spec),
        Dialect::Docker | Dialect::Podman => engine(&mut w, order),
    }
    w.add(order.image);
    if order.dialect != Dialect::Apple {
        // Identities do not cross into a machine of its own.
        w.all(checked::witness(order.mounts, ""));
    }
    w.all(&spec.argv);
    Ok(w.0)
}

/// A machine of its own: whole megabytes and cpus, and no limit on processes but
/// the user's.
fn apple(w: &mut Words, spec: &Spec) {
    let limits = &spec.limits;
    w.all(["--progress", "none", "--no-dns"]);
    w.all(["--memory", &format!("{}M", (limits.memory >> 20).max(1))]);
    w.all(["--cpus", &format!("{}", limits.cpus.ceil().max(1.0))]);
    w.all(["--ulimit", &format!("nproc={0}:{0}", limits.pids)]);
    w.all(["--tmpfs", "/tmp", "--tmpfs", "/home/node"]);
    if spec.mounts.iter().any(|m| m.guest.starts_with(EXTRA)) {
        // Its root is read-only before places are made: those that no image can have
        // need one that is not.
        w.all(["--tmpfs", EXTRA]);
    }
}

fn engine(w: &mut Words, start: &Start<'_>) {
    let limits = &start.spec.limits;
    let memory = limits.memory.to_string();
    w.all(["--pull", "never", "--hostname", "nanoclaw", "--security-opt", "no-new-privileges"]);
    if start.dialect == Dialect::Docker || can_limit() {
        w.all(["--memory", &memory, "--memory-swap", &memory, "--cpus", &limits.cpus.to_string()]);
        w.all(["--pids-limit", &limits.pids.to_string()]);
    }
    w.all(["--shm-size", &limits.tmp.min(SHM).to_string()]);
    // Engines try to raise it, which fails where they may not. Podman lowers its own
    // to 32768 first.
    let nproc = limit(Resource::Nproc).min(32_768);
    w.all(["--ulimit", &format!("nproc={nproc}:{nproc}")]);
    // A directory of the image would pass its mode on to what covers it. So the home
    // lies in an empty one, where Podman copies nothing.
    let empty = if start.dialect == Dialect::Podman { "rw,notmpcopyup" } else { "rw" };
    for (place, mode, bytes) in
        [("/tmp", "1777", limits.tmp), ("/home", "755", 4096), ("/home/node", "1777", limits.tmp)]
    {
        let options = format!("{empty},exec,nosuid,nodev,mode={mode},size={bytes}");
        w.all(["--tmpfs", &format!("{place}:{options}")]);
    }
    if let Some(profile) = start.seccomp {
        let mut option = OsString::from("seccomp=");
        option.push(profile);
        w.add("--security-opt").add(option);
    }
    if start.dialect == Dialect::Podman {
        w.add("--read-only-tmpfs=false");
        if !rustix::process::geteuid().is_root() {
            // Without root the daemon's own uid is another one inside, unless asked.
            w.add("--userns=keep-id");
        }
    }
}

/// The value of one `--mount`.
fn bind(dialect: Dialect, mount: &Checked<'_>) -> Result<OsString, RuntimeError> {
    let mut fields: Vec<Vec<u8>> = vec![b"type=bind".to_vec()];
    for (key, path) in [("source=", mount.source.as_path()), ("target=", mount.guest)] {
        match dialect {
            Dialect::Apple => plain(path, ",=")?,
            Dialect::Docker | Dialect::Podman => readable(path)?,
        }
        let field = [key.as_bytes(), path.as_os_str().as_bytes()].concat();
        fields.push(if dialect == Dialect::Apple { field } else { quoted(&field) });
    }
    if !mount.writable {
        fields.push(b"readonly".to_vec());
    }
    Ok(OsString::from_vec(fields.join(&b',')))
}

/// A field of CSV.
fn quoted(field: &[u8]) -> Vec<u8> {
    if !field.iter().any(|b| b",\"\n\r".contains(b)) && !field.ends_with(b" ") {
        return field.to_vec();
    }
    let doubled = field.iter().flat_map(|&b| if b == b'"' { vec![b, b] } else { vec![b] });
    [b'"'].into_iter().chain(doubled).chain([b'"']).collect()
}

/// Refuses what CSV and JSON on the way to the engine would change.
fn readable(path: &Path) -> Result<(), RuntimeError> {
    match path.to_str() {
        Some(text) if !text.contains(char::is_control) => Ok(()),
        _ => Err(failed(format!(
            "cannot mount {}: container engines take no control characters in a path, and UTF-8 only; rename it, or use CONTAINER_RUNTIME=bwrap",
            path.display()
        ))),
    }
}

fn plain(path: &Path, separators: &str) -> Result<(), RuntimeError> {
    readable(path)?;
    let text = path.to_string_lossy();
    match text.chars().find(|c| separators.contains(*c)) {
        None => Ok(()),
        Some(c) => Err(failed(format!(
            "cannot mount {}: Apple's container takes no {c:?} in a path; rename the directory or move it",
            path.display()
        ))),
    }
}

/// The environment as a file, so that it is on no command line.
pub fn env_file(env: &[(String, String)]) -> Result<Vec<u8>, RuntimeError> {
    let mut text = String::new();
    for (name, value) in env {
        let odd = name.is_empty() || name.starts_with('#') || name.contains(['=', '\0', ' ']);
        if odd || name.contains('\n') || value.contains(['\n', '\r', '\0']) {
            return Err(failed(format!(
                "{name:?} cannot be an environment variable of the container: it takes one line"
            )));
        }
        text += &format!("{name}={value}\n");
    }
    Ok(text.into_bytes())
}

/// Whether Podman can: without root it ignores limits under version 1 of control groups,
/// and says so in every guest's log.
fn can_limit() -> bool {
    rustix::process::geteuid().is_root() || Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Our own hard limit, since no engine may exceed it without privileges.
fn limit(resource: Resource) -> u64 {
    getrlimit(resource).maximum.unwrap_or(1_048_576).min(1_048_576)
}

#[cfg(test)]
#[path = "argv_tests.rs"]
mod tests;
