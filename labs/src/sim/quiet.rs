//! Quiet time: while every session stands and nothing but KEEPALIVEs, router advertisements and BFD's packets is exchanged, no message
//! has to be carried. The timers of each node run alone, with the same jitter; when each KEEPALIVE arrives follows from the cable and from the
//! random numbers of its direction; the far end is told how many came and when the last did. What is on its way in the end is left
//! on its way.
//!
//! ```text
//!   every session stands at both ends, every way is open, no other event before `until` ──▶ else packet by packet
//!   bytes under way now ──▶ each node alone: when it sends ──▶ lanes: when that arrives ──▶ each far end ──▶ bytes under way then
//! ```
//! The state afterwards is that of packet by packet, to the last random number (`sim/quiet/tests.rs`).

mod bfd;
mod lane;

use super::network::{NodeId, Port};
use super::pipe::PipeId;
use super::{Event, Sim};
use bytes::Bytes;
use lane::Lane;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use weft_bgp::peer::Beats;
use weft_bgp::speaker;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{ConnId, IfIndex};
use weft_bgp::wire::{HEADER_BYTES, Kind};
use weft_fabric::node::Input;

/// How long nothing but KEEPALIVEs was said before time is taken to be quiet: what was said last has got across.
const SILENCE: Duration = Duration::from_secs(2);
/// Less quiet time is passed packet by packet. Also longer than the hold time of every session.
const LEAST: Duration = Duration::from_secs(10);
/// Cables that are slower are not quiet: a KEEPALIVE must have come before the next one leaves.
const FARTHEST: Duration = Duration::from_millis(100);
/// How long to go on packet by packet before looking again.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// An end of a connection.
type Side = (PipeId, usize);

/// A stretch of quiet time: up to when, and the sessions of each node in the order of its peers, with what each end sends into.
struct Stretch {
    until: Instant,
    sides: Vec<Vec<(ConnId, Side)>>,
    bfd: Vec<Vec<bfd::Beating>>,
}

/// What is kept of the advertisements of a link: the last two.
type Adverts = BTreeMap<IfIndex, [Option<Instant>; 2]>;

impl Sim {
    /// Passes quiet time up to `until`, or to before the next event; false: there is none.
    pub(super) fn leap(&mut self, until: Instant) -> bool {
        if until.since(self.now) < LEAST || self.now.since(self.last_activity) < SILENCE {
            return false;
        }
        let Some(Stretch { until, sides, bfd }) = self.stretch(until) else {
            return false;
        };
        self.land_discoveries(until);
        self.land_bytes();
        let mut lanes: BTreeMap<Side, Lane> = BTreeMap::new();
        for side in sides.iter().flatten().map(|(_, side)| *side) {
            lanes.extend(self.pipes.get(&side.0).map(|pipe| (side, Lane::new(pipe, side.1))));
        }
        let sent = self.beat(until, &sides, &mut lanes);
        self.hear(&sides, &sent, &lanes);
        self.advertise(until);
        self.beat_bfd(until, bfd);
        self.take_off(until, lanes);
        self.advance(until);
        for node in (0..self.machines.len()).map(NodeId) {
            let machine = &mut self.machines[node.0];
            (machine.armed, machine.bfd_armed) = (None, None);
            self.drain(node);
            self.arm_bfd(node);
        }
        true
    }

