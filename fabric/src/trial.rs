//! `weft policy test`: puts a route that nobody announced to the policies of a configuration, and says which rule decides and what
//! it would change. Nothing is started; the rules are the daemon's own.

use crate::config::{Community, LargeCommunity, NodeConfig};
use serde::Serialize;
use std::fmt;
use std::net::IpAddr;
use weft_bgp::peer::{Endpoint, PeerConfig, RemoteAs};
use weft_bgp::policy::{Chosen, Route, SetNextHop, Source, Verdict};
use weft_bgp::types::{Asn, IpNet};
use weft_bgp::wire::attrs::{Attrs, flag, kind, put};
use weft_bgp::wire::community::ExtCommunity;

/// A route as a person describes it.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The prefix.
    pub prefix: IpNet,
    /// Name of a configured peer, or an address of a listen range.
    pub peer: String,
    /// AS_PATH, nearest first.
    pub as_path: Vec<u32>,
    /// ORIGIN: 0 IGP, 1 EGP, 2 INCOMPLETE (RFC 4271 §5.1.1).
    pub origin: u8,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// NEXT_HOP; the peer's address unless given.
    pub next_hop: Option<IpAddr>,
    /// Standard communities.
    pub communities: Vec<Community>,
    /// Large communities.
    pub large_communities: Vec<LargeCommunity>,
    /// Extended communities.
    pub ext_communities: Vec<ExtCommunity>,
    /// How many next hops the prefix has where it is told.
    pub next_hops: u32,
}

/// What both policies of the peer say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The prefix.
    pub prefix: IpNet,
    /// The peer.
    pub peer: String,
    /// Were it announced by the peer.
    pub import: Decision,
    /// Were it to be told to the peer.
    pub export: Decision,
}

/// What one policy says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Its name; `None` = none is set, and RFC 8212 decides.
    pub policy: Option<String>,
    /// Taken or told.
    pub accepted: bool,
    /// The rule that decided, as `plan[2]`; `None` where no rule was asked.
    pub rule: Option<String>,
    /// What the rules change: attribute, before, after.
    pub changes: Vec<(&'static str, String, String)>,
}

/// Asks both policies of the peer.
///
/// # Errors
/// When there is no such peer; the text names those there are.
pub fn run(node: &NodeConfig, trial: &Trial) -> Result<Report, String> {
    let peer = find(node, &trial.peer)?;
    let own = node.speaker.asn;
    let external = peer.remote_asn != RemoteAs::Is(own);
    let block = block(trial);
    let (address, asn) = (address(peer, trial), remote_asn(peer, trial));
    let route = Route {
        prefix: &trial.prefix,
        attrs: Attrs(&block),
        next_hop: trial.next_hop.unwrap_or(address),
        source: if external { Source::Ebgp } else { Source::Ibgp },
        peer_name: &trial.peer,
        peer_address: address,
        peer_asn: asn,
        own_asn: own,
        next_hops: trial.next_hops,
        bandwidth: Attrs(&block).link_bandwidth(),
        vrps: None,
    };
    let decide = |name: &Option<String>| {
        let chosen = node.speaker.policies.choose(name.as_deref(), external);
        let outcome = chosen.evaluate(route);
        Decision {
            policy: name.clone(),
            accepted: outcome.verdict == Verdict::Accept,
            rule: outcome.rule.map(|rule| node.speaker.policies.rule_name(rule)),
            changes: changes(chosen, route, &outcome.changes),
        }
    };
    Ok(Report {
        prefix: trial.prefix,
        peer: trial.peer.clone(),
        import: decide(&peer.import),
        export: decide(&peer.export),
    })
}

