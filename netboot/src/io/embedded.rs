//! The embedded store: one file, written by one thread.
//!
//! Transactions that wait while the disk is busy are stored together, with one flush for all of them, so that many clients together
//! write as fast as the disk flushes times how many they are. Nobody is answered before the flush.
//!
//! When the disk is full or fails, the file is opened again: what it holds then says whether the writes under way are in it. The
//! inventory answers from its copy in memory meanwhile.

mod file;

use crate::store::{Answer, Event, Outcome, Revision, Snapshot, Span, Store, StoreError, Transaction, Watch, memory};
use file::File;
use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot};

/// Transactions that wait for the writer; then clients wait with theirs.
const WAITING_MAX: usize = 1_024;
/// Transactions stored with one flush: more would only make the first of them wait.
const TOGETHER_MAX: usize = 256;
/// Events that a watcher may lag behind before it reads them from the file: all of them stay in memory, a few megabytes.
const LAG_MAX: usize = 1_024;

/// Events that a watcher reads from the file at a time.
const PENDING_MAX: usize = 128;
/// How often and at which intervals the writer looks whether readers have left the file that it must close: they read for milliseconds.
const CLOSE_TRIES: u32 = 2_000;
const CLOSE_WAIT: Duration = Duration::from_millis(1);

/// The embedded store.
pub struct Embedded {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

/// What readers and the writer share.
struct Shared {
    /// Nothing while it cannot be opened.
    file: RwLock<Option<Arc<File>>>,
    live: broadcast::Sender<Arc<Event>>,
    name: String,
}

enum Order {
    Commit(Transaction, oneshot::Sender<Result<Outcome, StoreError>>),
    Compact(Revision, oneshot::Sender<Result<(), StoreError>>),
}

impl Embedded {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it cannot be opened, is in use by another process, or is no such file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = Arc::new(File::open(path)?);
        let (live, _) = broadcast::channel(LAG_MAX);
        let shared = Arc::new(Shared { file: RwLock::new(Some(file)), live, name: path.display().to_string() });
        let (orders, waiting) = mpsc::channel(WAITING_MAX);
        let writer = Writer { shared: shared.clone(), path: path.to_owned() };
        let started = std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run(waiting));
        started.map_err(|error| StoreError::Unavailable(format!("no thread for the store: {error}")))?;
        Ok(Self { shared, orders })
    }

    async fn order<T>(&self, order: Order, answer: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
        let gone = || StoreError::Unavailable("the store's writer has ended".to_owned());
        self.orders.send(order).await.map_err(|_| gone())?;
        answer.await.map_err(|_| StoreError::Unknown("the store's writer has ended".to_owned()))?
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedded({})", self.shared.name)
    }
}

impl Shared {
    fn file(&self) -> Result<Arc<File>, StoreError> {
        // The lock guards one pointer: nothing can be half done in it.
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner).clone();
        file.ok_or_else(|| StoreError::Unavailable(format!("{} is being opened again", self.name)))
    }

    fn replace(&self, file: Option<Arc<File>>) -> Option<Arc<File>> {
        std::mem::replace(&mut *self.file.write().unwrap_or_else(PoisonError::into_inner), file)
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&File) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = self.file()?;
        let done = tokio::task::spawn_blocking(move || work(&file)).await;
        done.map_err(|error| StoreError::Unavailable(format!("reading ended early: {error}")))?
    }
}

impl Store for Embedded {
    fn range(&self, span: Span) -> Answer<'_, Result<Snapshot, StoreError>> {
        Box::pin(async move { self.shared.blocking(move |file| file.range(&span)).await })
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, Result<Outcome, StoreError>> {
        Box::pin(async move {
            transaction.check()?;
            let (sender, answer) = oneshot::channel();
            self.order(Order::Commit(transaction, sender), answer).await
        })
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> Answer<'a, Result<Box<dyn Watch>, StoreError>> {
        Box::pin(async move {
            let mut watch = EmbeddedWatch {
                // Subscribed before the file is read: no event falls between the two.
                live: self.shared.live.subscribe(),
                shared: self.shared.clone(),
                prefix: prefix.to_owned(),
                last: after,
                pending: VecDeque::new(),
                behind: true,
            };
            watch.catch_up().await?;
            Ok(Box::new(watch) as Box<dyn Watch>)
        })
    }

    fn compact(&self, upto: Revision) -> Answer<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let (sender, answer) = oneshot::channel();
            self.order(Order::Compact(upto, sender), answer).await
        })
    }

    fn describe(&self) -> String {
        format!("embedded, {}", self.shared.name)
    }

    fn is_shared(&self) -> bool {
        false
    }
}

