//! Walks over the whole table are done in slices, and come to the same as in one go.

use super::*;
use crate::speaker::sweep::SLICE;

/// Prefixes for two and a half slices.
const MANY: u32 = SLICE * 5 / 2;

fn many(originator: u8, count: u32) -> Vec<Originate> {
    let prefix = |at: u32| IpNet::new(IpAddr::from((u32::from(originator) << 24 | at << 8).to_be_bytes()), 24).unwrap();
    let route = |at| Originate {
        prefix: prefix(at),
        communities: Vec::new(),
        large_communities: Vec::new(),
        weight: None,
        why: "test".to_owned(),
    };
    (0..count).map(route).collect()
}

/// 1 tells 2 of many prefixes; 3 hears of them.
fn line(graceful_restart_s: Option<u16>) -> Net {
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.join(1, 2, |a, b| {
        a.graceful_restart_s = graceful_restart_s;
        b.graceful_restart_s = graceful_restart_s;
    });
    net.join(3, 2, |_, _| {});
    net.give(0, Input::SetOriginated(many(20, MANY)));
    net.settle();
    assert_eq!(held(&net, 3), u64::from(MANY));
    net
}

/// Paths that 2 or 3 learnt from 1, and only those.
fn held(net: &Net, at: usize) -> u64 {
    let from = if at == 2 { 1 } else { 2 };
    let neighbor = net.speakers[at - 1].neighbors(net.now).into_iter().find(|neighbor| neighbor.id == PeerId(from));
    neighbor.unwrap().prefixes_received[0] - u64::from(at == 3)
}

/// The connections of 2 with 1, and with 3.
fn conns(net: &Net) -> [ConnId; 2] {
    [0, 2].map(|far| {
        *net.far.iter().find(|((at, _), (to, _))| (*at, *to) == (1, far)).map(|((_, conn), _)| conn).unwrap()
    })
}

#[test]
fn a_lost_table_is_withdrawn_in_slices_and_a_keepalive_comes_in_between() {
    let mut net = line(None);
    let [lost, other] = conns(&net);
    // The hold time of the other session asks for a KEEPALIVE after three seconds.
    net.now = net.now + Duration::from_secs(3);
    net.give(1, Input::Closed { conn: lost });
    let mut left = u64::from(MANY);
    let mut slices = 0;
    while net.speakers[1].next_timeout().unwrap().0 == Instant::ZERO {
        net.give(1, Input::Tick);
        let now = held(&net, 2);
        assert!(left - now <= u64::from(SLICE), "{} in one call", left - now);
        left = now;
        if slices == 0 {
            let mut buf = BytesMut::new();
            net.speakers[1].poll_transmit(net.now, other, &mut buf, 1);
            assert_eq!(buf[18], 4, "a KEEPALIVE goes first");
        }
        slices += usize::from(left > 0);
    }
    assert_eq!((left, slices), (0, 2), "and a last one");
    net.cut(1, lost, false);
    net.settle();
    assert_eq!(held(&net, 3), 0);
    // The next timer finds that all have read the log.
    net.give(1, Input::Tick);
    while net.speakers[1].next_timeout().unwrap().0 == Instant::ZERO {
        net.give(1, Input::Tick);
    }
    assert_eq!(net.speakers[1].table.len(), 2, "what is left bare is forgotten, but for what 2 and 3 have themselves");
}

#[test]
fn what_a_peer_announces_while_its_earlier_routes_are_still_removed_stays() {
    let mut net = line(None);
    let [lost, _] = conns(&net);
    net.cut(1, lost, true);
    // Not one slice yet, and the peer is back with a part of its routes, some of them new.
    net.give(0, Input::SetOriginated(many(20, 10).into_iter().chain(many(21, 10)).collect()));
    net.settle();
    let config = net.speakers[1].members[&PeerId(1)].peer.config().clone();
    let passive = PeerConfig { passive: false, ..config };
    net.give(1, Input::SetPeer { peer: PeerId(1), config: Box::new(passive) });
    net.run(5);
    assert!(net.speakers[1].members[&PeerId(1)].peer.session().is_some());
    assert_eq!((held(&net, 2), held(&net, 3)), (20, 20));
    assert!(net.speakers[1].routes(None, 100).iter().all(|route| route.paths.iter().all(|path| !path.stale)));
}

