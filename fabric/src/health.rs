//! `weft health`: named checks of what a running daemon knows of itself. Each has one sentence of fact and, unless all is well, what to
//! do next. Pure: from a [`Picture`] of typed answers to the list, always the same names in the same order.
//!
//! `bad` is for what should wake somebody: packets are lost, or there is no second way any more. `warn` is for working hours.

mod dhcp;
mod kernel;
mod services;
#[cfg(test)]
pub(crate) mod tests;

use crate::api::{Address, BfdSessions, Certificate, Dhcp, Drain, Interface, Neighbor, Observer, RpkiCache, Vip};
use crate::fib::FibReport;
use crate::node::LeftOut;
use crate::sandbox::Sandbox;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use weft_bgp::speaker::SpeakerSummary;
use weft_bgp::time::Duration;
use weft_bgp::types::IpNet;

/// Things named in one sentence; the commands name all.
const NAMED: usize = 3;
/// What lies further back is no longer held against anybody.
pub const LATELY: Duration = Duration::from_secs(15 * 60);
/// A session that was lost more often lately flaps.
const LOSSES: u64 = 3;
/// Of its maximum of prefixes, per cent: from there on somebody should look.
const NEAR_LIMIT_PERCENT: u64 = 90;

/// A certificate that expires sooner than this is to be renewed now.
pub const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);

/// How something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    #[default]
    Ok,
    /// It works, but somebody should look.
    Warn,
    /// Packets are lost, or will be when one more thing fails.
    Bad,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        })
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at: one of [`NAMES`].
    pub name: String,
    /// How it is.
    pub state: State,
    /// What was found, as a sentence of fact.
    pub fact: String,
    /// What to do about it; absent when it is ok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Every check, in the order in which they are shown.
pub const NAMES: [&str; 20] = [
    "convergence",
    "sessions",
    "flaps",
    "limits",
    "links",
    "cabling",
    "addresses",
    "next-hops",
    "kernel",
    "conflicts",
    "imports",
    "bfd",
    "threads",
    "vips",
    "dhcp",
    "drain",
    "rpki",
    "observers",
    "sandbox",
    "certificate",
];

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Picture<'a> {
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// The peers.
    pub neighbors: &'a [Neighbor],
    /// The links.
    pub interfaces: &'a [Interface],
    /// Addresses that must be on one of them.
    pub addresses: &'a [IpNet],
    /// Names of peers, and how often each lost its session within [`LATELY`].
    pub losses: &'a [(String, u64)],
    /// Next hops that lead nowhere, and how many paths have each.
    pub unresolved: &'a [(IpAddr, u32)],
    /// The table.
    pub summary: &'a SpeakerSummary,
    /// The kernel's side, where it is managed.
    pub fib: Option<&'a FibReport>,
    /// What is left out of other software's routes; nothing where none are announced.
    pub imports: Option<&'a [LeftOut]>,
    /// BFD.
    pub bfd: &'a BfdSessions,
    /// Service addresses.
    pub vips: &'a [Vip],
    /// What is relayed of DHCP.
    pub dhcp: &'a Dhcp,
    /// What is out of service.
    pub drains: &'a [Drain],
    /// RPKI caches, the most preferred first.
    pub rpki: &'a [RpkiCache],
    /// Collectors and dumps.
    pub observers: &'a [Observer],
    /// What was given up at the start.
    pub sandbox: Option<&'a Sandbox>,
    /// Of `api.remote`.
    pub certificate: Option<&'a Certificate>,
}

/// Looks at everything.
#[must_use]
pub fn examine(picture: &Picture<'_>) -> Vec<Check> {
    vec![
        convergence(picture),
        sessions(picture),
        flaps(picture),
        limits(picture),
        links(picture),
        cabling(picture),
        addresses(picture),
        next_hops(picture),
        kernel::kernel(picture),
        kernel::conflicts(picture),
        kernel::imports(picture),
        services::bfd(picture),
        services::threads(picture),
        services::vips(picture),
        dhcp::dhcp(picture),
        services::drain(picture),
        services::rpki(picture),
        services::observers(picture),
        services::sandbox(picture),
        services::certificate(picture),
    ]
}

fn ok(name: &str, fact: impl Into<String>) -> Check {
    Check { name: name.to_owned(), state: State::Ok, fact: fact.into(), remedy: None }
}

fn warn(name: &str, fact: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { name: name.to_owned(), state: State::Warn, fact: fact.into(), remedy: Some(remedy.into()) }
}

fn bad(name: &str, fact: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { state: State::Bad, ..warn(name, fact, remedy) }
}

/// `1 path`, `2 paths`.
fn count(number: usize, noun: &str, plural: &str) -> String {
    format!("{number} {}", if number == 1 { noun } else { plural })
}

/// The first of them, and how many more there are.
fn some(all: &[String]) -> String {
    let mut text = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    if all.len() > NAMED {
        text.push_str(&format!("; and {} more", all.len() - NAMED));
    }
    text
}

