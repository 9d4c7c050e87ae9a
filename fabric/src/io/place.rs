//! On which processors threads run that must not get into each other's way.
//!
//! A kernel that is not preempted (`PREEMPT_NONE`, as servers have it) lets nobody else on a processor while it works on a call, not even
//! a thread with real time priority that is woken there, though another processor be idle: `select_task_rq_rt` of Linux looks
//! elsewhere only if what runs has real time priority too. On a small machine, with a million routes, two things were found to take it
//! 100 to 190 ms, more than BFD of 50 ms × 3 forgives: doubling a node of its routing trie, and going through a table for what a dump's
//! filter seldom lets in (of the table `local`, say, which shares the trie of `main` until there are rules). So whoever has the kernel do such
//! things leaves one processor alone, and BFD's thread keeps to that one.
//!
//! And in which turns they run: whoever tells the kernel that somebody died shares a processor, on such a machine, with the loop that
//! decides on a million routes, and waits for the end of its turn, of 3 or 4 ms, if nothing is said.

use super::raw;
use rustix::process::getpriority_process;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use weft_bgp::time::Duration;

/// The processor that is left alone: the last one that we may use. `None`: there is only one, or the kernel does not say.
fn quiet(allowed: &CpuSet) -> Option<usize> {
    if allowed.count() < 2 {
        return None;
    }
    (0..CpuSet::MAX_CPU).rev().find(|&processor| allowed.is_set(processor))
}

/// The calling thread stands in the kernel for long: everywhere but on the quiet processor.
pub fn keep_away() {
    // Where this is refused, as where there is one processor, all share what there is.
    let Ok(mut set) = sched_getaffinity(None) else { return };
    if let Some(processor) = quiet(&set) {
        set.unset(processor);
        let _ = sched_setaffinity(None, &set);
    }
}

/// The shortest turn that Linux gives (`sched_setattr`, 6.12).
const TURN: Duration = Duration::from_micros(100);

/// The calling thread, and those that it starts, run often and briefly: when they wake they do not wait for the end of a longer turn.
pub fn be_prompt() {
    // Where that is refused, as by a kernel that has no such turns, they wait.
    if let Ok(nice) = getpriority_process(None)
        && let Err(error) = raw::set_slice(TURN, nice)
    {
        tracing::debug!(%error, "no shorter turns on the processor");
    }
}

/// Late by more than this, a thread on the quiet processor has somebody before it who does not go: it may run anywhere then.
const CROWDED: Duration = Duration::from_millis(50);

/// The place of a thread that must not be late: the quiet processor, for as long as that is quiet.
#[derive(Debug)]
pub struct Seat {
    /// Where the thread might run when it came here. `None`: it stays where the scheduler puts it.
    allowed: Option<CpuSet>,
    is_kept: bool,
}

impl Seat {
    /// No place of its own.
    pub const NONE: Self = Self { allowed: None, is_kept: false };

    /// For the calling thread, which has real time priority.
    pub fn take() -> Self {
        let mut seat = Self { allowed: sched_getaffinity(None).ok(), is_kept: false };
        seat.keep();
        seat
    }

    /// The thread keeps to the quiet processor.
    pub fn keep(&mut self) {
        if let Some(allowed) = &self.allowed
            && let Some(processor) = quiet(allowed)
        {
            let mut one = CpuSet::new();
            one.set(processor);
            self.is_kept = sched_setaffinity(None, &one).is_ok();
        }
    }

    /// It may run wherever it might before, as does a program that it executes.
    pub fn leave(&mut self) {
        if let Some(allowed) = &self.allowed
            && self.is_kept
        {
            let _ = sched_setaffinity(None, allowed);
            self.is_kept = false;
        }
    }

    /// The thread was late by so much: where it is kept somebody else is, or where it is not.
    pub fn late(&mut self, time: Duration) {
        match self.is_kept {
            true if time > CROWDED => self.leave(),
            true => {}
            false => self.keep(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(processors: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        processors.iter().for_each(|&processor| set.set(processor));
        set
    }

    #[test]
    fn the_last_allowed_processor_is_the_quiet_one_unless_it_is_the_only_one() {
        for (allowed, found) in
            [(set(&[]), None), (set(&[0]), None), (set(&[7]), None), (set(&[0, 1]), Some(1)), (set(&[2, 5]), Some(5))]
        {
            assert_eq!(quiet(&allowed), found, "{allowed:?}");
        }
    }

    #[test]
    fn whoever_keeps_away_keeps_a_processor() {
        let allowed = sched_getaffinity(None).unwrap();
        let away = std::thread::spawn(|| {
            keep_away();
            sched_getaffinity(None).unwrap()
        });
        let away = away.join().unwrap();
        assert!(away.count() > 0);
        if let Some(processor) = quiet(&allowed) {
            assert!(!away.is_set(processor) && away.count() + 1 == allowed.count());
        }
    }

    #[test]
    fn a_seat_is_kept_until_it_is_crowded_and_left_as_it_was_found() {
        let allowed = sched_getaffinity(None).unwrap();
        let Some(processor) = quiet(&allowed) else { return };
        let watch = move || {
            let is_kept = || sched_getaffinity(None).unwrap() == set(&[processor]);
            let mut seat = Seat::take();
            let mut seen = vec![is_kept()];
            for late in [CROWDED, CROWDED + Duration::from_millis(1), Duration::from_millis(6)] {
                seat.late(late);
                seen.push(is_kept());
            }
            seat.leave();
            (seen, sched_getaffinity(None).unwrap())
        };
        let (seen, left) = std::thread::spawn(watch).join().unwrap();
        assert_eq!(seen, [true, true, false, true]);
        assert!(left == allowed);
    }
}
