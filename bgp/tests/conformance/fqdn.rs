//! draft-walton-bgp-hostname-capability, the FQDN capability (73): who a neighbour says it is, and that it is who was expected.

use crate::harness::plant::{Kin, Plant};
use weft_bgp::peer::RemoteAs;
use weft_bgp::types::Asn;

/// A guest that calls itself `theirs`, to a speaker that expects `expected`.
fn opened(expected: Option<&str>, theirs: Option<&str>) -> Plant {
    let mut plant = Plant::new(Kin::External);
    plant.configure(|config| {
        config.session.hostname = Some("node4".to_owned());
        config.session.expect_hostname = expected.map(str::to_owned);
    });
    plant.offer(|open| open.can.hostname = theirs.map(str::to_owned));
    plant.try_open();
    plant.check();
    plant
}

/// §3: the name goes out in the OPEN.
#[test]
fn our_name_is_in_the_open() {
    assert_eq!(opened(None, None).our_open().can.hostname.as_deref(), Some("node4"));
}

/// §4: the capability is for people; without an expectation no name and any name are as good.
#[test]
fn a_name_that_nobody_expects_changes_nothing() {
    for theirs in [None, Some("tor1"), Some("tor1.rack0.example.net")] {
        assert_eq!(opened(None, theirs).guest_state(), "Established", "{theirs:?}");
    }
}

/// RFC 4486 §4: a connection that is not wanted is refused with Cease/Connection Rejected, before the session is Established.
#[test]
fn a_cable_in_the_wrong_port_gets_no_session() {
    for (theirs, established) in [
        (Some("tor1"), true),
        (Some("tor1.rack0.example.net"), true),
        (Some("tor2"), false),
        (Some("tor11"), false),
        (None, false),
    ] {
        let plant = opened(Some("tor1"), theirs);
        assert_eq!(plant.guest_state() == "Established", established, "{theirs:?}");
        assert_eq!(plant.notified() == [(6, 5)], !established, "{theirs:?}");
    }
    let plant = opened(Some("tor1"), Some("tor2"));
    let error = plant.guest().last_error.unwrap();
    assert!(error.contains("cabling: tor1 is expected here, and tor2 answers"), "{error}");
}

/// RFC 4271 §6.2: whoever answers on an unnumbered link may be of any AS but ours, or of one of a set; another one is a Bad Peer AS.
#[test]
fn who_may_answer_is_any_external_as_or_one_of_a_set() {
    for (allowed, established) in [
        (RemoteAs::External, true),
        (RemoteAs::OneOf(vec![Asn(64_700), Asn(64_601)]), true),
        (RemoteAs::OneOf(vec![Asn(64_700), Asn(64_701)]), false),
        (RemoteAs::Is(Asn(64_700)), false),
    ] {
        let mut plant = Plant::new(Kin::External);
        plant.configure(|config| config.remote_asn = allowed.clone());
        plant.try_open();
        plant.check();
        assert_eq!(plant.guest_state() == "Established", established, "{allowed:?}");
        assert_eq!(plant.notified() == [(2, 2)], !established, "{allowed:?}");
    }
}
