//! Update groups: peers that are told the same way share the work. A batch is what a run of the log (or of the first walk) comes to
//! for all of them, encoded once; each then takes it as its socket has room.
//!
//! A batch is only a saving, never a state: what a member was told is one bit per prefix of its own, and a batch is used again only
//! while no prefix in it has changed. So a member that lags behind, or reads alone, is told exactly what it would be told anyway:
//! the latest state of each prefix once, and a withdrawal of what it was told and nothing else.

use super::export::{Out, Route, mark_of, marked_asns, own_next_hop};
use super::filter::{Offer, Refusal};
use super::leading::finds_itself;
use super::machine::{Member, Speaker};
use super::paths::{PathBatch, Reader};
use crate::peer::{AddPathSend, NextHopRule, RemovePrivateAs, RouteOptions, Session, Tell};
use crate::policy::{Chosen, Hits, RuleId};
use crate::rib::attrs::AttrsId;
use crate::rib::nexthop::HopId;
use crate::rib::table::{AGGREGATE, SlotId};
use crate::types::{Asn, ConnId, Family, IpNet, NextHop, PeerId};
use crate::wire::attrs::Attrs;
use crate::wire::capability::Role;
use crate::wire::update::{put_announce, put_end_of_rib, put_withdraw, set_next_hop};
use crate::wire::{Codec, refresh};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::iter::{Map, Peekable};
use std::net::IpAddr;
use std::ops::Range;
use std::slice;
use std::sync::Arc;

/// Most changes looked at for one batch: bounds the work of a call.
const BATCH: u32 = 2_048;
/// Most batches in one call, whether or not there is something to tell in them.
const BATCHES: usize = 16;
/// Most of them that are made by it: whose routes they are is told nothing of them, and others wait meanwhile.
const MADE: usize = 2;
/// Paths of a batch's prefixes, if several are told, after which no prefix is added: bounds the work of a call too.
const PATHS: usize = 8_192;
/// Kinds of peers whose batches are kept at a time.
const GROUPS: usize = 16;
/// Batches kept for each kind: a member that is further behind makes its own. Those that all have passed are forgotten sooner; this
/// many hold the host routes of a hundred racks.
const KEPT: usize = 64;
/// The source of what has no path.
const NOBODY: PeerId = PeerId(AGGREGATE.0 - 1);

/// What two peers must have in common to be told the same, but for their own routes and for next hops that are ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Likeness {
    codec: Codec,
    /// Our end of the session: IPv6, and link-local. The address itself is written last.
    local: (bool, bool),
    client: bool,
    next_hop: NextHopRule,
    originated_only: bool,
    export: Option<String>,
    add_path: AddPathSend,
    routes: RouteOptions,
    /// What is told depends on the peer's AS, or on what we are to it (RFC 9234).
    asn: Option<Asn>,
    role: Option<Role>,
    /// The policy asks who the peer is: then nobody is like it.
    only: Option<PeerId>,
    /// It knows long-lived stale routes (RFC 9494 §4.3).
    long_lived: bool,
}

/// Peers of a kind, and what was last made for them.
#[derive(Debug)]
pub(super) struct Group {
    like: Likeness,
    kept: VecDeque<Arc<Batch>>,
}

/// Where a batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// At this slot of the first walk, of a reader that follows the log from here.
    Walk(SlotId, u64),
    /// At this number of the log.
    Log(u64),
}

/// What a run of changes comes to.
#[derive(Debug)]
pub(super) struct Batch {
    start: Start,
    /// Where the next one starts; `None` behind the end of the walk.
    next: Option<Start>,
    /// State of the table when it was made.
    made: Made,
    /// On whose session, and where we are on it.
    conn: ConnId,
    next_hop: NextHop,
    segments: Vec<Segment>,
    bytes: BytesMut,
    /// Bits of slots: word and mask.
    marks: Vec<(u32, u64)>,
    /// Of families of which several paths are told.
    paths: PathBatch,
}

/// How far the log went, and how many of its changes had been overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Made {
    log_end: u64,
    readable: u64,
    overtaken: u64,
}

