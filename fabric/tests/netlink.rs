//! The kernel thread against a real kernel: every test has a network namespace of its own. Runs as root, and as an ordinary user where
//! the system lets one make a user namespace; where it does not, all tests are skipped and say so.
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test program without the usual harness"
)]
#![expect(clippy::cast_possible_truncation, reason = "lengths of messages made here")]

#[path = "netlink/bed.rs"]
mod bed;
#[path = "netlink/bridge.rs"]
mod bridge;
#[path = "netlink/faults.rs"]
mod faults;
#[path = "netlink/foreign.rs"]
mod foreign;
#[path = "netlink/import.rs"]
mod import;
#[path = "netlink/inject.rs"]
mod inject;
#[path = "netlink/refusals.rs"]
mod refusals;
#[path = "netlink/scale.rs"]
mod scale;

use bed::{Bed, Ear, METRIC, PROTOCOL, Route, config, via};
use rustix::thread::UnshareFlags;
use std::process::ExitCode;
use std::time::Duration;
use weft_bgp::speaker::Want;
use weft_bgp::types::IpNet;
use weft_fabric::config::FibConfig;
use weft_fabric::fib::{LAST_RESORT_METRIC, NhId};
use weft_fabric::io::netlink::Event;

/// Healing of what somebody else broke, the best of some tries: on a busy machine one says more of the machine.
const HEALED_WITHIN: Duration = Duration::from_millis(100);
const TRIES: u32 = 5;

const TESTS: [(&str, fn()); 32] = [
    ("every_form_of_route_is_installed", every_form_of_route_is_installed),
    ("carrier_loss_shrinks_and_return_restores", carrier_loss_shrinks_and_return_restores),
    ("a_flicker_of_the_carrier_costs_nothing_for_good", a_flicker_of_the_carrier_costs_nothing_for_good),
    ("foreign_deletions_are_healed", foreign_deletions_are_healed),
    ("leftovers_are_adopted_without_churn_and_swept", leftovers_are_adopted_without_churn_and_swept),
    ("finish_removes_ours_and_nothing_else", finish_removes_ours_and_nothing_else),
    ("a_foreign_route_of_equal_key_is_untouched", a_foreign_route_of_equal_key_is_untouched),
    ("a_foreign_nexthop_in_our_range_is_untouched", a_foreign_nexthop_in_our_range_is_untouched),
    ("addresses_are_put_back_and_only_ours_removed", addresses_are_put_back_and_only_ours_removed),
    ("a_preferred_source_that_goes_and_comes_is_followed", a_preferred_source_that_goes_and_comes_is_followed),
    ("without_install_only_links_are_told", without_install_only_links_are_told),
    (
        "routes_of_other_software_are_told_as_they_come_and_go",
        import::routes_of_other_software_are_told_as_they_come_and_go,
    ),
    (
        "routes_of_other_software_are_told_while_many_of_ours_are_written",
        import::routes_of_other_software_are_told_while_many_of_ours_are_written,
    ),
    ("a_flood_of_routes_ends_in_what_the_kernel_holds", import::a_flood_of_routes_ends_in_what_the_kernel_holds),
    (
        "who_is_behind_a_port_of_a_bridge_goes_and_comes_with_it",
        bridge::who_is_behind_a_port_of_a_bridge_goes_and_comes_with_it,
    ),
    ("who_is_seen_behind_another_port_is_used_again", bridge::who_is_seen_behind_another_port_is_used_again),
    ("a_link_that_flaps_is_kept_out_until_it_stands", faults::a_link_that_flaps_is_kept_out_until_it_stands),
    ("a_flood_of_notifications_costs_nothing_for_good", faults::a_flood_of_notifications_costs_nothing_for_good),
    ("a_dump_that_changes_disturb_is_begun_again", faults::a_dump_that_changes_disturb_is_begun_again),
    ("a_mass_deletion_is_healed_and_named", faults::a_mass_deletion_is_healed_and_named),
    ("a_diff_finds_what_somebody_added", faults::a_diff_finds_what_somebody_added),
    ("an_index_that_is_used_again_is_another_link", faults::an_index_that_is_used_again_is_another_link),
    ("nexthop_compat_mode_is_put_back", scale::nexthop_compat_mode_is_put_back),
    ("resilient_groups_shrink_and_grow", scale::resilient_groups_shrink_and_grow),
    ("a_link_is_followed_while_dumps_are_under_way", scale::a_link_is_followed_while_dumps_are_under_way),
    ("many_routes_follow_a_link", scale::many_routes_follow_a_link),
    ("routes_of_others_lead_to_next_hops", foreign::routes_of_others_lead_to_next_hops),
    ("a_flood_of_foreign_routes_ends_in_what_is_there", foreign::a_flood_of_foreign_routes_ends_in_what_is_there),
    ("an_address_that_is_refused_is_tried_again", refusals::an_address_that_is_refused_is_tried_again),
    (
        "sockets_that_hold_next_to_nothing_cost_dumps_and_no_truth",
        refusals::sockets_that_hold_next_to_nothing_cost_dumps_and_no_truth,
    ),
    (
        "routes_of_other_software_are_known_though_sockets_fail",
        refusals::routes_of_other_software_are_known_though_sockets_fail,
    ),
    (
        "a_kernel_that_refuses_delays_and_lies_ends_as_it_should",
        refusals::a_kernel_that_refuses_delays_and_lies_ends_as_it_should,
    ),
];

