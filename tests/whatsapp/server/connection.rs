//! One socket from its first byte to its last: handshake, log-in, and then stanza by
//! stanza into the router. A task reads, another writes.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::framing::{FrameDecoder, encode_frame};
use whatsapp_rust::wacore::noise::NoiseCipher;
use whatsapp_rust::wacore_binary::marshal::{marshal, unmarshal_ref};
use whatsapp_rust::wacore_binary::{Node, util};
use whatsapp_rust::waproto::whatsapp as wa;

use super::accounts::Address;
use super::faults::{What, When};
use super::log::Direction;
use super::node::{NodeBuilder, now};
use super::noise::Secured;
use super::state::{Connection, Out, Shared, State};
use super::websocket::{self, Incoming};
use super::{pairing, router};

/// Serves a socket until either side ends it.
pub async fn serve<S>(shared: Arc<Shared>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (out, orders) = unbounded_channel();
    let id = {
        let mut state = shared.lock();
        let id = state.number();
        state.connections.insert(id, Connection { out: out.clone(), who: None, held: None });
        id
    };
    let _open = Open { shared: shared.clone(), id };
    let outcome = run(&shared, id, stream, out, orders).await;
    if let Err(error) = outcome
        && std::env::var_os("WHATSAPP_SERVER_LOG").is_some()
    {
        eprintln!("connection {id}: {error:#}");
    }
}

/// An open connection, however it ends.
struct Open {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.lock().forget(self.id);
        self.shared.changed();
    }
}

impl State {
    /// A connection is over: what it was given and did not acknowledge waits again.
    fn forget(&mut self, id: u64) {
        self.offers.remove(&id);
        let Some(closed) = self.connections.remove(&id) else { return };
        let Some(device) = closed.who.and_then(|at| self.device(at)) else { return };
        if device.connection == Some(id) {
            device.connection = None;
            device.active = false;
            device.backlog = 0;
            device.mail.iter_mut().for_each(|mail| mail.sent = false);
        }
    }
}

async fn run<S>(
    shared: &Arc<Shared>,
    id: u64,
    stream: S,
    out: UnboundedSender<Out>,
    orders: UnboundedReceiver<Out>,
) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (reader, mut writer) = split(stream);
    let mut reader = Reader { socket: reader, frames: FrameDecoder::new(), greeted: false, out };
    pause(shared, When::Connect, None).await?;
    let first = reader.frame().await?.context("closed before the handshake")?;
    pause(shared, When::Hello, None).await?;
    let answered = shared.identity.answer(&first)?;
    websocket::write(&mut writer, &encode_frame(&answered.hello, None)?).await?;
    let second = match answered.waits() {
        true => Some(reader.frame().await?.context("closed in the handshake")?),
        false => None,
    };
    let Secured { write, read, client, payload } = answered.finish(second.as_deref())?;
    let payload = wa::ClientPayload::decode_from_slice(&payload)?;
    let writing = tokio::spawn(write_all(writer, write, orders));
    let read = async {
        let account = payload.username.map(|number| number.to_string());
        let account = account
            .and_then(|phone| shared.lock().accounts.iter().position(|known| known.phone == phone));
        let fault = shared.lock().faults.take(When::Login, account);
        if let Some(fault) = fault {
            refuse(&mut shared.lock(), id, &fault);
            if !matches!(fault, What::Delay(_) | What::Silence) {
                return std::future::pending().await;
            }
        }
        log_in(shared, id, client, payload, account)?;
        shared.changed();
        read_all(shared, id, reader, read).await
    };
    // A writer that was told to close ends the connection, whatever the peer does.
    tokio::select! {
        outcome = read => outcome,
        outcome = writing => outcome?,
    }
}

/// Waits out a fault before the log-in, or ends the connection.
async fn pause(shared: &Shared, when: When, account: Option<usize>) -> Result<()> {
    let fault = shared.lock().faults.take(when, account);
    match fault {
        None => Ok(()),
        Some(What::Delay(time)) => {
            tokio::time::sleep(time).await;
            Ok(())
        }
        Some(What::Silence | What::Deaf) => std::future::pending().await,
        Some(other) => bail!("a fault: {other:?}"),
    }
}

/// Answers a log-in as a server does that does not want it.
fn refuse(state: &mut State, id: u64, fault: &What) {
    let failure = NodeBuilder::new("failure").attr("location", "tst");
    let failure = match fault {
        What::Fail(reason) => failure.attr("reason", reason.to_string()),
        What::Ban { code, seconds } => failure
            .attr("reason", "402")
            .attr("code", code.to_string())
            .attr("expire", seconds.to_string()),
        other => return state.apply(id, other),
    };
    state.send(id, failure.build());
    state.close(id);
}

