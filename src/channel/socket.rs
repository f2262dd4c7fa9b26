//! The socket channel: any program may be a channel.
//!
//! The daemon listens on a Unix socket that only its user can reach; a client
//! claims a prefix of addresses and exchanges the lines of [`wire`](super::wire).
//! A bad line is answered and forgotten; the connection lives on.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::lines::{Line, bind, read_line};
use super::wire::{FromClient, MAX_LINE, ToClient};
use super::{Channel, Inlet, Mark, SendError, wire};
use crate::container::Boxed;
use crate::db::{Delivery, MessageState, OutboxRow};
use crate::lock::lock;

/// The prefix of the terminal's addresses: whoever reaches the socket under it is
/// the owner at the keyboard.
pub const TERMINAL: &str = "terminal:";

/// Lines that may wait for a slow client before senders wait for it.
const QUEUE: usize = 256;

/// Who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    /// A connection; it may be a command that has just changed the ledger.
    Somebody,
    /// A client that can be sent to.
    Client,
}

/// How long a client may take to say what became of a send, files over a slow line
/// included. Then it is sent once more.
const CONFIRM: Duration = Duration::from_secs(600);

/// The clients that are connected.
#[derive(Clone, Default)]
pub struct Socket {
    clients: Arc<Mutex<Vec<Arc<Client>>>>,
}

struct Client {
    name: String,
    prefix: String,
    status: bool,
    typing: bool,
    /// It shows emoji on messages.
    reacts: bool,
    /// It sends files.
    files: bool,
    /// The directory that files are exchanged in.
    directory: PathBuf,
    lines: mpsc::Sender<String>,
    /// Sends that wait for `sent` or `failed`, by id.
    open: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
}

/// What became of a send.
type Outcome = Result<(), SendError>;

impl Socket {
    /// Listens at `path` (0600) for ever. `connected` is called for each connection,
    /// and when it is a client that can be sent to. The task ends when it is dropped.
    pub fn listen(
        &self,
        path: &Path,
        inlet: Inlet,
        files: String,
        connected: impl Fn(Connected) + Send + Sync + 'static,
    ) -> io::Result<tokio::task::JoinHandle<()>> {
        let listener = bind(path)?;
        let (socket, connected) = (self.clone(), Arc::new(connected));
        Ok(tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        connected(Connected::Somebody);
                        let connection = Connection {
                            socket: socket.clone(),
                            inlet: inlet.clone(),
                            files: files.clone(),
                            client: None,
                        };
                        tokio::spawn(connection.serve(stream, connected.clone()));
                    }
                    Err(error) => {
                        // Out of descriptors: others may close theirs meanwhile.
                        tracing::warn!(%error, "cannot accept a client");
                        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    }
                }
            }
        }))
    }

    fn client_of(&self, jid: &str) -> Option<Arc<Client>> {
        lock(&self.clients).iter().find(|c| jid.starts_with(&c.prefix)).cloned()
    }
}

impl Channel for Socket {
    fn name(&self) -> &str {
        "socket"
    }

    fn owns(&self, jid: &str) -> bool {
        self.client_of(jid).is_some()
    }

    fn send<'a>(&'a self, row: &'a OutboxRow) -> Boxed<'a, Result<(), SendError>> {
        Box::pin(async move {
            let client = self.client_of(&row.chat_jid).ok_or(SendError::Offline)?;
            let (answer, answered) = oneshot::channel();
            lock(&client.open).insert(row.channel_id.clone(), answer);
            let line = wire::send(row, &client.directory, client.files);
            let asked = async {
                client.lines.send(line).await.map_err(|_| SendError::Offline)?;
                answered.await.unwrap_or(Err(SendError::Offline))
            };
            let late = || Err(SendError::Later("the client did not say what became of it".into()));
            tokio::time::timeout(CONFIRM, asked).await.unwrap_or_else(|_| late())
        })
    }

    fn typing(&self, jid: &str, on: bool) {
        if let Some(client) = self.client_of(jid).filter(|c| c.typing) {
            // A client that does not keep up loses nothing by missing this.
            let _ = client.lines.try_send(ToClient::Typing { jid, on }.line());
        }
    }

    fn settled(&self, jid: &str, message: &str, state: MessageState) {
        if let Some(client) = self.client_of(jid).filter(|c| c.status) {
            let line = ToClient::Status { jid, id: message, state }.line();
            tokio::spawn(async move { client.lines.send(line).await });
        }
    }

