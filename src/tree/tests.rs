#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use super::*;

/// A tree to attack, and a secret outside of it.
struct Fixture {
    root: tempfile::TempDir,
    tree: Tree,
}

fn fixture() -> Fixture {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("guest/sub")).unwrap();
    std::fs::create_dir(root.path().join("host")).unwrap();
    std::fs::write(root.path().join("host/secret"), "secret").unwrap();
    std::fs::write(root.path().join("guest/sub/file"), "hello").unwrap();
    let tree = Tree::open(&root.path().join("guest")).unwrap();
    Fixture { root, tree }
}

fn mkfifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

impl Fixture {
    fn guest(&self, path: &str) -> PathBuf {
        self.root.path().join("guest").join(path)
    }
    fn host(&self, path: &str) -> PathBuf {
        self.root.path().join("host").join(path)
    }
    fn secret(&self) -> String {
        std::fs::read_to_string(self.host("secret")).unwrap()
    }
}

#[test]
fn reads_a_file_beneath_and_nothing_by_a_bad_name() {
    let f = fixture();
    assert_eq!(f.tree.read("sub/file", 5).unwrap(), b"hello");
    assert!(matches!(f.tree.read("sub/none", 5), Err(TreeError::Missing(_))));
    let absolute = f.host("secret");
    for bad in ["", "..", "../host/secret", "sub/../../host/secret", absolute.to_str().unwrap()] {
        assert!(matches!(f.tree.read(bad, 100), Err(TreeError::BadName(_))), "{bad}");
    }
}

#[test]
fn links_are_refused_in_every_position() {
    let f = fixture();
    symlink(f.host("secret"), f.guest("absolute")).unwrap();
    symlink("../host/secret", f.guest("relative")).unwrap();
    symlink("sub/file", f.guest("inward")).unwrap();
    symlink(f.host(""), f.guest("dir")).unwrap();
    symlink("sub", f.guest("inward-dir")).unwrap();
    symlink("nowhere", f.guest("dangling")).unwrap();
    symlink("loop", f.guest("loop")).unwrap();
    for link in ["absolute", "relative", "inward", "dangling", "loop"] {
        assert!(matches!(f.tree.read(link, 100), Err(TreeError::NotRegular(_))), "{link}");
        assert!(matches!(f.tree.open_dir(link), Err(TreeError::NotDirectory(_))), "{link}");
    }
    for path in ["dir/secret", "inward-dir/file"] {
        assert!(matches!(f.tree.read(path, 100), Err(TreeError::NotDirectory(_))), "{path}");
        assert!(f.tree.write_new(path, b"x").is_err(), "{path}");
        assert!(f.tree.remove(path).is_err(), "{path}");
        assert!(f.tree.remove_all(path).is_err(), "{path}");
        assert!(f.tree.create_dir(path).is_err(), "{path}");
    }
    assert!(matches!(f.tree.create_dir("dir"), Err(TreeError::NotDirectory(_))));
    symlink(f.guest("sub"), f.root.path().join("link")).unwrap();
    assert!(matches!(Tree::open(&f.root.path().join("link")), Err(TreeError::NotDirectory(_))));
    assert_eq!(f.secret(), "secret");
}

#[test]
fn a_write_replaces_a_link_and_not_its_target() {
    let f = fixture();
    symlink(f.host("secret"), f.guest("memory")).unwrap();
    f.tree.write_new("memory", b"new").unwrap();
    assert_eq!(f.tree.read("memory", 100).unwrap(), b"new");
    assert_eq!(f.secret(), "secret");
    f.tree.write_new("sub/file", b"again").unwrap();
    assert_eq!(f.tree.read("sub/file", 100).unwrap(), b"again");
    std::fs::create_dir(f.guest("taken")).unwrap();
    assert!(f.tree.write_new("taken", b"x").is_err());
    assert_eq!(f.tree.list(10).unwrap(), ["memory", "sub", "taken"], "no temporary name is left");
}

#[test]
fn pipes_sockets_devices_and_directories_are_refused_at_once() {
    let f = fixture();
    mkfifo(&f.guest("pipe"));
    let _socket = UnixListener::bind(f.guest("socket")).unwrap();
    let start = Instant::now();
    for name in ["pipe", "socket", "sub"] {
        assert!(matches!(f.tree.read(name, 100), Err(TreeError::NotRegular(_))), "{name}");
    }
    assert!(start.elapsed() < Duration::from_secs(1));
    let dev = Tree::open(Path::new("/dev")).unwrap();
    assert!(matches!(dev.read("zero", 100), Err(TreeError::NotRegular(_))));
}

#[test]
fn huge_and_hard_linked_files_are_refused() {
    let f = fixture();
    let huge = std::fs::File::create(f.guest("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    assert!(matches!(
        f.tree.read("huge", 1 << 20),
        Err(TreeError::TooLarge { limit: 0x10_0000, .. })
    ));
    assert!(matches!(f.tree.read("sub/file", 4), Err(TreeError::TooLarge { .. })));
    std::fs::hard_link(f.host("secret"), f.guest("hard")).unwrap();
    assert!(matches!(f.tree.read("hard", 100), Err(TreeError::Linked(_))));
}

