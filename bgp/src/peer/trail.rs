//! The last that happened to a peer, for whoever asks why it is down: transitions of its connections with the event that caused
//! each (RFC 4271 §8.1), and messages in both directions with their first octets. At most 2 KB, and nothing before anything happened.

use crate::time::Instant;
use crate::wire::notification::Notification;
use crate::wire::open::Open;
use crate::wire::{HEADER_BYTES, Kind, refresh};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt::Write as _;

/// Transitions kept: six lost sessions in a row.
const TRANSITIONS: usize = 24;
/// Messages kept of those that make and end sessions, and of those that carry routes.
const MESSAGES: usize = 6;
/// First octets kept of a message about the session: a whole OPEN, mostly.
const SESSION_OCTETS: usize = 128;
/// First octets kept of an UPDATE: lengths and the first attributes.
const UPDATE_OCTETS: usize = 64;

/// The states of RFC 4271 §8.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FsmState {
    /// No connection is wanted, or none for now.
    Idle,
    /// We dial.
    Connect,
    /// They may dial.
    Active,
    /// Our OPEN is out.
    OpenSent,
    /// So is theirs.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl FsmState {
    /// As the RFC writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        }
    }
}

/// What caused a transition; the numbers are those of RFC 4271 §8.1 and RFC 9687 §4.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FsmEvent {
    /// 2, 8: an operator, a limit or the daemon's end stopped it.
    Stop,
    /// 9, 13: a retry is due, or one that need not wait.
    Dial,
    /// 10.
    HoldTimerExpires,
    /// 16: our dial stands.
    Connected,
    /// 17: they dialled.
    Accepted,
    /// 18: the connection failed or ended.
    ConnectionFails,
    /// 19, 20.
    Open,
    /// 21.
    HeaderError,
    /// 22.
    OpenError,
    /// 23: the other connection of a collision lives (§6.8).
    CollisionDump,
    /// 24, 25.
    Notification,
    /// 26: the first one.
    Keepalive,
    /// 28.
    UpdateError,
    /// A message that the state does not expect (RFC 6608), or a wrong ROUTE-REFRESH (RFC 7313 §5).
    Unexpected,
    /// 29.
    SendHoldTimerExpires,
    /// Carrier was lost.
    LinkDown,
    /// The process before this one handed it over.
    HandedOver,
}

impl FsmEvent {
    /// What made us send this.
    pub(crate) const fn of_sent(sent: &Notification) -> Self {
        match sent.code {
            Notification::HEADER => Self::HeaderError,
            Notification::OPEN => Self::OpenError,
            Notification::UPDATE => Self::UpdateError,
            Notification::HOLD_TIMER => Self::HoldTimerExpires,
            Notification::SEND_HOLD_TIMER => Self::SendHoldTimerExpires,
            Notification::FSM | Notification::REFRESH => Self::Unexpected,
            _ => Self::Stop,
        }
    }
}

/// A transition of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    pub at: Instant,
    /// From this state.
    pub from: FsmState,
    /// To this one.
    pub to: FsmState,
    /// Because of this.
    pub event: FsmEvent,
    /// On a connection that they dialled.
    pub accepted: bool,
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// They sent it.
    Received,
    /// We did.
    Sent,
}

/// The first octets of a message, or of the last of a run of its kind.
#[derive(Clone, Copy, Debug)]
struct Heard<const OCTETS: usize> {
    at: Instant,
    times: u32,
    length: u16,
    kind: Kind,
    way: Way,
    octets: [u8; OCTETS],
}

impl<const OCTETS: usize> Heard<OCTETS> {
    fn new(at: Instant, way: Way, kind: Kind, message: &[u8], times: u32) -> Self {
        let mut octets = [0; OCTETS];
        for (to, from) in octets.iter_mut().zip(message) {
            *to = *from;
        }
        Self { at, times, length: u16::try_from(message.len()).unwrap_or(u16::MAX), kind, way, octets }
    }

    fn record(&self) -> MessageRecord {
        let kept = self.octets.get(..usize::from(self.length)).unwrap_or(&self.octets);
        MessageRecord {
            at: self.at,
            way: self.way,
            kind: format!("{:?}", self.kind),
            length: self.length,
            times: self.times,
            text: describe(self.kind, kept, self.length),
            hex: kept.iter().fold(String::new(), |mut hex, octet| {
                // Writing to a string cannot fail.
                let _ = write!(hex, "{octet:02x}");
                hex
            }),
        }
    }
}

