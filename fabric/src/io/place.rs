//! On which processors threads run that must not get into each other's way.
//!
//! A kernel that is not preempted (`PREEMPT_NONE`, as servers have it) lets nobody else on a processor while it works on a call, not even
//! a thread with real time priority that is woken there, though another processor be idle: `select_task_rq_rt` of Linux looks
//! elsewhere only if what runs has real time priority too. Doubling a node of its routing trie for half a million prefixes took it 100 to
//! 190 ms, measured on a small machine: more than BFD of 50 ms × 3 forgives. So whoever has the kernel change routes leaves one processor
//! alone, and BFD's thread begins there; it may go elsewhere when the scheduler has a reason.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

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

/// Moves the calling thread to the quiet processor, without tying it to that one.
pub fn settle() {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    if let Some(processor) = quiet(&allowed) {
        let mut one = CpuSet::new();
        one.set(processor);
        let _ = sched_setaffinity(None, &one);
        let _ = sched_setaffinity(None, &allowed);
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
    fn whoever_keeps_away_keeps_a_processor_and_whoever_settles_is_tied_to_none() {
        let allowed = sched_getaffinity(None).unwrap();
        let (away, settled) = std::thread::spawn(|| {
            settle();
            let settled = sched_getaffinity(None).unwrap();
            keep_away();
            (sched_getaffinity(None).unwrap(), settled)
        })
        .join()
        .unwrap();
        assert!(settled == allowed && away.count() > 0);
        if let Some(processor) = quiet(&allowed) {
            assert!(!away.is_set(processor) && away.count() + 1 == allowed.count());
        }
    }
}
