//! Where in a YAML text a field path such as `peers.tor1.address` or `listen[0].prefix` stands.
//!
//! Semantic checks run on plain structs that know no lines; this walks the text once more, for the message only.

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use std::cell::Cell;
use std::fmt;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// Reads `a.b[2].c`.
pub(super) fn steps(path: &str) -> Vec<Step> {
    let mut found = Vec::new();
    for part in path.split('.') {
        let mut pieces = part.split('[');
        if let Some(key) = pieces.next().filter(|key| !key.is_empty()) {
            found.push(Step::Key(key.to_owned()));
        }
        for piece in pieces {
            if let Ok(index) = piece.trim_end_matches(']').parse() {
                found.push(Step::Index(index));
            }
        }
    }
    found
}

/// Line and column (from 1) of the value at `path`, or of the deepest part of it that exists; 1:1 if nothing does.
pub(super) fn locate(text: &str, path: &str) -> (u64, u64) {
    let steps = steps(path);
    let found = Cell::new((1, 1));
    // Whatever error ends the walk, what was found before it is the best answer.
    let _ = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        Walk { steps: &steps, found: &found }.deserialize(deserializer)
    });
    found.get()
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    steps: &'a [Step],
    found: &'a Cell<(u64, u64)>,
}

impl Walk<'_> {
    fn note(&self, location: Location) {
        if location != Location::UNKNOWN {
            self.found.set((location.line(), location.column()));
        }
    }

    fn deeper(self) -> Self {
        Self { steps: self.steps.get(1..).unwrap_or_default(), ..self }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.steps.is_empty() {
            let value = Spanned::<IgnoredAny>::deserialize(deserializer)?;
            self.note(value.referenced);
            return Ok(());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            match self.steps.first() {
                Some(Step::Key(wanted)) if *wanted == key.value => {
                    self.note(key.referenced);
                    return map.next_value_seed(self.deeper());
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some(Step::Index(wanted)) = self.steps.first() else {
            return Ok(());
        };
        for _ in 0..*wanted {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(self.deeper()).map(drop)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "asn: 1\npeers:\n  a: {address: 10.0.0.1, remote_asn: 5}\n  b:\n    address: 10.0.0.2\nlisten:\n  - {prefix: 10.0.0.0/8}\n  - prefix: 11.0.0.0/8\n";

    #[test]
    fn a_path_is_found_in_flow_and_in_block_style() {
        assert_eq!(locate(TEXT, "asn"), (1, 6));
        assert_eq!(locate(TEXT, "peers.a.remote_asn"), (3, 38));
        assert_eq!(locate(TEXT, "peers.b.address"), (5, 14));
        assert_eq!(locate(TEXT, "listen[1].prefix"), (8, 13));
    }

    #[test]
    fn a_missing_field_is_placed_at_its_section() {
        assert_eq!(locate(TEXT, "peers.b.remote_asn"), (4, 3));
        assert_eq!(locate(TEXT, "router_id"), (1, 1));
    }
}
