//! Where prefixes and their paths lie: 32 octets for a prefix with one path, whatever its family; a list beside it for more.

use super::attrs::AttrsId;
use super::chunks::Chunks;
use super::nexthop::HopId;
use crate::types::{Hop, IpNet, Ipv4Net, Ipv6Net, PeerId};
use crate::wire::community::Bandwidth;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A slot number: names a prefix while anything is known of it.
pub type SlotId = u32;

/// Which path of a prefix: one for each peer, or for each path identifier of one that sends several (RFC 7911 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathKey {
    /// From whom.
    pub peer: PeerId,
    /// The identifier that the peer gave it; 0 on a session without.
    pub id: u32,
}

impl PathKey {
    /// The one path of a peer that sends no more.
    #[must_use]
    pub const fn only(peer: PeerId) -> Self {
        Self { peer, id: 0 }
    }
}

/// One path of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// From whom.
    pub peer: PeerId,
    /// The peer's path identifier, 0 without (RFC 7911 §3).
    pub id: u32,
    /// Attributes after import policy.
    pub attrs: AttrsId,
    /// Next hop after the next-hop rule.
    pub hop: HopId,
    /// When it came, and in which session.
    pub came: Came,
}

impl Path {
    /// What names it among the paths of its prefix.
    #[must_use]
    pub const fn key(&self) -> PathKey {
        PathKey { peer: self.peer, id: self.id }
    }
}

/// When a path came, and in which of its peer's sessions: a path of an earlier session is stale until it is swept (RFC 4724 §4.2).
/// So nothing has to be marked when a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came(u32);

impl Came {
    /// Sessions that can be told apart.
    pub const SESSIONS: u8 = 16;
    const SECONDS: u32 = (1 << 28) - 1;

    /// `seconds` since start (they stop after eight years), in session number `session` (modulo 16).
    #[must_use]
    pub const fn new(seconds: u64, session: u8) -> Self {
        let seconds = if seconds > Self::SECONDS as u64 { Self::SECONDS } else { (seconds & 0x0fff_ffff) as u32 };
        Self((session as u32 % Self::SESSIONS as u32) << 28 | seconds)
    }

    /// Seconds since start.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.0 & Self::SECONDS
    }

    /// The number of the session, below [`Came::SESSIONS`].
    #[must_use]
    pub const fn session(self) -> u8 {
        (self.0 >> 28) as u8
    }
}

/// The paths of a prefix.
#[derive(Clone, Copy, Debug)]
pub(super) enum Paths {
    /// Withdrawn, until every reader of the log knows it.
    None,
    /// Nearly every prefix: where its packets go follows from its next hop.
    One(Path),
    /// Place among the lists.
    Many(u32),
}

/// The same in 20 octets: the tag lies in the unused value of `attrs`, and there is only one of that.
#[derive(Debug)]
enum Held {
    One(Path),
    /// Place among the lists, or [`NO_LIST`].
    List(u32),
}

const NO_LIST: u32 = u32::MAX;
/// RFC 4271 §4.3 knows no such length: the mark of a free slot.
const FREE: u8 = u8::MAX;

/// Several paths, and what the decision process made of them.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) paths: Vec<Path>,
    /// Place of the best one.
    pub(super) best: Option<u32>,
    pub(super) hops: Option<Arc<[Hop]>>,
    /// What the used paths carry together, if every one of them says.
    pub(super) bandwidth: Option<Bandwidth>,
    /// What those need who are told of several paths; none while there is nobody.
    pub(super) tags: Option<Box<Tags>>,
}

/// A tag for each path of a list, in the same order.
#[derive(Debug, Default)]
pub(super) struct Tags(pub(super) Vec<Tag>);

/// What is sent of a path beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// The identifier that we give it (RFC 7911 §3): the same as long as the path stands.
    pub(super) id: u32,
    /// Number of its newest change.
    pub(super) changed: u64,
}

impl Tags {
    /// The least identifier that is free.
    pub(super) fn free_id(&self) -> u32 {
        let low = self.0.iter().filter(|tag| tag.id <= 64).fold(0_u64, |low, tag| low | 1 << (tag.id - 1));
        if low != u64::MAX {
            return low.trailing_ones() + 1;
        }
        let mut all: Vec<u32> = self.0.iter().map(|tag| tag.id).collect();
        all.sort_unstable();
        (1..).zip(all).find_map(|(id, used)| (id != used).then_some(id)).unwrap_or(self.len() + 1)
    }

    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
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
    held: Held,
}

impl Default for Slot {
    /// A free one.
    fn default() -> Self {
        let held = Held::List(NO_LIST);
        Self { address: 0, length: FREE, is_v6: false, usable: false, in_log: false, changed: 0, held }
    }
}

impl Slot {
    pub(super) const fn paths(&self) -> Paths {
        match self.held {
            Held::One(path) => Paths::One(path),
            Held::List(NO_LIST) => Paths::None,
            Held::List(list) => Paths::Many(list),
        }
    }

    pub(super) const fn set_paths(&mut self, paths: Paths) {
        self.held = match paths {
            Paths::None => Held::List(NO_LIST),
            Paths::One(path) => Held::One(path),
            Paths::Many(list) => Held::List(list),
        };
    }
}

/// All slots. Numbers are dense, and used again.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Chunks<Slot>,
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
        let slot = Slot { address, length, is_v6, ..Slot::default() };
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
        slot.length = FREE;
        slot.is_v6 = false;
        self.free.push(at);
    }

    /// The number behind the last slot.
    pub(super) fn end(&self) -> SlotId {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn get(&self, at: SlotId) -> Option<&Slot> {
        self.slots.get(at as usize).filter(|slot| slot.length != FREE)
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
        match &slot.held {
            Held::One(path) => std::slice::from_ref(path),
            Held::List(NO_LIST) => &[],
            Held::List(list) => &self.lists.get(*list).paths,
        }
    }

    pub(super) fn paths_mut(&mut self, at: SlotId) -> &mut [Path] {
        match &mut self.slots[at as usize].held {
            Held::One(path) => std::slice::from_mut(path),
            Held::List(NO_LIST) => &mut [],
            Held::List(list) => &mut self.lists.get_mut(*list).paths,
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
        self.slots[at as usize].set_paths(Paths::Many(list));
        list
    }

    /// Ends a list that is down to one path, or none.
    pub(super) fn fold(&mut self, at: SlotId, list: u32) {
        let mut list = self.lists.take(list);
        self.slots[at as usize].set_paths(list.paths.pop().map_or(Paths::None, Paths::One));
    }
}

/// A vector whose places are used again.
#[derive(Debug)]
struct Shelf<T> {
    items: Chunks<T>,
    free: Vec<u32>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { items: Chunks::default(), free: Vec::new() }
    }
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
