//! Extended communities (RFC 4360, RFC 5668, RFC 5701) and the one that says how much a link carries (RFC 10005).
//!
//! As text: `rt:65000:1` and `ro:10.0.0.1:1` (route target and route origin; an AS number above 65535 takes the four-octet form of
//! RFC 5668), `link-bandwidth:65000:10G`, and `0x` with sixteen digits for all others.

use super::attrs::{Attrs, flag, kind, with};
use crate::types::Asn;
use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// First octet: not to leave the AS (RFC 4360 §2).
const NON_TRANSITIVE: u8 = 0x40;
/// RFC 4360 §3.1.
const TWO_OCTET_AS: u8 = 0x00;
/// RFC 4360 §3.2.
const ADDRESS: u8 = 0x01;
/// RFC 5668 §2.
const FOUR_OCTET_AS: u8 = 0x02;
/// RFC 4360 §4.
pub(crate) const ROUTE_TARGET: u8 = 0x02;
/// RFC 4360 §5.
pub(crate) const ROUTE_ORIGIN: u8 = 0x03;
/// RFC 10005 §2.
const LINK_BANDWIDTH: u8 = 0x04;
/// Units of a bandwidth as people write it, bits per second.
const UNITS: [(char, f64); 4] = [('T', 1e12), ('G', 1e9), ('M', 1e6), ('K', 1e3)];

/// One extended community (RFC 4360 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtCommunity(pub [u8; 8]);

impl ExtCommunity {
    /// Whether it may leave the AS.
    #[must_use]
    pub const fn is_transitive(self) -> bool {
        self.0[0] & NON_TRANSITIVE == 0
    }

    /// The link bandwidth that it says, of either type (RFC 10005 §3.2); `None` for other communities, and for one to be ignored
    /// because its number is negative (RFC 10005 §4) or none that a link can have: infinite, or not a number, of which the RFC is silent.
    #[must_use]
    pub fn link_bandwidth(self) -> Option<Bandwidth> {
        let Self([_, _, _, _, rate @ ..]) = self;
        self.is_link_bandwidth().then(|| Bandwidth::new(f32::from_be_bytes(rate))).flatten()
    }

    /// Whether it is a link bandwidth, with any number.
    const fn is_link_bandwidth(self) -> bool {
        self.0[0] & !NON_TRANSITIVE == TWO_OCTET_AS && self.0[1] == LINK_BANDWIDTH
    }

    /// A link bandwidth, said by an AS (RFC 10005 §2: two octets; AS_TRANS for a number that does not fit).
    #[must_use]
    pub fn of_bandwidth(asn: Asn, rate: Bandwidth, transitive: bool) -> Self {
        let kind = if transitive { TWO_OCTET_AS } else { NON_TRANSITIVE };
        let [high, low] = u16::try_from(asn.0).unwrap_or(23_456).to_be_bytes();
        let [a, b, c, d] = rate.0.to_be_bytes();
        Self([kind, LINK_BANDWIDTH, high, low, a, b, c, d])
    }

    /// A route target or route origin of an AS.
    fn of_asn(sub: u8, asn: u32, value: u32) -> Option<Self> {
        let value = value.to_be_bytes();
        if let Ok(asn) = u16::try_from(asn) {
            let [high, low] = asn.to_be_bytes();
            return Some(Self([TWO_OCTET_AS, sub, high, low, value[0], value[1], value[2], value[3]]));
        }
        let [a, b, c, d] = asn.to_be_bytes();
        let [0, 0, high, low] = value else {
            return None;
        };
        Some(Self([FOUR_OCTET_AS, sub, a, b, c, d, high, low]))
    }
}

impl fmt::Display for ExtCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, sub, a, b, c, d, e, g] = self.0;
        if let Some(rate) = self.link_bandwidth() {
            let inside = if self.is_transitive() { "" } else { " non-transitive" };
            return write!(f, "link-bandwidth:{}:{rate}{inside}", u16::from_be_bytes([a, b]));
        }
        let name = match sub {
            ROUTE_TARGET => "rt",
            ROUTE_ORIGIN => "ro",
            _ => "",
        };
        match kind {
            TWO_OCTET_AS if !name.is_empty() => {
                write!(f, "{name}:{}:{}", u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, g]))
            }
            ADDRESS if !name.is_empty() => {
                write!(f, "{name}:{}:{}", Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([e, g]))
            }
            FOUR_OCTET_AS if !name.is_empty() => {
                write!(f, "{name}:{}:{}", u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, g]))
            }
            _ => write!(f, "{:#018x}", u64::from_be_bytes(self.0)),
        }
    }
}