    fn react<'a>(&'a self, mark: &'a Mark, emoji: &'a str) -> Boxed<'a, Result<(), SendError>> {
        Box::pin(async move {
            let client = self.client_of(&mark.jid).ok_or(SendError::Offline)?;
            if client.reacts {
                let line = ToClient::React { jid: &mark.jid, id: &mark.id, emoji }.line();
                client.lines.send(line).await.map_err(|_| SendError::Offline)?;
            }
            Ok(())
        })
    }
}

impl Client {
    /// Tells whoever waits what became of a send; it comes back if nobody does.
    fn settle(&self, id: &str, outcome: Outcome) -> Result<(), Outcome> {
        match lock(&self.open).remove(id) {
            Some(answer) => answer.send(outcome),
            None => Err(outcome),
        }
    }
}

/// One client's connection.
struct Connection {
    socket: Socket,
    inlet: Inlet,
    files: String,
    client: Option<Arc<Client>>,
}

/// An answer that waits for the ledger: lines leave in the order of the messages.
struct Answer(Boxed<'static, String>);
/// What comes before it: the files of a message are copied before the next message
/// takes its place in the order.
type Step = Boxed<'static, Answer>;

fn at_once(line: String) -> Step {
    Box::pin(async move { Answer(Box::pin(async move { line })) })
}

impl Connection {
    async fn serve(mut self, stream: UnixStream, connected: Arc<impl Fn(Connected)>) {
        let (reading, mut writing) = stream.into_split();
        let (lines, mut outgoing) = mpsc::channel::<String>(QUEUE);
        let writer = tokio::spawn(async move {
            while let Some(line) = outgoing.recv().await {
                if writing.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let (answers, mut waiting) = mpsc::channel::<Answer>(QUEUE);
        let acked = lines.clone();
        let acker = tokio::spawn(async move {
            while let Some(answer) = waiting.recv().await {
                if acked.send(answer.0.await).await.is_err() {
                    return;
                }
            }
        });
        let (steps, mut arriving) = mpsc::channel::<Step>(QUEUE);
        let orderer = tokio::spawn(async move {
            while let Some(step) = arriving.recv().await {
                if answers.send(step.await).await.is_err() {
                    return;
                }
            }
        });
        let mut reading = BufReader::new(reading);
        let mut line = Vec::new();
        loop {
            let error = match read_line(&mut reading, &mut line).await {
                Ok(Line::Whole) => match self.take(&line, &lines, connected.as_ref()) {
                    Ok(None) => continue,
                    Ok(Some(step)) => {
                        if steps.send(step).await.is_err() {
                            break;
                        }
                        continue;
                    }
                    Err(error) => error,
                },
                Ok(Line::TooLong) => {
                    format!("a line is longer than {MAX_LINE} bytes; it was skipped")
                }
                Ok(Line::End) | Err(_) => break,
            };
            let line = ToClient::Error { error: &error }.line();
            if steps.send(at_once(line)).await.is_err() {
                break;
            }
        }
        drop(steps);
        if let Some(client) = self.client.take() {
            lock(&self.socket.clients).retain(|c| !Arc::ptr_eq(c, &client));
            tracing::info!(channel = client.name, "disconnected");
            // Whoever waits for `sent` learns that nobody will say it.
            lock(&client.open).clear();
        }
        // Acknowledgements of what is stored still leave, if anybody reads them.
        let _ = orderer.await;
        let _ = acker.await;
        drop(lines);
        let _ = writer.await;
    }

    fn take(
        &mut self,
        line: &[u8],
        lines: &mpsc::Sender<String>,
        connected: &impl Fn(Connected),
    ) -> Result<Option<Step>, String> {
        let text = std::str::from_utf8(line).map_err(|e| format!("not UTF-8: {e}"))?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        let parsed: FromClient =
            serde_json::from_str(text).map_err(|e| format!("not understood: {e}"))?;
        if let FromClient::Hello { channel, prefix, capabilities } = parsed {
            let welcome = self.hello(channel, prefix, &capabilities, lines)?;
            connected(Connected::Client);
            return Ok(Some(at_once(welcome)));
        }
        let client = self
            .client
            .clone()
            .ok_or("say hello first: {\"type\":\"hello\",\"channel\":...,\"prefix\":...}")?;
        match parsed {
            FromClient::Hello { .. } => {}
            FromClient::Sent { id } => self.settle(&client, id, Ok(())),
            FromClient::Failed { id, error, retryable } => {
                let refused =
                    if retryable { SendError::Later(error) } else { SendError::Never(error) };
                self.settle(&client, id, Err(refused));
            }
            FromClient::Chat { jid, name, is_group } => {
                if !jid.starts_with(&client.prefix) {
                    return Err(format!("a chat outside this client's prefix {:?}", client.prefix));
                }
                let (inlet, channel) = (self.inlet.clone(), client.name.clone());
                tokio::spawn(async move {
                    if let Err(error) = inlet.chat(&channel, jid, name, is_group).await {
                        tracing::error!(%error, "cannot note a chat");
                    }
                });
            }
            FromClient::Message(mut message) => {
                let offers = message.offers();
                let message = message.check(&client.prefix, client.prefix == TERMINAL)?;
                let (jid, id) = (message.jid.clone(), message.id.clone());
                let inlet = self.inlet.clone();
                return Ok(Some(Box::pin(async move {
                    let taken = inlet.receive(&client.name, message, offers).await;
                    Answer(Box::pin(async move {
                        match taken.await {
                            Ok(taken) => {
                                let mut lines = ToClient::Ack { jid: &jid, id: &id }.line();
                                // What no turn will end is at its end already.
                                if let Some(state) = taken.end().filter(|_| client.status) {
                                    lines += &ToClient::Status { jid: &jid, id: &id, state }.line();
                                }
                                lines
                            }
                            Err(error) => not_stored(&client, &jid, &id, &error),
                        }
                    }))
                })));
            }
        }
        Ok(None)
    }

    /// Takes a client's word for a send, also one that comes when nobody waits for it
    /// any more: what the network has is not sent again.
    fn settle(&self, client: &Client, id: String, outcome: Outcome) {
        let delivery = match client.settle(&id, outcome) {
            Err(Ok(())) => Delivery::Sent,
            Err(Err(SendError::Never(error))) => Delivery::Failed { error },
            // It comes again in any case.
            Ok(()) | Err(Err(_)) => return,
        };
        let (inlet, prefix) = (self.inlet.clone(), client.prefix.clone());
        tokio::spawn(async move { inlet.settle(prefix, id, delivery).await });
    }

    fn hello(
        &mut self,
        channel: String,
        prefix: String,
        capabilities: &[String],
        lines: &mpsc::Sender<String>,
    ) -> Result<String, String> {
        if self.client.is_some() {
            return Err("this connection has said hello already".into());
        }
        if [&channel, &prefix].iter().any(|text| text.is_empty() || text.len() > 100) {
            return Err("hello needs a channel and a prefix of 1 to 100 bytes".into());
        }
        let mut clients = lock(&self.socket.clients);
        if let Some(other) =
            clients.iter().find(|c| c.prefix.starts_with(&prefix) || prefix.starts_with(&c.prefix))
        {
            return Err(format!("the prefix {:?} is held by {:?}", other.prefix, other.name));
        }
        tracing::info!(channel, prefix, "connected");
        let client = Arc::new(Client {
            name: channel,
            prefix,
            status: capabilities.iter().any(|c| c == "status"),
            typing: capabilities.iter().any(|c| c == "typing"),
            reacts: capabilities.iter().any(|c| c == "react"),
            files: capabilities.iter().any(|c| c == "files"),
            directory: PathBuf::from(&self.files),
            lines: lines.clone(),
            open: Mutex::default(),
        });
        clients.push(client.clone());
        self.client = Some(client);
        Ok(ToClient::Welcome { files: &self.files }.line())
    }
}

/// A message that could not be stored is not acknowledged, so the client keeps it.
/// The chat is told when its owner can do something about it; this needs no row,
/// for rows are what cannot be written.
fn not_stored(client: &Client, jid: &str, id: &str, error: &crate::db::LedgerError) -> String {
    tracing::error!(%error, "a message could not be stored");
    let said = format!("message {id:?} was not stored: {error}; send it again later");
    let line = ToClient::Error { error: &said }.line();
    let Some(trouble) = error.trouble() else { return line };
    let text = crate::prompt::notices::not_stored(trouble);
    let notice = format!("not-stored-{id}");
    let send = ToClient::Send { id: &notice, jid, text: &text, reply_to: None, attachments: &[] };
    let _ = client.lines.try_send(send.line());
    line
}
