//! The command line of a sandbox, in one or two layers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::seccomp;
use super::view::{self, User};
use crate::container::limits::Limiter;
use crate::container::process::LABEL_VARIABLE;
use crate::container::start::{self, Words, write};
use crate::container::{RuntimeError, Spec, checked};

/// The first part, in which a shell becomes bubblewrap.
pub const SHELL_PART: &str = include_str!("sandbox.sh");

/// What every sandbox has of its own, and that it ends with whom started it.
pub const NAMESPACES: [&str; 9] = [
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--die-with-parent",
    "--new-session",
    "--cap-drop",
    "ALL",
];

/// The command, ready to be started: standard input and error are pipes. Finds the
/// programs, writes the files of bubblewrap into `spec.scratch`, and last makes the
/// groups that limit it.
pub fn command(
    spec: &Spec,
    label: &str,
    user: User,
    limiter: &Limiter,
) -> Result<Command, RuntimeError> {
    let (bwrap, shell) = (bwrap()?, need("bash", "sudo apt install bash")?);
    // Where the daemon is root there are two layers.
    let setpriv = rustix::process::geteuid().is_root().then(setpriv).transpose()?;
    start::argv(&spec.argv)?;
    let mounts = checked::all(&spec.mounts)?;
    let options = spec.scratch.join("options");
    write(&options, &view::options(spec, &mounts, user)?.bytes(), 0o600)?;
    let filter = seccomp::program(false)
        .map(|program| {
            let path = spec.scratch.join("filter");
            write(&path, &program, 0o600).map(|()| path)
        })
        .transpose()?;
    // The shell writes its pid into these to be limited.
    let entrances = limiter.create(label, &spec.limits)?;

    let mut w = Words::default();
    w.all(limiter.outside(label, &spec.limits)).add(&shell);
    w.all(["-c", SHELL_PART, "--setenv", LABEL_VARIABLE, label]).add(&options);
    w.add(filter.as_deref().unwrap_or(Path::new("-"))).all(&entrances);
    w.add("--").add(&bwrap).all(["--setenv", LABEL_VARIABLE, label]);
    w.all(NAMESPACES).all(["--hostname", "nanoclaw"]);
    if filter.is_some() {
        w.all(["--seccomp", "8"]);
    }
    if let Some(setpriv) = &setpriv {
        become_user(&mut w, setpriv, user, None);
        w.add(&bwrap).all(["--unshare-user", "--disable-userns", "--dev-bind", "/", "/"]);
        w.add("--die-with-parent");
    } else {
        w.all(["--unshare-user", "--disable-userns", "--args", "9"]);
    }
    w.all(["--chdir", start::cwd(spec), "--"]).all(limiter.inside(&spec.limits));
    w.all(checked::witness(&mounts, "")).all(&spec.argv);

    let mut command = Command::new(&w.0[0]);
    command
        .args(&w.0[1..])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // Only what the way to the user's service manager needs; the shell's part
    // takes this away too.
    command.env_clear().env("PATH", "/usr/bin:/bin").kill_on_drop(true);
    for name in ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    Ok(command)
}

/// The first layer where the daemon is root: as root to reach directories that are
/// root's alone; then never again. `group` is one more that it stays in.
pub fn become_user(w: &mut Words, setpriv: &Path, user: User, group: Option<u32>) {
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    w.all(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--args", "9", "--chdir", "/"]);
    w.add("--").add(setpriv).all(["--reuid", &uid, "--regid", &gid]);
    match group {
        Some(group) => w.add("--groups").add(group.to_string()),
        None => w.add("--clear-groups"),
    };
    w.all(["--no-new-privs", "--"]);
}

/// What changes the user.
pub fn setpriv() -> Result<PathBuf, RuntimeError> {
    need("setpriv", "sudo apt install util-linux")
}

/// Bubblewrap's own program.
pub fn bwrap() -> Result<PathBuf, RuntimeError> {
    need("bwrap", "sudo apt install bubblewrap (0.8 or newer)")
}

/// A program of this system, or how to get it.
pub fn need(tool: &str, remedy: &str) -> Result<PathBuf, RuntimeError> {
    find(tool).ok_or_else(|| start::missing(tool, remedy))
}

/// An executable in the directories that every Linux has. Not `PATH`: both layers
/// must find it, and the inner one sees `/usr` only.
fn find(name: &str) -> Option<PathBuf> {
    let executable = |p: &PathBuf| {
        p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    ["/usr/bin", "/usr/local/bin", "/usr/sbin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(executable)
}
