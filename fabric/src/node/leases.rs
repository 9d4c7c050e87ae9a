//! Routes that other software on this machine wants announced, each with an owner and a lease: one that is not renewed is gone, so that
//! the routes of a program that died do not outlive it for long.

use super::Node;
use super::sources::Source;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use weft_bgp::speaker::Originate;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IpNet;

/// Most routes at a time, of all owners.
pub const MAX_ROUTES: usize = 4_096;
/// Longest lease.
pub const LEASE_MAX: Duration = Duration::from_secs(86_400);

/// A route that somebody wants announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who: only the same name may change or end it.
    pub owner: String,
    /// How long, unless it is renewed.
    pub time: Duration,
    /// What.
    pub route: Originate,
}

/// Why a route is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<'a> {
    /// It belongs to somebody else.
    Owned(&'a str),
    /// There are [`MAX_ROUTES`].
    Full,
    /// There is none.
    Absent,
}

#[derive(Debug)]
struct Held {
    owner: String,
    until: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Leases {
    held: BTreeMap<IpNet, Held>,
    ends: BTreeSet<(Instant, IpNet)>,
}

impl Leases {
    pub(super) fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        self.ends.first().map(|(at, _)| (*at, "lease of a route"))
    }

    /// Whose it is, and until when.
    pub(super) fn of(&self, prefix: &IpNet) -> Option<(&str, Instant)> {
        self.held.get(prefix).map(|held| (held.owner.as_str(), held.until))
    }

    fn remove(&mut self, prefix: &IpNet) {
        if let Some(held) = self.held.remove(prefix) {
            self.ends.remove(&(held.until, *prefix));
        }
    }
}

impl Node {
    /// Announces a route for a program, or renews its lease, or changes how it is announced.
    ///
    /// # Errors
    /// When it belongs to another owner, or there are too many.
    pub fn lease(&mut self, now: Instant, lease: Lease) -> Result<(), Refused<'_>> {
        let prefix = lease.route.prefix.trunc();
        if self.leases.held.get(&prefix).is_some_and(|held| held.owner != lease.owner) {
            return Err(self.leases.held.get(&prefix).map_or(Refused::Absent, |held| Refused::Owned(&held.owner)));
        }
        if !self.leases.held.contains_key(&prefix) && self.leases.held.len() >= MAX_ROUTES {
            return Err(Refused::Full);
        }
        self.leases.remove(&prefix);
        let until = now + lease.time.min(LEASE_MAX);
        self.leases.ends.insert((until, prefix));
        self.leases.held.insert(prefix, Held { owner: lease.owner, until });
        self.originate(now, Source::Api, lease.route);
        self.pump(now);
        Ok(())
    }

    /// All leases, each with the time that is left.
    pub fn leases(&self, now: Instant) -> impl Iterator<Item = Lease> {
        self.leases.held.iter().filter_map(move |(prefix, held)| {
            let route = self.sources.by(Source::Api, prefix)?.clone();
            Some(Lease { owner: held.owner.clone(), time: held.until.since(now), route })
        })
    }

    /// Ends a lease.
    ///
    /// # Errors
    /// When there is none, or it belongs to another owner.
    pub fn release(&mut self, now: Instant, owner: &str, prefix: &IpNet) -> Result<(), Refused<'_>> {
        let prefix = prefix.trunc();
        match self.leases.held.get(&prefix) {
            None => return Err(Refused::Absent),
            Some(held) if held.owner != owner => {
                return Err(self.leases.held.get(&prefix).map_or(Refused::Absent, |held| Refused::Owned(&held.owner)));
            }
            Some(_) => {}
        }
        self.leases.remove(&prefix);
        self.unoriginate(now, Source::Api, &prefix);
        self.pump(now);
        Ok(())
    }

    /// Ends the leases of all routes of an owner; how many there were.
    pub fn release_all(&mut self, now: Instant, owner: &str) -> usize {
        let held = self.leases.held.iter().filter(|(_, held)| held.owner == owner);
        let all: Vec<IpNet> = held.map(|(prefix, _)| *prefix).collect();
        for prefix in &all {
            self.leases.remove(prefix);
            self.unoriginate(now, Source::Api, prefix);
        }
        self.pump(now);
        all.len()
    }

    pub(super) fn end_leases(&mut self, now: Instant) {
        while let Some(&(_, prefix)) = self.leases.ends.first().filter(|(until, _)| *until <= now) {
            self.leases.remove(&prefix);
            self.unoriginate(now, Source::Api, &prefix);
        }
    }
}