/// UPDATEs of one source and one attribute set, or withdrawals.
#[derive(Debug)]
struct Segment {
    /// Not a withdrawal.
    announce: bool,
    source: PeerId,
    /// Attributes as in the table, where it matters what is in them.
    attrs: Option<AttrsId>,
    /// The ASs of their path: most peers see at once that they are not in it.
    asns: u64,
    /// The next hop is ourselves: another session may have another address.
    own_next_hop: bool,
    rule: Option<RuleId>,
    family: Family,
    updates: u64,
    prefixes: u64,
    bytes: Range<usize>,
    marks: Range<usize>,
}

/// What becomes of a prefix. In this order, those that share an UPDATE stand together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fate {
    route: Option<Route>,
    source: PeerId,
    /// Attributes that decide whether a member is left out, where that matters.
    attrs: Option<AttrsId>,
    rule: Option<RuleId>,
    family: Family,
}

/// A prefix of a batch under way.
#[derive(Debug)]
struct Item {
    fate: Fate,
    slot: SlotId,
    prefix: IpNet,
}

/// Prefixes of some items.
type Prefixes<'i> = Peekable<Map<slice::Iter<'i, Item>, fn(&Item) -> IpNet>>;

impl Speaker {
    /// Fills `buf` with up to about `limit` octets of UPDATEs for an Established peer; true if more waits.
    pub(super) fn fill(&mut self, id: PeerId, buf: &mut BytesMut, limit: usize) -> bool {
        let Some(member) = self.members.get_mut(&id) else {
            return false;
        };
        let Some(session) = member.peer.session().map(Arc::clone) else {
            return false;
        };
        if self.exceeded.contains(&id) {
            return false;
        }
        let most = member.peer.config().routes.max_prefixes_out;
        let mut out = std::mem::take(&mut member.out);
        let mut hits = std::mem::take(&mut member.hits);
        let readable = self.readable();
        out.begin(readable, self.table.log_end());
        let (mut more, mut made) = (true, 0);
        for _ in 0..BATCHES {
            if !more || buf.len() >= limit || made >= MADE {
                break;
            }
            if let Some(mark) = out.take_mark()
                && session.enhanced_refresh
            {
                session.codec.spoken().for_each(|family| refresh::put(buf, family, mark));
            }
            if let Some(start) = out.next_start(readable) {
                if let Some((batch, is_new)) = self.batch(id, &session, start, readable) {
                    made += usize::from(is_new);
                    let told = buf.len();
                    self.tell(&batch, (id, &session), &mut out, &mut hits, buf);
                    out.advance(batch.next);
                    if most.is_some_and(|most| out.told_count.iter().sum::<u64>() > u64::from(most)) {
                        // Nothing of what would be too much; the next call with `Tick` ends the session.
                        buf.truncate(told);
                        self.exceeded.insert(id);
                        more = false;
                    }
                }
            } else {
                for family in out.take_end_of_rib(readable) {
                    put_end_of_rib(buf, family);
                    out.updates += 1;
                }
                more = false;
            }
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.out = out;
            member.hits = hits;
        }
        more
    }

    /// Forgets batches that every reader has passed.
    pub(super) fn trim_batches(&mut self) {
        let start = self.table.log_start();
        for group in &mut self.groups {
            group.kept.retain(|batch| matches!(batch.start, Start::Log(at) if at >= start));
        }
    }

    /// Whether there is no batch to forget.
    pub(super) fn keeps_no_batch(&self) -> bool {
        self.groups.iter().all(|group| group.kept.is_empty())
    }

