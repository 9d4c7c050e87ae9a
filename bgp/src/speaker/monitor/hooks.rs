//! What the speaker tells its observers as it happens. With nobody there, each of these is one look at [`Views`](super::Views).

use super::Monitor;
use super::encode::{Row, announce, codec, header, put_updates, withdraw};
use crate::bmp::flag;
use crate::mrt::{self, Stamp};
use crate::peer::Session;
use crate::rib::table::PathKey;
use crate::speaker::machine::{Member, Speaker};
use crate::speaker::sweep::Gone;
use crate::time::Instant;
use crate::types::{Family, IfIndex, IpNet, NextHop, PeerId};
use crate::wire::Kind;
use crate::wire::nlri::Paths;
use crate::wire::update::{Update, put_end_of_rib};
use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// How an observer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorInfo {
    /// Messages or records made for it.
    pub messages: u64,
    /// Records left out for want of room.
    pub dropped: u64,
    /// Octets that wait for it.
    pub waiting: u64,
    /// It has heard all that was there when it came.
    pub synchronized: bool,
}

impl Speaker {
    /// How an observer is doing.
    #[must_use]
    pub fn monitor(&self, id: u32) -> Option<MonitorInfo> {
        self.monitors.all.get(&id).map(|monitor| MonitorInfo {
            messages: monitor.messages,
            dropped: monitor.dropped,
            waiting: monitor.queue.len() as u64,
            synchronized: monitor.walk.is_none() && monitor.retell.is_empty(),
        })
    }

    /// Calls for each observer with the speaker as it is.
    fn each(&mut self, mut tell: impl FnMut(&Self, &mut Monitor)) {
        let mut all = std::mem::take(&mut self.monitors.all);
        for monitor in all.values_mut().filter(|monitor| !monitor.overflowed) {
            tell(self, monitor);
        }
        self.monitors.all = all;
    }

    pub(in crate::speaker) fn observe_up(&mut self, now: Instant, id: PeerId) {
        self.each(|speaker, monitor| {
            if let Some(member) = speaker.members.get(&id) {
                speaker.put_up(now, monitor, member);
            }
        });
    }

    pub(in crate::speaker) fn observe_down(&mut self, now: Instant, id: PeerId) {
        self.each(|speaker, monitor| {
            if let Some(member) = speaker.members.get(&id)
                && let Some(session) = &member.last
            {
                monitor.initial.retain(|(peer, _)| *peer != id);
                speaker.put_down(now, monitor, session, member.peer.over());
            }
        });
    }

