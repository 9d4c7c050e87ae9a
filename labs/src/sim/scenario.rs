//! A network, a seed, and what goes wrong when: enough to do a run once more, on any machine. Data that people read and keep, and its
//! run with every check at the end.

mod bfd;

pub use bfd::Bfd;

use super::check::difference;
use super::clos::Clos;
use super::fault::Fault;
use super::network::{CableId, NodeId};
use super::{Counters, Settings, Sim};
use crate::topology::Topology;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use weft_bgp::time::Duration;
use weft_fabric::config::{self, NodeConfig};

/// Virtual time within which a network must come to rest.
pub(super) const LIMIT: Duration = Duration::from_secs(120);
/// Longer than the default restart time (RFC 4724): graceful restarts that never came about have ended.
const RESTARTS: Duration = Duration::from_secs(125);
/// Most incidents of a scenario: a file is no program.
const MAX_INCIDENTS: usize = 10_000;
/// Nodes beyond which a network is large: to look at every node and every way takes time that grows with the square of their number.
const LARGE: usize = 200;
/// How many nodes of a kind, and destinations, are looked at in a large network.
const SOME: usize = 24;
/// Latest incident, milliseconds.
const MAX_MS: u64 = 3_600_000;

/// See the head of this file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Which network.
    pub network: Source,
    /// Of latencies, pieces of streams, timers and the order of starts.
    pub seed: u64,
    /// Who has BFD beside what the network's files say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<Bfd>,
    /// In order of time.
    #[serde(default)]
    pub incidents: Vec<Incident>,
}

/// Where a network comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A topology file.
    File(PathBuf),
    /// A Clos by its numbers.
    Clos(Clos),
}

/// Something that goes wrong, or is mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// Milliseconds after the network first came to rest.
    pub ms: u64,
    /// What.
    pub what: Deed,
    /// To whom: a node, or an end of a cable as `node:interface`.
    pub at: String,
}

/// What happens in an [`Incident`]; see [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the fault of that name")]
pub enum Deed {
    Unplug,
    Plug,
    Deafen,
    Hearken,
    Crash,
    Boot,
    Kill,
    Leave,
    Stop,
    Start,
    Drain,
    Undrain,
}

/// A network that scenarios can be run in.
#[derive(Debug)]
pub struct World {
    /// Its nodes and cables.
    pub topology: Topology,
    configs: BTreeMap<String, NodeConfig>,
    clos: Option<Clos>,
}

/// What a run that went well says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// From the first start to the last change before the first rest.
    pub cold: Duration,
    /// Counted over the whole run.
    pub counters: Counters,
}

/// What is down in the end, and stays so.
#[derive(Debug, Default)]
struct Standing {
    dead: BTreeSet<NodeId>,
    stopped: BTreeSet<NodeId>,
    drained: BTreeSet<NodeId>,
    dark: BTreeSet<CableId>,
    deaf: BTreeSet<CableId>,
}

impl World {
    /// Reads or makes a network.
    ///
    /// # Errors
    /// What is wrong with it, as a text for a person.
    pub fn load(source: &Source) -> Result<Self, String> {
        let (topology, clos) = match source {
            Source::File(path) => {
                let topology = Topology::load(path, &|name| std::env::var(name).ok());
                (topology.map_err(|error| error.to_string())?, None)
            }
            Source::Clos(clos) => (clos.topology()?, Some(*clos)),
        };
        let configs = Sim::load(&topology)?;
        Ok(Self { topology, configs, clos })
    }

    /// The network of a scenario.
    ///
    /// # Errors
    /// What is wrong with it, as a text for a person.
    pub fn of(scenario: &Scenario) -> Result<Self, String> {
        let mut world = Self::load(&scenario.network)?;
        scenario.bfd.map_or(Ok(()), |bfd| world.set_bfd(bfd))?;
        Ok(world)
    }

    /// A network that was put together.
    pub(super) const fn made(topology: Topology, configs: BTreeMap<String, NodeConfig>) -> Self {
        Self { topology, configs, clos: None }
    }

