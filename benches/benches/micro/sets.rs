//! One question to a set of 100,000, by how its members lie. Half of the questions hit, the others ask beside a member; each waits for
//! the answer to the one before, so that what is measured is how long an answer takes, not how many are under way at once.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion};
use serde_json::{Value, json};
use weft_benches::table::Dice;
use weft_bgp::policy::sets::{Entry, PrefixSet};
use weft_bgp::policy::{Route, Source, Verdict, compile};
use weft_bgp::types::{Asn, IpNet};
use weft_bgp::wire::attrs::{Attrs, flag, kind, put};

use super::cpu::CpuTime;

/// Members of a set.
const SET: u32 = 100_000;
/// Questions, asked again and again: few enough that they stay in the cache that the sets are in.
const ASKED: usize = 1 << 14;
/// Sets asked in turn, for what a question takes when other work has displaced everything: together more than any cache holds.
const IN_TURN: usize = 32;

/// How prefixes lie: each number has its entry.
type Shape = fn(&mut Dice, u32) -> Entry;

const SHAPES: [(&str, Shape); 14] = [
    ("IPv4, lengths 8 to 32", |dice, _| {
        let length = lengths(dice, 8, 32);
        v4(anywhere(dice), length, length, length)
    }),
    ("IPv4 /24", |dice, _| v4(anywhere(dice), 24, 24, 24)),
    ("IPv4 /32", |dice, _| v4(anywhere(dice), 32, 32, 32)),
    ("IPv4 /32, every other one of a network, and two far away", |_, number| match number {
        0 => v4(1, 32, 32, 32),
        1 => v4(0xdf00_0000, 32, 32, 32),
        _ => v4(0x0a00_0000 + number * 2, 32, 32, 32),
    }),
    ("IPv4, ge and le at random", |dice, _| {
        let length = lengths(dice, 12, 30);
        let ge = lengths(dice, length, 32);
        v4(anywhere(dice), length, ge, lengths(dice, ge, 32))
    }),
    ("IPv4, four within another, ge and le at random", |dice, number| {
        let address = Dice(u64::from(number / 4)).within(0, u32::MAX - 1);
        let length = [16, 20, 24, 28][number as usize % 4];
        let ge = lengths(dice, length, 32);
        v4(address, length, ge, lengths(dice, ge, 32))
    }),
    ("IPv6 /48", |dice, _| v6(wide(dice), 48, 48, 48)),
    ("IPv6 /64", |dice, _| v6(wide(dice), 64, 64, 64)),
    ("IPv6 /128", |dice, _| v6(wide(dice), 128, 128, 128)),
    ("IPv6 /128 of one /64", |dice, _| v6(0x2001_0db8 << 96 | u128::from(dice.roll()), 128, 128, 128)),
    ("IPv6 /128 of 100 /64", |dice, number| {
        let network = Dice(u64::from(number % 100)).roll();
        v6(0x2001_0db8 << 96 | u128::from(network >> 32) << 64 | u128::from(dice.roll()), 128, 128, 128)
    }),
    ("IPv6, lengths 32 to 128", |dice, _| {
        let length = lengths(dice, 32, 128);
        v6(wide(dice), length, length, length)
    }),
    ("IPv6, sites: /48 ge 56 le 64 in /32 ge 40 le 48", |dice, number| {
        let provider = 0x2_u128 << 124 | u128::from(Dice(u64::from(number / 8)).roll()) << 60;
        if number % 8 == 0 { v6(provider, 32, 40, 48) } else { v6(provider >> 96 << 96 | wide(dice) >> 32, 48, 56, 64) }
    }),
    ("IPv6, four within another, ge and le at random", |dice, number| {
        let address = 0x2_u128 << 124 | u128::from(Dice(u64::from(number / 4)).roll()) << 60;
        let length = [32, 48, 56, 64][number as usize % 4];
        let ge = lengths(dice, length, 128);
        v6(address, length, ge, lengths(dice, ge, 128))
    }),
];

