//! The attempts. Each runs in a guest of the given runtime.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nanoclaw::container::Spec;
use nanoclaw::tree::{Tree, TreeError};

use crate::sandbox::{Kind, World, world_of};

/// Runs one command and reports `name|exit code|first line of what it said`.
const TRY: &str = r#"
try() { local name=$1 out code; shift; out=$("$@" 2>&1 </dev/null | head -c 300; exit "${PIPESTATUS[0]}"); code=$?
    out=${out%%$'\n'*}; printf '%s|%s|%s\n' "$name" "$code" "${out//|/ }"; }
sh() { command bash -c "$@"; }
"#;

/// Runs a script of `try` lines. Attempts must fail, controls succeed.
async fn attempts(w: &World, spec: &mut Spec, script: &str) -> String {
    spec.argv = ["/bin/bash", "-c", &format!("exec >&2\n{TRY}\n{script}\necho end")]
        .map(str::to_owned)
        .to_vec();
    let outcome = w.run(spec).await;
    println!("{}", outcome.said);
    assert!(outcome.said.ends_with("end\n"), "the script ran to its end");
    for line in outcome.said.lines() {
        let Some((name, rest)) = line.split_once('|') else { continue };
        let code: i32 = rest.split('|').next().unwrap().parse().unwrap();
        assert_eq!(code == 0, name.starts_with("control"), "{line}");
        // A program that is not there proves nothing.
        assert_ne!(code, 127, "{line}");
    }
    outcome.said
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// An installation with a second group, a ledger and settings, each with a secret.
fn with_secrets(w: &World) -> Vec<String> {
    let _ = w.spec("work", 2, "true");
    let files = [
        "groups/work/CLAUDE.md",
        "data/sessions/work/.claude/history.jsonl",
        "data/ipc/work/2/in/0000000000000001.json",
        "data/ipc/work/2/out/0000000000000001.json",
        "data/proxy/work/token",
        "store/messages.db",
        "data/scratch/2/options",
        ".env",
        "secrets.toml",
    ];
    files
        .iter()
        .map(|file| {
            let path = w.path(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "SECRET").unwrap();
            // Readable for all, so that only the boundary hides it.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect()
}

pub async fn files_of_other_groups_and_of_the_host_are_not_there(kind: Kind) {
    let Some(w) = world_of(kind, "files").await else { return };
    let mut spec = w.spec("family", 1, "");
    let secrets = with_secrets(&w);
    fs::write(w.path("groups/family/own"), "own").unwrap();
    let home = w.path("");
    let home = home.to_str().unwrap().trim_end_matches('/');
    let mut script = String::from("try control-own cat /workspace/group/own\n");
    for (n, path) in secrets.iter().enumerate() {
        script += &format!("try absolute-{n} cat '{path}'\n");
        let relative = path.strip_prefix(home).unwrap();
        for (m, way) in [
            "/workspace/group/../..",
            "/workspace/group/..",
            "/workspace/ipc/in/../../../..",
            "/home/node/.claude/../../..",
        ]
        .iter()
        .enumerate()
        {
            script += &format!("try dots-{n}-{m} cat '{way}{relative}'\n");
        }
        for way in [
            "/proc/1/root",
            "/proc/2/root",
            "/proc/self/root",
            "/proc/1/cwd",
            "/proc/self/cwd/../..",
        ] {
            script += &format!("try proc-{n} cat '{way}{path}'\n");
        }
    }
    let owner = std::env::var("HOME").unwrap_or("/root".into());
    // An image has its own of these.
    let hosts: &[&str] = if kind != Kind::Bwrap {
        &[]
    } else {
        &[
            "/etc/shadow",
            "/etc/gshadow",
            "/etc/ssh",
            "/etc/machine-id",
            "/root",
            "/var",
            "/boot",
            "/sys",
            "/mnt",
            "/srv",
            "/dev/disk",
            "/etc/ssl/private",
            &owner,
        ]
    };
    for path in hosts.iter().chain(&[home]) {
        script += &format!("try host ls '{path}'\n");
    }
    script += "try sibling ls /workspace/group/../work\ntry others sh 'ls /workspace | grep -vxE \"extra|global|group|ipc\"'\n";
    script += "try anywhere sh 'grep -rslI SECRET / --exclude-dir=proc --exclude-dir=usr --exclude-dir=dev | grep .'\n";
    script += "try environment sh 'cat /proc/[0-9]*/environ 2>/dev/null | tr \"\\0\" \"\\n\" | grep -E \"CARGO|RUST\"'\n";
    let said = attempts(&w, &mut spec, &script).await;
    assert!(!said.contains("SECRET"));
}

pub async fn nothing_but_its_own_directories_can_be_written(kind: Kind) {
    let Some(w) = world_of(kind, "writes").await else { return };
    let mut spec = w.spec("family", 1, "");
    let secrets = with_secrets(&w);
    fs::write(w.path("data/ipc/family/1/in/0000000000000001.json"), "{}").unwrap();
    fs::set_permissions(
        w.path("data/ipc/family/1/in/0000000000000001.json"),
        fs::Permissions::from_mode(0o666),
    )
    .unwrap();
    let mut script = String::new();
    for dir in [
        "/workspace/group",
        "/home/node/.claude",
        "/workspace/ipc/out",
        "/tmp",
        "/home/node",
        "/dev/shm",
    ] {
        script += &format!("try control-write touch {dir}/x\n");
    }
    for dir in [
        "",
        "/usr",
        "/usr/local/bin",
        "/etc",
        "/etc/ssl/certs",
        "/opt",
        "/opt/nanoclaw",
        "/run",
        "/run/nanoclaw",
        "/workspace",
        "/workspace/ipc",
        "/workspace/ipc/in",
        "/workspace/global",
        "/home",
        "/dev",
        "/proc/sys/kernel",
    ] {
        script += &format!("try write touch {dir}/x\n");
    }
    script += "
        try record sh 'echo x >/workspace/ipc/in/0000000000000001.json'
        try unlink rm -f /workspace/ipc/in/0000000000000001.json
        try passwd sh 'echo x >>/etc/passwd'
        try swap mv /workspace/group /workspace/group2
        try remount mount -o remount,rw,bind /opt/nanoclaw
        try chmod chmod 777 /workspace/ipc/in
        try hardlink ln /workspace/ipc/in/0000000000000001.json /workspace/group/hard
        try core sh 'echo x >/proc/sys/kernel/core_pattern'
        try sysrq sh 'echo h >/proc/sysrq-trigger'
        try oom sh 'echo -1000 >/proc/self/oom_score_adj'
    ";
    for path in &secrets {
        script += &format!("try secret sh 'echo x >\"{path}\"'\n");
    }
    attempts(&w, &mut spec, &script).await;
    assert!(secrets.iter().all(|s| fs::read(s).unwrap() == b"SECRET"));
    let (uid, gid) = w.user();
    let meta = fs::metadata(w.path("groups/family/x")).unwrap();
    println!("a file of the guest is of {}:{} on the host", meta.uid(), meta.gid());
    assert_eq!((meta.uid(), meta.gid()), (uid, gid));
}

pub async fn processes_of_the_host_are_out_of_sight(kind: Kind) {
    let Some(w) = world_of(kind, "procs").await else { return };
    let mut spec = w.spec("family", 1, "");
    let pid = std::process::id();
    let script = format!(
        "try control-self kill -0 $$
        try kill kill -0 {pid}
        try proc ls /proc/{pid}
        try root ls /proc/{pid}/root/
        try ptrace perl -e 'exit(syscall(101, 16, {pid}, 0, 0) == 0 ? 0 : 1)'
        try many sh '[ $(ls -d /proc/[0-9]* | wc -l) -gt 15 ]'
        try strangers sh 'ps axo comm= | grep -vxE \"bwrap|bash|ps|grep|head|sh\"'
        try shared-memory sh 'ipcs -m | grep 0x'
        try priority nice -n -5 true
        "
    );
    // nice only warns; its warning is the refusal.
    let script = script.replace(
        "try priority nice -n -5 true",
        "try priority sh 'nice -n -5 nice 2>/dev/null | grep -e -5'",
    );
    attempts(&w, &mut spec, &script).await;
    // With an engine the first process is the guest's own.
    if root() && kind == Kind::Bwrap {
        let script = "try ptrace-1 perl -e 'exit(syscall(101, 16, 1, 0, 0) == 0 ? 0 : 1)'
            try ptrace-2 perl -e 'exit(syscall(101, 16, 2, 0, 0) == 0 ? 0 : 1)'
            try kill-1 kill -KILL 1
            try root-1 ls /proc/1/root/
            try fd-1 ls /proc/1/fd/
            try environ-1 cat /proc/1/environ
            try environ-2 cat /proc/2/environ";
        attempts(&w, &mut spec, script).await;
    }
}

pub async fn there_is_no_network(kind: Kind) {
    let Some(w) = world_of(kind, "net").await else { return };
    let mut spec = w.spec("family", 1, "");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    std::net::TcpStream::connect(("127.0.0.1", port)).expect("the host reaches its port");
    let name = format!("nanoclaw-escape-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = UnixListener::bind_addr(&address).unwrap();
    UnixStream::connect_addr(&address).expect("the host reaches its socket");
    let connect = |path: &str| {
        format!(
            "perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0) or die; connect(S, sockaddr_un({path})) or die \"$!\\n\"'"
        )
    };
    // A socket in a mounted directory is the one way out.
    let proxy = UnixListener::bind(w.path("data/proxy/family/proxy.sock")).unwrap();
    fs::set_permissions(w.path("data/proxy/family/proxy.sock"), fs::Permissions::from_mode(0o666))
        .unwrap();
    let script = format!(
        "try control-proxy {}
        try abstract {}
        try tcp sh 'echo >/dev/tcp/127.0.0.1/{port}'
        try tcp6 sh 'echo >/dev/tcp/::1/{port}'
        try public sh 'echo >/dev/tcp/1.1.1.1/80'
        try metadata sh 'echo >/dev/tcp/169.254.169.254/80'
        try udp sh 'echo >/dev/udp/1.1.1.1/53'
        try dns getent ahosts example.com
        try interfaces sh 'tail -n +3 /proc/net/dev | grep -v lo:'
        try routes sh 'tail -n +2 /proc/net/route | grep .'
        try raw perl -MSocket -e 'socket(S, PF_INET, SOCK_RAW, 1) or die \"$!\\n\"'
        try packet perl -e 'socket(S, 17, 3, 768) or die \"$!\\n\"'
        try control-localhost getent hosts localhost
        ",
        connect("\"/run/nanoclaw/proxy.sock\""),
        connect(&format!("\"\\0{name}\"")),
    );
    attempts(&w, &mut spec, &script).await;
    drop(proxy);
}

pub async fn there_are_no_privileges_to_be_had(kind: Kind) {
    let Some(w) = world_of(kind, "privs").await else { return };
    let mut spec = w.spec("family", 1, "");
    let mut script = String::from(
        "try capabilities sh 'grep -E \"^Cap(Eff|Prm|Bnd|Amb|Inh)\" /proc/self/status | grep -v 0000000000000000'
        try control-no-new-privileges grep -E 'NoNewPrivs:.*1' /proc/self/status
        try control-filter grep -E 'Seccomp:.*2' /proc/self/status
        try control-no-capability sh '[ $(grep -cE \"^Cap(Eff|Prm|Bnd|Amb|Inh):.0000000000000000$\" /proc/self/status) = 5 ]'
        try root-uid sh '[ $(id -u) = 0 ]'
        try groups sh 'id -G | grep -w 0'
        try userns unshare -U true
        try userns-root unshare -Ur true
        try mountns unshare -m true
        try netns unshare -n true
        try nested bwrap --unshare-user --ro-bind / / true
        try limit sh 'echo 100 >/proc/sys/user/max_user_namespaces'
        try setns nsenter -t 1 -m true
        try mount mount -t tmpfs none /tmp
        try bind mount --bind / /tmp
        try umount umount /proc
        try chroot chroot / true
        try su su -c true
        try setuid perl -e '$> = 0; exit($> == 0 ? 0 : 1)'
        try setuid-programs sh 'for p in $(find /usr -xdev -perm -4000 -user 0 2>/dev/null); do [ -u \"$p\" ] && case $p in */su) ;; *mount) \"$p\" -t tmpfs none /tmp && exit 0;; esac; done; exit 1'
        try mknod mknod /workspace/group/mem c 1 1
        try mem cat /dev/mem
        try kmsg cat /dev/kmsg
        try disk ls /dev/vda /dev/sda
        try kcore sh 'head -c 1 /proc/kcore | grep -c .'
        try keys sh 'head -n 1 /proc/keys | grep .'
        try timers sh 'head -n 1 /proc/timer_list | grep .'
        try dmesg dmesg
        try cgroups sh 'find /sys/fs/cgroup -writable 2>/dev/null | grep .'
        try hostname hostname other
        try clock date -s 2000-01-01
        try chown chown 0 /workspace/group
        try suid-bit sh 'cp /usr/bin/id /tmp/id && chmod 4755 /tmp/id && /tmp/id | grep euid=0'
        ",
    );
    if kind == Kind::Microvm {
        // Keys and the calls of the filter are those of a kernel of its own.
        let others =
            |line: &&str| !line.contains("try control-filter ") && !line.contains("try keys ");
        script = script.lines().filter(others).map(|line| format!("{line}\n")).collect();
    } else if cfg!(target_arch = "x86_64") {
        for (name, call) in [
            ("keyctl", "250, 0, -3, 1"),
            ("add_key", "248, 0, 0, 0, 0, -3"),
            ("bpf", "321, 5, 0, 0"),
            ("perf", "298, 0, 0, -1, -1, 0"),
            ("uring", "425, 1, 0"),
        ] {
            if name == "uring" && kind == Kind::Docker {
                // Refused by Docker's own filter from version 25 on.
                continue;
            }
            // 1 is EPERM: any other error would be the call's own.
            script += &format!(
                "try {name} perl -e 'exit 0 if syscall({call}) >= 0; die \"$!\\n\" if $! == 1; exit 0'\n"
            );
        }
    }
    if root() {
        // What only a fault of the host could put there.
        let id = w.path("groups/family/id");
        fs::copy("/usr/bin/id", &id).unwrap();
        fs::set_permissions(&id, fs::Permissions::from_mode(0o4755)).unwrap();
        assert_eq!(fs::metadata(&id).unwrap().uid(), 0);
        script +=
            "try planted-setuid sh './id | grep euid=0'\ntry control-zero head -c 1 /dev/zero\n";
        // A disk of the machine, of those that the machine itself can read.
        let node = w.path("groups/family/disk");
        let disks = fs::read_dir("/sys/class/block").unwrap().flatten();
        let readable = disks.filter_map(|disk| {
            let number = fs::read_to_string(disk.path().join("dev")).ok()?;
            let (major, minor) = number.trim().split_once(':')?;
            let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
            let _ = fs::remove_file(&node);
            let block = rustix::fs::FileType::BlockDevice;
            rustix::fs::mknodat(rustix::fs::CWD, &node, block, 0o666.into(), device).ok()?;
            fs::set_permissions(&node, fs::Permissions::from_mode(0o666)).ok()?;
            fs::File::open(&node).and_then(|mut f| f.read_exact(&mut [0; 1])).ok()
        });
        if readable.take(1).count() == 1 {
            script += "try planted-device head -c 1 ./disk\n";
        } else {
            println!("skipped: there is no disk to read");
        }
    } else {
        println!("skipped: only root can plant a setuid program and a device");
    }
    attempts(&w, &mut spec, &script).await;
}

pub async fn a_planted_link_leads_nowhere(kind: Kind) {
    let Some(w) = world_of(kind, "links").await else { return };
    let secrets = with_secrets(&w);
    let mut spec = w.spec("family", 1, "");
    let script = format!(
        "ln -s {0} secret; ln -s {1} work; ln -s /etc/shadow shadow; ln -s ../work up; mkfifo pipe; ln -s {0} /workspace/ipc/out/0000000000000001.json
        try secret cat secret\ntry work ls work/\ntry shadow cat shadow\ntry up ls up/",
        secrets[5],
        w.path("groups/work").display(),
    );
    attempts(&w, &mut spec, &script).await;
    assert_eq!(
        fs::read(w.path("groups/family/secret")).unwrap(),
        b"SECRET",
        "std::fs would be fooled"
    );
    let tree = Tree::open(&w.path("groups/family")).unwrap();
    for name in ["secret", "shadow", "pipe"] {
        let error = tree.read(name, 100).unwrap_err();
        println!("host: {error}");
        assert!(matches!(error, TreeError::NotRegular(_)));
    }
    assert!(matches!(tree.read("work/CLAUDE.md", 100), Err(TreeError::NotDirectory(_))));
    assert!(matches!(tree.read("up/CLAUDE.md", 100), Err(TreeError::NotDirectory(_))));
    let out = Tree::open(&w.path("data/ipc/family/1/out")).unwrap();
    assert!(matches!(out.read("0000000000000001.json", 100), Err(TreeError::NotRegular(_))));
    // A mount whose source became a link is refused at the next start.
    fs::rename(w.path("groups/family"), w.path("groups/moved")).unwrap();
    symlink(w.path("groups/work"), w.path("groups/family")).unwrap();
    let error = w.runtime.spawn(&spec).await.unwrap_err().to_string();
    println!("host: {error}");
    assert!(error.contains("it is a link"));
}
