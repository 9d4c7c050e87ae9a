//! The two plants on virtual time: convergence, faults and operations under many seeds. A failing seed prints its last events.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test fails by panicking, and may look at the clock"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use weft_bgp::event::Event;
use weft_bgp::rng::Rng;
use weft_bgp::time::Duration;
use weft_fabric::config::NodeConfig;
use weft_labs::sim::check::difference;
use weft_labs::sim::fault::Fault;
use weft_labs::sim::fib::Lookup;
use weft_labs::sim::network::{CableId, NodeId};
use weft_labs::sim::{Settings, Sim};
use weft_labs::topology::Topology;

/// Seeds of a scenario unless the variable `WEFT_SIM_SEEDS` names another number: what a debug build does in some seconds.
const SEEDS: u64 = 3;
/// Lines of a failing run that are shown.
const TAIL: usize = 150;
/// Virtual time within which everything must be at rest.
const LIMIT: Duration = Duration::from_secs(60);

struct Plant {
    topology: Topology,
    configs: BTreeMap<String, NodeConfig>,
}

impl Plant {
    fn load(file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies").join(file);
        let topology = Topology::load(&path, &|_| None).unwrap();
        let configs = Sim::load(&topology).unwrap();
        Self { topology, configs }
    }

    fn sim(&self, seed: u64) -> Sim {
        Sim::new(&self.topology, &self.configs, Settings::default(), seed).unwrap()
    }

    /// The state of a network that had these faults from the beginning.
    fn fresh(&self, faults: &[Fault]) -> Result<String, String> {
        let mut sim = self.sim(1_000);
        for fault in faults {
            sim.inject(fault.clone());
        }
        sim.settle(LIMIT)?;
        Ok(sim.state())
    }

    /// Runs a scenario under many seeds; a seed that fails is run again with a trace.
    fn seeds(&self, scenario: impl Fn(&mut Sim, &Self) -> Result<(), String>) {
        let count = std::env::var("WEFT_SIM_SEEDS").ok().and_then(|count| count.parse().ok());
        for seed in 0..count.unwrap_or(SEEDS) {
            let Err(error) = scenario(&mut self.sim(seed), self) else {
                continue;
            };
            let mut sim = self.sim(seed);
            sim.trace.enable();
            let again = scenario(&mut sim, self);
            let lines: Vec<&str> = sim.trace.tail(TAIL).collect();
            assert_eq!(again.as_ref().err(), Some(&error), "the same seed fails in the same way");
            let name = &self.topology.name;
            panic!("{}\n{name}, seed {seed}, at {}:\n{error}", lines.join("\n"), sim.now());
        }
    }
}

fn pick(rng: &mut Rng, count: usize) -> usize {
    usize::try_from(rng.next_u64()).unwrap() % count
}

const PLANTS: [&str; 2] = ["two-racks.clab.yml", "unnumbered.clab.yml"];

/// A plant at rest after a cold start, with flows between and within racks.
fn at_rest(sim: &mut Sim) -> Result<String, String> {
    sim.settle(LIMIT)?;
    for (from, to) in [("node1", "node4"), ("node1", "node2"), ("boot1", "node3")] {
        let (from, to) = (sim.id(from), sim.id(to));
        sim.follow(from, to);
    }
    sim.watch.reset();
    Ok(sim.state())
}

/// At rest, and nothing is wrong anywhere.
fn well(sim: &mut Sim) -> Result<(), String> {
    sim.settle(LIMIT)?;
    sim.no_loops()?;
    sim.settled()?;
    sim.all_reach(&[])
}

/// Over how many next hops a node sends packets for an address.
fn ways(sim: &Sim, node: &str, address: &str) -> usize {
    let machine = sim.machine(sim.id(node));
    match machine.fib.lookup(address.parse().unwrap(), &machine.links) {
        Lookup::Hops(hops) => hops.len(),
        Lookup::Local | Lookup::Connected(_) | Lookup::Discard | Lookup::NoRoute => 0,
    }
}

