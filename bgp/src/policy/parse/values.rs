//! The leaves of a policy: prefixes with bounds, communities, ranges of numbers, AS path patterns. `None`: it is none.

use crate::policy::change::{SetBandwidth, SetNextHop};
use crate::policy::eval::{ExtPattern, Pattern, PeerIs, Source, Token};
use crate::policy::sets::Entry;
use crate::rpki::Validity;
use crate::types::{Asn, Family, IpNet};
use crate::wire::community::{Bandwidth, ExtCommunity};
use serde_json::Value;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Names of RFC 1997, RFC 7999, RFC 8326 and RFC 9494, with their values.
const WELL_KNOWN: [(&str, u32); 6] = [
    ("graceful-shutdown", 0xffff_0000),
    ("llgr-stale", 0xffff_0006),
    ("no-llgr", 0xffff_0007),
    ("blackhole", 0xffff_029a),
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
];

/// `10.0.0.0/8`, `… ge 16`, `… le 24`, `… ge 16 le 24`; or what is wrong with it and what to write.
pub(super) fn prefix(text: &str) -> Result<Entry, (String, String)> {
    let mut words = text.split_ascii_whitespace();
    let net: IpNet = words.next().and_then(|word| word.parse().ok()).ok_or_else(|| {
        (format!("`{text}` is no prefix"), "write 10.69.0.0/26, or \"10.69.0.0/16 ge 24 le 32\"".to_owned())
    })?;
    if net.trunc() != net {
        let message = format!("{net} has bits set beyond its length");
        return Err((message, format!("write {} or {}", net.trunc(), IpNet::from(net.addr()))));
    }
    let (mut ge, mut le) = (None, None);
    while let Some(word) = words.next() {
        let bound = words.next().and_then(|number| number.parse::<u8>().ok());
        match (word, bound) {
            ("ge", Some(bound)) if ge.is_none() => ge = Some(bound),
            ("le", Some(bound)) if le.is_none() => le = Some(bound),
            _ => {
                return Err((
                    format!("`{text}`: after the prefix come `ge N` and `le N`"),
                    format!("write \"{net} ge {}\"", net.prefix_len()),
                ));
            }
        }
    }
    // Without bounds exactly this prefix; `ge` alone reaches to host routes, `le` alone starts at the prefix's own length.
    let most = net.max_prefix_len();
    let own = net.prefix_len();
    let upper = le.unwrap_or_else(|| if ge.is_some() { most } else { own });
    let lower = ge.unwrap_or(own);
    if lower < own || upper > most || lower > upper {
        let message = format!("`{text}`: lengths {lower} to {upper} are not within {own} to {most}");
        return Err((message, format!("keep {own} <= ge <= le <= {most}")));
    }
    Ok(Entry { net, ge: lower, le: upper })
}

/// A number, or `"ge N"`, `"le N"`, `"ge N le M"`.
pub(super) fn range(value: &Value) -> Option<RangeInclusive<u32>> {
    if let Some(number) = number(value) {
        return Some(number..=number);
    }
    let (mut ge, mut le) = (None, None);
    let mut words = value.as_str()?.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let bound: u32 = words.next()?.parse().ok()?;
        match word {
            "ge" if ge.is_none() => ge = Some(bound),
            "le" if le.is_none() => le = Some(bound),
            _ => return None,
        }
    }
    let any = ge.is_some() || le.is_some();
    let range = ge.unwrap_or(0)..=le.unwrap_or(u32::MAX);
    (any && !range.is_empty()).then_some(range)
}

