//! The daemon inside a container: which protections of the outer one leave it a way
//! to isolate, and what it says where there is none.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod sandbox;
mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use nanoclaw::tree::Tree;
use sandbox::{Kind, engines};
use support::{NANOCLAW, stand_in};

/// The user of the daemon's container: nobody in particular, and not root.
const USER: u32 = 60124;

struct Outer {
    program: std::path::PathBuf,
    directory: tempfile::TempDir,
}

/// An engine, and an installation that is mounted as `/nano`.
fn outer(kind: Kind) -> Option<Outer> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may give an installation to another user");
        return None;
    }
    let (_, program) = match engines::program(kind) {
        Ok(found) => found,
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI: {why}");
            println!("skipped: {why}");
            return None;
        }
    };
    let directory = tempfile::Builder::new().prefix("nanoclaw-").tempdir().unwrap();
    let path = directory.path();
    for name in ["home", "bin", "cli"] {
        std::fs::create_dir(path.join(name)).unwrap();
    }
    std::fs::copy(NANOCLAW, path.join("bin/nanoclaw")).unwrap();
    std::fs::copy(stand_in(), path.join("cli/claude")).unwrap();
    Some(Outer { program, directory })
}

impl Outer {
    /// One line through `nanoclaw chat` in a container with these options.
    fn chat(&self, installation: &Path, user: u32, options: &[&str]) -> (i32, String, String) {
        Tree::open(&self.directory.path().join("home")).unwrap().chown_all(user, user).unwrap();
        let mount = format!("{}:{}", self.directory.path().display(), installation.display());
        let at = |name: &str| installation.join(name).display().to_string();
        let mut command = Command::new(&self.program);
        if self.program.ends_with("podman")
            && std::fs::read_to_string("/proc/self/cgroup").unwrap().lines().count() > 1
        {
            command.args(["--runtime", "runc"]);
        }
        command.args(["run", "--rm", "-i", "--network", "none", "--volume", &mount]);
        command.args(["--user", &format!("{user}:{user}")]);
        // Both engines would try to raise these.
        command.args(["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"]);
        for (name, value) in [
            ("NANOCLAW_HOME", at("home")),
            ("HOME", at("home")),
            ("NANOCLAW_CLAUDE", at("cli/claude")),
        ] {
            command.args(["--env", &format!("{name}={value}")]);
        }
        command.args(options);
        command.args([engines::IMAGE, &at("bin/nanoclaw"), "chat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"hello from within\n").unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let result =
            (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr));
        println!("{options:?}: {result:?}");
        result
    }
}

#[test]
fn in_docker_it_isolates_by_itself_or_says_which_option_is_missing() {
    let Some(outer) = outer(Kind::Docker) else { return };
    let nano = Path::new("/nano");
    let both = ["--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"];
    for missing in [&[][..], &both[..2]] {
        let (code, out, error) = outer.chat(nano, USER, missing);
        assert!(code == 1 && out.is_empty(), "no isolation, no agent: {out}");
        assert!(
            error.contains("systempaths=unconfined") && error.contains("this is a container"),
            "{error}"
        );
    }
    let (code, out, error) = outer.chat(nano, USER, &both);
    assert!(code == 0 && out.contains("hello from within"), "{out}{error}");
}

#[test]
fn in_podman_it_isolates_by_itself() {
    let Some(outer) = outer(Kind::Podman) else { return };
    let options = ["--security-opt", "seccomp=unconfined", "--security-opt", "unmask=ALL"];
    let (code, out, error) = outer.chat(Path::new("/nano"), USER, &options);
    assert!(code == 0 && out.contains("hello from within"), "{out}{error}");
}

#[test]
fn with_the_engine_s_socket_agents_are_siblings_wherever_the_installation_is_mounted() {
    let Some(outer) = outer(Kind::Docker) else { return };
    let script = std::fs::read_to_string(&outer.program).unwrap();
    let socket = script.split("unix://").nth(1).unwrap().split_whitespace().next().unwrap();
    let client =
        script.lines().last().unwrap().split("exec ").nth(1).unwrap().split(' ').next().unwrap();
    let (socket, client) =
        (format!("{socket}:/var/run/docker.sock"), format!("{client}:/usr/local/bin/docker:ro"));
    let image = format!("CONTAINER_IMAGE={}", engines::IMAGE);
    let options = [
        "--volume",
        &socket,
        "--volume",
        &client,
        "--env",
        "CONTAINER_RUNTIME=docker",
        "--env",
        &image,
    ];
    // Elsewhere inside than outside: only a translation finds it.
    let (code, out, error) = outer.chat(Path::new("/elsewhere/nano"), 0, &options);
    assert!(code == 0 && out.contains("hello from within"), "{out}{error}");
    // On no mount at all: refused and named.
    let options = [&options[..], &["--env", "NANOCLAW_HOME=/usr"]].concat();
    let (code, out, error) = outer.chat(Path::new("/elsewhere/nano"), 0, &options);
    assert!(code == 1 && out.is_empty(), "{out}");
    assert!(error.contains("lies on none of its mounts"), "{error}");
}