    /// An UPDATE came (RFC 7854 §5: before the policy): as it was on the wire, but for what RFC 7606 makes of one with faults. That is
    /// told as it was understood, and one that ends the session not at all: a collector need not be wiser than we are.
    pub(in crate::speaker) fn observe_received(
        &mut self,
        now: Instant,
        session: &Session,
        message: &[u8],
        understood: Option<(&Update<'_>, &[u8])>,
    ) {
        self.each(|speaker, monitor| {
            if !monitor.config.views.pre_policy {
                return;
            }
            if !monitor.is_bmp() {
                return put_record(monitor, now, speaker.config.asn, session, message);
            }
            let Some((update, block)) = understood else {
                return;
            };
            if update.withdraw.is_none() && update.discarded == 0 {
                let flags = if session.codec.as4 { 0 } else { flag::A };
                put_updates(monitor, &header(session, flags, monitor.at(now)), message);
            } else {
                put_updates(monitor, &header(session, 0, monitor.at(now)), &as_understood(session, update, block));
            }
        });
    }

    /// An UPDATE was taken or refused: what the table has of its prefixes now (RFC 7854 §5: after the policy).
    pub(in crate::speaker) fn observe_applied(
        &mut self,
        now: Instant,
        id: PeerId,
        session: &Session,
        update: &Update<'_>,
    ) {
        let reach = update.mp_reach.map(|reach| (reach.family, reach.nlri));
        let classic = [update.withdrawn, update.nlri].map(|nlri| Some((Family::Ipv4Unicast, nlri)));
        let parts = classic.into_iter().chain([update.mp_unreach, reach]).flatten();
        let (mut rows, mut gone) = (Vec::new(), [Vec::new(), Vec::new()]);
        for (family, nlri) in parts {
            for (path_id, prefix) in Paths::new(family, nlri, session.codec.add_path_rx[family.index()]) {
                let key = PathKey { peer: id, id: path_id };
                let entry = self.table.get(&prefix);
                match entry.and_then(|entry| entry.paths.iter().find(|path| path.key() == key).copied()) {
                    Some(path) => rows.push(Row::new(&path, prefix)),
                    None => gone[family.index()].push((path_id, prefix)),
                }
            }
        }
        rows.sort_unstable();
        rows.dedup();
        self.each(|speaker, monitor| {
            if !monitor.config.views.post_policy {
                return;
            }
            let header = header(session, flag::L, monitor.at(now));
            for family in Family::ALL {
                let mut updates = BytesMut::new();
                let some: &Vec<(u32, IpNet)> = &gone[family.index()];
                withdraw(&mut updates, &codec(Some(session)), family, some);
                put_updates(monitor, &header, &updates);
            }
            for run in rows.chunk_by(Row::is_like) {
                speaker.put_run(monitor, run, Some(flag::L));
            }
        });
    }

    /// Whether an observer was told of a peer's session and wants to hear what of it is gone without an UPDATE of the peer's.
    pub(in crate::speaker) fn is_observed(&self, id: PeerId) -> bool {
        let wanted = self.monitors.wanted;
        let told = |member: &Member| match (member.peer.session(), &member.last) {
            (Some(session), Some(last)) => session.conn == last.conn,
            _ => false,
        };
        (wanted.pre_policy || wanted.post_policy) && self.members.get(&id).is_some_and(told)
    }

    /// What a peer did not tell again (RFC 4724 §4.2, RFC 7313 §4.2) went.
    pub(in crate::speaker) fn observe_gone(&mut self, now: Instant, id: PeerId, gone: &Gone) {
        self.observe_withdrawn(now, id, gone, true);
    }

    /// What the policy had taken is refused now.
    pub(in crate::speaker) fn observe_refused(&mut self, now: Instant, id: PeerId, gone: &Gone) {
        self.observe_withdrawn(now, id, gone, false);
    }

    fn observe_withdrawn(&mut self, now: Instant, id: PeerId, gone: &Gone, was_said: bool) {
        self.each(|speaker, monitor| {
            let session = speaker.members.get(&id).and_then(|member| member.peer.session());
            let Some(session) = session.filter(|_| monitor.is_bmp()) else {
                return;
            };
            let mut updates = BytesMut::new();
            for family in Family::ALL {
                withdraw(&mut updates, &codec(Some(session)), family, &gone[family.index()]);
            }
            let views = monitor.config.views;
            let pre = (was_said && views.pre_policy).then_some(0);
            for flags in pre.into_iter().chain(views.post_policy.then_some(flag::L)) {
                put_updates(monitor, &header(session, flags, monitor.at(now)), &updates);
            }
        });
    }

    /// A peer's End-of-RIB came: its table after the policy is whole too.
    pub(in crate::speaker) fn observe_end_of_rib(&mut self, now: Instant, id: PeerId, family: Family) {
        self.each(|speaker, monitor| {
            let session = speaker.members.get(&id).and_then(|member| member.peer.session());
            if let Some(session) = session.filter(|_| monitor.config.views.post_policy) {
                let mut end = BytesMut::new();
                put_end_of_rib(&mut end, family);
                put_updates(monitor, &header(session, flag::L, monitor.at(now)), &end);
            }
        });
    }

    /// UPDATEs were written for a peer (RFC 8671).
    pub(in crate::speaker) fn observe_sent(&mut self, now: Instant, id: PeerId, updates: &[u8]) {
        self.each(|speaker, monitor| {
            if monitor.config.views.adj_out {
                speaker.put_sent(now, monitor, id, updates);
            }
        });
    }
}

/// What an UPDATE with faults comes to: withdrawals, and the routes without the attributes that were discarded (RFC 7606 §2).
fn as_understood(session: &Session, update: &Update<'_>, block: &[u8]) -> BytesMut {
    let (mut buf, codec) = (BytesMut::new(), codec(Some(session)));
    let items = |family: Family, nlri| -> Vec<(u32, IpNet)> {
        Paths::new(family, nlri, session.codec.add_path_rx[family.index()]).collect()
    };
    let gone = [Some((Family::Ipv4Unicast, update.withdrawn)), update.mp_unreach];
    let classic = update.next_hop.map(|hop| (Family::Ipv4Unicast, NextHop::new(IpAddr::V4(hop)), update.nlri));
    let reach = update.mp_reach.map(|reach| (reach.family, reach.next_hop, reach.nlri));
    let come = [classic, reach].into_iter().flatten();
    let (refused, taken): (Vec<_>, Vec<_>) = come.partition(|_| update.withdraw.is_some());
    let refused = refused.into_iter().map(|(family, _, nlri)| (family, nlri));
    for (family, nlri) in gone.into_iter().flatten().chain(refused) {
        withdraw(&mut buf, &codec, family, &items(family, nlri));
    }
    for (family, next_hop, nlri) in taken {
        announce(&mut buf, &codec, (family, next_hop, block), &items(family, nlri));
    }
    buf
}

/// A message as a record (RFC 6396 §4.4.3, RFC 8050 §3).
fn put_record(monitor: &mut Monitor, now: Instant, local_asn: crate::types::Asn, session: &Session, message: &[u8]) {
    let (seconds, micros) = monitor.at(now);
    let mut record = Vec::with_capacity(message.len() + 64);
    let said = mrt::Message {
        peer_asn: session.remote_asn,
        local_asn,
        link: session.link.unwrap_or(IfIndex(0)),
        peer: session.remote.ip(),
        local: session.local.ip(),
        as4: session.codec.as4,
        add_path: session.codec.add_path_rx.contains(&true),
        is_sent: false,
        kind: Kind::Update,
        message,
    };
    mrt::put_message(&mut record, Stamp { seconds, micros }, &said);
    if monitor.has_room(record.len()) {
        monitor.queue.extend_from_slice(&record);
        monitor.messages += 1;
    }
}
