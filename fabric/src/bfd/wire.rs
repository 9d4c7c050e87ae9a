//! BFD Control packets (RFC 5880 §4.1): octets in, a checked packet out, and back. What a packet alone can be wrong in is refused
//! here, rule by rule as RFC 5880 §6.8.6 lists them; what depends on a session is `session`'s.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Octets of a packet without authentication, which is all we send.
pub const LENGTH: usize = 24;
/// Octets of the shortest packet with authentication (RFC 5880 §4.1, §6.8.6).
const LEAST_AUTHENTICATED: u8 = 26;
const VERSION: u8 = 1;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// State of a session (RFC 5880 §4.1, Sta).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    /// Kept down by whoever runs that system.
    AdminDown,
    /// Down, or just created.
    Down,
    /// The other end is heard, and does not yet say that it hears us.
    Init,
    /// Both hear each other.
    Up,
}

impl State {
    const fn of(octet: u8) -> Self {
        match octet >> 6 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1 << 6,
            Self::Init => 2 << 6,
            Self::Up => 3 << 6,
        }
    }

    /// The RFC's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a session last changed its state (RFC 5880 §4.1, Diag): 0..=31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// Nothing to say.
    pub const NONE: Self = Self(0);
    /// Nothing came for the detection time.
    pub const TIME_EXPIRED: Self = Self(1);
    /// The other end said that it is down.
    pub const NEIGHBOR_DOWN: Self = Self(3);
    /// Kept down on purpose.
    pub const ADMIN_DOWN: Self = Self(7);

    /// As a phrase.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            _ => "unknown diagnostic",
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

/// A packet. Intervals are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Diag.
    pub diagnostic: Diagnostic,
    /// Sta.
    pub state: State,
    /// P: an answer with F is asked for.
    pub poll: bool,
    /// F: the answer.
    pub is_final: bool,
    /// C: BFD there does not die with its control plane.
    pub independent: bool,
    /// D: the sender is in demand mode.
    pub demand: bool,
    /// Detect Mult; not 0.
    pub detect_mult: u8,
    /// My Discriminator; not 0.
    pub my_discriminator: u32,
    /// Your Discriminator; 0 while the sender does not know it.
    pub your_discriminator: u32,
    /// Desired Min TX Interval.
    pub desired_min_tx_us: u32,
    /// Required Min RX Interval; 0: send nothing periodically.
    pub required_min_rx_us: u32,
    /// Required Min Echo RX Interval; 0: no echo packets, please.
    pub required_min_echo_rx_us: u32,
}

/// Why a packet counts as if it had not come. The numbers index counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discard {
    /// Not version 1.
    Version,
    /// The Length field is too small, or larger than the packet.
    Length,
    /// Detect Mult is 0.
    DetectMult,
    /// The M bit is set.
    Multipoint,
    /// My Discriminator is 0.
    MyDiscriminator,
    /// Your Discriminator is 0 in a state that knows it.
    YourDiscriminator,
    /// With authentication, and no session here uses that.
    Authentication,
    /// It came from farther than the link (RFC 5881 §5).
    TimeToLive,
    /// No session for it.
    NoSession,
}

impl Discard {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Version,
        Self::Length,
        Self::DetectMult,
        Self::Multipoint,
        Self::MyDiscriminator,
        Self::YourDiscriminator,
        Self::Authentication,
        Self::TimeToLive,
        Self::NoSession,
    ];

    /// Its place among counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// In a few words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Length => "length",
            Self::DetectMult => "detect mult 0",
            Self::Multipoint => "multipoint",
            Self::MyDiscriminator => "my discriminator 0",
            Self::YourDiscriminator => "your discriminator 0",
            Self::Authentication => "authentication",
            Self::TimeToLive => "time to live",
            Self::NoSession => "no session",
        }
    }
}

