//! The practice model: a scripted stand-in for the Messages API.
//!
//! Where no credential is set, it lets the real Claude Code CLI really write
//! files and run commands in the real sandbox, so that a newcomer sees all of it
//! work before giving a key. It is no language model and says so in every reply.
//!
//! A pure function from a request to a reply ([`script`]): what the request says
//! ([`conversation`]), what people ask with it ([`ask`]), and how the API writes a
//! reply down ([`render`]). It keeps nothing between requests.

mod ask;
mod conversation;
mod render;
mod script;

pub(super) use render::{count_tokens, models, wants_stream};
pub(super) use script::reply;
