//! What must hold of a network at rest: a topology's expectations, no circles, no leftovers, and a state that is the same whichever way
//! it came about.

mod holes;
mod kernel;
mod loops;
mod quiet;
mod stubs;
mod tiers;
mod told;

use super::Sim;
use super::network::{NodeId, Port};
use super::walk::Fate;
use crate::expect::{Expectation, What};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use weft_bgp::speaker::{RouteInfo, Want};
use weft_bgp::types::{Hop, IpNet};
use weft_fabric::config::Role;

/// Routes read from a RIB at a time.
const PAGE: usize = 1_000;

impl Sim {
    /// Whether expectations hold now; what is there instead, one line per fault.
    ///
    /// # Errors
    /// Those that do not hold.
    pub fn expect(&self, expectations: &[Expectation]) -> Result<(), String> {
        let failed = expectations.iter().filter_map(|expectation| {
            let instead = self.holds(&expectation.what).err()?;
            Some(format!("{expectation}; instead: {instead}"))
        });
        none(failed.collect())
    }

    /// One expectation.
    ///
    /// # Errors
    /// What is there instead.
    pub fn holds(&self, what: &What) -> Result<(), String> {
        match what {
            What::Route { at, route, via, paths, weights } => {
                let node = self.id(at);
                let hops = self.hops(node, route).ok_or_else(|| "no route".to_owned())?;
                let next: BTreeSet<String> = hops.iter().map(|hop| self.name_of(node, hop)).collect();
                if !via.is_empty() && next != *via {
                    return Err(format!("via {}", next.into_iter().collect::<Vec<_>>().join(", ")));
                }
                for hop in hops.iter() {
                    let name = self.name_of(node, hop);
                    if weights.get(&name).is_some_and(|weight| *weight != u16::from(hop.weight)) {
                        return Err(format!("{name} ×{}", hop.weight));
                    }
                }
                match paths {
                    Some(paths) if hops.len() != *paths => Err(format!("{} paths", hops.len())),
                    Some(_) | None => Ok(()),
                }
            }
            What::Only { at, only } => {
                let held: BTreeSet<IpNet> = self.forwarded(self.id(at)).collect();
                let show = |set: &BTreeSet<IpNet>| set.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ");
                if held == *only { Ok(()) } else { Err(show(&held)) }
            }
            What::Command { .. } => Err("a simulated node runs no command".to_owned()),
            What::Absent { at, absent } => {
                let held = self.forwarded(self.id(at)).any(|prefix| prefix == *absent);
                if held { Err("it is there".to_owned()) } else { Ok(()) }
            }
            What::Reach { each, reaches } => {
                for (from, to) in each.nodes.iter().flat_map(|from| reaches.nodes.iter().map(move |to| (from, to))) {
                    if from != to {
                        let reached = self.reaches(self.id(from), self.id(to));
                        reached.map_err(|why| format!("{from} to {to}: {why}"))?;
                    }
                }
                Ok(())
            }
            What::Ping { from, ping, loss: _ } => {
                let (from, to) = (self.id(from), self.id(ping));
                self.reaches(from, to)?;
                self.reaches(to, from)
            }
        }
    }

    /// Whether every way from a node to another's own address arrives there.
    ///
    /// # Errors
    /// How it ends instead.
    pub fn reaches(&self, from: NodeId, to: NodeId) -> Result<(), String> {
        let target = self.machine(to).address().ok_or_else(|| format!("{} has no address", self.machine(to).name))?;
        let fates = self.plane().fates(from, target);
        let wrong = fates.iter().filter(|fate| **fate != Fate::Reached(to)).map(|fate| fate.show(self.machines()));
        none(wrong.collect())
    }

    /// Prefixes that a node's kernel forwards packets by, as its daemon installed them.
    pub fn forwarded(&self, node: NodeId) -> impl Iterator<Item = IpNet> {
        self.machine(node).fib.routes().filter(|(_, want)| matches!(want, Want::Hops(_))).map(|(prefix, _)| *prefix)
    }

    /// Where the kernel sends packets for a prefix: members of its set whose links are up.
    fn hops(&self, node: NodeId, prefix: &IpNet) -> Option<Vec<Hop>> {
        let machine = self.machine(node);
        let is_up = |hop: &&Hop| {
            let is_usable = machine.links.iter().any(|link| link.index == hop.link && link.is_usable());
            is_usable && !machine.fib.holds_back(hop)
        };
        match machine.fib.get(prefix)? {
            Want::Hops(hops) => Some(hops.iter().filter(is_up).copied().collect()),
            Want::Discard | Want::Nothing => None,
        }
    }

    /// The node behind a next hop.
    fn name_of(&self, node: NodeId, hop: &Hop) -> String {
        let owner = self.plane().owner(Port { node, link: hop.link }, hop.gateway);
        owner.map_or_else(|| format!("nobody at {}", hop.gateway), |port| self.machine(port.node).name.clone())
    }

    /// Every pair of servers and top-of-rack switches with running daemons, but for those left out, reaches each other over every
    /// branch. (Spines of one AS do not hear of each other, and a border router knows no node.)
    ///
    /// # Errors
    /// The pairs that do not.
    pub fn all_reach(&self, without: &[&str]) -> Result<(), String> {
        let nodes: Vec<NodeId> = (0..self.machines().len())
            .map(NodeId)
            .filter(|node| self.machine(*node).daemon.is_some())
            .filter(|node| matches!(self.machine(*node).config.role, Some(Role::Host | Role::Boot | Role::Tor)))
            .filter(|node| !without.contains(&self.machine(*node).name.as_str()))
            .collect();
        let mut wrong = Vec::new();
        for &from in &nodes {
            for &to in nodes.iter().filter(|to| **to != from) {
                if let Err(why) = self.reaches(from, to) {
                    wrong.push(format!("{} to {}: {why}", self.machine(from).name, self.machine(to).name));
                }
            }
        }
        none(wrong)
    }

