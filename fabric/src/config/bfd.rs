//! `bfd`, as written in the file and as the node runs on it: per peer, per group, or at the top for all peers.

use super::file::{Config, Peer};
use super::node::Faults;
use crate::bfd::Timers;
use ipnet::IpNet;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use std::collections::BTreeMap;
use std::fmt;

/// Interval and multiplier of who only says `bfd: true`: a failure is seen within a second, and no busy machine is taken for a dead one.
const INTERVAL: Interval = Interval(300_000);
const MULTIPLIER: u8 = 3;
/// Shorter is what no scheduler keeps, longer is what BGP's own timers do.
const LEAST: Interval = Interval(10_000);
const MOST: Interval = Interval(60_000_000);

/// `bfd: true`, or with what differs from the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bfd {
    /// With the defaults, or not at all.
    Is(bool),
    /// With options.
    With(BfdOptions),
}

/// `bfd` as a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BfdOptions {
    /// How often both ends send; 300 ms unless set.
    pub interval: Option<Interval>,
    /// Packets that may be missed; 3 unless set.
    pub multiplier: Option<u8>,
    /// A failure keeps the routes of a peer with graceful restart, as if it was restarting.
    #[serde(default)]
    pub graceful: bool,
    /// No session with the peer before BFD is Up.
    #[serde(default)]
    pub strict: bool,
}

/// What the node runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdConfig {
    /// Intervals and multiplier.
    pub timers: Timers,
    /// See [`BfdOptions::graceful`].
    pub graceful: bool,
    /// See [`BfdOptions::strict`].
    pub strict: bool,
}

/// Who has BFD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BfdPeers {
    /// Configured peers, by name.
    pub peers: BTreeMap<String, BfdConfig>,
    /// Ranges of `listen`.
    pub ranges: BTreeMap<IpNet, BfdConfig>,
}

impl<'de> Deserialize<'de> for Bfd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Bfd;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or {interval: 300ms, multiplier: 3}")
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Bfd, E> {
                Ok(Bfd::Is(value))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Bfd, A::Error> {
                BfdOptions::deserialize(MapAccessDeserializer::new(map)).map(Bfd::With)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// A time with its unit: `50ms`, `1s`, `1500us`. Microseconds inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(pub u32);

impl Interval {
    fn parse(text: &str) -> Option<Self> {
        let (number, scale) = match text.strip_suffix("ms") {
            Some(number) => (number, 1_000),
            None => match text.strip_suffix("us") {
                Some(number) => (number, 1),
                None => (text.strip_suffix('s')?, 1_000_000),
            },
        };
        number.trim_end().parse::<u32>().ok()?.checked_mul(scale).map(Self)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us if us % 1_000_000 == 0 => write!(f, "{} s", us / 1_000_000),
            us if us % 1_000 == 0 => write!(f, "{} ms", us / 1_000),
            us => write!(f, "{us} us"),
        }
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Interval;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time with its unit, such as 300ms or 1s")
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Interval, E> {
                Interval::parse(value).ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Interval, E> {
                Err(E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// Who has BFD, by the peer's own word, else its group's, else that at the top.
pub(super) fn peers(config: &Config, faults: &mut Faults<'_>) -> BfdPeers {
    if let Some(Bfd::With(options)) = config.bfd {
        check(&options, "bfd", faults);
    }
    for (section, named) in [("peers", &config.peers), ("groups", &config.groups)] {
        for (name, peer) in named {
            if let Some(Bfd::With(options)) = peer.bfd {
                check(&options, &format!("{section}.{name}.bfd"), faults);
            }
        }
    }
    let group =
        |name: &Option<String>| name.as_ref().and_then(|name| config.groups.get(name)).and_then(|group| group.bfd);
    let of = |peer: &Peer| resolve(peer.bfd.or_else(|| group(&peer.group)).or(config.bfd));
    let mut all = BfdPeers::default();
    all.peers.extend(config.peers.iter().filter_map(|(name, peer)| Some((name.clone(), of(peer)?))));
    all.peers.extend(config.uplinks.iter().filter_map(|link| Some((link.clone(), resolve(config.bfd)?))));
    for (index, range) in config.listen.iter().enumerate() {
        let Some(found) = resolve(group(&range.group).or(config.bfd)) else {
            continue;
        };
        if found.strict {
            faults.add(
                &format!("listen[{index}]"),
                "strict BFD needs to know where the peer is before it calls, and a range does not say that",
                "take `strict` from the group's `bfd`, or write these peers under `peers`",
            );
        }
        all.ranges.insert(range.prefix, found);
    }
    all
}

fn resolve(written: Option<Bfd>) -> Option<BfdConfig> {
    let options = match written? {
        Bfd::Is(false) => return None,
        Bfd::Is(true) => BfdOptions::default(),
        Bfd::With(options) => options,
    };
    let us = options.interval.unwrap_or(INTERVAL).0;
    let timers = Timers { transmit_us: us, receive_us: us, multiplier: options.multiplier.unwrap_or(MULTIPLIER) };
    Some(BfdConfig { timers, graceful: options.graceful, strict: options.strict })
}

fn check(options: &BfdOptions, path: &str, faults: &mut Faults<'_>) {
    if let Some(interval) = options.interval
        && !(LEAST..=MOST).contains(&interval)
    {
        let message = if interval < LEAST {
            format!("{interval} is shorter than a busy machine can keep: it would be taken for dead")
        } else {
            format!("{interval} detects nothing that BGP's own hold time does not")
        };
        faults.add(&format!("{path}.interval"), message, format!("write {LEAST} to {MOST}, as 50ms or 300ms"));
    }
    if options.multiplier == Some(0) {
        faults.add(
            &format!("{path}.multiplier"),
            "0 packets missed is always (RFC 5880 §4.1)",
            "write 3, or 1..=255 packets that may be missed",
        );
    }
}
