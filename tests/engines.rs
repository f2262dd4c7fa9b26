//! What engines do when they misbehave, shown with the stand-in for Apple's tool,
//! which can be told to; and that the stand-in is as strict as that tool.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod sandbox;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nanoclaw::container::Runtime;
use nanoclaw::container::engine::{Dialect, Engine};
use sandbox::{Kind, World, appears, engines, world_of};

/// A world on a stand-in of its own, and the directory of its faults.
async fn apple(version: &'static str, name: &str) -> (World, PathBuf) {
    let mut w = world_of(Kind::Apple(version), name).await.unwrap();
    let program = engines::apple(version, &format!("-{name}"));
    let faults = program.with_file_name("faults");
    w.runtime = Box::new(engine(&program));
    (w, faults)
}

fn engine(program: &Path) -> Engine {
    Engine::new(Dialect::Apple, engines::IMAGE, &engines::place(), None).at(program)
}

#[tokio::test]
async fn a_tool_that_hangs_is_given_up_and_the_remedy_told() {
    let (w, faults) = apple("1.2.2", "hang").await;
    fs::write(faults.join("hang"), "ls").unwrap();
    let began = Instant::now();
    let error = w.runtime.list(&w.install).await.unwrap_err().to_string();
    println!("{error}");
    assert!(began.elapsed() < Duration::from_secs(15));
    assert!(
        error.contains("did not answer within 10 s") && error.contains("container system stop")
    );
}

#[tokio::test]
async fn a_service_that_lies_after_a_crash_keeps_no_guest_alive() {
    let (w, faults) = apple("1.2.2", "lie").await;
    let script = "trap '' TERM; echo up >/workspace/ipc/out/up; while :; do date +%N >/workspace/ipc/out/beat; sleep 0.05; done";
    let spec = w.spec("family", 1, script);
    let mut running = w.start(&spec).await;
    appears(&w.path("data/ipc/family/1/out/up")).await;
    fs::write(faults.join("lie"), "").unwrap();
    assert_eq!(w.list().await, [1], "stopped, says the tool; we do not believe it");
    w.stop(spec.incarnation).await;
    assert_eq!(w.list().await, Vec::<i64>::new());
    tokio::time::timeout(Duration::from_secs(10), running.child.wait()).await.unwrap().unwrap();
    let last = fs::read(w.path("data/ipc/family/1/out/beat")).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fs::read(w.path("data/ipc/family/1/out/beat")).unwrap(), last);
}

#[tokio::test]
async fn a_service_that_is_down_is_started_however_often_that_fails() {
    for version in ["0.12.3", "1.4.1"] {
        let (w, faults) = apple(version, "down").await;
        fs::remove_file(faults.with_file_name("state").join("up")).unwrap();
        fs::write(faults.join("slow"), "1").unwrap();
        let began = Instant::now();
        let health = w.runtime.probe().await.unwrap();
        println!("{version}: up after {:?}", began.elapsed());
        assert_eq!(health.version, version);
        // And before a start, too.
        fs::remove_file(faults.with_file_name("state").join("up")).unwrap();
        assert_eq!(w.run(&w.spec("family", 1, "echo fine")).await.said, "fine\n");
    }
}

#[tokio::test]
async fn an_old_service_under_a_new_tool_is_told_and_an_old_tool_refused() {
    let (w, faults) = apple("1.4.1", "skew").await;
    fs::write(faults.join("skew"), "1.2.2").unwrap();
    let warning = w.runtime.probe().await.unwrap().warning.unwrap();
    assert!(warning.contains("container is 1.4.1 and its service still 1.2.2"), "{warning}");
    fs::write(faults.with_file_name("version"), "0.11.0").unwrap();
    fs::remove_file(faults.join("skew")).unwrap();
    let error = w.runtime.probe().await.unwrap_err().to_string();
    assert!(error.contains("0.11.0 is too old: brew upgrade container"), "{error}");
}

#[tokio::test]
async fn a_missing_image_is_told_with_the_command_that_makes_it() {
    let (_, faults) = apple("1.2.2", "image").await;
    let engine = Engine::new(Dialect::Apple, "other:1", &engines::place(), None)
        .at(&faults.with_file_name("container"));
    let error = engine.identity().await.unwrap_err().to_string();
    assert!(
        error.contains("no image other:1") && error.contains("nanoclaw image build"),
        "{error}"
    );
}

#[tokio::test]
async fn an_engine_that_is_not_installed_is_told_with_the_command_that_installs_it() {
    let engine = engine(Path::new("/no/such/container"));
    let error = engine.identity().await.unwrap_err().to_string();
    assert_eq!(
        error,
        "container is not installed: brew install container (macOS 26 on Apple silicon)"
    );
}

fn tool(program: &Path, words: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = Command::new(program).args(words).output().unwrap();
    (status.code().unwrap(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn the_stand_in_takes_what_apple_s_tool_takes_and_nothing_else() {
    let program = engines::apple("1.2.2", "-strict");
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a,b")).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let run = |more: &[&str]| {
        let mut words = vec!["run", "--rm", "--network", "none"];
        words.extend(more);
        words.extend([engines::IMAGE, "/bin/true"]);
        tool(&program, &words)
    };
    for unknown in [
        &["--pids-limit", "5"][..],
        &["--security-opt", "no-new-privileges"],
        &["--pull", "never"],
        &["--hostname", "x"],
        &["--add-host", "a:b"],
        &["--userns", "keep-id"],
        &["--name", "with space"],
        &["--tmpfs", "/tmp:rw"],
        &["--memory", "lots"],
    ] {
        assert_eq!(run(unknown).0, 64, "{unknown:?}");
    }
    let mount = |source: &str| {
        format!("type=bind,source={},target=/workspace/x", dir.path().join(source).display())
    };
    for source in ["none", "file", "a,b", "a=b"] {
        let (code, error) = run(&["--mount", &mount(source)]);
        assert!(code == 1 && error.starts_with("Error: "), "{source}: {code} {error}");
    }
    assert_eq!(run(&["--mount", "type=bind,bind-propagation=rprivate,source=/usr,target=/x"]).0, 1);
    assert_eq!(tool(&program, &["rm", "-f", "none"]).0, 1);
    assert_eq!(tool(&program, &["ls", "--filter", "label=a"]).0, 64);
    assert_eq!(tool(&program, &["system", "start"]).0, 1, "it would ask at a terminal");
    fs::create_dir_all(program.with_file_name("state").join("containers/taken")).unwrap();
    let (code, error) = run(&["--name", "taken"]);
    assert!(code == 1 && error.contains("already exists"), "{error}");
    // An option that a version does not have yet.
    fs::write(program.with_file_name("version"), "0.12.3").unwrap();
    assert_eq!(run(&["--shm-size", "64m"]).0, 64);
}
