//! What only Apple's tool has: a service of its own that is down after a login, may
//! be older than the tool, and takes its time to come up.

use std::time::Duration;

use serde_json::Value;

use super::ASK;
use super::client::Client;
use crate::container::RuntimeError;
use crate::container::start::unusable;

/// Pauses between the tries to start the service.
const PAUSES: [u64; 5] = [1, 2, 4, 8, 15];
/// The kernel is fetched at the first start.
const START: Duration = Duration::from_secs(60);

/// Starts the service if it is down. It takes 10 to 30 seconds after a login, and
/// the first tries fail.
pub async fn wake(client: &Client) -> Result<(), RuntimeError> {
    // Its exit code says it; the text changes with each version.
    let Err(mut error) = client.call(&["system", "status"], ASK).await else {
        return Ok(());
    };
    for pause in PAUSES {
        if matches!(error, RuntimeError::Missing { .. }) {
            return Err(error);
        }
        tracing::warn!(%error, "Apple's container service is down: starting it");
        // Without the option it would ask at a terminal.
        let started = client.call(&["system", "start", "--enable-kernel-install"], START).await;
        match started.and(client.call(&["system", "status"], ASK).await) {
            Ok(_) => return Ok(()),
            Err(e) => error = e,
        }
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
    Err(error)
}

/// The tool's version, and what to do if its service has another.
pub async fn version(client: &Client) -> Result<(String, Option<String>), RuntimeError> {
    let text = client.say(["system", "version", "--format", "json"]).await?;
    let all: Value = serde_json::from_str(&text).unwrap_or_default();
    let versions: Vec<String> = all
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| Some(number(v["version"].as_str()?)))
        .collect();
    let (Some(tool), service) = (versions.first().cloned(), versions.get(1).cloned()) else {
        return Ok((number(text.lines().next().unwrap_or_default()), None));
    };
    if !known(&tool) {
        let reason = format!("version {tool} is too old: brew upgrade container (0.12 or newer)");
        return Err(unusable("container", reason));
    }
    let skew = service.filter(|service| *service != tool).map(|service| {
        format!("container is {tool} and its service still {service}: container system stop && container system start")
    });
    Ok((tool, skew))
}

/// The number in what may be a whole sentence.
fn number(text: &str) -> String {
    let word = text
        .split_whitespace()
        .find(|w| w.contains('.') && w.starts_with(|c: char| c.is_ascii_digit()));
    word.unwrap_or(text).trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// Whether it has the options that we use (`--cap-drop` came last).
fn known(version: &str) -> bool {
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (0, 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_the_tools_say() {
        assert_eq!(number("1.2.2"), "1.2.2");
        assert_eq!(number("container CLI version 0.12.3 (build: release, commit: abc)"), "0.12.3");
        assert!(known("0.12.0") && known("1.0.0") && !known("0.11.9"));
    }
}
