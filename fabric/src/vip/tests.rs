//! The life of service addresses on virtual time.

use super::*;
use crate::config::{CheckConfig, OnLast, ProbeConfig};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use weft_bgp::wire::attrs::community::GRACEFUL_SHUTDOWN;

/// A machine without network: which addresses it has, and whether others announce the service.
#[derive(Default)]
struct World {
    addresses: RefCell<BTreeSet<IpNet>>,
    /// What an earlier run left.
    left: RefCell<BTreeSet<IpNet>>,
    others: Cell<bool>,
    /// Nobody was heard yet.
    is_deaf: Cell<bool>,
    vips: RefCell<Vips>,
    now: Cell<u64>,
    /// What happened, a word each: `+address`, `announce`, `shed`, `withdraw`, `-address`.
    log: RefCell<Vec<(u64, String)>>,
    orders: RefCell<Vec<Order>>,
    states: RefCell<Vec<State>>,
}

impl Around for World {
    fn has(&self, net: &IpNet) -> bool {
        self.addresses.borrow().contains(net)
    }
    fn is_left(&self, net: &IpNet) -> bool {
        self.left.borrow().contains(net)
    }
    fn has_other_origin(&self, _: &IpNet) -> bool {
        self.others.get()
    }
    fn knows_others(&self) -> bool {
        !self.is_deaf.get()
    }
}

const VIP: &str = "10.71.255.6/32";

fn config(change: impl FnOnce(&mut VipConfig)) -> VipConfig {
    let probe = ProbeConfig {
        probe: Probe::File("/run/ready".into()),
        every: Duration::from_millis(200),
        timeout: Duration::from_millis(100),
        rise: 3,
        fall: 2,
    };
    let mut config = VipConfig {
        name: "boot".to_owned(),
        addresses: vec![VIP.parse().unwrap()],
        check: CheckConfig::Probe(probe),
        on_last: OnLast::Withdraw,
        weight: None,
        communities: vec![7],
        large_communities: Vec::new(),
        drain: Duration::from_secs(5),
        shed: Duration::from_secs(1),
        hold_down: Duration::from_secs(1),
    };
    change(&mut config);
    config
}

impl World {
    fn new(configs: Vec<VipConfig>) -> Self {
        let world = Self::default();
        world.give(Input::Configure(configs));
        world
    }

    /// A daemon that starts where an earlier one left the address.
    fn again(config: VipConfig) -> Self {
        let world = Self::default();
        let nets = config.addresses.clone();
        world.addresses.borrow_mut().extend(nets.iter().copied());
        world.left.borrow_mut().extend(nets);
        world.give(Input::Configure(vec![config]));
        world
    }

    fn at(&self) -> Instant {
        Instant(self.now.get() * 1_000_000)
    }

    fn give(&self, input: Input) {
        self.vips.borrow_mut().handle(self.at(), input, self);
        loop {
            let Some(output) = self.vips.borrow_mut().poll() else { break };
            let log = |word: &str| self.log.borrow_mut().push((self.now.get(), word.to_owned()));
            match output {
                Output::Check(order) => self.orders.borrow_mut().push(order),
                Output::AddAddress(net) => {
                    log("+address");
                    self.addresses.borrow_mut().insert(net);
                }
                Output::RemoveAddress(net) => {
                    log("-address");
                    self.addresses.borrow_mut().remove(&net);
                }
                Output::Announce(route) if route.communities.contains(&GRACEFUL_SHUTDOWN) => log("shed"),
                Output::Announce(_) => log("announce"),
                Output::Withdraw(_) => log("withdraw"),
                Output::Event(Event::Vip { state, .. }) => self.states.borrow_mut().push(state),
            }
        }
    }

