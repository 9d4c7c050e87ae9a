//! The watcher at work: hears the local daemon and the store, lets [`crate::liveness`] judge, and has its verdicts stored.
//!
//! ```text
//!   weft daemon ── /v1/watch/routes ──▶ fabric ─┐
//!   store ──────── watch ─────────────▶ machines ─┼──▶ Liveness ──▶ verdicts ──▶ store, if this server leads
//!   agents ─────── PUT …/alive ─────────────────┘                                (lead)
//! ```
//!
//! Several boot servers all watch; one writes. Which, is one entry of the store that it renews (`liveness::lead`); whoever takes a verdict for
//! right although another one leads does no harm, because a verdict counts only for the state on which it was given.

mod fabric;
mod lead;

use super::service::Service;
use crate::error::NetbootError;
use crate::inventory::access::{Access, Actor};
use crate::inventory::command::Command;
use crate::inventory::machine::Machine;
use crate::inventory::state::State;
use crate::inventory::{MACHINES, MIGRATION, WATCHED};
use crate::ipam::Migration;
use crate::liveness::{Evidence, Input, Liveness, NAME, Rules, Status, Verdict};
use crate::metrics::Watched;
use crate::store::{Revision, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

/// Verdicts that are being stored at a time: the store puts those that wait together into one flush.
const STORED_MAX: usize = 64;
/// Wait before a watch of the store that ended is begun again.
const AGAIN: Duration = Duration::from_millis(250);

/// The watcher of a server.
#[derive(Debug)]
pub struct Watcher {
    mind: Mutex<Liveness>,
    start: Instant,
    /// Something was heard.
    heard: Notify,
    service: Arc<Service>,
    /// Verdicts are stored until then, in milliseconds since the start.
    leads_until: AtomicU64,
    name: String,
    /// Verdicts that were stored, by the state that they said.
    stored: [AtomicU64; State::ALL.len()],
    /// Verdicts that the store did not take.
    refused: AtomicU64,
}

impl Watcher {
    /// Begins; must be called within a runtime.
    #[must_use]
    pub fn start(rules: &Rules, service: Arc<Service>) -> Arc<Self> {
        let watcher = Arc::new(Self {
            mind: Mutex::new(Liveness::new(rules.clone(), Duration::ZERO)),
            start: Instant::now(),
            heard: Notify::new(),
            service,
            leads_until: AtomicU64::new(0),
            name: name(),
            stored: Default::default(),
            refused: AtomicU64::new(0),
        });
        tokio::spawn(fabric::hear(watcher.clone(), rules.daemon.clone()));
        tokio::spawn(machines(watcher.clone()));
        tokio::spawn(lead::lead(watcher.clone()));
        tokio::spawn(judge(watcher.clone()));
        watcher
    }

    fn mind(&self) -> MutexGuard<'_, Liveness> {
        // A thought that ended early leaves a mind that looks again at the next input.
        self.mind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Hears something.
    pub fn hear(&self, input: Input) {
        self.mind().handle(self.now(), input);
        self.heard.notify_one();
    }

    /// What is known of some machines.
    pub fn evidence<'s>(&self, serials: impl Iterator<Item = &'s str>) -> BTreeMap<&'s str, Evidence> {
        let (mind, now) = (self.mind(), self.now());
        serials.filter_map(|serial| Some((serial, mind.evidence(now, serial)?))).collect()
    }

    /// How the watcher is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.mind().status(self.now())
    }

    /// Whether its verdicts are stored.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.now() < Duration::from_millis(self.leads_until.load(Ordering::Relaxed))
    }

    /// What it counts.
    #[must_use]
    pub fn watched(&self) -> Watched {
        let marked = State::ALL.into_iter().zip(self.stored.iter().map(|count| count.load(Ordering::Relaxed)));
        let (status, leads, not_stored) = (self.status(), self.leads(), self.refused.load(Ordering::Relaxed));
        Watched { status, leads, marked: marked.collect(), not_stored }
    }

    fn sees(&self) -> bool {
        self.mind().sees()
    }
}

/// Of this server among others: its host, and something that no other run of it has.
pub(in crate::io) fn name() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{:08x}", host.trim(), RandomState::new().hash_one(std::process::id()) & 0xffff_ffff)
}

