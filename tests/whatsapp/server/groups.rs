//! Groups: who is in them and what they are called, the queries about them, and the
//! notifications when something changes.

use std::collections::BTreeMap;

use whatsapp_rust::wacore_binary::{Jid, Node};

use super::accounts::Address;
use super::faults::{What, When};
use super::node::{NodeBuilder, attr, child, children, jid, now, refusal, result};
use super::state::State;

/// One group.
pub struct Group {
    pub jid: Jid,
    pub subject: String,
    /// Accounts, and whether they are admins.
    pub members: BTreeMap<usize, bool>,
    /// Only admins may speak.
    pub announcement: bool,
    /// Members go by their LIDs.
    pub lid_addressed: bool,
    /// Messages vanish after so many seconds.
    pub expiration: Option<u32>,
    pub creator: usize,
    pub created: String,
}

/// What changes in a group.
#[derive(Debug, Clone)]
pub enum Change {
    Add(Vec<usize>),
    Remove(Vec<usize>),
    Promote(Vec<usize>),
    Demote(Vec<usize>),
    Subject(String),
    Announcement(bool),
    Expiration(Option<u32>),
}

impl State {
    pub fn group(&self, jid: &Jid) -> Option<&Group> {
        self.groups.iter().find(|group| group.jid.user == jid.user)
    }

    fn group_mut(&mut self, jid: &Jid) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.jid.user == jid.user)
    }

    /// Founds a group and tells its members.
    pub fn found(
        &mut self,
        creator: usize,
        subject: &str,
        others: &[usize],
        lid_addressed: bool,
        asking: Option<Address>,
    ) -> Jid {
        let jid = Jid::group(format!("1203630{:011}", self.number()));
        let admin = std::iter::once((creator, true));
        let members = others.iter().map(|member| (*member, false)).chain(admin).collect();
        self.groups.push(Group {
            jid: jid.clone(),
            subject: subject.to_owned(),
            members,
            announcement: false,
            lid_addressed,
            expiration: None,
            creator,
            created: now(),
        });
        let group = self.describe(&jid);
        let action = NodeBuilder::new("create").children(group).build();
        self.notify(&jid, creator, action, &[], asking);
        jid
    }

    /// Changes a group and tells its members, and those who were.
    pub fn change(&mut self, jid: &Jid, by: usize, change: &Change, asking: Option<Address>) {
        let Some(group) = self.group_mut(jid) else { return };
        let mut gone = Vec::new();
        let (tag, whom) = match change {
            Change::Add(whom) => {
                group.members.extend(whom.iter().map(|who| (*who, false)));
                ("add", whom.as_slice())
            }
            Change::Remove(whom) => {
                group.members.retain(|who, _| !whom.contains(who));
                gone.clone_from(whom);
                ("remove", whom.as_slice())
            }
            Change::Promote(whom) => {
                group.members.extend(whom.iter().map(|who| (*who, true)));
                ("promote", whom.as_slice())
            }
            Change::Demote(whom) => {
                group.members.extend(whom.iter().map(|who| (*who, false)));
                ("demote", whom.as_slice())
            }
            Change::Subject(subject) => {
                group.subject.clone_from(subject);
                ("subject", [].as_slice())
            }
            Change::Announcement(only_admins) => {
                group.announcement = *only_admins;
                (if *only_admins { "announcement" } else { "not_announcement" }, [].as_slice())
            }
            Change::Expiration(seconds) => {
                group.expiration = *seconds;
                (if seconds.is_some() { "ephemeral" } else { "not_ephemeral" }, [].as_slice())
            }
        };
        let lid = group.lid_addressed;
        let people = whom.iter().map(|who| self.participant(*who, None, lid));
        let mut action = NodeBuilder::new(tag).children(people.collect::<Vec<_>>());
        if let Change::Subject(subject) = change {
            let owner = &self.accounts[by];
            let owner = if lid { owner.lid(0) } else { owner.pn(0) };
            action = action.attr("subject", subject.as_str()).attr("s_o", owner).attr("s_t", now());
        }
        if let Change::Expiration(Some(seconds)) = change {
            action = action.attr("expiration", seconds.to_string());
        }
        self.notify(jid, by, action.build(), &gone, asking);
    }

    fn notify(
        &mut self,
        jid: &Jid,
        by: usize,
        action: Node,
        gone: &[usize],
        asking: Option<Address>,
    ) {
        let Some(group) = self.group(jid) else { return };
        let lid = group.lid_addressed;
        let members: Vec<usize> = group.members.keys().chain(gone).copied().collect();
        let author = &self.accounts[by];
        let me = if lid { author.lid(0) } else { author.pn(0) };
        let mut notification = NodeBuilder::new("notification")
            .attr("type", "w:gp2")
            .attr("from", jid)
            .attr("notify", author.name.as_str())
            .attr("t", now())
            .attr("addressing_mode", if lid { "lid" } else { "pn" });
        if let Some(other) = author.other(&me).filter(|_| lid) {
            notification = notification.attr("participant_pn", other);
        }
        let id = self.number().to_string();
        let notification =
            notification.attr("participant", me).attr("id", id).children([action]).build();
        for account in members {
            for device in self.accounts[account].all_devices() {
                let to = Address { account, device };
                if Some(to) != asking {
                    self.deliver(to, notification.clone());
                }
            }
        }
    }

    fn participant(&self, who: usize, admin: Option<bool>, lid: bool) -> Node {
        let account = &self.accounts[who];
        let jid = if lid { account.lid(0) } else { account.pn(0) };
        let mut node = NodeBuilder::new("participant");
        if let Some(other) = account.other(&jid) {
            node = node.attr(if lid { "phone_number" } else { "lid" }, other);
        }
        if admin == Some(true) {
            node = node.attr("type", "admin");
        }
        node.attr("jid", jid).build()
    }

    /// All that is known of a group, as a stanza.
    fn describe(&self, jid: &Jid) -> Option<Node> {
        let group = self.group(jid)?;
        let lid = group.lid_addressed;
        let mut parts: Vec<Node> = group
            .members
            .iter()
            .map(|(who, admin)| self.participant(*who, Some(*admin), lid))
            .collect();
        if group.announcement {
            parts.push(NodeBuilder::new("announcement").build());
        }
        if let Some(seconds) = group.expiration {
            let vanish = NodeBuilder::new("ephemeral").attr("expiration", seconds.to_string());
            parts.push(vanish.build());
        }
        let creator = &self.accounts[group.creator];
        let node = NodeBuilder::new("group")
            .attr("id", group.jid.user.as_str())
            .attr("subject", group.subject.as_str())
            .attr("s_t", group.created.as_str())
            .attr("creation", group.created.as_str())
            .attr("creator", if lid { creator.lid(0) } else { creator.pn(0) })
            .attr("size", group.members.len().to_string())
            .attr("addressing_mode", if lid { "lid" } else { "pn" })
            .children(parts);
        Some(node.build())
    }

    fn people(&self, node: &Node) -> Vec<usize> {
        let found = children(node).iter().filter_map(|person| self.find(&jid(person, "jid")?));
        found.collect()
    }
}

