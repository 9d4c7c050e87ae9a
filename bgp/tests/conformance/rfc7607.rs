//! RFC 7607, Codification of AS 0 Processing. §2: AS 0 is in no path, aggregates nothing and opens no session.

use crate::bytes::{Cost, OLD_PATH, attribute, cost, cost_of, established, route_with};
use crate::harness::plant::{Kin, Plant, framed};

/// §2: in AS_PATH, wherever it stands.
#[test]
fn a_path_with_as_0_is_malformed() {
    for path in [
        &[2, 1, 0, 0, 0, 0][..],
        &[2, 2, 0, 0, 0xfc, 0x59, 0, 0, 0, 0],
        &[2, 1, 0, 0, 0xfc, 0x59, 1, 2, 0, 0, 0, 7, 0, 0, 0, 0],
    ] {
        assert_eq!(cost_of(Kin::External, 0x40, 2, path), Cost::Withdraw, "{path:02x?}");
        assert_eq!(cost_of(Kin::Internal, 0x40, 2, path), Cost::Withdraw, "{path:02x?}");
    }
    assert_eq!(cost_of(Kin::Old, 0x40, 2, &[2, 2, 0xfc, 0x59, 0, 0]), Cost::Withdraw);
}

/// §2: in AGGREGATOR, which RFC 7606 §7.7 discards.
#[test]
fn an_aggregator_of_as_0_is_discarded() {
    assert_eq!(cost_of(Kin::External, 0xc0, 7, &[0, 0, 0, 0, 10, 0, 0, 1]), Cost::Discard);
    assert_eq!(cost_of(Kin::Old, 0xc0, 7, &[0, 0, 10, 0, 0, 1]), Cost::Discard);
}

/// §2: in AS4_PATH and AS4_AGGREGATOR, which RFC 6793 §6 discards.
#[test]
fn as4_attributes_with_as_0_are_discarded() {
    let mut plant = established(Kin::Old);
    let aggregator = attribute(0xc0, 7, &[0x5b, 0xa0, 10, 0, 0, 1]);
    let as4 = [attribute(0xc0, 17, &[2, 1, 0, 0, 0, 0]), attribute(0xc0, 18, &[0, 0, 0, 0, 10, 0, 0, 2])].concat();
    plant.update(&[], &[&route_with(Kin::Old, &[])[..], &aggregator, &as4].concat(), &crate::bytes::NLRI);
    assert_eq!(plant.route(crate::bytes::PREFIX).unwrap().paths[0].as_path, "64601");
    assert_eq!(crate::bytes::told_attr(&plant, 7).unwrap().1[..4], [0, 0, 0x5b, 0xa0], "AS_TRANS stays");
    plant.check();
    let attributes = route_with(Kin::Old, &attribute(0xc0, 17, &[2, 1, 0, 0, 0, 0]));
    assert_eq!(cost(Kin::Old, &attributes, 17), Cost::Discard);
    assert_eq!(OLD_PATH[5..], [0xfc, 0x59]);
}

/// §2: an OPEN with AS 0, in either of its two places, is refused with Bad Peer AS.
#[test]
fn an_open_of_as_0_is_refused() {
    let four = [2, 6, 65, 4, 0, 0, 0, 0];
    for (asn, parameters) in [([0, 0], &[][..]), ([0x5b, 0xa0], &four)] {
        let mut plant = Plant::new(Kin::External);
        plant.accept();
        let length = u8::try_from(parameters.len()).unwrap();
        plant.send(&framed(1, &[&[4][..], &asn, &[0, 9, 10, 0, 0, 1, length], parameters].concat()));
        let sent = plant.notifications();
        assert_eq!(sent.iter().map(|sent| (sent.code, sent.subcode)).collect::<Vec<_>>(), [(2, 2)]);
        plant.check();
    }
}
