//! One CLI process: its pipes as channels, its end as an event.
//!
//! Knows lines and frames, nothing of turns. Whatever the process writes, memory
//! stays bounded: lines that are no JSON object are dropped as they come, longer
//! ones than [`MAX_LINE`] are skipped, and it is made to wait when nobody takes
//! its frames.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::frames::{self, Frame};
use super::place::Launch;
use super::processes;

/// The longest line that is read, in bytes: tool results with images are large.
const MAX_LINE: usize = 32 * 1024 * 1024;
/// How much of the end of standard error is kept, in bytes.
const TAIL: usize = 2048;
/// The time that a process has after each request to end.
const GRACE: Duration = Duration::from_secs(5);

/// A running CLI.
#[derive(Debug)]
pub struct Cli {
    child: Child,
    kept: processes::WaitedFor,
    tag: String,
    input: Option<mpsc::UnboundedSender<Value>>,
    frames: mpsc::Receiver<Frame>,
    tail: Option<JoinHandle<String>>,
}

impl Cli {
    /// Starts it in a process group of its own.
    pub fn spawn(launch: &Launch, tag: &str) -> io::Result<Cli> {
        let mut command = Command::new(&launch.program);
        command.args(&launch.args).stdin(Stdio::piped()).stderr(Stdio::piped());
        let (mut child, kept) = processes::spawn(&mut command, &launch.cwd, &launch.env)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("the pipes are missing"));
        };
        let (input, lines) = mpsc::unbounded_channel();
        tokio::spawn(write_lines(stdin, lines));
        let (sender, frames) = mpsc::channel(4);
        tokio::spawn(read_frames(stdout, sender));
        let tail = Some(tokio::spawn(keep_tail(stderr)));
        Ok(Cli { child, kept, tag: tag.to_owned(), input: Some(input), frames, tail })
    }

    /// Writes one line; a CLI that has gone is noticed by [`Cli::frame`].
    pub fn send(&self, line: Value) {
        if let Some(input) = &self.input {
            let _ = input.send(line);
        }
    }

    /// A way to write lines for a task that may outlive the caller's turn. The
    /// process's input stays open as long as one exists.
    pub fn sender(&self) -> Option<mpsc::UnboundedSender<Value>> {
        self.input.clone()
    }

    /// The next frame; none when its output has ended. Cancel safe.
    pub async fn frame(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }

    /// After the end of its output: how it ended, if it did within a second, and
    /// the end of what it wrote to standard error.
    pub async fn post_mortem(&mut self) -> (Option<ExitStatus>, String) {
        let second = Duration::from_secs(1);
        let status = timeout(second, self.child.wait()).await.ok().and_then(Result::ok);
        let tail = match self.tail.take() {
            Some(tail) => timeout(second, tail).await.ok().and_then(Result::ok).unwrap_or_default(),
            None => String::new(),
        };
        (status, tail)
    }

    /// Ends it and everything it started: closes its input, then asks, then
    /// kills, with five seconds between.
    pub async fn end(mut self) {
        self.input = None;
        // Nobody reads its frames any more; a full pipe must not hold it up.
        self.frames.close();
        let _ = timeout(GRACE, self.child.wait()).await;
        let find = || processes::of_session(Some(self.kept.pid()), &self.tag);
        processes::signal(&find(), Signal::TERM);
        let gone = async {
            // The child is waited for meanwhile, so that it does not linger.
            while self.child.try_wait().is_ok_and(|s| s.is_none()) || !find().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = timeout(GRACE, gone).await;
        processes::kill_all(find).await;
        let _ = timeout(GRACE, self.child.wait()).await;
    }

    /// Kills it and everything it started at once.
    pub async fn kill(mut self) {
        let _ = self.child.start_kill();
        processes::kill_all(|| processes::of_session(Some(self.kept.pid()), &self.tag)).await;
        let _ = timeout(GRACE, self.child.wait()).await;
    }
}

async fn write_lines(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<Value>) {
    while let Some(line) = lines.recv().await {
        let text = format!("{line}\n");
        if stdin.write_all(text.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

async fn read_frames(stdout: ChildStdout, frames: mpsc::Sender<Frame>) {
    let mut reader = BufReader::with_capacity(64 * 1024, stdout);
    let mut line = Vec::new();
    let mut wanted = true;
    while let Ok(true) = read_object(&mut reader, &mut line, MAX_LINE).await {
        let frame = if wanted { frames::parse(&line) } else { Frame::Other };
        if frame != Frame::Other {
            // Read on to the end even when nobody listens, so that the process
            // is not held up on its way out.
            wanted = frames.send(frame).await.is_ok();
        }
        if line.capacity() > 1024 * 1024 {
            line = Vec::new();
        }
    }
}

/// Reads up to the end of the next line that could be a JSON object and is not
/// longer than `max`; everything else is dropped as it comes. False at the end.
async fn read_object<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    line: &mut Vec<u8>,
    max: usize,
) -> io::Result<bool> {
    loop {
        line.clear();
        let mut keep = true;
        loop {
            let chunk = reader.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(false);
            }
            let end = chunk.iter().position(|&b| b == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            if line.is_empty() && !part.is_empty() && part[0] != b'{' {
                keep = false;
            }
            keep &= line.len() + part.len() <= max;
            if keep {
                line.extend_from_slice(part);
            } else {
                line.clear();
            }
            let used = end.map_or(chunk.len(), |at| at + 1);
            reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        if keep && !line.is_empty() {
            return Ok(true);
        }
    }
}

async fn keep_tail(mut stderr: ChildStderr) -> String {
    let mut tail = Vec::new();
    let mut chunk = [0; 1024];
    while let Ok(n @ 1..) = stderr.read(&mut chunk).await {
        tail.extend_from_slice(&chunk[..n]);
        if tail.len() > 2 * TAIL {
            tail.drain(..tail.len() - TAIL);
        }
    }
    tail.drain(..tail.len().saturating_sub(TAIL));
    String::from_utf8_lossy(&tail).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn objects(text: &str, max: usize, capacity: usize) -> Vec<String> {
        let mut reader = BufReader::with_capacity(capacity, text.as_bytes());
        let (mut line, mut all) = (Vec::new(), Vec::new());
        while read_object(&mut reader, &mut line, max).await.unwrap() {
            all.push(String::from_utf8(line.clone()).unwrap());
        }
        all
    }

    #[tokio::test(flavor = "current_thread")]
    async fn only_objects_of_a_sane_length_are_read_however_they_are_split() {
        let text = "junk\n\n{\"a\":1}\n{\"long\":\"xxxxxxxxxxxxxxxxxxxxxx\"}\n  \n{\"b\":2}\nmore {junk}\n{\"c\":3}\n{\"cut";
        for capacity in [1, 2, 3, 7, 1000] {
            assert_eq!(
                objects(text, 16, capacity).await,
                ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"],
                "{capacity}"
            );
        }
    }
}
