//! Management controllers at work: one line to each, however many ask; wishes that are followed to their end.
//!
//! ```text
//!   API ─▶ Bmcs ─▶ Bmc ─┬─ task: what is wished, how far it is      driven by one future at a time
//!                       └─ line: connection, session, what is known   one dialogue at a time, requests at least `gap_ms` apart
//! ```

mod ipmi;
mod line;
mod secret;
mod trust;

use super::service::Service;
use crate::bmc::power::{Act, End, Task, Wish};
use crate::bmc::redfish::{Goal, Outcome};
use crate::bmc::rules::{Rule, Rules};
use crate::bmc::{Boot, Press, Reading, Trouble};
use crate::inventory::machine::Machine;
use line::Line;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as Turn, Notify, Semaphore};
use trust::Pins;

/// Dialogues with controllers at a time; more wait. Each takes a socket and a few hundred kilobytes.
const DIALOGS_MAX: usize = 64;
/// Dialogues that wait for one controller; more are refused.
const WAITING_MAX: usize = 8;
/// A session that nobody used for this long is ended: controllers have few.
const IDLE: Duration = Duration::from_secs(20);
/// How often sessions are looked at.
const SWEEP: Duration = Duration::from_secs(5);

/// All controllers that a server speaks to.
#[derive(Debug)]
pub struct Bmcs {
    rules: Rules,
    service: Arc<Service>,
    all: Mutex<BTreeMap<String, Arc<Bmc>>>,
    dialogs: Semaphore,
    pins: Pins,
    start: Instant,
    counts: Counts,
}

/// What is counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Dialogues that came to their end.
    pub answered: AtomicU64,
    /// The controller does not know what it was asked, or refused it.
    pub refused: AtomicU64,
    /// It did not answer.
    pub silent: AtomicU64,
    /// It does not take the credentials, or we do not believe its certificate.
    pub untrusted: AtomicU64,
    /// Requests sent.
    pub requests: AtomicU64,
    /// Wishes fulfilled.
    pub done: AtomicU64,
    /// Wishes that were not.
    pub failed: AtomicU64,
    /// Wishes under way.
    pub under_way: AtomicU64,
}

/// One controller.
#[derive(Debug)]
struct Bmc {
    line: Turn<Line>,
    /// Who waits for the line, or has it.
    places: Semaphore,
    task: Mutex<Option<Wished>>,
    /// A wish became harder.
    hurry: Notify,
    /// Whether it turned out to know no soft power-off.
    knows_soft: Mutex<bool>,
    /// Whether it is asked by IPMI.
    by_ipmi: AtomicBool,
}

#[derive(Debug)]
struct Wished {
    task: Task,
    who: String,
    /// Since the start of the server.
    began: Duration,
    ended: Option<Duration>,
}

/// How a wish stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wishing {
    /// What was wished.
    pub wish: Wish,
    /// Without asking the operating system.
    pub hard: bool,
    /// By whom.
    pub who: String,
    /// How far it is.
    pub says: String,
    /// Since it was wished, or from then to its end.
    pub seconds: u64,
    /// Whether it is over: `done`, `failed`, or null.
    pub end: Option<String>,
}

/// What is known of a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// The machine.
    pub serial: String,
    /// Its host name.
    pub name: String,
    /// Where its controller is.
    pub address: SocketAddr,
    /// What the controller said just now; null when it was not asked.
    pub reading: Option<Reading>,
    /// The last wish.
    pub task: Option<Wishing>,
    /// Fingerprint of its certificate (SHA-256), where it was learned.
    pub certificate: Option<String>,
}

/// Where a controller is, and how it is to be spoken to.
#[derive(Clone, Debug)]
struct Site {
    serial: String,
    uuid: Option<String>,
    address: SocketAddr,
    rule: Rule,
}

/// Why a wish was not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// The machine has no controller, or no rule means it.
    NoBmc(String),
    /// Another wish is under way.
    Other(String),
    /// Its controller did not do it.
    Trouble(Trouble),
}

impl Bmcs {
    /// Begins; must be called within a runtime.
    ///
    /// # Errors
    /// Field and remedy.
    pub fn start(rules: &Rules, service: Arc<Service>) -> anyhow::Result<Arc<Self>> {
        rules.check().map_err(anyhow::Error::msg)?;
        let bmcs = Arc::new(Self {
            pins: Pins::load(&rules.pins)?,
            rules: rules.clone(),
            service,
            all: Mutex::default(),
            dialogs: Semaphore::new(DIALOGS_MAX),
            start: Instant::now(),
            counts: Counts::default(),
        });
        let swept = Arc::downgrade(&bmcs);
        tokio::spawn(async move {
            while let Some(bmcs) = swept.upgrade() {
                bmcs.sweep().await;
                drop(bmcs);
                tokio::time::sleep(SWEEP).await;
            }
        });
        Ok(bmcs)
    }

