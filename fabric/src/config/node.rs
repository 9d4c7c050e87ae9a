//! What the node runs on: a [`Config`] with every default filled in and every contradiction refused.

use super::auth::Protection;
use super::bfd::{self, BfdPeers};
use super::dhcp::{self, RelayConfig};
use super::fib::{self, FibConfig};
use super::file::{Config, OnSigterm, Source};
use super::import::{self, ImportConfig};
use super::observe::{self, CollectorConfig, DumpConfig};
use super::peer;
use super::record;
use super::remote::RemoteConfig;
use super::role::{Defaults, Role};
use super::sandbox::{self, SandboxConfig};
use super::vip::{self, VipConfig};
use super::{ConfigError, Fault, locate};
use crate::drain::DrainConfig;
use crate::lldp::Expected;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use weft_bgp::peer::{Endpoint, PeerConfig};
use weft_bgp::policy::{self, Policies, SetNextHop};
use weft_bgp::speaker::{DynamicRange, Originate, SpeakerConfig};
use weft_bgp::types::Asn;

/// The kernel's nexthop groups hold more; an ECMP set of ours holds 64.
pub(super) const MAX_MULTIPATH: u8 = 64;

/// Everything a node needs to know.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Name in answers and metrics; empty if the file says none.
    pub hostname: String,
    /// What it is in the fabric.
    pub role: Option<Role>,
    /// AS, identifier, multipath, aggregates, compiled policies. `seed` follows from AS and identifier: the driver replaces it by true
    /// randomness, and sets `restarting`.
    pub speaker: SpeakerConfig,
    /// Policies as written.
    pub policy: serde_json::Value,
    /// Configured peers, by name in ascending order.
    pub peers: Vec<PeerConfig>,
    /// Ranges of peers that are not configured one by one.
    pub dynamic: Vec<DynamicRange>,
    /// What protects their connections.
    pub protections: Vec<Protection>,
    /// Which of both have BFD.
    pub bfd: BfdPeers,
    /// Who must be wired to which peer's interface, by the peer's name.
    pub cabling: BTreeMap<String, Expected>,
    /// Addresses for `lo`.
    pub addresses: Vec<IpNet>,
    /// All we announce: `addresses` first, then `originate`.
    pub originate: Vec<Originate>,
    /// Service addresses, by name in ascending order.
    pub vips: Vec<VipConfig>,
    /// Routes of the machine that are announced.
    pub import: ImportConfig,
    /// DHCP for machines on server ports; `None` = not here.
    pub relay: Option<RelayConfig>,
    /// The kernel's side.
    pub fib: FibConfig,
    /// Where the daemon answers.
    pub api: ApiConfig,
    /// BMP collectors.
    pub bmp: Vec<CollectorConfig>,
    /// The dump of messages.
    pub mrt: Option<DumpConfig>,
    /// RPKI caches, the most preferred first.
    pub rpki: Vec<SocketAddr>,
    /// What SIGTERM means.
    pub on_sigterm: OnSigterm,
    /// How it is taken out of service, and whether it starts so.
    pub drain: DrainConfig,
    /// What it gives up at its start.
    pub sandbox: SandboxConfig,
    /// Octets for a recording of what it is fed; `None` = there is none. In force from the next start or `weft upgrade` on.
    pub record_octets: Option<u64>,
    /// The file that all this is from.
    pub source: Arc<Source>,
}

/// Where the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Unix socket.
    pub socket: PathBuf,
    /// Its group as written; `None` = the daemon's own.
    pub group: Option<String>,
    /// Metrics, health and the web page; `None` = nowhere.
    pub http: Option<SocketAddr>,
    /// The web page too, for whoever is at this machine.
    pub web: bool,
    /// For other machines, with certificates; `None` = nowhere.
    pub remote: Option<RemoteConfig>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        let http = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9179)));
        Self { socket: PathBuf::from("/run/weft/weft.sock"), group: None, http, web: true, remote: None }
    }
}

impl NodeConfig {
    /// Interfaces on which we look for unnumbered peers by router discovery.
    pub fn unnumbered_links(&self) -> impl Iterator<Item = &str> {
        self.peers.iter().filter_map(|peer| match &peer.endpoint {
            Endpoint::Interface(name) => Some(name.as_str()),
            Endpoint::Address(_) => None,
        })
    }
}

/// Collects faults while a configuration is built.
#[derive(Debug)]
pub(super) struct Faults<'a> {
    text: &'a str,
    found: Vec<Fault>,
}

