//! Whom guests are on the host: the daemon's own user, or an unprivileged one where
//! the daemon is root. Decides; changes nothing.

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
