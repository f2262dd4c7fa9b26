//! Where a stanza of a linked device goes. Ciphertext stays closed: the router sees
//! who it is for, hands it on, and tells the sender that it did.

use std::sync::Arc;

use anyhow::Result;
use whatsapp_rust::wacore_binary::JidExt as _;
use whatsapp_rust::wacore_binary::{Jid, Node};

use super::accounts::Address;
use super::faults::{What, When};
use super::node::{NodeBuilder, attr, child, children, jid, now};
use super::state::{Shared, State};
use super::{directory, pairing};

/// What the connection does after a stanza.
#[derive(PartialEq, Eq)]
pub enum Next {
    Read,
    /// It reads no more.
    Deaf,
}

/// Takes a stanza from a connection.
pub fn incoming(
    shared: &Arc<Shared>,
    connection: u64,
    who: Option<Address>,
    node: Node,
) -> Result<Next> {
    let mut state = shared.lock();
    let Some(from) = who else {
        unlinked(&mut state, connection, &node)?;
        return Ok(Next::Read);
    };
    match node.tag.as_ref() {
        "iq" => directory::query(&mut state, connection, from, &node),
        "message" => return Ok(message(&mut state, connection, from, &node)),
        "receipt" => receipt(&mut state, connection, from, &node),
        "ack" => {
            let class = attr(&node, "class").unwrap_or_default();
            state.acknowledged(from, &attr(&node, "id").unwrap_or_default(), &class);
        }
        "chatstate" => chat_state(&mut state, from, &node),
        "presence" => presence(&mut state, from, &node),
        "ib" if child(&node, "offline_batch").is_some() => {
            let batch = child(&node, "offline_batch").and_then(|batch| attr(batch, "count"));
            state.give(from, batch.and_then(|count| count.parse().ok()).unwrap_or(200));
        }
        _ => {}
    }
    Ok(Next::Read)
}

/// What a device may say before it is linked.
fn unlinked(state: &mut State, connection: u64, node: &Node) -> Result<()> {
    if node.tag != "iq" {
        return Ok(());
    }
    let Some(request) = child(node, "link_code_companion_reg") else {
        if attr(node, "type").is_some_and(|kind| kind == "get") {
            directory::plain(state, connection, node);
        }
        return pairing::signed(state, connection, node);
    };
    match attr(request, "stage").as_deref() {
        Some("companion_hello") => pairing::ask_for_digits(state, connection, node, request),
        _ => {
            directory::plain(state, connection, node);
            let offer = state.offers.get_mut(&connection);
            if let Some(digits) = offer.and_then(|offer| offer.digits.as_mut()) {
                digits.finish = Some(request.clone());
            }
        }
    }
    Ok(())
}

/// Ends a connection because another took its place, or the device was removed.
pub fn conflict(state: &mut State, connection: u64, kind: &str) {
    let conflict = NodeBuilder::new("conflict").attr("type", kind).build();
    let error = NodeBuilder::new("stream:error").attr("code", "401").children([conflict]).build();
    state.send(connection, error);
    state.close(connection);
}

fn message(state: &mut State, connection: u64, from: Address, node: &Node) -> Next {
    let account = Some(from.account);
    let fault = state.faults.take(When::Message, account);
    let mut error = match fault {
        Some(What::Fail(code)) => Some(code),
        Some(What::Deaf) => return Next::Deaf,
        Some(What::Delay(_)) | None => None,
        Some(ref other) => {
            state.apply(connection, other);
            return Next::Read;
        }
    };
    if let Some(delay @ What::Delay(_)) = fault {
        state.apply(connection, &delay);
    }
    if error.is_none() {
        error = hand_on(state, from, node).err();
    }
    if let Some(fault) = state.faults.take(When::Ack, account) {
        state.apply(connection, &fault);
        if !matches!(fault, What::Delay(_)) {
            return Next::Read;
        }
    }
    let mut ack = NodeBuilder::new("ack")
        .attr("class", "message")
        .attr("id", attr(node, "id").unwrap_or_default())
        .attr("from", attr(node, "to").unwrap_or_default())
        .attr("t", now());
    if let Some(code) = error {
        ack = ack.attr("error", code.to_string());
    }
    state.send(connection, ack.build());
    if let Some(fault) = state.faults.take(When::Acked, account) {
        state.apply(connection, &fault);
    }
    Next::Read
}

