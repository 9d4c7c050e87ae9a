//! Servers of one store and one controller on virtual time: each is killed, frozen or cut off at every step, and the wish comes to its end.

use super::*;
use crate::bmc::power::tests::Model;
use crate::bmc::power::{Times, Wish};
use crate::bmc::wish::{Act, Drive, Saved};
use crate::bmc::{Power, Press, Trouble};
use crate::inventory::Inventory;
use crate::store::Outcome;
use crate::store::memory::Memory;
use std::rc::Rc;

const KEY: &str = "wishes/m0";
/// Between two turns of a server.
const TURN: Duration = Duration::from_millis(100);
/// Short ones: each turn of each wish is tried.
const TIMES: Times = Times { soft_off_s: 12, hard_off_s: 6, on_s: 6, steady_s: 1, away_s: 20 };

/// What happens to a server at its turn of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Killed,
    /// Does nothing for so many seconds, then goes on as if nothing had been.
    Frozen(u64),
    /// Its store does not answer for so many seconds.
    CutOff(u64),
    /// It ends as it should.
    Ends,
}

/// A server: how old what it knows of the store is, and its faults.
type Plan<'a> = (Duration, &'a [(u64, Fault)]);
/// A wish, its machine, and what is pressed for it.
type Case = (Wish, fn() -> Model, Vec<Press>);

/// What was done, and whose answer is not looked at yet.
enum Pending {
    Saved(Duration, Box<Record>, Saved),
    State(Result<Power, Trouble>),
    Pressed(Result<(), Trouble>),
}

struct Server {
    duty: Duty,
    drive: Option<Drive>,
    pending: Option<Pending>,
    turns: u64,
    faults: Vec<(u64, Fault)>,
    is_dead: bool,
    frozen: Duration,
    cut: Duration,
    /// It knows what the store was so long ago.
    lag: Duration,
    beat: Duration,
}

struct World {
    store: Memory,
    history: Vec<(Duration, Rc<Inventory>)>,
    model: Model,
    now: Duration,
    servers: Vec<Server>,
    /// Who pressed what, when.
    presses: Vec<(Duration, String, Press)>,
    is_done: bool,
}

fn wall(now: Duration) -> Timestamp {
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::try_from(now).unwrap()).unwrap()
}

fn put(store: &mut Memory, record: &Record) {
    let writes = vec![Write { key: KEY.to_owned(), value: Some(serde_json::to_vec(record).unwrap().into()) }];
    store.commit(&Transaction { compares: Vec::new(), writes }).unwrap();
}

