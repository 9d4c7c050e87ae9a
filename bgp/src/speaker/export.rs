//! What a peer is told: eligibility, the attributes and next hop it gets, and packing when its socket has room.

use super::filter::{Offer, Refusal};
use super::machine::{Member, Speaker};
use crate::peer::{NextHopRule, Session};
use crate::policy::{Chosen, RuleId, SetNextHop};
use crate::rib::attrs::AttrsId;
use crate::rib::decide::DEFAULT_LOCAL_PREF;
use crate::rib::nexthop::HopId;
use crate::rib::table::{Entry, Path, SlotId, is_own};
use crate::types::{Family, IpNet, NextHop, PeerId, RouterId};
use crate::wire::attrs::{Attrs, community, flag, kind, with};
use crate::wire::update::{put_announce, put_end_of_rib, put_withdraw};
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Most changes looked at for one filling of the socket: bounds the work of a call.
const BATCH: usize = 2_048;

/// What a peer knows: the place in the log up to which it was told, and one bit per prefix that it was told of.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// Where the first walk over the table is; `None` when it is done.
    walk: Option<Option<IpNet>>,
    pub(super) cursor: u64,
    told: Vec<u64>,
    pub(super) told_count: [u64; 2],
    pub(super) updates: u64,
    end_of_rib: Vec<Family>,
    /// The driver knows that there is something to read.
    pub(super) signalled: bool,
}

impl Out {
    /// A new session: walk the whole table, then follow the log from `cursor`.
    pub(super) fn new(cursor: u64, families: Vec<Family>) -> Self {
        Self { walk: Some(None), cursor, end_of_rib: families, ..Self::default() }
    }

    pub(super) fn was_told(&self, slot: SlotId) -> bool {
        let word = self.told.get(slot as usize / 64).copied().unwrap_or_default();
        word & (1 << (slot % 64)) != 0
    }

    fn set_told(&mut self, slot: SlotId, family: Family, told: bool) {
        if self.was_told(slot) == told {
            return;
        }
        let at = slot as usize / 64;
        if self.told.len() <= at {
            self.told.resize(at + 1, 0);
        }
        self.told[at] ^= 1 << (slot % 64);
        let count = &mut self.told_count[family.index()];
        *count = if told { *count + 1 } else { count.saturating_sub(1) };
    }

    /// Walk the table again (the policy changed, or the peer asked with a ROUTE-REFRESH).
    pub(super) fn restart(&mut self) {
        self.walk = Some(None);
    }

    /// Whether the table has changes, or a walk is left, that this peer was not offered.
    pub(super) fn is_behind(&self, readable: u64) -> bool {
        self.walk.is_some() || self.cursor < readable || !self.end_of_rib.is_empty()
    }
}

/// What makes two prefixes of a batch share their attributes.
type GroupKey = (AttrsId, HopId, PeerId, Vec<RuleId>);

impl Speaker {
    /// Fills `buf` with up to about `limit` octets of UPDATEs for an Established peer; true if more waits.
    pub(super) fn fill(&self, member: &mut Member, buf: &mut BytesMut, limit: usize) -> bool {
        let Some(session) = member.peer.session().cloned() else {
            return false;
        };
        let readable = self.readable();
        while buf.len() < limit {
            let slots = self.next_slots(&mut member.out, readable);
            if slots.is_empty() {
                if member.out.walk.is_none() {
                    for family in std::mem::take(&mut member.out.end_of_rib) {
                        put_end_of_rib(buf, family);
                        member.out.updates += 1;
                    }
                    return false;
                }
                continue;
            }
            self.put_batch(member, &session, &slots, buf);
        }
        true
    }

    /// The next prefixes to look at: of the walk, then of the log.
    fn next_slots(&self, out: &mut Out, readable: u64) -> Vec<SlotId> {
        if let Some(cursor) = out.walk {
            let batch: Vec<_> = self.table.after(cursor).take(BATCH).map(|entry| entry.prefix).collect();
            out.walk = (batch.len() == BATCH).then(|| batch.last().copied());
            let settled = |slot: &SlotId| self.table.entry(*slot).is_some_and(|entry| entry.changed <= readable);
            return batch.iter().filter_map(|prefix| self.table.slot(prefix)).filter(settled).collect();
        }
        let mut slots = Vec::new();
        while slots.len() < BATCH && out.cursor < readable {
            match self.table.next_change(&mut out.cursor) {
                Some(slot) => slots.push(slot),
                None => break,
            }
        }
        slots
    }

