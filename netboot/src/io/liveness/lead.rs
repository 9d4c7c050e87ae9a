//! Which boot server stores verdicts: the one whose name is in the entry `liveness/leader`, as long as it writes that anew.
//!
//! No clock of one server is compared with that of another: a server takes over when *it* has seen the entry unchanged for [`LEASE`];
//! and whoever leads stops when its own last renewal is older than [`TRUST`], long before. A server that sees nothing gives it up.

use super::Watcher;
use crate::store::{Compare, Entry, Outcome, Revision, StoreError, Transaction, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

const KEY: &str = "liveness/leader";
/// How often the entry is renewed, and looked at by the others.
const RENEW: Duration = Duration::from_secs(1);
/// An entry that did not change for so long is nobody's.
const LEASE: Duration = Duration::from_secs(5);
/// A renewal is believed in for so long.
const TRUST: Duration = Duration::from_secs(3);

pub(super) async fn lead(watcher: Arc<Watcher>) {
    if !watcher.service.store().is_shared() {
        watcher.leads_until.store(u64::MAX, Ordering::Relaxed);
        return;
    }
    let mut seen: Option<(Revision, Instant)> = None;
    let mut led = false;
    loop {
        let until = millis(watcher.now() + TRUST);
        match tokio::time::timeout(TRUST, step(&watcher, &mut seen)).await {
            Ok(Ok(true)) => watcher.leads_until.store(until, Ordering::Relaxed),
            Ok(Ok(false)) => watcher.leads_until.store(0, Ordering::Relaxed),
            // The store does not answer: what was renewed holds for a while.
            Ok(Err(_)) | Err(_) => {}
        }
        if watcher.leads() != led {
            led = !led;
            tracing::info!(leads = led, "states are changed by this server");
        }
        tokio::time::sleep(RENEW).await;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whether this server leads, after it has looked, and renewed or taken what is its own or nobody's.
async fn step(watcher: &Watcher, seen: &mut Option<(Revision, Instant)>) -> Result<bool, StoreError> {
    let store = watcher.service.store();
    let entry = store.read(KEY).await?.entries.into_iter().find(|entry| entry.key == KEY);
    let modified = entry.as_ref().map(|entry| entry.modified);
    let ours = entry.as_ref().is_some_and(|entry: &Entry| *entry.value == *own(watcher));
    let unchanged = match (*seen, modified) {
        (Some((before, since)), Some(now)) if before == now => since.elapsed(),
        (_, Some(now)) => {
            *seen = Some((now, Instant::now()));
            Duration::ZERO
        }
        (_, None) => LEASE,
    };
    let value = match (watcher.sees(), ours) {
        (true, true) => Some(own(watcher).into()),
        (true, false) if unchanged >= LEASE => Some(own(watcher).into()),
        // Another one may see more.
        (false, true) => None,
        (true | false, false) => return Ok(false),
    };
    let leads = value.is_some();
    let compares = vec![Compare { key: KEY.to_owned(), modified }];
    let writes = vec![Write { key: KEY.to_owned(), value }];
    match store.commit(Transaction { compares, writes }).await? {
        Outcome::Committed(_) => Ok(leads),
        Outcome::Conflict => Ok(false),
    }
}

fn own(watcher: &Watcher) -> Vec<u8> {
    format!("\"{}\"", watcher.name).into_bytes()
}