fn main() -> ExitCode {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    if let Err(error) = enter() {
        println!("\n*** SKIPPED: all tests of kernel routes: {error}");
        println!(
            "*** they need root, or user namespaces (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces)\n"
        );
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let run = || {
            unshare(UnshareFlags::NEWNET).unwrap();
            test();
        };
        let outcome = std::thread::spawn(run).join();
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        passed += usize::from(outcome.is_ok());
        failed += usize::from(outcome.is_err());
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Becomes root of a user namespace of our own, unless we are root already; must precede the first thread.
fn enter() -> std::io::Result<()> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    if !uid.is_root() {
        unshare(UnshareFlags::NEWUSER)?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("0 {} 1", uid.as_raw()))?;
        std::fs::write("/proc/self/gid_map", format!("0 {} 1", gid.as_raw()))?;
    }
    std::thread::spawn(|| unshare(UnshareFlags::NEWNET)).join().unwrap()
}

fn unshare(flags: UnshareFlags) -> std::io::Result<()> {
    #[expect(unsafe_code, reason = "the call has no safe form")]
    // SAFETY: neither flag touches file descriptors or memory, which is what makes others dangerous in a process with threads.
    let outcome = unsafe { rustix::thread::unshare_unsafe(flags) };
    Ok(outcome?)
}

fn nets(prefixes: &[&str]) -> Vec<IpNet> {
    prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect()
}