/// Hears events live, and from the file when it lags.
struct EmbeddedWatch {
    shared: Arc<Shared>,
    live: broadcast::Receiver<Arc<Event>>,
    prefix: String,
    /// The last revision that it knows.
    last: Revision,
    pending: VecDeque<Event>,
    /// The file holds events that it has not seen. Stays set when the wait for them is given up.
    behind: bool,
}

impl EmbeddedWatch {
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let (prefix, after) = (self.prefix.clone(), self.last);
        let past = self.shared.blocking(move |file| file.events(&prefix, after, PENDING_MAX)).await?;
        self.pending = past.events.into();
        self.last = past.upto.max(self.last);
        self.behind = !past.whole;
        Ok(())
    }
}

impl Watch for EmbeddedWatch {
    fn next(&mut self) -> Answer<'_, Result<Event, StoreError>> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.pending.pop_front() {
                    return Ok(event);
                }
                if self.behind {
                    self.catch_up().await?;
                    continue;
                }
                match self.live.recv().await {
                    Ok(event) if event.revision > self.last => {
                        self.last = event.revision;
                        let event = memory::below(&event, &self.prefix);
                        if !event.changes.is_empty() {
                            return Ok(event);
                        }
                    }
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => self.behind = true,
                    Err(broadcast::error::RecvError::Closed) => {
                        return Err(StoreError::Unavailable("the store is closed".to_owned()));
                    }
                }
            }
        })
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    path: PathBuf,
}

impl Writer {
    fn run(self, mut waiting: mpsc::Receiver<Order>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut commits = Vec::new();
            let mut order = Some(first);
            while let Some(one) = order.take() {
                match one {
                    Order::Commit(transaction, sender) => commits.push((transaction, sender)),
                    Order::Compact(upto, sender) => {
                        let _ = sender.send(self.file().and_then(|file| file.compact(upto)));
                    }
                }
                if commits.len() < TOGETHER_MAX {
                    order = waiting.try_recv().ok();
                }
            }
            if !commits.is_empty() {
                self.commit(commits);
            }
        }
    }

    /// The file; opened again if it had to be closed.
    fn file(&self) -> Result<Arc<File>, StoreError> {
        self.shared.file().or_else(|_| {
            let file = Arc::new(File::open(&self.path)?);
            tracing::info!(store = self.shared.name, "open again");
            self.shared.replace(Some(file.clone()));
            Ok(file)
        })
    }

    fn commit(&self, commits: Vec<(Transaction, oneshot::Sender<Result<Outcome, StoreError>>)>) {
        let (transactions, senders): (Vec<_>, Vec<_>) = commits.into_iter().unzip();
        let answers = match self.file().map(|file| file.commit(&transactions)) {
            Ok(Ok(done)) => {
                for event in done.events {
                    // Nobody need be listening.
                    let _ = self.shared.live.send(Arc::new(event));
                }
                done.outcomes.into_iter().map(Ok).collect()
            }
            Ok(Err(failed)) => self.settle(failed, senders.len()),
            Err(error) => vec![Err(error); senders.len()],
        };
        for (sender, answer) in senders.into_iter().zip(answers) {
            // Who asked may have gone.
            let _ = sender.send(answer);
        }
    }

    /// After a failed write the file is opened again and says what became of it.
    fn settle(&self, failed: file::Failed, count: usize) -> Vec<Result<Outcome, StoreError>> {
        let file::Failed { why, done } = failed;
        tracing::error!(store = self.shared.name, why, "cannot write");
        if let Some(old) = self.shared.replace(None) {
            let mut old = Arc::try_unwrap(old);
            for _ in 0..CLOSE_TRIES {
                let Err(held) = old else { break };
                std::thread::sleep(CLOSE_WAIT);
                old = Arc::try_unwrap(held);
            }
        }
        let Some(done) = done else {
            return vec![Err(StoreError::Unavailable(why)); count];
        };
        match self.file().and_then(|file| file.revision()) {
            Ok(revision) if revision >= done.revision => {
                // It is there after all; watchers find it in the file.
                for event in done.events {
                    let _ = self.shared.live.send(Arc::new(event));
                }
                done.outcomes.into_iter().map(Ok).collect()
            }
            Ok(_) => vec![Err(StoreError::Unavailable(why)); count],
            Err(_) => vec![Err(StoreError::Unknown(why)); count],
        }
    }
}
