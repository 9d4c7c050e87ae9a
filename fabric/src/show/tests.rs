//! What the tables of a living node do not show: odd cases of each. The rest is in `api/tests`.

use super::*;
use crate::api::{
    BgpPath, Explanation, Happening, Neighbor, NeighborHistory, Neighbors, PerFamily, Route, Routes, Told, Via,
};
use crate::bfd;
use crate::node::Happened;
use weft_bgp::peer::{FsmEvent, FsmState, MessageRecord, Transition, Way};
use weft_bgp::time::Instant;
use weft_bgp::types::PeerId;

#[test]
fn durations_are_two_units_at_most() {
    let all = [0, 59, 60, 3_599, 3_600, 11_100, 86_399, 86_400, 200_000_000].map(duration);
    assert_eq!(all.join(" "), "0s 59s 1m00s 59m59s 1h00m 3h05m 23h59m 1d00h 2314d19h");
}

/// What happened at that second, for the last time.
fn bfd(second: u64, times: u64, text: &str) -> Happening {
    let (state, cause) = (bfd::State::Up, bfd::Cause::Heard);
    let event =
        bfd::Event::Bfd { peer: PeerId(1), name: "tor1".to_owned(), state, cause, failed: false, retained: false };
    let (at_ms, since_ms) = (second * 1_000, (second - times) * 1_000);
    Happening { at_ms, ago_ms: 100_000 - at_ms, times, since_ms, text: text.to_owned(), event: Happened::Bfd(event) }
}

#[test]
fn the_history_of_a_neighbor_says_what_and_why() {
    let at = |seconds: u64| Instant(seconds * 1_000_000_000);
    let step = |seconds, from, to, event| Transition { at: at(seconds), from, to, event, accepted: true };
    let heard = |seconds, way, kind: &str, times, text: &str, hex: &str| MessageRecord {
        at: at(seconds),
        way,
        kind: kind.to_owned(),
        length: 45,
        times,
        text: text.to_owned(),
        hex: format!("{}{hex}", "ff".repeat(16)),
    };
    let answer = NeighborHistory {
        neighbor: "tor1".to_owned(),
        now: at(100),
        transitions: vec![
            step(10, FsmState::Active, FsmState::OpenSent, FsmEvent::Accepted),
            step(40, FsmState::Established, FsmState::Idle, FsmEvent::HoldTimerExpires),
        ],
        messages: vec![
            heard(10, Way::Received, "Open", 1, "AS 64599, hold time 9 s, identifier 10.69.255.1", &"2d".repeat(40)),
            heard(37, Way::Sent, "Keepalive", 9, "", "001304"),
        ],
        bfd: vec![bfd(20, 1, "tor1: BFD Up: the neighbor is heard"), bfd(60, 3, "tor1: BFD Down: taken down here")],
    };
    insta::assert_snapshot!("trail", trail::tables_of(&answer));
}

fn neighbor(name: &str) -> Neighbor {
    Neighbor {
        name: name.to_owned(),
        address: "10.0.0.1".parse().ok(),
        interface: None,
        remote_asn: Some(64_599),
        expected_asn: "64599".to_owned(),
        router_id: "10.69.255.1".parse().ok(),
        hostname: None,
        state: "Established".to_owned(),
        since_s: 3_600,
        hold_time_s: Some(9),
        agreed: vec!["extended messages".to_owned(), "graceful restart (120 s)".to_owned()],
        prefixes_received: PerFamily { ipv4: 3, ipv6: 0 },
        prefixes_sent: PerFamily { ipv4: 4, ipv6: 0 },
        bfd: None,
        add_path: None,
        max_prefixes: None,
        updates_rejected: 0,
        prefixes_rejected: 0,
        old_policy: None,
        withdraw_faults: 0,
        updates_received: 5,
        updates_sent: 6,
        messages_received: 7,
        messages_sent: 8,
        established: 1,
        dropped: 0,
        last_error: None,
        resting_s: None,
        miswired: None,
        shutdown: None,
        dynamic: false,
    }
}