    /// What is counted.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What is known of a machine's controller; it is asked only if `ask`.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub async fn show(&self, machine: &Machine, ask: bool) -> Result<Shown, NotTaken> {
        let site = self.site(machine)?;
        let reading = if ask { self.ask(&site, Goal::Read).await?.1 } else { None };
        Ok(self.shown(machine, &site, reading))
    }

    /// Tells firmware what to boot.
    ///
    /// # Errors
    /// When there is no controller, or it does not do that.
    pub async fn boot(&self, machine: &Machine, boot: &Boot) -> Result<Shown, NotTaken> {
        let site = self.site(machine)?;
        let (_, reading) = self.ask(&site, Goal::Boot(boot.clone())).await?;
        Ok(self.shown(machine, &site, reading))
    }

    /// Whether a wish would be taken.
    ///
    /// # Errors
    /// When there is no controller, or another wish is under way.
    pub fn check(&self, machine: &Machine, wish: Wish) -> Result<(), NotTaken> {
        let site = self.site(machine)?;
        let bmc = self.bmc(&site.serial);
        let task = lock(&bmc.task);
        match task.as_ref().filter(|wished| wished.task.end().is_none()) {
            Some(other) if other.task.wish() != wish => {
                let (is, who) = (other.task.wish(), &other.who);
                Err(NotTaken::Other(format!("`{is}` by {who} is under way: {}", other.task.says())))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Begins to fulfil a wish, or joins one that is the same and under way.
    ///
    /// # Errors
    /// As [`Bmcs::check`].
    pub fn wish(self: &Arc<Self>, machine: &Machine, wish: Wish, hard: bool, who: &str) -> Result<Shown, NotTaken> {
        self.check(machine, wish)?;
        let site = self.site(machine)?;
        let bmc = self.bmc(&site.serial);
        {
            let mut task = lock(&bmc.task);
            match task.as_mut().filter(|wished| wished.task.end().is_none()) {
                Some(same) if hard && !same.task.is_hard() => {
                    same.task.harden();
                    bmc.hurry.notify_one();
                }
                Some(_) => {}
                None => {
                    let soft = *lock(&bmc.knows_soft);
                    let began = self.start.elapsed();
                    let wished = Task::new(wish, hard, site.rule.times);
                    let wished = if soft { wished } else { wished.without_soft() };
                    *task = Some(Wished { task: wished, who: who.to_owned(), began, ended: None });
                    self.counts.under_way.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(self.clone().fulfil(bmc.clone(), site.clone()));
                }
            }
        }
        Ok(self.shown(machine, &site, None))
    }

    /// Forgets the certificate of a controller: the next one is learned.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn forget(&self, machine: &Machine) -> Result<Shown, NotTaken> {
        let site = self.site(machine)?;
        self.pins.forget(&site.serial).map_err(|error| NotTaken::Trouble(Trouble::Untrusted(error)))?;
        let bmc = self.bmc(&site.serial);
        bmc.line.lock().await.reset();
        bmc.by_ipmi.store(false, Ordering::Relaxed);
        Ok(self.shown(machine, &site, None))
    }

    /// Drives a wish to its end.
    async fn fulfil(self: Arc<Self>, bmc: Arc<Bmc>, site: Site) {
        loop {
            let Some(act) = lock(&bmc.task).as_ref().map(|wished| wished.task.next(self.start.elapsed())) else {
                return;
            };
            match act {
                Act::Read => {
                    let heard = self.ask(&site, Goal::Read).await.and_then(|(outcome, _)| {
                        outcome.power().ok_or_else(|| Trouble::Refused("it says no power state".to_owned()))
                    });
                    self.with(&bmc, |task, now| task.on_state(now, heard));
                }
                Act::Press(press) => {
                    let heard = self.ask(&site, Goal::Press(press)).await.map(drop);
                    tracing::info!(serial = site.serial, ?press, result = ?heard, "power");
                    self.with(&bmc, |task, now| task.on_pressed(now, heard));
                    if press == Press::SoftOff {
                        let soft = lock(&bmc.task).as_ref().is_none_or(|wished| wished.task.knows_soft());
                        *lock(&bmc.knows_soft) = soft;
                    }
                }
                Act::Wait(until) => {
                    let rest = until.saturating_sub(self.start.elapsed());
                    // Who wishes it harder does not wait for that.
                    let _ = tokio::time::timeout(rest, bmc.hurry.notified()).await;
                }
                Act::End => break,
            }
        }
        self.counts.under_way.fetch_sub(1, Ordering::Relaxed);
        if let Some(wished) = lock(&bmc.task).as_mut() {
            wished.ended = Some(self.start.elapsed());
            let failed = matches!(wished.task.end(), Some(End::Failed(_)));
            let count = if failed { &self.counts.failed } else { &self.counts.done };
            count.fetch_add(1, Ordering::Relaxed);
            let (wish, says) = (wished.task.wish(), wished.task.says());
            if failed {
                tracing::warn!(serial = site.serial, %wish, says, "power: a wish was not fulfilled");
            } else {
                tracing::info!(serial = site.serial, %wish, says, "power: a wish is fulfilled");
            }
        }
    }

    fn with(&self, bmc: &Bmc, change: impl FnOnce(&mut Task, Duration)) {
        if let Some(wished) = lock(&bmc.task).as_mut() {
            change(&mut wished.task, self.start.elapsed());
        }
    }

    /// One dialogue, when its turn comes.
    async fn ask(&self, site: &Site, goal: Goal) -> Result<(Outcome, Option<Reading>), Trouble> {
        let bmc = self.bmc(&site.serial);
        let Ok(_place) = bmc.places.try_acquire() else {
            return Err(Trouble::Silent(format!("{WAITING_MAX} others wait for it")));
        };
        let mut line = bmc.line.lock().await;
        let Ok(_dialog) = self.dialogs.acquire().await else {
            return Err(Trouble::Silent("the server ends".to_owned()));
        };
        let said = line.run(site, goal, &self.pins, &self.counts.requests).await;
        bmc.by_ipmi.store(line.is_by_ipmi(site), Ordering::Relaxed);
        let count = match &said {
            Ok(_) => &self.counts.answered,
            Err(Trouble::Credentials(_) | Trouble::Untrusted(_)) => &self.counts.untrusted,
            Err(Trouble::Silent(_) | Trouble::Absent(_)) => &self.counts.silent,
            Err(Trouble::Refused(_) | Trouble::Unsupported(_)) => &self.counts.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let outcome = said?;
        let reading = match &outcome {
            Outcome::Read(reading) => Some(reading.clone()),
            Outcome::Done => None,
        };
        Ok((outcome, reading))
    }

    fn bmc(&self, serial: &str) -> Arc<Bmc> {
        let mut all = lock(&self.all);
        if !all.contains_key(serial) {
            // Machines that are gone make room.
            let inventory = self.service.inventory();
            all.retain(|serial, bmc| inventory.machine(serial).is_some() || Arc::strong_count(bmc) > 1);
        }
        let new = || {
            Arc::new(Bmc {
                line: Turn::default(),
                places: Semaphore::new(WAITING_MAX),
                task: Mutex::default(),
                hurry: Notify::new(),
                knows_soft: Mutex::new(true),
                by_ipmi: AtomicBool::new(false),
            })
        };
        all.entry(serial.to_owned()).or_insert_with(new).clone()
    }

    fn site(&self, machine: &Machine) -> Result<Site, NotTaken> {
        let address = machine.bmc.ipv4.map(IpAddr::V4).or_else(|| machine.bmc.ipv6.map(IpAddr::V6));
        let address = address.ok_or_else(|| {
            NotTaken::NoBmc(format!("{} has no BMC address: the address plan has no `bmc`", machine.serial))
        })?;
        let rule = self.rules.of(machine).ok_or_else(|| {
            NotTaken::NoBmc(format!("no rule of `bmc.rules` in the server's configuration means {}", machine.serial))
        })?;
        let address = SocketAddr::new(address, rule.port);
        Ok(Site { serial: machine.serial.clone(), uuid: machine.ids.uuid.clone(), address, rule: rule.clone() })
    }

    fn shown(&self, machine: &Machine, site: &Site, reading: Option<Reading>) -> Shown {
        let bmc = self.bmc(&site.serial);
        let task = lock(&bmc.task).as_ref().map(|wished| {
            let end = wished.task.end().map(|end| match end {
                End::Done => "done".to_owned(),
                End::Failed(_) => "failed".to_owned(),
            });
            let until = wished.ended.unwrap_or_else(|| self.start.elapsed());
            Wishing {
                wish: wished.task.wish(),
                hard: wished.task.is_hard(),
                who: wished.who.clone(),
                says: wished.task.says().to_owned(),
                seconds: until.saturating_sub(wished.began).as_secs(),
                end,
            }
        });
        let certificate = self.pins.of(&site.serial);
        let (serial, name) = (machine.serial.clone(), machine.name.clone());
        let address = if bmc.by_ipmi.load(Ordering::Relaxed) { site.by_ipmi() } else { site.address };
        Shown { serial, name, address, reading, task, certificate }
    }

    /// Ends sessions that nobody uses.
    async fn sweep(&self) {
        let all: Vec<Arc<Bmc>> = lock(&self.all).values().cloned().collect();
        for bmc in all {
            if let Ok(mut line) = bmc.line.try_lock()
                && line.is_idle(IDLE)
            {
                line.leave(&self.pins, &self.counts.requests).await;
            }
        }
    }
}

impl From<Trouble> for NotTaken {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// What is held is whole after each step: who stopped within one left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
