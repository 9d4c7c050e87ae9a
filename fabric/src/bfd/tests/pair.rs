//! Two machines that talk to each other on virtual time.

use super::*;

/// Two machines with a wire of 1 ms between them.
struct Pair {
    ends: [Bfd; 2],
    now: Instant,
    /// Under way: when it arrives, where, what.
    wire: VecDeque<(Instant, usize, [u8; wire::LENGTH])>,
    is_cut: bool,
    changes: Vec<(Instant, usize, Notice)>,
}

impl Pair {
    fn new(timers: [Timers; 2]) -> Self {
        let ends = [0, 1].map(|end| {
            let mut bfd = Bfd::new(end + 1);
            let timers = timers[usize::try_from(end).unwrap()];
            let remote = peer(u32::try_from(2 - end).unwrap());
            bfd.handle(NOW, Input::Sessions(vec![Wanted { remote, timers, ..wanted(1) }]));
            bfd
        });
        Self { ends, now: NOW, wire: VecDeque::new(), is_cut: false, changes: Vec::new() }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            for at in 0..2 {
                let bfd = &mut self.ends[at];
                bfd.handle(self.now, Input::Tick);
                while let Some((_, packet)) = bfd.poll_transmit(self.now) {
                    if !self.is_cut {
                        self.wire.push_back((self.now + Duration::from_millis(1), 1 - at, packet));
                    }
                }
            }
            while self.wire.front().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, to, first) = self.wire.pop_front().unwrap();
                let from = peer(u32::try_from(2 - to).unwrap());
                let heard = Heard { is_multihop: false, link: LINK, from, ttl: 255, first, length: first.len() };
                self.ends[to].handle(self.now, Input::Packet(heard));
            }
            for at in 0..2 {
                while let Some(output) = self.ends[at].poll() {
                    if let Output::Changed(notice) = output {
                        self.changes.push((self.now, at, notice));
                    }
                }
            }
            let next = self.ends.iter().filter_map(Bfd::next_timeout).map(|(at, _)| at);
            let next = next.chain(self.wire.front().map(|(at, ..)| *at)).min().unwrap_or(end);
            self.now = next.max(self.now + Duration::from_micros(1)).min(end);
        }
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|at| self.ends[at].status().next().unwrap().state)
    }
}

/// RFC 5880 §6.2, §6.8.3, §6.8.4: up at once, at the slower pace of both; down within a detection time of the last packet; up again.
#[test]
fn two_ends_agree_fail_and_return() {
    let mut pair = Pair::new([timers(50, 3), timers(100, 5)]);
    pair.pass(Duration::from_millis(1_100));
    assert_eq!(pair.states(), [State::Up; 2]);
    let status = [0, 1].map(|at| pair.ends[at].status().next().unwrap());
    assert_eq!(status.clone().map(|status| status.transmit_us), [100_000; 2]);
    assert_eq!(status.map(|status| status.detection_us), [500_000, 300_000]);
    pair.changes.clear();
    pair.is_cut = true;
    let cut = pair.now;
    pair.pass(Duration::from_secs(1));
    let failed: Vec<u64> = pair.changes.iter().map(|(at, ..)| at.since(cut).as_millis().try_into().unwrap()).collect();
    assert!(failed.len() == 2 && failed[0] <= 300 && failed[1] <= 500, "{failed:?}");
    pair.is_cut = false;
    pair.pass(Duration::from_millis(1_100));
    assert_eq!(pair.states(), [State::Up; 2]);
}

/// RFC 5880 §6.8.4: jitter, and a packet lost now and then, bring nothing down.
#[test]
fn a_quiet_hour_has_no_failure() {
    let mut pair = Pair::new([timers(50, 3), timers(50, 3)]);
    pair.pass(Duration::from_secs(2));
    for _ in 0..600 {
        pair.is_cut = true;
        pair.pass(Duration::from_millis(60));
        pair.is_cut = false;
        pair.pass(Duration::from_millis(200));
    }
    assert!(pair.changes.iter().all(|(_, _, notice)| notice.failure == 0));
    assert_eq!(pair.states(), [State::Up; 2]);
}
