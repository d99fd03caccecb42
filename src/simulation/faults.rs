//! What one seed has in store: the murder's size, who does how much, and what goes wrong when.

use std::time::Duration;

use super::network::{ConnId, Node, Side};
use super::world::{Happening, Key, List, World, acl, at};
use crate::authority::guard::Guard;
use crate::list::Entry;

/// Until when something may begin to go wrong, and users are at work.
pub(super) const BUSY: Duration = Duration::from_secs(60);

/// No fault lasts longer, in milliseconds.
pub(super) const LONGEST: u64 = 25_000;

/// What goes wrong.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The master is stopped, and started again.
    MasterDown(Duration),
    /// A host stands still, as with SIGSTOP.
    Still(Node, Duration),
    /// A way is cut: nothing arrives, and nobody is told.
    Cut(Node, Node, Duration),
    /// One connection of a host breaks.
    Broken(Node),
    /// The power of Ravenry's host fails, or its process is killed.
    RavenryKilled(Duration),
    FrontendDown(usize, Duration),
    BackendDown(usize, Duration),
    /// The master comes back with what it had at the beginning, or with nothing.
    MasterRestored {
        empty: bool,
        back: Duration,
    },
    /// Ravenry's disk gives errors until it is restarted.
    DiskFails,
    /// The disk is slow for a while.
    DiskSlow(Duration),
    /// The wall clock of Ravenry's host is set.
    ClockSet(i64),
    /// An operator has Ravenry stand in for a while.
    StandIn(Duration),
    Follow,
    /// Somebody who never logged in wants a mailbox gone.
    Stranger,
}

/// One seed's.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    names: Vec<Key>,
    pub(super) guard: Guard,
    pub(super) replay_concurrency: usize,
    /// Of a hundred writes, so many are done late by a master that is otherwise well.
    pub(super) slow_master: u8,
    pub(super) operations: usize,
    faults: usize,
    /// The second backend forgets to tell of deletions, as with `delete_mode: immediate`.
    pub(super) immediate: bool,
    /// How long the comparison of the lists takes at most, in milliseconds.
    pub(super) comparing_ms: u64,
}

impl Plan {
    pub(super) fn draw(rng: &mut fastrand::Rng) -> Self {
        let all: [&[u8]; 8] =
            [b"user.a", b"user.a.x", b"user.a-b", b"user.b", b"user.b.y", b"user.c", b"user.d", b"user.d.z"];
        let some = 4 + rng.usize(..5);
        Self {
            names: all.iter().take(some).map(|name| name.to_vec()).collect(),
            guard: Guard { share: 0.3, at_least: 2, at_most: 100 },
            replay_concurrency: 1 + rng.usize(..4),
            slow_master: [0, 0, 2, 8][rng.usize(..4)],
            operations: 8 + rng.usize(..20),
            faults: rng.usize(..7),
            immediate: rng.bool(),
            comparing_ms: [1, 50, 2000][rng.usize(..3)],
        }
    }

    /// What everybody holds at the beginning.
    pub(super) fn list(&self) -> List {
        let place = |nth: usize| at(nth % 2, "default");
        let entry = |nth| Entry::active(place(nth), acl(b"a\tlrs\t"));
        self.names.iter().enumerate().map(|(nth, key)| (key.clone(), entry(nth))).collect()
    }
}

