//! What a watcher of events is told, as it happens: sessions, routes, links, BFD, service addresses, the kernel. Pure: from what the
//! daemon's loop sees to lines; who hears them, and how many a slow one loses, is `io/http`'s.

use crate::link::LinkInfo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;
use weft_bgp::speaker::Want;
use weft_bgp::time::Instant;
use weft_bgp::types::{Hop, IfIndex, IpNet};

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sessions, and what they say of their tables.
    Peers,
    /// Where packets go.
    Routes,
    /// Interfaces.
    Links,
    /// Broken paths.
    Bfd,
    /// Service addresses.
    Vips,
    /// What the kernel refuses.
    Kernel,
    /// Reloads, and what became of them.
    Configuration,
    /// What is taken out of service.
    Drain,
}

impl Kind {
    /// Every kind, in the order in which they are listed.
    pub const ALL: [Self; 8] =
        [Self::Peers, Self::Routes, Self::Links, Self::Bfd, Self::Vips, Self::Kernel, Self::Configuration, Self::Drain];

    /// As in a query.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Routes => "routes",
            Self::Links => "links",
            Self::Bfd => "bfd",
            Self::Vips => "vips",
            Self::Kernel => "kernel",
            Self::Configuration => "configuration",
            Self::Drain => "drain",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("write one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// One event, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since the daemon started.
    pub at_ms: u64,
    /// What it is about.
    pub kind: Kind,
    /// As a sentence.
    pub text: String,
    /// As data: `event` says which, the rest depends on that.
    #[serde(flatten)]
    pub event: Value,
}

impl Line {
    /// An event.
    #[must_use]
    pub fn new(at: Instant, kind: Kind, text: impl Into<String>, event: Value) -> Self {
        Self { at_ms: at.0 / 1_000_000, kind, text: text.into(), event }
    }
}

/// A route that changed, before anybody made a line of it: a table that arrives must cost the loop nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteNews {
    /// When.
    pub at: Instant,
    /// Which.
    pub prefix: IpNet,
    /// What the kernel is asked for.
    pub want: Want,
}

impl RouteNews {
    /// As a line; `name` is that of a link.
    #[must_use]
    pub fn line(&self, name: impl Fn(IfIndex) -> String) -> Line {
        let prefix = self.prefix;
        let (text, via) = match &self.want {
            Want::Nothing => (format!("{prefix} is no longer routed"), Vec::new()),
            Want::Discard => (format!("{prefix} is dropped here"), Vec::new()),
            Want::Hops(hops) if hops.is_empty() => (format!("{prefix} has no next hop that is up"), Vec::new()),
            Want::Hops(hops) => {
                let hop = |hop: &Hop| (name(hop.link), hop.gateway, hop.weight);
                let hops: Vec<_> = hops.iter().map(hop).collect();
                let each: Vec<String> = hops.iter().map(|(link, gateway, _)| format!("{gateway} {link}")).collect();
                let via = hops.iter().map(|(interface, gateway, weight)| {
                    json!({"interface": interface, "gateway": gateway, "weight": weight})
                });
                (format!("{prefix} via {}", each.join(", ")), via.collect())
            }
        };
        Line::new(self.at, Kind::Routes, text, json!({"event": "route", "prefix": prefix, "via": via}))
    }
}

/// What became of the links between two pictures of them.
#[must_use]
pub fn links(at: Instant, before: &[LinkInfo], after: &[LinkInfo]) -> Vec<Line> {
    let line = |link: &LinkInfo, what: &str, is: &str| {
        Line::new(at, Kind::Links, format!("{} {is}", link.name), json!({"event": what, "name": link.name}))
    };
    let find = |all: &[LinkInfo], wanted: &LinkInfo| all.iter().position(|link| link.index == wanted.index);
    let mut lines: Vec<Line> =
        before.iter().filter(|old| find(after, old).is_none()).map(|old| line(old, "link_gone", "is gone")).collect();
    for link in after {
        let Some(old) = find(before, link).map(|at| &before[at]) else {
            let how = if link.has_carrier() { "is there, and up" } else { "is there, without a carrier" };
            lines.push(line(link, "link_new", how));
            continue;
        };
        match (old.has_carrier(), link.has_carrier()) {
            (false, true) => lines.push(line(link, "link_up", "is up")),
            (true, false) if link.up => lines.push(line(link, "link_down", "lost its carrier")),
            (true, false) => lines.push(line(link, "link_down", "was set down")),
            (true, true) | (false, false) => {}
        }
        if old.damped == 0 && link.damped > 0 {
            lines.push(line(link, "link_damped", "is kept out of use: it loses its carrier too often"));
        } else if old.damped > 0 && link.damped == 0 {
            lines.push(line(link, "link_used", "is used again"));
        }
        let nets = |link: &LinkInfo| -> Vec<IpNet> { link.addrs.iter().map(|addr| addr.net).collect() };
        let (had, has) = (nets(old), nets(link));
        lines.extend(
            has.iter().filter(|net| !had.contains(net)).map(|net| address(at, link, net, "has", "address_new")),
        );
        lines.extend(
            had.iter().filter(|net| !has.contains(net)).map(|net| address(at, link, net, "lost", "address_gone")),
        );
    }
    lines
}

