//! `--output frr`: our answers under FRR's keys, for programs that read `show bgp summary json`, `show bgp neighbors json`, `show bgp
//! ipv4 unicast json` and `show ip route json`. Only keys that FRR has, with its types, and only what we know: a key whose value would be
//! invented is left out. What FRR 8.4.4 says is in `tests/corpus/frr-8.4.4-keys.txt`; the suite compares with the one that is installed.

#[cfg(test)]
mod shape;
#[cfg(test)]
pub(crate) mod tests;

use crate::api::{self, Bgp, BgpPath, BgpRoute, Neighbor, Neighbors, Route};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use weft_bgp::types::{Family, IpNet};

/// The kernel's main table; there are no VRFs.
const MAIN_TABLE: u32 = 254;
/// FRR's weight of what is originated here.
const LOCAL_WEIGHT: u32 = 32_768;
/// Of a session without BGP timers of another kind (RFC 4271 §10: a third).
const KEEPALIVES: u64 = 3;
/// Names of well-known communities: value, as in a route-map, as in a list (RFC 1997, RFC 8326, RFC 7999).
const WELL_KNOWN: [(&str, &str, &str); 5] = [
    ("65535:65281", "no-export", "noExport"),
    ("65535:65282", "no-advertise", "noAdvertise"),
    ("65535:65283", "local-AS", "localAs"),
    ("65535:0", "graceful-shutdown", "gracefulShutdown"),
    ("65535:666", "blackhole", "blackhole"),
];

/// A document without those keys that have no value.
fn document(fields: &[(&str, Option<Value>)]) -> Value {
    let known = fields.iter().filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?)));
    Value::Object(known.collect())
}

fn is_up(peer: &Neighbor) -> bool {
    peer.state == api::ESTABLISHED
}

/// As FRR calls a peer: by its link or its address.
fn key(peer: &Neighbor) -> String {
    let address = || peer.address.map(|address| address.to_string());
    peer.interface.clone().or_else(address).unwrap_or_else(|| peer.name.clone())
}

/// Its AS: that of the session, else the one that it must have; 0 while it may be any.
fn asn(peer: &Neighbor) -> u32 {
    peer.remote_asn.or_else(|| peer.expected_asn.parse().ok()).unwrap_or_default()
}

fn state(peer: &Neighbor) -> String {
    if peer.shutdown.is_some() { "Idle (Admin)".to_owned() } else { peer.state.clone() }
}

/// The name that we have for it, unless it is called so anyhow.
fn description(peer: &Neighbor) -> Option<Value> {
    (peer.name != key(peer)).then(|| peer.name.clone().into())
}

/// `00:01:02`, `3d04h05m`, `02w3d04h`.
#[must_use]
pub fn uptime(seconds: u64) -> String {
    let (minutes, hours, days, weeks) = (seconds / 60, seconds / 3_600, seconds / 86_400, seconds / 604_800);
    match seconds {
        0..86_400 => format!("{hours:02}:{:02}:{:02}", minutes % 60, seconds % 60),
        86_400..604_800 => format!("{days}d{:02}h{:02}m", hours % 24, minutes % 60),
        _ => format!("{weeks:02}w{}d{:02}h", days % 7, hours % 24),
    }
}

/// `show bgp summary json`; IPv6 where somebody speaks of it. `epoch`: seconds since 1970, now; `prefixes`: of the whole table.
#[must_use]
pub fn summary(answer: &Neighbors, prefixes: u64, epoch: u64) -> Value {
    let v6 = answer.neighbors.iter().any(|peer| peer.prefixes_received.ipv6 + peer.prefixes_sent.ipv6 > 0);
    let families = [("ipv4Unicast", Family::Ipv4Unicast, true), ("ipv6Unicast", Family::Ipv6Unicast, v6)];
    let spoken = families.into_iter().filter(|(_, _, spoken)| *spoken);
    spoken
        .map(|(name, family, _)| (name.to_owned(), family_summary(answer, family, prefixes, epoch)))
        .collect::<Map<_, _>>()
        .into()
}

