//! The state machine: who decides about a name, and what follows from that.
//!
//! Pure: events and the time go in, decisions come out; what is committed is asked through
//! [`Facts`]. One thing at a time happens to one name: while an exchange with the master or a commit for it
//! is under way, what else concerns it waits in its [`Slot`], so every decision is made on committed facts.
//!
//! | file | what |
//! |---|---|
//! | `event` | what goes in and comes out |
//! | `call` | a backend's change: forwarded to the master, or decided here |
//! | `replay` | which names are still to be compared with the master's list |
//! | `settle` | one name compared with the master's list, and put right |
//! | `lines` | what the master's stream says while we follow |
//! | `policy` | what the machine is run with |
//! | `slot` | one name that is busy, or waited for |
//! | `operation` | what a backend asked for and takes back |
//! | `underway` | the same on record, and after a kill |
//! | `states` | the transitions |
//! | `burst` | the guard while we follow |
//! | `orders`, `resolve` | what a person orders, about the whole list and about one name |

mod burst;
mod call;
mod claim;
mod event;
mod lines;
mod operation;
mod orders;
mod policy;
mod replay;
mod resolve;
mod settle;
mod slot;
mod states;
#[cfg(test)]
mod tests;
mod underway;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

pub use event::{BarrierId, CallId, CommitId, Counted, Decision, Event, Now, SendId, State};
pub use orders::{Progress, Task};
pub use policy::Policy;
pub use resolve::Keep;

use super::facts::{Facts, Unreadable};
use super::write::{Outcome, SessionId, Write};
use crate::list::{Entry, MailboxName};
use crate::rules::{Rule, kept};
use crate::store::{Cause, Change, Deed, Doubt};
use burst::Burst;
use replay::Replay;
use slot::{Answer, Busy, Call, Job, Slot};

/// What the list on disk is worth when the process starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restored {
    /// There is none, or it was never complete.
    Nothing,
    /// It was served a short while ago.
    Fresh,
    /// It was last served too long ago to be believed before it was compared with the master's.
    Stale,
    /// It was served a short while ago, but the disk failed then: it may lack what the master granted since.
    Suspect,
}

/// Why a list on disk is not served before it was compared with the master's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unserved {
    Stale,
    Suspect,
}

/// See the module's page.
pub struct Machine {
    policy: Policy,
    state: State,
    held: bool,
    unserved: Option<Unserved>,
    poisoned: bool,
    progress: Option<Progress>,
    /// The server name of the master that we last agreed with, and of the one that answers now.
    known_master: Option<String>,
    answering: Option<String>,
    burst: Burst,
    /// Servers that are being taken out of the murder, and until when that is expected.
    expected: HashMap<Vec<u8>, Duration>,
    names: HashMap<MailboxName, Slot>,
    /// What the master is being asked, and since which of its lists.
    sends: HashMap<SendId, (MailboxName, u64)>,
    /// Counts the times the master was lost. A reply to a question from before proves nothing about a list
    /// that came after.
    era: u64,
    /// The time of the event that is being handled.
    unix: u64,
    commits: HashMap<CommitId, MailboxName>,
    /// What the master is known to hold where it is not what the list holds (or held, see `listed`).
    theirs: HashMap<MailboxName, Option<Entry>>,
    /// Names written since the master's list began, which is compared with ours as it was then; `None`: no list is
    /// awaited.
    written: Option<HashSet<MailboxName>>,
    /// Names that were being committed when the master was lost: in our list soon, but not in the state of it
    /// that the next comparison may be made with.
    unfinished: HashSet<MailboxName>,
    replay: Option<Replay>,
    /// What unfinished operations did to names, and which names each of them has.
    claims: HashMap<MailboxName, claim::Claim>,
    operations: HashMap<SessionId, Vec<MailboxName>>,
    /// Names with a record of what is under way, and those whose record is to go.
    on_record: HashSet<MailboxName>,
    over: HashSet<MailboxName>,
    /// Names to be looked at before the event is done with.
    woken: VecDeque<MailboxName>,
    last_dump: Duration,
    barrier_running: Option<BarrierId>,
    barrier_wanted: bool,
    barriers: u64,
    next: u64,
    last_trip: Option<Duration>,
    out: Vec<Decision>,
}

impl Machine {
    /// Decides by another policy from now on: the same events, other limits. How long a caller is kept waiting stays: that
    /// was promised to those who wait.
    pub fn change(&mut self, policy: Policy) {
        self.policy = Policy { patience: self.policy.patience, ..policy };
    }

