//! [`Fib`] against a model of the kernel that drops things silently, as the real one does.

mod model;

use super::*;
use crate::config::{FibConfig, NexthopCompat};
use model::{Kernel, Owner};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Prefixes the property test plays with.
const PREFIXES: [&str; 6] =
    ["10.0.0.0/24", "10.0.1.0/24", "10.0.1.1/32", "0.0.0.0/0", "2001:db8::/64", "2001:db8::1/128"];
const LINKS: u32 = 3;
/// More operations than any case needs: reaching it means that two of them undo each other for ever.
const MAX_ROUNDS: usize = 2_000;

fn config() -> FibConfig {
    FibConfig {
        install: true,
        table: 254,
        metric: 77,
        protocol: 77,
        nexthop_base: 1_000,
        nexthop_count: 200,
        prefer_source_v4: Some(Ipv4Addr::new(10, 9, 9, 9)),
        prefer_source_v6: None,
        keep_on_exit: true,
        unreachable: vec!["10.0.0.0/8".parse().unwrap()],
        resilient: vec!["10.0.1.1/32".parse().unwrap()],
        nexthop_compat: NexthopCompat::Keep,
        link_damping: true,
        receive_buffer_bytes: 16 << 20,
    }
}

fn prefix(index: usize) -> IpNet {
    PREFIXES[index % PREFIXES.len()].parse().unwrap()
}

fn key(prefix: IpNet) -> RouteKey {
    RouteKey { prefix, table: 254, metric: 77 }
}

const fn route_key(op: &Op) -> Option<RouteKey> {
    match op {
        Op::SetRoute { key, .. } | Op::DeleteRoute { key } => Some(*key),
        Op::AddNexthop { .. } | Op::SetGroup { .. } | Op::DeleteNexthop { .. } => None,
    }
}

/// The neighbour on a link: an IPv6 one, which may serve both families.
fn hop(link: u32, weight: u8) -> Hop {
    let gateway = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
    Hop { link: IfIndex(link), gateway, weight }
}

fn member(link: u32) -> Member {
    Member { link: IfIndex(link), gateway: hop(link, 1).gateway }
}

/// A set from a mask of links.
fn hops(mask: u8) -> Want {
    let set: Vec<_> = (1..=LINKS).filter(|link| mask & (1 << link) != 0).map(|link| hop(link, 1)).collect();
    if set.is_empty() { Want::Nothing } else { Want::Hops(set.into()) }
}