#[test]
fn retained_routes_are_stale_at_once_and_those_of_the_session_before_go() {
    // RFC 4724 §4.2: "a route (from the peer) previously marked as stale MUST be deleted".
    let mut net = line(Some(30));
    // 1 restarts, and says nothing while it waits for a peer that does not come.
    net.give(0, Input::SetPeer { peer: PeerId(9), config: Box::new(config(9, 65_009, true)) });
    net.restart(1, |_| {});
    let stale = |net: &Net| {
        let routes = net.speakers[1].routes(Some("20.0.0.0/8".parse().unwrap()), MANY as usize);
        routes.iter().filter(|route| route.paths.iter().any(|path| path.stale)).count()
    };
    assert_eq!(stale(&net), MANY as usize, "no walk was needed");
    net.run(5);
    assert_eq!(stale(&net), MANY as usize, "its End-of-RIB did not come");
    let [lost, _] = conns(&net);
    net.cut(1, lost, true);
    while net.speakers[1].next_timeout().unwrap().0 == Instant::ZERO {
        net.give(1, Input::Tick);
    }
    assert_eq!(stale(&net), 0);
}

#[test]
fn a_lost_link_is_ranked_in_slices() {
    let mut net = line(None);
    net.give(1, Input::Links(Vec::new()));
    let usable = |net: &Net| net.speakers[1].table.after(None).filter(|entry| entry.best.is_some()).count();
    let lost = MANY as usize + 2 - usable(&net);
    assert!((1..=SLICE as usize).contains(&lost), "{lost} in one call");
    // It comes back before the walk is done.
    let addrs = vec![IpNet::new(address(2), 24).unwrap()];
    net.give(1, Input::Links(vec![LinkState { link: IfIndex(2), addrs }]));
    while net.speakers[1].next_timeout().unwrap().0 == Instant::ZERO {
        net.give(1, Input::Tick);
    }
    net.settle();
    assert_eq!((usable(&net), held(&net, 3)), (MANY as usize + 2, u64::from(MANY)));
}

#[test]
fn a_peer_for_which_the_log_grows_without_end_loses_its_session_and_nobody_else_does() {
    // RFC 4486 §4, Out of Resources
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.join(1, 2, |_, _| {});
    net.join(3, 2, |_, _| {});
    net.deaf.insert(2);
    let state = |net: &Net, peer: u32| {
        net.speakers[1].neighbors(net.now).into_iter().find(|info| info.id == PeerId(peer)).unwrap()
    };
    let mut flaps = 0;
    while state(&net, 3).state == "Established" {
        assert!(
            flaps < 100,
            "the log has {} entries",
            net.speakers[1].table.log_end() - net.speakers[1].table.log_start()
        );
        net.give(0, Input::SetOriginated(if flaps % 2 == 0 { many(20, 1_000) } else { Vec::new() }));
        net.settle();
        net.give(1, Input::Tick);
        net.settle();
        flaps += 1;
    }
    assert!(flaps > 16, "so much may wait: {flaps}");
    assert!(state(&net, 3).last_error.unwrap().contains("Out of Resources"));
    assert_eq!((state(&net, 1).state.as_str(), state(&net, 1).dropped), ("Established", 0));
    net.give(1, Input::Tick);
    let table = &net.speakers[1].table;
    assert!(table.log_end() - table.log_start() < 1_000, "the log is given back");
}