fn find<'n>(node: &'n NodeConfig, name: &str) -> Result<&'n PeerConfig, String> {
    let configured = node.peers.iter().find(|peer| peer.name == name);
    let address: Option<IpAddr> = name.parse().ok();
    let dynamic = || node.dynamic.iter().find(|range| address.is_some_and(|address| range.prefix.contains(&address)));
    configured.or_else(|| dynamic().map(|range| &range.template)).ok_or_else(|| {
        let names: Vec<&str> = node.peers.iter().map(|peer| peer.name.as_str()).collect();
        let ranges: Vec<String> = node.dynamic.iter().map(|range| format!("an address of {}", range.prefix)).collect();
        let known: Vec<&str> = names.into_iter().chain(ranges.iter().map(String::as_str)).collect();
        format!("there is no peer `{name}`; there are: {}", known.join(", "))
    })
}

/// Where the peer is; an unnumbered one is somewhere on its link.
fn address(peer: &PeerConfig, trial: &Trial) -> IpAddr {
    let nowhere = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
    trial.peer.parse().unwrap_or(match peer.endpoint {
        Endpoint::Address(address) => address,
        Endpoint::Interface(_) => nowhere,
    })
}

/// The peer's AS: as configured, else the first of the path.
fn remote_asn(peer: &PeerConfig, trial: &Trial) -> Asn {
    let first = trial.as_path.first().copied().map_or(Asn(0), Asn);
    match &peer.remote_asn {
        RemoteAs::Is(asn) => *asn,
        RemoteAs::External => first,
        RemoteAs::OneOf(list) => list.first().copied().unwrap_or(first),
    }
}

