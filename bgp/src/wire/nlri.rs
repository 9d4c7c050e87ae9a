//! Prefixes on the wire: one octet of length in bits, then as many octets as needed (RFC 4271 §4.3, RFC 4760 §5); where that was
//! negotiated, four octets of path identifier in front (RFC 7911 §3).
//!
//! A run is validated once by [`check`]; [`Nlri`] and [`Paths`] then walk it without errors and without allocating.
//! Both are checked loops by hand: as nom parsers they took 1.3 to 4 times as long, and they run once per prefix.

use crate::types::{Family, IpNet, Ipv4Net, Ipv6Net};
use bytes::BufMut;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A validated run of prefixes of one family.
#[derive(Clone, Copy, Debug)]
pub struct Nlri<'a> {
    family: Family,
    bytes: &'a [u8],
}

impl<'a> Nlri<'a> {
    /// Walks `bytes`, which [`check`] has accepted for `family`; anything behind an invalid length is not yielded.
    #[must_use]
    pub const fn new(family: Family, bytes: &'a [u8]) -> Self {
        Self { family, bytes }
    }
}

impl Iterator for Nlri<'_> {
    type Item = IpNet;

    fn next(&mut self) -> Option<IpNet> {
        let (&length, rest) = self.bytes.split_first()?;
        let octets = usize::from(length).div_ceil(8);
        let body = rest.get(..octets)?;
        self.bytes = rest.get(octets..)?;
        // RFC 4271 §4.3: the bits behind the length are irrelevant, so they are cleared.
        match self.family {
            Family::Ipv4Unicast => {
                let mut address = [0; 4];
                address.get_mut(..octets)?.copy_from_slice(body);
                let net = Ipv4Net::new(Ipv4Addr::from(address), length).ok()?;
                Some(IpNet::V4(net.trunc()))
            }
            Family::Ipv6Unicast => {
                let mut address = [0; 16];
                address.get_mut(..octets)?.copy_from_slice(body);
                let net = Ipv6Net::new(Ipv6Addr::from(address), length).ok()?;
                Some(IpNet::V6(net.trunc()))
            }
        }
    }
}

/// A validated run of prefixes that may have path identifiers: yields the identifier, 0 without, and the prefix.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a> {
    prefixes: Nlri<'a>,
    add_path: bool,
}

impl<'a> Paths<'a> {
    /// Walks `bytes`, which [`check`] has accepted for `family` and `add_path`.
    #[must_use]
    pub const fn new(family: Family, bytes: &'a [u8], add_path: bool) -> Self {
        Self { prefixes: Nlri::new(family, bytes), add_path }
    }
}

impl Iterator for Paths<'_> {
    type Item = (u32, IpNet);

    fn next(&mut self) -> Option<(u32, IpNet)> {
        if !self.add_path {
            return Some((0, self.prefixes.next()?));
        }
        let (id, rest) = self.prefixes.bytes.split_first_chunk::<4>()?;
        self.prefixes.bytes = rest;
        Some((u32::from_be_bytes(*id), self.prefixes.next()?))
    }
}

/// Whether `bytes` is a well-formed run of prefixes, each behind a path identifier with `add_path`: no length above the family's,
/// nothing cut short (RFC 7606 §5.3).
#[must_use]
pub fn check(family: Family, mut bytes: &[u8], add_path: bool) -> bool {
    let most = match family {
        Family::Ipv4Unicast => 32,
        Family::Ipv6Unicast => 128,
    };
    let id_octets = if add_path { 4 } else { 0 };
    while !bytes.is_empty() {
        let Some((&length, rest)) = bytes.get(id_octets..).and_then(<[u8]>::split_first) else {
            return false;
        };
        let octets = usize::from(length).div_ceil(8);
        if length > most || rest.len() < octets {
            return false;
        }
        bytes = rest.get(octets..).unwrap_or_default();
    }
    true
}

/// What stands in a run: a prefix, or a path identifier and a prefix.
pub trait Item {
    /// The prefix.
    fn prefix(&self) -> &IpNet;

    /// The identifier in front of it (RFC 7911 §3).
    fn path_id(&self) -> Option<u32>;
}

impl Item for IpNet {
    fn prefix(&self) -> &IpNet {
        self
    }

