//! RFC 4271, A Border Gateway Protocol 4.

use crate::harness::plant::{Kin, Plant, framed};

fn opened() -> Plant {
    let mut plant = Plant::new(Kin::External);
    plant.accept();
    plant.open();
    plant
}

/// Code and subcode of what the guest was sent.
fn notified(plant: &Plant) -> Vec<(u8, u8)> {
    plant.notifications().iter().map(|sent| (sent.code, sent.subcode)).collect()
}

/// §6.1: "If the Marker field of the message header is not as expected", Connection Not Synchronized.
#[test]
fn a_wrong_marker_ends_the_session_not_synchronized() {
    let mut plant = opened();
    let mut message = framed(4, &[]);
    message[3] = 0;
    plant.send(&message);
    assert_eq!(notified(&plant), [(1, 1)]);
    plant.check();
}

/// §6.1: Bad Message Length, with the length as data.
#[test]
fn a_length_below_the_header_ends_the_session() {
    let mut plant = opened();
    let mut message = framed(4, &[]);
    message[17] = 18;
    plant.send(&message);
    assert_eq!(notified(&plant), [(1, 2)]);
    assert_eq!(plant.notifications()[0].data[..], [0, 18]);
    plant.check();
}

/// §6.1: Bad Message Type, with the type as data.
#[test]
fn an_unknown_type_ends_the_session() {
    let mut plant = opened();
    plant.send(&framed(9, &[]));
    assert_eq!(notified(&plant), [(1, 3)]);
    assert_eq!(plant.notifications()[0].data[..], [9]);
    plant.check();
}