#[test]
fn neighbors_in_every_plight() {
    let link_local = "fe80::a1".parse().ok();
    let neighbors = vec![
        Neighbor {
            address: link_local,
            interface: Some("eth0".to_owned()),
            prefixes_received: PerFamily { ipv4: 3, ipv6: 2 },
            ..neighbor("eth0")
        },
        Neighbor { address: link_local, interface: Some("eth1".to_owned()), ..neighbor("spine") },
        Neighbor {
            address: None,
            interface: Some("eth2".to_owned()),
            remote_asn: None,
            expected_asn: "external".to_owned(),
            state: "Idle".to_owned(),
            ..neighbor("eth2")
        },
        Neighbor { old_policy: Some(17), ..neighbor("unrefreshed") },
        Neighbor { dropped: 3, updates_rejected: 1, prefixes_rejected: 4, withdraw_faults: 2, ..neighbor("flapping") },
        Neighbor {
            state: "Active".to_owned(),
            remote_asn: None,
            last_error: Some("Connection refused (os error 111)".to_owned()),
            ..neighbor("refused")
        },
        Neighbor { state: "Idle".to_owned(), shutdown: Some(String::new()), ..neighbor("shut") },
    ];
    let answer = Neighbors { asn: 64_600, router_id: "10.69.255.1".parse().unwrap(), neighbors };
    let mut text = neighbors::table_of("tor1", &answer);
    text.push_str(&answer.neighbors.iter().map(neighbors::details).collect::<String>());
    text.push_str(&neighbors::table_of("lonely", &Neighbors { neighbors: Vec::new(), ..answer }));
    insta::assert_snapshot!("neighbors", text);
}

fn route(kind: &str, installed: bool, via: Vec<Via>) -> Route {
    let from = if via.is_empty() { Vec::new() } else { vec!["tor1".to_owned()] };
    let kernel = match (installed, via.is_empty()) {
        (true, _) => "installed",
        (false, false) => "waiting",
        (false, true) => "none",
    };
    Route {
        prefix: "10.0.0.0/8".parse().unwrap(),
        kind: kind.to_owned(),
        installed,
        kernel: kernel.to_owned(),
        via,
        from,
        age_s: 61,
        held_back: None,
    }
}

fn via(gateway: &str, weight: u8) -> Via {
    Via { interface: "eth0".to_owned(), gateway: gateway.parse().unwrap(), weight }
}

#[test]
fn routes_that_are_waiting_unreachable_or_weighted() {
    let routes = vec![
        route("bgp", false, vec![via("fe80::1", 1)]),
        route("bgp", true, vec![via("10.0.0.1", 2), via("10.0.0.2", 1)]),
        route("none", false, Vec::new()),
    ];
    let answer = Routes { prefixes: 3, within: None, routes, next: None };
    let text = routes::page(&answer, true);
    let second = routes::page(&answer, false);
    insta::assert_snapshot!("routes", format!("{text}--- a second page\n{second}"));
}

fn path(from: &str, best: bool) -> BgpPath {
    BgpPath {
        path_id: None,
        from: from.to_owned(),
        best,
        used: true,
        stale: false,
        external: false,
        rpki: None,
        reason: if best { "lower identifier than tor2, 10.0.0.1 < 10.0.0.2" } else { "equal to the best" }.to_owned(),
        next_hop: "10.0.0.1".parse().unwrap(),
        via: Some(via("10.0.0.1", 1)),
        as_path: String::new(),
        origin: "incomplete".to_owned(),
        local_pref: Some(100),
        med: Some(20),
        communities: Vec::new(),
        large_communities: Vec::new(),
        ext_communities: Vec::new(),
        originator_id: None,
        cluster_list: Vec::new(),
        age_s: 7,
    }
}

#[test]
fn explanations_of_large_stale_and_waiting_routes() {
    let told = |peer: usize| Told { peer: format!("server{peer}"), told: true, reason: None, paths: Vec::new() };
    let explanation = Explanation {
        refused: Vec::new(),
        target: "10.0.0.0/8".to_owned(),
        route: Some(route("bgp", false, vec![via("10.0.0.1", 1)])),
        paths: vec![BgpPath { stale: true, ..path("tor1", true) }, path("tor2", false)],
        kernel: Some("nhid 4026531845 = {eth0 ×1, eth1 ×1}, as wanted".to_owned()),
        originated: None,
        told: (1..=20).map(told).collect(),
        no_session: vec!["server21".to_owned()],
    };
    let nothing = Explanation { route: None, paths: Vec::new(), told: Vec::new(), ..explanation.clone() };
    let refused = Route { kernel: "refused".to_owned(), ..route("bgp", false, vec![via("10.0.0.1", 1)]) };
    let refused = Explanation { route: Some(refused), paths: vec![path("tor1", true)], ..nothing.clone() };
    let reason = "held back: 1 of 2 next hops".to_owned();
    let held = Route { held_back: Some(reason.clone()), ..route("none", false, Vec::new()) };
    let held = Explanation {
        route: Some(held),
        paths: vec![BgpPath { used: false, reason, ..path("tor1", false) }],
        ..nothing.clone()
    };
    let text =
        explain::text(&explanation) + &explain::text(&nothing) + &explain::text(&refused) + &explain::text(&held);
    insta::assert_snapshot!("explain", text);
}
