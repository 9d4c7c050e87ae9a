//! Every state × every event of one connection, as a table (RFC 4271 §8.2.2).

use super::*;
use crate::peer::{Endpoint, RemoteAs};
use crate::types::Asn;
use crate::wire::capability::Capabilities;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

const DELAY: Duration = Duration::from_secs(5);
const NOW: Instant = Instant(1_000_000_000_000);

fn config() -> PeerConfig {
    let endpoint = Endpoint::Address(Ipv4Addr::new(192, 0, 2, 1).into());
    PeerConfig { graceful_restart_s: Some(30), ..PeerConfig::new("peer", endpoint, RemoteAs::Is(Asn(65_002))) }
}

fn open(asn: u32) -> Open {
    let families = Family::ALL.to_vec();
    let can = Capabilities { families, as4: Some(Asn(asn)), route_refresh: true, ..Capabilities::default() };
    Open { asn: Asn(asn), hold_time_s: 9, router_id: Ipv4Addr::from(asn), can }
}

fn local() -> Local {
    Local { asn: Asn(65_001), router_id: Ipv4Addr::new(10, 0, 0, 1), restarted: false, kept: false }
}

/// A connection and everything it is given.
struct Rig {
    conn: Connection,
    rng: Rng,
    now: Instant,
}

impl Rig {
    fn new(delay: Duration) -> Self {
        let ends = ("192.0.2.9:179".parse().unwrap(), "192.0.2.1:179".parse().unwrap());
        let conn = Connection::new(NOW, ConnId(1), Direction::Dialled, ends, (open(65_001), delay));
        Self { conn, rng: Rng::new(1), now: NOW }
    }

    /// In a state, by its name.
    fn in_state(state: &str) -> Self {
        let mut rig = Self::new(if state == "Connect" { DELAY } else { Duration::ZERO });
        if matches!(state, "OpenConfirm" | "Established") {
            rig.put(|buf| open(65_002).put(buf));
        }
        if state == "Established" {
            rig.put(put_keepalive);
        }
        assert_eq!(rig.conn.state().name(), state);
        rig.conn.take_output(&mut BytesMut::new());
        rig
    }

    fn put(&mut self, message: impl FnOnce(&mut BytesMut)) -> String {
        let mut buf = BytesMut::new();
        message(&mut buf);
        self.conn.push(&buf);
        let mut report = String::new();
        while let Some(event) = self.conn.next_event(self.now, (&config(), &local()), &mut Trail::default()) {
            if matches!(event, ConnEvent::Opened) {
                self.conn.confirm(self.now, &mut self.rng);
            }
            report = describe(&event);
        }
        report
    }

    fn after(&mut self, time: Duration) -> String {
        self.now = NOW + time;
        self.conn.tick(self.now, &mut self.rng).as_ref().map_or_else(String::new, describe)
    }

