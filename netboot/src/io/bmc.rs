//! Management controllers at work: one line to each, however many ask; wishes that are followed to their end.
//!
//! ```text
//!   API ─▶ store ─▶ Bmcs ─▶ Bmc ─┬─ drive: what is wished, how far it is    by one server, one future at a time (`drive`)
//!                                └─ line: connection, session, what is known   one dialogue at a time, requests at least `gap_ms` apart
//! ```

mod drive;
mod ipmi;
mod line;
mod secret;
mod trust;

use super::service::Service;
use crate::bmc::duty::Duty;
use crate::bmc::power::Wish;
use crate::bmc::redfish::{Goal, Outcome};
use crate::bmc::rules::{Rule, Rules};
use crate::bmc::wish::{Drive, Step};
use crate::bmc::{Boot, Reading, Trouble};
use crate::inventory::machine::Machine;
use jiff::Timestamp;
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
    duty: Mutex<Duty>,
    /// A wish was stored.
    wished: Notify,
    /// This server ends: it takes nothing any more.
    leaves: AtomicBool,
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
    /// The wish, if this server has it.
    drive: Mutex<Option<Drive>>,
    /// A wish became harder, or is another server's.
    hurry: Notify,
    /// Whether it turned out to know no soft power-off.
    knows_soft: Mutex<bool>,
    /// Whether it is asked by IPMI.
    by_ipmi: AtomicBool,
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
    /// When.
    pub since: Timestamp,
    /// The server that has it, or had it last.
    pub server: Option<String>,
    /// How far it is; from another server what that one stored last.
    pub says: String,
    /// What was done, oldest first.
    pub steps: Vec<Step>,
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
        let duty = Duty::new(super::liveness::name(), service.store().is_shared());
        let bmcs = Arc::new(Self {
            pins: Pins::load(&rules.pins)?,
            rules: rules.clone(),
            service,
            all: Mutex::default(),
            dialogs: Semaphore::new(DIALOGS_MAX),
            start: Instant::now(),
            counts: Counts::default(),
            duty: Mutex::new(duty),
            wished: Notify::new(),
            leaves: AtomicBool::new(false),
        });
        drive::start(&bmcs);
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
                drive: Mutex::default(),
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
        let task = self.wishing(&site.serial, &bmc);
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
