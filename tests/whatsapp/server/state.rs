//! What the server knows, behind one lock that is never held across an await, and how
//! a stanza reaches a device: at once, or from its mail when it comes back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use whatsapp_rust::wacore_binary::{Jid, Node, NodeContent};

use super::accounts::{Account, Address, Device, Mail};
use super::faults::{Faults, What, When};
use super::groups::Group;
use super::log::{Direction, Entry};
use super::media::Media;
use super::node::{NodeBuilder, attr};
use super::noise::Identity;
use super::pairing::Offer;

/// Until then a wait is given up, and the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How much of a backlog is given unasked, as the real server does.
const PRIMER: usize = 5;

/// Everything that outlives a connection, and a restart of the server.
pub struct Shared {
    pub identity: Identity,
    state: Mutex<State>,
    /// Counts changes, for those who wait for one.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
pub struct State {
    pub address: Option<SocketAddr>,
    pub accounts: Vec<Account>,
    pub groups: Vec<Group>,
    pub connections: HashMap<u64, Connection>,
    /// Devices that show a code, by connection.
    pub offers: HashMap<u64, Offer>,
    pub media: Media,
    /// The files of messages, by message id: path and key. Only phones know these.
    pub files: HashMap<String, (String, Vec<u8>)>,
    pub faults: Faults,
    /// How many codes a device gets to show, if not as many as usual.
    pub codes: Option<usize>,
    /// The end of a restriction that devices may ask about, in seconds.
    pub restricted_until: Option<i64>,
    pub log: Vec<Entry>,
    counter: u64,
}

/// An open socket.
pub struct Connection {
    pub out: UnboundedSender<Out>,
    pub who: Option<Address>,
    /// A message that waits for the next one to overtake it.
    pub held: Option<Node>,
}

/// What a connection's writer is told.
pub enum Out {
    Node(Node),
    /// Half of its frame, then the end.
    Half(Node),
    Pong(Vec<u8>),
    Delay(Duration),
    /// Nothing is written any more.
    Silence,
    Close,
}

impl Shared {
    pub fn new() -> Shared {
        Shared {
            identity: Identity::generate(),
            state: Mutex::new(State::default()),
            changes: watch::Sender::new(0),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Wakes those who wait.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Waits until `look` finds something; panics with `what` after [`PATIENCE`].
    pub async fn wait<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        match tokio::time::timeout(PATIENCE, self.watch(look)).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}\n{}", self.lock().tail()),
        }
    }

    /// Waits until `look` finds something, for as long as it takes.
    pub async fn watch<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            if let Some(found) = look() {
                return found;
            }
            // The sender lives as long as this.
            let _ = changes.changed().await;
        }
    }
}

impl State {
    /// A number that was not given before.
    pub fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Whose address this is, by number or LID.
    pub fn find(&self, jid: &Jid) -> Option<usize> {
        let user = jid.user_base();
        self.accounts.iter().position(|account| match jid.is_lid() {
            true => account.lid == user,
            false => account.phone == user,
        })
    }

    pub fn find_device(&self, jid: &Jid) -> Option<Address> {
        self.find(jid).map(|account| Address { account, device: jid.device })
    }

    pub fn device(&mut self, at: Address) -> Option<&mut Device> {
        self.accounts.get_mut(at.account)?.devices.get_mut(&at.device)
    }

    /// Puts a stanza into the mail of a device, or of a phone.
    pub fn deliver(&mut self, to: Address, node: Node) {
        if to.device == 0 {
            // A phone whose test is over reads no mail.
            let _ = self.accounts[to.account].inbox.send(node);
            return;
        }
        let Some(device) = self.device(to) else { return };
        device.mail.push_back(Mail { node, sent: false });
        if device.active && device.backlog == 0 {
            self.give(to, usize::MAX);
        }
    }

    /// Sends up to `most` stanzas that wait for a device.
    pub fn give(&mut self, to: Address, most: usize) {
        let Some(device) = self.device(to) else { return };
        let Some(connection) = device.connection else { return };
        let backlog = device.backlog;
        let most = if backlog > 0 { most.min(backlog) } else { most };
        let waiting = device.mail.iter_mut().filter(|mail| !mail.sent).take(most);
        let mut nodes: Vec<Node> = Vec::new();
        for mail in waiting {
            mail.sent = true;
            nodes.push(mail.node.clone());
        }
        for (index, mut node) in nodes.into_iter().enumerate() {
            if backlog > index {
                node.attrs.insert("offline", index.to_string());
                if let Some(device) = self.device(to) {
                    device.backlog -= 1;
                }
            }
            self.give_one(connection, to, node);
        }
        let Some(device) = self.device(to) else { return };
        if backlog > 0 && device.backlog == 0 {
            self.end_of_backlog(connection);
            self.give(to, usize::MAX);
        }
    }