    fn path_id(&self) -> Option<u32> {
        None
    }
}

impl Item for (u32, IpNet) {
    fn prefix(&self) -> &IpNet {
        &self.1
    }

    fn path_id(&self) -> Option<u32> {
        Some(self.0)
    }
}

/// Octets that `item` takes on the wire.
#[must_use]
pub fn encoded_len(item: &impl Item) -> usize {
    let id_octets = if item.path_id().is_some() { 4 } else { 0 };
    id_octets + 1 + usize::from(item.prefix().prefix_len()).div_ceil(8)
}

/// Appends `item`.
pub fn put(item: &impl Item, buf: &mut impl BufMut) {
    if let Some(id) = item.path_id() {
        buf.put_u32(id);
    }
    let prefix = item.prefix();
    let octets = usize::from(prefix.prefix_len()).div_ceil(8);
    buf.put_u8(prefix.prefix_len());
    match prefix {
        IpNet::V4(net) => buf.put_slice(&net.network().octets()[..octets]),
        IpNet::V6(net) => buf.put_slice(&net.network().octets()[..octets]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bits_behind_the_length_are_cleared() {
        // RFC 4271 §4.3
        let run = [20, 10, 1, 0xff];
        assert!(check(Family::Ipv4Unicast, &run, false));
        let all: Vec<_> = Nlri::new(Family::Ipv4Unicast, &run).collect();
        assert_eq!(all, ["10.1.240.0/20".parse().unwrap()]);
    }

    #[test]
    fn a_length_above_the_family_or_a_cut_prefix_is_refused() {
        // RFC 7606 §5.3
        assert!(!check(Family::Ipv4Unicast, &[33, 1, 2, 3, 4, 5], false));
        assert!(!check(Family::Ipv4Unicast, &[24, 10, 0], false));
        assert!(!check(Family::Ipv6Unicast, &[129], false));
        assert!(check(Family::Ipv4Unicast, &[0], false));
        assert!(check(Family::Ipv4Unicast, &[], false));
    }

    #[test]
    fn an_identifier_without_a_prefix_behind_it_is_refused() {
        // RFC 7911 §3
        assert!(check(Family::Ipv4Unicast, &[0, 0, 0, 1, 8, 10, 0, 0, 0, 2, 0], true));
        assert!(!check(Family::Ipv4Unicast, &[0, 0, 0, 1, 8, 10, 0, 0, 0, 2], true));
        assert!(!check(Family::Ipv4Unicast, &[0, 0, 0], true));
        assert!(!check(Family::Ipv4Unicast, &[0, 0, 0, 1, 33, 1, 2, 3, 4, 5], true));
    }

    proptest! {
        #[test]
        fn what_is_put_is_read_again(v4 in any::<(u32, u8)>(), v6 in any::<(u128, u8)>(), id in any::<u32>()) {
            let v4 = IpNet::V4(Ipv4Net::new(Ipv4Addr::from(v4.0), v4.1 % 33).unwrap().trunc());
            let v6 = IpNet::V6(Ipv6Net::new(Ipv6Addr::from(v6.0), v6.1 % 129).unwrap().trunc());
            for prefix in [v4, v6] {
                let mut buf = Vec::new();
                put(&prefix, &mut buf);
                prop_assert_eq!(buf.len(), encoded_len(&prefix));
                prop_assert!(check(Family::of(&prefix), &buf, false));
                let back: Vec<_> = Nlri::new(Family::of(&prefix), &buf).collect();
                prop_assert_eq!(back, vec![prefix]);
                buf.clear();
                put(&(id, prefix), &mut buf);
                prop_assert_eq!(buf.len(), encoded_len(&(id, prefix)));
                prop_assert!(check(Family::of(&prefix), &buf, true));
                let back: Vec<_> = Paths::new(Family::of(&prefix), &buf, true).collect();
                prop_assert_eq!(back, vec![(id, prefix)]);
            }
        }

        #[test]
        fn any_bytes_are_walked_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for family in Family::ALL {
                for add_path in [false, true] {
                    let count = Paths::new(family, &bytes, add_path).count();
                    prop_assert!(count <= bytes.len());
                    prop_assert!(!check(family, &bytes, add_path) || count > 0 || bytes.is_empty());
                }
            }
        }
    }
}
