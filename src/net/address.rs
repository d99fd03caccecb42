//! Where to listen and whom to trust, as people write it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de::Error as _};

/// Where to listen: `address:port`, or `unix:/path`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// An address and port.
    Tcp(SocketAddr),
    /// A socket in the file system; who may open it may deliver.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => {
                Err(format!("{text:?}: a socket needs an absolute path, such as \"unix:/run/ravenry/lmtp\""))
            }
            None => text.parse().map(Self::Tcp).map_err(|_| {
                format!("{text:?} is neither an address such as \"0.0.0.0:24\" nor \"unix:/path\"")
            }),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A network, `192.0.2.0/24` or a single address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// The network that an address of it and its length in bits make; `None` when it would be longer than an address.
    pub fn new(address: IpAddr, bits: u32) -> Option<Self> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether an address is in it. An IPv4 address may come as IPv6 (`::ffff:192.0.2.1`).
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differing = u32::from(ours) ^ u32::from(theirs);
                differing.leading_zeros() >= self.bits
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differing = u128::from(ours) ^ u128::from(theirs);
                differing.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no network such as \"192.0.2.0/24\"");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        Self::new(address, bits).ok_or_else(wrong)
    }
}

/// Whom to trust: a network, or one of the words `private` and `attached`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// This network.
    Network(Network),
    /// Loopback, private, shared and link-local addresses (RFC 1918, 3927, 4193, 4291, 6598).
    Private,
    /// The networks that this host is on, and so its own addresses.
    Attached,
}

impl Trust {
    /// Whether an address is trusted.
    pub fn holds(&self, address: IpAddr) -> bool {
        match self {
            Self::Network(network) => network.holds(address),
            Self::Private => match address.to_canonical() {
                IpAddr::V4(v4) => {
                    let shared =
                        v4.octets().first() == Some(&100) && v4.octets().get(1).is_some_and(|b| b >> 6 == 1);
                    v4.is_loopback() || v4.is_private() || v4.is_link_local() || shared
                }
                IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
            },
            Self::Attached => super::attached::networks().iter().any(|network| network.holds(address)),
        }
    }
}

impl FromStr for Trust {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "private" => Ok(Self::Private),
            "attached" => Ok(Self::Attached),
            network => network
                .parse()
                .map(Self::Network)
                .map_err(|error: String| format!("{error}, nor \"private\" or \"attached\"")),
        }
    }
}

macro_rules! deserialize_from_str {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

deserialize_from_str!(Listen, Trust);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().holds(address.parse().unwrap())
        };
        assert!(holds("172.16.0.0/12", "172.30.1.2") && !holds("172.16.0.0/12", "172.32.0.1"));
        assert!(holds("192.0.2.1", "192.0.2.1") && !holds("192.0.2.1", "192.0.2.2"));
        assert!(holds("0.0.0.0/0", "192.0.2.2") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("fc00::/7", "fd12::1") && !holds("fc00::/7", "2001:db8::1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        let private = |address: &str| Trust::Private.holds(address.parse().unwrap());
        assert!(
            ["127.0.0.1", "10.1.2.3", "172.30.1.2", "100.64.0.1", "::1", "fd12::1", "fe80::1"].map(private)
                == [true; 7]
        );
        assert!(["192.0.2.1", "100.128.0.1", "172.32.0.1", "2001:db8::1"].map(private) == [false; 4]);
        assert_eq!("private".parse(), Ok(Trust::Private));
        for wrong in ["10.0.0.0/33", "10.0.0/8", "", "x", "::/129", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_listens_on_addresses_and_sockets() {
        assert_eq!("0.0.0.0:24".parse(), Ok(Listen::Tcp(SocketAddr::from(([0, 0, 0, 0], 24)))));
        assert_eq!("unix:/run/x".parse(), Ok(Listen::Unix("/run/x".into())));
        assert!("unix:x".parse::<Listen>().is_err() && "localhost:24".parse::<Listen>().is_err());
    }
}
