//! Which machines live, judged by the routed fabric: a machine that announces its address, and whose agent reports, is healthy. Pure:
//! inputs with times in, verdicts out.
//!
//! ```text
//!   routes (local daemon) ──┐                        ┌─ blind: no daemon, no session, not long enough since
//!   reports of agents ──────┼──▶ evidence ──▶ judge ─┤  frozen: a fifth of the machines went at once
//!   machines (store) ───────┘                        └─▶ verdict ──▶ healthy | unhealthy (suspect) | unreachable
//! ```
//!
//! Route presence is evidence, not state: with graceful restart (RFC 4724) the route of a dead host stays a while, marked stale; and a
//! watcher that sees nothing knows nothing. So whatever could be a fault of the watcher marks nobody, and many losses at once are a
//! fault of the fabric until a person says otherwise.

mod judge;
mod rules;
#[cfg(test)]
mod tests;

pub use rules::Rules;

use crate::inventory::machine::Machine;
use crate::inventory::state::State;
use crate::ipam::{Addresses, Ipam, Migration};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Who says so, in states and in the audit log.
pub const NAME: &str = "liveness";
/// Addresses remembered from the watch: machines and switches of the largest fabric, several times. More are not looked at.
const ROUTES_MAX: usize = 131_072;
/// A loss is acted on so long after it was seen: what goes together is counted together, and a loss of everything marks nobody.
pub const SETTLE: Duration = Duration::from_millis(50);
/// A verdict that did not come about is given again after this.
const REPEAT: Duration = Duration::from_secs(2);

/// A path of a machine's address, as the local daemon uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The peers that say it.
    pub from: Vec<String>,
    /// Kept for a peer that restarts: nobody vouches for it now.
    pub stale: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A machine is there, or changed.
    Machine(Box<Machine>),
    /// A machine is gone.
    Removed(String),
    /// The address plan is being changed, or not any more: until then the addresses of both plans are a machine's.
    Migration(Option<Box<Migration>>),
    /// The route of an address; `None` = there is none any more.
    Route(IpAddr, Option<Path>),
    /// How many of the daemon's sessions are up.
    Sessions(usize),
    /// Everything there is was said.
    Synced,
    /// The daemon is not heard.
    Blind(String),
    /// A machine's agent is well.
    Report(String),
    /// A person says that a loss of many is real.
    Thaw,
}

/// What a machine must become, if it is still what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which machine.
    pub serial: String,
    /// In which state it is.
    pub from: State,
    /// Since when.
    pub since: Timestamp,
    /// What it must become.
    pub to: State,
    /// Why.
    pub reason: String,
}

/// The route of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// Somebody vouches for it.
    Present,
    /// It is kept for somebody who restarts.
    Stale,
    /// There is none.
    Absent,
}

/// How much the watcher sees.
#[derive(Clone, Debug, PartialEq, Eq)]
enum View {
    /// Nothing.
    Blind(String),
    /// Everything, but not for long enough to believe that what is not there is not coming.
    Holding(Duration),
    /// Everything.
    Clear,
}

/// Many machines went at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mass {
    since: Duration,
    lost: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Watched {
    state: State,
    since: Timestamp,
    /// What somebody else said last of it.
    others: Option<State>,
    /// Rack and index, from which its addresses by another plan follow.
    place: (u32, u32),
    /// Those of its record.
    recorded: Vec<IpAddr>,
    /// These, and while the plan is changed those to which it goes.
    addresses: Vec<IpAddr>,
    route: Route,
    /// Since when that is known.
    route_since: Duration,
    from: Vec<String>,
    reported: Option<Duration>,
    /// Reports before this cannot be known.
    known_since: Duration,
    /// Its route was there once.
    seen: bool,
    good: bool,
    bad_since: Duration,
    asked: Option<Duration>,
    due: Option<Duration>,
}

/// The watcher's mind.
#[derive(Clone, Debug)]
pub struct Liveness {
    rules: Rules,
    machines: BTreeMap<String, Watched>,
    owners: BTreeMap<IpAddr, String>,
    /// The plan to which machines go, while they do.
    target: Option<Ipam>,
    routes: BTreeMap<IpAddr, Path>,
    /// Routes of before the watch broke, of which nothing was said since.
    unsaid: BTreeSet<IpAddr>,
    view: View,
    view_since: Duration,
    synced: bool,
    sessions: usize,
    losses: VecDeque<(Duration, String)>,
    mass: Option<Mass>,
    due: BTreeSet<(Duration, String)>,
    good: usize,
}

impl Liveness {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(rules: Rules, now: Duration) -> Self {
        Self {
            rules,
            machines: BTreeMap::new(),
            owners: BTreeMap::new(),
            target: None,
            routes: BTreeMap::new(),
            unsaid: BTreeSet::new(),
            view: View::Blind("the daemon was not heard yet".to_owned()),
            view_since: now,
            synced: false,
            sessions: 0,
            losses: VecDeque::new(),
            mass: None,
            due: BTreeSet::new(),
            good: 0,
        }
    }

