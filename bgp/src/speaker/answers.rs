//! Typed answers to what people ask: neighbours and routes. The CLI's tables and its JSON print the same values.

use super::kernel::is_wanted;
use super::lines::Judged;
use super::machine::{Member, Speaker};
use crate::policy::Hits;
use crate::rib::table::{Entry, LOCAL, is_own};
use crate::rpki::Validity;
use crate::time::Instant;
use crate::types::{Asn, Family, Hop, IpNet, PeerId, RouterId};
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
    /// What it calls itself, while Established (draft-walton-bgp-hostname-capability): its own words.
    pub hostname: Option<String>,
    /// RFC 4271 §8.2.2 name of the state.
    pub state: String,
    /// Seconds in that state since Established was entered or left.
    pub since_s: u64,
    /// What else both ends agreed on, while Established: `extended messages`, `graceful restart (120 s)`, …
    pub agreed: Vec<String>,
    /// Agreed hold time, seconds.
    pub hold_time_s: Option<u16>,
    /// Paths in the table: IPv4, IPv6. One for each prefix, but for a peer that sends several (RFC 7911).
    pub prefixes_received: [u64; 2],
    /// Paths it was told: IPv4, IPv6. Likewise.
    pub prefixes_sent: [u64; 2],
    /// Path identifiers are received (RFC 7911): IPv4, IPv6.
    pub add_path_received: [bool; 2],
    /// Path identifiers are sent.
    pub add_path_sent: [bool; 2],
    /// UPDATEs whose routes were refused by a loop check.
    pub updates_rejected: u64,
    /// Prefixes refused by the import policy, every announcement counted.
    pub prefixes_rejected: u64,
    /// Paths beyond `paths_limit` that were not taken, every announcement counted (RFC 7911).
    pub paths_over_limit: u64,
    /// The policy is another one and the peer cannot refresh (RFC 2918): so many of its paths are as the old one left them.
    pub old_policy: Option<u64>,
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
    /// It failed again and again, or passed a limit: for so many seconds it is neither dialled nor listened to.
    pub resting_s: Option<u64>,
    /// Made by a listen range.
    pub dynamic: bool,
}

/// Whose paths of our own are.
pub const LOCAL_NAME: &str = "local";

/// One prefix with its paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteInfo {
    /// The prefix.
    pub prefix: IpNet,
    /// Its paths, in order of arrival of their peers.
    pub paths: Vec<PathInfo>,
    /// Where the kernel is asked to send packets; empty for a route of our own.
    pub hops: Vec<Hop>,
    /// The kernel acknowledged exactly these hops, or the discard route of an aggregate; a route of our own needs nothing there.
    pub installed: bool,
    /// The kernel refused them.
    pub refused: bool,
    /// A guard keeps it from being used: what it has, and what it needs.
    pub held_back: Option<String>,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathInfo {
    /// Name of the peer, or `local`.
    pub from: String,
    /// The peer's path identifier, on a session with them (RFC 7911).
    pub path_id: Option<u32>,
    /// Next hop after the next-hop rule.
    pub next_hop: IpAddr,
    /// Where that leads.
    pub hop: Option<Hop>,
    /// AS_PATH as text.
    pub as_path: String,
    /// ORIGIN: `igp`, `egp` or `incomplete`.
    pub origin: String,
    /// ORIGINATOR_ID of a reflected route (RFC 4456 §8).
    pub originator_id: Option<RouterId>,
    /// CLUSTER_LIST of a reflected route, the nearest first (RFC 4456 §8).
    pub cluster_list: Vec<RouterId>,
    /// Learnt over an external session.
    pub external: bool,
    /// Seconds since start at which it came.
    pub since_s: u64,
    /// LOCAL_PREF, if given.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC, if given.
    pub med: Option<u32>,
    /// Standard communities, `AS:value`.
    pub communities: Vec<String>,
    /// Large communities, `AS:a:b`.
    pub large_communities: Vec<String>,
    /// Extended communities: `rt:AS:value`, `link-bandwidth:AS:10G`, …
    pub ext_communities: Vec<String>,
    /// The best path.
    pub best: bool,
    /// In the ECMP set.
    pub used: bool,
    /// Kept for a restarting peer.
    pub stale: bool,
    /// Validation state of its origin (RFC 6811), as the caches have it now; `None` where there are no caches.
    pub validity: Option<Validity>,
    /// Why it is or is not used, with the section of the RFC.
    pub reason: String,
}

