//! Answers from a node: ids become names, and what belongs together is put together. Every answer is bounded by the number of peers
//! and links, or by a page of the table, so that no question can hold up the daemon's loop.

use super::answers::{
    AddPathUse, Address, Bgp, BgpPath, BgpRoute, Explanation, Happening, History, Interface, Interfaces, LastReload,
    Neighbor, NeighborHistory, NeighborPolicy, Neighbors, Observers, PerFamily, Policy, Refusal, Refused, Rpki,
    RpkiCache, RuleHits, Told, Version,
};
use super::routes::{Route, Routes, Via, Within};
use super::{Answer, Body, LineForm, Listing, Question, Selection, Surroundings, Target, bfd, dump};
use crate::bfd::Event as BfdEvent;
use crate::lines;
use crate::link::{AddrInfo, LinkInfo};
use crate::metrics;
use crate::node::{Entry, Happened, Node};
use crate::record::Written;
use crate::vip;
use std::net::IpAddr;
use weft_bgp::event::Event;
use weft_bgp::peer::{Endpoint, PeerConfig, PeerHistory, RemoteAs};
use weft_bgp::speaker::{NeighborInfo, PathInfo, RefusedInfo, RouteInfo, ToldInfo};
use weft_bgp::time::Instant;
use weft_bgp::types::{Family, Hop, IfIndex, IpNet, PeerId};

/// The name of the state in which a session carries routes (RFC 4271 §8.2.2).
pub(crate) const ESTABLISHED: &str = "Established";

/// Prefixes within another one that are counted: some milliseconds of the daemon's loop.
const WITHIN_MAX: usize = 10_000;

/// Answers a question.
#[must_use]
pub fn answer(node: &Node, now: Instant, around: &Surroundings, question: &Question) -> Answer {
    let body = match question {
        Question::Version => Body::Version(version(node, now, around)),
        Question::Neighbors => Body::Neighbors(neighbors(node, now)),
        Question::NeighborHistory(name) => neighbor_history(node, now, name),
        Question::Routes(selection) => Body::Routes(routes(node, now, selection)),
        Question::RoutesWithin { net, after, limit } => Body::Routes(routes_within(node, now, (*net, *after), *limit)),
        Question::Bgp(selection) => Body::Bgp(bgp(node, now, selection)),
        Question::Interfaces => Body::Interfaces(interfaces(node, now)),
        Question::Explain(target) => Body::Explain(Box::new(explain(node, now, *target))),
        Question::History => Body::History(history(node, now)),
        Question::Policy => Body::Policy(policy(node)),
        Question::Configuration => Body::Configuration(Written::of(node.config())),
        Question::Health => Body::Health(super::health::health(node, now, around)),
        Question::Originated => Body::Originated(super::originated::originated(node, now)),
        Question::Drains => Body::Drains(super::drain::drains(node, now, &around.drain)),
        Question::Vips => Body::Vips(super::vips::vips(node, now)),
        Question::Dhcp => Body::Dhcp(super::dhcp::dhcp(node, now)),
        Question::Rpki => Body::Rpki(rpki(node, now)),
        Question::Bfd => Body::Bfd(bfd::sessions(node, now, around.bfd.as_ref())),
        Question::Observers => Body::Observers(Observers { observers: around.observers.clone() }),
        Question::Dump(selection) => Body::Dump(dump::page(node, now, selection)),
        // Only the kernel's thread knows; without one nothing is installed.
        Question::Fib { diff: _ } => Body::Fib(Box::default()),
        Question::Lines { of, form, after, limit } => {
            let write = match (of, form) {
                (Listing::Paths, LineForm::Text) => lines::bgp,
                (Listing::Paths, LineForm::Json) => lines::json::bgp,
                (Listing::Routes, LineForm::Text) => lines::routes,
                (Listing::Routes, LineForm::Json) => lines::json::routes,
            };
            let (text, next) = write(node, now, *after, *limit);
            Body::Lines { form: *form, text, next }
        }
        Question::Metrics => Body::Metrics { text: metrics::text(node, now, around) },
    };
    Answer::new(&node.config().hostname, body)
}

/// The peer of this name, or at this address: configured, or from a listen range.
#[must_use]
pub fn find_peer(node: &Node, now: Instant, name: &str) -> Option<PeerId> {
    let address: Option<IpAddr> = name.parse().ok();
    let all = node.speaker().neighbors(now);
    let named = all.iter().find(|peer| peer.name == name);
    named.or_else(|| all.iter().find(|peer| address.is_some() && peer.address == address)).map(|peer| peer.id)
}