/// Likewise, but that one node is cut off.
fn well_without(sim: &mut Sim, node: &str) -> Result<(), String> {
    sim.settle(LIMIT)?;
    sim.no_loops()?;
    sim.settled()?;
    sim.all_reach(&[node])
}

/// The state after a history is that of a network which never had one.
fn same(sim: &Sim, expected: &str) -> Result<(), String> {
    let difference = difference(expected, &sim.state());
    if difference.is_empty() { Ok(()) } else { Err(format!("- expected, + found\n{difference}")) }
}

fn lost_at_most(sim: &Sim, packets: u64) -> Result<(), String> {
    let lost = sim.watch.lost(1_000);
    if lost <= packets {
        return Ok(());
    }
    let flows = sim.watch.flows().iter().map(|flow| format!("{:?}", flow.lost)).collect::<Vec<_>>();
    Err(format!("{lost} packets lost, {packets} allowed: {}", flows.join(", ")))
}

#[test]
fn a_cold_start_converges() {
    for file in PLANTS {
        Plant::load(file).seeds(|sim, plant| {
            let begin = std::time::Instant::now();
            let at = sim.settle(LIMIT)?;
            let (name, took) = (&plant.topology.name, begin.elapsed().as_millis());
            println!("{name}: converged after {at}, {:?}, computed in {took} ms", sim.counters());
            sim.expect(&plant.topology.expect)?;
            well(sim)?;
            let before = sim.counters();
            sim.run_for(Duration::from_secs(30))?;
            let after = sim.counters();
            let said = |at: usize| after.messages[at] - before.messages[at];
            let (keepalives, others) = (said(3), said(0) + said(1) + said(2) + said(4));
            if others > 0 || keepalives == 0 || after.fib_changes != before.fib_changes {
                return Err(format!("no rest: {before:?} {after:?}"));
            }
            Ok(())
        });
    }
}

#[test]
fn a_seed_repeats_to_the_last_event() {
    for file in PLANTS {
        let plant = Plant::load(file);
        let run = || {
            let mut sim = plant.sim(7);
            sim.trace.enable();
            sim.run_for(Duration::from_secs(5)).unwrap();
            let lines: Vec<String> = sim.trace.tail(usize::MAX).map(str::to_owned).collect();
            (lines, sim.state(), sim.counters())
        };
        let (first, second) = (run(), run());
        assert!(first.0.len() > 100);
        assert_eq!(first, second);
    }
}

#[test]
fn a_switch_that_dies_without_a_word_is_left_out_and_comes_back_without_loss() {
    for file in PLANTS {
        Plant::load(file).seeds(|sim, plant| {
            let cold = at_rest(sim)?;
            let tor = sim.id("tor1");
            sim.inject(Fault::Crash(tor));
            well(sim)?;
            sim.forgotten("10.69.255.1/32".parse().unwrap())?;
            same(sim, &plant.fresh(&[Fault::Crash(tor)])?)?;
            sim.watch.reset();
            sim.inject(Fault::Boot(tor));
            well(sim)?;
            lost_at_most(sim, 0)?;
            same(sim, &cold)
        });
    }
}

#[test]
fn a_switch_that_loses_carrier_costs_next_to_nothing() {
    for file in PLANTS {
        Plant::load(file).seeds(|sim, _| {
            let cold = at_rest(sim)?;
            let cables: Vec<_> = sim.network().cables_of(sim.id("tor1")).collect();
            for cable in &cables {
                sim.inject(Fault::Unplug(*cable));
            }
            well_without(sim, "tor1")?;
            lost_at_most(sim, 20)?;
            sim.watch.reset();
            for cable in &cables {
                sim.inject(Fault::Plug(*cable));
            }
            well(sim)?;
            lost_at_most(sim, 0)?;
            same(sim, &cold)
        });
    }
}