    /// A device asks for its mail: a preview, the first few, and the rest on demand.
    pub fn activate(&mut self, to: Address) {
        let Some(device) = self.device(to) else { return };
        if std::mem::replace(&mut device.active, true) {
            return;
        }
        let Some(connection) = device.connection else { return };
        let waiting: Vec<&Node> =
            device.mail.iter().filter(|mail| !mail.sent).map(|mail| &mail.node).collect();
        let count = waiting.len();
        let of = |tag: &str| waiting.iter().filter(|node| node.tag == tag).count().to_string();
        let preview = NodeBuilder::new("offline_preview")
            .attr("count", count.to_string())
            .attr("message", of("message"))
            .attr("receipt", of("receipt"))
            .attr("notification", of("notification"))
            .attr("call", "0")
            .attr("appdata", "0");
        device.backlog = count;
        if count == 0 {
            return self.end_of_backlog(connection);
        }
        self.send(connection, NodeBuilder::new("ib").children([preview.build()]).build());
        self.give(to, PRIMER);
    }

    fn end_of_backlog(&mut self, connection: u64) {
        let end = NodeBuilder::new("offline").attr("count", "0").build();
        self.send(connection, NodeBuilder::new("ib").children([end]).build());
    }

    /// Sends one stanza of the mail, with what may go wrong with it.
    fn give_one(&mut self, connection: u64, to: Address, node: Node) {
        let fault = match node.tag == "message" {
            true => self.faults.take(When::Deliver, Some(to.account)),
            false => None,
        };
        let Some(open) = self.connections.get_mut(&connection) else { return };
        let overtaken = open.held.take();
        match fault {
            None => self.send(connection, node),
            Some(What::Late) => open.held = Some(node),
            Some(What::Twice) => {
                self.send(connection, node.clone());
                self.send(connection, node);
            }
            Some(What::Garble) => self.send(connection, garbled(node)),
            Some(What::DropMidFrame) => {
                let _ = open.out.send(Out::Half(node));
            }
            Some(other) => {
                self.apply(connection, &other);
                self.send(connection, node);
            }
        }
        if let Some(node) = overtaken {
            self.send(connection, node);
        }
    }

    /// A device took a stanza: it leaves its mail.
    pub fn acknowledged(&mut self, at: Address, id: &str, class: &str) {
        if let Some(device) = self.device(at) {
            let done = |mail: &Mail| {
                mail.sent && mail.node.tag == class && attr(&mail.node, "id").as_deref() == Some(id)
            };
            device.mail.retain(|mail| !done(mail));
        }
    }

    /// Sends a stanza at once.
    pub fn send(&mut self, connection: u64, node: Node) {
        self.record(connection, Direction::ToClient, &node);
        if let Some(open) = self.connections.get(&connection) {
            let _ = open.out.send(Out::Node(node));
        }
    }

    /// Lets a fault loose that is the same at every moment.
    pub fn apply(&mut self, connection: u64, what: &What) {
        if let What::StreamError(code) = what {
            let error = NodeBuilder::new("stream:error").attr("code", code.to_string());
            self.send(connection, error.build());
        }
        let Some(open) = self.connections.get(&connection) else { return };
        let out = match what {
            What::Drop | What::StreamError(_) => Out::Close,
            What::DropMidFrame => Out::Half(NodeBuilder::new("ib").build()),
            What::Silence => Out::Silence,
            What::Delay(time) => Out::Delay(*time),
            _ => return,
        };
        let _ = open.out.send(out);
    }

    /// Closes a connection after what was sent before.
    pub fn close(&mut self, connection: u64) {
        self.apply(connection, &What::Drop);
    }

    pub fn record(&mut self, connection: u64, direction: Direction, node: &Node) {
        let who = self.connections.get(&connection).and_then(|open| open.who);
        let who = who.map(|at| (self.accounts[at.account].phone.clone(), at.device));
        self.log.push(Entry { connection, who, direction, node: node.clone() });
    }

    /// The end of the log, for a test that failed.
    pub fn tail(&self) -> String {
        let from = self.log.len().saturating_sub(40);
        let line = |entry: &Entry| entry.to_string().chars().take(400).collect::<String>() + "\n";
        self.log[from..].iter().map(line).collect()
    }
}

/// With the last bit of each ciphertext turned.
fn garbled(mut node: Node) -> Node {
    if let Some(NodeContent::Nodes(children)) = &mut node.content {
        for child in children.iter_mut().filter(|child| child.tag == "enc") {
            if let Some(NodeContent::Bytes(bytes)) = &mut child.content
                && let Some(last) = bytes.last_mut()
            {
                *last ^= 1;
            }
        }
    }
    node
}