/// A [`Fib`] with its kernel, and what it was told.
struct World {
    fib: Fib,
    kernel: Kernel,
    now: Instant,
    seq: u64,
    acked: u64,
    wants: BTreeMap<IpNet, Want>,
    /// What was wanted when the last operations on objects were decided on.
    wanted_then: BTreeMap<IpNet, Want>,
    dead: BTreeSet<Member>,
    cut_off: BTreeSet<Member>,
    held_back: BTreeSet<Member>,
    ops: usize,
    failed: Vec<IpNet>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            fib: Fib::new(config(), 1),
            kernel: Kernel::new(LINKS),
            now: Instant::ZERO,
            seq: 0,
            acked: 0,
            wants: BTreeMap::new(),
            wanted_then: BTreeMap::new(),
            dead: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            held_back: BTreeSet::new(),
            ops: 0,
            failed: Vec::new(),
        };
        world.start();
        world
    }

    fn start(&mut self) {
        for link in 1..=LINKS {
            self.fib.set_link(IfIndex(link), self.kernel.is_up(IfIndex(link)));
        }
        self.fib.compare(self.kernel.dump());
    }

    fn want(&mut self, prefix: IpNet, want: Want) {
        self.seq += 1;
        self.wants.insert(prefix, want.clone());
        self.fib.want(&[FibChange { prefix, want, seq: self.seq }]);
    }

    fn link(&mut self, link: u32, up: bool) {
        self.kernel.set_link(IfIndex(link), up);
        self.fib.set_link(IfIndex(link), up);
    }

    fn next_ops(&mut self, max: usize) -> Vec<Op> {
        self.wanted_then.clone_from(&self.wants);
        self.fib.next_ops(self.now, max)
    }

    /// One batch; whether there was one.
    fn step(&mut self, max: usize) -> bool {
        self.step_with(max, max, None)
    }

    /// One batch of which only so many operations are begun, and what is wanted while they are under way.
    fn step_with(&mut self, max: usize, begun: usize, wanted: Option<(IpNet, Want)>) -> bool {
        let mut ops = self.next_ops(max);
        let outcomes: Vec<_> = ops.iter().take(begun).map(|op| self.apply(op)).collect();
        if let Some((prefix, want)) = wanted {
            self.want(prefix, want);
        }
        self.fib.give_back(&ops.split_off(begun.min(ops.len())));
        self.ops += ops.len();
        for (op, outcome) in ops.iter().zip(outcomes) {
            self.fib.done(self.now, op, outcome);
        }
        self.take_acks();
        !ops.is_empty()
    }

    /// Operations of which so many are given out at a time, two of them to the kernel, more being asked for while outcomes are still to
    /// be told; before each outcome something is wanted. `death`: after so many outcomes somebody is lost, and what the kernel was not
    /// given is given back.
    fn step_ahead(&mut self, ahead: usize, wanted: Vec<(IpNet, Want)>, death: Option<(usize, u32)>) {
        let (mut begun, mut waiting) = (VecDeque::new(), VecDeque::new());
        let mut ops = VecDeque::from(self.next_ops(ahead));
        let mut wanted = wanted.into_iter();
        let mut is_stopped = false;
        for told in 0.. {
            while !is_stopped && begun.len() + waiting.len() < ahead {
                if ops.is_empty() {
                    ops = self.fib.more_ops(self.now, ahead).into();
                }
                let Some(op) = ops.pop_front() else { break };
                let is_same = |other: &Op| route_key(&op).is_some_and(|key| route_key(other) == Some(key));
                let mut under_way = begun.iter().map(|(other, _)| other).chain(&waiting);
                assert!(!under_way.any(is_same), "twice under way: {op:?}");
                waiting.push_back(op);
            }
            while begun.len() < 2
                && let Some(op) = waiting.pop_front()
            {
                let outcome = self.apply(&op);
                begun.push_back((op, outcome));
            }
            if let Some((_, link)) = death.filter(|(after, _)| *after == told) {
                self.set_alive(link, false);
                is_stopped = true;
                self.fib.give_back(waiting.make_contiguous());
                self.fib.give_back(ops.make_contiguous());
                waiting.clear();
                ops.clear();
            }
            let Some((op, outcome)) = begun.pop_front() else { break };
            if let Some((prefix, want)) = wanted.next() {
                self.want(prefix, want);
            }
            self.ops += 1;
            assert!(self.ops < MAX_ROUNDS, "no end of operations");
            self.fib.done(self.now, &op, outcome);
            self.take_acks();
        }
    }

    fn set_alive(&mut self, link: u32, alive: bool) {
        self.fib.set_alive(member(link), alive);
        if alive {
            self.dead.remove(&member(link));
        } else {
            self.dead.insert(member(link));
        }
    }

    fn take_acks(&mut self) {
        while let Some(ack) = self.fib.poll_ack() {
            assert!(ack.seq > self.acked, "acknowledgements go up");
            self.acked = ack.seq;
            self.failed.extend(ack.failed);
        }
    }

    /// One operation; a group that changes sends no route to who that route did not want when it was decided on. Of what an operation
    /// without an answer left there, nothing is known before the next dump.
    fn apply(&mut self, op: &Op) -> Result<(), Refusal> {
        let Op::SetGroup { .. } = op else { return self.kernel.apply(op) };
        let before = self.kernel.effects();
        let outcome = self.kernel.apply(op);
        for (key, effect) in self.kernel.effects() {
            let (model::Effect::Via(now), Some(model::Effect::Via(old))) = (&effect, before.get(&key)) else {
                continue;
            };
            let Some(Want::Hops(hops)) = self.wanted_then.get(&key.prefix) else { continue };
            if self.fib.routes.entry(&key).is_none_or(|entry| entry.have.is_none()) {
                continue;
            }
            for link in now.iter().filter(|link| !old.contains(link)) {
                assert!(hops.iter().any(|hop| hop.link == *link), "{op:?} sends {} to {link:?}", key.prefix);
            }
        }
        outcome
    }

    fn settle(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if self.step(64) {
                continue;
            }
            if self.fib.take_dump_request() {
                self.fib.compare(self.kernel.dump());
                continue;
            }
            return;
        }
        panic!("does not settle: {:?}", self.fib.report());
    }

    /// What a periodic dump and patience lead to.
    fn settle_for_good(&mut self) {
        for _ in 0..8 {
            self.settle();
            self.fib.compare(self.kernel.dump());
            self.now = self.now + RETRY_LAST;
        }
        self.settle();
    }

    fn restart(&mut self) {
        self.fib = Fib::new(config(), 1);
        self.start();
        for (prefix, want) in std::mem::take(&mut self.wants) {
            self.want(prefix, want);
        }
        for member in self.dead.clone() {
            self.fib.set_alive(member, false);
        }
        for member in self.cut_off.clone() {
            self.fib.set_reachable(member, false);
        }
        for member in self.held_back.clone() {
            self.fib.hold_back(member, true);
        }
    }

    /// Model = wanted ∧ alive, and nothing else of ours.
    fn check(&self) {
        let mut expected = BTreeMap::new();
        for (prefix, want) in &self.wants {
            let outcome = match want {
                Want::Nothing => continue,
                Want::Discard => model::Effect::Blackhole,
                Want::Hops(hops) => {
                    let alive = |hop: &&Hop| {
                        let member = Member { link: hop.link, gateway: hop.gateway };
                        let against = [&self.dead, &self.cut_off, &self.held_back];
                        self.kernel.is_up(hop.link) && against.iter().all(|set| !set.contains(&member))
                    };
                    let members: Vec<_> = hops.iter().filter(alive).map(|hop| hop.link).collect();
                    if members.is_empty() {
                        continue;
                    }
                    model::Effect::Via(members)
                }
            };
            expected.insert(key(*prefix), outcome);
        }
        let last = RouteKey { prefix: "10.0.0.0/8".parse().unwrap(), table: 254, metric: LAST_RESORT_METRIC };
        expected.insert(last, model::Effect::Unreachable);
        expected.retain(|key, _| self.kernel.route_owner(key) != Some(Owner::Foreign));
        assert_eq!(self.kernel.effects(), expected, "{:?}", self.fib.report());
        // A route that something foreign keeps out still wants its objects.
        if self.fib.report().failed == 0 {
            assert_eq!(self.kernel.unused(), [], "objects that nothing needs");
            let diff = self.fib.diff(&self.kernel.dump(), &|link| link.0.to_string());
            assert!(diff.is_clean(), "{diff:?}");
        }
        assert_eq!(self.acked, self.seq, "everything is acknowledged");
    }
}

