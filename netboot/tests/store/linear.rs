//! Whether what clients saw of a store could have happened one after the other: linearizability (Herlihy and Wing, 1990) of registers,
//! each key for itself, which is enough because the property is local (their theorem 1).
//!
//! The search is Wing and Gong's: take, of the calls that began before any open one ended, one whose answer fits the value there is,
//! and go on with the rest; what was tried is remembered (Lowe, 2017), so that no state is looked at twice. A call without an answer may
//! have happened at any time after it began, or never.
//!
//! A place in the address plan is such a register too: nobody, or the machine that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Steps of the search for one key: far more than an honest history needs, and an end for one that cannot be decided.
const STEPS_MAX: usize = 5_000_000;

/// The value of a register; `None` = it is not there.
pub(crate) type Value = Option<u64>;

/// What was asked, and what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// This was there.
    Read(Value),
    /// It was stored.
    Write(Value),
    /// It was stored, because `from` was there.
    Swap { from: Value, to: Value },
    /// It was not stored, because `from` was not there.
    Kept { from: Value },
}

impl Call {
    /// The value after it, if it may happen where `now` is.
    fn after(self, now: Value) -> Option<Value> {
        match self {
            Self::Read(seen) => (seen == now).then_some(now),
            Self::Write(to) => Some(to),
            Self::Swap { from, to } => (from == now).then_some(to),
            Self::Kept { from } => (from != now).then_some(now),
        }
    }
}

/// A call of a history. Times are places in one order: a call that ended before another began has smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) began: u64,
    /// `None` = no answer came: it happened at any time, or never.
    pub(crate) ended: Option<u64>,
    pub(crate) call: Call,
}

/// What clients write down.
#[derive(Debug, Default)]
pub(crate) struct History {
    clock: AtomicU64,
    keys: Mutex<BTreeMap<String, Vec<Event>>>,
}

impl History {
    /// A call begins.
    pub(crate) fn begin(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// It has its answer.
    pub(crate) fn end(&self, key: &str, began: u64, call: Call) {
        let ended = Some(self.begin());
        self.note(key, Event { began, ended, call });
    }

    /// It has none; a question without an answer says nothing.
    pub(crate) fn lost(&self, key: &str, began: u64, call: Call) {
        self.note(key, Event { began, ended: None, call });
    }

    fn note(&self, key: &str, event: Event) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.entry(key.to_owned()).or_default().push(event);
    }

    /// Calls with an answer, and without.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<&Event> = keys.values().flatten().collect();
        let answered = all.iter().filter(|event| event.ended.is_some()).count();
        (answered, all.len() - answered)
    }

    /// Whether every key's history could have happened, from nothing.
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, events) in keys.iter() {
            check(events).map_err(|stuck| Wrong { key: key.clone(), stuck })?;
        }
        Ok(())
    }
}

/// A history that cannot have happened.
#[derive(Debug)]
pub(crate) struct Wrong {
    key: String,
    /// How far the search came at best: the value there, and the calls of which none fits.
    stuck: (Value, Vec<Event>),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: after {:?} none of these fits: {:?}", self.key, self.stuck.0, self.stuck.1)
    }
}

/// A place in the search: what happened already, and the value after it.
struct Place {
    done: Vec<u64>,
    count: usize,
    value: Value,
    /// The next of the calls that may happen here.
    candidates: Vec<usize>,
}

fn has(set: &[u64], at: usize) -> bool {
    set[at / 64] & (1 << (at % 64)) != 0
}

/// Whether one register's history could have happened; else where every order of it ends.
pub(crate) fn check(events: &[Event]) -> Result<(), (Value, Vec<Event>)> {
    let mut events = events.to_vec();
    events.sort_by_key(|event| event.began);
    let answered = events.iter().filter(|event| event.ended.is_some()).count();
    let candidates = |done: &[u64]| -> Vec<usize> {
        let open = events.iter().enumerate().filter(|(at, _)| !has(done, *at));
        let first_end = open.clone().filter_map(|(_, event)| event.ended).min().unwrap_or(u64::MAX);
        let mut all: Vec<usize> = open.filter(|(_, event)| event.began < first_end).map(|(at, _)| at).collect();
        // Those that must happen are tried first, those that may have happened never last: the search takes from the end.
        all.sort_by_key(|at| std::cmp::Reverse((events[*at].ended.is_none(), events[*at].ended, *at)));
        all
    };
    let start = vec![0_u64; events.len().div_ceil(64).max(1)];
    let mut places = vec![Place { candidates: candidates(&start), done: start, count: 0, value: None }];
    let mut seen: BTreeSet<(Vec<u64>, Value)> = BTreeSet::new();
    let mut best = (0, None, Vec::new());
    let mut steps = 0;
    while let Some(place) = places.last_mut() {
        if place.count == answered {
            return Ok(());
        }
        if place.count >= best.0 && best.2.is_empty() || place.count > best.0 {
            let open = candidates(&place.done).into_iter().map(|at| events[at]).collect();
            best = (place.count, place.value, open);
        }
        steps += 1;
        assert!(steps < STEPS_MAX, "not decided after {STEPS_MAX} steps");
        let Some(at) = place.candidates.pop() else {
            places.pop();
            continue;
        };
        let Some(value) = events[at].call.after(place.value) else { continue };
        let mut done = place.done.clone();
        done[at / 64] |= 1 << (at % 64);
        let count = place.count + usize::from(events[at].ended.is_some());
        if seen.insert((done.clone(), value)) {
            places.push(Place { candidates: candidates(&done), done, count, value });
        }
    }
    Err((best.1, best.2))
}

