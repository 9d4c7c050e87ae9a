//! Clients that read, write and swap a few keys of a store at the same time, and write down what they saw; faults are the caller's.

use super::linear::{Call, History, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use weft_netboot::store::{Compare, Outcome, Revision, Store, StoreError, Transaction, Write};

/// Keys: few, so that clients meet.
const KEYS: u64 = 4;
/// Clients: few, so that histories can be decided.
const CLIENTS: u64 = 6;
/// Wait after a call that failed: a cluster without a leader is not asked a thousand times a second.
const PAUSE: Duration = Duration::from_millis(30);

/// Clients at work.
pub(crate) struct Clients {
    pub(crate) history: Arc<History>,
    over: Arc<AtomicBool>,
    /// Calls that were answered so far.
    pub(crate) answered: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Clients {
    pub(crate) fn start(store: &Arc<dyn Store>) -> Self {
        let mut clients =
            Self { history: Arc::default(), over: Arc::default(), answered: Arc::default(), tasks: JoinSet::new() };
        for number in 0..CLIENTS {
            let (store, history) = (store.clone(), clients.history.clone());
            let (over, answered) = (clients.over.clone(), clients.answered.clone());
            clients.tasks.spawn(async move {
                let mut turn = 0;
                while !over.load(Ordering::Relaxed) {
                    turn += 1;
                    // Every value is written once only: a history says who was seen.
                    let value = number * 1_000_000 + turn;
                    let key = format!("linear/{}", (turn * 7 + number) % KEYS);
                    if step(store.as_ref(), &history, &key, value).await {
                        answered.fetch_add(1, Ordering::Relaxed);
                    } else {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
        clients
    }

    /// Ends them; what they saw.
    pub(crate) async fn finish(mut self) -> Arc<History> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.history
    }
}

/// One call; whether it was answered.
async fn step(store: &dyn Store, history: &History, key: &str, value: u64) -> bool {
    match value % 4 {
        0 => write(store, history, key, Some(value)).await,
        1 => read(store, history, key).await.is_some(),
        2 => match read(store, history, key).await {
            Some((from, modified)) => swap(store, history, key, (from, modified), Some(value)).await,
            None => false,
        },
        _ if value % 20 == 3 => write(store, history, key, None).await,
        _ => swap(store, history, key, (None, None), Some(value)).await,
    }
}

async fn read(store: &dyn Store, history: &History, key: &str) -> Option<(Value, Option<Revision>)> {
    let began = history.begin();
    let found = store.read(key).await.ok()?.entries.into_iter().find(|entry| entry.key == key);
    let value = found.as_ref().map(|entry| u64::from_be_bytes(entry.value.as_ref().try_into().unwrap()));
    history.end(key, began, Call::Read(value));
    Some((value, found.map(|entry| entry.modified)))
}

async fn write(store: &dyn Store, history: &History, key: &str, value: Value) -> bool {
    let began = history.begin();
    let writes = vec![put(key, value)];
    match store.commit(Transaction { compares: Vec::new(), writes }).await {
        Ok(Outcome::Committed(_)) => history.end(key, began, Call::Write(value)),
        Ok(Outcome::Conflict) => panic!("a write without conditions conflicts"),
        Err(error) => return gave_up(history, key, began, Call::Write(value), &error),
    }
    true
}

async fn swap(
    store: &dyn Store,
    history: &History,
    key: &str,
    (from, modified): (Value, Option<Revision>),
    to: Value,
) -> bool {
    let began = history.begin();
    let compares = vec![Compare { key: key.to_owned(), modified }];
    let call = Call::Swap { from, to };
    match store.commit(Transaction { compares, writes: vec![put(key, to)] }).await {
        Ok(Outcome::Committed(_)) => history.end(key, began, call),
        // Every value is written once: another revision is another value, but for "it is not there", of which there is one.
        Ok(Outcome::Conflict) => history.end(key, began, Call::Kept { from }),
        Err(error) => return gave_up(history, key, began, call, &error),
    }
    true
}

fn put(key: &str, value: Value) -> Write {
    Write { key: key.to_owned(), value: value.map(|value| value.to_be_bytes().as_slice().into()) }
}

/// What is unknown, or found no room, may have happened; every other error says that it did not.
fn gave_up(history: &History, key: &str, began: u64, call: Call, error: &StoreError) -> bool {
    if matches!(error, StoreError::Unknown(_) | StoreError::Full(_)) {
        history.lost(key, began, call);
    }
    false
}
