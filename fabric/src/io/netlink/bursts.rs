//! Whether the thread that writes is in the middle of a burst of operations: for each of them the kernel makes a notification for
//! everybody who listens, whatever their filters let in, and the one who writes pays for that (a twelfth of the time of a million routes).

use super::wake;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Shared by the thread that writes and those who read beside it.
#[derive(Clone, Debug, Default)]
pub(super) struct Bursts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_under_way: AtomicBool,
    /// Threads that are woken when that changes; as many as read at present.
    readers: Mutex<Vec<Weak<OwnedFd>>>,
}

impl Bursts {
    /// A burst begins or ends.
    pub(super) fn set(&self, is_under_way: bool) {
        self.0.is_under_way.store(is_under_way, Ordering::Release);
        let readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.iter().filter_map(Weak::upgrade).for_each(|reader| wake(&reader));
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.0.is_under_way.load(Ordering::Acquire)
    }

    /// Wakes a reader from now on, for as long as it is there.
    pub(super) fn tell(&self, reader: &Arc<OwnedFd>) {
        let mut readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|known| known.strong_count() > 0);
        readers.push(Arc::downgrade(reader));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    #[test]
    fn readers_are_woken_when_a_burst_begins_and_ends_and_forgotten_when_they_are_gone() {
        let bursts = Bursts::default();
        let reader = || Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let is_woken = |reader: &OwnedFd| rustix::io::read(reader, &mut [0; 8]).is_ok();
        let (first, second) = (reader(), reader());
        bursts.tell(&first);
        drop(first);
        bursts.tell(&second);
        assert_eq!(bursts.0.readers.lock().unwrap().len(), 1);
        for is_under_way in [true, false] {
            bursts.set(is_under_way);
            assert!(bursts.is_under_way() == is_under_way && is_woken(&second) && !is_woken(&second));
        }
    }
}
