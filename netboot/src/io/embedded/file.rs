//! The file of the embedded store: three tables of redb, which writes new pages beside the old ones and then flips one pointer, so that
//! a crash at any time leaves the last flushed state.
//!
//! ```text
//! entries   key ▸ revision of its last change (8 octets), value
//! log       revision ▸ what that transaction changed, for watchers; the last LOG_MAX of them, or LOG_BYTES_MAX
//! meta      `revision`, `compacted`, `log_bytes`, `format`
//! ```

use crate::store::{Change, Entry, Event, Outcome, Revision, Snapshot, Span, StoreError, Transaction};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

const ENTRIES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("entries");
const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");

/// What this version writes.
const FORMAT: u64 = 1;
/// Transactions that a watcher can be behind: a day of a thousand machines that change every few minutes.
const LOG_MAX: u64 = 10_000;
/// And what they may take of the disk: transactions of the largest size are few.
const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Pages kept in memory: the inventory has its own copy, and reads the file when it starts.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// An open file.
pub(super) struct File {
    database: Database,
}

/// Transactions that are done.
pub(super) struct Done {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) events: Vec<Event>,
    /// The revision after them.
    pub(super) revision: Revision,
}

/// What happened, from a revision on.
pub(super) struct Past {
    pub(super) events: Vec<Event>,
    /// How far they go.
    pub(super) upto: Revision,
    /// Nothing has happened since.
    pub(super) whole: bool,
}