fn family_summary(answer: &Neighbors, family: Family, prefixes: u64, epoch: u64) -> Value {
    let all = &answer.neighbors;
    let peers: Map<String, Value> =
        all.iter().map(|peer| (key(peer), summary_line(answer.asn, peer, family, epoch))).collect();
    json!({
        "routerId": answer.router_id,
        "as": answer.asn,
        "vrfId": 0,
        "vrfName": "default",
        "ribCount": prefixes,
        "peerCount": all.len(),
        "peers": peers,
        "failedPeers": all.iter().filter(|peer| !is_up(peer)).count(),
        "displayedPeers": all.len(),
        "totalPeers": all.len(),
        "dynamicPeers": all.iter().filter(|peer| peer.dynamic).count(),
        // Paths of equal length are equal, whichever AS they come through; FRR says so with a string.
        "bestPath": {"multiPathRelax": "true"},
    })
}

fn summary_line(own: u32, peer: &Neighbor, family: Family, epoch: u64) -> Value {
    let (received, sent) = prefixes(peer, family);
    let kind = match (&peer.interface, peer.address) {
        (Some(_), _) => "interface",
        (None, Some(IpAddr::V6(_))) => "ipv6",
        (None, Some(IpAddr::V4(_)) | None) => "ipv4",
    };
    document(&[
        ("remoteAs", Some(asn(peer).into())),
        ("localAs", Some(own.into())),
        ("version", Some(4.into())),
        ("msgRcvd", Some(peer.messages_received.into())),
        ("msgSent", Some(peer.messages_sent.into())),
        ("peerUptime", Some(if is_up(peer) { uptime(peer.since_s) } else { "never".to_owned() }.into())),
        ("peerUptimeMsec", Some(if is_up(peer) { peer.since_s * 1_000 } else { 0 }.into())),
        ("peerUptimeEstablishedEpoch", is_up(peer).then(|| epoch.saturating_sub(peer.since_s).into())),
        ("pfxRcd", Some(received.into())),
        ("pfxSnt", Some(sent.into())),
        ("state", Some(state(peer).into())),
        ("peerState", Some(if peer.shutdown.is_some() { "Admin" } else { "OK" }.into())),
        ("connectionsEstablished", Some(peer.established.into())),
        ("connectionsDropped", Some(peer.dropped.into())),
        ("desc", description(peer)),
        ("idType", Some(kind.into())),
    ])
}

const fn prefixes(peer: &Neighbor, family: Family) -> (u64, u64) {
    match family {
        Family::Ipv4Unicast => (peer.prefixes_received.ipv4, peer.prefixes_sent.ipv4),
        Family::Ipv6Unicast => (peer.prefixes_received.ipv6, peer.prefixes_sent.ipv6),
    }
}

/// `show bgp neighbors json`.
#[must_use]
pub fn neighbors(answer: &Neighbors, epoch: u64) -> Value {
    let one = |peer: &Neighbor| (key(peer), neighbor(answer, peer, epoch));
    answer.neighbors.iter().map(one).collect::<Map<_, _>>().into()
}

