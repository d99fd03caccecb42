//! The networks that this host is on, as the kernel tells them.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::address::Network;

/// The networks of this host's interfaces, now. What cannot be read is left out.
pub(super) fn networks() -> Vec<Network> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut all = of_routes(&read("/proc/net/route"));
    all.extend(of_addresses(&read("/proc/net/if_inet6")));
    all
}

/// `/proc/net/route`: interface, destination, gateway, flags, …, mask (field 7), the numbers in the host's byte order.
/// A route without a gateway leads to a network that the host is on.
fn of_routes(text: &str) -> Vec<Network> {
    let network = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok().map(u32::from_be);
        let (destination, gateway, mask) = (number(1)?, number(2)?, number(7)?);
        (gateway == 0 && mask != 0)
            .then(|| Network::new(Ipv4Addr::from(destination).into(), mask.leading_ones()))
            .flatten()
    };
    text.lines().skip(1).filter_map(network).collect()
}

/// `/proc/net/if_inet6`: address, index, bits of the network, scope …, in hexadecimal.
fn of_addresses(text: &str) -> Vec<Network> {
    let network = |line: &str| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        let bits = u32::from_str_radix(fields.nth(1)?, 16).ok()?;
        Network::new(Ipv6Addr::from(address).into(), bits)
    };
    text.lines().filter_map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_read() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let expected: Network = "192.0.2.0/24".parse().unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(of_routes(routes), [expected]);
        }
        let addresses = "20010db8000000000000000000000001 02 40 00 80     eth0\n";
        let [network] = of_addresses(addresses)[..] else { panic!() };
        assert!(network.holds("2001:db8::beef".parse().unwrap()));
        assert!(!network.holds("2001:db8:0:1::1".parse().unwrap()));
        assert!(of_routes("garbage\nmore\n").is_empty() && of_addresses("x y z\n").is_empty());
    }
}
