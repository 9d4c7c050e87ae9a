//! Bytes of RFC 4271 and its extensions: framing, messages, attributes. Knows no session state but what [`Codec`] says.

pub mod attrs;
pub mod framer;
pub mod nlri;
pub mod notification;
pub mod open;
pub mod refresh;
pub mod update;

pub use notification::Notification;

/// What the two OPENs agreed on and the codec must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Codec {
    /// AS numbers in AS_PATH and AGGREGATOR have four octets (RFC 6793).
    pub as4: bool,
    /// The session is with an external peer: LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST are ignored (RFC 7606 §7).
    pub ebgp: bool,
    /// Per family ([`crate::types::Family::index`]): negotiated, so its NLRI are read.
    pub families: [bool; 2],
    /// IPv4 NLRI may carry an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// Largest message either side may send: 4,096, or 65,535 with RFC 8654 (octets).
    pub max_message: usize,
}

/// The fixed header: 16 marker octets, length, type (RFC 4271 §4.1).
pub const HEADER_BYTES: usize = 19;
/// Largest message without RFC 8654.
pub const MAX_MESSAGE_BYTES: usize = 4_096;
