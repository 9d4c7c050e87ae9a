//! Service addresses: announced while their check passes, as one machine. Knows checks, addresses and time; not sockets, not BGP.
//!
//! ```text
//!            good             address seen                    bad, or told to go
//!   down ───────────▶ adding ──────────────▶ up ──────────────────────────────────▶ shedding (GRACEFUL_SHUTDOWN)
//!    ▲                                       ▲  good again ◀──────────────────────────┘  │ a while   │ the last origin,
//!    │ drain time over: address goes         │                                            ▼           ▼ on_last: keep
//!    └─────────────────────────────── draining (withdrawn, address still there) ◀────── withdrawn    kept (alarm)
//! ```
//! The order of a withdrawal is community, withdraw, drain time, address (RFC 8326 first, so that others take over before the route
//! goes; the address last, so that local clients follow the route). A service that fails is withdrawn [`FAILED_SHED`] after its last
//! bad result. The last origin is found in the RIB: others whose paths are there, not stale and without GRACEFUL_SHUTDOWN. Origins
//! that fail at the same moment may each take the other for well and withdraw; whoever sees while draining that nobody is left comes
//! back, so a shared dependency that fails never withdraws a service everywhere. A daemon that starts again and finds the address that an
//! earlier run left takes the life up where it is shedding: the first result decides whether it goes up, is kept as the last one, or goes.
//! An upgrade of the program is none of that: it goes on where it was (`keep`). One that is drained ([`crate::drain`]) goes the same way
//! and stops on it: shedding while that is soft, draining while it is warm.

mod health;
mod keep;
mod service;
#[cfg(test)]
mod tests;

use crate::config::{Probe, VipConfig};
use crate::drain;
pub use keep::{Kept, KeptHealth};
use serde::{Deserialize, Serialize};
use service::Service;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use weft_bgp::speaker::Originate;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IpNet;

/// How long the community is there before the route goes when a check has failed: enough for a neighbour to hear of it first, and
/// little enough for clients not to wait.
pub const FAILED_SHED: Duration = Duration::from_millis(20);

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// The service addresses to care for, from now on. The node says so itself.
    #[serde(skip)]
    Configure(Vec<VipConfig>),
    /// A check ended.
    Checked {
        /// Whose.
        name: String,
        /// As ordered.
        run: u64,
        /// Why it failed.
        outcome: Result<(), String>,
    },
    /// Somebody says so by the API.
    Set {
        /// Whose.
        name: String,
        /// Up: follow the check again, or be up where there is none.
        up: bool,
    },
    /// How far they are taken out of service: all of them with the node, and single ones by name.
    Drain {
        /// The node.
        node: drain::State,
        /// Those that are further than it.
        vips: BTreeMap<String, drain::State>,
    },
    /// Addresses, routes or the time may have changed.
    Tick,
}

/// What the machine looks at around it.
pub trait Around {
    /// Whether an address is there and ready for use.
    fn has(&self, net: &IpNet) -> bool;
    /// Whether an earlier run of ours put an address on the loopback interface, and left it there.
    fn is_left(&self, net: &IpNet) -> bool;
    /// Whether somebody else announces this, neither stale nor about to go.
    fn has_other_origin(&self, net: &IpNet) -> bool;
    /// Whether everybody who could be an origin has been heard since the start.
    fn knows_others(&self) -> bool;
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Make a check, and say how it ended.
    Check(Order),
    /// Put an address on the loopback interface.
    AddAddress(IpNet),
    /// Take one away.
    RemoveAddress(IpNet),
    /// Announce this, or announce it thus.
    Announce(Originate),
    /// Announce it no longer.
    Withdraw(IpNet),
    /// For the log and the history.
    Event(Event),
}

/// A check to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Whose.
    pub name: String,
    /// To be said with the result.
    pub run: u64,
    /// What is to be tried.
    pub probe: Probe,
    /// Longest time.
    pub timeout: Duration,
}

/// A service address changed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The only kind.
    Vip {
        /// Which.
        name: String,
        /// Into which.
        state: State,
        /// Why.
        reason: String,
    },
}

/// State of a service address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not announced, its address is not there.
    Down,
    /// About to be announced, once its address is there.
    Adding,
    /// Announced.
    Up,
    /// About to be withdrawn: announced with GRACEFUL_SHUTDOWN.
    Shedding,
    /// Failed, but nobody else announces it: announced with GRACEFUL_SHUTDOWN.
    Kept,
    /// Withdrawn, its address still there.
    Draining,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 6] = [Self::Down, Self::Adding, Self::Up, Self::Shedding, Self::Kept, Self::Draining];

    /// Whether others hear of it.
    #[must_use]
    pub const fn is_announced(self) -> bool {
        matches!(self, Self::Up | Self::Shedding | Self::Kept)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Adding => "adding",
            Self::Up => "up",
            Self::Shedding => "shedding",
            Self::Kept => "kept",
            Self::Draining => "draining",
        })
    }
}

