//! The WhatsApp test server by hand, or for a script: a port of loopback to link to,
//! and a console of JSON lines to be people with phones. `tests/whatsapp/README.md`
//! lists the lines.
//!
//!     cargo run --features test-server --example whatsapp -- 8765
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "server/mod.rs"]
mod server;

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use server::{Draft, Group, Person, Phone, Server, What, When};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};
use whatsapp_rust::Jid;
use whatsapp_rust::anyhow::{self, Context as _, bail};

/// A line of the console; `who` is the number of whose phone it is.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Line {
    /// Somebody new.
    Person {
        number: String,
        name: String,
        #[serde(default)]
        migrated: bool,
        #[serde(default)]
        unresolved: bool,
    },
    /// Scans the code of a device, from the text that the code says.
    Scan {
        who: String,
        code: String,
    },
    /// Types the digits that a device shows.
    Enter {
        who: String,
        code: String,
    },
    /// A new group; numbers.
    Group {
        who: String,
        subject: String,
        with: Vec<String>,
    },
    /// Says something; `to` is a number or an address; `quote` a message's id.
    Send {
        who: String,
        to: String,
        text: String,
        quote: Option<String>,
    },
    /// Sends a picture.
    Image {
        who: String,
        to: String,
        base64: String,
        caption: Option<String>,
    },
    React {
        who: String,
        id: String,
        emoji: String,
    },
    /// Takes a device off the phone's list.
    Unlink {
        who: String,
        device: u16,
    },
    /// Cuts a device's connection.
    Cut {
        who: String,
        device: u16,
    },
    /// Refuses the next log-in with this reason.
    Refuse {
        reason: u16,
    },
    /// Refuses the next message with this error.
    Nack {
        error: u16,
    },
    /// Everything that passed so far.
    Log,
}

#[derive(Default)]
struct Console {
    phones: HashMap<String, Phone>,
    groups: Vec<Group>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let server = Server::start_at(port).await?;
    tell(json!({
        "event": "listening",
        "url": server.url(),
        "media": server.media_url(),
        "root": server.root_key().iter().map(|b| format!("{b:02x}")).collect::<String>(),
    }));
    let mut console = Console::default();
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match console.obey(&server, &line).await {
            Ok(done) => tell(done),
            Err(error) => tell(json!({ "event": "error", "error": format!("{error:#}") })),
        }
    }
    Ok(())
}

impl Console {
    async fn obey(&mut self, server: &Server, line: &str) -> anyhow::Result<Value> {
        Ok(match serde_json::from_str(line)? {
            Line::Person { number, name, migrated, unresolved } => {
                let person = Person { number, name, migrated, unresolved, ..Person::default() };
                let phone = server.person_with(person);
                tokio::spawn(show(phone.clone()));
                let told = json!({ "event": "person", "who": phone.number(),
                    "jid": phone.jid().to_string(), "lid": phone.lid().to_string() });
                self.phones.insert(phone.number(), phone);
                told
            }
            Line::Scan { who, code } => {
                let device = self.phone(&who)?.scan(&code).await?;
                json!({ "event": "linked", "who": who, "device": device })
            }
            Line::Enter { who, code } => {
                let device = self.phone(&who)?.enter(&code).await?;
                json!({ "event": "linked", "who": who, "device": device })
            }
            Line::Group { who, subject, with } => {
                let with = with.iter().map(|who| self.phone(who)).collect::<Result<Vec<_>, _>>()?;
                let group = server.group(&subject, self.phone(&who)?, &with, false);
                let told = json!({ "event": "group", "jid": group.jid().to_string() });
                self.groups.push(group);
                told
            }
            Line::Send { who, to, text, quote } => {
                let phone = self.phone(&who)?;
                let mut draft = Draft::text(&text);
                if let Some(quote) = quote {
                    draft = draft.quoting(&shown(phone, &quote)?);
                }
                json!({ "event": "sent", "id": phone.send(&chat(&to)?, draft).await })
            }
            Line::Image { who, to, base64, caption } => {
                let image = Draft::image(&STANDARD.decode(base64)?, &caption.unwrap_or_default());
                json!({ "event": "sent", "id": self.phone(&who)?.send(&chat(&to)?, image).await })
            }
            Line::React { who, id, emoji } => {
                let phone = self.phone(&who)?;
                let shown = shown(phone, &id)?;
                let id = phone.send(&shown.chat, Draft::reaction(&shown, &emoji)).await;
                json!({ "event": "sent", "id": id })
            }
            Line::Unlink { who, device } => {
                self.phone(&who)?.unlink(device);
                json!({ "event": "done" })
            }
            Line::Cut { who, device } => {
                self.phone(&who)?.cut(device);
                json!({ "event": "done" })
            }
            Line::Refuse { reason } => {
                server.fault(When::Login, What::Fail(reason));
                json!({ "event": "done" })
            }
            Line::Nack { error } => {
                server.fault(When::Message, What::Fail(error));
                json!({ "event": "done" })
            }
            Line::Log => {
                let entries = server.log().iter().map(ToString::to_string).collect::<Vec<_>>();
                json!({ "event": "log", "entries": entries })
            }
        })
    }

    fn phone(&self, number: &str) -> anyhow::Result<&Phone> {
        self.phones.get(number).with_context(|| format!("nobody has the number {number}"))
    }
}

fn shown(phone: &Phone, id: &str) -> anyhow::Result<server::Shown> {
    let found = phone.screen().find(id).cloned();
    found.with_context(|| format!("this phone shows no message {id}"))
}

fn chat(to: &str) -> anyhow::Result<Jid> {
    if to.is_empty() {
        bail!("`to` is empty");
    }
    Ok(if to.contains('@') { to.parse()? } else { Jid::pn(to) })
}

/// Tells what a phone shows, as it comes.
async fn show(phone: Phone) {
    let mut count = 0;
    loop {
        for shown in phone.after(count).await {
            count += 1;
            if shown.here {
                continue;
            }
            tell(json!({
                "event": "shown", "who": phone.number(), "id": shown.id,
                "chat": shown.chat.to_string(), "sender": shown.sender.to_string(),
                "from_me": shown.from_me, "text": shown.text,
                "quoted": shown.quoted.map(|(_, text)| text),
                "file": shown.file.map(|file| file.mime),
            }));
        }
    }
}

/// One line, whole, whichever task it comes from.
fn tell(line: Value) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
