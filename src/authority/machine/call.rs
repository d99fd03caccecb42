//! A backend's change: forwarded to the master, or decided here.

use super::{Answer, Busy, Call, Decision, Job, Machine, Now, SendId, State};
use crate::authority::decide::decide;
use crate::authority::facts::{Facts, Unreadable};
use crate::authority::master::{Lost, MasterReply};
use crate::authority::write::{Outcome, Refusal, Write};
use crate::list::{Entry, MailboxName};
use crate::rules::{Rule, kept};
use crate::store::{Cause, Change, JournalRecord, Verb};

/// Who decides about a name at this moment.
enum Judge {
    /// Nobody can.
    Nobody,
    /// The master.
    Master,
    /// Ravenry.
    Ourselves,
    /// The master, once it was given what it missed of this name.
    MasterAfterSettling,
}

impl Machine {
    pub(super) fn start_call(&mut self, call: Call, now: Now, facts: &dyn Facts) {
        if call.expires <= now.since_start {
            return self.reply(call.id, Outcome::Unavailable);
        }
        let name = call.write.name().clone();
        if let Some(version) = call.version
            && kept(Rule::NoRemovalOnStaleEvidence)
            && facts.version(&name) != Ok(version)
        {
            return self.reply(call.id, Outcome::Refused(Refusal::Changed));
        }
        let judge = self.judge(&name, facts);
        if let (Ok(_), Some(refusal)) = (&judge, self.objects_to(&call.write, now, facts)) {
            return self.reply(call.id, Outcome::Refused(refusal));
        }
        match judge {
            Err(why) => {
                self.unreadable(&why);
                self.reply(call.id, Outcome::Unavailable);
            }
            Ok(Judge::Nobody) => self.reply(call.id, Outcome::Unavailable),
            Ok(Judge::Ourselves) => self.decide_here(call, None, now, facts),
            Ok(Judge::Master) => self.forward(call, now, facts),
            Ok(Judge::MasterAfterSettling) => {
                let slot = self.names.entry(name.clone()).or_default();
                slot.waiting.push_front(Job::Call(call));
                self.start_settle(&name, now, facts);
            }
        }
    }

    /// Rule 12: what was found out about a name counts only as long as nobody wrote it, and for so many names of one
    /// server in a day.
    fn objects_to(&self, write: &Write, now: Now, facts: &dyn Facts) -> Option<Refusal> {
        let (Write::Forget { name, version } | Write::Revive { name, version, .. }) = write else {
            return None;
        };
        if !kept(Rule::NoRemovalOnStaleEvidence) {
            return None;
        }
        if facts.version(name) != Ok(Some(*version)) {
            return Some(Refusal::Changed);
        }
        if matches!(write, Write::Revive { .. }) {
            return None;
        }
        let held = facts.entry(name).ok()??;
        let forgotten = facts.ghosts(held.location.server(), day(now));
        (forgotten >= self.policy.ghosts_per_day).then_some(Refusal::TooMany)
    }

    fn judge(&self, name: &MailboxName, facts: &dyn Facts) -> Result<Judge, Unreadable> {
        Ok(match self.state {
            State::Learning => Judge::Nobody,
            _ if self.is_accepting() => Judge::Nobody,
            State::StandingIn | State::Holding if self.poisoned => Judge::Nobody,
            State::Replaying if self.poisoned && self.is_unsettled(name) => Judge::Nobody,
            // Granted but not on record, it could not be told from the old write after a restart.
            State::Following | State::Replaying if self.poisoned && Self::in_doubt(name, facts)? => {
                Judge::Nobody
            }
            State::StandingIn | State::Holding => Judge::Ourselves,
            // What a person must decide is not decided by passing the next write on to one side.
            State::Following | State::Replaying if facts.conflict(name)?.is_some() => {
                if self.poisoned {
                    Judge::Nobody
                } else {
                    Judge::Ourselves
                }
            }
            // What is postponed waits for exactly the write that comes now.
            State::Replaying if self.is_unsettled(name) && !self.is_postponed(name) => {
                Judge::MasterAfterSettling
            }
            State::Following | State::Replaying => Judge::Master,
        })
    }

    /// Whether the master may still carry out a write of the name that was given up, or did so late.
    fn in_doubt(name: &MailboxName, facts: &dyn Facts) -> Result<bool, Unreadable> {
        Ok(!facts.doubts(name)?.is_empty())
    }