/// Transactions that could not be written.
pub(super) struct Failed {
    pub(super) why: String,
    /// What they come to if they are in the file nevertheless; `None` = nothing was flushed.
    pub(super) done: Option<Done>,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let said = |error: &dyn std::fmt::Display| StoreError::Unavailable(format!("{}: {error}", path.display()));
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| {
            let in_use = matches!(error, redb::DatabaseError::DatabaseAlreadyOpen);
            if in_use { said(&"another process has it open: one server for one file") } else { said(&error) }
        })?;
        let file = Self { database };
        match file.prepare() {
            Ok(FORMAT) => Ok(file),
            Ok(other) => {
                let message = format!("{}: format {other}; this version knows {FORMAT}", path.display());
                Err(StoreError::Damaged(message))
            }
            Err(error) => Err(said(&error)),
        }
    }

    /// Makes the tables of a new file; the format of the file. A file that has them is not written to: its disk may be full.
    fn prepare(&self) -> Result<u64, redb::Error> {
        let known = match self.database.begin_read()?.open_table(META) {
            Ok(meta) => meta.get("format")?.map(|format| format.value()),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(format) = known {
            return Ok(format);
        }
        let write = self.database.begin_write()?;
        {
            write.open_table(ENTRIES)?;
            write.open_table(LOG)?;
            write.open_table(META)?.insert("format", FORMAT)?;
        }
        write.commit()?;
        Ok(FORMAT)
    }

    pub(super) fn revision(&self) -> Result<Revision, StoreError> {
        let read = || -> Result<u64, redb::Error> {
            let meta = self.database.begin_read()?.open_table(META)?;
            Ok(meta.get("revision")?.map_or(0, |revision| revision.value()))
        };
        read().map(Revision).map_err(unavailable)
    }

    pub(super) fn range(&self, span: &Span) -> Result<Snapshot, StoreError> {
        let read = || -> Result<Snapshot, redb::Error> {
            let transaction = self.database.begin_read()?;
            let meta = transaction.open_table(META)?;
            let revision = Revision(meta.get("revision")?.map_or(0, |revision| revision.value()));
            let mut snapshot = Snapshot { entries: Vec::new(), revision };
            let entries = transaction.open_table(ENTRIES)?;
            let to = if span.to.is_empty() { Bound::Unbounded } else { Bound::Excluded(span.to.as_str()) };
            let mut range = entries.range::<&str>((Bound::Included(span.from.as_str()), to))?;
            while span.limit == 0 || snapshot.entries.len() < span.limit {
                let Some(item) = (if span.backwards { range.next_back() } else { range.next() }) else {
                    break;
                };
                let (key, stored) = item?;
                let (modified, value) = split(stored.value());
                snapshot.entries.push(Entry { key: key.value().to_owned(), value: value.into(), modified });
            }
            Ok(snapshot)
        };
        read().map_err(unavailable)
    }

    /// The first events below a prefix after a revision, and how far they go.
    pub(super) fn events(&self, prefix: &str, after: Revision, limit: usize) -> Result<Past, StoreError> {
        let read = || -> Result<(u64, Past), redb::Error> {
            let transaction = self.database.begin_read()?;
            let meta = transaction.open_table(META)?;
            let number = |name| -> Result<u64, redb::Error> { Ok(meta.get(name)?.map_or(0, |number| number.value())) };
            let (compacted, revision) = (number("compacted")?, number("revision")?);
            let mut past = Past { events: Vec::new(), upto: Revision(revision), whole: true };
            if after.0 < compacted {
                return Ok((compacted, past));
            }
            for item in transaction.open_table(LOG)?.range(after.0 + 1..)? {
                let (at, stored) = item?;
                let mut changes = decode(stored.value());
                changes.retain(|change| change.key.starts_with(prefix));
                if !changes.is_empty() {
                    past.events.push(Event { revision: Revision(at.value()), changes });
                }
                if past.events.len() >= limit {
                    past.upto = Revision(at.value());
                    past.whole = at.value() == revision;
                    break;
                }
            }
            Ok((compacted, past))
        };
        let (compacted, past) = read().map_err(unavailable)?;
        if after.0 < compacted { Err(StoreError::Compacted(Revision(compacted))) } else { Ok(past) }
    }

    pub(super) fn compact(&self, upto: Revision) -> Result<(), StoreError> {
        let work = || -> Result<(), redb::Error> {
            let write = self.database.begin_write()?;
            {
                let mut meta = write.open_table(META)?;
                let revision = meta.get("revision")?.map_or(0, |revision| revision.value());
                let before = meta.get("compacted")?.map_or(0, |compacted| compacted.value());
                let mut bytes = meta.get("log_bytes")?.map_or(0, |bytes| bytes.value());
                let compacted = before.max(upto.0.min(revision));
                forget(&mut write.open_table(LOG)?, &mut bytes, |first, _| first <= compacted)?;
                meta.insert("compacted", compacted)?;
                meta.insert("log_bytes", bytes)?;
            }
            write.commit()?;
            Ok(())
        };
        work().map_err(unavailable)
    }

    /// Does transactions one after the other, with one flush.
    pub(super) fn commit(&self, transactions: &[Transaction]) -> Result<Done, Failed> {
        let early = |error: redb::Error| Failed { why: error.to_string(), done: None };
        let write = self.database.begin_write().map_err(|error| early(error.into()))?;
        let done = apply(&write, transactions).map_err(early)?;
        if done.events.is_empty() {
            // Only conflicts: nothing to flush.
            write.abort().map_err(|error| early(error.into()))?;
            return Ok(done);
        }
        match write.commit() {
            Ok(()) => Ok(done),
            Err(error) => Err(Failed { why: error.to_string(), done: Some(done) }),
        }
    }
}

fn apply(write: &redb::WriteTransaction, transactions: &[Transaction]) -> Result<Done, redb::Error> {
    let mut meta = write.open_table(META)?;
    let mut entries = write.open_table(ENTRIES)?;
    let mut log = write.open_table(LOG)?;
    let mut revision = meta.get("revision")?.map_or(0, |revision| revision.value());
    let mut bytes = meta.get("log_bytes")?.map_or(0, |bytes| bytes.value());
    let mut done = Done { outcomes: Vec::new(), events: Vec::new(), revision: Revision(revision) };
    for transaction in transactions {
        if !holds(&entries, transaction)? {
            done.outcomes.push(Outcome::Conflict);
            continue;
        }
        let changes = changes(&mut entries, transaction, revision + 1)?;
        if !changes.is_empty() {
            revision += 1;
            let octets = encode(&changes);
            log.insert(revision, octets.as_slice())?;
            bytes += length(&octets);
            done.events.push(Event { revision: Revision(revision), changes });
        }
        done.outcomes.push(Outcome::Committed(Revision(revision)));
    }
    if revision > done.revision.0 {
        done.revision = Revision(revision);
        meta.insert("revision", revision)?;
        let oldest = revision.saturating_sub(LOG_MAX);
        let forgotten = forget(&mut log, &mut bytes, |first, bytes| first <= oldest || bytes > LOG_BYTES_MAX)?;
        if let Some(forgotten) = forgotten {
            meta.insert("compacted", forgotten)?;
        }
        meta.insert("log_bytes", bytes)?;
    }
    Ok(done)
}