/// Answers a query about groups.
pub fn query(state: &mut State, from: Address, node: &Node) -> Option<Node> {
    let to = jid(node, "to")?;
    if child(node, "participating").is_some() {
        let mine = state.groups.iter().filter(|group| group.members.contains_key(&from.account));
        let mine: Vec<Jid> = mine.map(|group| group.jid.clone()).collect();
        let mine: Vec<Node> = mine.iter().filter_map(|jid| state.describe(jid)).collect();
        return Some(
            result(node).children([NodeBuilder::new("groups").children(mine).build()]).build(),
        );
    }
    if let Some(create) = child(node, "create") {
        let others = state.people(create);
        let lid = state.accounts[from.account].migrated;
        let subject = attr(create, "subject").unwrap_or_default();
        let group = state.found(from.account, &subject, &others, lid, Some(from));
        return Some(result(node).children(state.describe(&group)).build());
    }
    if let Some(leave) = child(node, "leave") {
        for group in children(leave) {
            if let Some(group) = jid(group, "id") {
                let change = Change::Remove(vec![from.account]);
                state.change(&group, from.account, &change, Some(from));
            }
        }
        return None;
    }
    let Some(group) = state.group(&to) else { return Some(refusal(node, 404, "item-not-found")) };
    let Some(admin) = group.members.get(&from.account).copied() else {
        return Some(refusal(node, 403, "forbidden"));
    };
    if child(node, "query").is_some() {
        if let Some(What::Fail(code)) = state.faults.take(When::Group, Some(from.account)) {
            return Some(refusal(node, code, "internal-server-error"));
        }
        return Some(result(node).children(state.describe(&to)).build());
    }
    let action = children(node).first()?;
    let people = state.people(action);
    let change = match action.tag.as_ref() {
        "add" => Change::Add(people),
        "remove" => Change::Remove(people),
        "promote" => Change::Promote(people),
        "demote" => Change::Demote(people),
        "subject" => Change::Subject(action.content_as_string()?.to_string()),
        "announcement" => Change::Announcement(true),
        "not_announcement" => Change::Announcement(false),
        "ephemeral" => Change::Expiration(attr(action, "expiration").and_then(|s| s.parse().ok())),
        "not_ephemeral" => Change::Expiration(None),
        _ => return None,
    };
    if !admin && !matches!(change, Change::Subject(_)) {
        return Some(refusal(node, 403, "forbidden"));
    }
    state.change(&to, from.account, &change, Some(from));
    let done = NodeBuilder::new_dynamic(action.tag.to_string()).children(children(action).to_vec());
    Some(result(node).children([done.build()]).build())
}
