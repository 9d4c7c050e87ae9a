//! Peers and ranges: what the peer says, else its group, else the role.

mod routes;
mod session;

use super::auth::{self, Place, Protection};
use super::file::{self, Config, FamilyName, NextHop, Peer, Shutdown};
use super::node::{Faults, check_host_bits};
use super::role::Defaults;
use super::value::{RemoteAsn, Retry};
use crate::lldp::Expected;
use std::collections::BTreeMap;
use std::net::IpAddr;
use weft_bgp::peer::{AddPath, AddPathSend, Endpoint, NextHopRule, PeerConfig, RemoteAs};
use weft_bgp::policy::BUILT_IN;
use weft_bgp::speaker::DynamicRange;
use weft_bgp::types::{Asn, Family};

/// Wait between connection attempts.
const RETRY: Retry = Retry(1_000, 2_000);
/// Longest wait that still is a retry.
const RETRY_MAX_MS: u32 = 3_600_000;
/// Hold time offered.
const HOLD_S: u16 = 9;
/// Restart time offered.
const GRACEFUL_RESTART_S: u16 = 120;
/// Twelve bits on the wire (RFC 4724 §3).
const GRACEFUL_RESTART_MAX_S: u16 = 4_095;
/// Most peers of a range that says none: a rack or two.
const RANGE_LIMIT: u32 = 256;
/// Longest shutdown communication (RFC 9003 §2).
const SHUTDOWN_MAX_BYTES: usize = 255;

/// All configured peers, uplinks included, by name.
pub(super) fn peers(config: &Config, faults: &mut Faults<'_>) -> Vec<PeerConfig> {
    check_groups(config, faults);
    let mut all = BTreeMap::new();
    for (name, peer) in &config.peers {
        let path = format!("peers.{name}");
        if let Some(endpoint) = endpoint(peer, &path, faults) {
            all.insert(name.clone(), Draft::of(config, &path, name, endpoint, peer).build(faults));
        }
    }
    for (index, link) in config.uplinks.iter().enumerate() {
        let path = format!("uplinks[{index}]");
        let peer = Peer { remote_asn: Some(RemoteAsn::External), ..Peer::default() };
        let endpoint = Endpoint::Interface(link.clone());
        let built = Draft::of(config, &path, link, endpoint, &peer).build(faults);
        if all.insert(link.clone(), built).is_some() {
            faults.add(&path, format!("`{link}` is the name of another peer"), "remove it here, or rename the peer");
        }
    }
    check_places(config, &all, faults);
    all.into_values().collect()
}

/// Two peers in one place cannot be told apart.
fn check_places(config: &Config, all: &BTreeMap<String, PeerConfig>, faults: &mut Faults<'_>) {
    let mut seen: Vec<(&Endpoint, &str)> = Vec::new();
    for (name, peer) in all {
        if let Some((_, other)) = seen.iter().find(|(place, _)| **place == peer.endpoint) {
            let (field, place) = match &peer.endpoint {
                Endpoint::Address(address) => ("address", address.to_string()),
                Endpoint::Interface(link) => ("interface", link.clone()),
            };
            let path =
                if config.peers.contains_key(name) { format!("peers.{name}.{field}") } else { "uplinks".to_owned() };
            faults.add(&path, format!("{place} is where `{other}` is too"), "remove one of them");
        }
        seen.push((&peer.endpoint, name));
    }
}

fn endpoint(peer: &Peer, path: &str, faults: &mut Faults<'_>) -> Option<Endpoint> {
    match (&peer.address, &peer.interface) {
        (Some(address), None) => Some(Endpoint::Address(*address)),
        (None, Some(link)) => Some(Endpoint::Interface(link.clone())),
        (Some(_), Some(_)) => {
            faults.add(
                &format!("{path}.interface"),
                "a peer has an address or an interface, not both",
                "keep `interface` on a link without addresses, `address` otherwise",
            );
            None
        }
        (None, None) => {
            faults.add(
                path,
                "neither `address` nor `interface`",
                "add `address: 10.0.0.1`, or `interface: eth0` on a link without addresses",
            );
            None
        }
    }
}

fn check_groups(config: &Config, faults: &mut Faults<'_>) {
    for (name, group) in &config.groups {
        for (field, present) in [
            ("address", group.address.is_some()),
            ("interface", group.interface.is_some()),
            ("group", group.group.is_some()),
        ] {
            if present {
                faults.add(
                    &format!("groups.{name}.{field}"),
                    format!("`{field}` belongs to one peer"),
                    "move it to the peer under `peers`",
                );
            }
        }
    }
}