    fn put_batch(&self, member: &mut Member, session: &Session, slots: &[SlotId], buf: &mut BytesMut) {
        let mut gone = Vec::new();
        let mut groups: BTreeMap<GroupKey, Vec<(SlotId, IpNet)>> = BTreeMap::new();
        let policy = self.export_policy(member, session);
        for &slot in slots {
            let Some(entry) = self.table.entry(slot) else {
                continue;
            };
            match self.exportable(member, session, &entry, policy) {
                Ok(Offer { path, rule, changes }) => {
                    member.hits.count(rule);
                    let key = (path.attrs, path.hop, path.peer, changes);
                    groups.entry(key).or_default().push((slot, entry.prefix));
                }
                Err(refusal) => {
                    if let Refusal::Policy(rule) = refusal {
                        member.hits.count(rule);
                    }
                    if member.out.was_told(slot) {
                        gone.push((slot, entry.prefix));
                    }
                }
            }
        }
        for (key, members) in groups {
            let next_hop = self.export_next_hop(member, session, &key, policy);
            let block = self.export_block(session, &key, policy);
            for family in Family::ALL {
                let of_family = members.iter().filter(|(_, prefix)| Family::of(prefix) == family);
                let mut prefixes = of_family.clone().map(|(_, prefix)| *prefix).peekable();
                let mut taken = 0;
                while prefixes.peek().is_some() {
                    let count = next_hop.map_or(0, |next_hop| {
                        put_announce(buf, &session.codec, family, &block, &next_hop, &mut prefixes)
                    });
                    if count == 0 {
                        break;
                    }
                    member.out.updates += 1;
                    taken += count;
                }
                for (at, (slot, prefix)) in of_family.enumerate() {
                    if at < taken {
                        member.out.set_told(*slot, family, true);
                    } else if member.out.was_told(*slot) {
                        // It does not fit the peer's maximum message: withdrawn there, never tried in a loop.
                        gone.push((*slot, *prefix));
                    }
                }
            }
        }
        put_gone(member, session, &gone, buf);
    }

