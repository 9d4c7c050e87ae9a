//! Wishes at work: which ones this server has, and each driven to its end.
//!
//! ```text
//!   store ─▶ inventory ── look ──▶ Duty ─▶ take what nobody has ─┐
//!                                       └▶ what is ours ─────────┴▶ Drive: read, store, press, wait … end
//!   beat ─▶ store, as long as there is one
//! ```

use super::{Bmc, Bmcs, NotTaken, Shown, Site, Wishing, lock};
use crate::bmc::duty::{BEAT, TRUST, Todo};
use crate::bmc::power::{End, Wish};
use crate::bmc::redfish::Goal;
use crate::bmc::wish::{Act, Drive, Record, Saved, WISHES};
use crate::bmc::{Press, Trouble};
use crate::inventory::Held;
use crate::inventory::command::Command;
use crate::inventory::machine::Machine;
use crate::io::service::now;
use crate::store::{Compare, Entry, Outcome, Revision, Span, Transaction, Write};
use jiff::SignedDuration;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often what is of no use any more is looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// A wish whose time was over so long ago has no server that could say so.
const ORPHAN: SignedDuration = SignedDuration::from_secs(60);
/// Tries to hand over one wish: what it did last may be on its way to the store.
const HANDOVERS_MAX: u32 = 3;

/// Begins; must be called within a runtime.
pub(super) fn start(bmcs: &Arc<Bmcs>) {
    tokio::spawn(manage(Arc::downgrade(bmcs)));
    tokio::spawn(beat(Arc::downgrade(bmcs)));
}

/// Looks at the wishes of the store whenever it changes, and each time a beat of another server could be missing.
async fn manage(bmcs: Weak<Bmcs>) {
    let mut swept = Duration::ZERO;
    while let Some(bmcs) = bmcs.upgrade() {
        let revision = bmcs.service.inventory().revision();
        bmcs.look().await;
        let now = bmcs.start.elapsed();
        if now >= swept + SWEEP {
            swept = now;
            bmcs.sweep_wishes().await;
        }
        tokio::select! {
            () = bmcs.service.changed(revision) => {}
            () = bmcs.wished.notified() => {}
            () = sleep(BEAT) => {}
        }
    }
}

/// Says that this server is there while it has wishes.
async fn beat(bmcs: Weak<Bmcs>) {
    while let Some(bmcs) = bmcs.upgrade() {
        let beat = lock(&bmcs.duty).beat();
        if let Some(beat) = beat
            && bmcs.counts.under_way.load(Ordering::Relaxed) > 0
        {
            // One that fails is missed by nobody but the others: what is pressed stops by itself.
            let begun = bmcs.start.elapsed();
            if bmcs.store(beat).await.is_ok() {
                lock(&bmcs.duty).on_beat((begun, bmcs.start.elapsed()));
            }
        }
        sleep(BEAT).await;
    }
}

impl Bmcs {
    /// The command that wishes power.
    ///
    /// # Errors
    /// When there is no controller.
    pub fn power(&self, machine: &Machine, wish: Wish, hard: bool) -> Result<Command, NotTaken> {
        let site = self.site(machine)?;
        let (server, longest) = (lock(&self.duty).server().to_owned(), site.rule.times.longest());
        Ok(Command::Power { serial: site.serial, wish, hard, server, longest })
    }

    /// After the command was carried out: it is begun.
    ///
    /// # Errors
    /// When there is no controller.
    pub fn wished(&self, machine: &Machine) -> Result<Shown, NotTaken> {
        self.wished.notify_one();
        let site = self.site(machine)?;
        Ok(self.shown(machine, &site, None))
    }

    /// This server ends: others take its wishes at once.
    pub async fn leave(&self) {
        if !self.service.store().is_shared() {
            return;
        }
        self.leaves.store(true, Ordering::Relaxed);
        let all: Vec<(String, Arc<Bmc>)> =
            lock(&self.all).iter().map(|(serial, bmc)| (serial.clone(), bmc.clone())).collect();
        for (serial, bmc) in all {
            let Some(drive) = lock(&bmc.drive).take().filter(|drive| drive.record().end.is_none()) else { continue };
            let server = lock(&self.duty).server().to_owned();
            let (mut record, mut modified) = (drive.record().clone(), drive.modified());
            for _ in 0..HANDOVERS_MAX {
                let given = record.handed(now(), &server, None, &format!("{server} ends, and hands it over"));
                match self.save(&serial, modified, &given).await {
                    Saved::Changed(Some((found, at))) if found.is_of(&server) => (record, modified) = (found, at),
                    Saved::Kept(_) | Saved::Changed(_) | Saved::Away(_) => break,
                }
            }
        }
    }

