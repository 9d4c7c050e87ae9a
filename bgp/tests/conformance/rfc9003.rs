//! RFC 9003, Extended BGP Administrative Shutdown Communication.

use crate::harness::plant::{Kin, Plant, framed};
use weft_bgp::event::Event;
use weft_bgp::speaker::Input;
use weft_bgp::types::PeerId;

fn established() -> Plant {
    let mut plant = Plant::new(Kin::External);
    plant.accept();
    plant.open();
    plant
}

/// What the log and `show neighbors` say after the guest's Cease with these data.
fn told_by(subcode: u8, data: &[u8]) -> String {
    let mut plant = established();
    plant.send(&framed(3, &[&[6, subcode], data].concat()));
    plant.check();
    let down = plant
        .events
        .iter()
        .find_map(|event| if let Event::SessionDown { reason, .. } = event { Some(reason.clone()) } else { None });
    assert_eq!(down, plant.guest().last_error);
    down.unwrap()
}

/// §2: what came with Administrative Shutdown or Administrative Reset is shown.
#[test]
fn what_the_peer_says_is_shown() {
    let text = b"\x13[TICKET-1] \xc3\xbcpgrade";
    assert_eq!(told_by(2, text), "received Administrative Shutdown (6/2): \"[TICKET-1] üpgrade\"");
    assert_eq!(told_by(4, text), "received Administrative Reset (6/4): \"[TICKET-1] üpgrade\"");
}

/// §2: the operator sees what was said also when later attempts to connect have failed, and until the session is back.
#[test]
fn what_the_peer_says_outlasts_failed_attempts() {
    let mut plant = established();
    plant.send(&framed(3, b"\x06\x02\x05paint"));
    plant.accept();
    plant.leave();
    let said = plant.guest().last_error.unwrap();
    assert_eq!(said, "received Administrative Shutdown (6/2): \"paint\"; then connection lost");
    plant.accept();
    plant.open();
    plant.send(&framed(3, b"\x06\x06"));
    assert_eq!(plant.guest().last_error.unwrap(), "received Other Configuration Change (6/6)");
    plant.check();
}

/// §2: only those two subcodes carry one.
#[test]
fn other_subcodes_carry_none() {
    assert_eq!(told_by(6, b"\x02hi"), "received Other Configuration Change (6/6)");
}

/// §2: no data, or a length of zero, is no communication.
#[test]
fn nothing_said_is_nothing_shown() {
    assert_eq!(told_by(2, b""), "received Administrative Shutdown (6/2)");
    assert_eq!(told_by(2, b"\0"), "received Administrative Shutdown (6/2)");
}

/// §2: up to 255 octets.
#[test]
fn the_longest_is_shown_whole() {
    let text = [&[255][..], &[b'x'; 255]].concat();
    assert!(told_by(2, &text).ends_with(&format!("\"{}\"", "x".repeat(255))));
}

/// §3: "If a Shutdown Communication with an invalid UTF-8 sequence or an invalid Length value is received, a message indicating this
/// event SHOULD be logged": it is shown octet by octet, and said to be malformed.
#[test]
fn what_is_malformed_is_shown_escaped_and_named() {
    assert_eq!(told_by(2, b"\x03a\xffb"), "received Administrative Shutdown (6/2): \"a\\xffb\" (malformed)");
    assert_eq!(told_by(2, b"\xffshort"), "received Administrative Shutdown (6/2): \"short\" (malformed)");
}

/// §5 (security): nothing that would steer a terminal is passed on.
#[test]
fn control_characters_are_escaped() {
    assert_eq!(told_by(2, b"\x05a\x1b[2J"), "received Administrative Shutdown (6/2): \"a\\u{1b}[2J\"");
    assert_eq!(told_by(2, b"\x03a\nb"), "received Administrative Shutdown (6/2): \"a\\nb\"");
}

/// §2: a peer that is shut down hears the operator's words, cut at 255 octets on the border of a character.
#[test]
fn an_operators_words_reach_the_peer() {
    for (said, heard) in [("rack 3 moves", "rack 3 moves".to_owned()), (&"ä".repeat(200), "ä".repeat(127))] {
        let mut plant = established();
        plant.configure(|config| config.shutdown = Some(said.to_owned()));
        let sent = plant.notifications().pop().unwrap();
        assert_eq!((sent.code, sent.subcode), (6, 2));
        assert_eq!(sent.data[..], [&[u8::try_from(heard.len()).unwrap()], heard.as_bytes()].concat());
        plant.check();
    }
}

/// RFC 4486 §4: Administrative Reset, Peer De-configured and Other Configuration Change have their subcodes.
#[test]
fn each_reason_has_its_subcode() {
    let mut plant = established();
    plant.speaker.handle(plant.now, Input::Clear { peer: PeerId(1), hard: true });
    plant.pass(std::time::Duration::from_millis(500));
    assert_eq!(plant.notified(), [(6, 4)]);
    let mut plant = established();
    plant.configure(|config| config.hold_time_s = 30);
    assert_eq!(plant.notified(), [(6, 6)]);
}
