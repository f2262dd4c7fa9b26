//! The stand-in's MCP client: one server process for one call.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Starts the MCP server, calls one tool and returns its words.
pub fn call(server: &Value, name: &str, arguments: &Value) -> std::io::Result<String> {
    let args: Vec<String> = serde_json::from_value(server["args"].clone()).unwrap_or_default();
    let env: BTreeMap<String, String> =
        serde_json::from_value(server["env"].clone()).unwrap_or_default();
    let mut child = Command::new(server["command"].as_str().unwrap_or_default())
        .args(args)
        .envs(env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let missing = || std::io::Error::other("no pipe");
    let mut input = child.stdin.take().ok_or_else(missing)?;
    let mut output = BufReader::new(child.stdout.take().ok_or_else(missing)?).lines();
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "stand-in", "version": "1"}});
    writeln!(
        input,
        "{}",
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
    )?;
    output.next().ok_or_else(missing)??;
    writeln!(input, "{}", json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
    let params = json!({"name": name, "arguments": arguments});
    writeln!(
        input,
        "{}",
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})
    )?;
    let line: Value = serde_json::from_str(&output.next().ok_or_else(missing)??)?;
    drop(input);
    child.wait()?;
    let text = line["result"]["content"][0]["text"]
        .as_str()
        .map_or_else(|| line.to_string(), str::to_owned);
    let how = if line["result"]["isError"] == true { "tool error" } else { "tool" };
    Ok(format!("{how}: {text}"))
}
