//! When the first convergence is reported, and that live dynamic peers follow their range.

use super::*;

#[test]
fn without_hold_back_the_convergence_is_still_reported_at_end_of_rib() {
    // RFC 4724 §4.1
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.give(1, Input::SetPeer { peer: PeerId(3), config: Box::new(config(3, 65_003, false)) });
    net.join(1, 2, |_, _| {});
    assert!(net.speakers[0].settled);
    assert!(!net.speakers[1].settled, "r3 is configured and not there");
    assert_eq!(net.routes(1).len(), 1, "but nothing was held back");
    assert!(net.speakers[1].summary().waiting_for.is_empty());
    net.run(14);
    assert!(!net.speakers[1].settled);
    net.run(2);
    assert!(net.speakers[1].settled, "not for ever");
}

#[test]
fn a_speaker_without_peers_converges_when_its_configuration_is_complete() {
    let mut net = Net::new(&[65_001]);
    net.speakers[0] = Speaker::new(SpeakerConfig { restarting: true, ..net.speakers[0].config.clone() });
    net.give(0, Input::Links(Vec::new()));
    assert!(!net.speakers[0].settled);
    net.give(0, Input::SetDynamicRanges(Vec::new()));
    assert!(net.speakers[0].settled);
}

#[test]
fn after_a_restart_a_peer_that_restarts_too_is_waited_for_for_some_seconds() {
    // RFC 4724 §4.1, from which we differ there: the R bit of the other one does not end the wait at once.
    let mut net = Net::new(&[65_001, 65_002]);
    net.restart(1, |config| config.restarting = true);
    net.restart(2, |config| config.restarting = true);
    net.join(1, 2, |_, _| {});
    net.run(4);
    assert_eq!(net.speakers[0].neighbors(net.now)[0].state, "Established");
    assert!(net.speakers.iter().all(|speaker| !speaker.summary().converged));
    net.run(2);
    assert!(net.speakers.iter().all(|speaker| speaker.summary().converged), "they do not wait for each other for long");
}

#[test]
fn live_dynamic_peers_follow_a_changed_template() {
    let mut net = Net::new(&[65_001, 65_002]);
    let template = PeerConfig { remote_asn: RemoteAs::External, ..config(0, 0, true) };
    let range = DynamicRange { prefix: "192.0.2.0/24".parse().unwrap(), template, limit: 4 };
    net.give(0, Input::SetDynamicRanges(vec![range.clone()]));
    net.give(1, Input::SetPeer { peer: PeerId(1), config: Box::new(config(1, 65_001, false)) });
    net.settle();
    assert_eq!(net.routes(1).len(), 1);
    let template = PeerConfig { import: Some("reject-all".to_owned()), ..range.template };
    net.give(0, Input::SetDynamicRanges(vec![DynamicRange { template, ..range }]));
    net.settle();
    let neighbor = &net.speakers[0].neighbors(net.now)[0];
    assert_eq!((net.routes(1).len(), neighbor.established, neighbor.dropped), (0, 1, 0), "without a new session");
}
