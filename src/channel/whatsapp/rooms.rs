//! Groups as WhatsApp describes them: names and members, fetched at each connection
//! and when one changes.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use whatsapp_rust::prelude::{Client, Jid};
use whatsapp_rust::{GroupError, GroupMetadata, IqError, Server};

use super::inbound::plain;
use super::send::{CHANNEL, WhatsApp};
use crate::db::{self, Closed, Member, Room};
use crate::outbox::Outbox;

/// How long before a group that has changed is looked at, in seconds: WhatsApp may have
/// other trouble than that the account is not in it.
const PAUSES: [u64; 4] = [0, 5, 60, 600];

/// Fetches all groups that the account is in, and lets the outbox go on: what waits for
/// a group is judged by how the group is now.
pub fn all(whatsapp: &WhatsApp, client: Arc<Client>, outbox: Outbox) {
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
        outbox.wake();
    });
}

/// Fetches a group that has changed.
pub fn changed(whatsapp: &WhatsApp, client: Arc<Client>, jid: Jid) {
    let whatsapp = whatsapp.clone();
    tokio::spawn(async move {
        for pause in PAUSES {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            match client.groups().get_metadata(&jid).await {
                Ok(group) => return note(&whatsapp, vec![room(&jid, &group, &own(&client))]).await,
                Err(error) if is_out(&error) => {
                    tracing::info!(%error, "a group cannot be looked at any more");
                    let jid = plain(&jid);
                    let gone = Some(Closed::Removed);
                    let close = move |c: &Connection| db::rooms::close(c, &jid, gone);
                    return whatsapp.ledger().note("a group", close).await;
                }
                // The next connection fetches all of them.
                Err(error) => tracing::warn!(%error, "a group could not be fetched"),
            }
        }
    });
}

/// Whether that is what somebody is told who is no member.
fn is_out(error: &GroupError) -> bool {
    let GroupError::Iq(IqError::ServerError { code, .. }) = error else { return false };
    matches!(code, 401 | 403 | 404 | 406)
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
    let timer = group.ephemeral.as_ref().and_then(|set| set.expiration).unwrap_or(0);
    Room { jid: plain(jid), name: Some(group.subject.to_string()), members, closed, timer }
}
