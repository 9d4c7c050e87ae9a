//! What a kernel does for its daemon: shows interfaces, carries neighbour discovery, installs routes and says when it is done.

use super::network::{NodeId, Port};
use super::{Event, Sim};
use std::fmt;
use std::net::Ipv6Addr;
use weft_bgp::speaker::Want;
use weft_fabric::node::Input;

/// Most changes in one batch.
const BATCH: u64 = 64;

impl Sim {
    pub(super) fn start(&mut self, node: NodeId) {
        let seed = self.rng.next_u64();
        let machine = &mut self.machines[node.0];
        if machine.daemon.is_some() || !machine.powered {
            return;
        }
        machine.start(self.now, seed);
        self.trace.line(self.now, &machine.name, format_args!("daemon starts"));
        self.last_activity = self.now;
        self.watch.everything_changed();
        self.drain(node);
        if self.machines[node.0].drained {
            self.set_service(node);
        }
        self.notice_links(node);
    }

    /// The daemon will see its interfaces as they are then.
    pub(super) fn notice_links(&mut self, node: NodeId) {
        let wait = self.wait(self.settings.notice_us);
        let life = self.machines[node.0].life;
        self.queue.push(self.now + wait, Event::Links(node, life));
    }

    /// An advertisement or solicitation goes to everybody on the link.
    pub(super) fn discovery(&mut self, port: Port, solicit: bool) {
        let from = self.machines[port.node.0].link(port.link).and_then(weft_fabric::link::LinkInfo::link_local_v6);
        let Some(from) = from else {
            return;
        };
        for (to, latency) in self.network.reach(port) {
            self.queue.push(self.now + *latency, Event::Discovery { to: *to, from, solicit });
        }
    }

    pub(super) fn on_discovery(&mut self, to: Port, from: Ipv6Addr, solicit: bool) {
        if !self.machines[to.node.0].ra_links.contains(&to.link) {
            return;
        }
        let link = to.link;
        let input = if solicit {
            Input::RouterSolicitation { link, from, mac: None }
        } else {
            Input::RouterAdvertisement { link, from, lifetime_s: 0, mac: None }
        };
        self.handle(to.node, input);
    }

    pub(super) fn on_fib_ready(&mut self, node: NodeId) {
        let machine = &mut self.machines[node.0];
        if !machine.fib_busy {
            machine.fib_busy = true;
            let life = machine.life;
            let wait = self.wait(self.settings.install_us) / 2;
            self.queue.push(self.now + wait, Event::Install(node, life));
        }
    }

    /// One batch goes into the kernel; the acknowledgement follows.
    pub(super) fn on_install(&mut self, node: NodeId, life: u32) {
        if !self.is_current(node, life) {
            return;
        }
        let most = usize::try_from(1 + self.rng.next_u64() % BATCH).unwrap_or(1);
        let machine = &mut self.machines[node.0];
        let Some(daemon) = machine.daemon.as_mut() else {
            return;
        };
        let changes = daemon.poll_fib(most);
        let Some(seq) = changes.last().map(|change| change.seq) else {
            machine.fib_busy = false;
            if std::mem::take(&mut machine.sweep_due) {
                for prefix in machine.fib.sweep() {
                    self.trace.line(self.now, &machine.name, format_args!("fib  {prefix} swept"));
                    self.watch.changed(prefix);
                    self.last_activity = self.now;
                }
            }
            return;
        };
        for change in changes {
            self.trace.line(self.now, &machine.name, format_args!("fib  {} {}", change.prefix, Shown(&change.want)));
            if machine.fib.apply(change.prefix, change.want) {
                self.counters.fib_changes += 1;
                self.last_activity = self.now;
                self.watch.changed(change.prefix);
            }
        }
        let wait = self.wait(self.settings.install_us) / 2;
        self.queue.push(self.now + wait, Event::Installed(node, life, seq));
    }

    pub(super) fn on_installed(&mut self, node: NodeId, life: u32, seq: u64) {
        if self.is_current(node, life) {
            self.handle(node, Input::FibAck { seq, failed: Vec::new() });
            self.queue.push(self.now, Event::Install(node, life));
        }
    }
}

/// What a prefix leads to, in short.
struct Shown<'a>(&'a Want);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Want::Nothing => f.write_str("gone"),
            Want::Discard => f.write_str("discard"),
            Want::Hops(hops) => {
                f.write_str("via")?;
                hops.iter().try_for_each(|hop| write!(f, " {}%{}", hop.gateway, hop.link.0))
            }
        }
    }
}
