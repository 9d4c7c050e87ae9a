//! RFC 5492, Capabilities Advertisement with BGP-4.

use crate::harness::plant::{Kin, Plant, framed};
use weft_bgp::types::Family;
use weft_bgp::wire::Kind;

/// An OPEN of the guest with these optional parameters.
fn open(parameters: &[u8]) -> Vec<u8> {
    let fixed = [4, 0xfc, 0x59, 0, 9, 10, 0, 0, 1, u8::try_from(parameters.len()).unwrap_or(u8::MAX)];
    framed(1, &[&fixed, parameters].concat())
}

/// §3: "A BGP speaker that supports a particular capability and that receives a BGP message … without" it may still go on:
/// a peer without any capability is spoken to as RFC 4271 alone says.
#[test]
fn a_peer_without_capabilities_is_spoken_to_without_any() {
    let mut plant = Plant::new(Kin::Old);
    plant.accept();
    plant.open();
    assert_eq!(plant.guest_state(), "Established");
    assert!(plant.heard(Kind::RouteRefresh).is_empty());
    plant.check();
}

/// §3: a speaker "MUST NOT" refuse what it does not know: unknown capabilities are ignored, whatever their length.
#[test]
fn unknown_capabilities_are_ignored() {
    let mut plant = Plant::new(Kin::Old);
    plant.accept();
    let unknown: Vec<u8> = (128..200).flat_map(|code| [code, 1, code]).collect();
    let parameter = [&[2, u8::try_from(unknown.len()).unwrap()][..], &unknown].concat();
    plant.send(&[open(&parameter), framed(4, &[])].concat());
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
}

/// §4: several capabilities may stand in one parameter, and a parameter of its own for each is understood too.
#[test]
fn capabilities_may_share_a_parameter() {
    for parameters in [&[2, 8, 1, 4, 0, 2, 0, 1, 2, 0][..], &[2, 6, 1, 4, 0, 2, 0, 1, 2, 2, 2, 0]] {
        let mut plant = Plant::new(Kin::External);
        plant.accept();
        plant.send(&[open(parameters), framed(4, &[])].concat());
        assert_eq!(plant.guest_state(), "Established");
    }
}

/// §4: the same capability twice with the same value is the same as once.
#[test]
fn a_capability_twice_is_one() {
    let mut plant = Plant::new(Kin::Old);
    plant.accept();
    let twice = [2, 6, 1, 4, 0, 1, 0, 1, 2, 6, 1, 4, 0, 1, 0, 1];
    plant.send(&[open(&twice), framed(4, &[])].concat());
    assert_eq!(plant.guest_state(), "Established");
    plant.check();
}

/// §4: a parameter that ends inside a capability is a malformed OPEN.
#[test]
fn a_capability_beyond_its_parameter_is_malformed() {
    let mut plant = Plant::new(Kin::External);
    plant.accept();
    plant.send(&open(&[2, 2, 1, 4]));
    assert_eq!(plant.notified(), [(2, 0)]);
    plant.check();
}

/// §5: Unsupported Capability; its data has the capabilities that we miss, encoded as in an OPEN.
#[test]
fn no_family_in_common_is_unsupported_capability_with_the_families_as_data() {
    let mut plant = Plant::new(Kin::External);
    plant.configure(|config| config.families = vec![Family::Ipv6Unicast]);
    plant.accept();
    plant.send(&open(&[]));
    let sent = plant.notifications();
    assert_eq!((sent[0].code, sent[0].subcode), (2, 7));
    assert_eq!(sent[0].data[..], [1, 4, 0, 2, 0, 1]);
    plant.check();
}

/// §4 (and RFC 4271 §6.2): an optional parameter that is not capabilities is Unsupported Optional Parameter.
#[test]
fn another_optional_parameter_is_refused() {
    let mut plant = Plant::new(Kin::External);
    plant.accept();
    plant.send(&open(&[1, 0]));
    assert_eq!(plant.notified(), [(2, 4)]);
    plant.check();
}
