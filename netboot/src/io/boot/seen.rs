//! What this server sees of machines that boot: their timelines, and each boot told to the store, for which nobody waits.

use crate::boot::attempts::{Boot, Event, Rules, Timelines, What};
use crate::boot::{Digest, Said};
use crate::inventory::access::{Access, Actor};
use crate::inventory::command::Command;
use crate::inventory::machine::Machine;
use crate::io::service::{Service, now};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Boots that are being stored at a time; one more is not counted: a store that is away must not fill the memory.
const STORED_MAX: usize = 256;
/// Addresses of which it is known who asked from there.
const ASKERS_MAX: usize = 16_384;

/// What is seen.
#[derive(Debug)]
pub struct Seen {
    service: Arc<Service>,
    rules: Rules,
    timelines: Mutex<Timelines>,
    /// Who asked for its script from an address: files are asked for without a name.
    askers: Mutex<BTreeMap<IpAddr, String>>,
    places: Arc<Semaphore>,
    /// Boots, since the start.
    pub boots: AtomicU64,
}

impl Seen {
    pub(super) fn new(service: Arc<Service>, rules: Rules) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(STORED_MAX));
        Arc::new(Self {
            service,
            rules,
            timelines: Mutex::default(),
            askers: Mutex::default(),
            places,
            boots: AtomicU64::new(0),
        })
    }

    fn timelines(&self) -> MutexGuard<'_, Timelines> {
        // Each event is put in whole.
        self.timelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen of a machine, oldest first.
    pub fn events(&self, serial: &str) -> Vec<Event> {
        self.timelines().of(serial).cloned().collect()
    }

    /// A machine asks for its script, and is told this.
    pub(super) fn told(&self, machine: &Machine, from: IpAddr, what: What) {
        let mut askers = self.askers.lock().unwrap_or_else(PoisonError::into_inner);
        if askers.len() >= ASKERS_MAX {
            askers.clear();
        }
        askers.insert(from, machine.serial.clone());
        drop(askers);
        self.timelines().saw(now(), &machine.serial, what);
    }

    /// The image of which a file is the kernel that the machine at an address boots, and the machine.
    pub(super) fn kernel(&self, digest: &Digest, from: IpAddr) -> Option<(String, String)> {
        let asker = self.askers.lock().unwrap_or_else(PoisonError::into_inner).get(&from).cloned();
        let inventory = self.service.inventory();
        let machine = Said { serial: asker, ..Said::default() }.machine(&inventory, from)?;
        let boots = inventory.boots()?;
        let name = boots.choice(Some(machine))?.to_string();
        let is_kernel = boots.images.get(&name).is_some_and(|image| image.kernel.sha256 == *digest);
        is_kernel.then(|| (machine.serial.clone(), name))
    }

    /// Tells, when all octets of an answer were taken, that the machine has what it boots.
    pub(super) fn when_whole(self: &Arc<Self>, octets: u64, (serial, what): (String, What), from: IpAddr) -> Whole {
        Whole { seen: self.clone(), left: octets, told: Some((serial, what)), from }
    }

    fn booted(&self, serial: &str, what: What, from: IpAddr) {
        let (What::Kernel { image } | What::OneFile { image }) = &what else { return };
        let image = image.clone();
        // Who says it is a machine, and asks from the address of another one, is not believed: it would hold that one.
        let is_other = {
            let inventory = self.service.inventory();
            Said::default().machine(&inventory, from).is_some_and(|machine| machine.serial != serial)
        };
        if is_other {
            tracing::warn!(%from, serial, "another machine loads what this one boots: not counted");
            return;
        }
        let at = now();
        self.timelines().saw(at, serial, what);
        self.boots.fetch_add(1, Ordering::Relaxed);
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            tracing::warn!(serial, "a boot is not counted: {STORED_MAX} wait for the store");
            return;
        };
        let (service, rules, serial) = (self.service.clone(), self.rules, serial.to_owned());
        tokio::spawn(async move {
            let actor = Actor { name: "boot".to_owned(), access: Access::Operator, via: from.to_string() };
            let command = Command::Booted { serial: serial.clone(), boot: Boot { at, image }, rules };
            if let Err(error) = service.run(&command, &actor).await {
                tracing::warn!(serial, %error, "a boot is not counted");
            }
            drop(place);
        });
    }
}

/// An answer on its way; what is known when it ends.
#[derive(Debug)]
pub(super) struct Whole {
    seen: Arc<Seen>,
    left: u64,
    told: Option<(String, What)>,
    from: IpAddr,
}

impl Whole {
    /// So many octets more were taken.
    pub(super) const fn took(&mut self, octets: u64) {
        self.left = self.left.saturating_sub(octets);
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some((serial, what)) = self.told.take().filter(|_| self.left == 0) {
            self.seen.booted(&serial, what, self.from);
        }
    }
}
