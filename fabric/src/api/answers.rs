//! The shapes of the answers: plain data, the same for the JSON and for the tables.

use super::routes::{Route, Via};
use crate::health::Check;
use crate::lldp::Heard;
use crate::node::Happened;
use crate::plan::Outcome;
use crate::sandbox::Sandbox;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use weft_bgp::peer::{MessageRecord, Transition};
use weft_bgp::rpki::Validity;
use weft_bgp::speaker::CacheInfo;
use weft_bgp::speaker::ToldPath;
use weft_bgp::time::Instant;
use weft_bgp::types::{Family, IpNet};

/// What runs here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Of weft.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// The configuration file.
    pub config: String,
    /// Role in the fabric.
    pub role: Option<String>,
    /// Our AS.
    pub asn: u32,
    /// Our identifier.
    pub router_id: Ipv4Addr,
    /// Resident memory, octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// How often another program took over in this process.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub upgrades: u64,
    /// How often one could not start, so that the one before went on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub upgrades_undone: u64,
    /// The last time that was: sessions that went on, and those that stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_sessions: Option<(usize, usize)>,
    /// What was given up at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// The last reload since the start, and what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<LastReload>,
}

/// The last reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    /// What came of it.
    pub outcome: Outcome,
    /// Seconds ago.
    pub ago_s: u64,
    /// Seconds left to confirm it; without that the earlier configuration comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_s: Option<u64>,
}

/// A number for each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerFamily {
    /// IPv4 unicast.
    pub ipv4: u64,
    /// IPv6 unicast.
    pub ipv6: u64,
}

/// The peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbors {
    /// Our AS.
    pub asn: u32,
    /// Our identifier.
    pub router_id: Ipv4Addr,
    /// Configured ones first, then those of listen ranges.
    pub neighbors: Vec<Neighbor>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbor {
    /// Its configured name, or its address.
    pub name: String,
    /// Where it is.
    pub address: Option<IpAddr>,
    /// The link of an unnumbered peer.
    pub interface: Option<String>,
    /// Its AS, while Established.
    pub remote_asn: Option<u32>,
    /// The AS that it may have: a number, several, or `external`.
    pub expected_asn: String,
    /// Its identifier, while Established.
    pub router_id: Option<Ipv4Addr>,
    /// What it calls itself, while Established: its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// RFC 4271 §8.2.2 name of the state.
    pub state: String,
    /// Seconds since the session came up or was lost, or since the start.
    pub since_s: u64,
    /// Agreed hold time, seconds.
    pub hold_time_s: Option<u16>,
    /// What else both ends agreed on, while Established.
    #[serde(default)]
    pub agreed: Vec<String>,
    /// Paths of it in the table: one for each prefix, but where add-path is received.
    pub prefixes_received: PerFamily,
    /// Paths it was told, likewise.
    pub prefixes_sent: PerFamily,
    /// Several paths of a prefix on this session (RFC 7911); absent without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_path: Option<AddPathUse>,
    /// State of its BFD session, where it has one (RFC 5880).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<String>,
    /// Most prefixes it may send.
    pub max_prefixes: Option<u32>,
    /// UPDATEs whose routes a loop check refused.
    pub updates_rejected: u64,
    /// Prefixes that the import policy refused, every announcement counted.
    pub prefixes_rejected: u64,
    /// The policy changed and the peer cannot refresh (RFC 2918): so many of its paths are as the old one left them; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_policy: Option<u64>,
    /// UPDATEs treated as withdraw (RFC 7606 §2).
    pub withdraw_faults: u64,
    /// UPDATEs received.
    pub updates_received: u64,
    /// UPDATEs sent in this session.
    pub updates_sent: u64,
    /// All messages received.
    pub messages_received: u64,
    /// All messages sent.
    pub messages_sent: u64,
    /// Times the session came up.
    pub established: u64,
    /// Times it was lost.
    pub dropped: u64,
    /// Why it was last lost or refused.
    pub last_error: Option<String>,
    /// It failed again and again, or passed a limit: for so many seconds it is neither dialled nor listened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resting_s: Option<u64>,
    /// What is wrong with who is heard by LLDP on its link: no session before that is mended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miswired: Option<String>,
    /// Why it is kept down, if it is (may be empty).
    pub shutdown: Option<String>,
    /// Made by a listen range.
    pub dynamic: bool,
}

/// In which families a session has several paths of a prefix (RFC 7911).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddPathUse {
    /// We receive them.
    pub received: Vec<Family>,
    /// We send them.
    pub sent: Vec<Family>,
    /// Paths beyond `paths_limit` that were not taken, every announcement counted.
    pub over_limit: u64,
}