#[test]
fn a_daemon_that_is_killed_and_restarted_loses_no_packet() {
    for file in PLANTS {
        Plant::load(file).seeds(|sim, _| {
            let cold = at_rest(sim)?;
            for name in ["node1", "tor1", "spine2", "border"] {
                let node = sim.id(name);
                let begin = sim.now();
                sim.inject(if name == "spine2" { Fault::Leave(node) } else { Fault::Kill(node) });
                let pause = Duration::from_millis(sim.counters().events % 4_000);
                sim.run_for(pause)?;
                sim.inject(Fault::Start(node));
                well(sim)?;
                lost_at_most(sim, 0).map_err(|error| format!("{name} restarts: {error}"))?;
                let dropped = sim
                    .events_since(begin)
                    .find(|(_, at, event)| *at != name && matches!(event, Event::SessionDown { retained: false, .. }));
                if let Some((at, at_node, event)) = dropped {
                    return Err(format!("{name} restarts: {at} {at_node} {event:?}"));
                }
                same(sim, &cold).map_err(|error| format!("{name} restarts: {error}"))?;
            }
            Ok(())
        });
    }
}

#[test]
fn a_dead_origin_is_forgotten_everywhere() {
    for file in PLANTS {
        Plant::load(file).seeds(|sim, plant| {
            at_rest(sim)?;
            let node = sim.id("node1");
            sim.inject(Fault::Crash(node));
            well(sim)?;
            sim.forgotten("10.69.0.4/32".parse().unwrap())?;
            same(sim, &plant.fresh(&[Fault::Crash(node)])?)
        });
    }
}

#[test]
fn a_spine_that_dies_leaves_every_pair_connected() {
    for file in PLANTS {
        Plant::load(file).seeds(|sim, plant| {
            let cold = at_rest(sim)?;
            let spine = sim.id("spine1");
            sim.inject(Fault::Crash(spine));
            well(sim)?;
            same(sim, &plant.fresh(&[Fault::Crash(spine)])?)?;
            sim.watch.reset();
            sim.inject(Fault::Boot(spine));
            well(sim)?;
            lost_at_most(sim, 0)?;
            same(sim, &cold)
        });
    }
}

#[test]
fn flapping_cables_leave_no_trace() {
    for file in PLANTS {
        flap(&Plant::load(file));
    }
}

#[test]
fn nor_do_they_where_routes_are_kept_over_the_loss_of_a_link() {
    for file in PLANTS {
        let mut plant = Plant::load(file);
        for config in plant.configs.values_mut() {
            let ranges = config.dynamic.iter_mut().map(|range| &mut range.template);
            config.peers.iter_mut().chain(ranges).for_each(|peer| peer.session.keep_over_link_loss = true);
        }
        flap(&plant);
    }
}

fn flap(plant: &Plant) {
    plant.seeds(|sim, plant| {
        let cold = at_rest(sim)?;
        let mut rng = Rng::new(sim.counters().events);
        for _ in 0..20 {
            let cable = CableId(pick(&mut rng, plant.topology.links.len()));
            let when = sim.now() + Duration::from_millis(rng.next_u64() % 20_000);
            let length = Duration::from_micros(rng.next_u64() % 3_000_000);
            sim.at(when, Fault::Unplug(cable));
            sim.at(when + length, Fault::Plug(cable));
        }
        sim.run_for(Duration::from_secs(25))?;
        for cable in 0..plant.topology.links.len() {
            sim.inject(Fault::Plug(CableId(cable)));
        }
        well(sim)?;
        same(sim, &cold)
    });
}

#[test]
fn a_stopped_daemon_takes_its_routes_with_it_at_once() {
    for file in PLANTS {
        Plant::load(file).seeds(|sim, plant| {
            let cold = at_rest(sim)?;
            let node = sim.id("node2");
            sim.inject(Fault::Stop(node));
            sim.run_for(Duration::from_secs(1))?;
            sim.forgotten("10.69.0.5/32".parse().unwrap())?;
            well(sim)?;
            same(sim, &plant.fresh(&[Fault::Stop(node)])?)?;
            sim.inject(Fault::Start(node));
            well(sim)?;
            same(sim, &cold)
        });
    }
}

