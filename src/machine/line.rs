//! One serial line as many channels: the standard streams of a VM's program, and its
//! connections to the proxy.
//!
//! A frame is: channel (u32), kind (u8), length (u16), all little-endian, then as many
//! bytes. Each direction of a channel has a window of [`WINDOW`] bytes, given back as
//! they are used, so that no channel holds up another and no side stores without end.
//! The other side is not believed: what breaks these rules ends the line.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};

/// Bytes of one direction of a channel that may be on their way.
pub const WINDOW: usize = 256 * 1024;
/// Channels at a time.
pub const MAX_CHANNELS: usize = 200;
/// The channel of the standard streams, which is open from the start.
pub const STREAMS: u32 = 0;
/// Bytes that are read and sent at once.
const PIECE: usize = 16 * 1024;
/// Frames that were read and not yet looked at.
const AHEAD: usize = 16;

/// What goes over the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The guest begins a channel.
    Open(u32),
    /// Bytes of a channel.
    Data(u32, Vec<u8>),
    /// No more bytes of the sender's come on this channel.
    End(u32),
    /// So many bytes of the receiver's were used.
    Used(u32, u16),
    /// The VM's program has ended with this code, and all that it said was sent.
    Exit(u8),
}

impl Frame {
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let used;
        let (channel, kind, bytes): (u32, u8, &[u8]) = match self {
            Frame::Open(id) => (*id, 0, &[]),
            Frame::Data(id, bytes) => (*id, 1, bytes),
            Frame::End(id) => (*id, 2, &[]),
            Frame::Used(id, n) => {
                used = n.to_le_bytes();
                (*id, 3, &used)
            }
            Frame::Exit(code) => (STREAMS, 4, std::slice::from_ref(code)),
        };
        let length = u16::try_from(bytes.len()).map_err(|_| bad("a frame is too long"))?;
        let mut whole = Vec::with_capacity(7 + bytes.len());
        whole.extend(channel.to_le_bytes());
        whole.push(kind);
        whole.extend(length.to_le_bytes());
        whole.extend(bytes);
        to.write_all(&whole)
    }

    fn read(from: &mut impl Read) -> io::Result<Frame> {
        let mut head = [0; 7];
        from.read_exact(&mut head)?;
        let id = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let mut bytes = vec![0; usize::from(u16::from_le_bytes([head[5], head[6]]))];
        from.read_exact(&mut bytes)?;
        match (head[4], bytes.as_slice()) {
            (0, []) => Ok(Frame::Open(id)),
            (1, _) => Ok(Frame::Data(id, bytes)),
            (2, []) => Ok(Frame::End(id)),
            (3, [a, b]) => Ok(Frame::Used(id, u16::from_le_bytes([*a, *b]))),
            (4, [code]) => Ok(Frame::Exit(*code)),
            _ => Err(bad("no frame of the line")),
        }
    }
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What is to be sent.
pub type Sender = mpsc::UnboundedSender<Frame>;

/// Begins to use a line: frames to send, and those that come. Threads, since a serial
/// port is read and written by waiting. They end with the line.
pub fn attach(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
) -> (Sender, mpsc::Receiver<Frame>) {
    // Bounded by the windows of all channels.
    let (out, mut leaving) = mpsc::unbounded_channel::<Frame>();
    let (arriving, come) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        while let Some(frame) = leaving.blocking_recv() {
            if frame.write(&mut to).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok(frame) = Frame::read(&mut from) {
            if arriving.blocking_send(frame).is_err() {
                return;
            }
        }
    });
    (out, come)
}

/// The channels of a line, seen from one of its ends.
#[derive(Debug)]
pub struct Channels {
    out: Sender,
    open: HashMap<u32, Open>,
}

#[derive(Debug)]
struct Open {
    /// Gone when the other side has ended.
    data: Option<mpsc::UnboundedSender<Vec<u8>>>,
    /// What has come and was not used yet.
    owed: Arc<AtomicUsize>,
    /// What we may still send; closed by nobody, freed when we have ended.
    credit: Arc<Semaphore>,
}

