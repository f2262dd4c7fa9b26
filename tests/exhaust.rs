//! What a guest may use up: its own share. Beside each greedy guest a second one
//! still starts and works.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod sandbox;

use std::fs;
use std::time::{Duration, Instant};

use sandbox::{World, appears, world};

/// A second container still starts, works and ends.
async fn neighbour_works(w: &World, incarnation: i64) {
    let start = Instant::now();
    let outcome = w.run(&w.spec("work", incarnation, "for i in 1 2 3; do echo $i | cat; done; head -c 1000000 /dev/zero >/tmp/x && echo fine")).await;
    println!("  the neighbour says {:?} after {:?}", outcome.said, start.elapsed());
    assert_eq!(outcome.said, "1\n2\n3\nfine\n");
}

/// How many processes the namespace has that a sandbox made.
fn namespace_size(sandbox: u32) -> usize {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let children = fs::read_to_string(format!("/proc/{sandbox}/task/{sandbox}/children")).unwrap();
    let first = namespace(children.split_whitespace().next().expect("it made one"));
    assert!(first.is_some() && first != namespace("self"));
    let pids =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().into_string().ok());
    pids.filter(|pid| namespace(pid) == first).count()
}

#[tokio::test]
async fn a_fork_bomb_stays_inside() {
    let Some(w) = world("bomb").await else { return };
    let spec = w.spec("family", 1, "echo up >/workspace/ipc/out/up; exec 2>/dev/null >&2; bomb() { bomb | bomb & }; while :; do bomb; sleep 0.01; done");
    let mut running = w.start(&spec).await;
    appears(&w.path("data/ipc/family/1/out/up")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let inside = namespace_size(running.process.pid);
    println!("{inside} processes in the bomb's namespace");
    // Bubblewrap's first process may stand outside of the guest's limit.
    assert!((10..=66).contains(&inside), "{inside}");
    neighbour_works(&w, 2).await;
    let start = Instant::now();
    w.stop(spec.incarnation).await;
    println!("the bomb is dead after {:?}", start.elapsed());
    assert!(!running.process.is_alive());
    running.child.wait().await.unwrap();
}

#[tokio::test]
async fn memory_is_bounded() {
    let Some(w) = world("memory").await else { return };
    if w.limits != "full" {
        println!("skipped: limits here are {}", w.limits);
        return;
    }
    let script = "tail /dev/zero; echo \"tail ended with $?\"; perl -e '$x = \"x\" x (1 << 20); push @a, $x . $_ for 1..1000'; echo \"perl ended with $?\"; echo up >/workspace/ipc/out/up; read -r line";
    let spec = w.spec("family", 1, script);
    let mut running = w.start(&spec).await;
    appears(&w.path("data/ipc/family/1/out/up")).await;
    neighbour_works(&w, 2).await;
    drop(running.child.stdin.take());
    let outcome = sandbox::finish(&mut running).await;
    println!("{outcome:?}");
    assert!(
        outcome.said.contains("tail ended with 137")
            && outcome.said.contains("perl ended with 137")
    );
    w.stop(spec.incarnation).await;
}

#[tokio::test]
async fn temporary_space_is_bounded() {
    let Some(w) = world("space").await else { return };
    let script = "for dir in /tmp /home/node /dev/shm; do head -c 100000000 /dev/zero >$dir/x; echo \"$dir $? $(stat -c %s $dir/x)\"; done";
    let outcome = w.run(&w.spec("family", 1, script)).await;
    println!("{}", outcome.said);
    for dir in ["/tmp", "/home/node", "/dev/shm"] {
        assert!(outcome.said.contains(&format!("{dir} 1 {}", 4 << 20)), "{dir}");
    }
    assert_eq!(outcome.said.matches("No space left").count(), 3);
    neighbour_works(&w, 2).await;
}

#[tokio::test]
async fn cpu_is_bounded() {
    let Some(w) = world("cpu").await else { return };
    if w.limits != "full" {
        println!("skipped: limits here are {}", w.limits);
        return;
    }
    let script = "TIMEFORMAT='%U %S'; time (for i in 1 2; do timeout 2 bash -c 'while :; do :; done' & done; wait)";
    let mut spec = w.spec("family", 1, script);
    spec.limits.cpus = 0.25;
    let outcome = w.run(&spec).await;
    let used: f64 = outcome.said.split_whitespace().map(|n| n.parse::<f64>().unwrap()).sum();
    println!("two loops of 2 s used {used} s of a quarter of a cpu");
    assert!(used < 1.0);
}

#[tokio::test]
async fn endless_output_that_nobody_reads_stops_the_guest_only() {
    let Some(w) = world("output").await else { return };
    let spec = w.spec("family", 1, "echo up >/workspace/ipc/out/up; yes");
    let mut running = w.start(&spec).await;
    appears(&w.path("data/ipc/family/1/out/up")).await;
    neighbour_works(&w, 2).await;
    w.stop(spec.incarnation).await;
    running.child.wait().await.unwrap();
    assert!(!running.process.is_alive());
    println!("stopped while it was writing");
}
