//! Values that have more than one spelling in the file: `remote_asn: external`, `connect_retry_ms: 1000`, `http: false`, `65000:1`.
//!
//! Each has a visitor of its own, so that a wrong value is answered with the list of right ones.

use super::file::Announce;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::SocketAddr;

/// Which AS a peer may have, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteAsn {
    /// A number.
    Is(u32),
    /// `external`: any but ours.
    External,
    /// `internal`: ours.
    Internal,
    /// A list of numbers.
    OneOf(Vec<u32>),
}

impl<'de> Deserialize<'de> for RemoteAsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = RemoteAsn;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an AS number 1..=4294967295, `external`, `internal` or a list of AS numbers")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<RemoteAsn, E> {
                u32::try_from(value)
                    .map(RemoteAsn::Is)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<RemoteAsn, E> {
                u32::try_from(value)
                    .map(RemoteAsn::Is)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<RemoteAsn, E> {
                match value {
                    "external" => Ok(RemoteAsn::External),
                    "internal" => Ok(RemoteAsn::Internal),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RemoteAsn, A::Error> {
                let mut list = Vec::new();
                while let Some(asn) = seq.next_element()? {
                    list.push(asn);
                }
                Ok(RemoteAsn::OneOf(list))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Announce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Announce;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a prefix, or {prefix: 10.0.0.0/24, communities: [\"65000:1\"]}")
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Announce, E> {
                let prefix = value.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(value), &self))?;
                Ok(Announce { prefix, communities: Vec::new(), large_communities: Vec::new() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Announce, A::Error> {
                // The derived one, of the same name.
                Announce::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// Least and most wait between connection attempts, milliseconds. `1000` alone is `[750, 1000]` (RFC 4271 §10: jitter 0.75 to 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry(pub u32, pub u32);

impl<'de> Deserialize<'de> for Retry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Retry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("milliseconds 1..=3600000, or [least, most]")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Retry, E> {
                let most =
                    u32::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))?;
                Ok(Retry(most - most / 4, most))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Retry, E> {
                match u64::try_from(value) {
                    Ok(value) => self.visit_u64(value),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(value), &self)),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Retry, A::Error> {
                let least = seq.next_element()?;
                let most = seq.next_element()?;
                let more: Option<de::IgnoredAny> = seq.next_element()?;
                match (least, most, more) {
                    (Some(least), Some(most), None) => Ok(Retry(least, most)),
                    _ => Err(de::Error::custom("expected two numbers, [least, most]")),
                }
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// A TCP address to listen on, or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Listen;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address with port such as \"127.0.0.1:9179\", or false")
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Listen, E> {
                if value {
                    return Err(E::invalid_value(de::Unexpected::Bool(true), &self));
                }
                Ok(Listen(None))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Listen, E> {
                value
                    .parse()
                    .map(|address| Listen(Some(address)))
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(value), &self))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// A standard community (RFC 1997) as `65000:1` or one of the well-known names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Community(pub u32);

/// Names of RFC 1997, RFC 7999 and RFC 8326, with their values.
const WELL_KNOWN: [(&str, u32); 4] = [
    ("graceful-shutdown", 0xFFFF_0000),
    ("blackhole", 0xFFFF_029A),
    ("no-export", 0xFFFF_FF01),
    ("no-advertise", 0xFFFF_FF02),
];

impl Community {
    /// Reads a community; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((_, value)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
            return Some(Self(*value));
        }
        let (high, low) = text.split_once(':')?;
        let high: u16 = high.parse().ok()?;
        let low: u16 = low.parse().ok()?;
        Some(Self(u32::from(high) << 16 | u32::from(low)))
    }
}

impl<'de> Deserialize<'de> for Community {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is no community: write \"65000:1\" (two numbers up to 65535) or no-export, no-advertise, blackhole, graceful-shutdown"
            ))
        })
    }
}

impl Serialize for Community {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}:{}", self.0 >> 16, self.0 & 0xFFFF))
    }
}

/// A large community (RFC 8092 §5) as `4200000010:1:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeCommunity(pub [u32; 3]);

impl LargeCommunity {
    /// Reads a large community; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':').map(str::parse::<u32>);
        let value = [parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?];
        parts.next().is_none().then_some(Self(value))
    }
}

impl<'de> Deserialize<'de> for LargeCommunity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is no large community: write \"4200000010:1:2\", three numbers"))
        })
    }
}
