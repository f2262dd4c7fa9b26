//! Installations of special kinds: on a small disk, with a script for the CLI, run
//! by somebody else.

use std::path::Path;
use std::process::Command;

use super::{Home, NANOCLAW};

impl Home {
    /// With the stand-in, on a small disk of its own that ends with the home;
    /// `None` where none can be mounted.
    pub fn on_small_disk(megabytes: u32) -> Option<Home> {
        let size = format!("size={megabytes}m,mode=755");
        Home::on_disk(|_| Command::new("mount"), &["-t", "tmpfs", "-o", &size, "nanoclaw"])
    }

    /// With the stand-in, on a disk that turns read-only when something is wrong with
    /// it, as most are set up to: [`Home::break_disk`].
    pub fn on_breaking_disk() -> Option<Home> {
        let image = |beside: &Path| {
            let script = "truncate -s 300M disk.img && mkfs.ext4 -q disk.img && exec mount \"$@\"";
            let mut command = Command::new("sh");
            command.args(["-c", script, "sh"]).current_dir(beside);
            command
        };
        Home::on_disk(image, &["-o", "loop,errors=remount-ro", "disk.img"])
    }

    /// Mounts a disk where the installation is to be: what `by` runs, with `arguments`
    /// and the place.
    fn on_disk(by: impl Fn(&Path) -> Command, arguments: &[&str]) -> Option<Home> {
        let mut home = Home::below("disk");
        let beside = home.path.parent().unwrap().to_owned();
        let cli = beside.join("cli");
        std::fs::rename(home.cli(), &cli).unwrap();
        let mounted = by(&beside).args(arguments).arg(&home.path).output();
        if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: no disk of its own: {mounted:?}");
            return None;
        }
        home.mounted = Some(home.path.clone());
        home.set("NANOCLAW_CLAUDE", cli.join("claude").to_str().unwrap());
        Some(home)
    }

    /// Has the kernel find an error on the disk: from then on it cannot be written.
    pub fn break_disk(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let place = self.path.to_str().unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(place)).unwrap();
        let device = line.split(' ').next().unwrap().trim_start_matches("/dev/");
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        std::fs::write(trigger, "of the test").unwrap();
    }

    /// Looks the disk through and mounts it again, as the owner does. Nothing may use it.
    pub fn mend_disk(&self) {
        let script = "umount disk && { fsck.ext4 -pf disk.img >/dev/null; [ $? -lt 4 ]; } && mount -o loop,errors=remount-ro disk.img disk";
        let beside = self.path.parent().unwrap();
        let mended = Command::new("sh").args(["-c", script]).current_dir(beside).output().unwrap();
        assert!(mended.status.success(), "{mended:?}");
    }

    /// With a shell script for the CLI: `script`, after which the stand-in runs.
    pub fn scripted(script: &str) -> Home {
        let home = Home::new();
        std::fs::rename(home.cli().join("claude"), home.cli().join("stand-in")).unwrap();
        home.script(script);
        home
    }

    /// Replaces the script of [`Home::scripted`].
    pub fn script(&self, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let text = format!("#!/bin/bash\n{script}\nexec \"${{0%/*}}/stand-in\" \"$@\"\n");
        let hidden = self.cli().join(".claude");
        std::fs::write(&hidden, text).unwrap();
        std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(hidden, self.cli().join("claude")).unwrap();
    }

    /// Runs the program by these words instead, such as another user's.
    pub fn run_by(&mut self, program: Vec<String>) {
        self.program = program;
    }

    /// Runs the program after `mount`, a shell command in the home, in a view of
    /// the file system of its own. False where that cannot be had.
    pub fn run_with_a_view_of_its_own(&mut self, mount: &str) -> bool {
        let script = format!("{mount} && exec \"$0\" \"$@\"");
        let words = ["unshare", "--mount", "--", "sh", "-c", &script];
        let tried =
            Command::new(words[0]).args(&words[1..]).arg("true").current_dir(&self.path).output();
        if !tried.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: no view of its own: {tried:?}");
            return false;
        }
        self.program = words.map(str::to_owned).to_vec();
        self.program.push(NANOCLAW.into());
        true
    }
}

/// Runs `test` of the present file again in a network of its own, in which every address
/// is this machine and name look-ups come to 127.0.0.1. False where we are inside.
pub fn in_a_network_of_its_own(test: &str) -> bool {
    if std::env::var_os("INSIDE").is_some() {
        return false;
    }
    let directory = tempfile::tempdir().unwrap();
    let resolv = directory.path().join("resolv.conf");
    std::fs::write(&resolv, "nameserver 127.0.0.1\n").unwrap();
    let script = "ip link set lo up && ip route add local 0.0.0.0/0 dev lo && ip -6 route add local ::/0 dev lo 2>/dev/null; \
                  mount --bind \"$1\" \"$(readlink -f /etc/resolv.conf)\" || exit 42; shift; exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--", "sh", "-c", script, "sh"])
        .arg(&resolv)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("INSIDE", "1")
        .output();
    let skip = |why: String| eprintln!("skipped: no network of its own: {why}");
    match output {
        Err(error) => skip(format!("unshare: {error}")),
        Ok(output) => {
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            let began = said.contains("running 1 test");
            if began {
                assert!(output.status.success(), "{said}");
                said.lines().filter(|l| l.starts_with("skipped")).for_each(|l| eprintln!("{l}"));
            } else {
                skip(said);
            }
        }
    }
    true
}
