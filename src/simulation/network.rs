//! Hosts, and what is on its way between them: in order, as TCP has it, with delays; held up by a cut until it is
//! mended; lost with a connection that is reset or a host that dies.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::world::{Happening, World};

/// A host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Node {
    Master,
    Ravenry,
    Frontend(usize),
    Backend(usize),
    /// The MTA, and somebody who has no business here.
    Outside,
}

/// An end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

pub(super) type ConnId = usize;

/// A connection.
#[derive(Debug)]
struct Conn {
    nodes: [Node; 2],
    /// Whether each end has it open still.
    open: [bool; 2],
    /// When the last of what was sent from each end arrives.
    last: [Duration; 2],
    /// What each end has sent and did not arrive yet is thrown away.
    reset: [bool; 2],
}

/// A host that stands still, as with SIGSTOP.
#[derive(Debug, Default)]
pub(super) struct Still {
    pub(super) until: Duration,
    /// What waits for it, in the order in which it came.
    pub(super) happenings: VecDeque<Happening>,
}

/// Everything between the hosts.
#[derive(Debug, Default)]
pub(super) struct Network {
    conns: Vec<Conn>,
    /// Until when a way is cut.
    cuts: BTreeMap<(Node, Node), Duration>,
    /// Hosts that stand still.
    pub(super) still: BTreeMap<Node, Still>,
    /// Hosts that are down.
    pub(super) down: BTreeMap<Node, bool>,
    /// Counts the times that a host was started.
    lives: BTreeMap<Node, u64>,
}

impl Network {
    fn way(a: Node, b: Node) -> (Node, Node) {
        if a < b { (a, b) } else { (b, a) }
    }

    pub(super) fn cut(&mut self, a: Node, b: Node, until: Duration) {
        self.cuts.insert(Self::way(a, b), until);
    }

    fn cut_until(&self, a: Node, b: Node) -> Duration {
        self.cuts.get(&Self::way(a, b)).copied().unwrap_or_default()
    }

    pub(super) fn mend(&mut self) {
        self.cuts.clear();
    }

    pub(super) fn is_down(&self, node: Node) -> bool {
        self.down.get(&node).copied().unwrap_or_default()
    }

    /// Which life a host is in; what belongs to an earlier one is over.
    pub(super) fn life(&self, node: Node) -> u64 {
        self.lives.get(&node).copied().unwrap_or_default()
    }

    pub(super) fn is_open(&self, conn: ConnId, side: Side) -> bool {
        self.conns.get(conn).is_some_and(|conn| conn.open[side as usize])
    }

    pub(super) fn node(&self, conn: ConnId, side: Side) -> Node {
        self.conns[conn].nodes[side as usize]
    }

    /// The connections that a host has an end of.
    pub(super) fn of(&self, node: Node) -> Vec<(ConnId, Side)> {
        let sides = [Side::Client, Side::Server];
        let ends = |(id, conn): (usize, &Conn)| {
            sides.map(|side| {
                (conn.nodes[side as usize] == node && conn.open[side as usize]).then_some((id, side))
            })
        };
        self.conns.iter().enumerate().flat_map(ends).flatten().collect()
    }
}

impl World {
    /// How long something is on its way now.
    fn delay(&mut self) -> Duration {
        let micros = match self.rng.u8(..64) {
            0 => self.rng.u64(5_000..40_000),
            1..8 => self.rng.u64(500..3_000),
            _ => self.rng.u64(60..500),
        };
        Duration::from_micros(micros)
    }

    /// When something that leaves now arrives.
    pub(super) fn arrival(&mut self, from: Node, to: Node) -> Duration {
        self.net.cut_until(from, to).max(self.now) + self.delay()
    }

    /// Connects. The client hears [`Happening::Opened`] or [`Happening::Closed`].
    pub(super) fn connect(&mut self, from: Node, to: Node) -> ConnId {
        let id = self.net.conns.len();
        let conn = Conn { nodes: [from, to], open: [true; 2], last: [Duration::ZERO; 2], reset: [false; 2] };
        self.net.conns.push(conn);
        let there = self.arrival(from, to);
        self.at(there, Happening::Knock(id));
        id
    }

    /// A connection attempt has come to the server's host.
    pub(super) fn knock(&mut self, id: ConnId) {
        let server = self.net.node(id, Side::Server);
        let back = self.arrival(server, self.net.node(id, Side::Client));
        if self.net.is_down(server) || !self.listens(server) {
            self.net.conns[id].open[Side::Server as usize] = false;
            self.at(back, Happening::Closed(id, Side::Client));
        } else {
            self.net.conns[id].last[Side::Server as usize] = back;
            self.at(back, Happening::Opened(id));
        }
    }

    /// Sends bytes from an end.
    pub(super) fn send(&mut self, id: ConnId, from: Side, bytes: Vec<u8>) {
        if !self.net.is_open(id, from) || bytes.is_empty() {
            return;
        }
        let at = self.in_order(id, from);
        self.at(at, Happening::Bytes(id, from.other(), bytes));
    }

    fn in_order(&mut self, id: ConnId, from: Side) -> Duration {
        let (here, there) = (self.net.node(id, from), self.net.node(id, from.other()));
        let at = self.arrival(here, there).max(self.net.conns[id].last[from as usize]);
        self.net.conns[id].last[from as usize] = at;
        at
    }

    /// Closes an end: the other one hears of it after all that was sent.
    pub(super) fn close(&mut self, id: ConnId, side: Side) {
        if !self.net.is_open(id, side) {
            return;
        }
        self.net.conns[id].open[side as usize] = false;
        let at = self.in_order(id, side);
        self.at(at, Happening::Closed(id, side.other()));
    }

    /// As [`Self::close`]; what did not arrive yet never does.
    pub(super) fn reset(&mut self, id: ConnId, side: Side) {
        self.close(id, side);
        self.net.conns[id].reset[side as usize] = true;
    }

    /// A connection breaks: both ends hear of it, and what is on its way is lost.
    pub(super) fn break_off(&mut self, id: ConnId) {
        for side in [Side::Client, Side::Server] {
            self.net.conns[id].reset[side as usize] = true;
            let at = self.now + self.delay();
            self.at(at, Happening::Closed(id, side));
        }
    }

    /// Whether what was sent to this end arrives, and is waited for.
    pub(super) fn arrives(&self, id: ConnId, at: Side) -> bool {
        let conn = &self.net.conns[id];
        conn.open[at as usize]
            && !conn.reset[at.other() as usize]
            && !self.net.is_down(conn.nodes[at as usize])
    }

    /// An end hears that the connection has ended; false where it knew.
    pub(super) fn hears_end(&mut self, id: ConnId, side: Side) -> bool {
        let node = self.net.node(id, side);
        let news = self.net.is_open(id, side) && !self.net.is_down(node);
        self.net.conns[id].open[side as usize] = false;
        news
    }

    /// A host dies: nothing that it did goes on.
    pub(super) fn goes_down(&mut self, node: Node) {
        for (id, side) in self.net.of(node) {
            self.close(id, side);
        }
        self.net.down.insert(node, true);
        *self.net.lives.entry(node).or_default() += 1;
        self.net.still.remove(&node);
    }

    pub(super) fn comes_up(&mut self, node: Node) {
        self.net.down.insert(node, false);
    }
}
