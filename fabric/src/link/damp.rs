//! Damping of links that flap: loss of carrier counts at once, its return only after a wait that grows with the number of losses. A link
//! that flaps once or twice (a reboot at the far end) waits for nothing. Pure: whoever reads links calls, with the time.

use std::collections::{BTreeMap, VecDeque};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IfIndex;

/// Losses are forgotten after so long.
const WINDOW: Duration = Duration::from_secs(60);
/// So many of them within the window cost nothing: a far end that boots takes its carrier away three or four times.
const FREE: usize = 4;
/// The wait after the first loss beyond those; each further one doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait: what is left of a link that has stood so long is no flapping any more.
const LAST: Duration = Duration::from_secs(32);
/// Losses remembered for each link: beyond these the wait is the longest anyway.
const REMEMBERED: usize = FREE + 8;

#[derive(Clone, Debug, Default)]
struct Flaps {
    losses: VecDeque<Instant>,
    until: Option<Instant>,
}

/// All links that lost their carrier lately.
#[derive(Clone, Debug, Default)]
pub struct Damper {
    links: BTreeMap<IfIndex, Flaps>,
}

impl Damper {
    /// A link lost its carrier, or was set down.
    pub fn down(&mut self, now: Instant, link: IfIndex) {
        let flaps = self.links.entry(link).or_default();
        flaps.forget(now);
        if flaps.losses.len() == REMEMBERED {
            flaps.losses.pop_front();
        }
        flaps.losses.push_back(now);
        flaps.until = None;
    }

    /// It has its carrier again: how often it lost it within the last minute, if it is not to be used until [`Damper::poll`] says so.
    pub fn up(&mut self, now: Instant, link: IfIndex) -> Option<u32> {
        let flaps = self.links.get_mut(&link)?;
        flaps.forget(now);
        let beyond = u32::try_from(flaps.losses.len().checked_sub(FREE + 1)?).unwrap_or(u32::MAX);
        let wait = FIRST * (1 << beyond.min(LAST.as_secs().ilog2()));
        flaps.until = Some(now + wait.min(LAST));
        u32::try_from(flaps.losses.len()).ok()
    }

    /// A link whose wait is over.
    pub fn poll(&mut self, now: Instant) -> Option<IfIndex> {
        let over = |flaps: &Flaps| flaps.until.is_some_and(|until| until <= now);
        let link = self.links.iter().find(|(_, flaps)| over(flaps)).map(|(link, _)| *link)?;
        if let Some(flaps) = self.links.get_mut(&link) {
            flaps.until = None;
        }
        Some(link)
    }

    /// An interface is gone; its index may come back as another one.
    pub fn forget(&mut self, link: IfIndex) {
        self.links.remove(&link);
    }

    /// When [`Damper::poll`] has something.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.links.values().filter_map(|flaps| flaps.until).min()
    }
}

impl Flaps {
    fn forget(&mut self, now: Instant) {
        while self.losses.front().is_some_and(|at| *at + WINDOW <= now) {
            self.losses.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: IfIndex = IfIndex(3);

    fn at(milliseconds: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_few_flaps_cost_nothing() {
        let mut damper = Damper::default();
        for number in 0..4 {
            damper.down(at(number * 100), LINK);
            assert_eq!(damper.up(at(number * 100 + 50), LINK), None);
        }
        assert_eq!(damper.next_timeout(), None);
    }

    #[test]
    fn a_link_that_flaps_every_second_stays_out_until_it_stands() {
        let mut damper = Damper::default();
        let mut used = 0;
        for number in 0..30 {
            damper.down(at(number * 1_000), LINK);
            let held = damper.up(at(number * 1_000 + 500), LINK).is_some();
            used += u32::from(!held || damper.poll(at(number * 1_000 + 999)).is_some());
        }
        assert_eq!(used, 4, "those that are free");
        // Half a minute after the last return it is used again, and its past is forgotten after a minute.
        assert_eq!(damper.poll(at(29_500 + 31_999)), None);
        assert_eq!(damper.poll(at(29_500 + 32_000)), Some(LINK));
        damper.down(at(200_000), LINK);
        assert_eq!(damper.up(at(200_100), LINK), None);
    }

    #[test]
    fn the_wait_doubles_and_ends_early_with_the_carrier() {
        let mut damper = Damper::default();
        for number in 0..5 {
            damper.down(at(number), LINK);
        }
        assert_eq!(damper.up(at(10), LINK), Some(5));
        assert_eq!(damper.next_timeout(), Some(at(1_010)));
        damper.down(at(500), LINK);
        assert_eq!(damper.next_timeout(), None, "there is nothing to wait for");
        assert_eq!(damper.up(at(600), LINK), Some(6));
        assert_eq!(damper.next_timeout(), Some(at(2_600)));
        damper.forget(LINK);
        assert_eq!(damper.poll(at(9_000)), None);
    }
}
