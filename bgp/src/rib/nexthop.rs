//! Next hops: interned apart from attributes, each with its resolution through the connected prefixes and the routes of others (RFC 4271
//! §5.1.3, §9.1.2.1).
//!
//! A next hop resolves when it lies in a connected prefix of an interface that is up, or is link-local on a known interface; or when a
//! route that somebody else put into the kernel leads there, a static one say. The longest prefix decides, and among equal ones the
//! connected one. It never resolves through the default route, through a route of ours or through itself.
//!
//! A next hop whose link is down, or who is cut off or held back on a link that stands, is *dormant*: it cannot be used, and it is remembered where it led. The kernel lets go of it by
//! itself (`fabric::fib`), so the set of a prefix need not change for it: one link costs one step there, however many the prefixes.

use crate::speaker::{ForeignRoute, LinkState};
use crate::types::{Hop, IfIndex, IpNet, NextHop};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The name of an interned next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopId(u32);

/// What makes two next hops different: the address, and for a link-local one the interface it was learnt on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    next_hop: NextHop,
    link: Option<IfIndex>,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    /// Paths that have it.
    holders: u32,
    resolved: Option<Hop>,
    /// Where it led before its link went down; `None` while it leads anywhere.
    dormant: Option<Hop>,
    /// `resolved` as the set of a prefix that has no other.
    alone: Option<Arc<[Hop]>>,
}

/// The next hops of all paths, and the interfaces they resolve through. A peer that names ever new ones fills the places of those that
/// it names no more: there are never more than paths.
#[derive(Debug, Default)]
pub struct NextHops {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: BTreeMap<Key, u32>,
    reach: Reach,
    /// Whether any is dormant.
    any_dormant: bool,
    changes: u64,
}

/// What next hops resolve through.
#[derive(Debug, Default)]
struct Reach {
    links: Vec<LinkState>,
    routes: BTreeMap<IpNet, Vec<(IfIndex, Option<IpAddr>)>>,
    /// Who cannot be reached on a link that is up; as many as the kernel has neighbours, which bounds them.
    cut_off: BTreeSet<(IfIndex, IpAddr)>,
    /// Who is sent nothing before its session stands again; no more than peers.
    held_back: BTreeSet<(IfIndex, IpAddr)>,
}

impl NextHops {
    /// The id of a next hop that was learnt from a peer on `link` (if its session is link-local), with one more holder.
    pub fn intern(&mut self, next_hop: NextHop, link: Option<IfIndex>) -> HopId {
        let key = Key { next_hop, link };
        if let Some(&at) = self.index.get(&key) {
            self.hold(HopId(at));
            return HopId(at);
        }
        let resolved = self.reach.resolve(&key);
        let alone = resolved.map(|hop| Arc::from([hop]));
        let slot = Slot { key, holders: 1, resolved, dormant: None, alone };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.index.insert(key, at);
        HopId(at)
    }

    /// One more holder.
    pub fn hold(&mut self, id: HopId) {
        self.slots[id.0 as usize].holders += 1;
    }

    /// One holder less; the last one frees the place.
    pub fn release(&mut self, id: HopId) {
        let slot = &mut self.slots[id.0 as usize];
        slot.holders -= 1;
        if slot.holders == 0 {
            self.index.remove(&slot.key);
            self.free.push(id.0);
            self.changes += 1;
        }
    }

    /// How often a place was freed or leads elsewhere: as long as this stays, an id means what it meant.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// As the wire said it.
    #[must_use]
    pub fn next_hop(&self, id: HopId) -> NextHop {
        self.slots[id.0 as usize].key.next_hop
    }

    /// Those that paths have and that lead nowhere: the next hop, and how many paths.
    pub fn unresolved(&self) -> impl Iterator<Item = (NextHop, u32)> {
        let nowhere = |slot: &&Slot| slot.holders > 0 && slot.resolved.is_none();
        self.slots.iter().filter(nowhere).map(|slot| (slot.key.next_hop, slot.holders))
    }

    /// Where it leads now, if it can be reached.
    #[must_use]
    pub fn resolved(&self, id: HopId) -> Option<Hop> {
        self.slots[id.0 as usize].resolved
    }

    /// Where it led before its link went down, if that is why it leads nowhere now.
    #[must_use]
    pub fn dormant(&self, id: HopId) -> Option<Hop> {
        self.slots[id.0 as usize].dormant
    }

    /// Whether any next hop is dormant: mostly none is.
    #[must_use]
    pub const fn any_dormant(&self) -> bool {
        self.any_dormant
    }

