//! RFC 9072, Extended Optional Parameters Length for BGP OPEN Message.

use crate::harness::plant::{Kin, Plant, framed};

const IPV6: [u8; 6] = [1, 4, 0, 2, 0, 1];

/// An OPEN of the guest: the length octet, then these octets.
fn open(length: u8, rest: &[u8]) -> Vec<u8> {
    framed(1, &[&[4, 0xfc, 0x59, 0, 9, 10, 0, 0, 1, length], rest].concat())
}

fn extended(parameters: &[u8]) -> Vec<u8> {
    [&[255][..], &u16::try_from(parameters.len()).unwrap_or(u16::MAX).to_be_bytes(), parameters].concat()
}

fn state(message: &[u8]) -> (String, Vec<(u8, u8)>) {
    state_of(Kin::External, message)
}

fn state_of(kin: Kin, message: &[u8]) -> (String, Vec<(u8, u8)>) {
    let mut plant = Plant::new(kin);
    plant.accept();
    plant.send(&[message, &framed(4, &[])].concat());
    plant.check();
    (plant.guest_state(), plant.notified())
}

/// §2: "if the value of the 'Non-Ext OP Type' field is 255, the encoding described above is used", whatever the length octet.
#[test]
fn the_type_selects_the_extended_form_and_the_length_octet_does_not() {
    let parameter = [&[2, 0, 6][..], &IPV6].concat();
    for length in [255, 1, 9, 12, 254] {
        let (state, notified) = state(&open(length, &extended(&parameter)));
        assert_eq!((state.as_str(), &notified[..]), ("Established", &[][..]), "length {length}");
    }
}

/// §2: a length octet of 255 with another type is the form of RFC 4271, with 255 octets of parameters.
#[test]
fn a_length_of_255_alone_is_the_short_form() {
    let mut parameters = [&[2, 6][..], &IPV6].concat();
    // 247 octets more: one parameter with a capability that we do not know.
    parameters.extend([2, 245, 200, 243]);
    parameters.resize(255, 7);
    let (state, _) = state(&open(255, &parameters));
    assert_eq!(state, "Established");
}

/// §2: a length octet of zero means no parameters: what follows is malformed.
#[test]
fn a_length_of_zero_is_no_parameters() {
    assert_eq!(state_of(Kin::Old, &open(0, &[])).0, "Established");
    assert_eq!(state(&open(0, &extended(&[]))).1, [(2, 0)]);
}

/// §2: the extended length must be that of what follows.
#[test]
fn an_extended_length_that_is_wrong_is_malformed() {
    let mut long = extended(&[&[2, 0, 6][..], &IPV6].concat());
    long[2] += 1;
    assert_eq!(state(&open(255, &long)).1, [(2, 0)]);
}

/// §2: parameters of the extended form have two octets of length, so one may be longer than 255.
#[test]
fn a_parameter_of_more_than_255_octets_is_read() {
    let mut value = IPV6.to_vec();
    while value.len() < 3_000 {
        value.extend([200, 200]);
        value.extend([9; 200]);
    }
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    let (state, _) = state(&open(255, &extended(&[&[2][..], &length, &value].concat())));
    assert_eq!(state, "Established");
}

/// §2: type 255 that is not the first parameter of the short form, or is one inside the extended form, is not understood.
#[test]
fn type_255_elsewhere_is_an_unsupported_parameter() {
    let inside = [2, 0, 6, 1, 4, 0, 2, 0, 1, 255, 0, 0];
    assert_eq!(state(&open(255, &extended(&inside))).1, [(2, 4)]);
    assert_eq!(state(&open(10, &[2, 6, 1, 4, 0, 2, 0, 1, 255, 0])).1, [(2, 4)]);
}
