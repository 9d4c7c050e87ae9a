//! A collector of BMP, written from RFC 7854 alone: common ground of the files about it.

use super::plant::Plant;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weft_bgp::speaker::Views;
use weft_bgp::types::{Family, IpNet};
use weft_bgp::wire::Codec;
use weft_bgp::wire::nlri::Nlri;
use weft_bgp::wire::update::{Update, decode};

pub const PRE: Views = Views { pre_policy: true, post_policy: false, adj_out: false, loc_rib: false };
pub const POST: Views = Views { pre_policy: false, post_policy: true, adj_out: false, loc_rib: false };
pub const OUT: Views = Views { pre_policy: false, post_policy: false, adj_out: true, loc_rib: false };
pub const LOC: Views = Views { pre_policy: false, post_policy: false, adj_out: false, loc_rib: true };

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub kind: u8,
    /// The per-peer header, of those that have one.
    pub peer: Option<PeerSaid>,
    pub rest: Vec<u8>,
}

/// A per-peer header (§4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerSaid {
    pub kind: u8,
    pub flags: u8,
    pub address: IpAddr,
    pub asn: u32,
    pub router_id: Ipv4Addr,
    pub at: (u32, u32),
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Cuts a stream into messages (§4.1): nothing may be left over.
pub fn read(mut stream: &[u8]) -> Vec<Heard> {
    let mut all = Vec::new();
    while !stream.is_empty() {
        assert_eq!(stream[0], 3, "the version");
        let length = word(stream, 1) as usize;
        let (message, rest) = stream.split_at(length);
        stream = rest;
        let kind = message[5];
        let body = &message[6..];
        let (peer, rest) = if matches!(kind, 4 | 5) {
            (None, body.to_vec())
        } else {
            assert_eq!(body[2..10], [0; 8], "the distinguisher of the global instance");
            let octets: [u8; 16] = body[10..26].try_into().unwrap();
            let address = if body[1] & 0x80 == 0 || body[0] == 3 {
                assert_eq!(octets[..12], [0; 12]);
                IpAddr::V4(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]))
            } else {
                IpAddr::V6(Ipv6Addr::from(octets))
            };
            let said = PeerSaid {
                kind: body[0],
                flags: body[1],
                address,
                asn: word(body, 26),
                router_id: Ipv4Addr::from_bits(word(body, 30)),
                at: (word(body, 34), word(body, 38)),
            };
            (Some(said), body[42..].to_vec())
        };
        all.push(Heard { kind, peer, rest });
    }
    all
}

/// What the plant's observer hears now.
pub fn hear(plant: &mut Plant) -> Vec<Heard> {
    read(&plant.overheard().unwrap())
}

/// A run of TLVs (§4.4).
pub fn tlvs(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let kind = u16::from_be_bytes([bytes[0], bytes[1]]);
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        all.push((kind, bytes[4..4 + length].to_vec()));
        bytes = &bytes[4 + length..];
    }
    all
}

/// The BGP messages at the beginning of some bytes, as many as asked for, and what follows.
pub fn messages(mut bytes: &[u8], count: usize) -> (Vec<Vec<u8>>, &[u8]) {
    let mut all = Vec::new();
    for _ in 0..count {
        let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        all.push(bytes[..length].to_vec());
        bytes = &bytes[length..];
    }
    (all, bytes)
}

/// Reads the UPDATE of a Route Monitoring and gives it to `see` with its block.
pub fn update<T>(heard: &Heard, see: impl FnOnce(&Update<'_>, &[u8]) -> T) -> T {
    let (all, rest) = messages(&heard.rest, 1);
    assert!(heard.kind == 0 && rest.is_empty(), "one UPDATE to a Route Monitoring");
    let legacy = heard.peer.unwrap().flags & 0x20 != 0 && heard.peer.unwrap().kind == 0;
    let codec = Codec { as4: !legacy, ebgp: true, families: [true; 2], extended_next_hop: true, ..Codec::PLAIN };
    let mut block = Vec::new();
    // Whether the peer is an internal one is not said: RFC 5065 §5 allows segments there that are a fault elsewhere.
    assert_eq!(all[0][18], 2, "RFC 7854 §4.6: an UPDATE");
    let is_outside = decode(&all[0], &codec, &mut block).is_ok_and(|update| update.withdraw.is_none());
    let update = decode(&all[0], &Codec { ebgp: is_outside, ..codec }, &mut block).unwrap();
    assert_eq!(update.withdraw, None);
    see(&update, &block)
}

/// What a collector holds after messages: for each peer type, flags and address the prefixes; and whose End-of-RIB came.
#[derive(Debug, Default)]
pub struct Picture {
    pub up: BTreeSet<(u8, IpAddr)>,
    pub tables: BTreeMap<(u8, u8, IpAddr), BTreeSet<IpNet>>,
    pub ends: BTreeSet<(u8, u8, IpAddr, Family)>,
}

impl Picture {
    pub fn take(&mut self, all: &[Heard]) {
        for heard in all {
            let Some(peer) = heard.peer else { continue };
            let key = (peer.kind, peer.address);
            match heard.kind {
                3 => assert!(self.up.insert(key), "up twice"),
                2 => {
                    assert!(self.up.remove(&key), "down without up");
                    self.tables.retain(|(kind, _, address), _| (*kind, *address) != key);
                }
                0 => {
                    assert!(self.up.contains(&key), "routes of a peer that is not up");
                    let table = (peer.kind, peer.flags & 0x50, peer.address);
                    update(heard, |update, _| self.apply(table, update));
                }
                _ => {}
            }
        }
    }

    fn apply(&mut self, (kind, flags, address): (u8, u8, IpAddr), update: &Update<'_>) {
        if let Some(family) = update.end_of_rib {
            self.ends.insert((kind, flags, address, family));
            return;
        }
        let prefixes = self.tables.entry((kind, flags, address)).or_default();
        let gone = Nlri::new(Family::Ipv4Unicast, update.withdrawn);
        for prefix in gone.chain(update.mp_unreach.into_iter().flat_map(|(family, nlri)| Nlri::new(family, nlri))) {
            prefixes.remove(&prefix);
        }
        prefixes.extend(Nlri::new(Family::Ipv4Unicast, update.nlri));
        prefixes.extend(update.mp_reach.into_iter().flat_map(|reach| Nlri::new(reach.family, reach.nlri)));
    }

    /// The prefixes of a table, as text.
    pub fn table(&self, kind: u8, flags: u8, address: &str) -> Vec<String> {
        let found = self.tables.get(&(kind, flags, address.parse().unwrap()));
        found.map_or_else(Vec::new, |prefixes| prefixes.iter().map(ToString::to_string).collect())
    }
}
