//! What can be made to go wrong, and where. A fault is armed once and fires once, at
//! the next such moment of the account that it is meant for (or of any account).

use std::time::Duration;

/// A moment in the life of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// A socket was opened; nothing was read from it.
    Connect,
    /// The first handshake message was read; it is not answered yet.
    Hello,
    /// The handshake is done; the log-in is not answered yet.
    Login,
    /// A phone has scanned the code or taken the digits: the device is told so now.
    Linked,
    /// A device asks for digits to type on the phone.
    Digits,
    /// A message arrived; nobody got it yet.
    Message,
    /// A message was handed on; its sender is not told yet.
    Ack,
    /// A message was handed on, and its sender told.
    Acked,
    /// A message is about to be given to a linked device.
    Deliver,
    /// A file is asked for, or brought.
    Media,
    /// A linked device asks for one group.
    Group,
}

/// What happens then.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The socket is closed.
    Drop,
    /// Half of a frame is sent, then the socket is closed.
    DropMidFrame,
    /// `Login`: refused with this reason, as 401, 403, 405 (outdated), 503.
    /// `Message`: acknowledged with this error, as 463, 479, 503, and handed to nobody.
    /// `Digits`, `Group`: refused with this code. `Media`: this HTTP status.
    Fail(u16),
    /// `Login`: banned for so many seconds; the code says why.
    Ban { code: u32, seconds: u64 },
    /// A `<stream:error>` with this code, then the socket is closed.
    StreamError(u16),
    /// Reads everything, answers nothing from now on.
    Silence,
    /// Reads nothing from now on: the peer's buffers fill up.
    Deaf,
    /// Waits before it goes on.
    Delay(Duration),
    /// `Deliver`: a bit of the message is turned, so that its MAC is wrong.
    /// `Linked`: the proof is wrong, so that the device refuses.
    Garble,
    /// `Deliver`: the same stanza twice.
    Twice,
    /// `Deliver`: after the next one to the same device.
    Late,
}

/// An armed fault.
pub struct Armed {
    pub when: When,
    pub what: What,
    /// The index of the account that it is meant for.
    pub account: Option<usize>,
}

/// The faults that wait.
#[derive(Default)]
pub struct Faults {
    armed: Vec<Armed>,
}

impl Faults {
    pub fn arm(&mut self, armed: Armed) {
        self.armed.push(armed);
    }

    /// The fault for this moment, if there is one; it is spent.
    pub fn take(&mut self, when: When, account: Option<usize>) -> Option<What> {
        let meant = |armed: &Armed| {
            armed.when == when && (armed.account.is_none() || armed.account == account)
        };
        let found = self.armed.iter().position(meant)?;
        Some(self.armed.remove(found).what)
    }

    /// How many were armed and did not fire.
    pub fn waiting(&self) -> usize {
        self.armed.len()
    }
}