pub(super) fn number(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

pub(super) fn asn(value: &Value) -> Option<Asn> {
    number(value).filter(|asn| *asn > 0).map(Asn)
}

/// `65000:1`, `65000:*`, or a well-known name.
pub(super) fn community_pattern(value: &Value) -> Option<Pattern<2>> {
    let text = value.as_str()?;
    if let Some((_, word)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
        return Some(Pattern([Some(word >> 16), Some(word & 0xffff)]));
    }
    let pattern = parts::<2>(text)?;
    pattern.0.iter().flatten().all(|part| *part <= 0xffff).then_some(pattern)
}

/// `4200000010:1:2`, each part may be `*`.
pub(super) fn large_pattern(value: &Value) -> Option<Pattern<3>> {
    parts(value.as_str()?)
}

fn parts<const N: usize>(text: &str) -> Option<Pattern<N>> {
    let mut words = text.split(':');
    let mut pattern = [None; N];
    for part in &mut pattern {
        let word = words.next()?;
        *part = if word == "*" { None } else { Some(word.parse().ok()?) };
    }
    words.next().is_none().then_some(Pattern(pattern))
}

pub(super) fn community(value: &Value) -> Option<u32> {
    let Pattern([Some(high), Some(low)]) = community_pattern(value)? else {
        return None;
    };
    Some(high << 16 | low)
}

pub(super) fn large_community(value: &Value) -> Option<[u32; 3]> {
    let Pattern([Some(global), Some(one), Some(two)]) = large_pattern(value)? else {
        return None;
    };
    Some([global, one, two])
}

/// `rt:65000:1`, `ro:10.0.0.1:1`, `link-bandwidth:65000:10G`, `0x…`.
pub(super) fn ext_community(value: &Value) -> Option<ExtCommunity> {
    value.as_str()?.parse().ok()
}

/// The same, or `rt:65000:*`, `rt:*`, `link-bandwidth:*`, `link-bandwidth:* transitive`, `link-bandwidth:* non-transitive`.
pub(super) fn ext_pattern(value: &Value) -> Option<Vec<ExtPattern>> {
    let text = value.as_str()?;
    // RFC 10005 §7.1: a neighbour that knows one type only leaves a wrong number in the other.
    for (one_type, kind) in [("link-bandwidth:* transitive", 0x00), ("link-bandwidth:* non-transitive", 0x40)] {
        if text == one_type {
            return Some(vec![of_type(kind, LINK_BANDWIDTH)]);
        }
    }
    let Some(front) = text.strip_suffix(":*") else {
        let community: ExtCommunity = text.parse().ok()?;
        return Some(vec![ExtPattern { mask: u64::MAX, value: u64::from_be_bytes(community.0) }]);
    };
    // RFC 4360 §3, RFC 5668: who assigned the value stands in two octets or in four, by the type.
    let (types, sub): (&[u64], u64) = match front {
        "rt" => (&[0, 1, 2], 2),
        "ro" => (&[0, 1, 2], 3),
        "link-bandwidth" => (&[0, 0x40], LINK_BANDWIDTH),
        _ => {
            let word = u64::from_be_bytes(format!("{front}:0").parse::<ExtCommunity>().ok()?.0);
            let mask = if word >> 56 == 0 { !0 << 32 } else { !0 << 16 };
            return (!front.starts_with("0x")).then(|| vec![ExtPattern { mask, value: word & mask }]);
        }
    };
    Some(types.iter().map(|kind| of_type(*kind, sub)).collect())
}

/// Sub-type of link bandwidth communities (RFC 10005 §2).
const LINK_BANDWIDTH: u64 = 4;

/// Every community of a type and sub-type.
const fn of_type(kind: u64, sub: u64) -> ExtPattern {
    ExtPattern { mask: !0 << 48, value: kind << 56 | sub << 48 }
}

/// `10G`, or a number of bits per second.
fn bandwidth(value: &Value) -> Option<Bandwidth> {
    value.as_str().map_or_else(|| value.as_u64()?.to_string().parse().ok(), |text| text.parse().ok())
}

/// `10G`, above zero.
pub(super) fn some_bandwidth(value: &Value) -> Option<Bandwidth> {
    bandwidth(value).filter(|bandwidth| bandwidth.octets_per_s() > 0.0)
}

/// `10G`, `"ge 10G"`, `"ge 10G le 400G"`, in bits per second.
pub(super) fn bandwidth_range(value: &Value) -> Option<RangeInclusive<u64>> {
    if let Some(exact) = bandwidth(value) {
        // As exact as the four octets on the wire are.
        return Some(exact.bits_per_s()..=exact.bits_per_s());
    }
    let (mut ge, mut le) = (None, None);
    let mut words = value.as_str()?.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let bound: Bandwidth = words.next()?.parse().ok()?;
        match word {
            "ge" if ge.is_none() => ge = Some(bound.bits_per_s()),
            "le" if le.is_none() => le = Some(bound.bits_per_s()),
            _ => return None,
        }
    }
    let any = ge.is_some() || le.is_some();
    let range = ge.unwrap_or(0)..=le.unwrap_or(u64::MAX);
    (any && !range.is_empty()).then_some(range)
}

/// `10G`, `cumulative`; ` non-transitive` may follow.
pub(super) fn set_bandwidth(value: &Value) -> Option<SetBandwidth> {
    let text = value.as_str().unwrap_or_default();
    let (text, transitive) = text.strip_suffix(" non-transitive").map_or((text, true), |text| (text, false));
    if text == "cumulative" {
        return Some(SetBandwidth { rate: None, transitive });
    }
    let rate = if value.is_string() { text.parse().ok() } else { bandwidth(value) };
    rate.map(|rate| SetBandwidth { rate: Some(rate), transitive })
}

/// `"64599 * 64600"`; an empty text is the empty path.
pub(super) fn path_pattern(value: &Value) -> Option<Vec<Token>> {
    let token = |word: &str| match word {
        "*" => Some(Token::Run),
        "?" => Some(Token::One),
        number => number.parse().ok().filter(|asn| *asn > 0).map(|asn| Token::Is(Asn(asn))),
    };
    value.as_str()?.split_ascii_whitespace().map(token).collect()
}

/// A peer's address, a range of addresses, or its name.
pub(super) fn peer(value: &Value) -> Option<PeerIs> {
    let text = value.as_str()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(PeerIs::Within(address.into()));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        return Some(PeerIs::Within(net));
    }
    (!text.is_empty()).then(|| PeerIs::Named(text.to_owned()))
}

pub(super) fn address_or_net(value: &Value) -> Option<IpNet> {
    let text = value.as_str()?;
    text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse()).ok()
}

pub(super) fn next_hop(value: &Value) -> Option<SetNextHop> {
    match value.as_str()? {
        "self" => Some(SetNextHop::Me),
        "peer" => Some(SetNextHop::Peer),
        text => text.parse().ok().map(SetNextHop::Address),
    }
}

pub(super) fn validity(value: &Value) -> Option<Validity> {
    match value.as_str()? {
        "valid" => Some(Validity::Valid),
        "invalid" => Some(Validity::Invalid),
        "not-found" => Some(Validity::NotFound),
        _ => None,
    }
}

pub(super) fn origin(value: &Value) -> Option<u8> {
    let names = ["igp", "egp", "incomplete"];
    let at = names.iter().position(|name| value.as_str() == Some(name))?;
    u8::try_from(at).ok()
}

pub(super) fn family(value: &Value) -> Option<Family> {
    match value.as_str()? {
        "ipv4" => Some(Family::Ipv4Unicast),
        "ipv6" => Some(Family::Ipv6Unicast),
        _ => None,
    }
}

pub(super) fn source(value: &Value) -> Option<Source> {
    match value.as_str()? {
        "local" => Some(Source::Local),
        "aggregate" => Some(Source::Aggregate),
        "ebgp" => Some(Source::Ebgp),
        "ibgp" => Some(Source::Ibgp),
        _ => None,
    }
}