#[test]
fn one_object_per_neighbour_one_group_per_set() {
    let mut world = World::new();
    for index in 0..4 {
        world.want(prefix(index), hops(0b0110));
    }
    world.want(prefix(4), hops(0b0010));
    world.fib.sweep();
    world.settle();
    world.check();
    let report = world.fib.report();
    assert_eq!((report.routes, report.nexthops, report.groups), (6, 2, 2), "one of the routes has a resilient group");
}

#[test]
fn a_neighbour_that_dies_while_it_is_made_goes() {
    for by_link in [false, true] {
        let mut world = World::new();
        world.want(prefix(0), hops(0b0100));
        world.fib.sweep();
        let ops = world.fib.next_ops(world.now, 1);
        let [op @ Op::AddNexthop { .. }] = &ops[..] else { panic!("{ops:?}") };
        let outcome = world.apply(op);
        // Gone and back before the outcome is told, or gone for longer: the kernel may have dropped it, and must have.
        match by_link {
            true => {
                world.link(2, false);
                world.link(2, true);
            }
            false => world.set_alive(2, false),
        }
        world.fib.done(world.now, op, outcome);
        world.settle();
        world.check();
        world.set_alive(2, true);
        world.want(prefix(0), hops(0b0110));
        world.settle();
        world.check();
    }
}

