//! What must be true in a lab: the `expect:` list of a topology file, read strictly and turned into one enum.
//!
//! The file form is one flat mapping per line, because that is what people write; [`Expectation`] is what the checker
//! takes, and it cannot hold a nonsensical mixture. Unknown keys and wrong combinations are errors that name the key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::fault::units;

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
        /// The weight of the next hop through each of these nodes; empty = whichever.
        weights: BTreeMap<String, u16>,
    },
    /// What a command prints in `at`, each run of blanks and line ends taken as one space.
    Command {
        /// The node it runs in.
        at: String,
        /// Its words.
        run: Vec<String>,
        /// Texts that are all there.
        says: Vec<String>,
        /// Texts of which none is there.
        lacks: Vec<String>,
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
    /// Every node of one group has a route in its kernel to every address that nodes of another have on `lo`.
    Reach {
        /// Those that have the routes.
        each: Group,
        /// Those that the routes lead to.
        reaches: Group,
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

/// The nodes of a group (`group:` of a node), or `all` that are in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// As written.
    pub name: String,
    /// Who is in it: known once the whole file is read.
    pub nodes: Vec<String>,
}

impl Group {
    const fn named(name: String) -> Self {
        Self { name, nodes: Vec::new() }
    }
}

/// Prefixes shown of a set; of a large one the others are counted.
const SHOWN: usize = 20;

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Route { at, route, via, paths, weights } => {
                write!(f, "{at}: {route}")?;
                if !via.is_empty() {
                    write!(f, " via {}", names(via))?;
                }
                for (node, weight) in weights {
                    write!(f, ", {node} ×{weight}")?;
                }
                paths.map_or(Ok(()), |paths| write!(f, ", {paths} paths"))
            }
            What::Command { at, run, says, lacks } => {
                write!(f, "{at}: `{}`", run.join(" "))?;
                if !says.is_empty() {
                    write!(f, " says {}", says.join(" … "))?;
                }
                if lacks.is_empty() { Ok(()) } else { write!(f, " lacks {}", lacks.join(" … ")) }
            }
            What::Only { at, only } => write!(f, "{at}: only {}", names(only)),
            What::Reach { each, reaches } => write!(f, "each {} reaches {}", each.name, reaches.name),
            What::Absent { at, absent } => write!(f, "{at}: no {absent}"),
            What::Ping { from, ping, loss } => {
                write!(f, "{from}: ping {ping}, loss at most {loss} %")
            }
        }
    }
}

/// A set as a text, not longer than a person reads.
pub(crate) fn names<T: fmt::Display>(set: &BTreeSet<T>) -> String {
    let mut text = set.iter().take(SHOWN).map(T::to_string).collect::<Vec<_>>().join(", ");
    if let Some(more) = set.len().checked_sub(SHOWN + 1) {
        text.push_str(&format!(" and {} more", more + 1));
    }
    text
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
    weights: Option<BTreeMap<String, u16>>,
    run: Option<String>,
    says: Option<Texts>,
    lacks: Option<Texts>,
    only: Option<BTreeSet<IpNet>>,
    absent: Option<IpNet>,
    ping: Option<String>,
    each: Option<String>,
    reaches: Option<String>,
    loss: Option<u8>,
    #[serde(default, deserialize_with = "duration")]
    within: Option<Duration>,
}

/// One text, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    /// As a command's output is compared: each run of blanks and line ends is one space.
    fn flat(self) -> Vec<String> {
        let list = match self {
            Self::One(text) => vec![text],
            Self::Many(list) => list,
        };
        list.iter().map(|text| flat(text)).collect()
    }
}

/// Each run of blanks and line ends as one space.
pub(crate) fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Which keys an expectation may have.
const FORMS: &str = "an expectation is one of {at, route, via?, paths?, weights?}, {at, run, says?, lacks?}, {at, only}, \
                     {at, absent}, {each, reaches}, {from, ping, loss?}, each with `within?`";

impl TryFrom<Line> for Expectation {
    type Error = String;

