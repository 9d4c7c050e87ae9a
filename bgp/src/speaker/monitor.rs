//! Observers: collectors that hear by BMP what peers say and are told (RFC 7854, RFC 8671, RFC 9069), and dumps of messages (RFC 6396
//! §4.4). Each is a reader like an export peer, with a queue for what cannot be asked for later; the driver carries its octets away.
//!
//! ```text
//! open: Initiation, Peer Up ──▶ walk over the table in slices, End-of-RIB ──▶ changes as they come
//! ```
//! Nothing here may delay BGP: what does not fit into a queue is counted, and a collector that is behind loses its connection; it hears
//! everything anew when it is back.

mod encode;
mod hooks;

pub use hooks::MonitorInfo;

use super::export::Out;
use super::machine::Speaker;
use crate::bmp::{self, Stat, stat};
use crate::mrt;
use crate::rib::table::SlotId;
use crate::time::{Duration, Instant};
use crate::types::{ConnId, Family, PeerId};
use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Most octets that wait for a collector: a full table of one peer, about a million prefixes, comes in 25 MB of UPDATEs.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;
/// Changes of the table that a collector may be behind, beyond four for each prefix: as for peers.
const LAG_MAX: u64 = 1 << 20;
/// Slots looked at in one slice of the first walk.
const SLICE: SlotId = 512;
/// Slices of one call: bounds its work where little of it is to be told.
const SLICES: usize = 16;
/// Changes read in one go.
const CHANGES: usize = 512;

/// What an observer wants to hear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Views {
    /// What peers say, before the import policy (RFC 7854 §5).
    pub pre_policy: bool,
    /// What is taken of it.
    pub post_policy: bool,
    /// What peers are told, after the export policy (RFC 8671).
    pub adj_out: bool,
    /// What is chosen (RFC 9069).
    pub loc_rib: bool,
}

/// In which form it hears it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// BMP; with sysDescr and sysName.
    Bmp {
        /// What runs here.
        description: String,
        /// Name of the node.
        name: String,
    },
    /// MRT: what peers say, and their states. What does not fit is left out.
    Mrt,
}

/// An observer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorConfig {
    /// In which form.
    pub form: Form,
    /// What.
    pub views: Views,
    /// Between statistics reports; zero: none.
    pub statistics: Duration,
    /// Wall-clock time of [`Instant::ZERO`], since 1970-01-01.
    pub epoch: Duration,
}

/// Whether an observer keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It knows everything.
    Idle,
    /// More is waiting.
    More,
    /// It was too far behind: its connection is to be dropped, and the monitor closed.
    Overflowed,
}

/// One observer.
#[derive(Debug)]
struct Monitor {
    config: MonitorConfig,
    /// Whole messages, in order, the first perhaps in part.
    queue: BytesMut,
    overflowed: bool,
    /// Records left out for want of room.
    dropped: u64,
    messages: u64,
    /// Where the first walk is; `None` when it is done.
    walk: Option<SlotId>,
    /// Sessions of which the first walk tells.
    initial: Vec<(PeerId, ConnId)>,
    /// Those of them whose Adj-RIB-Out is still to be told, as if each session began anew.
    retell: VecDeque<(PeerId, ConnId, Out)>,
    /// Place in the log, for the Loc-RIB.
    cursor: u64,
    /// Loc-RIB prefixes told, a bit for each slot.
    told: Vec<u64>,
    told_count: [u64; 2],
    statistics_at: Option<Instant>,
}

/// All observers, and what any of them wants: one look for the paths that routes take.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    all: BTreeMap<u32, Monitor>,
    /// Of all.
    pub(super) wanted: Views,
}

impl Monitors {
    /// Nobody observes.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Monitor {
    fn at(&self, now: Instant) -> (u32, u32) {
        let at = self.config.epoch + Duration::from_nanos(now.0);
        (u32::try_from(at.as_secs()).unwrap_or(u32::MAX), at.subsec_micros())
    }

    /// Makes room by the rules of the form: true if `write` may append about so many octets.
    fn has_room(&mut self, octets: usize) -> bool {
        if self.overflowed {
            return false;
        }
        if self.queue.len() + octets <= QUEUE_BYTES_MAX {
            return true;
        }
        match self.config.form {
            Form::Bmp { .. } => {
                self.overflowed = true;
                self.queue = BytesMut::new();
                self.told = Vec::new();
            }
            Form::Mrt => self.dropped += 1,
        }
        false
    }

    /// Moves what waits to `buf`, up to `limit` octets in all; of a dump whole records, for a file may end behind each.
    fn take(&mut self, buf: &mut BytesMut, limit: usize) {
        let room = limit.saturating_sub(buf.len());
        let taken = match self.config.form {
            Form::Bmp { .. } => self.queue.len().min(room),
            Form::Mrt => mrt::whole_records(&self.queue, room),
        };
        buf.extend_from_slice(&self.queue.split_to(taken));
    }

