//! Typed answers to what people ask: neighbours and routes. The CLI's tables and its JSON print the same values.

use super::machine::{Member, Speaker};
use crate::rib::decide::{Rule, explain};
use crate::rib::table::{Entry, LOCAL};
use crate::time::Instant;
use crate::types::{Asn, Family, Hop, IpNet, PeerId, RouterId};
use crate::wire::attrs::Attrs;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborInfo {
    /// Its id.
    pub id: PeerId,
    /// Its configured name.
    pub name: String,
    /// Where it is.
    pub address: Option<IpAddr>,
    /// Its AS, while Established.
    pub remote_asn: Option<Asn>,
    /// Its identifier, while Established.
    pub router_id: Option<RouterId>,
    /// RFC 4271 §8.2.2 name of the state.
    pub state: String,
    /// Seconds in that state since Established was entered or left.
    pub since_s: u64,
    /// Agreed hold time, seconds.
    pub hold_time_s: Option<u16>,
    /// Paths in the table: IPv4, IPv6.
    pub prefixes_received: [u64; 2],
    /// Prefixes it was told: IPv4, IPv6.
    pub prefixes_sent: [u64; 2],
    /// UPDATEs whose routes were refused by a loop check or policy.
    pub updates_rejected: u64,
    /// UPDATEs treated as withdraw (RFC 7606).
    pub withdraw_faults: u64,
    /// UPDATEs received.
    pub updates_received: u64,
    /// UPDATEs sent in this session.
    pub updates_sent: u64,
    /// All messages received.
    pub messages_received: u64,
    /// All messages sent.
    pub messages_sent: u64,
    /// Times Established.
    pub established: u64,
    /// Times lost.
    pub dropped: u64,
    /// Why last lost or refused.
    pub last_error: Option<String>,
    /// Made by a listen range.
    pub dynamic: bool,
}

/// One prefix with its paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteInfo {
    /// The prefix.
    pub prefix: IpNet,
    /// Its paths, in order of arrival of their peers.
    pub paths: Vec<PathInfo>,
    /// Where the kernel is asked to send packets; empty for a route of our own.
    pub hops: Vec<Hop>,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathInfo {
    /// Name of the peer, or `local`.
    pub from: String,
    /// Next hop after the next-hop rule.
    pub next_hop: IpAddr,
    /// Where that leads.
    pub hop: Option<Hop>,
    /// AS_PATH as text.
    pub as_path: String,
    /// LOCAL_PREF, if given.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC, if given.
    pub med: Option<u32>,
    /// Standard communities, `AS:value`.
    pub communities: Vec<String>,
    /// Large communities, `AS:a:b`.
    pub large_communities: Vec<String>,
    /// The best path.
    pub best: bool,
    /// In the ECMP set.
    pub used: bool,
    /// Kept for a restarting peer.
    pub stale: bool,
    /// Why it is or is not used, with the section of the RFC.
    pub reason: String,
}

impl Speaker {
    /// All neighbours, in order of their ids.
    #[must_use]
    pub fn neighbors(&self, now: Instant) -> Vec<NeighborInfo> {
        self.members.values().map(|member| neighbor(member, now)).collect()
    }

    /// Up to `limit` routes behind a cursor, in order of family and prefix.
    #[must_use]
    pub fn routes(&self, after: Option<IpNet>, limit: usize) -> Vec<RouteInfo> {
        let known = self.table.after(after).filter(|entry| !entry.paths.is_empty());
        known.take(limit).map(|entry| self.route(entry)).collect()
    }

    /// The longest prefix that covers `target`.
    #[must_use]
    pub fn route_to(&self, target: &IpNet) -> Option<RouteInfo> {
        self.table.covering(target).map(|entry| self.route(entry))
    }

    /// For each Established neighbour: its name, and why it is not told of `prefix` (`None`: it is).
    #[must_use]
    pub fn told(&self, prefix: &IpNet) -> Vec<(String, Option<String>)> {
        let Some(entry) = self.table.get(prefix) else {
            return Vec::new();
        };
        let answer = |member: &Member| {
            let session = member.peer.session()?;
            let why = self.exportable(member, session, entry).err().map(str::to_owned);
            Some((member.peer.config().name.clone(), why))
        };
        self.members.values().filter_map(answer).collect()
    }

    fn route(&self, entry: &Entry) -> RouteInfo {
        let ranking = self.table.ranking(entry);
        let best = entry.best_path().and_then(|path| self.table.candidate(path));
        let paths = entry.paths.iter().enumerate().map(|(at, path)| {
            let attrs = Attrs(self.table.attrs.block(path.attrs));
            let rule = ranking.as_ref().map_or(Rule::Unresolved, |ranking| ranking.ended_by[at]);
            let is_best = Some(path.peer) == entry.best;
            let reason = match (self.table.candidate(path), &best) {
                _ if is_best => "best".to_owned(),
                (Some(candidate), Some(best)) if rule != Rule::Equal => explain(rule, &candidate, best),
                (Some(_), Some(_)) => "multipath: equal to the best in every rule".to_owned(),
                _ => "next hop unreachable (RFC 4271 §9.1.2.1)".to_owned(),
            };
            PathInfo {
                from: self.source(path.peer),
                next_hop: self.table.hops.next_hop(path.hop).addr,
                hop: self.table.hops.resolved(path.hop),
                as_path: attrs.as_path().to_string(),
                local_pref: attrs.local_pref(),
                med: attrs.med(),
                communities: attrs.communities().map(|word| format!("{}:{}", word >> 16, word & 0xffff)).collect(),
                large_communities: attrs.large_communities().map(|[a, b, c]| format!("{a}:{b}:{c}")).collect(),
                best: is_best,
                used: rule == Rule::Equal,
                stale: path.stale,
                reason,
            }
        });
        RouteInfo {
            prefix: entry.prefix,
            paths: paths.collect(),
            hops: entry.hops.as_deref().unwrap_or_default().to_vec(),
        }
    }

    fn source(&self, peer: PeerId) -> String {
        match self.members.get(&peer) {
            Some(member) => member.peer.config().name.clone(),
            None if peer == LOCAL => "local".to_owned(),
            None => format!("peer {}", peer.0),
        }
    }
}

fn neighbor(member: &Member, now: Instant) -> NeighborInfo {
    let status = member.peer.status();
    let session = member.peer.session();
    NeighborInfo {
        id: member.peer.id(),
        name: member.peer.config().name.clone(),
        address: member.peer.remote_address(),
        remote_asn: session.map(|session| session.remote_asn),
        router_id: session.map(|session| session.router_id),
        state: status.state,
        since_s: now.since(status.since).as_secs(),
        hold_time_s: session.map(|session| session.hold_time_s),
        prefixes_received: Family::ALL.map(|family| member.held[family.index()]),
        prefixes_sent: member.out.told_count,
        updates_rejected: member.rejected,
        withdraw_faults: member.faults,
        updates_received: member.updates,
        updates_sent: member.out.updates,
        messages_received: status.received.iter().sum(),
        messages_sent: status.sent.iter().sum::<u64>() + member.out.updates,
        established: status.established,
        dropped: status.dropped,
        last_error: status.last_error,
        dynamic: member.dynamic,
    }
}
