//! Two peers joined by pipes on virtual time.

use super::*;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::types::PeerId;
use bytes::BytesMut;
use std::collections::BTreeMap;

/// One end: the machine, what it reported, and the far end of each of its connections.
struct End {
    peer: Peer,
    rng: Rng,
    next_conn: u64,
    far: BTreeMap<ConnId, ConnId>,
    log: Vec<String>,
}

struct Pair {
    now: Instant,
    ends: [End; 2],
    accepted: u64,
}

fn config(asn: u32, passive: bool) -> PeerConfig {
    let endpoint = Endpoint::Address("192.0.2.1".parse().unwrap());
    PeerConfig { passive, graceful_restart_s: Some(30), ..PeerConfig::new("peer", endpoint, RemoteAs::Is(Asn(asn))) }
}

fn pair(configs: [PeerConfig; 2], ids: [&str; 2]) -> Pair {
    let end = |at: usize, config: &PeerConfig| End {
        peer: Peer::new(
            PeerId(0),
            config.clone(),
            Local {
                asn: Asn(65_001 + u32::try_from(at).unwrap()),
                router_id: ids[at].parse().unwrap(),
                restarted: false,
                kept: false,
            },
        ),
        rng: Rng::new(7),
        next_conn: 0,
        far: BTreeMap::new(),
        log: Vec::new(),
    };
    Pair { now: Instant::ZERO, ends: [end(0, &configs[0]), end(1, &configs[1])], accepted: ConnId::ACCEPTED }
}

impl Pair {
    fn give(&mut self, at: usize, input: PeerInput) {
        let end = &mut self.ends[at];
        end.peer.handle(self.now, input, &mut end.rng, &mut end.next_conn);
    }

    /// Moves everything until both are quiet.
    fn settle(&mut self) {
        let address = |port| SocketAddr::new("192.0.2.1".parse().unwrap(), port);
        let mut dials = Vec::new();
        for _ in 0..200 {
            let mut quiet = true;
            for at in 0..2 {
                while let Some(output) = self.ends[at].peer.poll() {
                    quiet = false;
                    match output {
                        PeerOutput::Connect { conn, .. } => dials.push((at, conn)),
                        PeerOutput::Writable(conn) => self.transfer(at, conn),
                        PeerOutput::Close { conn, flush } => {
                            if flush {
                                self.transfer(at, conn);
                            }
                            dials.retain(|dial| *dial != (at, conn));
                            if let Some(far) = self.ends[at].far.remove(&conn) {
                                self.ends[1 - at].far.remove(&far);
                                self.give(1 - at, PeerInput::Closed { conn: far });
                            }
                        }
                        PeerOutput::Up(_) => self.log(at, "up".to_owned()),
                        PeerOutput::Down { reason, retain } => {
                            self.log(at, format!("down: {reason}; retain {}", retain.session.len()));
                        }
                        PeerOutput::Refused(reason) => self.log(at, format!("refused: {reason}")),
                        PeerOutput::FlushStale(families) => self.log(at, format!("flush {}", families.len())),
                        PeerOutput::Refreshed(family) => self.log(at, format!("refreshed {family}")),
                        PeerOutput::TakenOver => self.log(at, "taken over".to_owned()),
                        PeerOutput::RefreshBegan(family) => self.log(at, format!("refresh began {family}")),
                        PeerOutput::LongLived(families) => self.log(at, format!("long-lived {}", families.len())),
                        PeerOutput::Gone => self.log(at, "gone".to_owned()),
                        PeerOutput::Refresh(family) => self.log(at, format!("refresh {family}")),
                        PeerOutput::Update(_) => self.log(at, "update".to_owned()),
                    }
                }
            }
            // Dials complete only when nothing else moves, so that both ends may dial at once.
            if quiet {
                if dials.is_empty() {
                    return;
                }
                for (at, conn) in std::mem::take(&mut dials) {
                    let far = ConnId(self.accepted);
                    self.accepted += 1;
                    self.ends[at].far.insert(conn, far);
                    self.ends[1 - at].far.insert(far, conn);
                    self.give(at, PeerInput::Connected { conn, local: address(40_000) });
                    self.give(1 - at, PeerInput::Accepted { conn: far, local: address(179), remote: address(40_000) });
                }
            }
        }
        panic!("does not settle");
    }

    fn log(&mut self, at: usize, line: String) {
        self.ends[at].log.push(line);
    }

    fn transfer(&mut self, at: usize, conn: ConnId) {
        let mut buf = BytesMut::new();
        self.ends[at].peer.poll_transmit(conn, &mut buf);
        if let Some(&far) = self.ends[at].far.get(&conn).filter(|_| !buf.is_empty()) {
            self.give(1 - at, PeerInput::Received { conn: far, data: buf.freeze() });
        }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some((at, _)) = self.ends.iter().filter_map(|end| end.peer.next_timeout()).min() {
            if at > end {
                break;
            }
            self.now = at.max(self.now);
            self.give(0, PeerInput::Tick);
            self.give(1, PeerInput::Tick);
            self.settle();
        }
        self.now = end;
    }

