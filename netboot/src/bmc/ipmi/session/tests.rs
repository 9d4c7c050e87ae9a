//! Against a controller that is written from the text alone ([`peer`]), in virtual time.

mod peer;

use super::*;
use crate::bmc::Press;
use peer::Peer;

type End = Result<Outcome, Trouble>;

/// A dialogue in virtual time: how it ends, and after what time; `way` is what becomes of the answer to each datagram.
fn run(
    session: &mut Session,
    peer: &mut Peer,
    goal: Goal,
    mut way: impl FnMut(usize, Vec<u8>) -> Vec<Vec<u8>>,
) -> (End, Duration) {
    session.begin(goal);
    let (mut now, mut sent) = (Duration::ZERO, 0_usize);
    loop {
        match session.poll(now, [u8::try_from(sent % 251).unwrap() + 1; 16]) {
            Step::Send(datagram) => {
                sent += 1;
                for answer in peer.hear(&datagram).into_iter().flat_map(|answer| way(sent, answer)) {
                    session.handle(&answer);
                }
            }
            Step::Wait(until) => {
                assert!(until > now && sent < 64, "it goes on for ever");
                now = until;
            }
            Step::End(end) => return (end, now),
        }
    }
}

fn well(_: usize, answer: Vec<u8>) -> Vec<Vec<u8>> {
    vec![answer]
}

fn session() -> Session {
    Session::new("root", "calvin").unwrap()
}

fn pxe() -> Boot {
    Boot { from: BootFrom::Pxe, once: true, mode: Some(crate::bmc::Mode::Uefi), uri: None }
}

#[test]
fn suite_17_is_offered_first_and_3_where_it_is_unknown() {
    for sha256 in [true, false] {
        let (mut session, mut peer) = (session(), Peer::new(sha256));
        assert_eq!(run(&mut session, &mut peer, Goal::Press(Press::On), well).0, Ok(Outcome::Done));
        assert!(peer.on && session.is_open());
        let opens = peer.seen.iter().filter(|kind| **kind == 0x10).count();
        assert_eq!(opens, if sha256 { 1 } else { 2 });
        let (end, took) = run(&mut session, &mut peer, Goal::Boot(pxe()), well);
        let reading = Reading { power: Power::On, boot: Some(pxe()), model: String::new() };
        assert_eq!((end, took), (Ok(Outcome::Read(reading)), Duration::ZERO));
        // Table 28-14: valid, once, EFI; device 1.
        assert_eq!(peer.flags, [0xa0, 0x04, 0, 0, 0]);
        let rest = Boot { from: BootFrom::None, once: true, mode: None, uri: None };
        run(&mut session, &mut peer, Goal::Boot(rest), well).0.unwrap();
        assert_eq!(peer.flags, [0; 5]);
        run(&mut session, &mut peer, Goal::Press(Press::HardOff), well).0.unwrap();
        assert!(!peer.on);
        run(&mut session, &mut peer, Goal::Leave, well).0.unwrap();
        assert!(!session.is_open() && peer.k1.is_empty());
    }
}

#[test]
fn a_lost_answer_is_asked_for_again_wherever_it_is_lost() {
    for lost in 1..=8 {
        let (mut session, mut peer) = (session(), Peer::new(true));
        let way = |sent, answer| if sent == lost { Vec::new() } else { vec![answer] };
        let (end, took) = run(&mut session, &mut peer, Goal::Read, way);
        assert!(end.is_ok(), "{lost}: {end:?}");
        // Capabilities, open, RAKP 1, RAKP 3, privilege, status, boot flags.
        assert_eq!(took, if lost <= 7 { RETRIES[0] } else { Duration::ZERO });
    }
}

#[test]
fn silence_has_an_end_and_a_session_that_was_forgotten_is_made_anew() {
    let (mut session, mut peer) = (session(), Peer::new(true));
    let (end, took) = run(&mut session, &mut peer, Goal::Read, |_, _| Vec::new());
    assert!(matches!(end, Err(Trouble::Silent(_))), "{end:?}");
    assert_eq!(took, RETRIES.iter().sum::<Duration>());
    run(&mut session, &mut peer, Goal::Read, well).0.unwrap();
    peer.k1.clear();
    assert_eq!(run(&mut session, &mut peer, Goal::Press(Press::On), well).0, Ok(Outcome::Done));
    assert!(peer.on);
}

