//! Whom guests are on the host: the daemon's own user, or an unprivileged one where
//! the daemon is root; and whether the kernel lets such a user be isolated. Decides;
//! changes nothing.

use super::RuntimeError;

/// The guest's uid and gid where the daemon is root and none is configured. Above
/// the range that Debian gives to people (1000 to 59999). systemd-homed draws from
/// 60001 to 60513: where that is used, configure another.
pub const DEFAULT_UID: u32 = 60123;

/// The uid and gid of guests: what they shall write must be theirs. `configured` is
/// for a daemon that is root; otherwise only its own are possible.
pub fn guest(configured: Option<(u32, u32)>) -> Result<(u32, u32), RuntimeError> {
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    match (own.0, configured) {
        (0, Some((0, _) | (_, 0))) => Err(RuntimeError::Failed(
            "a guest must not be root: configure another uid and gid".to_owned(),
        )),
        (0, configured) => Ok(configured.unwrap_or((DEFAULT_UID, DEFAULT_UID))),
        (_, Some(user)) if user != own => Err(RuntimeError::Failed(format!(
            "only root can run guests as uid {}: leave it unset, or start the daemon as that user",
            user.0
        ))),
        _ => Ok(own),
    }
}

/// Which of the kernel's settings keeps an ordinary user from user namespaces, and what
/// mends it. `read` gives a setting.
pub fn restricted(read: impl Fn(&str) -> Option<String>) -> Option<(&'static str, &'static str)> {
    const SETTINGS: [(&str, &str, &str, &str); 3] = [
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "0",
            "the kernel forbids user namespaces",
            "sudo sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (
            "/proc/sys/user/max_user_namespaces",
            "0",
            "the kernel allows no user namespaces",
            "sudo sysctl -w user.max_user_namespaces=10000",
        ),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "AppArmor restricts user namespaces (Ubuntu 23.10 and newer): bwrap needs a profile",
            "printf 'abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile bwrap /usr/bin/bwrap flags=(unconfined) {\\n  userns,\\n}\\n' | \
             sudo tee /etc/apparmor.d/bwrap && sudo systemctl reload apparmor",
        ),
    ];
    let set = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    let found = SETTINGS.iter().find(|(path, value, ..)| set(path, value))?;
    Some((found.2, found.3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_settings_are_named_with_what_mends_them() {
        let say =
            |path: &'static str, value: &str| restricted(|p| (p == path).then(|| value.to_owned()));
        let next = |path, value| say(path, value).map_or("", |(_, next)| next);
        assert!(next("/proc/sys/kernel/unprivileged_userns_clone", "0\n").contains("clone=1"));
        assert!(next("/proc/sys/user/max_user_namespaces", "0").contains("namespaces=10000"));
        let ubuntu = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        assert!(next(ubuntu, "1").contains("/etc/apparmor.d/bwrap"));
        assert_eq!((say(ubuntu, "0"), say("/none", "0")), (None, None));
    }
}
