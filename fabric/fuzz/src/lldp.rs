//! What a neighbour may say by LLDP: any frame. It is read as a whole or not at all, holds no longer than it says, and who is expected
//! is known by nothing but the name.

use super::{Record, records};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IfIndex;
use weft_fabric::lldp::{ETHERTYPE, Expected, Heard, NEAREST, Wires};

const LINK: IfIndex = IfIndex(7);
/// Octets that a text may take, replacement characters for each of 255 octets.
const TEXT_MAX: usize = 3 * 255;

/// Records: frames without their Ethernet header, frames with what stands there, time that passes.
pub fn run(data: &[u8]) {
    let mut now = Instant::ZERO;
    let mut wires = Wires::default();
    let mut until = None;
    for Record { what, pause, body } in records(data) {
        now = now + Duration::from_millis((1_u64 << pause) - 1);
        let over = wires.tick(now);
        assert_eq!(over.is_empty(), until.is_none_or(|at| at > now), "forgotten too early or too late");
        until = until.filter(|at| *at > now);
        let frame = if what & 1 == 0 { framed(body) } else { body.to_vec() };
        if let Some(heard) = Heard::read(&frame) {
            check(&heard, &frame);
            until = (heard.lifetime_s > 0).then(|| now + Duration::from_secs(heard.lifetime_s.into()));
            wires.handle(now, LINK, heard.clone());
            assert_eq!(wires.heard(LINK), until.map(|_| &heard));
        }
        assert_eq!(wires.next_timeout(), until);
    }
    wires.keep(&[]);
    assert!(wires.heard(LINK).is_none());
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&NEAREST[..], &[2, 0, 0, 0, 0, 9], &ETHERTYPE.to_be_bytes(), body].concat()
}

fn check(heard: &Heard, frame: &[u8]) {
    let texts = [Some(&heard.chassis), Some(&heard.port), heard.port_description.as_ref(), heard.system.as_ref()];
    for text in texts.into_iter().flatten() {
        assert!(text.len() <= TEXT_MAX && !text.chars().any(char::is_control), "{text:?}");
    }
    assert_eq!(Heard::read(frame).as_ref(), Some(heard), "read otherwise the second time");
    let expect = |system: Option<String>, port| Expected { system, port };
    assert_eq!(expect(heard.system.clone(), Some(heard.port.clone())).objection(Some(heard)), None);
    let other = heard.system.as_ref().map_or_else(|| "tor1".to_owned(), |name| format!("{name}x"));
    let words = expect(Some(other), None).objection(Some(heard)).expect("another name is taken for the right one");
    assert!(!words.chars().any(char::is_control), "{words:?}");
}
