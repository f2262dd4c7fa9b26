//! Short ways to read and build stanzas. Owned [`Node`]s everywhere: a test server
//! has no allocations to save.

use std::time::{SystemTime, UNIX_EPOCH};

use whatsapp_rust::wacore_binary::{Jid, Node, NodeContent};

pub use whatsapp_rust::NodeBuilder;

/// The server's own address.
pub const SERVER: &str = "s.whatsapp.net";

/// An attribute as text.
pub fn attr(node: &Node, key: &str) -> Option<String> {
    node.attrs.get(key).map(|value| value.as_str().into_owned())
}

/// An attribute as an address.
pub fn jid(node: &Node, key: &str) -> Option<Jid> {
    node.attrs.get(key).and_then(|value| value.to_jid())
}

/// The first child of that name.
pub fn child<'a>(node: &'a Node, tag: &str) -> Option<&'a Node> {
    node.get_optional_child(tag)
}

/// All children.
pub fn children(node: &Node) -> &[Node] {
    node.children().unwrap_or_default()
}

/// The bytes of a node's content; text counts as bytes.
pub fn bytes(node: &Node) -> Vec<u8> {
    match &node.content {
        Some(NodeContent::Bytes(bytes)) => bytes.clone(),
        Some(NodeContent::String(text)) => text.as_bytes().to_vec(),
        _ => Vec::new(),
    }
}

/// The bytes of a child; empty where there is none.
pub fn child_bytes(node: &Node, tag: &str) -> Vec<u8> {
    child(node, tag).map(bytes).unwrap_or_default()
}

/// A number of up to four bytes, big-endian.
pub fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}

/// The answer to a query.
pub fn result(query: &Node) -> NodeBuilder {
    reply(query, "result")
}

/// The refusal of a query.
pub fn refusal(query: &Node, code: u16, text: &str) -> Node {
    let error = NodeBuilder::new("error").attr("code", code.to_string()).attr("text", text);
    reply(query, "error").children([error.build()]).build()
}

fn reply(query: &Node, kind: &'static str) -> NodeBuilder {
    let from = attr(query, "to").unwrap_or_else(|| SERVER.to_owned());
    NodeBuilder::new("iq")
        .attr("id", attr(query, "id").unwrap_or_default())
        .attr("from", from)
        .attr("type", kind)
}

/// Seconds since 1970, as stanzas carry them.
pub fn now() -> String {
    seconds().to_string()
}

/// Seconds since 1970.
pub fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