    /// Whether packets can be sent to a member of a set now: its link is up, and it can be reached there.
    #[must_use]
    pub fn is_up(&self, hop: &Hop) -> bool {
        self.reach.is_usable(hop.link, hop.gateway)
    }

    /// Where a prefix goes that has this next hop alone.
    #[must_use]
    pub fn alone(&self, id: HopId) -> Option<&Arc<[Hop]>> {
        self.slots[id.0 as usize].alone.as_ref()
    }

    /// The interfaces changed: ids whose resolution is another one now.
    pub fn set_links(&mut self, links: Vec<LinkState>) -> Vec<HopId> {
        self.reach.links = links;
        self.resolve_all()
    }

    /// The routes of others changed: ids whose resolution is another one now.
    pub fn set_routes(&mut self, routes: Vec<ForeignRoute>) -> Vec<HopId> {
        let routes = routes.into_iter().filter(|route| route.prefix.prefix_len() > 0);
        self.reach.routes = routes.map(|route| (route.prefix.trunc(), route.via)).collect();
        self.resolve_all()
    }

    /// Somebody on a link cannot be reached, or can be again: ids whose resolution is another one now.
    pub fn set_reachable(&mut self, link: IfIndex, addr: IpAddr, reachable: bool) -> Vec<HopId> {
        let changed =
            if reachable { self.reach.cut_off.remove(&(link, addr)) } else { self.reach.cut_off.insert((link, addr)) };
        if changed { self.resolve_all() } else { Vec::new() }
    }

    /// Somebody is sent nothing from now on, or packets again: ids whose resolution is another one now.
    pub fn hold_back(&mut self, link: IfIndex, addr: IpAddr, held: bool) -> Vec<HopId> {
        let set = &mut self.reach.held_back;
        let changed = if held { set.insert((link, addr)) } else { set.remove(&(link, addr)) };
        if changed { self.resolve_all() } else { Vec::new() }
    }

    fn resolve_all(&mut self) -> Vec<HopId> {
        let mut changed = Vec::new();
        for (at, slot) in (0..).zip(&mut self.slots) {
            let resolved = self.reach.resolve(&slot.key);
            let last = slot.resolved.or(slot.dormant);
            let dormant = last.filter(|hop| resolved.is_none() && !self.reach.is_usable(hop.link, hop.gateway));
            if (resolved, dormant) != (slot.resolved, slot.dormant) {
                slot.resolved = resolved;
                slot.dormant = dormant;
                slot.alone = resolved.map(|hop| Arc::from([hop]));
                changed.push(HopId(at));
            }
        }
        self.any_dormant = self.slots.iter().any(|slot| slot.holders > 0 && slot.dormant.is_some());
        self.changes += u64::from(!changed.is_empty());
        changed
    }

    /// The longest connected prefix that holds `address`, and its interface.
    #[must_use]
    pub fn connected(&self, address: IpAddr) -> Option<(IfIndex, IpNet)> {
        connected(&self.reach.links, address)
    }

    /// Whether `address` is one of ours.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.reach.links.iter().any(|link| link.addrs.iter().any(|net| net.addr() == address))
    }
}

fn connected(links: &[LinkState], address: IpAddr) -> Option<(IfIndex, IpNet)> {
    links
        .iter()
        .flat_map(|link| link.addrs.iter().map(move |net| (link.link, *net)))
        .filter(|(_, net)| net.contains(&address))
        .max_by_key(|(_, net)| net.prefix_len())
}

impl Reach {
    fn resolve(&self, key: &Key) -> Option<Hop> {
        let hop = |link, gateway| Hop { link, gateway, weight: 1 };
        // RFC 2545 §3: the link-local address is the one to send to, on the interface of the session.
        if let (Some(link_local), Some(link)) = (key.next_hop.link_local, key.link) {
            return self.is_usable(link, link_local.into()).then_some(hop(link, link_local.into()));
        }
        let address = key.next_hop.addr;
        let connected = connected(&self.links, address);
        // Our own address, or one that only a host prefix of ours covers, leads nowhere.
        if self.links.iter().any(|state| state.addrs.iter().any(|net| net.addr() == address)) {
            return None;
        }
        if let Some(via) = self.route(address, connected.map_or(0, |(_, net)| net.prefix_len())) {
            let mut ways = via.iter().map(|(link, gateway)| (*link, gateway.unwrap_or(address)));
            return ways
                .find(|(link, gateway)| self.is_usable(*link, *gateway))
                .map(|(link, gateway)| hop(link, gateway));
        }
        let (link, net) = connected?;
        (net.prefix_len() < net.max_prefix_len() && self.is_usable(link, address)).then_some(hop(link, address))
    }