    /// The path a peer should be told for an entry, or why none.
    pub(super) fn exportable<'t>(
        &self,
        member: &Member,
        session: &Session,
        entry: &Entry<'t>,
        policy: Chosen<'_>,
    ) -> Result<Offer<'t>, Refusal> {
        let path = entry.best_path().ok_or(Refusal::Because("there is no usable path"))?;
        self.tellable(member, session, entry, path).map_err(Refusal::Because)?;
        self.offered((member, session), (entry, path), policy)
    }

    /// What protocol and role say, before any policy.
    fn tellable(&self, member: &Member, session: &Session, entry: &Entry<'_>, path: &Path) -> Result<(), &'static str> {
        let config = member.peer.config();
        let family = Family::of(&entry.prefix);
        let attrs = Attrs(self.table.attrs.block(path.attrs));
        let local = is_own(path.peer);
        if path.peer == member.peer.id() {
            return Err("it was learnt from this peer");
        }
        if self.config.advertise_after_install && self.fib_failed.contains(&entry.prefix) {
            return Err("the kernel refused it");
        }
        if !session.codec.families[family.index()] {
            return Err("the family was not negotiated");
        }
        if config.originated_only && !local {
            return Err("this role never transits: it tells only what it originates");
        }
        if attrs.has_community(community::NO_ADVERTISE) {
            return Err("NO_ADVERTISE (RFC 1997)");
        }
        if session.codec.ebgp {
            if attrs.has_community(community::NO_EXPORT) || attrs.has_community(community::NO_EXPORT_SUBCONFED) {
                return Err("NO_EXPORT (RFC 1997)");
            }
            if attrs.as_path().contains(session.remote_asn) {
                return Err("the peer's AS is in the path: it would have to drop it");
            }
        } else if !local && !self.reflects(path, config.route_reflector_client) {
            return Err("learnt from an internal peer, and neither end is a reflection client (RFC 4456 §6)");
        }
        if family == Family::Ipv4Unicast && session.local.is_ipv6() && !session.codec.extended_next_hop {
            return Err("the peer cannot take an IPv6 next hop for IPv4 (RFC 8950)");
        }
        Ok(())
    }

    /// RFC 4456 §6: external routes go to every internal peer, a client's to all, a non-client's to clients only.
    fn reflects(&self, path: &Path, to_client: bool) -> bool {
        let Some(source) = self.members.get(&path.peer) else {
            return true;
        };
        let external = source.last.as_ref().is_none_or(|session| session.codec.ebgp);
        external || to_client || source.peer.config().route_reflector_client
    }

    /// The identifier of an internal peer, whose routes are reflected rather than passed on.
    fn internal_source(&self, source: PeerId) -> Option<RouterId> {
        let session = self.members.get(&source)?.last.as_ref()?;
        (!session.codec.ebgp).then_some(session.router_id)
    }

    fn export_block(&self, session: &Session, key: &GroupKey, policy: Chosen<'_>) -> Vec<u8> {
        let (attrs, _, source, changes) = key;
        let block = self.table.attrs.block(*attrs);
        let view = Attrs(block);
        if session.codec.ebgp {
            // RFC 4271 §5.1.4: a MED received from another AS is not passed on; one that our policy sets is.
            let mut out = with(block, 0, kind::MULTI_EXIT_DISC, None);
            if !changes.is_empty() {
                out = policy.changed(&out, changes, self.config.asn);
            }
            let path = Attrs(&out).as_path().prepended(self.config.asn, 1);
            out = with(&out, flag::TRANSITIVE, kind::AS_PATH, Some(&path));
            // RFC 4271 §5.1.5, RFC 4456 §8: internal ones neither.
            for internal in [kind::LOCAL_PREF, kind::ORIGINATOR_ID, kind::CLUSTER_LIST] {
                out = with(&out, 0, internal, None);
            }
            return out;
        }
        let changed = (!changes.is_empty()).then(|| policy.changed(block, changes, self.config.asn));
        let block = changed.as_deref().unwrap_or(block);
        let pref = Attrs(block).local_pref().unwrap_or(DEFAULT_LOCAL_PREF).to_be_bytes();
        let mut out = with(block, flag::TRANSITIVE, kind::LOCAL_PREF, Some(&pref));
        if let Some(originator) = self.internal_source(*source) {
            // RFC 4456 §8: name the originator once, and put our cluster in front.
            let id = view.originator_id().unwrap_or(originator).octets();
            out = with(&out, flag::OPTIONAL, kind::ORIGINATOR_ID, Some(&id));
            let mut clusters = self.config.cluster_id.octets().to_vec();
            clusters.extend_from_slice(view.value(kind::CLUSTER_LIST).unwrap_or_default());
            out = with(&out, flag::OPTIONAL, kind::CLUSTER_LIST, Some(&clusters));
        }
        out
    }

    /// RFC 4271 §5.1.3, RFC 2545 §3, RFC 8950 §3.
    fn export_next_hop(
        &self,
        member: &Member,
        session: &Session,
        key: &GroupKey,
        policy: Chosen<'_>,
    ) -> Option<NextHop> {
        let (_, hop, source, changes) = key;
        let rule = member.peer.config().next_hop;
        let set = if changes.is_empty() { None } else { policy.next_hop(changes) };
        if let Some(SetNextHop::Address(address)) = set {
            return Some(NextHop::new(address));
        }
        let me = set == Some(SetNextHop::Me) || rule == NextHopRule::SelfOnExport;
        if session.codec.ebgp || is_own(*source) || me {
            let own = session.local.ip();
            let link_local = match own {
                IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
                IpAddr::V4(_) | IpAddr::V6(_) => None,
            };
            return Some(NextHop { addr: own, link_local });
        }
        let next_hop = self.table.hops.next_hop(*hop);
        // A link-local next hop means nothing on another link.
        (next_hop.link_local.is_none()).then_some(next_hop)
    }
}

fn put_gone(member: &mut Member, session: &Session, gone: &[(SlotId, IpNet)], buf: &mut BytesMut) {
    for family in Family::ALL {
        let of_family = gone.iter().filter(|(_, prefix)| Family::of(prefix) == family);
        let mut prefixes = of_family.clone().map(|(_, prefix)| *prefix).peekable();
        while prefixes.peek().is_some() {
            if put_withdraw(buf, &session.codec, family, &mut prefixes) == 0 {
                break;
            }
            member.out.updates += 1;
        }
        for (slot, _) in of_family {
            member.out.set_told(*slot, family, false);
        }
    }
}