/// Gives a message to everybody that it is for; the code of the refusal otherwise.
pub fn hand_on(state: &mut State, from: Address, node: &Node) -> Result<(), u16> {
    let to = jid(node, "to").ok_or(400u16)?;
    if to.is_group() {
        return to_group(state, from, &to, node);
    }
    let mut handed = false;
    for part in child(node, "participants").map(children).unwrap_or_default() {
        let Some(device) = jid(part, "jid") else { continue };
        let Some(at) = state.find_device(&device) else { continue };
        let parts = children(part).iter().chain(child(node, "device-identity")).cloned();
        let copy = copy(state, from, node, &to, &device).children(parts);
        state.deliver(at, copy.build());
        handed = true;
    }
    // A message for one device has its ciphertext right inside: a retry, or a word
    // between a device and its phone.
    if child(node, "enc").is_some() {
        let at = state.find_device(&to).ok_or(404u16)?;
        let parts = children(node).to_vec();
        let copy = copy(state, from, node, &to, &to).children(parts);
        state.deliver(at, copy.build());
        handed = true;
    }
    handed.then_some(()).ok_or(404)
}

/// The message as the given device gets it, without its content.
fn copy(state: &State, from: Address, node: &Node, to: &Jid, device: &Jid) -> NodeBuilder {
    let sender = &state.accounts[from.account];
    let me = sender.like(device, from.device);
    let mut copy = envelope(node, &sender.name);
    if state.find(device) == Some(from.account) {
        // Own devices learn in which chat it was said.
        let recipient = jid(node, "recipient").unwrap_or_else(|| to.clone());
        if state.find(&recipient) != Some(from.account) || attr(node, "category").is_none() {
            copy = copy.attr("recipient", recipient.to_non_ad());
        }
    } else if let Some(other) = sender.other(&me) {
        let key = if me.is_lid() { "sender_pn" } else { "sender_lid" };
        copy = copy.attr(key, other.to_non_ad());
    }
    copy.attr("from", me)
}

/// What every copy of a message says.
fn envelope(node: &Node, name: &str) -> NodeBuilder {
    let mut copy = NodeBuilder::new("message")
        .attr("id", attr(node, "id").unwrap_or_default())
        .attr("type", attr(node, "type").unwrap_or_else(|| "text".to_owned()))
        .attr("t", now())
        .attr("notify", name);
    for key in ["category", "edit"] {
        if let Some(value) = attr(node, key) {
            copy = copy.attr(key, value);
        }
    }
    copy
}

fn to_group(state: &mut State, from: Address, to: &Jid, node: &Node) -> Result<(), u16> {
    let group = state.group(to).ok_or(404u16)?;
    let admin = group.members.get(&from.account).copied().ok_or(403u16)?;
    if group.announcement && !admin {
        return Err(403);
    }
    let lid = group.lid_addressed;
    let members: Vec<usize> = group.members.keys().copied().collect();
    let participants = child(node, "participants").map(children).unwrap_or_default().to_vec();
    let only = jid(node, "participant");
    let sender = &state.accounts[from.account];
    let me = if lid { sender.lid(from.device) } else { sender.pn(from.device) };
    let mut base = envelope(node, &sender.name)
        .attr("from", to)
        .attr("participant", me.clone())
        .attr("addressing_mode", if lid { "lid" } else { "pn" });
    if let Some(other) = sender.other(&me) {
        let key = if lid { "participant_pn" } else { "participant_lid" };
        base = base.attr(key, other.to_non_ad());
    }
    let base = base.build();
    for account in members {
        for device in state.accounts[account].all_devices() {
            let at = Address { account, device };
            let meant = only.as_ref().is_none_or(|only| state.find_device(only) == Some(at));
            if at == from || !meant {
                continue;
            }
            let key = participants.iter().find(|part| {
                jid(part, "jid").and_then(|device| state.find_device(&device)) == Some(at)
            });
            let key = key.map(children).unwrap_or_default();
            let message = children(node).iter().filter(|part| part.tag == "enc");
            let identity = child(node, "device-identity");
            let content: Vec<Node> = key.iter().chain(message).chain(identity).cloned().collect();
            let mut copy = base.clone();
            copy.content = NodeBuilder::new("message").children(content).build().content;
            state.deliver(at, copy);
        }
    }
    Ok(())
}

