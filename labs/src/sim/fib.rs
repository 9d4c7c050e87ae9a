//! A kernel's forwarding table, as far as packets notice: longest prefix, members without carrier gone, a last resort behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use weft_bgp::speaker::Want;
use weft_bgp::types::{Hop, IfIndex, IpNet};
use weft_fabric::link::LinkInfo;

/// What a lookup says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is for this node.
    Local,
    /// The destination itself is on this link.
    Connected(IfIndex),
    /// To one of these.
    Hops(Vec<Hop>),
    /// Dropped on purpose.
    Discard,
    /// Nothing matches.
    NoRoute,
}

/// The table of one node.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    routes: BTreeMap<IpNet, Want>,
    /// Left behind by an earlier daemon and not wanted by this one so far.
    leftover: BTreeSet<IpNet>,
    /// Unreachable routes with the worst metric.
    last_resort: BTreeSet<IpNet>,
    /// Neighbours that are sent nothing before their session stands.
    held_back: BTreeSet<(IfIndex, IpAddr)>,
    /// Neighbours that BFD lost.
    dead: BTreeSet<(IfIndex, IpAddr)>,
    /// Every prefix of the above by family, length and bits: what a lookup reads.
    index: BTreeMap<(bool, u8), BTreeMap<u128, IpNet>>,
}

impl Fib {
    /// Ranges that are unreachable when nothing else is known of them.
    pub fn set_last_resort(&mut self, ranges: &[IpNet]) {
        self.last_resort = ranges.iter().copied().collect();
        for range in ranges {
            self.note(range);
        }
    }

    /// A neighbour is sent nothing from now on, or packets again.
    pub fn hold_back(&mut self, link: IfIndex, addr: IpAddr, held: bool) {
        if held {
            self.held_back.insert((link, addr));
        } else {
            self.held_back.remove(&(link, addr));
        }
    }

    /// BFD lost a neighbour, or has it again.
    pub fn set_alive(&mut self, link: IfIndex, addr: IpAddr, alive: bool) {
        if alive {
            self.dead.remove(&(link, addr));
        } else {
            self.dead.insert((link, addr));
        }
    }

    /// Whether a neighbour is sent nothing.
    #[must_use]
    pub fn holds_back(&self, hop: &Hop) -> bool {
        let neighbour = (hop.link, hop.gateway);
        self.held_back.contains(&neighbour) || self.dead.contains(&neighbour)
    }

    /// One change; whether packets may notice.
    pub fn apply(&mut self, prefix: IpNet, want: Want) -> bool {
        self.leftover.remove(&prefix);
        match want {
            Want::Nothing => self.routes.remove(&prefix).is_some(),
            Want::Hops(_) | Want::Discard => {
                self.note(&prefix);
                let old = self.routes.insert(prefix, want);
                old.as_ref() != self.routes.get(&prefix)
            }
        }
    }

    /// A new daemon found what an earlier one left.
    pub fn adopt(&mut self) {
        self.leftover = self.routes.keys().copied().collect();
        self.held_back.clear();
        self.dead.clear();
    }

    /// The new daemon knows all it will know: what it did not want goes.
    pub fn sweep(&mut self) -> Vec<IpNet> {
        let gone: Vec<_> = std::mem::take(&mut self.leftover).into_iter().collect();
        for prefix in &gone {
            self.routes.remove(prefix);
        }
        gone
    }

    /// Everything goes.
    pub fn clear(&mut self) -> Vec<IpNet> {
        self.leftover.clear();
        self.last_resort.clear();
        self.held_back.clear();
        self.dead.clear();
        self.index.clear();
        std::mem::take(&mut self.routes).into_keys().collect()
    }

    /// What is held, in order.
    pub fn routes(&self) -> impl Iterator<Item = (&IpNet, &Want)> {
        self.routes.iter()
    }

    /// What is held for one prefix.
    #[must_use]
    pub fn get(&self, prefix: &IpNet) -> Option<&Want> {
        self.routes.get(prefix)
    }

    /// Prefixes that an earlier daemon left and nobody confirmed.
    #[must_use]
    pub const fn leftover(&self) -> &BTreeSet<IpNet> {
        &self.leftover
    }

