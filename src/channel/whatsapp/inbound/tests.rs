//! Each kind of message.
