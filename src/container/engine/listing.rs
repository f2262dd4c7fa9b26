//! What an engine says of our containers, in any of the shapes that its versions
//! print. All that the shapes have in common is asked for, and no more.

use serde_json::Value;

use super::Dialect;
use super::argv::{INCARNATION, INSTALL};
use crate::ids::Incarnation;

/// A container of this installation, in whatever state: one that is stopped and not
/// removed still has its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The engine's own id.
    pub id: String,
    /// Which start it is.
    pub incarnation: Incarnation,
}

/// The question.
pub fn words(dialect: Dialect, install: &str) -> Vec<String> {
    let filter = format!("label={INSTALL}={install}");
    let format = match dialect {
        // It has no filter; we have.
        Dialect::Apple => return ["ls", "-a", "--format", "json"].map(str::to_owned).to_vec(),
        Dialect::Docker => "{{json .}}",
        Dialect::Podman => "json",
    };
    ["ps", "-a", "--no-trunc", "--filter", &filter, "--format", format].map(str::to_owned).to_vec()
}

/// The answer. A container of another installation, or one without a number of
/// ours, is none.
pub fn parse(dialect: Dialect, text: &str, install: &str) -> Result<Vec<Seen>, String> {
    let unreadable = |e: serde_json::Error| format!("its answer cannot be read ({e})");
    let containers: Vec<Value> = match dialect {
        Dialect::Docker => text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).map_err(unreadable))
            .collect::<Result<_, _>>()?,
        _ if text.trim().is_empty() => Vec::new(),
        _ => serde_json::from_str::<Option<Vec<Value>>>(text)
            .map_err(unreadable)?
            .unwrap_or_default(),
    };
    Ok(containers.iter().filter_map(|c| seen(dialect, c, install)).collect())
}

fn seen(dialect: Dialect, container: &Value, install: &str) -> Option<Seen> {
    let label = |name: &str| -> Option<String> {
        match dialect {
            Dialect::Apple => Some(container["configuration"]["labels"][name].as_str()?.to_owned()),
            Dialect::Podman => Some(container["Labels"][name].as_str()?.to_owned()),
            // One line for all; ours hold no comma.
            Dialect::Docker => container["Labels"]
                .as_str()?
                .split(',')
                .find_map(|l| Some(l.strip_prefix(name)?.strip_prefix('=')?.to_owned())),
        }
    };
    let id = match dialect {
        Dialect::Apple => container["configuration"]["id"].as_str().or(container["id"].as_str()),
        Dialect::Docker => container["ID"].as_str(),
        Dialect::Podman => container["Id"].as_str(),
    };
    let incarnation = label(INCARNATION)?.parse().ok().map(Incarnation)?;
    (label(INSTALL)? == install)
        .then(|| Seen { id: id.unwrap_or_default().to_owned(), incarnation })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn numbers(dialect: Dialect, text: &str) -> Vec<i64> {
        parse(dialect, text, "abc").unwrap().into_iter().map(|s| s.incarnation.0).collect()
    }

    #[test]
    fn apple_s_list_is_read_in_both_generations() {
        let labels = r#"{"org.nanoclaw.install":"abc","org.nanoclaw.incarnation":"7"}"#;
        let old = format!(
            r#"[{{"status":"running","configuration":{{"id":"n","labels":{labels}}},"networks":[]}}]"#
        );
        let new = format!(
            r#"[{{"id":"n","configuration":{{"id":"n","labels":{labels}}},"status":{{"state":"stopped","networks":[]}}}},
            {{"id":"x","configuration":{{"id":"x","labels":{{}}}},"status":{{"state":"running"}}}}]"#
        );
        for text in [old, new] {
            assert_eq!(
                parse(Dialect::Apple, &text, "abc").unwrap(),
                [Seen { id: "n".into(), incarnation: Incarnation(7) }]
            );
            assert_eq!(parse(Dialect::Apple, &text, "ab").unwrap(), []);
        }
    }

    #[test]
    fn the_lists_of_docker_and_podman_are_read() {
        let docker = "{\"ID\":\"f00\",\"Labels\":\"a=b,org.nanoclaw.incarnation=12,org.nanoclaw.install=abc\",\"State\":\"created\"}\n{\"ID\":\"f01\",\"Labels\":\"org.nanoclaw.install=abcd,org.nanoclaw.incarnation=13\"}\n";
        assert_eq!(numbers(Dialect::Docker, docker), [12]);
        let podman = r#"[{"Id":"f00","Labels":{"org.nanoclaw.install":"abc","org.nanoclaw.incarnation":"3"},"State":"exited"},{"Id":"e","Labels":null}]"#;
        assert_eq!(numbers(Dialect::Podman, podman), [3]);
        for nothing in ["", "[]", "null", "\n"] {
            assert_eq!(numbers(Dialect::Podman, nothing), Vec::<i64>::new());
        }
        assert!(parse(Dialect::Docker, "Cannot connect", "abc").is_err());
    }
}