    fn start(&mut self) {
        self.give(0, PeerInput::Start);
        self.give(1, PeerInput::Start);
        self.settle();
    }

    /// The connection breaks and both ends notice.
    fn cut(&mut self, at: usize) {
        let conn = self.ends[at].peer.session().unwrap().conn;
        let far = self.ends[at].far.remove(&conn).unwrap();
        self.ends[1 - at].far.remove(&far);
        self.give(at, PeerInput::Closed { conn });
        self.give(1 - at, PeerInput::Closed { conn: far });
        self.settle();
    }
}

#[test]
fn a_dialler_and_a_passive_peer_establish_and_stay() {
    let mut pair = pair([config(65_002, false), config(65_001, true)], ["10.0.0.1", "10.0.0.2"]);
    pair.start();
    let session = pair.ends[0].peer.session().unwrap().clone();
    assert_eq!((session.remote_asn, session.hold_time_s), (Asn(65_002), 9));
    assert!(session.codec.ebgp && session.codec.as4 && session.codec.extended_next_hop);
    pair.run(60);
    assert_eq!(pair.ends[0].log, ["up"]);
    let status = pair.ends[1].peer.status();
    assert_eq!(status.state, "Established");
    assert!(status.received[3] >= 20, "a keepalive every three seconds: {:?}", status.received);
}

#[test]
fn collision_is_won_by_the_connection_of_the_higher_identifier() {
    // RFC 4271 §6.8
    for (ids, winner) in [(["10.0.0.1", "10.0.0.2"], 1), (["10.0.0.9", "10.0.0.2"], 0)] {
        let mut pair = pair([config(65_002, false), config(65_001, false)], ids);
        pair.start();
        let dialled = |at: usize, pair: &Pair| pair.ends[at].peer.session().unwrap().conn.0 < ConnId::ACCEPTED;
        assert!(dialled(winner, &pair), "{ids:?}");
        assert!(!dialled(1 - winner, &pair), "{ids:?}");
        pair.run(30);
        assert_eq!(pair.ends[0].peer.status().established, 1);
    }
}

#[test]
fn collision_with_equal_identifiers_is_won_by_the_higher_as() {
    // RFC 6286 §2.3: the second end has AS 65002.
    let mut pair = pair([config(65_002, false), config(65_001, false)], ["10.0.0.1", "10.0.0.1"]);
    pair.start();
    assert!(pair.ends[1].peer.session().unwrap().conn.0 < ConnId::ACCEPTED);
}

#[test]
fn a_wrong_as_is_refused_with_bad_peer_as() {
    // RFC 4271 §6.2
    let mut pair = pair([config(64_999, false), config(65_001, true)], ["10.0.0.1", "10.0.0.2"]);
    pair.start();
    assert!(pair.ends[1].log[0].contains("received Bad Peer AS (2/2)"), "{:?}", pair.ends[1].log);
    assert!(pair.ends[0].peer.next_timeout().is_some(), "it tries again");
}

/// RFC 8538 §2: who wants routes kept over NOTIFICATIONs.
fn with_n_bits(configs: [PeerConfig; 2], n_bits: [bool; 2]) -> [PeerConfig; 2] {
    let mut n_bits = n_bits.into_iter();
    configs.map(|mut config| {
        config.session.notification_restart = n_bits.next().unwrap_or_default();
        config
    })
}

#[test]
fn a_silent_peer_is_dropped_when_the_hold_time_is_over_and_its_routes_retained_where_both_want_that() {
    // RFC 4271 §6.5; RFC 8538 §4.1: with the N bit of both.
    for (n_bits, retained) in [([false, false], 0), ([true, false], 0), ([true, true], 2)] {
        let configs = with_n_bits([config(65_002, false), config(65_001, true)], n_bits);
        let mut pair = pair(configs, ["10.0.0.1", "10.0.0.2"]);
        pair.start();
        pair.ends[1].far.clear();
        pair.run(10);
        let log = &pair.ends[0].log;
        assert_eq!(log[1], format!("down: sent Hold Timer Expired (4/0); retain {retained}"), "{n_bits:?}");
    }
}

#[test]
fn a_lost_connection_retains_and_a_peer_without_its_state_flushes() {
    let mut pair = pair([config(65_002, false), config(65_001, true)], ["10.0.0.1", "10.0.0.2"]);
    pair.start();
    pair.cut(0);
    assert_eq!(pair.ends[1].log, ["up", "down: connection lost; retain 2"]);
    pair.run(3);
    // RFC 4724 §3: who was there all the time forwarded all the time, and says so with the F bits.
    assert_eq!(pair.ends[1].log[2..], ["up"]);
    pair.cut(0);
    let local = Local { asn: Asn(65_001), router_id: "10.0.0.1".parse().unwrap(), restarted: false, kept: false };
    pair.ends[0].peer = Peer::new(PeerId(0), config(65_002, false), local);
    pair.give(0, PeerInput::Start);
    pair.run(3);
    // RFC 4724 §4.2: the new OPEN has no F bits.
    assert_eq!(pair.ends[1].log[3..], ["down: connection lost; retain 2", "up", "flush 2"]);
}

