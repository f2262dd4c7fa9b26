//! Inside a micro-VM's sandbox: the [`keeper`] on the host's side, which has nothing
//! but that sandbox, and [`init`], the first process of the VM. One serial line
//! ([`line`]) is all that is between them, besides the directories that they share.
//!
//! Both are part of the guest's program. What is given to them is decided in
//! `container::microvm`.

pub mod init;
pub mod keeper;
pub mod line;
