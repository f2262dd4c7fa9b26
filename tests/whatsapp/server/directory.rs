//! The questions that devices ask of the server: keys, devices, names, settings.
//! What nobody needs gets an empty answer, as the real server's clients tolerate.

use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::prekeys::compute_key_bundle_digest;
use whatsapp_rust::wacore_binary::{Jid, Node};
use whatsapp_rust::waproto::whatsapp as wa;

use super::accounts::{Address, Bundle};
use super::node::{
    NodeBuilder, SERVER, attr, bytes, child, child_bytes, children, jid, now, number, result,
};
use super::router::conflict;
use super::state::State;
use super::{groups, media};

/// With so few one-time keys left a device is asked for more.
const FEW: usize = 4;

/// An empty "done".
pub fn plain(state: &mut State, connection: u64, query: &Node) {
    state.send(connection, result(query).build());
}

/// Answers a query of a linked device.
pub fn query(state: &mut State, connection: u64, from: Address, node: &Node) {
    let kind = attr(node, "type").unwrap_or_default();
    if kind != "get" && kind != "set" {
        return;
    }
    let set = kind == "set";
    let space = attr(node, "xmlns").unwrap_or_default();
    let answer = match space.as_str() {
        "encrypt" => encrypt(state, from, node, set),
        "usync" => result(node).children(usync(state, node)).build(),
        "passive" => {
            let active = child(node, "active").is_some();
            plain(state, connection, node);
            if active {
                state.activate(from);
            }
            return;
        }
        "w:sync:app:state" => result(node).children([app_state(state, from, node)]).build(),
        "w:g2" => match groups::query(state, from, node) {
            Some(answer) => answer,
            None => result(node).build(),
        },
        "w:m" => result(node).children([media::hosts()]).build(),
        "abt" => {
            let props = NodeBuilder::new("props").attr("protocol", "1").attr("hash", "none");
            result(node).children([props.attr("refresh", "86400").build()]).build()
        }
        "privacy" if !set => {
            let category =
                NodeBuilder::new("category").attr("name", "readreceipts").attr("value", "all");
            let privacy = NodeBuilder::new("privacy").children([category.build()]).build();
            result(node).children([privacy]).build()
        }
        // Until when the account is restricted; the one such question that is answered.
        "w:mex" if state.restricted_until.is_some() => {
            let lock = serde_json::json!({"is_active": true, "enforcement_type": "DEFAULT",
                "time_enforcement_ends": state.restricted_until.map(|until| until.to_string())});
            let data = serde_json::json!({"data": {"xwa2_fetch_account_reachout_timelock": lock}});
            let answer = NodeBuilder::new("result").bytes(data.to_string().into_bytes());
            result(node).children([answer.build()]).build()
        }
        "blocklist" => result(node).children([NodeBuilder::new("list").build()]).build(),
        "md" => {
            plain(state, connection, node);
            if let Some(gone) = child(node, "remove-companion-device") {
                let at = jid(gone, "jid").and_then(|jid| state.find_device(&jid));
                remove(state, at.unwrap_or(from));
            }
            return;
        }
        _ => result(node).build(),
    };
    state.send(connection, answer);
}

/// A device is linked no more.
pub fn remove(state: &mut State, at: Address) {
    let Some(device) = state.accounts[at.account].devices.remove(&at.device) else { return };
    if let Some(connection) = device.connection {
        conflict(state, connection, "device_removed");
    }
    announce(state, at, "remove");
}

/// Tells all other devices that one was linked (`add`) or is no more (`remove`). The
/// real server tells contacts; here everybody knows everybody.
pub fn announce(state: &mut State, at: Address, what: &'static str) {
    let account = &state.accounts[at.account];
    let mut device = NodeBuilder::new("device").attr("jid", account.pn(at.device));
    if let Some(known) = account.devices.get(&at.device) {
        device = device.attr("key-index", known.key_index.to_string());
    }
    let mut list = NodeBuilder::new("key-index-list").attr("ts", now());
    if what == "add" {
        list = list.bytes(account.key_index_list());
    }
    let change = NodeBuilder::new(what).children([device.build(), list.build()]).build();
    let notification = NodeBuilder::new("notification")
        .attr("from", account.pn(0))
        .attr("type", "devices")
        .attr("t", now())
        .children([change]);
    let id = state.number().to_string();
    let notification = notification.attr("id", id).build();
    for index in 0..state.accounts.len() {
        for device in state.accounts[index].all_devices() {
            let to = Address { account: index, device };
            if to != at && device != 0 {
                state.deliver(to, notification.clone());
            }
        }
    }
}

