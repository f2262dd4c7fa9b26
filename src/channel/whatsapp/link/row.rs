//! How things stand with WhatsApp, and what the owner wishes, as rows of the ledger.

use rusqlite::Connection;

use super::{Happened, Link, Wish};
use crate::db::{self, settings};

/// Where the row lies in `settings`.
const KEY: &str = "whatsapp";
/// Where a wish of the owner's lies until the connection's owner takes it.
const WISH: &str = "whatsapp_wish";
/// Where it is noted whose chat with oneself was linked to main.
const ADOPTED: &str = "whatsapp_self";

/// Reads the row.
pub fn read(c: &Connection) -> db::Result<Link> {
    let text = settings::get(c, KEY)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// Applies what happened; the row before and after it.
pub fn note(c: &Connection, happened: &Happened) -> db::Result<(Link, Link)> {
    let before = read(c)?;
    let after = before.after(happened, db::now_ms());
    if before != after {
        settings::set(c, KEY, &serde_json::to_string(&after).unwrap_or_default())?;
    }
    Ok((before, after))
}

/// Leaves a wish for whoever owns the connection.
pub fn wish(c: &Connection, wish: &Wish) -> db::Result<()> {
    settings::set(c, WISH, &serde_json::to_string(wish).unwrap_or_default())
}

/// Whether a wish waits to be taken.
pub fn is_wished(c: &Connection) -> db::Result<bool> {
    Ok(settings::get(c, WISH)?.is_some())
}

/// Takes the wish, if there is one.
pub fn take_wish(c: &Connection) -> db::Result<Option<Wish>> {
    let text = settings::get(c, WISH)?;
    if text.is_some() {
        settings::remove(c, WISH)?;
    }
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Links the chat with oneself to main, once for each account: by its two addresses
/// it is one chat. On a number of the assistant's own that chat is nobody's.
pub fn adopt(c: &Connection, link: &Link, own_number: bool) -> db::Result<()> {
    let Some(pn) = link.pn.as_deref() else { return Ok(()) };
    if let Some(lid) = &link.lid {
        db::people::learn(c, lid, pn)?;
    }
    if settings::get(c, ADOPTED)?.as_deref() == Some(pn) {
        return Ok(());
    }
    let main = db::groups::all(c)?.into_iter().find(|group| group.is_main);
    if let Some(main) = main.filter(|_| !own_number) {
        let chat = db::people::canonical(c, pn)?;
        if db::groups::of_chat(c, &chat)?.is_none() {
            db::groups::link(c, &main.folder, &chat)?;
        }
    }
    settings::set(c, ADOPTED, pn)
}
