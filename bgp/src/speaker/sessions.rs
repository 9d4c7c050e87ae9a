//! What happens to a peer's routes as its sessions come and go: convergence at the start, retention over a restart (RFC 4724). Walks
//! over what a lost session leaves behind are in `speaker/sweep`.

use super::Output;
use super::export::Out;
use super::machine::{Member, Speaker};
use crate::event::Event;
use crate::peer::{PeerHistory, PeerOutput, Retain, Session};
use crate::rib::table::PeerFacts;
use crate::time::Instant;
use crate::types::{ConnId, Family, PeerId};
use crate::wire::Notification;
use std::net::SocketAddr;
use std::sync::Arc;

/// Changes that wait for a peer that reads slowly or not at all, beyond four for each prefix of the table. One is four octets.
const LAG_MAX: u64 = if cfg!(test) { 1 << 14 } else { 1 << 20 };

impl Speaker {
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
                PeerOutput::TakenOver => {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.out.end_of_rib.clear();
                        member.out.restart();
                        member.taken_over = true;
                    }
                }
                PeerOutput::Refreshed(family) => {
                    // RFC 7313 §4.2: of a session that was taken over, this is the end of what we missed.
                    if self.members.get(&id).is_some_and(|member| member.taken_over && !member.ended.contains(&family))
                    {
                        self.on_end_of_rib(now, id, family);
                    } else {
                        self.drop_stale(id, &[family]);
                    }
                }
                PeerOutput::Refresh(_) => {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.out.restart();
                        self.news.insert(id);
                    }
                }
                PeerOutput::RefreshBegan(family) => self.begin_refresh(now, id, family),
                PeerOutput::LongLived(families) => {
                    self.begin_long_lived(id, &families);
                    let name = self.name(id);
                    self.event(Event::LongLivedStale { peer: id, name, families });
                }
                PeerOutput::Down { reason, retain } => {
                    self.observe_down(now, id);
                    self.on_down(now, id, reason, &retain);
                }
                PeerOutput::FlushStale(families) => {
                    self.drop_stale(id, &families);
                }
                PeerOutput::Gone => {
                    self.remove_peer(now, id);
                    return;
                }
                PeerOutput::Refused(reason) => {
                    let name = self.name(id);
                    self.event(Event::SessionRefused { peer: id, name, reason });
                }
            }
        }
        self.release_held();
        self.renew_timer(id);
    }

    /// The last transitions and messages of a peer.
    #[must_use]
    pub fn peer_history(&self, id: PeerId) -> Option<PeerHistory> {
        self.members.get(&id).map(|member| member.peer.history())
    }

    /// The name of a peer.
    #[must_use]
    pub fn peer_name(&self, id: PeerId) -> Option<&str> {
        self.members.get(&id).map(|member| member.peer.config().name.as_str())
    }

    pub(super) fn name(&self, id: PeerId) -> String {
        self.members.get(&id).map_or_else(String::new, |member| member.peer.config().name.clone())
    }

    /// Asks a peer for its routes again (RFC 2918); true: it is there and cannot do that.
    pub(super) fn ask_for_routes_of(&mut self, id: PeerId) -> bool {
        let Some(member) = self.members.get_mut(&id) else {
            return false;
        };
        let families: Vec<Family> =
            member.peer.session().map(|session| session.codec.spoken().collect()).unwrap_or_default();
        let asked = families.iter().filter(|family| member.peer.request_refresh(**family)).count();
        asked < families.len()
    }

    /// A peer's routes stay as the old policy left them: that must not go unnoticed.
    pub(super) fn outdate(&mut self, now: Instant, id: PeerId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.held.outdate(now);
            let (name, paths) = (member.peer.config().name.clone(), member.held.of_session());
            self.event(Event::OldPolicy { peer: id, name, paths });
        }
    }

    fn on_connect(&mut self, id: PeerId, conn: ConnId, remote: SocketAddr) {
        self.conns.insert(conn, id);
        let Some(config) = self.members.get(&id).map(|member| member.peer.config()) else {
            return;
        };
        let ttl = self.time_to_live(config);
        let local = config.local_address;
        self.output.push_back(Output::Connect { conn, peer: id, remote, local, ttl });
    }

    fn on_up(&mut self, now: Instant, id: PeerId, session: Arc<Session>) {
        // What is told of a peer's routes depends on what it is.
        self.groups.clear();
        let client = self.members.get(&id).is_some_and(|member| member.peer.config().route_reflector_client);
        let (ebgp, router_id, address) = (session.codec.ebgp, session.router_id, session.remote.ip());
        if self.table.peer(id).is_some_and(|before| before.ebgp != ebgp) {
            // Configured to be of another kind: what is left of its earlier life must not be taken for routes of this one.
            self.drop_stale(id, &Family::ALL);
            self.finish_sweeps(now, id);
        }
        self.table.set_peer(id, PeerFacts { ebgp, router_id, address, client });
        let families = session.codec.spoken().collect();
        let log = (self.readable(), self.table.log_end());
        let asn = session.remote_asn;
        if session.codec.add_path_tx.contains(&true) {
            self.table.watch_paths(true);
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.out = Out::new(log, families);
            member.ended.clear();
            (member.warned, member.over, member.taken_over) = (false, false, false);
            member.last = Some(session);
            self.news.insert(id);
        }
        let name = self.name(id);
        self.observe_up(now, id);
        self.event(Event::SessionUp { peer: id, name, asn });
        self.settle(now);
    }

    fn on_down(&mut self, now: Instant, id: PeerId, reason: String, retain: &Retain) {
        let name = self.name(id);
        self.event(Event::SessionDown { peer: id, name, reason, retained: !retain.session.is_empty() });
        self.leave_behind(now, id, retain);
        // What this session would have been told is nothing against the next.
        self.exceeded.remove(&id);
        if let Some(member) = self.members.get_mut(&id) {
            member.out = Out::default();
            member.refused.clear();
        }
        if self.table.is_watching_paths() {
            self.watch_paths();
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
        self.drop_stale(id, &[family]);
        self.event(Event::EndOfRib { peer: id, family });
        self.settle(now);
    }

    /// A peer for which the log grows without end loses its session (RFC 4486 §4, Out of Resources): nobody's memory depends on
    /// whether another one reads.
    pub(super) fn end_laggards(&mut self, now: Instant) {
        let most = LAG_MAX + 4 * u64::from(self.table.slots());
        let (start, end) = (self.table.log_start(), self.table.log_end());
        if end - start <= most {
            return;
        }
        let lags = |member: &&Member| member.peer.session().is_some() && end.saturating_sub(member.out.cursor) > most;
        let laggards: Vec<_> = self.members.values().filter(lags).map(|member| member.peer.id()).collect();
        for id in laggards {
            self.fault(now, id, Notification::new(Notification::CEASE, 8));
        }
    }
}