/// What a frame asks of the owner of the channels.
#[derive(Debug)]
pub enum Event {
    /// Nothing.
    None,
    /// A channel was opened by the other side.
    Open(Sending, Receiving),
    /// The program has ended.
    Exit(u8),
}

impl Channels {
    /// None but what [`Channels::open`] opens.
    pub fn new(out: Sender) -> Channels {
        Channels { out, open: HashMap::new() }
    }

    /// How many there are.
    pub fn count(&mut self) -> usize {
        self.open.retain(|_, c| c.data.is_some() || Arc::strong_count(&c.credit) > 1);
        self.open.len()
    }

    /// Both directions of a channel.
    pub fn open(&mut self, id: u32) -> (Sending, Receiving) {
        let (data, bytes) = mpsc::unbounded_channel();
        let (owed, credit) = (Arc::default(), Arc::new(Semaphore::new(WINDOW)));
        let sending = Sending { id, out: self.out.clone(), credit: Arc::clone(&credit) };
        let receiving = Receiving { id, out: self.out.clone(), bytes, owed: Arc::clone(&owed) };
        self.open.insert(id, Open { data: Some(data), owed, credit });
        (sending, receiving)
    }

    /// What follows from a frame that came.
    ///
    /// # Errors
    ///
    /// It breaks the rules; the line is of no use any more.
    pub fn take(&mut self, frame: Frame) -> io::Result<Event> {
        match frame {
            Frame::Open(id) => {
                if self.count() >= MAX_CHANNELS || self.open.contains_key(&id) {
                    return Err(bad("a channel too many"));
                }
                let (sending, receiving) = self.open(id);
                return Ok(Event::Open(sending, receiving));
            }
            Frame::Data(id, bytes) => {
                if let Some(Open { data: Some(data), owed, .. }) = self.open.get(&id) {
                    if owed.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len() > WINDOW {
                        return Err(bad("more than the window holds"));
                    }
                    // Nobody takes it any more: it is of no use.
                    let _ = data.send(bytes);
                }
            }
            Frame::End(id) => {
                if let Some(channel) = self.open.get_mut(&id) {
                    channel.data = None;
                }
            }
            Frame::Used(id, n) => {
                if let Some(channel) = self.open.get(&id) {
                    if channel.credit.available_permits() + usize::from(n) > WINDOW {
                        return Err(bad("more was used than was sent"));
                    }
                    channel.credit.add_permits(n.into());
                }
            }
            Frame::Exit(code) => return Ok(Event::Exit(code)),
        }
        Ok(Event::None)
    }
}

/// The direction of a channel that leaves here.
#[derive(Debug)]
pub struct Sending {
    id: u32,
    out: Sender,
    credit: Arc<Semaphore>,
}

impl Sending {
    /// Sends all that `from` gives, and its end.
    pub async fn all(self, mut from: impl AsyncRead + Unpin) {
        let mut piece = vec![0; PIECE];
        loop {
            let n = match from.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(n) => n,
            };
            let wanted = u32::try_from(n).unwrap_or(u32::MAX);
            match self.credit.acquire_many(wanted).await {
                Ok(permits) => permits.forget(),
                Err(_) => break,
            }
            if self.out.send(Frame::Data(self.id, piece[..n].to_vec())).is_err() {
                break;
            }
        }
        let _ = self.out.send(Frame::End(self.id));
    }
}

/// The direction of a channel that arrives here.
#[derive(Debug)]
pub struct Receiving {
    id: u32,
    out: Sender,
    bytes: mpsc::UnboundedReceiver<Vec<u8>>,
    owed: Arc<AtomicUsize>,
}

