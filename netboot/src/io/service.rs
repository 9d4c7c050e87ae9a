//! The inventory as a server has it: a copy in memory that follows the store, and changes that are decided on it.
//!
//! A change is answered when the store has it and this copy too: who asks next at the same server sees what he did.

use crate::error::NetbootError;
use crate::inventory::access::Actor;
use crate::inventory::audit::{AuditEntry, AuditLine, AuditQuery, KEPT_DAYS, Stamp};
use crate::inventory::command::Command;
use crate::inventory::machine::Machine;
use crate::inventory::{AUDIT, Decision, Inventory};
use crate::store::{Outcome, Revision, Span, Store, StoreError, Transaction, WRITES_MAX, Write};
use jiff::Timestamp;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// How often a change is decided anew because others changed the same things. Each time another one got through.
const TRIES_MAX: usize = 128;
/// How often a transaction whose answer was lost is looked for and sent again.
const UNKNOWN_MAX: u32 = 5;
/// Wait for the answer to a transaction before it is looked for the first time; each time twice as long. A follower of etcd sits on what
/// it sent to a leader that is gone for six seconds, although there is a new one after one.
const PATIENCE: Duration = Duration::from_millis(600);
/// Longest wait for the copy to hear of a transaction that the store has.
const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// Wait before a store that does not answer is tried again.
const AGAIN: Duration = Duration::from_millis(250);
/// Audit entries read at a time.
const AUDIT_PAGE: usize = 256;
/// How often old audit entries are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// The inventory of a server.
#[derive(Debug)]
pub struct Service {
    store: Arc<dyn Store>,
    inventory: RwLock<Inventory>,
    /// The revision of `inventory`, for who waits for it.
    heard: watch::Sender<Revision>,
    /// Makes names of audit entries different: of this server, and from each other.
    nonce: AtomicU64,
}

impl Service {
    /// Reads everything and begins to follow the store; must be called within a runtime.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(store: Arc<dyn Store>) -> Result<Arc<Self>, NetbootError> {
        let inventory = read_inventory(store.as_ref()).await?;
        let (heard, _) = watch::channel(inventory.revision());
        let nonce = AtomicU64::new(RandomState::new().hash_one(std::process::id()));
        let service = Arc::new(Self { store, inventory: RwLock::new(inventory), heard, nonce });
        tokio::spawn(follow(Arc::downgrade(&service), service.store.clone()));
        tokio::spawn(prune(Arc::downgrade(&service)));
        Ok(service)
    }

    /// The inventory as it is. Never held over a wait.
    pub fn inventory(&self) -> RwLockReadGuard<'_, Inventory> {
        // `apply` leaves an inventory that is whole: it only replaces entries.
        self.inventory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Carries out a change; the machines concerned, as they are now.
    ///
    /// # Errors
    /// When it is refused, or the store does not take it.
    pub async fn run(&self, command: &Command, actor: &Actor) -> Result<Vec<Arc<Machine>>, NetbootError> {
        for _ in 0..TRIES_MAX {
            let stamp = Stamp { now: now(), nonce: self.nonce.fetch_add(1, Ordering::Relaxed) };
            let (decision, known) = {
                let inventory = self.inventory();
                (inventory.decide(command, actor, &stamp)?, inventory.revision())
            };
            let Decision { transaction, machines } = decision;
            if transaction.writes.is_empty() {
                return Ok(machines);
            }
            match self.commit(transaction, &stamp).await? {
                Outcome::Committed(revision) => {
                    self.wait(|heard| heard >= revision).await;
                    return Ok(machines);
                }
                Outcome::Conflict => self.wait(|heard| heard > known).await,
            }
        }
        Err(NetbootError::Busy(command.serial().unwrap_or("the inventory").to_owned()))
    }

    /// Commits; when the answer is lost, looks for the audit entry that is in every transaction, and sends it again if it is not there:
    /// the conditions let one of the two through only.
    async fn commit(&self, transaction: Transaction, stamp: &Stamp) -> Result<Outcome, NetbootError> {
        let mut unknown = None;
        for turn in 0..UNKNOWN_MAX {
            let patience = PATIENCE * 2_u32.pow(turn);
            let answer = tokio::time::timeout(patience, self.store.commit(transaction.clone())).await;
            let lost = match answer.unwrap_or_else(|_| Err(StoreError::Unknown("no answer in time".to_owned()))) {
                Ok(Outcome::Conflict) if unknown.is_some() => StoreError::Unknown("conflict".to_owned()),
                Ok(outcome) => return Ok(outcome),
                Err(lost @ (StoreError::Unknown(_) | StoreError::Full(_))) => lost,
                Err(error) => return Err(said(error)),
            };
            let conflict = lost == StoreError::Unknown("conflict".to_owned());
            // What was sent before may be on its way still; this one has its answer, and is there or is not.
            let full = unknown.is_none() && matches!(lost, StoreError::Full(_));
            let why = lost.to_string();
            unknown = Some(lost);
            let key = format!("{AUDIT}{}", AuditEntry::key(stamp, 0));
            match tokio::time::timeout(patience, self.store.read(&key)).await {
                Ok(Ok(found)) => match found.entries.first() {
                    Some(entry) => return Ok(Outcome::Committed(entry.modified)),
                    None if conflict => return Ok(Outcome::Conflict),
                    None if full => return Err(NetbootError::Store(why)),
                    None => {}
                },
                Ok(Err(_)) => tokio::time::sleep(AGAIN).await,
                Err(_) => {}
            }
        }
        Err(unknown.map_or_else(|| NetbootError::Store("no answer".to_owned()), said))
    }

    /// Waits until the copy knows more than this revision, or for a while.
    pub async fn changed(&self, since: Revision) {
        self.wait(|heard| heard > since).await;
    }

    /// Waits until the copy has heard enough, or for a while: a store that answers but tells nothing must not hold requests.
    async fn wait(&self, enough: impl Fn(Revision) -> bool) {
        let mut heard = self.heard.subscribe();
        let _ = tokio::time::timeout(HEARD_WITHIN, heard.wait_for(|revision| enough(*revision))).await;
    }

    /// Audit entries, newest first, of one subject or all.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn audit(&self, asked: &AuditQuery) -> Result<Vec<AuditLine>, NetbootError> {
        let from = asked.since.map(AuditEntry::key_from).unwrap_or_default();
        let mut to =
            asked.until.map_or_else(|| Span::below(AUDIT).to, |time| format!("{AUDIT}{}", AuditEntry::key_from(time)));
        let mut found = Vec::new();
        loop {
            let span = Span { from: format!("{AUDIT}{from}"), to: to.clone(), limit: AUDIT_PAGE, backwards: true };
            let page = self.store.range(span).await.map_err(said)?.entries;
            let Some(last) = page.last() else { return Ok(found) };
            to.clone_from(&last.key);
            for entry in &page {
                // An entry of a newer version that cannot be read hides nothing else.
                let Ok(audit) = serde_json::from_slice::<AuditEntry>(&entry.value) else { continue };
                if asked.subject.as_ref().is_none_or(|subject| audit.subject == *subject) {
                    found.push(AuditLine { revision: entry.modified.0, entry: audit });
                    if found.len() >= asked.limit {
                        return Ok(found);
                    }
                }
            }
            if page.len() < AUDIT_PAGE {
                return Ok(found);
            }
        }
    }

    fn set(&self, change: impl FnOnce(&mut Inventory) -> Result<(), NetbootError>) -> Result<(), NetbootError> {
        let mut inventory = self.inventory.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut inventory)?;
        self.heard.send_replace(inventory.revision());
        Ok(())
    }
}