#[test]
fn loss_of_one_neighbour_touches_no_route() {
    let mut world = World::new();
    for index in 0..6 {
        world.want(prefix(index), hops(0b0110));
    }
    world.fib.sweep();
    world.settle();
    world.ops = 0;
    world.link(1, false);
    world.settle();
    world.check();
    assert_eq!(world.ops, 1, "the deletion, made certain");
    world.ops = 0;
    world.link(1, true);
    world.settle();
    world.check();
    assert_eq!(world.ops, 3, "the object and both groups");
}

#[test]
fn what_an_earlier_run_left_is_adopted_without_an_operation() {
    let mut world = World::new();
    world.want(prefix(0), hops(0b1110));
    world.want(prefix(1), hops(0b0010));
    world.want(prefix(2), Want::Discard);
    world.want(prefix(4), hops(0b1110));
    world.settle();
    world.wants.remove(&prefix(1));
    world.ops = 0;
    world.restart();
    world.settle();
    assert_eq!(world.ops, 0);
    assert_eq!(world.fib.report().leftovers, 1);
    world.fib.sweep();
    world.settle();
    world.check();
    assert_eq!(world.ops, 1, "the route that nobody wanted");
}

#[test]
fn a_route_that_changes_is_replaced_in_place() {
    let mut world = World::new();
    world.want(prefix(0), hops(0b0010));
    world.settle();
    world.want(prefix(0), hops(0b0110));
    while world.step(1) {
        assert!(world.kernel.route_owner(&key(prefix(0))).is_some(), "no gap");
    }
    world.fib.sweep();
    world.settle();
    world.check();
}

#[test]
fn a_foreign_route_stays_and_is_reported_until_it_goes() {
    let mut world = World::new();
    world.kernel.add_foreign_route(key(prefix(0)));
    world.want(prefix(0), hops(0b0010));
    world.fib.sweep();
    world.settle_for_good();
    world.check();
    assert_eq!(world.fib.report().conflicts, [prefix(0)]);
    world.kernel.remove_route(&key(prefix(0)));
    world.fib.hint(Hint::RouteFreed(key(prefix(0))));
    world.settle();
    world.check();
    assert_eq!(world.fib.report().failed, 0);
}

#[test]
fn removal_is_a_few_deletions_of_objects_and_leaves_nothing() {
    let mut world = World::new();
    for index in 0..6 {
        world.want(prefix(index), hops(0b1110));
    }
    world.want(prefix(2), Want::Discard);
    world.settle();
    world.ops = 0;
    world.fib.remove_all();
    world.settle();
    assert_eq!(world.kernel.dump(), Dump::default());
    assert_eq!(world.ops, 4 + 2, "three neighbours, a group, a discard route, a last resort");
}

#[test]
fn a_new_metric_and_source_are_taken_over_without_a_gap() {
    let mut world = World::new();
    world.want(prefix(0), hops(0b0110));
    world.want(prefix(4), hops(0b0110));
    world.settle();
    let changed = FibConfig { metric: 78, prefer_source_v4: None, unreachable: Vec::new(), ..config() };
    assert!(!world.fib.reconfigure(changed));
    let new = |prefix| RouteKey { prefix, table: 254, metric: 78 };
    while world.step(1) {
        let either = |prefix| world.kernel.route_owner(&key(prefix)).or_else(|| world.kernel.route_owner(&new(prefix)));
        assert!(either(prefix(0)).is_some() && either(prefix(4)).is_some());
    }
    let keys: Vec<_> = world.kernel.dump().routes.iter().map(|route| (route.key, route.source)).collect();
    assert_eq!(keys, [(new(prefix(0)), None), (new(prefix(4)), None)]);
}

#[test]
fn install_false_acknowledges_and_does_nothing() {
    let mut fib = Fib::new(FibConfig { install: false, ..config() }, 1);
    fib.want(&[FibChange { prefix: prefix(0), want: hops(2), seq: 7 }]);
    assert_eq!(fib.poll_ack(), Some(Ack { seq: 7, failed: Vec::new() }));
    assert_eq!(fib.next_ops(Instant::ZERO, 64), []);
}

#[test]
fn a_route_without_a_live_neighbour_is_acknowledged_as_failed() {
    let mut world = World::new();
    world.link(1, false);
    world.want(prefix(0), hops(0b0010));
    world.settle();
    assert_eq!(world.failed, [prefix(0)]);
}

