//! `nanoclaw auth whatsapp`: link a phone, from code to connection.
//!
//! Who owns the connection makes the codes: the daemon if one runs, else this command
//! itself, under the daemon's lock. Either way they are rows, which this shows.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use rusqlite::Connection;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::args::Auth;
use super::exit::Exit;
use crate::channel::whatsapp::link::{self, Link, State, Wish};
use crate::channel::whatsapp::{Life, WhatsApp, qr};
use crate::config::Config;
use crate::daemon::{self, Lock};
use crate::db::{Ledger, now_ms};
use crate::unix;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(200);
/// How long a daemon may take to begin.
const BEGIN: Duration = Duration::from_secs(10);
/// How long the first connection may take after the phone took the code.
const CONNECT: Duration = Duration::from_secs(90);

/// Links, connects again, or removes the link.
pub async fn run(config: Arc<Config>, auth: &Auth) -> anyhow::Result<Exit> {
    let Auth::Whatsapp { phone, unlink } = auth;
    let wish = match (unlink, phone) {
        (true, _) => Wish::Unlink,
        (false, phone) => Wish::Link(phone.as_deref().map(digits).transpose()?),
    };
    let lock = config.data().join("nanoclaw.lock");
    let (ledger, owner) = match Lock::holder(&lock) {
        Some(_) => (Ledger::open(&config.ledger())?, Owner::Daemon),
        None => {
            let lock = Lock::take(&lock)?;
            std::fs::create_dir_all(config.files())?;
            let ledger = Ledger::open(&config.ledger())?;
            daemon::settle_in(&ledger, &config).await?;
            let life = Life::new(WhatsApp::new(ledger.clone(), config.clone()), None, None);
            let (poke, (stop, stopped)) = (life.poke(), oneshot::channel::<()>());
            let task = tokio::spawn(life.run(async { _ = stopped.await }));
            (ledger, Owner::Here { poke, stop, task, _lock: lock })
        }
    };
    let looking = Ledger::look(&config.ledger())?;
    let Some(c) = looking else { bail!("there is no ledger in {}", config.store().display()) };
    let before = link::read(&c)?;
    let wanted = wish.clone();
    ledger.write(move |c| link::wish(c, &wanted)).await?;
    owner.poke(&config).await;
    let outcome = tokio::select! {
        outcome = follow(&config, &c, &before, &wish) => outcome,
        () = owner.ended(&config) => Err(anyhow::anyhow!("the daemon has ended meanwhile: run this again")),
        _ = tokio::signal::ctrl_c() => {
            ledger.write(|c| link::wish(c, &Wish::Cancel)).await?;
            owner.poke(&config).await;
            eprintln!("\nnothing was linked");
            Ok(Exit::Failed)
        }
    };
    owner.end().await;
    outcome
}

/// Who owns the connection.
enum Owner {
    Daemon,
    Here { poke: Arc<Notify>, stop: oneshot::Sender<()>, task: JoinHandle<()>, _lock: Lock },
}

impl Owner {
    /// Says that there is a wish.
    async fn poke(&self, config: &Config) {
        match self {
            Owner::Here { poke, .. } => poke.notify_one(),
            // The daemon looks whenever somebody connects.
            Owner::Daemon => _ = unix::connect(&config.socket).await,
        }
    }

    /// Resolves when the daemon that is to do it is no more.
    async fn ended(&self, config: &Config) {
        let lock = config.data().join("nanoclaw.lock");
        while matches!(self, Owner::Here { .. }) || Lock::holder(&lock).is_some() {
            sleep(LOOK).await;
        }
    }

    async fn end(self) {
        if let Owner::Here { stop, task, .. } = self {
            _ = stop.send(());
            _ = task.await;
        }
    }
}

/// Shows how it goes until it is decided.
async fn follow(
    config: &Config,
    c: &Connection,
    before: &Link,
    wish: &Wish,
) -> anyhow::Result<Exit> {
    let mut screen = Screen::default();
    let began = Instant::now();
    let mut paired: Option<Instant> = None;
    loop {
        let link = link::read(c)?;
        let begun = link != *before || !link::is_wished(c)?;
        if !begun {
            if began.elapsed() > BEGIN {
                bail!("the daemon does not react: end it, and run this again");
            }
            sleep(LOOK).await;
            continue;
        }
        match (wish, link.state) {
            (Wish::Unlink, State::LoggedOut | State::Unlinked) => {
                println!("the link is removed; groups, history and memories stay");
                return Ok(Exit::Ok);
            }
            (Wish::Unlink, _) => {}
            (_, State::Linking) => screen.show(&link, wish)?,
            (_, State::Connected) => {
                println!("{}", welcome(config, &link, before.is_linked()));
                return Ok(Exit::Ok);
            }
            (_, State::Connecting | State::Down) => {
                let since = *paired.get_or_insert_with(|| {
                    println!(
                        "{}; connecting ...",
                        if before.is_linked() { "linked" } else { "the phone took the code" }
                    );
                    Instant::now()
                });
                if since.elapsed() > CONNECT {
                    println!("WhatsApp is {}", link.sentence(config.timezone));
                    return Ok(Exit::Failed);
                }
            }
            // What it was before is what is to be changed.
            (_, _) if link == *before && began.elapsed() < BEGIN => {}
            (_, State::Unlinked) => {
                let why = link.detail.as_deref().unwrap_or("linking ended");
                eprintln!("nanoclaw: {why}");
                return Ok(Exit::Failed);
            }
            (_, _) => {
                eprintln!("nanoclaw: WhatsApp: {}", link.sentence(config.timezone));
                return Ok(Exit::Failed);
            }
        }
        sleep(LOOK).await;
    }
}

