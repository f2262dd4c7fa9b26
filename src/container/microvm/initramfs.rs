//! The file system that a VM begins with: a cpio archive in the "newc" form that the
//! kernel reads (`Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! It holds our program as `/init`, the modules that the kernel needs to reach the
//! shared directories, and empty directories to mount on.

use crate::machine::init::MODULES;

/// Directories that the first process mounts on.
const DIRECTORIES: [&str; 6] = ["dev", "proc", "share", "root", "cgroup", "modules"];

/// The archive: `init` is the program, `modules` are in the order of loading.
pub fn archive(init: &[u8], modules: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = Archive::default();
    for name in DIRECTORIES {
        archive.entry(name, 0o040_755, (0, 0), &[]);
    }
    // What the kernel opens as the first process's standard streams.
    archive.entry("dev/console", 0o020_600, (5, 1), &[]);
    for (n, module) in modules.iter().enumerate() {
        let name = format!("{}/{n:02}.ko", MODULES.trim_start_matches('/'));
        archive.entry(&name, 0o100_600, (0, 0), module);
    }
    archive.entry("init", 0o100_755, (0, 0), init);
    archive.entry("TRAILER!!!", 0, (0, 0), &[]);
    archive.bytes
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    count: usize,
}

impl Archive {
    fn entry(&mut self, name: &str, mode: usize, device: (usize, usize), data: &[u8]) {
        self.count += 1;
        let head =
            [self.count, mode, 0, 0, 1, 0, data.len(), 0, 0, device.0, device.1, name.len() + 1, 0];
        self.bytes.extend(b"070701");
        for field in head {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_begins_where_the_kernel_looks_for_it() {
        let bytes = archive(b"program", &[b"one".to_vec(), b"two!".to_vec()]);
        let (mut at, mut names, mut modes) = (0, Vec::new(), Vec::new());
        loop {
            assert_eq!(&bytes[at..at + 6], b"070701", "at {at}");
            let field = |n: usize| {
                let from = at + 6 + 8 * n;
                usize::from_str_radix(&String::from_utf8_lossy(&bytes[from..from + 8]), 16)
                    .expect("a number")
            };
            let (size, length) = (field(6), field(11));
            let name = String::from_utf8_lossy(&bytes[at + 110..at + 109 + length]).into_owned();
            let data = (at + 110 + length).next_multiple_of(4);
            if name == "TRAILER!!!" {
                break;
            }
            names.push((name, String::from_utf8_lossy(&bytes[data..data + size]).into_owned()));
            modes.push(field(1));
            at = (data + size).next_multiple_of(4);
        }
        let said = |name: &str| names.iter().find(|(n, _)| n == name).map(|(_, d)| d.as_str());
        assert_eq!(said("init"), Some("program"));
        assert_eq!((said("modules/00.ko"), said("modules/01.ko")), (Some("one"), Some("two!")));
        assert_eq!(said("dev/console"), Some(""));
        assert_eq!(modes.last(), Some(&0o100_755));
    }
}