    /// How the wish of a machine stands.
    pub(super) fn wishing(&self, serial: &str, bmc: &Bmc) -> Option<Wishing> {
        let record = self.service.inventory().wish(serial)?.value.clone();
        let own = lock(&bmc.drive)
            .as_ref()
            .filter(|drive| drive.record().is_same(&record))
            .map(|drive| drive.says().to_owned());
        let wall = now();
        let is_orphan = record.end.is_none() && own.is_none() && wall.duration_since(record.until) > ORPHAN;
        let says = own.unwrap_or_else(|| record.says().to_owned());
        let says =
            if is_orphan { format!("its time is over, and no server had it; the last was: {says}") } else { says };
        let end =
            record.end.map(|end| if end.well { "done" } else { "failed" }).or_else(|| is_orphan.then_some("failed"));
        let until = record.end.map_or(wall, |end| end.at);
        Some(Wishing {
            wish: record.wish,
            hard: record.hard,
            who: record.who.clone(),
            since: record.since,
            server: record.server.clone(),
            says,
            steps: record.steps.clone(),
            seconds: u64::try_from(until.duration_since(record.since).as_secs()).unwrap_or_default(),
            end: end.map(str::to_owned),
        })
    }

    /// Takes wishes that nobody has, and drives those of this server.
    async fn look(self: &Arc<Self>) {
        if self.leaves.load(Ordering::Relaxed) {
            return;
        }
        let todo = {
            let inventory = self.service.inventory();
            let times = (now(), self.start.elapsed());
            lock(&self.duty).look(times, inventory.wishes_under_way(), inventory.bmc_servers())
        };
        for todo in todo {
            match todo {
                Todo::Drive(serial) => {
                    let held = self.service.inventory().wish(&serial).cloned();
                    if let Some(Held { value, modified }) = held {
                        self.begin(&serial, (Record::clone(&value), modified));
                    }
                }
                Todo::Take { serial, record, transaction } => {
                    // Whoever has no rule for the machine leaves it to others.
                    if self.site_of(&serial).is_some()
                        && let Ok(Outcome::Committed(modified)) = self.store(transaction).await
                    {
                        tracing::info!(serial, wish = %record.wish, says = record.says(), "power: a wish is taken");
                        self.begin(&serial, (*record, modified));
                    }
                }
            }
        }
    }

    async fn sweep_wishes(&self) {
        let old = {
            let inventory = self.service.inventory();
            lock(&self.duty).old((now(), self.start.elapsed()), inventory.wishes(), inventory.bmc_servers())
        };
        if !old.writes.is_empty() {
            // What changed meanwhile is looked at again.
            let _ = self.store(old).await;
        }
    }

    fn site_of(&self, serial: &str) -> Option<Site> {
        let machine = self.service.inventory().machine(serial).map(|held| held.value.clone())?;
        self.site(&machine).ok()
    }

    /// Drives a wish, or tells who drives it what it is now.
    fn begin(self: &Arc<Self>, serial: &str, (record, modified): (Record, Revision)) {
        let Some(site) = self.site_of(serial) else { return };
        let bmc = self.bmc(serial);
        let mut place = lock(&bmc.drive);
        if let Some(drive) = place.as_mut() {
            if modified > drive.modified() {
                drive.heard(Some((record, modified)));
                bmc.hurry.notify_one();
            }
            return;
        }
        let soft = *lock(&bmc.knows_soft);
        let server = lock(&self.duty).server().to_owned();
        let times = (now(), self.start.elapsed());
        *place = Some(Drive::new(&server, (record, modified), (site.rule.times, soft), times));
        drop(place);
        self.counts.under_way.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(self.clone().drive(bmc, site));
    }

