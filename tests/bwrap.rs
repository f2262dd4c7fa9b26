//! The `bwrap` runtime keeps the promises of `trait Runtime`: real guests, real
//! processes, real control groups.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod sandbox;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nanoclaw::container::bwrap::Bwrap;
use nanoclaw::container::{Mount, Process, Runtime};
use nanoclaw::ids::Incarnation;
use sandbox::{appears, finish, marked, world};

#[tokio::test]
async fn the_guest_has_the_given_environment_and_directory_and_nothing_of_the_daemons() {
    let Some(w) = world("env").await else { return };
    let script = "pwd; id -un; id -u; id -gn; hostname; env | sort; echo -; echo /proc/self/fd/*; tr '\\0' '\\n' </proc/1/environ; tr '\\0' ' ' </proc/1/cmdline";
    let mut spec = w.spec("family", 1, script);
    spec.env.push(("ODD".into(), "a=b, \"c\" é".into()));
    let outcome = w.run(&spec).await;
    println!("{}", outcome.said);
    let (uid, _) = w.user();
    assert!(outcome.said.starts_with(&format!("/workspace/group\nnode\n{uid}\nnode\nnanoclaw\n")));
    let env: Vec<&str> = outcome.said.lines().skip(5).take_while(|l| *l != "-").collect();
    // PWD and OLDPWD are bubblewrap's and the shell's, SHLVL and _ the shell's.
    let extra: Vec<_> = env
        .iter()
        .filter(|l| {
            !["PWD=", "SHLVL=", "_=", "PATH=", "HOME=", "OLDPWD="].iter().any(|k| l.starts_with(k))
        })
        .collect();
    assert_eq!(extra, [&"ODD=a=b, \"c\" é"]);
    assert!(
        outcome.said.contains("/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n")
            || outcome.said.contains("/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2\n"),
        "no descriptor is inherited"
    );
    assert!(!outcome.said.contains("CARGO"), "nothing of the test's environment");
    assert!(!outcome.said.contains(w.home.path().to_str().unwrap()), "no path of the host");
    let left: Vec<_> =
        fs::read_dir(&spec.scratch).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["etc"], "the options are gone after the start");
}