#[test]
fn other_aggregates_are_counted_in_slices_and_those_that_stay_do_not_flap() {
    let mut net = line(None);
    let prefixes = |all: &[&str]| all.iter().map(|prefix| prefix.parse().unwrap()).collect::<Vec<IpNet>>();
    let set = |net: &mut Net, aggregates: Vec<IpNet>| {
        let config = SpeakerConfig { aggregates, ..net.speakers[1].config.clone() };
        let now = net.now;
        net.speakers[1].set_config(now, config);
    };
    let stands = |net: &Net, at: usize, prefix: &str| {
        net.speakers[at].table.get(&prefix.parse().unwrap()).is_some_and(|entry| entry.best.is_some())
    };
    set(&mut net, prefixes(&["20.0.0.0/8"]));
    net.run(1);
    assert!(stands(&net, 2, "20.0.0.0/8"));
    let told = net.updates;
    // The last of the prefixes alone are in the second one: the last slice finds them. Nothing is in the third.
    set(&mut net, prefixes(&["20.0.0.0/8", "20.79.192.0/18", "21.0.0.0/8"]));
    let mut slices = 0;
    while net.speakers[1].next_timeout().unwrap().0 == Instant::ZERO {
        assert!(stands(&net, 1, "20.0.0.0/8") && !stands(&net, 1, "20.79.192.0/18"));
        net.give(1, Input::Tick);
        net.settle();
        slices += 1;
    }
    assert_eq!(slices, 2, "beside the first one");
    assert!(stands(&net, 2, "20.79.192.0/18") && !stands(&net, 2, "21.0.0.0/8"));
    assert_eq!(net.updates - told, 2, "the second one to both peers, and nothing else");
    let count =
        |net: &Net, prefix: &str| net.speakers[1].route_to(&prefix.parse().unwrap()).unwrap().paths[0].reason.clone();
    assert_eq!(count(&net, "20.0.0.0/8"), format!("aggregate of {MANY} contributors"));
    set(&mut net, prefixes(&["21.0.0.0/8"]));
    net.run(1);
    assert!(!stands(&net, 2, "20.0.0.0/8") && !stands(&net, 2, "20.79.192.0/18"));
}

#[test]
fn what_lies_within_a_prefix_is_listed_in_pages_and_counted() {
    let mut net = Net::new(&[65_001]);
    let own =
        ["20.0.0.0/8", "20.0.0.0/16", "20.0.0.0/24", "20.0.128.0/17", "20.1.0.0/16", "21.0.0.0/16", "2001:db8::/32"];
    let mut routes = many(20, 1);
    let first = routes.remove(0);
    routes.extend(own.map(|prefix| Originate { prefix: prefix.parse().unwrap(), ..first.clone() }));
    net.give(0, Input::SetOriginated(routes));
    net.settle();
    let speaker = &net.speakers[0];
    let within = |net: &str, after: Option<&str>, limit| -> Vec<String> {
        let found = speaker.routes_within(&net.parse().unwrap(), after.map(|after| after.parse().unwrap()), limit);
        found.iter().map(|route| route.prefix.to_string()).collect()
    };
    assert_eq!(within("20.0.0.0/16", None, 10), ["20.0.0.0/16", "20.0.0.0/24", "20.0.128.0/17"], "itself first");
    assert_eq!(within("20.0.0.0/16", None, 2), ["20.0.0.0/16", "20.0.0.0/24"]);
    assert_eq!(within("20.0.0.0/16", Some("20.0.0.0/24"), 2), ["20.0.128.0/17"]);
    assert_eq!(within("20.0.0.0/9", None, 10).len(), 4, "a prefix that is not there itself");
    assert_eq!(within("20.0.0.0/16", Some("20.1.0.0/16"), 1), ["20.0.0.0/16"], "a cursor from elsewhere is none");
    assert_eq!(within("22.0.0.0/8", None, 10), [""; 0]);
    assert_eq!(within("::/0", None, 10), ["2001:db8::/32"]);
    assert!(within("0.0.0.0/0", None, 100).iter().all(|prefix| prefix.contains('.')));
    let count = |net: &str, most| speaker.count_within(&net.parse().unwrap(), most);
    assert_eq!((count("20.0.0.0/8", 100), count("20.0.0.0/8", 3), count("22.0.0.0/8", 3)), (5, 3, 0));
}
