//! What each fuzz target does with its bytes. The targets call these, and so does `bgp/tests/fuzz_replay.rs` over `corpus/`.
//!
//! | target | must hold |
//! |---|---|
//! | [`framer`] | any split of a stream yields the same messages, each as long as its header says |
//! | [`open`] | no panic; what was read and is written again reads the same; a canary peer does not notice |
//! | [`update`] | a good UPDATE, written again for us to send, decodes without any fault to the same routes |
//! | [`session`] | an Established peer that sends anything: a canary peer keeps its session, its keepalives and its routes |
//! | [`bmp::run`] | the same peer while a collector listens: what it hears is well-formed, and in the end what the tables are |
//! | [`mrt`] | no panic; any split of a dump yields the same records; a route written again reads the same |
//! | [`rtr::run`] | what an RPKI cache says is read alike in any split; queries and reports alone are sent; no change goes unnoticed |
//! | [`policy`] | no panic; what compiles comes to a verdict, and leaves a well-formed attribute block |
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed check of a fuzz target is a panic")]

pub mod bmp;
pub mod collector;
pub mod lint;
pub mod plant;
pub mod rtr;

use bytes::BytesMut;
use plant::{Kin, Plant, framed};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use weft_bgp::mrt::{self, Damage, Dump, Entry, PEERS_MAX, Raw, Record, Rib, RibWriter, Stamp, put_message};
use weft_bgp::policy::{Route, Source, compile};
use weft_bgp::types::{Asn, Family, IpNet, NextHop};
use weft_bgp::wire::attrs::{AttrIter, Attrs};
use weft_bgp::wire::framer::Framer;
use weft_bgp::wire::nlri::Paths;
use weft_bgp::wire::open::Open;
use weft_bgp::wire::update::{Update, decode, put_announce};
use weft_bgp::wire::{Codec, Kind, MAX_MESSAGE_BYTES};

/// Most records of one input that a session is given: bounds the virtual time of a run.
const RECORDS_MAX: usize = 256;

/// First octet: the size of the pieces. The rest: the stream.
pub fn framer(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut framer = Framer::new(MAX_MESSAGE_BYTES);
        let mut all = Vec::new();
        for piece in pieces {
            framer.push(piece);
            while let Some(next) = framer.next_message() {
                let ended = next.is_err();
                all.push(next);
                if ended {
                    return all;
                }
            }
        }
        all
    };
    let whole = read(&mut std::iter::once(stream));
    let pieces = read(&mut stream.chunks(usize::from(cut).max(1)));
    assert_eq!(whole, pieces, "a split changes what is read");
    let mut at = 0;
    for message in whole.iter().flatten() {
        assert_eq!(stream[at..at + message.1.len()], message.1[..], "octets are lost");
        assert_eq!(usize::from(u16::from_be_bytes([message.1[16], message.1[17]])), message.1.len());
        at += message.1.len();
    }
}

/// The body of an OPEN.
pub fn open(data: &[u8]) {
    let message = framed(Kind::Open.to_wire(), &data[..data.len().min(MAX_MESSAGE_BYTES - 19)]);
    if let Ok(open) = Open::decode(&message) {
        assert!(open.asn.0 != 0 && !open.router_id.is_unspecified() && !matches!(open.hold_time_s, 1 | 2));
        // Ours never lists a family twice.
        let graceful = open.can.graceful.as_ref().map_or(0, |graceful| graceful.families.len());
        if graceful.max(open.can.long_lived.len()) <= Family::ALL.len() {
            let mut written = BytesMut::new();
            open.put(&mut written);
            assert_eq!(Open::decode(&written).as_ref(), Ok(&open));
        }
    }
    let mut plant = Plant::new(Kin::External);
    plant.accept();
    plant.send(&message);
    plant.pass(Duration::from_secs(10));
    plant.check();
}