/// The ranges of `listen`.
pub(super) fn ranges(config: &Config, faults: &mut Faults<'_>) -> Vec<DynamicRange> {
    let mut all: Vec<DynamicRange> = Vec::new();
    for (index, range) in config.listen.iter().enumerate() {
        let path = format!("listen[{index}]");
        check_host_bits(range.prefix, &format!("{path}.prefix"), faults);
        if all.iter().any(|other| other.prefix == range.prefix) {
            faults.add(&format!("{path}.prefix"), format!("{} is listed twice", range.prefix), "remove one");
        }
        let peer = Peer {
            remote_asn: range.remote_asn.clone(),
            group: range.group.clone(),
            passive: Some(true),
            ..Peer::default()
        };
        let name = range.group.clone().unwrap_or_else(|| range.prefix.to_string());
        let endpoint = Endpoint::Address(range.prefix.network());
        all.push(DynamicRange {
            prefix: range.prefix,
            template: Draft::of(config, &path, &name, endpoint, &peer).build(faults),
            limit: range.limit.unwrap_or(RANGE_LIMIT),
        });
    }
    all
}

/// What protects the connections of peers and of ranges.
pub(super) fn protections(config: &Config, faults: &mut Faults<'_>) -> Vec<Protection> {
    let mut all = Vec::new();
    let mut add = |own: &Peer, path: String, place: Place| {
        let group = own.group.as_ref().and_then(|group| config.groups.get(group));
        let password = own.password_file.clone().or_else(|| group?.password_file.clone());
        let tcp_ao = own.tcp_ao.clone().or_else(|| group?.tcp_ao.clone());
        let method = auth::method(password, tcp_ao, &path, faults);
        let field = if matches!(method, Some(auth::Method::Ao(_))) { "tcp_ao" } else { "password_file" };
        all.extend(method.map(|method| Protection { place, method, field: format!("{path}.{field}") }));
    };
    for (name, peer) in &config.peers {
        if let Some(place) = peer.address.map(Place::Address).or_else(|| peer.interface.clone().map(Place::Interface)) {
            add(peer, format!("peers.{name}"), place);
        }
    }
    for (index, range) in config.listen.iter().enumerate() {
        let own = Peer { group: range.group.clone(), ..Peer::default() };
        add(&own, format!("listen[{index}]"), Place::Range(range.prefix.trunc()));
    }
    all
}

/// Who must be heard by LLDP on the interfaces of peers, by the peers' names.
pub(super) fn cabling(config: &Config, faults: &mut Faults<'_>) -> BTreeMap<String, Expected> {
    let mut all = BTreeMap::new();
    for (name, peer) in &config.peers {
        let group = peer.group.as_ref().and_then(|group| config.groups.get(group));
        let Some(expected) = peer.expect_lldp.as_ref().or_else(|| group?.expect_lldp.as_ref()) else {
            continue;
        };
        let path = format!("peers.{name}.expect_lldp");
        if peer.interface.is_none() {
            let message = "LLDP tells who is at the other end of an interface, and this peer has none";
            faults.add(&path, message, "write `interface: eth0` in the place of `address`, or take it away");
        }
        let is_empty = |text: &Option<String>| text.as_ref().is_some_and(String::is_empty);
        if (expected.system.is_none() && expected.port.is_none())
            || is_empty(&expected.system)
            || is_empty(&expected.port)
        {
            faults.add(&path, "it expects nobody", "write {system: tor1}, {port: Ethernet3} or both");
        }
        all.insert(name.clone(), Expected { system: expected.system.clone(), port: expected.port.clone() });
    }
    all
}

/// A peer on its way from the file to the speaker.
struct Draft<'a> {
    config: &'a Config,
    path: &'a str,
    name: &'a str,
    endpoint: Endpoint,
    own: &'a Peer,
    group: Option<&'a Peer>,
}

impl<'a> Draft<'a> {
    fn of(config: &'a Config, path: &'a str, name: &'a str, endpoint: Endpoint, own: &'a Peer) -> Self {
        let group = own.group.as_ref().and_then(|group| config.groups.get(group));
        Self { config, path, name, endpoint, own, group }
    }

    /// The peer's own word, or its group's.
    fn pick<T: Clone>(&self, field: impl Fn(&Peer) -> &Option<T>) -> Option<T> {
        field(self.own).clone().or_else(|| self.group.and_then(|group| field(group).clone()))
    }