fn block(trial: &Trial) -> Vec<u8> {
    /// RFC 4271 §4.3: path segment type AS_SEQUENCE; at most 255 numbers fit its count.
    const SEQUENCE: u8 = 2;
    let mut block = Vec::new();
    put(&mut block, flag::TRANSITIVE, kind::ORIGIN, &[trial.origin]);
    let mut path = Vec::new();
    for part in trial.as_path.chunks(usize::from(u8::MAX)) {
        path.extend([SEQUENCE, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
        path.extend(part.iter().flat_map(|asn| asn.to_be_bytes()));
    }
    put(&mut block, flag::TRANSITIVE, kind::AS_PATH, &path);
    if let Some(med) = trial.med {
        put(&mut block, flag::OPTIONAL, kind::MULTI_EXIT_DISC, &med.to_be_bytes());
    }
    if let Some(local_pref) = trial.local_pref {
        put(&mut block, flag::TRANSITIVE, kind::LOCAL_PREF, &local_pref.to_be_bytes());
    }
    let optional = flag::OPTIONAL | flag::TRANSITIVE;
    if !trial.communities.is_empty() {
        let value: Vec<u8> = trial.communities.iter().flat_map(|community| community.0.to_be_bytes()).collect();
        put(&mut block, optional, kind::COMMUNITIES, &value);
    }
    if !trial.ext_communities.is_empty() {
        let value: Vec<u8> = trial.ext_communities.iter().flat_map(|community| community.0).collect();
        put(&mut block, optional, kind::EXTENDED_COMMUNITIES, &value);
    }
    if !trial.large_communities.is_empty() {
        let words = trial.large_communities.iter().flat_map(|community| community.0);
        let value: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
        put(&mut block, optional, kind::LARGE_COMMUNITIES, &value);
    }
    block
}

/// What differs between the attributes before and after.
fn changes(
    chosen: Chosen<'_>,
    route: Route<'_>,
    rules: &[weft_bgp::policy::RuleId],
) -> Vec<(&'static str, String, String)> {
    let after = chosen.changed(route.attrs.0, rules, route.own_asn, route.bandwidth);
    let mut all: Vec<_> = facts(route.attrs)
        .into_iter()
        .zip(facts(Attrs(&after)))
        .filter(|(old, new)| old != new)
        .map(|((name, old), (_, new))| (name, old, new))
        .collect();
    if let Some(next_hop) = chosen.next_hop(rules) {
        let new = match next_hop {
            SetNextHop::Me => "self".to_owned(),
            SetNextHop::Peer => "the peer".to_owned(),
            SetNextHop::Address(address) => address.to_string(),
        };
        all.push(("next hop", route.next_hop.to_string(), new));
    }
    all
}

/// The attributes that a policy can change, in words.
fn facts(attrs: Attrs<'_>) -> [(&'static str, String); 7] {
    let number = |value: Option<u32>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    let list = |all: Vec<String>| if all.is_empty() { "none".to_owned() } else { all.join(" ") };
    let standard = attrs.communities().map(|word| format!("{}:{}", word >> 16, word & 0xffff)).collect();
    let large = attrs.large_communities().map(|[a, b, c]| format!("{a}:{b}:{c}")).collect();
    [
        ("origin", attrs.origin().to_string()),
        ("AS path", list(attrs.as_path().to_string().split_whitespace().map(str::to_owned).collect())),
        ("local preference", number(attrs.local_pref())),
        ("MED", number(attrs.med())),
        ("communities", list(standard)),
        ("large communities", list(large)),
        ("extended communities", list(attrs.ext_communities().map(|community| community.to_string()).collect())),
    ]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, peer) = (self.prefix, &self.peer);
        for (direction, decision) in [("import from", &self.import), ("export to", &self.export)] {
            let verdict = if decision.accepted { "accepted" } else { "rejected" };
            let by = match (&decision.policy, &decision.rule) {
                (Some(_), Some(rule)) => format!("by rule {rule}"),
                (Some(policy), None) => format!("by policy {policy}"),
                (None, _) if decision.accepted => "without a policy: the peer is internal".to_owned(),
                (None, _) => "without a policy: the peer is external (RFC 8212 §3)".to_owned(),
            };
            writeln!(f, "{direction} {peer}: {prefix} {verdict} {by}")?;
            for (name, old, new) in decision.changes.iter().filter(|_| decision.accepted) {
                writeln!(f, "  {name}: {old} → {new}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const FILE: &str = "
role: tor
asn: 64600
addresses: [10.69.255.1/32]
peers:
  spine1: {address: 10.72.1.0, remote_asn: 64599, import: from-spine, export: to-spine}
listen:
  - {prefix: 10.69.0.64/26, remote_asn: 64600}
policy:
  sets: {nodes: [10.69.0.0/20 ge 32]}
  from-spine:
    - {match: {community: 64599:7}, then: {set: {local_pref: 200}, do: accept}}
  to-spine:
    - {match: {prefix: nodes}, then: {prepend: 1, do: accept}}
";

    fn trial(prefix: &str, peer: &str) -> Trial {
        Trial {
            prefix: prefix.parse().unwrap(),
            peer: peer.to_owned(),
            as_path: vec![64_599, 64_601],
            origin: 0,
            local_pref: None,
            med: None,
            next_hop: None,
            communities: vec![Community::parse("64599:7").unwrap()],
            large_communities: Vec::new(),
            ext_communities: Vec::new(),
            next_hops: 1,
        }
    }

    #[test]
    fn the_rule_that_decides_is_named_with_its_changes() {
        let node = config::parse("tor.yaml", FILE).unwrap().node().unwrap();
        let told = run(&node, &trial("10.69.0.4/32", "spine1")).unwrap().to_string();
        assert_eq!(
            told,
            "import from spine1: 10.69.0.4/32 accepted by rule from-spine[0]\n  local preference: none → 200\n\
             export to spine1: 10.69.0.4/32 accepted by rule to-spine[0]\n  AS path: 64599 64601 → 64600 64599 64601\n"
        );
        let told = run(&node, &trial("10.0.0.0/8", "spine1")).unwrap().to_string();
        assert!(told.contains("export to spine1: 10.0.0.0/8 rejected by rule to-spine.end"), "{told}");
    }

    #[test]
    fn an_address_of_a_listen_range_is_a_peer_and_a_stranger_is_not() {
        let node = config::parse("tor.yaml", FILE).unwrap().node().unwrap();
        assert!(run(&node, &trial("10.69.0.4/32", "10.69.0.70")).unwrap().import.accepted);
        let error = run(&node, &trial("10.69.0.4/32", "spine9")).unwrap_err();
        assert_eq!(error, "there is no peer `spine9`; there are: spine1, an address of 10.69.0.64/26");
    }
}
