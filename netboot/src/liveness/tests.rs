//! The watcher's mind on virtual time: what marks a machine, and above all what does not.

use super::*;
use crate::inventory::state::{self, Wish};
use crate::inventory::tests::machine;
use crate::ipam::tests::{neco, pool};
use proptest::prelude::*;

fn rules() -> Rules {
    Rules { mass_loss_least: 3, ..Rules::default() }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A world in which every verdict comes about at once.
struct World {
    mind: Liveness,
    machines: BTreeMap<String, Machine>,
    now: Duration,
    said: Vec<String>,
}

impl World {
    fn new(rules: Rules, count: u32) -> Self {
        let mut world = Self {
            mind: Liveness::new(rules, Duration::ZERO),
            machines: BTreeMap::new(),
            now: Duration::ZERO,
            said: Vec::new(),
        };
        for at in 0..count {
            let one = machine(&format!("m{at}"), at / 28, 4 + at % 28);
            world.hear(Input::Machine(Box::new(one.clone())));
            world.machines.insert(one.serial.clone(), one);
        }
        world
    }

    /// Everybody is there and well.
    fn well(rules: Rules, count: u32) -> Self {
        let mut world = Self::new(rules, count);
        for at in 0..count {
            world.path(at, true);
        }
        world.hear(Input::Sessions(2));
        world.hear(Input::Synced);
        world.pass(seconds(15));
        assert!(world.machines.values().all(|machine| machine.state.name == State::Healthy), "{:?}", world.said);
        world.said.clear();
        world
    }

    fn address(&self, at: u32) -> IpAddr {
        self.machines[&format!("m{at}")].own_addresses().next().unwrap()
    }

    fn path(&mut self, at: u32, there: bool) {
        let path = there.then(|| Path { from: vec!["tor1".to_owned(), "tor2".to_owned()], stale: false });
        self.hear(Input::Route(self.address(at), path));
    }

    fn hear(&mut self, input: Input) {
        self.mind.handle(self.now, input);
        self.act();
    }

    fn act(&mut self) {
        while let Some(verdict) = self.mind.poll(self.now) {
            let one = self.machines.get_mut(&verdict.serial).unwrap();
            assert_eq!((one.state.name, one.state.since), (verdict.from, verdict.since), "a verdict on what is");
            let at = Timestamp::from_millisecond(i64::try_from(self.now.as_millis()).unwrap() + 1).unwrap();
            state::change(one, Wish { to: verdict.to, reason: &verdict.reason, by: NAME, at }).unwrap();
            self.said.push(format!("{} {} {}: {}", self.now.as_millis(), verdict.serial, verdict.to, verdict.reason));
            let one = one.clone();
            self.mind.handle(self.now, Input::Machine(Box::new(one)));
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.mind.next_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a timer in the past at which nothing happens");
            self.now = at;
            let before = self.said.len();
            self.act();
            let again = self.mind.next_timeout();
            assert!(again != Some(at) || self.said.len() > before, "a timer that never ends");
        }
        self.now = end;
    }

    fn say(&mut self, at: u32, to: State) {
        let one = self.machines.get_mut(&format!("m{at}")).unwrap();
        let time = Timestamp::from_millisecond(i64::try_from(self.now.as_millis()).unwrap() + 2).unwrap();
        state::change(one, Wish { to, reason: "by hand", by: "ops", at: time }).unwrap();
        let one = one.clone();
        self.hear(Input::Machine(Box::new(one)));
    }
}

#[test]
fn a_machine_turns_healthy_by_its_route_and_loses_that_with_it() {
    let mut world = World::well(rules(), 10);
    world.pass(seconds(100));
    assert!(world.said.is_empty());
    world.path(3, false);
    world.pass(seconds(120));
    world.path(3, true);
    assert_eq!(
        world.said,
        [
            "115050 m3 unhealthy: suspect: no path",
            "175000 m3 unreachable: no path for 60 s",
            "235000 m3 healthy: path by tor1, tor2"
        ]
    );
}

#[test]
fn one_path_of_two_is_enough_and_a_flap_within_the_settling_time_is_nothing() {
    let mut world = World::well(rules(), 10);
    let one = Path { from: vec!["tor2".to_owned()], stale: false };
    world.hear(Input::Route(world.address(3), Some(one)));
    world.pass(seconds(100));
    world.path(3, false);
    world.pass(Duration::from_millis(40));
    world.path(3, true);
    world.pass(seconds(100));
    assert!(world.said.is_empty(), "{:?}", world.said);
}

/// RFC 4724 §4.2: the routes of a peer that restarts are kept, marked stale.
#[test]
fn a_stale_route_makes_suspect_and_never_unreachable() {
    let mut world = World::well(rules(), 10);
    world.hear(Input::Route(world.address(3), Some(Path { from: vec!["tor1".to_owned()], stale: true })));
    world.pass(seconds(1_000));
    assert_eq!(world.said, ["15050 m3 unhealthy: suspect: its path by tor1 is stale"]);
}

#[test]
fn a_watcher_that_sees_nothing_marks_nobody() {
    for blind in [Input::Blind("the daemon is gone".to_owned()), Input::Sessions(0)] {
        let mut world = World::well(rules(), 10);
        world.hear(blind);
        // A daemon that has lost its sessions withdraws what it had.
        for at in 0..10 {
            world.path(at, false);
        }
        world.pass(seconds(10_000));
        assert!(world.said.is_empty() && !world.mind.sees(), "{:?}", world.said);
        // It comes back, with everything but one: only that one is missing.
        for at in 0..9 {
            world.path(at, true);
        }
        world.hear(Input::Sessions(2));
        world.hear(Input::Synced);
        world.pass(seconds(14));
        assert!(world.said.is_empty());
        world.pass(seconds(2));
        assert_eq!(world.said.len(), 1, "{:?}", world.said);
        assert!(world.said[0].contains("m9 unhealthy: suspect: no path"), "{:?}", world.said);
    }
}

/// What was there before the watch broke and is not named again is gone.
#[test]
fn what_a_new_watch_does_not_name_is_gone() {
    let mut world = World::well(rules(), 10);
    world.hear(Input::Blind("closed".to_owned()));
    for at in 0..9 {
        world.path(at, true);
    }
    world.hear(Input::Sessions(1));
    world.hear(Input::Synced);
    world.pass(seconds(16));
    assert_eq!(world.said, ["30050 m9 unhealthy: suspect: no path"]);
}

#[test]
fn a_loss_of_many_freezes_until_they_are_back_or_a_person_says_so() {
    let mut world = World::well(rules(), 20);
    // 4 of 20 are 20 %: not more than that. The fifth is.
    for at in 0..5 {
        world.path(at, false);
        world.pass(Duration::from_millis(1));
    }
    world.pass(seconds(1_000));
    assert!(world.said.is_empty(), "{:?}", world.said);
    let status = world.mind.status(world.now);
    assert_eq!((status.frozen_s, status.lost.len()), (Some(1_000), 5));
    let mut back =
        World { mind: world.mind.clone(), machines: world.machines.clone(), now: world.now, said: Vec::new() };
    back.path(0, true);
    back.pass(seconds(14));
    assert!(back.said.is_empty(), "the others may be coming: {:?}", back.said);
    back.pass(seconds(2));
    assert_eq!(back.said.len(), 4, "four of twenty may be dead: {:?}", back.said);
    world.hear(Input::Thaw);
    world.pass(seconds(1));
    assert_eq!(world.said.len(), 5, "{:?}", world.said);
    assert!(world.said.iter().all(|line| line.contains("unreachable: no path for 1000 s")));
}

#[test]
fn losses_far_apart_are_no_loss_of_many() {
    let mut world = World::well(rules(), 10);
    for at in 0..8 {
        world.path(at, false);
        world.pass(seconds(11));
    }
    assert_eq!(world.mind.status(world.now).frozen_s, None);
    assert_eq!(world.said.iter().filter(|line| line.contains("suspect")).count(), 8);
}

#[test]
fn what_somebody_else_said_stays() {
    let mut world = World::well(rules(), 10);
    world.say(3, State::Unhealthy);
    world.pass(seconds(100));
    assert!(world.said.is_empty(), "its path says nothing about what ops saw");
    world.path(3, false);
    world.pass(seconds(61));
    world.path(3, true);
    world.pass(seconds(100));
    let states: Vec<&str> = world.said.iter().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(states, ["unreachable:", "unhealthy:"], "{:?}", world.said);
    world.say(3, State::Healthy);
    world.say(3, State::Updating);
    world.path(3, false);
    world.pass(seconds(1_799));
    assert_eq!(world.said.len(), 2, "an update may take its time");
    world.pass(seconds(2));
    assert!(world.said[2].contains("unreachable"), "{:?}", world.said);
    let before = world.said.len();
    world.path(3, true);
    world.say(3, State::Retiring);
    world.path(3, false);
    world.pass(seconds(1_000));
    assert_eq!(world.said.len(), before + 1, "{:?}", world.said);
}

#[test]
fn a_machine_that_was_never_seen_stays_uninitialized() {
    let mut world = World::new(rules(), 10);
    for at in 1..10 {
        world.path(at, true);
    }
    world.hear(Input::Sessions(2));
    world.hear(Input::Synced);
    world.pass(seconds(10_000));
    assert_eq!(world.machines["m0"].state.name, State::Uninitialized);
    assert_eq!(world.said.len(), 9);
}

#[test]
fn with_agents_a_report_is_needed_and_its_lease_counts() {
    let mut world = World::new(Rules { agents: true, ..rules() }, 10);
    for at in 0..10 {
        world.path(at, true);
    }
    world.hear(Input::Sessions(2));
    world.hear(Input::Synced);
    world.pass(seconds(100));
    assert!(world.said.is_empty(), "routes alone are not enough");
    world.hear(Input::Report("m3".to_owned()));
    assert_eq!(world.said, ["100000 m3 healthy: path by tor1, tor2, its agent reports"]);
    world.pass(seconds(40));
    assert_eq!(world.said[1..], ["130050 m3 unhealthy: suspect: no report for 30 s"]);
    world.path(3, false);
    world.pass(seconds(100));
    assert_eq!(world.said[2..], ["200000 m3 unreachable: no path and no report for 60 s"]);
    // Its agent is heard, its path is not: it is somewhere.
    world.hear(Input::Report("m3".to_owned()));
    assert_eq!(world.said[3..], ["240000 m3 unhealthy: suspect: no path"]);
}

/// A server that starts anew knows of no report: what is healthy has the time of one lease for the next.
#[test]
fn a_new_server_gives_agents_the_time_of_a_lease() {
    let mut world = World::new(Rules { agents: true, mass_loss_least: 100, ..rules() }, 10);
    for at in 0..10 {
        world.say(at, State::Healthy);
        world.path(at, true);
    }
    let mut world = {
        let mut other = World::new(Rules { agents: true, mass_loss_least: 100, ..rules() }, 0);
        for (serial, one) in world.machines {
            other.hear(Input::Machine(Box::new(one.clone())));
            other.machines.insert(serial, one);
        }
        other
    };
    for at in 0..10 {
        world.path(at, true);
    }
    world.hear(Input::Sessions(2));
    world.hear(Input::Synced);
    world.pass(seconds(29));
    assert!(world.said.is_empty(), "{:?}", world.said);
    for at in 0..9 {
        world.hear(Input::Report(format!("m{at}")));
    }
    world.pass(seconds(5));
    assert_eq!(world.said, ["30050 m9 unhealthy: suspect: its agent has not reported"]);
}

/// The plan to which the machines of this file go, and the way back.
fn migration(back: bool) -> Box<Migration> {
    let mut to = neco();
    to.node = vec![pool("10.80.0.0/16", 6, 26)];
    let since = Timestamp::UNIX_EPOCH;
    Box::new(Migration { from: neco(), to, back, since, by: "ops".to_owned() })
}

/// It announces the new address, leaves the old one, confirms, and the plan is the plan: its path was there all the time.
#[test]
fn while_the_plan_is_changed_either_address_is_a_path() {
    let mut world = World::well(rules(), 10);
    let path = || Some(Path { from: vec!["tor1".to_owned()], stale: false });
    let new: IpAddr = "10.80.0.7".parse().unwrap();
    world.hear(Input::Route(new, path()));
    assert_eq!(world.mind.evidence(world.now, "m3").unwrap().addresses, [world.address(3)], "nobody's so far");
    world.hear(Input::Migration(Some(migration(false))));
    assert_eq!(world.mind.evidence(world.now, "m3").unwrap().addresses, [world.address(3), new]);
    world.path(3, false);
    world.pass(seconds(1_000));
    assert_eq!((&world.said, world.mind.evidence(world.now, "m3").unwrap().addresses), (&vec![], vec![new]));
    // The others confirm and stay where they are: wrong, and seen at once.
    let confirm = |world: &mut World, at: u32| {
        let one = world.machines.get_mut(&format!("m{at}")).unwrap();
        one.ipv4 = migration(false).to.addresses(one.rack, one.index).unwrap().ipv4;
        let one = one.clone();
        world.hear(Input::Machine(Box::new(one)));
    };
    confirm(&mut world, 3);
    world.pass(seconds(1_000));
    assert!(world.said.is_empty(), "{:?}", world.said);
    confirm(&mut world, 4);
    world.pass(seconds(1));
    assert_eq!(world.said, ["2015050 m4 unhealthy: suspect: no path"]);
    // The way back: the old address is one of both again.
    world.hear(Input::Migration(Some(migration(true))));
    let old: IpAddr = "10.69.0.8".parse().unwrap();
    assert_eq!(world.mind.evidence(world.now, "m4").unwrap().addresses, [old]);
    assert!(world.said[1].contains("m4 healthy"), "{:?}", world.said);
    // Nobody's addresses are two: what the plan gave up is nobody's.
    world.hear(Input::Migration(None));
    world.pass(seconds(1));
    assert!(world.said[2].contains("m4 unhealthy: suspect: no path") && world.said.len() == 3, "{:?}", world.said);
}

/// A machine reports by its serial number: whichever address it announces, path and report are needed.
#[test]
fn with_agents_the_new_address_needs_a_report_too() {
    let mut world = World::new(Rules { agents: true, ..rules() }, 10);
    world.hear(Input::Migration(Some(migration(false))));
    let new: IpAddr = "10.80.0.7".parse().unwrap();
    world.hear(Input::Route(new, Some(Path { from: vec!["tor1".to_owned()], stale: false })));
    world.hear(Input::Sessions(2));
    world.hear(Input::Synced);
    world.pass(seconds(100));
    assert!(world.said.is_empty(), "{:?}", world.said);
    world.hear(Input::Report("m3".to_owned()));
    world.pass(seconds(40));
    assert_eq!(
        world.said,
        ["100000 m3 healthy: path by tor1, its agent reports", "130050 m3 unhealthy: suspect: no report for 30 s"]
    );
}

#[test]
fn a_verdict_that_did_not_come_about_is_given_again() {
    let mut world = World::well(rules(), 10);
    world.path(3, false);
    world.now += seconds(1);
    let first = world.mind.poll(world.now).unwrap();
    assert_eq!(world.mind.poll(world.now), None);
    world.now += seconds(1);
    assert_eq!(world.mind.poll(world.now), None);
    world.now += seconds(1);
    assert_eq!(world.mind.poll(world.now), Some(first));
}

proptest! {
    /// Whatever happens: verdicts are allowed changes of what is; nobody is unreachable that had a path within the grace time; and what a
    /// blind watcher or a loss of many hides marks nobody.
    #[test]
    fn whatever_happens_marks_nobody_wrongly(steps in prop::collection::vec((0_u32..12, 0_u8..12, 0_u64..40_000), 1..120)) {
        let mut world = World::well(rules(), 12);
        let mut last_path: BTreeMap<String, Duration> = world.machines.keys().map(|serial| (serial.clone(), world.now)).collect();
        let mut there = [true; 12];
        for (at, what, wait) in steps {
            let serial = format!("m{at}");
            let before = world.said.len();
            let (blind, frozen) = (!world.mind.sees(), world.mind.mass.is_some());
            match what {
                0..3 => {
                    there[usize::try_from(at).unwrap()] = false;
                    world.path(at, false);
                }
                3..7 => {
                    there[usize::try_from(at).unwrap()] = true;
                    world.path(at, true);
                }
                7 => world.hear(Input::Blind("gone".to_owned())),
                8 | 9 => {
                    for at in 0..12 {
                        if there[usize::try_from(at).unwrap()] {
                            world.path(at, true);
                        }
                    }
                    world.hear(Input::Sessions(1));
                    world.hear(Input::Synced);
                }
                10 => world.hear(Input::Sessions(0)),
                _ => {
                    let next = world.machines[&serial].state.name.next()[0];
                    world.say(at, next);
                }
            }
            if blind && frozen && what != 8 && what != 9 {
                prop_assert_eq!(world.said.len(), before);
            }
            world.pass(Duration::from_millis(wait));
            for (at, there) in there.iter().enumerate() {
                if *there {
                    last_path.insert(format!("m{at}"), world.now);
                }
            }
            for line in &world.said[before..] {
                let words: Vec<&str> = line.split(' ').collect();
                if words[2] == "unreachable:" {
                    let said = Duration::from_millis(words[0].parse().unwrap());
                    prop_assert!(said >= last_path[words[1]] + seconds(60), "{}", line);
                }
            }
            if !world.mind.sees() {
                let until = world.said.len();
                world.act();
                prop_assert_eq!(world.said.len(), until);
            }
        }
    }
}
