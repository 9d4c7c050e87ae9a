//! BFD in quiet time: every session is Up at both ends and each says the same again and again (RFC 5880 §6.8.7). When each packet is
//! sent is run through with the same jitter; the far end is told how many came and when the last did.

use crate::sim::network::NodeId;
use crate::sim::{Event, Sim};
use std::collections::BTreeMap;
use weft_bgp::time::{Duration, Instant};
use weft_fabric::bfd::{Heard, SessionId, Steady, TTL, wire};

/// Cables that are slower are not quiet: a packet must have come before the next one leaves, 7.5 ms later at least.
const FARTHEST: Duration = Duration::from_millis(5);
/// Sending times are whole milliseconds: a packet that comes at one meets what is sent then, and their order matters.
const SLOT_NS: u32 = 1_000_000;

/// A session, and its other end.
#[derive(Debug)]
pub(super) struct Beating {
    far: (NodeId, SessionId),
    latency: Duration,
    heard: Heard,
}

/// What one end sent.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    count: u64,
    last: Instant,
    before: Instant,
}

impl Sim {
    /// The BFD sessions of each node; `None`: not all of them are quiet.
    pub(super) fn quiet_bfd(&self) -> Option<Vec<Vec<Beating>>> {
        let all = self.machines.iter().map(|machine| machine.bfd.as_ref().map_or(Some(Vec::new()), |bfd| bfd.steady()));
        let all: Vec<Vec<Steady>> = all.collect::<Option<_>>()?;
        let mut by_discriminator: BTreeMap<(NodeId, u32), &Steady> = BTreeMap::new();
        for (node, sessions) in all.iter().enumerate() {
            by_discriminator.extend(sessions.iter().map(|own| ((NodeId(node), own.discriminators.0), own)));
        }
        let beating = |node: usize, own: &Steady| {
            let (to, from, latency) = self.bfd_way(NodeId(node), &own.endpoint)?;
            let far = *by_discriminator.get(&(to.node, own.discriminators.1))?;
            let is_its = far.discriminators.1 == own.discriminators.0;
            let comes_in_time = own.sends_at + latency < far.fails_at;
            let is_apart = latency < FARTHEST && latency.subsec_nanos() % SLOT_NS != 0;
            let first = own.packet;
            let heard = Heard { is_multihop: false, link: to.link, from, ttl: TTL, first, length: wire::LENGTH };
            (is_its && comes_in_time && is_apart).then_some(Beating { far: (to.node, far.id), latency, heard })
        };
        let each =
            all.iter().enumerate().map(|(node, sessions)| sessions.iter().map(|own| beating(node, own)).collect());
        each.collect()
    }

    /// Packets that are under way arrive: how many for which session, named by its node and discriminator, and when the last does.
    fn landing_bfd(&mut self, until: Instant) -> BTreeMap<(NodeId, u32), (u64, Instant)> {
        let mut landing: BTreeMap<(NodeId, u32), (u64, Instant)> = BTreeMap::new();
        self.queue.retain(|at, event| {
            if let Event::BfdPacket(to, heard) = event
                && at <= until
            {
                let (count, last) = landing.entry((*to, addressee(heard))).or_default();
                (*count, *last) = (*count + 1, at.max(*last));
                return false;
            }
            !matches!(event, Event::BfdWake(..))
        });
        landing
    }

    /// Every node sends; who hears of it is told of what comes in time, and the rest is under way.
    pub(super) fn beat_bfd(&mut self, until: Instant, all: Vec<Vec<Beating>>) {
        let landing = self.landing_bfd(until);
        let mut sent = Vec::with_capacity(all.len());
        for (machine, sessions) in self.machines.iter_mut().zip(&all) {
            let mut own = vec![Sent::default(); sessions.len()];
            if let Some(bfd) = &mut machine.bfd {
                bfd.beat(until, |place, at| {
                    if let Some(sent) = own.get_mut(place) {
                        *sent = Sent { count: sent.count + 1, last: at, before: sent.last };
                    }
                });
            }
            sent.push(own);
        }
        for (Beating { far, latency, heard, .. }, sent) in all.into_iter().flatten().zip(sent.into_iter().flatten()) {
            let is_late = sent.count > 0 && sent.last + latency > until;
            let (count, last) = if is_late { (sent.count - 1, sent.before) } else { (sent.count, sent.last) };
            let came = landing.get(&(far.0, addressee(&heard))).copied().unwrap_or_default();
            if is_late {
                self.queue.push(sent.last + latency, Event::BfdPacket(far.0, Box::new(heard)));
            }
            if let Some(bfd) = &mut self.machines[far.0.0].bfd {
                bfd.heard(far.1, came.0 + count, if count > 0 { last + latency } else { came.1 });
            }
        }
    }
}

/// The discriminator of the session that a packet is for (RFC 5880 §4.1).
fn addressee(heard: &Heard) -> u32 {
    let your_discriminator = heard.first.get(8..).and_then(<[u8]>::first_chunk).copied();
    u32::from_be_bytes(your_discriminator.unwrap_or_default())
}
