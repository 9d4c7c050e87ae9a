//! What must be true in a lab: the `expect:` list of a topology file, read strictly and turned into one enum.
//!
//! The file form is one flat mapping per line, because that is what people write; [`Expectation`] is what the checker
//! takes, and it cannot hold a nonsensical mixture. Unknown keys and wrong combinations are errors that name the key.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};

/// Time an expectation has when it names none.
const WITHIN: Duration = Duration::from_secs(10);

/// One thing that must hold, and how long it may take until it does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Line")]
pub struct Expectation {
    /// What.
    pub what: What,
    /// Counted from the moment the lab is up.
    pub within: Duration,
}

/// The kinds of expectations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The kernel of `at` holds this route (and its RIB says so, where weft runs).
    Route {
        /// The node looked at.
        at: String,
        /// The exact prefix.
        route: IpNet,
        /// The set of nodes it goes through next, all of them and no other; empty = whichever.
        via: BTreeSet<String>,
        /// The number of next hops, if it matters.
        paths: Option<usize>,
    },
    /// Of the routes learnt by a routing protocol, the kernel of `at` holds these and no other.
    Only {
        /// The node looked at.
        at: String,
        /// The whole set.
        only: BTreeSet<IpNet>,
    },
    /// The kernel of `at` does not hold this prefix.
    Absent {
        /// The node looked at.
        at: String,
        /// The exact prefix.
        absent: IpNet,
    },
    /// Datagrams between the nodes' own addresses are answered.
    Ping {
        /// The sender.
        from: String,
        /// The node that answers.
        ping: String,
        /// Most datagrams lost, in percent.
        loss: u8,
    },
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Route { at, route, via, paths } => {
                write!(f, "{at}: {route}")?;
                if !via.is_empty() {
                    write!(f, " via {}", names(via))?;
                }
                paths.map_or(Ok(()), |paths| write!(f, ", {paths} paths"))
            }
            What::Only { at, only } => write!(f, "{at}: only {}", names(only)),
            What::Absent { at, absent } => write!(f, "{at}: no {absent}"),
            What::Ping { from, ping, loss } => {
                write!(f, "{from}: ping {ping}, loss at most {loss} %")
            }
        }
    }
}

fn names<T: fmt::Display>(set: &BTreeSet<T>) -> String {
    set.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// One line as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: Option<String>,
    from: Option<String>,
    route: Option<IpNet>,
    via: Option<BTreeSet<String>>,
    paths: Option<usize>,
    only: Option<BTreeSet<IpNet>>,
    absent: Option<IpNet>,
    ping: Option<String>,
    loss: Option<u8>,
    #[serde(default, deserialize_with = "duration")]
    within: Option<Duration>,
}

impl TryFrom<Line> for Expectation {
    type Error = String;

    fn try_from(line: Line) -> Result<Self, String> {
        let within = line.within.unwrap_or(WITHIN);
        let detail = line.via.is_some() || line.paths.is_some();
        let what = match (line.at, line.from, line.route, line.only, line.absent, line.ping) {
            (Some(at), None, Some(route), None, None, None) if line.loss.is_none() => {
                What::Route { at, route, via: line.via.unwrap_or_default(), paths: line.paths }
            }
            (Some(at), None, None, Some(only), None, None) if !detail && line.loss.is_none() => What::Only { at, only },
            (Some(at), None, None, None, Some(absent), None) if !detail && line.loss.is_none() => {
                What::Absent { at, absent }
            }
            (None, Some(from), None, None, None, Some(ping)) if !detail => {
                What::Ping { from, ping, loss: line.loss.unwrap_or(0) }
            }
            _ => {
                return Err("an expectation is one of {at, route, via?, paths?}, {at, only}, {at, absent}, \
                            {from, ping, loss?}, each with `within?`"
                    .to_owned());
            }
        };
        Ok(Self { what, within })
    }
}

/// `3s`, `500ms` or a bare number of seconds.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let (digits, unit_ms) = if let Some(digits) = text.strip_suffix("ms") {
        (digits, 1)
    } else {
        (text.strip_suffix('s').unwrap_or(&text), 1_000)
    };
    let number: u64 =
        digits.trim().parse().map_err(|_| D::Error::custom(format!("`{text}` is no duration: write 3s or 500ms")))?;
    Ok(Some(Duration::from_millis(number.saturating_mul(unit_ms))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Expectation, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_route_with_its_next_nodes() {
        let read = read("{at: node1, route: 10.69.3.5/32, via: [tor1, tor2], within: 3s}").unwrap();
        assert_eq!(read.within, Duration::from_secs(3));
        assert_eq!(read.to_string(), "node1: 10.69.3.5/32 via tor1, tor2");
    }

    #[test]
    fn unknown_keys_and_mixtures_are_errors() {
        assert!(read("{at: node1, rout: 10.0.0.0/8}").is_err());
        assert!(read("{at: node1, ping: node2}").is_err());
        assert!(read("{at: node1, absent: 10.0.0.0/8, via: [tor1]}").is_err());
        assert!(read("{at: node1, route: 10.0.0.0/8, within: soon}").unwrap_err().contains("soon"));
    }

    #[test]
    fn the_topologies_in_the_tree_are_readable() {
        for name in ["two-racks", "unnumbered"] {
            let path = format!("{}/topologies/{name}.clab.yml", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            let list = text.split_once("\nexpect:\n").unwrap().1;
            let list: Vec<Expectation> = serde_saphyr::from_str(list).unwrap();
            assert!(list.len() > 10, "{name}");
        }
    }
}
