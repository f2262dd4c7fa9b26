//! The `microvm` runtime: a kernel of its own for each guest, under QEMU, over the
//! host's `/usr`. No engine, no image.
//!
//! Each VM runs in a sandbox of bubblewrap together with the server of its shared
//! directories and a keeper of ours ([`crate::machine`]); it is that sandbox which is
//! started, listed and stopped, as in the `bwrap` runtime, and which dies with the
//! daemon. The VM has no network device: its serial line carries the standard streams
//! and the connections to the proxy.
//!
//! That `/dev/kvm` can be opened proves nothing, not even that a VM can be made: the
//! probe starts one, and what does not answer in time is not used.

pub mod initramfs;
pub mod kernel;
pub mod sandbox;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::bwrap::launch::{self, need};
use super::bwrap::view::User;
use super::bwrap::{alive, blocking, end, seccomp};
use super::limits::Limiter;
use super::probe::{Question, ask};
use super::start::{self, label, missing, prefix, scratch, spawn, unusable, write};
use super::{
    Boxed, Health, Running, Runtime, RuntimeError, Spec, VM, checked, failed, io_error, user,
};
use crate::ids::Incarnation;
use kernel::Kernel;
use sandbox::{Accelerator, Files};

/// Where Debian, Fedora and others have the server of shared directories.
const FILE_SERVERS: [&str; 4] = [
    "/usr/libexec/virtiofsd",
    "/usr/lib/qemu/virtiofsd",
    "/usr/lib/virtiofsd",
    "/usr/bin/virtiofsd",
];

/// The programs that a VM takes.
#[derive(Clone, Debug)]
pub struct Tools {
    bwrap: PathBuf,
    setpriv: PathBuf,
    shell: PathBuf,
    qemu: PathBuf,
    virtiofsd: PathBuf,
    /// Whether it is the newer one, which has other options.
    rust_virtiofsd: bool,
    kernel: Kernel,
}

/// What every VM of this daemon begins with.
#[derive(Clone, Debug)]
struct Prepared {
    tools: Tools,
    initramfs: PathBuf,
}

/// Runs guests in VMs.
#[derive(Debug)]
pub struct Microvm {
    place: Place,
    accelerator: Accelerator,
    prepared: OnceCell<Prepared>,
}

/// Where the driver finds and keeps things.
#[derive(Clone, Debug)]
pub struct Place {
    /// The static guest program.
    pub program: PathBuf,
    /// A directory of the driver's own: the first file system of VMs, made ready.
    pub cache: PathBuf,
    /// Beneath which kernels are looked for, as in `/`.
    pub kernels: Vec<PathBuf>,
}

impl Microvm {
    /// Looks at nothing yet.
    pub fn new(place: Place, accelerator: Accelerator) -> Microvm {
        Microvm { place, accelerator, prepared: OnceCell::new() }
    }

    /// The uid and gid of its guests, as of every runtime.
    pub fn user(&self) -> Result<(u32, u32), RuntimeError> {
        user::guest(None)
    }

    /// How long a VM may take to do what takes the `bwrap` runtime no time.
    fn patience(&self) -> Duration {
        match self.accelerator {
            Accelerator::Kvm => Duration::from_secs(5),
            Accelerator::Software => Duration::from_secs(60),
        }
    }

    async fn prepared(&self) -> Result<&Prepared, RuntimeError> {
        let place = self.place.clone();
        self.prepared.get_or_try_init(|| blocking(move || prepare(&place))).await
    }