/// "It arrived", "I read it", "I cannot read it": to those whose message it is.
fn receipt(state: &mut State, connection: u64, from: Address, node: &Node) {
    let id = attr(node, "id").unwrap_or_default();
    let kind = attr(node, "type");
    let listed = child(node, "list").map(children).unwrap_or_default().iter();
    let ids = listed.filter_map(|item| attr(item, "id")).chain([id.clone()]);
    for id in ids.collect::<Vec<_>>() {
        state.acknowledged(from, &id, "message");
    }
    if let Some(to) = jid(node, "to") {
        pass_receipt(state, from, node, &to, kind.as_deref());
    }
    let mut ack = NodeBuilder::new("ack")
        .attr("class", "receipt")
        .attr("id", id)
        .attr("from", attr(node, "to").unwrap_or_default());
    if let Some(kind) = kind {
        ack = ack.attr("type", kind);
    }
    state.send(connection, ack.build());
}

pub fn pass_receipt(state: &mut State, from: Address, node: &Node, to: &Jid, kind: Option<&str>) {
    let whose = if to.is_group() { jid(node, "participant") } else { Some(to.clone()) };
    let Some(mut at) = whose.as_ref().and_then(|jid| state.find_device(jid)) else { return };
    if kind == Some("server-error") {
        // Addressed to oneself, meant for the phone.
        at.device = 0;
    }
    let me = state.accounts[from.account].like(whose.as_ref().unwrap_or(to), from.device);
    let mut copy = node.clone();
    copy.attrs.0.retain(|(key, _)| key != "to" && key != "participant");
    copy.attrs.insert("t", now());
    match to.is_group() {
        true => {
            copy.attrs.insert("from", to);
            copy.attrs.insert("participant", me);
        }
        false => copy.attrs.insert("from", me),
    }
    // What only one device can help with goes to that device alone.
    let one = matches!(kind, Some("retry" | "server-error" | "peer_msg"));
    for device in state.accounts[at.account].all_devices() {
        let to = Address { account: at.account, device };
        if to != from && (!one || to == at) {
            state.deliver(to, copy.clone());
        }
    }
}

/// "Is typing": only for those who are there.
pub fn chat_state(state: &mut State, from: Address, node: &Node) {
    let Some(to) = jid(node, "to") else { return };
    let copy = NodeBuilder::new("chatstate").children(children(node).to_vec());
    let sender = &state.accounts[from.account];
    let (copy, accounts) = match state.group(&to) {
        Some(group) => {
            let me = if group.lid_addressed { sender.lid(0) } else { sender.pn(0) };
            let others = group.members.keys().copied().filter(|member| *member != from.account);
            (copy.attr("from", &to).attr("participant", me), others.collect::<Vec<_>>())
        }
        None => (copy.attr("from", sender.like(&to, 0)), state.find(&to).into_iter().collect()),
    };
    state.tell(&accounts, &copy.build());
}

fn presence(state: &mut State, from: Address, node: &Node) {
    let kind = attr(node, "type").unwrap_or_else(|| "available".to_owned());
    if kind == "subscribe" {
        if let Some(whom) = jid(node, "to").and_then(|to| state.find(&to)) {
            state.accounts[whom].watchers.push(from);
        }
        return;
    }
    let copy = NodeBuilder::new("presence")
        .attr("from", state.accounts[from.account].pn(0))
        .attr("type", kind)
        .build();
    let watchers = state.accounts[from.account].watchers.clone();
    let mut accounts: Vec<usize> = watchers.iter().map(|at| at.account).collect();
    accounts.dedup();
    // The owner's own phone sees whether its linked device claims to be there.
    accounts.push(from.account);
    state.accounts[from.account].inbox.send(copy.clone()).ok();
    accounts.retain(|account| *account != from.account);
    state.tell(&accounts, &copy);
}

impl State {
    /// Gives a passing stanza to those devices of the accounts that are there now.
    pub fn tell(&mut self, accounts: &[usize], node: &Node) {
        for &account in accounts {
            let owner = &self.accounts[account];
            let open: Vec<u64> = owner.devices.values().filter_map(|d| d.connection).collect();
            let _ = owner.inbox.send(node.clone());
            for connection in open {
                self.send(connection, node.clone());
            }
        }
    }
}