#[test]
fn a_neighbour_that_is_back_before_its_deletion_was_taken_is_used_again() {
    let mut world = World::new();
    world.want(prefix(0), hops(0b0110));
    world.want(prefix(1), hops(0b0010));
    world.settle();
    play(&mut world, Event::Alive(1, false));
    world.kernel.refuse_next(Refusal::Busy);
    world.settle();
    play(&mut world, Event::Alive(1, true));
    world.fib.sweep();
    world.settle();
    world.check();
    assert_eq!(world.fib.report().failed, 0);
}

/// Many prefixes, in no order.
fn many(number: u32) -> Vec<IpNet> {
    let one =
        |index: u32| IpNet::from(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + index.wrapping_mul(2_654_435_761) % number)));
    (0..number).map(one).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn the_loss_of_many_routes_is_the_deletion_of_their_object_once_all_of_it_is_told() {
    let mut world = World::new();
    let all = many(10_000);
    for prefix in &all {
        world.want(*prefix, hops(0b0110));
    }
    world.want(prefix(0), hops(0b0100));
    world.fib.sweep();
    world.now = world.now + leave_calm();
    world.settle();
    world.ops = 0;
    for (number, prefix) in all.iter().enumerate() {
        world.want(*prefix, Want::Nothing);
        if number % 100 == 0 {
            world.now = world.now + Duration::from_micros(100);
            world.step(10);
        }
    }
    while world.step(64) {}
    assert_eq!(world.acked, world.seq, "who withdraws waits for nobody");
    world.now = world.now + Duration::from_secs(1);
    world.settle();
    world.check();
    assert!(world.ops < 600, "{} operations: those before it was many, and the group with all the rest", world.ops);
    assert_eq!(world.fib.report().routes, 2, "the other route, and the last resort");
}

#[test]
fn a_route_that_is_to_be_replaced_keeps_the_object_of_many_that_leave() {
    let mut world = World::new();
    let all = many(6_000);
    for prefix in &all {
        world.want(*prefix, hops(0b0110));
    }
    world.fib.sweep();
    world.now = world.now + leave_calm();
    world.settle();
    let (stays, leave) = all.split_first().unwrap();
    // Its new object cannot be made for now.
    world.link(3, false);
    world.want(*stays, hops(0b1000));
    for prefix in leave {
        world.want(*prefix, Want::Nothing);
    }
    world.settle_for_good();
    world.check();
    world.link(3, true);
    world.settle_for_good();
    world.check();
}

fn leave_calm() -> Duration {
    Duration::from_secs(2)
}

/// Routes that share a group.
const SHARING: [usize; 4] = [0, 1, 3, 4];

/// Four routes over links 1 and 2, of which link 2 fails and takes its paths with it.
fn half_lost() -> World {
    let mut world = World::new();
    world.fib.sweep();
    for index in SHARING {
        world.want(prefix(index), hops(0b0110));
    }
    world.settle_for_good();
    world.link(2, false);
    world.settle();
    let before = world.ops;
    for index in SHARING {
        world.want(prefix(index), hops(0b0010));
    }
    world.settle();
    world.check();
    assert_eq!(world.ops, before, "the group does what they want now");
    world
}

#[test]
fn routes_of_a_group_that_shrank_stay_and_it_grows_when_the_last_of_them_wants_it_again() {
    let mut world = half_lost();
    world.link(2, true);
    let before = world.ops;
    for index in SHARING {
        world.want(prefix(index), hops(0b0110));
        world.settle();
        let ops = if index == 4 { 2 } else { 1 };
        assert_eq!(world.ops - before, ops, "the neighbour, and in the end the group: {index}");
        let via = world.kernel.effects().remove(&key(prefix(0)));
        let whole = via == Some(model::Effect::Via(vec![IfIndex(1), IfIndex(2)]));
        assert_eq!(whole, index == 4, "{index}: {via:?}");
    }
    world.check();
}