    async fn start(&self, spec: &Spec) -> Result<Running, RuntimeError> {
        let (uid, gid) = self.user()?;
        let user = User { uid, gid };
        let label = label(&spec.install, spec.incarnation)?;
        start::argv(&spec.argv)?;
        let prepared = self.prepared().await?;
        scratch(&spec.scratch)?;
        let boot = spec.scratch.join("boot.json");
        let text = serde_json::to_vec(&sandbox::boot(spec, user))
            .map_err(|e| failed(format!("boot.json cannot be written: {e}")))?;
        write(&boot, &text, 0o644)?;
        let files = Files {
            program: &self.place.program,
            kernel: &prepared.tools.kernel.image,
            initramfs: &prepared.initramfs,
            boot: &boot,
        };
        let mounts = checked::all(&spec.mounts)?;
        let [options, filter] = ["options", "filter"].map(|name| spec.scratch.join(name));
        let bytes = sandbox::options(spec, &mounts, user, self.accelerator, &files)?;
        write(&options, &bytes, 0o600)?;
        write(&filter, &seccomp::program(true).unwrap_or_default(), 0o600)?;
        let (accelerator, tools) = (self.accelerator, &prepared.tools);
        let own = [options.as_path(), &filter];
        spawn(sandbox::command(spec, &mounts, &label, user, accelerator, tools, own))
    }
}

impl Runtime for Microvm {
    fn name(&self) -> &'static str {
        "microvm"
    }

    fn probe(&self) -> Boxed<'_, Result<Health, RuntimeError>> {
        Box::pin(probe(self))
    }

    fn identity(&self) -> Boxed<'_, Result<String, RuntimeError>> {
        Box::pin(async {
            if self.accelerator == Accelerator::Kvm
                && let Some(why) = kvm(Path::new("/dev/kvm"))
            {
                return Err(unusable("microvm", why));
            }
            let prepared = self.prepared().await?;
            Ok(format!("{:?} {}", self.accelerator, prepared.initramfs.display()))
        })
    }

    /// Starts a guest. What goes wrong after this process was made, such as a kernel
    /// that does not start, is told on its standard error.
    fn spawn<'a>(&'a self, spec: &'a Spec) -> Boxed<'a, Result<Running, RuntimeError>> {
        Box::pin(self.start(spec))
    }

    fn list<'a>(
        &'a self,
        install: &'a str,
    ) -> Boxed<'a, Result<BTreeSet<Incarnation>, RuntimeError>> {
        Box::pin(async move {
            let prefix = prefix(install)?;
            blocking(move || alive(&Limiter::Rlimits, &prefix)).await
        })
    }

    fn stop<'a>(
        &'a self,
        install: &'a str,
        incarnation: Incarnation,
        deadline: Duration,
    ) -> Boxed<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let label = label(install, incarnation)?;
            // Everything is in the sandbox's pid namespace and ends with its first process.
            blocking(move || end(&Limiter::Rlimits, &label, Instant::now() + deadline)).await
        })
    }
}

/// Finds the tools and makes kernel and initramfs ready.
fn prepare(place: &Place) -> Result<Prepared, RuntimeError> {
    let tools = tools(place)?;
    let program = fs::read(&place.program).map_err(|_| {
        missing(&place.program.to_string_lossy(), "./nanoclaw.sh install builds it")
    })?;
    let about = |path: &Path| fs::metadata(path).map(|m| (m.len(), m.mtime(), m.mtime_nsec()));
    let key = (about(&place.program).ok(), about(&tools.kernel.image).ok());
    let directory = place.cache.join(format!("{}-{:x}", tools.kernel.version, digest(&key)));
    let initramfs = directory.join("initramfs");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&directory)
        .map_err(|e| io_error("create", &directory, e))?;
    if !initramfs.exists() {
        let modules =
            tools.kernel.modules().map_err(|e| io_error("use", &tools.kernel.modules, e))?;
        let new = directory.join(format!("{}.new", std::process::id()));
        write(&new, &initramfs::archive(&program, &modules), 0o644)?;
        fs::rename(&new, &initramfs).map_err(|e| io_error("write", &initramfs, e))?;
    }
    Ok(Prepared { tools, initramfs })
}

fn digest(value: &impl std::hash::Hash) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::new().hash_one(value)
}

