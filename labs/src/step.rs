//! What is done to a lab once everything expected of it is true, and what must be true after that: the `steps:` list.
//!
//! A step is one deed (a daemon killed or started, a command in a node, an interface set) and the expectations that must hold
//! after it. Steps follow each other in the file's order; the first that does not hold ends them. Flows run around the deed of a step that
//! names some, until what it expects holds and a while longer, and may lose nothing.

use serde::Deserialize;

use crate::expect::{Expectation, words};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Line")]
pub struct Step {
    /// What the reader of a report sees.
    pub name: String,
    /// What is done.
    pub deed: Deed,
    /// What must hold after it, each within its own time.
    pub expect: Vec<Expectation>,
    /// What runs meanwhile, both ways, and loses nothing.
    pub flows: Vec<Pair>,
    /// Packets a second of each flow.
    pub rate: u32,
}

/// Two nodes that send each other a packet per millisecond and flow.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// One node; what it sends is upstream.
    pub from: String,
    /// The other; what it sends is downstream.
    pub to: String,
    /// Flows in each direction, which differ in their ports.
    #[serde(default = "flows")]
    pub count: usize,
}

/// Packets a second of each flow, unless said; where there are many flows, fewer leave the machine time for anything else.
const RATE: u32 = 1_000;

/// So that some of them use the part that is worked on.
const fn flows() -> usize {
    4
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// SIGKILL for the node's daemons.
    Kill(String),
    /// The node's daemons start again.
    Start(String),
    /// A command in a node, which must succeed.
    Run {
        /// The node.
        at: String,
        /// Its words.
        run: Vec<String>,
    },
}

/// One step as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    step: String,
    kill: Option<String>,
    start: Option<String>,
    at: Option<String>,
    run: Option<String>,
    #[serde(default)]
    expect: Vec<Expectation>,
    #[serde(default)]
    flows: Vec<Pair>,
    rate: Option<u32>,
}

impl TryFrom<Line> for Step {
    type Error = String;

    fn try_from(line: Line) -> Result<Self, String> {
        let deed = match (line.kill, line.start, line.at, line.run) {
            (Some(node), None, None, None) => Deed::Kill(node),
            (None, Some(node), None, None) => Deed::Start(node),
            (None, None, Some(at), Some(run)) => Deed::Run { at, run: words(&run)? },
            _ => return Err("a step is {step, expect, flows, rate} and one of {kill}, {start}, {at, run}".to_owned()),
        };
        let rate = line.rate.unwrap_or(RATE);
        if !(1..=RATE).contains(&rate) {
            return Err(format!("rate {rate}: a flow has 1 to {RATE} packets a second"));
        }
        Ok(Self { name: line.step, deed, expect: line.expect, flows: line.flows, rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Step, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_step_does_one_thing() {
        let step = read("{step: tor1 dies, kill: tor1, expect: [{at: a, absent: 10.0.0.0/8}]}").unwrap();
        assert_eq!((step.deed, step.expect.len()), (Deed::Kill("tor1".to_owned()), 1));
        let step = read("{step: x, at: a, run: 'ip link'}").unwrap();
        assert_eq!(step.deed, Deed::Run { at: "a".to_owned(), run: vec!["ip".to_owned(), "link".to_owned()] });
        let step = read("{step: x, kill: a, flows: [{from: a, to: b}, {from: a, to: c, count: 1}]}").unwrap();
        assert_eq!(step.flows.iter().map(|pair| (&*pair.to, pair.count)).collect::<Vec<_>>(), [("b", 4), ("c", 1)]);
        assert_eq!((step.rate, read("{step: x, kill: a, rate: 50}").unwrap().rate), (1_000, 50));
        assert!(read("{step: x, kill: a, rate: 0}").is_err());
        assert!(read("{step: x, kill: a, flows: [{from: a}]}").is_err());
        assert!(read("{step: x, kill: a, start: a}").is_err());
        assert!(read("{step: x, run: a}").is_err());
        assert!(read("{step: x, burn: a}").is_err());
    }
}
