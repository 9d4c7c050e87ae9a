//! What a peer is told: eligibility, the attributes and next hop it gets, and what it knows. Packing is in `speaker/batch`.

use super::batch::Start;
use super::filter::{Offer, Refusal};
use super::leading::{self, finds_itself};
use super::long_lived::{as_long_lived, may_be_told_stale};
use super::machine::Speaker;
use super::otc;
use super::told::ToldPaths;
use crate::peer::{LinkLocalForm, NextHopRule, PeerConfig, RouteOptions, Session, Tell};
use crate::policy::{Chosen, RuleId, SetNextHop};
use crate::rib::attrs::AttrsId;
use crate::rib::decide::DEFAULT_LOCAL_PREF;
use crate::rib::nexthop::HopId;
use crate::rib::table::{Entry, LOCAL, Path, SlotId, is_own};
use crate::types::{Asn, Family, NextHop, PeerId, RouterId};
use crate::wire::attrs::{Attrs, community, edited, flag, kind, with};
use crate::wire::community::{Bandwidth, outside};
use crate::wire::refresh::Subtype;
use std::net::{IpAddr, Ipv6Addr};

/// What a peer knows: the place in the log up to which it was told, and one bit per prefix that it was told of.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// Where the walk over the table is; `None` when it is done.
    walk: Option<SlotId>,
    /// Nothing was told yet.
    fresh: bool,
    pub(super) cursor: u64,
    told: Vec<u64>,
    /// The same for families of which several paths are told.
    pub(super) paths: ToldPaths,
    /// The end of the log when the walk began: it passes over what has a change behind the cursor, which is told with its change, of
    /// families with several paths with all paths of the prefix.
    whole_until: u64,
    pub(super) told_count: [u64; 2],
    pub(super) updates: u64,
    pub(super) end_of_rib: Vec<Family>,
    refresh: Refresh,
    /// Up to where the log must be told before End-of-RIB means anything: what the kernel is still busy with belongs to it, or
    /// the peer would drop, as stale, what comes a moment later (RFC 4724 §4.2).
    pub(super) whole: u64,
    /// The driver knows that there is something to read.
    pub(super) signalled: bool,
}

impl Out {
    /// A new session: walk the whole table, then follow the log from `cursor`; End-of-RIB comes behind `whole`.
    pub(super) fn new((cursor, whole): (u64, u64), families: Vec<Family>) -> Self {
        Self { walk: Some(0), fresh: true, cursor, whole, end_of_rib: families, ..Self::default() }
    }

    /// End-of-RIB, once, when all that belongs before it was told.
    pub(super) fn take_end_of_rib(&mut self, readable: u64) -> Vec<Family> {
        if readable < self.whole { Vec::new() } else { std::mem::take(&mut self.end_of_rib) }
    }

    /// Before the first batch: the walk covers all that changed until now.
    pub(super) fn begin(&mut self, readable: u64, log_end: u64) {
        if std::mem::take(&mut self.fresh) {
            self.cursor = self.cursor.max(readable);
        }
        if self.walk == Some(0) {
            self.whole_until = log_end;
        }
    }

    /// Of the paths that the peer was told, those that changed behind this number of the log are told again in a batch from `start`;
    /// `None`: all.
    pub(super) const fn told_since(&self, start: Start) -> Option<u64> {
        match start {
            Start::Log(cursor) if cursor >= self.whole_until => Some(cursor),
            Start::Log(_) | Start::Walk(..) => None,
        }
    }

    /// Where the next batch starts; `None`: this peer knows everything.
    pub(super) fn next_start(&self, readable: u64) -> Option<Start> {
        match self.walk {
            Some(slot) => Some(Start::Walk(slot, self.cursor)),
            None => (self.cursor < readable).then_some(Start::Log(self.cursor)),
        }
    }

    /// A batch was told.
    pub(super) const fn advance(&mut self, next: Option<Start>) {
        match next {
            Some(Start::Walk(slot, _)) => self.walk = Some(slot),
            Some(Start::Log(cursor)) => self.cursor = cursor,
            None => self.walk = None,
        }
    }

    pub(super) fn was_told(&self, slot: SlotId) -> bool {
        self.word(slot / 64) & (1 << (slot % 64)) != 0 || self.paths.has_any(slot)
    }

    fn word(&self, at: u32) -> u64 {
        self.told.get(at as usize).copied().unwrap_or_default()
    }

