//! The rules of 1.x for additional mounts, and the two that it lacked.
#![allow(clippy::unwrap_used)]

use super::*;

/// A home with `projects` (rw), `docs` (ro) and the installation in `claw`.
struct Machine {
    _dir: tempfile::TempDir,
    home: PathBuf,
}

impl Machine {
    fn new() -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        for path in
            ["projects/site", "projects/claw/groups", "docs/work", "other", "projects/my.env.d"]
        {
            std::fs::create_dir_all(home.join(path)).unwrap();
        }
        std::fs::write(home.join("docs/file"), "x").unwrap();
        std::os::unix::fs::symlink(home.join("other"), home.join("docs/link")).unwrap();
        Machine { _dir: dir, home }
    }

    fn list(&self, non_main_read_only: bool) -> Result<Allowlist, String> {
        let text = serde_json::json!({
            "allowedRoots": [
                {"path": "~/none", "allowReadWrite": true},
                {"path": "~/projects", "allowReadWrite": true, "description": "code"},
                {"path": self.home.join("docs"), "allowReadWrite": false},
            ],
            "blockedPatterns": ["secret"], "nonMainReadOnly": non_main_read_only,
        });
        Allowlist::from_read(Ok(text.to_string()))
    }

    fn resolve(&self, mounts: serde_json::Value, is_main: bool) -> (Vec<Mount>, Vec<String>) {
        self.resolve_by(mounts, &self.list(true), is_main, &[])
    }

    fn resolve_by(
        &self,
        mounts: serde_json::Value,
        list: &Result<Allowlist, String>,
        is_main: bool,
        others: &[PathBuf],
    ) -> (Vec<Mount>, Vec<String>) {
        let own = [self.home.join("projects/claw"), self.home.join(".config/nanoclaw")];
        let place = Place { user_home: &self.home, own: &own, others, is_main };
        let config = serde_json::json!({"additionalMounts": mounts, "timeout": 1}).to_string();
        resolve(&config, list, &place)
    }

    fn why(&self, mount: serde_json::Value) -> String {
        let (mounts, rejected) = self.resolve(serde_json::json!([mount]), true);
        assert_eq!(mounts, []);
        rejected.concat()
    }
}

#[test]
fn an_allowed_directory_is_mounted_under_its_name_read_only_by_default() {
    let m = Machine::new();
    let asked = serde_json::json!([{"hostPath": "~/projects/site"},
        {"hostPath": m.home.join("docs/work"), "containerPath": "papers/work", "readonly": false}]);
    let (mounts, rejected) = m.resolve(asked, true);
    assert_eq!(rejected, [""; 0]);
    let mount = |host: &str, guest: &str| Mount {
        host: m.home.join(host),
        guest: guest.into(),
        writable: false,
    };
    assert_eq!(
        mounts,
        [
            mount("projects/site", "/workspace/extra/site"),
            mount("docs/work", "/workspace/extra/papers/work")
        ]
    );
}

#[test]
fn writing_needs_the_group_the_root_and_the_word_false() {
    let m = Machine::new();
    let writable = |readonly: serde_json::Value, list_strict: bool, is_main: bool, path: &str| {
        let asked = serde_json::json!([{"hostPath": m.home.join(path), "readonly": readonly}]);
        m.resolve_by(asked, &m.list(list_strict), is_main, &[]).0[0].writable
    };
    let no = serde_json::json!(false);
    assert!(writable(no.clone(), true, true, "projects/site"));
    assert!(writable(no.clone(), false, false, "projects/site"));
    assert!(!writable(no.clone(), true, false, "projects/site"), "nonMainReadOnly");
    assert!(!writable(no, true, true, "docs/work"), "the root is read-only");
    assert!(!writable(serde_json::Value::Null, true, true, "projects/site"));
}

#[test]
fn what_may_not_be_mounted_is_left_out_with_its_reason() {
    let m = Machine::new();
    let path = |p: &str| serde_json::json!({"hostPath": m.home.join(p)});
    for (mount, why) in [
        (path("none"), "cannot be found"),
        (path("other"), "no allowed root"),
        (path("docs/link"), "no allowed root"),
        (path("docs/file"), "not a directory"),
        (path("projects/my.env.d"), "\".env\", which is blocked"),
        (path("projects/claw/groups"), "NanoClaw's own files"),
        (path("projects"), "NanoClaw's own files"),
        (serde_json::json!({"hostPath": "projects/site"}), "neither absolute"),
        (serde_json::json!({"containerPath": "x"}), "makes no sense"),
    ] {
        let said = m.why(mount.clone());
        assert!(said.contains(why), "{mount}: {said}");
    }
    for name in ["", "  ", "/etc", "a/../b", "..", ".", "a:rw", "a\nb"] {
        let said = m.why(serde_json::json!({"hostPath": "~/projects/site", "containerPath": name}));
        assert!(said.contains("no place beneath"), "{name:?}: {said}");
    }
    std::fs::create_dir_all(m.home.join("projects/top-secret")).unwrap();
    assert!(
        m.why(path("projects/top-secret")).contains("\"secret\""),
        "the owner's patterns count too"
    );
    assert!(m.why(serde_json::json!({"hostPath": "/"})).contains("no place beneath"));
}

