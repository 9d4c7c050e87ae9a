//! What a bad cable does to the frames of one direction: a queue on time that is handed in.
//!
//! ```text
//! take(now, frame) ─▶ lost? twice? a bit flipped? ─▶ rate (departs) ─▶ delay ± jitter (due) ─▶ poll(now)
//! ```
//!
//! What happens to a frame depends on the seed and the frame's number, not on when it came: the same seed loses the same numbers. Frames
//! keep their order, but for those that `reorder` picks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weft_bgp::rng::Rng;

use super::Harm;
use super::units::WHOLE;

/// Frames of a direction that wait at most: 100,000 a second for 200 ms, or 2,000 a second for the longest delay.
pub const MAX_FRAMES: usize = 20_000;
/// Bytes of them.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;
/// How much a cable with a rate holds back, as time: what would wait longer is dropped, as a port's buffer does.
pub const MAX_BACKLOG_NS: u64 = 200_000_000;
/// What a bit is flipped behind: the addresses and the type of a frame stay.
const HEADER: usize = 14;
/// A number's own part of the seed; odd, so that no two numbers get the same.
const STRIDE: u64 = 0xd1b5_4a32_d192_ed03;

/// What happened to frames so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Frames that came.
    pub taken: u64,
    /// Frames that arrived, copies included.
    pub passed: u64,
    /// Lost or swallowed.
    pub lost: u64,
    /// Dropped because too much waited.
    pub overflowed: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// With a bit flipped.
    pub corrupted: u64,
    /// Did not wait for the delay.
    pub reordered: u64,
}

/// One direction of a cable.
#[derive(Debug, Default)]
pub struct Channel {
    harm: Harm,
    number: u64,
    counts: Counts,
    /// By when they are due, and then as they came.
    waiting: BTreeMap<(u64, u64), Vec<u8>>,
    order: u64,
    bytes: usize,
    /// When the cable has sent all that it took, at its rate.
    free_at_ns: u64,
    /// When the last frame that keeps the order is due.
    last_due_ns: u64,
}

/// What chance decides about a frame; each with draws of its own.
#[derive(Clone, Copy)]
enum Draw {
    Loss = 1,
    Duplicate,
    Corrupt,
    Place,
    Jitter,
    Reorder,
}

impl Channel {
    /// Treats frames so from now on, and numbers them from 0 again; those that wait are let go when they are due.
    pub fn set(&mut self, harm: Harm) {
        self.harm = harm;
        self.number = 0;
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether no frame waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A frame enters the cable at `now_ns`.
    pub fn take(&mut self, now_ns: u64, frame: &[u8]) {
        let number = self.number;
        self.number = number.wrapping_add(1);
        self.counts.taken += 1;
        if self.harm.deaf || self.happens(number, Draw::Loss, self.harm.loss) {
            self.counts.lost += 1;
            return;
        }
        let mut frame = frame.to_vec();
        if self.happens(number, Draw::Corrupt, self.harm.corrupt) {
            self.flip(number, &mut frame);
        }
        let twice = self.happens(number, Draw::Duplicate, self.harm.duplicate);
        let overtakes = self.happens(number, Draw::Reorder, self.harm.reorder);
        if twice {
            self.counts.duplicated += 1;
            self.enter(now_ns, number, frame.clone(), overtakes);
        }
        self.enter(now_ns, number, frame, overtakes);
    }

    /// The next frame that has arrived by `now_ns`.
    pub fn poll(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        let first = self.waiting.first_entry().filter(|entry| entry.key().0 <= now_ns)?;
        let frame = first.remove();
        self.bytes = self.bytes.saturating_sub(frame.len());
        self.counts.passed += 1;
        Some(frame)
    }

    /// When the next frame arrives.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|((due_ns, _), _)| *due_ns)
    }

    fn enter(&mut self, now_ns: u64, number: u64, frame: Vec<u8>, overtakes: bool) {
        let start = self.free_at_ns.max(now_ns);
        let full = self.waiting.len() >= MAX_FRAMES || self.bytes + frame.len() > MAX_BYTES;
        if full || (self.harm.rate.is_some() && start - now_ns > MAX_BACKLOG_NS) {
            self.counts.overflowed += 1;
            return;
        }
        let departs = match self.harm.rate {
            Some(rate) => start.saturating_add(transmission_ns(frame.len(), rate)),
            None => now_ns,
        };
        self.free_at_ns = departs;
        let due = if overtakes {
            self.counts.reordered += 1;
            departs
        } else {
            self.last_due_ns = self.last_due_ns.max(departs.saturating_add(self.delay_ns(number)));
            self.last_due_ns
        };
        self.bytes += frame.len();
        self.waiting.insert((due, self.order), frame);
        self.order += 1;
    }

