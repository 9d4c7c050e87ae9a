//! A speaker hands its sessions to another one in its place: the peers notice nothing but a refresh in each direction.

use super::*;
use crate::peer::PeerStatus;

impl Net {
    /// Another speaker (from 1) takes the place of one that knew these peers, without a connection being closed; `change` is what happens to its
    /// configuration of each peer meanwhile. What could not be handed over.
    fn upgrade(&mut self, at: usize, routes: Vec<Originate>, change: impl Fn(&mut PeerConfig)) -> usize {
        let at = at - 1;
        let conns: Vec<ConnId> = self.far.keys().filter(|(of, _)| *of == at).map(|(_, conn)| *conn).collect();
        let handed: Vec<_> = conns.iter().map(|conn| (*conn, self.speakers[at].hand_over(*conn))).collect();
        let config = SpeakerConfig { restarting: true, ..self.speakers[at].config.clone() };
        let peers = self.speakers[at].members.iter();
        let peers: Vec<_> = peers.map(|(id, member)| (*id, member.peer.config().clone())).collect();
        self.speakers[at] = Speaker::new(config);
        let net24 = IpNet::new(address(at + 1), 24).unwrap();
        self.give(at, Input::Links(vec![LinkState { link: IfIndex(2), addrs: vec![net24] }]));
        self.give(at, Input::SetOriginated(routes));
        for (peer, mut config) in peers {
            change(&mut config);
            // Nobody is dialled: whoever has a session needs none, and the others are not there.
            config.passive = true;
            self.give(at, Input::SetPeer { peer, config: Box::new(config) });
        }
        let mut left = 0;
        for (conn, session) in handed {
            match session {
                Some(session) => self.give(at, Input::Handed { conn, session: Box::new(session) }),
                None => {
                    left += 1;
                    self.cut(at, conn, false);
                }
            }
        }
        self.give(at, Input::SetDynamicRanges(Vec::new()));
        left
    }

    fn status(&self, at: usize, peer: u32) -> PeerStatus {
        self.speakers[at - 1].members[&PeerId(peer)].peer.status()
    }
}

fn originated(prefix: &str) -> Vec<Originate> {
    let (communities, large_communities) = (Vec::new(), Vec::new());
    let why = "test".to_owned();
    vec![Originate { prefix: prefix.parse().unwrap(), communities, large_communities, weight: None, why }]
}

/// 1 and 3 are joined by 2, which is upgraded.
fn three() -> Net {
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.join(1, 2, |_, _| {});
    net.join(3, 2, |_, _| {});
    net.run(1);
    net
}

#[test]
fn the_sessions_stand_and_the_routes_come_back_by_a_refresh_both_ways() {
    // RFC 2918 §4, RFC 7313 §4.1: a refresh that is begun by who tells is one too.
    let mut net = three();
    let before = [net.routes(1), net.routes(3)];
    net.run(5);
    assert_eq!(net.upgrade(2, originated("10.2.0.0/16"), |_| {}), 0);
    net.settle();
    net.run(2);
    assert_eq!([net.routes(1), net.routes(3)], before);
    assert_eq!(net.routes(2).len(), 2, "it was told again");
    assert!(net.speakers[1].summary().converged);
    for (at, peer) in [(1, 2), (3, 2), (2, 1), (2, 3)] {
        let status = net.status(at, peer);
        assert_eq!((status.state.as_str(), status.established, status.dropped), ("Established", 1, 0), "{at}");
    }
    assert_eq!(net.status(2, 1).sent[0], 0, "no OPEN");
    assert_eq!(net.status(1, 2).received[0], 1);
    assert!(net.status(1, 2).received[4] >= 3, "a request, BoRR and EoRR");
}

#[test]
fn what_is_no_longer_announced_goes_with_the_end_of_the_refresh() {
    // RFC 7313 §4.2
    let mut net = three();
    assert!(net.routes(1).iter().any(|route| route.starts_with("10.2.0.0/16")));
    net.upgrade(2, originated("10.9.0.0/16"), |_| {});
    net.settle();
    net.run(2);
    let routes = net.routes(1);
    assert!(routes.iter().any(|route| route.starts_with("10.9.0.0/16")), "{routes:?}");
    assert!(!routes.iter().any(|route| route.starts_with("10.2.0.0/16")), "{routes:?}");
    assert_eq!(net.status(1, 2).dropped, 0);
}

#[test]
fn the_kernel_and_the_peers_wait_until_everybody_has_told_everything() {
    // RFC 4724 §4.1, with EoRR in the place of End-of-RIB
    let mut net = three();
    net.deaf.insert(1);
    net.upgrade(2, originated("10.2.0.0/16"), |_| {});
    net.settle();
    assert!(!net.speakers[1].summary().converged);
    assert!(net.speakers[1].is_deferring());
    assert_eq!(net.speakers[1].summary().waiting_for.len(), 2);
    assert_eq!(net.routes(1).len(), 2, "the others know what they knew");
    net.listen();
    net.run(1);
    assert!(net.speakers[1].summary().converged);
}

#[test]
fn a_session_that_is_configured_otherwise_begins_anew() {
    let mut net = three();
    let left = net.upgrade(2, originated("10.2.0.0/16"), |config| {
        if config.name == "r1" {
            config.hold_time_s = 30;
        }
    });
    net.settle();
    assert_eq!(left, 0);
    let (gone, stays) = (net.status(2, 1), net.status(2, 3));
    assert_ne!(gone.state, "Established");
    assert!(gone.last_error.unwrap().contains("configured otherwise"));
    assert_eq!(stays.state, "Established");
    assert_eq!(net.status(1, 2).dropped, 1, "closed without a word: routes are kept (RFC 4724 §4.2)");
    assert!(net.routes(1).iter().any(|route| route.starts_with("10.3.0.0/16")));
}

#[test]
fn a_half_read_message_is_read_on() {
    let mut net = three();
    let conn = *net.far.keys().find(|(of, _)| *of == 1).map(|(_, conn)| conn).unwrap();
    net.give(1, Input::Received { conn, data: bytes::Bytes::from_static(&[0xff; 16]) });
    assert_eq!(net.speakers[1].hand_over(conn).unwrap().unread, [0xff; 16]);
    net.upgrade(2, originated("10.2.0.0/16"), |_| {});
    net.give(1, Input::Received { conn, data: bytes::Bytes::from_static(&[0, 19, 4]) });
    net.settle();
    net.run(1);
    assert_eq!((net.status(2, 1).dropped, net.status(2, 3).dropped), (0, 0));
    assert!(net.speakers[1].summary().converged);
}