/// A message, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRecord {
    /// When; the last of a run.
    pub at: Instant,
    /// Which way.
    pub way: Way,
    /// `Open`, `Update`, `Notification`, `Keepalive` or `RouteRefresh`.
    pub kind: String,
    /// Octets of the whole message.
    pub length: u16,
    /// How many of its kind came in a row; this is the last one.
    pub times: u32,
    /// What it says, in one line.
    pub text: String,
    /// Its first octets, header included.
    pub hex: String,
}

/// What is kept of one peer, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerHistory {
    /// Transitions of its connections.
    pub transitions: Vec<Transition>,
    /// Messages in both directions.
    pub messages: Vec<MessageRecord>,
}

/// The rings of one peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    transitions: VecDeque<Transition>,
    session: VecDeque<Heard<SESSION_OCTETS>>,
    routes: VecDeque<Heard<UPDATE_OCTETS>>,
}

/// Adds to a ring that never grows beyond `most`; the memory is taken with the first.
fn push<T>(ring: &mut VecDeque<T>, most: usize, item: T) {
    if ring.capacity() == 0 {
        ring.reserve_exact(most);
    }
    if ring.len() >= most {
        ring.pop_front();
    }
    ring.push_back(item);
}

/// Whether many of a kind in a row are shown as one.
const fn is_run(kind: Kind) -> bool {
    matches!(kind, Kind::Update | Kind::Keepalive)
}

impl Trail {
    pub(crate) fn note(&mut self, transition: Transition) {
        // Again and again the same is one: it must not displace what was before.
        if let Some(last) = self.transitions.back_mut()
            && (Transition { at: transition.at, ..*last }) == transition
        {
            *last = transition;
            return;
        }
        push(&mut self.transitions, TRANSITIONS, transition);
    }

    /// A whole message went this way.
    pub(crate) fn message(&mut self, at: Instant, way: Way, kind: Kind, message: &[u8]) {
        self.messages(at, way, kind, message, 1);
    }

    pub(super) fn messages(&mut self, at: Instant, way: Way, kind: Kind, last_message: &[u8], times: u32) {
        match kind {
            Kind::Update | Kind::Keepalive => {
                // A run of UPDATEs one way is one entry, and so are all KEEPALIVEs one way: they must not displace the rest.
                let same = |heard: &Heard<UPDATE_OCTETS>| (heard.kind, heard.way) == (kind, way);
                if let Some(last) = self.routes.back_mut().filter(|last| same(last)) {
                    *last = Heard::new(at, way, kind, last_message, last.times.saturating_add(times));
                    return;
                }
                let place = if kind == Kind::Keepalive {
                    self.routes.iter().position(same)
                } else {
                    let update = self.routes.iter().rposition(|heard| heard.kind == Kind::Update);
                    update.filter(|&place| self.routes.get(place).is_some_and(same))
                };
                let before = place.and_then(|place| self.routes.remove(place)).map_or(0, |heard| heard.times);
                push(&mut self.routes, MESSAGES, Heard::new(at, way, kind, last_message, before.saturating_add(times)));
            }
            Kind::Open | Kind::Notification | Kind::RouteRefresh => {
                push(&mut self.session, MESSAGES, Heard::new(at, way, kind, last_message, times));
            }
        }
    }

    /// These whole messages left.
    pub(crate) fn sent(&mut self, at: Instant, mut bytes: &[u8]) {
        let mut run: Option<(Kind, &[u8], u32)> = None;
        while let Some(&[high, low, number]) = bytes.get(16..HEADER_BYTES).and_then(<[u8]>::first_chunk::<3>) {
            let length = usize::from(u16::from_be_bytes([high, low])).clamp(HEADER_BYTES, bytes.len());
            let (message, rest) = bytes.split_at(length);
            bytes = rest;
            let Some(kind) = Kind::from_wire(number) else {
                continue;
            };
            run = match run {
                Some((of, _, times)) if of == kind && is_run(kind) => Some((kind, message, times + 1)),
                other => {
                    if let Some((of, last, times)) = other {
                        self.messages(at, Way::Sent, of, last, times);
                    }
                    Some((kind, message, 1))
                }
            };
        }
        if let Some((kind, last, times)) = run {
            self.messages(at, Way::Sent, kind, last, times);
        }
    }

    pub(crate) fn history(&self) -> PeerHistory {
        let routes = self.routes.iter().map(Heard::record);
        let mut messages: Vec<_> = self.session.iter().map(Heard::record).chain(routes).collect();
        messages.sort_by_key(|record| record.at);
        PeerHistory { transitions: self.transitions.iter().copied().collect(), messages }
    }
}