fn log_in(
    shared: &Shared,
    id: u64,
    client: [u8; 32],
    payload: wa::ClientPayload,
    account: Option<usize>,
) -> Result<()> {
    let mut state = shared.lock();
    if let Some(data) = payload.device_pairing_data.into_option() {
        let offer = pairing::offer(client, data, state.codes)?;
        let number = state.number();
        let codes = pairing::codes(&offer, number);
        state.offers.insert(id, offer);
        state.send(id, codes);
        return Ok(());
    }
    let device = payload.device.unwrap_or(0) as u16;
    let at = account.map(|account| Address { account, device });
    let known = at.filter(|at| state.device(*at).is_some_and(|d| d.noise_key == client));
    let Some(at) = known else {
        refuse(&mut state, id, &What::Fail(401));
        return Ok(());
    };
    if let Some(older) = state.device(at).and_then(|device| device.connection.replace(id)) {
        router::conflict(&mut state, older, "replaced");
    }
    if let Some(device) = state.device(at) {
        device.active = false;
        device.backlog = 0;
        device.mail.iter_mut().for_each(|mail| mail.sent = false);
    }
    if let Some(open) = state.connections.get_mut(&id) {
        open.who = Some(at);
    }
    let success = NodeBuilder::new("success")
        .attr("t", now())
        .attr("props", "2")
        .attr("companion_enc_static", "")
        .attr("lid", state.accounts[at.account].lid(device))
        .attr("location", "tst");
    state.send(id, success.build());
    Ok(())
}

/// The reading half of a socket.
struct Reader<S> {
    socket: ReadHalf<S>,
    frames: FrameDecoder,
    /// The connection header was seen.
    greeted: bool,
    out: UnboundedSender<Out>,
}

impl<S: AsyncRead + AsyncWrite> Reader<S> {
    /// The next frame; `None` at the end.
    async fn frame(&mut self) -> Result<Option<Vec<u8>>> {
        let mut before = Vec::new();
        loop {
            if let Some(frame) = self.frames.decode_frame() {
                return Ok(Some(frame.to_vec()));
            }
            match websocket::read(&mut self.socket).await? {
                Incoming::Closed => return Ok(None),
                Incoming::Ping(payload) => drop(self.out.send(Out::Pong(payload))),
                Incoming::Data(data) if self.greeted => self.frames.feed(&data),
                Incoming::Data(data) => {
                    before.extend(data);
                    if let Some(start) = header(&before)? {
                        self.greeted = true;
                        self.frames.feed(&before[start..]);
                    }
                }
            }
        }
    }
}

/// Where the first frame begins: after `WA`, two bytes of version, and before them
/// perhaps the routing that an earlier server asked for.
fn header(data: &[u8]) -> Result<Option<usize>> {
    let mut start = 0;
    if data.starts_with(b"ED") {
        let Some(length) = data.get(4..7) else { return Ok(None) };
        start = 7 + super::node::number(length) as usize;
    }
    match data.get(start..start + 4) {
        None => Ok(None),
        Some([b'W', b'A', _, _]) => Ok(Some(start + 4)),
        Some(other) => bail!("an unknown beginning: {other:?}"),
    }
}

async fn read_all<S: AsyncRead + AsyncWrite>(
    shared: &Arc<Shared>,
    id: u64,
    mut reader: Reader<S>,
    cipher: NoiseCipher,
) -> Result<()> {
    for counter in 0.. {
        let Some(mut frame) = reader.frame().await? else { return Ok(()) };
        cipher.decrypt_in_place_with_counter(counter, &mut frame)?;
        let node = unmarshal_ref(&util::unpack(&frame)?)?.to_owned();
        let who = {
            let mut state = shared.lock();
            state.record(id, Direction::FromClient, &node);
            state.connections.get(&id).and_then(|open| open.who)
        };
        if router::incoming(shared, id, who, node)? == router::Next::Deaf {
            return std::future::pending().await;
        }
        shared.changed();
    }
    Ok(())
}

async fn write_all<S: AsyncRead + AsyncWrite>(
    mut socket: WriteHalf<S>,
    cipher: NoiseCipher,
    mut orders: UnboundedReceiver<Out>,
) -> Result<()> {
    let mut counter = 0;
    let mut seal = |node: &Node| -> Result<Vec<u8>> {
        let frame = cipher.encrypt_with_counter(counter, &marshal(node)?)?;
        counter += 1;
        encode_frame(&frame, None)
    };
    let mut silent = false;
    while let Some(order) = orders.recv().await {
        match order {
            Out::Close => break,
            Out::Silence => silent = true,
            Out::Delay(time) => tokio::time::sleep(time).await,
            _ if silent => {}
            Out::Node(node) => websocket::write(&mut socket, &seal(&node)?).await?,
            Out::Half(node) => {
                websocket::write_half(&mut socket, &seal(&node)?).await?;
                break;
            }
            Out::Pong(payload) => websocket::pong(&mut socket, &payload).await?,
        }
    }
    let _ = socket.shutdown().await;
    Ok(())
}