fn neighbor(answer: &Neighbors, peer: &Neighbor, epoch: u64) -> Value {
    let up = is_up(peer);
    let external = asn(peer) != answer.asn;
    let link_address = peer.address.filter(|_| peer.interface.is_some());
    let hold = peer.hold_time_s.map(|seconds| u64::from(seconds) * 1_000);
    let yes = || Value::from(true);
    let v6 = peer.prefixes_received.ipv6 + peer.prefixes_sent.ipv6 > 0;
    let families = [("ipv4Unicast", Family::Ipv4Unicast, true), ("ipv6Unicast", Family::Ipv6Unicast, v6)];
    let families = families.into_iter().filter(|(_, _, spoken)| *spoken).map(|(name, family, _)| {
        let (received, sent) = prefixes(peer, family);
        (name.to_owned(), json!({"acceptedPrefixCounter": received, "sentPrefixCounter": sent}))
    });
    document(&[
        ("bgpNeighborAddr", link_address.map(|address| address.to_string().into())),
        ("remoteAs", Some(asn(peer).into())),
        ("localAs", Some(answer.asn.into())),
        ("nbrExternalLink", external.then(yes)),
        ("nbrInternalLink", (!external).then(yes)),
        ("nbrDesc", description(peer)),
        ("adminShutDown", peer.shutdown.is_some().then(yes)),
        ("bgpVersion", Some(4.into())),
        ("remoteRouterId", Some(peer.router_id.map_or_else(|| "0.0.0.0".to_owned(), |id| id.to_string()).into())),
        ("localRouterId", Some(answer.router_id.to_string().into())),
        ("bgpState", Some(peer.state.clone().into())),
        ("bgpTimerUpMsec", up.then(|| (peer.since_s * 1_000).into())),
        ("bgpTimerUpString", up.then(|| uptime(peer.since_s).into())),
        ("bgpTimerUpEstablishedEpoch", up.then(|| epoch.saturating_sub(peer.since_s).into())),
        ("bgpTimerHoldTimeMsecs", hold.map(Into::into)),
        ("bgpTimerKeepAliveIntervalMsecs", hold.map(|hold| (hold / KEEPALIVES).into())),
        ("neighborCapabilities", up.then(|| capabilities(peer, v6))),
        (
            "messageStats",
            Some(json!({
                "updatesSent": peer.updates_sent, "updatesRecv": peer.updates_received,
                "totalSent": peer.messages_sent, "totalRecv": peer.messages_received,
            })),
        ),
        ("addressFamilyInfo", Some(families.collect::<Map<_, _>>().into())),
        ("connectionsEstablished", Some(peer.established.into())),
        ("connectionsDropped", Some(peer.dropped.into())),
        ("lastResetTimerMsecs", (!up && peer.dropped > 0).then(|| (peer.since_s * 1_000).into())),
        ("lastResetDueTo", peer.last_error.as_ref().map(|error| error.clone().into())),
        ("hostForeign", peer.address.filter(|_| up).map(|address| address.to_string().into())),
        ("peerBfdInfo", peer.bfd.as_ref().map(|state| json!({"status": state}))),
    ])
}

/// What both ends agreed on; what only one said is not kept.
fn capabilities(peer: &Neighbor, v6: bool) -> Value {
    let has = |text: &str| peer.agreed.iter().any(|agreed| agreed.starts_with(text));
    let both = |agreed: bool| agreed.then(|| Value::from("advertisedAndReceived"));
    let mut families = Map::new();
    families.insert("ipv4Unicast".to_owned(), json!({"advertisedAndReceived": true}));
    if v6 {
        families.insert("ipv6Unicast".to_owned(), json!({"advertisedAndReceived": true}));
    }
    document(&[
        ("4byteAs", both(!has("two-octet AS numbers"))),
        ("extendedMessage", both(has("extended messages"))),
        ("enhancedRouteRefresh", both(has("enhanced route refresh"))),
        ("longLivedGracefulRestart", both(has("long-lived graceful restart"))),
        ("gracefulRestart", both(has("graceful restart"))),
        ("multiprotocolExtensions", Some(families.into())),
    ])
}

/// Peers by our names, for paths that name them so.
pub type Peers<'a> = BTreeMap<&'a str, &'a Neighbor>;

/// Peers by our names.
#[must_use]
pub fn peers(answer: &Neighbors) -> Peers<'_> {
    answer.neighbors.iter().map(|peer| (peer.name.as_str(), peer)).collect()
}

/// The head of `show bgp ipv4 unicast json`, before its `routes`.
#[must_use]
pub fn bgp_head(answer: &Bgp) -> Value {
    json!({
        "vrfId": 0, "vrfName": "default", "routerId": answer.router_id, "defaultLocPrf": 100, "localAS": answer.asn,
    })
}

/// The paths of a prefix in that document's `routes`.
#[must_use]
pub fn bgp_route(route: &BgpRoute, peers: &Peers<'_>) -> Value {
    route.paths.iter().map(|path| bgp_line(&route.prefix, path, peers)).collect()
}

fn is_local(path: &BgpPath) -> bool {
    path.from == "local"
}

