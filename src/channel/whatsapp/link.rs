//! How things stand with WhatsApp, and what an event of the connection makes of it.
//! Pure; `row.rs` has it in the ledger.
//!
//! Each state is something that the owner can understand and act on. Only
//! [`State::Connecting`] and [`State::Down`] mend themselves.

use serde::{Deserialize, Serialize};

mod row;
#[cfg(test)]
mod tests;

pub use row::{adopt, is_wished, note, read, take_wish, wish};

/// Milliseconds.
const MINUTE: i64 = 60_000;
/// The longest silence where WhatsApp does not say how long.
const LONGEST_QUIET: i64 = 6 * 60 * MINUTE;

/// How things stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No account is linked, and none is being linked.
    #[default]
    Unlinked,
    /// A code is shown; the phone is to scan or take it.
    Linking,
    /// Linked, and the connection is being made for the first time since the start.
    Connecting,
    /// Linked and connected.
    Connected,
    /// The connection is lost; it is tried again for ever.
    Down,
    /// The phone has removed this device. Its keys are gone.
    LoggedOut,
    /// Another program uses the same link. Nothing is tried until the owner says so.
    Replaced,
    /// WhatsApp has banned the account until [`Link::until`].
    Banned,
    /// WhatsApp takes this version of the program no more.
    Outdated,
    /// WhatsApp refuses the connection for another reason.
    Rejected,
}

/// The row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Link {
    /// How things stand.
    pub state: State,
    /// Since when, milliseconds.
    pub since: i64,
    /// The account's address by phone number: `4917...@s.whatsapp.net`.
    pub pn: Option<String>,
    /// The account's other address: `...@lid`.
    pub lid: Option<String>,
    /// What WhatsApp or the connection said, for people.
    pub detail: Option<String>,
    /// When a ban ends, milliseconds.
    pub until: Option<i64>,
    /// While linking: the text of the code to scan.
    pub qr: Option<String>,
    /// While linking: the code to type.
    pub code: Option<String>,
    /// While linking: when what is shown ends, milliseconds.
    pub expires: Option<i64>,
    /// WhatsApp asked to send less, and has taken nothing since.
    pub quiet: Option<Quiet>,
}

/// A time in which nothing is sent, since WhatsApp asked for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// The code of the refusal.
    pub code: String,
    /// Until then, milliseconds.
    pub until: i64,
    /// How many refusals there were one after the other.
    pub times: u32,
}

impl Quiet {
    /// What is so, for people.
    pub fn sentence(&self, zone: chrono_tz::Tz) -> String {
        let (what, look) = match self.code.as_str() {
            "463" => ("restricts what this account may send", ": look at the phone for a notice"),
            _ => ("asks to send less", ""),
        };
        let until = clock(self.until, zone);
        format!(
            "WhatsApp {what} ({}, {} in a row){look}; what waits is tried again on {until}",
            self.code, self.times
        )
    }
}

/// What happens to a connection, as far as it changes how things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// The connection is to be made.
    Begun,
    /// A code to scan, and until when.
    Qr(String, i64),
    /// A code to type, and until when.
    Code(String, i64),
    /// There is no link, or none any more by the owner's wish; why.
    NotLinked(String),
    /// The phone took the code: the account's two addresses.
    Paired(String, String),
    /// Messages come and go.
    Connected(Option<String>, Option<String>),
    /// The connection was lost; why.
    Lost(String),
    /// The phone removed this device, or the owner did.
    LoggedOut(String),
    /// Another program took the link over.
    Replaced,
    /// Banned until; why.
    Banned(i64, String),
    /// This version is refused.
    Outdated,
    /// Refused otherwise; how.
    Rejected(String),
    /// A message was refused with this code, which asks for less; until when, if
    /// WhatsApp says that.
    Refused(String, Option<i64>),
    /// A message was taken.
    Taken,
}