/// Follows the store until the service is gone.
async fn follow(service: Weak<Service>, store: Arc<dyn Store>) {
    let mut complained = false;
    while service.strong_count() > 0 {
        if let Err(error) = follow_once(&service, store.as_ref()).await {
            if !complained {
                tracing::warn!(store = store.describe(), %error, "the store is not followed");
            }
            complained = true;
            tokio::time::sleep(AGAIN).await;
        } else {
            complained = false;
        }
    }
}

/// Follows until something is wrong, or the service is gone.
async fn follow_once(service: &Weak<Service>, store: &dyn Store) -> Result<(), NetbootError> {
    let Some(after) = service.upgrade().map(|service| service.inventory().revision()) else { return Ok(()) };
    let mut watch = match store.watch("", after).await {
        Ok(watch) => watch,
        Err(StoreError::Compacted(_)) => return reload(service, store).await,
        Err(error) => return Err(said(error)),
    };
    loop {
        let heard = tokio::time::timeout(HEARD_WITHIN, watch.next()).await;
        let Some(service) = service.upgrade() else { return Ok(()) };
        match heard {
            Ok(Ok(event)) => service.set(|inventory| inventory.apply(&event))?,
            Ok(Err(StoreError::Compacted(_))) => return reload(&Arc::downgrade(&service), store).await,
            Ok(Err(error)) => return Err(said(error)),
            Err(_) => {}
        }
    }
}

/// Reads everything anew: events between are no longer known.
async fn reload(service: &Weak<Service>, store: &dyn Store) -> Result<(), NetbootError> {
    let inventory = read_inventory(store).await?;
    let Some(service) = service.upgrade() else { return Ok(()) };
    service.set(|old| {
        *old = inventory;
        Ok(())
    })
}

/// Everything but the audit log. The keys behind it are read second, and may be newer: the inventory says the older revision, so what
/// happened between the two is heard (again), and a decision on either meets a conflict.
async fn read_inventory(store: &dyn Store) -> Result<Inventory, NetbootError> {
    let audit = Span::below(AUDIT);
    let mut all = store.range(Span { to: audit.from, ..Span::default() }).await.map_err(said)?;
    let behind = store.range(Span { from: audit.to, ..Span::default() }).await.map_err(said)?;
    all.entries.extend(behind.entries);
    Inventory::load(&all)
}

/// Deletes audit entries that are too old.
async fn prune(service: Weak<Service>) {
    loop {
        let Some(strong) = service.upgrade() else { return };
        if let Err(error) = prune_once(&strong, now()).await {
            tracing::warn!(%error, "old audit entries stay");
        }
        drop(strong);
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

async fn prune_once(service: &Service, now: Timestamp) -> Result<(), NetbootError> {
    let oldest = now.checked_sub(jiff::SignedDuration::from_hours(24 * KEPT_DAYS)).unwrap_or(Timestamp::UNIX_EPOCH);
    let limit = format!("{AUDIT}{}", AuditEntry::key_from(oldest));
    loop {
        let span = Span { from: AUDIT.to_owned(), to: limit.clone(), limit: WRITES_MAX, backwards: false };
        let old = service.store.range(span).await.map_err(said)?.entries;
        if old.is_empty() {
            return Ok(());
        }
        let writes = old.into_iter().map(|entry| Write { key: entry.key, value: None }).collect();
        service.store.commit(Transaction { compares: Vec::new(), writes }).await.map_err(said)?;
    }
}

fn said(error: StoreError) -> NetbootError {
    if let StoreError::Unknown(why) | StoreError::Full(why) = error {
        return NetbootError::Unknown(why);
    }
    NetbootError::Store(error.to_string())
}

/// The wall clock, to the millisecond.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}
