//! The first process of a micro-VM: makes of a bare kernel the place that a guest
//! knows from every other runtime, runs the guest's program there as an unprivileged
//! user, and tells its exit code.
//!
//! It is root in the VM, so it reads and writes nothing of what a guest has written:
//! it mounts directories and never looks into them.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, sendto, socket};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};

use super::line::{Channels, Frame, MAX_CHANNELS, STREAMS, attach};
use crate::agent::processes;
use crate::unix;

/// The name of the shared file system: `boot.json`, and the guest's `root`.
pub const SHARE: &str = "nanoclaw";
/// Where kernel modules lie in the initramfs, named so that their order is right.
pub const MODULES: &str = "/modules";
/// Where the guest's root is put together.
const ROOT: &str = "/root";
/// How long devices may take to appear.
const DEVICES: Duration = Duration::from_secs(30);
/// Our own processes and threads, which count as the guest's.
const OWN: u32 = 16;
/// Files that one process may have open.
const FILES: u64 = 1 << 18;

/// `boot.json`: what the host decided about this VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub cwd: PathBuf,
    /// Who runs it.
    pub uid: u32,
    /// The group of that.
    pub gid: u32,
    /// Bytes in each of `/tmp` and `/home/node`.
    pub tmp: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Names beneath `/home/node` that are mounts.
    pub home: Vec<PathBuf>,
    /// Files that the host's end of the share can have open.
    pub files: u64,
}

/// The host keeps each file open that this kernel remembers, whether or not anybody
/// here uses it. A look at a whole system would use up what it can have open, so the
/// kernel is told to forget in time.
struct Memory {
    count: File,
    forget: File,
    most: u64,
}

impl Memory {
    fn open(most: u64) -> io::Result<Memory> {
        let forget = File::options().write(true).open("/proc/sys/vm/drop_caches")?;
        Ok(Memory { count: File::open("/proc/sys/fs/inode-nr")?, forget, most: most / 2 })
    }

    /// How often to look: as often as a fast program may have seen half of them.
    fn pause(&self) -> Duration {
        Duration::from_millis((self.most / 100).clamp(50, 2000))
    }

    fn look(&mut self) -> io::Result<()> {
        let mut text = String::new();
        self.count.rewind()?;
        self.count.read_to_string(&mut text)?;
        let known = text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
        if known.is_some_and(|known| known > self.most) {
            // Names and what they name; not their contents.
            self.forget.write_all(b"2")?;
        }
        Ok(())
    }
}

/// Whether this process is the first of its system, with the host's share to mount:
/// `/init` exists in no container.
pub fn is_wanted() -> bool {
    std::process::id() == 1 && std::env::args().next().as_deref() == Some("/init")
}

/// Runs the VM to its end, which is when its keeper ends it.
pub fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(live());
    if let Err(error) = &ended {
        // To the console, which the keeper reads when the VM is off.
        eprintln!("nanoclaw: {error:#}");
    }
    rustix::system::reboot(rustix::system::RebootCommand::PowerOff)?;
    ended
}