fn every_form_of_route_is_installed() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let b = bed.veth("b", "10.2.0.1/24", "2001:db8:2::1/64");
    let (kernel, mut events) =
        bed.start(&FibConfig { unreachable: nets(&["10.0.0.0/8", "2001:db8::/32"]), ..config() });
    let both = via(&[(a, "10.1.0.2"), (b, "10.2.0.2")]);
    let changes = vec![
        bed.change("10.10.0.0/16", via(&[(a, "10.1.0.2")])),
        bed.change("10.11.0.0/16", both.clone()),
        bed.change("10.12.0.0/16", both),
        bed.change("10.13.0.0/16", via(&[(a, "fe80::2"), (b, "fe80::2")])),
        bed.change("10.14.0.0/16", Want::Discard),
        bed.change("0.0.0.0/0", via(&[(b, "10.2.0.2")])),
        bed.change("2001:db8:10::/48", via(&[(a, "2001:db8:1::2")])),
        bed.change("2001:db8:11::/48", via(&[(a, "fe80::2"), (b, "fe80::2")])),
        bed.change("2001:db8:12::/48", Want::Discard),
        bed.change("::/0", via(&[(a, "fe80::2")])),
        // A machine on a port without addresses: asked for on the link itself.
        bed.change("10.15.0.7/32", via(&[(a, "0.0.0.0")])),
        bed.change("2001:db8:15::7/128", via(&[(b, "::")])),
    ];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    let shown: Vec<_> = bed
        .routes()
        .iter()
        .map(|route| {
            let links = route.nhid.map(|id| bed.links_of(id)).unwrap_or_default();
            (route.prefix.to_string(), route.metric, route.kind, links)
        })
        .collect();
    let expected = [
        ("0.0.0.0/0", METRIC, 1, vec![b]),
        ("10.0.0.0/8", LAST_RESORT_METRIC, 7, vec![]),
        ("10.10.0.0/16", METRIC, 1, vec![a]),
        ("10.11.0.0/16", METRIC, 1, vec![a, b]),
        ("10.12.0.0/16", METRIC, 1, vec![a, b]),
        ("10.13.0.0/16", METRIC, 1, vec![a, b]),
        ("10.14.0.0/16", METRIC, 6, vec![]),
        ("10.15.0.7/32", METRIC, 1, vec![a]),
        ("::/0", METRIC, 1, vec![a]),
        ("2001:db8::/32", LAST_RESORT_METRIC, 7, vec![]),
        ("2001:db8:10::/48", METRIC, 1, vec![a]),
        ("2001:db8:11::/48", METRIC, 1, vec![a, b]),
        ("2001:db8:12::/48", METRIC, 6, vec![]),
        ("2001:db8:15::7/128", METRIC, 1, vec![b]),
    ];
    assert_eq!(shown, expected.map(|(prefix, metric, kind, links)| (prefix.to_owned(), metric, kind, links)));
    // Neighbours: 10.1.0.2, 10.2.0.2, fe80::2 twice, 2001:db8:1::2, and two links; sets of two: IPv4, and link-local for both families.
    assert_eq!(bed.nexthops().len(), 7 + 2);
    assert_eq!(bed.route("10.11.0.0/16").unwrap().nhid, bed.route("10.12.0.0/16").unwrap().nhid);
    let report = bed.wait(kernel.report());
    assert_eq!((report.routes, report.nexthops, report.groups, report.failed), (14, 7, 2, 0));
    let told = bed.wait(kernel.route("10.11.0.0/16".parse().unwrap())).unwrap();
    assert!(told.as_wanted && told.installed && told.members.len() == 2, "{told:?}");
    assert_eq!(told.nhid, bed.route("10.11.0.0/16").unwrap().nhid.map(NhId));
    // Down to one neighbour, to none: replaced, then deleted.
    let changes = vec![bed.change("10.11.0.0/16", via(&[(b, "10.2.0.2")])), bed.change("10.14.0.0/16", Want::Nothing)];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    assert_eq!(bed.links_of(bed.route("10.11.0.0/16").unwrap().nhid.unwrap()), [b]);
    bed.until("what nobody wants is gone", || bed.route("10.14.0.0/16").is_none());
}

fn carrier_loss_shrinks_and_return_restores() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let b = bed.veth("b", "10.2.0.1/24", "2001:db8:2::1/64");
    let (kernel, mut events) = bed.start(&config());
    let changes = vec![
        bed.change("10.10.0.0/16", via(&[(a, "10.1.0.2"), (b, "10.2.0.2")])),
        bed.change("10.11.0.0/16", via(&[(a, "fe80::2")])),
        bed.change("2001:db8:11::/48", via(&[(a, "fe80::2"), (b, "fe80::2")])),
    ];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    let group = bed.route("10.10.0.0/16").unwrap().nhid.unwrap();
    bed.set_link("ap", false);
    loop {
        match bed.wait(events.recv()).unwrap() {
            Event::LinkDown(link) if link == a => break,
            Event::LinkDown(_) => {}
            Event::Links(links) => {
                assert!(links.iter().all(|link| link.index != a || link.is_usable()), "LinkDown comes first");
            }
            Event::Acked { .. } | Event::Reachable(_) => {}
        }
    }
    bed.until("the group shrinks", || bed.links_of(group) == [b]);
    assert_eq!(bed.route("10.11.0.0/16"), None);
    assert_eq!(bed.route("10.10.0.0/16").unwrap().nhid, Some(group), "the route was not touched");
    bed.set_link("bp", false);
    bed.until("all is gone", || bed.routes().is_empty() && bed.nexthops().is_empty());
    bed.until("the daemon knows", || {
        let report = bed.wait(kernel.report());
        (report.routes, report.waiting) == (0, 3)
    });
    bed.set_link("ap", true);
    bed.set_link("bp", true);
    let whole = || bed.route("10.10.0.0/16").is_some_and(|route| bed.links_of(route.nhid.unwrap()) == [a, b]);
    bed.until("all is back", || whole() && bed.routes().len() == 3);
}

