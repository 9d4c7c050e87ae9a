//! Who is behind which port of a bridge of this machine, as the bridge itself has learnt it. A bridge keeps its carrier when one of its
//! ports loses it, so those behind that port would not be missed before a timer ends; here they are told apart, at once.
//!
//! ```text
//!   port loses carrier ─▶ hardware addresses last learnt there ─▶ neighbours of the bridge with these ─▶ lost
//!   the port is back, or an address is learnt at another port that can be used ─▶ reachable again
//! ```
//! The kernel forgets what it learnt at a port before it tells that the port is down: what it forgets is remembered here until the
//! address is learnt elsewhere. Knows messages (rtnetlink(7), linux/neighbour.h); not sockets, not routes.

use super::wire;
use crate::fib::Member;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use weft_bgp::types::IfIndex;

pub(super) const RTM_NEWNEIGH: u16 = 28;
pub(super) const RTM_DELNEIGH: u16 = 29;
pub(super) const RTM_GETNEIGH: u16 = 30;
/// The multicast group of neighbours and learnt addresses (linux/rtnetlink.h).
pub(super) const GROUP: u32 = 3;

/// Length of `struct ndmsg`: family, pad, interface, state, flags, type.
const HEADER: usize = 12;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_IFINDEX: u16 = 8;
const NDA_MASTER: u16 = 9;
/// States of entries that say nothing of who is there: put there by hand or by the kernel for itself, incomplete, failed.
const PERMANENT: u16 = 0x80;
const INCOMPLETE: u16 = 0x01;
const FAILED: u16 = 0x20;
/// Addresses that are remembered: a rack has some hundreds. Whoever finds no room is missed by BFD or the hold time, as without this.
const LEARNT_MAX: usize = 16_384;

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// Where an address was learnt last, and whether the bridge still says so.
#[derive(Clone, Copy, Debug)]
struct Place {
    port: IfIndex,
    is_current: bool,
}

/// All that was learnt, and who is cut off.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// By bridge and address.
    learnt: BTreeMap<(IfIndex, Mac), Place>,
    cut: BTreeMap<Member, (Mac, IfIndex)>,
}

impl Ports {
    /// Takes a message of what a bridge learnt or forgot; who can be reached again at another port, of which `is_usable` is true.
    pub(super) fn take(&mut self, kind: u16, payload: &[u8], is_usable: impl Fn(IfIndex) -> bool) -> Vec<Member> {
        if let Some((member, mac)) = neighbour(payload).filter(|_| kind == RTM_NEWNEIGH) {
            // Another machine has its address now: where that one is does not depend on the port.
            return self.reach(|own, (old, _)| *own == member && *old != mac);
        }
        let Some(Entry { family, link: port, state, mac: Some(mac), bridge: Some(bridge), .. }) = parse(payload) else {
            return Vec::new();
        };
        if family != libc::AF_BRIDGE || state & PERMANENT != 0 {
            return Vec::new();
        }
        let key = (bridge, mac);
        if kind == RTM_DELNEIGH {
            if let Some(place) = self.learnt.get_mut(&key).filter(|place| place.port == port) {
                place.is_current = false;
            }
            return Vec::new();
        }
        if self.learnt.len() >= LEARNT_MAX && !self.learnt.contains_key(&key) {
            self.learnt.retain(|_, place| place.is_current);
            if self.learnt.len() >= LEARNT_MAX {
                return Vec::new();
            }
        }
        self.learnt.insert(key, Place { port, is_current: true });
        if !is_usable(port) {
            return Vec::new();
        }
        self.reach(|member, (own, _)| member.link == bridge && *own == mac)
    }

    /// The bridges of which a port is or was one, each with the addresses last learnt there.
    pub(super) fn behind(&self, port: IfIndex) -> BTreeMap<IfIndex, BTreeSet<Mac>> {
        let mut all: BTreeMap<IfIndex, BTreeSet<Mac>> = BTreeMap::new();
        for ((bridge, mac), _) in self.learnt.iter().filter(|(_, place)| place.port == port) {
            all.entry(*bridge).or_default().insert(*mac);
        }
        all
    }

    /// A port is down: of these neighbours of its bridge, who was behind it and was not lost before.
    pub(super) fn cut(&mut self, port: IfIndex, macs: &BTreeSet<Mac>, neighbours: &[(Member, Mac)]) -> Vec<Member> {
        let mut lost = Vec::new();
        for (member, mac) in neighbours.iter().filter(|(_, mac)| macs.contains(mac)) {
            if self.cut.insert(*member, (*mac, port)).is_none() {
                lost.push(*member);
            }
        }
        lost
    }

