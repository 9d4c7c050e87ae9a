//! Places for connections: few of one source, and not many of all. Who finds none is sent away at once, so that nobody waits for who came
//! before.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who is connected.
#[derive(Clone, Debug)]
pub(in crate::io) struct Places {
    table: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    most: usize,
    of_source: usize,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(in crate::io) struct Place(Places, IpAddr);

impl Places {
    /// Room for `most`, and for `of_source` of one source.
    pub(in crate::io) fn new(most: usize, of_source: usize) -> Self {
        Self { table: Arc::default(), most, of_source }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        // Nothing in it can be half done: it has no code that panics.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::io) fn enter(&self, source: IpAddr) -> Option<Place> {
        let mut table = self.table();
        let all: usize = table.values().sum();
        let own = table.get(&source).copied().unwrap_or_default();
        if all >= self.most || own >= self.of_source {
            return None;
        }
        table.insert(source, own + 1);
        Some(Place(self.clone(), source))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.0.table();
        match table.get_mut(&self.1) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(table.remove(&self.1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_has_few_places_and_all_have_not_many() {
        let places = Places::new(256, 8);
        let address = |last: u32| IpAddr::from(last.to_be_bytes());
        let mut own: Vec<_> = (0..20).filter_map(|_| places.enter(address(1))).collect();
        assert_eq!(own.len(), 8);
        own.pop();
        assert!(places.enter(address(1)).is_some(), "who leaves makes room");
        let others: Vec<_> = (0..10_000).filter_map(|at| places.enter(address(100 + at))).collect();
        assert_eq!(own.len() + others.len(), 256);
        drop((own, others));
        assert!(places.table().is_empty());
    }
}
