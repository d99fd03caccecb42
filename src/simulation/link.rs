//! Ravenry's link to the master, as `mupdate/client` and the driver have it: the stream that is followed, the comparison
//! of its list with ours, and barriers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use ravenry_parsers::mupdate::{CommandBody, ServerLine, Status};

use super::network::{ConnId, Node, Side};
use super::ravenry::{self, Waiting, synced};
use super::sends::Exchange;
use super::wire::{self, Reading};
use super::world::{Happening, Key, List, World, name, wall};
use crate::authority::differ::Differ;
use crate::authority::facts::Comparison;
use crate::authority::machine::{Event, SendId, State};
use crate::authority::master::{Lost, MasterIdentity};
use crate::authority::recorded::{conflicting, journalled, unconfirmed};
use crate::list::{Entry, MailboxName};
use crate::store::{Change, Snapshot};

/// As `LinkConfig` has them by default.
const CONNECT: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(2);
const PING: Duration = Duration::from_secs(1);
/// How long a NOOP gathers what it is to cover.
const GATHERS: Duration = Duration::from_millis(5);
/// How long somebody waits for a barrier.
const BARRIER: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub(super) enum Step {
    Dial,
    /// A look at the deadlines of a connection.
    Due(ConnId),
    /// A barrier has gathered, or is not waited for any more.
    Gathered(u64),
    BarrierLate(u64),
    /// The lists are compared.
    Compared(ConnId),
    /// A write is not waited for any more.
    SendLate(SendId),
    /// The answer to a deletion that was given up is not waited for any more, or has shown what it did.
    Lingered(ConnId),
    Settled(ConnId),
}

/// The stream.
struct Following {
    conn: ConnId,
    reading: Reading,
    opened: bool,
    complete: bool,
    began: Duration,
    heard: Duration,
    noop: Option<(Bytes, Duration, Vec<u64>)>,
    next: Vec<u64>,
    /// The comparison with our list as it was when the connection came up, or what is to replace ours.
    differ: Option<Differ>,
    listed: Option<Vec<(MailboxName, Entry)>>,
    /// The lists are being compared; what the master tells meanwhile.
    judging: Option<(Comparison, Snapshot)>,
    held_back: VecDeque<(MailboxName, Option<Entry>)>,
}

/// The link.
#[derive(Default)]
pub(super) struct Link {
    following: Option<Box<Following>>,
    dialing: bool,
    failures: u32,
    pub(super) exchanges: Vec<Exchange>,
    /// Names that are being deleted there.
    pub(super) deleting: BTreeMap<Key, ConnId>,
    /// Since when the master is followed, its list complete.
    pub(super) followed: Option<Duration>,
    barriers: BTreeMap<u64, Waiting>,
    asked: u64,
    noops: u64,
}

impl Link {
    /// Whether the master's list is still awaited.
    pub(super) fn is_dialing(&self) -> bool {
        !self.following.as_ref().is_some_and(|following| following.complete && following.judging.is_none())
    }

    /// Whether the stream is followed.
    pub(super) fn stands(&self) -> bool {
        self.following.as_ref().is_some_and(|following| following.complete)
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.exchanges.is_empty() && self.stands()
    }
}

