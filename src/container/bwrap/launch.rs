//! The command line of a sandbox, in one or two layers.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::seccomp;
use super::view::{self, User};
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

/// Everything that a start needs, found and written before anything is started.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Runs [`SHELL_PART`].
    pub shell: PathBuf,
    /// What must stand before the shell to be limited.
    pub outside: Vec<String>,
    /// What must stand before the guest's program to be limited.
    pub inside: Vec<String>,
    /// The files into which the shell writes its pid to be limited.
    pub entrances: Vec<PathBuf>,
    bwrap: PathBuf,
    /// There is one where the daemon is root: then there are two layers.
    setpriv: Option<PathBuf>,
    label: &'a str,
    user: User,
    options: PathBuf,
    filter: Option<PathBuf>,
    cwd: &'static str,
    /// Stands before `argv`.
    witness: Vec<OsString>,
    argv: &'a [String],
}

impl<'a> Launch<'a> {
    /// Finds the programs and writes the files of bubblewrap into `spec.scratch`.
    pub fn new(spec: &'a Spec, label: &'a str, user: User) -> Result<Launch<'a>, RuntimeError> {
        let root = rustix::process::geteuid().is_root();
        let (bwrap, shell) = (bwrap()?, need("bash", "sudo apt install bash")?);
        let setpriv = root.then(setpriv).transpose()?;
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
        let (outside, inside, entrances) = (Vec::new(), Vec::new(), Vec::new());
        let (witness, cwd, argv) = (checked::witness(&mounts, ""), start::cwd(spec), &spec.argv);
        Ok(Launch {
            shell,
            outside,
            inside,
            entrances,
            bwrap,
            setpriv,
            label,
            user,
            options,
            filter,
            cwd,
            witness,
            argv,
        })
    }

    /// The command, ready to be started: standard input and error are pipes.
    pub fn command(&self) -> Command {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
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
        command
    }

    fn words(&self) -> Vec<OsString> {
        let mut w = Words::default();
        w.all(&self.outside).add(&self.shell).all([
            "-c",
            SHELL_PART,
            "--setenv",
            LABEL_VARIABLE,
            self.label,
        ]);
        w.add(&self.options)
            .add(self.filter.as_deref().unwrap_or(Path::new("-")))
            .all(&self.entrances);
        w.add("--").add(&self.bwrap).all(["--setenv", LABEL_VARIABLE, self.label]);
        w.all(NAMESPACES).all(["--hostname", "nanoclaw"]);
        if self.filter.is_some() {
            w.all(["--seccomp", "8"]);
        }
        if let Some(setpriv) = &self.setpriv {
            become_user(&mut w, setpriv, self.user, None);
            w.add(&self.bwrap).all(["--unshare-user", "--disable-userns", "--dev-bind", "/", "/"]);
            w.add("--die-with-parent");
        } else {
            w.all(["--unshare-user", "--disable-userns", "--args", "9"]);
        }
        w.all(["--chdir", self.cwd, "--"]).all(&self.inside).all(&self.witness).all(self.argv);
        w.0
    }
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