impl World {
    fn moment(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(1_500..60_000))
    }

    /// Everything that is known of beforehand. Much of it comes together: operations in one moment, and what goes wrong
    /// in the middle of one.
    pub(super) fn begin(&mut self) {
        let mut moments = Vec::new();
        for _ in 0..self.plan.operations {
            let at = match moments.last() {
                Some(last) if self.rng.u8(..3) == 0 => *last + Duration::from_micros(self.rng.u64(..20_000)),
                _ => self.moment(),
            };
            moments.push(at);
            self.plan_operation(at);
        }
        for _ in 0..self.plan.faults {
            let (at, fault) = (self.moment_near(&moments), self.any_fault());
            self.at(at, Happening::Fault(fault));
        }
    }

    /// Any moment, or the middle of what began at one of these.
    fn moment_near(&mut self, moments: &[Duration]) -> Duration {
        match self.rng.bool() {
            true => self.moment(),
            false => moments[self.rng.usize(..moments.len())] + Duration::from_micros(self.rng.u64(..8_000)),
        }
    }

    fn any_fault(&mut self) -> Fault {
        let millis = match self.rng.u8(..3) {
            0 => self.rng.u64(50..1_500),
            1 => self.rng.u64(1_500..6_000),
            _ => self.rng.u64(6_000..LONGEST),
        };
        let time = Duration::from_millis(millis);
        let one = self.rng.usize(..2);
        let edges = [
            Node::Master,
            Node::Frontend(0),
            Node::Frontend(1),
            Node::Backend(0),
            Node::Backend(1),
            Node::Outside,
        ];
        match self.rng.u8(..34) {
            0..5 => Fault::MasterDown(time),
            5..9 => Fault::Still(Node::Master, time),
            9 => Fault::Still(Node::Frontend(one), time),
            10 => Fault::Still(Node::Backend(one), time),
            11..14 => Fault::Cut(Node::Ravenry, edges[self.rng.usize(..edges.len())], time),
            14..18 => Fault::Broken(edges[self.rng.usize(..5)]),
            18..22 => Fault::RavenryKilled(time),
            22 => Fault::FrontendDown(one, time),
            23..25 => Fault::BackendDown(one, time),
            25..27 => Fault::MasterRestored { empty: self.rng.bool(), back: time },
            27 => Fault::DiskFails,
            28 => Fault::DiskSlow(time),
            29..31 => {
                let by = [-90, -7200, -3 * 86_400, 120, 3000, 2 * 86_400][self.rng.usize(..6)];
                Fault::ClockSet(by)
            }
            31 => Fault::StandIn(time),
            _ => Fault::Stranger,
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        if self.calm && !matches!(fault, Fault::Follow) {
            return;
        }
        self.note(|| format!("*** {fault:?}"));
        match fault {
            Fault::MasterDown(time) => {
                self.count("master stopped");
                if !self.net.is_down(Node::Master) {
                    self.master_dies(time);
                }
            }
            Fault::Still(node, time) => {
                self.count(match node {
                    Node::Master => "master hung",
                    Node::Frontend(_) => "frontend hung",
                    _ => "backend hung",
                });
                let until = self.now + time;
                let still = self.net.still.entry(node).or_default();
                still.until = still.until.max(until);
                self.at(until, Happening::Stirs(node));
            }
            Fault::Cut(a, b, time) => {
                self.count("way cut");
                // What has left by then is on its way until the end of the cut.
                self.net.cut(a, b, (self.now + time).min(BUSY));
            }
            Fault::Broken(node) => self.break_one(node),
            Fault::RavenryKilled(time) => {
                self.count("Ravenry killed");
                self.ravenry_dies(time);
            }
            Fault::FrontendDown(at, time) => {
                self.count("frontend killed");
                self.frontend_dies(at, time);
            }
            Fault::BackendDown(at, time) => {
                self.count("backend killed");
                self.backend_dies(at, time);
            }
            Fault::MasterRestored { empty, back } => {
                self.count(if empty { "master emptied" } else { "master restored from an old backup" });
                if !self.net.is_down(Node::Master) {
                    self.master_dies(back);
                }
                let old = if empty { List::new() } else { self.plan.list() };
                if self.ravenry.suspect {
                    // What the master granted since the disk failed was nowhere else.
                    for key in self.history.names() {
                        self.taint(&key, "the master lost its list while Ravenry's disk had failed");
                        self.history.leave_out(key);
                    }
                }
                // Their backends are asked about these within seconds, which is left out here (`ghosts`).
                for name in self.ravenry.unconfirmed() {
                    self.taint(name.as_bytes(), "unconfirmed when the master lost its list");
                }
                self.history.haunt(old.keys());
                for (key, entry) in &old {
                    // Where it is of the same server, what differs there is taken for the master's will.
                    let held = self.master.list.get(key);
                    let elsewhere = held.is_some_and(|held| !held.location.same_server(&entry.location));
                    if held != Some(entry) && !elsewhere {
                        self.history.put_there(key, Some(entry.clone()), self.now);
                        self.taint(key, "another ACL in an old backup");
                    }
                }
                self.master.list = old;
            }
            Fault::DiskFails => {
                self.count("disk failed");
                self.ravenry.disk_fails();
            }
            Fault::DiskSlow(time) => {
                self.count("disk slow");
                self.ravenry.slow_until = self.now + time;
            }
            Fault::ClockSet(by) => {
                self.count(if by < 0 { "clock set back" } else { "clock set forward" });
                self.wall_off += by;
            }
            Fault::StandIn(time) => {
                self.count("held by an operator");
                self.order(true);
                self.at(self.now + time, Happening::Fault(Fault::Follow));
            }
            Fault::Follow => self.order(false),
            Fault::Stranger => {
                self.count("strangers");
                self.connect(Node::Outside, Node::Ravenry);
            }
        }
    }

    fn break_one(&mut self, node: Node) {
        let theirs: Vec<(ConnId, Side)> = self.net.of(node);
        if !theirs.is_empty() {
            self.count("connection broken");
            let (conn, _) = theirs[self.rng.usize(..theirs.len())];
            self.break_off(conn);
        }
    }
}