async fn live() -> anyhow::Result<()> {
    let port = devices().context("the VM's devices")?;
    let boot = fs::read("/share/boot.json").context("boot.json")?;
    let boot: Boot = serde_json::from_slice(&boot)?;
    let proxy = build(&boot).context("the guest's root")?;
    lock_down(&boot).context("the guest's limits")?;
    let mut memory = Memory::open(boot.files).context("the kernel's memory of files")?;
    enter().context("entering the guest's root")?;

    let (out, mut come) = attach(port.try_clone()?, port);
    let mut channels = Channels::new(out.clone());
    let (sending, receiving) = channels.open(STREAMS);
    let mut child = match start(&boot) {
        Ok(child) => child,
        Err(e) => {
            let said = format!("nanoclaw: {}: {}\n", boot.argv[0], reason(&e));
            sending.all(said.as_bytes()).await;
            let _ = out.send(Frame::Exit(127));
            return wait_for_the_end(&mut come).await;
        }
    };
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).context("the program's pid")?;
    let _kept = processes::WaitedFor::new(pid);
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    tokio::spawn(receiving.all(stdin.context("standard input")?));
    let mut said = tokio::spawn(sending.all(stderr.context("standard error")?));
    let (mut next, mut ended) = (STREAMS, None);
    let mut reap = tokio::time::interval(Duration::from_secs(10));
    let mut look = tokio::time::interval(memory.pause());
    loop {
        tokio::select! {
            frame = come.recv() => match frame {
                Some(frame) => { channels.take(frame)?; }
                None => anyhow::bail!("the keeper is gone"),
            },
            accepted = proxy.accept(), if channels.count() < MAX_CHANNELS => {
                let Ok((stream, _)) = accepted else { continue };
                next += 1;
                let _ = out.send(Frame::Open(next));
                let (sending, receiving) = channels.open(next);
                let (read, write) = stream.into_split();
                tokio::spawn(async move { tokio::join!(sending.all(read), receiving.all(write)) });
            }
            status = child.wait(), if ended.is_none() => {
                ended = Some(code(status?));
                processes::kill_all(processes::descendants).await;
            }
            // Nobody is left who could write there.
            _ = &mut said, if ended.is_some() => {
                let _ = out.send(Frame::Exit(ended.unwrap_or(1)));
                return wait_for_the_end(&mut come).await;
            }
            _ = reap.tick() => processes::reap_orphans(),
            // If it fails the host refuses more files, which is no reason to end.
            _ = look.tick() => { let _ = memory.look(); }
        }
    }
}

/// Waits to be ended: what was sent is still on its way.
async fn wait_for_the_end(come: &mut tokio::sync::mpsc::Receiver<Frame>) -> anyhow::Result<()> {
    while come.recv().await.is_some() {}
    Ok(())
}

fn code(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(1)
}

/// As a shell says it, without the number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Loads the modules, mounts the share, and opens the serial port.
fn devices() -> anyhow::Result<File> {
    let none = MountFlags::empty();
    mount("proc", "/proc", "proc", none, None)?;
    mount("devtmpfs", "/dev", "devtmpfs", none, None)?;
    let mut modules: Vec<PathBuf> =
        fs::read_dir(MODULES)?.collect::<Result<Vec<_>, _>>()?.iter().map(|e| e.path()).collect();
    modules.sort();
    for path in modules {
        let module = File::open(&path)?;
        rustix::system::finit_module(&module, c"", 0)
            .with_context(|| path.display().to_string())?;
    }
    eventually("the shared file system", || {
        mount(SHARE, "/share", "virtiofs", MountFlags::NOSUID | MountFlags::NODEV, None).ok()
    })?;
    let port = eventually("the serial port", || {
        fs::read_dir("/dev").ok()?.flatten().map(|e| e.path()).find(|path| {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name.starts_with("vport") && name.ends_with("p1")
        })
    })?;
    let port = File::options().read(true).write(true).open(port)?;
    // Until the host's end is open a read is taken for the end.
    eventually("the keeper", || {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut fds = [PollFd::new(&port, PollFlags::IN)];
        poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).ok()?;
        (!fds[0].revents().contains(PollFlags::HUP)).then_some(())
    })?;
    Ok(port)
}

