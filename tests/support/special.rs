//! Installations of special kinds: on a small disk, with a script for the CLI, run
//! by somebody else.

use std::process::Command;

use super::{Home, NANOCLAW};

impl Home {
    /// With the stand-in, on a small disk of its own that ends with the home;
    /// `None` where none can be mounted.
    pub fn on_small_disk(megabytes: u32) -> Option<Home> {
        let mut home = Home::below("disk");
        let cli = home.path.with_file_name("cli");
        std::fs::rename(home.cli(), &cli).unwrap();
        let size = format!("size={megabytes}m,mode=755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "nanoclaw"])
            .arg(&home.path)
            .output();
        match mounted {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                eprintln!(
                    "skipped: no disk of its own: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                return None;
            }
            Err(error) => {
                eprintln!("skipped: no disk of its own: mount: {error}");
                return None;
            }
        }
        home.mounted = Some(home.path.clone());
        home.set("NANOCLAW_CLAUDE", cli.join("claude").to_str().unwrap());
        Some(home)
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
