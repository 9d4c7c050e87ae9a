//! A vector that grows without moving what is in it. Doubling a vector of a million slots copies them in one go, while others wait, and
//! leaves a hole of half their size.

use std::ops::{Index, IndexMut};

/// Items of a chunk: 32 kB of slots.
const LENGTH: usize = 1_024;
/// Items up to which there is no chunk. A host that holds a default route needs no more, and a simulator has thousands of those in one
/// process.
const FEW: usize = 128;

/// Chunks of a fixed length, so that an item is found by one look at the list of chunks, 8 kB for a million items, and no further check.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    chunks: Vec<Box<[T; LENGTH]>>,
    /// All items while they are few, none after that.
    few: Vec<T>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), few: Vec::new(), len: 0 }
    }
}

impl<T: Default> Chunks<T> {
    pub(super) fn push(&mut self, item: T) {
        if self.len < FEW {
            self.few.push(item);
            self.len += 1;
            return;
        }
        if self.chunks.is_empty() || self.len == self.chunks.len() * LENGTH {
            let mut chunk = std::mem::take(&mut self.few);
            chunk.reserve_exact(LENGTH - chunk.len());
            chunk.resize_with(LENGTH, T::default);
            // It has that length.
            let chunk: Result<Box<[T; LENGTH]>, _> = chunk.try_into();
            self.chunks.extend(chunk);
        }
        let at = self.len;
        self.len += 1;
        self[at] = item;
    }
}

impl<T> Chunks<T> {
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        (at < self.len).then(|| &self[at])
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        match self.chunks.get(at / LENGTH) {
            Some(chunk) => &chunk[at % LENGTH],
            None => &self.few[at],
        }
    }
}

impl<T> IndexMut<usize> for Chunks<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        match self.chunks.get_mut(at / LENGTH) {
            Some(chunk) => &mut chunk[at % LENGTH],
            None => &mut self.few[at],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_items_need_no_chunk() {
        let mut chunks = Chunks::default();
        for at in 0..LENGTH {
            assert_eq!((chunks.chunks.len(), chunks.get(at)), (usize::from(at > FEW), None));
            chunks.push(at);
            assert!((0..=at).all(|place| chunks[place] == place));
        }
        assert!(chunks.few.is_empty());
        chunks.push(LENGTH);
        assert_eq!((chunks.chunks.len(), chunks[LENGTH]), (2, LENGTH));
    }

    #[test]
    fn items_stay_where_they_were_pushed() {
        let mut chunks = Chunks::default();
        (0..LENGTH).for_each(|at| chunks.push(at));
        for at in LENGTH..3 * LENGTH + 5 {
            assert_eq!((chunks.len(), chunks.get(at)), (at, None));
            chunks.push(at);
        }
        let first: *const usize = &raw const chunks[0];
        chunks[LENGTH] = 7;
        assert!((0..chunks.len()).all(|at| chunks[at] == if at == LENGTH { 7 } else { at }));
        (0..LENGTH).for_each(|_| chunks.push(0));
        assert_eq!(first, &raw const chunks[0]);
    }
}