impl World {
    /// Servers `s0`, `s1`, …; the wish is of the first.
    fn new(wish: Wish, model: Model, servers: &[Plan<'_>]) -> Self {
        let mut store = Memory::default();
        put(&mut store, &Record::new(wish, false, ("ops", "s0"), wall(Duration::ZERO), TIMES.longest()));
        let server = |(at, (lag, faults)): (usize, &Plan<'_>)| Server {
            duty: Duty::new(format!("s{at}"), true),
            drive: None,
            pending: None,
            turns: 0,
            faults: faults.to_vec(),
            is_dead: false,
            frozen: Duration::ZERO,
            cut: Duration::ZERO,
            lag: *lag,
            beat: Duration::ZERO,
        };
        let servers = servers.iter().enumerate().map(server).collect();
        let (history, presses) = (Vec::new(), Vec::new());
        Self { store, history, model, now: Duration::ZERO, servers, presses, is_done: false }
    }

    fn record(&self) -> Record {
        serde_json::from_slice(&self.store.read(KEY).entries[0].value).unwrap()
    }

    /// Until the wish is over and nobody drives it.
    fn run(mut self) -> Self {
        let limit = TIMES.longest() + Duration::from_secs(60);
        while self.now < limit {
            let snapshot = self.store.read("");
            if self.history.last().is_none_or(|(_, last)| last.revision() != snapshot.revision) {
                self.history.push((self.now, Rc::new(Inventory::load(&snapshot).unwrap())));
            }
            for at in 0..self.servers.len() {
                self.turn(at);
            }
            self.now += TURN;
            let idle = self.servers.iter().all(|server| server.is_dead || server.drive.is_none());
            if idle && self.record().end.is_some() {
                self.is_done = true;
                return self;
            }
        }
        self
    }

    fn turn(&mut self, at: usize) {
        let now = self.now;
        let server = &mut self.servers[at];
        if server.is_dead || now < server.frozen {
            return;
        }
        server.turns += 1;
        let fault =
            server.faults.iter().find(|(turn, _)| *turn == server.turns).map_or(Fault::None, |(_, fault)| *fault);
        match fault {
            Fault::None => {}
            Fault::Killed => server.is_dead = true,
            Fault::Frozen(seconds) => server.frozen = now + Duration::from_secs(seconds),
            Fault::CutOff(seconds) => server.cut = now + Duration::from_secs(seconds),
            Fault::Ends => {
                server.is_dead = true;
                if let Some(drive) = server.drive.take().filter(|drive| drive.record().end.is_none()) {
                    let name = server.duty.server().to_owned();
                    let given = drive.record().clone().handed(wall(now), &name, None, "ends");
                    self.save(at, drive.modified(), &given);
                }
            }
        }
        if self.servers[at].is_dead || now < self.servers[at].frozen {
            return;
        }
        self.beat(at);
        self.look(at);
        self.step(at);
    }

    fn beat(&mut self, at: usize) {
        let server = &mut self.servers[at];
        if server.drive.is_some() && self.now >= server.beat && self.now >= server.cut {
            server.beat = self.now + BEAT;
            self.store.commit(&server.duty.beat().unwrap()).unwrap();
            server.duty.on_beat((self.now, self.now));
        }
    }

    fn look(&mut self, at: usize) {
        let (server, now) = (&mut self.servers[at], self.now);
        let known = now.saturating_sub(server.lag).min(server.cut_since(now));
        let Some((_, inventory)) = self.history.iter().rev().find(|(time, _)| *time <= known).cloned() else { return };
        let todo = server.duty.look((wall(now), now), inventory.wishes_under_way(), inventory.bmc_servers());
        for todo in todo {
            let (record, modified) = match todo {
                Todo::Drive(serial) => {
                    let held = inventory.wish(&serial).unwrap();
                    (held.value.as_ref().clone(), held.modified)
                }
                Todo::Take { record, transaction, .. } if now >= server.cut => {
                    match self.store.commit(&transaction).unwrap() {
                        Outcome::Committed(modified) => (*record, modified),
                        Outcome::Conflict => continue,
                    }
                }
                Todo::Take { .. } => continue,
            };
            match &mut server.drive {
                Some(drive) if modified > drive.modified() => drive.heard(Some((record, modified))),
                Some(_) => {}
                place @ None => {
                    let name = server.duty.server();
                    *place = Some(Drive::new(name, (record, modified), (TIMES, true), (wall(now), now)));
                }
            }
        }
    }

    /// Looks at the answer that came, or does the next thing.
    fn step(&mut self, at: usize) {
        let now = self.now;
        let Some(mut drive) = self.servers[at].drive.take() else { return };
        let mut pending = None;
        match self.servers[at].pending.take() {
            Some(Pending::Saved(begun, draft, saved)) => drive.on_saved((begun, now), *draft, saved),
            Some(Pending::State(heard)) => drive.on_state(now, heard),
            Some(Pending::Pressed(heard)) => drive.on_pressed(now, heard),
            None => match drive.next(now) {
                Act::Save => {
                    let draft = drive.draft(wall(now));
                    let saved = self.save(at, drive.modified(), &draft);
                    pending = Some(Pending::Saved(now, Box::new(draft), saved));
                }
                Act::Read => pending = Some(Pending::State(self.model.read(now.as_secs()))),
                Act::Press(press) => {
                    let trusted = self.servers[at].duty.trusted(drive.trusted());
                    pending = Some(Pending::Pressed(self.press(at, press, trusted)));
                }
                Act::Wait(_) => {}
                Act::End => return,
            },
        }
        (self.servers[at].drive, self.servers[at].pending) = (Some(drive), pending);
    }

    /// Whoever presses has the wish in the store, whatever he believes.
    fn press(&mut self, at: usize, press: Press, trusted: Duration) -> Result<(), Trouble> {
        if self.now >= trusted {
            return Err(Trouble::Silent("the store is away".to_owned()));
        }
        let name = self.servers[at].duty.server().to_owned();
        let record = self.record();
        assert!(record.is_of(&name), "{name} presses {press:?} at {:?}, and it is of {:?}", self.now, record.server);
        let last = record.phase.pressed.expect("what is pressed is stored before");
        assert_eq!((last.press, last.answered), (press, false));
        self.presses.push((self.now, name, press));
        self.model.press(self.now.as_secs(), press)
    }

    fn save(&mut self, at: usize, modified: Revision, record: &Record) -> Saved {
        if self.now < self.servers[at].cut {
            return Saved::Away("no etcd answers".to_owned());
        }
        let compares = vec![Compare { key: KEY.to_owned(), modified: Some(modified) }];
        let writes = vec![Write { key: KEY.to_owned(), value: Some(serde_json::to_vec(record).unwrap().into()) }];
        match self.store.commit(&Transaction { compares, writes }).unwrap() {
            Outcome::Committed(revision) => Saved::Kept(revision),
            Outcome::Conflict => Saved::Changed(Some((self.record(), self.store.read(KEY).entries[0].modified))),
        }
    }
}

impl Server {
    /// Whoever is cut off knows what was before.
    fn cut_since(&self, now: Duration) -> Duration {
        let cut = self.faults.iter().find_map(|(_, fault)| match fault {
            Fault::CutOff(seconds) if now < self.cut => Some(self.cut.saturating_sub(Duration::from_secs(*seconds))),
            Fault::CutOff(_) | Fault::None | Fault::Killed | Fault::Frozen(_) | Fault::Ends => None,
        });
        cut.unwrap_or(now)
    }
}

fn obeys() -> Model {
    Model { obeys: Some(4), ..Model::new(true) }
}

/// The wishes with a machine each, and what they come to without faults.
fn cases() -> Vec<Case> {
    vec![
        (Wish::On, || Model::new(false), vec![Press::On]),
        (Wish::Off, obeys, vec![Press::SoftOff]),
        (Wish::Off, || Model { obeys: None, ..obeys() }, vec![Press::SoftOff, Press::HardOff]),
        (Wish::Restart, obeys, vec![Press::SoftOff, Press::On]),
        (Wish::Cycle, || Model { swallows: 1, ..Model::new(true) }, vec![Press::HardOff, Press::HardOff, Press::On]),
    ]
}

/// Done, and the machine is so; nothing was pressed that would not have been, and no kind more often than once more for each fault.
fn check(world: &World, (wish, pressed): (Wish, &[Press]), faults: usize) {
    assert!(world.is_done, "{wish} has no end: {:?}", world.record());
    let record = world.record();
    assert!(record.end.unwrap().well, "{record:?}");
    assert_eq!(world.model.on, wish != Wish::Off, "{record:?}");
    for press in [Press::On, Press::SoftOff, Press::HardOff] {
        let count = |all: &[Press]| all.iter().filter(|other| **other == press).count();
        let (made, usual) = (count(&world.model.pressed()), count(pressed));
        assert!(made <= usual + if usual > 0 { faults } else { 0 }, "{made} times {press:?}: {:?}", world.presses);
    }
}

#[test]
fn without_faults_one_server_presses_and_each_press_is_made_once() {
    for (wish, model, pressed) in cases() {
        let world = World::new(wish, model(), &[(Duration::ZERO, &[]), (Duration::ZERO, &[]), (TURN * 20, &[])]).run();
        check(&world, (wish, &pressed), 0);
        assert_eq!(world.model.pressed(), pressed);
        assert!(world.presses.iter().all(|(_, server, _)| server == "s0"), "{:?}", world.presses);
    }
}

/// At every turn of the server that has the wish, until it is over; how many there were.
fn at_every_turn(fault: Fault, others: &[Plan<'_>], mut look: impl FnMut(&World)) -> usize {
    let mut worlds = 0;
    for (wish, model, pressed) in cases() {
        for turn in 1.. {
            let own = [(turn, fault)];
            let first = [(Duration::ZERO, own.as_slice())];
            let world = World::new(wish, model(), &[first.as_slice(), others].concat()).run();
            check(&world, (wish, &pressed), 1 + others.iter().map(|(_, faults)| faults.len()).sum::<usize>());
            look(&world);
            worlds += 1;
            if world.servers[0].turns < turn {
                break;
            }
        }
    }
    worlds
}

#[test]
fn a_server_that_is_killed_at_any_step_is_followed_by_another() {
    let mut taken = 0;
    let worlds = at_every_turn(Fault::Killed, &[(Duration::ZERO, &[]), (TURN * 3, &[])], |world| {
        // Whoever follows says from whom.
        taken += usize::from(world.record().steps.iter().any(|step| step.says.starts_with("taken from s0")));
    });
    assert!(worlds > 200 && taken > worlds * 3 / 4, "{taken} of {worlds}");
}

#[test]
fn a_second_one_that_is_killed_too_is_followed_by_a_third() {
    for turn in [55, 62, 90] {
        at_every_turn(Fault::Killed, &[(Duration::ZERO, &[(turn, Fault::Killed)]), (TURN * 7, &[])], |_| {});
    }
}

#[test]
fn a_server_that_was_frozen_or_cut_off_presses_nothing_that_is_no_longer_its_own() {
    for seconds in [4, 15] {
        at_every_turn(Fault::Frozen(seconds), &[(Duration::ZERO, &[]), (TURN * 20, &[])], |_| {});
        at_every_turn(Fault::CutOff(seconds), &[(Duration::ZERO, &[]), (TURN * 20, &[])], |_| {});
    }
}

#[test]
fn what_is_handed_over_is_taken_at_once() {
    at_every_turn(Fault::Ends, &[(Duration::ZERO, &[])], |world| {
        let steps = world.record().steps;
        let Some(at) = steps.iter().position(|step| step.says == "ends") else { return };
        let waited = steps[at + 1].at.duration_since(steps[at].at);
        assert!(waited <= SignedDuration::from_secs(1), "{steps:?}");
    });
}

#[test]
fn what_is_of_no_use_any_more_is_deleted() {
    let mut world = World::new(Wish::On, Model::new(false), &[(Duration::ZERO, &[])]).run();
    let inventory = Inventory::load(&world.store.read("")).unwrap();
    assert_eq!(inventory.bmc_servers().len(), 1);
    let mut other = Duty::new("s9".to_owned(), true);
    let mut old = |after: u64| {
        let now = world.now + Duration::from_secs(after);
        other.look((wall(now), now), inventory.wishes_under_way(), inventory.bmc_servers());
        let old = other.old((wall(now), now), inventory.wishes(), inventory.bmc_servers());
        old.writes.iter().map(|write| write.key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(old(0), Vec::<String>::new());
    assert_eq!(old(61), ["bmc-servers/s0"]);
    assert_eq!(old(86_500), ["wishes/m0", "bmc-servers/s0"]);
    let now = world.now + Duration::from_secs(86_500);
    let all = other.old((wall(now), now), inventory.wishes(), inventory.bmc_servers());
    assert!(matches!(world.store.commit(&all), Ok(Outcome::Committed(_))));
    assert!(world.store.read("").entries.is_empty());
}

/// An embedded store has one server: whoever starts anew goes on at once.
#[test]
fn a_server_with_a_store_of_its_own_goes_on_after_it_was_killed() {
    let mut world = World::new(Wish::On, Model::new(false), &[(Duration::ZERO, &[(9, Fault::Killed)])]);
    world.servers[0].duty = Duty::new("s0".to_owned(), false);
    let mut again = Duty::new("s0-again".to_owned(), false);
    let inventory = Inventory::load(&world.store.read("")).unwrap();
    let todo = again.look((wall(world.now), world.now), inventory.wishes_under_way(), inventory.bmc_servers());
    assert!(matches!(&todo[..], [Todo::Take { .. }]), "{todo:?}");
    assert_eq!((again.beat(), again.trusted(Duration::ZERO)), (None, Duration::MAX));
}