/// Keys for first messages: brought, counted, compared and fetched.
fn encrypt(state: &mut State, from: Address, node: &Node, set: bool) -> Node {
    if let Some(wanted) = child(node, "key").filter(|_| !set) {
        let mut found = Vec::new();
        for user in children(wanted) {
            let Some(jid) = jid(user, "jid") else { continue };
            found.extend(hand_out(state, &jid));
        }
        return result(node).children([NodeBuilder::new("list").children(found).build()]).build();
    }
    let Some(device) = state.device(from) else { return result(node).build() };
    let bundle = &mut device.bundle;
    if let Some(list) = child(node, "list").filter(|_| set) {
        let key = |key: &Node| {
            let public = child_bytes(key, "value").try_into().ok()?;
            Some((number(&child_bytes(key, "id")), public))
        };
        bundle.one_time.extend(children(list).iter().filter_map(key));
        signed_key(bundle, child(node, "skey"));
        // Now the phone can write to the device, and has something to tell it.
        let keys = NodeBuilder::new("keys").attr("device", from.device.to_string()).build();
        let _ = state.accounts[from.account].inbox.send(keys);
    } else if let Some(rotate) = child(node, "rotate") {
        signed_key(bundle, child(rotate, "skey"));
    } else if child(node, "count").is_some() {
        let count = bundle.one_time.len().to_string();
        return result(node)
            .children([NodeBuilder::new("count").attr("value", count).build()])
            .build();
    } else if child(node, "digest").is_some() {
        return result(node).children([digest(bundle)]).build();
    }
    result(node).build()
}

fn signed_key(bundle: &mut Bundle, node: Option<&Node>) {
    if let Some(node) = node
        && let Ok(public) = child_bytes(node, "value").try_into()
    {
        bundle.signed_id = number(&child_bytes(node, "id"));
        bundle.signed = public;
        bundle.signature = child_bytes(node, "signature");
    }
}

fn hand_out(state: &mut State, jid: &Jid) -> Option<Node> {
    let at = state.find_device(jid)?;
    if at.device == 0 {
        return Some(state.accounts[at.account].bundle.hand_out(jid.clone(), None));
    }
    let device = state.device(at)?;
    let identity = device.identity.clone();
    let handed = device.bundle.hand_out(jid.clone(), Some(identity));
    few_left(state, at);
    Some(handed)
}

/// Asks a device for more one-time keys before they run out.
pub fn few_left(state: &mut State, at: Address) {
    let Some(device) = state.device(at) else { return };
    let left = device.bundle.one_time.len();
    if left != FEW {
        return;
    }
    let count = NodeBuilder::new("count").attr("value", left.to_string()).build();
    let notification = NodeBuilder::new("notification")
        .attr("from", SERVER)
        .attr("type", "encrypt")
        .attr("t", now())
        .children([count]);
    let id = state.number().to_string();
    state.deliver(at, notification.attr("id", id).build());
}

/// What the server believes of a device's keys.
fn digest(bundle: &Bundle) -> Node {
    let field = |tag: &'static str, value: &[u8]| NodeBuilder::new(tag).bytes(value).build();
    let short = |id: u32| id.to_be_bytes()[1..].to_vec();
    let ids = bundle.one_time.iter().map(|(id, _)| field("id", &short(*id)));
    let keys: Vec<&[u8]> = bundle.one_time.iter().map(|(_, key)| key.as_slice()).collect();
    let hash =
        compute_key_bundle_digest(&bundle.identity, &bundle.signed, &bundle.signature, &keys);
    let signed = NodeBuilder::new("skey").children([
        field("id", &short(bundle.signed_id)),
        field("value", &bundle.signed),
        field("signature", &bundle.signature),
    ]);
    NodeBuilder::new("digest")
        .children([
            field("registration", &bundle.registration.to_be_bytes()),
            field("type", &[5]),
            field("identity", &bundle.identity),
            signed.build(),
            NodeBuilder::new("list").children(ids).build(),
            field("hash", &hash),
        ])
        .build()
}