    fn build(self, faults: &mut Faults<'_>) -> PeerConfig {
        let defaults = Defaults::of(self.config.role);
        if let Some(group) = self.own.group.as_ref().filter(|_| self.group.is_none()) {
            let known: Vec<&str> = self.config.groups.keys().map(String::as_str).collect();
            faults.add(
                &format!("{}.group", self.path),
                format!("there is no group `{group}`"),
                format!("groups of this file: {}", or_none(&known)),
            );
        }
        let remote_asn = self.remote_asn(faults);
        let internal = remote_asn == RemoteAs::Is(Asn(self.config.asn));
        let route_reflector_client = self.pick(|p| &p.route_reflector_client).unwrap_or(false);
        if route_reflector_client && !internal {
            faults.add(
                &format!("{}.remote_asn", self.path),
                "a route reflection client is internal (RFC 4456 §6), and this peer is not",
                format!("write `remote_asn: {}`, or take `route_reflector_client` away", self.config.asn),
            );
        }
        PeerConfig {
            name: self.name.to_owned(),
            passive: self.pick(|p| &p.passive).unwrap_or(false),
            shutdown: self.shutdown(faults),
            families: self.families(faults),
            hold_time_s: self.hold_time(faults),
            connect_retry_ms: self.retry(faults),
            graceful_restart_s: self.graceful_restart(faults),
            route_reflector_client,
            next_hop: self.next_hop(internal, &defaults),
            max_prefixes: self.pick(|p| &p.max_prefixes).or(defaults.max_prefixes),
            import: self.policy("import", self.pick(|p| &p.import), &defaults, faults),
            export: self.policy("export", self.pick(|p| &p.export), &defaults, faults),
            originated_only: self.pick(|p| &p.originated_only).unwrap_or(defaults.originated_only),
            local_address: self.pick(|p| &p.local_address),
            multihop: self.pick(|p| &p.multihop).unwrap_or(false),
            session: self.session_options(&remote_asn, faults),
            routes: self.routes(internal, faults),
            add_path: self.add_path(faults),
            endpoint: self.endpoint,
            remote_asn,
        }
    }

    fn remote_asn(&self, faults: &mut Faults<'_>) -> RemoteAs {
        match self.pick(|p| &p.remote_asn) {
            Some(RemoteAsn::Is(asn)) => RemoteAs::Is(Asn(asn)),
            Some(RemoteAsn::Internal) => RemoteAs::Is(Asn(self.config.asn)),
            Some(RemoteAsn::External) => RemoteAs::External,
            Some(RemoteAsn::OneOf(list)) => {
                if list.is_empty() {
                    faults.add(
                        &format!("{}.remote_asn", self.path),
                        "an empty list allows nobody",
                        "list at least one AS, or write `external`",
                    );
                }
                RemoteAs::OneOf(list.into_iter().map(Asn).collect())
            }
            None => {
                if matches!(self.endpoint, Endpoint::Address(_)) {
                    faults.add(
                        &format!("{}.remote_asn", self.path),
                        "missing, and no group says it",
                        "add `remote_asn:` with the peer's AS, `internal` or `external`",
                    );
                }
                RemoteAs::External
            }
        }
    }

    fn add_path(&self, faults: &mut Faults<'_>) -> AddPath {
        let file = self.pick(|p| &p.add_path).unwrap_or_default();
        let send = match file.send {
            None | Some(file::AddPathSend::None) => AddPathSend::None,
            Some(file::AddPathSend::All) => AddPathSend::All,
            Some(file::AddPathSend::Best(0)) => {
                let remedy = "write at least 1, or `send: none`";
                faults.add(&format!("{}.add_path.send", self.path), "best 0 sends no path", remedy);
                AddPathSend::None
            }
            Some(file::AddPathSend::Best(count)) => AddPathSend::Best(count),
        };
        if file.paths_limit == Some(0) {
            let remedy = "write at least 1, or take `receive` away";
            faults.add(&format!("{}.add_path.paths_limit", self.path), "0 takes no path", remedy);
        }
        let paths_limit = file.paths_limit.unwrap_or(AddPath::PATHS_LIMIT).max(1);
        AddPath { receive: file.receive, send, paths_limit }
    }

    fn shutdown(&self, faults: &mut Faults<'_>) -> Option<String> {
        match self.pick(|p| &p.shutdown)? {
            Shutdown::Is(down) => down.then(String::new),
            Shutdown::Because(text) => {
                if text.len() > SHUTDOWN_MAX_BYTES {
                    faults.add(
                        &format!("{}.shutdown", self.path),
                        format!("{} bytes, and RFC 9003 §2 allows 255", text.len()),
                        "shorten it",
                    );
                }
                Some(text)
            }
        }
    }

