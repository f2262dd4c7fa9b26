//! The sandbox of one VM: what the keeper, the file server and QEMU see of the host,
//! and their command lines.
//!
//! It is built by bubblewrap. What the guest is to see lies in `/vm/share/root`, put
//! together from the same mounts as the `bwrap` runtime's whole view, read-only where
//! they are; the file server shares that tree with the VM and can reach nothing else.
//! There is no network. All run as the guest's unprivileged user; the file server has
//! rights over that user's own files alone. So what breaks out of the VM finds itself
//! in about the same place as a guest of the `bwrap` runtime.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::Tools;
use crate::container::bwrap::launch::{NAMESPACES, SHELL_PART, become_user};
use crate::container::bwrap::view::{self, User};
use crate::container::checked::{self, Checked};
use crate::container::process::LABEL_VARIABLE;
use crate::container::start::{self, Words};
use crate::container::{RuntimeError, Spec};
use crate::machine::init::{Boot, SHARE};
use crate::machine::keeper::{CONSOLE, FILES, PORT, RUN};

/// The tree that the VM sees.
const ROOT: &str = "/vm/share/root";
/// What the file server needs to act as the guest's user, all within a user namespace
/// in which that user is the only one.
const RIGHTS: [&str; 8] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_SYS_CHROOT",
];

/// A layer that is nothing but a user namespace.
const USER_LAYER: [&str; 7] =
    ["--unshare-user", "--dev-bind", "/", "/", "--die-with-parent", "--cap-drop", "ALL"];

/// How the VM's processor comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By the host's kernel.
    Kvm,
    /// By QEMU alone: slow, and works everywhere.
    Software,
}

/// What [`options`] puts into the sandbox besides the guest's tree.
#[derive(Debug)]
pub struct Files<'a> {
    /// Our program.
    pub program: &'a Path,
    /// The VM's kernel.
    pub kernel: &'a Path,
    /// Its first file system.
    pub initramfs: &'a Path,
    /// `boot.json`.
    pub boot: &'a Path,
}

/// What the first process of the VM is to know.
pub fn boot(spec: &Spec, user: User) -> Boot {
    let home = |m: &Path| m.strip_prefix("/home/node").ok().map(Path::to_owned);
    Boot {
        argv: spec.argv.clone(),
        env: spec.env.clone(),
        cwd: start::cwd(spec).into(),
        uid: user.uid,
        gid: user.gid,
        tmp: spec.limits.tmp,
        pids: spec.limits.pids,
        home: spec.mounts.iter().filter_map(|m| home(&m.guest)).collect(),
        files: open_files(),
    }
}

/// How many files the file server may have open.
fn open_files() -> u64 {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    most.unwrap_or(1 << 20).min(1 << 20)
}