fn eventually<T>(what: &str, look: impl Fn() -> Option<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        anyhow::ensure!(began.elapsed() < DEVICES, "{what} did not appear");
        #[expect(clippy::disallowed_methods, reason = "nothing else runs yet")]
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Puts the guest's root together, and listens where it expects the proxy. What is
/// read-only is so by the host's doing.
fn build(boot: &Boot) -> anyhow::Result<UnixListener> {
    let at = |path: &str| Path::new(ROOT).join(path);
    let memory = |path: PathBuf, mode: &str, bytes: u64| -> io::Result<()> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        let data = std::ffi::CString::new(format!("mode={mode},size={bytes}"))?;
        Ok(mount("tmpfs", path, "tmpfs", flags, Some(data.as_c_str()))?)
    };
    mount_bind("/share/root", ROOT)?;
    let hidden = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // The kernel's threads and we are nothing to the guest.
    mount("proc", at("proc"), "proc", hidden, Some(c"hidepid=2"))?;
    memory(at("tmp"), "1777", boot.tmp)?;
    memory(at("home/node"), "1777", boot.tmp)?;
    for name in &boot.home {
        let place = at("home/node").join(name);
        fs::create_dir_all(&place)?;
        mount_bind(Path::new("/share/root/home/node").join(name), &place)?;
    }
    // Its devices: those that are nobody's.
    let dev = at("dev");
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("tmpfs", &dev, "tmpfs", flags, Some(c"mode=755,size=64k"))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        File::create(dev.join(name))?;
        mount_bind(Path::new("/dev").join(name), dev.join(name))?;
    }
    for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{target}"), dev.join(name))?;
    }
    for name in ["pts", "shm"] {
        fs::create_dir(dev.join(name))?;
    }
    mount("devpts", dev.join("pts"), "devpts", flags, Some(c"newinstance,ptmxmode=0666,mode=620"))?;
    symlink("pts/ptmx", dev.join("ptmx"))?;
    memory(dev.join("shm"), "1777", boot.tmp.min(64 << 20))?;
    rustix::mount::mount_remount(&dev, flags | MountFlags::RDONLY, c"")?;

    let run = at("run/nanoclaw");
    memory(run.clone(), "0755", 64 << 10)?;
    Ok(unix::bind(&run.join("proxy.sock"), 0o666)?)
}

/// Limits, and what an unprivileged user must not have. Holds for what is started
/// from this thread.
fn lock_down(boot: &Boot) -> anyhow::Result<()> {
    for (name, value) in [("user/max_user_namespaces", "0"), ("kernel/dmesg_restrict", "1")] {
        fs::write(Path::new("/proc/sys").join(name), value).context(name)?;
    }
    mount("cgroup2", "/cgroup", "cgroup2", MountFlags::empty(), None)?;
    fs::write("/cgroup/cgroup.subtree_control", "+pids")?;
    fs::create_dir("/cgroup/guest")?;
    fs::write("/cgroup/guest/pids.max", (boot.pids + OWN).to_string())?;
    fs::write("/cgroup/guest/cgroup.procs", "1")?;
    let limit = |n| Rlimit { current: Some(n), maximum: Some(n) };
    setrlimit(Resource::Core, limit(0))?;
    setrlimit(Resource::Nofile, limit(FILES))?;
    loopback_up().context("the loopback interface")?;
    for bit in 0..64 {
        let one = rustix::thread::CapabilitySet::from_bits_retain(1 << bit);
        // Past the last one that this kernel knows.
        if rustix::thread::remove_capability_from_bounding_set(one).is_err() {
            break;
        }
    }
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Sets the flag of interface 1, which is loopback and then has its address.
/// `struct nlmsghdr` and `struct ifinfomsg` of `rtnetlink(7)`.
fn loopback_up() -> anyhow::Result<()> {
    const NEW_LINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    let mut message = Vec::new();
    message.extend(32_u32.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    for word in [1_u32, 0, 0, 1, 1, 1] {
        // Sequence, port; family and type; index; flags (up), which of them.
        message.extend(word.to_ne_bytes());
    }
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0_u8; 64];
    recv(&socket, &mut answer, RecvFlags::empty())?;
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    anyhow::ensure!(code == 0, "refused with {code}");
    Ok(())
}

/// Makes the guest's root the root of everything.
fn enter() -> anyhow::Result<()> {
    rustix::process::chdir(ROOT)?;
    mount_move(ROOT, "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    Ok(())
}

fn start(boot: &Boot) -> io::Result<Child> {
    let (program, arguments) = boot.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(boot.env.iter().map(|(k, v)| (k, v)))
        .current_dir(&boot.cwd)
        .uid(boot.uid)
        .gid(boot.gid)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}
