//! What is taken from a peer: UPDATEs become paths, after loop checks, policy and the next-hop rule.

use super::filter::{Import, at_peer};
use super::leading;
use super::machine::Speaker;
use super::otc;
use super::refused::Why;
use super::sweep::Held;
use crate::event::Event;
use crate::peer::{MaxPrefixesAction, NextHopRule, Session};
use crate::policy::{Chosen, Verdict};
use crate::rib::table::{AHEAD, Came, Path, PathKey};
use crate::time::Instant;
use crate::types::{Family, IpNet, NextHop, PeerId};
use crate::wire::Notification;
use crate::wire::attrs::{Attrs, community, flag, kind, with};
use crate::wire::nlri::Paths;
use crate::wire::update::{Fault, Update, decode};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

impl Speaker {
    /// One UPDATE of an Established peer.
    pub(super) fn on_update(&mut self, now: Instant, id: PeerId, message: &[u8]) {
        let Some(session) = self.members.get(&id).and_then(|member| member.peer.session()).cloned() else {
            return;
        };
        let mut block = std::mem::take(&mut self.scratch);
        let decoded = decode(message, &session.codec, &mut block);
        if self.monitors.wanted.pre_policy {
            self.observe_received(now, &session, message, decoded.as_ref().ok().map(|update| (update, &block[..])));
        }
        match decoded {
            Ok(update) => self.apply(now, id, &session, &update, &mut block),
            Err(Fault::Reset(notification)) => self.fault(now, id, notification),
        }
        self.scratch = block;
    }

    fn apply(&mut self, now: Instant, id: PeerId, session: &Session, update: &Update<'_>, block: &mut Vec<u8>) {
        if let Some(family) = update.end_of_rib {
            self.on_end_of_rib(now, id, family);
            if self.monitors.wanted.post_policy {
                self.observe_end_of_rib(now, id, family);
            }
            return;
        }
        self.withdraw_all(now, id, session, (Family::Ipv4Unicast, update.withdrawn), None);
        if let Some(gone) = update.mp_unreach {
            self.withdraw_all(now, id, session, gone, None);
        }
        let classic = update.next_hop.map(|hop| NextHop::new(IpAddr::V4(hop)));
        let parts = [
            (Family::Ipv4Unicast, classic, update.nlri),
            update
                .mp_reach
                .map_or((Family::Ipv4Unicast, None, &[][..]), |reach| (reach.family, Some(reach.next_hop), reach.nlri)),
        ];
        if let Some(member) = self.members.get_mut(&id) {
            member.faults += u64::from(update.withdraw.is_some());
        }
        let fault = update.withdraw.map(|(kind, what)| Why::Fault(kind, what));
        let refused = fault.or_else(|| self.unacceptable(id, session, Attrs(block)));
        let usable = refused.is_none();
        if usable && session.codec.ebgp {
            otc::mark_received(session, block);
            if let Some(member) = self.members.get(&id) {
                leading::with_local_as(&member.peer.config().routes, block);
            }
        }
        if usable && Attrs(block).has_community(community::GRACEFUL_SHUTDOWN) {
            // RFC 8326 §4: in iBGP too, or draining a ToR would move nothing.
            *block = with(block, flag::TRANSITIVE, kind::LOCAL_PREF, Some(&[0; 4]));
        }
        for (family, next_hop, nlri) in parts {
            match next_hop.filter(|_| usable) {
                Some(next_hop) => self.announce_all(now, id, session, (family, next_hop, nlri), block),
                // RFC 7606 §2 with RFC 7911 §5: of a peer that sends several paths, only those named here.
                None => self.withdraw_all(now, id, session, (family, nlri), refused),
            }
        }
        if self.monitors.wanted.post_policy {
            self.observe_applied(now, id, session, update);
        }
        self.check_limit(now, id);
    }