    const fn is_bmp(&self) -> bool {
        matches!(self.config.form, Form::Bmp { .. })
    }

    fn is_told(&self, slot: SlotId) -> bool {
        self.told.get(slot as usize / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    fn set_told(&mut self, slot: SlotId, family: Family, told: bool) {
        let word = slot as usize / 64;
        if self.told.len() <= word {
            self.told.resize(word + 1, 0);
        }
        let mask = 1 << (slot % 64);
        let was = self.told[word] & mask != 0;
        if was != told {
            self.told[word] ^= mask;
            let count = &mut self.told_count[family.index()];
            *count = if told { *count + 1 } else { count.saturating_sub(1) };
        }
    }
}

impl Speaker {
    /// An observer is there: it hears everything from the beginning. `id` is the caller's; one that is in use begins anew.
    pub fn open_monitor(&mut self, now: Instant, id: u32, config: MonitorConfig) {
        let statistics_at = (!config.statistics.is_zero()).then(|| now + config.statistics);
        let mut monitor = Monitor {
            queue: BytesMut::new(),
            overflowed: false,
            dropped: 0,
            messages: 0,
            walk: None,
            initial: Vec::new(),
            retell: VecDeque::new(),
            cursor: self.table.log_end(),
            told: Vec::new(),
            told_count: [0; 2],
            statistics_at,
            config,
        };
        if let Form::Bmp { description, name } = &monitor.config.form {
            bmp::put_initiation(&mut monitor.queue, description, name);
            if monitor.config.views.loc_rib {
                self.put_loc_rib_up(now, &mut monitor);
            }
            monitor.walk = Some(0);
        }
        for member in self.members.values() {
            let Some(session) = member.peer.session() else {
                continue;
            };
            self.put_up(now, &mut monitor, member);
            monitor.initial.push((member.peer.id(), session.conn));
            if monitor.is_bmp() && monitor.config.views.adj_out && self.converged {
                let families = Family::ALL.into_iter().filter(|family| session.codec.families[family.index()]);
                // All that is told by now, and End-of-RIB behind it.
                let out = Out::new((self.readable(), 0), families.collect());
                monitor.retell.push_back((member.peer.id(), session.conn, out));
            }
        }
        self.monitors.all.insert(id, monitor);
        self.renew_wanted();
    }

    /// An observer is gone.
    pub fn close_monitor(&mut self, id: u32) {
        self.monitors.all.remove(&id);
        self.renew_wanted();
    }

    /// Octets for an observer, about `limit` of them.
    pub fn poll_monitor(&mut self, now: Instant, id: u32, buf: &mut BytesMut, limit: usize) -> Progress {
        let Some(mut monitor) = self.monitors.all.remove(&id) else {
            return Progress::Idle;
        };
        let mut progress = Progress::More;
        for _ in 0..SLICES {
            monitor.take(buf, limit);
            if monitor.overflowed {
                progress = Progress::Overflowed;
            } else if !monitor.queue.is_empty() || buf.len() >= limit {
                progress = Progress::More;
            } else if !self.advance(now, &mut monitor) {
                // What a burst had taken goes back.
                monitor.queue = BytesMut::new();
                progress = Progress::Idle;
            } else {
                continue;
            }
            break;
        }
        self.monitors.all.insert(id, monitor);
        progress
    }

    /// Whether an observer has something to hear.
    #[must_use]
    pub fn has_news_for(&self, id: u32) -> bool {
        self.monitors.all.get(&id).is_some_and(|monitor| {
            monitor.overflowed
                || !monitor.queue.is_empty()
                || monitor.walk.is_some()
                || !monitor.retell.is_empty()
                || (monitor.is_bmp() && monitor.config.views.loc_rib && monitor.cursor < self.table.log_end())
        })
    }

    /// One slice of what an observer has not heard; false when there is none.
    fn advance(&mut self, now: Instant, monitor: &mut Monitor) -> bool {
        if let Some(first) = monitor.walk {
            let end = first.saturating_add(SLICE).min(self.table.slots());
            self.put_slice(now, monitor, first..end);
            monitor.walk = (end < self.table.slots()).then_some(end);
            if monitor.walk.is_none() {
                self.put_ends(now, monitor);
            }
            return true;
        }
        if let Some((peer, conn, mut out)) = monitor.retell.pop_front() {
            let member = self.members.get(&peer);
            if member.and_then(|member| member.peer.session()).is_none_or(|session| session.conn != conn) {
                return true;
            }
            let mut updates = BytesMut::new();
            if self.retell(peer, &mut out, &mut updates) {
                monitor.retell.push_front((peer, conn, out));
            }
            self.put_sent(now, monitor, peer, &updates);
            return true;
        }
        if !monitor.is_bmp() || !monitor.config.views.loc_rib {
            return false;
        }
        let mut slots = Vec::new();
        while slots.len() < CHANGES
            && let Some(slot) = self.table.next_change(&mut monitor.cursor)
        {
            slots.push(slot);
        }
        self.put_loc_rib(now, monitor, &slots);
        !slots.is_empty()
    }

    /// What a peer is told, written as if its session began with `out`; true if there is more.
    fn retell(&mut self, peer: PeerId, out: &mut Out, buf: &mut BytesMut) -> bool {
        let Some(member) = self.members.get_mut(&peer) else {
            return false;
        };
        std::mem::swap(&mut member.out, out);
        let hits = member.hits.clone();
        let more = self.fill(peer, buf, 1);
        if let Some(member) = self.members.get_mut(&peer) {
            std::mem::swap(&mut member.out, out);
            member.hits = hits;
        }
        more
    }

    /// Where the slowest observer is in the log; one that holds back too much of it is given up.
    pub(super) fn monitor_cursor(&mut self) -> Option<u64> {
        if !self.monitors.wanted.loc_rib {
            return None;
        }
        let most = LAG_MAX + 4 * u64::from(self.table.slots());
        let end = self.table.log_end();
        let mut least = None;
        for monitor in
            self.monitors.all.values_mut().filter(|monitor| monitor.config.views.loc_rib && !monitor.overflowed)
        {
            if end.saturating_sub(monitor.cursor) > most {
                monitor.overflowed = true;
                monitor.queue = BytesMut::new();
            } else {
                least = Some(least.map_or(monitor.cursor, |least: u64| least.min(monitor.cursor)));
            }
        }
        least
    }

    /// When the next statistics are due.
    pub(super) fn monitor_timeout(&self) -> Option<(Instant, &'static str)> {
        let due = self.monitors.all.values().filter_map(|monitor| monitor.statistics_at).min();
        due.map(|at| (at, "BMP statistics"))
    }

    /// Statistics that are due (RFC 7854 §4.8).
    pub(super) fn tick_monitors(&mut self, now: Instant) {
        if self.monitor_timeout().is_none_or(|(at, _)| at > now) {
            return;
        }
        let mut monitors = std::mem::take(&mut self.monitors.all);
        for monitor in monitors.values_mut() {
            if monitor.statistics_at.is_none_or(|at| at > now) || !monitor.has_room(0) {
                continue;
            }
            monitor.statistics_at = Some(now + monitor.config.statistics);
            for member in self.members.values() {
                let Some(session) = member.peer.session() else {
                    continue;
                };
                let (held, told) = (member.held.all(), member.out.told_count);
                let mut stats = vec![
                    Stat::counter(stat::REJECTED, member.prefixes_rejected),
                    Stat::gauge(stat::ADJ_RIB_IN, held.iter().sum()),
                    Stat::counter(stat::TREATED_AS_WITHDRAW, member.faults),
                    Stat::gauge(stat::ADJ_RIB_OUT, told.iter().sum()),
                ];
                for family in Family::ALL.into_iter().filter(|family| session.codec.families[family.index()]) {
                    stats.push(Stat::gauge_of(stat::ADJ_RIB_IN_OF, family.afi(), held[family.index()]));
                    stats.push(Stat::gauge_of(stat::ADJ_RIB_OUT_OF, family.afi(), told[family.index()]));
                }
                let header = encode::header(session, 0, monitor.at(now));
                bmp::put_statistics(&mut monitor.queue, &header, &stats);
                monitor.messages += 1;
            }
            if monitor.config.views.loc_rib {
                let told = monitor.told_count;
                let mut stats = vec![Stat::gauge(stat::LOC_RIB, told.iter().sum())];
                for family in Family::ALL {
                    stats.push(Stat::gauge_of(stat::LOC_RIB_OF, family.afi(), told[family.index()]));
                }
                let header = self.loc_rib_header(monitor.at(now));
                bmp::put_statistics(&mut monitor.queue, &header, &stats);
                monitor.messages += 1;
            }
        }
        self.monitors.all = monitors;
    }

    fn renew_wanted(&mut self) {
        let mut wanted = Views::default();
        for monitor in self.monitors.all.values() {
            let views = monitor.config.views;
            wanted.pre_policy |= views.pre_policy;
            wanted.post_policy |= views.post_policy;
            wanted.adj_out |= views.adj_out;
            wanted.loc_rib |= views.loc_rib;
        }
        self.monitors.wanted = wanted;
    }
}
