//! Frames of the Claude Code CLI.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoclaw::agent::frames;

fuzz_target!(|line: &[u8]| {
    frames::parse(line);
});
