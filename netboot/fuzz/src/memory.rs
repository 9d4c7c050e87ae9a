//! The model of a store, behind the interface of stores: for servers that live as long as one input.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use weft_netboot::store::memory::Memory;
use weft_netboot::store::{Answer, Event, Outcome, Revision, Snapshot, Span, Store, StoreError, Transaction, Watch};

/// A store without a disk.
#[derive(Clone)]
pub struct InMemory(Arc<Shared>);

struct Shared {
    memory: Mutex<Memory>,
    revision: watch::Sender<Revision>,
}

impl Default for InMemory {
    fn default() -> Self {
        let (revision, _) = watch::channel(Revision(0));
        Self(Arc::new(Shared { memory: Mutex::default(), revision }))
    }
}

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InMemory")
    }
}

impl InMemory {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for InMemory {
    fn range(&self, span: Span) -> Answer<'_, Result<Snapshot, StoreError>> {
        Box::pin(async move {
            let mut snapshot = self.memory().read("");
            snapshot.entries.retain(|entry| span.holds(&entry.key));
            if span.backwards {
                snapshot.entries.reverse();
            }
            if span.limit > 0 {
                snapshot.entries.truncate(span.limit);
            }
            Ok(snapshot)
        })
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, Result<Outcome, StoreError>> {
        Box::pin(async move {
            let outcome = self.memory().commit(&transaction)?;
            if let Outcome::Committed(revision) = outcome {
                self.0.revision.send_replace(revision);
            }
            Ok(outcome)
        })
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> Answer<'a, Result<Box<dyn Watch>, StoreError>> {
        Box::pin(async move {
            let watch = Watching {
                store: self.clone(),
                prefix: prefix.to_owned(),
                last: after,
                pending: VecDeque::new(),
                revision: self.0.revision.subscribe(),
            };
            Ok(Box::new(watch) as Box<dyn Watch>)
        })
    }

    fn compact(&self, upto: Revision) -> Answer<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.memory().compact(upto);
            Ok(())
        })
    }

    fn describe(&self) -> String {
        "in memory".to_owned()
    }
}

struct Watching {
    store: InMemory,
    prefix: String,
    last: Revision,
    pending: VecDeque<Event>,
    revision: watch::Receiver<Revision>,
}

impl Watch for Watching {
    fn next(&mut self) -> Answer<'_, Result<Event, StoreError>> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.pending.pop_front() {
                    self.last = event.revision;
                    return Ok(event);
                }
                self.revision.mark_unchanged();
                self.pending = self.store.memory().events(&self.prefix, self.last)?.into();
                if self.pending.is_empty() {
                    let gone = |_| StoreError::Unavailable("the store is closed".to_owned());
                    self.revision.changed().await.map_err(gone)?;
                }
            }
        })
    }
}
