//! Several paths of a prefix for one peer (RFC 7911): which of them, under which identifiers, and what changed for whom.
//!
//! Like any batch, this is made once for all peers of a kind: the policy is asked and equal routes are encoded once. Then each peer
//! takes its part: never its own paths, and of the others all, or the first N in the order of the decision process. What it was told
//! are the identifiers of each prefix; what it is not to have of these is withdrawn, and nothing else.

use super::batch::Start;
use super::export::{Out, Route, own_next_hop};
use super::leading::finds_itself;
use super::machine::{Member, Speaker};
use crate::peer::{AddPathSend, Session};
use crate::policy::{Chosen, Hits, RuleId};
use crate::rib::attrs::AttrsId;
use crate::rib::table::{Path, Sendable, SlotId};
use crate::types::{Family, IpNet, NextHop, PeerId};
use crate::wire::attrs::Attrs;
use crate::wire::update::{put_announce, put_withdraw, set_next_hop};
use bytes::BytesMut;
use std::ops::Range;

/// Paths offered beyond N, in place of those that a member does not get because they are its own.
const SPARE: usize = 8;

/// What a run of prefixes comes to for peers that are told of several paths.
#[derive(Debug, Default)]
pub(super) struct PathBatch {
    rows: Vec<Row>,
    /// Of all rows, in each the best first (or in any order where all are sent).
    offers: Vec<PathOffer>,
    segments: Vec<Segment>,
    bytes: BytesMut,
}

/// One prefix.
#[derive(Debug)]
struct Row {
    slot: SlotId,
    prefix: IpNet,
    offers: Range<usize>,
    /// There are no other paths that could be offered.
    complete: bool,
}

/// A path that the policy was asked about.
#[derive(Clone, Debug)]
struct PathOffer {
    item: (u32, IpNet),
    source: PeerId,
    attrs: AttrsId,
    changed: u64,
    rule: Option<RuleId>,
    /// As it is to be sent; `None`: rejected, or there is no way to say it.
    route: Option<Route>,
}

/// Paths that share their attributes.
#[derive(Debug)]
struct Segment {
    family: Family,
    /// Places of its offers, in the order of the bytes.
    offers: Vec<usize>,
    block: Vec<u8>,
    next_hop: NextHop,
    own_next_hop: bool,
    updates: u64,
    bytes: Range<usize>,
}

/// Whose part is taken.
#[derive(Clone, Copy)]
pub(super) struct Reader<'r> {
    pub(super) id: PeerId,
    pub(super) member: &'r Member,
    pub(super) session: &'r Session,
    pub(super) policy: Chosen<'r>,
}

impl Speaker {
    /// Has changes of paths that are not the best noted while somebody is told of several.
    pub(super) fn watch_paths(&mut self) {
        let sessions = self.members.values().filter_map(|member| member.peer.session());
        let several = sessions.into_iter().any(|session| session.codec.add_path_tx.contains(&true));
        self.table.watch_paths(several);
    }

    /// What `slots` come to for peers like this one.
    pub(super) fn make_paths(&self, reader: Reader<'_>, slots: &[SlotId]) -> PathBatch {
        let mut batch = PathBatch::default();
        let most = limit(reader.member).saturating_add(SPARE);
        for &slot in slots {
            let Some(prefix) = self.table.entry(slot).map(|entry| entry.prefix) else {
                continue;
            };
            let first = batch.offers.len();
            let complete = self.offers(reader, (slot, most), |_| true, &mut batch.offers);
            batch.rows.push(Row { slot, prefix, offers: first..batch.offers.len(), complete });
        }
        self.encode_paths(reader, &mut batch);
        batch
    }

    /// Asks the policy about the paths of a slot that `may` lets pass, until `most` are accepted; whether those were all.
    fn offers(
        &self,
        reader: Reader<'_>,
        (slot, most): (SlotId, usize),
        may: impl Fn(&Path) -> bool,
        offers: &mut Vec<PathOffer>,
    ) -> bool {
        let mut accepted = 0;
        // All are told, or there are not more than that: no need to rank them.
        let all = self.table.sendable(slot).count() <= limit(reader.member);
        let ranked = (!all).then(|| self.table.ranked(slot)).into_iter().flatten();
        let unranked = all.then(|| self.table.sendable(slot)).into_iter().flatten();
        for sendable in ranked.chain(unranked).filter(|sendable| may(&sendable.path)) {
            if accepted == most {
                return false;
            }
            if let Some(offer) = self.offer_path(reader, slot, &sendable) {
                accepted += usize::from(offer.route.is_some());
                offers.push(offer);
            }
        }
        true
    }

