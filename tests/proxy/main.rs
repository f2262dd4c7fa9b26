//! The proxy as a container sees it: real sockets, a real HTTP client, and an
//! upstream in this process whose every answer the test decides.
#![allow(clippy::unwrap_used)]

mod model;
mod rig;
mod web;
