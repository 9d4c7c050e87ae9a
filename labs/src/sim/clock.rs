//! Virtual time: what is to happen, in order of time, and of arrival where times are equal. Nothing here reads a clock.

use std::collections::BTreeMap;
use weft_bgp::time::Instant;

/// Events to come.
#[derive(Debug)]
pub struct Queue<E> {
    events: BTreeMap<(Instant, u64), E>,
    count: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), count: 0 }
    }
}

impl<E> Queue<E> {
    /// `event` is to happen at `at`.
    pub fn push(&mut self, at: Instant, event: E) {
        self.events.insert((at, self.count), event);
        self.count += 1;
    }

    /// The next one that is due at `until` or before.
    pub fn pop(&mut self, until: Instant) -> Option<(Instant, E)> {
        let entry = self.events.first_entry()?;
        let at = entry.key().0;
        (at <= until).then(|| (at, entry.remove()))
    }
}

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
