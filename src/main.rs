//! The program's entry. Only the guest's two commands are wired so far.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    match std::env::args().nth(1).as_deref() {
        Some("agent") => nanoclaw::agent::run(),
        Some("mcp") => nanoclaw::agent::mcp::run().map(|()| ExitCode::SUCCESS),
        _ => anyhow::bail!("usage: nanoclaw agent | mcp"),
    }
}
