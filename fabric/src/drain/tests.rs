//! Named behaviours of draining, on virtual time with neighbours that hear late, or never.

use super::*;
use std::cell::RefCell;

/// The neighbours: who has not acknowledged, and whether the table is busy.
#[derive(Default)]
struct World {
    deaf: RefCell<Vec<String>>,
    is_busy: RefCell<bool>,
    is_left: RefCell<bool>,
    absent: RefCell<Vec<String>>,
}

impl Around for World {
    fn mark(&self) -> Option<u64> {
        (!*self.is_busy.borrow()).then_some(7)
    }

    fn waiting_for(&self, mark: u64) -> Vec<String> {
        assert_eq!(mark, 7);
        self.deaf.borrow().clone()
    }

    fn without_session(&self, interface: &str) -> Vec<String> {
        assert_eq!(interface, "eth1");
        self.absent.borrow().clone()
    }

    fn is_gone(&self, _: &str) -> bool {
        !*self.is_left.borrow()
    }
}

struct Plant {
    drains: Drains,
    world: World,
    config: DrainConfig,
    log: Vec<String>,
}

impl Plant {
    fn new() -> Self {
        Self { drains: Drains::default(), world: World::default(), config: DrainConfig::default(), log: Vec::new() }
    }

    fn set(&mut self, at_ms: u64, scope: &Scope, target: State) {
        let now = at(at_ms);
        self.drains.set(now, scope, target, By::Operator);
        self.tick(at_ms);
    }

    fn tick(&mut self, at_ms: u64) {
        while self.drains.tick(at(at_ms), &self.config, &self.world) {}
        while let Some(event) = self.drains.poll() {
            self.log.push(format!("{at_ms:>6} {}", event.sentence()));
        }
    }

    /// Calls when it asks to be called, until a time.
    fn pass(&mut self, until_ms: u64) {
        while let Some((next, _)) = self.drains.next_timeout().filter(|(next, _)| *next <= at(until_ms)) {
            self.tick(next.0 / 1_000_000);
        }
    }

    fn only(&self) -> Info {
        self.drains.infos().next().unwrap()
    }
}

