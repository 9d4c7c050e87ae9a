//! The file as written: one struct per YAML section, unknown keys refused. Meaning is given in [`super::node`].

use super::auth::TcpAo;
use super::bfd::Bfd;
use super::dhcp::Dhcp;
use super::drain::Drain;
use super::fib::Fib;
use super::import::{ImportConnected, ImportKernel};
use super::observe::{Collector, Mrt, Rpki};
use super::record::Record;
use super::role::Role;
use super::sandbox::Sandbox;
use super::value::{Community, LargeCommunity, Listen, RemoteAsn, Retry};
use super::vip::Vip;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use weft_bgp::peer::{LinkLocalForm, MaxPrefixesAction, RemovePrivateAs};
use weft_bgp::types::Family;

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Decides the defaults; without it RFC 8212 holds.
    pub role: Option<Role>,
    /// Our AS.
    pub asn: u32,
    /// BGP identifier; the first IPv4 address of `addresses` unless set.
    pub router_id: Option<Ipv4Addr>,
    /// Cluster id for route reflection (RFC 4456); the router id unless set.
    pub cluster_id: Option<Ipv4Addr>,
    /// Name in answers and metrics; the system's unless set.
    pub hostname: Option<String>,
    /// Put on `lo` and originated; the first of each family is the preferred source.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// Interfaces with an unnumbered external peer each.
    #[serde(default)]
    pub uplinks: Vec<String>,
    /// Peers by name.
    #[serde(default)]
    pub peers: BTreeMap<String, Peer>,
    /// Settings shared by peers, by name.
    #[serde(default)]
    pub groups: BTreeMap<String, Peer>,
    /// Ranges from which unknown addresses may open sessions.
    #[serde(default)]
    pub listen: Vec<Range>,
    /// Prefix sets and rules, read by `weft_bgp::policy`.
    #[serde(default)]
    pub policy: serde_json::Value,
    /// Routes we announce beside `addresses`.
    #[serde(default)]
    pub originate: Vec<Announce>,
    /// Announced while a more specific contributor exists.
    #[serde(default)]
    pub aggregates: Vec<IpNet>,
    /// Kernel routes.
    #[serde(default)]
    pub fib: Fib,
    /// Where the daemon answers.
    #[serde(default)]
    pub api: Api,
    /// BMP collectors.
    #[serde(default)]
    pub bmp: Vec<Collector>,
    /// Dumps of messages.
    pub mrt: Option<Mrt>,
    /// RPKI caches.
    pub rpki: Option<Rpki>,
    /// BFD of all peers that do not say otherwise.
    pub bfd: Option<Bfd>,
    /// What the daemon is fed is kept.
    pub record: Option<Record>,
    /// Session timers.
    #[serde(default)]
    pub timers: Timers,
    /// Restart time offered (RFC 4724 §3), seconds; 0 = only help others to restart. Default 120.
    pub graceful_restart_s: Option<u16>,
    /// Ask every peer to leave what we tell it (RFC 8326): before maintenance.
    #[serde(default)]
    pub graceful_shutdown: bool,
    /// What SIGTERM means.
    #[serde(default)]
    pub on_sigterm: OnSigterm,
    /// How it is taken out of service, and whether it starts so.
    #[serde(default)]
    pub drain: Drain,
    /// What the daemon gives up at its start.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// Service addresses by name.
    #[serde(default)]
    pub vips: BTreeMap<String, Vip>,
    /// Routes of other software in kernel tables, to be announced.
    #[serde(default)]
    pub import_kernel: Vec<ImportKernel>,
    /// Networks of interfaces, to be announced.
    #[serde(default)]
    pub import_connected: Vec<ImportConnected>,
    /// DHCP for machines on server ports.
    #[serde(default)]
    pub dhcp: Dhcp,
    /// The text this was read from, so that contradictions are shown in it.
    #[serde(skip)]
    pub source: Source,
}

/// Where a configuration came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Name of the file.
    pub file: String,
    /// Its content.
    pub text: String,
}

