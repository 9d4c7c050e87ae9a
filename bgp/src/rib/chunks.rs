//! A vector that grows without moving what is in it. Doubling a vector of a million slots copies them in one go, while others wait, and
//! leaves a hole of half their size.

use std::ops::{Index, IndexMut};

/// Items of a chunk: 64 kB of slots.
const LENGTH: usize = 2_048;

/// All chunks but the last are full.
#[derive(Debug)]
pub(super) struct Chunks<T>(Vec<Vec<T>>);

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Chunks<T> {
    pub(super) fn push(&mut self, item: T) {
        match self.0.last_mut().filter(|last| last.len() < LENGTH) {
            Some(last) => last.push(item),
            None => {
                let mut chunk = Vec::with_capacity(LENGTH);
                chunk.push(item);
                self.0.push(chunk);
            }
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.0.get(at / LENGTH)?.get(at % LENGTH)
    }

    pub(super) fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * LENGTH + last.len())
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        &self.0[at / LENGTH][at % LENGTH]
    }
}

impl<T> IndexMut<usize> for Chunks<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.0[at / LENGTH][at % LENGTH]
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