    fn offer_path(&self, reader: Reader<'_>, slot: SlotId, sendable: &Sendable) -> Option<PathOffer> {
        let Reader { member, session, policy, .. } = reader;
        let entry = self.table.entry(slot)?;
        let path = &sendable.path;
        let mut offer = PathOffer {
            item: (sendable.id, entry.prefix),
            source: path.peer,
            attrs: path.attrs,
            changed: sendable.changed,
            rule: None,
            route: None,
        };
        if self.tellable(member.peer.config(), session, &entry, path).is_err() {
            return None;
        }
        match self.offered((member.peer.config(), session), (&entry, path), policy) {
            Ok(accepted) => {
                offer.rule = accepted.rule;
                offer.route =
                    Some(Route { attrs: path.attrs, hop: path.hop, changes: accepted.changes, cumulative: None });
            }
            Err(super::filter::Refusal::Policy(rule)) => offer.rule = rule,
            Err(super::filter::Refusal::Because(_)) => return None,
        }
        Some(offer)
    }

    /// Encodes equal routes together; those that fit no message are offered to nobody.
    fn encode_paths(&self, reader: Reader<'_>, batch: &mut PathBatch) {
        let mut order: Vec<usize> = (0..batch.offers.len()).filter(|&at| batch.offers[at].route.is_some()).collect();
        let fate = |at: usize| (Family::of(&batch.offers[at].item.1), &batch.offers[at].route, batch.offers[at].source);
        order.sort_by(|&a, &b| fate(a).cmp(&fate(b)));
        let runs: Vec<Vec<usize>> = order.chunk_by(|&a, &b| fate(a) == fate(b)).map(<[usize]>::to_vec).collect();
        for run in runs {
            let taken = self.encode_run(reader, batch, &run);
            for &unfit in run.get(taken..).unwrap_or_default() {
                batch.offers[unfit].route = None;
            }
        }
    }

    /// Encodes routes that share their attributes; how many fit.
    fn encode_run(&self, reader: Reader<'_>, batch: &mut PathBatch, run: &[usize]) -> usize {
        let Reader { member, session, policy, .. } = reader;
        let Some(first) = run.first().map(|&at| &batch.offers[at]) else {
            return 0;
        };
        let Some(route) = &first.route else {
            return 0;
        };
        let (source, family) = (first.source, Family::of(&first.item.1));
        let Some((next_hop, own_next_hop)) =
            self.export_next_hop(member.peer.config(), session, (route, source), policy)
        else {
            return 0;
        };
        let block = self.export_block((session, &member.peer.config().routes), (route, source), policy);
        let start = batch.bytes.len();
        let items: Vec<_> = run.iter().map(|&at| batch.offers[at].item).collect();
        let (updates, taken) = announce(&mut batch.bytes, session, family, (&block, &next_hop), &items);
        if taken > 0 {
            let offers = run[..taken].to_vec();
            let bytes = start..batch.bytes.len();
            batch.segments.push(Segment { family, offers, block, next_hop, own_next_hop, updates, bytes });
        }
        taken
    }

