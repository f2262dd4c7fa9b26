//! What the three command lines do not have in common, as far as it is words.

/// Whose command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Apple's `container`, 0.12 and newer: one small virtual machine each.
    Apple,
    /// Docker, 20.10 and newer.
    Docker,
    /// Podman, 4.3 and newer, with root or without.
    Podman,
}

impl Dialect {
    /// Its program, which is also its name in `CONTAINER_RUNTIME`.
    pub fn program(self) -> &'static str {
        match self {
            Dialect::Apple => "container",
            Dialect::Docker => "docker",
            Dialect::Podman => "podman",
        }
    }

    /// What separates guest and host.
    pub fn boundary(self) -> &'static str {
        match self {
            Dialect::Apple => super::super::VM,
            Dialect::Docker | Dialect::Podman => "namespaces",
        }
    }

    /// What stands before the command.
    pub fn options(self) -> &'static [&'static str] {
        // crun refuses to work where both versions of control groups are mixed.
        if self == Dialect::Podman && hybrid_cgroups() { &["--runtime", "runc"] } else { &[] }
    }

    /// What to do where its program is not there.
    pub fn install(self) -> &'static str {
        match self {
            Dialect::Apple => "brew install container (macOS 26 on Apple silicon)",
            Dialect::Docker => "sudo apt install docker.io",
            Dialect::Podman => "sudo apt install podman uidmap",
        }
    }

    /// What to do where it does not answer or does not do what it says.
    pub fn stuck(self) -> &'static str {
        match self {
            Dialect::Apple => {
                "the service is stuck: container system stop && container system start"
            }
            Dialect::Docker => "the engine is stuck: sudo systemctl restart docker",
            Dialect::Podman => "the engine is stuck: see `podman ps -a` and `podman system check`",
        }
    }
}

fn hybrid_cgroups() -> bool {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    own.lines().any(|l| l.starts_with("0::")) && own.lines().count() > 1
}
