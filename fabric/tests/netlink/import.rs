//! Routes of other software, heard of while the kernel is changed.

use super::bed::{self, Bed, FOREIGN, METRIC, via};
use super::faults::hosts;
use super::nets;
use super::scale::change_all;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use weft_bgp::types::IpNet;
use weft_fabric::config::{KernelRule, Terms};
use weft_fabric::io::netlink::{Handle, Kernel};
use weft_fabric::node::{Imported, MAX_IMPORTED};

/// From the kernel to the daemon's loop.
const TOLD_WITHIN: Duration = Duration::from_millis(50);

fn rule(protocol: u8, within: &[&str]) -> KernelRule {
    KernelRule { table: 254, protocol, terms: Terms { within: nets(within), ..Terms::default() } }
}

/// What the daemon would know by now.
struct Loop {
    receiver: mpsc::Receiver<Imported>,
    known: BTreeMap<IpNet, usize>,
    left_out: u64,
}

impl Loop {
    fn hear(&mut self, bed: &Bed) {
        let imported = bed.wait(self.receiver.recv()).unwrap();
        assert_eq!(imported.run, 3);
        if imported.all {
            self.known.clear();
        }
        self.left_out = imported.left_out.iter().map(|some| some.routes).sum();
        for (prefix, rule) in imported.changes {
            match rule {
                Some(rule) => drop(self.known.insert(prefix, rule)),
                None => assert!(self.known.remove(&prefix).is_some(), "{prefix} was never told"),
            }
        }
    }

    /// Hears until it knows this many, within the time.
    fn until(&mut self, bed: &Bed, count: usize) -> Duration {
        let begun = bed.clock.now();
        while self.known.len() != count {
            self.hear(bed);
        }
        bed.clock.now().since(begun)
    }
}

fn start(rules: Vec<KernelRule>) -> (Handle, Loop) {
    let (kernel, _unstarted) = Kernel::new().unwrap();
    start_beside(&kernel, rules)
}

fn start_beside(kernel: &Kernel, rules: Vec<KernelRule>) -> (Handle, Loop) {
    let (events, receiver) = mpsc::channel(2);
    let import = kernel.import(rules, (254, bed::PROTOCOL), 3, events).unwrap();
    (import, Loop { receiver, known: BTreeMap::new(), left_out: 0 })
}

pub(super) fn routes_of_other_software_are_told_as_they_come_and_go() {
    let bed = Bed::new();
    let all = nets(&["10.64.1.0/27", "10.64.2.0/27", "fd00:64:1::/64", "192.0.2.0/24"]);
    bed.foreign_route(all[0], METRIC, true);
    let (_import, mut daemon) =
        start(vec![rule(FOREIGN, &["10.64.2.0/24"]), rule(FOREIGN, &["10.0.0.0/8", "fd00::/8"])]);
    daemon.hear(&bed);
    assert_eq!(daemon.known, BTreeMap::from([(all[0], 1)]), "what is there at the start is told first");
    bed.foreign_route(all[3], METRIC, true);
    for (at, prefix) in (1..3).zip(&all[1..3]) {
        bed.foreign_route(*prefix, METRIC, true);
        let took = daemon.until(&bed, at + 1);
        assert!(took < TOLD_WITHIN, "{took:?}");
    }
    assert_eq!(daemon.known, BTreeMap::from([(all[0], 1), (all[1], 0), (all[2], 1)]), "the first rule that fits");
    // A second route for a prefix: the prefix stays while one of them does.
    bed.foreign_route(all[1], METRIC + 1, true);
    bed.foreign_route(all[1], METRIC, false);
    for (left, prefix) in [(2, all[0]), (1, all[2])] {
        bed.foreign_route(prefix, METRIC, false);
        let took = daemon.until(&bed, left);
        assert!(took < TOLD_WITHIN, "{took:?}");
    }
    assert_eq!(daemon.known, BTreeMap::from([(all[1], 0)]));
    bed.foreign_route(all[1], METRIC + 1, false);
    daemon.until(&bed, 0);
}

/// More than the socket holds, more than may be announced, faster than the daemon hears: what is told in the end is what is there.
pub(super) fn a_flood_of_routes_ends_in_what_the_kernel_holds() {
    let bed = Bed::new();
    let (_import, mut daemon) = start(vec![rule(FOREIGN, &[])]);
    let count = MAX_IMPORTED + 100;
    let prefix = |at: usize| IpNet::new([10, (at >> 8) as u8, at as u8, 0].into(), 24).unwrap();
    for at in 0..count {
        bed.foreign_route(prefix(at), METRIC, true);
    }
    daemon.until(&bed, MAX_IMPORTED);
    while daemon.left_out != 100 {
        daemon.hear(&bed);
    }
    for at in 0..count {
        bed.foreign_route(prefix(at), METRIC, false);
    }
    daemon.until(&bed, 0);
    assert_eq!(bed.routes(), []);
}

/// Nothing is listened to while the daemon writes many routes, and what comes meanwhile is told all the same.
pub(super) fn routes_of_other_software_are_told_while_many_of_ours_are_written() {
    let mut bed = Bed::new();
    let link = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let (kernel, mut events) = bed.start(&bed::config());
    let apart = KernelRule { table: 119, ..rule(FOREIGN, &[]) };
    let (_import, mut daemon) = start_beside(&kernel, vec![apart]);
    daemon.hear(&bed);
    let all = nets(&["10.64.1.0/27", "10.64.2.0/27", "fd00:64:1::/64"]);
    kernel.install(change_all(&mut bed, &hosts(60_000), &via(&[(link, "fe80::2")])));
    bed.until("the kernel has some of them", || bed.wait(kernel.report()).pending < 50_000);
    for (at, prefix) in all.iter().enumerate() {
        bed.foreign_route_in(119, *prefix, METRIC, true);
        daemon.until(&bed, at + 1);
    }
    bed.foreign_route_in(119, all[0], METRIC, false);
    daemon.until(&bed, 2);
    assert!(bed.wait(kernel.report()).pending > 0, "all of ours were written before this was over");
    assert_eq!(bed.acked(&mut events), []);
    bed.foreign_route_in(119, all[1], METRIC, false);
    daemon.until(&bed, 1);
    bed.foreign_route_in(119, all[2], METRIC, false);
    daemon.until(&bed, 0);
}
