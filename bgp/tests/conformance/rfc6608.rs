//! RFC 6608, Subcodes for BGP Finite State Machine Error.

use crate::harness::plant::{Kin, Plant, framed};
use bytes::BytesMut;

/// An unexpected message of each type in a state: the subcode, and the type as data.
fn unexpected(state: &str, types: &[(u8, Vec<u8>)], subcode: u8) {
    for (kind, body) in types {
        let mut plant = Plant::new(Kin::External);
        plant.accept();
        if state != "OpenSent" {
            plant.send_open();
        }
        if state == "Established" {
            plant.send(&framed(4, &[]));
        }
        assert_eq!(plant.guest_state(), state);
        plant.send(&framed(*kind, body));
        let sent = plant.notifications();
        assert_eq!(
            (sent[0].code, sent[0].subcode, &sent[0].data[..]),
            (5, subcode, &[*kind][..]),
            "type {kind} in {state}"
        );
        plant.check();
    }
}

fn open(plant: &Plant) -> Vec<u8> {
    let mut buf = BytesMut::new();
    plant.guest_open().put(&mut buf);
    buf[19..].to_vec()
}

/// §3, §4: 1, Receive Unexpected Message in OpenSent State, with the type as data.
#[test]
fn in_open_sent_the_subcode_is_1() {
    unexpected("OpenSent", &[(2, vec![0; 4]), (4, vec![]), (5, vec![0, 1, 0, 1])], 1);
}

/// §3, §4: 2, Receive Unexpected Message in OpenConfirm State.
#[test]
fn in_open_confirm_the_subcode_is_2() {
    let open = open(&Plant::new(Kin::External));
    unexpected("OpenConfirm", &[(1, open), (2, vec![0; 4]), (5, vec![0, 1, 0, 1])], 2);
}

/// §3, §4: 3, Receive Unexpected Message in Established State.
#[test]
fn in_established_the_subcode_is_3() {
    unexpected("Established", &[(1, open(&Plant::new(Kin::External)))], 3);
}
