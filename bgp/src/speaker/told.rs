//! Which paths of each prefix a peer was told that is told of several (RFC 7911). Others need one bit per prefix.

use crate::rib::table::SlotId;
use std::collections::BTreeSet;

/// Identifiers that have a bit: identifiers are given from 1 on, so nearly all.
const LOW: u32 = 16;

/// Two octets per prefix, and an entry for each path beyond the sixteenth of one.
#[derive(Debug, Default)]
pub(super) struct ToldPaths {
    low: Vec<u16>,
    high: BTreeSet<(SlotId, u32)>,
}

impl ToldPaths {
    pub(super) fn has(&self, slot: SlotId, id: u32) -> bool {
        if (1..=LOW).contains(&id) { self.low_of(slot) & bit(id) != 0 } else { self.high.contains(&(slot, id)) }
    }

    /// Whether any was.
    pub(super) fn has_any(&self, slot: SlotId) -> bool {
        self.ids(slot).next().is_some()
    }

    /// Which were, in order.
    pub(super) fn ids(&self, slot: SlotId) -> impl Iterator<Item = u32> {
        let low = self.low_of(slot);
        let high = self.high.range((slot, 0)..=(slot, u32::MAX)).map(|(_, id)| *id);
        (1..=LOW).filter(move |id| low & bit(*id) != 0).chain(high)
    }

    /// From now on the peer knows exactly these.
    pub(super) fn set(&mut self, slot: SlotId, ids: &[u32]) {
        let at = slot as usize;
        let low = ids.iter().filter(|id| (1..=LOW).contains(*id)).fold(0, |low, id| low | bit(*id));
        if self.low.len() <= at && low != 0 {
            self.low.resize(at + 1, 0);
        }
        if let Some(place) = self.low.get_mut(at) {
            *place = low;
        }
        let old: Vec<_> = self.high.range((slot, 0)..=(slot, u32::MAX)).copied().collect();
        for gone in old {
            self.high.remove(&gone);
        }
        self.high.extend(ids.iter().filter(|id| !(1..=LOW).contains(*id)).map(|id| (slot, *id)));
    }

    fn low_of(&self, slot: SlotId) -> u16 {
        self.low.get(slot as usize).copied().unwrap_or_default()
    }
}

const fn bit(id: u32) -> u16 {
    1 << (id - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_known_and_nothing_else() {
        let mut told = ToldPaths::default();
        told.set(3, &[1, 16, 17, 4_000_000_000]);
        told.set(4, &[2]);
        assert_eq!(told.ids(3).collect::<Vec<_>>(), [1, 16, 17, 4_000_000_000]);
        told.set(3, &[17, 18]);
        assert_eq!(told.ids(3).collect::<Vec<_>>(), [17, 18]);
        assert!(told.has(4, 2) && told.has_any(4) && !told.has(4, 1) && !told.has(3, 16));
        told.set(3, &[]);
        told.set(9, &[]);
        assert!(!told.has_any(3) && !told.has_any(9) && told.high.is_empty());
    }
}
