//! The last events. A run of the same event of one peer is one entry: a peer that cannot be reached says so every few seconds, and must
//! not displace what happened to the others.

use super::{Happened, Node};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::VecDeque;
use weft_bgp::time::Instant;
use weft_bgp::types::PeerId;

/// Entries kept: a day of an ordinary node.
const ENTRIES: usize = 512;

/// In the place of a peer that is no more.
const NOBODY: PeerId = PeerId(u32::MAX);

/// An event, or a run of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it happened first.
    pub since: Instant,
    /// When it happened last.
    pub at: Instant,
    /// How often.
    pub times: u64,
    /// What.
    pub event: Happened,
}

/// The same for the next program in this process, whose peers have other ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEntry {
    /// When it happened first.
    pub since: Instant,
    /// When it happened last.
    pub at: Instant,
    /// How often.
    pub times: u64,
    /// Name of the peer that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What, as data.
    pub event: Value,
}

/// The last events, by their last time.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Entry>);

impl History {
    /// An event. It goes on with a run if it is the same as the newest of its peer.
    pub(super) fn note(&mut self, now: Instant, event: Happened) {
        let newest = match event.peer() {
            Some(peer) => self.0.iter().rposition(|entry| entry.event.peer() == Some(peer)),
            // What is about nobody goes on with a run only if nothing else came between.
            None => self.0.len().checked_sub(1),
        };
        let run = newest.filter(|&at| self.0[at].event == event).and_then(|at| self.0.remove(at));
        let entry = match run {
            Some(run) => Entry { at: now, times: run.times + 1, ..run },
            None => Entry { since: now, at: now, times: 1, event },
        };
        if self.0.len() >= ENTRIES {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }

    /// What happened before all that is there.
    fn put_before(&mut self, entries: Vec<Entry>) {
        let room = ENTRIES.saturating_sub(self.0.len());
        entries.into_iter().rev().take(room).for_each(|entry| self.0.push_front(entry));
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.0.iter()
    }
}

impl Node {
    /// The last events for the next program.
    #[must_use]
    pub fn keep_history(&self) -> Vec<KeptEntry> {
        let one = |entry: &Entry| KeptEntry {
            since: entry.since,
            at: entry.at,
            times: entry.times,
            peer: entry.event.peer().and_then(|peer| self.peer_name(peer)).map(str::to_owned),
            // Our own types always become JSON.
            event: serde_json::to_value(&entry.event).unwrap_or_default(),
        };
        self.history.iter().map(one).collect()
    }

    /// What happened before this program began. Peers are known by now; one that is no more is nobody.
    pub fn resume_history(&mut self, kept: Vec<KeptEntry>) {
        let id = |name: &str| self.speaker.peer_ids().find(|peer| self.peer_name(*peer) == Some(name));
        let one = |KeptEntry { since, at, times, peer, mut event }: KeptEntry| {
            if let Some(place) = event.get_mut("peer") {
                *place = peer.as_deref().and_then(id).unwrap_or(NOBODY).0.into();
            }
            // What another version calls otherwise is not told.
            let event = serde_json::from_value(event).ok()?;
            Some(Entry { since, at, times, event })
        };
        let entries = kept.into_iter().filter_map(one).collect();
        self.history.put_before(entries);
    }

    /// Something happened that whoever runs the node knows.
    pub fn note_happened(&mut self, now: Instant, event: Happened) {
        self.history.note(now, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use weft_bgp::event::Event;
    use weft_bgp::types::{Asn, PeerId};

    fn refused(peer: u32, reason: &str) -> Event {
        Event::SessionRefused { peer: PeerId(peer), name: format!("peer{peer}"), reason: reason.to_owned() }
    }

    fn up(peer: u32) -> Event {
        Event::SessionUp { peer: PeerId(peer), name: format!("peer{peer}"), asn: Asn(1) }
    }

    fn noted(events: Vec<Event>) -> Vec<(u64, u64, u64, Event)> {
        let mut history = History::default();
        for (second, event) in (0..).zip(events) {
            history.note(Instant::ZERO + Duration::from_secs(second), Happened::Bgp(event));
        }
        let line = |entry: &Entry| {
            let Happened::Bgp(event) = entry.event.clone() else { panic!("{entry:?}") };
            (entry.since.as_secs(), entry.at.as_secs(), entry.times, event)
        };
        history.iter().map(line).collect()
    }

    #[test]
    fn failures_of_two_peers_are_two_entries_and_displace_nothing() {
        let failures = (0..10_000).map(|at| refused(at % 2, "refused"));
        let all = noted([up(7)].into_iter().chain(failures).collect());
        assert_eq!(
            all,
            [(0, 0, 1, up(7)), (1, 9_999, 5_000, refused(0, "refused")), (2, 10_000, 5_000, refused(1, "refused"))]
        );
    }

    #[test]
    fn something_else_of_the_same_peer_ends_a_run() {
        let all = noted(vec![refused(1, "a"), refused(1, "a"), up(1), refused(1, "a"), refused(1, "b"), up(2)]);
        let times: Vec<u64> = all.iter().map(|(_, _, times, _)| *times).collect();
        assert_eq!(times, [2, 1, 1, 1, 1]);
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        assert_eq!(noted((0..2_000).map(up).collect()).len(), ENTRIES);
    }
}
