//! Which Claude Code CLI belongs to this source.

/// `claude.version`: also read by `nanoclaw.sh`, so that the two cannot differ.
const PINNED: &str = include_str!("../../claude.version");

/// The version of the Claude Code CLI that this source was tested with.
pub fn pinned_version() -> &'static str {
    value("version").unwrap_or_default()
}

fn value(key: &str) -> Option<&'static str> {
    PINNED.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ').map(str::trim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_a_version_and_a_digest_for_each_platform() {
        let parts: Vec<_> = pinned_version().split('.').map(str::parse::<u32>).collect();
        assert!(parts.len() == 3 && parts.iter().all(Result::is_ok), "{}", pinned_version());
        for platform in ["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64"] {
            let digest = value(platform).unwrap_or_default();
            let hex = digest.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
            assert!(digest.len() == 64 && hex, "{platform}: {digest}");
        }
    }
}