/// What a message says, from as much of it as was kept.
fn describe(kind: Kind, octets: &[u8], length: u16) -> String {
    let word =
        |at: usize| octets.get(at..at + 2).and_then(<[u8]>::first_chunk).map_or(0, |word| u16::from_be_bytes(*word));
    match kind {
        Kind::Open => match Open::decode(octets) {
            Ok(open) => format!("AS {}, hold time {} s, identifier {}", open.asn, open.hold_time_s, open.router_id),
            Err(_) if octets.len() < usize::from(length) => {
                format!("AS {} (two octets), hold time {} s", word(HEADER_BYTES + 1), word(HEADER_BYTES + 3))
            }
            Err(fault) => format!("refused: {fault}"),
        },
        Kind::Update => {
            let withdrawn = word(HEADER_BYTES);
            // A withdrawal may be longer than what was kept.
            let attributes = octets
                .get(HEADER_BYTES + 2 + usize::from(withdrawn)..)
                .map(|_| word(HEADER_BYTES + 2 + usize::from(withdrawn)));
            match attributes {
                Some(attributes) => {
                    let prefixes = usize::from(length)
                        .saturating_sub(HEADER_BYTES + 4 + usize::from(withdrawn) + usize::from(attributes));
                    format!(
                        "octets of withdrawn routes {withdrawn}, of attributes {attributes}, of prefixes {prefixes}"
                    )
                }
                None => format!("octets of withdrawn routes {withdrawn}"),
            }
        }
        Kind::Notification => {
            let read = octets.get(HEADER_BYTES..).and_then(Notification::decode);
            read.map_or_else(String::new, |notification| notification.to_string())
        }
        Kind::Keepalive => String::new(),
        Kind::RouteRefresh => match refresh::decode(octets, true) {
            Some((family, subtype)) => format!("{family}, {}", subtype.name()),
            None => "of a family or subtype that we do not know".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Family;
    use crate::wire::put_keepalive;
    use bytes::BytesMut;

    #[test]
    fn all_of_it_takes_two_kilobytes_at_most() {
        let transitions = TRANSITIONS * size_of::<Transition>();
        let messages = MESSAGES * (size_of::<Heard<SESSION_OCTETS>>() + size_of::<Heard<UPDATE_OCTETS>>());
        assert!(size_of::<Trail>() + transitions + messages <= 2_048, "{transitions} + {messages}");
        let mut trail = Trail::default();
        for second in 0..1_000 {
            trail.message(Instant(second), Way::Received, Kind::Open, &[0; 300]);
            trail.message(Instant(second), Way::Received, Kind::Update, &[0; 300]);
            trail.message(Instant(second), Way::Received, Kind::Keepalive, &[0; 19]);
        }
        assert_eq!((trail.session.capacity(), trail.routes.capacity()), (MESSAGES, MESSAGES));
    }

    #[test]
    fn a_run_of_keepalives_or_updates_is_one_entry_and_opens_stay() {
        let mut trail = Trail::default();
        let mut bytes = BytesMut::new();
        refresh::put(&mut bytes, Family::Ipv6Unicast, refresh::Subtype::Request);
        refresh::put(&mut bytes, Family::Ipv6Unicast, refresh::Subtype::Begin);
        (0..100).for_each(|_| put_keepalive(&mut bytes));
        trail.sent(Instant(1), &bytes);
        for second in 2..50 {
            let mut more = BytesMut::new();
            put_keepalive(&mut more);
            trail.message(Instant(second), Way::Received, Kind::Keepalive, &more);
            trail.message(Instant(second), Way::Received, Kind::Update, &[0xff; 23]);
            trail.sent(Instant(second), &more);
        }
        let records = trail.history().messages;
        let line =
            |record: &MessageRecord| format!("{:?} {} ×{} {}", record.way, record.kind, record.times, record.text);
        let lines: Vec<_> = records.iter().map(line).collect();
        let says = ["Sent RouteRefresh ×1 ipv6-unicast, request", "Sent RouteRefresh ×1 ipv6-unicast, BoRR"];
        assert_eq!(lines[..2], says);
        assert_eq!(lines[2], "Received Keepalive ×48 ");
        assert!(lines[3].starts_with("Received Update ×48"), "{lines:?}");
        assert_eq!((lines[4].as_str(), lines.len()), ("Sent Keepalive ×148 ", 5));
    }

    #[test]
    fn what_was_cut_is_described_by_what_is_left() {
        let mut trail = Trail::default();
        let mut update = vec![0xff; 16];
        update.extend([1, 0x2c, 2, 0, 0, 0, 200]);
        update.resize(300, 7);
        trail.message(Instant(1), Way::Received, Kind::Update, &update);
        let record = trail.history().messages.pop().unwrap();
        assert_eq!(record.text, "octets of withdrawn routes 0, of attributes 200, of prefixes 77");
        assert_eq!((record.length, record.hex.len()), (300, 2 * UPDATE_OCTETS));
    }
}