    /// What happens to a packet for `target`. `links` are the node's own.
    #[must_use]
    pub fn lookup(&self, target: IpAddr, links: &[LinkInfo]) -> Lookup {
        if links.iter().any(|link| link.addrs.iter().any(|addr| addr.net.addr() == target)) {
            return Lookup::Local;
        }
        let usable = |index: IfIndex| links.iter().any(|link| link.index == index && link.is_usable());
        let connected = connected(target, links);
        let nearest = connected.map_or(0, |(length, _)| length);
        let (v6, bits) = bits(target);
        for ((_, length), prefixes) in self.index.range((v6, nearest)..=(v6, 128)).rev() {
            let Some(prefix) = prefixes.get(&(bits & mask(*length))) else {
                continue;
            };
            if connected.is_some() && *length == nearest {
                break;
            }
            match self.routes.get(prefix) {
                Some(Want::Hops(hops)) => {
                    // The kernel deletes members with their carrier, and a route with its last member: the next shorter one counts.
                    let live: Vec<Hop> = live(hops, usable).filter(|hop| !self.holds_back(hop)).collect();
                    if !live.is_empty() {
                        return Lookup::Hops(live);
                    }
                }
                Some(Want::Discard) => return Lookup::Discard,
                Some(Want::Nothing) | None => {}
            }
            if self.last_resort.contains(prefix) {
                return Lookup::Discard;
            }
        }
        connected.map_or(Lookup::NoRoute, |(_, link)| Lookup::Connected(link))
    }

    fn note(&mut self, prefix: &IpNet) {
        let (v6, bits) = bits(prefix.addr());
        let length = prefix.prefix_len();
        self.index.entry((v6, length)).or_default().insert(bits & mask(length), *prefix);
    }
}

/// An address as bits, the first in front, and whether it is an IPv6 one.
fn bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(v4) => (false, u128::from(v4.to_bits()) << 96),
        IpAddr::V6(v6) => (true, v6.to_bits()),
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// The longest connected prefix that holds `target`, and its interface.
fn connected(target: IpAddr, links: &[LinkInfo]) -> Option<(u8, IfIndex)> {
    let (v6, wanted) = bits(target);
    let holds = |net: IpNet| {
        let (family, own) = bits(net.addr());
        family == v6 && (own ^ wanted) & mask(net.prefix_len()) == 0
    };
    let links = links.iter().filter(|link| link.is_usable() && !link.loopback && link.master.is_none());
    let nets = links.flat_map(|link| link.addrs.iter().map(move |addr| (addr.net, link.index)));
    nets.filter(|(net, _)| holds(*net)).map(|(net, link)| (net.prefix_len(), link)).max()
}

fn live(hops: &Arc<[Hop]>, usable: impl Fn(IfIndex) -> bool) -> impl Iterator<Item = Hop> {
    hops.iter().filter(move |hop| usable(hop.link)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_fabric::link::AddrInfo;

    fn link(index: u32, net: &str, carrier: bool) -> LinkInfo {
        LinkInfo {
            index: IfIndex(index),
            name: format!("eth{index}"),
            mac: [0; 6],
            mtu: 1500,
            up: true,
            carrier,
            damped: 0,
            loopback: false,
            master: None,
            kind: None,
            addrs: vec![AddrInfo::new(net.parse().unwrap())],
        }
    }

    #[test]
    fn the_longest_live_prefix_decides() {
        let via = |link, gateway: &str| Hop { link: IfIndex(link), gateway: gateway.parse().unwrap(), weight: 1 };
        let links = [link(2, "10.0.0.1/24", true), link(3, "10.1.0.1/24", false)];
        let mut fib = Fib::default();
        let mut add = |prefix: &str, hops: Vec<Hop>| fib.apply(prefix.parse().unwrap(), Want::Hops(hops.into()));
        assert!(add("0.0.0.0/0", vec![via(2, "10.0.0.9")]));
        assert!(add("10.9.0.0/16", vec![via(2, "10.0.0.8"), via(3, "10.1.0.8")]));
        assert!(add("10.9.9.0/24", vec![via(3, "10.1.0.7")]));
        assert!(!add("0.0.0.0/0", vec![via(2, "10.0.0.9")]), "nothing new");
        fib.set_last_resort(&["10.8.0.0/16".parse().unwrap()]);
        let lookup = |target: &str| fib.lookup(target.parse().unwrap(), &links);
        assert_eq!(lookup("10.0.0.1"), Lookup::Local);
        assert_eq!(lookup("10.0.0.7"), Lookup::Connected(IfIndex(2)));
        assert_eq!(lookup("10.1.0.7"), Lookup::Hops(vec![via(2, "10.0.0.9")]), "no carrier, no connected route");
        assert_eq!(lookup("10.9.9.1"), Lookup::Hops(vec![via(2, "10.0.0.8")]), "the last member is gone");
        assert_eq!(lookup("10.8.1.1"), Lookup::Discard);
        assert_eq!(lookup("fd00::1"), Lookup::NoRoute);
    }
}
