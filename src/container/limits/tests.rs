#![allow(clippy::unwrap_used)]
use super::*;

const LIMITS: Limits = Limits { memory: 1 << 30, cpus: 1.5, pids: 100, tmp: 1 << 20 };

fn fake(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
        fs::write(root.path().join(path), text).unwrap();
    }
    root
}

fn read(root: &tempfile::TempDir, path: &str) -> String {
    fs::read_to_string(root.path().join(path)).unwrap()
}

#[test]
fn version_1_sets_each_hierarchy() {
    let root =
        fake(&[("memory/cgroup.procs", ""), ("pids/cgroup.procs", ""), ("cpu/cgroup.procs", "")]);
    let limiter = Limiter::detect(root.path(), "").unwrap();
    assert_eq!(limiter.describe(), "full");
    let entrances = limiter.create("nanoclaw-i-7", &LIMITS).unwrap();
    assert_eq!(entrances.len(), 3);
    assert!(entrances.contains(&root.path().join("pids/nanoclaw-i-7/cgroup.procs")));
    assert_eq!(read(&root, "memory/nanoclaw-i-7/memory.limit_in_bytes"), "1073741824");
    assert_eq!(read(&root, "pids/nanoclaw-i-7/pids.max"), "100");
    assert_eq!(read(&root, "cpu/nanoclaw-i-7/cpu.cfs_quota_us"), "150000");
    assert_eq!(limiter.labels("nanoclaw-i-"), ["nanoclaw-i-7"]);
    assert!(limiter.labels("nanoclaw-j-").is_empty());
    // No more forks, then kill; a number that no process has is no error.
    fs::write(root.path().join("pids/nanoclaw-i-7/cgroup.procs"), "4194300\n").unwrap();
    assert_eq!(limiter.pids("nanoclaw-i-7"), [4_194_300]);
    limiter.kill("nanoclaw-i-7");
    assert_eq!(read(&root, "pids/nanoclaw-i-7/pids.max"), "0");
}

#[test]
fn version_1_without_a_controller_says_so() {
    let root = fake(&[("memory/cgroup.procs", ""), ("pids/cgroup.procs", "")]);
    assert_eq!(
        Limiter::detect(root.path(), "").unwrap().describe(),
        "partial: no cgroup controller for cpu"
    );
    assert_eq!(Limiter::detect(fake(&[]).path(), ""), None);
    assert!(Limiter::Rlimits.describe().starts_with("partial: no cgroup"));
}

#[test]
fn version_2_uses_its_own_group_where_that_passes_controllers_on() {
    let all = "cpuset cpu io memory pids";
    let own = "system.slice/nanoclaw.service";
    let root = fake(&[
        ("cgroup.controllers", all),
        (&format!("{own}/cgroup.controllers"), all),
        (&format!("{own}/cgroup.subtree_control"), "cpu memory pids"),
    ]);
    let limiter = Limiter::detect(root.path(), &format!("0::/{own}\n")).unwrap();
    assert_eq!(limiter.describe(), "full");
    let entrances = limiter.create("nanoclaw-i-7", &LIMITS).unwrap();
    assert_eq!(entrances, [root.path().join(own).join("nanoclaw-i-7/cgroup.procs")]);
    assert_eq!(read(&root, &format!("{own}/nanoclaw-i-7/memory.max")), "1073741824");
    assert_eq!(read(&root, &format!("{own}/nanoclaw-i-7/memory.swap.max")), "0");
    assert_eq!(read(&root, &format!("{own}/nanoclaw-i-7/pids.max")), "100");
    assert_eq!(read(&root, &format!("{own}/nanoclaw-i-7/cpu.max")), "150000 100000");
}

#[test]
fn version_2_falls_back_to_the_topmost_group() {
    let root = fake(&[
        ("cgroup.controllers", "cpu memory pids"),
        ("cgroup.subtree_control", "memory pids cpu"),
    ]);
    let limiter = Limiter::detect(root.path(), "0::/user.slice/session-1.scope\n").unwrap();
    assert!(matches!(limiter, Limiter::V2 { ref parent, .. } if parent == root.path()));
    assert_eq!(limiter.describe(), "full");
}

#[test]
fn a_scope_is_asked_for_the_same_limits() {
    let words = scope(Some("nanoclaw-i-7"), &LIMITS).join(" ");
    assert!(words.contains("--unit=nanoclaw-i-7 -p MemoryMax=1073741824 -p MemorySwapMax=0 -p TasksMax=100 -p CPUQuota=150%"));
    assert_eq!(
        scope_from("memory pids\n").unwrap().describe(),
        "partial: no cgroup controller for cpu"
    );
    assert_eq!(scope_from(""), None);
}

#[test]
fn without_groups_the_guest_gets_a_limit_of_its_own() {
    assert_eq!(Limiter::Rlimits.inside(&LIMITS), ["prlimit", "--nproc=100", "--"]);
    assert!(Limiter::Rlimits.outside("nanoclaw-i-7", &LIMITS).is_empty());
}