fn version(node: &Node, now: Instant, around: &Surroundings) -> Version {
    let config = node.config();
    Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: around.pid,
        uptime_s: now.as_secs(),
        config: around.config.clone(),
        role: config.role.map(|role| role.to_string()),
        asn: config.speaker.asn.0,
        router_id: config.speaker.router_id,
        resident_bytes: around.resident_bytes,
        upgrades: around.upgrades,
        upgrades_undone: around.upgrades_undone,
        upgrade_sessions: around.upgrade_sessions,
        sandbox: around.sandbox.clone(),
        reload: node.last_reload().map(|(at, outcome)| LastReload {
            outcome,
            ago_s: now.since(at).as_secs(),
            confirm_within_s: node.unconfirmed(now).map(|left| left.as_secs()),
        }),
    }
}

pub(super) fn neighbors(node: &Node, now: Instant) -> Neighbors {
    let speaker = &node.config().speaker;
    Neighbors {
        asn: speaker.asn.0,
        router_id: speaker.router_id,
        neighbors: node.speaker().neighbors(now).into_iter().map(|info| neighbor(node, info)).collect(),
    }
}

fn neighbor_history(node: &Node, now: Instant, name: &str) -> Body {
    let found = find_peer(node, now, name);
    let history = found.and_then(|peer| Some((peer, node.speaker().peer_history(peer)?)));
    match history {
        Some((peer, PeerHistory { transitions, messages })) => {
            let is_bfd = |entry: &&Entry| entry.event.bfd_peer() == Some(peer);
            let bfd = node.history().filter(is_bfd).map(|entry| happening(now, entry, |_| name.to_owned())).collect();
            Body::NeighborHistory(NeighborHistory { neighbor: name.to_owned(), now, transitions, messages, bfd })
        }
        None => {
            Body::Refused(Refusal::new(404, format!("there is no peer `{name}`"), "`weft show neighbors` lists them"))
        }
    }
}

/// The configuration of a peer: its own, or that of the range it called from.
fn configured<'a>(node: &'a Node, info: &NeighborInfo) -> Option<&'a PeerConfig> {
    let config = node.config();
    if let Some(own) = config.peers.iter().find(|peer| !info.dynamic && peer.name == info.name) {
        return Some(own);
    }
    let range = config.dynamic.iter().find(|range| info.address.is_some_and(|at| range.prefix.contains(&at)));
    range.map(|range| &range.template)
}

fn neighbor(node: &Node, info: NeighborInfo) -> Neighbor {
    let config = configured(node, &info);
    let interface = config.and_then(|config| match &config.endpoint {
        Endpoint::Interface(name) => Some(name.clone()),
        Endpoint::Address(_) => None,
    });
    let per_family = |[ipv4, ipv6]: [u64; 2]| PerFamily { ipv4, ipv6 };
    let add_path = add_path(&info);
    let bfd = node.bfd_state(info.id).map(|state| state.to_string());
    let link = interface.as_ref().and_then(|name| node.links().iter().find(|link| link.name == *name));
    let miswired = link.filter(|link| link.is_usable()).and_then(|link| node.miswired(link.index));
    Neighbor {
        name: info.name,
        address: info.address,
        interface,
        remote_asn: info.remote_asn.map(|asn| asn.0),
        expected_asn: config.map_or_else(String::new, |config| expected(&config.remote_asn)),
        router_id: info.router_id,
        hostname: info.hostname,
        state: info.state,
        since_s: info.since_s,
        hold_time_s: info.hold_time_s,
        agreed: info.agreed,
        prefixes_received: per_family(info.prefixes_received),
        prefixes_sent: per_family(info.prefixes_sent),
        add_path,
        bfd,
        max_prefixes: config.and_then(|config| config.max_prefixes),
        updates_rejected: info.updates_rejected,
        prefixes_rejected: info.prefixes_rejected,
        old_policy: info.old_policy,
        withdraw_faults: info.withdraw_faults,
        updates_received: info.updates_received,
        updates_sent: info.updates_sent,
        messages_received: info.messages_received,
        messages_sent: info.messages_sent,
        established: info.established,
        dropped: info.dropped,
        last_error: info.last_error,
        resting_s: info.resting_s,
        miswired,
        shutdown: config.and_then(|config| node.in_force(config).shutdown),
        dynamic: info.dynamic,
    }
}

