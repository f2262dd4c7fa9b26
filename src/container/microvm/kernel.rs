//! The kernel of the VMs: the distribution's own, with those of its modules that are
//! needed to reach the shared directories and the keeper.
//!
//! It is found, never installed or changed: in the directory that `nanoclaw.sh`
//! unpacks one into, or where the system has its own.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the VM cannot do without. Each brings what it depends on.
const NEEDED: [&str; 3] = ["virtio_pci", "virtio_console", "virtiofs"];

/// A kernel that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As it is compressed for booting.
    pub image: PathBuf,
    /// Its modules.
    pub modules: PathBuf,
    /// Such as `6.1.0-41-cloud-amd64`.
    pub version: String,
}

/// The newest kernel beneath the first of `roots` that has one with its modules;
/// beneath each they lie as in `/`. One made for VMs goes before others.
pub fn find(roots: &[PathBuf]) -> Option<Kernel> {
    roots.iter().find_map(|root| {
        let images = fs::read_dir(root.join("boot")).ok()?.flatten();
        let kernels = images.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix("vmlinuz-")?.to_owned();
            let modules = ["lib/modules", "usr/lib/modules"]
                .map(|dir| root.join(dir).join(&version))
                .into_iter()
                .find(|dir| dir.is_dir())?;
            // Often it is root's alone to read.
            fs::File::open(entry.path()).ok()?;
            Some(Kernel { image: entry.path(), modules, version })
        });
        kernels.max_by_key(|k| (k.version.contains("cloud"), numbers(&k.version)))
    })
}

fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

impl Kernel {
    /// The needed modules, unpacked, each after those that it depends on.
    pub fn modules(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut files = HashMap::new();
        index(&self.modules, &mut files)?;
        let built_in = fs::read_to_string(self.modules.join("modules.builtin")).unwrap_or_default();
        for path in built_in.lines() {
            // In the kernel: nothing to load.
            if let Some(name) = module_name(Path::new(path)) {
                files.remove(&name);
                files.insert(name, PathBuf::new());
            }
        }
        let (mut done, mut loaded) = (Vec::new(), Vec::new());
        for name in NEEDED {
            self.load(name, &files, &mut done, &mut loaded)?;
        }
        Ok(loaded)
    }

    fn load(
        &self,
        name: &str,
        files: &HashMap<String, PathBuf>,
        done: &mut Vec<String>,
        loaded: &mut Vec<Vec<u8>>,
    ) -> io::Result<()> {
        if done.iter().any(|d| d == name) {
            return Ok(());
        }
        done.push(name.to_owned());
        let path = files.get(name).ok_or_else(|| {
            let text = format!("the kernel {} has no module {name}", self.version);
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let module = unpacked(fs::read(path)?)?;
        for other in depends(&module) {
            self.load(&other, files, done, loaded)?;
        }
        loaded.push(module);
        Ok(())
    }
}

fn index(directory: &Path, files: &mut HashMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            index(&path, files)?;
        } else if let Some(name) = module_name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// As the kernel calls it: `virtio_pci` for `virtio-pci.ko.xz`.
fn module_name(path: &Path) -> Option<String> {
    let (name, packing) = path.file_name()?.to_str()?.split_once(".ko")?;
    matches!(packing, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

/// The modules that one depends on: `depends=a,b` among its words of information.
fn depends(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|w| w == key) else { return Vec::new() };
    let rest = &module[at + key.len()..];
    let list = rest.split(|&b| b == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(list).into_owned();
    names.split(',').filter(|n| !n.is_empty()).map(|n| n.replace('-', "_")).collect()
}

/// Undoes a compression with the system's tool for it.
fn unpacked(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let tool = match bytes.as_slice() {
        [0xfd, b'7', b'z', ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x1f, 0x8b, ..] => "gzip",
        _ => return Ok(bytes),
    };
    let why = |e: io::Error| io::Error::new(e.kind(), format!("{tool}: {e}"));
    let mut child = Command::new(tool)
        .args(["-d", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(why)?;
    let stdin = child.stdin.take();
    let writer = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&bytes)));
    let output = child.wait_with_output().map_err(why)?;
    let _ = writer.join();
    // Padding after the end makes some tools complain after all is out.
    if output.stdout.is_empty() {
        return Err(io::Error::other(format!("{tool} cannot unpack it")));
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn modules_come_after_what_they_depend_on_and_built_in_ones_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for version in ["6.1.0-9-cloud", "6.1.0-10-cloud", "6.2.0-1-generic"] {
            fs::create_dir_all(path(&format!("lib/modules/{version}/kernel/x"))).unwrap();
            fs::create_dir_all(path("boot")).unwrap();
            fs::write(path(&format!("boot/vmlinuz-{version}")), "k").unwrap();
        }
        fs::write(path("boot/vmlinuz-9.9-cloud"), "without modules").unwrap();
        let kernel = find(&[path("none"), root.path().to_owned()]).unwrap();
        assert_eq!(kernel.version, "6.1.0-10-cloud");
        let module = |name: &str, depends: &str| {
            let text = format!("{name}\0license=GPL\0depends={depends}\0name=x\0");
            fs::write(kernel.modules.join("kernel/x").join(format!("{name}.ko")), text).unwrap();
        };
        module("virtio-pci", "virtio,virtio_ring");
        module("virtio", "virtio_ring");
        module("virtio_ring", "");
        module("virtio_console", "virtio");
        assert!(kernel.modules().unwrap_err().to_string().contains("no module virtiofs"));
        fs::write(kernel.modules.join("modules.builtin"), "kernel/fs/fuse/virtiofs.ko\n").unwrap();
        let names: Vec<String> = kernel
            .modules()
            .unwrap()
            .iter()
            .map(|m| String::from_utf8_lossy(m).split('\0').next().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["virtio_ring", "virtio", "virtio-pci", "virtio_console"]);
    }
}