fn is_valid(path: &BgpPath) -> bool {
    path.used || path.best || path.via.is_some() || is_local(path)
}

fn bgp_line(prefix: &IpNet, path: &BgpPath, peers: &Peers<'_>) -> Value {
    let external = path.external || is_local(path);
    let yes = || Value::from(true);
    document(&[
        ("valid", is_valid(path).then(yes)),
        ("bestpath", path.best.then(yes)),
        ("multipath", (path.used && !path.best).then(yes)),
        ("selectionReason", path.best.then(|| path.reason.clone().into())),
        ("pathFrom", Some(if external { "external" } else { "internal" }.into())),
        ("prefix", Some(prefix.addr().to_string().into())),
        ("prefixLen", Some(prefix.prefix_len().into())),
        ("network", Some(prefix.to_string().into())),
        ("metric", path.med.map(Into::into)),
        ("locPrf", path.local_pref.map(Into::into)),
        ("weight", Some(if is_local(path) { LOCAL_WEIGHT } else { 0 }.into())),
        ("peerId", Some(peer_id(path, peers).into())),
        ("path", Some(path.as_path.clone().into())),
        ("origin", Some(origin(path).into())),
        ("nexthops", Some(json!([document(&next_hop(prefix, path))]))),
    ])
}

fn peer_id(path: &BgpPath, peers: &Peers<'_>) -> String {
    if is_local(path) {
        return "(unspec)".to_owned();
    }
    let address = peers.get(path.from.as_str()).and_then(|peer| peer.address);
    address.map_or_else(|| path.from.clone(), |address| address.to_string())
}

fn origin(path: &BgpPath) -> &str {
    match path.origin.as_str() {
        "igp" => "IGP",
        "egp" => "EGP",
        other => other,
    }
}

