//! Bytes of RFC 4271 and its extensions: framing, messages, attributes. Knows no session state but what [`Codec`] says.
//! Read with nom (the parsers' common ground is in `read`), but for the loops per attribute and prefix; written by hand.

pub mod attrs;
pub mod capability;
pub mod community;
pub mod framer;
pub mod nlri;
pub mod notification;
pub mod open;
pub(crate) mod read;
pub mod refresh;
pub mod update;

pub use notification::Notification;

use crate::types::Family;
use bytes::{BufMut, BytesMut};

/// What the two OPENs agreed on and the codec must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Codec {
    /// AS numbers in AS_PATH and AGGREGATOR have four octets (RFC 6793).
    pub as4: bool,
    /// The session is with an external peer: LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST are ignored (RFC 7606 §7).
    pub ebgp: bool,
    /// Per family ([`Family::index`]): negotiated, so its NLRI are read.
    pub families: [bool; 2],
    /// IPv4 NLRI may carry an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// A link-local next hop stands alone, in 16 octets (draft-ietf-idr-linklocal-capability §4).
    pub link_local_next_hop: bool,
    /// Per family: every prefix that we receive has a path identifier in front (RFC 7911 §3).
    pub add_path_rx: [bool; 2],
    /// Likewise for those that we send.
    pub add_path_tx: [bool; 2],
    /// Largest message that we may send: 4,096, or 65,535 with RFC 8654 (octets).
    pub max_message: usize,
}

impl Codec {
    /// What an external peer speaks that has no capability at all (RFC 4271 alone).
    pub const PLAIN: Self = Self {
        as4: false,
        ebgp: true,
        families: [true, false],
        extended_next_hop: false,
        link_local_next_hop: false,
        add_path_rx: [false; 2],
        add_path_tx: [false; 2],
        max_message: MAX_MESSAGE_BYTES,
    };

    /// The families that were negotiated.
    pub fn spoken(&self) -> impl Iterator<Item = Family> + use<> {
        let families = self.families;
        Family::ALL.into_iter().filter(move |family| families[family.index()])
    }
}

/// The fixed header: 16 marker octets, length, type (RFC 4271 §4.1).
pub const HEADER_BYTES: usize = 19;
/// Largest message without RFC 8654.
pub const MAX_MESSAGE_BYTES: usize = 4_096;
/// Largest message with it (RFC 8654 §2).
pub const EXTENDED_MESSAGE_BYTES: usize = 65_535;

/// The five message types (RFC 4271 §4.1, RFC 2918 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1
    Open,
    /// 2
    Update,
    /// 3
    Notification,
    /// 4
    Keepalive,
    /// 5
    RouteRefresh,
}

impl Kind {
    /// Every type, in the order of the numbers.
    pub const ALL: [Self; 5] = [Self::Open, Self::Update, Self::Notification, Self::Keepalive, Self::RouteRefresh];

    /// 0 for OPEN … 4 for ROUTE-REFRESH: for arrays with one slot per type.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Open => 0,
            Self::Update => 1,
            Self::Notification => 2,
            Self::Keepalive => 3,
            Self::RouteRefresh => 4,
        }
    }

    /// The type with this number.
    #[must_use]
    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }

    /// Least octets of a whole message (RFC 4271 §6.1).
    #[must_use]
    pub const fn min_length(self) -> usize {
        match self {
            Self::Open => 29,
            Self::Update | Self::RouteRefresh => 23,
            Self::Notification => 21,
            Self::Keepalive => HEADER_BYTES,
        }
    }

    /// Most octets of a whole message: OPEN and KEEPALIVE stay at 4,096 even with RFC 8654 (§4), and a KEEPALIVE has no body.
    #[must_use]
    pub const fn max_length(self) -> usize {
        match self {
            Self::Open => MAX_MESSAGE_BYTES,
            // RFC 7313 §5 has a NOTIFICATION of its own for a ROUTE-REFRESH of another length than 23.
            Self::Update | Self::Notification | Self::RouteRefresh => EXTENDED_MESSAGE_BYTES,
            Self::Keepalive => HEADER_BYTES,
        }
    }
}

/// Appends a header for a body of `body` octets.
pub fn put_header(buf: &mut BytesMut, body: usize, kind: Kind) {
    buf.put_bytes(0xff, 16);
    buf.put_u16(u16::try_from(HEADER_BYTES + body).unwrap_or(u16::MAX));
    buf.put_u8(kind.to_wire());
}

/// Appends a KEEPALIVE (RFC 4271 §4.4).
pub fn put_keepalive(buf: &mut BytesMut) {
    put_header(buf, 0, Kind::Keepalive);
}