    /// Types of the messages that were sent.
    fn sent(&mut self) -> String {
        let (mut buf, mut framer) = (BytesMut::new(), Framer::new(MAX_MESSAGE_BYTES));
        self.conn.take_output(&mut buf);
        framer.push(&buf);
        let names = std::iter::from_fn(|| framer.next_message()).map(|next| match next.unwrap() {
            (Kind::Notification, message) => {
                let sent = Notification::decode(&message[19..]).unwrap();
                format!("NOTIFICATION {}/{}", sent.code, sent.subcode)
            }
            (kind, _) => format!("{kind:?}").to_uppercase(),
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

fn describe(event: &ConnEvent) -> String {
    match event {
        ConnEvent::Opened => "opened".to_owned(),
        ConnEvent::Established => "up".to_owned(),
        ConnEvent::Update(_) => "update".to_owned(),
        ConnEvent::Refresh(..) => "refresh".to_owned(),
        ConnEvent::Ended(End::Sent(_)) => "ended".to_owned(),
        ConnEvent::Ended(End::Received(_)) => "ended by peer".to_owned(),
        ConnEvent::Ended(End::Dropped(_)) => "dropped".to_owned(),
        ConnEvent::Ended(End::Lost) => "lost".to_owned(),
    }
}

fn bad_open(buf: &mut BytesMut) {
    let mut message = BytesMut::new();
    open(65_002).put(&mut message);
    message[HEADER_BYTES] = 3;
    buf.unsplit(message);
}

fn bad_marker(buf: &mut BytesMut) {
    buf.extend_from_slice(&[0; HEADER_BYTES]);
}

fn empty_update(buf: &mut BytesMut) {
    crate::wire::put_header(buf, 4, Kind::Update);
    buf.extend_from_slice(&[0; 4]);
}

type Event = (&'static str, fn(&mut Rig) -> String);

/// The numbers are those of RFC 4271 §8.1; 29 is RFC 9687's.
const EVENTS: [Event; 14] = [
    ("9/11/12 no timer is due", |rig| rig.after(Duration::from_millis(1))),
    ("11 keepalive timer", |rig| rig.after(Duration::from_secs(3))),
    ("12 delay open timer", |rig| rig.after(DELAY)),
    ("10 hold timer", |rig| rig.after(Duration::from_secs(240))),
    ("19/20 OPEN", |rig| rig.put(|buf| open(65_002).put(buf))),
    ("22 OPEN of another AS", |rig| rig.put(|buf| open(65_003).put(buf))),
    ("22 OPEN, version 3", |rig| rig.put(bad_open)),
    ("21 bad header", |rig| rig.put(bad_marker)),
    ("24 NOTIFICATION version", |rig| rig.put(|buf| Notification::new(2, 1).put(buf))),
    ("25 NOTIFICATION", |rig| rig.put(|buf| Notification::new(6, 2).put(buf))),
    ("26 KEEPALIVE", |rig| rig.put(put_keepalive)),
    ("27 UPDATE", |rig| rig.put(empty_update)),
    ("ROUTE-REFRESH", |rig| rig.put(|buf| refresh::put(buf, Family::Ipv4Unicast, Subtype::Request))),
    ("29 send hold timer", |rig| {
        rig.conn.wait_for_room(rig.now);
        rig.conn.hold_at = None;
        rig.after(Duration::from_secs(480))
    }),
];

#[test]
fn every_state_answers_every_event_as_the_table_says() {
    let mut table = String::new();
    for (name, event) in EVENTS {
        for state in ["Connect", "OpenSent", "OpenConfirm", "Established"] {
            let mut rig = Rig::in_state(state);
            let report = event(&mut rig);
            let (next, sent) = (rig.conn.state().name(), rig.sent());
            let line = format!("{name:26} {state:11} ▶ {next:11} {report:13} {sent}");
            writeln!(table, "{}", line.trim_end()).unwrap();
        }
    }
    let golden = include_str!("table.txt");
    assert!(table == golden, "the table is now:\n{table}");
}

#[test]
fn keepalives_come_between_three_quarters_and_all_of_a_third_of_the_hold_time() {
    // RFC 4271 §4.4, §10
    let mut rig = Rig::in_state("Established");
    let mut waits = Vec::new();
    for _ in 0..200 {
        let (at, _) = rig.conn.next_timeout().unwrap();
        waits.push(at.since(rig.now));
        rig.now = at;
        rig.put(put_keepalive);
        rig.conn.tick(at, &mut rig.rng);
        assert_eq!(rig.sent(), "KEEPALIVE");
    }
    assert!(waits.iter().all(|wait| (2_250..=3_000).contains(&wait.as_millis())), "{waits:?}");
    assert!(waits.iter().max() > waits.iter().min());
}

#[test]
fn a_hold_time_of_zero_has_no_timers() {
    // RFC 4271 §4.2, §4.4: "If the negotiated Hold Time interval is zero, then periodic KEEPALIVE messages MUST NOT be sent."
    let mut rig = Rig::new(Duration::ZERO);
    rig.put(|buf| Open { hold_time_s: 0, ..open(65_002) }.put(buf));
    rig.put(put_keepalive);
    rig.sent();
    assert_eq!((rig.conn.state().name(), rig.conn.next_timeout()), ("Established", None));
    assert_eq!(rig.after(Duration::from_secs(100_000)), "");
    assert_eq!(rig.sent(), "");
}

#[test]
fn a_peer_that_reads_nothing_is_sent_one_keepalive_and_then_loses_its_session() {
    // RFC 9687 §6: eight minutes, whatever the peer itself goes on sending.
    let mut rig = Rig::in_state("Established");
    rig.after(Duration::from_secs(3));
    rig.conn.wait_for_room(rig.now);
    for seconds in 4..483 {
        rig.put(put_keepalive);
        assert_eq!(rig.after(Duration::from_secs(seconds)), "", "at {seconds} s");
    }
    rig.put(put_keepalive);
    assert_eq!(rig.after(Duration::from_secs(483)), "ended");
    assert_eq!(rig.sent(), "KEEPALIVE, NOTIFICATION 8/0");
}

#[test]
fn room_in_the_socket_begins_the_send_hold_time_anew() {
    let mut rig = Rig::in_state("Established");
    for minutes in 1..30 {
        rig.conn.wait_for_room(rig.now);
        rig.put(put_keepalive);
        assert_eq!(rig.after(Duration::from_secs(minutes * 7)), "");
        rig.sent();
    }
}
