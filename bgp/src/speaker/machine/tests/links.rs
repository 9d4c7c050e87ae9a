//! Links that are lost, whole or one neighbour of many on them.

use super::*;

#[test]
fn of_a_shared_link_only_the_session_of_who_is_cut_off_ends_and_nothing_of_it_is_kept() {
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.join(2, 1, |_, _| {}); // it is we who dial
    net.join(1, 3, |_, _| {});
    assert_eq!(net.routes(1), ["10.2.0.0/16 [65002] 192.0.2.2", "10.3.0.0/16 [65003] 192.0.2.3"]);
    net.give(0, Input::Reachable { link: IfIndex(7), addr: address(2), is: false });
    assert_eq!(net.routes(1).len(), 2, "another link with the same addresses is not meant");
    net.give(0, Input::Reachable { link: IfIndex(2), addr: address(2), is: false });
    net.run(0);
    assert_eq!(net.routes(1), ["10.3.0.0/16 [65003] 192.0.2.3"], "graceful restart is for those that can be reached");
    let down = |peer: &crate::speaker::NeighborInfo| peer.state != "Established";
    let lost: Vec<_> = net.speakers[0].neighbors(net.now).into_iter().filter(down).collect();
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].name.as_str(), lost[0].last_error.as_deref()), ("r2", Some("carrier lost")));
    net.run(60);
    assert_eq!(net.routes(1).len(), 1, "no session begins that the port could not end");
    for _ in 0..9 {
        net.give(0, Input::Reachable { link: IfIndex(2), addr: address(2), is: true });
        net.settle();
        assert_eq!(
            net.routes(1).len(),
            2,
            "who can be reached again has a session at once, however often that happens"
        );
        net.give(0, Input::Reachable { link: IfIndex(2), addr: address(2), is: false });
        net.give(1, Input::LinkDown(IfIndex(2)));
        net.run(1);
        assert_eq!(net.routes(1).len(), 1);
    }
}

/// 2 and 3 offer 10.9.0.0/16 to 1, which keeps what its neighbours said over the loss of their links.
fn two_that_are_kept() -> Net {
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    for at in [1, 2] {
        let route = Originate {
            prefix: "10.9.0.0/16".parse().unwrap(),
            communities: Vec::new(),
            large_communities: Vec::new(),
            weight: None,
            why: "test".to_owned(),
        };
        net.give(at, Input::SetOriginated(vec![route]));
    }
    for at in [2, 3] {
        net.join(at, 1, |_, own| own.session.keep_over_link_loss = true);
    }
    assert_eq!(net.routes(1), [both()]);
    net.fib.clear();
    net
}

fn both() -> String {
    "10.9.0.0/16 [65002] 192.0.2.2 + [65003] 192.0.2.3".to_owned()
}

fn reach(net: &mut Net, is: bool) {
    net.give(0, Input::Reachable { link: IfIndex(2), addr: address(2), is });
}

/// Whether each path of 1 is stale, and whether it is used; by neighbor.
fn paths(net: &Net) -> Vec<(bool, bool)> {
    let mut route = net.speakers[0].route_to(&"10.9.0.0/16".parse().unwrap()).unwrap();
    route.paths.sort_by(|a, b| a.from.cmp(&b.from));
    route.paths.iter().map(|path| (path.stale, path.used)).collect()
}

/// Whether the kernel of 1 was asked for both gateways each time, whoever could be reached.
fn is_same_set(net: &Net) -> bool {
    let mut own = net.fib.iter().filter(|(at, _)| *at == 0);
    own.all(|(_, change)| matches!(&change.want, crate::speaker::Want::Hops(hops) if hops.len() == 2))
}

#[test]
fn with_graceful_restart_routes_of_a_lost_link_wait_unused_until_the_session_stands() {
    let mut net = two_that_are_kept();
    reach(&mut net, false);
    net.run(1);
    assert_eq!(net.routes(1), ["10.9.0.0/16 [65003] 192.0.2.3"]);
    assert_eq!(net.holds, [(true, false, 1)]);
    assert_eq!(paths(&net), [(true, false), (false, true)], "kept, and not used");
    // The port is back; until somebody answers there, nothing is sent.
    let hop = crate::types::Hop { link: IfIndex(2), gateway: address(2), weight: 1 };
    reach(&mut net, true);
    assert!(!net.speakers[0].table.hops.is_up(&hop));
    net.settle();
    assert!(net.speakers[0].table.hops.is_up(&hop));
    assert_eq!(net.holds, [(true, false, 1), (false, true, 1)]);
    net.run(1);
    assert_eq!(net.routes(1), [both()]);
    assert_eq!(paths(&net), [(false, true); 2], "said again");
    assert!(is_same_set(&net), "{:?}", net.fib);
}

#[test]
fn who_did_not_keep_its_forwarding_state_is_sent_nothing_before_its_old_routes_are_gone() {
    // RFC 4724 §4.2: the F bit is clear.
    let mut net = two_that_are_kept();
    reach(&mut net, false);
    net.run(1);
    net.restart(2, |config| config.restarting = false);
    reach(&mut net, true);
    net.run(1);
    assert_eq!(net.holds, [(true, false, 1), (false, true, 0)]);
    assert_eq!(net.routes(1), ["10.9.0.0/16 [65003] 192.0.2.3"]);
}

#[test]
fn who_stays_away_is_forgotten_with_its_restart_time() {
    let mut net = two_that_are_kept();
    reach(&mut net, false);
    net.run(29);
    assert_eq!(net.holds.len(), 1);
    net.run(2);
    assert_eq!(net.holds, [(true, false, 1), (false, false, 0)]);
    assert_eq!(paths(&net), [(false, true)]);
    // A second loss while nobody is there is nothing new.
    reach(&mut net, true);
    net.run(1);
    assert_eq!(paths(&net), [(false, true); 2]);
    assert_eq!(net.holds.len(), 2);
}

#[test]
fn a_link_that_flickers_before_the_session_stands_changes_nothing() {
    let mut net = two_that_are_kept();
    for _ in 0..3 {
        reach(&mut net, false);
        reach(&mut net, true);
        reach(&mut net, false);
        net.run(1);
    }
    assert_eq!(net.holds, [(true, false, 1)]);
    reach(&mut net, true);
    net.run(1);
    assert_eq!(paths(&net), [(false, true); 2]);
    assert!(is_same_set(&net), "{:?}", net.fib);
}