    /// How many of these were told.
    pub(super) fn count_told(&self, marks: &[(u32, u64)]) -> u64 {
        marks.iter().map(|&(word, mask)| u64::from((self.word(word) & mask).count_ones())).sum()
    }

    /// Which of these were told.
    pub(super) fn told_of<'m>(&'m self, marks: &'m [(u32, u64)]) -> impl Iterator<Item = SlotId> + 'm {
        let told = marks.iter().map(|&(word, mask)| (word, self.word(word) & mask));
        told.flat_map(|(word, bits)| (0..64).filter(move |bit| bits & (1 << bit) != 0).map(move |bit| word * 64 + bit))
    }

    pub(super) fn set_told(&mut self, marks: &[(u32, u64)], family: Family, told: bool) {
        let count = &mut self.told_count[family.index()];
        for &(at, mask) in marks {
            let at = at as usize;
            if self.told.len() <= at {
                self.told.resize(at + 1, 0);
            }
            let old = self.told[at];
            let new = if told { old | mask } else { old & !mask };
            self.told[at] = new;
            *count = (*count + u64::from(new.count_ones())).saturating_sub(u64::from(old.count_ones()));
        }
    }

    /// The peer knows exactly these paths of a prefix.
    pub(super) fn set_told_paths(&mut self, slot: SlotId, family: Family, ids: &[u32]) {
        let before = self.paths.ids(slot).count();
        self.paths.set(slot, ids);
        let count = &mut self.told_count[family.index()];
        *count = (*count + ids.len() as u64).saturating_sub(before as u64);
    }

    /// Walk the table again (the policy changed, or the peer asked with a ROUTE-REFRESH). RFC 7313 §4.1: no BoRR before End-of-RIB.
    pub(super) fn restart(&mut self) {
        self.walk = Some(0);
        if self.end_of_rib.is_empty() {
            self.refresh = Refresh::Due;
        }
    }

    /// Where a refresh begins and ends (RFC 7313 §4.1).
    pub(super) fn take_mark(&mut self) -> Option<Subtype> {
        match self.refresh {
            Refresh::Due => {
                self.refresh = Refresh::UnderWay;
                Some(Subtype::Begin)
            }
            // What the walk passed over because a change of it comes by the log belongs to it, or the peer would drop it meanwhile.
            Refresh::UnderWay if self.walk.is_none() && self.cursor >= self.whole_until => {
                self.refresh = Refresh::None;
                Some(Subtype::End)
            }
            Refresh::None | Refresh::UnderWay => None,
        }
    }

    /// Whether everything up to this number of the log was told, and no walk is left.
    pub(super) fn has_told(&self, mark: u64) -> bool {
        self.walk.is_none() && self.cursor >= mark && self.refresh == Refresh::None && self.end_of_rib.is_empty()
    }

    /// Whether the table has changes, or a walk is left, that this peer was not offered.
    pub(super) fn is_behind(&self, readable: u64) -> bool {
        self.next_start(readable).is_some()
            || self.refresh != Refresh::None
            || (readable >= self.whole && !self.end_of_rib.is_empty())
    }
}

/// A walk that tells a peer everything again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Refresh {
    #[default]
    None,
    /// BoRR is to be sent.
    Due,
    /// It was; EoRR follows the walk.
    UnderWay,
}

/// What makes two prefixes share their attributes and next hop, whoever they came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    pub(super) attrs: AttrsId,
    pub(super) hop: HopId,
    pub(super) changes: Vec<RuleId>,
    /// What a rule among these writes as the bandwidth of all next hops together: the bits of [`Bandwidth`], which have an order.
    pub(super) cumulative: Option<u32>,
}