/// First octet: what was negotiated. The rest: the body of an UPDATE.
pub fn update(data: &[u8]) {
    let Some((&variant, body)) = data.split_first() else {
        return;
    };
    let codec = Codec {
        as4: variant & 1 == 0,
        ebgp: variant & 2 == 0,
        families: [variant & 4 == 0, variant & 8 == 0],
        extended_next_hop: variant & 16 == 0,
        max_message: if variant & 32 == 0 { MAX_MESSAGE_BYTES } else { 65_535 },
        add_path_rx: [variant & 64 != 0; 2],
        ..Codec::PLAIN
    };
    let message = framed(Kind::Update.to_wire(), &body[..body.len().min(codec.max_message - 19)]);
    let mut block = Vec::new();
    let Ok(update) = decode(&message, &codec, &mut block) else {
        return;
    };
    assert!(codec.families[0] || (update.nlri.is_empty() && update.withdrawn.is_empty()), "not negotiated, yet read");
    let mut walk = AttrIter::new(&block);
    let kinds: Vec<u8> = walk.by_ref().map(|attr| attr.kind).collect();
    assert!(walk.rest().is_empty() && kinds.is_sorted_by(|a, b| a < b), "the block is not canonical: {kinds:?}");
    if update.withdraw.is_some() {
        return;
    }
    for (family, next_hop, prefixes) in announced(&update, &codec) {
        resend(&Codec { add_path_rx: [false; 2], ..codec }, family, &next_hop, &prefixes, &block);
    }
}

/// What an UPDATE announces.
fn announced(update: &Update<'_>, codec: &Codec) -> Vec<(Family, NextHop, Vec<IpNet>)> {
    let prefixes = |family: Family, nlri| {
        Paths::new(family, nlri, codec.add_path_rx[family.index()]).map(|(_, prefix)| prefix).collect()
    };
    let classic = update.next_hop.map(|hop| (Family::Ipv4Unicast, NextHop::new(IpAddr::V4(hop)), update.nlri));
    let reach = update.mp_reach.map(|reach| (reach.family, reach.next_hop, reach.nlri));
    let all = classic.into_iter().chain(reach);
    all.map(|(family, hop, nlri)| (family, hop, prefixes(family, nlri))).collect()
}

/// Writes routes for a peer and reads them as that peer would.
fn resend(codec: &Codec, family: Family, next_hop: &NextHop, prefixes: &[IpNet], block: &[u8]) {
    let mut buf = BytesMut::new();
    let mut left = prefixes.iter().copied().peekable();
    while put_announce(&mut buf, codec, family, block, next_hop, &mut left) > 0 {}
    let unfit = left.count();
    let mut framer = Framer::new(codec.max_message);
    framer.push(&buf);
    let mut told = Vec::new();
    let mut again = Vec::new();
    while let Some(next) = framer.next_message() {
        let (kind, message) = next.unwrap();
        assert_eq!(kind, Kind::Update);
        let update = decode(&message, codec, &mut again).unwrap();
        assert_eq!((update.withdraw, update.discarded), (None, 0), "we send what is malformed");
        for (of, hop, prefixes) in announced(&update, codec) {
            assert_eq!((of, hop.addr), (family, next_hop.addr));
            told.extend(prefixes);
        }
        if codec.as4 {
            assert_eq!(again, block, "attributes change on the way");
        }
        assert_eq!(
            Attrs(&again).as_path().hop_count(),
            Attrs(block).as_path().hop_count(),
            "the path's length changes"
        );
    }
    assert_eq!(told, prefixes[..prefixes.len() - unfit]);
}

/// First octet: who the peer is. Then records: type (its upper half: seconds that pass), two octets of length, body. Type 0 is
/// sent as it is, without a header.
pub fn session(data: &[u8]) {
    let Some((&variant, mut rest)) = data.split_first() else {
        return;
    };
    let mut plant = Plant::new(Kin::ALL[usize::from(variant) % Kin::ALL.len()]);
    plant.accept();
    plant.open();
    let baseline = plant.canary_routes();
    for _ in 0..RECORDS_MAX {
        let Some((&[kind, high, low], after)) = rest.split_first_chunk::<3>() else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (body, after) = after.split_at(length);
        match kind & 0x0f {
            0 => plant.send(body),
            kind => plant.send(&framed(kind, body)),
        }
        plant.pass(Duration::from_secs(u64::from(kind >> 4)));
        rest = after;
    }
    plant.check();
    plant.leave();
    // What a peer without graceful restart told is gone with it.
    plant.check();
    assert_eq!(plant.canary_routes(), baseline, "something is left of the peer");
}

