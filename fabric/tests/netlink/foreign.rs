//! Routes of others by which next hops are reached, as the kernel changes them, loudly and silently.

use super::bed::{self, Bed, FOREIGN, METRIC};
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use weft_bgp::speaker::ForeignRoute;
use weft_bgp::types::{IfIndex, IpNet};
use weft_fabric::io::netlink::{self, Handle};

/// `ip route add` without `proto`.
const BOOT: u8 = 3;

/// What the daemon was told last.
struct Loop {
    receiver: mpsc::Receiver<Vec<ForeignRoute>>,
    known: BTreeMap<String, Vec<(u32, String)>>,
}

impl Loop {
    fn hear(&mut self, bed: &Bed) {
        let told = bed.wait(self.receiver.recv()).unwrap();
        let way = |(link, gateway): (IfIndex, Option<_>)| {
            (link.0, gateway.map_or_else(String::new, |addr: std::net::IpAddr| addr.to_string()))
        };
        let route = |route: ForeignRoute| (route.prefix.to_string(), route.via.into_iter().map(way).collect());
        self.known = told.into_iter().map(route).collect();
    }

    /// Hears until it knows exactly this.
    fn until(&mut self, bed: &Bed, expected: &[(&str, &[(IfIndex, &str)])]) {
        let way = |(link, gateway): &(IfIndex, &str)| (link.0, (*gateway).to_owned());
        let route = |(prefix, via): &(&str, &[(IfIndex, &str)])| ((*prefix).to_owned(), via.iter().map(way).collect());
        let expected: BTreeMap<_, Vec<_>> = expected.iter().map(route).collect();
        while self.known != expected {
            self.hear(bed);
        }
    }
}

fn start() -> (Handle, Loop) {
    let (events, receiver) = mpsc::channel(2);
    let foreign = netlink::foreign(254, bed::PROTOCOL, events).unwrap();
    (foreign, Loop { receiver, known: BTreeMap::new() })
}

pub(super) fn routes_of_others_lead_to_next_hops() {
    let bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let b = bed.veth("b", "10.2.0.1/24", "2001:db8:2::1/64");
    bed.gateway_route("10.69.1.3/32", BOOT, &[(a, Some("10.1.0.2"))], true);
    bed.gateway_route("10.69.9.0/24", bed::PROTOCOL, &[(a, Some("10.1.0.2"))], true);
    bed.gateway_route("0.0.0.0/0", BOOT, &[(a, Some("10.1.0.2"))], true);
    let (foreign, mut daemon) = start();
    daemon.hear(&bed);
    // Neither ours, nor a default, nor what addresses bring along.
    let one = ("10.69.1.3/32", &[(a, "10.1.0.2")][..]);
    daemon.until(&bed, &[one]);
    // A protocol that was not there before, every form of a way.
    bed.gateway_route("10.70.0.0/16", FOREIGN, &[(a, Some("10.1.0.2")), (b, Some("10.2.0.2"))], true);
    bed.gateway_route("10.71.0.0/16", FOREIGN, &[(b, Some("fe80::2"))], true);
    bed.gateway_route("10.72.0.0/16", FOREIGN, &[(b, None)], true);
    bed.gateway_route("2001:db8:70::/48", FOREIGN, &[(b, Some("2001:db8:2::2"))], true);
    bed.foreign_route("10.73.0.0/16".parse::<IpNet>().unwrap(), METRIC, true);
    let all = [
        one,
        ("10.70.0.0/16", &[(a, "10.1.0.2"), (b, "10.2.0.2")][..]),
        ("10.71.0.0/16", &[(b, "fe80::2")]),
        ("10.72.0.0/16", &[(b, "")]),
        ("10.73.0.0/16", &[]),
        ("2001:db8:70::/48", &[(b, "2001:db8:2::2")]),
    ];
    daemon.until(&bed, &all);
    bed.gateway_route("10.72.0.0/16", FOREIGN, &[(b, None)], false);
    daemon.until(&bed, &[all[0], all[1], all[2], all[4], all[5]]);
    // The interface goes down, and the kernel says nothing of the IPv4 routes that go with it: the daemon knows of the link.
    bed.set_link("b", false);
    foreign.doubt();
    while daemon.known.keys().any(|prefix| prefix == "10.71.0.0/16") {
        daemon.hear(&bed);
    }
    assert!(daemon.known.contains_key("10.69.1.3/32"), "{:?}", daemon.known);
    assert!(bed.routes().iter().any(|route| route.protocol == bed::PROTOCOL), "nothing is changed");
}

/// More than the socket holds and more than are kept, faster than the daemon hears.
pub(super) fn a_flood_of_foreign_routes_ends_in_what_is_there() {
    const MOST: usize = 16_384;
    let bed = Bed::new();
    let a = bed.veth("a", "10.1.0.1/24", "2001:db8:1::1/64");
    let (_foreign, mut daemon) = start();
    daemon.hear(&bed);
    let prefix = |at: usize| IpNet::new([20, (at >> 8) as u8, at as u8, 0].into(), 24).unwrap();
    for at in 0..MOST + 100 {
        bed.foreign_route(prefix(at), METRIC, true);
    }
    while daemon.known.len() < MOST {
        daemon.hear(&bed);
    }
    for at in 0..MOST + 100 {
        bed.foreign_route(prefix(at), METRIC, false);
    }
    bed.gateway_route("10.69.1.3/32", BOOT, &[(a, Some("10.1.0.2"))], true);
    daemon.until(&bed, &[("10.69.1.3/32", &[(a, "10.1.0.2")])]);
}