#[test]
fn swapping_during_use_never_shows_the_secret() {
    let f = fixture();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (plain, link) = (f.guest("plain"), f.guest("link"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // The same name is a file, a link to the secret, a directory.
                std::fs::write(&plain, "plain").unwrap();
                let _ = std::fs::rename(&plain, f.guest("name"));
                symlink(f.host("secret"), &link).unwrap();
                let _ = std::fs::rename(&link, f.guest("name"));
                let _ = std::fs::rename(f.guest("sub"), f.guest("sub2"));
                let _ = symlink(f.host(""), f.guest("sub"));
                let _ = std::fs::remove_file(f.guest("sub"));
                let _ = std::fs::rename(f.guest("sub2"), f.guest("sub"));
            }
        });
        let (mut read, mut refused) = (0, 0);
        for _ in 0..1500 {
            for path in ["name", "sub/file", "sub/secret"] {
                match f.tree.read(path, 100) {
                    Ok(bytes) => {
                        assert_ne!(bytes, b"secret");
                        read += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        println!("swapped during use: {read} reads, {refused} refusals");
        assert!(refused > 0);
    });
}

#[test]
fn bad_things_are_set_aside_whatever_they_are() {
    let f = fixture();
    let errors = Tree::open(&f.root.path().join("host")).unwrap();
    symlink(f.host("secret"), f.guest("link")).unwrap();
    mkfifo(&f.guest("pipe"));
    for (n, name) in ["link", "pipe", "sub"].iter().enumerate() {
        assert!(f.tree.set_aside(name, &errors, &format!("bad-{n}")).unwrap(), "{name}");
    }
    assert!(f.tree.list(10).unwrap().is_empty());
    assert_eq!(errors.list(10).unwrap(), ["bad-0", "bad-1", "bad-2", "secret"]);
    assert_eq!(f.secret(), "secret");
    assert!(matches!(f.tree.set_aside("none", &errors, "x"), Err(TreeError::Missing(_))));
    // What cannot be moved is removed: a file cannot replace a directory.
    std::fs::write(f.guest("file"), "x").unwrap();
    assert!(!f.tree.set_aside("file", &errors, "bad-2").unwrap());
    assert!(f.tree.list(10).unwrap().is_empty());
}

#[test]
fn removing_follows_no_link_and_minds_no_depth() {
    let f = fixture();
    symlink(f.host(""), f.guest("sub/out")).unwrap();
    std::fs::create_dir_all(f.guest("sub/locked/in")).unwrap();
    std::fs::set_permissions(f.guest("sub/locked"), std::fs::Permissions::from_mode(0o000))
        .unwrap();
    let mut deep = f.tree.open_dir("sub").unwrap();
    for _ in 0..1000 {
        deep = deep.create_dir("d").unwrap();
    }
    f.tree.remove_all("sub").unwrap();
    f.tree.remove_all("sub").unwrap();
    assert!(f.tree.list(10).unwrap().is_empty());
    assert_eq!(f.secret(), "secret");
}

#[test]
fn owners_change_without_following_links() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    let f = fixture();
    symlink(f.host("secret"), f.guest("sub/link")).unwrap();
    symlink(f.host(""), f.guest("dir")).unwrap();
    std::fs::hard_link(f.host("secret"), f.guest("hard")).unwrap();
    // Not the hard link.
    f.tree.chown_all(60123, 60123).unwrap();
    for own in ["", "sub", "sub/file", "sub/link", "dir"] {
        assert_eq!(std::fs::symlink_metadata(f.guest(own)).unwrap().uid(), 60123, "{own:?}");
    }
    for kept in [f.host("secret"), f.host("")] {
        assert_eq!(std::fs::metadata(&kept).unwrap().uid(), 0, "{}", kept.display());
    }
    let mut deep = f.tree.open_dir("sub").unwrap();
    for _ in 0..200 {
        deep = deep.create_dir("d").unwrap();
    }
    // What is deeper than anything honest stops nobody.
    f.tree.chown_all(60123, 60123).unwrap();
    let first = std::fs::metadata(f.guest("sub/d")).unwrap();
    assert_eq!(first.uid(), 60123);
}

#[test]
fn a_copy_is_bounded_and_follows_no_link_at_either_end() {
    let f = fixture();
    let into = Tree::open(&f.host("")).unwrap();
    assert_eq!(f.tree.copy("sub/file", &into, "copy", 5, None).unwrap(), 5);
    assert_eq!(std::fs::read(f.host("copy")).unwrap(), b"hello");
    assert!(matches!(
        f.tree.copy("sub/file", &into, "none", 4, None),
        Err(TreeError::TooLarge { limit: 4, .. })
    ));
    let sparse = File::create(f.guest("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    assert!(matches!(
        f.tree.copy("sparse", &into, "none", 1 << 20, None),
        Err(TreeError::TooLarge { .. })
    ));
    symlink(f.host("secret"), f.guest("link")).unwrap();
    assert!(matches!(f.tree.copy("link", &into, "none", 9, None), Err(TreeError::NotRegular(_))));
    mkfifo(&f.guest("pipe"));
    assert!(matches!(f.tree.copy("pipe", &into, "none", 9, None), Err(TreeError::NotRegular(_))));
    // Into a directory of the guest: what it has put under the name goes.
    symlink(f.host("secret"), f.guest("taken")).unwrap();
    f.tree.copy("sub/file", &f.tree, "taken", 5, None).unwrap();
    assert_eq!(
        (f.secret().as_str(), std::fs::read(f.guest("taken")).unwrap()),
        ("secret", b"hello".to_vec())
    );
    let mut left: Vec<_> =
        std::fs::read_dir(f.host("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["copy", "secret"], "nothing unfinished is left");
}
