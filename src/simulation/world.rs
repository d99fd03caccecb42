//! Everything at once: the hosts, what is on its way, the time, and what happens next.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::backend::{self, Backend};
use super::check::End;
use super::faults::{self, Plan};
use super::frontend::{self, Frontend};
use super::history::History;
use super::master::{self, Master};
use super::network::{ConnId, Network, Node, Side};
use super::ravenry::{self, Ravenry};
use crate::list::{Acl, Entry, Location, MailboxName};

/// The wall clock at the beginning.
pub(super) const EPOCH: u64 = 1_800_000_000;

thread_local! {
    static WALL: Cell<u64> = const { Cell::new(EPOCH) };
}

/// The wall clock of the world that runs on this thread, in seconds since 1970.
pub(super) fn wall() -> u64 {
    WALL.get()
}

/// A name's bytes, which are in an order.
pub(super) type Key = Vec<u8>;
pub(super) type List = BTreeMap<Key, Entry>;

pub(super) fn name(key: &[u8]) -> MailboxName {
    MailboxName::new(key).unwrap()
}

pub(super) fn at(server: usize, partition: &str) -> Location {
    Location::new(format!("be{}!{partition}", server + 1).as_bytes()).unwrap()
}

pub(super) fn acl(rights: &[u8]) -> Acl {
    Acl::new(rights)
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// To a host, in one of its lives.
    At(Node, u64, Box<Happening>),
    /// A connection attempt has come to its server.
    Knock(ConnId),
    /// The client's connection stands.
    Opened(ConnId),
    /// An end hears that a connection is over.
    Closed(ConnId, Side),
    /// Bytes for an end.
    Bytes(ConnId, Side, Vec<u8>),
    Master(master::Step),
    Ravenry(ravenry::Step),
    Frontend(usize, frontend::Step),
    Backend(usize, backend::Step),
    Fault(faults::Fault),
    /// A host that stood still goes on.
    Stirs(Node),
    /// A person looks, and everything that is looked at every second.
    Look,
}

/// What was counted, for the report.
#[derive(Clone, Default, Debug)]
pub(super) struct Counts(pub(super) BTreeMap<&'static str, u64>);

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, count)| self.more(what, *count));
    }

    pub(super) fn more(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }
}

