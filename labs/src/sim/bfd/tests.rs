//! BFD over cables of the simulator: how long a failure takes to find, and what is none.

use super::*;
use crate::sim::clos::Clos;
use crate::sim::fault::Fault;
use crate::sim::scenario::{Bfd, Source, World};
use crate::sim::walk::Fate;
use weft_fabric::bfd::State;

const LIMIT: Duration = Duration::from_secs(60);

fn clos(bfd: Option<Bfd>) -> Sim {
    let clos = Clos { spines: 2, leaves: 2, servers: 0, cables: 1, stubs: false };
    let mut world = World::load(&Source::Clos(clos)).unwrap();
    bfd.iter().for_each(|bfd| world.set_bfd(*bfd).unwrap());
    let mut sim = world.sim(5).unwrap();
    sim.settle(LIMIT).unwrap();
    sim
}

/// How long packets from one leaf to the other are lost somewhere when a cable swallows all.
fn lost_for(sim: &mut Sim) -> Duration {
    let (from, to, cable) = (sim.id("leaf1"), sim.id("leaf2"), sim.cable("leaf1", "spine1"));
    let is_well = |sim: &Sim| {
        let target = sim.machine(to).address().unwrap();
        sim.plane().fates(from, target).iter().all(|fate| *fate == Fate::Reached(to))
    };
    assert!(is_well(sim));
    sim.inject(Fault::Deafen(cable));
    let begin = sim.now();
    while !is_well(sim) {
        assert!(sim.now().since(begin) < LIMIT);
        sim.run_for(Duration::from_millis(1)).unwrap();
    }
    sim.now().since(begin)
}

/// RFC 5880 §6.8.4: three intervals after the last packet, which left an interval before the cut at most and, jittered, three quarters of
/// one before the next.
#[test]
fn a_cable_that_swallows_everything_is_left_within_the_detection_time() {
    let lost = lost_for(&mut clos(Some(Bfd { interval_ms: 100, every: 1 })));
    assert!(lost >= Duration::from_millis(200) && lost <= Duration::from_millis(302), "{lost:?}");
}

/// RFC 4271 §4.4: a KEEPALIVE in a third of the hold time of 9 s.
#[test]
fn without_bfd_it_takes_the_hold_time() {
    let lost = lost_for(&mut clos(None));
    assert!(lost >= Duration::from_secs(6) && lost <= Duration::from_millis(9_010), "{lost:?}");
}

#[test]
fn sessions_come_up_and_come_back() {
    let mut sim = clos(Some(Bfd { interval_ms: 100, every: 1 }));
    let cable = sim.cable("leaf1", "spine1");
    let up = |sim: &Sim| {
        let status = sim.machines().iter().flat_map(|machine| machine.bfd.iter().flat_map(bfd::Bfd::status));
        status.filter(|status| status.state == State::Up && !status.is_dead).count()
    };
    assert_eq!(up(&sim), 8, "both ends of four cables");
    sim.inject(Fault::Deafen(cable));
    sim.settle(LIMIT).unwrap();
    assert_eq!(up(&sim), 6);
    sim.inject(Fault::Hearken(cable));
    sim.settle(LIMIT).unwrap();
    assert_eq!(up(&sim), 8);
    sim.settled().unwrap();
    sim.all_reach(&[]).unwrap();
}

/// RFC 5882 §3.2: AdminDown is no failure. A daemon that stops for good takes its sessions down on purpose.
#[test]
fn a_daemon_that_stops_is_no_failure_of_a_path() {
    let mut sim = clos(Some(Bfd { interval_ms: 100, every: 1 }));
    let spine = sim.id("spine1");
    sim.inject(Fault::Stop(spine));
    sim.settle(LIMIT).unwrap();
    let mut left = sim.machines().iter().flat_map(|machine| machine.bfd.iter().flat_map(bfd::Bfd::status));
    assert!(left.all(|status| status.failures == 0));
}
