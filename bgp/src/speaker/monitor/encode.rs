//! What observers are sent: Peer Up and Down, routes of the table as UPDATEs, End-of-RIB.

use super::Monitor;
use crate::bmp::{self, PeerHeader, flag};
use crate::mrt::{self, Stamp};
use crate::peer::{Over, Session};
use crate::rib::attrs::AttrsId;
use crate::rib::nexthop::HopId;
use crate::rib::table::{Path, SlotId, is_own};
use crate::speaker::machine::{Member, Speaker};
use crate::time::Instant;
use crate::types::{Family, IpNet, NextHop, PeerId};
use crate::wire::capability::Capabilities;
use crate::wire::open::Open;
use crate::wire::update::{put_announce, put_end_of_rib, put_withdraw};
use crate::wire::{Codec, EXTENDED_MESSAGE_BYTES, HEADER_BYTES, Kind};
use bytes::BytesMut;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

/// The name of our only table (RFC 9069 §5.2.1).
const TABLE: &str = "global";
/// States as MRT numbers them (RFC 6396 §4.4.1).
const IDLE: u16 = 1;
const OPEN_CONFIRM: u16 = 5;
const ESTABLISHED: u16 = 6;

/// A path on its way to an observer. In this order, those that share an UPDATE stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    peer: PeerId,
    seconds: u32,
    attrs: AttrsId,
    hop: HopId,
    family: Family,
    id: u32,
    prefix: IpNet,
}

impl Row {
    pub(super) const fn new(path: &Path, prefix: IpNet) -> Self {
        let (peer, id, attrs, hop) = (path.peer, path.id, path.attrs, path.hop);
        Self { peer, seconds: path.came.seconds(), attrs, hop, family: Family::of(&prefix), id, prefix }
    }

    /// Whether both go into one UPDATE.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let key = |row: &Self| (row.peer, row.seconds, row.attrs, row.hop, row.family);
        key(self) == key(other)
    }
}

/// A peer's header. What is said is before the policy, received, and has four-octet numbers unless the flags say something else.
pub(super) const fn header(session: &Session, flags: u8, at: (u32, u32)) -> PeerHeader {
    let (asn, router_id) = (session.remote_asn, session.router_id);
    PeerHeader { kind: 0, flags, address: session.remote.ip(), asn, router_id, at }
}

/// How routes of the table are written for whoever knows the OPENs of their session.
pub(super) fn codec(session: Option<&Session>) -> Codec {
    let add_path_tx = session.map_or([false; 2], |session| session.codec.add_path_rx);
    Codec { as4: true, ebgp: false, families: [true; 2], extended_next_hop: true, add_path_tx, ..Codec::PLAIN }
}

/// One Route Monitoring for each UPDATE of a run.
pub(super) fn put_updates(monitor: &mut Monitor, header: &PeerHeader, mut updates: &[u8]) {
    while let Some(start) = updates.first_chunk::<HEADER_BYTES>() {
        let length = usize::from(u16::from_be_bytes([start[16], start[17]]));
        let Some((update, rest)) = updates.split_at_checked(length.max(HEADER_BYTES)) else {
            return;
        };
        updates = rest;
        // RFC 7854 §4.6: UPDATEs alone; what is told may have the marks of a refresh between them (RFC 7313 §4.1).
        if start[HEADER_BYTES - 1] != Kind::Update.to_wire() {
            continue;
        }
        if !monitor.has_room(bmp::HEADER_BYTES + bmp::PEER_HEADER_BYTES + update.len()) {
            return;
        }
        bmp::put_route_monitoring(&mut monitor.queue, header, update);
        monitor.messages += 1;
    }
}

/// Appends UPDATEs that withdraw these, each with its path identifier.
pub(super) fn withdraw(buf: &mut BytesMut, codec: &Codec, family: Family, gone: &[(u32, IpNet)]) {
    if codec.add_path_tx[family.index()] {
        let mut items = gone.iter().copied().peekable();
        while put_withdraw(buf, codec, family, &mut items) > 0 {}
    } else {
        let mut items = gone.iter().map(|(_, prefix)| *prefix).peekable();
        while put_withdraw(buf, codec, family, &mut items) > 0 {}
    }
}

/// Appends UPDATEs that announce these, each with its path identifier.
pub(super) fn announce(
    buf: &mut BytesMut,
    codec: &Codec,
    (family, next_hop, block): (Family, NextHop, &[u8]),
    mut left: &[(u32, IpNet)],
) {
    // Attributes that need a long message came in one (RFC 8654).
    for max_message in [codec.max_message, EXTENDED_MESSAGE_BYTES] {
        let codec = Codec { max_message, ..*codec };
        while !left.is_empty() {
            let taken = if codec.add_path_tx[family.index()] {
                put_announce(buf, &codec, family, block, &next_hop, &mut left.iter().copied().peekable())
            } else {
                let mut items = left.iter().map(|(_, prefix)| *prefix).peekable();
                put_announce(buf, &codec, family, block, &next_hop, &mut items)
            };
            if taken == 0 {
                break;
            }
            left = left.get(taken..).unwrap_or_default();
        }
    }
}

