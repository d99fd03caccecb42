//! What is remembered of a server, as locations call it: what a person announced, and what a day's limits count.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StoreError;
use super::codec::{In, Out};

/// All of them; clones share it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Servers(Arc<BTreeMap<Vec<u8>, Server>>);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Server {
    /// A person expects its names to be deleted, until this time.
    expected_until: u64,
    /// Ghosts that were taken off the list, and on which day since 1970.
    ghosts: u64,
    day: u64,
}

impl Servers {
    pub(super) fn expect(&mut self, server: Vec<u8>, until_unix: u64) {
        Arc::make_mut(&mut self.0).entry(server).or_default().expected_until = until_unix;
    }

    pub(super) fn ghost(&mut self, server: Vec<u8>, today: u64) {
        let counted = Arc::make_mut(&mut self.0).entry(server).or_default();
        if counted.day != today {
            (counted.day, counted.ghosts) = (today, 0);
        }
        counted.ghosts += 1;
    }

    /// Servers whose names are expected to be deleted, and until when.
    pub fn expected(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.0.iter().map(|(server, known)| (server.as_slice(), known.expected_until))
    }

    /// How many ghosts of a server were taken off the list on a day since 1970.
    pub fn ghosts(&self, server: &[u8], day: u64) -> u64 {
        self.0.get(server).filter(|counted| counted.day == day).map_or(0, |counted| counted.ghosts)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let each = |out: Out, (name, server): (&Vec<u8>, &Server)| {
            out.text(name).varint(server.expected_until).varint(server.day).varint(server.ghosts)
        };
        self.0.iter().fold(Out::default(), each).done()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let (mut bytes, mut servers) = (In(value), BTreeMap::new());
        while !bytes.0.is_empty() {
            let name = bytes.text()?.to_vec();
            let (expected_until, day, ghosts) = (bytes.varint()?, bytes.varint()?, bytes.varint()?);
            servers.insert(name, Server { expected_until, ghosts, day });
        }
        Ok(Self(Arc::new(servers)))
    }
}
