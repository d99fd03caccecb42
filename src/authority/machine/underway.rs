//! What is under way is on record, for the case that this process is killed before it has ended.
//!
//! A claim ([`super::claim`]) is put on record in the same commit as the step that made it, and is taken off with
//! whatever is committed next, or after a second. So a record says too little never, and too much only for a moment.
//! What an earlier run of the process left is a claim without a connection. Whoever has asked the backend pronounces on it
//! ([`Event::Verdict`](super::Event)), and what he says counts only while the name is what the operation left (rule 12).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::claim::{By, Claim};
use super::operation::restoring;
use super::{Call, CommitId, Decision, Machine, Now};
use crate::authority::facts::Facts;
use crate::authority::write::Origin;
use crate::list::{Entry, MailboxName};
use crate::rules::{Rule, kept};
use crate::store::{Change, LeftOver, Underway};

impl Machine {
    /// Takes up what an earlier run of the process left under way.
    pub fn takes_up(mut self, left: Vec<LeftOver>) -> Self {
        for LeftOver { name, underway, version, .. } in left {
            let Underway { before, identity, peer, at_unix, .. } = underway;
            let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let peer = peer.parse().unwrap_or(unknown);
            let origin = Origin { identity: identity.into(), peer, session: None };
            self.on_record.insert(name.clone());
            self.claims.insert(name, Claim::new(By::LeftOver(version), origin, before, at_unix));
        }
        self
    }

    /// An operation's claim on a name is over: it has ended, or somebody else wrote the name.
    pub(super) fn disclaim(&mut self, name: &MailboxName) {
        self.claims.remove(name);
        self.off_record(name);
    }

    /// The record of a name, if there is one, goes with the next commit.
    pub(super) fn off_record(&mut self, name: &MailboxName) {
        if self.on_record.remove(name) {
            self.over.insert(name.clone());
        }
    }

    /// What is on record of a name is not what it was before any more: that goes with the next commit, too.
    pub(super) fn record_anew(&mut self, name: &MailboxName) {
        if self.on_record.contains(name) {
            self.over.insert(name.clone());
        }
    }

    /// What is to be put on record of a name, behind its change of the list.
    pub(super) fn underway(&mut self, name: &MailboxName) -> Option<Change> {
        let Some(underway) = self.record_of(name) else {
            self.off_record(name);
            return None;
        };
        self.over.remove(name);
        self.on_record.insert(name.clone());
        Some(Change::Underway { name: name.clone(), underway })
    }

    fn record_of(&self, name: &MailboxName) -> Option<Underway> {
        let claim = self.claims.get(name)?;
        let By::Session(session) = claim.by else { return None };
        Some(Underway {
            operation: session.0,
            before: claim.before.clone(),
            identity: claim.origin.identity.to_string(),
            peer: claim.origin.peer.to_string(),
            at_unix: claim.at_unix,
        })
    }

    /// What is over goes off the record, and what has changed is put there anew.
    pub(super) fn ended_changes(&mut self) -> Vec<Change> {
        let over = Self::in_order(self.over.drain()).into_iter();
        over.map(|name| match self.record_of(&name).filter(|_| self.on_record.contains(&name)) {
            Some(underway) => Change::Underway { name, underway },
            None => Change::Ended { name },
        })
        .collect()
    }

    /// No commit went for a while that could have taken along what is over.
    pub(super) fn clear_record(&mut self) {
        if self.over.is_empty() || self.poisoned {
            return;
        }
        self.next += 1;
        let (id, changes) = (CommitId(self.next), self.ended_changes());
        self.out.push(Decision::Commit { id, changes, publish: None });
    }

    /// It was found out how an operation ended that was left over: with this version of the name, it stands, or came to
    /// nothing.
    pub(super) fn pronounced(
        &mut self,
        name: &MailboxName,
        version: Option<u64>,
        stands: bool,
        now: Now,
        facts: &dyn Facts,
    ) {
        let Some(Claim { by: By::LeftOver(left), origin, before, .. }) = self.claims.get(name).cloned()
        else {
            return;
        };
        let held = match facts.version(name) {
            Ok(held) => held,
            Err(why) => return self.unreadable(&why),
        };
        if stands || kept(Rule::NoRemovalOnStaleEvidence) && (left != held || version != held) {
            return self.disclaim(name);
        }
        self.out.push(Decision::Notice(format!(
            "an operation of {} on {name}, cut off with an earlier run, came to nothing: taken back",
            origin.peer
        )));
        // A reservation is not made anew: its backend has denied that it makes anything of it. The claim goes when that is
        // done, and not before: it may be impossible now.
        let write = restoring(name.clone(), before.filter(Entry::is_active));
        let call = Call { id: None, write, origin, expires: Duration::MAX, version: Some(version) };
        self.start_call(call, now, facts);
    }
}