    /// A machine that has heard nothing yet.
    pub fn new(policy: Policy, restored: Restored) -> Self {
        Self {
            policy,
            state: if restored == Restored::Fresh { State::StandingIn } else { State::Learning },
            held: false,
            unserved: match restored {
                Restored::Nothing | Restored::Fresh => None,
                Restored::Stale => Some(Unserved::Stale),
                Restored::Suspect => Some(Unserved::Suspect),
            },
            poisoned: false,
            progress: None,
            known_master: None,
            answering: None,
            burst: Burst::default(),
            expected: HashMap::new(),
            names: HashMap::new(),
            sends: HashMap::new(),
            era: 0,
            unix: 0,
            commits: HashMap::new(),
            theirs: HashMap::new(),
            written: None,
            unfinished: HashSet::new(),
            replay: None,
            claims: HashMap::new(),
            operations: HashMap::new(),
            on_record: HashSet::new(),
            over: HashSet::new(),
            woken: VecDeque::new(),
            last_dump: Duration::ZERO,
            barrier_running: None,
            barrier_wanted: false,
            barriers: 0,
            next: 0,
            last_trip: None,
            out: Vec::new(),
        }
    }

    /// Says which master the list on disk was last in step with: another one is not believed unseen.
    pub fn knows_master(mut self, servername: Option<String>) -> Self {
        self.known_master = servername;
        self
    }

    /// Who decides now.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether a person keeps Ravenry standing in.
    pub fn held(&self) -> bool {
        self.held
    }

    /// Whether the store has failed, so that nothing more can be promised.
    pub fn poisoned(&self) -> bool {
        self.poisoned
    }

    /// Names still to be compared with the master's list, while replaying.
    pub fn replaying(&self) -> usize {
        self.replay.as_ref().map_or(0, Replay::len)
    }

    /// Takes one event; the decisions are to be carried out in their order.
    pub fn handle(&mut self, event: Event, now: Now, facts: &dyn Facts) -> Vec<Decision> {
        self.unix = now.unix;
        match event {
            Event::Call(id, write, origin, expires) => {
                let name = write.name().clone();
                self.enqueue(name, Job::Call(Call { id: Some(id), write, origin, expires, version: None }));
            }
            Event::Ended(session, complete) => self.ended(session, complete),
            Event::Sent(id, result) => self.sent(id, result, now, facts),
            Event::Committed(id, result) => self.committed(id, result),
            Event::Barrier(id, result) => self.barrier_ended(id, result, now),
            Event::MasterUp(identity) => self.master_up(&identity),
            Event::MasterList(comparison) => self.master_list(comparison, now, facts),
            Event::Loaded(took) => self.loaded(took),
            Event::MasterChanged(name, entry) => self.line(name, entry, now, facts),
            Event::MasterLost(reason) => self.master_lost(reason, now),
            Event::StandIn => self.stand_in(),
            Event::Follow => self.follow(),
            Event::Learned(from) => self.believe(&from),
            Event::Begin(task) => self.begin(task),
            Event::GiveUp(why) => self.give_up(why),
            Event::Resolve(call, name, keep) => self.enqueue(name, Job::Resolve(call, keep)),
            Event::Expect(server, time) => self.expect(server, time, now),
            Event::Verdict { name, version, stands } => {
                self.enqueue(name, Job::Pronounced(version, stands));
            }
            Event::Tick => {
                self.wake_postponed(now.since_start);
                self.clear_record();
            }
        }
        while let Some(name) = self.woken.pop_front() {
            self.advance(&name, now, facts);
        }
        std::mem::take(&mut self.out)
    }

    fn enqueue(&mut self, name: MailboxName, job: Job) {
        self.names.entry(name.clone()).or_default().waiting.push_back(job);
        self.woken.push_back(name);
    }

    /// Starts what waits for a name, as far as nothing is under way for it.
    fn advance(&mut self, name: &MailboxName, now: Now, facts: &dyn Facts) {
        loop {
            let refused = self.is_refused(name);
            let Some(slot) = self.names.get_mut(name) else {
                return;
            };
            if refused || slot.busy.is_some() {
                return;
            }
            match slot.waiting.pop_front() {
                Some(Job::Call(call)) => self.start_call(call, now, facts),
                Some(Job::Settle) => self.start_settle(name, now, facts),
                Some(Job::Resolve(call, keep)) => self.resolve(call, name, keep, facts, now.unix),
                Some(Job::PutBack(entry)) => self.put_back(name, entry, facts),
                Some(Job::TakeBack(session)) => self.take_back(name, session, now, facts),
                Some(Job::Pronounced(version, stands)) => self.pronounced(name, version, stands, now, facts),
                None => {
                    // A line that came while the name was busy, with no barrier to wait for any more.
                    if slot.fence.is_none()
                        && let Some(line) = slot.line.take()
                    {
                        self.judge_line(name, line, now, facts);
                        continue;
                    }
                    if slot.idle() {
                        self.names.remove(name);
                    }
                    return;
                }
            }
        }
    }