    /// A port can be used (again): who is behind it can be reached.
    pub(super) fn back(&mut self, port: IfIndex) -> Vec<Member> {
        self.reach(|_, (_, own)| *own == port)
    }

    fn reach(&mut self, is_back: impl Fn(&Member, &(Mac, IfIndex)) -> bool) -> Vec<Member> {
        let back: Vec<Member> =
            self.cut.iter().filter(|(member, place)| is_back(member, place)).map(|(member, _)| *member).collect();
        for member in &back {
            self.cut.remove(member);
        }
        back
    }
}

/// The body of a request for what all bridges have learnt.
pub(super) fn learnt_by_bridges() -> Vec<u8> {
    header(libc::AF_BRIDGE)
}

/// The body of a request for the neighbours on a link.
pub(super) fn neighbours_on(link: IfIndex, family: i32) -> Vec<u8> {
    let mut body = header(family);
    wire::attribute(&mut body, NDA_IFINDEX, &link.0.to_ne_bytes());
    body
}

fn header(family: i32) -> Vec<u8> {
    let mut body = vec![0; HEADER];
    body[0] = u8::try_from(family).unwrap_or_default();
    body
}

/// A neighbour on a link, with its hardware address; `None` if that is not known, or it is another kind of entry.
pub(super) fn neighbour(payload: &[u8]) -> Option<(Member, Mac)> {
    let entry = parse(payload)?;
    let is_known = entry.family != libc::AF_BRIDGE && entry.state & (INCOMPLETE | FAILED) == 0;
    is_known.then_some((Member { link: entry.link, gateway: entry.address? }, entry.mac?))
}

#[derive(Debug)]
struct Entry {
    family: i32,
    link: IfIndex,
    state: u16,
    address: Option<IpAddr>,
    mac: Option<Mac>,
    bridge: Option<IfIndex>,
}

