//! What every store promises, and a model of it that keeps everything in memory.
//!
//! A store is a sorted map of keys with one revision for the whole: each transaction that changes something makes it greater (those that
//! wait at the same time may share one, which a watcher then hears as one), and every entry carries the revision of its last change. A transaction compares the revisions of entries and writes all or nothing. A watcher
//! that names a revision hears every transaction after it, in order and whole, or that they are no longer known.
//!
//! These are etcd's promises, and the embedded store keeps them too: `tests/store/contract.rs` runs against both.

pub mod memory;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Changes of one transaction: etcd takes no more operations in one (`--max-txn-ops`).
pub const WRITES_MAX: usize = 128;
/// Bytes of one transaction: etcd takes no request beyond 1.5 MiB (`--max-request-bytes`).
pub const TRANSACTION_BYTES_MAX: usize = 1_000_000;
/// Bytes of a key: what has a name here is far shorter.
pub const KEY_BYTES_MAX: usize = 512;

/// The state of the store after so many transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub key: String,
    /// What it is.
    pub value: Arc<[u8]>,
    /// When it was written last.
    pub modified: Revision,
}

/// A part of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first key.
    pub from: String,
    /// The first key behind it; empty = to the end.
    pub to: String,
    /// Most entries of the answer; 0 = all.
    pub limit: usize,
    /// The last keys first.
    pub backwards: bool,
}

impl Span {
    /// All keys that begin with a prefix.
    #[must_use]
    pub fn below(prefix: &str) -> Self {
        // A key is text: its first octet behind all that begin with the prefix is the prefix with a greater last character.
        let mut to = prefix.to_owned();
        while let Some(last) = to.pop() {
            if let Some(next) = (last..=char::MAX).nth(1) {
                to.push(next);
                break;
            }
        }
        Self { from: prefix.to_owned(), to, ..Self::default() }
    }

    /// Whether a key is in it.
    #[must_use]
    pub fn holds(&self, key: &str) -> bool {
        key >= self.from.as_str() && (self.to.is_empty() || key < self.to.as_str())
    }
}

/// Entries at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order of their keys, or the other way round.
    pub entries: Vec<Entry>,
    /// The revision of the whole store.
    pub revision: Revision,
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Of which entry.
    pub key: String,
    /// When it must have been written last; `None` = it must not be there.
    pub modified: Option<Revision>,
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub key: String,
    /// What; `None` deletes.
    pub value: Option<Arc<[u8]>>,
}

/// Writes that happen together if all conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Conditions.
    pub compares: Vec<Compare>,
    /// Writes, each of another key.
    pub writes: Vec<Write>,
}

impl Transaction {
    /// Whether it is within what every store takes.
    ///
    /// # Errors
    /// What is too much or twice.
    pub fn check(&self) -> Result<(), StoreError> {
        let most = self.compares.len().max(self.writes.len());
        if most > WRITES_MAX {
            return Err(StoreError::TooLarge(format!("{most} entries in one transaction, at most {WRITES_MAX}")));
        }
        let bytes: usize =
            self.writes.iter().map(|write| write.key.len() + write.value.as_ref().map_or(0, |value| value.len())).sum();
        if bytes > TRANSACTION_BYTES_MAX {
            let message = format!("{bytes} bytes in one transaction, at most {TRANSACTION_BYTES_MAX}");
            return Err(StoreError::TooLarge(message));
        }
        let mut keys: Vec<&str> = self.writes.iter().map(|write| write.key.as_str()).collect();
        keys.sort_unstable();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(StoreError::TooLarge(format!("`{}` is written twice in one transaction", twice[0])));
        }
        match keys.iter().find(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
            Some(key) => Err(StoreError::TooLarge(format!("a key of {} bytes, 1 to {KEY_BYTES_MAX}", key.len()))),
            None => Ok(()),
        }
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored, on disk, and this is the revision that it made.
    Committed(Revision),
    /// A condition did not hold: nothing was written.
    Conflict,
}

/// One entry changed, in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub key: String,
    /// Its new value; `None` = deleted.
    pub value: Option<Arc<[u8]>>,
}

/// What one transaction changed below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision that it made.
    pub revision: Revision,
    /// In the order of keys.
    pub changes: Vec<Change>,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// More than every store takes; nothing was written.
    #[error("{0}")]
    TooLarge(String),
    /// It cannot write, or not be reached; nothing was written.
    #[error("{0}")]
    Unavailable(String),
    /// It says that it has no room. Etcd says so too of the change that filled it, which it took: read whether this is that one.
    #[error("{0}")]
    Full(String),
    /// The answer was lost: it may have been written or not.
    #[error("{0}")]
    Unknown(String),
    /// The store knows nothing of revisions before this one: read again.
    #[error("changes before revision {0} are no longer known")]
    Compacted(Revision),
    /// What is stored cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// A future that the store's caller waits for.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store: embedded, or etcd.
pub trait Store: Send + Sync + fmt::Debug {
    /// Entries of a part of the keys, as they were at one revision. Every transaction acknowledged before the question is in the answer.
    fn range(&self, span: Span) -> Answer<'_, Result<Snapshot, StoreError>>;

    /// All entries whose keys begin with a prefix.
    fn read(&self, prefix: &str) -> Answer<'_, Result<Snapshot, StoreError>> {
        self.range(Span::below(prefix))
    }

    /// Does a transaction.
    fn commit(&self, transaction: Transaction) -> Answer<'_, Result<Outcome, StoreError>>;

    /// Hears what happens below a prefix after a revision.
    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> Answer<'a, Result<Box<dyn Watch>, StoreError>>;

    /// Forgets changes up to a revision: watchers that ask for older ones must read again. Entries stay.
    fn compact(&self, upto: Revision) -> Answer<'_, Result<(), StoreError>>;

    /// What it is, for people.
    fn describe(&self) -> String;

    /// Whether other servers may use it too.
    fn is_shared(&self) -> bool {
        true
    }
}

/// A watcher.
pub trait Watch: Send {
    /// The next transaction. An error ends it: after [`StoreError::Compacted`] the caller reads everything again.
    fn next(&mut self) -> Answer<'_, Result<Event, StoreError>>;
}

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(Span::below("audit/").to, "audit0");
        assert_eq!(Span::below("").to, "");
        assert_eq!(Span::below("a\u{10ffff}").to, "b");
        assert!(
            Span::below("a/").holds("a/\u{10ffff}") && !Span::below("a/").holds("a0") && !Span::below("a/").holds("a.")
        );
    }
}