#[test]
fn routes_that_do_not_come_back_to_their_group_are_moved_when_changes_pause() {
    let mut world = half_lost();
    world.link(2, true);
    world.want(prefix(0), hops(0b0110));
    world.settle();
    let due = world.fib.next_timeout().expect("they are looked for");
    assert!(due - world.now <= Duration::from_millis(100), "{due:?}");
    // Changes that go on for ever hold nothing back for ever.
    for _ in 0..100 {
        world.now = world.now + Duration::from_millis(50);
        world.want(prefix(5), hops(0b1000));
        world.want(prefix(5), hops(0b0010));
        world.settle();
    }
    let via = world.kernel.effects().remove(&key(prefix(0)));
    assert_eq!(via, Some(model::Effect::Via(vec![IfIndex(1), IfIndex(2)])));
    let via = world.kernel.effects().remove(&key(prefix(1)));
    assert_eq!(via, Some(model::Effect::Via(vec![IfIndex(1)])));
    world.settle_for_good();
    world.check();
}

#[test]
fn what_a_group_lacks_that_only_serves_goes() {
    let mut world = World::new();
    world.want(prefix(1), hops(0b1010));
    world.want(prefix(5), hops(0b1010));
    world.settle();
    world.want(prefix(1), hops(0b1000));
    world.link(1, false);
    world.link(1, true);
    world.fib.compare(world.kernel.dump());
    world.step(1);
    // The group serves one route now, without the neighbour that came back, and nothing else needs that.
    world.want(prefix(5), hops(0b0100));
    world.fib.sweep();
    world.settle_for_good();
    world.check();
}

#[test]
fn a_diff_says_what_the_kernel_lacks_has_too_much_and_does_otherwise() {
    let mut world = World::new();
    world.want(prefix(0), hops(0b0110));
    world.want(prefix(1), hops(0b0010));
    world.want(prefix(3), Want::Discard);
    world.want(prefix(4), hops(0b1000));
    world.fib.sweep();
    world.settle();
    let name = |link: IfIndex| format!("eth{}", link.0);
    let diff = world.fib.diff(&world.kernel.dump(), &name);
    assert!(diff.is_clean(), "{diff:?}");
    assert_eq!((diff.routes_wanted, diff.routes_found), (5, 5));
    // One lost, one that nobody asked for, one that leads elsewhere, an object that nothing needs.
    let mut dump = world.kernel.dump();
    let target_of = |dump: &Dump, prefix| dump.routes.iter().find(|route| route.key == key(prefix)).unwrap().target;
    let other = target_of(&dump, prefix(4));
    dump.routes.retain(|route| route.key != key(prefix(3)));
    let stray = HeldRoute { key: key(prefix(5)), target: other, source: None };
    dump.routes.push(stray);
    for route in dump.routes.iter_mut().filter(|route| route.key == key(prefix(1))) {
        route.target = other;
    }
    let stray = HeldShape::Member(Member { link: IfIndex(2), gateway: "10.0.0.9".parse().unwrap() });
    dump.nexthops.push(HeldNexthop { id: NhId(1_100), ours: true, shape: stray });
    let diff = world.fib.diff(&dump, &name);
    assert_eq!((diff.missing, diff.extra, diff.different), (1, 2, 1), "{diff:?}");
    let found: Vec<_> = diff
        .differences
        .iter()
        .map(|one| format!("{} {}: {} / {}", one.what, one.kind, one.wanted, one.found))
        .collect();
    assert_eq!(
        found,
        [
            "10.0.1.0/24 different: fe80::1 dev eth1 ×1 src 10.9.9.9 / fe80::1 dev eth3 ×1 src 10.9.9.9",
            "2001:db8::1/128 extra: no route / fe80::1 dev eth3 ×1",
            "0.0.0.0/0 missing: drops / no route",
            "nexthop 1100 extra: nothing / an object that no route needs",
        ]
    );
    // What is down is not missing.
    world.link(3, false);
    world.settle();
    let diff = world.fib.diff(&world.kernel.dump(), &name);
    assert!(diff.is_clean(), "{diff:?}");
    assert_eq!(diff.without_neighbor, 1);
}