pub(super) struct World {
    pub(super) rng: fastrand::Rng,
    pub(super) now: Duration,
    /// How far the wall clock is from where it would be, in seconds.
    pub(super) wall_off: i64,
    agenda: BTreeMap<(Duration, u64), Happening>,
    planned: u64,
    pub(super) plan: Plan,
    pub(super) net: Network,
    pub(super) master: Master,
    pub(super) ravenry: Ravenry,
    pub(super) frontends: [Frontend; 2],
    pub(super) backends: [Backend; 2],
    /// Operations that came to nothing, when, and their names.
    pub(super) undone: Vec<(Duration, Vec<Key>)>,
    /// Names of which only their backend knows what they are to be, and why.
    pub(super) tainted: BTreeMap<Key, &'static str>,
    pub(super) history: History,
    /// Nothing goes wrong any more, and nobody begins anything.
    pub(super) calm: bool,
    pub(super) end: End,
    pub(super) quiet_since: Option<Duration>,
    pub(super) violations: Vec<String>,
    pub(super) counts: Counts,
    /// What happened, for the message of a failure; only where somebody wants to read it.
    pub(super) trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let list = plan.list();
        WALL.set(EPOCH);
        let mut world = Self {
            rng,
            now: Duration::ZERO,
            wall_off: 0,
            agenda: BTreeMap::new(),
            planned: 0,
            net: Network::default(),
            master: Master::holding(list.clone()),
            ravenry: Ravenry::holding(&list),
            frontends: Default::default(),
            backends: [0, 1].map(|at| Backend::holding(at, &list)),
            undone: Vec::new(),
            tainted: BTreeMap::new(),
            history: History::beginning(&list),
            calm: false,
            end: End::default(),
            quiet_since: None,
            violations: Vec::new(),
            counts: Counts::default(),
            trace: trace.then(Vec::new),
            plan,
        };
        world.ravenry_up();
        for at in 0..world.frontends.len() {
            world.after(
                Node::Frontend(at),
                Duration::from_millis(5),
                Happening::Frontend(at, frontend::Step::Dial),
            );
        }
        world.master_ticks();
        world.begin();
        world.at(Duration::from_secs(1), Happening::Look);
        world
    }

    /// Something is to happen at a time.
    pub(super) fn at(&mut self, at: Duration, happening: Happening) {
        self.planned += 1;
        self.agenda.insert((at.max(self.now), self.planned), happening);
    }

    /// Something is to happen on a host, unless it dies before.
    pub(super) fn after(&mut self, node: Node, wait: Duration, happening: Happening) {
        let life = self.net.life(node);
        self.at(self.now + wait, Happening::At(node, life, Box::new(happening)));
    }

    pub(super) fn count(&mut self, what: &'static str) {
        self.counts.more(what, 1);
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.6} {}", self.now.as_secs_f64(), line()));
        }
    }

    pub(super) fn violated(&mut self, what: String) {
        self.note(|| format!("!!! {what}"));
        self.violations.push(what);
    }

    /// Moves on to what comes next; false where there is nothing.
    pub(super) fn step(&mut self) -> bool {
        let Some(((at, _), happening)) = self.agenda.pop_first() else { return false };
        self.now = at;
        WALL.set(EPOCH.saturating_add_signed(self.wall_off) + at.as_secs());
        self.happen(happening);
        true
    }

    fn happen(&mut self, happening: Happening) {
        let host = self.host_of(&happening);
        if let Some(waiting) = host.and_then(|node| self.net.still.get_mut(&node)) {
            return waiting.happenings.push_back(happening);
        }
        match happening {
            Happening::Stirs(node) => self.stirs(node),
            Happening::At(node, life, happening) => {
                if life == self.net.life(node) {
                    self.happen(*happening);
                }
            }
            Happening::Knock(conn) => self.knock(conn),
            Happening::Opened(conn) => {
                if self.arrives(conn, Side::Client) {
                    self.opened(conn);
                }
            }
            Happening::Closed(conn, side) => {
                if self.hears_end(conn, side) {
                    self.closed(conn, side);
                }
            }
            Happening::Bytes(conn, side, bytes) => {
                if self.arrives(conn, side) {
                    self.heard(conn, side, &bytes);
                }
            }
            Happening::Master(step) => self.master_step(step),
            Happening::Ravenry(step) => self.ravenry_step(step),
            Happening::Frontend(at, step) => self.frontend_step(at, step),
            Happening::Backend(at, step) => self.backend_step(at, step),
            Happening::Fault(fault) => self.strike(fault),
            Happening::Look => self.look(),
        }
    }

    /// A host goes on, unless it is to stand still for longer: what came meanwhile happens in the order in which it came.
    fn stirs(&mut self, node: Node) {
        if self.net.still.get(&node).is_some_and(|still| still.until <= self.now) {
            let waiting = self.net.still.remove(&node).map(|still| still.happenings);
            waiting.into_iter().flatten().for_each(|happening| self.happen(happening));
        }
    }

    /// Every way is mended, and every host goes on.
    pub(super) fn heal(&mut self) {
        self.net.mend();
        let nodes: Vec<Node> = self.net.still.keys().copied().collect();
        for still in self.net.still.values_mut() {
            still.until = self.now;
        }
        nodes.into_iter().for_each(|node| self.at(self.now, Happening::Stirs(node)));
    }

    /// Whose affair it is, which waits where that host stands still.
    fn host_of(&self, happening: &Happening) -> Option<Node> {
        match happening {
            Happening::At(node, ..) => Some(*node),
            Happening::Opened(conn) => Some(self.net.node(*conn, Side::Client)),
            Happening::Closed(conn, side) | Happening::Bytes(conn, side, _) => {
                Some(self.net.node(*conn, *side))
            }
            // A kernel takes connections for a process that stands still.
            _ => None,
        }
    }

    /// Whether a server takes connections.
    pub(super) fn listens(&self, node: Node) -> bool {
        node != Node::Ravenry || self.ravenry.serves()
    }

    fn opened(&mut self, conn: ConnId) {
        match self.net.node(conn, Side::Client) {
            Node::Ravenry => self.link_opened(conn),
            Node::Frontend(at) => self.slave_opened(at, conn),
            Node::Backend(at) => self.task_opened(at, conn),
            Node::Outside => self.stranger_opened(conn),
            Node::Master => {}
        }
    }

    fn closed(&mut self, conn: ConnId, side: Side) {
        match (self.net.node(conn, side), side) {
            (Node::Master, _) => self.master_left(conn),
            (Node::Ravenry, Side::Server) => self.face_closed(conn),
            (Node::Ravenry, Side::Client) => self.link_closed(conn),
            (Node::Frontend(at), _) => self.slave_closed(at, conn),
            (Node::Backend(at), _) => self.task_closed(at, conn),
            (Node::Outside, _) => {}
        }
    }

    fn heard(&mut self, conn: ConnId, side: Side, bytes: &[u8]) {
        match (self.net.node(conn, side), side) {
            (Node::Master, _) => self.master_heard(conn, bytes),
            (Node::Ravenry, Side::Server) => self.face_heard(conn, bytes),
            (Node::Ravenry, Side::Client) => self.link_heard(conn, bytes),
            (Node::Frontend(at), _) => self.slave_heard(at, conn, bytes),
            (Node::Backend(at), _) => self.task_heard(at, conn, bytes),
            (Node::Outside, _) => {}
        }
    }
}
