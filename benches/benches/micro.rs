//! The hot path in pieces: `cargo bench -p weft-benches --bench micro`. Each measures what one UPDATE, one path or one question costs;
//! what a path takes of memory is measured in `tests/memory.rs`. Times are CPU time.
#![expect(clippy::unwrap_used, missing_docs, reason = "a measurement that fails has nothing to say")]

#[path = "micro/cpu.rs"]
mod cpu;
#[path = "micro/sets.rs"]
mod sets;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use bytes::{Bytes, BytesMut};
use cpu::CpuTime;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use weft_benches::alone::{address, conn, session, speaker};
use weft_benches::table::hosts;
use weft_bgp::policy::{Route, Source, compile};
use weft_bgp::rib::attrs::AttrsTable;
use weft_bgp::rib::slots::Came;
use weft_bgp::rib::table::{Path, PeerFacts, Table};
use weft_bgp::speaker::{Input, LinkState, Speaker};
use weft_bgp::time::Instant;
use weft_bgp::types::{Asn, Family, IfIndex, IpNet, Ipv4Net, NextHop, PeerId};
use weft_bgp::wire::attrs::{AsPath, Attrs, flag, kind, put};
use weft_bgp::wire::update::{decode, put_announce};
use weft_bgp::wire::{Codec, MAX_MESSAGE_BYTES};

/// Entries of a large prefix set.
const SET: u32 = 100_000;
/// Routes told.
const TOLD: u32 = 10_000;
/// Prefixes of one full UPDATE.
const PREFIXES: u32 = 700;

const CODEC: Codec = Codec {
    as4: true,
    ebgp: true,
    families: [true, true],
    extended_next_hop: false,
    max_message: MAX_MESSAGE_BYTES,
    ..Codec::PLAIN
};

/// Four ASs, the last of them `origin`, and two communities.
fn block(origin: u32) -> Vec<u8> {
    let mut block = Vec::new();
    put(&mut block, flag::TRANSITIVE, kind::ORIGIN, &[0]);
    let path = [origin, 3_356, 174, 4_200_000_001].map(Asn);
    let path = path.into_iter().fold(Vec::new(), |path, asn| AsPath(&path).prepended(asn, 1));
    put(&mut block, flag::TRANSITIVE, kind::AS_PATH, &path);
    put(&mut block, flag::OPTIONAL | flag::TRANSITIVE, kind::COMMUNITIES, &[0, 174, 0, 1, 0x0d, 0x1c, 0, 2]);
    block
}

fn net(number: u32) -> IpNet {
    Ipv4Net::new(Ipv4Addr::from_bits(0x0b00_0000 + (number << 8)), 24).unwrap().into()
}

fn update(prefixes: u32) -> BytesMut {
    let mut message = BytesMut::new();
    let mut nets = (0..prefixes).map(net).peekable();
    let next_hop = NextHop::new(IpAddr::from([10, 0, 1, 1]));
    put_announce(&mut message, &CODEC, Family::Ipv4Unicast, &block(65_001), &next_hop, &mut nets);
    message
}

fn wire(criterion: &mut Criterion<CpuTime>) {
    let small = update(6);
    let mut scratch = Vec::new();
    criterion.bench_function("wire/decode, 6 prefixes", |bencher| {
        bencher.iter(|| decode(black_box(&small), &CODEC, &mut scratch).unwrap().nlri.len());
    });
    criterion.bench_function("wire/encode, 6 prefixes", |bencher| bencher.iter(|| update(black_box(6))));
    criterion.bench_function("wire/encode, 700 prefixes", |bencher| bencher.iter(|| update(black_box(PREFIXES))));
}

fn intern(criterion: &mut Criterion<CpuTime>) {
    let mut table = AttrsTable::new(1);
    let blocks: Vec<_> = (0..10_000).map(block).collect();
    let held: Vec<_> = blocks.iter().map(|block| table.intern(block)).collect();
    criterion.bench_function("intern/known block", |bencher| {
        let mut at = 0;
        bencher.iter(|| {
            at = (at + 7) % blocks.len();
            let id = table.intern(&blocks[at]);
            table.release(id);
        });
    });
    criterion.bench_function("intern/new block, and its end", |bencher| {
        bencher.iter(|| {
            let id = table.intern(black_box(b"\x40\x01\x01\x00"));
            table.release(id);
        });
    });
    held.into_iter().for_each(|id| table.release(id));
}

