//! The promises of [`super`] in their plainest form: a map, and a list of what happened. The embedded store is this on disk; tests
//! compare both with it.

use super::{Change, Entry, Event, Outcome, Revision, Snapshot, StoreError, Transaction};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A store without a disk.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    entries: BTreeMap<String, (Arc<[u8]>, Revision)>,
    log: Vec<Event>,
    revision: Revision,
    compacted: Revision,
}

impl Memory {
    /// Does a transaction.
    ///
    /// # Errors
    /// When it is too large.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        transaction.check()?;
        let holds = |key: &str, wanted| self.entries.get(key).map(|(_, modified)| *modified) == wanted;
        if !transaction.compares.iter().all(|compare| holds(&compare.key, compare.modified)) {
            return Ok(Outcome::Conflict);
        }
        let revision = Revision(self.revision.0 + 1);
        let mut changes = Vec::new();
        for write in &transaction.writes {
            let changed = match &write.value {
                Some(value) => {
                    self.entries.insert(write.key.clone(), (value.clone(), revision));
                    true
                }
                None => self.entries.remove(&write.key).is_some(),
            };
            if changed {
                changes.push(Change { key: write.key.clone(), value: write.value.clone() });
            }
        }
        if changes.is_empty() {
            return Ok(Outcome::Committed(self.revision));
        }
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        self.revision = revision;
        self.log.push(Event { revision, changes });
        Ok(Outcome::Committed(revision))
    }

    /// Entries below a prefix.
    #[must_use]
    pub fn read(&self, prefix: &str) -> Snapshot {
        let from = self.entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        let entries = from
            .map(|(key, (value, modified))| Entry { key: key.clone(), value: value.clone(), modified: *modified })
            .collect();
        Snapshot { entries, revision: self.revision }
    }

    /// What happened below a prefix after a revision.
    ///
    /// # Errors
    /// When that is no longer known.
    pub fn events(&self, prefix: &str, after: Revision) -> Result<Vec<Event>, StoreError> {
        if after < self.compacted {
            return Err(StoreError::Compacted(self.compacted));
        }
        let later = self.log.iter().filter(|event| event.revision > after);
        let below = later.map(|event| below(event, prefix)).filter(|event| !event.changes.is_empty());
        Ok(below.collect())
    }

    /// Forgets changes up to a revision.
    pub fn compact(&mut self, upto: Revision) {
        self.compacted = self.compacted.max(upto.min(self.revision));
        self.log.retain(|event| event.revision > self.compacted);
    }
}

/// The part of an event below a prefix.
#[must_use]
pub fn below(event: &Event, prefix: &str) -> Event {
    let changes = event.changes.iter().filter(|change| change.key.starts_with(prefix)).cloned().collect();
    Event { revision: event.revision, changes }
}