    /// Nothing is stale, nothing is left over, and every kernel holds exactly what its daemon's RIB says.
    ///
    /// # Errors
    /// What differs.
    pub fn settled(&self) -> Result<(), String> {
        let all = self.everybody();
        self.nothing_waits(&all)?;
        self.kernel_is_rib(&all)
    }

    /// Everything that holds of every network at rest.
    ///
    /// # Errors
    /// What does not.
    pub fn sound(&self) -> Result<(), String> {
        self.sound_at(&self.everybody(), self.watch.targets())
    }

    /// What holds of every network at rest, of some of its nodes and on the way to some destinations: where to look at all would take
    /// longer than what is looked at.
    ///
    /// # Errors
    /// What does not.
    pub fn sound_at(&self, nodes: &BTreeSet<NodeId>, targets: &BTreeSet<IpAddr>) -> Result<(), String> {
        self.no_loops_to(targets)?;
        self.nothing_waits(nodes)?;
        self.kernel_is_rib(nodes)?;
        self.no_black_hole(nodes)?;
        self.told_is_heard(nodes)
    }

    /// Nobody knows a route to this prefix any more.
    ///
    /// # Errors
    /// Who does.
    pub fn forgotten(&self, prefix: IpNet) -> Result<(), String> {
        let mut wrong = Vec::new();
        for (at, machine) in self.machines().iter().enumerate() {
            if self.hops(NodeId(at), &prefix).is_some() {
                wrong.push(format!("the kernel of {} has {prefix}", machine.name));
            }
            if self.rib(NodeId(at)).iter().any(|route| route.prefix == prefix) {
                wrong.push(format!("{} knows {prefix}", machine.name));
            }
        }
        none(wrong)
    }

    /// The sessions that stand, as `node peer`.
    #[must_use]
    pub fn sessions(&self) -> BTreeSet<String> {
        let running = self.machines().iter().filter_map(|machine| Some((&machine.name, machine.daemon.as_ref()?)));
        let all = running.flat_map(|(name, daemon)| {
            let known = daemon.speaker().neighbors(self.now()).into_iter();
            known.filter(|peer| peer.state == "Established").map(move |peer| format!("{name} {}", peer.name))
        });
        all.collect()
    }

    /// What a node's RIB holds.
    #[must_use]
    pub fn rib(&self, node: NodeId) -> Vec<RouteInfo> {
        let Some(daemon) = &self.machine(node).daemon else {
            return Vec::new();
        };
        let mut routes = Vec::new();
        loop {
            let page = daemon.speaker().routes(routes.last().map(|route: &RouteInfo| route.prefix), PAGE);
            let whole = page.len() == PAGE;
            routes.extend(page);
            if !whole {
                return routes;
            }
        }
    }

    /// The whole state but for what history leaves no trace in: sessions, RIBs, kernels. Equal texts, equal networks.
    #[must_use]
    pub fn state(&self) -> String {
        let mut text = String::new();
        for session in self.sessions() {
            let _ = writeln!(text, "session {session}");
        }
        for (at, machine) in self.machines().iter().enumerate() {
            let name = &machine.name;
            for mut route in self.rib(NodeId(at)) {
                route.paths.sort_by(|a, b| a.from.cmp(&b.from));
                for path in route.paths {
                    let (from, prefix) = (&path.from, route.prefix);
                    let _ = writeln!(
                        text,
                        "{name} {prefix} from {from} path [{}] next {} hop {:?} pref {:?} med {:?} {:?} {:?} best {} used {} stale {}",
                        path.as_path,
                        path.next_hop,
                        path.hop,
                        path.local_pref,
                        path.med,
                        path.communities,
                        path.large_communities,
                        path.best,
                        path.used,
                        path.stale
                    );
                }
            }
            for (prefix, want) in machine.fib.routes() {
                let _ = writeln!(text, "{name} kernel {prefix} {want:?}");
            }
        }
        text
    }

    /// Where a destination's packets end from every node, for a person.
    #[must_use]
    pub fn explain(&self, target: IpAddr) -> String {
        let mut text = String::new();
        for (at, machine) in self.machines().iter().enumerate() {
            let fates = self.plane().fates(NodeId(at), target);
            let shown: Vec<_> = fates.iter().map(|fate| fate.show(self.machines())).collect();
            let _ = writeln!(text, "{} to {target}: {}", machine.name, shown.join("; "));
        }
        text
    }
}

/// Lines of one state that the other has not: `-` only the first, `+` only the second.
#[must_use]
pub fn difference(first: &str, second: &str) -> String {
    let (a, b): (BTreeSet<&str>, BTreeSet<&str>) = (first.lines().collect(), second.lines().collect());
    let only = |mark: char, from: &BTreeSet<&str>, other: &BTreeSet<&str>| {
        from.difference(other).map(|line| format!("{mark} {line}\n")).collect::<String>()
    };
    only('-', &a, &b) + &only('+', &b, &a)
}

fn none(wrong: Vec<String>) -> Result<(), String> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
