//! Ports of bridges: who was behind one that is down is dead to routes at once, and alive when it is back.

use super::super::ports::{self, Mac};
use super::Worker;
use crate::fib::Member;
use std::io;
use weft_bgp::types::IfIndex;

impl Worker {
    /// Lists what bridges have learnt; notifications follow it from then on.
    pub(super) fn list_learnt(&mut self) {
        if !self.watch.hears_ports() {
            return;
        }
        let watch = &mut self.watch;
        let listed = self.requests.dump(
            ports::RTM_GETNEIGH,
            &ports::learnt_by_bridges(),
            |message| {
                if let Some(message) = message {
                    watch.take_learnt(message.kind, message.payload);
                }
            },
            || (),
        );
        if let Err(error) = listed {
            tracing::debug!(%error, "what bridges have learnt is not listed: notifications will tell");
        }
    }

    /// A link came or went that may be a port.
    pub(super) fn follow_port(&mut self, port: IfIndex, is_usable: bool) {
        if !self.watch.hears_ports() {
            return;
        }
        if is_usable {
            let back = self.watch.ports.back(port);
            self.reached(&back);
            return;
        }
        for (bridge, macs) in self.watch.ports.behind(port) {
            let neighbours = self.neighbours(bridge).unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot list neighbours: who is behind the port is left to timers");
                Vec::new()
            });
            let lost = self.watch.ports.cut(port, &macs, &neighbours);
            for member in &lost {
                self.fib.set_reachable(*member, false);
            }
            if !lost.is_empty() {
                let links = &self.watch.links;
                let (port, bridge) = (links.name(port), links.name(bridge));
                tracing::info!(port, bridge, neighbours = lost.len(), "a port is down: who is behind it is cut off");
                self.watch.set_reachable(&lost, false);
            }
        }
    }

    /// Neighbours that were cut off are not any longer.
    pub(super) fn reached(&mut self, members: &[Member]) {
        for member in members {
            self.fib.set_reachable(*member, true);
        }
        self.watch.set_reachable(members, true);
    }

    /// The neighbours on a link, as the kernel knows them.
    fn neighbours(&mut self, link: IfIndex) -> io::Result<Vec<(Member, Mac)>> {
        let mut all = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let take = |message: Option<&super::wire::Message<'_>>| {
                // A disturbed attempt tells nothing wrong, and the next one tells it again.
                let found = message.and_then(|message| ports::neighbour(message.payload));
                all.extend(found.filter(|(member, _)| member.link == link));
            };
            self.requests.dump(ports::RTM_GETNEIGH, &ports::neighbours_on(link, family), take, || ())?;
        }
        Ok(all)
    }
}
