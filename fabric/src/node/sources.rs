//! What we originate, by who wants it: the configuration, services that are up, programs, the kernel. Several may name one prefix;
//! the first of them in the order of [`Source`] is what others hear, and the next one when it goes.

use super::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use weft_bgp::speaker::{self, Originate};
use weft_bgp::time::Instant;
use weft_bgp::types::IpNet;

/// Who wants a route announced, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `addresses` and `originate`.
    Configured,
    /// A service address that is up.
    Vip,
    /// A program that asked for it by the API.
    Api,
    /// A machine on a server port, by its lease of DHCP.
    Lease,
    /// Other software, in a kernel table.
    Kernel,
    /// The network of an interface.
    Connected,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configured => "configured",
            Self::Vip => "vip",
            Self::Api => "api",
            Self::Lease => "lease",
            Self::Kernel => "kernel",
            Self::Connected => "connected",
        })
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sources {
    by_prefix: BTreeMap<IpNet, BTreeMap<Source, Originate>>,
}

impl Sources {
    /// Somebody wants this; whether others must hear of it.
    fn put(&mut self, source: Source, route: Originate) -> bool {
        let wanted = self.by_prefix.entry(route.prefix.trunc()).or_default();
        let old = wanted.insert(source, route);
        let new = wanted.get(&source);
        old.as_ref() != new && wanted.keys().next() == Some(&source)
    }

    /// Somebody no longer wants this; whether others must hear of it.
    fn remove(&mut self, source: Source, prefix: &IpNet) -> bool {
        let Some(wanted) = self.by_prefix.get_mut(prefix) else {
            return false;
        };
        let was_first = wanted.keys().next() == Some(&source);
        wanted.remove(&source);
        if wanted.is_empty() {
            self.by_prefix.remove(prefix);
        }
        was_first
    }

    /// What others hear of a prefix.
    pub(super) fn first(&self, prefix: &IpNet) -> Option<&Originate> {
        self.by_prefix.get(prefix)?.values().next()
    }

    /// What one source wants of a prefix.
    pub(super) fn by(&self, source: Source, prefix: &IpNet) -> Option<&Originate> {
        self.by_prefix.get(prefix)?.get(&source)
    }

    /// The prefixes of one source.
    pub(super) fn of(&self, source: Source) -> impl Iterator<Item = IpNet> + '_ {
        self.by_prefix.iter().filter(move |(_, wanted)| wanted.contains_key(&source)).map(|(prefix, _)| *prefix)
    }
}

impl Node {
    /// What we originate, and for whom: by prefix, the one that others hear first.
    pub fn originated(&self) -> impl Iterator<Item = (Source, &Originate)> {
        self.sources.by_prefix.values().flat_map(|wanted| wanted.iter().map(|(source, route)| (*source, route)))
    }

    /// What others hear of a prefix that we originate.
    #[must_use]
    pub fn originated_as(&self, prefix: &IpNet) -> Option<&Originate> {
        self.sources.first(prefix)
    }

    /// The owner of a program's route, and the end of its lease.
    #[must_use]
    pub fn lease_of(&self, prefix: &IpNet) -> Option<(&str, Instant)> {
        self.leases.of(prefix)
    }

    /// Announces a route, or announces it thus.
    pub(super) fn originate(&mut self, now: Instant, source: Source, route: Originate) {
        let prefix = route.prefix.trunc();
        if self.sources.put(source, route) {
            self.tell(now, &prefix);
        }
    }

    /// Announces it no longer, unless somebody else wants it too.
    pub(super) fn unoriginate(&mut self, now: Instant, source: Source, prefix: &IpNet) {
        if self.sources.remove(source, prefix) {
            self.tell(now, prefix);
        }
    }

    /// A source wants exactly these from now on.
    pub(super) fn originate_all(&mut self, now: Instant, source: Source, routes: Vec<Originate>) {
        let wanted: BTreeSet<IpNet> = routes.iter().map(|route| route.prefix.trunc()).collect();
        let gone: Vec<IpNet> = self.sources.of(source).filter(|prefix| !wanted.contains(prefix)).collect();
        for prefix in gone {
            self.unoriginate(now, source, &prefix);
        }
        for route in routes {
            self.originate(now, source, route);
        }
    }

    fn tell(&mut self, now: Instant, prefix: &IpNet) {
        let input = match self.sources.first(prefix) {
            Some(route) => speaker::Input::Originate(route.clone()),
            None => speaker::Input::Unoriginate(*prefix),
        };
        self.speaker.handle(now, input);
    }
}