fn anywhere(dice: &mut Dice) -> u32 {
    dice.within(0x0100_0000, 0xdfff_ffff)
}

/// An address of 2000::/4.
fn wide(dice: &mut Dice) -> u128 {
    0x2 << 124 | (u128::from(dice.roll()) << 64 | u128::from(dice.roll())) >> 4
}

fn lengths(dice: &mut Dice, least: u8, most: u8) -> u8 {
    u8::try_from(dice.within(least.into(), most.into())).unwrap()
}

fn v4(address: u32, length: u8, ge: u8, le: u8) -> Entry {
    Entry { net: IpNet::new(IpAddr::V4(Ipv4Addr::from_bits(address)), length).unwrap().trunc(), ge, le }
}

fn v6(address: u128, length: u8, ge: u8, le: u8) -> Entry {
    Entry { net: IpNet::new(IpAddr::V6(Ipv6Addr::from_bits(address)), length).unwrap().trunc(), ge, le }
}

fn entries(shape: Shape, seed: u64) -> Vec<Entry> {
    let mut dice = Dice(seed);
    (0..SET).map(|number| shape(&mut dice, number)).collect()
}

/// A prefix that an entry covers, or one as long just beside its network.
fn question(entry: &Entry, hits: bool, dice: &mut Dice) -> IpNet {
    let length = lengths(dice, entry.ge, entry.le);
    let (bits, address) = match entry.net.network() {
        IpAddr::V4(address) => (32, u128::from(address.to_bits())),
        IpAddr::V6(address) => (128, address.to_bits()),
    };
    let own = entry.net.prefix_len();
    let inside = (u128::from(dice.roll()) << 64 | u128::from(dice.roll())).checked_shr((own + 128 - bits).into());
    let step = 1_u128.checked_shl((bits - own).into()).unwrap_or_default();
    let address = if hits { address | inside.unwrap_or_default() } else { address.wrapping_add(step) };
    let address = match bits {
        32 => Ipv4Addr::from_bits(u32::try_from(address & 0xffff_ffff).unwrap()).into(),
        _ => Ipv6Addr::from_bits(address).into(),
    };
    IpNet::new(address, length).unwrap().trunc()
}

fn questions(entries: &[Entry]) -> Vec<IpNet> {
    let mut dice = Dice(7);
    let mut one = |at: usize| {
        let entry = &entries[dice.within(0, SET - 1) as usize];
        question(entry, at.is_multiple_of(2), &mut dice)
    };
    (0..ASKED).map(&mut one).collect()
}

/// Asks on and on; which question is next depends on the answer.
fn ask(group: &mut BenchmarkGroup<'_, CpuTime>, name: &str, mut has: impl FnMut(usize) -> bool) {
    let mut at = 0;
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            at += 1 + usize::from(has(at % ASKED));
        });
    });
}

fn prefixes(group: &mut BenchmarkGroup<'_, CpuTime>) {
    for (name, shape) in SHAPES {
        let entries = entries(shape, 1);
        let (set, asked) = (PrefixSet::new(&entries), questions(&entries));
        ask(group, name, |at| set.contains(black_box(&asked[at])));
    }
    for (name, shape) in [SHAPES[0], SHAPES[7]] {
        let all: Vec<_> = (0..IN_TURN as u64).map(|seed| PrefixSet::new(&entries(shape, seed))).collect();
        let asked = questions(&entries(shape, 0));
        let mut turn = 0;
        ask(group, &format!("{name}, nothing in any cache"), |at| {
            turn = (turn + 1) % IN_TURN;
            all[turn].contains(black_box(&asked[at]))
        });
    }
}

/// What two reads of memory take when each says where the next one is: nothing that is looked up by two steps can be faster.
fn reads(group: &mut BenchmarkGroup<'_, CpuTime>) {
    let mut dice = Dice(3);
    // As large as the sets in turn, in lines of 64 octets.
    let mut lines: Vec<[usize; 8]> = (0..IN_TURN << 15).map(|at| [at; 8]).collect();
    // Sattolo's shuffle: one circle through all.
    for last in (1..lines.len()).rev() {
        let other = dice.within(0, u32::try_from(last - 1).unwrap()) as usize;
        lines.swap(last, other);
    }
    let mut at = 0;
    group.bench_function("for comparison: two reads that are in no cache", |bencher| {
        bencher.iter(|| at = lines[lines[at][0]][0]);
    });
}