    fn families(&self, faults: &mut Faults<'_>) -> Vec<Family> {
        let Some(names) = self.pick(|p| &p.families) else {
            return match &self.endpoint {
                Endpoint::Interface(_) => Family::ALL.to_vec(),
                Endpoint::Address(IpAddr::V4(_)) => vec![Family::Ipv4Unicast],
                Endpoint::Address(IpAddr::V6(_)) => vec![Family::Ipv6Unicast],
            };
        };
        if names.is_empty() {
            faults.add(&format!("{}.families", self.path), "no family", "write [ipv4], [ipv6] or [ipv4, ipv6]");
        }
        let has = |wanted: Family| names.iter().any(|name: &FamilyName| Family::from(*name) == wanted);
        Family::ALL.into_iter().filter(|family| has(*family)).collect()
    }

    fn hold_time(&self, faults: &mut Faults<'_>) -> u16 {
        let own = self.pick(|p| &p.hold_s);
        let hold = own.or(self.config.timers.hold_s).unwrap_or(HOLD_S);
        // RFC 4271 §4.2: zero, or at least three seconds.
        if hold == 1 || hold == 2 {
            let path = if own.is_some() { format!("{}.hold_s", self.path) } else { "timers.hold_s".to_owned() };
            faults.add(
                &path,
                format!("{hold} s is refused by RFC 4271 §4.2"),
                "write 3 or more, or 0 for a session without keepalives",
            );
        }
        hold
    }

    fn retry(&self, faults: &mut Faults<'_>) -> (u32, u32) {
        let own = self.pick(|p| &p.connect_retry_ms);
        let Retry(least, most) = own.or(self.config.timers.connect_retry_ms).unwrap_or(RETRY);
        if least == 0 || least > most || most > RETRY_MAX_MS {
            let path = if own.is_some() {
                format!("{}.connect_retry_ms", self.path)
            } else {
                "timers.connect_retry_ms".to_owned()
            };
            faults.add(
                &path,
                format!("[{least}, {most}] is no range of milliseconds within 1..=3600000"),
                "write [1000, 2000], or leave it out",
            );
        }
        (least, most)
    }

    fn graceful_restart(&self, faults: &mut Faults<'_>) -> Option<u16> {
        let own = self.pick(|p| &p.graceful_restart_s);
        let time = own.or(self.config.graceful_restart_s).unwrap_or(GRACEFUL_RESTART_S);
        if time > GRACEFUL_RESTART_MAX_S {
            let path = if own.is_some() {
                format!("{}.graceful_restart_s", self.path)
            } else {
                "graceful_restart_s".to_owned()
            };
            faults.add(&path, format!("{time} does not fit twelve bits (RFC 4724 §3)"), "write 0..=4095");
        }
        (time > 0).then_some(time)
    }

    fn next_hop(&self, internal: bool, defaults: &Defaults) -> NextHopRule {
        match self.pick(|p| &p.next_hop) {
            Some(NextHop::Standard) => NextHopRule::Standard,
            Some(NextHop::Me) => NextHopRule::SelfOnExport,
            Some(NextHop::Peer) => NextHopRule::PeerOnImport,
            None if internal => defaults.internal_next_hop,
            None => defaults.external_next_hop,
        }
    }

    fn policy(
        &self,
        field: &str,
        named: Option<String>,
        defaults: &Defaults,
        faults: &mut Faults<'_>,
    ) -> Option<String> {
        let Some(name) = named else {
            return defaults.policy.map(str::to_owned);
        };
        let mut known = BUILT_IN.to_vec();
        if let Some(rules) = self.config.policy.as_object() {
            known.extend(rules.keys().map(String::as_str).filter(|key| *key != "sets" && !BUILT_IN.contains(key)));
        }
        if !known.contains(&name.as_str()) {
            faults.add(
                &self.where_said(field),
                format!("there is no policy `{name}`"),
                format!("policies of this file: {}", known.join(", ")),
            );
        }
        Some(name)
    }

    /// The path of a field that this peer or else its group sets.
    fn where_said(&self, field: &str) -> String {
        let own = match field {
            "import" => self.own.import.is_some(),
            _ => self.own.export.is_some(),
        };
        match &self.own.group {
            Some(group) if !own => format!("groups.{group}.{field}"),
            _ => format!("{}.{field}", self.path),
        }
    }
}

fn or_none(list: &[&str]) -> String {
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}