impl Speaker {
    pub(super) fn loc_rib_header(&self, at: (u32, u32)) -> PeerHeader {
        PeerHeader::loc_rib(self.config.asn, self.config.router_id, at)
    }

    /// RFC 9069 §5.2: both OPENs are ours, and say how the table is written.
    pub(super) fn put_loc_rib_up(&self, now: Instant, monitor: &mut Monitor) {
        let can = Capabilities {
            as4: Some(self.config.asn),
            families: Family::ALL.to_vec(),
            extended_next_hop: true,
            ..Capabilities::default()
        };
        let open = Open { asn: self.config.asn, hold_time_s: 0, router_id: self.config.router_id, can };
        let mut bytes = BytesMut::new();
        open.put(&mut bytes);
        let header = self.loc_rib_header(monitor.at(now));
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        bmp::put_peer_up(&mut monitor.queue, &header, (nowhere, 0), (&bytes, &bytes), Some(TABLE));
        monitor.messages += 1;
    }

    /// A session is up.
    pub(super) fn put_up(&self, now: Instant, monitor: &mut Monitor, member: &Member) {
        let (Some(session), Some((sent, received))) = (member.peer.session(), member.peer.opens()) else {
            return;
        };
        if !monitor.is_bmp() {
            self.put_state(now, monitor, session, (OPEN_CONFIRM, ESTABLISHED));
        } else if monitor.has_room(bmp::PEER_HEADER_BYTES + sent.len() + received.len()) {
            let header = header(session, 0, monitor.at(now));
            let ends = (session.local, session.remote.port());
            bmp::put_peer_up(&mut monitor.queue, &header, ends, (&sent, received), None);
            monitor.messages += 1;
        }
    }

    /// A session is over: whatever was told of it is gone with it (RFC 7854 §4.9).
    pub(super) fn put_down(&self, now: Instant, monitor: &mut Monitor, session: &Session, over: &Over) {
        if !monitor.is_bmp() {
            self.put_state(now, monitor, session, (ESTABLISHED, IDLE));
            return;
        }
        let mut message = BytesMut::new();
        let down = match over {
            Over::Sent(notification) => {
                notification.put(&mut message);
                bmp::Down::Sent(&message)
            }
            Over::Received(notification) => {
                notification.put(&mut message);
                bmp::Down::Received(&message)
            }
            Over::Closed(event) => bmp::Down::Closed(*event),
            Over::Lost => bmp::Down::Lost,
        };
        if monitor.has_room(bmp::PEER_HEADER_BYTES + message.len()) {
            let header = header(session, 0, monitor.at(now));
            bmp::put_peer_down(&mut monitor.queue, &header, &down);
            monitor.messages += 1;
        }
    }

    fn put_state(&self, now: Instant, monitor: &mut Monitor, session: &Session, (old, new): (u16, u16)) {
        let (seconds, micros) = monitor.at(now);
        let change = mrt::StateChange {
            peer_asn: session.remote_asn,
            local_asn: self.config.asn,
            link: session.link.unwrap_or(crate::types::IfIndex(0)),
            peer: session.remote.ip(),
            local: session.local.ip(),
            old,
            new,
        };
        let mut record = Vec::new();
        mrt::put_state_change(&mut record, Stamp { seconds, micros }, &change);
        if monitor.has_room(record.len()) {
            monitor.queue.extend_from_slice(&record);
            monitor.messages += 1;
        }
    }

    /// A slice of the first walk: the paths of those who were there, and what was chosen.
    pub(super) fn put_slice(&self, now: Instant, monitor: &mut Monitor, slots: Range<SlotId>) {
        let views = monitor.config.views;
        let all: Vec<SlotId> = slots.collect();
        if views.pre_policy || views.post_policy {
            let mut rows = Vec::new();
            for entry in all.iter().filter_map(|slot| self.table.entry(*slot)) {
                let known = |path: &&Path| monitor.initial.iter().any(|(peer, _)| *peer == path.peer);
                rows.extend(entry.paths.iter().filter(known).map(|path| Row::new(path, entry.prefix)));
            }
            rows.sort_unstable();
            for run in rows.chunk_by(Row::is_like) {
                self.put_run(monitor, run, views.pre_policy.then_some(0));
                self.put_run(monitor, run, views.post_policy.then_some(flag::L));
            }
        }
        if views.loc_rib {
            self.put_loc_rib(now, monitor, &all);
        }
    }