#[test]
fn a_spine_goes_out_of_service_and_back_and_no_packet_is_lost() {
    for file in PLANTS {
        Plant::load(file).seeds(|sim, _| {
            let cold = at_rest(sim)?;
            let node = sim.id("spine1");
            let before = ways(sim, "tor1", "10.69.0.197");
            sim.inject(Fault::Drain(node));
            well(sim)?;
            // it is reached itself, and nothing goes over it
            let during = ways(sim, "tor1", "10.69.0.197");
            if (before, during) != (2, 1) {
                return Err(format!("{before} ways to the other rack, then {during}"));
            }
            lost_at_most(sim, 0).map_err(|error| format!("on the way out: {error}"))?;
            sim.inject(Fault::Undrain(node));
            well(sim)?;
            lost_at_most(sim, 0).map_err(|error| format!("on the way back: {error}"))?;
            same(sim, &cold)
        });
    }
}

#[test]
fn a_reload_that_changes_one_peer_touches_no_other_session() {
    for file in PLANTS {
        Plant::load(file).seeds(|sim, plant| {
            at_rest(sim)?;
            let begin = sim.now();
            let before = sim.sessions();
            let mut config = plant.configs["tor1"].clone();
            for peer in config.peers.iter_mut().filter(|peer| peer.name == "spine1") {
                peer.hold_time_s = 30;
            }
            let tor = sim.id("tor1");
            sim.inject(Fault::Reload(tor, Box::new(config)));
            well(sim)?;
            lost_at_most(sim, 0)?;
            for (at, node, event) in sim.events_since(begin) {
                if let Event::SessionDown { name, .. } = event {
                    // the far end knows it by address or by its own name
                    let hit = (node == "tor1" && name == "spine1") || (node == "spine1" && name == "tor1");
                    if !hit {
                        return Err(format!("{at} {node} {event:?}"));
                    }
                }
            }
            if sim.sessions() == before { Ok(()) } else { Err("sessions differ".to_owned()) }
        });
    }
}

#[test]
fn whatever_happened_the_state_is_that_of_a_network_without_history() {
    for file in PLANTS {
        Plant::load(file).seeds(|sim, plant| {
            at_rest(sim)?;
            let mut rng = Rng::new(sim.counters().events);
            let mut dead = BTreeSet::new();
            let mut dark = BTreeSet::new();
            let mut stopped = BTreeSet::new();
            for _ in 0..12 {
                let node = NodeId(pick(&mut rng, plant.topology.nodes.len()));
                let cable = CableId(pick(&mut rng, plant.topology.links.len()));
                match rng.next_u64() % 6 {
                    0 if dead.insert(node) => sim.inject(Fault::Crash(node)),
                    0 => sim.inject(Fault::Kill(node)),
                    1 => sim.inject(Fault::Kill(node)),
                    2 if dark.insert(cable) => sim.inject(Fault::Unplug(cable)),
                    2 if dark.remove(&cable) => sim.inject(Fault::Plug(cable)),
                    3 if dead.remove(&node) => sim.inject(Fault::Boot(node)),
                    4 if !dead.contains(&node) && stopped.insert(node) => sim.inject(Fault::Stop(node)),
                    5 if stopped.remove(&node) => sim.inject(Fault::Start(node)),
                    _ => {}
                }
                sim.run_for(Duration::from_millis(rng.next_u64() % 8_000))?;
            }
            for node in (0..plant.topology.nodes.len()).map(NodeId) {
                if !dead.contains(&node) && !stopped.contains(&node) {
                    sim.inject(Fault::Start(node));
                }
            }
            // Graceful restarts that never came about end after their time.
            sim.run_for(Duration::from_secs(125))?;
            sim.settle(LIMIT)?;
            sim.no_loops()?;
            sim.settled()?;
            let faults: Vec<Fault> = dead
                .iter()
                .map(|node| Fault::Crash(*node))
                .chain(stopped.iter().filter(|node| !dead.contains(node)).map(|node| Fault::Stop(*node)))
                .chain(dark.iter().map(|cable| Fault::Unplug(*cable)))
                .collect();
            same(sim, &plant.fresh(&faults)?).map_err(|error| format!("{faults:?}\n{error}"))
        });
    }
}
