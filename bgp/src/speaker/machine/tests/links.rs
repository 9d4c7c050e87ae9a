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
