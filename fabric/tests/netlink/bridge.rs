//! Neighbours on a bridge of this machine: who is behind a port that loses its carrier is lost with it.

use crate::bed::{Bed, config, via};
use tokio::sync::mpsc::Receiver;
use weft_bgp::types::IfIndex;
use weft_fabric::fib::Member;
use weft_fabric::io::netlink::Event;

const FIRST: ([u8; 6], &str) = ([2, 0, 0, 0, 0, 2], "10.3.0.2");
const SECOND: ([u8; 6], &str) = ([2, 0, 0, 0, 0, 3], "10.3.0.3");
/// Through both, and through the first alone.
const BOTH: &str = "10.20.0.0/24";
const ALONE: &str = "10.21.0.0/24";

/// A bridge with two ports and a server behind each; the daemon knows what it had learnt before, and hears the rest.
struct Rack {
    bed: Bed,
    bridge: IfIndex,
    ports: [IfIndex; 2],
    events: Receiver<Event>,
    kernel: weft_fabric::io::netlink::Kernel,
    group: u32,
}

impl Rack {
    fn new() -> Self {
        let mut bed = Bed::new();
        let ports = ["x", "y"].map(|name| bed.port(name));
        let bridge = bed.bridge("rack", &ports, "10.3.0.1/24");
        bed.learn(bridge, ports[0], FIRST.0);
        bed.neighbour(bridge, FIRST.1, FIRST.0);
        let (kernel, mut events) = bed.start(&config());
        bed.learn(bridge, ports[1], SECOND.0);
        bed.neighbour(bridge, SECOND.1, SECOND.0);
        let both = bed.change(BOTH, via(&[(bridge, FIRST.1), (bridge, SECOND.1)]));
        let alone = bed.change(ALONE, via(&[(bridge, FIRST.1)]));
        kernel.install(vec![both, alone]);
        assert_eq!(bed.acked(&mut events), []);
        let group = bed.route(BOTH).unwrap().nhid.unwrap();
        Self { bed, bridge, ports, events, kernel, group }
    }

    fn member(&self, of: &str) -> Member {
        Member { link: self.bridge, gateway: of.parse().unwrap() }
    }

    fn has(&self, count: usize) -> bool {
        self.bed.links_of(self.group).len() == count
    }

    /// Who was told to be lost or reachable.
    fn told(&mut self) -> Vec<(Member, bool)> {
        let events = &mut self.events;
        self.bed.wait(async {
            loop {
                match events.recv().await {
                    Some(Event::Reachable(members)) => return members,
                    Some(Event::Links(_) | Event::LinkDown(_) | Event::Acked { .. }) => {}
                    None => panic!("the thread ended"),
                }
            }
        })
    }
}

pub(crate) fn who_is_behind_a_port_of_a_bridge_goes_and_comes_with_it() {
    let mut rack = Rack::new();
    assert!(rack.has(2));
    for _ in 0..2 {
        rack.bed.set_link("xp", false);
        let took = rack.bed.until("the group shrinks", || rack.has(1) && rack.bed.route(ALONE).is_none());
        println!("     a server was out of the sets {took:?} after its cable was cut");
        assert_eq!(rack.told(), [(rack.member(FIRST.1), false)]);
        rack.bed.set_link("xp", true);
        rack.bed.until("the group is whole", || rack.has(2) && rack.bed.route(ALONE).is_some());
        assert_eq!(rack.told(), [(rack.member(FIRST.1), true)]);
        rack.bed.learn(rack.bridge, rack.ports[0], FIRST.0);
    }
    // The other one was learnt from a notification.
    rack.bed.set_link("yp", false);
    rack.bed.until("the group shrinks", || rack.has(1));
    assert_eq!(rack.told(), [(rack.member(SECOND.1), false)]);
    assert!(rack.bed.route(ALONE).is_some());
}

pub(crate) fn who_is_seen_behind_another_port_is_used_again() {
    let rack = Rack::new();
    rack.bed.set_link("xp", false);
    rack.bed.until("the group shrinks", || rack.has(1));
    rack.bed.learn(rack.bridge, rack.ports[1], FIRST.0);
    rack.bed.until("the group is whole", || rack.has(2) && rack.bed.route(ALONE).is_some());
    // Dead by other evidence stays dead, wherever it is seen.
    rack.kernel.set_alive(rack.member(FIRST.1), false);
    rack.bed.until("the group shrinks", || rack.has(1));
    rack.bed.set_link("yp", false);
    rack.bed.until("nobody is left", || rack.bed.route(BOTH).is_none());
    rack.bed.set_link("yp", true);
    rack.bed.until("one is back", || rack.bed.route(BOTH).is_some());
    assert!(rack.bed.route(ALONE).is_none());
    rack.kernel.set_alive(rack.member(FIRST.1), true);
    rack.bed.until("both are", || rack.bed.route(ALONE).is_some());
}