#[test]
fn the_restart_timer_flushes_when_the_peer_stays_away() {
    // RFC 4724 §4.2
    let mut pair = pair([config(65_002, true), config(65_001, true)], ["10.0.0.1", "10.0.0.2"]);
    pair.ends[0].peer = Peer::new(
        PeerId(0),
        config(65_002, false),
        Local { asn: Asn(65_001), router_id: "10.0.0.1".parse().unwrap(), restarted: false, kept: false },
    );
    pair.start();
    pair.give(0, PeerInput::Stop(None));
    pair.settle();
    pair.run(29);
    assert_eq!(pair.ends[1].log, ["up", "down: connection lost; retain 2"]);
    pair.run(2);
    assert_eq!(pair.ends[1].log.last().unwrap(), "flush 2");
}

#[test]
fn a_link_that_returns_is_used_before_the_retry_timer_says_so() {
    let mut pair = pair([config(65_002, false), config(65_001, true)], ["10.0.0.1", "10.0.0.2"]);
    pair.start();
    pair.give(0, PeerInput::LinkDown);
    pair.give(1, PeerInput::LinkDown);
    pair.settle();
    assert_eq!(pair.ends[0].log.last().unwrap(), "down: carrier lost; retain 0");
    pair.give(0, PeerInput::LinkUp);
    pair.settle();
    assert_eq!(pair.ends[0].log.last().unwrap(), "up");
}

#[test]
fn loss_of_carrier_ends_the_session_and_the_helper_role_at_once() {
    let mut pair = pair([config(65_002, false), config(65_001, true)], ["10.0.0.1", "10.0.0.2"]);
    pair.start();
    pair.give(1, PeerInput::LinkDown);
    pair.settle();
    assert_eq!(pair.ends[1].log, ["up", "down: carrier lost; retain 0"]);
    pair.run(3);
    assert_eq!(pair.ends[1].log.last().unwrap(), "up", "the far end dials again");
    pair.cut(0);
    pair.give(1, PeerInput::LinkDown);
    pair.settle();
    assert_eq!(pair.ends[1].log.last().unwrap(), "flush 2");
}

#[test]
fn an_administrative_stop_says_cease_and_is_not_graceful() {
    // RFC 9003 §2; RFC 8538 §3, §5: a hard reset where a NOTIFICATION would begin a restart.
    for (n_bit, said) in [(false, ""), (true, "Hard Reset (6/9): ")] {
        let configs = with_n_bits([config(65_002, false), config(65_001, true)], [n_bit; 2]);
        let mut pair = pair(configs, ["10.0.0.1", "10.0.0.2"]);
        pair.start();
        pair.give(0, PeerInput::Stop(Some(Notification::shutdown(2, "rack moves"))));
        pair.settle();
        let log = &pair.ends[1].log;
        assert_eq!(log[1], format!("down: received {said}Administrative Shutdown (6/2): \"rack moves\"; retain 0"));
    }
}

#[test]
fn only_what_the_open_depends_on_resets_a_session() {
    let mut pair = pair([config(65_002, false), config(65_001, true)], ["10.0.0.1", "10.0.0.2"]);
    pair.start();
    let end = &mut pair.ends[0];
    let policy = PeerConfig { import: Some("other".to_owned()), ..config(65_002, false) };
    assert!(!end.peer.set_config(pair.now, policy, &mut end.rng, &mut end.next_conn));
    let hold = PeerConfig { hold_time_s: 30, ..config(65_002, false) };
    assert!(end.peer.set_config(pair.now, hold, &mut end.rng, &mut end.next_conn));
    pair.settle();
    assert_eq!(pair.ends[0].peer.status().established, 2);
}

#[test]
fn a_refresh_request_arrives() {
    // RFC 2918 §4
    let mut pair = pair([config(65_002, false), config(65_001, true)], ["10.0.0.1", "10.0.0.2"]);
    pair.start();
    assert!(pair.ends[0].peer.request_refresh(Family::Ipv6Unicast));
    pair.settle();
    assert_eq!(pair.ends[1].log[1], "refresh ipv6-unicast");
}

#[test]
fn an_unexpected_message_ends_the_session_with_the_subcode_of_the_state() {
    // RFC 6608 §3: a second OPEN in Established is 5/3.
    let mut pair = pair([config(65_002, false), config(65_001, true)], ["10.0.0.1", "10.0.0.2"]);
    pair.start();
    let conn = pair.ends[1].peer.session().unwrap().conn;
    let mut open = BytesMut::new();
    pair.ends[0].peer.our_open().put(&mut open);
    pair.give(1, PeerInput::Received { conn, data: open.freeze() });
    pair.settle();
    assert!(pair.ends[1].log[1].contains("(5/3)"), "{:?}", pair.ends[1].log);
}
