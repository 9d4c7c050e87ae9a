//! BFD in the simulator: the daemon's own machine ([`weft_fabric::bfd`]) for each node, and packets over cables. What a failure means to
//! the kernel it hears at once, the daemon a moment later.

use super::network::{NodeId, Port};
use super::{Event, Sim};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IfIndex;
use weft_fabric::bfd::{self, Endpoint, Heard, Notice, Path, SessionId, TTL, Wanted, wire};
use weft_fabric::node::Input;

/// From BFD's thread to the daemon's. Always the same, so that one notice does not overtake another.
const NOTICE: Duration = Duration::from_micros(100);

impl Sim {
    /// The sessions that a daemon wants.
    pub(super) fn want_bfd(&mut self, node: NodeId, wanted: Vec<Wanted>) {
        if self.machines[node.0].bfd.is_none() && wanted.is_empty() {
            return;
        }
        if self.machines[node.0].bfd.is_none() {
            let seed = self.rng.next_u64();
            self.machines[node.0].bfd = Some(bfd::Bfd::new(seed));
        }
        self.bfd(node, bfd::Input::Sessions(wanted));
    }

    /// Tells a node's BFD something, and does what it wants.
    fn bfd(&mut self, node: NodeId, input: bfd::Input) {
        let now = self.now;
        let Some(machine) = &mut self.machines[node.0].bfd else {
            return;
        };
        machine.handle(now, input);
        while let Some(output) = self.machines[node.0].bfd.as_mut().and_then(bfd::Bfd::poll) {
            self.obey_bfd(node, output);
        }
        while let Some((id, packet)) = self.machines[node.0].bfd.as_mut().and_then(|bfd| bfd.poll_transmit(now)) {
            self.send_bfd(node, id, packet);
        }
        self.arm_bfd(node);
    }

    fn obey_bfd(&mut self, node: NodeId, output: bfd::Output) {
        let machine = &mut self.machines[node.0];
        match output {
            bfd::Output::Open(id, endpoint) => drop(machine.bfd_ends.insert(id, endpoint)),
            bfd::Output::Close(id) => drop(machine.bfd_ends.remove(&id)),
            bfd::Output::Alive(member, alive) => {
                machine.fib.set_alive(member.link, member.gateway, alive);
                let what = if alive { "may be used" } else { "is dead" };
                self.trace.line(
                    self.now,
                    &machine.name,
                    format_args!("bfd  {}%{} {what}", member.gateway, member.link.0),
                );
                self.last_activity = self.now;
                self.watch.everything_changed();
            }
            bfd::Output::Changed(notice) => {
                let life = machine.life;
                self.trace.line(self.now, &machine.name, format_args!("bfd  {:?} {:?}", notice.state, notice.cause));
                self.last_activity = self.now;
                self.queue.push(self.now + NOTICE, Event::Bfd(node, life, notice));
            }
        }
    }

    /// A packet goes to whoever has the address on the link, if it gets there. One to behind a router does not: no session of the simulator
    /// is with anybody there.
    fn send_bfd(&mut self, node: NodeId, id: SessionId, first: [u8; wire::LENGTH]) {
        let Some(endpoint) = self.machines[node.0].bfd_ends.get(&id) else {
            return;
        };
        if let Some((to, from, latency)) = self.bfd_way(node, endpoint) {
            let heard = Heard { is_multihop: false, link: to.link, from, ttl: TTL, first, length: wire::LENGTH };
            self.queue.push(self.now + latency, Event::BfdPacket(to.node, Box::new(heard)));
        }
    }

    /// Where a session's packets arrive, from whom, and after how long.
    pub(super) fn bfd_way(&self, node: NodeId, endpoint: &Endpoint) -> Option<(Port, IpAddr, Duration)> {
        let Path::SingleHop(link) = endpoint.path else {
            return None;
        };
        let port = Port { node, link };
        let to = self.plane().owner(port, endpoint.remote)?;
        let latency = self.network.distance(port, to)?;
        let from = match endpoint.local {
            Some(local) => local,
            None => self.machines[node.0].source(node, scoped(endpoint.remote, link)).ok()?.1.ip(),
        };
        Some((to, from, latency))
    }

    /// A packet arrives.
    pub(super) fn on_bfd_packet(&mut self, node: NodeId, heard: Heard) {
        if self.machines[node.0].powered {
            self.bfd(node, bfd::Input::Packet(heard));
        }
    }

    /// The daemon hears of it.
    pub(super) fn on_bfd_notice(&mut self, node: NodeId, life: u32, notice: Notice) {
        if self.is_current(node, life) {
            self.handle(node, Input::Bfd(notice));
        }
    }

    /// A deadline that it asked for may have passed.
    pub(super) fn on_bfd_wake(&mut self, node: NodeId, life: u32) {
        if self.is_current(node, life) && self.machines[node.0].bfd_armed == Some(self.now) {
            self.machines[node.0].bfd_armed = None;
            self.bfd(node, bfd::Input::Tick);
        }
    }

    /// Sees to it that a node's BFD is called when it asked.
    pub(super) fn arm_bfd(&mut self, node: NodeId) {
        let machine = &mut self.machines[node.0];
        let Some((at, _)) = machine.bfd.as_ref().and_then(bfd::Bfd::next_timeout) else {
            return;
        };
        let at: Instant = at.max(self.now);
        if machine.bfd_armed.is_none_or(|armed| at < armed) {
            machine.bfd_armed = Some(at);
            self.queue.push(at, Event::BfdWake(node, machine.life));
        }
    }
}

/// An address as it is dialled on a link.
fn scoped(address: IpAddr, link: IfIndex) -> SocketAddr {
    match address {
        IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, bfd::SINGLE_HOP_PORT, 0, link.0)),
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), bfd::SINGLE_HOP_PORT),
    }
}

#[cfg(test)]
mod tests;
