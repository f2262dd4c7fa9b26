//! What the stand-in writes, and its random ids.

use std::fs::File;
use std::io::{Read, Write};
use std::process::exit;

use serde_json::Value;

pub fn write(line: &Value) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        exit(1);
    }
}

pub fn die(why: &str) -> ! {
    eprintln!("stand-in: {why}");
    exit(101)
}

pub fn uuid() -> String {
    let mut b = [0u8; 16];
    if File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut b)).is_err() {
        die("no randomness");
    }
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex: String = b.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// 100 MB of rubbish: short lines, and one of 40 MB that looks like a frame.
pub fn flood() {
    let mut out = std::io::stdout().lock();
    let line = [b"rubbish ".repeat(128).as_slice(), b"\n"].concat();
    let written = (0..60_000).try_for_each(|_| out.write_all(&line));
    let long = written.and_then(|()| out.write_all(b"{\"type\":\"result\",\"result\":\""));
    let long = long.and_then(|()| (0..40_000).try_for_each(|_| out.write_all(&line[..1024])));
    if long.and_then(|()| out.write_all(b"\"}\n")).is_err() {
        exit(1);
    }
}
