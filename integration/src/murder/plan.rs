//! What kind of murder a story wants.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail};

use super::Names;

/// A Debian suite, and with it a Cyrus release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// Cyrus 3.2.
    Bullseye,
    /// Cyrus 3.6.
    Bookworm,
    /// Cyrus 3.10.
    Trixie,
    /// Cyrus 3.12.
    Forky,
}

impl Suite {
    /// Every suite that an image is built for, oldest first.
    pub const ALL: [Self; 4] = [Self::Bullseye, Self::Bookworm, Self::Trixie, Self::Forky];

    /// The suite that `MURDER_SUITE` names, else bookworm.
    pub fn chosen() -> Result<Self> {
        std::env::var("MURDER_SUITE").map_or(Ok(Self::Bookworm), |name| name.parse())
    }

    /// The suite's name in Debian.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bullseye => "bullseye",
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Forky => "forky",
        }
    }

    /// The Cyrus release series in it; fixtures are filed under this.
    pub fn cyrus(self) -> &'static str {
        match self {
            Self::Bullseye => "3.2",
            Self::Bookworm => "3.6",
            Self::Trixie => "3.10",
            Self::Forky => "3.12",
        }
    }

    /// Whether nodes can log in at Ravenry with SCRAM: Debian 11's Cyrus SASL has none.
    pub fn has_scram(self) -> bool {
        self != Self::Bullseye
    }

    /// Whether a backend with `delete_mode: immediate` tells the master of a DELETE.
    pub fn tells_of_immediate_deletes(self) -> bool {
        self == Self::Bullseye
    }

    /// The image's name.
    pub fn image(self) -> String {
        format!("ravenry-murder:{}", self.name())
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|suite| suite.name() == name || suite.cyrus() == name) {
            Some(suite) => Ok(suite),
            None => bail!("{name} is no suite: bullseye, bookworm, trixie or forky"),
        }
    }
}

/// How a murder is set up. Start from [`Plan::new`] and change what the story is about.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The release of every node that [`Plan::others`] does not name.
    pub suite: Suite,
    /// Nodes of another release, by their short name.
    pub others: BTreeMap<&'static str, Suite>,
    /// How names are written.
    pub names: Names,
    /// A frontend's keep-alive period and reconnect delay, in seconds. Cyrus's default is 20.
    pub retry_delay: u32,
    /// Whether backends run `ctl_mboxlist -m` before they start.
    pub mboxlist_at_start: bool,
    /// The SASL mechanisms that every node offers.
    pub mechanisms: String,
    /// Further lines for every node's imapd.conf.
    pub extra_conf: String,
    /// A directory of the host from which the master runs, on a copy of its image's files: for benchmarks, which
    /// must not measure the engine's layers. Where those are a FUSE, every `stat` of Cyrus's costs a round trip.
    pub plain_root: Option<PathBuf>,
}

impl Plan {
    /// What Debian would install, on one release.
    pub fn new(suite: Suite) -> Self {
        Self {
            suite,
            others: BTreeMap::new(),
            names: Names::default(),
            retry_delay: 20,
            mboxlist_at_start: false,
            mechanisms: "PLAIN".to_owned(),
            extra_conf: String::new(),
            plain_root: None,
        }
    }

    /// [`Plan::new`] for the suite that `MURDER_SUITE` names.
    pub fn chosen() -> Result<Self> {
        Suite::chosen().map(Self::new)
    }

    /// The release of a node.
    pub fn suite_of(&self, node: &str) -> Suite {
        self.others.get(node).copied().unwrap_or(self.suite)
    }

    /// A murder with nodes of other releases.
    pub fn mixed(mut self, others: impl IntoIterator<Item = (&'static str, Suite)>) -> Self {
        self.others.extend(others);
        self
    }

    /// A murder that writes names so.
    pub fn naming(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// Every release that is in it.
    pub fn suites(&self) -> BTreeSet<Suite> {
        self.others.values().copied().chain([self.suite]).collect()
    }

    /// A murder whose frontends notice and reconnect after `seconds` rather than 20. With fewer than 2 Cyrus
    /// divides by zero when it loses its mupdate server, so that its slave dies.
    pub fn retrying_after(mut self, seconds: u32) -> Self {
        assert!(seconds >= 2, "that would kill the frontends' slaves");
        self.retry_delay = seconds;
        self
    }
}