    /// Hears something.
    pub fn handle(&mut self, now: Duration, input: Input) {
        match input {
            Input::Machine(machine) => self.put(now, &machine),
            Input::Removed(serial) => self.remove(&serial),
            Input::Migration(migration) => self.migrate(now, migration.map(|migration| migration.target().clone())),
            Input::Route(address, path) => self.route(now, address, path),
            Input::Sessions(count) => {
                self.sessions = count;
                self.look(now);
            }
            Input::Synced => {
                self.synced = true;
                for address in std::mem::take(&mut self.unsaid) {
                    self.route(now, address, None);
                }
                self.look(now);
            }
            Input::Blind(why) => {
                (self.synced, self.sessions) = (false, 0);
                self.unsaid = self.routes.keys().copied().collect();
                self.set_view(now, View::Blind(why));
            }
            Input::Report(serial) => {
                if let Some(machine) = self.machines.get_mut(&serial) {
                    machine.reported = Some(now);
                    self.refresh(now, &serial);
                }
            }
            Input::Thaw => {
                self.mass = None;
                self.losses.clear();
                self.refresh_all(now);
            }
        }
    }

    /// The next verdict, until there is none now.
    pub fn poll(&mut self, now: Duration) -> Option<Verdict> {
        if let View::Holding(until) = self.view
            && now >= until
        {
            self.set_view(now, View::Clear);
        }
        while let Some((at, serial)) = self.due.first().cloned() {
            if at > now {
                return None;
            }
            self.due.pop_first();
            if let Some(machine) = self.machines.get_mut(&serial) {
                machine.due = None;
            }
            self.refresh(now, &serial);
            if let Some(verdict) = self.verdict(now, &serial) {
                return Some(verdict);
            }
        }
        None
    }

    /// When to poll again.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        let held = if let View::Holding(until) = self.view { Some(until) } else { None };
        held.into_iter().chain(self.due.first().map(|(at, _)| *at)).min()
    }

    /// Whether verdicts may be given: enough is seen. Who sees too little leaves it to another server.
    #[must_use]
    pub fn sees(&self) -> bool {
        self.view == View::Clear
    }

    /// Whether nothing is seen.
    #[must_use]
    pub const fn is_blind(&self) -> bool {
        matches!(self.view, View::Blind(_))
    }

    /// Whether too many machines went at once.
    #[must_use]
    pub const fn is_frozen(&self) -> bool {
        self.mass.is_some()
    }

    fn put(&mut self, now: Duration, machine: &Machine) {
        let others = machine.history.iter().rev().find(|passage| passage.by != NAME).map(|passage| passage.to);
        let recorded: Vec<IpAddr> = machine.own_addresses().collect();
        let place = (machine.rack, machine.index);
        let serial = &machine.serial;
        if let Some(old) = self.machines.get_mut(serial) {
            if (old.state, old.since) != (machine.state.name, machine.state.since) {
                old.asked = None;
            }
            (old.state, old.since, old.others) = (machine.state.name, machine.state.since, others);
            (old.place, old.recorded) = (place, recorded);
        } else {
            // One that was healthy and is not seen now is a loss, although this server never saw it.
            let good = machine.state.name == State::Healthy;
            self.good += usize::from(good);
            let new = Watched {
                state: machine.state.name,
                since: machine.state.since,
                others,
                place,
                recorded,
                addresses: Vec::new(),
                route: Route::Absent,
                route_since: now,
                from: Vec::new(),
                reported: None,
                known_since: now,
                seen: false,
                good,
                bad_since: now,
                asked: None,
                due: None,
            };
            self.machines.insert(serial.clone(), new);
        }
        self.own(serial);
        self.look_at_route(now, serial);
        self.refresh(now, serial);
    }

    /// What counts as a machine's own: what it was recorded with, and what it is to get. It announces the new address before it confirms,
    /// and no address is of two machines meanwhile (`ipam::passes`).
    fn own(&mut self, serial: &str) {
        let Some(machine) = self.machines.get_mut(serial) else { return };
        let (rack, index) = machine.place;
        let planned = self.target.as_ref().and_then(|target| target.addresses(rack, index).ok());
        let mut addresses = machine.recorded.clone();
        addresses.extend(planned.iter().flat_map(Addresses::own).filter(|address| !machine.recorded.contains(address)));
        if machine.addresses == addresses {
            return;
        }
        let before = std::mem::replace(&mut machine.addresses, addresses.clone());
        self.disown(serial, &before);
        self.owners.extend(addresses.into_iter().map(|address| (address, serial.to_owned())));
    }

    /// What another one has taken meanwhile stays with it.
    fn disown(&mut self, serial: &str, addresses: &[IpAddr]) {
        for address in addresses {
            if self.owners.get(address).is_some_and(|owner| owner == serial) {
                self.owners.remove(address);
            }
        }
    }

    fn migrate(&mut self, now: Duration, target: Option<Ipam>) {
        self.target = target;
        let all: Vec<String> = self.machines.keys().cloned().collect();
        for serial in &all {
            self.own(serial);
        }
        for serial in &all {
            self.look_at_route(now, serial);
            self.refresh(now, serial);
        }
    }

    fn remove(&mut self, serial: &str) {
        let Some(old) = self.machines.remove(serial) else { return };
        self.good -= usize::from(old.good);
        self.disown(serial, &old.addresses);
        if let Some(due) = old.due {
            self.due.remove(&(due, serial.to_owned()));
        }
        self.losses.retain(|(_, lost)| lost != serial);
        if let Some(mass) = &mut self.mass {
            mass.lost.remove(serial);
        }
    }

    fn route(&mut self, now: Duration, address: IpAddr, path: Option<Path>) {
        self.unsaid.remove(&address);
        match path {
            Some(path) if self.routes.len() < ROUTES_MAX || self.routes.contains_key(&address) => {
                self.routes.insert(address, path);
            }
            Some(_) => return,
            None => {
                self.routes.remove(&address);
            }
        }
        if let Some(serial) = self.owners.get(&address).cloned() {
            self.look_at_route(now, &serial);
            self.refresh(now, &serial);
        }
    }

    /// What the routes of its addresses come to: one that somebody vouches for is enough.
    fn look_at_route(&mut self, now: Duration, serial: &str) {
        let Some(machine) = self.machines.get_mut(serial) else { return };
        let mut found = Route::Absent;
        machine.from.clear();
        for path in machine.addresses.iter().filter_map(|address| self.routes.get(address)) {
            if path.stale && found == Route::Absent {
                found = Route::Stale;
            } else if !path.stale {
                found = Route::Present;
            }
            machine.from.extend(path.from.iter().cloned());
        }
        machine.from.sort();
        machine.from.dedup();
        if machine.route != found {
            (machine.route, machine.route_since) = (found, now);
        }
        machine.seen |= found != Route::Absent;
    }

    /// How much is seen, after something about that changed.
    fn look(&mut self, now: Duration) {
        let view = match (&self.view, self.synced, self.sessions) {
            (_, true, 0) => View::Blind("the daemon has no session".to_owned()),
            (View::Blind(_), true, _) => View::Holding(now + self.rules.hold()),
            (view, ..) => view.clone(),
        };
        self.set_view(now, view);
    }

    /// What is missing is not believed to be for a while.
    fn hold(&mut self, now: Duration) {
        self.set_view(now, View::Holding(now + self.rules.hold()));
    }

    fn set_view(&mut self, now: Duration, view: View) {
        if self.view == view {
            return;
        }
        let clears = view == View::Clear;
        (self.view, self.view_since) = (view, now);
        if clears {
            self.refresh_all(now);
        }
    }
}