impl Control {
    /// Reads the first octets of a packet of `length` octets, by the rules of RFC 5880 §6.8.6 in their order.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn decode(first: &[u8; LENGTH], length: usize) -> Result<Self, Discard> {
        let word = |at: usize| u32::from_be_bytes([first[at], first[at + 1], first[at + 2], first[at + 3]]);
        if length == 0 || first[0] >> 5 != VERSION {
            return Err(Discard::Version);
        }
        let flags = first[1];
        let least = if flags & AUTHENTICATION == 0 { 24 } else { LEAST_AUTHENTICATED };
        if length < LENGTH || first[3] < least || usize::from(first[3]) > length {
            return Err(Discard::Length);
        }
        if first[2] == 0 {
            return Err(Discard::DetectMult);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Discard::Multipoint);
        }
        if word(4) == 0 {
            return Err(Discard::MyDiscriminator);
        }
        let state = State::of(flags);
        if word(8) == 0 && !matches!(state, State::Down | State::AdminDown) {
            return Err(Discard::YourDiscriminator);
        }
        // "If the A bit is set and no authentication is in use", which is true of every session here.
        if flags & AUTHENTICATION != 0 {
            return Err(Discard::Authentication);
        }
        Ok(Self {
            diagnostic: Diagnostic(first[0] & 0x1f),
            state,
            poll: flags & POLL != 0,
            is_final: flags & FINAL != 0,
            independent: flags & INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            detect_mult: first[2],
            my_discriminator: word(4),
            your_discriminator: word(8),
            desired_min_tx_us: word(12),
            required_min_rx_us: word(16),
            required_min_echo_rx_us: word(20),
        })
    }

    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> [u8; LENGTH] {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut out = [0; LENGTH];
        out[0] = VERSION << 5 | self.diagnostic.0 & 0x1f;
        out[1] = self.state.bits()
            | bit(self.poll, POLL)
            | bit(self.is_final, FINAL)
            | bit(self.independent, INDEPENDENT)
            | bit(self.demand, DEMAND);
        out[2] = self.detect_mult;
        out[3] = 24;
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            self.desired_min_tx_us,
            self.required_min_rx_us,
            self.required_min_echo_rx_us,
        ];
        for (place, word) in out[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Control {
        Control {
            diagnostic: Diagnostic::NEIGHBOR_DOWN,
            state: State::Init,
            poll: true,
            is_final: false,
            independent: true,
            demand: true,
            detect_mult: 3,
            my_discriminator: 0x0102_0304,
            your_discriminator: 0x0506_0708,
            desired_min_tx_us: 50_000,
            required_min_rx_us: 60_000,
            required_min_echo_rx_us: 0,
        }
    }

    /// RFC 5880 §4.1: the places of all fields.
    #[test]
    fn every_field_has_its_place() {
        let octets = [0x23, 0xaa, 3, 24, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0xc3, 0x50, 0, 0, 0xea, 0x60, 0, 0, 0, 0];
        assert_eq!(sound().encode(), octets);
        assert_eq!(Control::decode(&octets, 24), Ok(sound()));
        let last = Control { poll: false, is_final: true, state: State::Up, required_min_echo_rx_us: 9, ..sound() };
        assert_eq!(last.encode()[1], 0xda);
        assert_eq!(Control::decode(&last.encode(), 24), Ok(last));
    }

    /// RFC 5880 §6.8.6: each rule that a packet alone can break.
    #[test]
    fn each_broken_rule_discards_the_packet() {
        let broken = |at: usize, value: u8| {
            let mut octets = sound().encode();
            octets[at] = value;
            Control::decode(&octets, 24)
        };
        assert_eq!(broken(0, 0x03), Err(Discard::Version));
        assert_eq!(broken(0, 0x43), Err(Discard::Version));
        assert_eq!(broken(3, 23), Err(Discard::Length));
        assert_eq!(broken(3, 25), Err(Discard::Length));
        assert_eq!(broken(2, 0), Err(Discard::DetectMult));
        assert_eq!(broken(1, 0x81), Err(Discard::Multipoint));
        let without_my = Control { my_discriminator: 0, ..sound() }.encode();
        assert_eq!(Control::decode(&without_my, 24), Err(Discard::MyDiscriminator));
        for state in [State::Init, State::Up] {
            let without_your = Control { your_discriminator: 0, state, ..sound() }.encode();
            assert_eq!(Control::decode(&without_your, 24), Err(Discard::YourDiscriminator));
        }
        for state in [State::AdminDown, State::Down] {
            let unknown = Control { your_discriminator: 0, state, ..sound() };
            assert_eq!(Control::decode(&unknown.encode(), 24), Ok(unknown));
        }
    }

    /// RFC 5880 §6.8.6: with authentication 26 octets at least, and discarded where none is in use.
    #[test]
    fn authentication_that_nobody_asked_for_discards_the_packet() {
        let mut octets = sound().encode();
        octets[1] |= AUTHENTICATION;
        assert_eq!(Control::decode(&octets, 28), Err(Discard::Length));
        octets[3] = 28;
        assert_eq!(Control::decode(&octets, 28), Err(Discard::Authentication));
        assert_eq!(Control::decode(&octets, 27), Err(Discard::Length));
    }

    /// RFC 5880 §6.8.6: what follows behind Length is padding of the layer below.
    #[test]
    fn octets_behind_the_packet_do_not_matter() {
        assert_eq!(Control::decode(&sound().encode(), 60), Ok(sound()));
        assert_eq!(Control::decode(&sound().encode(), 12), Err(Discard::Length));
        assert_eq!(Control::decode(&[0; LENGTH], 0), Err(Discard::Version));
    }
}
