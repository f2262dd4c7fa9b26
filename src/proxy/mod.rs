//! The only way out of a container: the model API, the web, and the bill.
//!
//! One Unix socket per container. What arrives there is either a request to the
//! model API (a path, as to any web server) or a request to a web proxy (a whole
//! `http://` address, or CONNECT). [`model`] gives the first kind the real
//! credential, which no container ever holds; [`web`] lets the second kind reach
//! public addresses only. [`meter`] reads from the passing answers what they
//! cost. Where there is no credential, [`practice`] stands in for the model.
//!
//! The proxy owns its sockets and the counts since they were last asked for. It
//! knows nothing of turns or the ledger, and writes neither a credential nor a path
//! into a log or an error. A request body on its way to a real model is read only
//! where the group may not reach the web, for what the provider would fetch for it
//! ([`errand`]), and nothing of it is kept.

mod address;
mod answer;
mod body;
mod book;
mod client;
mod credential;
mod dial;
mod errand;
mod meter;
mod model;
mod practice;
mod resolve;
mod serve;
mod web;

pub use book::{ModelError, Usage};
pub use credential::{Credential, Secret};
pub use serve::{DEFAULT_BASE, Egress, Proxy, Serving, Tenant, Upstream};
