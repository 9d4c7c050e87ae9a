//! What is taken from a peer: UPDATEs become paths, after loop checks, policy and the next-hop rule.

use super::machine::Speaker;
use crate::event::Event;
use crate::peer::{NextHopRule, Session};
use crate::policy::Verdict;
use crate::rib::table::Path;
use crate::time::Instant;
use crate::types::{Family, NextHop, PeerId};
use crate::wire::Notification;
use crate::wire::attrs::{Attrs, community, flag, kind, with};
use crate::wire::nlri::Nlri;
use crate::wire::update::{Fault, Update, decode};
use std::net::IpAddr;

impl Speaker {
    /// One UPDATE of an Established peer.
    pub(super) fn on_update(&mut self, now: Instant, id: PeerId, message: &[u8]) {
        let Some(session) = self.members.get(&id).and_then(|member| member.peer.session()).cloned() else {
            return;
        };
        let mut block = std::mem::take(&mut self.scratch);
        match decode(message, &session.codec, &mut block) {
            Ok(update) => self.apply(now, id, &session, &update, &mut block),
            Err(Fault::Reset(notification)) => self.fault(now, id, notification),
        }
        self.scratch = block;
    }

    fn apply(&mut self, now: Instant, id: PeerId, session: &Session, update: &Update<'_>, block: &mut Vec<u8>) {
        if let Some(family) = update.end_of_rib {
            self.on_end_of_rib(now, id, family);
            return;
        }
        self.withdraw_all(id, Family::Ipv4Unicast, update.withdrawn);
        if let Some((family, nlri)) = update.mp_unreach {
            self.withdraw_all(id, family, nlri);
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
        let usable = update.withdraw.is_none() && self.is_acceptable(id, session, Attrs(block));
        if usable && Attrs(block).has_community(community::GRACEFUL_SHUTDOWN) {
            // RFC 8326 §4: in iBGP too, or draining a ToR would move nothing.
            *block = with(block, flag::TRANSITIVE, kind::LOCAL_PREF, Some(&[0; 4]));
        }
        for (family, next_hop, nlri) in parts {
            match next_hop.filter(|_| usable) {
                Some(next_hop) => self.announce_all(now, id, session, (family, next_hop, nlri), block),
                None => self.withdraw_all(id, family, nlri),
            }
        }
        self.check_limit(now, id);
    }

    /// Loops (RFC 4271 §9.1.2, RFC 4456 §8) and policy: what fails is no longer this peer's route.
    fn is_acceptable(&mut self, id: PeerId, session: &Session, attrs: Attrs<'_>) -> bool {
        let looped = attrs.as_path().contains(self.config.asn)
            || attrs.originator_id() == Some(self.config.router_id)
            || attrs.cluster_list().any(|cluster| cluster == self.config.cluster_id);
        let Some(member) = self.members.get_mut(&id) else {
            return false;
        };
        let policy = member.peer.config().import.as_deref();
        let rejected = self.config.policies.verdict(policy, session.codec.ebgp) == Verdict::Reject;
        member.rejected += u64::from(looped || rejected);
        !looped && !rejected
    }

    fn announce_all(
        &mut self,
        now: Instant,
        id: PeerId,
        session: &Session,
        (family, next_hop, nlri): (Family, NextHop, &[u8]),
        block: &[u8],
    ) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let rule = member.peer.config().next_hop;
        let next_hop = self.table.import_next_hop(rule, next_hop, session);
        let hop = self.table.hops.intern(next_hop, session.link);
        let since_s = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        for prefix in Nlri::new(family, nlri) {
            let attrs = self.table.attrs.intern(block);
            let path = Path { peer: id, attrs, hop, since_s, stale: false };
            if self.table.insert(prefix, path) {
                member.held[family.index()] += 1;
            }
        }
    }

    fn withdraw_all(&mut self, id: PeerId, family: Family, nlri: &[u8]) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        for prefix in Nlri::new(family, nlri) {
            if self.table.remove(&prefix, id) {
                member.held[family.index()] = member.held[family.index()].saturating_sub(1);
            }
        }
    }

    /// RFC 4486 §4: Maximum Number of Prefixes Reached.
    fn check_limit(&mut self, now: Instant, id: PeerId) {
        let Some(member) = self.members.get(&id) else {
            return;
        };
        let config = member.peer.config();
        if let Some(limit) = config.max_prefixes
            && member.held.iter().sum::<u64>() > u64::from(limit)
        {
            let name = config.name.clone();
            self.event(Event::MaxPrefixes { peer: id, name, limit });
            self.fault(now, id, Notification::new(Notification::CEASE, 1));
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
        let link_local = match peer {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        if shared { next_hop } else { NextHop { addr: peer, link_local } }
    }
}
