//! The PROXY protocol, versions 1 and 2 (HAProxy's specification, "The PROXY protocol", 2.1 and 2.2): a load
//! balancer's word about whom it speaks for, in front of everything else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, BytesMut};

/// The longest header of version 1.
const MAX_V1: usize = 107;
const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 2 that is taken, with its additional values.
const MAX_V2: usize = 16 + 1024;

/// What a header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// How many bytes it is.
    pub length: usize,
    /// The client's address; `None` when the balancer speaks for itself, or does not say.
    pub source: Option<SocketAddr>,
}

/// The bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY header")]
pub struct NoHeader;

/// Reads a header off the front; `None` while it is not whole.
pub fn proxy_header(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoHeader> {
    let start = bytes.get(..V2.len().min(bytes.len())).unwrap_or_default();
    if V2.starts_with(start) && !start.is_empty() {
        return if start.len() == V2.len() { version_2(bytes) } else { Ok(None) };
    }
    version_1(bytes)
}

fn version_1(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoHeader> {
    const NAME: &[u8] = b"PROXY ";
    let start = bytes.get(..NAME.len().min(bytes.len())).unwrap_or_default();
    if !NAME.starts_with(start) {
        return Err(NoHeader);
    }
    let seen = bytes.get(..MAX_V1.min(bytes.len())).unwrap_or_default();
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MAX_V1 { Ok(None) } else { Err(NoHeader) };
    };
    let line = seen.get(..end).and_then(|line| std::str::from_utf8(line).ok()).ok_or(NoHeader)?;
    let mut words = line.split(' ').skip(1);
    let source = match words.next() {
        Some("UNKNOWN") => None,
        Some(family @ ("TCP4" | "TCP6")) => {
            let mut next = || words.next().ok_or(NoHeader);
            let (source, _, port, _) = (next()?, next()?, next()?, next()?);
            let address: IpAddr = source.parse().map_err(|_| NoHeader)?;
            if address.is_ipv4() != (family == "TCP4") || words.next().is_some() {
                return Err(NoHeader);
            }
            Some(SocketAddr::new(address, port.parse().map_err(|_| NoHeader)?))
        }
        _ => return Err(NoHeader),
    };
    Ok(Some(ProxyHeader { length: end + 2, source }))
}

fn version_2(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoHeader> {
    let Some([command, family, high, low]) = bytes.get(12..16) else { return Ok(None) };
    let length = 16 + usize::from(u16::from_be_bytes([*high, *low]));
    if command >> 4 != 2 || length > MAX_V2 {
        return Err(NoHeader);
    }
    let Some(body) = bytes.get(16..length) else { return Ok(None) };
    let port = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
    let source = match (command & 0xf, family) {
        (0, _) => None,
        (1, 0x11) => {
            let address: [u8; 4] = body.get(..4).and_then(|b| b.try_into().ok()).ok_or(NoHeader)?;
            Some(SocketAddr::new(Ipv4Addr::from(address).into(), port(8).ok_or(NoHeader)?))
        }
        (1, 0x21) => {
            let address: [u8; 16] = body.get(..16).and_then(|b| b.try_into().ok()).ok_or(NoHeader)?;
            Some(SocketAddr::new(Ipv6Addr::from(address).into(), port(32).ok_or(NoHeader)?))
        }
        (1, _) => None,
        _ => return Err(NoHeader),
    };
    Ok(Some(ProxyHeader { length, source }))
}

/// Writes a header of version 2 for a TCP connection. Addresses of two families, which no connection has, are
/// told as unknown.
pub fn put_proxy_v2(out: &mut BytesMut, source: SocketAddr, destination: SocketAddr) {
    out.put_slice(V2);
    out.put_u8(0x21);
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.put_slice(&[0x11, 0, 12]);
            out.put_slice(&from.octets());
            out.put_slice(&to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            out.put_slice(&[0x21, 0, 36]);
            out.put_slice(&from.octets());
            out.put_slice(&to.octets());
        }
        _ => return out.put_slice(&[0, 0, 0]),
    }
    out.put_u16(source.port());
    out.put_u16(destination.port());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn whole(bytes: &[u8]) -> ProxyHeader {
        for end in 0..bytes.len() {
            assert_eq!(proxy_header(&bytes[..end]), Ok(None), "the first {end} bytes");
        }
        let header = proxy_header(bytes).unwrap().unwrap();
        assert_eq!(header.length, bytes.len());
        header
    }

    #[test]
    fn version_1() {
        let source = "192.0.2.1:56324".parse().unwrap();
        assert_eq!(whole(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 143\r\n").source, Some(source));
        assert_eq!(whole(b"PROXY UNKNOWN whatever\r\n").source, None);
        for wrong in [
            "a LOGIN x y\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 x y 1 2\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(proxy_header(wrong.as_bytes()), Err(NoHeader), "{wrong}");
        }
        assert_eq!(proxy_header(&[b"PROXY ".as_slice(), &[b'x'; 200]].concat()), Err(NoHeader));
    }

    #[test]
    fn version_2() {
        for (from, to) in [("192.0.2.1:5", "192.0.2.2:143"), ("[2001:db8::1]:5", "[2001:db8::2]:143")] {
            let mut out = BytesMut::new();
            put_proxy_v2(&mut out, from.parse().unwrap(), to.parse().unwrap());
            assert_eq!(whole(&out).source, Some(from.parse().unwrap()));
        }
        let local = [V2.as_slice(), &[0x20, 0, 0, 0]].concat();
        assert_eq!(whole(&local).source, None);
        let short = [V2.as_slice(), &[0x21, 0x11, 0, 2, 1, 2]].concat();
        assert_eq!(proxy_header(&short), Err(NoHeader));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some(header)) = proxy_header(&bytes) {
                prop_assert!(header.length <= bytes.len());
            }
        }
    }
}