    /// The delay, more or less the jitter.
    fn delay_ns(&self, number: u64) -> u64 {
        let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (delay, jitter) = (nanoseconds(self.harm.delay), nanoseconds(self.harm.jitter));
        if jitter == 0 {
            return delay;
        }
        let span = jitter.saturating_mul(2).saturating_add(1);
        delay.saturating_sub(jitter).saturating_add(self.draw(number, Draw::Jitter) % span)
    }

    fn flip(&mut self, number: u64, frame: &mut [u8]) {
        let Some(body) = frame.get_mut(HEADER..).filter(|body| !body.is_empty()) else {
            return;
        };
        let place = self.draw(number, Draw::Place);
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let byte = usize::try_from(place / 8 % length).unwrap_or(0);
        body[byte] ^= 1 << (place % 8);
        self.counts.corrupted += 1;
    }

    fn happens(&self, number: u64, what: Draw, parts: u32) -> bool {
        parts > 0 && self.draw(number, what) % u64::from(WHOLE) < u64::from(parts)
    }

    fn draw(&self, number: u64, what: Draw) -> u64 {
        // two steps: one is a mere sum of what goes in, and neighbours would look alike to a modulus
        let mut rng = Rng::new(self.harm.seed.wrapping_add(number.wrapping_mul(STRIDE)) ^ ((what as u64) << 56));
        rng.next_u64();
        rng.next_u64()
    }
}

