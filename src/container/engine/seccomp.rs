//! Podman's own filter of system calls, made stricter: it lets a guest make user
//! namespaces, which is how holes of the kernel are reached. Docker's does not.

use std::fs;

use serde_json::{Value, json};

use crate::container::RuntimeError;

/// Where Podman's profile is.
const PLACES: [&str; 2] = ["/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json"];
/// Not to be allowed whatever the profile says.
const REFUSED: [&str; 21] = [
    "add_key",
    "bpf",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "keyctl",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_by_handle_at",
    "open_tree",
    "pivot_root",
    "request_key",
    "setns",
    "syslog",
    "umount2",
    "unshare",
];
/// The flags of `clone` that make a namespace.
const NAMESPACES: u64 = 0x7e02_0000;

/// The profile, or none where Podman has none.
pub fn profile() -> Result<Option<String>, RuntimeError> {
    let Some(text) = PLACES.iter().find_map(|path| fs::read_to_string(path).ok()) else {
        return Ok(None);
    };
    let profile = serde_json::from_str(&text)
        .map_err(|e| RuntimeError::Failed(format!("podman's seccomp.json cannot be read: {e}")))?;
    Ok(Some(stricter(profile).to_string()))
}

fn stricter(mut profile: Value) -> Value {
    let rules = profile["syscalls"].as_array_mut();
    let mut kept: Vec<Value> = rules.map(std::mem::take).unwrap_or_default();
    for rule in &mut kept {
        if let Some(names) = rule["names"].as_array_mut() {
            names.retain(|name| {
                let name = name.as_str().unwrap_or_default();
                !REFUSED.contains(&name) && name != "clone" && name != "clone3"
            });
        }
    }
    kept.retain(|rule| rule["names"].as_array().is_some_and(|names| !names.is_empty()));
    let no_namespace =
        json!([{"index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]);
    kept.push(json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": no_namespace}));
    // Its flags lie in memory, where no filter looks; libraries fall back to clone.
    kept.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}));
    kept.push(json!({"names": REFUSED, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}));
    profile["syscalls"] = kept.into();
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_allowed_by_no_rule_and_the_rest_stays() {
        let profile = stricter(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read", "unshare", "clone", "mount"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["setns"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        ]}));
        let allowed: Vec<&str> = profile["syscalls"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW")
            .flat_map(|rule| rule["names"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(allowed, ["read", "clone"]);
        assert_eq!(profile["syscalls"][1]["args"][0]["op"], "SCMP_CMP_MASKED_EQ");
    }
}
