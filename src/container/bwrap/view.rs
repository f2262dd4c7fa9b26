//! What a guest sees of the host under bubblewrap: the list of its options.
//!
//! The root is an empty tmpfs. Into it go the host's `/usr` read-only, a small
//! `/etc` of our own, fresh `/proc`, `/dev`, `/tmp` and home, and the mounts of the
//! spec; then it is made read-only. What is not listed here is not there.
//!
//! The names of the mounts' sources can be read in `/proc/self/mountinfo`, as in any
//! container; what they lead to cannot.

use std::fs;
use std::path::Path;

use crate::container::checked::{Checked, MOUNT_ROOTS};
use crate::container::start::{Words, write};
use crate::container::{RuntimeError, Spec, failed, io_error};

/// Pieces of the host's `/etc` that programs need and that hold no secret.
const ETC: [&str; 11] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "ld.so.cache",
    "localtime",
    "pki/tls/certs",
    "pki/ca-trust",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];
/// Files of `/proc` that tell of the host's keys, memory and work.
const HIDDEN: [&str; 5] = ["kcore", "keys", "latency_stats", "sched_debug", "timer_list"];
/// Bytes of `/dev/shm` at most.
const SHM: u64 = 64 << 20;

/// The user that a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// User id, inside and outside.
    pub uid: u32,
    /// Group id, inside and outside.
    pub gid: u32,
}

/// The options for a spec. Writes the guest's `/etc` into `spec.scratch`.
///
/// # Errors
///
/// [`RuntimeError::Failed`] names the mount or variable that is not acceptable.
pub fn options(spec: &Spec, mounted: &[Checked<'_>], user: User) -> Result<Words, RuntimeError> {
    let scratch =
        fs::canonicalize(&spec.scratch).map_err(|e| io_error("find", &spec.scratch, e))?;
    if scratch.starts_with("/usr") {
        return Err(failed(format!(
            "{} lies in /usr, which every guest can read: move the installation elsewhere",
            scratch.display()
        )));
    }
    let mut o = Words::default();
    // Also takes back the variable that is the label.
    o.mixed([&"--clearenv"]);
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(failed(format!(
                "{name:?} cannot be an environment variable of the container"
            )));
        }
        o.mixed([&"--setenv", name, value]);
    }
    system(&mut o);
    etc(&mut o, spec, user)?;
    o.mixed([&"--proc", &"/proc", &"--dev", &"/dev"]);
    for path in HIDDEN.map(|name| Path::new("/proc").join(name)).iter().filter(|p| p.exists()) {
        o.mixed([&"--ro-bind", &"/dev/null", path]);
    }
    tmpfs(&mut o, "1777", spec.limits.tmp.min(SHM), "/dev/shm");
    o.mixed([&"--remount-ro", &"/dev"]);
    tmpfs(&mut o, "1777", spec.limits.tmp, "/tmp");
    directory(&mut o, Path::new("/home"));
    // Not 0755: where the daemon is root it is root who makes it. Nobody else is
    // in there.
    tmpfs(&mut o, "1777", spec.limits.tmp, "/home/node");
    for root in MOUNT_ROOTS {
        if root != "/home/node" {
            directory(&mut o, Path::new(root));
        }
    }
    mounts(&mut o, mounted)?;
    o.mixed([&"--remount-ro", &"/"]);
    Ok(o)
}

/// The host's programs and libraries.
pub fn system(o: &mut Words) {
    o.mixed([&"--ro-bind", &"/usr", &"/usr"]);
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let path = Path::new("/").join(name);
        match fs::read_link(&path) {
            Ok(target) => o.mixed([&"--symlink", &target, &path]),
            Err(_) => o.mixed([&"--ro-bind-try", &path, &path]),
        };
    }
}

fn etc(o: &mut Words, spec: &Spec, user: User) -> Result<(), RuntimeError> {
    let User { uid, gid } = user;
    let files = [
        (
            "passwd",
            format!(
                "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nnode:x:{uid}:{gid}:node:/home/node:/bin/bash\n"
            ),
        ),
        ("group", format!("root:x:0:\nnode:x:{gid}:\n")),
        ("hosts", "127.0.0.1 localhost nanoclaw\n::1 localhost\n".to_owned()),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
        // No name server: names are resolved by the proxy.
        ("resolv.conf", String::new()),
    ];
    let dir = spec.scratch.join("etc");
    fs::create_dir_all(&dir).map_err(|e| io_error("create", &dir, e))?;
    directory(o, Path::new("/etc"));
    for (name, text) in files {
        let path = dir.join(name);
        write(&path, text.as_bytes(), 0o644)?;
        o.mixed([&"--ro-bind", &path, &Path::new("/etc").join(name)]);
    }
    for name in ETC {
        let path = Path::new("/etc").join(name);
        if path.exists() {
            let above: Vec<&Path> =
                path.ancestors().skip(1).filter(|p| p.components().count() > 2).collect();
            for parent in above.into_iter().rev() {
                directory(o, parent);
            }
            o.mixed([&"--ro-bind", &path, &path]);
        }
    }
    Ok(())
}