/// What is known of one machine, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Evidence {
    /// Its route.
    pub route: Route,
    /// The peers that say it.
    pub from: Vec<String>,
    /// Which of its addresses somebody vouches for: while the address plan is changed, whether it announces the new ones.
    pub addresses: Vec<IpAddr>,
    /// Seconds since that is so.
    pub for_s: u64,
    /// Seconds since its agent reported; absent when it never did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_s: Option<u64>,
}

/// What is known of the watcher itself, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Status {
    /// `clear`, `holding` or `blind`.
    pub view: &'static str,
    /// Why it sees nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Seconds since that is so.
    pub for_s: u64,
    /// Seconds since too many machines went at once: nothing is marked until they are back, or a person says that it is real.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen_s: Option<u64>,
    /// Which they are.
    pub lost: Vec<String>,
    /// Machines that are well.
    pub good: usize,
    /// Machines in all.
    pub machines: usize,
    /// Sessions of the daemon.
    pub sessions: usize,
}

impl Liveness {
    /// What is known of one machine.
    #[must_use]
    pub fn evidence(&self, now: Duration, serial: &str) -> Option<Evidence> {
        let machine = self.machines.get(serial)?;
        Some(Evidence {
            route: machine.route,
            from: machine.from.clone(),
            addresses: machine.addresses.iter().copied().filter(|address| self.is_vouched_for(address)).collect(),
            for_s: now.saturating_sub(machine.route_since).as_secs(),
            reported_s: machine.reported.map(|at| now.saturating_sub(at).as_secs()),
        })
    }

    fn is_vouched_for(&self, address: &IpAddr) -> bool {
        self.routes.get(address).is_some_and(|path| !path.stale)
    }

    /// How the watcher is.
    #[must_use]
    pub fn status(&self, now: Duration) -> Status {
        let (view, why) = match &self.view {
            View::Blind(why) => ("blind", Some(why.clone())),
            View::Holding(_) => ("holding", None),
            View::Clear => ("clear", None),
        };
        Status {
            view,
            why,
            for_s: now.saturating_sub(self.view_since).as_secs(),
            frozen_s: self.mass.as_ref().map(|mass| now.saturating_sub(mass.since).as_secs()),
            lost: self.mass.iter().flat_map(|mass| mass.lost.iter().cloned()).collect(),
            good: self.good,
            machines: self.machines.len(),
            sessions: self.sessions,
        }
    }
}
