//! Virtual time: what is to happen, in order of time, and of arrival where times are equal. Nothing here reads a clock.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use weft_bgp::time::Instant;

/// Events to come.
#[derive(Debug)]
pub struct Queue<E> {
    events: BinaryHeap<Entry<E>>,
    count: u64,
}

/// An event, its time and its number; the earliest is the greatest.
#[derive(Debug)]
struct Entry<E> {
    at: Instant,
    number: u64,
    event: E,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { events: BinaryHeap::new(), count: 0 }
    }
}

impl<E> Queue<E> {
    /// `event` is to happen at `at`.
    pub fn push(&mut self, at: Instant, event: E) {
        self.events.push(Entry { at, number: self.count, event });
        self.count += 1;
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Instant, &E)> {
        self.events.iter().map(|entry| (entry.at, &entry.event))
    }

    /// Drops those for which `keeps` does not hold; the others keep their order.
    pub fn retain(&mut self, mut keeps: impl FnMut(Instant, &E) -> bool) {
        self.events.retain(|entry| keeps(entry.at, &entry.event));
    }

    /// The next one that is due at `until` or before.
    pub fn pop(&mut self, until: Instant) -> Option<(Instant, E)> {
        self.events.peek().filter(|entry| entry.at <= until)?;
        self.events.pop().map(|entry| (entry.at, entry.event))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_then_of_arrival() {
        let mut queue = Queue::default();
        queue.push(Instant(5), 'c');
        queue.push(Instant(1), 'a');
        queue.push(Instant(5), 'd');
        queue.push(Instant(2), 'b');
        let order: String = std::iter::from_fn(|| queue.pop(Instant(5))).map(|(_, event)| event).collect();
        assert_eq!(order, "abcd");
        queue.push(Instant(9), 'e');
        assert_eq!(queue.pop(Instant(8)), None);
    }
}
