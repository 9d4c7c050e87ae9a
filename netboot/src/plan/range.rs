//! A set of prefixes as policies write it: `10.72.32.0/20`, or `10.72.32.0/20 ge 32` for everything of that length within.

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A prefix, or those within it of some lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The prefix.
    pub prefix: IpNet,
    /// Least length of what is meant; only the prefix itself unless this or `le` is given.
    pub ge: Option<u8>,
    /// Greatest length.
    pub le: Option<u8>,
}

impl Range {
    /// The prefix alone.
    #[must_use]
    pub const fn exactly(prefix: IpNet) -> Self {
        Self { prefix, ge: None, le: None }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.prefix)?;
        if let Some(ge) = self.ge {
            write!(f, " ge {ge}")?;
        }
        if let Some(le) = self.le {
            write!(f, " le {le}")?;
        }
        Ok(())
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no prefix: write 10.72.32.0/20, or 10.72.32.0/20 ge 24 le 32");
        let mut words = text.split_whitespace();
        let prefix: IpNet = words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
        if prefix != prefix.trunc() {
            return Err(format!("`{text}` has bits beyond its length: write {}", prefix.trunc()));
        }
        let mut range = Self::exactly(prefix);
        while let Some(word) = words.next() {
            let length: u8 = words.next().and_then(|length| length.parse().ok()).ok_or_else(wrong)?;
            if !(prefix.prefix_len()..=prefix.max_prefix_len()).contains(&length) {
                return Err(format!("`{text}`: {length} is no length within {prefix}"));
            }
            match word {
                "ge" if range.ge.is_none() => range.ge = Some(length),
                "le" if range.le.is_none() => range.le = Some(length),
                _ => return Err(wrong()),
            }
        }
        if let (Some(ge), Some(le)) = (range.ge, range.le)
            && ge > le
        {
            return Err(format!("`{text}` means nothing: {ge} is more than {le}"));
        }
        Ok(range)
    }
}

impl Serialize for Range {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Range {
    fn schema_name() -> Cow<'static, str> {
        "Range".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A prefix, or those within it of some lengths: `10.72.32.0/20`, `10.72.32.0/20 ge 24 le 32`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["10.72.32.0/20", "10.72.32.0/20 ge 32", "10.0.0.0/8 ge 16 le 24", "fd00::/8 le 64", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Range>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.1/8",
            "10.0.0.0/8 ge",
            "10.0.0.0/8 ge 7",
            "10.0.0.0/8 le 33",
            "10.0.0.0/8 ge 24 ge 25",
            "10.0.0.0/8 ge 24 le 16",
            "10.0.0.0/8 eq 16",
        ] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }
}