/// Routes follow routes while those are under way; the key of none of these, and nothing that objects must come before.
#[test]
fn more_routes_follow_while_others_are_under_way() {
    let mut world = World::new();
    world.want(prefix(0), hops(0b10));
    world.settle();
    (1..5).for_each(|index| world.want(prefix(index), hops(0b10)));
    let first = world.fib.next_ops(world.now, 2);
    assert_eq!(first.len(), 2);
    // One of them is wanted otherwise meanwhile: what came of it must be known before.
    world.want(prefix(1), Want::Discard);
    let second = world.fib.more_ops(world.now, 8);
    let keys = |ops: &[Op]| ops.iter().filter_map(route_key).map(|key| key.prefix).collect::<Vec<_>>();
    assert_eq!([keys(&first), keys(&second)].concat(), [1, 2, 3, 4].map(prefix));
    assert_eq!(world.fib.more_ops(world.now, 8), []);
    for op in first.iter().chain(&second) {
        let outcome = world.apply(op);
        assert_eq!(outcome, Ok(()));
        world.fib.done(world.now, op, outcome);
    }
    // All is told, so this is no more but the next.
    assert_eq!(world.fib.more_ops(world.now, 8), []);
    let [op @ Op::SetRoute { replace: true, .. }] = &*world.fib.next_ops(world.now, 8) else { panic!("one route") };
    assert_eq!(world.apply(op), Ok(()));
    world.fib.done(world.now, op, Ok(()));
    // A route whose object is not there yet waits, and so does what comes after it.
    (0..2).for_each(|index| world.want(prefix(index), hops(0b10)));
    let first = world.fib.next_ops(world.now, 1);
    assert_eq!(keys(&first), [prefix(1)]);
    world.want(prefix(5), hops(0b100));
    assert_eq!(world.fib.more_ops(world.now, 8), []);
    let outcome = world.apply(&first[0]);
    world.fib.done(world.now, &first[0], outcome);
    world.settle_for_good();
    world.check();
}

/// A key that is given up and wanted again while its operation is under way may stand elsewhere, where nothing tells of that.
#[test]
fn a_key_that_moves_while_it_is_under_way_is_not_given_out_twice() {
    let mut world = World::new();
    world.want(prefix(3), hops(0b10));
    world.settle();
    world.want(prefix(0), hops(0b10));
    world.want(prefix(1), hops(0b10));
    let first = world.fib.next_ops(world.now, 2);
    world.want(prefix(0), Want::Nothing);
    world.want(prefix(2), hops(0b10));
    world.want(prefix(0), hops(0b10));
    assert_eq!(world.fib.more_ops(world.now, 8), []);
    for op in &first {
        let outcome = world.apply(op);
        world.fib.done(world.now, op, outcome);
    }
    world.settle();
    world.check();
    assert_eq!(world.fib.report().failed, 0);
}

#[derive(Clone, Debug)]
enum Event {
    Want(usize, Want),
    Link(u32, bool),
    Flicker(u32),
    Alive(u32, bool),
    Reachable(u32, bool),
    HeldBack(u32, bool),
    ForeignRoute(usize),
    RouteGone {
        index: usize,
        told: bool,
    },
    ObjectGone {
        index: usize,
        told: bool,
    },
    ForeignObject(u32),
    SourceAddressGone,
    Refuse(Refusal),
    Dump,
    Sweep,
    Restart,
    Step(usize),
    /// Operations, how many of them are begun, and what is wanted meanwhile.
    StepWith(usize, usize, usize, Want),
    /// How many operations are given out at a time, what is wanted meanwhile, and who is lost after how many outcomes.
    StepAhead {
        ahead: usize,
        wanted: Vec<(usize, Want)>,
        death: Option<(usize, u32)>,
    },
    Settle,
}

