//! The host's side of one VM, inside its sandbox: starts the file server and QEMU,
//! passes the standard streams and the connections to the proxy, and ends with the
//! exit code of the VM's program. When it ends the sandbox ends, and so do they.
//!
//! It knows the fixed paths of the sandbox and nothing of groups or turns. What comes
//! from the VM is not believed.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{stderr, stdin};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};

use super::line::{Channels, Event, STREAMS, attach};

/// Sockets and the console's log.
pub const RUN: &str = "/vm/run";
/// What is between us and the file server.
pub const FILES: &str = "/vm/run/files.sock";
/// What is between us and the serial port.
pub const PORT: &str = "/vm/run/port.sock";
/// What the VM's kernel complained of.
pub const CONSOLE: &str = "/vm/run/console";
/// The daemon's proxy, in the tree that the VM sees.
const PROXY: &str = "/vm/share/root/run/nanoclaw/proxy.sock";
/// For the file server, and for QEMU until it has the port.
const START: Duration = Duration::from_secs(10);

/// `words`: the file server's command line, `--`, QEMU's.
pub fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    let Some((files, qemu)) = words.iter().position(|w| w == "--").map(|at| words.split_at(at))
    else {
        bail!("no command lines");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(keep(files, &qemu[1..]));
    runtime.shutdown_background();
    code
}

async fn keep(files: &[String], qemu: &[String]) -> anyhow::Result<ExitCode> {
    let port = UnixListener::bind(PORT)?;
    let mut files = start(files).context("the file server")?;
    let began = Instant::now();
    while !Path::new(FILES).exists() {
        if let Some(status) = files.try_wait()? {
            bail!("the file server ended: {status}");
        }
        if began.elapsed() > START {
            bail!("the file server does not listen");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for socket in [PORT, FILES] {
        std::fs::set_permissions(socket, Permissions::from_mode(0o666))?;
    }
    let mut qemu = start(qemu).context("QEMU")?;
    let stream = tokio::select! {
        accepted = tokio::time::timeout(START, port.accept()) => accepted??.0,
        status = qemu.wait() => bail!("QEMU ended: {}", status?),
    };
    tokio::select! {
        code = pass(stream) => {
            // Whichever ends first, the other would complain in the guest's log.
            if let Some(pid) = qemu.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                let _ = kill_process(pid, Signal::STOP);
            }
            let _ = files.kill().await;
            Ok(ExitCode::from(code?))
        }
        status = qemu.wait() => bail!("the VM ended: {}{}", status?, console()),
        // It ends when QEMU does, and may be noticed first.
        status = files.wait() => bail!("the file server ended: {}{}", status?, console()),
    }
}

fn start(words: &[String]) -> io::Result<Child> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    // Standard error is the guest's log, where complaints are read.
    Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
}

/// Passes everything until the program has ended.
async fn pass(stream: UnixStream) -> anyhow::Result<u8> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    let (out, mut come) = attach(stream.try_clone()?, stream);
    let mut channels = Channels::new(out);
    let (sending, receiving) = channels.open(STREAMS);
    tokio::spawn(sending.all(stdin()));
    let said = tokio::spawn(receiving.all(stderr()));
    while let Some(frame) = come.recv().await {
        match channels.take(frame)? {
            Event::None => {}
            Event::Open(sending, receiving) => {
                tokio::spawn(async move {
                    // Where the daemon does not listen the channel ends at once.
                    let Ok(proxy) = UnixStream::connect(PROXY).await else {
                        return sending.all(tokio::io::empty()).await;
                    };
                    let (read, write) = proxy.into_split();
                    tokio::join!(sending.all(read), receiving.all(write));
                });
            }
            Event::Exit(code) => {
                // All that it said has come before this.
                said.await?;
                return Ok(code);
            }
        }
    }
    // QEMU closed the port, since it ended or is about to.
    std::future::pending().await
}

/// The last words of the VM's kernel.
fn console() -> String {
    let text = std::fs::read(CONSOLE).unwrap_or_default();
    let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(2000)..]).into_owned();
    if tail.trim().is_empty() { String::new() } else { format!("\n{}", tail.trim()) }
}
