//! The socket itself: where it is, and lines of a bounded length.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixListener;
use tokio::net::unix::OwnedReadHalf;

use super::wire::MAX_LINE;
use crate::unix;

/// A socket that nobody answers on is left over from a crash and replaced.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    if path.exists() {
        match std::os::unix::net::UnixStream::connect(unix::short(path)?.path()) {
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another program listens here",
                ));
            }
            Err(_) => std::fs::remove_file(path)?,
        }
    }
    unix::bind(path, 0o600)
}

/// What was read.
pub(super) enum Line {
    /// A line, without its end being looked at.
    Whole,
    /// A line that was skipped.
    TooLong,
    /// No more will come.
    End,
}

/// Reads a line, never holding more than [`MAX_LINE`] bytes of it.
pub(super) async fn read_line(
    reading: &mut BufReader<OwnedReadHalf>,
    line: &mut Vec<u8>,
) -> io::Result<Line> {
    line.clear();
    line.shrink_to(64 * 1024);
    let read = reading.take(MAX_LINE as u64).read_until(b'\n', line).await?;
    if read == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') || read < MAX_LINE {
        return Ok(Line::Whole);
    }
    loop {
        let buffer = reading.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(Line::End);
        }
        let end = buffer.iter().position(|&b| b == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        reading.consume(used);
        if end.is_some() {
            return Ok(Line::TooLong);
        }
    }
}
