//! The resolvers of this host, as its `resolv.conf` names them (resolv.conf(5)).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Where resolvers listen.
pub(super) const PORT: u16 = 53;

/// More are not asked, as in the C library.
const RESOLVERS_MAX: usize = 3;

/// The resolvers to ask, in order. Our own addresses are left out: what we ask them would come back to us.
pub(super) fn resolvers(resolv_conf: &str, own: &BTreeSet<SocketAddr>) -> Vec<SocketAddr> {
    let named = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    // One with a scope (`fe80::1%eth0`) is reached through one link only, which no address of ours says.
    let addresses = named.filter_map(|text| text.parse::<IpAddr>().ok()).map(|address| SocketAddr::new(address, PORT));
    addresses.filter(|address| !own.contains(address)).take(RESOLVERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_c_library_does_but_for_our_own() {
        let own = BTreeSet::from([SocketAddr::from(([127, 53, 0, 1], 53))]);
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<String> = resolvers(text, &own).iter().map(|at| at.ip().to_string()).collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("", &[]);
        check("nameserver 10.0.0.2\nnameserver\t2001:db8::1 # the other\n", &["10.0.0.2", "2001:db8::1"]);
        check("# nameserver 10.0.0.2\n;nameserver 10.0.0.3\nsearch nameserver\nnameserver\nnameserver x\n", &[]);
        check("nameserver 127.53.0.1\nnameserver 9.9.9.9\n", &["9.9.9.9"]);
        check("nameserver fe80::1%eth0\n", &[]);
        check(
            "nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4",
            &["1.0.0.1", "1.0.0.2", "1.0.0.3"],
        );
    }
}