    /// Lets time pass; every check ends at once, as `good` says.
    fn run(&self, until: u64, good: bool) {
        loop {
            let orders = std::mem::take(&mut *self.orders.borrow_mut());
            for order in orders {
                let outcome = if good { Ok(()) } else { Err("refused".to_owned()) };
                self.give(Input::Checked { name: order.name, run: order.run, outcome });
            }
            if !self.orders.borrow().is_empty() {
                continue;
            }
            let next = self.vips.borrow().next_timeout().map_or(u64::MAX, |(at, _)| at.0.div_ceil(1_000_000));
            if next > until {
                break;
            }
            assert!(next > self.now.get(), "no time passes at {}", self.now.get());
            self.now.set(next);
            self.give(Input::Tick);
        }
        self.now.set(until);
    }

    fn words(&self) -> Vec<(u64, String)> {
        std::mem::take(&mut *self.log.borrow_mut())
    }

    fn info(&self) -> Info {
        self.vips.borrow().infos(self.at()).next().unwrap()
    }
}

fn said(words: &[(u64, &str)]) -> Vec<(u64, String)> {
    words.iter().map(|(at, word)| (*at, (*word).to_owned())).collect()
}

#[test]
fn the_first_result_decides_and_the_address_comes_before_the_route() {
    let world = World::new(vec![config(|_| {})]);
    assert_eq!(world.words(), []);
    world.run(0, true);
    assert_eq!(world.words(), said(&[(0, "+address")]));
    assert_eq!(world.info().state, State::Adding);
    world.give(Input::Tick);
    assert_eq!(world.words(), said(&[(0, "announce")]));
    assert_eq!(world.info().state, State::Up);
}

#[test]
fn a_failing_service_is_withdrawn_at_once_in_the_order_community_route_address() {
    let world = World::new(vec![config(|_| {})]);
    world.run(100, true);
    world.words();
    world.run(10_000, false);
    // Checks at 200 and 400: the second one in succession decides.
    assert_eq!(world.words(), said(&[(400, "shed"), (420, "withdraw"), (5_420, "-address")]));
    assert_eq!(world.info().state, State::Down);
    assert_eq!(world.info().reason, "check failed: refused");
}

#[test]
fn one_bad_result_is_no_failure_and_two_good_ones_no_return() {
    let world = World::new(vec![config(|_| {})]);
    world.run(100, true);
    world.run(300, false);
    world.run(500, true);
    world.run(700, false);
    assert_eq!(world.info().state, State::Up);
    world.run(10_000, false);
    world.words();
    world.run(10_500, true);
    assert_eq!(world.info().state, State::Down, "two of three");
    world.run(10_700, true);
    assert_eq!(world.words(), said(&[(10_600, "+address"), (10_700, "announce")]));
}

#[test]
fn a_service_that_flaps_waits_twice_as_long_each_time() {
    let world = World::new(vec![config(|config| config.drain = Duration::ZERO)]);
    let until = |state, good| {
        while world.info().state != state {
            world.run(world.now.get() + 10, good);
        }
    };
    // From the failure to the return, in whole seconds.
    let away = || {
        until(State::Shedding, false);
        let failed = world.now.get();
        until(State::Down, false);
        until(State::Up, true);
        (world.now.get() - failed) / 1_000
    };
    until(State::Up, true);
    assert_eq!([away(), away(), away(), away(), away(), away()], [0, 1, 2, 4, 8, 16]);
    world.run(world.now.get() + 16 * 16_000, true);
    assert_eq!(away(), 0, "a long good time makes up for it");
}

#[test]
fn what_is_told_to_go_announces_it_for_a_while_and_comes_back_when_told() {
    let world = World::new(vec![config(|_| {})]);
    world.run(100, true);
    world.words();
    world.give(Input::Set { name: "boot".to_owned(), up: false });
    world.run(8_000, true);
    assert_eq!(world.words(), said(&[(100, "shed"), (1_100, "withdraw"), (6_100, "-address")]));
    assert!(world.info().set_down);
    world.give(Input::Set { name: "boot".to_owned(), up: true });
    world.run(8_200, true);
    assert_eq!(world.info().state, State::Up);
    assert_eq!(world.info().held_until, None, "this was no flap");
}

