//! The command line of a sandbox, in one or two layers.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::seccomp;
use super::view::{self, GROUP_DIR, User};
use crate::container::process::LABEL_VARIABLE;
use crate::container::{RuntimeError, Spec};

/// The first part, in which a shell becomes bubblewrap.
pub const SHELL_PART: &str = include_str!("sandbox.sh");

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
    argv: &'a [String],
}

impl<'a> Launch<'a> {
    /// Finds the programs and writes the files of bubblewrap into `spec.scratch`.
    pub fn new(spec: &'a Spec, label: &'a str, user: User) -> Result<Launch<'a>, RuntimeError> {
        let root = rustix::process::geteuid().is_root();
        let (bwrap, shell) = (bwrap()?, need("bash", "sudo apt install bash")?);
        let setpriv = root.then(|| need("setpriv", "sudo apt install util-linux")).transpose()?;
        if spec.argv.is_empty() || spec.argv.iter().any(|a| a.contains('\0')) {
            return Err(view::failed(
                "a container needs a program, and no argument may hold a zero byte".to_owned(),
            ));
        }
        let options = spec.scratch.join("options");
        view::write(&options, &view::options(spec, user)?.bytes(), 0o600)?;
        let filter = match seccomp::program() {
            Some(program) => {
                let path = spec.scratch.join("filter");
                view::write(&path, &program, 0o600)?;
                Some(path)
            }
            None => None,
        };
        let group_dir = spec.mounts.iter().any(|m| m.guest == Path::new(GROUP_DIR));
        let cwd = if group_dir { GROUP_DIR } else { "/" };
        let (outside, inside, entrances) = (Vec::new(), Vec::new(), Vec::new());
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
            argv: &spec.argv,
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
        let mut w = Words(self.outside.iter().map(OsString::from).collect());
        w.add(&self.shell).all(["-c", SHELL_PART, "--setenv", LABEL_VARIABLE, self.label]);
        w.add(&self.options)
            .add(self.filter.as_deref().unwrap_or(Path::new("-")))
            .all(&self.entrances);
        w.add("--").add(&self.bwrap).all(["--setenv", LABEL_VARIABLE, self.label]);
        w.all([
            "--unshare-pid",
            "--unshare-net",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup-try",
        ]);
        w.all([
            "--hostname",
            "nanoclaw",
            "--die-with-parent",
            "--new-session",
            "--cap-drop",
            "ALL",
        ]);
        if self.filter.is_some() {
            w.all(["--seccomp", "8"]);
        }
        if let Some(setpriv) = &self.setpriv {
            let (uid, gid) = (self.user.uid.to_string(), self.user.gid.to_string());
            w.all([
                "--cap-add",
                "CAP_SETUID",
                "--cap-add",
                "CAP_SETGID",
                "--args",
                "9",
                "--chdir",
                "/",
                "--",
            ]);
            w.add(setpriv).all([
                "--reuid",
                &uid,
                "--regid",
                &gid,
                "--clear-groups",
                "--no-new-privs",
                "--",
            ]);
            w.add(&self.bwrap).all([
                "--unshare-user",
                "--disable-userns",
                "--dev-bind",
                "/",
                "/",
                "--die-with-parent",
            ]);
        } else {
            w.all(["--unshare-user", "--disable-userns", "--args", "9"]);
        }
        w.all(["--chdir", self.cwd, "--"]).all(&self.inside).all(self.argv);
        w.0
    }
}

/// The words of a command line.
pub struct Words(pub Vec<OsString>);

impl Words {
    /// One more.
    pub fn add(&mut self, word: impl AsRef<OsStr>) -> &mut Self {
        self.0.push(word.as_ref().to_owned());
        self
    }

    /// Some more.
    pub fn all(&mut self, words: impl IntoIterator<Item: AsRef<OsStr>>) -> &mut Self {
        self.0.extend(words.into_iter().map(|w| w.as_ref().to_owned()));
        self
    }
}

/// Bubblewrap's own program.
pub fn bwrap() -> Result<PathBuf, RuntimeError> {
    need("bwrap", "sudo apt install bubblewrap (0.8 or newer)")
}

/// A program of this system, or how to get it.
pub fn need(tool: &str, remedy: &str) -> Result<PathBuf, RuntimeError> {
    find(tool)
        .ok_or_else(|| RuntimeError::Missing { tool: tool.to_owned(), remedy: remedy.to_owned() })
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