    /// What its nodes are started with.
    pub(super) const fn configs_mut(&mut self) -> &mut BTreeMap<String, NodeConfig> {
        &mut self.configs
    }

    /// Gives a node the configuration of a file.
    ///
    /// # Errors
    /// When there is no such node, or what is wrong with the file.
    pub fn configure(&mut self, node: &str, file: &Path) -> Result<(), String> {
        let known = self.configs.get_mut(node).ok_or_else(|| format!("there is no node `{node}`"))?;
        let config = config::load(file).map_err(|error| error.to_string())?;
        *known = config.node().map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Runs a scenario to its end and checks everything; `traced` lines of what happened last come with a fault.
    ///
    /// # Errors
    /// What does not hold, or what the scenario names and the network does not have.
    pub fn run(&self, scenario: &Scenario, traced: usize) -> Result<Outcome, Failure> {
        let mut sim = self.sim(scenario.seed).map_err(Failure::Unfit)?;
        if traced > 0 {
            sim.trace.enable();
        }
        let faults = self.faults(&scenario.incidents).map_err(Failure::Unfit)?;
        self.play(&mut sim, &faults).map_err(|what| Failure::wrong(&sim, what, traced))
    }

    /// The network, with everything down.
    pub(super) fn sim(&self, seed: u64) -> Result<Sim, String> {
        let settings = if self.is_large() { Settings::large() } else { Settings::default() };
        Sim::new(&self.topology, &self.configs, settings, seed)
    }

    /// So large that not everything can be looked at.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.topology.nodes.len() > LARGE
    }

    /// What incidents mean here.
    fn faults(&self, incidents: &[Incident]) -> Result<Vec<(u64, Fault)>, String> {
        if incidents.len() > MAX_INCIDENTS {
            return Err(format!("{} incidents: {MAX_INCIDENTS} are the most", incidents.len()));
        }
        let mut faults = Vec::new();
        for (number, incident) in incidents.iter().enumerate() {
            let fault = self.fault(incident).map_err(|error| format!("incidents[{number}]: {error}"))?;
            faults.push((incident.ms, fault));
        }
        faults.sort_by_key(|(ms, _)| *ms);
        Ok(faults)
    }

    fn fault(&self, incident: &Incident) -> Result<Fault, String> {
        let at = incident.at.as_str();
        if incident.ms > MAX_MS {
            return Err(format!("{} ms: {MAX_MS} are the most", incident.ms));
        }
        let node = || {
            let place = self.topology.nodes.keys().position(|name| name == at);
            place.map(NodeId).ok_or_else(|| format!("there is no node `{at}`"))
        };
        let cable = || {
            let is_meant = |end: &crate::topology::Endpoint| at.split_once(':') == Some((&end.node, &end.interface));
            let place = self.topology.links.iter().position(|link| is_meant(&link.a) || is_meant(&link.b));
            place.map(CableId).ok_or_else(|| format!("there is no cable at `{at}`: write node:interface"))
        };
        Ok(match incident.what {
            Deed::Unplug => Fault::Unplug(cable()?),
            Deed::Plug => Fault::Plug(cable()?),
            Deed::Deafen => Fault::Deafen(cable()?),
            Deed::Hearken => Fault::Hearken(cable()?),
            Deed::Crash => Fault::Crash(node()?),
            Deed::Boot => Fault::Boot(node()?),
            Deed::Kill => Fault::Kill(node()?),
            Deed::Leave => Fault::Leave(node()?),
            Deed::Stop => Fault::Stop(node()?),
            Deed::Start => Fault::Start(node()?),
            Deed::Drain => Fault::Drain(node()?),
            Deed::Undrain => Fault::Undrain(node()?),
        })
    }