/// A peer, or a group of settings that peers and ranges name. What a peer leaves out its group says, then the role.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Where the peer is; not in groups.
    pub address: Option<IpAddr>,
    /// On which link it answers (unnumbered); not in groups.
    pub interface: Option<String>,
    /// Its AS.
    pub remote_asn: Option<RemoteAsn>,
    /// The group whose settings it takes; not in groups.
    pub group: Option<String>,
    /// Only accept, never dial.
    pub passive: Option<bool>,
    /// Keep the session down; the text goes to the peer (RFC 9003).
    pub shutdown: Option<Shutdown>,
    /// Families offered: both on unnumbered links, the address's own otherwise.
    pub families: Option<Vec<FamilyName>>,
    /// Hold time offered, seconds.
    pub hold_s: Option<u16>,
    /// Wait between connection attempts, milliseconds.
    pub connect_retry_ms: Option<Retry>,
    /// Restart time offered, seconds.
    pub graceful_restart_s: Option<u16>,
    /// Reflect routes to it (RFC 4456).
    pub route_reflector_client: Option<bool>,
    /// Next-hop treatment.
    pub next_hop: Option<NextHop>,
    /// Most prefixes it may send.
    pub max_prefixes: Option<u32>,
    /// Import policy.
    pub import: Option<String>,
    /// Export policy.
    pub export: Option<String>,
    /// Tell it only what we originate.
    pub originated_only: Option<bool>,
    /// Address to dial from.
    pub local_address: Option<IpAddr>,
    /// More than one hop away.
    pub multihop: Option<bool>,
    /// GTSM (RFC 5082): at most so many hops away, and nothing is taken from farther.
    pub ttl_security: Option<u8>,
    /// TCP-MD5 (RFC 2385): file with the password.
    pub password_file: Option<PathBuf>,
    /// TCP-AO (RFC 5925).
    pub tcp_ao: Option<TcpAo>,
    /// How often our own AS may stand in a path that it sends.
    pub allow_own_as: Option<u8>,
    /// Refuse paths that do not begin with its AS (RFC 4271 §6.3).
    pub enforce_first_as: Option<bool>,
    /// The AS that we are to it.
    pub local_as: Option<LocalAsWritten>,
    /// Put our AS where its own stands in a path that it is told.
    pub as_override: Option<bool>,
    /// Tell it also what has its AS in the path.
    pub advertise_peer_as: Option<bool>,
    /// Which private AS numbers (RFC 6996) it is not told.
    pub remove_private_as: Option<RemovePrivateAs>,
    /// Ask it to leave what we tell it (RFC 8326).
    pub graceful_shutdown: Option<bool>,
    /// Tell this internal peer of long-lived stale routes though it does not know such (RFC 9494 §4.6).
    pub long_lived_partial: Option<bool>,
    /// How a next hop that is only link-local is written.
    pub link_local_form: Option<LinkLocalForm>,
    /// Warn from this percentage of `max_prefixes` on.
    pub max_prefixes_warn_percent: Option<u8>,
    /// What happens to more prefixes than `max_prefixes`.
    pub max_prefixes_action: Option<MaxPrefixesAction>,
    /// How long the session rests after it ended for that, seconds.
    pub max_prefixes_restart_s: Option<u32>,
    /// Most prefixes that it may be told.
    pub max_prefixes_out: Option<u32>,
    /// Several paths of a prefix (RFC 7911).
    pub add_path: Option<AddPath>,
    /// What we are to this external peer (RFC 9234).
    pub bgp_role: Option<BgpRole>,
    /// Refuse it unless it says its role too.
    pub bgp_role_strict: Option<bool>,
    /// Offer to receive messages of up to 65,535 octets (RFC 8654).
    pub extended_messages: Option<bool>,
    /// Long-lived stale time offered, seconds (RFC 9494); 0 = only keep the peer's routes for as long as it asks.
    pub long_lived_stale_s: Option<u32>,
    /// Keep routes also over a NOTIFICATION and the end of the hold time (RFC 8538).
    pub notification_restart: Option<bool>,
    /// Keep routes also over the loss of the link (RFC 4724), unused until the session stands again.
    pub keep_over_link_loss: Option<bool>,
    /// Wait for the peer's OPEN before ours is sent, milliseconds (RFC 4271 §8.1.1).
    pub delay_open_ms: Option<u32>,
    /// Let a peer that keeps failing rest longer and longer (RFC 4271 §8.1.1).
    pub damp_oscillations: Option<bool>,
    /// End the session of a peer that reads nothing for so many seconds (RFC 9687); 0 = never.
    pub send_hold_s: Option<u32>,
    /// Detect within milliseconds that the path is broken (RFC 5880).
    pub bfd: Option<Bfd>,
    /// Tell it our name (draft-walton-bgp-hostname-capability); default true.
    pub tell_hostname: Option<bool>,
    /// The name that it must say: another one, or none, is a cable in the wrong port.
    pub expect_hostname: Option<String>,
    /// Who must be heard by LLDP on its interface before there is a session.
    pub expect_lldp: Option<ExpectLldp>,
}