fn next_hop(prefix: &IpNet, path: &BgpPath) -> [(&'static str, Option<Value>); 3] {
    let address = match (is_local(path), prefix) {
        (true, IpNet::V4(_)) => "0.0.0.0".to_owned(),
        (true, IpNet::V6(_)) => "::".to_owned(),
        (false, _) => path.next_hop.to_string(),
    };
    let afi = if address.contains(':') { "ipv6" } else { "ipv4" };
    [("ip", Some(address.into())), ("afi", Some(afi.into())), ("used", is_valid(path).then(|| true.into()))]
}

/// `show bgp ipv4 unicast PREFIX json`; `told`: names of those who were told of it.
#[must_use]
pub fn bgp_prefix(route: &BgpRoute, told: &[String], peers: &Peers<'_>, epoch: u64) -> Value {
    let name = |name: &String| peers.get(name.as_str()).map_or_else(|| name.clone(), |peer| key(peer));
    let told: Map<String, Value> = told.iter().map(|peer| (name(peer), json!({}))).collect();
    let paths: Vec<Value> = route.paths.iter().map(|path| bgp_path(route, path, peers, epoch)).collect();
    document(&[
        ("prefix", Some(route.prefix.to_string().into())),
        ("advertisedTo", (!told.is_empty()).then(|| told.into())),
        ("paths", Some(paths.into())),
    ])
}

fn bgp_path(route: &BgpRoute, path: &BgpPath, peers: &Peers<'_>, epoch: u64) -> Value {
    let several = route.paths.iter().filter(|path| path.used).count() > 1;
    let mut hop = next_hop(&route.prefix, path).to_vec();
    hop.push(("accessible", is_valid(path).then(|| true.into())));
    let peer = peers.get(path.from.as_str());
    let peer = document(&[
        ("peerId", Some(if is_local(path) { "0.0.0.0".to_owned() } else { peer_id(path, peers) }.into())),
        ("routerId", peer.and_then(|peer| peer.router_id).map(|id| id.to_string().into())),
        ("interface", peer.and_then(|peer| peer.interface.clone()).map(Into::into)),
        ("type", (!is_local(path)).then(|| if path.external { "external" } else { "internal" }.into())),
    ]);
    let texts = |all: &[String]| (!all.is_empty()).then(|| json!({"string": all.join(" "), "list": all}));
    let best = path.best.then(|| json!({"overall": true, "selectionReason": path.reason}));
    document(&[
        ("aspath", Some(as_path(&path.as_path))),
        ("origin", Some(origin(path).into())),
        ("metric", path.med.map(Into::into)),
        ("locPrf", path.local_pref.map(Into::into)),
        ("valid", is_valid(path).then(|| true.into())),
        ("multipath", (path.used && several).then(|| true.into())),
        ("bestpath", best),
        ("community", communities(&path.communities)),
        (
            "extendedCommunity",
            (!path.ext_communities.is_empty()).then(|| json!({"string": extended(&path.ext_communities)})),
        ),
        ("largeCommunity", texts(&path.large_communities)),
        ("addpathRxId", path.path_id.map(Into::into)),
        ("lastUpdate", Some(json!({"epoch": epoch.saturating_sub(path.age_s)}))),
        ("nexthops", Some(json!([document(&hop)]))),
        ("peer", Some(peer)),
    ])
}

/// `64599 64601` with its segments, as far as it has no sets and confederations.
fn as_path(text: &str) -> Value {
    if text.is_empty() {
        return json!({"string": "Local", "segments": [], "length": 0});
    }
    let all: Result<Vec<u32>, _> = text.split_whitespace().map(str::parse).collect();
    match all {
        Ok(all) => json!({"string": text, "segments": [{"type": "as-sequence", "list": all}], "length": all.len()}),
        Err(_) => json!({"string": text}),
    }
}

fn communities(all: &[String]) -> Option<Value> {
    if all.is_empty() {
        return None;
    }
    let known = |text: &String| WELL_KNOWN.iter().find(|(value, ..)| value == text);
    let words: Vec<&str> = all.iter().map(|text| known(text).map_or(text.as_str(), |(_, word, _)| word)).collect();
    let list: Vec<&str> = all.iter().map(|text| known(text).map_or(text.as_str(), |(.., name)| name)).collect();
    Some(json!({"string": words.join(" "), "list": list}))
}

/// Route targets and origins are in capitals there.
fn extended(all: &[String]) -> String {
    let upper = |text: &String| match text.split_once(':') {
        Some(("rt", value)) => format!("RT:{value}"),
        Some(("ro", value)) => format!("SoO:{value}"),
        Some(_) | None => text.clone(),
    };
    all.iter().map(upper).collect::<Vec<_>>().join(" ")
}

/// One prefix of `show ip route json`; absent for what is not ours to install: addresses that are on `lo` anyhow.
#[must_use]
pub fn route(route: &Route) -> Option<Value> {
    if !["bgp", "aggregate"].contains(&route.kind.as_str()) {
        return None;
    }
    let family = |gateway: &IpAddr| if gateway.is_ipv4() { "ipv4" } else { "ipv6" };
    let hop = |via: &api::Via| {
        document(&[
            ("fib", route.installed.then(|| true.into())),
            ("ip", Some(via.gateway.to_string().into())),
            ("afi", Some(family(&via.gateway).into())),
            ("interfaceName", Some(via.interface.clone().into())),
            ("active", Some(true.into())),
            ("weight", Some(via.weight.into())),
        ])
    };
    let mut hops: Vec<Value> = route.via.iter().map(hop).collect();
    if route.kind == "aggregate" {
        hops.push(json!({"unreachable": true, "blackhole": true, "active": true}));
    }
    let one = document(&[
        ("prefix", Some(route.prefix.to_string().into())),
        ("prefixLen", Some(route.prefix.prefix_len().into())),
        ("protocol", Some("bgp".into())),
        ("vrfId", Some(0.into())),
        ("vrfName", Some("default".into())),
        ("selected", Some(true.into())),
        ("destSelected", Some(true.into())),
        ("installed", route.installed.then(|| true.into())),
        ("table", Some(MAIN_TABLE.into())),
        ("internalNextHopNum", Some(hops.len().into())),
        ("uptime", Some(uptime(route.age_s).into())),
        ("nexthops", Some(hops.into())),
    ]);
    Some(json!([one]))
}