/// Who somebody is: devices, LID, whether on WhatsApp at all.
fn usync(state: &State, node: &Node) -> Option<Node> {
    let request = child(node, "usync")?;
    let wanted = child(request, "query").map(children).unwrap_or_default();
    let users = child(request, "list").map(children).unwrap_or_default();
    let mut found = Vec::new();
    for user in users {
        let asked = jid(user, "jid").or_else(|| {
            let number = bytes(child(user, "contact")?);
            let number = String::from_utf8(number).ok()?;
            Some(Jid::pn(number.trim_start_matches('+')))
        });
        let Some(asked) = asked else { continue };
        found.extend(person(state, &asked, wanted));
    }
    let mut answer = NodeBuilder::new("usync");
    for key in ["sid", "index", "last", "mode", "context"] {
        if let Some(value) = attr(request, key) {
            answer = answer.attr(key, value);
        }
    }
    Some(answer.children([NodeBuilder::new("list").children(found).build()]).build())
}

fn person(state: &State, asked: &Jid, wanted: &[Node]) -> Option<Node> {
    let node = NodeBuilder::new("user").attr("jid", asked);
    let Some(index) = state.find(asked) else {
        let out = NodeBuilder::new("contact").attr("type", "out").build();
        let asks = wanted.iter().any(|protocol| protocol.tag == "contact");
        return asks.then(|| node.children([out]).build());
    };
    let account = &state.accounts[index];
    let mut parts = Vec::new();
    for protocol in wanted {
        match protocol.tag.as_ref() {
            "contact" => parts.push(NodeBuilder::new("contact").attr("type", "in").build()),
            "lid" if !account.unresolved => {
                parts.push(NodeBuilder::new("lid").attr("val", account.lid(0)).build());
            }
            "devices" => {
                let linked = account.devices.iter().map(|(id, device)| {
                    NodeBuilder::new("device")
                        .attr("id", id.to_string())
                        .attr("key-index", device.key_index.to_string())
                        .build()
                });
                let phone = NodeBuilder::new("device").attr("id", "0").build();
                let list = NodeBuilder::new("device-list")
                    .children(std::iter::once(phone).chain(linked).collect::<Vec<_>>());
                let keys = NodeBuilder::new("key-index-list")
                    .attr("ts", now())
                    .bytes(account.key_index_list());
                let both = [list.build(), keys.build()];
                parts.push(NodeBuilder::new("devices").children(both).build());
            }
            _ => {}
        }
    }
    Some(node.children(parts).build())
}

/// The settings that linked devices share: hands out and takes patches unread.
fn app_state(state: &mut State, from: Address, node: &Node) -> Node {
    let patches = &mut state.accounts[from.account].patches;
    let collections = child(node, "sync").map(children).unwrap_or_default();
    let answers = collections.iter().map(|collection| {
        let name = attr(collection, "name").unwrap_or_default();
        let known = patches.entry(name.clone()).or_default();
        let version = attr(collection, "version").and_then(|v| v.parse().ok()).unwrap_or(0usize);
        let answer = NodeBuilder::new("collection").attr("name", name);
        let brought = child(collection, "patch");
        if brought.is_some() && version != known.len() {
            let error = NodeBuilder::new("error").attr("code", "409").attr("text", "conflict");
            return answer.attr("type", "error").children([error.build()]).build();
        }
        if let Some(Ok(mut patch)) =
            brought.map(|patch| wa::SyncdPatch::decode_from_slice(&bytes(patch)))
        {
            let version = Some(known.len() as u64 + 1);
            patch.version = MessageField::some(wa::SyncdVersion { version });
            known.push(patch.encode_to_vec());
            return answer.attr("version", known.len().to_string()).build();
        }
        let newer = known.iter().skip(version);
        let newer = newer.map(|patch| NodeBuilder::new("patch").bytes(patch.clone()).build());
        let newer = NodeBuilder::new("patches").children(newer.collect::<Vec<_>>()).build();
        answer.attr("version", known.len().to_string()).children([newer]).build()
    });
    let answers: Vec<Node> = answers.collect();
    NodeBuilder::new("sync").children(answers).build()
}