/// A table whose peers 1 to `peers` are on the link.
fn table(peers: u8) -> Table {
    let mut table = Table::new(1, 64);
    let addrs = vec!["10.0.0.1/16".parse().unwrap()];
    table.hops.set_links(vec![LinkState { link: IfIndex(2), addrs }]);
    for peer in 1..=peers {
        let address = Ipv4Addr::new(10, 0, 1, peer);
        let facts = PeerFacts { ebgp: true, router_id: address, address: address.into(), client: false };
        table.set_peer(PeerId(peer.into()), facts);
    }
    table
}

fn announce(table: &mut Table, prefix: IpNet, peer: u8) {
    let attrs = table.attrs.intern(&block(u32::from(peer)));
    let hop = table.hops.intern(NextHop::new(IpAddr::from([10, 0, 1, peer])), None);
    table.insert(prefix, Path { peer: PeerId(peer.into()), id: 0, attrs, hop, came: Came::new(0, 0) });
}

fn decide(criterion: &mut Criterion<CpuTime>) {
    for peers in [1, 2, 10] {
        criterion.bench_function(&format!("decide/{peers} equal paths come"), |bencher| {
            bencher.iter_batched_ref(
                || table(peers),
                |table| (1..=peers).for_each(|peer| announce(table, net(1), peer)),
                BatchSize::SmallInput,
            );
        });
    }
}

fn policy(criterion: &mut Criterion<CpuTime>) {
    let set: Vec<_> = (0..SET).map(|number| net(number * 3).to_string()).collect();
    let section = serde_json::json!({
        "sets": {"large": set},
        "p": [{"match": {"prefix": "large"}, "then": "accept"}],
    });
    let policies = compile(&section, &BTreeSet::new()).unwrap();
    let chosen = policies.choose(Some("p"), true);
    let block = block(65_001);
    let address = IpAddr::from([10, 0, 1, 1]);
    let mut number = 0;
    criterion.bench_function("policy/one of 100,000 prefixes", |bencher| {
        bencher.iter(|| {
            number = (number + 7_919) % (SET * 3);
            let prefix = net(number);
            let route = Route {
                prefix: &prefix,
                attrs: Attrs(&block),
                next_hop: address,
                source: Source::Ebgp,
                peer_name: "p1",
                peer_address: address,
                peer_asn: Asn(65_001),
                own_asn: Asn(65_000),
                bandwidth: None,
                next_hops: 1,
                vrps: None,
            };
            chosen.evaluate(black_box(route)).verdict
        });
    });
}

/// What one peer is told of the routes of another: policy, attributes, packing.
fn out(criterion: &mut Criterion<CpuTime>) {
    let stream: Bytes = hosts(TOLD, Ipv4Addr::new(100, 0, 0, 0), 4_200_000_001, address(0)).into();
    let full = || {
        let mut speaker = speaker();
        let give = |speaker: &mut Speaker, input| {
            speaker.handle(Instant::ZERO, input);
            while speaker.poll().is_some() {}
        };
        session(0).into_iter().for_each(|input| give(&mut speaker, input));
        give(&mut speaker, Input::Received { conn: conn(0), data: stream.clone() });
        session(1).into_iter().for_each(|input| give(&mut speaker, input));
        speaker
    };
    criterion.bench_function("out/10,000 host routes told", |bencher| {
        bencher.iter_batched_ref(
            full,
            |speaker| {
                let mut buf = BytesMut::new();
                while speaker.poll_transmit(Instant::ZERO, conn(1), &mut buf, usize::MAX) {}
                assert!(buf.len() > TOLD as usize * 5);
            },
            BatchSize::LargeInput,
        );
    });
}

criterion_group! {
    name = micro;
    config = Criterion::default().with_measurement(CpuTime).without_plots();
    targets = wire, intern, decide, policy, sets::sets, out
}
criterion_main!(micro);