#[test]
fn the_last_origin_keeps_announcing_until_another_one_is_there() {
    let world = World::new(vec![config(|config| config.on_last = OnLast::Keep)]);
    world.run(100, true);
    world.words();
    world.run(60_000, false);
    assert_eq!(world.words(), said(&[(400, "shed"), (420, "shed")]));
    assert_eq!(world.info().state, State::Kept);
    assert_eq!(world.info().reason, "check failed: refused; nobody else announces it");
    world.others.set(true);
    world.run(60_200, false);
    let words = world.words();
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(words[0].0 <= 60_100 && words[0].1 == "withdraw", "{words:?}");
}

#[test]
fn with_another_origin_the_failed_one_withdraws_at_once() {
    let world = World::new(vec![config(|config| config.on_last = OnLast::Keep)]);
    world.others.set(true);
    world.run(100, true);
    world.words();
    world.run(500, false);
    assert_eq!(world.words(), said(&[(400, "shed"), (420, "withdraw")]));
}

/// Both failed, each took the other for well: the one that sees that nobody is left comes back.
#[test]
fn who_withdrew_too_soon_comes_back_while_it_drains() {
    let world = World::new(vec![config(|config| config.on_last = OnLast::Keep)]);
    world.others.set(true);
    world.run(100, true);
    world.run(500, false);
    world.words();
    world.others.set(false);
    world.run(30_000, false);
    let words = world.words();
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(words[0].0 <= 600 && words[0].1 == "shed", "{words:?}");
    assert_eq!(world.info().state, State::Kept);
}

/// A restart of the daemon must not withdraw what the last origin kept.
#[test]
fn a_daemon_that_starts_again_keeps_what_the_last_origin_kept() {
    let world = World::again(config(|config| config.on_last = OnLast::Keep));
    // The address is asked for, so that it is not swept away.
    assert_eq!(world.words(), said(&[(0, "+address"), (0, "shed")]));
    assert_eq!((world.info().state, world.info().good), (State::Shedding, None));
    world.run(20, false);
    assert_eq!(world.info().state, State::Kept, "the first result decides");
    assert_eq!(world.info().reason, "check failed: refused; nobody else announces it");
    // Sessions are up, and another origin is seen: it goes as any other that failed.
    world.run(5_000, false);
    world.words();
    world.others.set(true);
    world.run(20_000, false);
    let words: Vec<_> = world.words().into_iter().map(|(_, word)| word).collect();
    assert_eq!(words, ["withdraw", "-address"]);
    assert_eq!(world.info().state, State::Down);
}

#[test]
fn a_daemon_that_starts_again_goes_up_at_once_with_a_service_that_is_well() {
    let world = World::again(config(|_| {}));
    world.run(0, true);
    assert_eq!(world.words(), said(&[(0, "+address"), (0, "shed"), (0, "announce")]));
    assert_eq!(world.info().state, State::Up);
}

#[test]
fn what_an_earlier_run_left_goes_when_it_has_failed_and_is_not_to_be_kept() {
    let world = World::again(config(|_| {}));
    world.run(30_000, false);
    assert_eq!(
        world.words(),
        said(&[(0, "+address"), (0, "shed"), (20, "withdraw"), (5_020, "-address")]),
        "in the order of any withdrawal"
    );
    // Somebody who is asked for nothing but his word.
    let world = World::again(config(|config| config.check = CheckConfig::Api { up: false }));
    assert_eq!(world.words(), said(&[(0, "+address"), (0, "shed"), (0, "withdraw")]));
}

#[test]
fn a_check_that_never_ends_does_not_leave_open_what_becomes_of_an_address() {
    let world = World::again(config(|config| config.on_last = OnLast::Keep));
    world.orders.borrow_mut().clear();
    while world.info().state == State::Shedding && world.now.get() < 20_000 {
        let next = world.vips.borrow().next_timeout().unwrap().0.0.div_ceil(1_000_000);
        world.now.set(next);
        world.give(Input::Tick);
    }
    assert_eq!((world.now.get(), world.info().state), (1_100, State::Kept));
}