fn welcome(config: &Config, link: &Link, was_linked: bool) -> String {
    let account = link.pn.as_deref().map(link::number).unwrap_or_default();
    let mut text = format!("linked to {account}, and connected\n");
    if was_linked {
        return text + "`nanoclaw auth whatsapp --unlink` removes the link";
    }
    text += &if config.own_number {
        "This number is the assistant's own. So that it obeys you, link your chat with it to main:\n  \
         nanoclaw groups link main YOURNUMBER@s.whatsapp.net\n"
            .to_owned()
    } else {
        format!(
            "Your chat with yourself is main: open it in WhatsApp (\"Message yourself\") and write.\n\
             What {} says there begins with its name.\n",
            config.assistant_name
        )
    };
    text + "`nanoclaw start` runs the assistant, if it does not run yet."
}

/// A telephone number as WhatsApp wants it: digits with the country's code.
fn digits(text: &str) -> anyhow::Result<String> {
    let plain: String = text.chars().filter(|c| !" -()./".contains(*c)).collect();
    let number = plain.strip_prefix('+').or(plain.strip_prefix("00")).unwrap_or(&plain);
    let fine = number.bytes().all(|b| b.is_ascii_digit()) && (7..=15).contains(&number.len());
    if !fine || number.starts_with('0') {
        bail!("{text:?} is no telephone number with a country code, such as +49 170 1234567");
    }
    Ok(number.to_owned())
}

/// What is shown, redrawn in place.
#[derive(Default)]
struct Screen {
    shown: Option<String>,
    /// Lines that stand below the place to draw at.
    lines: usize,
}

impl Screen {
    /// Shows the code that there is, and how long it holds.
    fn show(&mut self, link: &Link, wish: &Wish) -> anyhow::Result<()> {
        let by_phone = matches!(wish, Wish::Link(Some(_)));
        let Some(code) = (if by_phone { &link.code } else { &link.qr }) else { return Ok(()) };
        let left = link.expires.map_or(0, |at| (at - now_ms()).max(0)) / 1000;
        let mut out = std::io::stdout().lock();
        if !out.is_terminal() {
            // For programs, and for whoever draws it elsewhere.
            if self.shown.as_ref() != Some(code) {
                let what = if by_phone { "type" } else { "scan" };
                writeln!(out, "code to {what}: {code}")?;
                self.shown = Some(code.clone());
            }
            return Ok(out.flush()?);
        }
        let (mut lines, hint) = if by_phone {
            let (one, two) = code.split_at(code.len() / 2);
            (
                vec![String::new(), format!("    {one}-{two}"), String::new()],
                "Link with phone number",
            )
        } else {
            (qr::lines(code).unwrap_or_default(), "Link a device")
        };
        lines.push(format!("On the phone: WhatsApp > Settings > Linked devices > {hint}."));
        lines.push(format!(
            "This code holds for {left} s more{}.",
            if by_phone { "" } else { "; then comes the next" }
        ));
        if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout())
            && usize::from(size.ws_row) <= lines.len()
            && !by_phone
        {
            let needs = format!(
                "Make this window {} lines high to see the code, or end with Ctrl-C and use --phone YOURNUMBER.",
                lines.len() + 1
            );
            lines = vec![needs];
        }
        if self.lines > 0 {
            write!(out, "\x1b[{}F\x1b[J", self.lines)?;
        }
        for line in &lines {
            writeln!(out, "{line}")?;
        }
        self.lines = lines.len();
        self.shown = Some(code.clone());
        Ok(out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_number_may_be_written_as_people_write_it() {
        for text in ["+49 170 1234567", "0049-170-1234567", "491701234567", "(+49) 170/1234567"] {
            assert_eq!(digits(text).unwrap(), "491701234567", "{text}");
        }
        for text in ["0170 1234567", "me", "+49", "", "+49170123456789012"] {
            assert!(digits(text).is_err(), "{text}");
        }
    }
}
