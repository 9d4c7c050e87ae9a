//! What we originate, and for whom: the configuration, services, programs, the kernel. Programs ask for routes here.

use super::{Command, Query, Refusal};
use crate::config::{Community, LargeCommunity};
use crate::node::{LEASE_MAX, Lease, LeftOut, Node, Refused, Source};
use serde::{Deserialize, Serialize};
use weft_bgp::speaker::Originate;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IpNet;

/// Longest name of an owner: it is shown in tables.
const OWNER_MAX: usize = 64;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Originated {
    /// By prefix; several lines for one prefix if several want it.
    pub originated: Vec<OriginatedRoute>,
    /// Routes of other software that are not announced because there are too many.
    pub import_left_out: u64,
    /// Where they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// A route of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginatedRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// `configured`, `vip`, `api`, `kernel` or `connected`.
    pub source: String,
    /// More about that: `vip boot`, `table 119 protocol 30`, …
    pub why: String,
    /// This is what others hear; `false` where something before it in the order of sources has the same prefix.
    pub announced: bool,
    /// Standard communities.
    pub communities: Vec<String>,
    /// Large communities.
    pub large_communities: Vec<String>,
    /// Share beside other origins.
    pub weight: Option<u16>,
    /// Who asked for it by the API.
    pub owner: Option<String>,
    /// Seconds that are left of its lease.
    pub lease_s: Option<u64>,
}

/// The answer.
pub(super) fn originated(node: &Node, now: Instant) -> Originated {
    let mut last = None;
    let one = |(source, route): (Source, &Originate)| {
        let prefix = route.prefix.trunc();
        // The first of a prefix is the one that is announced.
        let announced = last.replace(prefix) != Some(prefix);
        let lease = node.lease_of(&prefix).filter(|_| source == Source::Api);
        OriginatedRoute {
            prefix,
            source: source.to_string(),
            why: route.why.clone(),
            announced,
            communities: route.communities.iter().map(|word| format!("{}:{}", word >> 16, word & 0xffff)).collect(),
            large_communities: route.large_communities.iter().map(|[a, b, c]| format!("{a}:{b}:{c}")).collect(),
            weight: route.weight,
            owner: lease.map(|(owner, _)| owner.to_owned()),
            lease_s: lease.map(|(_, until)| until.since(now).as_secs()),
        }
    };
    let left_out = node.import_left_out().to_vec();
    let import_left_out = left_out.iter().map(|some| some.routes).sum();
    Originated { originated: node.originated().map(one).collect(), import_left_out, left_out }
}

/// `POST /v1/routes?prefix=…&owner=…&lease_s=…`.
pub(super) fn add(query: &mut Query) -> Result<Command, Refusal> {
    let prefix = prefix(&query.needed("prefix")?)?;
    let owner = owner(query)?;
    let text = query.needed("lease_s")?;
    let most = LEASE_MAX.as_secs();
    let seconds = text.parse().ok().filter(|seconds| (1..=most).contains(seconds)).ok_or_else(|| {
        Refusal::new(400, format!("lease_s={text} is not possible"), format!("write seconds of 1..={most}"))
    })?;
    let weight = match query.take("weight") {
        None => None,
        Some(text) => Some(text.parse().ok().filter(|weight| *weight > 0).ok_or_else(|| {
            Refusal::new(400, format!("weight={text} is not possible"), "write a number of 1..=65535")
        })?),
    };
    let communities = list(query, "communities", |text| Community::parse(text).map(|value| value.0))?;
    let large_communities = list(query, "large_communities", |text| LargeCommunity::parse(text).map(|value| value.0))?;
    let why = format!("for {owner}");
    let route = Originate { prefix, communities, large_communities, weight, why };
    Ok(Command::AddRoute(Box::new(Lease { owner, time: Duration::from_secs(seconds), route })))
}

/// `DELETE /v1/routes?owner=…`, of one `prefix` or of all.
pub(super) fn remove(query: &mut Query) -> Result<Command, Refusal> {
    let prefix = query.take("prefix").map(|text| prefix(&text)).transpose()?;
    Ok(Command::RemoveRoutes { owner: owner(query)?, prefix })
}

fn owner(query: &mut Query) -> Result<String, Refusal> {
    let owner = query.needed("owner")?;
    if owner.len() > OWNER_MAX || owner.chars().any(char::is_control) {
        return Err(Refusal::new(400, "this is no name of an owner", format!("write at most {OWNER_MAX} characters")));
    }
    Ok(owner)
}

fn prefix(text: &str) -> Result<IpNet, Refusal> {
    let wrong = || Refusal::new(400, format!("prefix=`{text}` is no prefix"), "write 10.72.32.1/32 or fd00::/64");
    let net: IpNet = text.parse().map_err(|_| wrong())?;
    if net.trunc() != net {
        let remedy = format!("write {} or {}", net.trunc(), IpNet::from(net.addr()));
        return Err(Refusal::new(400, format!("{net} has bits set beyond its length"), remedy));
    }
    Ok(net)
}

fn list<T>(query: &mut Query, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Refusal> {
    let text = query.take(name).unwrap_or_default();
    let words = text.split(',').filter(|word| !word.is_empty());
    words
        .map(|word| {
            parse(word).ok_or_else(|| {
                Refusal::new(
                    400,
                    format!("{name}: `{word}` is none"),
                    "write them with commas between, as 65000:1,no-export",
                )
            })
        })
        .collect()
}

/// Why a program does not get what it asked for.
#[must_use]
pub fn refusal(refused: Refused<'_>, prefix: &IpNet) -> Refusal {
    match refused {
        Refused::Owned(owner) => Refusal::new(
            409,
            format!("{prefix} belongs to {owner}"),
            "let its owner end it, or wait until its lease is over",
        ),
        Refused::Full => {
            Refusal::new(507, "there are too many routes of programs", "end some, or announce what covers them")
        }
        Refused::Absent => {
            Refusal::new(404, format!("no program announces {prefix}"), "`weft route list` shows what there is")
        }
    }
}
