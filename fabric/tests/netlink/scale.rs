//! What must not cost anything per route.

use crate::bed::{Bed, Ear, config, via};
use crate::faults::hosts;
use crate::nets;
use std::sync::atomic::{AtomicBool, Ordering};
use weft_bgp::speaker::{FibChange, Want};
use weft_bgp::types::IpNet;
use weft_fabric::config::{FibConfig, NexthopCompat};
use weft_fabric::fib::Member;

fn mode() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv4/nexthop_compat_mode").unwrap().trim().to_owned()
}

pub(crate) fn nexthop_compat_mode_is_put_back() {
    for keep in [true, false] {
        let bed = Bed::new();
        assert_eq!(mode(), "1");
        let (kernel, _events) = bed.start(&FibConfig { nexthop_compat: NexthopCompat::Fast, ..config() });
        assert_eq!(mode(), "0");
        assert!(bed.wait(kernel.report()).health.nexthop_compat_fast);
        kernel.reconfigure(config());
        bed.until("a reload puts it back", || mode() == "1");
        kernel.reconfigure(FibConfig { nexthop_compat: NexthopCompat::Fast, ..config() });
        bed.until("and takes it again", || mode() == "0");
        bed.wait(kernel.finish(keep));
        assert_eq!(mode(), "1");
    }
}

pub(crate) fn resilient_groups_shrink_and_grow() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let b = bed.veth("b", "10.2.0.1/24", "2001:db8:2::1/64");
    let with = FibConfig { resilient: nets(&["10.10.0.0/15"]), ..config() };
    let (kernel, mut events) = bed.start(&with);
    let both = via(&[(a, "fe80::2"), (b, "fe80::2")]);
    let changes = vec![bed.change("10.10.0.0/16", both.clone()), bed.change("10.20.0.0/16", both)];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    let id = |prefix| bed.route(prefix).unwrap().nhid.unwrap();
    let (resilient, hashed) = (id("10.10.0.0/16"), id("10.20.0.0/16"));
    assert_eq!((bed.spread(resilient), bed.spread(hashed)), (Some(1), Some(0)));
    bed.set_link("bp", false);
    bed.until("both shrink", || bed.links_of(resilient) == [a] && bed.links_of(hashed) == [a]);
    bed.set_link("bp", true);
    bed.until("both grow", || bed.links_of(resilient) == [a, b] && bed.links_of(hashed) == [a, b]);
    assert_eq!(bed.spread(resilient), Some(1));
    // A reload that changes its mind changes the group of the route.
    kernel.reconfigure(config());
    bed.until("by hash", || bed.route("10.10.0.0/16").is_some_and(|route| route.nhid == Some(hashed)));
    kernel.sweep();
    bed.until("nothing is left", || bed.wait(kernel.diff()).is_ok_and(|diff| diff.is_clean()));
    assert_eq!(bed.wait(kernel.report()).failed, 0);
}

pub(crate) fn change_all(bed: &mut Bed, prefixes: &[IpNet], want: &Want) -> Vec<FibChange> {
    prefixes.iter().map(|prefix| bed.change(&prefix.to_string(), want.clone())).collect()
}

pub(crate) fn a_link_is_followed_while_dumps_are_under_way() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let b = bed.veth("b", "10.2.0.1/24", "2001:db8:2::1/64");
    let (kernel, mut events) = bed.start(&config());
    let prefixes = hosts(20_000);
    let changes = change_all(&mut bed, &prefixes, &via(&[(a, "fe80::2"), (b, "fe80::2")]));
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    let group = bed.route(&prefixes[0].to_string()).unwrap().nhid.unwrap();
    let neighbor = Member { link: b, gateway: "fe80::2".parse().unwrap() };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // One dump after another, disturbed or whole.
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            while !over.load(Ordering::Relaxed) {
                let _ = runtime.block_on(kernel.diff());
            }
        });
        for _ in 0..3 {
            bed.set_link("bp", false);
            bed.until("the group shrinks", || bed.links_of(group) == [a]);
            bed.set_link("bp", true);
            let took = bed.until("the group is whole", || bed.links_of(group) == [a, b]);
            println!("     a link that came back was used after {took:?}");
            kernel.set_alive(neighbor, false);
            let took = bed.until("the dead neighbour is gone", || bed.links_of(group) == [a]);
            println!("     a neighbour that died was gone after {took:?}");
            kernel.set_alive(neighbor, true);
            bed.until("the group is whole", || bed.links_of(group) == [a, b]);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(bed.wait(kernel.report()).health.interrupted > 0, "none of all these dumps was disturbed");
    bed.until("a dump is whole again", || bed.wait(kernel.diff()).is_ok_and(|diff| diff.is_clean()));
}

pub(crate) fn many_routes_follow_a_link() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let b = bed.veth("b", "10.2.0.1/24", "2001:db8:2::1/64");
    let (kernel, mut events) = bed.start(&config());
    let prefixes = hosts(10_000);
    let both = via(&[(a, "fe80::2"), (b, "fe80::2")]);
    let changes = change_all(&mut bed, &prefixes, &both);
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    kernel.sweep();
    let group = bed.route(&prefixes[0].to_string()).unwrap().nhid.unwrap();
    bed.until("the burst is over", || bed.wait(kernel.report()).pending == 0);
    let ear = Ear::new();
    bed.set_link("bp", false);
    bed.until("the group shrinks", || bed.links_of(group) == [a]);
    // The table learns of it.
    let changes = change_all(&mut bed, &prefixes, &via(&[(a, "fe80::2")]));
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    bed.set_link("bp", true);
    let changes = change_all(&mut bed, &prefixes, &both);
    kernel.install(changes);
    let last = prefixes[prefixes.len() - 1].to_string();
    let group_of = |prefix: &str| bed.route(prefix).and_then(|route| route.nhid);
    let took = bed.until("all routes are whole", || group_of(&last).is_some_and(|group| bed.links_of(group) == [a, b]));
    println!("     10,000 routes were whole after {took:?}");
    assert_eq!(bed.acked(&mut events), []);
    let group = group_of(&last);
    assert!(bed.routes().iter().all(|route| route.nhid == group), "all routes are whole");
    assert!(bed.wait(kernel.diff()).unwrap().is_clean());
    // Replacing a group tells of its routes where the setting is as the kernel has it; none of them is ours to send.
    drop(ear);
    // All leave: the group takes them along.
    let ear = Ear::new();
    let changes = change_all(&mut bed, &prefixes, &Want::Nothing);
    kernel.install(changes);
    let took = bed.until("all are gone", || bed.routes().is_empty());
    let deleted = ear.heard().iter().filter(|kind| **kind == 25).count();
    println!("     and gone after {took:?}, {deleted} of them one by one");
    bed.until("and what they needed", || bed.nexthops().is_empty());
}