impl FromStr for ExtCommunity {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Some(digits) = text.strip_prefix("0x") {
            let word = (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten();
            return word.map(|word| Self(word.to_be_bytes())).ok_or(());
        }
        let mut parts = text.split(':');
        let (Some(name), Some(by), Some(value), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(());
        };
        let sub = match name {
            "rt" => ROUTE_TARGET,
            "ro" => ROUTE_ORIGIN,
            "link-bandwidth" => {
                let (rate, transitive) =
                    value.strip_suffix(" non-transitive").map_or((value, true), |rate| (rate, false));
                let (asn, rate) = (by.parse().map_err(|_| ())?, rate.parse()?);
                return Ok(Self::of_bandwidth(Asn(asn), rate, transitive));
            }
            _ => return Err(()),
        };
        if let Ok(address) = by.parse::<Ipv4Addr>() {
            let [a, b, c, d] = address.octets();
            let [high, low] = value.parse::<u16>().map_err(|_| ())?.to_be_bytes();
            return Ok(Self([ADDRESS, sub, a, b, c, d, high, low]));
        }
        let (asn, value) = (by.parse().map_err(|_| ())?, value.parse().map_err(|_| ())?);
        Self::of_asn(sub, asn, value).ok_or(())
    }
}

/// How much a link carries, octets per second as the wire says it (RFC 10005 §2). Never negative, never infinite.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Bandwidth(f32);

impl Bandwidth {
    /// Octets per second.
    #[must_use]
    pub const fn octets_per_s(self) -> f32 {
        self.0
    }

    /// From octets per second, if a link can have that.
    #[must_use]
    pub fn new(octets_per_s: f32) -> Option<Self> {
        // The sum makes a plain zero of a negative one, which is as valid (RFC 10005 §4).
        (octets_per_s.is_finite() && octets_per_s >= 0.0).then_some(Self(octets_per_s + 0.0))
    }

    /// What several links carry together; as exact as one of them, in whatever order they come.
    #[must_use]
    pub fn sum(all: impl Iterator<Item = Self>) -> Self {
        let sum: f64 = all.map(|one| f64::from(one.0)).sum();
        #[expect(clippy::cast_possible_truncation, reason = "rounds")]
        let sum = sum.min(f64::from(f32::MAX)) as f32;
        Self(sum)
    }

    /// Bits per second, as people count.
    #[must_use]
    pub fn bits_per_s(self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is never negative")]
        let bits = (f64::from(self.0) * 8.0).round() as u64;
        bits
    }
}

// Never a NaN.
impl Eq for Bandwidth {}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = f64::from(self.0) * 8.0;
        let unit = UNITS.iter().find(|(_, size)| bits >= *size * 0.999_5);
        let (number, name) = unit.map_or((bits, String::new()), |(name, size)| (bits / size, name.to_string()));
        // Three digits behind the point at most: a float of four octets knows seven in all.
        let number = format!("{number:.3}");
        write!(f, "{}{name}", number.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl FromStr for Bandwidth {
    type Err = ();

    /// `10G`, `2.5G`, `400M`, or bits per second.
    fn from_str(text: &str) -> Result<Self, ()> {
        let unit = UNITS.iter().find_map(|(name, size)| Some((text.strip_suffix(*name)?, *size)));
        let (number, size) = unit.unwrap_or((text, 1.0));
        if !number.chars().all(|digit| digit.is_ascii_digit() || digit == '.') {
            return Err(());
        }
        let bits: f64 = number.parse().map_err(|_| ())?;
        #[expect(clippy::cast_possible_truncation, reason = "the wire has four octets")]
        let octets = (bits * size / 8.0) as f32;
        Self::new(octets).ok_or(())
    }
}

impl Attrs<'_> {
    /// EXTENDED COMMUNITIES.
    pub fn ext_communities(self) -> impl Iterator<Item = ExtCommunity> {
        let value = self.value(kind::EXTENDED_COMMUNITIES).unwrap_or_default();
        value.as_chunks::<8>().0.iter().copied().map(ExtCommunity)
    }

    /// The link bandwidth: the lowest of several, zero included, whether they may leave the AS or not (RFC 10005 §4).
    #[must_use]
    pub fn link_bandwidth(self) -> Option<Bandwidth> {
        let all = self.ext_communities().filter_map(ExtCommunity::link_bandwidth);
        all.min_by(|a, b| a.0.total_cmp(&b.0))
    }
}

/// The block without what must not leave the AS: non-transitive extended communities of both kinds (RFC 4360 §6, RFC 5701 §2).
#[must_use]
pub fn outside(block: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Cow::Borrowed(block);
    for (kind, width) in [(kind::EXTENDED_COMMUNITIES, 8), (kind::IPV6_EXTENDED_COMMUNITIES, 20)] {
        let stays = |one: &&[u8]| one.first().is_some_and(|first| first & NON_TRANSITIVE == 0);
        let found = Attrs(block).iter().find(|attr| attr.kind == kind);
        if let Some(attr) = found.filter(|attr| !attr.value.chunks_exact(width).all(|one| stays(&one))) {
            let left: Vec<u8> = attr.value.chunks_exact(width).filter(stays).flatten().copied().collect();
            out = Cow::Owned(with(&out, attr.flags, kind, (!left.is_empty()).then_some(&left)));
        }
    }
    out
}