/// Who must be at the other end of a cable; at least one of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectLldp {
    /// The machine's name.
    pub system: Option<String>,
    /// Its port.
    pub port: Option<String>,
}

/// Several paths of a prefix on one session, for all its families.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddPath {
    /// Take them from the peer.
    #[serde(default)]
    pub receive: bool,
    /// Which to send, if the peer takes them.
    pub send: Option<AddPathSend>,
    /// Most paths of one prefix taken from it.
    pub paths_limit: Option<u8>,
}

/// `send: all`, `send: {best: 4}` or `send: none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddPathSend {
    /// Only the best path, without identifiers.
    None,
    /// Every usable path.
    All,
    /// So many, the best first.
    Best(u8),
}

/// What we are to a peer (RFC 9234 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BgpRole {
    /// It buys transit from us.
    Provider,
    /// We are a route server, it is a client.
    RouteServer,
    /// The reverse.
    RouteServerClient,
    /// We buy transit from it.
    Customer,
    /// We exchange our own and our customers' routes.
    Peer,
}

/// `shutdown: true` or `shutdown: "being moved"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected true, false or a text for the peer")]
pub enum Shutdown {
    /// Without a text, or not at all.
    Is(bool),
    /// With a text.
    Because(String),
}

/// `local_as: 65010`, or with what else is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected an AS number, or {asn: 65010, no_prepend: true, replace_as: true}")]
pub enum LocalAsWritten {
    /// The number.
    Is(u32),
    /// With options.
    With(LocalAsOptions),
}

/// `local_as` as a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalAsOptions {
    /// The number.
    pub asn: u32,
    /// Leave the paths that the peer sends as they are.
    #[serde(default)]
    pub no_prepend: bool,
    /// Tell the peer this AS alone.
    #[serde(default)]
    pub replace_as: bool,
}

/// A family as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FamilyName {
    /// IPv4 unicast.
    Ipv4,
    /// IPv6 unicast.
    Ipv6,
}

impl From<FamilyName> for Family {
    fn from(name: FamilyName) -> Self {
        match name {
            FamilyName::Ipv4 => Self::Ipv4Unicast,
            FamilyName::Ipv6 => Self::Ipv6Unicast,
        }
    }
}

/// Next-hop treatment as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NextHop {
    /// RFC 4271 §5.1.3.
    Standard,
    /// Ourselves, in everything told to this peer.
    #[serde(rename = "self")]
    Me,
    /// The peer, in everything it tells, unless its next hop is on the link shared with it.
    Peer,
}

/// One entry of `listen`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Source addresses accepted.
    pub prefix: IpNet,
    /// Their AS.
    pub remote_asn: Option<RemoteAsn>,
    /// Their settings.
    pub group: Option<String>,
    /// Most peers at a time; 256 unless set.
    pub limit: Option<u32>,
}

/// One entry of `originate`: `10.0.0.0/24`, or `{prefix: 10.0.0.0/24, communities: ["65000:1"]}`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Announce {
    /// What is announced.
    pub prefix: IpNet,
    /// Standard communities.
    #[serde(default)]
    pub communities: Vec<Community>,
    /// Large communities.
    #[serde(default)]
    pub large_communities: Vec<LargeCommunity>,
}

/// Section `api`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Unix socket; default `/run/weft/weft.sock`.
    pub socket: Option<PathBuf>,
    /// The socket's group, by its name or number: who is in it may use the socket. The daemon's own unless set.
    pub group: Option<String>,
    /// Metrics, health and the web page; default `127.0.0.1:9179`, `false` for none.
    pub http: Option<Listen>,
    /// The web page, and what it reads: for whoever is at this machine; default true.
    pub web: Option<bool>,
    /// For other machines, with certificates; nowhere unless set.
    pub remote: Option<super::remote::Remote>,
}

/// Section `timers`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timers {
    /// Hold time offered, seconds: 0 or 3..; default 9.
    pub hold_s: Option<u16>,
    /// Wait between connection attempts, milliseconds; default [1000, 2000].
    pub connect_retry_ms: Option<Retry>,
    /// Longest wait for End-of-RIB at start, milliseconds; the role decides unless set.
    pub hold_back_ms: Option<u32>,
}

/// What SIGTERM means to the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnSigterm {
    /// Close without a word and keep the routes: peers keep theirs for the restart time (RFC 4724).
    #[default]
    Restart,
    /// Cease, withdraw, remove the routes.
    Stop,
    /// As `weft drain`, then as stop.
    Drain,
}