/// What the owner wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// To link an account; by a code to type if the phone's number is given. With an
    /// account linked: to connect again after a pause.
    Link(Option<String>),
    /// To remove the link.
    Unlink,
    /// To show no more codes.
    Cancel,
}

impl Happened {
    /// Whether nothing more is tried unasked.
    pub fn is_final(&self) -> bool {
        use Happened::{Banned, NotLinked, Outdated, Rejected, Replaced};
        matches!(self, Replaced | Banned(..) | Outdated | Rejected(_) | NotLinked(_))
    }
}

impl Link {
    /// What `happened` makes of this; `now` in milliseconds.
    pub fn after(&self, happened: &Happened, now: i64) -> Link {
        let mut next = Link { state: self.state, ..self.stripped() };
        match happened {
            Happened::Begun if self.is_linked() => next.state = State::Connecting,
            Happened::Begun => next.state = State::Linking,
            Happened::Qr(qr, until) => {
                next.state = State::Linking;
                next.qr = Some(qr.clone());
                // A code to type is what the owner asked for, and holds for longer.
                next.code = self.code.clone();
                next.expires = self.expires.filter(|_| self.code.is_some()).or(Some(*until));
            }
            Happened::Code(code, until) => {
                next.state = State::Linking;
                (next.code, next.expires) = (Some(code.clone()), Some(*until));
            }
            Happened::NotLinked(why) => {
                next = Link {
                    state: State::Unlinked,
                    since: now,
                    detail: Some(why.clone()),
                    ..Link::default()
                };
            }
            Happened::Paired(pn, lid) => {
                next.state = State::Connecting;
                (next.pn, next.lid) = (Some(pn.clone()), Some(lid.clone()));
            }
            Happened::Connected(pn, lid) => {
                next.state = State::Connected;
                next.pn = pn.clone().or(next.pn);
                next.lid = lid.clone().or(next.lid);
            }
            Happened::Lost(why) => {
                next.state = State::Down;
                next.detail = Some(why.clone());
            }
            Happened::LoggedOut(why) => {
                next =
                    Link { state: State::LoggedOut, detail: Some(why.clone()), ..Link::default() };
            }
            Happened::Replaced => next.state = State::Replaced,
            Happened::Banned(until, why) => {
                next.state = State::Banned;
                next.until = Some(*until);
                next.detail = Some(why.clone());
            }
            Happened::Outdated => next.state = State::Outdated,
            Happened::Rejected(why) => {
                next.state = State::Rejected;
                next.detail = Some(why.clone());
            }
            Happened::Refused(code, until) => {
                let times = self.quiet.as_ref().map_or(0, |quiet| quiet.times) + 1;
                let first = if code == "463" { 10 * MINUTE } else { MINUTE };
                let grown =
                    first.saturating_mul(2_i64.saturating_pow(times - 1)).min(LONGEST_QUIET);
                let until = until.unwrap_or(now + grown);
                next = Link {
                    quiet: Some(Quiet { code: code.clone(), until, times }),
                    ..self.clone()
                };
            }
            Happened::Taken => next = Link { quiet: None, ..self.clone() },
        }
        // Down and trying again is one state for whoever waits.
        let still = next.state == self.state
            || (self.state == State::Down && next.state == State::Connecting);
        if still && self.since != 0 {
            next.state = self.state;
        }
        next.since = if still && self.since != 0 { self.since } else { now };
        next
    }

    /// Whether there is an account, connected or not.
    pub fn is_linked(&self) -> bool {
        self.pn.is_some()
    }

    /// Whether a code to type was not typed in time; the library does not say so.
    pub fn has_run_out(&self, now: i64) -> bool {
        self.code.is_some() && self.expires.is_some_and(|end| end < now)
    }

    /// Whether the connection is to be made without being asked: at the start of the
    /// daemon, for which somebody asked.
    pub fn may_connect(&self, now: i64) -> bool {
        self.is_linked() && self.until.is_none_or(|until| until <= now)
    }

