//! Peers of a range: limits, and what is left when they are gone. And what anybody may do before an OPEN.

use crate::harness::plant::{Kin, Plant, framed};
use std::net::SocketAddr;
use std::time::Duration;
use weft_bgp::peer::{Endpoint, PeerConfig};
use weft_bgp::speaker::{DynamicRange, Input};
use weft_bgp::types::{ConnId, PeerId};

const RANGE: &str = "192.0.2.128/25";
const LIMIT: u32 = 4;

fn plant() -> Plant {
    let mut plant = Plant::new(Kin::External);
    let template = plant.guest_config().clone();
    let range = DynamicRange { prefix: RANGE.parse().unwrap(), template, limit: LIMIT };
    plant.speaker.handle(plant.now, Input::SetDynamicRanges(vec![range]));
    plant
}

/// Somebody calls from the last octet `at`, as connection `at`.
fn call(plant: &mut Plant, at: u8) -> ConnId {
    let conn = ConnId(ConnId::ACCEPTED | 1 << 40 | u64::from(at));
    let (local, remote) = (SocketAddr::from(([192, 0, 2, 9], 179)), SocketAddr::from(([192, 0, 2, at], 40_000)));
    plant.speaker.handle(plant.now, Input::Accepted { conn, local, remote });
    plant.pass(Duration::from_millis(500));
    conn
}

fn known(plant: &Plant) -> usize {
    plant.speaker.neighbors(plant.now).len() - 2
}

#[test]
fn a_full_range_refuses_more() {
    let mut plant = plant();
    for at in 128..228 {
        call(&mut plant, at);
    }
    assert_eq!(known(&plant), LIMIT as usize);
    plant.check();
}

#[test]
fn a_peer_that_is_gone_makes_room() {
    let mut plant = plant();
    let conns: Vec<_> = (128..132).map(|at| call(&mut plant, at)).collect();
    for conn in conns {
        plant.speaker.handle(plant.now, Input::Closed { conn });
    }
    for at in 140..144 {
        call(&mut plant, at);
    }
    let names: Vec<_> = plant.speaker.neighbors(plant.now).into_iter().map(|info| info.name).collect();
    assert!((140..144).all(|at| names.contains(&format!("192.0.2.{at}"))), "{names:?}");
    plant.check();
}

#[test]
fn a_peer_that_is_gone_is_forgotten() {
    let mut plant = plant();
    let conn = call(&mut plant, 200);
    plant.speaker.handle(plant.now, Input::Closed { conn });
    plant.pass(Duration::from_secs(60));
    assert_eq!(known(&plant), 1, "it may be back");
    plant.pass(Duration::from_secs(120));
    assert_eq!(known(&plant), 0);
    plant.check();
}

#[test]
fn a_caller_that_says_nothing_is_left_after_four_minutes_and_then_forgotten() {
    let mut plant = plant();
    call(&mut plant, 200);
    plant.pass(Duration::from_secs(230));
    assert_eq!(known(&plant), 1);
    plant.pass(Duration::from_secs(140));
    assert_eq!(known(&plant), 0);
    plant.check();
}

#[test]
fn whoever_nobody_knows_is_closed_at_once() {
    let mut plant = plant();
    for at in 20..120 {
        call(&mut plant, at);
    }
    assert_eq!(known(&plant), 0);
    plant.check();
}

/// Any garbage before and instead of an OPEN, again and again, from an address that is configured.
#[test]
fn garbage_instead_of_an_open_disturbs_nobody() {
    let mut plant = Plant::new(Kin::External);
    let mut garbage: Vec<Vec<u8>> = vec![vec![0; 70_000], vec![0xff; 4_096], b"GET / HTTP/1.0\r\n\r\n".repeat(4)];
    garbage.extend((0..=255).map(|kind| framed(kind, &[kind; 40])));
    garbage.extend((0..60).map(|length| framed(1, &vec![4; length])));
    for bytes in &garbage {
        plant.accept();
        plant.send(bytes);
        plant.leave();
    }
    plant.pass(Duration::from_secs(40));
    plant.try_open();
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
}

/// What happened is kept: the states, the messages in both directions, and why it ended.
#[test]
fn the_history_of_a_peer_says_what_happened() {
    let mut plant = Plant::new(Kin::External);
    plant.try_open();
    plant.pass(Duration::from_secs(5));
    plant.send(&framed(3, &[6, 2, 2, b'h', b'i']));
    let history = plant.guest_history();
    let steps: Vec<_> = history
        .transitions
        .iter()
        .map(|step| format!("{} {} {:?}", step.from.name(), step.to.name(), step.event))
        .collect();
    assert_eq!(
        steps,
        [
            "Active OpenSent Accepted",
            "OpenSent OpenConfirm Open",
            "OpenConfirm Established Keepalive",
            "Established Idle Notification"
        ]
    );
    let said: Vec<_> =
        history.messages.iter().map(|heard| (heard.kind.as_str(), heard.way, heard.text.clone())).collect();
    let has = |kind: &str, text: &str| said.iter().any(|(of, _, says)| *of == kind && says.contains(text));
    assert!(has("Open", "AS 64601, hold time 9 s, identifier 10.0.0.1"), "{said:?}");
    assert!(has("Open", "AS 64600, hold time 9 s, identifier 10.0.0.9"), "{said:?}");
    assert!(has("Notification", "Administrative Shutdown (6/2): \"hi\""), "{said:?}");
    assert!(has("Update", "octets of withdrawn routes"), "{said:?}");
}

/// Which peer a caller is follows every change of where peers are: two that change places, and one that leaves a range to itself.
#[test]
fn who_calls_is_known_by_where_peers_are_now() {
    let mut plant = plant();
    let template = PeerConfig { multihop: true, shutdown: None, ..plant.guest_config().clone() };
    let set = |plant: &mut Plant, id: u32, last: u8, hops: u8| {
        let mut config = PeerConfig { endpoint: Endpoint::Address([192, 0, 2, last].into()), ..template.clone() };
        config.name = format!("p{id}");
        config.session.ttl_security = Some(hops);
        plant.speaker.handle(plant.now, Input::SetPeer { peer: PeerId(id), config: Box::new(config) });
    };
    let least = |plant: &Plant, last: u8| {
        plant.speaker.caller(SocketAddr::from(([192, 0, 2, last], 40_000))).map(|ttl| ttl.least)
    };
    set(&mut plant, 50, 50, 10);
    set(&mut plant, 51, 51, 11);
    assert_eq!((least(&plant, 50), least(&plant, 51), least(&plant, 52)), (Some(246), Some(245), None));
    set(&mut plant, 50, 51, 10);
    set(&mut plant, 51, 50, 11);
    assert_eq!((least(&plant, 50), least(&plant, 51)), (Some(245), Some(246)));
    call(&mut plant, 130);
    set(&mut plant, 52, 130, 12);
    assert_eq!(least(&plant, 130), Some(244), "who is configured comes before the range");
    for peer in [50, 52].map(PeerId) {
        plant.speaker.handle(plant.now, Input::RemovePeer { peer });
    }
    assert_eq!((least(&plant, 51), least(&plant, 130)), (None, Some(0)));
    let before = plant.speaker.neighbors(plant.now).len();
    call(&mut plant, 130);
    assert_eq!(plant.speaker.neighbors(plant.now).len(), before, "the peer of the range is still known");
}
