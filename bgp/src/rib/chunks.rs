//! A vector that grows without moving what is in it. Doubling a vector of a million slots copies them in one go, while others wait, and
//! leaves a hole of half their size.

use std::ops::{Index, IndexMut};

/// Items of a chunk: 32 kB of slots.
const LENGTH: usize = 1_024;

/// Chunks of a fixed length, so that an item is found by one look at the list of chunks, 8 kB for a million items, and no further check.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    chunks: Vec<Box<[T; LENGTH]>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T: Default> Chunks<T> {
    pub(super) fn push(&mut self, item: T) {
        if self.len == self.chunks.len() * LENGTH {
            let chunk: Vec<T> = std::iter::repeat_with(T::default).take(LENGTH).collect();
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
        &self.chunks[at / LENGTH][at % LENGTH]
    }
}

impl<T> IndexMut<usize> for Chunks<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.chunks[at / LENGTH][at % LENGTH]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stay_where_they_were_pushed() {
        let mut chunks = Chunks::default();
        for at in 0..3 * LENGTH + 5 {
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
