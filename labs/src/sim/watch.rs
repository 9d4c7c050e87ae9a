//! Follows flows and loops through every change: how many packets of a steady stream would have been lost, and which destinations were
//! caught in a circle for how long.

use super::network::NodeId;
use super::node::Machine;
use super::walk::{Fate, Plane};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IpNet;

/// A destination that only default routes cover.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

/// A stream of packets from one node to another, and back.
#[derive(Clone, Debug)]
pub struct Flow {
    /// One end.
    pub from: NodeId,
    /// The other.
    pub to: NodeId,
    /// The addresses of both, as they were when the flow was named.
    addresses: [IpAddr; 2],
    /// Some way it might take does not arrive now.
    pub broken: Option<Fate>,
    /// Time it was broken so far.
    pub lost: Duration,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Watch {
    flows: Vec<Flow>,
    targets: BTreeSet<IpAddr>,
    looping: BTreeMap<IpAddr, BTreeSet<Fate>>,
    dirty: BTreeSet<IpNet>,
    all_dirty: bool,
    /// Times a destination got into a circle.
    pub loops: u64,
    /// Time during which at least one was.
    pub looped: Duration,
}

impl Watch {
    /// All addresses that nodes announce, one of each other prefix, and one outside.
    pub(super) fn set_targets(&mut self, machines: &[Machine]) {
        let announced = machines.iter().flat_map(|machine| &machine.config.originate).map(|route| route.prefix);
        let aggregates = machines.iter().flat_map(|machine| machine.config.speaker.aggregates.iter().copied());
        let named = announced.chain(aggregates).filter(|net| net.prefix_len() > 0);
        self.targets = named.map(|net| net.hosts().next().unwrap_or_else(|| net.addr())).chain([OUTSIDE]).collect();
    }

    /// Destinations that are looked at.
    #[must_use]
    pub const fn targets(&self) -> &BTreeSet<IpAddr> {
        &self.targets
    }

    /// Follows packets between two nodes' own addresses from now on.
    pub fn add_flow(&mut self, machines: &[Machine], from: NodeId, to: NodeId) {
        let address = |node: NodeId| machines[node.0].config.addresses.iter().map(IpNet::addr).find(IpAddr::is_ipv4);
        if let (Some(here), Some(there)) = (address(from), address(to)) {
            self.flows.push(Flow { from, to, addresses: [here, there], broken: None, lost: Duration::ZERO });
            self.all_dirty = true;
        }
    }

    /// The flows.
    #[must_use]
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// Packets that would have been lost of all flows with `per_second` packets each.
    #[must_use]
    pub fn lost(&self, per_second: u32) -> u64 {
        let lost = |flow: &Flow| (flow.lost.as_nanos() * u128::from(per_second)).div_ceil(1_000_000_000);
        u64::try_from(self.flows.iter().map(lost).sum::<u128>()).unwrap_or(u64::MAX)
    }

    /// Forgets losses and loops so far.
    pub fn reset(&mut self) {
        for flow in &mut self.flows {
            flow.lost = Duration::ZERO;
        }
        (self.loops, self.looped) = (0, Duration::ZERO);
    }

    /// Destinations in a circle now.
    #[must_use]
    pub const fn looping(&self) -> &BTreeMap<IpAddr, BTreeSet<Fate>> {
        &self.looping
    }

    /// A forwarding table has something else for a prefix.
    pub(super) fn changed(&mut self, prefix: IpNet) {
        self.dirty.insert(prefix);
    }

    /// Cables, power or addresses changed.
    pub(super) const fn everything_changed(&mut self) {
        self.all_dirty = true;
    }

    /// Time passes with everything as it is.
    pub(super) fn pass(&mut self, from: Instant, to: Instant) {
        let passed = to.since(from);
        for flow in self.flows.iter_mut().filter(|flow| flow.broken.is_some()) {
            flow.lost += passed;
        }
        if !self.looping.is_empty() {
            self.looped += passed;
        }
    }

    /// What changed is not looked at.
    pub(super) fn skip(&mut self) {
        self.all_dirty = false;
        self.dirty.clear();
    }

    /// Looks at what changed; lines for the trace.
    pub(super) fn look(&mut self, plane: Plane<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.all_dirty && self.dirty.is_empty() {
            return lines;
        }
        let dirty = std::mem::take(&mut self.dirty);
        let all = std::mem::take(&mut self.all_dirty);
        let touched = |address: &IpAddr| all || dirty.iter().any(|net| net.contains(address));
        for target in self.targets.iter().copied().filter(touched) {
            let circles = plane.loops(target);
            let before = if circles.is_empty() {
                self.looping.remove(&target)
            } else {
                self.looping.insert(target, circles.clone())
            };
            if before.is_none() && !circles.is_empty() {
                self.loops += 1;
                lines.extend(circles.iter().map(|circle| format!("loop {target}: {}", circle.show(plane.machines))));
            }
        }
        for flow in self.flows.iter_mut().filter(|flow| flow.addresses.iter().any(touched)) {
            let [here, there] = flow.addresses;
            let forth = plane.fates(flow.from, there).into_iter().find(|fate| *fate != Fate::Reached(flow.to));
            let back = plane.fates(flow.to, here).into_iter().find(|fate| *fate != Fate::Reached(flow.from));
            let broken = forth.or(back);
            if broken != flow.broken {
                let what = broken.as_ref().map_or_else(|| "well".to_owned(), |fate| fate.show(plane.machines));
                lines.push(format!("flow {here} {there}: {what}"));
            }
            flow.broken = broken;
        }
        lines
    }
}
