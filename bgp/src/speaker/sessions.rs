//! What happens to a peer's routes as its sessions come and go: convergence at the start, retention over a restart (RFC 4724), and
//! walks in slices over what a lost session leaves behind.

use super::Output;
use super::export::Out;
use super::machine::Speaker;
use crate::event::Event;
use crate::peer::{PeerOutput, RemoteAs, Session};
use crate::rib::table::{Path, PeerFacts, SlotId};
use crate::time::Instant;
use crate::types::{ConnId, Family, PeerId};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// Prefixes looked at in one slice of a walk over a lost peer's routes.
const SLICE: SlotId = 20_000;

/// A walk over the paths of one peer, in slices.
#[derive(Debug)]
pub(super) struct Sweep {
    peer: PeerId,
    families: Vec<Family>,
    only_stale: bool,
    next: SlotId,
}

impl Speaker {
    /// One slice of the oldest walk.
    pub(super) fn sweep(&mut self) {
        if let Some(mut sweep) = self.sweeps.pop_front()
            && !self.sweep_slice(&mut sweep, SLICE)
        {
            self.sweeps.push_front(sweep);
        }
    }

    /// Acts on what a peer reports.
    pub(super) fn drain(&mut self, now: Instant, id: PeerId) {
        while let Some(output) = self.members.get_mut(&id).and_then(|member| member.peer.poll()) {
            match output {
                PeerOutput::Connect { conn, remote } => self.on_connect(id, conn, remote),
                PeerOutput::Close { conn, flush } => {
                    if !flush {
                        self.conns.remove(&conn);
                    }
                    self.output.push_back(Output::Close { conn, flush });
                }
                PeerOutput::Writable(conn) => self.output.push_back(Output::Writable(conn)),
                PeerOutput::Up(session) => self.on_up(now, id, session),
                PeerOutput::Update(message) => {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.updates += 1;
                    }
                    self.on_update(now, id, &message);
                }
                PeerOutput::Refresh(_) => {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.out.restart();
                        self.has_news = true;
                    }
                }
                PeerOutput::Down { reason, retain } => self.on_down(id, reason, &retain),
                PeerOutput::FlushStale(families) => {
                    self.sweeps.push_back(Sweep { peer: id, families, only_stale: true, next: 0 });
                }
                PeerOutput::Refused(reason) => {
                    let name = self.name(id);
                    self.event(Event::SessionRefused { peer: id, name, reason });
                }
            }
        }
        self.renew_timer(id);
    }

    fn name(&self, id: PeerId) -> String {
        self.members.get(&id).map_or_else(String::new, |member| member.peer.config().name.clone())
    }

    fn on_connect(&mut self, id: PeerId, conn: ConnId, remote: SocketAddr) {
        self.conns.insert(conn, id);
        let Some(config) = self.members.get(&id).map(|member| member.peer.config()) else {
            return;
        };
        // RFC 4271 §5.1.3: an external peer is on the link unless it is said to be farther away.
        let internal = config.remote_asn == RemoteAs::Is(self.config.asn);
        let ttl = if internal || config.multihop { 64 } else { 1 };
        let local = config.local_address;
        self.output.push_back(Output::Connect { conn, peer: id, remote, local, ttl });
    }

    fn on_up(&mut self, now: Instant, id: PeerId, session: Arc<Session>) {
        // What is told of a peer's routes depends on what it is.
        self.groups.clear();
        // Whatever was to be dropped of an earlier session goes before the first route of this one.
        self.finish_sweeps(id);
        let facts = PeerFacts { ebgp: session.codec.ebgp, router_id: session.router_id, address: session.remote.ip() };
        self.table.set_peer(id, facts);
        let families: Vec<_> =
            Family::ALL.into_iter().filter(|family| session.codec.families[family.index()]).collect();
        let log = (self.readable(), self.table.log_end());
        let asn = session.remote_asn;
        if let Some(member) = self.members.get_mut(&id) {
            member.out = Out::new(log, families);
            member.ended.clear();
            member.last = Some(session);
            self.has_news = true;
        }
        let name = self.name(id);
        self.event(Event::SessionUp { peer: id, name, asn });
        self.settle(now);
    }

    fn on_down(&mut self, id: PeerId, reason: String, retain: &[Family]) {
        let name = self.name(id);
        self.event(Event::SessionDown { peer: id, name, reason, retained: !retain.is_empty() });
        // A sweep that an End-of-RIB began is about what was stale before this loss.
        self.finish_sweeps(id);
        if !retain.is_empty() {
            self.table.set_stale(id, retain);
        }
        let families: Vec<_> = Family::ALL.into_iter().filter(|family| !retain.contains(family)).collect();
        self.sweeps.push_back(Sweep { peer: id, families, only_stale: false, next: 0 });
        if let Some(member) = self.members.get_mut(&id) {
            member.out = Out::default();
        }
    }

    /// RFC 4724 §4.2: what the peer did not announce again is gone.
    pub(super) fn on_end_of_rib(&mut self, now: Instant, id: PeerId, family: Family) {
        if let Some(member) = self.members.get_mut(&id) {
            member.peer.swept(family);
            if !member.ended.contains(&family) {
                member.ended.push(family);
            }
        }
        self.sweeps.push_back(Sweep { peer: id, families: vec![family], only_stale: true, next: 0 });
        self.event(Event::EndOfRib { peer: id, family });
        self.settle(now);
    }

    pub(super) fn finish_sweeps(&mut self, id: PeerId) {
        let (mine, others) = std::mem::take(&mut self.sweeps).into_iter().partition(|sweep| sweep.peer == id);
        self.sweeps = others;
        let mine: VecDeque<Sweep> = mine;
        for mut sweep in mine {
            self.sweep_slice(&mut sweep, SlotId::MAX);
        }
    }

    pub(super) fn sweep_now(&mut self, id: PeerId, families: &[Family], only_stale: bool) {
        self.finish_sweeps(id);
        let mut sweep = Sweep { peer: id, families: families.to_vec(), only_stale, next: 0 };
        self.sweep_slice(&mut sweep, SlotId::MAX);
    }

    /// Removes paths over `count` slots; true when the walk is done.
    fn sweep_slice(&mut self, sweep: &mut Sweep, count: SlotId) -> bool {
        let end = sweep.next.saturating_add(count).min(self.table.slots());
        for slot in sweep.next..end {
            let Some(entry) = self.table.entry(slot) else {
                continue;
            };
            let prefix = entry.prefix;
            let hit = |path: &Path| path.peer == sweep.peer && (path.stale || !sweep.only_stale);
            if !sweep.families.contains(&Family::of(&prefix)) || !entry.paths.iter().any(hit) {
                continue;
            }
            if self.table.remove_at(slot, sweep.peer)
                && let Some(member) = self.members.get_mut(&sweep.peer)
            {
                let held = &mut member.held[Family::of(&prefix).index()];
                *held = held.saturating_sub(1);
            }
        }
        sweep.next = end;
        end == self.table.slots()
    }
}
