//! What stands between a guest and the network.

pub mod credential;
