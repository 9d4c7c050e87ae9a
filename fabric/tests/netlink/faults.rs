//! What others do to the daemon: links that flap, floods, disturbed dumps, deletions in masses, forged routes, indices used again.

use crate::bed::{Bed, METRIC, PROTOCOL, config, via};
use crate::nets;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use weft_bgp::speaker::Want;
use weft_bgp::types::IpNet;
use weft_fabric::config::FibConfig;
use weft_fabric::io::netlink::Event;

/// `count` prefixes of length 32.
pub(crate) fn hosts(count: u32) -> Vec<IpNet> {
    (0..count).map(|number| format!("100.64.{}.{}/32", number / 250, number % 250 + 1).parse().unwrap()).collect()
}

pub(crate) fn a_link_that_flaps_is_kept_out_until_it_stands() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let (kernel, mut events) = bed.start(&config());
    let changes = vec![bed.change("10.10.0.0/16", via(&[(a, "10.1.0.2")]))];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    let is_there = || bed.route("10.10.0.0/16").is_some();
    for _ in 0..4 {
        bed.set_link("ap", false);
        bed.until("it goes with the carrier", || !is_there());
        bed.set_link("ap", true);
        bed.until("it is back", is_there);
    }
    bed.set_link("ap", false);
    bed.until("it goes with the carrier", || !is_there());
    let begun = bed.clock.now();
    bed.set_link("ap", true);
    let flaps = loop {
        if let Some(Event::Links(links)) = bed.wait(events.recv())
            && let Some(link) = links.iter().find(|link| link.index == a && link.damped > 0)
        {
            assert!(link.has_carrier() && !link.is_usable());
            break link.damped;
        }
    };
    assert_eq!(flaps, 5);
    bed.until("it is back when the link has stood", is_there);
    let took = bed.clock.now().since(begun);
    assert!(took >= Duration::from_secs(1), "{took:?}");
    bed.until("the daemon knows", || bed.wait(kernel.report()).routes == 1);
}

pub(crate) fn a_flood_of_notifications_costs_nothing_for_good() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    bed.foreign_route("10.99.0.0/16".parse().unwrap(), METRIC, true);
    let (kernel, mut events) = bed.start(&FibConfig { receive_buffer_bytes: 2_048, ..config() });
    let prefixes = hosts(300);
    let changes = prefixes.iter().map(|prefix| bed.change(&prefix.to_string(), via(&[(a, "fe80::2")]))).collect();
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    let ours = || bed.routes().iter().filter(|route| route.protocol == PROTOCOL).count();
    bed.until("notifications are lost", || {
        bed.flood(4);
        bed.delete_routes(&prefixes);
        bed.wait(kernel.report()).health.overruns > 0
    });
    bed.until("all are back", || ours() == prefixes.len());
    bed.until("the daemon knows", || bed.wait(kernel.diff()).is_ok_and(|diff| diff.is_clean()));
    assert!(bed.routes().iter().any(|route| route.prefix == nets(&["10.99.0.0/16"])[0]), "a route of somebody else");
    assert_eq!(bed.wait(kernel.report()).failed, 0);
}

pub(crate) fn a_dump_that_changes_disturb_is_begun_again() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    // So many objects that a dump takes several turns.
    for number in 0..2_000 {
        bed.foreign_nexthop(0xF010_0000 + number);
    }
    let (kernel, mut events) = bed.start(&config());
    let changes = vec![bed.change("10.10.0.0/16", via(&[(a, "10.1.0.2")]))];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = Bed::new();
            while !over.load(Ordering::Relaxed) {
                other.foreign_nexthop(9);
                other.delete_nexthop(9);
            }
        });
        bed.until("a dump is disturbed", || {
            // Disturbed every time, or whole: never wrong.
            if let Ok(diff) = bed.wait(kernel.diff()) {
                assert!(diff.is_clean(), "{diff:?}");
            }
            bed.wait(kernel.report()).health.interrupted > 0
        });
        over.store(true, Ordering::Relaxed);
    });
    bed.until("a dump is whole again", || bed.wait(kernel.diff()).is_ok_and(|diff| diff.is_clean()));
    assert!(bed.route("10.10.0.0/16").is_some());
}

pub(crate) fn a_mass_deletion_is_healed_and_named() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let (kernel, mut events) = bed.start(&config());
    let prefixes = hosts(2_000);
    let changes = prefixes.iter().map(|prefix| bed.change(&prefix.to_string(), via(&[(a, "fe80::2")]))).collect();
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    bed.delete_routes(&prefixes);
    let took = bed.until("all are back", || bed.routes().len() == prefixes.len());
    println!("     2,000 routes were back after {took:?}");
    let health = bed.wait(kernel.report()).health;
    let counted: u64 = health.deleters.iter().map(|deleter| deleter.count).sum();
    assert_eq!(health.foreign_deletions, counted);
    // Nobody can count what was lost for want of room, or not listened to while thousands were put back.
    println!("     {counted} deletions were told");
    assert!(counted > 0 && counted <= 2_000, "{health:?}");
    assert!(health.deleters.iter().all(|deleter| deleter.who.contains("process")), "{health:?}");
}

pub(crate) fn a_diff_finds_what_somebody_added() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let (kernel, mut events) = bed.start(&config());
    let changes = vec![bed.change("10.10.0.0/16", via(&[(a, "10.1.0.2")])), bed.change("10.11.0.0/16", Want::Discard)];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    kernel.sweep();
    let clean = bed.wait(kernel.diff()).unwrap();
    assert!(clean.is_clean() && (clean.routes_wanted, clean.routes_found) == (2, 2), "{clean:?}");
    bed.until("a diff shows it before it is mended", || {
        bed.forged_route("10.66.0.0/16".parse().unwrap());
        let diff = bed.wait(kernel.diff()).unwrap();
        let seen = diff.extra == 1 && diff.differences[0].what == "10.66.0.0/16";
        bed.until("it is mended", || bed.route("10.66.0.0/16").is_none());
        seen
    });
    assert!(bed.wait(kernel.diff()).unwrap().is_clean());
}

pub(crate) fn an_index_that_is_used_again_is_another_link() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let (kernel, mut events) = bed.start(&config());
    let changes = vec![
        bed.change("10.10.0.0/16", via(&[(a, "10.1.0.2")])),
        bed.change("2001:db8:11::/48", via(&[(a, "2001:db8:1::2")])),
    ];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    bed.delete_link(a);
    bed.until("all is gone", || bed.routes().is_empty() && bed.nexthops().is_empty());
    // Another network on the same index: the old neighbours are not on it, and the kernel says so.
    bed.veth_at("z", a, "10.9.0.1/24", "2001:db8:9::1/64");
    bed.until("the kernel refuses", || bed.wait(kernel.report()).failed > 0 || !bed.routes().is_empty());
    let changes = vec![
        bed.change("10.10.0.0/16", via(&[(a, "10.9.0.2")])),
        bed.change("2001:db8:11::/48", via(&[(a, "2001:db8:9::2")])),
    ];
    kernel.install(changes);
    bed.acked(&mut events);
    bed.until("both lead to the new neighbours", || bed.routes().len() == 2);
    kernel.sweep();
    bed.until("and nothing is left over", || bed.wait(kernel.diff()).is_ok_and(|diff| diff.is_clean()));
    bed.until("nor refused", || bed.wait(kernel.report()).failed == 0);
}