/// Totals of a speaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeakerSummary {
    /// Prefixes known, both families.
    pub prefixes: u64,
    /// Paths learnt from peers: IPv4, IPv6.
    pub paths_received: [u64; 2],
    /// Prefixes originated here.
    pub originated: u64,
    /// The first wait for everybody's End-of-RIB is over.
    pub converged: bool,
    /// While it is not: the configured peers that are waited for.
    pub waiting_for: Vec<String>,
    /// Changes of the table that the kernel did not acknowledge yet.
    pub fib_changes_waiting: u64,
    /// Prefixes that the kernel refused.
    pub fib_failed: u64,
    /// Prefixes that guards keep from being used.
    pub held_back: u64,
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
        known.take(limit).map(|entry| self.route(&entry)).collect()
    }

    /// Up to `limit` routes within a prefix behind a cursor, in order; without one, the prefix itself comes first if it is there.
    #[must_use]
    pub fn routes_within(&self, net: &IpNet, after: Option<IpNet>, limit: usize) -> Vec<RouteInfo> {
        self.within(net, after).take(limit).map(|entry| self.route(&entry)).collect()
    }

    /// How many prefixes there are within one, counted up to `most`.
    #[must_use]
    pub fn count_within(&self, net: &IpNet, most: usize) -> usize {
        self.within(net, None).take(most).count()
    }

    /// What lies within a prefix stands together behind it.
    fn within(&self, net: &IpNet, after: Option<IpNet>) -> impl Iterator<Item = Entry<'_>> {
        let net = *net;
        let after = after.filter(|after| net.contains(after));
        let own = if after.is_none() { self.table.get(&net) } else { None };
        let behind = self.table.after(Some(after.unwrap_or(net))).take_while(move |entry| net.contains(&entry.prefix));
        own.into_iter().chain(behind).filter(|entry| !entry.paths.is_empty())
    }

    /// The peers, in order of their ids.
    pub fn peer_ids(&self) -> impl Iterator<Item = PeerId> {
        self.members.keys().copied()
    }

    /// Names of the peers, in order of their ids.
    pub fn peer_names(&self) -> impl Iterator<Item = &str> {
        self.members.values().map(|member| member.peer.config().name.as_str())
    }

    /// The longest prefix that covers `target`.
    #[must_use]
    pub fn route_to(&self, target: &IpNet) -> Option<RouteInfo> {
        self.table.covering(target).map(|entry| self.route(&entry))
    }

    /// Every rule of the policies by its name, and how often it decided, over all peers since the policies were loaded.
    #[must_use]
    pub fn policy_hits(&self) -> Vec<(String, u64)> {
        let mut sum = Hits::default();
        for member in self.members.values() {
            sum.add(&member.hits);
        }
        let policies = &self.config.policies;
        policies.rules().map(|rule| (policies.rule_name(rule), sum.of(rule))).collect()
    }

    /// Totals, and whether the first convergence is over.
    #[must_use]
    pub fn summary(&self) -> SpeakerSummary {
        let mut paths = [0; 2];
        for member in self.members.values() {
            for family in Family::ALL {
                paths[family.index()] += member.held.all()[family.index()];
            }
        }
        SpeakerSummary {
            prefixes: u64::try_from(self.table.len()).unwrap_or(u64::MAX),
            paths_received: paths,
            originated: u64::try_from(self.originated.len()).unwrap_or(u64::MAX),
            converged: self.converged,
            waiting_for: if self.converged { Vec::new() } else { self.unfinished() },
            fib_changes_waiting: self.table.log_end().saturating_sub(self.kernel_done()),
            fib_failed: u64::try_from(self.fib_failed.len()).unwrap_or(u64::MAX),
            held_back: u64::try_from(self.table.held_back()).unwrap_or(u64::MAX),
        }
    }

    /// Whether the first convergence is over.
    #[must_use]
    pub const fn is_converged(&self) -> bool {
        self.converged
    }

    /// Next hops of peers' paths that lead nowhere (RFC 4271 §9.1.2.1), with the number of paths of each.
    #[must_use]
    pub fn unresolved_next_hops(&self) -> Vec<(IpAddr, u32)> {
        let all = self.table.hops.unresolved().map(|(next_hop, paths)| (next_hop.addr, paths));
        // Routes of our own have our identifier there.
        all.filter(|(address, _)| *address != IpAddr::V4(self.config.router_id)).collect()
    }

    fn route(&self, entry: &Entry<'_>) -> RouteInfo {
        let judged = Judged::new(self, *entry);
        let paths = entry.paths.iter().enumerate().map(|(at, path)| {
            let line = judged.line(at, at == 0);
            let attrs = line.attrs;
            PathInfo {
                from: self.source(path.peer),
                path_id: line.path_id(),
                next_hop: line.next_hop,
                hop: line.hop,
                as_path: attrs.as_path().to_string(),
                origin: origin(attrs.origin()).to_owned(),
                originator_id: attrs.originator_id(),
                cluster_list: attrs.cluster_list().collect(),
                external: line.external,
                since_s: line.since_s,
                local_pref: attrs.local_pref(),
                med: attrs.med(),
                communities: attrs.communities().map(|word| format!("{}:{}", word >> 16, word & 0xffff)).collect(),
                large_communities: attrs.large_communities().map(|[a, b, c]| format!("{a}:{b}:{c}")).collect(),
                ext_communities: attrs.ext_communities().map(|community| community.to_string()).collect(),
                best: line.best,
                used: line.used,
                stale: line.stale,
                validity: line.validity(),
                reason: line.reason().into_owned(),
            }
        });
        RouteInfo {
            prefix: entry.prefix,
            paths: paths.collect(),
            hops: entry
                .hops
                .into_iter()
                .flat_map(|hops| hops.iter())
                .filter(|hop| self.table.hops.is_up(hop))
                .copied()
                .collect(),
            refused: self.fib_failed.contains(&entry.prefix),
            held_back: judged.held_back.map(|why| why.to_string()),
            installed: judged.installed,
        }
    }

    /// Whether the kernel acknowledged what is wanted for this entry now.
    pub(super) fn is_installed(&self, entry: &Entry<'_>) -> bool {
        let acknowledged = entry.changed <= self.kernel_done() && !self.fib_failed.contains(&entry.prefix);
        entry.best_peer() == Some(LOCAL) || is_wanted(entry) && acknowledged
    }

    pub(super) fn has_path_ids(&self, peer: PeerId, family: Family) -> bool {
        let session = self.members.get(&peer).and_then(|member| member.last.as_ref());
        session.is_some_and(|session| session.codec.add_path_rx[family.index()])
    }

    pub(super) fn source(&self, peer: PeerId) -> String {
        match self.members.get(&peer) {
            Some(member) => member.peer.config().name.clone(),
            None if is_own(peer) => LOCAL_NAME.to_owned(),
            None => format!("peer {}", peer.0),
        }
    }

    /// The same without a number for a peer that is no more.
    pub(super) fn source_name(&self, peer: PeerId) -> &str {
        match self.members.get(&peer) {
            Some(member) => &member.peer.config().name,
            None if is_own(peer) => LOCAL_NAME,
            None => "gone",
        }
    }
}