fn mounts(o: &mut Words, mounts: &[Checked<'_>]) -> Result<(), RuntimeError> {
    for Checked { source, guest, writable, .. } in mounts {
        if *writable && source.starts_with("/usr") {
            let text = "lies in /usr, which every guest can read: move it elsewhere";
            return Err(failed(format!("cannot mount {}: it {text}", source.display())));
        }
        // Bubblewrap makes what is missing on the way with rights for root alone.
        let above: Vec<&Path> =
            guest.ancestors().skip(1).filter(|p| p.components().count() > 2).collect();
        for parent in above.into_iter().rev().filter(|p| *p != Path::new("/home/node")) {
            directory(o, parent);
        }
        directory(o, guest);
        o.add(if *writable { "--bind" } else { "--ro-bind" }).add(source).add(guest);
    }
    Ok(())
}

fn directory(o: &mut Words, path: &Path) {
    o.mixed([&"--perms", &"0755", &"--dir", &path]);
}

fn tmpfs(o: &mut Words, mode: &str, bytes: u64, path: &str) {
    o.mixed([&"--perms", &mode, &"--size", &bytes.to_string(), &"--tmpfs", &path]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::container::checked::all;
    use crate::container::{Limits, Mount};
    use crate::ids::{Folder, Incarnation};

    fn spec(scratch: &Path, mounts: Vec<Mount>) -> Spec {
        Spec {
            install: "i".into(),
            incarnation: Incarnation(1),
            group: Folder::parse("main").unwrap(),
            mounts,
            env: vec![("A".into(), "b=c\nd".into())],
            argv: vec!["true".into()],
            scratch: scratch.to_owned(),
            limits: Limits::default(),
        }
    }

    fn try_mount(host: &Path, guest: &str) -> Result<String, String> {
        let scratch = tempfile::tempdir().unwrap();
        let mount = Mount { host: host.to_owned(), guest: guest.into(), writable: false };
        tried(&spec(scratch.path(), vec![mount]))
    }

    #[test]
    fn only_plain_directories_are_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().canonicalize().unwrap().join(name);
        fs::write(path("file"), "").unwrap();
        fs::create_dir(path("real")).unwrap();
        std::os::unix::fs::symlink(path("real"), path("link")).unwrap();
        let options = try_mount(&path("real"), "/workspace/extra/x").unwrap();
        assert!(
            options.contains(&format!("--ro-bind {} /workspace/extra/x ", path("real").display())),
            "{options}"
        );
        assert!(
            options.contains(
                "--perms 0755 --dir /workspace/extra --perms 0755 --dir /workspace/extra/x"
            )
        );
        for (name, why) in [
            ("file", "not a directory"),
            ("link", "is a link"),
            ("link/", "is a link"),
            ("none", "does not exist"),
        ] {
            let error = try_mount(&path(name), "/workspace/extra/x").unwrap_err();
            assert!(
                error.contains(why) && error.contains(&path(name).display().to_string()),
                "{error}"
            );
        }
        assert!(try_mount(Path::new("real"), "/workspace/x").unwrap_err().contains("absolute"));
    }

    #[test]
    fn nothing_is_mounted_over_the_system() {
        for guest in [
            "/",
            "/etc",
            "/usr/lib",
            "/workspace",
            "/workspace/../etc",
            "workspace/x",
            "/workspace2/x",
            "/home/node",
        ] {
            assert!(
                try_mount(Path::new("/usr"), guest).unwrap_err().contains("must be beneath"),
                "{guest}"
            );
        }
        let mount =
            |guest: &str| Mount { host: "/usr".into(), guest: guest.into(), writable: false };
        let scratch = tempfile::tempdir().unwrap();
        let nested =
            spec(scratch.path(), vec![mount("/workspace/group/in"), mount("/workspace/group")]);
        assert!(tried(&nested).unwrap_err().contains("lies in the mount"));
    }

    #[test]
    fn a_group_in_usr_would_be_seen_by_all_and_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let group =
            Mount { host: "/usr/lib".into(), guest: "/workspace/group".into(), writable: true };
        assert!(
            tried(&spec(scratch.path(), vec![group])).unwrap_err().contains("every guest can read")
        );
        assert!(
            tried(&spec(Path::new("/usr/lib"), vec![]))
                .unwrap_err()
                .contains("every guest can read")
        );
    }

    #[test]
    fn the_environment_is_the_specs() {
        let options = try_mount(Path::new("/usr"), "/opt/x").unwrap();
        assert!(
            options.starts_with("--clearenv --setenv A b=c\nd --ro-bind /usr /usr"),
            "{options}"
        );
        assert!(options.ends_with("--remount-ro / "));
        let scratch = tempfile::tempdir().unwrap();
        let mut bad = spec(scratch.path(), vec![]);
        bad.env = vec![("A=B".into(), String::new())];
        assert!(tried(&bad).unwrap_err().contains("A=B"));
    }

    fn tried(spec: &Spec) -> Result<String, String> {
        let mounts = all(&spec.mounts).map_err(|e| e.to_string())?;
        let options = options(spec, &mounts, User { uid: 5, gid: 6 }).map_err(|e| e.to_string())?;
        Ok(String::from_utf8(options.bytes()).unwrap().replace('\0', " "))
    }
}