#[tokio::test]
async fn any_byte_may_be_in_a_path() {
    let Some(w) = world("paths").await else { return };
    let names = [
        "with space",
        "ünïcode ✓",
        "q'uo\"te",
        "com,ma",
        "eq=ual",
        "co:lon",
        "new\nline",
        "$HOME `id` \\ *",
        "-dash",
        "{}",
    ];
    let mut spec = w.spec("family", 1, "cd /workspace/extra; for d in *; do cat \"./$d/name\"; echo \"seen by $d\" >\"$d/back\"; done");
    for (i, name) in names.iter().enumerate() {
        let host = w.dir(&format!("extra/{name}"));
        fs::write(host.join("name"), format!("{i}\n")).unwrap();
        // The same odd name on both sides.
        spec.mounts.push(Mount {
            host,
            guest: Path::new("/workspace/extra").join(name),
            writable: true,
        });
    }
    let outcome = w.run(&spec).await;
    println!("{outcome:?}");
    let mut seen: Vec<&str> = outcome.said.lines().collect();
    seen.sort_unstable();
    assert_eq!(seen, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    for name in names {
        let back = fs::read_to_string(w.path(&format!("extra/{name}/back"))).unwrap_or_default();
        assert_eq!(back, format!("seen by {name}\n"));
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_told() {
    let Some(w) = world("refuse").await else { return };
    let mut spec = w.spec("family", 1, "true");
    fs::write(w.path("file"), "").unwrap();
    spec.scratch = w.path("file/scratch");
    let error = w.runtime.spawn(&spec).await.expect_err("refused").to_string();
    assert!(error.contains("file/scratch"), "{error}");
    let mut spec = w.spec("family", 1, "true");
    spec.argv = vec!["/opt/nanoclaw/none".into()];
    let outcome = w.run(&spec).await;
    println!("{outcome:?}");
    // Said by whatever stands directly before the guest's program.
    let named = "/opt/nanoclaw/none: No such file or directory";
    assert!(outcome.said.contains(named) && matches!(outcome.code, Some(1 | 127)));
    assert!(w.list().await.is_empty());
    if rustix::process::geteuid().is_root() {
        let error = Bwrap::new(Some((0, 0))).probe().await.unwrap_err().to_string();
        assert!(error.contains("must not be root"), "{error}");
    }
}

/// A guest that wants to outlive its end: every process ignores what can be
/// ignored, and some have left their session.
const STUBBORN: &str = "trap '' TERM HUP INT QUIT PIPE
    for i in 1 2 3; do setsid bash -c 'trap \"\" TERM HUP; while :; do sleep 1 MARK; done' & done 2>/dev/null
    (setsid sleep 1000 &) ; (exec -a MARK sleep 1000 &) ; (setsid bash -c 'exec -a MARK sleep 1000' &)
    echo up >/workspace/ipc/out/up; while :; do sleep 1; done";

#[tokio::test]
async fn stop_kills_what_ignores_it_and_leaves_no_group() {
    let Some(w) = world("stop").await else { return };
    let mark = format!("stubborn{}stop", std::process::id());
    let spec = w.spec("family", 1, &STUBBORN.replace("MARK", &mark));
    let mut running = w.start(&spec).await;
    appears(&w.path("data/ipc/family/1/out/up")).await;
    println!("{} processes carry the mark", marked(&mark).len());
    assert!(marked(&mark).len() >= 3);
    let start = Instant::now();
    w.stop(spec.incarnation).await;
    println!("stopped in {:?}", start.elapsed());
    assert_eq!(marked(&mark), Vec::<u32>::new());
    assert!(!running.process.is_alive());
    assert_eq!(w.list().await, Vec::<i64>::new());
    assert_eq!(groups(&w.install), Vec::<String>::new());
    assert!(!running.child.wait().await.unwrap().success());
    w.stop(spec.incarnation).await;
}

#[tokio::test]
async fn killing_the_sandbox_or_dropping_it_leaves_no_orphan() {
    let Some(w) = world("orphan").await else { return };
    for (n, how) in ["kill", "drop"].into_iter().enumerate() {
        let incarnation = n as i64 + 1;
        let mark = format!("stubborn{}{how}", std::process::id());
        let spec = w.spec("family", incarnation, &STUBBORN.replace("MARK", &mark));
        let running = w.start(&spec).await;
        appears(&w.path(&format!("data/ipc/family/{incarnation}/out/up"))).await;
        assert!(marked(&mark).len() >= 3);
        if how == "kill" {
            assert!(running.process.kill().unwrap());
        } else {
            drop(running);
        }
        let start = Instant::now();
        while !marked(&mark).is_empty() {
            assert!(start.elapsed() < Duration::from_secs(5), "{how}: {:?} live on", marked(&mark));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!("{how}: no process after {:?}", start.elapsed());
        w.stop(spec.incarnation).await;
    }
}

/// Not a test: the daemon that the next one kills.
#[tokio::test]
async fn a_daemon_for_the_next_test() {
    let Ok(directory) = std::env::var("TEST_DAEMON_DIRECTORY") else { return };
    let mut w = world("other").await.unwrap();
    w.install = std::env::var("TEST_DAEMON_MARK").unwrap();
    let script = STUBBORN.replace("MARK", &std::env::var("TEST_DAEMON_MARK").unwrap());
    let running = w.start(&w.spec("family", 1, &script)).await;
    appears(&w.path("data/ipc/family/1/out/up")).await;
    fs::write(Path::new(&directory).join("up"), w.home.path().to_str().unwrap()).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(running);
}

#[tokio::test]
async fn the_guest_dies_with_its_daemon() {
    let Some(w) = world("daemon").await else { return };
    let mark = format!("stubborn{}daemon", std::process::id());
    let mut daemon = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_daemon_for_the_next_test"])
        .env("TEST_DAEMON_DIRECTORY", w.home.path())
        .env("TEST_DAEMON_MARK", &mark)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    appears(&w.path("up")).await;
    assert!(marked(&mark).len() >= 3);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let start = Instant::now();
    while !marked(&mark).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(5), "{:?} live on", marked(&mark));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("after kill -9 of the daemon: no process after {:?}", start.elapsed());
    // The next daemon finds nothing alive and removes the empty groups.
    assert!(w.runtime.list(&mark).await.unwrap().is_empty());
    w.runtime.stop(&mark, Incarnation(2), Duration::from_secs(5)).await.unwrap();
    assert_eq!(groups(&mark), Vec::<String>::new());
    let home = fs::read_to_string(w.path("up")).unwrap();
    fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn a_guest_cannot_pass_for_another() {
    let Some(w) = world("label").await else { return };
    let label = format!("nanoclaw-{}-77", w.install);
    let fake = format!(
        "bash -c 'sleep 1000; :' --setenv NANOCLAW_LABEL {label} & echo up >/workspace/ipc/out/up; wait"
    );
    let mut running = w.start(&w.spec("family", 1, &fake)).await;
    appears(&w.path("data/ipc/family/1/out/up")).await;
    let fakes = marked(&format!("NANOCLAW_LABEL\0{label}"));
    println!("{} processes wear the label of 77; listed: {:?}", fakes.len(), w.list().await);
    assert_eq!(fakes.len(), 1);
    assert_eq!(w.list().await, [1]);
    w.stop(Incarnation(77)).await;
    assert!(running.child.try_wait().unwrap().is_none());
    w.stop(Incarnation(1)).await;
}

#[tokio::test]
async fn a_start_is_found_again_by_its_process() {
    let Some(w) = world("again").await else { return };
    let spec = w.spec("family", 1, "read -r line");
    let mut running = w.start(&spec).await;
    assert_eq!(Process::of(running.process.pid).unwrap(), running.process);
    drop(running.child.stdin.take());
    finish(&mut running).await;
    assert!(!running.process.is_alive());
    w.stop(spec.incarnation).await;
}

/// Control groups that carry an installation's name, in any hierarchy.
fn groups(install: &str) -> Vec<String> {
    let prefix = format!("nanoclaw-{install}-");
    let dirs =
        ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/cpu"];
    let names = dirs.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
    names
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.starts_with(&prefix))
        .collect()
}