    /// Up to when time is quiet, and between whom.
    fn stretch(&self, until: Instant) -> Option<Stretch> {
        let before = |at: Instant| Instant(at.0.saturating_sub(1));
        let mut stretch = Stretch { until, sides: Vec::with_capacity(self.machines.len()), bfd: self.quiet_bfd()? };
        let mut ends: BTreeMap<PipeId, usize> = BTreeMap::new();
        let mut longest = LEAST;
        for machine in &self.machines {
            let Some(daemon) = &machine.daemon else {
                stretch.sides.push(Vec::new());
                continue;
            };
            if machine.fib_busy {
                return None;
            }
            stretch.until = stretch.until.min(before(daemon.quiet_until()?));
            let mut sides = Vec::new();
            for speaker::Steady { conn, patience } in daemon.speaker().steady() {
                let side = *machine.conns.get(&conn)?;
                if let Some((hold_at, hold)) = patience {
                    longest = longest.max(hold);
                    // What is under way or due within a third of the hold time comes long before that.
                    (hold_at.since(self.now) > hold / 2).then_some(())?;
                }
                self.is_open(side).then_some(())?;
                *ends.entry(side.0).or_default() += 1;
                sides.push((conn, side));
            }
            (sides.len() == machine.conns.len()).then_some(())?;
            stretch.sides.push(sides);
        }
        ends.values().all(|ends| *ends == 2).then_some(())?;
        for (at, event) in self.queue.iter() {
            match event {
                Event::Wake(..) | Event::Discovery { .. } | Event::BfdWake(..) | Event::BfdPacket(..) => {}
                Event::Deliver(id, _) if ends.contains_key(id) => (at.since(self.now) < FARTHEST).then_some(())?,
                Event::Start(_)
                | Event::Links(..)
                | Event::LinkDown(..)
                | Event::Syn(..)
                | Event::SynAck(..)
                | Event::Deliver(..)
                | Event::Reset(..)
                | Event::Bfd(..)
                | Event::Install(..)
                | Event::Installed(..)
                | Event::Fault(_) => stretch.until = stretch.until.min(before(at)),
            }
        }
        (stretch.until.since(self.now) > longest).then_some(stretch)
    }

    /// Bytes go through this end of a connection at once, and no more than a KEEPALIVE is on its way.
    fn is_open(&self, (id, side): Side) -> bool {
        self.pipes.get(&id).is_some_and(|pipe| {
            let half = &pipe.halves[side];
            let [near, far] = [pipe.ends[side], pipe.ends[1 - side]];
            let stands = pipe.stands && near.open && far.open && pipe.linger.is_none();
            let is_near = self.network.distance(near.port, far.port).is_some() && pipe.latency < FARTHEST;
            stands && is_near && half.flows() && half.bytes <= HEADER_BYTES
        })
    }

    /// Advertisements that are under way arrive.
    fn land_discoveries(&mut self, until: Instant) {
        let mut landing = Vec::new();
        self.queue.retain(|at, event| {
            if let Event::Discovery { to, from, solicit } = event
                && at <= until
            {
                landing.push((at, *to, *from, *solicit));
                return false;
            }
            // Everybody is asked anew in the end.
            !matches!(event, Event::Wake(..))
        });
        landing.sort_by_key(|(at, ..)| *at);
        for (at, to, from, solicit) in landing {
            self.tell_discovery(at, to, from, solicit);
        }
    }

    fn tell_discovery(&mut self, at: Instant, to: Port, from: Ipv6Addr, solicit: bool) {
        let machine = &mut self.machines[to.node.0];
        if let Some(daemon) = machine.daemon.as_mut().filter(|_| machine.ra_links.contains(&to.link)) {
            let link = to.link;
            daemon.handle(
                at,
                if solicit {
                    Input::RouterSolicitation { link, from, mac: None }
                } else {
                    Input::RouterAdvertisement { link, from, lifetime_s: 0, mac: None }
                },
            );
        }
    }

    /// Bytes that are under way arrive.
    fn land_bytes(&mut self) {
        let under_way = self.queue.iter().filter_map(|(at, event)| {
            let Event::Deliver(id, side) = event else {
                return None;
            };
            self.is_open((*id, *side)).then_some((at, *id, *side))
        });
        let landing: Vec<_> = under_way.collect();
        let landed: BTreeSet<Side> = landing.iter().map(|(_, id, side)| (*id, *side)).collect();
        self.queue.retain(|_, event| !matches!(event, Event::Deliver(id, side) if landed.contains(&(*id, *side))));
        for (at, id, side) in landing {
            let Some(pipe) = self.pipes.get_mut(&id) else {
                continue;
            };
            let to = pipe.ends[1 - side];
            for (at, data) in lane::land(at, &mut pipe.halves[side], self.settings.chunk_bytes) {
                self.tell_bytes(at, to.port.node, to.conn, data);
            }
        }
    }