impl Faults<'_> {
    /// Notes a fault of the field at `path`.
    pub(super) fn add(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(Fault {
            field: path.to_owned(),
            at: locate::locate(self.text, path),
            message: message.into(),
            remedy: Some(remedy.into()),
        });
    }
}

impl Config {
    /// Fills in the defaults of the role and checks the whole.
    ///
    /// # Errors
    /// All contradictions of the file at once.
    pub fn node(&self) -> Result<NodeConfig, Box<ConfigError>> {
        let mut faults = Faults { text: &self.source.text, found: Vec::new() };
        self.check_asn(&mut faults);
        let router_id = self.router_id(&mut faults);
        let defaults = Defaults::of(self.role);
        let policies = self.policies(&mut faults);
        let mut node = NodeConfig {
            hostname: self.hostname.clone().unwrap_or_default(),
            role: self.role,
            speaker: self.speaker(router_id, &defaults, policies),
            policy: self.policy.clone(),
            peers: peer::peers(self, &mut faults),
            dynamic: peer::ranges(self, &mut faults),
            protections: peer::protections(self, &mut faults),
            bfd: bfd::peers(self, &mut faults),
            cabling: peer::cabling(self, &mut faults),
            addresses: self.checked_addresses(&mut faults),
            originate: self.originated(&mut faults),
            vips: vip::vips(self, &mut faults),
            import: import::import(self, &mut faults),
            relay: dhcp::relay(self, &mut faults),
            fib: fib::config(self, &defaults, &mut faults),
            api: self.api(&mut faults),
            bmp: observe::collectors(self, &mut faults),
            mrt: observe::dump(self, &mut faults),
            rpki: observe::caches(self, &mut faults),
            on_sigterm: self.on_sigterm,
            drain: super::drain::drain(self, &mut faults),
            sandbox: sandbox::sandbox(self, &mut faults),
            record_octets: record::octets(self, &mut faults),
            source: Arc::new(self.source.clone()),
        };
        for peer in &mut node.peers {
            peer.session.bfd_strict = node.bfd.peers.get(&peer.name).is_some_and(|bfd| bfd.strict);
        }
        if faults.found.is_empty() {
            return Ok(node.with_gateway());
        }
        let mut found = faults.found;
        found.sort_by_key(|fault| fault.at);
        Err(ConfigError::new(&self.source.file, &self.source.text, found))
    }

    fn check_asn(&self, faults: &mut Faults<'_>) {
        if self.asn == 0 || self.asn == u32::MAX {
            faults.add(
                "asn",
                format!("AS {} is reserved (RFC 7607, RFC 7300)", self.asn),
                "write your AS, for a private plant one of 4200000000..=4294967294",
            );
        }
    }

    fn router_id(&self, faults: &mut Faults<'_>) -> Ipv4Addr {
        let first = self.addresses.iter().find_map(|net| match net {
            IpNet::V4(net) => Some(net.addr()),
            IpNet::V6(_) => None,
        });
        let Some(id) = self.router_id.or(first) else {
            faults.add(
                "router_id",
                "no IPv4 address to take it from",
                "add `router_id: 10.0.0.1` with an address unique in the fabric",
            );
            return Ipv4Addr::UNSPECIFIED;
        };
        // RFC 6286 §2.1: any value but zero.
        if id.is_unspecified() {
            faults.add("router_id", "0.0.0.0 is no BGP identifier (RFC 6286 §2.1)", "write an address of this node");
        }
        id
    }

    /// Compiles the policy section; its faults become ours.
    fn policies(&self, faults: &mut Faults<'_>) -> Policies {
        let peers = self.peers.keys().chain(&self.uplinks).cloned().collect();
        let policies = policy::compile(&self.policy, &peers).unwrap_or_else(|found| {
            for fault in found {
                faults.add(&fault.field, fault.message, fault.remedy);
            }
            Policies::default()
        });
        let multipath = self.fib.multipath.unwrap_or(MAX_MULTIPATH);
        for (at, guard) in policies.guards().iter().enumerate().filter(|(_, guard)| guard.minimum_next_hops > multipath)
        {
            faults.add(
                &format!("policy.guards[{at}].minimum_next_hops"),
                format!("no prefix ever has {} next hops: `fib.multipath` is {multipath}", guard.minimum_next_hops),
                "write a lower number here, or a higher one there",
            );
        }
        for (section, named) in [("peers", &self.peers), ("groups", &self.groups)] {
            for (name, peer) in named {
                for (field, policy, next_hop, remedy) in [
                    (
                        "import",
                        &peer.import,
                        SetNextHop::Me,
                        "write `next_hop: peer` in the import policy, or an address",
                    ),
                    (
                        "export",
                        &peer.export,
                        SetNextHop::Peer,
                        "write `next_hop: self` in the export policy, or an address",
                    ),
                ] {
                    if let Some(policy) = policy.as_ref().filter(|policy| policies.sets_next_hop(policy, next_hop)) {
                        let message = format!("policy `{policy}` sets a next hop that leads nowhere in this direction");
                        faults.add(&format!("{section}.{name}.{field}"), message, remedy);
                    }
                }
            }
        }
        policies
    }

