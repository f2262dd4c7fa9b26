//! The `microvm` runtime keeps the promises of `trait Runtime` with real VMs. They run
//! without the processor's help, which works on every machine: what is tested is what
//! happens, never how fast.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod sandbox;
mod support;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nanoclaw::container::microvm::{Microvm, Place, sandbox::Accelerator};
use nanoclaw::container::{Limits, Runtime, RuntimeError, Spec};
use sandbox::vms::{cache, guest_program, place};
use sandbox::{Kind, World, world_of};
use support::{Client, Home, NANOCLAW, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn spec(w: &World, script: &str) -> Spec {
    let limits = Limits { memory: 256 << 20, cpus: 2.0, pids: 100, tmp: 8 << 20 };
    Spec { limits, ..w.spec("family", 1, script) }
}

/// One VM answers most questions, since each takes its time to start.
#[tokio::test]
async fn a_guest_sees_its_own_directories_and_nothing_else() {
    let Some(w) = world_of(Kind::Microvm, "sees").await else { return };
    let script = r#"
        id -u; pwd; echo "$ODD"; uname -r
        grep -E '^Cap(Eff|Bnd)|^NoNewPrivs' /proc/self/status
        echo mine >/workspace/group/file && cat /workspace/group/file
        cat /workspace/global/shared
        for path in /workspace/global/x /usr/x /x /etc/x /opt/nanoclaw/x /workspace/ipc/in/x; do
            (: >"$path") 2>/dev/null && echo "written: $path"
        done
        for path in SECRETS; do cat "$path" 2>/dev/null && echo "read: $path"; done
        for path in /share /dev/mem /dev/kmsg /dev/vport* /proc/1/root /sys /cgroup; do
            cat "$path"/* "$path" 2>/dev/null | head -c 1 && ls "$path"/ 2>/dev/null
        done
        unshare -U true 2>/dev/null && echo "a user namespace"
        (: >/tmp/x && : >/home/node/x && : >/home/node/.claude/x && : >/dev/shm/x) && echo temporary
        head -c 20000000 /dev/zero 2>/dev/null >/tmp/much || echo "bounded"
        sleep 100 & (setsid sleep 1000 &)
        exit 7"#;
    let other = w.dir("groups/work");
    fs::write(other.join("secret"), "SECRET").unwrap();
    let _ = spec(&w, "");
    fs::write(w.path("groups/global/shared"), "for all\n").unwrap();
    let secrets = [
        other.join("secret").display().to_string(),
        "/workspace/group/../../../work/secret".into(),
        "/vm/share/root/etc/passwd".into(),
        "/etc/shadow".into(),
        "/root/.bashrc".into(),
    ];
    let mut spec = spec(&w, &script.replace("SECRETS", &secrets.join(" ")));
    spec.env.push(("ODD".into(), "a=b, \"c\" é".into()));
    let outcome = w.run(&spec).await;
    println!("{}", outcome.said);
    let (uid, _) = w.user();
    let lines: Vec<&str> = outcome.said.lines().collect();
    assert_eq!(lines[..3], [&uid.to_string(), "/workspace/group", "a=b, \"c\" é"]);
    assert_ne!(lines[3], rustix::system::uname().release().to_str().unwrap(), "its own kernel");
    let none = "0000000000000000";
    assert_eq!(
        lines[4..7],
        [format!("CapEff:\t{none}"), format!("CapBnd:\t{none}"), "NoNewPrivs:\t1".into()]
    );
    assert_eq!(lines[7..], ["mine", "for all", "temporary", "bounded"]);
    assert_eq!(outcome.code, Some(7));
    assert_eq!(fs::read_to_string(w.path("groups/family/file")).unwrap(), "mine\n");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(w.path("groups/family/file")).unwrap().uid(), uid);
}

#[tokio::test]
async fn standard_input_is_the_lifeline_and_all_that_is_said_arrives() {
    let Some(w) = world_of(Kind::Microvm, "streams").await else { return };
    let script = "while read -r -n1 byte; do echo \"woken by $byte\"; done; echo closed
        head -c 10485760 /dev/zero | tr '\\0' x; kill -9 $$";
    let spec = spec(&w, script);
    let mut running = w.start(&spec).await;
    assert_eq!(w.list().await, [1], "listed from the first moment");
    let (mut stdin, mut stderr) =
        (running.child.stdin.take().unwrap(), running.child.stderr.take().unwrap());
    stdin.write_all(b"x").await.unwrap();
    let mut first = [0; 11];
    stderr.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"woken by x\n");
    drop(stdin);
    let mut rest = Vec::new();
    stderr.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), 7 + (10 << 20));
    assert!(rest.starts_with(b"closed\nxxx"));
    assert_eq!(running.child.wait().await.unwrap().code(), Some(137));
    w.stop(spec.incarnation).await;
}

#[tokio::test]
async fn the_proxy_is_the_only_way_out() {
    let Some(w) = world_of(Kind::Microvm, "proxy").await else { return };
    let script = r#"
        tail -n +3 /proc/net/dev | cut -d: -f1
        python3 - <<'PYTHON'
import socket, threading
def ask(n):
    s = socket.socket(socket.AF_UNIX); s.connect('/run/nanoclaw/proxy.sock')
    s.sendall(b'%d' % n * 100000); s.shutdown(socket.SHUT_WR)
    got = b''
    while piece := s.recv(65536): got += piece
    assert got == b'%d' % n * 100000, (n, len(got))
threads = [threading.Thread(target=ask, args=(n,)) for n in range(1, 9)]
[t.start() for t in threads]; [t.join() for t in threads]
print('eight answers', flush=True)
for address in [('10.0.2.2', 22), ('1.1.1.1', 443), ('169.254.169.254', 80), ('127.0.0.1', PORT)]:
    try:
        socket.create_connection(address, 3); print('reached', address, flush=True)
    except OSError: pass
server = socket.create_server(('127.0.0.1', 0)); socket.create_connection(server.getsockname(), 3)
print('loopback', flush=True)
PYTHON
        echo end"#;
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port().to_string();
    let spec = spec(&w, &script.replace("PORT", &port));
    let socket = w.path("data/proxy/family/proxy.sock");
    let proxy = UnixListener::bind(&socket).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    std::thread::spawn(move || {
        for stream in proxy.incoming() {
            std::thread::spawn(move || {
                let (mut read, mut write) = {
                    let stream = stream.unwrap();
                    (stream.try_clone().unwrap(), stream)
                };
                std::io::copy(&mut read, &mut write).unwrap();
                write.shutdown(std::net::Shutdown::Write).unwrap();
            });
        }
    });
    let outcome = w.run(&spec).await;
    println!("{}", outcome.said);
    let words: Vec<&str> = outcome.said.lines().map(str::trim).collect();
    assert_eq!(words, ["lo", "eight answers", "loopback", "end"]);
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told() {
    let place = Place { program: "/nowhere".into(), ..place() };
    let error = Microvm::new(place.clone(), Accelerator::Software).identity().await.unwrap_err();
    if matches!(&error, RuntimeError::Missing { tool, .. } if tool != "/nowhere") {
        assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI: {error}");
        return println!("skipped: {error}");
    }
    assert!(matches!(&error, RuntimeError::Missing { tool, .. } if tool == "/nowhere"), "{error}");
    let place = Place { kernels: vec!["/nowhere".into()], ..place };
    let error = Microvm::new(place, Accelerator::Software).identity().await.unwrap_err();
    assert!(error.to_string().contains("kernel"), "{error}");
}

#[tokio::test]
async fn the_guest_program_needs_nothing_of_the_system() {
    if !guest_program_is_there() {
        return;
    }
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new("bwrap")
        .arg("--bind")
        .args([empty.path(), Path::new("/")])
        .arg("--ro-bind")
        .args([&guest_program(), Path::new("/guest")])
        .args(["--unshare-all", "/guest"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("usage: nanoclaw-guest agent | mcp"));
}

/// Pids of QEMU and of all else that carries an installation's label, or runs below it.
fn vms_of(install: &str) -> Vec<u32> {
    let label = format!("nanoclaw-{install}-");
    let all: Vec<(u32, u32, String)> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| {
            let pid: u32 = e.file_name().to_str()?.parse().ok()?;
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent, String::from_utf8_lossy(&line).into_owned()))
        })
        .collect();
    let mut found: Vec<u32> =
        all.iter().filter(|(_, _, line)| line.contains(&label)).map(|p| p.0).collect();
    loop {
        let more: Vec<u32> = all
            .iter()
            .filter(|(pid, parent, _)| found.contains(parent) && !found.contains(pid))
            .map(|p| p.0)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn guest_program_is_there() -> bool {
    if guest_program().is_file() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI: no guest program");
    println!("skipped: no guest program: ./nanoclaw.sh install builds it");
    false
}

/// An installation with the daemon and the guest program side by side.
fn install(home: &mut Home) {
    let bin = home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let place = |from: &Path, name: &str| {
        fs::hard_link(from, bin.join(name))
            .or_else(|_| fs::copy(from, bin.join(name)).map(drop))
            .unwrap();
    };
    place(Path::new(NANOCLAW), "nanoclaw");
    place(&guest_program(), "nanoclaw-guest");
    home.program(bin.join("nanoclaw"));
    home.set("XDG_CACHE_HOME", cache().to_str().unwrap());
    home.set("CONTAINER_RUNTIME", "microvm");
    home.set("NANOCLAW_MICROVM", "emulate");
}

#[tokio::test]
async fn a_turn_is_answered_from_a_vm_which_dies_with_its_daemon() {
    let Some(_) = world_of(Kind::Microvm, "turn").await else { return };
    let mut home = Home::new();
    install(&mut home);
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m1", "hello from a VM");
    client.answer("t:1", "hello from a VM");
    let (_, status, _) = home.run(&["status"]);
    println!("{status}");
    assert!(status.contains("microvm") && status.contains("(vm)"), "{status}");
    let install: String = home.ledger("SELECT value FROM settings WHERE key = 'install'");
    assert!(!vms_of(&install).is_empty());
    daemon.kill();
    eventually("the end of the VM", || vms_of(&install).is_empty());
    // The next daemon finds nothing alive, and its guest answers.
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m2", "and again");
    client.answer("t:1", "and again");
    assert_eq!(daemon.stop(), 0);
    eventually("the end of the VM", || vms_of(&install).is_empty());
}

#[tokio::test]
async fn the_real_cli_works_in_a_vm() {
    let Some(_) = world_of(Kind::Microvm, "real").await else { return };
    let Some(mut home) = Home::with_real_cli() else { return };
    install(&mut home);
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m1", "remember that the bins go out on Tuesday");
    client.wait_for(Duration::from_secs(300), "the answer", |h| !h.sends.is_empty());
    client.answer("t:1", "bins go out on Tuesday");
    let memory = fs::read_to_string(home.path().join("groups/family/memory.md")).unwrap();
    assert!(memory.contains("Tuesday"), "{memory}");
    assert_eq!(daemon.stop(), 0);
}