    fn occupy(&mut self, name: &MailboxName, busy: Busy) {
        self.names.entry(name.clone()).or_default().busy = Some(busy);
    }

    fn send(&mut self, name: &MailboxName, write: Write, busy: Busy, now: Now) {
        self.next += 1;
        let id = SendId(self.next);
        self.sends.insert(id, (name.clone(), self.era));
        let deadline =
            if let Busy::Replaying(_) = busy { self.replay_deadline() } else { self.deadline(now) };
        self.occupy(name, busy);
        self.out.push(Decision::Send(id, write, deadline));
    }

    /// Has changes made durable. `becomes` is what the list holds for the name from then on, and who is behind it:
    /// it is put on record, put into the list, and published, all or nothing.
    fn commit(
        &mut self,
        name: &MailboxName,
        mut changes: Vec<Change>,
        becomes: Option<(Option<Entry>, Cause)>,
        mut answer: Option<Answer>,
        settles: bool,
    ) {
        if !kept(Rule::DurableBeforeOk)
            && let Some(hasty) = answer.take()
        {
            self.reply(hasty.call, hasty.outcome);
        }
        self.next += 1;
        let id = CommitId(self.next);
        self.commits.insert(id, name.clone());
        if let Some(written) = &mut self.written {
            written.insert(name.clone());
        }
        let settles = settles.then_some(self.era);
        self.occupy(name, Busy::Committing { answer, settles });
        let publish = becomes.map(|(after, cause)| {
            // An operation's own writes were noted; anybody else's end its claim.
            if !matches!(cause, Cause::Asked { .. } | Cause::TakenBack { .. }) {
                self.disclaim(name);
            }
            let (state, at_unix) = (self.state.word().to_owned(), self.unix);
            let deed = Deed { name: name.clone(), after: after.clone(), cause, state, at_unix };
            changes.push(Change::Remember(deed));
            changes.push(Self::put(name, after.clone()));
            changes.extend(self.underway(name));
            (name.clone(), after)
        });
        changes.extend(self.ended_changes());
        self.out.push(Decision::Commit { id, changes, publish });
    }

    fn reply(&mut self, call: impl Into<Option<CallId>>, outcome: Outcome) {
        if let Some(call) = call.into() {
            self.out.push(Decision::Reply(call, outcome, None));
        }
    }

    fn committed(&mut self, id: CommitId, result: Result<u64, String>) {
        let Some(name) = self.commits.remove(&id) else {
            // It only cleared the record.
            if let Err(reason) = result {
                self.poison(&reason);
            }
            return;
        };
        let busy = self.names.get_mut(&name).and_then(|slot| slot.busy.take());
        if let Some(Busy::Committing { answer, settles }) = busy {
            match (&result, answer) {
                (Ok(seq), Some(Answer { call: Some(call), outcome, .. })) => {
                    self.out.push(Decision::Reply(call, outcome, Some(*seq)));
                }
                (Ok(_), Some(Answer { call: None, .. })) => {}
                (Err(_), Some(answer)) => self.reply(answer.call, answer.if_store_fails),
                (_, None) => {}
            }
            if settles == Some(self.era) && result.is_ok() {
                self.settled(&name);
            }
        }
        if let Err(reason) = result {
            self.poison(&reason);
        }
        self.woken.push_back(name);
    }

    /// Names in an order that is the same in every run, so that a simulation can be repeated.
    fn in_order(names: impl IntoIterator<Item = MailboxName>) -> Vec<MailboxName> {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        names
    }

    fn put(name: &MailboxName, entry: Option<Entry>) -> Change {
        match entry {
            Some(entry) => Change::Put { name: name.clone(), entry },
            None => Change::Remove { name: name.clone() },
        }
    }

    fn doubt(name: &MailboxName, effect: Option<Entry>, now: Now) -> Change {
        Change::Doubt { name: name.clone(), doubt: Doubt { effect, at_unix: now.unix } }
    }

    /// A look-up failed: nothing can be promised on this store any more.
    fn unreadable(&mut self, why: &Unreadable) {
        self.poison(&why.to_string());
    }
}