    fn speaker(&self, router_id: Ipv4Addr, defaults: &Defaults, policies: Policies) -> SpeakerConfig {
        SpeakerConfig {
            asn: Asn(self.asn),
            router_id,
            cluster_id: self.cluster_id.unwrap_or(router_id),
            multipath: self.fib.multipath.unwrap_or(MAX_MULTIPATH),
            // Where nothing is installed there is nothing to wait for.
            advertise_after_install: defaults.advertise_after_install && self.fib.install.unwrap_or(true),
            hold_back_ms: self.timers.hold_back_ms.unwrap_or(defaults.hold_back_ms),
            restarting: false,
            seed: u64::from(self.asn) << 32 | u64::from(router_id.to_bits()),
            policies: Arc::new(policies),
            aggregates: self.aggregates.iter().map(IpNet::trunc).collect(),
            addresses: self.addresses.iter().map(IpNet::trunc).collect(),
        }
    }

    fn checked_addresses(&self, faults: &mut Faults<'_>) -> Vec<IpNet> {
        let mut seen = BTreeSet::new();
        for (index, net) in self.addresses.iter().enumerate() {
            let path = format!("addresses[{index}]");
            if net.prefix_len() != net.max_prefix_len() {
                let host = IpNet::from(net.addr());
                faults.add(
                    &path,
                    format!("{net} is a range, and `lo` takes single addresses"),
                    format!("write {host}; a range is announced under `originate`"),
                );
            }
            if !seen.insert(*net) {
                faults.add(&path, format!("{net} is listed twice"), "remove one");
            }
        }
        self.addresses.clone()
    }

    fn originated(&self, faults: &mut Faults<'_>) -> Vec<Originate> {
        let mut all: Vec<Originate> = self
            .addresses
            .iter()
            .map(|prefix| Originate {
                prefix: *prefix,
                communities: Vec::new(),
                large_communities: Vec::new(),
                weight: None,
                why: "node address".to_owned(),
            })
            .collect();
        let mut known: BTreeSet<IpNet> = self.addresses.iter().copied().collect();
        for (index, entry) in self.originate.iter().enumerate() {
            let path = format!("originate[{index}]");
            check_host_bits(entry.prefix, &path, faults);
            if !known.insert(entry.prefix) {
                faults.add(&path, format!("{} is announced already", entry.prefix), "remove it here");
            }
            all.push(Originate {
                prefix: entry.prefix,
                communities: entry.communities.iter().map(|value| value.0).collect(),
                large_communities: entry.large_communities.iter().map(|value| value.0).collect(),
                weight: None,
                why: "configured".to_owned(),
            });
        }
        for (index, prefix) in self.aggregates.iter().enumerate() {
            let path = format!("aggregates[{index}]");
            check_host_bits(*prefix, &path, faults);
            if all.iter().any(|other| other.prefix == *prefix) {
                faults.add(&path, format!("{prefix} is announced anyway"), "remove it here, or under `originate`");
            }
            if prefix.prefix_len() == prefix.max_prefix_len() {
                faults.add(&path, format!("nothing more specific fits into {prefix}"), "write it under `originate`");
            }
        }
        all
    }

    fn api(&self, faults: &mut Faults<'_>) -> ApiConfig {
        let default = ApiConfig::default();
        let http = self.api.http.map_or(default.http, |listen| listen.0);
        ApiConfig {
            socket: self.api.socket.clone().unwrap_or(default.socket),
            group: self.api.group.clone(),
            http,
            remote: super::remote::remote(self, http, faults),
            web: self.api.web.unwrap_or(default.web),
        }
    }
}

/// A prefix with bits beyond its length is a slip in the address or in the length: which, only its author knows.
pub(super) fn check_host_bits(prefix: IpNet, path: &str, faults: &mut Faults<'_>) {
    if prefix.trunc() != prefix {
        faults.add(
            path,
            format!("{prefix} has bits set beyond its length"),
            format!("write {} or {}", prefix.trunc(), IpNet::from(prefix.addr())),
        );
    }
}