/// A service address, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its configuration.
    pub config: VipConfig,
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Why.
    pub reason: String,
    /// `weft vip set NAME down` is in force.
    pub set_down: bool,
    /// What the check says; `None` before its first result, and where there is none.
    pub good: Option<bool>,
    /// Until when a service that flaps waits though its check passes.
    pub held_until: Option<Instant>,
    /// The last result.
    pub last: Option<(Instant, Result<(), String>)>,
    /// Results so far, and how many of them were bad.
    pub results: u64,
    /// See there.
    pub failures: u64,
    /// Times it went up.
    pub ups: u64,
    /// Times it was withdrawn.
    pub downs: u64,
}

/// All service addresses. See [`Input`] and [`Output`].
#[derive(Debug, Default)]
pub struct Vips {
    services: BTreeMap<String, Service>,
    /// Removed or changed ones that have not gone yet.
    leaving: Vec<Service>,
    /// What the program before left, until they are configured.
    left: BTreeMap<String, Kept>,
    run: u64,
    /// How far the node is out of service, and single ones.
    drained: (drain::State, BTreeMap<String, drain::State>),
    output: VecDeque<Output>,
}

impl Vips {
    /// Something happened.
    pub fn handle(&mut self, now: Instant, input: Input, around: &dyn Around) {
        match input {
            Input::Configure(all) => self.configure(now, all, around),
            Input::Checked { name, run, outcome } => {
                if let Some(service) = self.services.get_mut(&name) {
                    service.checked(now, run, outcome);
                }
            }
            Input::Set { name, up } => {
                if let Some(service) = self.services.get_mut(&name) {
                    service.set(now, up);
                }
            }
            Input::Drain { node, vips } => self.drained = (node, vips),
            Input::Tick => {}
        }
        let (node, named) = &self.drained;
        for (name, service) in &mut self.services {
            service.drain(named.get(name).copied().unwrap_or_default().max(*node));
            service.tick(now);
            if let Some((probe, timeout)) = service.poll_check(now, self.run + 1) {
                self.run += 1;
                let name = service.config().name.clone();
                self.output.push_back(Output::Check(Order { name, run: self.run, probe, timeout }));
            }
        }
        self.advance_leaving(now, around);
        for service in self.services.values_mut() {
            service.advance(now, around, &mut self.output);
        }
    }

    /// What must be done.
    pub fn poll(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When to call with [`Input::Tick`].
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let all = self.leaving.iter().chain(self.services.values());
        all.filter_map(Service::next_timeout).min().map(|at| (at, "service address"))
    }

    /// Whether one needs this address on the loopback interface.
    #[must_use]
    pub fn needs(&self, net: &IpNet) -> bool {
        let mut all = self.leaving.iter().chain(self.services.values());
        all.any(|service| service.state() != State::Down && service.config().addresses.contains(net))
    }

    /// Whether there is one of this name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.services.contains_key(name)
    }

    /// Whether there is nothing left of one here: withdrawn, and its address on no interface.
    #[must_use]
    pub fn is_gone(&self, name: &str) -> bool {
        self.services.get(name).is_none_or(|service| service.state() == State::Down)
    }

    /// All of them, by name.
    pub fn infos(&self, now: Instant) -> impl Iterator<Item = Info> + '_ {
        self.services.values().map(move |service| service.info(now))
    }

    /// What a configured service announces now is its own, whatever one that leaves has to say about the same address.
    fn advance_leaving(&mut self, now: Instant, around: &dyn Around) {
        let mut wanted = VecDeque::new();
        for service in &mut self.leaving {
            service.advance(now, around, &mut wanted);
        }
        self.leaving.retain(|service| service.state() != State::Down);
        let services = &self.services;
        let is_taken = |net: &IpNet| {
            services.values().any(|own| own.state().is_announced() && own.config().addresses.contains(net))
        };
        self.output.extend(wanted.into_iter().filter(|output| match output {
            Output::Announce(route) => !is_taken(&route.prefix),
            Output::Withdraw(net) => !is_taken(net),
            Output::Check(_) | Output::AddAddress(_) | Output::RemoveAddress(_) | Output::Event(_) => true,
        }));
    }

    fn configure(&mut self, now: Instant, all: Vec<VipConfig>, around: &dyn Around) {
        let mut old = std::mem::take(&mut self.services);
        for config in all {
            let name = config.name.clone();
            let service = match old.remove(&name) {
                Some(mut known) if known.config().addresses == config.addresses => {
                    known.reconfigure(now, config);
                    known
                }
                before => {
                    self.leaving.extend(before.map(Service::leave));
                    let mut fresh = Service::new(config, now);
                    match self.left.remove(&name).filter(|kept| kept.addresses == fresh.config().addresses) {
                        Some(kept) => fresh.go_on(now, kept, around, &mut self.output),
                        None => fresh.resume(now, around, &mut self.output),
                    }
                    fresh
                }
            };
            self.services.insert(name, service);
        }
        self.left.clear();
        self.leaving.extend(old.into_values().map(Service::leave));
    }
}