impl Speaker {
    /// The path a peer should be told for an entry, or why none.
    pub(super) fn exportable<'t>(
        &self,
        (id, config): (PeerId, &PeerConfig),
        session: &Session,
        entry: &Entry<'t>,
        policy: Chosen<'_>,
    ) -> Result<Offer<'t>, Refusal> {
        let path = entry.best_path().ok_or(Refusal::Because("there is no usable path"))?;
        if path.peer == id {
            return Err(Refusal::Because("it was learnt from this peer"));
        }
        if finds_itself(session, &config.routes, Attrs(self.table.attrs.block(path.attrs))) {
            return Err(Refusal::Because("the peer's AS is in the path: it would have to drop it"));
        }
        self.tellable(config, session, entry, path).map_err(Refusal::Because)?;
        self.offered((config, session), (entry, path), policy)
    }

    /// What protocol and role say of a peer of this kind, before any policy.
    pub(super) fn tellable(
        &self,
        config: &PeerConfig,
        session: &Session,
        entry: &Entry<'_>,
        path: &Path,
    ) -> Result<(), &'static str> {
        let family = Family::of(&entry.prefix);
        let attrs = Attrs(self.table.attrs.block(path.attrs));
        let local = is_own(path.peer);
        if self.config.advertise_after_install && self.fib_failed.contains(&entry.prefix) {
            return Err("the kernel refused it");
        }
        if !session.codec.families[family.index()] {
            return Err("the family was not negotiated");
        }
        match config.routes.tell {
            Tell::All => {}
            Tell::Addresses if path.peer == LOCAL && self.config.addresses.contains(&entry.prefix) => {}
            Tell::Addresses => return Err("this node is drained: it tells its own addresses alone"),
            Tell::Nothing => return Err("the link to this peer is drained: nothing is told there"),
        }
        if config.originated_only && !local {
            return Err("this role never transits: it tells only what it originates");
        }
        if attrs.has_community(community::NO_ADVERTISE) {
            return Err("NO_ADVERTISE (RFC 1997)");
        }
        if !may_be_told_stale(session, &config.routes) && attrs.has_community(community::LLGR_STALE) {
            return Err("it is long-lived stale, and the peer does not know such routes (RFC 9494 §4.3)");
        }
        if session.codec.ebgp {
            if attrs.has_community(community::NO_EXPORT) || attrs.has_community(community::NO_EXPORT_SUBCONFED) {
                return Err("NO_EXPORT (RFC 1997)");
            }
            if otc::stays_below(session, attrs) {
                return Err("OTC: only to customers (RFC 9234 §5)");
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
        self.table.peer(path.peer).is_none_or(|source| source.ebgp || source.client || to_client)
    }

    /// The identifier of an internal peer, whose routes are reflected rather than passed on.
    fn internal_source(&self, source: PeerId) -> Option<RouterId> {
        let facts = self.table.peer(source)?;
        (!facts.ebgp).then_some(facts.router_id)
    }

    pub(super) fn export_block(
        &self,
        (session, options): (&Session, &RouteOptions),
        key: (&Route, PeerId),
        policy: Chosen<'_>,
    ) -> Vec<u8> {
        let mut out = self.told_block((session, options), key, policy);
        if Attrs(self.table.attrs.block(key.0.attrs)).has_community(community::LLGR_STALE) {
            out = as_long_lived(session, out);
        }
        if options.graceful_shutdown && !Attrs(&out).has_community(community::GRACEFUL_SHUTDOWN) {
            // RFC 8326 §4.1: towards whoever is to look for another way.
            let mut value = Attrs(&out).value(kind::COMMUNITIES).unwrap_or_default().to_vec();
            value.extend(community::GRACEFUL_SHUTDOWN.to_be_bytes());
            out = with(&out, flag::OPTIONAL | flag::TRANSITIVE, kind::COMMUNITIES, Some(&value));
            if !session.codec.ebgp {
                out = with(&out, flag::TRANSITIVE, kind::LOCAL_PREF, Some(&[0; 4]));
            }
        }
        out
    }

    fn told_block(
        &self,
        (session, options): (&Session, &RouteOptions),
        key: (&Route, PeerId),
        policy: Chosen<'_>,
    ) -> Vec<u8> {
        let (Route { attrs, changes, cumulative, .. }, source) = key;
        let block = self.table.attrs.block(*attrs);
        let view = Attrs(block);
        let bandwidth = cumulative.and_then(|bits| Bandwidth::new(f32::from_bits(bits)));
        let changed_by_policy = |block: &[u8]| policy.changed(block, changes, self.config.asn, bandwidth);
        if session.codec.ebgp {
            // What must not leave the AS goes (RFC 4360 §6); what our policy adds for this peer is meant for it.
            let block = &*outside(block);
            // RFC 4271 §5.1.4: a MED received from another AS is not passed on; one that our policy sets is.
            let changed =
                (!changes.is_empty()).then(|| changed_by_policy(&with(block, 0, kind::MULTI_EXIT_DISC, None)));
            let block = changed.as_deref().unwrap_or(block);
            let path = leading::told(self.config.asn, session, options, Attrs(block).as_path());
            let med = Attrs(block).value(kind::MULTI_EXIT_DISC).filter(|_| changed.is_some());
            let edits = [
                (flag::TRANSITIVE, kind::AS_PATH, Some(path.as_slice())),
                (flag::OPTIONAL, kind::MULTI_EXIT_DISC, med),
                // RFC 4271 §5.1.5, RFC 4456 §8: internal ones neither.
                (0, kind::LOCAL_PREF, None),
                (0, kind::ORIGINATOR_ID, None),
                (0, kind::CLUSTER_LIST, None),
            ];
            // RFC 9234 §5: by the AS that the peer knows.
            let own = options.local_as.map_or(self.config.asn, |local| local.asn);
            return otc::mark_told(session, own, edited(block, &edits));
        }
        let changed = (!changes.is_empty()).then(|| changed_by_policy(block));
        let block = changed.as_deref().unwrap_or(block);
        let pref = Attrs(block).local_pref().unwrap_or(DEFAULT_LOCAL_PREF).to_be_bytes();
        let mut out = with(block, flag::TRANSITIVE, kind::LOCAL_PREF, Some(&pref));
        if let Some(originator) = self.internal_source(source) {
            // RFC 4456 §8: name the originator once, and put our cluster in front.
            let id = view.originator_id().unwrap_or(originator).octets();
            out = with(&out, flag::OPTIONAL, kind::ORIGINATOR_ID, Some(&id));
            let mut clusters = self.config.cluster_id.octets().to_vec();
            clusters.extend_from_slice(view.value(kind::CLUSTER_LIST).unwrap_or_default());
            out = with(&out, flag::OPTIONAL, kind::CLUSTER_LIST, Some(&clusters));
        }
        out
    }

    /// RFC 4271 §5.1.3, RFC 2545 §3, RFC 8950 §3. True: it is ourselves on this session.
    pub(super) fn export_next_hop(
        &self,
        config: &PeerConfig,
        session: &Session,
        key: (&Route, PeerId),
        policy: Chosen<'_>,
    ) -> Option<(NextHop, bool)> {
        let (Route { hop, changes, .. }, source) = key;
        let rule = config.next_hop;
        let set = if changes.is_empty() { None } else { policy.next_hop(changes) };
        if let Some(SetNextHop::Address(address)) = set {
            return Some((NextHop::new(address), false));
        }
        let me = set == Some(SetNextHop::Me) || rule == NextHopRule::SelfOnExport;
        if session.codec.ebgp || is_own(source) || me {
            return Some((own_next_hop(session, config.routes.link_local_form), true));
        }
        let next_hop = self.table.hops.next_hop(*hop);
        // A link-local next hop means nothing on another link.
        (next_hop.link_local.is_none()).then_some((next_hop, false))
    }
}

