//! What somebody between us and a management controller does to the datagrams of IPMI.

#[path = "../../src/bmc/ipmi/session/peer.rs"]
mod peer;

use peer::Peer;
use std::time::Duration;
use weft_netboot::bmc::ipmi::{Session, Step};
use weft_netboot::bmc::redfish::{Goal, Outcome};
use weft_netboot::bmc::{Boot, BootFrom, Mode, Power, Press};

/// Steps of one dialogue, each a datagram or a wait: seven questions, each asked five times, twice when a session is made anew.
const STEPS_MAX: usize = 160;

/// First octet: the suite that the controller knows. Then for each answer of it an octet that says what becomes of it, and what that needs; behind
/// the end all arrive. Five dialogues share a session, as a server's do.
pub fn ipmi(data: &[u8]) {
    let Some((first, script)) = data.split_first() else { return };
    let mut script = script.iter().copied();
    let mut peer = Peer::new(first & 1 == 1);
    let mut session = Session::new("root", "calvin").unwrap();
    let mut before = Vec::new();
    let mut fresh = [0_u8; 16];
    let boot = Boot { from: BootFrom::Pxe, once: true, mode: Some(Mode::Uefi), uri: None };
    for goal in [Goal::Press(Press::On), Goal::Boot(boot), Goal::Read, Goal::Press(Press::HardOff), Goal::Leave] {
        session.begin(goal.clone());
        let mut now = Duration::ZERO;
        let mut steps = 0;
        let end = loop {
            steps += 1;
            assert!(steps <= STEPS_MAX, "a dialogue without an end");
            fresh[0] = fresh[0].wrapping_add(1);
            match session.poll(now, fresh) {
                Step::Send(datagram) => {
                    for heard in way(&mut peer, &mut script, &mut before, &datagram) {
                        session.handle(&heard);
                    }
                }
                Step::Wait(until) => {
                    assert!(until > now && until < now + Duration::from_secs(10));
                    now = until;
                }
                Step::End(end) => break end,
            }
        };
        match (&goal, &end) {
            // Whoever is between can make it fail, and cannot make it seem done.
            (Goal::Press(press), Ok(_)) => assert_eq!(peer.on, *press == Press::On),
            (Goal::Read | Goal::Boot(_), Ok(outcome)) => {
                let Outcome::Read(reading) = outcome else { panic!("nothing was read") };
                assert_eq!(reading.power, if peer.on { Power::On } else { Power::Off });
                assert!(!matches!(goal, Goal::Boot(_)) || peer.flags == [0xa0, 0x04, 0, 0, 0], "{:?}", peer.flags);
            }
            (_, _) => {}
        }
        let said = format!("{session:?} {}", end.err().map(|trouble| trouble.to_string()).unwrap_or_default());
        assert!(!said.contains("calvin") && said.chars().all(|c| !c.is_control()), "{said:?}");
    }
}

/// What arrives after a datagram of ours.
fn way(peer: &mut Peer, script: &mut impl Iterator<Item = u8>, before: &mut Vec<u8>, datagram: &[u8]) -> Vec<Vec<u8>> {
    let what = script.next().unwrap_or_default() % 8;
    let mut octet = || script.next().unwrap_or_default();
    match what {
        1 => peer.code = octet(),
        2 => peer.chooses = Some(octet()),
        // It begins anew, and knows no session.
        3 => peer.k1.clear(),
        _ => {}
    }
    // Ours is lost.
    let Some(answer) = (if what == 4 { None } else { peer.hear(datagram) }) else { return Vec::new() };
    let last = std::mem::replace(before, answer.clone());
    match what {
        5 => {
            let (at, by) = (usize::from(octet()) % answer.len(), octet().max(1));
            let mut changed = answer.clone();
            changed[at] ^= by;
            vec![changed, answer]
        }
        6 => {
            let length = usize::from(octet());
            vec![(0..length).map(|_| octet()).collect(), answer[..length.min(answer.len())].to_vec()]
        }
        7 => vec![last, answer.clone(), answer],
        _ => vec![answer],
    }
}
