//! The command line of the guest's own program, which has the guest's commands and
//! no other. The daemon's program has them too, in `cli`.

use std::process::ExitCode;

use super::{mcp, run};
#[cfg(target_os = "linux")]
use crate::machine::{init, keeper};

/// Runs `agent`, `mcp` or one end of a VM, and says what went wrong.
pub fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        #[cfg(target_os = "linux")]
        _ if init::is_wanted() => init::run().map(|()| ExitCode::SUCCESS),
        #[cfg(target_os = "linux")]
        Some("machine") => keeper::run(&std::env::args().skip(2).collect::<Vec<_>>()),
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