    /// Loops (RFC 4271 §9.1.2, RFC 4456 §8) and leaks (RFC 9234 §5): what fails is no longer this peer's route.
    fn unacceptable(&mut self, id: PeerId, session: &Session, attrs: Attrs<'_>) -> Option<Why> {
        let member = self.members.get_mut(&id)?;
        let options = &member.peer.config().routes;
        let looped = leading::is_loop(self.config.asn, options, attrs.as_path())
            || attrs.originator_id() == Some(self.config.router_id)
            || attrs.cluster_list().any(|cluster| cluster == self.config.cluster_id);
        let why = if looped {
            Some(Why::Loop)
        } else if leading::is_first_wrong(session, options, attrs.as_path()) {
            Some(Why::FirstAs)
        } else {
            otc::is_leak(session, attrs).then_some(Why::Leak)
        };
        member.rejected += u64::from(why.is_some());
        why
    }

    fn announce_all(
        &mut self,
        now: Instant,
        id: PeerId,
        session: &Session,
        (family, next_hop, nlri): (Family, NextHop, &[u8]),
        block: &[u8],
    ) {
        let Some(config) = self.members.get(&id).map(|member| member.peer.config()) else {
            return;
        };
        let policies = Arc::clone(&self.config.policies);
        let chosen = policies.choose(config.import.as_deref(), session.codec.ebgp);
        let next_hop = self.table.import_next_hop(config.next_hop, next_hop, session);
        let life = self.table.lives.now(id, family);
        let came = Came::new(now.as_secs(), life);
        let leave = config.routes.leave;
        let mut import = Import { id, session, chosen, block, next_hop, made: Vec::new(), leave };
        let mut held = self.held(id);
        let add_path = session.codec.add_path_rx[family.index()];
        let room = add_path.then_some(usize::from(config.add_path.paths_limit));
        let most = config.max_prefixes.filter(|_| config.routes.max_prefixes_action == MaxPrefixesAction::Discard);
        let paths = Paths::new(family, nlri, add_path);
        let mut ahead = paths.map(|(_, prefix)| prefix);
        for (turn, (path_id, prefix)) in paths.enumerate() {
            if turn % AHEAD == 0 {
                self.table.look_ahead(&mut ahead);
            }
            let key = PathKey { peer: id, id: path_id };
            let accepted = match chosen {
                Chosen::Always(Verdict::Reject) => Err(Why::Policy(None)),
                _ if most.is_some_and(|most| held.of_session() >= u64::from(most)) && !self.has(&prefix, key) => {
                    Err(Why::MaxPrefixes)
                }
                Chosen::Always(Verdict::Accept) | Chosen::Rules(..) if self.has_room(&prefix, key, room) => {
                    self.imported(&mut import, &prefix)
                }
                Chosen::Always(Verdict::Accept) | Chosen::Rules(..) => Err(Why::PathsLimit),
            };
            match accepted {
                Ok((attrs, hop)) => {
                    let path = Path { peer: id, id: path_id, attrs, hop, came };
                    held.came(family, life, self.table.insert(prefix, path));
                }
                Err(why) => {
                    // What was accepted before and no longer is goes: a rejected route replaces the earlier one too.
                    if let Some(came) = self.table.remove(&prefix, key) {
                        held.went(family, life, came);
                    }
                    self.note_refused(now, id, (path_id, prefix), why);
                }
            }
        }
        for (_, attrs, hop) in import.made {
            self.table.attrs.release(attrs);
            self.table.hops.release(hop);
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.held = held;
        }
    }

    fn note_refused(&mut self, now: Instant, id: PeerId, route: (u32, IpNet), why: Why) {
        if let Some(member) = self.members.get_mut(&id) {
            match why {
                Why::Policy(_) | Why::MaxPrefixes => member.prefixes_rejected += 1,
                Why::PathsLimit => member.paths_over_limit += 1,
                // Counted by messages.
                Why::Loop | Why::FirstAs | Why::Leak | Why::Fault(..) => {}
            }
            member.refused.note(now.as_secs(), route, why);
        }
    }

    /// Whether a path of this peer and identifier stands already.
    fn has(&self, prefix: &IpNet, key: PathKey) -> bool {
        self.table.get(prefix).is_some_and(|entry| entry.paths.iter().any(|path| path.key() == key))
    }

    /// Whether one more path of a peer that may send several is taken; a path that is there already always is.
    fn has_room(&self, prefix: &IpNet, key: PathKey, room: Option<usize>) -> bool {
        let Some(room) = room else {
            return true;
        };
        let life = self.table.lives.now(key.peer, Family::of(prefix));
        let entry = self.table.get(prefix);
        let own = |path: &&Path| path.peer == key.peer && path.came.session() == life && path.id != key.id;
        entry.is_none_or(|entry| entry.paths.iter().filter(own).count() < room)
    }

