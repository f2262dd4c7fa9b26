//! The suite: what is asked of each runtime.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nanoclaw::container::Mount;
use nanoclaw::ids::Incarnation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::sandbox::{Kind, World, appears, finish, world_of};

/// What is listed, as soon as it is `expected`.
async fn listed(w: &World, expected: &[i64]) {
    let began = Instant::now();
    loop {
        let list = w.list().await;
        if list == expected {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{list:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn the_probe_says_what_there_is(kind: Kind) {
    let Some(w) = world_of(kind, "probe").await else { return };
    let start = Instant::now();
    let health = w.runtime.probe().await.unwrap();
    println!("{kind:?} after {:?}: {health:?}", start.elapsed());
    assert_eq!(health.runtime, w.runtime.name());
    let boundary = if matches!(kind, Kind::Apple(_) | Kind::Microvm) { "vm" } else { "namespaces" };
    assert_eq!(health.boundary, boundary);
    assert!(health.limits == "full" || health.limits.starts_with("partial: "));
    if kind == Kind::Bwrap {
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    assert!(health.egress.starts_with("enforced"));
    assert_eq!(health.warning, None);
    assert!(health.version.starts_with(|c: char| c.is_ascii_digit()), "{}", health.version);
    // The same as long as nothing changes.
    let identity = w.runtime.identity().await.unwrap();
    assert_eq!(identity, w.runtime.identity().await.unwrap());
}

pub async fn exit_codes_come_through(kind: Kind) {
    let Some(w) = world_of(kind, "exit").await else { return };
    let cases =
        [("exit 0", 0), ("exit 7", 7), ("bash -c 'kill -9 $$'; exit $?", 137), ("/no/such", 127)];
    for (n, (script, code)) in cases.iter().enumerate() {
        let outcome = w.run(&w.spec("family", n as i64 + 1, script)).await;
        println!("{script}: {outcome:?}");
        assert_eq!(outcome.code, Some(*code), "{script}");
    }
    listed(&w, &[]).await;
}

pub async fn the_guest_has_the_given_environment_and_nothing_of_the_daemons(kind: Kind) {
    let Some(w) = world_of(kind, "env").await else { return };
    let script =
        "pwd; id -u; id -g; env | sort; echo -; cat /proc/1/cmdline /proc/1/environ | tr '\\0' ' '";
    let mut spec = w.spec("family", 1, script);
    spec.env.push(("ODD".into(), "a=b, \"c\" é $HOME #".into()));
    let outcome = w.run(&spec).await;
    println!("{}", outcome.said);
    let (uid, gid) = w.user();
    assert!(outcome.said.starts_with(&format!("/workspace/group\n{uid}\n{gid}\n")));
    let env: Vec<&str> = outcome.said.lines().skip(3).take_while(|l| *l != "-").collect();
    // The shell's own, and what engines say of themselves.
    let known = [
        "PWD=",
        "SHLVL=",
        "_=",
        "PATH=",
        "HOME=/home/node",
        "OLDPWD=",
        "HOSTNAME=",
        "TERM=",
        "container=",
    ];
    let extra: Vec<_> = env.iter().filter(|l| !known.iter().any(|k| l.starts_with(k))).collect();
    assert_eq!(extra, [&"ODD=a=b, \"c\" é $HOME #"]);
    for foreign in ["CARGO", "RUST", w.home.path().to_str().unwrap()] {
        assert!(!outcome.said.contains(foreign), "{foreign}");
    }
}

pub async fn standard_input_is_the_lifeline(kind: Kind) {
    let Some(w) = world_of(kind, "stdin").await else { return };
    let script = "while read -r -n1 byte; do echo \"woken by $byte\"; done; echo closed";
    let spec = w.spec("family", 1, script);
    let mut running = w.start(&spec).await;
    let mut stdin = running.child.stdin.take().unwrap();
    let mut stderr = running.child.stderr.take().unwrap();
    stdin.write_all(b"x").await.unwrap();
    let mut first = [0; 11];
    stderr.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"woken by x\n");
    drop(stdin);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "closed\n");
    assert!(running.child.wait().await.unwrap().success());
    listed(&w, &[]).await;
}

pub async fn ten_megabytes_of_log_pass(kind: Kind) {
    let Some(w) = world_of(kind, "log").await else { return };
    let outcome = w.run(&w.spec("family", 1, "head -c 10485760 /dev/zero | tr '\\0' x")).await;
    assert_eq!((outcome.code, outcome.said.len()), (Some(0), 10 << 20));
}

pub async fn two_run_at_once_and_are_listed(kind: Kind) {
    let Some(w) = world_of(kind, "two").await else { return };
    let script = "echo $$ >/workspace/ipc/out/up; read -r line; echo \"$line\"";
    let (one, two) = (w.spec("family", 1, script), w.spec("work", 2, script));
    let (mut a, mut b) = (w.start(&one).await, w.start(&two).await);
    appears(&w.path("data/ipc/family/1/out/up")).await;
    appears(&w.path("data/ipc/work/2/out/up")).await;
    assert_eq!(w.list().await, [1, 2]);
    a.child.stdin.take().unwrap().write_all(b"one\n").await.unwrap();
    b.child.stdin.take().unwrap().write_all(b"two\n").await.unwrap();
    let said = (finish(&mut a).await.said, finish(&mut b).await.said);
    assert_eq!(said, ("one\n".into(), "two\n".into()));
    w.stop(one.incarnation).await;
    w.stop(two.incarnation).await;
    assert_eq!(w.list().await, Vec::<i64>::new());
}

pub async fn a_group_sees_its_own_and_can_write_nothing_else(kind: Kind) {
    let Some(w) = world_of(kind, "groups").await else { return };
    let other = w.dir("groups/work");
    fs::write(other.join("CLAUDE.md"), "SECRET of work").unwrap();
    let global = w.dir("groups/global");
    fs::write(global.join("CLAUDE.md"), "for all").unwrap();
    let script = format!(
        "cat /workspace/global/CLAUDE.md; echo
        for p in /workspace /workspace/global /workspace/ipc/in /opt/nanoclaw /run/nanoclaw /usr /etc / /run; do
            (: >$p/x) 2>/dev/null && echo \"$p was written\"; done
        for p in /workspace/group /workspace/ipc/out /home/node/.claude /tmp /home/node; do
            echo mine >$p/x || echo \"$p was refused\"; done
        cat '{0}/CLAUDE.md' ../work/CLAUDE.md /proc/1/root{0}/CLAUDE.md 2>/dev/null
        ls -d '{0}' '{1}' 2>/dev/null
        printf '#!/bin/sh\\necho ran\\n' >/tmp/run; chmod +x /tmp/run; /tmp/run
        grep -l SECRET -r /workspace /home /run 2>/dev/null; echo end",
        other.display(),
        w.home.path().display()
    );
    let outcome = w.run(&w.spec("family", 1, &script)).await;
    assert_eq!(outcome.said, "for all\nran\nend\n");
    let file = w.path("groups/family/x");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine\n");
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(&file).unwrap();
    assert_eq!((meta.uid(), meta.gid()), w.user());
}

pub async fn hostile_paths_are_mounted_or_refused_by_name(kind: Kind) {
    let Some(w) = world_of(kind, "paths").await else { return };
    let names = [
        "with space",
        "ünïcode ✓",
        "q'uo\"te",
        "com,ma",
        "eq=ual",
        "co:lon",
        "$HOME `id` \\ *",
        "-dash",
        "{}",
        " x ",
        "new\nline",
    ];
    let mut mounted = 0;
    for (i, name) in names.iter().enumerate() {
        let mut spec = w.spec(
            "family",
            i as i64 + 1,
            "cat /workspace/extra/x/name; echo back >/workspace/extra/x/back",
        );
        let host = w.dir(&format!("extra/{name}"));
        fs::write(host.join("name"), format!("{i}\n")).unwrap();
        let guest = Path::new("/workspace/extra/x").to_owned();
        spec.mounts.push(Mount { host: host.clone(), guest, writable: true });
        match w.runtime.spawn(&spec).await {
            Ok(mut running) => {
                let stdin = running.child.stdin.take();
                let outcome = finish(&mut running).await;
                drop(stdin);
                assert_eq!((outcome.code, outcome.said), (Some(0), format!("{i}\n")), "{name:?}");
                assert!(host.join("back").exists(), "{name:?}");
                mounted += 1;
            }
            Err(e) => {
                println!("{e}");
                assert!(e.to_string().contains(&host.display().to_string()), "{e}");
                let may = match kind {
                    Kind::Bwrap | Kind::Microvm => "",
                    Kind::Apple(_) => ",=\n",
                    _ => "\n",
                };
                assert!(name.contains(|c| may.contains(c)), "{name:?} can be mounted");
            }
        }
        w.stop(spec.incarnation).await;
    }
    println!("{kind:?}: {mounted} of {} mounted", names.len());
}

/// Whoever may write above a directory that is shared puts a link in its place, over
/// and over, while containers start.
pub async fn a_directory_that_is_swapped_while_containers_start_is_never_another(kind: Kind) {
    let Some(w) = world_of(kind, "swap").await else { return };
    let (shared, aside) = (w.dir("extra/shared"), w.path("extra/aside"));
    fs::write(shared.join("name"), "mine\n").unwrap();
    let secret = w.dir("secret");
    fs::write(secret.join("name"), "SECRET\n").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (stop, shared, secret) = (Arc::clone(&stop), shared.clone(), secret.clone());
        std::thread::spawn(move || {
            let pause = || std::thread::sleep(Duration::from_millis(7));
            while !stop.load(Ordering::Relaxed) {
                pause();
                fs::rename(&shared, &aside).unwrap();
                std::os::unix::fs::symlink(&secret, &shared).unwrap();
                pause();
                fs::remove_file(&shared).unwrap();
                fs::rename(&aside, &shared).unwrap();
            }
        })
    };
    let starts = if kind == Kind::Microvm { 4 } else { 16 };
    let (mut refused, mut stopped, mut right) = (0, 0, 0);
    for n in 1..=starts {
        let mut spec = w.spec("family", n, "cat /workspace/extra/shared/name");
        let guest = Path::new("/workspace/extra/shared").to_owned();
        spec.mounts.push(Mount { host: shared.clone(), guest, writable: true });
        match w.runtime.spawn(&spec).await {
            Err(_) => refused += 1,
            Ok(mut running) => {
                let _stdin = running.child.stdin.take();
                match finish(&mut running).await {
                    outcome if outcome.said == "mine\n" => right += 1,
                    outcome => {
                        assert!(!outcome.said.contains("SECRET"), "{kind:?} showed it");
                        assert_ne!(outcome.code, Some(0), "{outcome:?}");
                        stopped += 1;
                    }
                }
            }
        }
        w.stop(spec.incarnation).await;
    }
    stop.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    println!("{kind:?}: {refused} refused, {stopped} stopped, {right} right, of {starts}");
}

pub async fn what_cannot_be_started_is_told(kind: Kind) {
    let Some(w) = world_of(kind, "refuse").await else { return };
    let mut spec = w.spec("family", 1, "true");
    spec.mounts[0].host = w.path("groups/none");
    let error = w.runtime.spawn(&spec).await.unwrap_err().to_string();
    assert!(error.contains("groups/none at /workspace/group: it does not exist"), "{error}");
    let mut spec = w.spec("family", 1, "true");
    spec.install = "../x".into();
    let error = w.runtime.spawn(&spec).await.unwrap_err().to_string();
    assert!(error.contains("no installation id"), "{error}");
    let mut spec = w.spec("family", 1, "true");
    spec.argv = vec!["/opt/nanoclaw/none".into()];
    let outcome = w.run(&spec).await;
    println!("{outcome:?}");
    assert!(outcome.said.contains("/opt/nanoclaw/none"), "{}", outcome.said);
    assert!(outcome.code.is_some_and(|code| code != 0));
    listed(&w, &[]).await;
}

pub async fn stop_ends_what_ignores_it_and_nothing_of_another_installation(kind: Kind) {
    let Some(w) = world_of(kind, "stop").await else { return };
    let Some(mut other) = world_of(kind, "stop").await else { return };
    // Begins as ours does, and has the same number.
    other.install = format!("{}-1", w.install);
    let script = "trap '' TERM HUP INT; (trap '' TERM HUP; setsid sleep 1000 &)
        echo up >/workspace/ipc/out/up; while :; do sleep 0.1; done";
    let spec = w.spec("family", 1, script);
    let mut running = w.start(&spec).await;
    let mut theirs = other.start(&other.spec("family", 1, script)).await;
    appears(&w.path("data/ipc/family/1/out/up")).await;
    appears(&other.path("data/ipc/family/1/out/up")).await;
    assert_eq!((w.list().await, other.list().await), (vec![1], vec![1]));
    let start = Instant::now();
    w.stop(spec.incarnation).await;
    println!("{kind:?}: stopped in {:?}", start.elapsed());
    assert_eq!((w.list().await, other.list().await), (vec![], vec![1]));
    let ended = tokio::time::timeout(Duration::from_secs(10), running.child.wait()).await;
    assert!(!ended.expect("its client ends with it").unwrap().success());
    w.stop(spec.incarnation).await;
    w.stop(Incarnation(11)).await;
    assert!(theirs.child.try_wait().unwrap().is_none(), "the other installation's lives");
    other.stop(Incarnation(1)).await;
    assert_eq!(other.list().await, Vec::<i64>::new());
}

pub async fn a_guest_without_its_client_is_found_and_ended(kind: Kind) {
    let Some(w) = world_of(kind, "orphan").await else { return };
    // A guest that does not care for its lifeline.
    let script = "echo up >/workspace/ipc/out/up; while :; do date +%N >/workspace/ipc/out/beat; sleep 0.05; done";
    let spec = w.spec("family", 1, script);
    let mut running = w.start(&spec).await;
    appears(&w.path("data/ipc/family/1/out/up")).await;
    running.child.kill().await.unwrap();
    w.stop(spec.incarnation).await;
    assert_eq!(w.list().await, Vec::<i64>::new());
    let beat = w.path("data/ipc/family/1/out/beat");
    let last = fs::read(&beat).ok();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fs::read(&beat).ok(), last, "nothing of it runs");
}