#[test]
fn a_wrong_password_is_seen_before_anything_is_shown_of_ours() {
    let (mut session, mut peer) = (session(), Peer::new(true));
    peer.password = b"hobbes".to_vec();
    let (end, _) = run(&mut session, &mut peer, Goal::Read, well);
    assert_eq!(end, Err(Trouble::Credentials("root".to_owned())));
    assert!(!peer.seen.contains(&0x14));
    assert!(!format!("{session:?}").contains("calvin"));
    assert!(Session::new("root", &"p".repeat(21)).is_err());
}

#[test]
fn no_authentication_is_not_taken_where_it_was_not_asked_for() {
    let (mut session, mut peer) = (session(), Peer::new(true));
    peer.chooses = Some(0);
    let (end, _) = run(&mut session, &mut peer, Goal::Press(Press::On), well);
    assert!(matches!(end, Err(Trouble::Unsupported(_))), "{end:?}");
    assert!(!peer.on);
}

#[test]
fn an_answer_that_was_changed_or_came_before_is_none() {
    let (mut session, mut peer) = (session(), Peer::new(true));
    run(&mut session, &mut peer, Goal::Read, well).0.unwrap();
    let mut before = Vec::new();
    let (end, took) = run(&mut session, &mut peer, Goal::Read, |sent, answer| {
        if sent > 1 {
            return vec![answer];
        }
        before.clone_from(&answer);
        // Each bit behind the header of RMCP, turned.
        (32..answer.len() * 8)
            .map(|bit| [&answer[..bit / 8], &[answer[bit / 8] ^ 1 << (bit % 8)], &answer[bit / 8 + 1..]].concat())
            .collect()
    });
    assert!(end.is_ok());
    assert_eq!(took, RETRIES[0], "no changed answer was taken for one");
    peer.on = true;
    let (end, _) = run(&mut session, &mut peer, Goal::Read, |_, answer| vec![before.clone(), answer.clone(), answer]);
    assert_eq!(end.unwrap().power(), Some(Power::On));
}

#[test]
fn busy_is_waited_for_and_a_refusal_says_its_code() {
    let (mut session, mut peer) = (session(), Peer::new(true));
    run(&mut session, &mut peer, Goal::Read, well).0.unwrap();
    peer.code = 0xc0;
    assert_eq!(run(&mut session, &mut peer, Goal::Press(Press::On), well), (Ok(Outcome::Done), RETRIES[0]));
    peer.code = 0xcc;
    let (end, _) = run(&mut session, &mut peer, Goal::Press(Press::SoftOff), well);
    assert_eq!(end, Err(Trouble::Unsupported("power: unknown there (completion code 0xcc)".to_owned())));
    let http = Boot { from: BootFrom::Http, ..pxe() };
    assert!(matches!(run(&mut session, &mut peer, Goal::Boot(http), well).0, Err(Trouble::Unsupported(_))));
}

#[test]
fn the_window_takes_each_number_once() {
    let mut window = Window::default();
    let taken: Vec<bool> =
        [1, 1, 3, 2, 2, 0, 20, 4, 3, 19, 19, 60, 44, 43, 59, 60].map(|one| window.take(one)).to_vec();
    let should =
        [true, false, true, true, false, false, true, true, false, true, false, true, true, false, true, false];
    assert_eq!(taken, should);
}

/// Octets by chance, and answers with octets changed by chance, in every phase.
#[test]
fn a_hundred_thousand_random_packets_are_read_or_dropped() {
    let mut state = 0x9e37_79b9_u32;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let mut count = 0;
    while count < 100_000 {
        let (mut session, mut peer) = (session(), Peer::new(next() & 1 == 0));
        let _ = run(&mut session, &mut peer, Goal::Read, |_, answer| {
            let mut noise: Vec<Vec<u8>> = Vec::new();
            for _ in 0..64 {
                let mut one = answer.clone();
                for _ in 0..next() % 4 {
                    let at = usize::try_from(next()).unwrap() % one.len();
                    one[at] = next().to_le_bytes()[0];
                }
                one.truncate(usize::try_from(next()).unwrap() % (2 * answer.len()));
                noise.push(one);
                noise.push((0..next() % 80).map(|_| next().to_le_bytes()[0]).collect());
            }
            count += noise.len();
            noise.push(answer);
            noise
        });
    }
}