    /// Drives a wish to its end.
    async fn drive(self: Arc<Self>, bmc: Arc<Bmc>, site: Site) {
        while let Some(act) = self.with(&bmc, Drive::next) {
            match act {
                Act::Save => {
                    let Some((modified, draft)) = self.with(&bmc, |drive, _| (drive.modified(), drive.draft(now())))
                    else {
                        break;
                    };
                    let begun = self.start.elapsed();
                    let saved = self.save(&site.serial, modified, &draft).await;
                    self.with(&bmc, |drive, now| drive.on_saved((begun, now), draft, saved));
                }
                Act::Read => {
                    let heard = self.ask(&site, Goal::Read).await.and_then(|(outcome, _)| {
                        outcome.power().ok_or_else(|| Trouble::Refused("it says no power state".to_owned()))
                    });
                    self.with(&bmc, |drive, now| drive.on_state(now, heard));
                }
                Act::Press(press) => {
                    let heard = self.press(&bmc, &site, press).await;
                    tracing::info!(serial = site.serial, ?press, result = ?heard, "power");
                    self.with(&bmc, |drive, now| drive.on_pressed(now, heard));
                }
                Act::Wait(until) => {
                    let rest = until.saturating_sub(self.start.elapsed());
                    // Who wishes it harder does not wait for that.
                    let _ = timeout(rest, bmc.hurry.notified()).await;
                }
                Act::End => break,
            }
        }
        // What was stored last is heard of first, or it would be begun again.
        if let Some(modified) = self.with(&bmc, |drive, _| drive.modified()) {
            self.service.changed(Revision(modified.0.saturating_sub(1))).await;
        }
        self.counts.under_way.fetch_sub(1, Ordering::Relaxed);
        let Some(drive) = lock(&bmc.drive).take() else { return };
        *lock(&bmc.knows_soft) = drive.knows_soft();
        let (serial, wish, says) = (&site.serial, drive.record().wish, drive.says());
        match drive.end() {
            Some(End::Done) => {
                self.counts.done.fetch_add(1, Ordering::Relaxed);
                tracing::info!(serial, %wish, says, "power: a wish is fulfilled");
            }
            Some(End::Failed(_)) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(serial, %wish, says, "power: a wish was not fulfilled");
            }
            None => tracing::warn!(serial, %wish, says, "power: a wish is not driven here any more"),
        }
    }

    /// Presses as long as no other server can have taken the wish.
    async fn press(&self, bmc: &Bmc, site: &Site, press: Press) -> Result<(), Trouble> {
        let stored = self.with(bmc, |drive, _| drive.trusted()).unwrap_or_default();
        let distrusted = async {
            loop {
                let rest = lock(&self.duty).trusted(stored).saturating_sub(self.start.elapsed());
                if rest.is_zero() {
                    return;
                }
                sleep(rest).await;
            }
        };
        tokio::select! {
            biased;
            () = distrusted => {}
            heard = self.ask(site, Goal::Press(press)) => return heard.map(drop),
        }
        // A dialogue that was cut off leaves nothing that can be used.
        bmc.line.lock().await.reset();
        Err(Trouble::Silent("the store is away, so another server may have the wish".to_owned()))
    }

    fn with<T>(&self, bmc: &Bmc, change: impl FnOnce(&mut Drive, Duration) -> T) -> Option<T> {
        lock(&bmc.drive).as_mut().map(|drive| change(drive, self.start.elapsed()))
    }

    /// Stores a wish in place of what was stored then.
    async fn save(&self, serial: &str, modified: Revision, record: &Record) -> Saved {
        let key = format!("{WISHES}{serial}");
        let compares = vec![Compare { key: key.clone(), modified: Some(modified) }];
        let value = match serde_json::to_vec(record) {
            Ok(octets) => Some(octets.into()),
            Err(error) => return Saved::Away(error.to_string()),
        };
        let writes = vec![Write { key: key.clone(), value }];
        match self.store(Transaction { compares, writes }).await {
            Ok(Outcome::Committed(revision)) => Saved::Kept(revision),
            // Somebody else changed it; or it was this, and the answer was lost.
            Ok(Outcome::Conflict) => {
                let one = Span { from: key.clone(), to: format!("{key}\0"), ..Span::default() };
                let found = timeout(TRUST, self.service.store().range(one)).await;
                let read = |entry: Entry| Some((serde_json::from_slice(&entry.value).ok()?, entry.modified));
                match found {
                    Ok(Ok(found)) => Saved::Changed(found.entries.into_iter().next().and_then(read)),
                    Ok(Err(error)) => Saved::Away(error.to_string()),
                    Err(_) => Saved::Away("no answer in time".to_owned()),
                }
            }
            Err(why) => Saved::Away(why),
        }
    }

    /// One transaction, within the time in which it counts.
    async fn store(&self, transaction: Transaction) -> Result<Outcome, String> {
        let answer = timeout(TRUST, self.service.store().commit(transaction)).await;
        answer.map_or_else(|_| Err("no answer in time".to_owned()), |said| said.map_err(|error| error.to_string()))
    }
}