    /// Paths of a peer that share everything, as it would have announced them; flags: of which view, if it is wanted.
    pub(super) fn put_run(&self, monitor: &mut Monitor, run: &[Row], flags: Option<u8>) {
        let member = run.first().and_then(|row| self.members.get(&row.peer));
        let session = member.and_then(|member| member.peer.session());
        if let (Some(flags), Some(session), Some(first)) = (flags, session, run.first()) {
            let at = monitor.at(Instant(u64::from(first.seconds) * 1_000_000_000));
            let updates = self.encode(&codec(Some(session)), run);
            put_updates(monitor, &header(session, flags, at), &updates);
        }
    }

    /// UPDATEs that announce paths which share everything.
    fn encode(&self, codec: &Codec, run: &[Row]) -> BytesMut {
        let mut buf = BytesMut::new();
        if let Some(first) = run.first() {
            let (block, next_hop) = (self.table.attrs.block(first.attrs), self.table.hops.next_hop(first.hop));
            let items: Vec<(u32, IpNet)> = run.iter().map(|row| (row.id, row.prefix)).collect();
            announce(&mut buf, codec, (first.family, next_hop, block), &items);
        }
        buf
    }

    /// What is chosen for these prefixes now (RFC 9069 §5.4): a withdrawal for what was told and has no path any more.
    pub(super) fn put_loc_rib(&self, now: Instant, monitor: &mut Monitor, slots: &[SlotId]) {
        let (mut rows, mut gone) = (Vec::new(), [Vec::new(), Vec::new()]);
        for &slot in slots {
            let Some(entry) = self.table.entry(slot) else {
                continue;
            };
            let family = Family::of(&entry.prefix);
            match entry.best_path() {
                Some(path) => {
                    monitor.set_told(slot, family, true);
                    // Whose path it is has no place here, but for what an identifier of ours might tell apart.
                    let id = 0;
                    rows.push(Row {
                        peer: if is_own(path.peer) { path.peer } else { PeerId(0) },
                        id,
                        ..Row::new(path, entry.prefix)
                    });
                }
                None if monitor.is_told(slot) => {
                    monitor.set_told(slot, family, false);
                    gone[family.index()].push((0, entry.prefix));
                }
                None => {}
            }
        }
        let codec = codec(None);
        let header = self.loc_rib_header(monitor.at(now));
        for family in Family::ALL {
            let mut updates = BytesMut::new();
            withdraw(&mut updates, &codec, family, &gone[family.index()]);
            put_updates(monitor, &header, &updates);
        }
        rows.sort_unstable();
        for run in rows.chunk_by(Row::is_like) {
            let seconds = run.first().map_or(0, |row| row.seconds);
            let at = monitor.at(Instant(u64::from(seconds) * 1_000_000_000));
            put_updates(monitor, &self.loc_rib_header(at), &self.encode(&codec, run));
        }
    }

    /// End-of-RIB of every table that the first walk told (RFC 7854 §5, RFC 9069 §5.4).
    pub(super) fn put_ends(&self, now: Instant, monitor: &mut Monitor) {
        let (views, at) = (monitor.config.views, monitor.at(now));
        for (peer, conn) in std::mem::take(&mut monitor.initial) {
            let session = self.members.get(&peer).and_then(|member| member.peer.session());
            let Some(session) = session.filter(|session| session.conn == conn) else {
                continue;
            };
            for family in Family::ALL.into_iter().filter(|family| session.codec.families[family.index()]) {
                let mut end = BytesMut::new();
                put_end_of_rib(&mut end, family);
                for flags in [views.pre_policy.then_some(0), views.post_policy.then_some(flag::L)].into_iter().flatten()
                {
                    put_updates(monitor, &header(session, flags, at), &end);
                }
            }
        }
        if views.loc_rib {
            for family in Family::ALL {
                let mut end = BytesMut::new();
                put_end_of_rib(&mut end, family);
                put_updates(monitor, &self.loc_rib_header(at), &end);
            }
        }
    }

    /// UPDATEs that a peer was told (RFC 8671 §4.1: after the policy).
    pub(super) fn put_sent(&self, now: Instant, monitor: &mut Monitor, peer: PeerId, updates: &[u8]) {
        if let Some(session) = self.members.get(&peer).and_then(|member| member.peer.session()) {
            let legacy = if session.codec.as4 { 0 } else { flag::A };
            put_updates(monitor, &header(session, flag::O | flag::L | legacy, monitor.at(now)), updates);
        }
    }
}