    /// Withdraws, or treats an announcement as if it withdrew: `refused` says why.
    fn withdraw_all(
        &mut self,
        now: Instant,
        id: PeerId,
        session: &Session,
        (family, nlri): (Family, &[u8]),
        refused: Option<Why>,
    ) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let life = self.table.lives.now(id, family);
        let paths = Paths::new(family, nlri, session.codec.add_path_rx[family.index()]);
        let mut ahead = paths.map(|(_, prefix)| prefix);
        for (turn, (path_id, prefix)) in paths.enumerate() {
            if turn % AHEAD == 0 {
                self.table.look_ahead(&mut ahead);
            }
            // RFC 7911 §5: an identifier not seen before is ignored.
            match self.table.remove(&prefix, PathKey { peer: id, id: path_id }) {
                Some(came) => member.held.went(family, life, came),
                None => member.refused.forget((path_id, prefix)),
            }
            if let Some(why) = refused {
                member.refused.note(now.as_secs(), (path_id, prefix), why);
            }
        }
    }

    fn held(&self, id: PeerId) -> Held {
        self.members.get(&id).map_or_else(Held::default, |member| member.held)
    }

    /// RFC 4486 §4: Maximum Number of Prefixes Reached; before that, a warning.
    fn check_limit(&mut self, now: Instant, id: PeerId) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let config = member.peer.config();
        let Some(limit) = config.max_prefixes else {
            return;
        };
        let (options, count) = (config.routes, member.held.of_session());
        let (most, percent) = (u64::from(limit), options.max_prefixes_warn_percent.map(u64::from));
        let near = percent.is_some_and(|percent| count * 100 >= most * percent);
        let is_near = near && !std::mem::replace(&mut member.warned, near);
        member.warned = near;
        let over = count > most && options.max_prefixes_action != MaxPrefixesAction::Discard;
        let is_over = over && !std::mem::replace(&mut member.over, over);
        member.over = over;
        // An ordinary UPDATE ends here: no name is needed for it.
        if is_near {
            let name = self.name(id);
            self.event(Event::NearMaxPrefixes { peer: id, name, limit, count });
        }
        if is_over {
            let name = self.name(id);
            self.event(Event::MaxPrefixes { peer: id, name, limit });
        }
        if over && options.max_prefixes_action == MaxPrefixesAction::Reset {
            self.end_for_prefixes(now, id, options.max_prefixes_restart_s);
        }
    }

    /// Peers that would have been told more than `max_prefixes_out`. No RFC has a subcode for that: the peer learns that it is about
    /// the number of prefixes.
    pub(super) fn end_exceeded(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.exceeded) {
            let Some(config) = self.members.get(&id).map(|member| member.peer.config()) else {
                continue;
            };
            let (name, options) = (config.name.clone(), config.routes);
            let limit = options.max_prefixes_out.unwrap_or_default();
            self.event(Event::MaxPrefixesOut { peer: id, name, limit });
            self.end_for_prefixes(now, id, options.max_prefixes_restart_s);
        }
    }

    fn end_for_prefixes(&mut self, now: Instant, id: PeerId, rest_s: Option<u32>) {
        self.fault(now, id, Notification::new(Notification::CEASE, 1));
        if let Some(seconds) = rest_s
            && let Some(member) = self.members.get_mut(&id)
        {
            member.peer.rest_until(now + Duration::from_secs(u64::from(seconds)));
            self.renew_timer(id);
        }
    }
}

impl crate::rib::table::Table {
    /// The receiver-side rule: a next hop on the link that also holds the peer is used as it is, any other is replaced by the peer.
    fn import_next_hop(&self, rule: NextHopRule, next_hop: NextHop, session: &Session) -> NextHop {
        let peer = session.remote.ip();
        if rule != NextHopRule::PeerOnImport {
            return next_hop;
        }
        let shared = self.hops.connected(peer).is_some_and(|(_, net)| net.contains(&next_hop.addr));
        if shared { next_hop } else { at_peer(session) }
    }
}