    /// Asks the master, unless our list alone already says no.
    fn forward(&mut self, call: Call, now: Now, facts: &dyn Facts) {
        let name = call.write.name().clone();
        match self.for_the_master(&call.write, facts) {
            Ok(Ok(write)) => {
                let call = Call { write: write.clone(), ..call };
                self.send(&name, write, Busy::Forwarding(call), now);
            }
            Ok(Err(refusal)) => self.reply(call.id, Outcome::Refused(refusal)),
            Err(why) => {
                self.unreadable(&why);
                self.reply(call.id, Outcome::Unavailable);
            }
        }
    }

    /// The write as the master is to be asked for it.
    fn for_the_master(&self, write: &Write, facts: &dyn Facts) -> Result<Result<Write, Refusal>, Unreadable> {
        let name = write.name();
        Ok(match write {
            // Rule 5: a DEACTIVATE of what is not there crashes masters up to 3.12.1. It leaves as a RESERVE,
            // which the master grants only at the location that it holds: after a rename that is `server!`,
            // whereas XFER names the partition.
            Write::Deactivate { name, .. } => {
                let held = facts.entry(name)?;
                decide(write, held.as_ref()).map(|_| match held {
                    Some(held) => Write::Deactivate { name: name.clone(), location: held.location },
                    None => write.clone(),
                })
            }
            // A name that the master's snapshot lacks, but nobody confirmed as gone, is not free. Nor is one that
            // the master has elsewhere from a late write of ours: it would grant it to whom that was refused.
            Write::Reserve { .. }
                if self.state == State::Replaying
                    || facts.unconfirmed(name)?.is_some()
                    || Self::in_doubt(name, facts)? =>
            {
                decide(write, facts.entry(name)?.as_ref()).map(|_| write.clone())
            }
            _ => Ok(write.clone()),
        })
    }

    /// Decides a call from the list: journal, apply, and answer when durable. `doubt` is set when the
    /// master was asked first and may still carry it out.
    pub(super) fn decide_here(&mut self, call: Call, doubt: Option<Change>, now: Now, facts: &dyn Facts) {
        let name = call.write.name().clone();
        let held = match facts.entry(&name) {
            Ok(held) => held,
            Err(why) => {
                self.unreadable(&why);
                return self.reply(call.id, Outcome::Unavailable);
            }
        };
        let (outcome, effect) = match decide(&call.write, held.as_ref()) {
            Ok(effect) => (Outcome::Done, effect),
            Err(refusal) => (Outcome::Refused(refusal), held.clone()),
        };
        let mut changes = Vec::new();
        // What changes nothing here is on record too: the master may hold what we missed.
        if outcome == Outcome::Done {
            self.note(&call, &held, &effect);
            changes.push(Change::Journal(record(&call, held.clone(), effect.clone(), now)));
            changes.extend(ghost(&call, held.as_ref(), now));
        }
        let becomes = (effect != held).then(|| (effect, cause(&call)));
        changes.extend(doubt);
        if changes.is_empty() && becomes.is_none() {
            return self.reply(call.id, outcome);
        }
        let answer = Answer { call: call.id, outcome, if_store_fails: Outcome::Unavailable };
        self.commit(&name, changes, becomes, Some(answer), false);
    }

    /// An exchange with the master ended.
    pub(super) fn sent(
        &mut self,
        id: SendId,
        result: Result<MasterReply, Lost>,
        now: Now,
        facts: &dyn Facts,
    ) {
        let Some((name, era)) = self.sends.remove(&id) else { return };
        let current = era == self.era;
        let busy = self.names.get_mut(&name).and_then(|slot| slot.busy.take());
        match (busy, result) {
            (Some(Busy::Forwarding(call)), Ok(MasterReply::Done)) if current => {
                self.granted(call, now, facts)
            }
            // Done, but before or after the list that we have or shall have? As good as no reply.
            (Some(Busy::Forwarding(call)), Ok(MasterReply::Done)) => {
                let doubt = Self::doubt(&name, call.write.effect(), now);
                self.names.entry(name.clone()).or_default().waiting.push_front(Job::Call(call));
                self.commit(&name, vec![doubt], None, None, false);
            }
            (Some(Busy::Forwarding(call)), Ok(MasterReply::Refused(text))) => {
                self.reply(call.id, Outcome::Refused(Refusal::Master(text)));
            }
            (Some(Busy::Forwarding(call)), Err(lost)) => {
                let doubt = match &lost {
                    Lost::InDoubt(_) if kept(Rule::UnknownOutcomesAreRecorded) => {
                        Some(Self::doubt(&name, call.write.effect(), now))
                    }
                    Lost::InDoubt(_) | Lost::Unsent(_) => None,
                };
                self.unanswered(&lost, now);
                let decides = matches!(self.state, State::StandingIn | State::Holding);
                if decides && !self.poisoned && call.expires > now.since_start {
                    self.decide_here(call, doubt, now, facts);
                } else if let Some(doubt) = doubt.filter(|_| !self.poisoned) {
                    // Nobody waits for it any more; but the master may do it all the same.
                    self.reply(call.id, Outcome::Unavailable);
                    self.commit(&name, vec![doubt], None, None, false);
                } else {
                    self.reply(call.id, Outcome::Unavailable);
                }
            }
            (Some(Busy::Replaying(write)), Ok(_)) if !current => {
                self.settle_next(&name);
                let doubt = Self::doubt(&name, write.effect(), now);
                self.commit(&name, vec![doubt], None, None, false);
            }
            (Some(Busy::Replaying(write)), result) => self.replayed(&name, write, result, now, facts),
            (other, _) => {
                if let Some(slot) = self.names.get_mut(&name) {
                    slot.busy = other;
                }
            }
        }
        self.woken.push_back(name);
    }

