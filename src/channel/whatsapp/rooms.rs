//! Groups as WhatsApp describes them: names and members, fetched at each connection
//! and when one changes.

use std::sync::Arc;

use rusqlite::Connection;
use whatsapp_rust::prelude::{Client, Jid};
use whatsapp_rust::{GroupMetadata, Server};

use super::inbound::plain;
use super::send::{CHANNEL, WhatsApp};
use crate::db::{self, Closed, Member, Room};

/// Fetches all groups that the account is in.
pub fn all(whatsapp: &WhatsApp, client: Arc<Client>) {
    let whatsapp = whatsapp.clone();
    tokio::spawn(async move {
        match client.groups().get_participating().await {
            Ok(groups) => {
                let own = own(&client);
                let rooms = groups.into_iter().map(|(jid, group)| room(&jid, &group, &own));
                note(&whatsapp, rooms.collect()).await;
            }
            Err(error) => tracing::warn!(%error, "the groups could not be fetched"),
        }
    });
}

/// Fetches a group that has changed.
pub fn changed(whatsapp: &WhatsApp, client: Arc<Client>, jid: Jid) {
    let whatsapp = whatsapp.clone();
    tokio::spawn(async move {
        match client.groups().get_metadata(&jid).await {
            Ok(group) => note(&whatsapp, vec![room(&jid, &group, &own(&client))]).await,
            Err(error) => {
                // Who is no member is told nothing.
                tracing::info!(%error, "a group cannot be looked at any more");
                let jid = plain(&jid);
                let close = move |c: &Connection| db::rooms::close(c, &jid, Some(Closed::Removed));
                whatsapp.ledger().note("a group", close).await;
            }
        }
    });
}

async fn note(whatsapp: &WhatsApp, rooms: Vec<Room>) {
    let sync =
        move |c: &Connection| rooms.iter().try_for_each(|room| db::rooms::sync(c, CHANNEL, room));
    whatsapp.ledger().note("a group", sync).await;
}

fn own(client: &Client) -> Vec<String> {
    [client.pn(), client.lid()].iter().flatten().map(plain).collect()
}

fn room(jid: &Jid, group: &GroupMetadata, own: &[String]) -> Room {
    let member = |p: &whatsapp_rust::GroupParticipant| Member {
        jid: plain(&p.jid),
        other: p.phone_number.as_ref().filter(|_| p.jid.server == Server::Lid).map(plain),
        is_admin: p.is_admin(),
    };
    let members: Vec<Member> = group.participants.iter().map(member).collect();
    let me =
        |m: &&Member| own.contains(&m.jid) || m.other.as_ref().is_some_and(|o| own.contains(o));
    let closed = match members.iter().find(me) {
        None => Some(Closed::Removed),
        Some(me) if group.is_announcement && !me.is_admin => Some(Closed::AdminsOnly),
        Some(_) => None,
    };
    Room { jid: plain(jid), name: Some(group.subject.to_string()), members, closed }
}
