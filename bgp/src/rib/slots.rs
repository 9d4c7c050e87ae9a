//! Where prefixes and their paths lie: 32 octets for a prefix with one path, whatever its family; a list beside it for more.

use super::attrs::AttrsId;
use super::nexthop::HopId;
use crate::types::{Hop, IpNet, Ipv4Net, Ipv6Net, PeerId};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A slot number: names a prefix while anything is known of it.
pub type SlotId = u32;

/// One path of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// From whom.
    pub peer: PeerId,
    /// Attributes after import policy.
    pub attrs: AttrsId,
    /// Next hop after the next-hop rule.
    pub hop: HopId,
    /// Seconds since start at which it came.
    pub since_s: u32,
    /// Kept from a session that ended, until the peer is back (RFC 4724 §4.2).
    pub stale: bool,
}

/// The paths of a prefix. (The tags lie in the unused values of `stale`: 20 octets.)
#[derive(Debug)]
pub(super) enum Paths {
    /// Withdrawn, until every reader of the log knows it.
    None,
    /// Nearly every prefix: where its packets go follows from its next hop.
    One(Path),
    /// Place among the lists.
    Many(u32),
}

/// Several paths, and what the decision process made of them.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) paths: Vec<Path>,
    pub(super) best: Option<PeerId>,
    pub(super) hops: Option<Arc<[Hop]>>,
}

/// One prefix.
#[derive(Debug)]
pub(super) struct Slot {
    /// The IPv4 address, or the place of the IPv6 address.
    address: u32,
    length: u8,
    is_v6: bool,
    /// The only path can be used; for a list, `best` says so.
    pub(super) usable: bool,
    /// Whether `changed` is still in the log.
    pub(super) in_log: bool,
    /// Number of the newest change, low half.
    pub(super) changed: u32,
    pub(super) paths: Paths,
}

/// All slots. Numbers are dense, and used again.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<SlotId>,
    v6: Shelf<u128>,
    lists: Shelf<List>,
}

impl Slots {
    /// A slot for a prefix; the caller saw that it has none.
    pub(super) fn add(&mut self, prefix: &IpNet) -> SlotId {
        let (address, is_v6) = match prefix {
            IpNet::V4(net) => (net.addr().to_bits(), false),
            IpNet::V6(net) => (self.v6.add(net.addr().to_bits()), true),
        };
        let length = prefix.prefix_len();
        let slot = Slot { address, length, is_v6, usable: false, in_log: false, changed: 0, paths: Paths::None };
        if let Some(free) = self.free.pop() {
            self.slots[free as usize] = slot;
            return free;
        }
        self.slots.push(slot);
        self.end() - 1
    }

    /// Frees a slot without paths.
    pub(super) fn remove(&mut self, at: SlotId) {
        let slot = &mut self.slots[at as usize];
        if slot.is_v6 {
            self.v6.take(slot.address);
        }
        // RFC 4271 §4.3 knows no such length: the mark of a free slot.
        slot.length = u8::MAX;
        slot.is_v6 = false;
        self.free.push(at);
    }

    /// The number behind the last slot.
    pub(super) fn end(&self) -> SlotId {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn get(&self, at: SlotId) -> Option<&Slot> {
        self.slots.get(at as usize).filter(|slot| slot.length != u8::MAX)
    }

    pub(super) fn slot(&mut self, at: SlotId) -> &mut Slot {
        &mut self.slots[at as usize]
    }

    pub(super) fn prefix(&self, slot: &Slot) -> IpNet {
        if slot.is_v6 {
            let address = Ipv6Addr::from_bits(*self.v6.get(slot.address));
            Ipv6Net::new(address, slot.length).map_or_else(|_| Ipv6Net::default().into(), IpNet::V6)
        } else {
            let address = Ipv4Addr::from_bits(slot.address);
            Ipv4Net::new(address, slot.length).map_or_else(|_| Ipv4Net::default().into(), IpNet::V4)
        }
    }

    pub(super) fn paths<'s>(&'s self, slot: &'s Slot) -> &'s [Path] {
        match &slot.paths {
            Paths::None => &[],
            Paths::One(path) => std::slice::from_ref(path),
            Paths::Many(list) => &self.lists.get(*list).paths,
        }
    }

    pub(super) fn paths_mut(&mut self, at: SlotId) -> &mut [Path] {
        match &mut self.slots[at as usize].paths {
            Paths::None => &mut [],
            Paths::One(path) => std::slice::from_mut(path),
            Paths::Many(list) => &mut self.lists.get_mut(*list).paths,
        }
    }

    pub(super) fn list(&self, at: u32) -> &List {
        self.lists.get(at)
    }

    pub(super) fn list_mut(&mut self, at: u32) -> &mut List {
        self.lists.get_mut(at)
    }

    /// Makes a list of what was one path.
    pub(super) fn spread(&mut self, at: SlotId, list: List) -> u32 {
        let list = self.lists.add(list);
        self.slots[at as usize].paths = Paths::Many(list);
        list
    }

    /// Ends a list that is down to one path.
    pub(super) fn fold(&mut self, at: SlotId, list: u32) {
        let mut list = self.lists.take(list);
        self.slots[at as usize].paths = list.paths.pop().map_or(Paths::None, Paths::One);
    }
}

/// A vector whose places are used again.
#[derive(Debug, Default)]
struct Shelf<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T: Default> Shelf<T> {
    fn add(&mut self, item: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self.items[at as usize] = item;
            return at;
        }
        self.items.push(item);
        u32::try_from(self.items.len() - 1).unwrap_or(u32::MAX)
    }

    fn get(&self, at: u32) -> &T {
        &self.items[at as usize]
    }

    fn get_mut(&mut self, at: u32) -> &mut T {
        &mut self.items[at as usize]
    }

    fn take(&mut self, at: u32) -> T {
        self.free.push(at);
        std::mem::take(&mut self.items[at as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_with_one_path_takes_32_octets() {
        assert_eq!(size_of::<Slot>(), 32);
        assert!(size_of::<Path>() <= 64, "the budget of a path in a list");
    }
}