    /// The master said OK: our list follows.
    fn granted(&mut self, call: Call, now: Now, facts: &dyn Facts) {
        let name = call.write.name().clone();
        let effect = call.write.effect();
        self.know_theirs(&name, effect.clone());
        self.fence(&name, now);
        let known = (facts.entry(&name), facts.unconfirmed(&name), Self::in_doubt(&name, facts));
        let (held, unconfirmed, in_doubt) = match known {
            (Ok(held), Ok(unconfirmed), Ok(in_doubt)) => (held, unconfirmed, in_doubt),
            (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => {
                self.unreadable(&why);
                return self.reply(call.id, Outcome::Done);
            }
        };
        // What the master granted is true without us; but not of a name in doubt, where the next start would take
        // it for the old write and undo it.
        let unrecorded = if in_doubt { Outcome::Unavailable } else { Outcome::Done };
        self.note(&call, &held, &effect);
        let mut changes = Vec::new();
        let becomes = (effect != held).then(|| (effect, cause(&call)));
        if unconfirmed.is_some() {
            changes.push(Change::Confirm { name: name.clone() });
        }
        changes.extend(ghost(&call, held.as_ref(), now));
        let settles = self.is_unsettled(&name);
        if settles {
            changes.push(Change::Settle { name: name.clone(), upto: u64::MAX });
        }
        if changes.is_empty() && becomes.is_none() {
            return self.reply(call.id, Outcome::Done);
        }
        if self.poisoned {
            return self.reply(call.id, unrecorded);
        }
        let answer = Answer { call: call.id, outcome: Outcome::Done, if_store_fails: unrecorded };
        self.commit(&name, changes, becomes, Some(answer), settles);
    }

    /// The master did not answer a write, or a barrier: from now on it is lost.
    pub(super) fn unanswered(&mut self, lost: &Lost, now: Now) {
        if matches!(self.state, State::Following | State::Replaying) {
            self.list_anew(Decision::Reconnect);
            self.master_lost(lost.to_string(), now);
        }
    }
}

fn cause(call: &Call) -> Cause {
    let (identity, peer) = (call.origin.identity.to_string(), call.origin.peer.to_string());
    match call.id {
        Some(_) => Cause::Asked { identity, peer },
        // Nobody waits for it: an operation of his that came to nothing.
        None => Cause::TakenBack { identity, peer },
    }
}

fn day(now: Now) -> u64 {
    now.unix / (24 * 3600)
}

/// What a name that is forgotten as a ghost is counted as.
fn ghost(call: &Call, held: Option<&Entry>, now: Now) -> Option<Change> {
    match (&call.write, held) {
        (Write::Forget { .. }, Some(held)) => {
            Some(Change::Ghost { server: held.location.server().to_vec(), day: day(now) })
        }
        _ => None,
    }
}

fn record(call: &Call, before: Option<Entry>, after: Option<Entry>, now: Now) -> JournalRecord {
    JournalRecord {
        name: call.write.name().clone(),
        verb: match call.write {
            Write::Reserve { .. } => Verb::Reserve,
            Write::Activate { .. } | Write::Revive { .. } => Verb::Activate,
            Write::Deactivate { .. } => Verb::Deactivate,
            Write::Delete { .. } | Write::Forget { .. } => Verb::Delete,
        },
        before,
        after,
        identity: call.origin.identity.to_string(),
        peer: call.origin.peer.to_string(),
        at_unix: now.unix,
    }
}
