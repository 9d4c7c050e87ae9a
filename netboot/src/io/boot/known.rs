//! Digests of files that are made while they are sent: each is computed once, off the threads that wait for sockets, and kept.

use super::blobs::{PART, blocking};
use crate::boot::Digest;
use crate::boot::authenticode::Sum;
use crate::boot::uki::{Piece, Uki};
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, Result};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OnceCell, Semaphore};

/// Files whose digests are kept, some kilobytes each: what the machines of some racks boot, were each file of one of them alone. The one that
/// was not asked for the longest makes room.
const KNOWN_MAX: usize = 1_024;
/// Files that are digested at a time; more wait.
const DIGESTED_MAX: usize = 2;

/// Opened files of an image.
pub(super) type Files = BTreeMap<Digest, Arc<File>>;

/// What is known of files, by what changes with them.
#[derive(Debug)]
pub(super) struct Known<T> {
    kept: Mutex<Kept<T>>,
    turns: Semaphore,
}

#[derive(Debug)]
struct Kept<T> {
    turn: u64,
    /// With the turn at which it was asked for.
    cells: BTreeMap<Digest, (u64, Cell<T>)>,
}

/// What is known, or will be.
type Cell<T> = Arc<OnceCell<Arc<T>>>;

impl<T: Send + Sync + 'static> Known<T> {
    pub(super) fn new() -> Self {
        let kept = Mutex::new(Kept { turn: 0, cells: BTreeMap::new() });
        Self { kept, turns: Semaphore::new(DIGESTED_MAX) }
    }

    /// What is known of a file; who asks while another one finds out waits for that one.
    pub(super) async fn of(&self, uki: &Uki, find_out: impl FnOnce() -> Result<T> + Send + 'static) -> Result<Arc<T>> {
        let cell = self.cell(&uki.tag);
        let work = || async {
            let _turn = self.turns.acquire().await.map_err(Error::other)?;
            blocking(find_out).await.map(Arc::new)
        };
        cell.get_or_try_init(work).await.cloned()
    }

    fn cell(&self, tag: &Digest) -> Cell<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.turn += 1;
        let turn = kept.turn;
        if let Some((last, cell)) = kept.cells.get_mut(tag) {
            *last = turn;
            return cell.clone();
        }
        if kept.cells.len() >= KNOWN_MAX {
            let oldest = kept.cells.iter().min_by_key(|(_, (last, _))| *last).map(|(tag, _)| tag.clone());
            oldest.map(|tag| kept.cells.remove(&tag));
        }
        let cell = Arc::new(OnceCell::new());
        kept.cells.insert(tag.clone(), (turn, cell.clone()));
        cell
    }
}

/// SHA-256 of parts of a file, one behind the other. Reads.
///
/// # Errors
/// When a file is not among these, or cannot be read.
pub(super) fn sum(uki: &Uki, files: &Files, ranges: &[Range<u64>]) -> Result<Sum> {
    let mut sum = Context::new(&SHA256);
    let mut buffer = vec![0; PART];
    for (piece, part) in ranges.iter().flat_map(|range| uki.parts(range.start, range.end)) {
        match piece {
            Piece::Octets(octets) => {
                let at = |octet: u64| usize::try_from(octet).unwrap_or(octets.len());
                sum.update(octets.get(at(part.start)..at(part.end)).unwrap_or_default());
            }
            Piece::File { digest, .. } => {
                let file = files.get(digest).ok_or_else(|| Error::from(std::io::ErrorKind::NotFound))?;
                for at in part.clone().step_by(PART) {
                    let count = usize::try_from(part.end - at).map_or(PART, |left| left.min(PART));
                    let octets = buffer.get_mut(..count).unwrap_or_default();
                    file.read_exact_at(octets, at)?;
                    sum.update(octets);
                }
            }
        }
    }
    let mut octets = [0; 32];
    octets.copy_from_slice(sum.finish().as_ref());
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn file(octet: u64) -> Uki {
        let tag = Digest::of(&[octet.to_be_bytes(); 4].concat());
        Uki { pieces: vec![Piece::Octets(vec![1, 2, 3])], length: 3, sections: Vec::new(), tag }
    }

    #[tokio::test]
    async fn what_is_known_is_found_out_once_and_failures_are_not_kept() {
        let (known, found_out) = (Arc::new(Known::new()), Arc::new(AtomicU64::new(0)));
        assert!(known.of(&file(0), || Err(Error::other("gone"))).await.is_err());
        let asks = (0..20).map(|_| {
            let (known, found_out) = (known.clone(), found_out.clone());
            tokio::spawn(async move {
                *known.of(&file(0), move || Ok(found_out.fetch_add(1, Ordering::Relaxed))).await.unwrap()
            })
        });
        for ask in asks.collect::<Vec<_>>() {
            assert_eq!(ask.await.unwrap(), 0);
        }
        assert_eq!(found_out.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn room_is_made_by_what_was_not_asked_for_the_longest() {
        let known = Known::new();
        let most = u64::try_from(KNOWN_MAX).unwrap();
        for octet in (0..most).chain([0, most]) {
            known.of(&file(octet), move || Ok(octet)).await.unwrap();
        }
        assert_eq!(known.kept.lock().unwrap().cells.len(), KNOWN_MAX);
        assert_eq!(*known.of(&file(0), || Ok(7)).await.unwrap(), 0, "it was asked for again before");
        assert_eq!(*known.of(&file(1), || Ok(7)).await.unwrap(), 7);
    }

    #[test]
    fn a_sum_is_that_of_the_parts() {
        let of = |octets: &[u8]| ring::digest::digest(&SHA256, octets).as_ref().to_vec();
        assert_eq!(sum(&file(0), &Files::new(), &[0..1, 2..3]).unwrap().to_vec(), of(&[1, 3]));
    }
}
