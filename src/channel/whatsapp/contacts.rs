//! The owner's address book, which the phone shares with linked devices, and numbers
//! that change: what WhatsApp says of people besides their messages.

use rusqlite::Connection;
use whatsapp_rust::prelude::Event;

use super::inbound::{address, plain};
use super::send::WhatsApp;
use crate::db::people;

/// Notes what an event says of somebody, if it does.
pub async fn take(whatsapp: &WhatsApp, event: &Event) {
    let ledger = whatsapp.ledger();
    match event {
        Event::ContactUpdate(update) => {
            let (jid, action) = (plain(&update.jid), &update.action);
            let lid = action.lid_jid.as_deref().and_then(address);
            let pn = action.pn_jid.as_deref().and_then(address);
            let name = [&action.full_name, &action.first_name].into_iter().flatten();
            let name = name.map(|name| name.trim().to_owned()).find(|name| !name.is_empty());
            let note = move |c: &Connection| {
                for (lid, pn) in [(lid.as_ref(), Some(&jid)), (Some(&jid), pn.as_ref())] {
                    if let (Some(lid), Some(pn)) = (lid, pn) {
                        people::learn(c, lid, pn)?;
                    }
                }
                people::contact(c, &jid, name.as_deref())
            };
            ledger.note("a contact", note).await;
        }
        Event::ContactNumberChanged(change) => {
            let known = plain(&change.old_jid);
            let new: Vec<String> =
                [change.old_lid.as_ref(), Some(&change.new_jid), change.new_lid.as_ref()]
                    .into_iter()
                    .flatten()
                    .map(plain)
                    .collect();
            let each =
                move |c: &Connection| new.iter().try_for_each(|jid| people::also(c, &known, jid));
            ledger.note("a number that changed", each).await;
        }
        _ => {}
    }
}