    fn try_from(line: Line) -> Result<Self, String> {
        let within = line.within.unwrap_or(WITHIN);
        let of_route = line.via.is_some() || line.paths.is_some() || line.weights.is_some();
        let of_command = line.says.is_some() || line.lacks.is_some();
        let stray = |route: bool, command: bool, ping: bool| {
            (of_route && !route) || (of_command && !command) || (line.loss.is_some() && !ping)
        };
        let of_others = [line.at.is_some(), line.from.is_some(), line.only.is_some(), line.absent.is_some()];
        let is_other = of_others.contains(&true) || line.route.is_some() || line.ping.is_some() || line.run.is_some();
        if let (Some(each), Some(reaches)) = (&line.each, &line.reaches)
            && !is_other
            && !stray(false, false, false)
        {
            let [each, reaches] = [each, reaches].map(|name| Group::named(name.clone()));
            return Ok(Self { what: What::Reach { each, reaches }, within });
        }
        if line.each.is_some() || line.reaches.is_some() {
            return Err(FORMS.to_owned());
        }
        let what = match (line.at, line.from, line.route, line.only, line.absent, line.ping, line.run) {
            (Some(at), None, Some(route), None, None, None, None) if !stray(true, false, false) => What::Route {
                at,
                route,
                via: line.via.unwrap_or_default(),
                paths: line.paths,
                weights: line.weights.unwrap_or_default(),
            },
            (Some(at), None, None, Some(only), None, None, None) if !stray(false, false, false) => {
                What::Only { at, only }
            }
            (Some(at), None, None, None, Some(absent), None, None) if !stray(false, false, false) => {
                What::Absent { at, absent }
            }
            (None, Some(from), None, None, None, Some(ping), None) if !stray(false, false, true) => {
                What::Ping { from, ping, loss: line.loss.unwrap_or(0) }
            }
            (Some(at), None, None, None, None, None, Some(run)) if of_command && !stray(false, true, false) => {
                let texts = |texts: Option<Texts>| texts.map_or_else(Vec::new, Texts::flat);
                What::Command { at, run: words(&run)?, says: texts(line.says), lacks: texts(line.lacks) }
            }
            _ => return Err(FORMS.to_owned()),
        };
        Ok(Self { what, within })
    }
}

/// A command as a shell would split it.
pub(crate) fn words(line: &str) -> Result<Vec<String>, String> {
    let words = crate::topology::expand::words(line)?;
    if words.is_empty() { Err("the command is empty".to_owned()) } else { Ok(words) }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    units::duration(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
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
    fn a_route_with_weights() {
        let read = read("{at: node1, route: 10.0.0.0/8, weights: {tor1: 1, tor2: 4}}").unwrap();
        assert_eq!(read.to_string(), "node1: 10.0.0.0/8, tor1 ×1, tor2 ×4");
    }

    #[test]
    fn groups_reach_groups_and_nothing_else_is_said() {
        let well = read("{each: server, reaches: all, within: 120s}").unwrap();
        assert_eq!((well.to_string().as_str(), well.within), ("each server reaches all", Duration::from_secs(120)));
        for wrong in
            ["{each: server}", "{reaches: all}", "{each: a, reaches: b, at: c}", "{each: a, reaches: b, loss: 1}"]
        {
            assert!(read(wrong).unwrap_err().contains("{each, reaches}"), "{wrong}");
        }
    }

    #[test]
    fn of_a_long_list_its_beginning_is_shown() {
        let only: BTreeSet<u32> = (1..=23).collect();
        assert!(names(&only).ends_with("19, 20 and 3 more"), "{}", names(&only));
        assert!(names(&(1..=20).collect::<BTreeSet<u32>>()).ends_with("19, 20"));
    }

    #[test]
    fn a_command_needs_something_to_say_or_to_lack() {
        let read_well = read("{at: b, run: \"birdc 'show route'\", says: 'a   b', lacks: [c, d]}").unwrap();
        let What::Command { run, says, lacks, .. } = read_well.what else { panic!("{read_well:?}") };
        assert_eq!((run.len(), says, lacks), (2, vec!["a b".to_owned()], vec!["c".to_owned(), "d".to_owned()]));
        assert!(read("{at: b, run: birdc}").is_err());
        assert!(read("{at: b, run: \"birdc 'show\", says: a}").is_err());
        assert!(read("{at: b, route: 10.0.0.0/8, says: a}").is_err());
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
