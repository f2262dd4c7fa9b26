//! Which runtime guests get, what a group may want of its container, and what
//! `doctor` says of it all.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod sandbox;
mod support;

use std::os::unix::fs::PermissionsExt;

use sandbox::engines;
use serde_json::Value;
use support::{Client, Home, eventually, pause};

fn json(home: &Home, arguments: &[&str]) -> (i32, Value) {
    let (code, out, error) = home.run(arguments);
    (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{error}")))
}

fn set(home: &Home, arguments: &[&str]) {
    let (code, _, error) = home.run(&[&["groups", "set", "family"], arguments].concat());
    assert_eq!(code, 0, "{error}");
}

/// Agents in the stand-in for Apple's tool: virtual machines, as far as we know.
fn on_apple(home: &mut Home, name: &str) -> std::path::PathBuf {
    let program = engines::apple("1.2.2", name);
    let path = std::env::var("PATH").unwrap();
    home.set("PATH", &format!("{}:{path}", program.parent().unwrap().display()));
    home.set("CONTAINER_IMAGE", engines::IMAGE);
    program
}

#[test]
fn a_group_that_demands_a_machine_waits_and_its_chat_is_told_once() {
    let home = Home::new();
    let daemon = home.start();
    home.add_group("family", "demo:family");
    set(&home, &["--isolation", "vm"]);
    let client = Client::connect(&home, "demo:");
    client.message("demo:family", "m1", "one");
    client.answer("demo:family", "may run in a virtual machine only");
    client.message("demo:family", "m2", "two");
    client.acked("m2");
    pause(std::time::Duration::from_millis(500));
    assert_eq!(client.heard(|h| h.sends.len()), 1, "it is told once");
    assert_eq!(home.states()["queued"], 2);
    assert_eq!(home.containers(), 0, "no container without a machine");
    let (_, status) = json(&home, &["status", "--json"]);
    let problems = status["problems"].to_string();
    assert!(problems.contains("family waits"), "{problems}");
    let (_, doctor) = json(&home, &["doctor", "--json"]);
    assert!(doctor["checks"].to_string().contains("family waits for a virtual machine"));
    // A restart tells nothing new; then the owner allows less, and all is answered.
    assert_eq!(daemon.stop(), 0);
    let _daemon = home.start();
    let client = Client::connect(&home, "demo:");
    pause(std::time::Duration::from_millis(500));
    assert_eq!(client.heard(|h| h.sends.len()), 0);
    set(&home, &["--isolation", "any"]);
    client.answer("demo:family", "two");
    eventually("both are answered", || home.states().get("answered") == Some(&2));
}

#[test]
fn a_group_that_demands_a_machine_gets_one_where_there_is_one() {
    let mut home = Home::new();
    on_apple(&mut home, "-machine");
    home.set("CONTAINER_RUNTIME", "container");
    let daemon = home.start();
    home.add_group("family", "demo:family");
    set(&home, &["--isolation", "vm"]);
    let client = Client::connect(&home, "demo:");
    client.message("demo:family", "m1", "one");
    client.answer("demo:family", "one");
    let (_, status) = json(&home, &["status", "--json"]);
    assert_eq!(status["isolation"]["boundary"], "vm");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_disposable_container_ends_with_its_turn() {
    let home = Home::new();
    let _daemon = home.start();
    home.add_group("family", "demo:family");
    set(&home, &["--once", "true"]);
    let client = Client::connect(&home, "demo:");
    for (n, text) in ["one", "two", "three"].into_iter().enumerate() {
        client.message("demo:family", &format!("m{n}"), text);
        client.answer("demo:family", text);
        eventually("its container vanishes", || home.containers() == 0);
    }
    // What comes during a turn waits for the next container.
    client.message("demo:family", "m3", "think:400 four");
    client.acked("m3");
    eventually("it is at work", || home.states().get("in_turn") == Some(&1));
    client.message("demo:family", "m4", "five");
    client.answer("demo:family", "five");
    let starts: i64 = home.ledger("SELECT count(*) FROM incarnations");
    assert_eq!(starts, 5);
    eventually("nothing is left", || home.containers() == 0);
}

#[test]
fn memory_and_cpus_are_the_group_s_own() {
    let home = Home::new();
    let _daemon = home.start();
    home.add_group("family", "demo:family");
    set(&home, &["--memory", "300", "--cpus", "0.5"]);
    let client = Client::connect(&home, "demo:");
    client.message("demo:family", "m1", "one");
    client.answer("demo:family", "one");
    let (_, groups) = json(&home, &["groups", "list", "--json"]);
    let family =
        groups.as_array().unwrap().iter().find(|g| g["group"]["folder"] == "family").unwrap();
    assert_eq!(family["group"]["container"]["memory"], 300);
    let (_, status) = json(&home, &["status", "--json"]);
    if status["isolation"]["limits"] != "full" {
        return println!("skipped: limits here are {}", status["isolation"]["limits"]);
    }
    let install: String = home.ledger("SELECT value FROM settings WHERE key = 'install'");
    let own = |controller: &str, file: &str| {
        let places = [format!("/sys/fs/cgroup/{controller}"), "/sys/fs/cgroup".into()];
        let dirs = places.iter().flat_map(|p| std::fs::read_dir(p).into_iter().flatten().flatten());
        let ours = dirs.filter(|d| {
            d.file_name().to_string_lossy().starts_with(&format!("nanoclaw-{install}-"))
        });
        ours.filter_map(|d| std::fs::read_to_string(d.path().join(file)).ok()).collect::<String>()
    };
    let memory = own("memory", "memory.limit_in_bytes") + &own("memory", "memory.max");
    assert!(memory.contains(&(300_u64 << 20).to_string()), "{memory}");
    let cpu = own("cpu", "cpu.cfs_quota_us") + &own("cpu", "cpu.max");
    assert!(cpu.contains("50000"), "{cpu}");
}

#[test]
fn an_engine_without_its_image_is_told_with_the_next_command() {
    let mut home = Home::new();
    on_apple(&mut home, "-imageless");
    home.set("CONTAINER_RUNTIME", "container");
    home.set("CONTAINER_IMAGE", "nanoclaw-agent:latest");
    let (code, out, error) = home.run(&["start"]);
    assert!(code == 1 && out.is_empty(), "{out}");
    assert!(error.contains("no isolation") && error.contains("nanoclaw image build"), "{error}");
}

#[test]
fn a_choice_is_made_anew_when_what_it_rests_on_changes() {
    let mut home = Home::new();
    let program = on_apple(&mut home, "-anew");
    home.set("CONTAINER_RUNTIME", "container");
    assert_eq!(home.start().stop(), 0);
    std::fs::write(program.with_file_name("version"), "1.4.1").unwrap();
    assert_eq!(home.start().stop(), 0);
    let (_, status) = json(&home, &["status", "--json"]);
    assert_eq!(status["isolation"]["version"], "1.4.1");
    home.set("CONTAINER_RUNTIME", "bwrap");
    assert_eq!(home.start().stop(), 0);
    let (_, status) = json(&home, &["status", "--json"]);
    assert_eq!(status["isolation"]["runtime"], "bwrap");
}

#[test]
fn the_doctor_says_what_is_well_and_what_to_do_with_the_daemon_up_and_down() {
    let mut home = Home::new();
    let env = home.path().join(".env");
    std::fs::write(&env, "TZ=UTC\n").unwrap();
    std::fs::set_permissions(&env, std::fs::Permissions::from_mode(0o644)).unwrap();
    let level = |doctor: &Value, name: &str| {
        let checks = doctor["checks"].as_array().unwrap();
        let check =
            checks.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("{name}: {doctor}"));
        (check["level"].as_str().unwrap().to_owned(), check["next"].to_string())
    };
    let (code, down) = json(&home, &["doctor", "--json"]);
    assert!(code == 0 && down["ok"] == true, "{down}");
    assert_eq!(level(&down, "bwrap").0, "ok");
    assert_eq!(level(&down, "credential").0, "warn");
    let (is, next) = level(&down, ".env");
    assert!(is == "warn" && next.contains("chmod 600"), "{next}");
    let daemon = home.start();
    let (code, up) = json(&home, &["doctor", "--json"]);
    assert_eq!((code, level(&up, "daemon").0.as_str()), (0, "ok"));
    assert!(up.to_string().contains("takes connections"), "{up}");
    assert_eq!(daemon.stop(), 0);
    // Without Claude Code nothing works.
    home.set("NANOCLAW_CLAUDE", "/no/such/claude");
    let (code, out, _) = home.run(&["doctor"]);
    assert_eq!(code, 1);
    assert!(out.contains("FAIL  Claude Code") && out.contains("-> ./nanoclaw.sh install"), "{out}");
}