    fn play(&self, sim: &mut Sim, faults: &[(u64, Fault)]) -> Result<Outcome, String> {
        let cold = sim.settle(LIMIT)?;
        self.judge(sim).map_err(|error| format!("before anything went wrong: {error}"))?;
        let begin = sim.now();
        let mut standing = Standing::default();
        for (ms, fault) in faults {
            sim.run_until(begin + Duration::from_millis(*ms))?;
            if standing.note(fault) {
                sim.inject(fault.clone());
            }
        }
        for node in (0..self.topology.nodes.len()).map(NodeId) {
            if !standing.dead.contains(&node) && !standing.stopped.contains(&node) {
                sim.inject(Fault::Start(node));
            }
        }
        sim.run_for(RESTARTS)?;
        sim.settle(LIMIT)?;
        self.judge(sim)?;
        self.has_no_history(sim, &standing)?;
        let cold = Duration::from_nanos(cold.0);
        Ok(Outcome { cold, counters: sim.counters() })
    }

    /// Everything that must hold of a network at rest; of a large one, of some nodes of each kind.
    pub(super) fn judge(&self, sim: &Sim) -> Result<(), String> {
        let (mut nodes, mut servers) = (sim.everybody(), sim.servers());
        let mut targets = sim.watch.targets().clone();
        if self.is_large() {
            let servers_apart = nodes.difference(&servers).copied().collect();
            servers = some(&servers);
            nodes = servers.union(&some(&servers_apart)).copied().collect();
            targets = some(&targets);
        }
        sim.sound_at(&nodes, &targets)?;
        match self.clos {
            Some(clos) if clos.stubs => sim.every_way(&nodes, &servers),
            Some(_) if !self.is_large() => {
                sim.valley_free()?;
                sim.shortest()
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Its state is that of a network in which the same is down from the beginning.
    fn has_no_history(&self, sim: &Sim, standing: &Standing) -> Result<(), String> {
        let mut fresh = self.sim(0)?;
        standing.faults().into_iter().for_each(|fault| fresh.inject(fault));
        fresh.settle(LIMIT).map_err(|error| format!("without a history: {error}"))?;
        let difference = difference(&fresh.state(), &sim.state());
        if difference.is_empty() {
            return Ok(());
        }
        Err(format!("not as without a history (- there, + here):\n{difference}"))
    }
}

/// Some of many, evenly over their order.
fn some<T: Ord + Clone>(all: &BTreeSet<T>) -> BTreeSet<T> {
    all.iter().step_by((all.len() / SOME).max(1)).cloned().collect()
}

impl Standing {
    /// Takes a fault into account; whether it can happen to what is there.
    fn note(&mut self, fault: &Fault) -> bool {
        match fault {
            Fault::Unplug(cable) => self.dark.insert(*cable),
            Fault::Plug(cable) => self.dark.remove(cable),
            Fault::Deafen(cable) => self.deaf.insert(*cable),
            Fault::Hearken(cable) => self.deaf.remove(cable),
            Fault::Crash(node) => self.dead.insert(*node),
            Fault::Boot(node) => self.dead.remove(node),
            Fault::Kill(node) | Fault::Leave(node) => self.runs(*node),
            Fault::Stop(node) => self.runs(*node) && self.stopped.insert(*node),
            Fault::Start(node) => {
                self.stopped.remove(node);
                !self.dead.contains(node)
            }
            Fault::Drain(node) => self.drained.insert(*node),
            Fault::Undrain(node) => self.drained.remove(node),
            Fault::Reload(..) => true,
        }
    }

    fn runs(&self, node: NodeId) -> bool {
        !self.dead.contains(&node) && !self.stopped.contains(&node)
    }

    fn faults(&self) -> Vec<Fault> {
        let dead = self.dead.iter().map(|node| Fault::Crash(*node));
        let stopped = self.stopped.iter().filter(|node| !self.dead.contains(node)).map(|node| Fault::Stop(*node));
        let drained = self.drained.iter().map(|node| Fault::Drain(*node));
        let dark = self.dark.iter().map(|cable| Fault::Unplug(*cable));
        let deaf = self.deaf.iter().map(|cable| Fault::Deafen(*cable));
        dead.chain(stopped).chain(drained).chain(dark).chain(deaf).collect()
    }
}

/// Why a run did not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The scenario names what the network does not have.
    Unfit(String),
    /// Something does not hold.
    Wrong {
        /// What.
        what: String,
        /// When that was seen, virtual milliseconds from the beginning.
        at_ms: u64,
        /// What happened last.
        trace: Vec<String>,
    },
}

impl Failure {
    /// What does not hold now, with the last lines of the trace.
    pub(super) fn wrong(sim: &Sim, what: String, traced: usize) -> Self {
        let trace = sim.trace.tail(traced).map(str::to_owned).collect();
        Self::Wrong { what, at_ms: sim.now().0 / 1_000_000, trace }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unfit(what) => f.write_str(what),
            Self::Wrong { what, at_ms, trace } => {
                for line in trace {
                    writeln!(f, "{line}")?;
                }
                write!(f, "{}.{:03} s: {what}", at_ms / 1_000, at_ms % 1_000)
            }
        }
    }
}

impl Scenario {
    /// Reads one, as JSON or YAML.
    ///
    /// # Errors
    /// What is wrong with it, with the line.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    /// As a file of its own: JSON, one incident on each line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let value = |value: serde_json::Result<String>| value.unwrap_or_default();
        let incidents: Vec<String> =
            self.incidents.iter().map(|incident| format!("    {}", value(serde_json::to_string(incident)))).collect();
        let list = if incidents.is_empty() { "[]".to_owned() } else { format!("[\n{}\n  ]", incidents.join(",\n")) };
        let network = value(serde_json::to_string(&self.network));
        let bfd =
            self.bfd.map(|bfd| format!("  \"bfd\": {},\n", value(serde_json::to_string(&bfd)))).unwrap_or_default();
        format!("{{\n  \"network\": {network},\n  \"seed\": {},\n{bfd}  \"incidents\": {list}\n}}\n", self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<(), String> {
        let scenario = Scenario::read(text)?;
        let world = World::of(&scenario)?;
        world.run(&scenario, 5).map(drop).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_scenario_that_people_write_runs() {
        let text = "network: {clos: {spines: 1, leaves: 2, servers: 1, cables: 1}}\nseed: 7\nincidents:\n  \
                    - {ms: 100, what: unplug, at: \"server1:eth1\"}\n  - {ms: 900, what: plug, at: \"server1:eth1\"}\n";
        assert_eq!(run(text), Ok(()));
    }

    #[test]
    fn what_a_network_does_not_have_is_named() {
        let with = |incident: &str| {
            run(&format!(
                "network: {{clos: {{spines: 1, leaves: 2, servers: 0, cables: 1}}}}\nseed: 0\nincidents: [{incident}]"
            ))
        };
        let says = |incident: &str, words: &str| {
            let error = with(incident).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        says("{ms: 1, what: crash, at: leaf3}", "incidents[0]: there is no node `leaf3`");
        says("{ms: 1, what: unplug, at: leaf1}", "write node:interface");
        says("{ms: 99999999, what: kill, at: leaf1}", "are the most");
        says("{ms: 1, what: melt, at: leaf1}", "melt");
        says("{ms: 1, what: kill, at: leaf1, why: x}", "why");
        let bfd = |bfd: &str| {
            run(&format!("network: {{clos: {{spines: 1, leaves: 2, servers: 0, cables: 1}}}}\nseed: 0\nbfd: {bfd}"))
        };
        let error = bfd("{interval_ms: 9}").unwrap_err();
        assert!(error.contains("10 to 60000"), "{error}");
        let error = bfd("{interval_ms: 300, every: 0}").unwrap_err();
        assert!(error.contains("every is 0"), "{error}");
        let error = run("network: {clos: {spines: 0, leaves: 2, servers: 0, cables: 1}}\nseed: 0").unwrap_err();
        assert!(error.contains("1 to"), "{error}");
    }
}
