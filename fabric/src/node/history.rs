//! The last events. A run of the same event of one peer is one entry: a peer that cannot be reached says so every few seconds, and must
//! not displace what happened to the others.

use super::Happened;
use std::collections::VecDeque;
use weft_bgp::time::Instant;

/// Entries kept: a day of an ordinary node.
const ENTRIES: usize = 512;

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

/// The last events, by their last time.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Entry>);

impl History {
    /// An event. It goes on with a run if it is the same as the newest of its peer.
    pub(super) fn note(&mut self, now: Instant, event: Happened) {
        let newest = event.peer().and_then(|peer| self.0.iter().rposition(|entry| entry.event.peer() == Some(peer)));
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

    /// Oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.0.iter()
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