fn convergence(picture: &Picture<'_>) -> Check {
    let summary = picture.summary;
    let name = "convergence";
    if summary.converged {
        return ok(name, format!("every table that was waited for is here: {} prefixes", summary.prefixes));
    }
    let fact = format!("waiting for End-of-RIB of {}", some(&summary.waiting_for));
    bad(name, fact, "wait, or see `weft show neighbors` for why they do not speak")
}

fn is_up(peer: &Neighbor) -> bool {
    peer.state == crate::api::ESTABLISHED
}

fn sessions(picture: &Picture<'_>) -> Check {
    let name = "sessions";
    let wanted = picture.neighbors.iter().filter(|peer| peer.shutdown.is_none());
    let down: Vec<&Neighbor> = wanted.clone().filter(|peer| !is_up(peer)).collect();
    let all = wanted.count();
    let rest = match picture.neighbors.len() - all {
        0 => String::new(),
        shut => format!(", {shut} shut down on purpose"),
    };
    if all == 0 {
        return ok(name, format!("no neighbor is wanted{rest}"));
    }
    let fact = format!("{} of {} Established{rest}", all - down.len(), count(all, "neighbor is", "neighbors are"));
    let Some(first) = down.first() else {
        return ok(name, fact);
    };
    let why = |peer: &&Neighbor| {
        let reason = peer.miswired.as_ref().or(peer.last_error.as_ref());
        let reason = match (reason, peer.address) {
            (Some(reason), _) => format!(", {reason}"),
            (None, None) => ", nobody was found on the link".to_owned(),
            (None, Some(_)) => String::new(),
        };
        format!("{}: {} for {}{reason}", peer.name, peer.state, crate::show::duration(peer.since_s))
    };
    let fact = format!("{fact}; {}", some(&down.iter().map(why).collect::<Vec<_>>()));
    let remedy = format!("`weft show neighbors {} --history` says what was said last", first.name);
    // Who called by himself may leave again.
    if down.iter().all(|peer| peer.dynamic) { warn(name, fact, remedy) } else { bad(name, fact, remedy) }
}

fn flaps(picture: &Picture<'_>) -> Check {
    let name = "flaps";
    let flapping: Vec<&(String, u64)> = picture.losses.iter().filter(|(_, losses)| *losses > LOSSES).collect();
    let minutes = LATELY.as_secs() / 60;
    let resting = picture
        .neighbors
        .iter()
        .filter_map(|peer| Some(format!("{} rests for {} more", peer.name, crate::show::duration(peer.resting_s?))));
    let resting: Vec<String> = resting.collect();
    if !resting.is_empty() {
        let fact = format!("after failures in a row, or a limit: {}", some(&resting));
        return warn(name, fact, "it is tried again by itself; `weft show neighbors PEER --history` says what failed");
    }
    let Some((first, _)) = flapping.first() else {
        let lost: u64 = picture.losses.iter().map(|(_, losses)| losses).sum();
        let times = count(usize::try_from(lost).unwrap_or(usize::MAX), "session was", "sessions were");
        return ok(name, format!("{times} lost within {minutes} minutes"));
    };
    let each: Vec<String> = flapping.iter().map(|(peer, losses)| format!("{peer} was lost {losses} times")).collect();
    let fact = format!("within {minutes} minutes {}", some(&each));
    warn(name, fact, format!("`weft show neighbors {first} --history` says why each time"))
}

fn limits(picture: &Picture<'_>) -> Check {
    let name = "limits";
    let near = |peer: &&Neighbor| {
        let held = peer.prefixes_received.ipv4 + peer.prefixes_received.ipv6;
        let limit = u64::from(peer.max_prefixes?);
        (held * 100 >= limit * NEAR_LIMIT_PERCENT).then(|| format!("{} has {held} of at most {limit}", peer.name))
    };
    let near: Vec<String> = picture.neighbors.iter().filter_map(|peer| near(&peer)).collect();
    let old = picture.neighbors.iter().find(|peer| peer.old_policy.is_some());
    if !near.is_empty() {
        return warn(name, format!("prefixes: {}", some(&near)), "raise `max_prefixes`, or have it announce less");
    }
    if let Some(peer) = old {
        let fact = format!("the routes of {} are as an older policy left them: it cannot refresh", peer.name);
        return warn(name, fact, format!("`weft clear {} --hard` renews them with a new session", peer.name));
    }
    if picture.summary.held_back > 0 {
        let held = picture.summary.held_back;
        let fact = format!("`policy.guards` keep {held} prefixes from being used");
        return warn(name, fact, "`weft show routes` names them, `weft explain PREFIX` says what they need");
    }
    ok(name, "no neighbor is near its maximum of prefixes, and every policy is in force")
}