#[test]
fn a_service_that_was_never_announced_here_is_not_kept() {
    let world = World::new(vec![config(|config| config.on_last = OnLast::Keep)]);
    world.run(30_000, false);
    assert_eq!(world.words(), []);
    assert_eq!(world.info().state, State::Down);
}

#[test]
fn people_withdraw_even_the_last_origin() {
    let world = World::new(vec![config(|config| config.on_last = OnLast::Keep)]);
    world.run(100, true);
    world.words();
    world.give(Input::Set { name: "boot".to_owned(), up: false });
    world.run(2_000, true);
    assert_eq!(world.words(), said(&[(100, "shed"), (1_100, "withdraw")]));
}

#[test]
fn a_check_that_never_ends_counts_as_failed() {
    let world = World::new(vec![config(|_| {})]);
    world.run(100, true);
    world.give(Input::Tick);
    // Nobody answers from here on: 100 ms and a second for each.
    while world.info().state == State::Up && world.now.get() < 20_000 {
        let next = world.vips.borrow().next_timeout().unwrap().0.0.div_ceil(1_000_000);
        world.now.set(next);
        world.give(Input::Tick);
    }
    assert!((2_000..3_000).contains(&world.now.get()), "{}", world.now.get());
    assert_eq!(world.info().reason, "check failed: the check itself does not end");
}

#[test]
fn a_result_of_a_check_that_was_replaced_is_not_heard() {
    let world = World::new(vec![config(|_| {})]);
    let old = world.orders.borrow_mut().pop().unwrap();
    let other = config(|config| {
        if let CheckConfig::Probe(probe) = &mut config.check {
            probe.probe = Probe::File("/run/other".into());
        }
    });
    world.give(Input::Configure(vec![other]));
    world.give(Input::Checked { name: old.name, run: old.run, outcome: Ok(()) });
    assert_eq!(world.info().state, State::Down);
    assert_eq!(world.orders.borrow().len(), 1, "the new one was ordered");
}

#[test]
fn a_service_without_check_is_up_and_one_of_the_api_as_it_is_told() {
    let world = World::new(vec![
        config(|config| (config.check, config.name) = (CheckConfig::None, "always".to_owned())),
        config(|config| {
            (config.check, config.name) = (CheckConfig::Api { up: false }, "told".to_owned());
            config.addresses = vec!["fd00::6/128".parse().unwrap()];
        }),
    ]);
    world.give(Input::Tick);
    let states = || world.vips.borrow().infos(world.at()).map(|info| info.state).collect::<Vec<_>>();
    assert_eq!(states(), [State::Up, State::Down]);
    world.give(Input::Set { name: "told".to_owned(), up: true });
    world.give(Input::Tick);
    assert_eq!(states(), [State::Up, State::Up]);
    world.give(Input::Set { name: "told".to_owned(), up: false });
    world.run(3_000, true);
    assert_eq!(states(), [State::Up, State::Draining]);
}

#[test]
fn a_service_that_is_no_longer_configured_goes_in_peace() {
    let world = World::new(vec![config(|_| {})]);
    world.run(100, true);
    world.words();
    world.give(Input::Configure(Vec::new()));
    world.run(10_000, true);
    assert_eq!(world.words(), said(&[(100, "shed"), (1_100, "withdraw"), (6_100, "-address")]));
    assert_eq!(world.vips.borrow().next_timeout(), None);
}

#[test]
fn a_service_of_another_name_takes_an_address_over_without_losing_the_route() {
    let world = World::new(vec![config(|_| {})]);
    world.run(100, true);
    world.words();
    world.give(Input::Configure(vec![config(|config| config.name = "netboot".to_owned())]));
    world.run(20_000, true);
    let words: Vec<_> = world.words().into_iter().map(|(_, word)| word).collect();
    assert!(!words.contains(&"withdraw".to_owned()), "{words:?}");
    assert!(world.vips.borrow().needs(&VIP.parse().unwrap()));
    assert_eq!(world.info().state, State::Up);
}