    fn is_usable(&self, link: IfIndex, gateway: IpAddr) -> bool {
        let who = (link, gateway);
        self.links.iter().any(|state| state.link == link)
            && !self.cut_off.contains(&who)
            && !self.held_back.contains(&who)
    }

    /// The longest route to `address`, if its prefix is longer than so many bits.
    fn route(&self, address: IpAddr, longer_than: u8) -> Option<&[(IfIndex, Option<IpAddr>)]> {
        if self.routes.is_empty() {
            return None;
        }
        let whole = IpNet::from(address).prefix_len();
        let mut lengths = (longer_than + 1..=whole).rev();
        lengths.find_map(|length| {
            let net = IpNet::new(address, length).ok()?.trunc();
            self.routes.get(&net).map(Vec::as_slice)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(all: &[(u32, &[&str])]) -> Vec<LinkState> {
        all.iter()
            .map(|(link, addrs)| LinkState {
                link: IfIndex(*link),
                addrs: addrs.iter().map(|net| net.parse().unwrap()).collect(),
            })
            .collect()
    }

    fn at(address: &str) -> NextHop {
        NextHop::new(address.parse().unwrap())
    }

    #[test]
    fn the_longest_connected_prefix_wins_and_loss_is_reported() {
        let mut hops = NextHops::default();
        hops.set_links(links(&[(2, &["10.0.0.1/8"]), (3, &["10.1.0.1/24"])]));
        let near = hops.intern(at("10.1.0.9"), None);
        let far = hops.intern(at("10.2.0.9"), None);
        assert_eq!(hops.resolved(near).unwrap().link, IfIndex(3));
        assert_eq!(hops.resolved(far).unwrap().link, IfIndex(2));
        assert_eq!(hops.set_links(links(&[(2, &["10.0.0.1/8"])])), [near]);
        assert_eq!(hops.resolved(near).unwrap().link, IfIndex(2));
        assert_eq!(hops.unresolved().next(), None);
        assert_eq!(hops.set_links(Vec::new()), [near, far]);
        assert_eq!(hops.resolved(near), None);
        assert_eq!(hops.unresolved().collect::<Vec<_>>(), [(at("10.1.0.9"), 1), (at("10.2.0.9"), 1)]);
    }

    #[test]
    fn a_next_hop_that_nobody_holds_leaves_its_place() {
        let mut hops = NextHops::default();
        let first = hops.intern(at("10.1.0.9"), None);
        assert_eq!(hops.intern(at("10.1.0.9"), None), first);
        hops.release(first);
        assert_ne!(hops.intern(at("10.1.0.10"), None), first, "one path still has it");
        hops.release(first);
        assert_eq!(hops.intern(at("10.1.0.11"), None), first);
        assert_eq!(hops.next_hop(first), at("10.1.0.11"));
    }

    #[test]
    fn link_local_next_hops_stay_on_their_interface() {
        // RFC 2545 §3
        let mut hops = NextHops::default();
        hops.set_links(links(&[(2, &["fe80::1/64"]), (3, &["fe80::1/64"])]));
        let next_hop = NextHop { addr: "fe80::2".parse().unwrap(), link_local: Some("fe80::2".parse().unwrap()) };
        let two = hops.intern(next_hop, Some(IfIndex(2)));
        let three = hops.intern(next_hop, Some(IfIndex(3)));
        assert_ne!(two, three);
        assert_eq!(hops.resolved(two).unwrap().link, IfIndex(2));
        assert_eq!(hops.resolved(three).unwrap().link, IfIndex(3));
    }

    #[test]
    fn who_is_cut_off_is_dormant_until_reached_again() {
        let mut hops = NextHops::default();
        hops.set_links(links(&[(2, &["10.0.0.1/24"])]));
        let (lost, near) = (hops.intern(at("10.0.0.68"), None), hops.intern(at("10.0.0.69"), None));
        let lost_hop = hops.resolved(lost).unwrap();
        let address = lost_hop.gateway;
        assert_eq!(hops.set_reachable(IfIndex(3), address, false), [], "on another link");
        assert_eq!(hops.set_reachable(IfIndex(2), address, false), [lost]);
        assert_eq!(hops.set_reachable(IfIndex(2), address, false), []);
        assert_eq!((hops.resolved(lost), hops.dormant(lost), hops.is_up(&lost_hop)), (None, Some(lost_hop), false));
        assert!(hops.resolved(near).is_some());
        assert_eq!(hops.intern(at("10.0.0.68"), None), lost);
        assert_eq!(hops.set_reachable(IfIndex(2), address, true), [lost]);
        assert_eq!((hops.resolved(lost), hops.dormant(lost)), (Some(lost_hop), None));
    }

    #[test]
    fn our_own_address_is_no_next_hop() {
        // RFC 4271 §5.1.3
        let mut hops = NextHops::default();
        hops.set_links(links(&[(1, &["10.69.0.4/32"]), (2, &["10.0.0.1/24"])]));
        let own = hops.intern(at("10.0.0.1"), None);
        let loopback = hops.intern(at("10.69.0.4"), None);
        assert_eq!((hops.resolved(own), hops.resolved(loopback)), (None, None));
    }

    /// A prefix, and links with their gateways.
    type Way<'a> = (&'a str, &'a [(u32, Option<&'a str>)]);

