//! The network that an address of this host is on, as the kernel's table of routes has it.

use crate::model::Cidr;
use std::fs;
use std::net::Ipv4Addr;

/// The table of this network namespace: proc(5).
const ROUTES: &str = "/proc/net/route";

/// The addresses that are on the same link as one of ours; `None` if there is no such link.
pub(super) fn link_of(own: Ipv4Addr) -> Option<Cidr> {
    find(&fs::read_to_string(ROUTES).ok()?, own)
}

fn find(table: &str, own: Ipv4Addr) -> Option<Cidr> {
    let links = table.lines().skip(1).filter_map(link).filter(|link| link.contains(own));
    links.max_by_key(Cidr::prefix)
}

/// A line of the table, if it is a route without a gateway: interface, destination, gateway, flags, three counters, mask. Addresses
/// are in the byte order of the host, with the first byte first in memory.
fn link(line: &str) -> Option<Cidr> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let bits = |index: usize| u32::from_str_radix(words.get(index)?, 16).ok().map(|word| u32::from_be_bytes(word.to_ne_bytes()));
    let (destination, gateway, mask) = (bits(1)?, bits(2)?, bits(7)?);
    let prefix = u8::try_from(mask.leading_ones()).ok()?;
    Cidr::new(Ipv4Addr::from(destination), prefix).filter(|_| gateway == 0 && prefix > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a machine with the bytes in the order of x86 writes it.
    #[cfg(target_endian = "little")]
    const TABLE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
br0\t0001F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t0000F40A\t010011AC\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0
nonsense
";

    #[test]
    #[cfg(target_endian = "little")]
    fn an_address_is_on_the_narrowest_link_that_has_it_and_not_behind_a_gateway() {
        let check = |own: [u8; 4], expected: Option<&str>| {
            assert_eq!(find(TABLE, own.into()).map(|link| link.to_string()).as_deref(), expected, "{own:?}");
        };
        check([10, 244, 1, 1], Some("10.244.1.0/24"));
        check([172, 17, 0, 1], Some("172.17.0.0/16"));
        check([10, 244, 2, 1], None);
        check([192, 0, 2, 1], None);
    }
}