/// How long a frame is on a wire of this many bits per second.
fn transmission_ns(bytes: usize, rate: u64) -> u64 {
    let bits = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(8);
    bits.saturating_mul(1_000_000_000) / rate.max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: u64 = 1_000_000;

    fn channel(harm: Harm) -> Channel {
        let mut channel = Channel::default();
        channel.set(harm);
        channel
    }

    /// Sends frames a millisecond apart, each with its number; what arrived, with the time.
    fn carry(channel: &mut Channel, frames: u64) -> Vec<(u64, u64)> {
        let mut arrived = Vec::new();
        for tick in 0..frames + 11_000 {
            if tick < frames {
                let mut frame = vec![0; 60];
                frame[..8].copy_from_slice(&tick.to_be_bytes());
                channel.take(tick * MS, &frame);
            }
            while let Some(frame) = channel.poll(tick * MS) {
                arrived.push((u64::from_be_bytes(frame[..8].try_into().unwrap()), tick));
            }
        }
        assert!(channel.is_empty() && channel.next_timeout().is_none() && channel.bytes == 0);
        arrived
    }

    /// Within five standard deviations of what so many draws give.
    fn is_about(found: usize, draws: u64, parts: u32) -> bool {
        let p = f64::from(parts) / f64::from(WHOLE);
        let draws = draws as f64;
        (found as f64 - draws * p).abs() <= 5.0 * (draws * p * (1.0 - p)).sqrt()
    }

    #[test]
    fn without_harm_a_frame_arrives_at_once_and_once() {
        let arrived = carry(&mut channel(Harm::default()), 100);
        assert!(arrived.iter().enumerate().all(|(at, (number, ms))| (at as u64, at as u64) == (*number, *ms)));
        assert_eq!(arrived.len(), 100);
    }

    #[test]
    fn a_seed_loses_the_same_numbers_and_about_so_many() {
        let lossy = |seed| Harm { loss: 100_000, seed, ..Harm::default() };
        let one = carry(&mut channel(lossy(7)), 10_000);
        assert!(is_about(10_000 - one.len(), 10_000, 100_000), "{}", one.len());
        assert_eq!(one, carry(&mut channel(lossy(7)), 10_000));
        assert_ne!(one, carry(&mut channel(lossy(8)), 10_000));
        // set anew, it begins anew
        let mut again = channel(lossy(7));
        carry(&mut again, 500);
        again.set(lossy(7));
        assert_eq!(carry(&mut again, 10_000).len(), one.len());
    }

    #[test]
    fn a_deaf_cable_swallows_everything() {
        let mut deaf = channel(Harm { deaf: true, ..Harm::default() });
        assert!(carry(&mut deaf, 50).is_empty());
        assert_eq!((deaf.counts().taken, deaf.counts().lost, deaf.counts().passed), (50, 50, 0));
    }

    #[test]
    fn jitter_keeps_the_order_and_its_bounds() {
        let (delay, jitter) = (Duration::from_millis(20), Duration::from_millis(5));
        let arrived = carry(&mut channel(Harm { delay, jitter, ..Harm::default() }), 2_000);
        assert!(arrived.is_sorted(), "the order");
        let waits: Vec<u64> = arrived.iter().map(|(number, ms)| ms - number).collect();
        assert!(waits.iter().all(|ms| (15..=25).contains(ms)), "{waits:?}");
        assert!(waits.iter().min() < waits.iter().max());
    }

    #[test]
    fn a_reordered_frame_overtakes_those_that_wait() {
        let harm = Harm { delay: Duration::from_millis(20), reorder: 50_000, ..Harm::default() };
        let mut one = channel(harm);
        let arrived = carry(&mut one, 4_000);
        let early: Vec<_> = arrived.iter().filter(|(number, ms)| number == ms).collect();
        assert!(is_about(early.len(), 4_000, 50_000), "{}", early.len());
        assert_eq!(one.counts().reordered, early.len() as u64);
        assert!(arrived.iter().all(|(number, ms)| number == ms || ms - number == 20));
    }

    #[test]
    fn copies_and_flipped_bits_are_counted() {
        let mut one = channel(Harm { duplicate: 30_000, corrupt: 20_000, ..Harm::default() });
        let mut flipped = 0;
        let mut arrived = 0;
        for number in 0..10_000_u64 {
            one.take(number, &[0; 64]);
            while let Some(frame) = one.poll(number) {
                let bits: u32 = frame.iter().map(|byte| byte.count_ones()).sum();
                assert!(bits <= 1 && frame[..HEADER].iter().all(|byte| *byte == 0));
                flipped += bits;
                arrived += 1;
            }
        }
        let counts = one.counts();
        assert!(is_about(usize::try_from(counts.duplicated).unwrap(), 10_000, 30_000), "{counts:?}");
        assert!(is_about(usize::try_from(counts.corrupted).unwrap(), 10_000, 20_000), "{counts:?}");
        assert_eq!(arrived, 10_000 + counts.duplicated);
        assert!(u64::from(flipped) >= counts.corrupted);
    }

    #[test]
    fn a_rate_spaces_frames_and_drops_what_would_wait_too_long() {
        // 1,250 bytes at 10 Mbit/s take a millisecond
        let mut one = channel(Harm { rate: Some(10_000_000), ..Harm::default() });
        for _ in 0..1_000 {
            one.take(0, &[0; 1_250]);
        }
        let mut times = Vec::new();
        while let Some(due) = one.next_timeout() {
            assert!(one.poll(due - 1).is_none());
            assert!(one.poll(due).is_some());
            times.push(due);
        }
        assert_eq!(times.first(), Some(&MS));
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == MS));
        assert_eq!(times.len() as u64, MAX_BACKLOG_NS / MS + 1);
        assert_eq!(one.counts().overflowed, 1_000 - times.len() as u64);
    }

    #[test]
    fn no_more_than_so_many_frames_wait() {
        let mut one = channel(Harm { delay: Duration::from_secs(10), ..Harm::default() });
        for _ in 0..=MAX_FRAMES {
            one.take(0, &[0; 60]);
        }
        assert_eq!((one.counts().overflowed, one.waiting.len()), (1, MAX_FRAMES));
    }

    #[test]
    fn what_waits_when_the_harm_ends_still_comes_first() {
        let mut one = channel(Harm { delay: Duration::from_millis(20), ..Harm::default() });
        one.take(0, &[1; 60]);
        one.set(Harm::default());
        one.take(MS, &[2; 60]);
        assert!(one.poll(19 * MS).is_none());
        assert_eq!((one.poll(20 * MS).unwrap()[0], one.poll(20 * MS).unwrap()[0]), (1, 2));
    }
}
