//! How the program ends, for scripts.

use std::process::ExitCode;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; for `chat`, every line was answered.
    Ok = 0,
    /// It was tried and failed; for `chat`, a line was not answered.
    Failed = 1,
    /// The command line is wrong (clap's code too).
    Usage = 2,
    /// What was asked for does not exist.
    NotFound = 3,
    /// The settings are wrong (`EX_CONFIG` of sysexits).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
