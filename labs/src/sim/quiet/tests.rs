//! The same seed with leaps and packet by packet: everything is equal, wherever quiet time ends and whatever follows.

use super::*;
use crate::sim::clos::Clos;
use crate::sim::fault::Fault;
use crate::sim::scenario::{Bfd, Source, World};
use weft_bgp::rng::Rng;

const LIMIT: Duration = Duration::from_secs(60);

/// All there is: daemons to the last counter, connections, what is under way, what was counted. Left out: when daemons are called, which is
/// sooner than need be after a deadline moved away.
fn everything(sim: &Sim) -> Vec<String> {
    let daemons = sim.machines.iter().map(|machine| format!("{} {:#?}", machine.name, machine.daemon));
    let bfd = sim.machines.iter().map(|machine| format!("{} {:#?}", machine.name, machine.bfd));
    let kernels =
        sim.machines.iter().map(|machine| format!("{} {:#?} {:#?}", machine.name, machine.fib, machine.links));
    let pipes = sim.pipes.iter().map(|(id, pipe)| format!("{id:?} {pipe:#?}"));
    let coming = sim.queue.iter().filter(|(_, event)| !matches!(event, Event::Wake(..) | Event::BfdWake(..)));
    let mut coming: Vec<String> = coming.map(|(at, event)| format!("{at:?} {event:?}")).collect();
    coming.sort();
    let counted = format!("{:?} {:?} {:?}", sim.counters.messages, sim.counters.fib_changes, sim.last_activity);
    daemons.chain(bfd).chain(kernels).chain(pipes).chain(coming).chain([counted, format!("{:?}", sim.now)]).collect()
}

/// The first line that differs, with those before it.
fn first_difference(one: &[String], other: &[String]) -> Option<String> {
    let lines = |all: &[String]| all.iter().flat_map(|text| text.lines().map(str::to_owned)).collect::<Vec<_>>();
    let (one, other) = (lines(one), lines(other));
    let at = (0..one.len().max(other.len())).find(|at| one.get(*at) != other.get(*at))?;
    let before = one.get(at.saturating_sub(40)..at).unwrap_or_default().join("\n");
    Some(format!("{before}\n- {:?}\n+ {:?}", one.get(at), other.get(at)))
}

fn same(one: &Sim, other: &Sim) {
    let difference = first_difference(&everything(one), &everything(other));
    assert!(difference.is_none(), "at {}: {}", one.now, difference.unwrap_or_default());
}

/// The same network twice, at rest: packet by packet, and with leaps.
fn pair((source, bfd): &(Source, Option<Bfd>), seed: u64, chunk_bytes: u64) -> [Sim; 2] {
    let mut world = World::load(source).unwrap();
    bfd.iter().for_each(|bfd| world.set_bfd(*bfd).unwrap());
    [false, true].map(|leaps| {
        let mut sim = world.sim(seed).unwrap();
        (sim.settings.leaps, sim.settings.chunk_bytes) = (leaps, chunk_bytes);
        sim.trace.enable();
        sim.settle(LIMIT).unwrap();
        sim
    })
}

/// Networks of all kinds, without BFD, with it, and with it here and there.
fn networks() -> Vec<(Source, Option<Bfd>)> {
    let clos = |spines, leaves, servers, stubs| Source::Clos(Clos { spines, leaves, servers, cables: 1, stubs });
    let file = |name| Source::File(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies").join(name));
    let files = ["two-racks.clab.yml", "unnumbered.clab.yml"].map(file);
    let all: Vec<Source> = files.into_iter().chain([clos(2, 2, 2, false), clos(1, 3, 3, true)]).collect();
    let bfd = [None, Some(Bfd { interval_ms: 300, every: 1 }), Some(Bfd { interval_ms: 1_000, every: 2 })];
    bfd.into_iter().flat_map(|bfd| all.iter().map(move |source| (source.clone(), bfd))).collect()
}

/// Goes on to a moment at which bytes are on their way.
fn until_under_way(sim: &mut Sim) -> Instant {
    let flies = |event: &Event| matches!(event, Event::Deliver(..) | Event::Discovery { .. });
    while !sim.queue.iter().any(|(_, event)| flies(event)) {
        sim.step(Instant(u64::MAX)).unwrap();
    }
    let now = sim.now;
    sim.run_until(now).unwrap();
    now
}

#[test]
fn a_quiet_hour_comes_to_the_same_as_packet_by_packet() {
    for source in networks() {
        let [mut slow, mut quick] = pair(&source, 3, 200);
        same(&slow, &quick);
        let (before, begin) = (quick.counters.events, quick.now);
        // With BFD, packet by packet, an hour takes a debug build too long.
        let time = Duration::from_secs(if source.1.is_some() { 120 } else { 3_600 });
        slow.run_for(time).unwrap();
        quick.run_for(time).unwrap();
        same(&slow, &quick);
        let handled = (slow.counters.events, quick.counters.events - before);
        assert!(handled.1 * 100 < handled.0, "{source:?}: {handled:?} events: no leap since {begin}");
    }
}

/// Every stretch ends while something is on its way, in pieces of one octet up.
#[test]
fn so_it_does_wherever_it_ends() {
    for (seed, source) in networks().into_iter().enumerate() {
        for chunk_bytes in [7, 200] {
            let [mut slow, mut quick] = pair(&source, seed as u64, chunk_bytes);
            let mut rng = Rng::new(seed as u64);
            for _ in 0..if source.1.is_some() { 2 } else { 6 } {
                slow.run_for(Duration::from_micros(10_000_000 + rng.next_u64() % 30_000_000)).unwrap();
                let now = until_under_way(&mut slow);
                quick.run_until(now).unwrap();
                same(&slow, &quick);
            }
        }
    }
}

#[test]
fn a_fault_after_it_plays_out_the_same() {
    for (seed, source) in networks().into_iter().enumerate() {
        let mut rng = Rng::new(seed as u64);
        for choice in 0..4 {
            let [mut slow, mut quick] = pair(&source, 50 + seed as u64, 200);
            let pick = |count: usize, rng: &mut Rng| usize::try_from(rng.next_u64()).unwrap() % count;
            let cable = crate::sim::network::CableId(pick(slow.network.cables(), &mut rng));
            let node = NodeId(pick(slow.machines.len(), &mut rng));
            let fault =
                [Fault::Deafen(cable), Fault::Unplug(cable), Fault::Crash(node), Fault::Kill(node)][choice].clone();
            slow.run_for(Duration::from_secs(if source.1.is_some() { 60 } else { 600 })).unwrap();
            let now = until_under_way(&mut slow);
            quick.run_until(now).unwrap();
            for sim in [&mut slow, &mut quick] {
                sim.inject(fault.clone());
                sim.run_for(Duration::from_secs(60)).unwrap();
            }
            let lines = |sim: &Sim| sim.trace.tail(usize::MAX).map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(first_difference(&lines(&slow), &lines(&quick)), None, "{fault:?}");
            assert!(lines(&slow).len() > 20);
            same(&slow, &quick);
        }
    }
}

#[test]
fn time_in_which_something_is_wrong_is_not_passed_at_once() {
    let source = networks().remove(2);
    for fault in [0, 1, 2] {
        let [_, mut sim] = pair(&source, 1, 200);
        let (leaf, cable) = (sim.id("leaf1"), sim.cable("leaf1", "spine1"));
        sim.inject([Fault::Deafen(cable), Fault::Kill(leaf), Fault::Crash(leaf)][fault].clone());
        let until = sim.now + Duration::from_secs(30);
        sim.run_for(SILENCE).unwrap();
        assert!(!sim.leap(until));
    }
}