fn a_flicker_of_the_carrier_costs_nothing_for_good() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let (kernel, mut events) = bed.start(&config());
    let changes = vec![
        bed.change("10.11.0.0/16", via(&[(a, "10.1.0.2")])),
        bed.change("2001:db8:11::/48", via(&[(a, "fe80::2")])),
    ];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    for _ in 0..3 {
        bed.set_link("ap", false);
        bed.set_link("ap", true);
    }
    bed.set_link("a", false);
    bed.set_link("a", true);
    bed.until("both routes are back", || bed.routes().len() == 2);
    bed.until("the daemon knows", || bed.wait(kernel.report()).routes == 2);
}

fn foreign_deletions_are_healed() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let b = bed.veth("b", "10.2.0.1/24", "2001:db8:2::1/64");
    let (kernel, mut events) = bed.start(&config());
    let changes = vec![
        bed.change("10.10.0.0/16", via(&[(a, "fe80::2"), (b, "fe80::2")])),
        bed.change("2001:db8:11::/48", via(&[(a, "fe80::2"), (b, "fe80::2")])),
        bed.change("2001:db8:12::/48", via(&[(a, "fe80::2")])),
    ];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    let whole = || {
        let links = |prefix| bed.route(prefix).map(|route| bed.links_of(route.nhid.unwrap())).unwrap_or_default();
        links("10.10.0.0/16") == [a, b] && links("2001:db8:11::/48") == [a, b] && links("2001:db8:12::/48") == [a]
    };
    assert!(whole());
    let member = bed.nexthops().iter().find(|(_, link, _)| *link == Some(a)).unwrap().0;
    let group = bed.route("10.10.0.0/16").unwrap().nhid.unwrap();
    let (v4, v6) = ("10.10.0.0/16".parse().unwrap(), "2001:db8:12::/48".parse().unwrap());
    let breaks: [(&str, &dyn Fn()); 4] = [
        ("an IPv4 route", &|| bed.delete_route(v4)),
        ("an IPv6 route", &|| bed.delete_route(v6)),
        ("a neighbour", &|| bed.delete_nexthop(member)),
        ("a group", &|| bed.delete_nexthop(group)),
    ];
    for (what, delete) in breaks {
        let mut least = Duration::MAX;
        for _ in 0..TRIES {
            delete();
            least = least.min(bed.until(what, whole));
        }
        println!("     {what} was back after {least:?}");
        assert!(least < HEALED_WITHIN, "{what}: {least:?}");
    }
    assert_eq!(bed.wait(kernel.report()).failed, 0);
}