    /// The batch that begins at `start`, and whether it is new: one that was made before, if it still holds.
    fn batch(&mut self, id: PeerId, session: &Session, start: Start, readable: u64) -> Option<(Arc<Batch>, bool)> {
        let member = self.members.get(&id)?;
        let like = self.likeness(member, session);
        let several = session.codec.add_path_tx.contains(&true);
        let overtaken = if several { self.table.overtaken_paths() } else { self.table.overtaken() };
        let made = Made { log_end: self.table.log_end(), readable, overtaken };
        let holds = |batch: &&Arc<Batch>| {
            batch.start == start
                && match start {
                    Start::Walk(..) => batch.made == made,
                    Start::Log(_) => batch.made.overtaken == overtaken,
                }
        };
        let place = self.groups.iter().position(|group| group.like == like);
        if let Some(batch) = place.and_then(|place| self.groups[place].kept.iter().find(holds)) {
            return Some((Arc::clone(batch), false));
        }
        let batch = Arc::new(self.make_batch(member, session, start, made));
        let place = place.unwrap_or_else(|| {
            if self.groups.len() >= GROUPS {
                self.groups.remove(0);
            }
            self.groups.push(Group { like, kept: VecDeque::new() });
            self.groups.len() - 1
        });
        let kept = &mut self.groups[place].kept;
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&batch));
        Some((batch, true))
    }

    fn likeness(&self, member: &Member, session: &Session) -> Likeness {
        let config = member.peer.config();
        let local = session.local.ip();
        let link_local = matches!(local, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let only = self.export_policy(member, session).asks_of_peer().then(|| member.peer.id());
        let by_asn = config.routes.as_override || config.routes.remove_private_as != RemovePrivateAs::No;
        Likeness {
            codec: session.codec,
            local: (local.is_ipv6(), link_local),
            client: config.route_reflector_client,
            next_hop: config.next_hop,
            originated_only: config.originated_only,
            export: config.export.clone(),
            add_path: config.add_path.send,
            routes: config.routes,
            asn: by_asn.then_some(session.remote_asn),
            role: session.role,
            only,
            long_lived: session.knows_long_lived,
        }
    }

    fn make_batch(&self, member: &Member, session: &Session, start: Start, made: Made) -> Batch {
        let (mut slots, next) = self.slots_from(start, made.readable, &session.codec);
        let policy = self.export_policy(member, session);
        let mut paths = PathBatch::default();
        if session.codec.add_path_tx.contains(&true) {
            let several = |slot: &SlotId| self.sends_paths(&session.codec, *slot);
            let (with_paths, others): (Vec<_>, Vec<_>) = slots.into_iter().partition(several);
            let reader = Reader { id: member.peer.id(), member, session, policy };
            paths = self.make_paths(reader, &with_paths);
            slots = others;
        }
        let mut last = None;
        let items = slots.into_iter().filter_map(|slot| self.item((member, session, policy), slot, &mut last));
        let mut items: Vec<_> = items.collect();
        items.sort_by(|a, b| a.fate.cmp(&b.fate));
        let (bytes, marks, conn) = (BytesMut::new(), Vec::new(), session.conn);
        let next_hop = own_next_hop(session, member.peer.config().routes.link_local_form);
        let mut batch = Batch { start, next, made, conn, next_hop, segments: Vec::new(), bytes, marks, paths };
        let mut unfit = Vec::new();
        for run in items.chunk_by(|a, b| a.fate == b.fate) {
            let Some((route, first)) = run.first().and_then(|item| Some((item.fate.route.as_ref()?, item))) else {
                batch.put_gone(&session.codec, run);
                continue;
            };
            let (source, family) = (first.fate.source, first.fate.family);
            let taken = self.export_next_hop(member.peer.config(), session, (route, source), policy).map_or(
                0,
                |(next_hop, own)| {
                    let block = self.export_block((session, &member.peer.config().routes), (route, source), policy);
                    batch.put(run, own, |buf, prefixes| {
                        put_announce(buf, &session.codec, family, &block, &next_hop, prefixes)
                    })
                },
            );
            // What does not fit the peer's maximum message is withdrawn there, never tried in a loop.
            unfit.extend(run.iter().skip(taken).map(|item| {
                let fate = Fate { route: None, source, attrs: None, rule: None, family };
                Item { fate, slot: item.slot, prefix: item.prefix }
            }));
        }
        for run in unfit.chunk_by(|a, b| a.fate == b.fate) {
            batch.put_gone(&session.codec, run);
        }
        for segment in &mut batch.segments {
            segment.asns = segment.attrs.map_or(0, |attrs| marked_asns(Attrs(self.table.attrs.block(attrs))));
        }
        batch
    }

    /// The slots of a batch, and where the next one starts.
    fn slots_from(&self, start: Start, readable: u64, codec: &Codec) -> (Vec<SlotId>, Option<Start>) {
        if codec.add_path_tx.contains(&true) {
            return self.slots_of_paths(start, readable, codec);
        }
        match start {
            Start::Walk(first, cursor) => {
                let end = first.saturating_add(BATCH).min(self.table.slots());
                let settled = |slot: &SlotId| self.table.is_settled(*slot, cursor);
                let next = (end < self.table.slots()).then_some(Start::Walk(end, cursor));
                ((first..end).filter(settled).collect(), next)
            }
            Start::Log(first) => {
                // Batches end at round numbers, so that members which began at different ones meet.
                let end = readable.min((first / u64::from(BATCH) + 1) * u64::from(BATCH));
                ((first..end).filter_map(|change| self.table.change_at(change)).collect(), Some(Start::Log(end)))
            }
        }
    }

    /// The same where several paths of a family are told: any of them may have changed.
    fn slots_of_paths(&self, start: Start, readable: u64, codec: &Codec) -> (Vec<SlotId>, Option<Start>) {
        let (mut slots, mut paths) = (Vec::new(), 0);
        let mut add = |slot: SlotId| {
            paths += self.table.entry(slot).map_or(0, |entry| entry.paths.len());
            slots.push(slot);
            paths >= PATHS
        };
        match start {
            Start::Walk(first, cursor) => {
                let last = first.saturating_add(BATCH).min(self.table.slots());
                let settled = |slot: &SlotId| {
                    let entry = self.table.entry(*slot);
                    let several = self.sends_paths(codec, *slot);
                    let changed = |best| if several { self.table.paths_changed(*slot) } else { best };
                    entry.is_some_and(|entry| changed(entry.changed) <= cursor)
                };
                let full = (first..last).filter(settled).find(|slot| add(*slot));
                let end = full.map_or(last, |slot| slot + 1);
                let next = (end < self.table.slots()).then_some(Start::Walk(end, cursor));
                (slots, next)
            }
            Start::Log(first) => {
                let last = readable.min((first / u64::from(BATCH) + 1) * u64::from(BATCH));
                let full = (first..last).find(|&change| {
                    let best = self.table.change_at(change).filter(|slot| !self.sends_paths(codec, *slot));
                    let any = self.table.path_change_at(change).filter(|slot| self.sends_paths(codec, *slot));
                    best.or(any).is_some_and(&mut add)
                });
                (slots, Some(Start::Log(full.map_or(last, |change| change + 1))))
            }
        }
    }

    /// Whether several paths of this slot are told on a session.
    fn sends_paths(&self, codec: &Codec, slot: SlotId) -> bool {
        self.table.entry(slot).is_some_and(|entry| codec.add_path_tx[Family::of(&entry.prefix).index()])
    }

    /// What becomes of a prefix. Equal routes arrive together: `last` is the fate of the one before.
    fn item(
        &self,
        (member, session, policy): (&Member, &Session, Chosen<'_>),
        slot: SlotId,
        last: &mut Option<(AttrsId, HopId, Fate)>,
    ) -> Option<Item> {
        let entry = self.table.entry(slot)?;
        let prefix = entry.prefix;
        let gone = Fate { route: None, source: NOBODY, attrs: None, rule: None, family: Family::of(&prefix) };
        let Some(path) = entry.best_path() else {
            return Some(Item { fate: gone, slot, prefix });
        };
        if let Some((attrs, hop, fate)) = last
            && (*attrs, *hop, fate.source, fate.family) == (path.attrs, path.hop, path.peer, gone.family)
        {
            return Some(Item { fate: fate.clone(), slot, prefix });
        }
        let offer = match self.tellable(member.peer.config(), session, &entry, path) {
            Ok(()) => self.offered((member.peer.config(), session), (&entry, path), policy),
            Err(why) => Err(Refusal::Because(why)),
        };
        let (source, attrs) = (path.peer, Some(path.attrs));
        let fate = match offer {
            Ok(Offer { path, rule, changes }) => {
                let cumulative = entry.bandwidth.filter(|_| policy.writes_cumulative(&changes));
                let cumulative = cumulative.map(|rate| rate.octets_per_s().to_bits());
                let route = Route { attrs: path.attrs, hop: path.hop, changes, cumulative };
                Fate { route: Some(route), source, attrs, rule, ..gone }
            }
            Err(Refusal::Policy(rule)) if rule.is_some() => Fate { source, attrs, rule, ..gone },
            Err(Refusal::Policy(_) | Refusal::Because(_)) => gone,
        };
        // Rules, what the kernel refused, and which addresses are ours are about the prefix.
        let is_alike = member.peer.config().routes.tell != Tell::Addresses;
        if matches!(policy, Chosen::Always(_)) && self.fib_failed.is_empty() && is_alike {
            *last = Some((path.attrs, path.hop, fate.clone()));
        }
        Some(Item { fate, slot, prefix })
    }

    /// Gives a member its part of a batch.
    fn tell(&self, batch: &Batch, reader: (PeerId, &Session), out: &mut Out, hits: &mut Hits, buf: &mut BytesMut) {
        let (id, session) = reader;
        let options = self.members.get(&id).map(|member| member.peer.config().routes).unwrap_or_default();
        let (next_hop, asn) = (own_next_hop(session, options.link_local_form), mark_of(session.remote_asn));
        for segment in &batch.segments {
            let bytes = batch.bytes.get(segment.bytes.clone()).unwrap_or_default();
            let marks = batch.marks.get(segment.marks.clone()).unwrap_or_default();
            let finds_itself = |attrs: &AttrsId| {
                segment.asns & asn != 0 && finds_itself(session, &options, Attrs(self.table.attrs.block(*attrs)))
            };
            let left_out = segment.source == id || segment.attrs.as_ref().is_some_and(finds_itself);
            if !left_out {
                hits.count_many(segment.rule, segment.prefixes);
            }
            if segment.announce && !left_out {
                let start = buf.len();
                buf.extend_from_slice(bytes);
                if segment.own_next_hop && batch.next_hop != next_hop {
                    set_next_hop(&mut buf[start..], &session.codec, &next_hop);
                }
                out.set_told(marks, segment.family, true);
                out.updates += segment.updates;
                continue;
            }
            match out.count_told(marks) {
                0 => continue,
                all if all == segment.prefixes && !segment.announce => {
                    buf.extend_from_slice(bytes);
                    out.updates += segment.updates;
                }
                _ => self.withdraw_told(session, segment.family, marks, out, buf),
            }
            out.set_told(marks, segment.family, false);
        }
        if session.codec.add_path_tx.contains(&true)
            && let Some(member) = self.members.get(&id)
        {
            let reader = Reader { id, member, session, policy: self.export_policy(member, session) };
            self.tell_paths(&batch.paths, (reader, batch.start, batch.conn == session.conn), out, hits, buf);
        }
    }

    /// Withdraws those of some prefixes that this member was told.
    fn withdraw_told(
        &self,
        session: &Session,
        family: Family,
        marks: &[(u32, u64)],
        out: &mut Out,
        buf: &mut BytesMut,
    ) {
        let told = out.told_of(marks).filter_map(|slot| self.table.entry(slot)).map(|entry| entry.prefix);
        let mut prefixes = told.peekable();
        let mut updates = 0;
        while put_withdraw(buf, &session.codec, family, &mut prefixes) > 0 {
            updates += 1;
        }
        drop(prefixes);
        out.updates += updates;
    }
}

impl Batch {
    /// Adds UPDATEs for a run of items that share their fate, as many as `encode` makes of them; how many items they took.
    fn put(
        &mut self,
        run: &[Item],
        own_next_hop: bool,
        mut encode: impl FnMut(&mut BytesMut, &mut Prefixes<'_>) -> usize,
    ) -> usize {
        let Some(Fate { route, source, attrs, rule, family }) = run.first().map(|item| &item.fate) else {
            return 0;
        };
        let (first_byte, first_mark) = (self.bytes.len(), self.marks.len());
        let mut prefixes: Prefixes<'_> = run.iter().map((|item| item.prefix) as fn(&Item) -> IpNet).peekable();
        let (mut updates, mut taken) = (0, 0);
        loop {
            let count = encode(&mut self.bytes, &mut prefixes);
            if count == 0 {
                break;
            }
            updates += 1;
            taken += count;
        }
        for item in run.iter().take(taken) {
            let (word, bit) = (item.slot / 64, 1 << (item.slot % 64));
            match self.marks[first_mark..].last_mut() {
                Some((last, mask)) if *last == word => *mask |= bit,
                Some(_) | None => self.marks.push((word, bit)),
            }
        }
        if taken > 0 {
            self.segments.push(Segment {
                announce: route.is_some(),
                source: *source,
                attrs: *attrs,
                asns: 0,
                own_next_hop,
                rule: *rule,
                family: *family,
                updates,
                prefixes: taken as u64,
                bytes: first_byte..self.bytes.len(),
                marks: first_mark..self.marks.len(),
            });
        }
        taken
    }

    fn put_gone(&mut self, codec: &Codec, run: &[Item]) {
        if let Some(Fate { family, .. }) = run.first().map(|item| &item.fate) {
            self.put(run, false, |buf, prefixes| put_withdraw(buf, codec, *family, prefixes));
        }
    }
}