fn holds(entries: &Table<'_, &'static str, &'static [u8]>, transaction: &Transaction) -> Result<bool, redb::Error> {
    for compare in &transaction.compares {
        let found = entries.get(compare.key.as_str())?.map(|stored| split(stored.value()).0);
        if found != compare.modified {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes, and what really changed: deleting what is not there changes nothing.
fn changes(
    entries: &mut Table<'_, &'static str, &'static [u8]>,
    transaction: &Transaction,
    revision: u64,
) -> Result<Vec<Change>, redb::Error> {
    let mut changes = Vec::with_capacity(transaction.writes.len());
    for write in &transaction.writes {
        let changed = match &write.value {
            Some(value) => {
                let stored = [&revision.to_be_bytes(), value.as_ref()].concat();
                entries.insert(write.key.as_str(), stored.as_slice())?;
                true
            }
            None => entries.remove(write.key.as_str())?.is_some(),
        };
        if changed {
            changes.push(Change { key: write.key.clone(), value: write.value.clone() });
        }
    }
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(changes)
}

/// Forgets the oldest transactions, as long as `old` says so of the first one and of what all of them take; the last that it forgot.
fn forget(
    log: &mut Table<'_, u64, &'static [u8]>,
    bytes: &mut u64,
    old: impl Fn(u64, u64) -> bool,
) -> Result<Option<u64>, redb::Error> {
    let mut forgotten = None;
    loop {
        let first = log.first()?.map(|(revision, octets)| (revision.value(), length(octets.value())));
        match first {
            Some((revision, size)) if old(revision, *bytes) => {
                log.remove(revision)?;
                *bytes = bytes.saturating_sub(size);
                forgotten = Some(revision);
            }
            Some(_) | None => return Ok(forgotten),
        }
    }
}

fn length(octets: &[u8]) -> u64 {
    u64::try_from(octets.len()).unwrap_or(u64::MAX)
}

fn split(stored: &[u8]) -> (Revision, &[u8]) {
    let (revision, value) = stored.split_first_chunk().unwrap_or((&[0; 8], &[]));
    (Revision(u64::from_be_bytes(*revision)), value)
}

/// For each change: length and text of the key, 0 for deleted or 1 with length and octets of the value; lengths have four octets.
fn encode(changes: &[Change]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut put = |bytes: &[u8]| {
        // Bounded by TRANSACTION_BYTES_MAX.
        octets.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        octets.extend_from_slice(bytes);
    };
    for change in changes {
        put(change.key.as_bytes());
        match &change.value {
            None => put(&[]),
            Some(value) => {
                put(&[1]);
                put(value);
            }
        }
    }
    octets
}

fn decode(mut octets: &[u8]) -> Vec<Change> {
    let mut take = || -> Option<Vec<u8>> {
        let (length, rest) = octets.split_first_chunk::<4>()?;
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        octets = rest;
        Some(bytes.to_vec())
    };
    let mut changes = Vec::new();
    while let Some(key) = take().and_then(|key| String::from_utf8(key).ok()) {
        let value: Option<Arc<[u8]>> = match take() {
            Some(flag) if flag.is_empty() => None,
            Some(_) => take().map(Into::into),
            None => break,
        };
        changes.push(Change { key, value });
    }
    changes
}

fn unavailable(error: redb::Error) -> StoreError {
    if let redb::Error::Corrupted(what) = error {
        return StoreError::Damaged(what);
    }
    StoreError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_as_they_were_written() {
        let change = |key: &str, value: Option<&[u8]>| Change { key: key.to_owned(), value: value.map(Into::into) };
        let all = [change("a", Some(b"1")), change("b", None), change("c", Some(b"")), change("ä", Some(&[0; 300]))];
        assert_eq!(decode(&encode(&all)), all);
        assert_eq!(decode(&encode(&all)[..5]), []);
    }
}