fn leftovers_are_adopted_without_churn_and_swept() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let b = bed.veth("b", "10.2.0.1/24", "2001:db8:2::1/64");
    let (kernel, mut events) = bed.start(&FibConfig { unreachable: nets(&["10.0.0.0/8"]), ..config() });
    let wants = [
        ("10.10.0.0/16", via(&[(a, "fe80::2"), (b, "fe80::2")])),
        ("10.11.0.0/16", via(&[(a, "10.1.0.2")])),
        ("10.12.0.0/16", Want::Discard),
        ("2001:db8:11::/48", via(&[(a, "fe80::2"), (b, "fe80::2")])),
    ];
    let mut changes: Vec<_> = wants.iter().map(|(prefix, want)| bed.change(prefix, want.clone())).collect();
    changes.push(bed.change("10.13.0.0/16", via(&[(b, "10.2.0.2")])));
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    let before = bed.routes();
    bed.wait(kernel.finish(true));
    assert_eq!(bed.routes(), before, "kept");
    let ear = Ear::new();
    let (kernel, mut events) = bed.start(&FibConfig { unreachable: nets(&["10.0.0.0/8"]), ..config() });
    let changes: Vec<_> = wants.iter().map(|(prefix, want)| bed.change(prefix, want.clone())).collect();
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    assert_eq!(ear.heard(), [] as [u16; 0], "nothing was changed");
    assert_eq!(bed.wait(kernel.report()).leftovers, 1);
    kernel.sweep();
    bed.until("the leftover is gone", || bed.route("10.13.0.0/16").is_none() && bed.nexthops().len() == 4);
    assert_eq!(ear.heard(), [25, 105], "the route and its neighbour");
    assert_eq!(
        bed.routes(),
        before.into_iter().filter(|route| route.prefix != nets(&["10.13.0.0/16"])[0]).collect::<Vec<_>>()
    );
    // What is different is replaced, not deleted and added.
    let changes = vec![bed.change("10.11.0.0/16", via(&[(a, "10.1.0.2"), (b, "10.2.0.2")]))];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    assert!(!ear.heard().contains(&25));
}

fn finish_removes_ours_and_nothing_else() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    bed.foreign_route("10.99.0.0/16".parse().unwrap(), METRIC, true);
    bed.foreign_route("2001:db8:99::/48".parse().unwrap(), METRIC, true);
    bed.foreign_nexthop(5);
    bed.address(bed.index("lo"), "10.0.0.99/32".parse().unwrap(), true);
    let before = (bed.routes(), bed.nexthops());
    let (kernel, mut events) = bed.start(&FibConfig { unreachable: nets(&["10.0.0.0/8"]), ..config() });
    kernel.add_address("10.0.0.1/32".parse().unwrap());
    kernel.add_address("10.0.0.99/32".parse().unwrap());
    kernel.add_address("2001:db8::1/128".parse().unwrap());
    let changes = vec![
        bed.change("10.10.0.0/16", via(&[(a, "10.1.0.2")])),
        bed.change("10.11.0.0/16", Want::Discard),
        bed.change("2001:db8:11::/48", via(&[(a, "fe80::2")])),
    ];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    assert!(bed.has_address("10.0.0.1/32".parse().unwrap()) && bed.has_address("2001:db8::1/128".parse().unwrap()));
    assert_eq!(bed.routes().iter().filter(|route| route.protocol == PROTOCOL).count(), 4);
    // An earlier run's addresses are known by their mark.
    bed.wait(kernel.finish(true));
    let (kernel, _events) = bed.start(&config());
    kernel.add_address("10.0.0.1/32".parse().unwrap());
    // One that the new configuration does not have goes with the rest that nobody asks for.
    kernel.sweep();
    bed.until("it is gone", || !bed.has_address("2001:db8::1/128".parse().unwrap()));
    assert!(bed.has_address("10.0.0.1/32".parse().unwrap()));
    bed.wait(kernel.finish(false));
    assert_eq!((bed.routes(), bed.nexthops()), before);
    assert!(!bed.has_address("10.0.0.1/32".parse().unwrap()) && !bed.has_address("2001:db8::1/128".parse().unwrap()));
    assert!(bed.has_address("10.0.0.99/32".parse().unwrap()), "an address of somebody else");
}

fn a_foreign_route_of_equal_key_is_untouched() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let prefixes = ["10.10.0.0/16", "2001:db8:11::/48"];
    for prefix in nets(&prefixes) {
        bed.foreign_route(prefix, METRIC, true);
    }
    let foreign: Vec<Route> = bed.routes();
    let (kernel, mut events) = bed.start(&config());
    let changes = prefixes.map(|prefix| bed.change(prefix, via(&[(a, "fe80::2")]))).to_vec();
    kernel.install(changes);
    let mut failed = bed.acked(&mut events);
    failed.sort();
    assert_eq!(failed, nets(&prefixes));
    assert_eq!(bed.routes(), foreign);
    assert_eq!(bed.wait(kernel.report()).conflicts, nets(&prefixes));
    for prefix in nets(&prefixes) {
        bed.foreign_route(prefix, METRIC, false);
    }
    bed.until("ours take the place that is free now", || {
        bed.routes().iter().filter(|r| r.protocol == PROTOCOL).count() == 2
    });
    // And back: our wish goes, theirs comes; ours must not delete it.
    let changes = prefixes.map(|prefix| bed.change(prefix, Want::Nothing)).to_vec();
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    bed.until("ours are gone", || bed.routes().is_empty());
    for prefix in nets(&prefixes) {
        bed.foreign_route(prefix, METRIC, true);
    }
    bed.wait(kernel.finish(false));
    assert_eq!(bed.routes(), foreign);
}

