//! What passed the server: every stanza, in order, with its connection and direction.

use std::fmt;

use whatsapp_rust::wacore::xml::DisplayableNode;
use whatsapp_rust::wacore_binary::Node;

use super::node::{attr, child};

/// The side that a stanza came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    FromClient,
    ToClient,
}

/// One stanza.
#[derive(Clone)]
pub struct Entry {
    /// Counts connections from 1.
    pub connection: u64,
    /// Number and device, once the connection has logged in.
    pub who: Option<(String, u16)>,
    pub direction: Direction,
    pub node: Node,
}

impl Entry {
    /// Whether a client sent such a stanza.
    pub fn sent(&self, tag: &str) -> bool {
        self.direction == Direction::FromClient && self.node.tag == tag
    }

    /// Whether a client was given such a stanza.
    pub fn given(&self, tag: &str) -> bool {
        self.direction == Direction::ToClient && self.node.tag == tag
    }

    pub fn attr(&self, key: &str) -> Option<String> {
        attr(&self.node, key)
    }

    /// Whether it has such an attribute with such a value.
    pub fn is(&self, key: &str, value: &str) -> bool {
        attr(&self.node, key).as_deref() == Some(value)
    }

    pub fn has(&self, tag: &str) -> bool {
        child(&self.node, tag).is_some()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = match self.direction {
            Direction::FromClient => "->",
            Direction::ToClient => "<-",
        };
        let who = match &self.who {
            Some((phone, device)) => format!("{phone}:{device}"),
            None => "unlinked".to_owned(),
        };
        write!(f, "{} {who} {arrow} {}", self.connection, DisplayableNode(&self.node))
    }
}