    fn tell_bytes(&mut self, at: Instant, node: NodeId, conn: ConnId, data: Bytes) {
        if let Some(daemon) = &mut self.machines[node.0].daemon {
            daemon.handle(at, Input::Bgp(speaker::Input::Received { conn, data }));
        }
    }

    /// Every node sends its KEEPALIVEs; what each sent.
    fn beat(
        &mut self,
        until: Instant,
        sides: &[Vec<(ConnId, Side)>],
        lanes: &mut BTreeMap<Side, Lane>,
    ) -> Vec<Vec<Beats>> {
        let chunk = self.settings.chunk_bytes;
        let mut all = Vec::with_capacity(sides.len());
        for (machine, sides) in self.machines.iter_mut().zip(sides) {
            let mut beats = vec![Beats::default(); sides.len()];
            let mut own: Vec<Option<Lane>> = sides.iter().map(|(_, side)| lanes.remove(side)).collect();
            if let Some(daemon) = &mut machine.daemon {
                daemon.keep_alive(until, |place, at| {
                    if let (Some(beats), Some(Some(lane))) = (beats.get_mut(place), own.get_mut(place)) {
                        beats.sent += 1;
                        beats.last_sent = at;
                        lane.send(at, until, chunk);
                    }
                });
            }
            self.counters.messages[Kind::Keepalive.index()] += beats.iter().map(|beats| beats.sent).sum::<u64>();
            lanes.extend(sides.iter().zip(own).filter_map(|((_, side), lane)| Some((*side, lane?))));
            all.push(beats);
        }
        all
    }

    /// Every node is told what it sent and heard.
    fn hear(&mut self, sides: &[Vec<(ConnId, Side)>], sent: &[Vec<Beats>], lanes: &BTreeMap<Side, Lane>) {
        for ((machine, sides), sent) in self.machines.iter_mut().zip(sides).zip(sent) {
            let all = sides.iter().zip(sent).map(|((conn, (id, side)), beats)| {
                let heard = lanes.get(&(*id, 1 - side)).map(|lane| lane.heard).unwrap_or_default();
                (*conn, Beats { heard: heard.0, last_heard: heard.1, ..*beats })
            });
            if let Some(daemon) = &mut machine.daemon {
                daemon.exchanged(all);
            }
        }
    }

    /// Every node advertises; who hears of it is told of the last one that comes in time, and later ones are under way.
    fn advertise(&mut self, until: Instant) {
        let mut landing = Vec::new();
        for at in 0..self.machines.len() {
            let mut adverts = Adverts::new();
            if let Some(daemon) = &mut self.machines[at].daemon {
                daemon.advertise(until, |link, at| {
                    let [_, last] = adverts.get(&link).copied().unwrap_or_default();
                    adverts.insert(link, [last, Some(at)]);
                });
            }
            for (link, times) in adverts {
                let port = Port { node: NodeId(at), link };
                let from = self.machines[at].link(link).and_then(weft_fabric::link::LinkInfo::link_local_v6);
                let heard = self
                    .network
                    .reach(port)
                    .iter()
                    .flat_map(|(to, latency)| times.into_iter().flatten().map(move |at| (at + *latency, *to)));
                for (at, to) in heard {
                    let Some(from) = from else {
                        continue;
                    };
                    if at <= until {
                        landing.push((at, to, from));
                    } else {
                        self.queue.push(at, Event::Discovery { to, from, solicit: false });
                    }
                }
            }
        }
        landing.sort_by_key(|(at, ..)| *at);
        for (at, to, from) in landing {
            self.tell_discovery(at, to, from, false);
        }
    }

    /// What has not arrived by `until` is under way: in the cable, and in the far end's buffer.
    fn take_off(&mut self, until: Instant, lanes: BTreeMap<Side, Lane>) {
        for ((id, side), lane) in lanes {
            let Some(pipe) = self.pipes.get_mut(&id) else {
                continue;
            };
            let to = pipe.ends[1 - side];
            let (begun, due) = lane.leave(&mut pipe.halves[side]);
            if let Some(due) = due {
                self.queue.push(due, Event::Deliver(id, side));
            }
            if !begun.is_empty() {
                self.tell_bytes(until, to.port.node, to.conn, begun);
            }
        }
    }
}

#[cfg(test)]
mod tests;
