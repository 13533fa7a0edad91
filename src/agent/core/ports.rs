//! Which port to give out next.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// A set of ports.
pub(super) type Ports = BTreeSet<u16>;

/// The first port of `range` that is not in `taken`, starting at a place that `seed` says: neighbours on one host (other clusters,
/// tests) then rarely ask for the same one. `None` if all are taken.
pub(super) fn pick(range: &RangeInclusive<u16>, seed: u128, taken: &Ports) -> Option<u16> {
    let count = u128::from(range.end().checked_sub(*range.start())?) + 1;
    let offset = seed % count;
    let at = |step: u128| u16::try_from((offset + step) % count).ok().map(|index| range.start() + index);
    (0..count).filter_map(at).find(|port| !taken.contains(port))
}

#[cfg(test)]
mod tests {
    use super::{Ports, pick};

    #[test]
    fn a_port_is_given_once_and_from_the_whole_range() {
        let mut taken = Ports::new();
        for _ in 0..11 {
            let port = pick(&(100..=110), 7, &taken).expect("one is free");
            assert!((100..=110).contains(&port));
            assert!(taken.insert(port), "{port} was given twice");
        }
        assert_eq!(pick(&(100..=110), 7, &taken), None);
    }
}