fn a_foreign_nexthop_in_our_range_is_untouched() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    bed.foreign_nexthop(0xF000_0000);
    let (kernel, mut events) = bed.start(&config());
    // Taken behind the daemon's back, before it wants the id.
    bed.foreign_nexthop(0xF000_0001);
    let before = bed.nexthops();
    let changes = vec![bed.change("10.10.0.0/16", via(&[(a, "10.1.0.2")]))];
    kernel.install(changes);
    bed.acked(&mut events);
    bed.until("the route has an object of ours", || {
        bed.route("10.10.0.0/16").is_some_and(|route| bed.links_of(route.nhid.unwrap()) == [a])
    });
    bed.wait(kernel.finish(false));
    assert_eq!(bed.nexthops(), before);
}

fn addresses_are_put_back_and_only_ours_removed() {
    let bed = Bed::new();
    let (kernel, _events) = bed.start(&config());
    let ours = nets(&["10.0.0.1/32", "2001:db8::1/128"]);
    for net in &ours {
        kernel.add_address(*net);
        bed.until("it is there", || bed.has_address(*net));
        bed.address(bed.index("lo"), *net, false);
        bed.until("it is back", || bed.has_address(*net));
        kernel.remove_address(*net);
        bed.until("it is gone", || !bed.has_address(*net));
    }
}

fn a_preferred_source_that_goes_and_comes_is_followed() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let source: IpNet = "10.0.0.1/32".parse().unwrap();
    let source6: IpNet = "2001:db8::1/128".parse().unwrap();
    let with = FibConfig {
        prefer_source_v4: Some("10.0.0.1".parse().unwrap()),
        prefer_source_v6: Some("2001:db8::1".parse().unwrap()),
        ..config()
    };
    let (kernel, mut events) = bed.start(&with);
    let changes = vec![
        bed.change("10.10.0.0/16", via(&[(a, "fe80::2")])),
        bed.change("2001:db8:11::/48", via(&[(a, "fe80::2")])),
    ];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events).len(), 2, "the kernel refuses a source that is not there");
    let sources = || bed.routes().iter().map(|route| route.source).collect::<Vec<_>>();
    let both = [Some(source.addr()), Some(source6.addr())];
    kernel.add_address(source);
    kernel.add_address(source6);
    bed.until("it is there", || sources() == both);
    // The kernel drops the IPv4 routes with the address, and the source from the IPv6 ones, and tells neither.
    bed.address(bed.index("lo"), source, false);
    bed.address(bed.index("lo"), source6, false);
    bed.until("it is back", || sources() == both);
    kernel.reconfigure(config());
    bed.until("it is not preferred any more", || sources() == [None, None]);
}

fn without_install_only_links_are_told() {
    let mut bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let (kernel, mut events) = bed.start(&FibConfig { install: false, ..config() });
    kernel.add_address("10.0.0.1/32".parse().unwrap());
    let changes = vec![bed.change("10.10.0.0/16", via(&[(a, "10.1.0.2")]))];
    kernel.install(changes);
    assert_eq!(bed.acked(&mut events), []);
    assert_eq!((bed.routes(), bed.nexthops()), (vec![], vec![]));
    assert!(!bed.has_address("10.0.0.1/32".parse().unwrap()));
    bed.set_link("ap", false);
    while !matches!(bed.wait(events.recv()), Some(Event::LinkDown(link)) if link == a) {}
    bed.wait(kernel.finish(false));
}