/// One attribute with one value; every other one is a member of the set.
fn blocks(number: u8, member: impl Fn(u32) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut dice = Dice(5);
    let of = |at| {
        let mut block = Vec::new();
        let value = member(dice.within(0, SET - 1) * 2 + u32::from(at % 2 == 1));
        put(&mut block, flag::OPTIONAL | flag::TRANSITIVE, number, &value);
        block
    };
    (0..ASKED).map(of).collect()
}

/// Sets that only a policy can be asked about: one rule with one condition. Members are the even numbers of twice as many.
fn members(group: &mut BenchmarkGroup<'_, CpuTime>) {
    let community = |number: u32| number.wrapping_mul(0x9e37_79b1);
    // No AS is 0 (RFC 7607).
    let asn = |number: u32| community(number + 1);
    let large = |number: u32| [4_200_000_000 + number % 7, community(number), number];
    let text = |parts: &[u32]| parts.iter().map(u32::to_string).collect::<Vec<_>>().join(":");
    let octets = |parts: &[u32]| parts.iter().flat_map(|part| part.to_be_bytes()).collect::<Vec<_>>();
    let extended = |number: u32| [&[0, 2, 0xfd, 0xe8], &community(number).to_be_bytes()[..]].concat();
    let set = |member: &dyn Fn(u32) -> Value| (0..SET).map(|number| member(number * 2)).collect::<Vec<_>>();
    let sets = json!({
        "asns": set(&|number| json!(asn(number))),
        "communities": set(&|number| json!(text(&[community(number) >> 16, community(number) & 0xffff]))),
        "large": set(&|number| json!(text(&large(number)))),
        "extended": set(&|number| json!(format!("rt:65000:{}", community(number)))),
    });
    let none = vec![Vec::new(); ASKED];
    for (key, name, blocks) in [
        ("neighbor_asn", "asns", none),
        ("community", "communities", blocks(kind::COMMUNITIES, |number| community(number).to_be_bytes().to_vec())),
        ("large_community", "large", blocks(kind::LARGE_COMMUNITIES, |number| octets(&large(number)))),
        ("ext_community", "extended", blocks(kind::EXTENDED_COMMUNITIES, extended)),
    ] {
        let section = json!({"sets": {name: &sets[name]}, "p": [{"match": {key: name}, "then": "accept"}]});
        let policies = compile(&section, &BTreeSet::new()).map_err(|faults| faults.len()).unwrap();
        let chosen = policies.choose(Some("p"), true);
        let (prefix, address) = ("192.0.2.0/24".parse().unwrap(), IpAddr::from([10, 0, 1, 1]));
        let (mut dice, mut hits) = (Dice(9), 0_u64);
        let asns: Vec<_> = (0..ASKED).map(|_| Asn(asn(dice.within(0, SET * 2 - 1)))).collect();
        ask(group, &format!("policy of one rule: {key}"), |at| {
            let route = Route {
                prefix: &prefix,
                attrs: Attrs(&blocks[at]),
                next_hop: address,
                source: Source::Ebgp,
                peer_name: "p1",
                peer_address: address,
                peer_asn: asns[at],
                own_asn: Asn(65_000),
                bandwidth: None,
                next_hops: 1,
                vrps: None,
            };
            let accepted = chosen.evaluate(black_box(route)).verdict == Verdict::Accept;
            hits += u64::from(accepted);
            accepted
        });
        assert!(hits > 0, "{key}");
    }
}

pub(crate) fn sets(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("sets of 100,000");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    prefixes(&mut group);
    reads(&mut group);
    members(&mut group);
    group.finish();
}
