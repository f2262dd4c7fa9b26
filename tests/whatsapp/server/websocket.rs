//! The server's half of a WebSocket (RFC 6455), by hand: a few lines, and with them
//! the power to stop in the middle of a frame, which no library offers.

use std::io::{Error, ErrorKind, Result};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use whatsapp_rust::wacore::libsignal::crypto::CryptographicHash;

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const LARGEST: u64 = 1 << 25;

/// What `Sec-WebSocket-Accept` must say to this `Sec-WebSocket-Key`.
pub fn accept(key: &str) -> String {
    let mut sha = CryptographicHash::new("SHA-1").unwrap();
    sha.update(key.as_bytes());
    sha.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(sha.finalize())
}

/// What the other side sent.
pub enum Incoming {
    Data(Vec<u8>),
    Ping(Vec<u8>),
    Closed,
}

/// Reads one message; pings and pongs between its parts are handed out too.
pub async fn read<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Incoming> {
    let mut head = [0u8; 2];
    if reader.read_exact(&mut head).await.is_err() {
        return Ok(Incoming::Closed);
    }
    let opcode = head[0] & 0x0f;
    let length = match head[1] & 0x7f {
        126 => u64::from(reader.read_u16().await?),
        127 => reader.read_u64().await?,
        short => u64::from(short),
    };
    if length > LARGEST || head[1] & 0x80 == 0 {
        return Err(Error::new(ErrorKind::InvalidData, "a frame too long, or without a mask"));
    }
    let mut mask = [0u8; 4];
    reader.read_exact(&mut mask).await?;
    let mut payload = vec![0; length as usize];
    reader.read_exact(&mut payload).await?;
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[index % 4];
    }
    // A message in parts may be handed on part by part: Noise has frames of its own.
    Ok(match opcode {
        CONTINUATION | BINARY => Incoming::Data(payload),
        PING => Incoming::Ping(payload),
        CLOSE => Incoming::Closed,
        _ => Incoming::Data(Vec::new()),
    })
}

/// One frame of ours, ready to be written.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=65_535 => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

/// Writes a message.
pub async fn write<W: AsyncWrite + Unpin>(writer: &mut W, payload: &[u8]) -> Result<()> {
    writer.write_all(&frame(BINARY, payload)).await?;
    writer.flush().await
}

/// Writes the first half of a message, and nothing after it.
pub async fn write_half<W: AsyncWrite + Unpin>(writer: &mut W, payload: &[u8]) -> Result<()> {
    let frame = frame(BINARY, payload);
    writer.write_all(&frame[..frame.len() / 2]).await?;
    writer.flush().await
}

/// Answers a ping.
pub async fn pong<W: AsyncWrite + Unpin>(writer: &mut W, payload: &[u8]) -> Result<()> {
    writer.write_all(&frame(10, payload)).await?;
    writer.flush().await
}