/// What is kept of one peer's last states and messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborHistory {
    /// Whose.
    pub neighbor: String,
    /// Now, nanoseconds since the start of the daemon, as all `at` are.
    pub now: Instant,
    /// States of its connections, oldest first.
    pub transitions: Vec<Transition>,
    /// Messages in both directions, oldest first, with the first octets of each.
    pub messages: Vec<MessageRecord>,
    /// What became of BFD to it, as far as the history of the daemon reaches, oldest first.
    #[serde(default)]
    pub bfd: Vec<Happening>,
}

impl NeighborHistory {
    /// Seconds since then.
    #[must_use]
    pub fn ago_s(&self, at: Instant) -> u64 {
        self.now.since(at).as_secs()
    }
}

/// The table of paths, a page of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bgp {
    /// Our AS.
    pub asn: u32,
    /// Our identifier.
    pub router_id: Ipv4Addr,
    /// Prefixes in the whole table.
    pub prefixes: u64,
    /// Paths from peers in the whole table.
    pub paths: PerFamily,
    /// Prefixes with their paths, in order of family and prefix.
    pub routes: Vec<BgpRoute>,
    /// Ask for what comes `after` this; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<IpNet>,
}

/// A prefix with its paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// The kernel acknowledged the next hops of the used paths.
    pub installed: bool,
    /// The best first, then those used with it, then the others.
    pub paths: Vec<BgpPath>,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpPath {
    /// Name of the peer, or `local`.
    pub from: String,
    /// The peer's path identifier, on a session with them (RFC 7911).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_id: Option<u32>,
    /// The best path.
    pub best: bool,
    /// In the ECMP set.
    pub used: bool,
    /// Kept for a restarting peer (RFC 4724 §4.2).
    pub stale: bool,
    /// Learnt over an external session.
    pub external: bool,
    /// Why it is or is not used, with the section of the RFC.
    pub reason: String,
    /// The next hop, after the next-hop rule.
    pub next_hop: IpAddr,
    /// Where that leads; absent when it is unreachable, or for a local route.
    pub via: Option<Via>,
    /// AS_PATH.
    pub as_path: String,
    /// ORIGIN: `igp`, `egp` or `incomplete`.
    pub origin: String,
    /// LOCAL_PREF, if given.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC, if given.
    pub med: Option<u32>,
    /// Standard communities.
    pub communities: Vec<String>,
    /// Large communities.
    pub large_communities: Vec<String>,
    /// Extended communities: `rt:AS:value`, `link-bandwidth:AS:10G`, …
    pub ext_communities: Vec<String>,
    /// ORIGINATOR_ID of a reflected route (RFC 4456 §8).
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST of a reflected route (RFC 4456 §8).
    pub cluster_list: Vec<Ipv4Addr>,
    /// Seconds since it came.
    pub age_s: u64,
    /// Validation state of its origin (RFC 6811); absent where there are no RPKI caches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpki: Option<Validity>,
}

/// The links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interfaces {
    /// In order of their indices.
    pub interfaces: Vec<Interface>,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Kernel index.
    pub index: u32,
    /// Administratively up.
    pub up: bool,
    /// The far end is there.
    pub carrier: bool,
    /// Kept out of use because it lost its carrier so often within a minute; 0: it is not.
    pub damped: u32,
    /// `veth`, `bridge`, …; absent for a physical device.
    pub kind: Option<String>,
    /// The bridge, bond or VRF it belongs to.
    pub master: Option<String>,
    /// Largest packet, octets.
    pub mtu: u32,
    /// Hardware address.
    pub mac: String,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// The router found on the link of an unnumbered peer.
    pub discovered: Option<Ipv6Addr>,
    /// Another router that was heard there: a link between two machines has no third one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_router: Option<Ipv6Addr>,
    /// Router advertisements and solicitations of our own that came back: the link is a loop, or joined to another port of ours.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub looped: u64,
    /// Who said by LLDP that it is there, where somebody is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lldp: Option<Heard>,
    /// What is wrong with who is there: no session before that is mended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miswired: Option<String>,
    /// Peers on this link.
    pub neighbors: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// With the length of its connected network.
    pub net: IpNet,
    /// Duplicate address detection has not ended (RFC 4862 §5.4).
    pub tentative: bool,
    /// Somebody else on the link has it: it is not used (RFC 4862 §5.4.5).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// Everything about one prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What was asked.
    pub target: String,
    /// The route that decides; absent when nothing covers the target. May be less specific than a prefix that was asked for.
    pub route: Option<Route>,
    /// All paths of that route.
    pub paths: Vec<BgpPath>,
    /// What the kernel holds, if it was asked.
    pub kernel: Option<String>,
    /// Why we announce it, when we originate it.
    pub originated: Option<String>,
    /// Each peer with a session: whether it was told.
    pub told: Vec<Told>,
    /// Peers without a session: nobody could tell them.
    pub no_session: Vec<String>,
    /// What peers announced for the target and we did not take, as far as is remembered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
}