    /// Gives a member its part.
    pub(super) fn tell_paths(
        &self,
        batch: &PathBatch,
        (reader, start, same_session): (Reader<'_>, Start, bool),
        out: &mut Out,
        hits: &mut Hits,
        buf: &mut BytesMut,
    ) {
        let mut chosen = vec![false; batch.offers.len()];
        let mut gone: Vec<(u32, IpNet)> = Vec::new();
        let mut alone: Vec<PathOffer> = Vec::new();
        let since = out.told_since(start);
        let is_new = |offer: &PathOffer| since.is_none_or(|since| offer.changed > since);
        for row in &batch.rows {
            let most = limit(reader.member);
            let offers = batch.offers.get(row.offers.clone()).unwrap_or_default();
            let left_out = |offer: &PathOffer| self.is_left_out(reader, offer.source, offer.attrs);
            let wanted = offers.iter().filter(|offer| offer.route.is_some() && !left_out(offer)).count();
            let mut ids = Vec::new();
            if wanted >= most || row.complete {
                for (at, offer) in row.offers.clone().zip(offers) {
                    if ids.len() < most && !left_out(offer) {
                        hits.count(offer.rule);
                        if offer.route.is_some() {
                            ids.push(offer.item.0);
                            chosen[at] = is_new(offer) || !out.paths.has(row.slot, offer.item.0);
                        }
                    }
                }
            } else {
                // More are its own than there were spare ones: it is told apart.
                let mut own = Vec::new();
                let may = |path: &Path| !self.is_left_out(reader, path.peer, path.attrs);
                self.offers(reader, (row.slot, most), may, &mut own);
                own.retain(|offer| offer.route.is_some());
                ids.extend(own.iter().map(|offer| offer.item.0));
                alone.extend(own.into_iter().filter(|offer| is_new(offer) || !out.paths.has(row.slot, offer.item.0)));
            }
            gone.extend(out.paths.ids(row.slot).filter(|id| !ids.contains(id)).map(|id| (id, row.prefix)));
            out.set_told_paths(row.slot, Family::of(&row.prefix), &ids);
        }
        self.put_chosen(batch, (reader, same_session), &chosen, out, buf);
        for offer in &alone {
            self.put_alone(reader, offer, out, buf);
        }
        out.updates += withdraw(buf, reader.session, &gone);
    }

    /// Whether a member is not to have a path: its own, or one that it would find itself in.
    fn is_left_out(&self, reader: Reader<'_>, source: PeerId, attrs: AttrsId) -> bool {
        let options = &reader.member.peer.config().routes;
        source == reader.id || finds_itself(reader.session, options, Attrs(self.table.attrs.block(attrs)))
    }

    fn put_chosen(
        &self,
        batch: &PathBatch,
        (reader, same_session): (Reader<'_>, bool),
        chosen: &[bool],
        out: &mut Out,
        buf: &mut BytesMut,
    ) {
        for segment in &batch.segments {
            let is_chosen = |at: &&usize| chosen[**at];
            let count = segment.offers.iter().filter(is_chosen).count();
            if count == 0 {
                continue;
            }
            let start = buf.len();
            if count == segment.offers.len() {
                buf.extend_from_slice(batch.bytes.get(segment.bytes.clone()).unwrap_or_default());
                out.updates += segment.updates;
            } else {
                let items: Vec<_> = segment.offers.iter().filter(is_chosen).map(|&at| batch.offers[at].item).collect();
                let attributes = (segment.block.as_slice(), &segment.next_hop);
                out.updates += announce(buf, reader.session, segment.family, attributes, &items).0;
            }
            if segment.own_next_hop && !same_session {
                set_next_hop(
                    &mut buf[start..],
                    &reader.session.codec,
                    &own_next_hop(reader.session, reader.member.peer.config().routes.link_local_form),
                );
            }
        }
    }

    fn put_alone(&self, reader: Reader<'_>, offer: &PathOffer, out: &mut Out, buf: &mut BytesMut) {
        let Reader { member, session, policy, .. } = reader;
        let family = Family::of(&offer.item.1);
        let told = offer.route.as_ref().and_then(|route| {
            let (next_hop, _) = self.export_next_hop(member.peer.config(), session, (route, offer.source), policy)?;
            let block = self.export_block((session, &member.peer.config().routes), (route, offer.source), policy);
            let (updates, taken) = announce(buf, session, family, (&block, &next_hop), &[offer.item]);
            (taken == 1).then_some(updates)
        });
        match told {
            Some(updates) => out.updates += updates,
            // It fits no message: what the peer had under this identifier goes.
            None => {
                out.updates += withdraw(buf, session, &[offer.item]);
                if let Some(slot) = self.table.slot(&offer.item.1) {
                    let rest: Vec<_> = out.paths.ids(slot).filter(|id| *id != offer.item.0).collect();
                    out.set_told_paths(slot, family, &rest);
                }
            }
        }
    }
}

/// Most paths of a prefix that a peer is told.
pub(super) fn limit(member: &Member) -> usize {
    match member.peer.config().add_path.send {
        // Not offered, so never asked.
        AddPathSend::None => 1,
        AddPathSend::All => usize::MAX,
        AddPathSend::Best(count) => usize::from(count.max(1)),
    }
}

/// Appends UPDATEs for items that share their attributes: how many, and how many items they took.
fn announce(
    buf: &mut BytesMut,
    session: &Session,
    family: Family,
    (block, next_hop): (&[u8], &NextHop),
    items: &[(u32, IpNet)],
) -> (u64, usize) {
    let mut items = items.iter().copied().peekable();
    let (mut updates, mut taken) = (0, 0);
    loop {
        let count = put_announce(buf, &session.codec, family, block, next_hop, &mut items);
        if count == 0 {
            return (updates, taken);
        }
        updates += 1;
        taken += count;
    }
}

/// Appends UPDATEs that withdraw paths; how many.
fn withdraw(buf: &mut BytesMut, session: &Session, gone: &[(u32, IpNet)]) -> u64 {
    let mut updates = 0;
    for family in Family::ALL {
        let mut items = gone.iter().copied().filter(|(_, prefix)| Family::of(prefix) == family).peekable();
        while put_withdraw(buf, &session.codec, family, &mut items) > 0 {
            updates += 1;
        }
    }
    updates
}