/// Takes verdicts as they fall due, and has them stored.
async fn judge(watcher: Arc<Watcher>) {
    let places = Arc::new(Semaphore::new(STORED_MAX));
    let (mut frozen, mut blind) = (false, true);
    loop {
        let next = {
            let mut mind = watcher.mind();
            let now = watcher.now();
            let verdict = mind.poll(now);
            if (mind.is_frozen(), mind.is_blind()) != (frozen, blind) {
                aloud(&mind.status(now), &mut frozen, &mut blind);
            }
            verdict.ok_or_else(|| mind.next_timeout().map(|at| at.saturating_sub(now)))
        };
        match next {
            Ok(verdict) if watcher.leads() => {
                let Ok(place) = places.clone().acquire_owned().await else { return };
                let watcher = watcher.clone();
                tokio::spawn(async move {
                    store(&watcher, verdict).await;
                    drop(place);
                });
            }
            // Whoever leads has come to the same.
            Ok(_) => {}
            Err(Some(wait)) => {
                // Heard or not: it is looked again.
                let _ = tokio::time::timeout(wait, watcher.heard.notified()).await;
            }
            Err(None) => watcher.heard.notified().await,
        }
    }
}

/// One line for each change of what the watcher sees.
fn aloud(status: &Status, frozen: &mut bool, blind: &mut bool) {
    if status.frozen_s.is_some() != *frozen {
        *frozen = !*frozen;
        if *frozen {
            let (lost, machines) = (status.lost.len(), status.machines);
            tracing::error!(
                lost,
                machines,
                "too many machines went at once: no state is changed; `weft-netboot liveness thaw` if it is real"
            );
        } else {
            tracing::info!("states follow the routes again");
        }
    }
    let sees_nothing = status.view == "blind";
    if sees_nothing != *blind {
        *blind = sees_nothing;
        if sees_nothing {
            tracing::warn!(why = status.why, "the fabric is not seen: no state is changed");
        } else {
            tracing::info!(sessions = status.sessions, "the fabric is seen");
        }
    }
}

async fn store(watcher: &Watcher, verdict: Verdict) {
    let Verdict { serial, from, since, to, reason } = verdict;
    let actor = Actor { name: NAME.to_owned(), access: Access::Operator, via: watcher.name.clone() };
    let command = Command::Observe { serial: serial.clone(), from, since, to, reason: reason.clone() };
    match watcher.service.run(&command, &actor).await {
        Ok(machines) => {
            if machines.first().is_some_and(|machine| machine.state.name == to && machine.state.by == NAME) {
                tracing::info!(serial, %from, %to, reason, "state");
                if let Some(at) = State::ALL.iter().position(|state| *state == to) {
                    watcher.stored[at].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Err(error) => {
            watcher.refused.fetch_add(1, Ordering::Relaxed);
            // It is given again.
            tracing::warn!(serial, %to, %error, "state not stored");
        }
    }
}

/// Follows the machines of the store, and the change of their addresses.
async fn machines(watcher: Arc<Watcher>) {
    let mut known = BTreeSet::new();
    loop {
        let after = read(&watcher, &mut known);
        if let Err(error) = follow(&watcher, after, &mut known).await {
            tracing::debug!(%error, "machines are read again");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// All machines as the inventory has them; its revision.
fn read(watcher: &Watcher, known: &mut BTreeSet<String>) -> Revision {
    let (machines, migration, revision) = {
        let inventory = watcher.service.inventory();
        let machines: Vec<_> = inventory.machines().cloned().collect();
        (machines, inventory.migration().cloned(), inventory.revision())
    };
    watcher.hear(Input::Migration(migration.map(|migration| Box::new(migration.as_ref().clone()))));
    let mut gone = std::mem::take(known);
    for machine in machines {
        gone.remove(&machine.serial);
        known.insert(machine.serial.clone());
        watcher.hear(Input::Machine(Box::new(Machine::clone(&machine))));
    }
    gone.into_iter().for_each(|serial| watcher.hear(Input::Removed(serial)));
    revision
}

async fn follow(watcher: &Watcher, after: Revision, known: &mut BTreeSet<String>) -> Result<(), NetbootError> {
    let said = |error: StoreError| NetbootError::Store(error.to_string());
    let mut watch = watcher.service.store().watch(WATCHED, after).await.map_err(said)?;
    loop {
        for change in watch.next().await.map_err(said)?.changes {
            if change.key == MIGRATION {
                // Of one that cannot be read the inventory complains; what was under way still is.
                if let Ok(migration) = change.value.as_deref().map(serde_json::from_slice::<Migration>).transpose() {
                    watcher.hear(Input::Migration(migration.map(Box::new)));
                }
            }
            let Some(serial) = change.key.strip_prefix(MACHINES) else { continue };
            match change.value.as_deref().map(serde_json::from_slice::<Machine>) {
                Some(Ok(machine)) => {
                    known.insert(serial.to_owned());
                    watcher.hear(Input::Machine(Box::new(machine)));
                }
                // The inventory complains of it.
                Some(Err(_)) => {}
                None => {
                    known.remove(serial);
                    watcher.hear(Input::Removed(serial.to_owned()));
                }
            }
        }
    }
}
