//! What the server counts of its connections; `/metrics` shows it.

use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Of all that listens for TLS with the same certificates. Since the start, but `connections`.
#[derive(Debug, Default)]
pub struct Tls {
    /// Handshakes with a client that is known.
    pub(crate) handshakes: AtomicU64,
    /// With one that is not.
    pub(crate) refused: AtomicU64,
    /// Not finished in time.
    pub(crate) late: AtomicU64,
    /// Ended to make room.
    pub(crate) displaced: AtomicU64,
    /// Known clients for whom there was no place.
    pub(crate) full: AtomicU64,
    /// TLS connections now.
    pub(crate) connections: AtomicU64,
    /// Certificates read again.
    pub(crate) reloads: AtomicU64,
    /// And found wrong: those before stay.
    pub(crate) reload_failures: AtomicU64,
    /// 1 while the certificates in the files are not those in use, because they are wrong.
    pub(crate) reload_broken: AtomicU64,
    /// When the first of the certificates in use ends, as Unix time in seconds; 0: there are none.
    pub(crate) ends: AtomicI64,
}

impl Tls {
    /// Certificates are in use that end then.
    pub(crate) fn in_use_until(&self, end: Option<Timestamp>) {
        self.ends.store(end.map_or(0, Timestamp::as_second), Ordering::Relaxed);
    }

    /// Seconds until the first of them ends, negative afterwards; `None`: there are none.
    pub(crate) fn left_s(&self, now: Timestamp) -> Option<i64> {
        let ends = self.ends.load(Ordering::Relaxed);
        (ends != 0).then(|| ends.saturating_sub(now.as_second()))
    }
}

/// Since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Of the API.
    pub(crate) tls: Arc<Tls>,
    /// Reports of machines by what became of them.
    pub(crate) reports: [AtomicU64; Reported::ALL.len()],
    /// Questions for disk keys by what became of them.
    pub(crate) keys: [AtomicU64; Keyed::ALL.len()],
    /// Answers by the first digit of their status, from 1.
    pub(crate) answers: [AtomicU64; 5],
}

/// What became of a machine's report of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    /// It was registered before.
    Registered,
    /// A rule let it in.
    Accepted,
    /// It waits.
    Waiting,
    /// A rule or a person does not want it.
    Rejected,
    /// It came too often.
    Limited,
    /// It cannot be read, or there was no room.
    Refused,
}

impl Reported {
    /// All of them, with their names.
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Registered, "registered"),
        (Self::Accepted, "accepted"),
        (Self::Waiting, "waiting"),
        (Self::Rejected, "rejected"),
        (Self::Limited, "limited"),
        (Self::Refused, "refused"),
    ];
}

/// What became of a question for a disk key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyed {
    /// A nonce was given.
    Challenged,
    /// The half was given.
    Released,
    /// What the machine booted is not what it should.
    Refused,
    /// Who asked did not prove which machine it is.
    Unproven,
    /// It came too often.
    Limited,
}

impl Keyed {
    /// All of them, with their names.
    pub(crate) const ALL: [(Self, &'static str); 5] = [
        (Self::Challenged, "challenged"),
        (Self::Released, "released"),
        (Self::Refused, "refused"),
        (Self::Unproven, "unproven"),
        (Self::Limited, "limited"),
    ];
}

impl Counts {
    /// Somebody asked for a disk key.
    pub(crate) fn keyed(&self, what: Keyed) {
        for ((one, _), count) in Keyed::ALL.iter().zip(&self.keys) {
            if *one == what {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A machine reported itself.
    pub(crate) fn reported(&self, what: Reported) {
        for ((one, _), count) in Reported::ALL.iter().zip(&self.reports) {
            if *one == what {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// An answer was given.
    pub(crate) fn answered(&self, status: u16) {
        if let Some(count) = usize::from(status / 100).checked_sub(1).and_then(|class| self.answers.get(class)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