fn links(picture: &Picture<'_>) -> Check {
    let name = "links";
    let used: Vec<&Interface> = picture.interfaces.iter().filter(|link| !link.neighbors.is_empty()).collect();
    let is_there = |wanted: &str| picture.interfaces.iter().any(|link| link.name == wanted);
    let wanted = picture.neighbors.iter().filter(|peer| peer.shutdown.is_none());
    let absent = wanted.filter_map(|peer| peer.interface.clone()).filter(|wanted| !is_there(wanted));
    // Out of service on purpose: the cable may go.
    let is_shut = |name: &String| picture.neighbors.iter().any(|peer| peer.name == *name && peer.shutdown.is_some());
    let needed = used.iter().filter(|link| !link.neighbors.iter().all(is_shut));
    let down = needed.filter(|link| !link.up || !link.carrier).map(|link| {
        let what = if link.up { "has no carrier" } else { "is not up" };
        format!("{} {what}", link.name)
    });
    let lost: Vec<String> = absent.map(|link| format!("{link} is not there")).chain(down).collect();
    if !lost.is_empty() {
        return bad(name, some(&lost), "look at the cable and at the other end; `ip link` says what this end knows");
    }
    // An unnumbered neighbor is found by its link-local address, from ours (RFC 4861 §4.2).
    let is_local = |addr: &Address| crate::link::is_link_local(addr.net.addr()) && addr.net.addr().is_ipv6();
    let unfound = picture.neighbors.iter().filter(|peer| peer.address.is_none() && peer.shutdown.is_none());
    let unfound: Vec<&String> = unfound.filter_map(|peer| peer.interface.as_ref()).collect();
    let mute = used.iter().filter(|link| unfound.contains(&&link.name) && !link.addresses.iter().any(is_local));
    let mute: Vec<String> = mute.map(|link| format!("{} has no link-local address", link.name)).collect();
    if !mute.is_empty() {
        let remedy = "IPv6 is off there: set the sysctls `net.ipv6.conf.all.disable_ipv6` and the link's own to 0";
        return bad(name, some(&mute), remedy);
    }
    let damped = used.iter().filter(|link| link.damped > 0);
    let damped: Vec<String> =
        damped.map(|link| format!("{} lost its carrier {} times", link.name, link.damped)).collect();
    if !damped.is_empty() {
        let fact = format!("kept out of use: within a minute {}", some(&damped));
        return warn(name, fact, "it is used again by itself; look at the cable");
    }
    ok(name, format!("{} to neighbors, all usable", count(used.len(), "link", "links")))
}

fn cabling(picture: &Picture<'_>) -> Check {
    let name = "cabling";
    let wrong =
        picture.interfaces.iter().filter_map(|link| Some(format!("{}: {}", link.name, link.miswired.as_ref()?)));
    let wrong: Vec<String> = wrong.collect();
    if !wrong.is_empty() {
        return bad(name, some(&wrong), "move the cable, or correct `expect_lldp`");
    }
    let odd = picture.interfaces.iter().filter_map(|link| match (link.other_router, link.looped) {
        (Some(other), _) => Some(format!("{}: a second router, {other}, was heard", link.name)),
        (None, 1..) => Some(format!("{}: our own router advertisements came back", link.name)),
        (None, 0) => None,
    });
    let odd: Vec<String> = odd.collect();
    if !odd.is_empty() {
        return warn(name, some(&odd), "a link of an unnumbered neighbor must have two ends, and be no loop");
    }
    match picture.interfaces.iter().filter(|link| link.lldp.is_some()).count() {
        0 => ok(name, "no link is a loop or has a third end; nobody is expected by LLDP"),
        known => ok(name, format!("who is expected by LLDP is there, at {}", count(known, "link", "links"))),
    }
}

fn addresses(picture: &Picture<'_>) -> Check {
    let name = "addresses";
    let all = picture.interfaces.iter().flat_map(|link| link.addresses.iter().map(move |address| (link, address)));
    let duplicate = all.clone().filter(|(_, address)| address.duplicate);
    let duplicate: Vec<String> = duplicate.map(|(link, address)| format!("{} on {}", address.net, link.name)).collect();
    if !duplicate.is_empty() {
        let fact = format!("somebody else on the link has {}", some(&duplicate));
        return bad(name, fact, "find who has it (`ip neigh`), and give one of both another address");
    }
    let is_there = |net: &IpNet| all.clone().any(|(_, address)| address.net.addr() == net.addr());
    let missing: Vec<String> = picture.addresses.iter().filter(|net| !is_there(net)).map(ToString::to_string).collect();
    if !missing.is_empty() {
        return bad(
            name,
            format!("on no interface: {}", some(&missing)),
            "the daemon's log says why the kernel refuses",
        );
    }
    let all = count(picture.addresses.len(), "address of this node is", "addresses of this node are");
    ok(name, format!("{all} there, and nobody else has one"))
}

fn next_hops(picture: &Picture<'_>) -> Check {
    let name = "next-hops";
    if picture.unresolved.is_empty() {
        return ok(name, "every next hop of every path leads somewhere");
    }
    let one = |(address, paths): &(IpAddr, u32)| {
        format!("{address} of {}", count(usize::try_from(*paths).unwrap_or(usize::MAX), "path", "paths"))
    };
    let each: Vec<String> = picture.unresolved.iter().map(one).collect();
    let fact = format!("{} nowhere: {}", count(each.len(), "next hop leads", "next hops lead"), some(&each));
    warn(name, fact, "`weft show bgp` marks them; let the neighbor set itself as next hop, or add a route to them")
}