#[test]
fn without_a_good_allowlist_nothing_is_mounted() {
    let m = Machine::new();
    let asked = serde_json::json!([{"hostPath": "~/projects/site"}]);
    for text in [
        Err(io::ErrorKind::NotFound.into()),
        Ok("{".to_owned()),
        Ok(r#"{"allowedRoots":[],"blockedPatterns":[]}"#.to_owned()),
        Ok(r#"{"allowedRoots":{},"blockedPatterns":[],"nonMainReadOnly":true}"#.to_owned()),
        Ok(r#"{"allowedRoots":[],"blockedPatterns":[],"nonMainReadOnly":"yes"}"#.to_owned()),
    ] {
        let (mounts, rejected) =
            m.resolve_by(asked.clone(), &Allowlist::from_read(text), true, &[]);
        assert!(mounts.is_empty() && rejected[0].contains("mount-allowlist.json"), "{rejected:?}");
    }
}

#[test]
fn two_mounts_do_not_share_a_place() {
    let m = Machine::new();
    let asked = serde_json::json!([{"hostPath": "~/projects/site", "containerPath": "a"},
        {"hostPath": "~/docs/work", "containerPath": "a/b"}, {"hostPath": "~/docs/work", "containerPath": "a"}]);
    let (mounts, rejected) = m.resolve(asked, true);
    assert_eq!((mounts.len(), rejected.len()), (1, 2));
    assert!(rejected[0].contains("is taken by"), "{rejected:?}");
}

#[test]
fn a_directory_that_another_group_can_swap_is_not_mounted() {
    let m = Machine::new();
    let others = [m.home.join("projects")];
    let asked = serde_json::json!([{"hostPath": "~/projects/site"}]);
    let (mounts, rejected) = m.resolve_by(asked, &m.list(true), true, &others);
    assert!(mounts.is_empty() && rejected[0].contains("another group"), "{rejected:?}");
    let same = [m.home.join("projects/site")];
    let asked = serde_json::json!([{"hostPath": "~/projects/site"}]);
    assert_eq!(m.resolve_by(asked, &m.list(true), true, &same).0.len(), 1, "sharing is fine");
}

#[test]
fn a_config_that_cannot_be_read_mounts_nothing() {
    assert!(asked("{")[0].is_err());
    assert_eq!(asked("{}"), []);
    assert_eq!(asked(r#"{"timeout":1}"#), []);
}

#[test]
fn what_is_typed_is_what_1x_writes() {
    let parsed = |text| Asked::parse(text).map(|asked| serde_json::to_value(asked).unwrap());
    assert_eq!(parsed("~/site"), Ok(serde_json::json!({"hostPath": "~/site"})));
    assert_eq!(
        parsed("/a/b:c/d:rw"),
        Ok(serde_json::json!({"hostPath": "/a/b", "containerPath": "c/d", "readonly": false}))
    );
    assert_eq!(parsed("/a:ro"), Ok(serde_json::json!({"hostPath": "/a"})));
    for bad in ["", "a", "./a", "/a:", "/a:../b", "/a:/b", ":rw", "/a:b:c"] {
        assert!(parsed(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_container_s_settings_are_changed_one_by_one_and_checked_as_a_whole() {
    let site = [Asked::parse("/site").unwrap()];
    let config = configured(None, Some(&site), None);
    let config = configured(Some(&config), None, Some(600_000));
    assert_eq!(
        serde_json::from_str::<Value>(&config).unwrap(),
        json!({"additionalMounts": [{"hostPath": "/site"}], "timeout": 600_000})
    );
    let config = configured(Some(&config), Some(&[]), Some(0));
    assert!(asked(&config).is_empty());
    assert_eq!(configured(Some("{"), None, Some(500)), r#"{"timeout":500}"#);
    assert!(
        checked(&json!({"additionalMounts": [{"hostPath": "/x", "other": 1}], "timeout": null}))
            .is_ok()
    );
    for bad in [
        json!(1),
        json!({"additionalMounts": {}}),
        json!({"additionalMounts": [{}]}),
        json!({"timeout": "5"}),
        json!({"timeout": 99}),
    ] {
        assert!(checked(&bad).is_err(), "{bad}");
    }
}