fn add_path(info: &NeighborInfo) -> Option<AddPathUse> {
    let in_use = |of: [bool; 2]| Family::ALL.into_iter().filter(|family| of[family.index()]).collect::<Vec<_>>();
    let (received, sent) = (in_use(info.add_path_received), in_use(info.add_path_sent));
    let some = !received.is_empty() || !sent.is_empty();
    some.then_some(AddPathUse { received, sent, over_limit: info.paths_over_limit })
}

fn expected(asn: &RemoteAs) -> String {
    match asn {
        RemoteAs::Is(asn) => asn.to_string(),
        RemoteAs::External => "external".to_owned(),
        RemoteAs::OneOf(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

/// The routes of a selection, and whether there may be more behind the last.
fn select(node: &Node, selection: &Selection) -> (Vec<RouteInfo>, Option<IpNet>) {
    match selection {
        Selection::Page { after, limit } => {
            let page = node.speaker().routes(*after, *limit);
            let next = page.last().filter(|_| page.len() == *limit).map(|route| route.prefix);
            (page, next)
        }
        Selection::One(target) => {
            let covering = node.speaker().route_to(&target.net());
            let wanted = |route: &RouteInfo| match target {
                Target::Address(_) => true,
                Target::Prefix(net) => route.prefix == *net,
            };
            (covering.into_iter().filter(wanted).collect(), None)
        }
    }
}

fn routes(node: &Node, now: Instant, selection: &Selection) -> Routes {
    let (page, next) = select(node, selection);
    let prefixes = node.speaker().summary().prefixes;
    Routes { prefixes, within: None, routes: page.iter().map(|info| route(node, now, info)).collect(), next }
}

fn routes_within(node: &Node, now: Instant, (net, after): (IpNet, Option<IpNet>), limit: usize) -> Routes {
    let speaker = node.speaker();
    let page = speaker.routes_within(&net, after, limit);
    // One more than are counted says that there are more.
    let found = speaker.count_within(&net, WITHIN_MAX + 1);
    let count = u64::try_from(found.min(WITHIN_MAX)).unwrap_or(u64::MAX);
    Routes {
        prefixes: speaker.summary().prefixes,
        within: Some(Within { prefix: net, prefixes: count, more: found > WITHIN_MAX }),
        routes: page.iter().map(|info| route(node, now, info)).collect(),
        next: page.last().filter(|_| page.len() == limit).map(|route| route.prefix),
    }
}

fn route(node: &Node, now: Instant, info: &RouteInfo) -> Route {
    let mut used: Vec<&PathInfo> = info.paths.iter().filter(|path| path.used).collect();
    used.sort_by_key(|path| !path.best);
    let kind = match used.first() {
        None => "none",
        // What is originated here has no session and no hop behind it.
        Some(best) if best.hop.is_none() && aggregate(node, info).is_some() => "aggregate",
        Some(best) if best.hop.is_none() => "local",
        Some(_) => "bgp",
    };
    let kernel = if info.refused {
        "refused"
    } else if kind == "local" {
        // Of our own routes the kernel holds only the discard route of an aggregate.
        "none"
    } else if info.installed {
        "installed"
    } else if info.hops.is_empty() {
        "none"
    } else {
        "waiting"
    };
    Route {
        prefix: info.prefix,
        kind: kind.to_owned(),
        installed: info.installed,
        kernel: kernel.to_owned(),
        via: info.hops.iter().map(|hop| via(node, hop)).collect(),
        from: used.iter().map(|path| path.from.clone()).collect(),
        age_s: used.iter().map(|path| age(now, path)).min().unwrap_or_default(),
        held_back: info.held_back.clone(),
    }
}

const fn age(now: Instant, path: &PathInfo) -> u64 {
    now.as_secs().saturating_sub(path.since_s)
}

fn via(node: &Node, hop: &Hop) -> Via {
    Via { interface: link_name(node.links(), hop.link), gateway: hop.gateway, weight: hop.weight }
}

fn link_name(links: &[LinkInfo], index: IfIndex) -> String {
    let known = links.iter().find(|link| link.index == index);
    known.map_or_else(|| format!("interface {}", index.0), |link| link.name.clone())
}

fn bgp(node: &Node, now: Instant, selection: &Selection) -> Bgp {
    let (page, next) = select(node, selection);
    let summary = node.speaker().summary();
    let [ipv4, ipv6] = summary.paths_received;
    let with_paths = |info: RouteInfo| BgpRoute {
        prefix: info.prefix,
        installed: info.installed,
        paths: paths(node, now, info.paths),
    };
    Bgp {
        asn: node.config().speaker.asn.0,
        router_id: node.config().speaker.router_id,
        prefixes: summary.prefixes,
        paths: PerFamily { ipv4, ipv6 },
        routes: page.into_iter().map(with_paths).collect(),
        next,
    }
}

/// The best first, then its equals, then the rest.
fn paths(node: &Node, now: Instant, infos: Vec<PathInfo>) -> Vec<BgpPath> {
    let one = |info: PathInfo| BgpPath {
        age_s: age(now, &info),
        from: info.from,
        path_id: info.path_id,
        best: info.best,
        used: info.used,
        stale: info.stale,
        external: info.external,
        rpki: info.validity,
        reason: info.reason,
        next_hop: info.next_hop,
        via: info.hop.map(|hop| via(node, &hop)),
        as_path: info.as_path,
        origin: info.origin,
        local_pref: info.local_pref,
        med: info.med,
        communities: info.communities,
        large_communities: info.large_communities,
        ext_communities: info.ext_communities,
        originator_id: info.originator_id,
        cluster_list: info.cluster_list,
    };
    let mut all: Vec<BgpPath> = infos.into_iter().map(one).collect();
    all.sort_by_key(|path| (!path.best, !path.used));
    all
}

pub(super) fn interfaces(node: &Node, now: Instant) -> Interfaces {
    let peers = node.speaker().neighbors(now);
    let one = |link: &LinkInfo| {
        let on_link = |info: &&NeighborInfo| match configured(node, info).map(|config| &config.endpoint) {
            Some(Endpoint::Interface(name)) => *name == link.name,
            // A range's template has no address of its own.
            Some(Endpoint::Address(_)) | None => {
                info.address.is_some_and(|at| link.addrs.iter().any(|addr| addr.net.contains(&at)))
            }
        };
        let heard = node.heard_on(now, link.index);
        let address = |addr: &AddrInfo| Address { net: addr.net, tentative: addr.tentative, duplicate: addr.duplicate };
        Interface {
            name: link.name.clone(),
            index: link.index.0,
            up: link.up,
            carrier: link.carrier,
            damped: link.damped,
            kind: if link.loopback { Some("loopback".to_owned()) } else { link.kind.clone() },
            master: link.master.map(|master| link_name(node.links(), master)),
            mtu: link.mtu,
            mac: link.mac.map(|octet| format!("{octet:02x}")).join(":"),
            addresses: link.addrs.iter().map(address).collect(),
            discovered: heard.neighbour,
            other_router: heard.other,
            looped: heard.looped,
            lldp: node.heard_by_lldp(link.index).cloned(),
            miswired: node.miswired(link.index),
            neighbors: peers.iter().filter(on_link).map(|info| info.name.clone()).collect(),
        }
    };
    let mut interfaces: Vec<Interface> = node.links().iter().map(one).collect();
    interfaces.sort_by_key(|link| link.index);
    Interfaces { interfaces }
}

/// What an aggregate stands for, where the best path is one.
fn aggregate(node: &Node, info: &RouteInfo) -> Option<String> {
    node.config().speaker.aggregates.contains(&info.prefix).then_some(())?;
    info.paths.iter().find(|path| path.best && path.hop.is_none()).map(|path| path.reason.clone())
}

fn explain(node: &Node, now: Instant, target: Target) -> Explanation {
    let text = match target {
        Target::Address(address) => address.to_string(),
        Target::Prefix(net) => net.to_string(),
    };
    let info = node.speaker().route_to(&target.net());
    let told = info.as_ref().map(|info| node.speaker().told(&info.prefix)).unwrap_or_default();
    let without = |info: &NeighborInfo| info.state != ESTABLISHED;
    let originated = info
        .as_ref()
        .and_then(|info| node.originated_as(&info.prefix))
        .map(|own| own.why.clone())
        .or_else(|| aggregate(node, info.as_ref()?));
    Explanation {
        target: text,
        route: info.as_ref().map(|info| route(node, now, info)),
        paths: info.map(|info| paths(node, now, info.paths)).unwrap_or_default(),
        kernel: None,
        originated,
        told: told.into_iter().map(told_answer).collect(),
        refused: node.speaker().refused(&target.net()).into_iter().map(|info| refused(now, info)).collect(),
        no_session: node.speaker().neighbors(now).into_iter().filter(without).map(|info| info.name).collect(),
    }
}

fn told_answer(info: ToldInfo) -> Told {
    let ToldInfo { neighbor, reason, paths } = info;
    Told { peer: neighbor, told: reason.is_none(), reason, paths }
}

fn refused(now: Instant, info: RefusedInfo) -> Refused {
    let RefusedInfo { prefix, from, path_id, since_s, reason } = info;
    Refused { prefix, from, path_id, reason, age_s: now.as_secs().saturating_sub(since_s) }
}

fn history(node: &Node, now: Instant) -> History {
    let names = node.speaker().neighbors(now);
    let name = |peer: PeerId| {
        let known = names.iter().find(|info| info.id == peer);
        known.map_or_else(|| format!("peer {}", peer.0), |info| info.name.clone())
    };
    History { history: node.history().map(|entry| happening(now, entry, name)).collect() }
}

fn happening(now: Instant, entry: &Entry, name: impl Fn(PeerId) -> String) -> Happening {
    Happening {
        at_ms: entry.at.0 / 1_000_000,
        ago_ms: now.0.saturating_sub(entry.at.0) / 1_000_000,
        times: entry.times,
        since_ms: entry.since.0 / 1_000_000,
        text: sentence_of(&entry.event, name),
        event: entry.event.clone(),
    }
}

/// An event as a sentence; `name` is that of a peer.
#[must_use]
pub fn sentence_of(happened: &Happened, name: impl Fn(PeerId) -> String) -> String {
    match happened {
        Happened::Bgp(event) => sentence(event, name),
        Happened::Vip(vip::Event::Vip { name, state, reason }) => format!("vip {name}: {state}: {reason}"),
        Happened::Bfd(event) => bfd_sentence(event),
        Happened::Configuration(event) => event.sentence(),
        Happened::Drain(event) => event.sentence(),
    }
}

fn bfd_sentence(BfdEvent::Bfd { name, state, cause, failed, retained, .. }: &BfdEvent) -> String {
    let routes = match (failed, retained) {
        (false, _) => "",
        (true, false) => "; the path failed",
        (true, true) => "; the path failed, and the peer's routes are kept",
    };
    format!("{name}: BFD {state}: {}{routes}", cause.text())
}

fn sentence(event: &Event, name: impl Fn(PeerId) -> String) -> String {
    match event {
        Event::SessionUp { name, asn, .. } => format!("{name}: session up, AS {asn}"),
        Event::SessionDown { name, reason, retained, .. } => {
            let routes = if *retained { "its routes are kept as stale" } else { "its routes are gone" };
            format!("{name}: session down: {reason}; {routes}")
        }
        Event::SessionRefused { name, reason, .. } => format!("{name}: no session: {reason}"),
        Event::LongLivedStale { name, families, .. } => {
            format!(
                "{name}: away beyond its restart time; its {} routes are the last choice",
                families.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
            )
        }
        Event::EndOfRib { peer, family } => format!("{}: End-of-RIB for {family}", name(*peer)),
        Event::NearMaxPrefixes { name, limit, count, .. } => {
            format!("{name}: {count} prefixes, near its maximum of {limit}")
        }
        Event::OldPolicy { name, paths, .. } => format!(
            "{name}: the policy changed and it cannot refresh: {paths} of its paths stay as the old one left them, and what that refused is unknown"
        ),
        Event::MaxPrefixes { name, limit, .. } => format!("{name}: more than its maximum of {limit} prefixes"),
        Event::MaxPrefixesOut { name, limit, .. } => {
            format!("{name}: our policies let through more than its {limit} prefixes; session ended instead")
        }
        Event::Converged { cause } => format!("converged ({cause})"),
    }
}

fn policy(node: &Node) -> Policy {
    let of = |name: &str, peer: &PeerConfig| NeighborPolicy {
        name: name.to_owned(),
        import: peer.import.clone(),
        export: peer.export.clone(),
        originated_only: peer.originated_only,
        max_prefixes: peer.max_prefixes,
    };
    let config = node.config();
    let peers = config.peers.iter().map(|peer| of(&peer.name, peer));
    let ranges = config.dynamic.iter().map(|range| of(&range.prefix.to_string(), &range.template));
    let hits = node.speaker().policy_hits();
    Policy {
        policy: config.policy.clone(),
        neighbors: peers.chain(ranges).collect(),
        rules: hits.into_iter().map(|(rule, hits)| RuleHits { rule, hits }).collect(),
    }
}

pub(super) fn rpki(node: &Node, now: Instant) -> Rpki {
    let caches = node.config().rpki.iter().zip(node.speaker().caches(now));
    Rpki { caches: caches.map(|(address, info)| RpkiCache { address: *address, info }).collect() }
}
