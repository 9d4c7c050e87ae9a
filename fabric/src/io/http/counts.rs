//! What the listeners count, for metrics.

use super::Way;
use crate::api::{Certificate, Doors, Handshakes, Requests};
use hyper::StatusCode;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of every listener.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// By door, then by result; see [`Requests`].
    requests: [[AtomicU64; 3]; 3],
    pub(super) known: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) late: AtomicU64,
    pub(super) displaced: AtomicU64,
    pub(super) full: AtomicU64,
}

impl Counts {
    /// The row of a door.
    pub(super) const fn of(way: &Way) -> usize {
        match way {
            Way::Socket => 0,
            Way::Port(_) => 1,
            Way::Remote(..) => 2,
        }
    }

    /// An answer went out.
    pub(super) fn answered(&self, door: usize, status: StatusCode) {
        let result = if status.is_success() {
            0
        } else if status.is_client_error() {
            1
        } else {
            2
        };
        if let Some(count) = self.requests.get(door).and_then(|door| door.get(result)) {
            add(count);
        }
    }

    pub(super) fn report(&self, certificate: Option<Certificate>) -> Doors {
        let [socket, port, remote] = self.requests.each_ref().map(|door| {
            let [answered, refused, failed] = door.each_ref().map(read);
            Requests { answered, refused, failed }
        });
        let handshakes = Handshakes {
            known: read(&self.known),
            refused: read(&self.refused),
            late: read(&self.late),
            displaced: read(&self.displaced),
            full: read(&self.full),
        };
        Doors { socket, port, remote, handshakes, certificate }
    }
}

/// One more.
pub(super) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