    /// Whether a link that there is, or was, carries nothing.
    pub fn is_broken(&self) -> bool {
        !matches!(self.state, State::Unlinked | State::Linking | State::Connected)
    }

    /// Whether a daemon that runs is enough for messages to come and go, by and by.
    pub fn mends(&self) -> bool {
        matches!(self.state, State::Connecting | State::Connected | State::Down)
    }

    /// The command that helps; none where waiting does.
    pub fn next(&self, daemon: bool) -> &'static str {
        match self.state {
            _ if self.mends() && !daemon => "nanoclaw start",
            State::Unlinked | State::LoggedOut | State::Replaced | State::Rejected => {
                "nanoclaw auth whatsapp"
            }
            State::Outdated => "git pull, then ./nanoclaw.sh",
            State::Linking | State::Connecting | State::Connected | State::Down | State::Banned => {
                ""
            }
        }
    }

    /// How it stands as long as the daemon runs, or does not.
    pub fn told(&self, daemon: bool, zone: chrono_tz::Tz) -> String {
        if daemon || !self.mends() {
            return self.sentence(zone);
        }
        let account = self.pn.as_deref().map(number).unwrap_or_default();
        format!("linked to {account}; the daemon does not run")
    }

    /// One plain sentence: what is so, what it means, what to do.
    pub fn sentence(&self, zone: chrono_tz::Tz) -> String {
        let account = self.pn.as_deref().map(number).unwrap_or_default();
        let detail = self.detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default();
        match self.state {
            State::Unlinked => {
                "not linked: `nanoclaw auth whatsapp` links your phone".into()
            }
            State::Linking => "a code is shown; scan it with the phone".into(),
            State::Connecting => format!("linked to {account}, connecting"),
            State::Connected => format!("linked to {account}, connected"),
            State::Down => format!(
                "linked to {account}, but not connected{detail}; it is tried again by itself, and messages wait at WhatsApp"
            ),
            State::LoggedOut => format!(
                "the phone has removed this device{detail}: `nanoclaw auth whatsapp` links it again; history and groups stay"
            ),
            State::Replaced => format!(
                "another program took over the link of {account}: end it, then run `nanoclaw auth whatsapp` to go on here; messages wait at WhatsApp"
            ),
            State::Banned => format!(
                "WhatsApp has banned {account} until {}{detail}; nothing is tried before, and what waits is sent after",
                clock(self.until.unwrap_or(0), zone)
            ),
            State::Outdated => {
                "WhatsApp does not take this version any more: install a newer one (`git pull`, then ./nanoclaw.sh) and start it; messages wait at WhatsApp".into()
            }
            State::Rejected => format!(
                "WhatsApp refuses the connection{detail}: look at the phone for a notice, then run `nanoclaw auth whatsapp` to try again"
            ),
        }
    }

    /// The row without what belongs to its state alone.
    fn stripped(&self) -> Link {
        Link {
            pn: self.pn.clone(),
            lid: self.lid.clone(),
            since: self.since,
            quiet: self.quiet.clone(),
            ..Link::default()
        }
    }
}

/// `+4917...` of an address.
pub fn number(jid: &str) -> String {
    let user = jid.split(['@', ':']).next().unwrap_or_default();
    format!("+{user}")
}

/// `Friday 20:10`.
fn clock(ms: i64, zone: chrono_tz::Tz) -> String {
    written(ms, zone, "%A %H:%M")
}

/// `2026-11-20 20:10:00`.
pub fn moment(ms: i64, zone: chrono_tz::Tz) -> String {
    written(ms, zone, "%Y-%m-%d %H:%M:%S")
}

fn written(ms: i64, zone: chrono_tz::Tz, form: &str) -> String {
    let time = chrono::DateTime::from_timestamp_millis(ms);
    time.map(|t| t.with_timezone(&zone).format(form).to_string()).unwrap_or_default()
}

/// The owner has removed the link.
pub fn removed() -> Happened {
    Happened::NotLinked("you removed the link".into())
}
