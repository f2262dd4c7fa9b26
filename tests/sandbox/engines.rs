//! Container engines for tests: private ones, with an image that is made from files
//! of this machine. Nothing of the machine's own engines is used or touched, but
//! where tests are not root: then Docker is the machine's.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nanoclaw::container::engine::{Dialect, Engine};

use super::Kind;

/// The image's name in each engine.
pub const IMAGE: &str = "nanoclaw-test:latest";

/// Where the engines keep their things, for all test programs of this source.
pub fn place() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engines");
    fs::create_dir_all(&target).unwrap();
    target
}

/// An engine with the image in it, or why there is none here.
pub fn engine(kind: Kind) -> Result<Engine, String> {
    let (dialect, program) = program(kind)?;
    Ok(Engine::new(dialect, IMAGE, &place(), None).at(&program))
}

/// An engine that was tried: what it speaks and where its things are, or why not.
type Tried = (Kind, Result<(Dialect, PathBuf), String>);

/// The directory with the program of an engine, to be put before `PATH`, and its
/// program.
pub fn program(kind: Kind) -> Result<(Dialect, PathBuf), String> {
    // One after the other, also among test programs that run at once.
    static ONE: Mutex<Vec<Tried>> = Mutex::new(Vec::new());
    let mut known = ONE.lock().unwrap();
    if let Some((_, program)) = known.iter().find(|(k, _)| *k == kind) {
        return program.clone();
    }
    let lock = File::create(place().join("lock")).unwrap();
    lock.lock().unwrap();
    let program = match kind {
        Kind::Bwrap | Kind::Microvm => Err("it is no engine".to_owned()),
        Kind::Podman => podman(),
        Kind::Docker => docker(),
        Kind::Apple(version) => Ok((Dialect::Apple, apple(version, ""))),
    };
    known.push((kind, program.clone()));
    program
}

fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    // Renamed, since it may be running.
    fs::rename(new, path).unwrap();
}

fn installed(program: &str) -> Result<PathBuf, String> {
    ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"]
        .iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.exists())
        .ok_or_else(|| format!("{program} is not installed"))
}

/// The image as an archive.
fn archive() -> Result<PathBuf, String> {
    let path = place().join("image.tar");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/image.sh");
    let newer = |p: &Path| p.metadata().and_then(|m| m.modified()).ok();
    if newer(&path) > newer(&source) {
        return Ok(path);
    }
    installed("dpkg")?;
    let new = path.with_extension("new");
    let status = Command::new(&source).stdout(File::create(&new).unwrap()).status().unwrap();
    assert!(status.success(), "{} failed", source.display());
    fs::rename(new, &path).unwrap();
    Ok(path)
}

fn has_image(program: &Path) -> bool {
    let newer = |p: PathBuf| p.metadata().and_then(|m| m.modified()).ok();
    // As of the archive that it was made from.
    newer(program.with_extension("imported")) > newer(place().join("image.tar"))
        && Command::new(program)
            .args(["image", "inspect", IMAGE])
            .output()
            .is_ok_and(|o| o.status.success())
}

fn import(program: &Path) -> Result<(), String> {
    let archive = archive()?;
    if has_image(program) {
        return Ok(());
    }
    let output = Command::new(program)
        .args(["import", "-", IMAGE])
        .stdin(File::open(archive).unwrap())
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(format!("import: {}", String::from_utf8_lossy(&output.stderr)));
    }
    fs::write(program.with_extension("imported"), "").unwrap();
    Ok(())
}

/// Podman with a store of its own.
fn podman() -> Result<(Dialect, PathBuf), String> {
    let real = installed("podman")?;
    let place = place().join("podman");
    let program = place.join("podman");
    let at = |name: &str| place.join(name).display().to_string();
    let text = format!(
        "#!/bin/sh\nexec {} --root '{}' --runroot '{}' --tmpdir '{}' \"$@\"\n",
        real.display(),
        at("root"),
        at("run"),
        at("tmp")
    );
    script(&program, &text);
    import(&program)?;
    Ok((Dialect::Podman, program))
}

/// A Docker daemon of our own, which ends with this test program.
fn docker() -> Result<(Dialect, PathBuf), String> {
    let client = installed("docker")?;
    let place = place().join("docker");
    let program = place.join("docker");
    if !rustix::process::geteuid().is_root() {
        script(&program, &format!("#!/bin/sh\nexec {} \"$@\"\n", client.display()));
        import(&program)?;
        return Ok((Dialect::Docker, program));
    }
    let daemon = installed("dockerd")?;
    fs::create_dir_all(&place).unwrap();
    // Sockets have short names.
    let run = PathBuf::from(format!("/tmp/nanoclaw-dockerd-{}", std::process::id()));
    fs::create_dir_all(&run).unwrap();
    let socket = run.join("docker.sock");
    // The shell's standard input closes when we end, however we end.
    let supervise = format!(
        "'{}' --bridge=none --iptables=false --ip-forward=false --host 'unix://{}' --data-root '{}' --exec-root '{}' --pidfile '{}' \
         >'{}' 2>&1 </dev/null & read -r line; kill $!; wait $!; rm -rf '{}'",
        daemon.display(),
        socket.display(),
        place.join("data").display(),
        run.join("exec").display(),
        run.join("pid").display(),
        place.join("log").display(),
        run.display(),
    );
    static DAEMON: OnceLock<Child> = OnceLock::new();
    let child = Command::new("/bin/sh")
        .args(["-c", &supervise])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    DAEMON.set(child).unwrap();
    let text = format!(
        "#!/bin/sh\nDOCKER_HOST=unix://{} exec {} \"$@\"\n",
        socket.display(),
        client.display()
    );
    script(&program, &text);
    let began = Instant::now();
    while !Command::new(&program).arg("version").output().is_ok_and(|o| o.status.success()) {
        if began.elapsed() > Duration::from_secs(30) {
            let log = fs::read_to_string(place.join("log")).unwrap_or_default();
            return Err(format!("dockerd does not come up: {}", log.lines().last().unwrap_or("")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    import(&program)?;
    Ok((Dialect::Docker, program))
}

/// The stand-in for Apple's tool, of that version; `name` tells several apart.
pub fn apple(version: &str, name: &str) -> PathBuf {
    let place = place().join(format!("apple-{version}{name}"));
    let _ = fs::remove_dir_all(&place);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apple/container");
    let program = place.join("container");
    script(&program, &fs::read_to_string(source).unwrap());
    fs::create_dir_all(place.join("state/images")).unwrap();
    fs::create_dir_all(place.join("faults")).unwrap();
    fs::write(place.join("version"), version).unwrap();
    fs::write(place.join("state/up"), "").unwrap();
    fs::write(place.join("state/images").join(IMAGE.replace(':', "@")), "").unwrap();
    program
}