/// Ourselves, as the peer of this session reaches us.
pub(super) fn own_next_hop(session: &Session, form: LinkLocalForm) -> NextHop {
    let addr = session.local.ip();
    let IpAddr::V6(v6) = addr else {
        return NextHop::new(addr);
    };
    if !v6.is_unicast_link_local() {
        return NextHop::new(addr);
    }
    // The encoder writes `addr`, and behind it the link-local address if there is one.
    match form {
        // What was agreed (draft-ietf-idr-linklocal-capability §4) is what is sent.
        _ if session.codec.link_local_next_hop => NextHop::new(addr),
        LinkLocalForm::Single => NextHop::new(addr),
        LinkLocalForm::Auto | LinkLocalForm::Twice => NextHop { addr, link_local: Some(v6) },
        LinkLocalForm::Unspecified => NextHop { addr: IpAddr::V6(Ipv6Addr::UNSPECIFIED), link_local: Some(v6) },
    }
}

/// One bit for each AS of a path; several may share one.
pub(super) fn marked_asns(attrs: Attrs<'_>) -> u64 {
    attrs.as_path().segments().flat_map(|segment| segment.asns()).fold(0, |all, asn| all | mark_of(asn))
}

/// The bit of an AS.
pub(super) const fn mark_of(asn: Asn) -> u64 {
    1 << (asn.0.wrapping_mul(0x9e37_79b9) >> 26)
}