fn parse(payload: &[u8]) -> Option<Entry> {
    let [family, _, _, _, _, _, _, _, low, high, ..] = *payload.get(..HEADER)? else {
        return None;
    };
    let (link, state) = (IfIndex(wire::word(payload, 4)?), u16::from_ne_bytes([low, high]));
    let mut entry = Entry { family: family.into(), link, state, address: None, mac: None, bridge: None };
    for (kind, value) in wire::attributes(payload.get(HEADER..)?) {
        match kind {
            NDA_DST => entry.address = wire::address(value),
            NDA_LLADDR => entry.mac = value.try_into().ok(),
            NDA_MASTER => entry.bridge = wire::word(value, 0).map(IfIndex),
            _ => {}
        }
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RACK: IfIndex = IfIndex(3);
    const ETH3: IfIndex = IfIndex(7);
    const ETH4: IfIndex = IfIndex(8);
    const REACHABLE: u16 = 0x02;

    fn entry(family: i32, link: IfIndex, state: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = header(family);
        body[4..8].copy_from_slice(&link.0.to_ne_bytes());
        body[8..10].copy_from_slice(&state.to_ne_bytes());
        for (kind, value) in attributes {
            wire::attribute(&mut body, *kind, value);
        }
        body
    }

    fn mac(last: u8) -> Mac {
        [2, 0, 0, 0, 0, last]
    }

    fn learnt(port: IfIndex, last: u8, state: u16) -> Vec<u8> {
        entry(libc::AF_BRIDGE, port, state, &[(NDA_LLADDR, &mac(last)), (NDA_MASTER, &RACK.0.to_ne_bytes())])
    }

    fn server(last: u8) -> (Member, Mac) {
        let address = entry(libc::AF_INET, RACK, REACHABLE, &[(NDA_DST, &[10, 69, 0, last]), (NDA_LLADDR, &mac(last))]);
        neighbour(&address).unwrap()
    }

    /// Two servers at eth3, one at eth4; the bridge's own address is nobody.
    fn rack() -> Ports {
        let mut ports = Ports::default();
        for (port, last) in [(ETH3, 68), (ETH3, 69), (ETH4, 70)] {
            ports.take(RTM_NEWNEIGH, &learnt(port, last, REACHABLE), |_| true);
        }
        ports.take(RTM_NEWNEIGH, &learnt(ETH3, 1, PERMANENT), |_| true);
        ports
    }

    fn lose(ports: &mut Ports, port: IfIndex) -> Vec<Member> {
        let behind = ports.behind(port);
        let all = [server(68), server(69), server(70)];
        behind.values().flat_map(|macs| ports.cut(port, macs, &all)).collect()
    }

    #[test]
    fn a_port_that_goes_down_takes_those_behind_it_and_nobody_else() {
        let mut ports = rack();
        // The kernel forgets first, and tells that the port is down then.
        for last in [68, 69] {
            ports.take(RTM_DELNEIGH, &learnt(ETH3, last, REACHABLE), |_| true);
        }
        assert_eq!(lose(&mut ports, ETH3), [server(68).0, server(69).0]);
        assert_eq!(lose(&mut ports, ETH3), [], "told once");
        assert_eq!(ports.back(ETH4), []);
        assert_eq!(ports.back(ETH3), [server(68).0, server(69).0]);
        assert_eq!(lose(&mut ports, ETH3), [server(68).0, server(69).0], "and the next time it is lost again");
    }

    #[test]
    fn a_server_that_is_seen_at_another_port_is_reachable_there() {
        let mut ports = rack();
        lose(&mut ports, ETH3);
        assert_eq!(ports.take(RTM_NEWNEIGH, &learnt(ETH4, 68, REACHABLE), |_| false), [], "at a port that is not used");
        assert_eq!(ports.take(RTM_NEWNEIGH, &learnt(ETH4, 68, REACHABLE), |port| port == ETH4), [server(68).0]);
        assert_eq!(ports.back(ETH3), [server(69).0], "the other one is still where it was");
        assert_eq!(lose(&mut ports, ETH3), [server(69).0]);
        assert_eq!(lose(&mut ports, ETH4), [server(68).0, server(70).0]);
    }

    #[test]
    fn a_machine_that_takes_the_address_of_a_lost_one_is_reachable() {
        let mut ports = rack();
        lose(&mut ports, ETH3);
        let heard =
            |mac: Mac| entry(libc::AF_INET, RACK, REACHABLE, &[(NDA_DST, &[10, 69, 0, 68]), (NDA_LLADDR, &mac)]);
        assert_eq!(ports.take(RTM_NEWNEIGH, &heard(mac(68)), |_| true), [], "that one is behind the port");
        assert_eq!(ports.take(RTM_DELNEIGH, &heard(mac(99)), |_| true), []);
        assert_eq!(ports.take(RTM_NEWNEIGH, &heard(mac(99)), |_| true), [server(68).0]);
        assert_eq!(ports.back(ETH3), [server(69).0]);
    }

    #[test]
    fn what_is_not_known_or_not_of_a_bridge_is_nobody() {
        assert_eq!(neighbour(&entry(libc::AF_INET, RACK, FAILED, &[(NDA_DST, &[10, 0, 0, 1])])), None);
        assert_eq!(neighbour(&learnt(ETH3, 68, REACHABLE)), None);
        let mut ports = Ports::default();
        // An address that a VXLAN device learnt stands behind no port.
        ports.take(RTM_NEWNEIGH, &entry(libc::AF_BRIDGE, ETH3, REACHABLE, &[(NDA_LLADDR, &mac(1))]), |_| true);
        ports.take(RTM_NEWNEIGH, &[7, 0, 0], |_| true);
        assert!(ports.behind(ETH3).is_empty());
    }

    #[test]
    fn what_finds_no_room_is_left_to_timers() {
        let mut ports = rack();
        ports.take(RTM_DELNEIGH, &learnt(ETH4, 70, REACHABLE), |_| true);
        let numbered = |number: u32| {
            let [_, a, b, c] = number.to_be_bytes();
            let mac = [4, 0, 0, a, b, c];
            entry(libc::AF_BRIDGE, ETH3, REACHABLE, &[(NDA_LLADDR, &mac), (NDA_MASTER, &RACK.0.to_ne_bytes())])
        };
        for number in 0..u32::try_from(LEARNT_MAX).unwrap() + 9 {
            ports.take(RTM_NEWNEIGH, &numbered(number), |_| true);
        }
        assert_eq!(ports.learnt.len(), LEARNT_MAX);
        assert_eq!(ports.behind(ETH3).values().map(BTreeSet::len).sum::<usize>(), LEARNT_MAX);
        assert!(ports.behind(ETH4).is_empty(), "what the bridge has forgotten goes first");
    }
}