#[test]
fn another_weight_is_told_at_once_and_a_new_check_leaves_the_service_up() {
    let world = World::new(vec![config(|_| {})]);
    world.run(100, true);
    world.words();
    world.give(Input::Configure(vec![config(|config| config.weight = Some(10))]));
    assert_eq!(world.words(), said(&[(100, "announce")]));
    world.give(Input::Configure(vec![config(|config| {
        config.weight = Some(10);
        config.check = CheckConfig::None;
    })]));
    world.run(1_000, false);
    assert_eq!(world.words(), []);
    assert_eq!(world.info().state, State::Up);
}

fn drain(world: &World, node: drain::State) {
    world.give(Input::Drain { node, vips: BTreeMap::new() });
}

#[test]
fn a_service_that_is_drained_stops_at_each_state() {
    let world = World::new(vec![config(|_| ())]);
    world.run(2_000, true);
    world.words();
    drain(&world, drain::State::Soft);
    world.run(60_000, true);
    assert_eq!(world.words(), [(2_000, "shed".to_owned())], "and there it stays");
    drain(&world, drain::State::Warm);
    world.run(120_000, true);
    assert_eq!(world.words(), [(60_000, "withdraw".to_owned())], "the address stays");
    drain(&world, drain::State::Drained);
    world.run(180_000, true);
    assert_eq!(world.words(), [(120_000, "-address".to_owned())]);
    assert!(world.vips.borrow().is_gone("boot"));
    drain(&world, drain::State::Live);
    world.run(181_000, true);
    assert_eq!(world.words(), [(180_000, "+address".to_owned()), (180_100, "announce".to_owned())]);
}

#[test]
fn a_service_that_is_drained_alone_goes_alone() {
    let world = World::new(vec![config(|_| ()), config(|vip| vip.name = "dns".to_owned())]);
    world.run(2_000, true);
    world.give(Input::Drain {
        node: drain::State::Live,
        vips: [("dns".to_owned(), drain::State::Drained)].into_iter().collect(),
    });
    world.run(60_000, true);
    assert!(world.vips.borrow().is_gone("dns") && !world.vips.borrow().is_gone("boot"));
}

#[test]
fn a_service_of_a_node_that_boots_soft_is_the_last_choice_and_of_one_that_boots_drained_none() {
    for (state, last) in [(drain::State::Soft, Some("shed")), (drain::State::Warm, None), (drain::State::Drained, None)]
    {
        let world = World::default();
        drain(&world, state);
        world.give(Input::Configure(vec![config(|_| ())]));
        world.run(10_000, true);
        let words = world.words();
        assert_eq!(words.last().map(|(_, word)| word.as_str()), last, "{state}");
    }
}

#[test]
fn a_service_that_fails_while_it_is_drained_softly_goes() {
    let world = World::new(vec![config(|_| ())]);
    world.run(2_000, true);
    drain(&world, drain::State::Soft);
    world.run(10_000, true);
    world.words();
    world.run(20_000, false);
    let words: Vec<String> = world.words().into_iter().map(|(_, word)| word).collect();
    assert_eq!(words, ["withdraw", "-address"]);
}

/// The world with another program in it, which goes on where the one before was.
fn upgraded(before: &World, config: VipConfig) -> World {
    let world = World::default();
    let kept: Vec<Kept> = before.vips.borrow().keep().collect();
    let text = serde_json::to_string(&kept).unwrap();
    world.now.set(before.now.get());
    world.addresses.replace(before.addresses.borrow().clone());
    world.left.replace(before.addresses.borrow().clone());
    world.others.set(before.others.get());
    world.vips.borrow_mut().resume(serde_json::from_str(&text).unwrap());
    world.give(Input::Configure(vec![config]));
    world
}

#[test]
fn an_upgrade_makes_nothing_of_a_service_that_is_up_and_the_next_failures_count_on() {
    let before = World::new(vec![config(|_| {})]);
    before.run(100, true);
    before.run(200, false);
    assert_eq!((before.info().state, before.info().failures), (State::Up, 1), "one of two that fall");
    let after = upgraded(&before, config(|_| {}));
    after.give(Input::Tick);
    assert_eq!(after.words(), said(&[(200, "+address"), (200, "announce")]), "without the community");
    assert_eq!((after.info().state, after.info().since, after.info().ups), (State::Up, before.info().since, 1));
    after.run(220, false);
    assert_eq!(after.words(), said(&[(200, "shed"), (220, "withdraw")]), "the second one in succession");
}