/// The text of a policy section, as JSON.
pub fn policy(data: &[u8]) {
    let Ok(section) = serde_json::from_slice(data) else {
        return;
    };
    let peers = BTreeSet::from(["tor1".to_owned()]);
    let policies = match compile(&section, &peers) {
        Ok(policies) => policies,
        Err(faults) => {
            assert!(!faults.is_empty() && faults.iter().all(|fault| fault.field.starts_with("policy")));
            return;
        }
    };
    let block = plant::block();
    let names: Vec<String> = policies.names().map(str::to_owned).collect();
    for name in names {
        for prefix in ["10.69.0.4/32", "0.0.0.0/0", "2001:db8::/32"] {
            let prefix: IpNet = prefix.parse().unwrap();
            let address = IpAddr::V4(Ipv4Addr::new(10, 69, 0, 68));
            let route = Route {
                prefix: &prefix,
                attrs: Attrs(&block),
                next_hop: address,
                source: Source::Ebgp,
                peer_name: "tor1",
                peer_address: address,
                peer_asn: Asn(64_601),
                own_asn: Asn(64_600),
                next_hops: 2,
                bandwidth: None,
                vrps: None,
            };
            let chosen = policies.choose(Some(&name), true);
            let outcome = chosen.evaluate(route);
            assert!(outcome.rule.is_some_and(|rule| !policies.rule_name(rule).is_empty()));
            let changed = chosen.changed(&block, &outcome.changes, Asn(64_600), None);
            let mut walk = AttrIter::new(&changed);
            assert!(walk.by_ref().map(|attr| attr.kind).is_sorted() && walk.rest().is_empty());
        }
    }
}

/// First octet: the size of the pieces. The rest: an uncompressed MRT dump.
pub fn mrt(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let whole = records(&mut std::iter::once(stream));
    assert_eq!(whole, records(&mut stream.chunks(usize::from(cut).max(1))), "a split changes what is read");
    let mut dump = Dump::default();
    for raw in whole.iter().flatten() {
        assert!(!raw.stamp.to_string().is_empty());
        match dump.record(raw) {
            Ok(Record::Rib(rib)) => rib.entries().for_each(|entry| rewrite(&rib, entry)),
            Ok(Record::Message(message)) => {
                let mut again = Vec::new();
                put_message(&mut again, raw.stamp, &message);
                let read = records(&mut std::iter::once(&again[..]));
                let reread =
                    read[0].as_ref().map(|raw| Dump::default().record(raw).map(|record| format!("{record:?}")));
                assert_eq!(reread, Ok(Ok(format!("{:?}", Record::Message(message)))));
            }
            Ok(Record::Peers { .. }) => assert!(dump.peers().len() <= PEERS_MAX),
            Ok(Record::StateChange(_) | Record::Other) => {}
            Err(damage) => assert!(!damage.to_string().is_empty()),
        }
    }
}

/// Every record of a dump that comes in these pieces.
fn records(pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<Result<Raw, Damage>> {
    let mut framer = mrt::Framer::default();
    let mut all = Vec::new();
    for piece in pieces {
        framer.push(piece);
        all.extend(std::iter::from_fn(|| framer.next_record()));
    }
    all.extend(framer.finish().err().map(Err));
    all
}

/// Writes a path of a dump and reads it again.
fn rewrite(rib: &Rib<'_>, entry: Entry<'_>) {
    let Ok(route) = entry.attributes.route(&rib.prefix) else {
        return;
    };
    let mut buf = Vec::new();
    let id = entry.path_id;
    let mut writer = RibWriter::new(&mut buf, Stamp::default(), rib.sequence, &rib.prefix, id.is_some());
    let fits = writer.entry(entry.peer, entry.originated_s, id.unwrap_or(0), &route.block, &route.next_hop);
    assert_eq!(writer.finish(), fits);
    if !fits {
        return;
    }
    let raw = records(&mut std::iter::once(&buf[..])).remove(0).unwrap();
    let mut dump = Dump::default();
    let Ok(Record::Rib(again)) = dump.record(&raw) else {
        panic!("what we write is not read");
    };
    let read = again.entries().next().unwrap();
    assert_eq!((again.prefix, read.path_id, read.originated_s), (rib.prefix, id, entry.originated_s));
    assert_eq!(read.attributes.route(&rib.prefix), Ok(route), "a route changes when it is written");
}