/// A route that a peer announced and that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What was announced.
    pub prefix: IpNet,
    /// By whom.
    pub from: String,
    /// Its path identifier, on a session with them (RFC 7911).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_id: Option<u32>,
    /// Why it was not taken.
    pub reason: String,
    /// Seconds since it came.
    pub age_s: u64,
}

/// Whether a peer was told of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its name.
    pub peer: String,
    /// It was told.
    pub told: bool,
    /// Why it was not.
    pub reason: Option<String>,
    /// Each path, the best first, where the peer is told of several (RFC 7911).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<ToldPath>,
}

/// What happened lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The oldest first.
    pub history: Vec<Happening>,
}

/// One event, or a run of the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// Milliseconds since the daemon started; of a run, the last time.
    pub at_ms: u64,
    /// Milliseconds ago.
    pub ago_ms: u64,
    /// How often it happened in a row.
    #[serde(default = "once")]
    pub times: u64,
    /// When it happened first.
    #[serde(default)]
    pub since_ms: u64,
    /// As a sentence.
    pub text: String,
    /// As data.
    #[serde(flatten)]
    pub event: Happened,
}

const fn once() -> u64 {
    1
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// As written in the configuration.
    pub policy: serde_json::Value,
    /// Who is under which.
    pub neighbors: Vec<NeighborPolicy>,
    /// Every rule, in the order of the policies' names.
    pub rules: Vec<RuleHits>,
}

/// How often a rule decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHits {
    /// `plan[2]`, as in the field path `policy.plan[2]`; `plan.end`: no rule of it had a verdict, which rejects.
    pub rule: String,
    /// How often, since the policies were loaded.
    pub hits: u64,
}

/// The policies of a peer, or of a listen range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborPolicy {
    /// Its name; for a range, its prefix.
    pub name: String,
    /// Name of the import policy; absent: RFC 8212 decides.
    pub import: Option<String>,
    /// Name of the export policy; absent: RFC 8212 decides.
    pub export: Option<String>,
    /// It is told only what we originate.
    pub originated_only: bool,
    /// Most prefixes it may send.
    pub max_prefixes: Option<u32>,
}

/// Whether the daemon has converged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Routes can be relied on.
    pub healthy: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Sessions that are up.
    pub established: u64,
    /// Peers that are configured or have called.
    pub neighbors: u64,
    /// Changes that the kernel has not acknowledged yet.
    pub kernel_waiting: u64,
    /// Prefixes that the kernel refused.
    pub kernel_refused: u64,
    /// What was looked at, always in the same order.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// Route origin validation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rpki {
    /// Caches in the order of the configuration, which is that of preference.
    pub caches: Vec<RpkiCache>,
}

/// An RPKI cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpkiCache {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is doing.
    #[serde(flatten)]
    pub info: CacheInfo,
}

/// Who observes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observers {
    /// Collectors in the order of the configuration, then the dump of messages.
    pub observers: Vec<Observer>,
}

/// A BMP collector, or a dump of messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observer {
    /// Its address and port, or its file.
    pub name: String,
    /// `bmp` or `mrt`.
    pub kind: String,
    /// There is a connection, or the file is written.
    pub connected: bool,
    /// It has heard all that was there when it came.
    pub synchronized: bool,
    /// Messages or records made since it came.
    pub messages: u64,
    /// Octets that wait for it.
    pub waiting_bytes: u64,
    /// Records left out since it came, for want of room.
    pub dropped: u64,
    /// Times it was connected.
    pub connects: u64,
    /// Times its connection was dropped because it was too slow.
    pub overflows: u64,
    /// Why it is not connected.
    pub last_error: Option<String>,
}

/// A command was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done, as a sentence.
    pub done: String,
}

/// A request that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// HTTP status (RFC 9110 §15).
    pub status: u16,
    /// What is wrong, with the wrong value.
    pub error: String,
    /// What to do instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Refusal {
    /// A refusal that says what to do instead.
    #[must_use]
    pub fn new(status: u16, error: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status, error: error.into(), remedy: Some(remedy.into()) }
    }
}