fn event() -> impl Strategy<Value = Event> {
    let link = 1..=LINKS;
    prop_oneof![
        6 => (0..6usize, 0..8u8).prop_map(|(index, mask)| Event::Want(index, hops(mask << 1))),
        1 => (0..6usize).prop_map(|index| Event::Want(index, Want::Discard)),
        3 => (link.clone(), any::<bool>()).prop_map(|(link, up)| Event::Link(link, up)),
        1 => link.clone().prop_map(Event::Flicker),
        1 => (link.clone(), any::<bool>()).prop_map(|(link, alive)| Event::Alive(link, alive)),
        1 => (link.clone(), any::<bool>()).prop_map(|(link, reachable)| Event::Reachable(link, reachable)),
        1 => (link.clone(), any::<bool>()).prop_map(|(link, held)| Event::HeldBack(link, held)),
        1 => (0..6usize).prop_map(Event::ForeignRoute),
        2 => (0..6usize, any::<bool>()).prop_map(|(index, told)| Event::RouteGone { index, told }),
        2 => (0..8usize, any::<bool>()).prop_map(|(index, told)| Event::ObjectGone { index, told }),
        1 => (0..20u32).prop_map(Event::ForeignObject),
        1 => Just(Event::SourceAddressGone),
        1 => prop_oneof![Just(Refusal::Busy), Just(Refusal::Unanswered), Just(Refusal::NotOnLink)].prop_map(Event::Refuse),
        1 => Just(Event::Dump),
        1 => Just(Event::Sweep),
        1 => Just(Event::Restart),
        5 => (1..5usize).prop_map(Event::Step),
        5 => (1..5usize, 0..5usize, 0..6usize, 0..8u8)
            .prop_map(|(max, begun, index, mask)| Event::StepWith(max, begun, index, hops(mask << 1))),
        5 => (
            1..6usize,
            prop::collection::vec((0..6usize, 0..8u8), 0..8),
            prop::option::of((0..6usize, link)),
        ).prop_map(|(ahead, wanted, death)| {
            let wanted = wanted.into_iter().map(|(index, mask)| (index, hops(mask << 1))).collect();
            Event::StepAhead { ahead, wanted, death }
        }),
        2 => Just(Event::Settle),
    ]
}

fn play(world: &mut World, event: Event) {
    match event {
        Event::Want(index, want) => world.want(prefix(index), want),
        Event::Link(link, up) => world.link(link, up),
        Event::Flicker(link) => {
            let up = world.kernel.is_up(IfIndex(link));
            world.link(link, false);
            world.link(link, up);
        }
        Event::Alive(link, alive) => {
            world.set_alive(link, alive);
        }
        Event::Reachable(link, reachable) => {
            world.fib.set_reachable(member(link), reachable);
            if reachable {
                world.cut_off.remove(&member(link))
            } else {
                world.cut_off.insert(member(link))
            };
        }
        Event::HeldBack(link, held) => {
            world.fib.hold_back(member(link), held);
            if held {
                world.held_back.insert(member(link))
            } else {
                world.held_back.remove(&member(link))
            };
        }
        // Whoever takes our place is seen doing so.
        Event::ForeignRoute(index) => {
            world.kernel.add_foreign_route(key(prefix(index)));
            world.fib.hint(Hint::RouteGone(key(prefix(index))));
        }
        Event::RouteGone { index, told } => {
            let key = key(prefix(index));
            world.kernel.remove_route(&key);
            if told {
                world.fib.hint(Hint::RouteGone(key));
            }
        }
        Event::ObjectGone { index, told } => {
            if let Some(id) = world.kernel.remove_some_object(index)
                && told
            {
                world.fib.hint(Hint::NexthopGone(id));
            }
        }
        Event::ForeignObject(offset) => {
            if world.kernel.add_foreign_object(NhId(1_000 + offset)) {
                world.fib.hint(Hint::NexthopGone(NhId(1_000 + offset)));
            }
        }
        Event::SourceAddressGone => world.kernel.drop_v4_routes_with_source(),
        Event::Refuse(refusal) => world.kernel.refuse_next(refusal),
        Event::Dump => {
            world.fib.compare(world.kernel.dump());
        }
        Event::Sweep => world.fib.sweep(),
        Event::Restart => world.restart(),
        Event::Step(max) => {
            world.step(max);
        }
        Event::StepWith(max, begun, index, want) => {
            world.step_with(max, begun, Some((prefix(index), want)));
        }
        Event::StepAhead { ahead, wanted, death } => {
            let wanted = wanted.into_iter().map(|(index, want)| (prefix(index), want)).collect();
            world.step_ahead(ahead, wanted, death);
        }
        Event::Settle => world.settle(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: in the end the kernel holds what is wanted ∧ alive, and foreign routes were never touched
    /// (the model panics if they are).
    #[test]
    fn kernel_is_wanted_and_alive(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World::new();
        for event in events {
            play(&mut world, event);
        }
        world.fib.sweep();
        world.settle_for_good();
        world.check();
    }
}
