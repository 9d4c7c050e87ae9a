//! Aggregates: originated while a contributor exists, with a discard route, so that packets for the parts that nobody announces do
//! not follow a default route into a loop (RFC 4632 §5.1).
//!
//! An aggregate ranks as a route of our own: a received route to the very same prefix waits behind it and is used again when the last
//! contributor is gone. It never counts as its own contributor, nor as one of a wider aggregate.

use super::machine::Speaker;
use super::sweep::SLICE;
use crate::rib::attrs::AttrsId;
use crate::rib::table::{AGGREGATE, Came, Path, PathKey};
use crate::time::Instant;
use crate::types::{IpNet, NextHop};
use crate::wire::attrs::{flag, kind, put};
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Speaker {
    /// Takes the aggregates of the configuration into force.
    pub(super) fn set_aggregates(&mut self, now: Instant) {
        let old: Vec<IpNet> = self.aggregates.all().map(|(prefix, _)| prefix).collect();
        self.aggregates.set(&self.config.aggregates, &self.table);
        let configured: BTreeSet<IpNet> = self.aggregates.all().map(|(prefix, _)| prefix).collect();
        for prefix in &old {
            if !configured.contains(prefix) {
                self.table.remove(prefix, PathKey::only(AGGREGATE));
            } else if self.stands(prefix) {
                // With its new attributes: our AS and identifier are in them. Whether it has contributors still, the count will say.
                self.insert_aggregate(now, prefix);
            }
        }
        self.count_aggregates(now);
    }

    /// One slice of counting the contributors of other aggregates than before.
    pub(super) fn count_aggregates(&mut self, now: Instant) {
        let mut touched = self.aggregates.count_on(&self.table, SLICE);
        if !self.aggregates.is_counting() {
            touched = self.aggregates.all().map(|(prefix, _)| prefix).collect();
        }
        for prefix in touched {
            self.put_aggregate(now, &prefix);
        }
        self.aggregate(now);
    }

    /// Makes aggregates come and go with their contributors. An aggregate changes nothing for others but what it hides, so this ends.
    pub(super) fn aggregate(&mut self, now: Instant) {
        loop {
            let touched = self.aggregates.follow(&self.table);
            if touched.is_empty() {
                return;
            }
            for prefix in touched {
                self.put_aggregate(now, &prefix);
            }
        }
    }

    /// Originates an aggregate, or ends it. A route that we originate by name takes its place.
    pub(super) fn put_aggregate(&mut self, now: Instant, prefix: &IpNet) {
        let wanted = self.aggregates.count(prefix) > 0 && !self.originated.contains(prefix);
        let stands = self.stands(prefix);
        if wanted && !stands {
            self.insert_aggregate(now, prefix);
        } else if stands && !wanted && (!self.aggregates.is_counting() || self.originated.contains(prefix)) {
            self.table.remove(prefix, PathKey::only(AGGREGATE));
        }
    }

    fn stands(&self, prefix: &IpNet) -> bool {
        self.table.get(prefix).is_some_and(|entry| entry.paths.iter().any(|path| path.peer == AGGREGATE))
    }

    fn insert_aggregate(&mut self, now: Instant, prefix: &IpNet) {
        let attrs = self.aggregate_block();
        let hop = self.table.hops.intern(NextHop::new(IpAddr::V4(self.config.router_id)), None);
        let came = Came::new(now.as_secs(), 0);
        self.table.insert(*prefix, Path { peer: AGGREGATE, id: 0, attrs, hop, came });
    }

    /// Differs from RFC 4271 §9.2.2.2: ORIGIN is IGP and AS_PATH empty whatever the contributors say, because the aggregate must not
    /// be told anew whenever one of them changes. Nor is there an AS_SET (deprecated by RFC 9774); instead ATOMIC_AGGREGATE says
    /// that AS numbers were left out (RFC 4271 §5.1.6), and AGGREGATOR by whom (§5.1.7).
    fn aggregate_block(&mut self) -> AttrsId {
        let mut block = Vec::new();
        put(&mut block, flag::TRANSITIVE, kind::ORIGIN, &[0]);
        put(&mut block, flag::TRANSITIVE, kind::AS_PATH, &[]);
        put(&mut block, flag::TRANSITIVE, kind::ATOMIC_AGGREGATE, &[]);
        let mut by = self.config.asn.0.to_be_bytes().to_vec();
        by.extend(self.config.router_id.octets());
        put(&mut block, flag::OPTIONAL | flag::TRANSITIVE, kind::AGGREGATOR, &by);
        self.table.attrs.intern(&block)
    }
}