    fn routes(all: &[Way<'_>]) -> Vec<ForeignRoute> {
        let way = |(link, gateway): &(u32, Option<&str>)| (IfIndex(*link), gateway.map(|addr| addr.parse().unwrap()));
        let route = |(prefix, via): &Way<'_>| ForeignRoute {
            prefix: prefix.parse().unwrap(),
            via: via.iter().map(way).collect(),
        };
        all.iter().map(route).collect()
    }

    #[test]
    fn a_next_hop_behind_a_gateway_resolves_through_a_route_of_others() {
        // RFC 4271 §5.1.3: the immediate next hop is found by a recursive lookup.
        let mut hops = NextHops::default();
        hops.set_links(links(&[(2, &["10.0.0.1/24"]), (3, &["10.1.0.1/24", "fe80::1/64"])]));
        let far = hops.intern(at("10.9.0.7"), None);
        let near = hops.intern(at("10.1.0.9"), None);
        assert_eq!(hops.resolved(far), None);
        let via_two = routes(&[("10.9.0.0/16", &[(2, Some("10.0.0.2"))])]);
        assert_eq!(hops.set_routes(via_two), [far]);
        assert_eq!(hops.resolved(far), Some(Hop { link: IfIndex(2), gateway: "10.0.0.2".parse().unwrap(), weight: 1 }));
        // A longer one, on the link itself; and one that is as long as the connected prefix, which stays.
        let longer = [
            ("10.9.0.0/16", &[(2, Some("10.0.0.2"))][..]),
            ("10.9.0.0/24", &[(3, None)]),
            ("10.1.0.0/24", &[(2, Some("10.0.0.2"))]),
        ];
        assert_eq!(hops.set_routes(routes(&longer)), [far]);
        assert_eq!(hops.resolved(far), Some(Hop { link: IfIndex(3), gateway: "10.9.0.7".parse().unwrap(), weight: 1 }));
        assert_eq!(hops.resolved(near).unwrap().link, IfIndex(3));
        // IPv4 over IPv6, and a host route within a connected prefix.
        let host = [("10.9.0.7/32", &[(3, Some("fe80::9"))][..]), ("10.1.0.9/32", &[(2, Some("10.0.0.2"))])];
        assert_eq!(hops.set_routes(routes(&host)), [far, near]);
        assert_eq!(hops.resolved(far).unwrap().gateway, "fe80::9".parse::<IpAddr>().unwrap());
        assert_eq!(hops.resolved(near).unwrap().link, IfIndex(2));
        assert_eq!(hops.set_routes(Vec::new()), [far, near]);
        assert_eq!(hops.resolved(far), None);
    }

    #[test]
    fn routes_that_lead_nowhere_make_a_next_hop_unreachable() {
        // RFC 4271 §9.1.2.1: a route to the next hop must exist, and the default route is none.
        let mut hops = NextHops::default();
        hops.set_links(links(&[(2, &["10.0.0.1/24"]), (3, &["10.1.0.1/24"])]));
        let far = hops.intern(at("10.9.0.7"), None);
        assert_eq!(hops.set_routes(routes(&[("0.0.0.0/0", &[(2, Some("10.0.0.2"))])])), []);
        let two = [(2, Some("10.0.0.2")), (3, Some("10.1.0.2"))];
        assert_eq!(hops.set_routes(routes(&[("10.9.0.0/16", &two)])), [far]);
        // The first that is up, of several.
        assert_eq!(hops.set_links(links(&[(3, &["10.1.0.1/24"])])), [far]);
        assert_eq!(hops.resolved(far).unwrap().link, IfIndex(3));
        // A blackhole is longer.
        assert_eq!(hops.set_routes(routes(&[("10.9.0.0/16", &two), ("10.9.0.0/24", &[])])), [far]);
        assert_eq!(hops.resolved(far), None);
        // Whatever routes say, our own address is no next hop.
        let own = hops.intern(at("10.1.0.1"), None);
        hops.set_routes(routes(&[("10.1.0.1/32", &[(3, Some("10.1.0.2"))])]));
        assert_eq!(hops.resolved(own), None);
    }
}
