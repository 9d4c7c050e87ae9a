//! What we originate: all of it at once when a configuration comes, one route at a time when a service starts or fails.

use super::Originate;
use super::machine::Speaker;
use crate::rib::attrs::AttrsId;
use crate::rib::table::{Came, LOCAL, Path, PathKey, is_own};
use crate::time::Instant;
use crate::types::{Family, IpNet, NextHop};
use crate::wire::attrs::{Attrs, community, flag, kind, put};
use crate::wire::community::{Bandwidth, ExtCommunity};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Octets per second of one unit of weight: 1 Gbit/s.
const UNIT_OCTETS_PER_S: f32 = 125_000_000.0;

impl Speaker {
    pub(super) fn set_originated(&mut self, now: Instant, routes: &[Originate]) {
        let wanted: BTreeSet<_> = routes.iter().map(|route| route.prefix.trunc()).collect();
        for gone in self.originated.difference(&wanted) {
            self.table.remove(gone, PathKey::only(LOCAL));
        }
        for route in routes {
            self.insert_own(now, route);
        }
        self.originated = wanted;
        let aggregates: Vec<IpNet> = self.aggregates.all().map(|(prefix, _)| prefix).collect();
        for prefix in aggregates {
            self.put_aggregate(now, &prefix);
        }
    }

    /// The same route again changes nothing.
    pub(super) fn originate(&mut self, now: Instant, route: &Originate) {
        self.insert_own(now, route);
        let prefix = route.prefix.trunc();
        self.originated.insert(prefix);
        self.put_aggregate(now, &prefix);
    }

    pub(super) fn unoriginate(&mut self, now: Instant, prefix: &IpNet) {
        let prefix = prefix.trunc();
        if self.originated.remove(&prefix) {
            self.table.remove(&prefix, PathKey::only(LOCAL));
            self.put_aggregate(now, &prefix);
        }
    }

    /// Whether somebody else announces exactly this prefix and means to go on: its next hop can be reached, it is not stale
    /// (RFC 4724 §4.2) and does not ask to be left (RFC 8326).
    #[must_use]
    pub fn has_other_origin(&self, prefix: &IpNet) -> bool {
        let family = Family::of(prefix);
        self.table.get(prefix).is_some_and(|entry| {
            entry.paths.iter().any(|path| {
                !is_own(path.peer)
                    && self.table.hops.resolved(path.hop).is_some()
                    && !self.is_retained(path, family)
                    && !Attrs(self.table.attrs.block(path.attrs)).has_community(community::GRACEFUL_SHUTDOWN)
            })
        })
    }

    fn insert_own(&mut self, now: Instant, route: &Originate) {
        let attrs = self.originated_block(route);
        let hop = self.table.hops.intern(NextHop::new(IpAddr::V4(self.config.router_id)), None);
        let came = Came::new(now.as_secs(), 0);
        self.table.insert(route.prefix.trunc(), Path { peer: LOCAL, id: 0, attrs, hop, came });
    }

    fn originated_block(&mut self, route: &Originate) -> AttrsId {
        let mut block = Vec::new();
        put(&mut block, flag::TRANSITIVE, kind::ORIGIN, &[0]);
        put(&mut block, flag::TRANSITIVE, kind::AS_PATH, &[]);
        let optional = flag::OPTIONAL | flag::TRANSITIVE;
        if !route.communities.is_empty() {
            let value: Vec<_> = route.communities.iter().flat_map(|word| word.to_be_bytes()).collect();
            put(&mut block, optional, kind::COMMUNITIES, &value);
        }
        let bandwidth = route.weight.and_then(|weight| Bandwidth::new(f32::from(weight) * UNIT_OCTETS_PER_S));
        if let Some(bandwidth) = bandwidth {
            let community = ExtCommunity::of_bandwidth(self.config.asn, bandwidth, true);
            put(&mut block, optional, kind::EXTENDED_COMMUNITIES, &community.0);
        }
        if !route.large_communities.is_empty() {
            let words = route.large_communities.iter().flatten();
            let value: Vec<_> = words.flat_map(|word| word.to_be_bytes()).collect();
            put(&mut block, optional, kind::LARGE_COMMUNITIES, &value);
        }
        self.table.attrs.intern(&block)
    }
}