/// The block with this link bandwidth in the place of any other, of both types: one left beside it would say something else
/// (RFC 10005 §3.1, §7.1).
#[must_use]
pub fn with_bandwidth(block: &[u8], community: ExtCommunity) -> Vec<u8> {
    let others = Attrs(block).ext_communities().filter(|one| !one.is_link_bandwidth());
    let value: Vec<u8> = others.chain([community]).flat_map(|one| one.0).collect();
    let present = Attrs(block).iter().find(|attr| attr.kind == kind::EXTENDED_COMMUNITIES);
    let flags = present.map_or(flag::OPTIONAL | flag::TRANSITIVE, |attr| attr.flags);
    with(block, flags, kind::EXTENDED_COMMUNITIES, Some(&value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn communities_are_read_as_they_are_written() {
        // RFC 4360 §3.1, §3.2, §4, §5; RFC 5668 §2; RFC 10005 §2.
        for (text, octets) in [
            ("rt:65000:1", [0, 2, 0xfd, 0xe8, 0, 0, 0, 1]),
            ("ro:10.0.0.1:7", [1, 3, 10, 0, 0, 1, 0, 7]),
            ("rt:4200000010:9", [2, 2, 0xfa, 0x56, 0xea, 0x0a, 0, 9]),
            ("link-bandwidth:64600:10G", [0, 4, 0xfc, 0x58, 0x4e, 0x95, 0x02, 0xf9]),
            ("link-bandwidth:64600:0 non-transitive", [0x40, 4, 0xfc, 0x58, 0, 0, 0, 0]),
            ("0x4304000000000001", [0x43, 4, 0, 0, 0, 0, 0, 1]),
        ] {
            assert_eq!(ExtCommunity(octets).to_string(), text);
            assert_eq!(text.parse(), Ok(ExtCommunity(octets)), "{text}");
        }
        for wrong in
            ["rt:1", "rt:1:2:3", "rt:4200000010:70000", "ro:10.0.0.1:70000", "xx:1:2", "0x12", "link-bandwidth:1:-5G"]
        {
            assert_eq!(wrong.parse::<ExtCommunity>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn the_lowest_usable_bandwidth_counts() {
        // RFC 10005 §4
        let block = |rates: &[(u8, f32)]| {
            let value: Vec<u8> =
                rates.iter().flat_map(|(kind, rate)| [&[*kind, 4, 0, 1][..], &rate.to_be_bytes()].concat()).collect();
            with(&[], 0xc0, kind::EXTENDED_COMMUNITIES, Some(&value))
        };
        let of = |rates: &[(u8, f32)]| Attrs(&block(rates)).link_bandwidth().map(Bandwidth::octets_per_s);
        assert_eq!(of(&[(0, 5.0), (0x40, 3.0)]), Some(3.0));
        assert_eq!(of(&[(0, f32::NAN), (0, -1.0), (0, f32::INFINITY), (0, 7.0)]), Some(7.0));
        assert_eq!(of(&[(0, f32::NAN)]), None);
        assert_eq!(of(&[(0, 5.0), (0x40, 0.0)]), Some(0.0), "zero is valid");
        assert_eq!(of(&[(3, 5.0)]), None, "opaque, and something else");
    }

    #[test]
    fn a_negative_zero_is_zero() {
        // RFC 10005 §4: a negative value is ignored, zero is valid; IEEE 754: -0 = 0.
        let community = ExtCommunity([0, 4, 0, 1, 0x80, 0, 0, 0]);
        let zero = community.link_bandwidth().unwrap();
        assert_eq!(zero.octets_per_s().to_bits(), 0);
        assert_eq!(community.to_string(), "link-bandwidth:1:0");
        assert!(community.to_string().parse::<ExtCommunity>().is_ok());
    }

    #[test]
    fn as_trans_stands_for_an_as_number_of_four_octets() {
        // RFC 10005 §2, RFC 6793 §9
        let rate = Bandwidth::new(1.0).unwrap();
        assert_eq!(ExtCommunity::of_bandwidth(Asn(64_600), rate, true).0[..4], [0, 4, 0xfc, 0x58]);
        assert_eq!(ExtCommunity::of_bandwidth(Asn(4_200_000_010), rate, false).0[..4], [0x40, 4, 0x5b, 0xa0]);
    }

    #[test]
    fn what_may_not_leave_the_as_is_left_out() {
        // RFC 4360 §6
        let block = with(&[], 0xe0, 16, Some(&[0x40, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1]));
        let block = with(&block, 0xc0, 25, Some(&[0x40; 20]));
        assert_eq!(*outside(&block), with(&[], 0xe0, 16, Some(&[0, 2, 0, 0, 0, 0, 0, 1])));
        let plain = with(&[], 0xc0, 16, Some(&[0; 8]));
        assert!(matches!(outside(&plain), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn every_community_reads_back_from_its_text(octets in any::<[u8; 8]>()) {
            let community = ExtCommunity(octets);
            let back: ExtCommunity = community.to_string().parse().unwrap();
            match community.link_bandwidth() {
                // Seven digits at most are written.
                Some(_) => prop_assert_eq!(back.is_transitive(), community.is_transitive()),
                None => prop_assert_eq!(back, community),
            }
        }
    }
}
