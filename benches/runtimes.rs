//! What each runtime costs, as one table: milliseconds from the start to the guest's
//! first output, and the memory that one idle guest holds on this machine, its
//! shell included. Of a VM that is the memory of its sandbox: QEMU's with what the
//! guest has touched of its own, the file server's and the keeper's, each page by the
//! part that it holds of it. VMs are emulated, since that works on every machine.
//! `cargo bench --bench runtimes`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[cfg(target_os = "linux")]
#[path = "../tests/sandbox/mod.rs"]
mod sandbox;

#[cfg(target_os = "linux")]
fn main() {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(linux::table());
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("measures runtimes of Linux only");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;
    use std::fs;
    use std::time::{Duration, Instant};

    use tokio::io::AsyncReadExt;

    use super::sandbox::{Kind, World, engines, world_of};

    const STARTS: i64 = 10;

    pub async fn table() {
        println!("{:<8} {:>8} {:>8} {:>8} {:>9}", "runtime", "min ms", "median", "max", "PSS MiB");
        for kind in [Kind::Bwrap, Kind::Microvm, Kind::Podman, Kind::Docker] {
            let Some(w) = world_of(kind, "bench").await else { continue };
            let (mut times, mut memory) = (Vec::new(), Vec::new());
            for n in 1..=STARTS {
                let (time, pss) = one(&w, kind, n).await;
                times.push(time.as_secs_f64() * 1000.0);
                memory.push(pss);
            }
            times.sort_by(f64::total_cmp);
            memory.sort_unstable();
            println!(
                "{:<8} {:>8.0} {:>8.0} {:>8.0} {:>9.1}",
                w.runtime.name(),
                times[0],
                times[times.len() / 2],
                times[times.len() - 1],
                memory[memory.len() / 2] as f64 / 1024.0
            );
        }
    }

    async fn one(w: &World, kind: Kind, n: i64) -> (Duration, u64) {
        let spec = w.spec("family", n, "echo up; read -r line");
        let began = Instant::now();
        let mut running = w.start(&spec).await;
        let mut first = [0; 3];
        running.child.stderr.as_mut().unwrap().read_exact(&mut first).await.unwrap();
        let time = began.elapsed();
        assert_eq!(&first, b"up\n");
        let name = format!("nanoclaw-{}-{n}", w.install);
        let id = engines::program(kind).ok().and_then(|(_, program)| {
            let words = ["inspect", "--format", "{{.Id}}", &name];
            let output = std::process::Command::new(program).args(words).output().ok()?;
            Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
                .filter(|id| id.len() == 64)
        });
        let pss = family(&[Some(name), id].into_iter().flatten().collect::<Vec<_>>())
            .into_iter()
            .map(pss)
            .sum();
        drop(running.child.stdin.take());
        running.child.wait().await.unwrap();
        w.stop(spec.incarnation).await;
        (time, pss)
    }

    /// Processes with one of the marks on their command line, and all below them.
    fn family(marks: &[String]) -> BTreeSet<u32> {
        let all: Vec<u32> = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .collect();
        let marked = |pid: &&u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            marks.iter().any(|mark| line.contains(mark))
        };
        let mut family: BTreeSet<u32> = all.iter().filter(marked).copied().collect();
        loop {
            let below = |pid: &&u32| {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                let parent =
                    stat.rsplit(')').next().and_then(|s| s.split_whitespace().nth(1)?.parse().ok());
                parent.is_some_and(|parent: u32| family.contains(&parent))
            };
            let more: Vec<u32> =
                all.iter().filter(below).filter(|pid| !family.contains(pid)).copied().collect();
            if more.is_empty() {
                return family;
            }
            family.extend(more);
        }
    }

    /// KiB.
    fn pss(pid: u32) -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("Pss:"));
        line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }
}