/// An ORIGIN by its name (RFC 4271 §5.1.1).
#[must_use]
pub const fn origin(code: u8) -> &'static str {
    match code {
        0 => "igp",
        1 => "egp",
        _ => "incomplete",
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
        hostname: session.and_then(|session| session.hostname.clone()),
        state: status.state,
        since_s: now.since(status.since).as_secs(),
        agreed: session.map(|session| session.agreed()).unwrap_or_default(),
        hold_time_s: session.map(|session| session.hold_time_s),
        prefixes_received: member.held.all(),
        prefixes_sent: member.out.told_count,
        add_path_received: session.map_or([false; 2], |session| session.codec.add_path_rx),
        add_path_sent: session.map_or([false; 2], |session| session.codec.add_path_tx),
        updates_rejected: member.rejected,
        prefixes_rejected: member.prefixes_rejected,
        paths_over_limit: member.paths_over_limit,
        old_policy: member.held.outdated(),
        withdraw_faults: member.faults,
        updates_received: member.updates,
        updates_sent: member.out.updates,
        messages_received: status.received.iter().sum(),
        messages_sent: status.sent.iter().sum::<u64>() + member.out.updates,
        established: status.established,
        dropped: status.dropped,
        last_error: status.last_error,
        resting_s: member.peer.resting(now).map(|rest| rest.as_secs() + 1),
        dynamic: member.dynamic,
    }
}
