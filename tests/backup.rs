//! A copy of an installation at work, and the way back.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};

use support::{Client, Home};

#[test]
fn a_backup_of_a_daemon_at_work_is_restored_whole_and_goes_on() {
    let home = Home::new();
    home.add_group("family", "t:1");
    std::fs::write(home.path().join(".env"), "ASSISTANT_NAME=Berta\n").unwrap();
    let family = home.path().join("groups/family");
    std::fs::create_dir_all(family.join("sub")).unwrap();
    std::fs::write(family.join("sub/tool.sh"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(family.join("sub/tool.sh"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("/etc/shadow", family.join("link")).unwrap();
    // It takes no place here, and would fill the disk as what it says it is.
    std::fs::File::create(family.join("holes")).unwrap().set_len(1 << 40).unwrap();
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "a", "the boiler code is 4711");
    client.answer("t:1", "4711");
    client.message("t:1", "b", "think:3000 under way");
    support::eventually("it to run", || {
        home.ledger::<i64>("SELECT count(*) FROM turns WHERE state = 'running'") == 1
    });
    let place = home.path().join("backup");
    let to = place.to_str().unwrap();
    let (code, out, error) = home.run(&["backup", to]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("left out groups/family/link"), "{out}");
    assert!(out.contains("left out groups/family/holes"), "{out}");
    assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(home.run(&["backup", to]).0, 1, "never over another");
    let inside = family.join("backup");
    assert_eq!(home.run(&["backup", inside.to_str().unwrap()]).0, 1, "not where agents write");
    client.answer("t:1", "under way");
    let (code, _, error) = home.run(&["restore", to]);
    assert!(code == 1 && error.contains("a daemon serves"), "{error}");
    drop(client);
    assert_eq!(daemon.stop(), 0);
    assert_eq!(home.run(&["restore", to]).0, 1, "not over an installation");

    let other = Home::new();
    let (code, out, error) = other.run(&["restore", to]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("restored and compared"), "{out}");
    let tool = other.path().join("groups/family/sub/tool.sh");
    assert_ne!(tool.metadata().unwrap().permissions().mode() & 0o100, 0);
    assert!(other.path().join("groups/family/link").symlink_metadata().is_err());
    assert_eq!(std::fs::read(other.path().join(".env")).unwrap(), b"ASSISTANT_NAME=Berta\n");
    let _daemon = other.start();
    let client = Client::connect(&other, "t:");
    // What was under way is answered by the copy too.
    client.answer("t:1", "under way");
    client.message("t:1", "c", r#"tool:read_history {"query":"boiler"}"#);
    assert!(client.answer("t:1", "\"messages\"").contains("4711"));
}

#[test]
fn a_damaged_backup_is_refused_and_changes_nothing() {
    let home = Home::new();
    home.add_group("family", "t:1");
    std::fs::write(home.path().join("groups/family/note"), "mine").unwrap();
    let place = home.path().join("backup");
    let to = place.to_str().unwrap();
    let (code, _, error) = home.run(&["backup", to]);
    assert_eq!(code, 0, "{error}");
    let note = place.join("groups/family/note");
    for damage in [Some("yours"), None] {
        match damage {
            Some(text) => std::fs::write(&note, text).unwrap(),
            None => std::fs::remove_file(&note).unwrap(),
        }
        let other = Home::new();
        let (code, _, error) = other.run(&["restore", to]);
        assert_eq!(code, 1);
        assert!(error.contains("damaged") && error.contains("groups/family/note"), "{error}");
        assert!(!other.path().join("store/messages.db").exists());
    }
}
