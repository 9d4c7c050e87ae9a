//! Next hops: interned apart from attributes, each with its resolution through the connected prefixes (RFC 4271 §5.1.3, §9.1.2.1).
//!
//! A next hop resolves when it lies in a connected prefix of an interface that is up, or is link-local on a known interface. It
//! never resolves through the default route or through itself.

use crate::speaker::LinkState;
use crate::types::{Hop, IfIndex, IpNet, NextHop};
use std::collections::BTreeMap;
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
    links: Vec<LinkState>,
}

impl NextHops {
    /// The id of a next hop that was learnt from a peer on `link` (if its session is link-local), with one more holder.
    pub fn intern(&mut self, next_hop: NextHop, link: Option<IfIndex>) -> HopId {
        let key = Key { next_hop, link };
        if let Some(&at) = self.index.get(&key) {
            self.hold(HopId(at));
            return HopId(at);
        }
        let resolved = resolve(&self.links, &key);
        let alone = resolved.map(|hop| Arc::from([hop]));
        let slot = Slot { key, holders: 1, resolved, alone };
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
        }
    }

    /// As the wire said it.
    #[must_use]
    pub fn next_hop(&self, id: HopId) -> NextHop {
        self.slots[id.0 as usize].key.next_hop
    }

    /// Where it leads now, if it can be reached.
    #[must_use]
    pub fn resolved(&self, id: HopId) -> Option<Hop> {
        self.slots[id.0 as usize].resolved
    }

    /// Where a prefix goes that has this next hop alone.
    #[must_use]
    pub fn alone(&self, id: HopId) -> Option<&Arc<[Hop]>> {
        self.slots[id.0 as usize].alone.as_ref()
    }

    /// The interfaces changed: ids whose resolution is another one now.
    pub fn set_links(&mut self, links: Vec<LinkState>) -> Vec<HopId> {
        self.links = links;
        let mut changed = Vec::new();
        for (at, slot) in (0..).zip(&mut self.slots) {
            let resolved = resolve(&self.links, &slot.key);
            if resolved != slot.resolved {
                slot.resolved = resolved;
                slot.alone = resolved.map(|hop| Arc::from([hop]));
                changed.push(HopId(at));
            }
        }
        changed
    }

    /// The longest connected prefix that holds `address`, and its interface.
    #[must_use]
    pub fn connected(&self, address: IpAddr) -> Option<(IfIndex, IpNet)> {
        connected(&self.links, address)
    }

    /// Whether `address` is one of ours.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.links.iter().any(|link| link.addrs.iter().any(|net| net.addr() == address))
    }
}

fn connected(links: &[LinkState], address: IpAddr) -> Option<(IfIndex, IpNet)> {
    links
        .iter()
        .flat_map(|link| link.addrs.iter().map(move |net| (link.link, *net)))
        .filter(|(_, net)| net.contains(&address))
        .max_by_key(|(_, net)| net.prefix_len())
}

fn resolve(links: &[LinkState], key: &Key) -> Option<Hop> {
    let hop = |link, gateway| Hop { link, gateway, weight: 1 };
    // RFC 2545 §3: the link-local address is the one to send to, on the interface of the session.
    if let (Some(link_local), Some(link)) = (key.next_hop.link_local, key.link) {
        let up = links.iter().any(|state| state.link == link);
        return up.then_some(hop(link, IpAddr::V6(link_local)));
    }
    let address = key.next_hop.addr;
    let (link, net) = connected(links, address)?;
    // Our own address, or one that only a host prefix of ours covers, leads nowhere.
    let own = links.iter().any(|state| state.addrs.iter().any(|net| net.addr() == address));
    let host = net.prefix_len() == net.max_prefix_len();
    (!own && !host).then_some(hop(link, address))
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
        assert_eq!(hops.set_links(Vec::new()), [near, far]);
        assert_eq!(hops.resolved(near), None);
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
    fn our_own_address_is_no_next_hop() {
        // RFC 4271 §5.1.3
        let mut hops = NextHops::default();
        hops.set_links(links(&[(1, &["10.69.0.4/32"]), (2, &["10.0.0.1/24"])]));
        let own = hops.intern(at("10.0.0.1"), None);
        let loopback = hops.intern(at("10.69.0.4"), None);
        assert_eq!((hops.resolved(own), hops.resolved(loopback)), (None, None));
    }
}
