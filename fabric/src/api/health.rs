//! The answer to `GET /v1/health`: whether the daemon has converged, and every check by its name.

use super::answers::Health;
use super::build::{ESTABLISHED, interfaces, neighbors, rpki};
use super::{Surroundings, bfd, drain, vips};
use crate::health::{self, LATELY, Picture};
use crate::node::{Happened, Node};
use std::collections::BTreeMap;
use weft_bgp::event::Event;
use weft_bgp::time::Instant;

/// The answer.
pub(super) fn health(node: &Node, now: Instant, around: &Surroundings) -> Health {
    let summary = node.speaker().summary();
    let neighbors = neighbors(node, now).neighbors;
    let checks = health::examine(&Picture {
        uptime_s: now.as_secs(),
        neighbors: &neighbors,
        interfaces: &interfaces(node, now).interfaces,
        addresses: &node.config().addresses,
        losses: &losses(node, now),
        unresolved: &node.speaker().unresolved_next_hops(),
        summary: &summary,
        fib: around.fib.as_ref(),
        imports: (!node.config().import.kernel.is_empty()).then(|| node.import_left_out()),
        bfd: &bfd::sessions(node, now, around.bfd.as_ref()),
        vips: &vips::vips(node, now).vips,
        dhcp: &super::dhcp::dhcp(node, now),
        drains: &drain::drains(node, now, &around.drain).drains,
        rpki: &rpki(node, now).caches,
        observers: &around.observers,
        sandbox: around.sandbox.as_ref(),
        certificate: around.doors.certificate.as_ref(),
    });
    let established = neighbors.iter().filter(|peer| peer.state == ESTABLISHED).count();
    let reason = if !summary.converged {
        Some(format!("waiting for End-of-RIB of {}", summary.waiting_for.join(", ")))
    } else if established == 0 && !neighbors.is_empty() {
        Some(format!("no session: none of {} neighbors is Established", neighbors.len()))
    } else {
        None
    };
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Health {
        healthy: reason.is_none(),
        reason,
        established: count(established),
        neighbors: count(neighbors.len()),
        kernel_waiting: summary.fib_changes_waiting,
        kernel_refused: summary.fib_failed,
        checks,
    }
}

/// How often each peer lost its session lately, as far as the history reaches.
fn losses(node: &Node, now: Instant) -> Vec<(String, u64)> {
    let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in node.history().filter(|entry| now.since(entry.at) < LATELY) {
        if let Happened::Bgp(Event::SessionDown { name, .. }) = &entry.event {
            *lost.entry(name).or_default() += entry.times;
        }
    }
    lost.into_iter().map(|(name, times)| (name.to_owned(), times)).collect()
}