impl World {
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        self.ravenry.running.as_mut().map(|running| &mut running.link)
    }

    fn following(&mut self, conn: ConnId) -> Option<&mut Following> {
        self.link()?.following.as_deref_mut().filter(|following| following.conn == conn)
    }

    pub(super) fn soon(&mut self, wait: Duration, step: Step) {
        self.after(Node::Ravenry, wait, Happening::Ravenry(ravenry::Step::Link(step)));
    }

    pub(super) fn link_up_soon(&mut self, wait: Duration) {
        let Some(link) = self.link() else { return };
        if !std::mem::replace(&mut link.dialing, true) {
            self.soon(wait, Step::Dial);
        }
    }

    pub(super) fn link_step(&mut self, step: Step) {
        match step {
            Step::Dial => self.dial(),
            Step::Due(conn) => self.due(conn),
            Step::Gathered(ask) => self.gathered(ask),
            Step::BarrierLate(ask) => self.barrier_lost(ask, "no answer to NOOP"),
            Step::Compared(conn) => self.compared(conn),
            Step::SendLate(id) => self.give_up_send(id),
            Step::Lingered(conn) => self.lingered(conn),
            Step::Settled(conn) => self.settled(conn),
        }
    }

    fn dial(&mut self) {
        let (conn, now) = (self.connect(Node::Ravenry, Node::Master), self.now);
        let Some(link) = self.link() else { return };
        link.dialing = false;
        link.following = Some(Box::new(Following {
            conn,
            reading: Reading::default(),
            opened: false,
            complete: false,
            began: now,
            heard: now,
            noop: None,
            next: Vec::new(),
            differ: None,
            listed: None,
            judging: None,
            held_back: VecDeque::new(),
        }));
        self.soon(CONNECT, Step::Due(conn));
    }

    /// The present connection ends, if there is one, and another one is made.
    pub(super) fn reconnect(&mut self) {
        let Some(link) = self.link() else { return };
        if let Some(conn) = link.following.as_ref().map(|following| following.conn) {
            self.stream_down(conn, "connecting anew", Duration::from_millis(1));
        }
    }

    fn stream_down(&mut self, conn: ConnId, why: &str, again: Duration) {
        let Some(following) = self.link().and_then(|link| link.following.take()) else { return };
        if following.conn != conn {
            return self.link().map_or((), |link| link.following = Some(following));
        }
        let following = *following;
        self.link().into_iter().for_each(|link| link.followed = None);
        self.close(conn, Side::Client);
        let waiting = following.noop.into_iter().flat_map(|(.., asks)| asks).chain(following.next);
        for ask in waiting.collect::<Vec<_>>() {
            self.barrier_lost(ask, "the stream ended");
        }
        let Some(running) = &mut self.ravenry.running else { return };
        if following.listed.is_some() && running.machine.state() != State::Learning {
            running.replace = false;
            self.feed(Event::GiveUp(format!("the master's list broke off: {why}")));
        }
        self.link_up_soon(again);
        self.feed(Event::MasterLost(why.to_owned()));
    }

    fn backoff(&mut self) -> Duration {
        let Some(link) = self.link() else { return Duration::ZERO };
        link.failures = (link.failures + 1).min(4);
        let most = Duration::from_millis(100 << link.failures);
        most / 2 + most.mul_f64(self.rng.f64() / 2.0)
    }

    /// Looks whether the stream has been silent for too long, or quiet for long enough to be asked.
    fn due(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(following) = self.following(conn) else { return };
        let (at, asked) = match &following.noop {
            Some((_, since, _)) => (following.heard.max(*since) + SILENCE, true),
            None if !following.complete => (following.heard + SILENCE, true),
            None => (following.heard + PING, false),
        };
        if now >= at && asked {
            let again = self.backoff();
            return self.stream_down(conn, "no answer for 2000 ms", again);
        }
        if now >= at {
            self.say_noop(conn);
        }
        let wait = at.saturating_sub(now).max(Duration::from_millis(200));
        self.soon(wait, Step::Due(conn));
    }

    fn say_noop(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(link) = self.link() else { return };
        link.noops += 1;
        let tag = format!("N{}", link.noops);
        let Some(following) = self.following(conn) else { return };
        let asks = std::mem::take(&mut following.next);
        following.noop = Some((tag.clone().into_bytes().into(), now, asks));
        self.send(conn, Side::Client, wire::command(&tag, &CommandBody::Noop));
    }

    pub(super) fn link_opened(&mut self, conn: ConnId) {
        if self.following(conn).is_none() {
            return self.send_opened(conn);
        }
        self.send(conn, Side::Client, wire::command("U01", &CommandBody::Update { hosts: Vec::new() }));
        let now = self.now;
        let Some(running) = &mut self.ravenry.running else { return };
        let replace =
            running.replace && (running.machine.state() == State::Learning || running.machine.is_accepting());
        let Ok(snapshot) = running.facts.store.snapshot() else { return };
        let Some(following) = self.following(conn) else { return };
        following.opened = true;
        following.began = now;
        following.heard = now;
        following.listed = replace.then(Vec::new);
        following.differ = Some(if replace { Differ::counting(snapshot) } else { Differ::new(snapshot) });
        let identity =
            MasterIdentity { servername: "mm".into(), version: "3.6.1".into(), role: "(master)".into() };
        self.feed(Event::MasterUp(identity));
    }

    pub(super) fn link_closed(&mut self, conn: ConnId) {
        if self.following(conn).is_some() {
            let again = self.backoff();
            self.stream_down(conn, "the server closed the connection", again);
        } else {
            self.send_closed(conn);
        }
    }

    pub(super) fn link_heard(&mut self, conn: ConnId, bytes: &[u8]) {
        let now = self.now;
        let Some(following) = self.following(conn) else { return self.send_heard(conn, bytes) };
        following.heard = now;
        let lines = following.reading.take(bytes);
        for line in lines {
            let Some(following) = self.following(conn) else { return };
            match (wire::shown(&line), line) {
                (Some((name, Some(entry))), _) if !following.complete => {
                    if let Some(listed) = &mut following.listed {
                        listed.push((name.clone(), entry.clone()));
                    }
                    if let Some(differ) = &mut following.differ {
                        let _ = differ.push(vec![(name, entry)]);
                    }
                }
                (Some((name, entry)), _) => {
                    following.held_back.push_back((name, entry));
                    self.pass_on(conn);
                }
                (None, ServerLine::Status { tag: Some(tag), status: Status::Ok, .. }) => {
                    self.said_ok(conn, &tag)
                }
                (None, other) => panic!("the model master says {other:?}"),
            }
        }
    }

    /// Hands on what the stream told, unless the list before it is still being compared.
    fn pass_on(&mut self, conn: ConnId) {
        while let Some(following) = self.following(conn)
            && following.judging.is_none()
            && let Some((name, entry)) = following.held_back.pop_front()
        {
            self.feed(Event::MasterChanged(name, entry));
        }
    }

    fn said_ok(&mut self, conn: ConnId, tag: &Bytes) {
        let now = self.now;
        let Some(following) = self.following(conn) else { return };
        if !following.complete {
            following.complete = true;
            let took = now - following.began;
            let compared = following.differ.take().map(|differ| differ.finish(took));
            let Some(Ok(compared)) = compared else { return };
            following.judging = Some(compared);
            if let Some(link) = self.link() {
                link.followed = Some(now);
            }
            let wait = Duration::from_millis(self.rng.u64(..self.plan.comparing_ms));
            self.soon(wait, Step::Compared(conn));
            return;
        }
        let Some((ours, _, asks)) = following.noop.take() else { return };
        if ours != *tag {
            following.noop = Some((ours, now, asks));
            return;
        }
        if !following.next.is_empty() {
            self.say_noop(conn);
        }
        for ask in asks {
            self.barrier_passed(conn, ask);
        }
    }

    /// The master's list is whole and compared with ours.
    fn compared(&mut self, conn: ConnId) {
        let Some(following) = self.following(conn) else { return };
        // What was decided before must not land on a list that replaces ours.
        if following.listed.is_some() && !self.disk_is_idle() {
            return self.soon(Duration::from_millis(1), Step::Compared(conn));
        }
        let Some(following) = self.following(conn) else { return };
        let Some((comparison, snapshot)) = following.judging.take() else { return };
        let listed = following.listed.take();
        let began = following.began;
        let Some(running) = &mut self.ravenry.running else { return };
        running.link.failures = 0;
        match listed {
            None => {
                running.facts.listed = Some(snapshot);
                self.feed(Event::MasterList(comparison));
            }
            Some(listed) => self.replace_ours(comparison, listed, began),
        }
        self.pass_on(conn);
    }

    fn replace_ours(&mut self, comparison: Comparison, listed: Vec<(MailboxName, Entry)>, began: Duration) {
        let Some(running) = &mut self.ravenry.running else { return };
        if running.machine.state() != State::Learning && !running.machine.is_accepting() {
            return self.reconnect();
        }
        if let Err(why) =
            running.machine.may_accept(&comparison.difference, running.facts.store.stats().entries)
        {
            running.replace = false;
            self.feed(Event::GiveUp(why));
            return self.reconnect();
        }
        let taken: List =
            listed.iter().map(|(name, entry)| (name.as_bytes().to_vec(), entry.clone())).collect();
        let before = self.history.names().into_iter().filter_map(|key| {
            let held = running.facts.store.get(&name(&key)).ok().flatten();
            held.map(|held| (key, held))
        });
        let before: List = before.collect();
        let forget = running.scribe.replace(listed, synced()).and_then(|()| {
            let list = running.facts.store.snapshot()?;
            let mut changes = vec![Change::Attended { at_unix: wall() }];
            changes
                .extend(journalled(&list)?.into_iter().map(|name| Change::Settle { name, upto: u64::MAX }));
            changes.extend(conflicting(&list)?.into_iter().map(|name| Change::ResolveConflict { name }));
            changes.extend(unconfirmed(&list)?.into_iter().map(|name| Change::Confirm { name }));
            running.scribe.commit(vec![changes]).remove(0)
        });
        if forget.is_err() {
            return;
        }
        running.replace = false;
        running.feed.close_all();
        self.history_forgets(&before, &taken);
        self.pump_streams();
        let took = self.now - began;
        self.feed(Event::Loaded(took));
    }

    /// A face waits until the list reflects what the master knows; not at all where the master is not asked.
    pub(super) fn wait_for_barrier(&mut self, waiting: Waiting) {
        let asked = matches!(self.ravenry.state(), Some(State::Following | State::Replaying));
        match (asked, waiting) {
            (true, waiting) => self.ask_barrier(waiting, BARRIER),
            (false, Waiting::Face(conn)) => self.looked(conn),
            (false, Waiting::Noop(conn, tag)) => self.noop_passed(conn, &tag),
            (false, Waiting::Machine(_)) => {}
        }
    }

    pub(super) fn ask_barrier(&mut self, waiting: Waiting, deadline: Duration) {
        let wait = if let Waiting::Machine(_) = waiting { GATHERS } else { Duration::ZERO };
        // Without a bound (rule 6) it is for ever.
        let deadline = deadline.min(Duration::from_secs(3600));
        let Some(link) = self.link() else { return };
        link.asked += 1;
        let ask = link.asked;
        link.barriers.insert(ask, waiting);
        self.soon(wait, Step::Gathered(ask));
        self.soon(wait + deadline, Step::BarrierLate(ask));
    }

    fn gathered(&mut self, ask: u64) {
        let Some(following) = self.link().and_then(|link| link.following.as_deref_mut()) else {
            return self.barrier_lost(ask, "no link to the master");
        };
        if !following.complete {
            return self.barrier_lost(ask, "the master's list is still being read");
        }
        following.next.push(ask);
        let conn = following.conn;
        if following.noop.is_none() {
            self.say_noop(conn);
        }
    }

    fn barrier_passed(&mut self, conn: ConnId, ask: u64) {
        let Some(waiting) = self.link().and_then(|link| link.barriers.remove(&ask)) else { return };
        self.pass_on(conn);
        match waiting {
            Waiting::Machine(id) => self.feed(Event::Barrier(id, Ok(()))),
            waiting => self.fence(waiting),
        }
    }

    fn barrier_lost(&mut self, ask: u64, why: &str) {
        let Some(waiting) = self.link().and_then(|link| link.barriers.remove(&ask)) else { return };
        let lost = Lost::InDoubt(why.to_owned());
        if let Waiting::Machine(id) = waiting {
            return self.feed(Event::Barrier(id, Err(lost)));
        }
        if matches!(self.ravenry.state(), Some(State::Following | State::Replaying)) {
            self.feed(Event::MasterLost(lost.to_string()));
            self.reconnect();
        }
        match waiting {
            Waiting::Face(conn) => self.looked(conn),
            Waiting::Noop(conn, tag) => self.noop_passed(conn, &tag),
            Waiting::Machine(_) => {}
        }
    }
}