/// Each with `began`, `ended` (0 = none) and the call.
#[cfg(test)]
fn history(calls: &[(u64, u64, Call)]) -> Vec<Event> {
    calls
        .iter()
        .map(|(began, ended, call)| Event { began: *began, ended: (*ended > 0).then_some(*ended), call: *call })
        .collect()
}

#[test]
fn an_honest_history_is_believed() {
    use Call::{Kept, Read, Swap, Write};
    for honest in [
        history(&[]),
        history(&[(1, 2, Write(Some(1))), (3, 4, Read(Some(1)))]),
        // At the same time: either order.
        history(&[(1, 4, Write(Some(1))), (2, 5, Write(Some(2))), (6, 7, Read(Some(1)))]),
        history(&[(1, 4, Write(Some(1))), (2, 5, Write(Some(2))), (6, 7, Read(Some(2)))]),
        history(&[(1, 9, Write(Some(1))), (2, 3, Read(None)), (4, 5, Read(Some(1)))]),
        // Without an answer: it happened late, or never.
        history(&[(1, 0, Write(Some(1))), (2, 3, Read(None)), (4, 5, Read(Some(1)))]),
        history(&[(1, 0, Write(Some(1))), (2, 3, Read(None)), (4, 5, Read(None))]),
        history(&[(1, 2, Swap { from: None, to: Some(1) }), (3, 4, Kept { from: None }), (5, 6, Read(Some(1)))]),
        history(&[
            (1, 2, Write(Some(1))),
            (3, 4, Swap { from: Some(1), to: None }),
            (5, 6, Swap { from: None, to: Some(2) }),
        ]),
    ] {
        assert_eq!(check(&honest), Ok(()), "{honest:?}");
    }
}

#[test]
fn a_lie_is_found() {
    use Call::{Kept, Read, Swap, Write};
    for lie in [
        // An acknowledged write is lost.
        history(&[(1, 2, Write(Some(1))), (3, 4, Read(None))]),
        history(&[(1, 2, Write(Some(1))), (3, 4, Write(Some(2))), (5, 6, Read(Some(1)))]),
        // An old value comes back.
        history(&[(1, 9, Write(Some(1))), (2, 3, Read(Some(1))), (4, 5, Read(None))]),
        // A value that nobody wrote.
        history(&[(1, 2, Read(Some(7)))]),
        // One place is given twice.
        history(&[(1, 4, Swap { from: None, to: Some(1) }), (2, 5, Swap { from: None, to: Some(2) })]),
        history(&[(1, 2, Kept { from: None })]),
        // Without an answer it may happen once, not twice.
        history(&[
            (1, 0, Swap { from: None, to: Some(1) }),
            (2, 3, Read(Some(1))),
            (4, 5, Write(None)),
            (6, 7, Read(Some(1))),
        ]),
        // It did not happen before it was asked for.
        history(&[(1, 2, Read(Some(1))), (3, 4, Write(Some(1)))]),
    ] {
        assert!(check(&lie).is_err(), "{lie:?}");
    }
}

/// A long honest history of clients that overlap is decided, and one changed answer in it is found.
#[test]
fn a_long_history_is_decided() {
    let mut events = Vec::new();
    let mut value = None;
    for turn in 0..400_u64 {
        // Six calls at a time, that happen in the order of their numbers; the first three see each other's writes.
        let base = turn * 100;
        for at in 0..6 {
            let call = if at % 2 == 0 {
                value = Some(turn * 10 + at);
                Call::Write(value)
            } else {
                Call::Read(value)
            };
            events.push(Event { began: base + at, ended: Some(base + 50 + at), call });
        }
    }
    assert_eq!(check(&events), Ok(()));
    let last = events.len() - 1;
    events[last - 600].call = Call::Read(Some(0));
    assert!(check(&events).is_err());
}