fn tools(place: &Place) -> Result<Tools, RuntimeError> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(unusable("microvm", "VMs are started on x86-64 only"));
    }
    let qemu = need("qemu-system-x86_64", "sudo apt install qemu-system-x86")?;
    let found = FILE_SERVERS.iter().map(PathBuf::from).find(|path| path.is_file());
    let virtiofsd = found.ok_or_else(|| missing("virtiofsd", "sudo apt install virtiofsd"))?;
    let help = std::process::Command::new(&virtiofsd).arg("--help").output();
    let help = help.map_err(|e| io_error("run", &virtiofsd, e))?;
    let kernel = kernel::find(&place.kernels)
        .ok_or_else(|| missing("a Linux kernel for VMs", "unpack one as docs/microvm.md says"))?;
    Ok(Tools {
        bwrap: launch::bwrap()?,
        setpriv: launch::setpriv()?,
        shell: need("bash", "sudo apt install bash")?,
        qemu,
        virtiofsd,
        rust_virtiofsd: String::from_utf8_lossy(&help.stdout).contains("--shared-dir"),
        kernel,
    })
}

/// See [`Runtime::probe`].
async fn probe(runtime: &Microvm) -> Result<Health, RuntimeError> {
    let question = Question {
        runtime,
        version: version(runtime.prepared().await?).await?,
        user: runtime.user()?,
        place: &std::env::temp_dir(),
        boundary: VM,
        deadline: runtime.patience(),
        explain: |said| {
            let first = said.lines().next().filter(|l| !l.is_empty());
            format!("the VM ended: {}", first.unwrap_or("without a word"))
        },
    };
    let health = ask(question).await.map_err(|error| match error {
        RuntimeError::Unusable { reason, .. } if runtime.accelerator == Accelerator::Kvm => {
            unusable("microvm", format!("KVM is of no use here ({reason}): {EMULATE}"))
        }
        other => other,
    })?;
    // Its memory and processors are all that there is; the first process of the VM does
    // not start a guest without the limit of processes.
    Ok(Health { limits: "full".to_owned(), ..health })
}

/// What helps where there is no KVM.
const EMULATE: &str = "NANOCLAW_MICROVM=emulate works without, slowly";

/// Why guests cannot use KVM, as far as the device says it.
fn kvm(device: &Path) -> Option<String> {
    let Ok(meta) = fs::metadata(device) else {
        return Some(format!("this machine has no {}: {EMULATE}", device.display()));
    };
    // Where the daemon is root its guests are in the device's group, if that is not root's.
    let root = rustix::process::geteuid().is_root();
    let allowed = meta.mode() & 6 == 6 || (meta.mode() & 0o60 == 0o60 && meta.gid() != 0);
    if if root { allowed } else { File::options().read(true).write(true).open(device).is_ok() } {
        return None;
    }
    let next = match root {
        true => format!("chgrp kvm {0} && chmod 660 {0}", device.display()),
        false => "sudo adduser $USER kvm, then log in again".to_owned(),
    };
    Some(format!("its guests may not use {}: {next}", device.display()))
}

/// QEMU's and the kernel's, and how the processor comes to be.
async fn version(prepared: &Prepared) -> Result<String, RuntimeError> {
    let qemu = &prepared.tools.qemu;
    let output = tokio::process::Command::new(qemu).arg("--version").kill_on_drop(true).output();
    let output = output.await.map_err(|e| io_error("run", qemu, e))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split_whitespace().skip_while(|w| *w != "version").nth(1);
    Ok(format!("{}, Linux {}", number.unwrap_or("?"), prepared.tools.kernel.version))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn who_may_not_use_kvm_is_told_what_helps() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |mode| {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            kvm(file.path())
        };
        assert_eq!(with(0o666), None);
        let refused = with(0o000).unwrap();
        assert!(refused.contains("chmod 660") || refused.contains("adduser"), "{refused}");
        assert!(kvm(Path::new("/none")).unwrap().contains("NANOCLAW_MICROVM=emulate"));
    }
}
