//! What goes wrong, and what operators do: cables, power, processes, configurations.

use super::network::{CableId, NodeId};
use super::{Event, Sim};
use weft_fabric::config::NodeConfig;
use weft_fabric::drain::{By, Scope, State};
use weft_fabric::node::Input;

/// A fault or an operation.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Both ends of a cable lose carrier.
    Unplug(CableId),
    /// It is back.
    Plug(CableId),
    /// Every packet on a cable is lost, and nobody is told.
    Deafen(CableId),
    /// It is well again.
    Hearken(CableId),
    /// A machine stops without a word: no carrier is lost, nothing of it answers.
    Crash(NodeId),
    /// It boots: empty tables, then the daemon.
    Boot(NodeId),
    /// A daemon is killed with SIGKILL; the kernel keeps its routes and closes its connections.
    Kill(NodeId),
    /// A daemon ends by itself for a restart (RFC 4724).
    Leave(NodeId),
    /// A daemon ends for good: Cease, addresses and routes go.
    Stop(NodeId),
    /// A daemon starts.
    Start(NodeId),
    /// An operator takes a machine out of service: it passes nothing on any more, and is reached itself as before.
    Drain(NodeId),
    /// It is back in service.
    Undrain(NodeId),
    /// A changed configuration.
    Reload(NodeId, Box<NodeConfig>),
}

impl Sim {
    pub(super) fn on_fault(&mut self, fault: Fault) {
        self.last_activity = self.now;
        self.watch.everything_changed();
        match fault {
            Fault::Unplug(cable) => self.set_carrier(cable, false),
            Fault::Plug(cable) => self.set_carrier(cable, true),
            Fault::Deafen(cable) => self.set_deaf(cable, true),
            Fault::Hearken(cable) => self.set_deaf(cable, false),
            Fault::Crash(node) => self.crash(node),
            Fault::Boot(node) => {
                self.say(node, "boots");
                self.machines[node.0].powered = true;
                self.network.set_power(node, true);
                self.light(node);
                if self.machines[node.0].enabled {
                    self.start(node);
                }
            }
            Fault::Kill(node) => {
                self.say(node, "daemon is killed");
                self.end(node);
            }
            Fault::Leave(node) => {
                self.say(node, "daemon ends for a restart");
                self.handle(node, Input::Shutdown { cease: false });
                self.end(node);
            }
            Fault::Stop(node) => {
                self.say(node, "daemon is stopped");
                self.handle(node, Input::Shutdown { cease: true });
                self.end(node);
                self.machines[node.0].fib.clear();
                self.machines[node.0].enabled = false;
            }
            Fault::Start(node) => {
                self.machines[node.0].enabled = true;
                self.start(node);
            }
            Fault::Drain(node) => {
                self.machines[node.0].drained = true;
                self.set_service(node);
            }
            Fault::Undrain(node) => {
                self.machines[node.0].drained = false;
                self.set_service(node);
            }
            Fault::Reload(node, config) => {
                self.say(node, "configuration is reloaded");
                self.machines[node.0].config = (*config).clone();
                self.handle(node, Input::Reload(config));
            }
        }
    }

    /// Tells a daemon that runs how far it is to be in service, as `weft drain` does.
    pub(super) fn set_service(&mut self, node: NodeId) {
        let drained = self.machines[node.0].drained;
        self.say(node, if drained { "is to be out of service" } else { "is to be in service" });
        let target = if drained { State::Drained } else { State::Live };
        self.handle(node, Input::Drain { scope: Scope::Node, target, by: By::Operator });
    }

    fn say(&mut self, node: NodeId, what: &str) {
        self.trace.line(self.now, &self.machines[node.0].name, format_args!("{what}"));
    }

    /// The process is gone: its kernel closes what it held.
    fn end(&mut self, node: NodeId) {
        let held: Vec<_> = self.machines[node.0].conns.values().copied().collect();
        self.machines[node.0].end();
        for (pipe, side) in held {
            self.abandon(pipe, side);
        }
    }

    fn crash(&mut self, node: NodeId) {
        self.say(node, "is dead");
        let held: Vec<_> = self.machines[node.0].conns.values().copied().collect();
        self.machines[node.0].crash();
        self.network.set_power(node, false);
        for (pipe, side) in held {
            self.vanish(pipe, side);
        }
    }

    fn set_deaf(&mut self, cable: CableId, deaf: bool) {
        let [a, b] = self.network.ends(cable).map(|port| &self.machines[port.node.0].name);
        let what = if deaf { "swallows every packet" } else { "is well again" };
        self.trace.line(self.now, "network", format_args!("cable {a} {b} {what}"));
        self.network.set_deaf(cable, deaf);
    }

    fn set_carrier(&mut self, cable: CableId, carrier: bool) {
        if self.network.has_carrier(cable) == carrier {
            return;
        }
        let [a, b] = self.network.ends(cable).map(|port| &self.machines[port.node.0].name);
        let what = if carrier { "has carrier" } else { "loses carrier" };
        self.trace.line(self.now, "network", format_args!("cable {a} {b} {what}"));
        self.network.set_carrier(cable, carrier);
        for port in self.network.ends(cable) {
            let lost = self.light(port.node);
            let life = self.machines[port.node.0].life;
            for link in lost {
                let wait = self.wait(self.settings.notice_us);
                self.queue.push(self.now + wait, Event::LinkDown(port.node, life, link));
            }
            self.notice_links(port.node);
        }
    }

    /// Brings a kernel's picture of carrier up to date; the interfaces that lost it.
    fn light(&mut self, node: NodeId) -> Vec<weft_bgp::types::IfIndex> {
        let mut lost = Vec::new();
        for link in &mut self.machines[node.0].links {
            let lit = self.network.is_lit(super::network::Port { node, link: link.index });
            if link.carrier && !lit {
                lost.push(link.index);
            }
            link.carrier = lit;
        }
        lost
    }
}
