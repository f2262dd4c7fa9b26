//! Whether bubblewrap isolates here, and which of the kernel's settings to change
//! where it does not.

use std::fs;
use std::time::Duration;

use tokio::process::Command;

use super::Bwrap;
use super::launch;
use crate::container::probe::{Question, ask};
use crate::container::start::unusable;
use crate::container::{Health, RuntimeError, io_error, user};

/// For everything that the probe does.
const DEADLINE: Duration = Duration::from_secs(5);

/// See [`Runtime::probe`].
pub async fn probe(runtime: &Bwrap) -> Result<Health, RuntimeError> {
    let health = ask(Question {
        runtime,
        version: version().await?,
        user: runtime.user()?,
        place: &std::env::temp_dir(),
        boundary: "namespaces",
        deadline: DEADLINE,
        explain: |said| with_remedy(said, |path| fs::read_to_string(path).ok()),
    })
    .await?;
    // Its control groups are out of a guest's sight.
    Ok(Health { limits: runtime.limiter().await.describe(), ..health })
}

async fn version() -> Result<String, RuntimeError> {
    let bwrap = launch::bwrap()?;
    let output = Command::new(&bwrap).arg("--version").kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(1), output)
        .await
        .map_err(|_| unusable("bwrap", "bwrap --version hangs"))?;
    let output = output.map_err(|e| io_error("run", &bwrap, e))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().last().unwrap_or_default().to_owned();
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) < (0, 8) {
        let reason = "cannot forbid nested user namespaces: install 0.8 or newer";
        return Err(unusable("bwrap", format!("bubblewrap {version} {reason}")));
    }
    Ok(version)
}

/// What bubblewrap said, and what to do about it. `read` gives a kernel setting.
fn with_remedy(said: &str, read: impl Fn(&str) -> Option<String>) -> String {
    // Only bubblewrap's own words are about the kernel; others are the guest's.
    if !said.lines().any(|line| line.starts_with("bwrap:")) {
        return if said.is_empty() {
            "it failed without a word".to_owned()
        } else {
            said.to_owned()
        };
    }
    if let Some((why, next)) = user::restricted(&read) {
        return format!("{said}; {why}: {next}");
    }
    let inside = ["/.dockerenv", "/run/.containerenv"].iter().any(|path| read(path).is_some());
    let remedy = if inside {
        "this is a container: start it with --user 1000:1000 --security-opt seccomp=unconfined --security-opt systempaths=unconfined (docs/nested.md)"
    } else {
        "see `man bwrap`"
    };
    format!("{said}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_setting_that_mends_it() {
        let say = |path: &'static str, value: &'static str| {
            with_remedy("bwrap: no", move |p| (p == path).then(|| value.to_owned()))
        };
        let ubuntu = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        assert!(say(ubuntu, "1\n").contains("AppArmor"));
        assert!(say("/.dockerenv", "").contains("this is a container"));
        assert!(say("/none", "").starts_with("bwrap: no; "));
        assert_eq!(with_remedy("sh: cannot fork", |_| Some("0".to_owned())), "sh: cannot fork");
    }
}
