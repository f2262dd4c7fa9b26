//! The command line of the guest's own program, which has the guest's commands and
//! no other. The daemon's program has them too, in `cli`.

use std::process::ExitCode;

use super::{mcp, run};

/// Runs `agent` or `mcp`, and says what went wrong.
pub fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("agent") => run(),
        Some("mcp") => mcp::run().map(|()| ExitCode::SUCCESS),
        _ => {
            eprintln!(
                "usage: nanoclaw-guest agent | mcp\nIt runs in a container; the program on the host is nanoclaw."
            );
            return ExitCode::from(2);
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("nanoclaw: {error:#}");
        ExitCode::FAILURE
    })
}