fn address(at: Instant, link: &LinkInfo, net: &IpNet, verb: &str, what: &str) -> Line {
    let event = json!({"event": what, "name": link.name, "address": net});
    Line::new(at, Kind::Links, format!("{} {verb} the address {net}", link.name), event)
}

/// What the kernel did not take.
#[must_use]
pub fn refused(at: Instant, prefix: IpNet) -> Line {
    let text = format!("{prefix} is not in the kernel as wanted: refused, or without a live neighbor");
    Line::new(at, Kind::Kernel, text, json!({"event": "kernel_refused", "prefix": prefix}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::AddrInfo;
    use std::sync::Arc;

    fn link(index: u32, carrier: bool) -> LinkInfo {
        LinkInfo {
            index: IfIndex(index),
            name: format!("eth{index}"),
            mac: [0; 6],
            mtu: 1_500,
            up: true,
            carrier,
            damped: 0,
            loopback: false,
            master: None,
            kind: None,
            addrs: Vec::new(),
        }
    }

    #[test]
    fn links_are_compared_one_by_one() {
        let before =
            [link(1, true), link(2, true), link(3, false), LinkInfo { damped: 6, ..link(4, true) }, link(6, true)];
        let after = [
            LinkInfo { addrs: vec![AddrInfo::new("10.0.0.1/24".parse().unwrap())], ..link(1, false) },
            LinkInfo { up: false, ..link(2, false) },
            link(3, true),
            link(4, true),
            link(5, true),
        ];
        let texts: Vec<String> = links(Instant::ZERO, &before, &after).into_iter().map(|line| line.text).collect();
        assert_eq!(
            texts,
            [
                "eth6 is gone",
                "eth1 lost its carrier",
                "eth1 has the address 10.0.0.1/24",
                "eth2 was set down",
                "eth3 is up",
                "eth4 is used again",
                "eth5 is there, and up"
            ]
        );
        assert_eq!(links(Instant::ZERO, &after, &after), []);
    }

    #[test]
    fn a_route_names_links_and_neighbors() {
        let hop = |link| Hop { link: IfIndex(link), gateway: "10.0.0.1".parse().unwrap(), weight: 1 };
        let news = |want| RouteNews { at: Instant(1_500_000_000), prefix: "10.9.0.0/16".parse().unwrap(), want };
        let line = |want| news(want).line(|link| format!("eth{}", link.0));
        let routed = line(Want::Hops(Arc::from([hop(0), hop(1)])));
        assert_eq!(routed.text, "10.9.0.0/16 via 10.0.0.1 eth0, 10.0.0.1 eth1");
        assert_eq!(
            serde_json::to_value(&routed).unwrap(),
            json!({
                "at_ms": 1_500, "kind": "routes", "text": routed.text, "event": "route", "prefix": "10.9.0.0/16",
                "via": [{"interface": "eth0", "gateway": "10.0.0.1", "weight": 1}, {"interface": "eth1", "gateway": "10.0.0.1", "weight": 1}]
            })
        );
        assert_eq!(line(Want::Nothing).text, "10.9.0.0/16 is no longer routed");
        assert_eq!(line(Want::Hops(Arc::from([]))).text, "10.9.0.0/16 has no next hop that is up");
        assert_eq!(line(Want::Discard).text, "10.9.0.0/16 is dropped here");
        let back: Line = serde_json::from_str(&serde_json::to_string(&routed).unwrap()).unwrap();
        assert_eq!(back, routed);
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        assert_eq!(
            "routen".parse::<Kind>(),
            Err("write one of peers, routes, links, bfd, vips, kernel, configuration, drain".to_owned())
        );
    }
}