/// Bubblewrap's options for the sandbox, as its `--args` reads them.
pub fn options(
    spec: &Spec,
    mounts: &[Checked<'_>],
    user: User,
    accelerator: Accelerator,
    files: &Files<'_>,
) -> Result<Vec<u8>, RuntimeError> {
    let mut w = Words::default();
    view::system(&mut w);
    w.all(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    if accelerator == Accelerator::Kvm {
        w.all(["--dev-bind", "/dev/kvm", "/dev/kvm"]);
    }
    // Bubblewrap makes what is missing on the way with rights for root alone. The file
    // server wants its lock in /var/run.
    for directory in ["/vm", "/vm/share", ROOT, "/var"] {
        w.all(["--perms", "0755", "--dir", directory]);
    }
    w.all(["--perms", "1777", "--tmpfs", "/var/run"]);
    for (from, to) in [
        (files.program, "/vm/nanoclaw"),
        (files.kernel, "/vm/kernel"),
        (files.initramfs, "/vm/initramfs"),
        (files.boot, "/vm/share/boot.json"),
    ] {
        w.add("--ro-bind").add(from).add(to);
    }
    w.all(["--perms", "1777", "--tmpfs", RUN, "--perms", "0755", "--tmpfs", ROOT]);
    // Where the VM puts its end of the proxy, also for a guest that has none.
    for name in ["/run", "/run/nanoclaw"] {
        w.all(["--perms", "0755", "--dir"]).add(format!("{ROOT}{name}"));
    }
    w.all(below(view::options(spec, mounts, user)?));
    w.all(["--remount-ro", "/"]);
    Ok(w.bytes())
}

/// The options of a view at `/`, made into those of the same tree at [`ROOT`]. What the
/// VM makes itself, such as `/proc` and `/tmp`, is an empty directory there.
fn below(options: Words) -> Vec<OsString> {
    let mut words = options.0.into_iter();
    let mut next = move || words.next().unwrap_or_default();
    let mut w = Words::default();
    let at = |path: &OsString| {
        let mut whole = OsString::from(ROOT);
        whole.push(path);
        whole
    };
    let kernels = |path: &OsString| Path::new(path).starts_with("/proc");
    loop {
        let option = next();
        match option.to_str().unwrap_or_default() {
            "" => return w.0,
            "--clearenv" => {}
            "--setenv" => drop((next(), next())),
            "--size" => drop(next()),
            "--perms" => {
                let mode = next();
                w.add(&option).add(mode);
            }
            "--proc" | "--dev" | "--tmpfs" => {
                let path = next();
                // What lies within is made by the VM too.
                if path != "/dev/shm" {
                    w.add("--dir").add(at(&path));
                } else {
                    w.0.truncate(w.0.len() - 2);
                }
            }
            "--dir" => {
                let path = next();
                w.add(&option).add(at(&path));
            }
            "--remount-ro" => {
                let path = next();
                if path == "/" {
                    w.add(&option).add(ROOT);
                }
            }
            // Bindings and links: a source, and a place.
            _ => {
                let (source, path) = (next(), next());
                if !kernels(&path) {
                    w.add(&option).add(source).add(at(&path));
                }
            }
        }
    }
}

/// The whole command, ready to be started: standard input and error are pipes.
pub fn command(
    spec: &Spec,
    mounts: &[Checked<'_>],
    label: &str,
    user: User,
    accelerator: Accelerator,
    tools: &Tools,
    [options, filter]: [&Path; 2],
) -> Command {
    let root = rustix::process::geteuid().is_root();
    let mut w = Words::default();
    w.all(["-c", SHELL_PART, "--setenv", LABEL_VARIABLE, label]).add(options).add(filter);
    w.add("--").add(&tools.bwrap).all(["--setenv", LABEL_VARIABLE, label]).all(NAMESPACES);
    w.all(["--seccomp", "8"]);
    if root {
        let group = (accelerator == Accelerator::Kvm).then(device_group);
        become_user(&mut w, &tools.setpriv, user, group);
        w.add(&tools.bwrap).all(USER_LAYER);
    } else {
        w.all(["--unshare-user", "--args", "9"]);
    }
    w.all(RIGHTS.iter().flat_map(|right| ["--cap-add", right]));
    w.all(["--chdir", "/", "--"])
        .all(checked::witness(mounts, ROOT))
        .all(["/vm/nanoclaw", "machine"]);
    file_server(&mut w, tools);
    w.add("--").add(&tools.setpriv);
    // QEMU needs no rights at all.
    w.all(["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--"]);
    qemu(&mut w, spec, accelerator, tools);

    let mut command = Command::new(&tools.shell);
    command.args(&w.0).current_dir("/").env_clear().env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn device_group() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/dev/kvm").map_or(0, |m| m.gid())
}

/// Each file that the guest has looked at stays open in it.
fn file_server(w: &mut Words, tools: &Tools) {
    let files = format!("--rlimit-nofile={}", open_files());
    if tools.rust_virtiofsd {
        // It changes its root for root alone. Without that it must not reach QEMU, and
        // cannot from a user namespace within.
        w.add(&tools.setpriv).all(["--inh-caps=-all", "--ambient-caps=-all"]);
        w.add(&tools.bwrap).all(USER_LAYER);
        w.all(RIGHTS.iter().flat_map(|right| ["--cap-add", right]));
    }
    w.add(&tools.virtiofsd).add(format!("--socket-path={FILES}")).add(files);
    if tools.rust_virtiofsd {
        w.all(["--shared-dir=/vm/share", "--sandbox=none", "--announce-submounts"]);
        w.all(["--inode-file-handles=never", "--log-level=error", "--modcaps=-mknod:-setfcap"]);
    } else {
        w.all(["-o", "source=/vm/share,sandbox=chroot,announce_submounts,log_level=err"]);
        w.all(["-o", "modcaps=-mknod:-setfcap"]);
    }
}

fn qemu(w: &mut Words, spec: &Spec, accelerator: Accelerator, tools: &Tools) {
    let memory = format!("{}M", spec.limits.memory >> 20);
    // Whole processors, at least one.
    let cpus = spec.limits.cpus.ceil().clamp(1.0, 64.0);
    let (accel, cpu) = match accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Software => ("tcg,thread=multi", "max"),
    };
    w.add(&tools.qemu).all(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    w.all(["-machine", "q35,memory-backend=memory,vmport=off", "-accel", accel, "-cpu", cpu]);
    w.add("-smp").add(format!("{cpus}")).add("-m").add(&memory);
    w.add("-object").add(format!("memory-backend-memfd,id=memory,share=on,size={memory}"));
    w.all(["-kernel", "/vm/kernel", "-initrd", "/vm/initramfs", "-append"]);
    // A kernel that gives up ends the VM at once, and says why on the console.
    w.add("console=ttyS0 quiet loglevel=3 panic=-1 oops=panic tsc=reliable random.trust_cpu=on");
    w.add("-chardev").add(format!("file,id=console,path={CONSOLE}"));
    w.all(["-serial", "chardev:console"]);
    w.add("-chardev").add(format!("socket,id=files,path={FILES}"));
    w.add("-device").add(format!("vhost-user-fs-pci,chardev=files,tag={SHARE},queue-size=1024"));
    w.add("-chardev").add(format!("socket,id=port,path={PORT}"));
    w.all(["-device", "virtio-serial-pci,max_ports=2", "-device"]);
    w.add("virtserialport,chardev=port,nr=1");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_moves_below_as_a_whole_without_what_the_vm_makes_itself() {
        let view = "--clearenv|--setenv|A|--dir|--ro-bind|/usr|/usr|--symlink|usr/bin|/bin|--perms|0755|--dir|/etc|\
                    --proc|/proc|--dev|/dev|--ro-bind|/dev/null|/proc/kcore|--perms|1777|--size|9|--tmpfs|/dev/shm|\
                    --remount-ro|/dev|--perms|1777|--size|9|--tmpfs|/tmp|--bind|/data/--bind|/workspace/group|--remount-ro|/|";
        let words = below(Words(view.split('|').map(OsString::from).collect()));
        let words: Vec<_> = words.iter().map(|w| w.to_string_lossy()).collect();
        assert_eq!(
            words.join(" ").replace(ROOT, "@"),
            "--ro-bind /usr @/usr --symlink usr/bin @/bin --perms 0755 --dir @/etc --dir @/proc --dir @/dev \
             --perms 1777 --dir @/tmp --bind /data/--bind @/workspace/group --remount-ro @"
        );
    }
}