impl Receiving {
    /// Writes all that comes, then ends `to`. What it does not take is lost, and the
    /// other side goes on.
    pub async fn all(mut self, mut to: impl AsyncWrite + Unpin) {
        while let Some(bytes) = self.bytes.recv().await {
            let _ = to.write_all(&bytes).await;
            let _ = to.flush().await;
            self.owed.fetch_sub(bytes.len(), Ordering::Relaxed);
            let used = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            let _ = self.out.send(Frame::Used(self.id, used));
        }
        let _ = to.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;
    use tokio::io::{DuplexStream, duplex, split};

    /// Both ends of a line, each looked after by a task. Channels that the guest opens
    /// end in a stream which the test has.
    fn line() -> (Channels, mpsc::UnboundedReceiver<DuplexStream>, mpsc::Receiver<Frame>) {
        let (a, b) = UnixStream::pair().unwrap();
        let (out, come) = attach(a.try_clone().unwrap(), a);
        let (far_out, mut far_come) = attach(b.try_clone().unwrap(), b);
        let (opened, streams) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut far = Channels::new(far_out);
            while let Some(frame) = far_come.recv().await {
                if let Event::Open(sending, receiving) = far.take(frame).unwrap() {
                    let (ours, theirs) = duplex(1000);
                    let (read, write) = split(theirs);
                    tokio::spawn(sending.all(read));
                    tokio::spawn(receiving.all(write));
                    opened.send(ours).unwrap();
                }
            }
        });
        (Channels::new(out), streams, come)
    }

    fn serve(mut channels: Channels, mut come: mpsc::Receiver<Frame>) {
        tokio::spawn(async move {
            while let Some(frame) = come.recv().await {
                channels.take(frame).unwrap();
            }
        });
    }

    #[tokio::test]
    async fn a_channel_that_nobody_reads_holds_up_no_other() {
        let (mut near, mut streams, come) = line();
        let (mut ends, mut sent) = (Vec::new(), Vec::new());
        for id in [1, 2] {
            near.out.send(Frame::Open(id)).unwrap();
            let (sending, receiving) = near.open(id);
            let (ours, theirs) = duplex(1000);
            let (read, write) = split(theirs);
            tokio::spawn(sending.all(read));
            tokio::spawn(receiving.all(write));
            ends.push(ours);
        }
        serve(near, come);
        let (_stuck, mut far) = (streams.recv().await.unwrap(), streams.recv().await.unwrap());
        let (mut near, stuck) = (ends.pop().unwrap(), ends.pop().unwrap());
        let flood = tokio::spawn(async move {
            let mut stuck = stuck;
            stuck.write_all(&vec![7; 4 * WINDOW]).await
        });
        sent.extend((0..3 * WINDOW).map(|n| (n % 251) as u8));
        let expected = sent.clone();
        let (mut back, mut got) = (Vec::new(), Vec::new());
        let talk = async {
            let ((), ()) = tokio::join!(
                async {
                    near.write_all(&sent).await.unwrap();
                    near.shutdown().await.unwrap();
                    near.read_to_end(&mut back).await.unwrap();
                },
                async {
                    far.read_to_end(&mut got).await.unwrap();
                    // After the other direction has ended.
                    far.write_all(b"answer").await.unwrap();
                    far.shutdown().await.unwrap();
                }
            );
        };
        tokio::time::timeout(Duration::from_secs(20), talk).await.expect("nothing is held up");
        assert!(got == expected && back == b"answer");
        assert!(!flood.is_finished(), "the window is bounded");
    }

    #[tokio::test]
    async fn what_breaks_the_rules_ends_the_line() {
        let (out, _leaving) = mpsc::unbounded_channel();
        let mut channels = Channels::new(out);
        let _kept = channels.open(1);
        assert!(channels.take(Frame::Open(1)).is_err());
        assert!(channels.take(Frame::Used(1, 1)).is_err(), "nothing was sent");
        for _ in 0..WINDOW / 65_535 {
            assert!(channels.take(Frame::Data(1, vec![0; 65_535])).is_ok());
        }
        assert!(channels.take(Frame::Data(1, vec![0; 65_535])).is_err());
        assert!(channels.take(Frame::Data(9, vec![0; 10])).is_ok(), "late, and dropped");
        let kept: Vec<_> = (10..).map_while(|id| channels.take(Frame::Open(id)).ok()).collect();
        assert_eq!(kept.len(), MAX_CHANNELS - 1);
        assert!(Frame::read(&mut [0_u8, 0, 0, 0, 9, 0, 0].as_slice()).is_err());
    }
}
