//! Which of the servers of one store drives which wish: the one whose name is in it, as long as it is heard of.
//!
//! ```text
//!   server with wishes ── beats each BEAT ──▶ bmc-servers/NAME        presses only within TRUST of its last beat, or of what it stored
//!   the others         ── see it unchanged for LEASE ──▶ take its wishes: compare-and-swap on the wish and on the beat
//! ```
//!
//! No clock of one server is compared with that of another: "unchanged" counts from when this server saw the last change. What is compared in
//! the transaction makes a server that looks at old news fail. A wish that was handed over, or whose store nobody else uses, is taken at once.

use super::wish::{Record, WISHES};
use crate::inventory::Held;
use crate::store::{Compare, Revision, Transaction, WRITES_MAX, Write};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Where servers with wishes say that they are there.
pub const SERVERS: &str = "bmc-servers/";
/// How often they do.
pub const BEAT: Duration = Duration::from_secs(1);
/// A server believes in its last beat for so long.
pub const TRUST: Duration = Duration::from_secs(3);
/// A wish of a server of which nothing was heard for so long is taken.
pub const LEASE: Duration = Duration::from_secs(5);
/// A beat without a wish is of a server that ended; so long it may be of one that begins.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// How long a wish that is over is shown.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// The wishes of a store as one server sees them.
#[derive(Debug)]
pub struct Duty {
    server: String,
    is_shared: bool,
    /// When entries were seen to change, by their keys; `None` = it is not there.
    seen: BTreeMap<String, (Option<Revision>, Duration)>,
    /// Until when the last beat counts, and since when each came before the one before was over.
    trusted: Duration,
    unbroken: Duration,
}

/// What a server is to do.
#[derive(Clone, Debug)]
pub enum Todo {
    /// It has this wish: drive it.
    Drive(String),
    /// Nobody has this one: if the transaction is committed, it has it.
    Take {
        /// The machine.
        serial: String,
        /// The wish as it will be.
        record: Box<Record>,
        /// What takes it.
        transaction: Transaction,
    },
}

impl Duty {
    /// Of a server; `is_shared`: whether other servers use its store.
    #[must_use]
    pub const fn new(server: String, is_shared: bool) -> Self {
        Self { server, is_shared, seen: BTreeMap::new(), trusted: Duration::ZERO, unbroken: Duration::ZERO }
    }

    /// Its name.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// What says that it is there; `None` where nobody listens.
    #[must_use]
    pub fn beat(&self) -> Option<Transaction> {
        let write = Write { key: format!("{SERVERS}{}", self.server), value: Some(Vec::from(*b"{}").into()) };
        self.is_shared.then(|| Transaction { compares: Vec::new(), writes: vec![write] })
    }

    /// A beat that was begun then is stored by now: no other server takes its wishes for a while.
    pub fn on_beat(&mut self, (begun, now): (Duration, Duration)) {
        if now > self.trusted {
            self.unbroken = now;
        }
        self.trusted = self.trusted.max(begun + TRUST);
    }

    /// Until when it may press for a wish that nobody can have taken until `stored` ([`super::wish::Drive::trusted`]). Beats that began again
    /// after that prove nothing: meanwhile another server may have it.
    #[must_use]
    pub fn trusted(&self, stored: Duration) -> Duration {
        match (self.is_shared, self.unbroken <= stored) {
            (false, _) => Duration::MAX,
            (true, true) => stored.max(self.trusted),
            (true, false) => stored,
        }
    }

    /// What it is to do about the wishes that are not over. `wall` and `now` are the same moment.
    pub fn look<'a>(
        &mut self,
        (wall, now): (Timestamp, Duration),
        wishes: impl Iterator<Item = (&'a str, &'a Held<Record>)>,
        beats: &BTreeMap<String, Revision>,
    ) -> Vec<Todo> {
        let mut todo = Vec::new();
        let mut looked = BTreeSet::new();
        for (serial, held) in wishes {
            let record = held.value.as_ref();
            let key = format!("{WISHES}{serial}");
            let mut compares = vec![Compare { key: key.clone(), modified: Some(held.modified) }];
            let says = match &record.server {
                Some(server) if *server == self.server => {
                    todo.push(Todo::Drive(serial.to_owned()));
                    continue;
                }
                None => "taken from the server that handed it over".to_owned(),
                Some(server) if !self.is_shared => format!("taken from {server}, which is gone"),
                Some(server) => {
                    let (beat, modified) = (format!("{SERVERS}{server}"), beats.get(server).copied());
                    let quiet = self.quiet(now, &beat, modified).min(self.quiet(now, &key, Some(held.modified)));
                    compares.push(Compare { key: beat.clone(), modified });
                    looked.extend([beat, key.clone()]);
                    if quiet < LEASE {
                        continue;
                    }
                    format!("taken from {server}, which was not heard of for {} s", LEASE.as_secs())
                }
            };
            let taken = record.clone().handed(wall, &self.server, Some(&self.server), &says);
            let value = Some(serde_json::to_vec(&taken).unwrap_or_default().into());
            let transaction = Transaction { compares, writes: vec![Write { key, value }] };
            todo.push(Todo::Take { serial: serial.to_owned(), record: Box::new(taken), transaction });
        }
        for (server, modified) in beats {
            let beat = format!("{SERVERS}{server}");
            self.quiet(now, &beat, Some(*modified));
            looked.insert(beat);
        }
        self.seen.retain(|key, _| looked.contains(key));
        todo
    }

    /// For how long an entry did not change, as far as was seen.
    fn quiet(&mut self, now: Duration, key: &str, modified: Option<Revision>) -> Duration {
        let seen = self.seen.entry(key.to_owned()).or_insert((modified, now));
        if seen.0 != modified {
            *seen = (modified, now);
        }
        now.saturating_sub(seen.1)
    }

    /// What is no longer of use to anybody: wishes that were over long ago, and beats of servers that ended. At most as much as a transaction
    /// takes; after [`Duty::look`].
    #[must_use]
    pub fn old<'a>(
        &self,
        (wall, now): (Timestamp, Duration),
        wishes: impl Iterator<Item = (&'a String, &'a Held<Record>)> + Clone,
        beats: &BTreeMap<String, Revision>,
    ) -> Transaction {
        let is_old = |record: &Record| wall.duration_since(record.end.map_or(record.until, |end| end.at)) > KEPT;
        let over = wishes.clone().filter(|(_, held)| is_old(&held.value));
        let over = over.map(|(serial, held)| (format!("{WISHES}{serial}"), held.modified));
        let busy: BTreeSet<&String> = wishes
            .filter(|(_, held)| held.value.end.is_none())
            .filter_map(|(_, held)| held.value.server.as_ref())
            .collect();
        let gone = beats.iter().filter(|(server, _)| !busy.contains(server) && **server != self.server);
        let gone = gone.map(|(server, modified)| (format!("{SERVERS}{server}"), *modified));
        let gone = gone.filter(|(key, modified)| {
            let seen = self.seen.get(key).filter(|(seen, _)| *seen == Some(*modified));
            seen.is_some_and(|(_, since)| now.saturating_sub(*since) > FORGOTTEN)
        });
        let (mut compares, mut writes) = (Vec::new(), Vec::new());
        for (key, modified) in over.chain(gone).take(WRITES_MAX) {
            compares.push(Compare { key: key.clone(), modified: Some(modified) });
            writes.push(Write { key, value: None });
        }
        Transaction { compares, writes }
    }
}

#[cfg(test)]
#[path = "duty/tests.rs"]
mod tests;
