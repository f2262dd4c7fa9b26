//! Directories that the owner shares with a group: by command, and by main's agent.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Client, Home, message};

/// A directory beside the home with `site` and `keys.ssh`, and an allowlist for it.
fn shared(home: &Home) -> PathBuf {
    let name = home.path().file_name().unwrap().to_string_lossy().into_owned();
    let shared = home.path().with_file_name(format!("{name}-shared"));
    for directory in ["site", "keys.ssh"] {
        std::fs::create_dir_all(shared.join(directory)).unwrap();
    }
    std::fs::write(shared.join("site/index.html"), "the site").unwrap();
    let _ = std::process::Command::new("chmod").args(["-R", "a+rwx"]).arg(&shared).status();
    let config = home.path().join(".config/nanoclaw");
    std::fs::create_dir_all(&config).unwrap();
    let list = json!({"allowedRoots": [{"path": shared, "allowReadWrite": true}],
        "blockedPatterns": [], "nonMainReadOnly": false});
    std::fs::write(config.join("mount-allowlist.json"), list.to_string()).unwrap();
    shared.canonicalize().unwrap()
}

const LOOK: &str = "{ cp /workspace/extra/site/index.html /workspace/group/seen
    echo wrote > /workspace/extra/site/by-agent
    ls /workspace/extra >> /workspace/group/seen; } > /dev/null 2>&1";

#[test]
fn a_directory_is_shared_by_a_command_and_a_refusal_is_told() {
    let home = Home::scripted(LOOK);
    home.add_group("family", "t:1");
    let shared = shared(&home);
    let of = |name: &str| shared.join(name).display().to_string();
    let site = format!("{}:site:rw", of("site"));
    let set = [
        "groups",
        "set",
        "family",
        "--mount",
        &site,
        "--mount",
        &of("keys.ssh"),
        "--timeout",
        "600000",
    ];
    let (code, out, error) = home.run(&set);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("as /workspace/extra/site (read, write)"), "{out}");
    assert!(out.contains("keys.ssh\" is not mounted") && out.contains("blocked"), "{out}");
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    let terminal = Client::connect(&home, "terminal:");
    client.message("t:1", "a", "hello");
    client.answer("t:1", "hello");
    let told = terminal.answer("terminal:main", "works without directories");
    assert!(told.contains("family") && told.contains("keys.ssh"), "{told}");
    let seen = std::fs::read_to_string(home.path().join("groups/family/seen")).unwrap();
    assert!(seen.contains("the site") && !seen.contains("ssh"), "{seen}");
    assert_eq!(std::fs::read_to_string(shared.join("site/by-agent")).unwrap(), "wrote\n");
    let listed: Value = serde_json::from_str(&home.run(&["groups", "list", "--json"]).1).unwrap();
    let family = listed.as_array().unwrap().iter().find(|g| g["group"]["folder"] == "family");
    let family = family.unwrap();
    assert_eq!(family["timeout"], 600_000);
    assert_eq!(
        (family["mounts"].as_array().unwrap().len(), family["refused"].as_array().unwrap().len()),
        (1, 1)
    );
    let (_, out, _) = home.run(&["groups", "list"]);
    assert!(out.contains("! ") && out.contains("a turn may take 600000 ms"), "{out}");
    for bad in [["--mount", "relative"], ["--mount", "/a:../b"], ["--timeout", "5"]] {
        assert_eq!(home.run(&[&["groups", "set", "family"][..], &bad].concat()).0, 2, "{bad:?}");
    }
    assert_eq!(home.run(&["groups", "set", "family", "--no-mounts", "--timeout", "0"]).0, 0);
    let (_, out, _) = home.run(&["groups", "list"]);
    assert!(!out.contains("/workspace/extra") && !out.contains("a turn may"), "{out}");
    std::fs::remove_dir_all(shared).unwrap();
}

#[test]
fn main_registers_a_group_with_a_directory_that_the_owner_allows() {
    let home = Home::scripted(LOOK);
    let _daemon = home.start();
    let shared = shared(&home);
    let client = Client::connect(&home, "t:");
    client.write(&message("t:7", "x", "anybody?"));
    client.acked("x");
    let terminal = Client::connect(&home, "terminal:");
    let call = |config: Value| json!({"jid": "t:7", "name": "Site", "folder": "site", "containerConfig": config});
    let ask = |id: &str, config: Value| {
        terminal.message("terminal:main", id, &format!("tool:register_group {}", call(config)));
        terminal.wait("an end", |h| h.lines.iter().any(|l| l["type"] == "status" && l["id"] == id));
        terminal.heard(|h| h.sends.last().unwrap().2.clone())
    };
    for (n, bad) in
        [json!([]), json!({"additionalMounts": [{"path": "/x"}]}), json!({"timeout": 1})]
            .into_iter()
            .enumerate()
    {
        let said = ask(&format!("bad{n}"), bad);
        assert!(said.starts_with("tool error"), "{said}");
    }
    let mount = json!({"hostPath": shared.join("site"), "readonly": false});
    let said = ask("good", json!({"additionalMounts": [mount]}));
    assert!(said.contains("registered") && said.contains("mount-allowlist.json"), "{said}");
    client.message("t:7", "y", "hello site");
    client.answer("t:7", "hello site");
    assert_eq!(std::fs::read_to_string(shared.join("site/by-agent")).unwrap(), "wrote\n");
    std::fs::remove_dir_all(shared).unwrap();
}