fn at(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

fn link() -> Scope {
    Scope::Interface("eth1".to_owned())
}

#[test]
fn every_state_is_held_for_the_settling_time() {
    // RFC 8326 §4.2
    let mut plant = Plant::new();
    plant.set(0, &Scope::Node, State::Drained);
    plant.pass(60_000);
    assert_eq!(
        plant.log,
        [
            "     0 node: soft, on the way to drained, as was asked",
            "  1000 node: warm, on the way to drained, as was asked",
            "  2000 node: drained, as was asked",
            "  3000 node: drained, and everybody has heard of it"
        ]
    );
    assert!(plant.drains.is_settled(&Scope::Node, State::Drained));
    assert_eq!(plant.drains.next_timeout(), None, "nothing more is to be looked at");
}

#[test]
fn the_settling_time_begins_when_everybody_has_acknowledged() {
    let mut plant = Plant::new();
    *plant.world.deaf.borrow_mut() = vec!["spine1".to_owned()];
    plant.set(0, &Scope::Node, State::Soft);
    plant.pass(4_000);
    assert_eq!((plant.only().waiting_for, plant.only().is_settled), (vec!["spine1".to_owned()], false));
    plant.world.deaf.borrow_mut().clear();
    plant.pass(4_900);
    assert!(!plant.only().is_settled);
    plant.pass(5_100);
    assert!(plant.only().is_settled);
    assert_eq!(plant.log.last().unwrap(), "  5020 node: soft, and everybody has heard of it");
}

#[test]
fn who_never_acknowledges_is_named_and_not_waited_for() {
    let mut plant = Plant::new();
    *plant.world.deaf.borrow_mut() = vec!["spine1".to_owned()];
    plant.set(0, &link(), State::Drained);
    plant.pass(120_000);
    assert_eq!(
        plant.log,
        [
            "     0 interface eth1: soft, on the way to drained, as was asked",
            " 11000 interface eth1: warm, on the way to drained, as was asked",
            " 22000 interface eth1: drained, as was asked",
            " 33000 interface eth1: drained, but not acknowledged in time by spine1"
        ]
    );
}

#[test]
fn nothing_is_over_while_the_table_is_busy() {
    let mut plant = Plant::new();
    *plant.world.is_busy.borrow_mut() = true;
    plant.set(0, &link(), State::Soft);
    plant.pass(5_000);
    assert_eq!(plant.only().waiting_for, ["this node's own table"]);
    *plant.world.is_busy.borrow_mut() = false;
    plant.pass(6_100);
    assert!(plant.only().is_settled);
}

#[test]
fn the_way_back_is_one_step_from_everywhere() {
    for target in [State::Soft, State::Warm, State::Drained] {
        let mut plant = Plant::new();
        plant.set(0, &link(), target);
        plant.pass(60_000);
        plant.set(60_000, &link(), State::Live);
        assert_eq!(plant.drains.state(&link()), State::Live);
        plant.pass(60_100);
        assert_eq!(plant.drains.infos().count(), 0, "{target}: it is like everything else again");
    }
    let mut plant = Plant::new();
    plant.set(0, &link(), State::Drained);
    plant.pass(60_000);
    plant.set(60_000, &link(), State::Soft);
    assert_eq!(plant.log.last().unwrap(), " 60000 interface eth1: soft, as was asked");
}

#[test]
fn a_link_is_back_when_its_sessions_are() {
    let mut plant = Plant::new();
    *plant.world.absent.borrow_mut() = vec!["tor1".to_owned()];
    plant.set(0, &link(), State::Drained);
    plant.pass(10_000);
    assert!(plant.drains.is_settled(&link(), State::Drained), "there they are not waited for");
    plant.set(10_000, &link(), State::Live);
    plant.pass(12_000);
    assert_eq!((plant.only().waiting_for, plant.only().is_settled), (vec!["the session with tor1".to_owned()], false));
    plant.world.absent.borrow_mut().clear();
    plant.pass(12_100);
    assert_eq!(plant.drains.infos().count(), 0);
}

#[test]
fn another_wish_on_the_way_is_followed_from_where_it_is() {
    let mut plant = Plant::new();
    plant.set(0, &Scope::Node, State::Drained);
    plant.pass(1_500);
    assert_eq!(plant.drains.state(&Scope::Node), State::Warm);
    plant.set(1_500, &Scope::Node, State::Warm);
    plant.pass(60_000);
    assert_eq!((plant.drains.state(&Scope::Node), plant.only().is_settled), (State::Warm, true), "and no further");
    plant.set(60_000, &Scope::Node, State::Drained);
    assert_eq!(plant.drains.state(&Scope::Node), State::Drained);
}

#[test]
fn the_same_wish_again_changes_nothing() {
    let mut plant = Plant::new();
    plant.set(0, &Scope::Node, State::Drained);
    plant.pass(60_000);
    let lines = plant.log.len();
    plant.set(61_000, &Scope::Node, State::Drained);
    assert_eq!((plant.log.len(), plant.only().is_settled), (lines, true));
}

#[test]
fn a_service_is_drained_when_its_address_has_left() {
    let mut plant = Plant::new();
    *plant.world.is_left.borrow_mut() = true;
    let scope = Scope::Vip("web".to_owned());
    plant.set(0, &scope, State::Drained);
    plant.pass(3_500);
    assert_eq!(plant.only().waiting_for, ["the address of web to leave lo"]);
    *plant.world.is_left.borrow_mut() = false;
    plant.pass(5_000);
    assert!(plant.drains.is_settled(&scope, State::Drained));
}

#[test]
fn what_people_said_outlives_the_daemon_and_nothing_else_does() {
    let mut plant = Plant::new();
    plant.drains.place(at(0), Scope::Node, State::Drained, By::Boot);
    assert_eq!(plant.drains.kept(), Kept::default(), "the file says that again");
    assert!(plant.drains.is_settled(&Scope::Node, State::Drained), "nobody was told otherwise");
    plant.set(10, &Scope::Node, State::Live);
    plant.set(10, &link(), State::Drained);
    plant.set(10, &Scope::Vip("web".to_owned()), State::Soft);
    let kept = plant.drains.kept();
    assert_eq!(
        (kept.node, kept.interfaces["eth1"], kept.vips["web"]),
        (Some(State::Live), State::Drained, State::Soft)
    );
    plant.pass(60_000);
    assert_eq!(plant.drains.kept(), kept, "where it was to get, on the way and there");
    plant.drains.set(at(60_000), &Scope::Node, State::Drained, By::Signal);
    assert_eq!(plant.drains.kept().node, None, "the end of one run is not the state of the next");
}

#[test]
fn no_more_than_so_many_are_kept() {
    let mut plant = Plant::new();
    for number in 0..SCOPES_MAX + 5 {
        plant.drains.set(at(0), &Scope::Interface(format!("eth{number}")), State::Soft, By::Operator);
    }
    assert_eq!(plant.drains.infos().count(), SCOPES_MAX);
    assert!(!plant.drains.has_room(&Scope::Vip("web".to_owned())));
}
