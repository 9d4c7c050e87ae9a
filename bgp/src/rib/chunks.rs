//! A vector that grows without moving what is in it. Doubling a vector of a million slots copies them in one go, while others wait, and
//! leaves a hole of half their size.

use std::ops::{Index, IndexMut};

/// Items of a chunk: 32 kB of slots.
const LENGTH: usize = 1_024;
/// Room at first. A host that holds a default route needs no more, and a simulator has thousands of those in one process.
const FIRST: usize = 8;

/// Chunks of one length, so that an item is found by one look at the list of chunks, 16 kB for a million items. The first one alone
/// grows up to that length, and moves what is in it.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    chunks: Vec<Box<[T]>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T: Default> Chunks<T> {
    pub(super) fn push(&mut self, item: T) {
        if self.len < LENGTH {
            self.grow();
        } else if self.len == self.chunks.len() * LENGTH {
            self.chunks.push(room(Vec::new(), LENGTH));
        }
        let at = self.len;
        self.len += 1;
        self[at] = item;
    }

    /// Room for one more in the first chunk.
    fn grow(&mut self) {
        let Some(first) = self.chunks.first_mut() else {
            self.chunks.push(room(Vec::new(), FIRST));
            return;
        };
        if self.len == first.len() {
            *first = room(std::mem::take(first).into_vec(), (2 * self.len).min(LENGTH));
        }
    }
}

/// A chunk with these items in front.
fn room<T: Default>(mut items: Vec<T>, length: usize) -> Box<[T]> {
    items.reserve_exact(length - items.len());
    items.resize_with(length, T::default);
    items.into_boxed_slice()
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
    fn a_few_items_take_little_room() {
        let mut chunks = Chunks::default();
        assert_eq!(chunks.chunks.len(), 0);
        for at in 0..LENGTH {
            chunks.push(at);
            let room = chunks.chunks[0].len();
            assert!(room >= FIRST && room <= (2 * at).clamp(FIRST, LENGTH), "{at}: {room}");
            assert!((0..=at).all(|place| chunks[place] == place));
        }
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
