//! File IPC between the host and one guest: the mailbox.
//!
//! Each incarnation has its own pair of directories, `in` (written by the host)
//! and `out` (written by the guest). A record is one file named by a 16-digit
//! sequence number, dense from 1, written to a name that begins with `.` and
//! renamed. Both sides share the records' types and nothing else: neither
//! trusts the other's files.

pub mod guest;
pub mod host;
pub mod legacy;
pub mod record;