#[test]
fn an_upgrade_does_not_announce_a_service_that_is_down_before_its_checks_say_so() {
    let before = World::new(vec![config(|_| {})]);
    before.run(100, true);
    before.run(10_000, false);
    before.run(10_200, true);
    assert_eq!(before.info().state, State::Down, "one of three that rise");
    let after = upgraded(&before, config(|_| {}));
    after.run(10_200, true);
    assert_eq!(after.words(), [], "two of three");
    after.run(10_600, true);
    assert_eq!(after.words(), said(&[(10_400, "+address"), (10_500, "announce")]));
}

#[test]
fn an_upgrade_ends_no_wait_of_a_service_that_flaps() {
    let before = World::new(vec![config(|config| config.drain = Duration::ZERO)]);
    let until = |world: &World, state, good| {
        while world.info().state != state {
            world.run(world.now.get() + 10, good);
        }
    };
    for _ in 0..2 {
        until(&before, State::Up, true);
        until(&before, State::Down, false);
    }
    before.run(before.now.get() + 600, true);
    let held = before.info().held_until.expect("the second failure makes it wait");
    let after = upgraded(&before, config(|config| config.drain = Duration::ZERO));
    until(&after, State::Up, true);
    let waited = after.at();
    assert!(waited >= held && waited.since(held) < Duration::from_millis(500), "{waited} after {held}");
}

#[test]
fn an_upgrade_keeps_what_people_said_and_the_last_origin_where_it_was() {
    let before = World::new(vec![config(|_| {})]);
    before.run(100, true);
    before.give(Input::Set { name: "boot".to_owned(), up: false });
    before.run(20_000, true);
    let after = upgraded(&before, config(|_| {}));
    after.run(40_000, true);
    assert_eq!((after.words(), after.info().state, after.info().set_down), (said(&[]), State::Down, true));

    let last = || config(|config| config.on_last = OnLast::Keep);
    let before = World::new(vec![last()]);
    before.run(100, true);
    before.run(1_000, false);
    assert_eq!(before.info().state, State::Kept);
    let after = upgraded(&before, last());
    after.run(2_000, false);
    assert_eq!((after.words(), after.info().state), (said(&[(1_000, "+address"), (1_000, "shed")]), State::Kept));

    // Withdrawn beside another origin, of which a program that has just begun has not heard yet.
    let before = World::new(vec![last()]);
    before.others.set(true);
    before.run(100, true);
    before.run(1_000, false);
    assert_eq!(before.info().state, State::Draining);
    let after = upgraded(&before, last());
    after.others.set(false);
    after.is_deaf.set(true);
    after.run(2_000, false);
    assert_eq!(after.words(), said(&[(1_000, "+address")]), "it announces nothing meanwhile");
    after.is_deaf.set(false);
    after.run(2_500, false);
    assert_eq!(after.info().state, State::Kept, "nobody else does");
}

#[test]
fn what_another_program_left_of_another_address_or_does_not_say_is_not_gone_by() {
    let before = World::new(vec![config(|_| {})]);
    before.run(100, true);
    let kept = before.vips.borrow().keep().next().unwrap();
    let mut value = serde_json::to_value(&kept).unwrap();
    value["of a later version"] = serde_json::json!([1]);
    value["health"] = serde_json::json!({"good": true, "of a later version": 1});
    let read: Kept = serde_json::from_value(value).unwrap();
    assert_eq!((read.health.good, read.health.flaps), (Some(true), 0));
    let other = config(|config| config.addresses = vec!["10.71.255.7/32".parse().unwrap()]);
    let after = upgraded(&before, other);
    assert_eq!((after.words(), after.info().state), (said(&[]), State::Down));
}
