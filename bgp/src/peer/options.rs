//! What may be configured about a peer beyond the essentials, grouped by the part of the speaker that acts on it. Every default is
//! what a data center wants; nothing here costs anything while it is off.

use crate::wire::capability::{PathDirections, Role};
use serde::{Deserialize, Serialize};

/// How the session is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOptions {
    /// What we are to an external peer (RFC 9234 §4.1); `None` = not said, and OTC is left alone.
    pub role: Option<Role>,
    /// Refuse a peer that does not say its role (RFC 9234 §4.2, strict mode).
    pub role_strict: bool,
    /// Offer to receive messages of up to 65,535 octets (RFC 8654), and send them to whoever offers it too.
    pub extended_message: bool,
    /// GTSM (RFC 5082): the peer is at most this many hops away, and what comes from farther away is dropped; `None` = not checked.
    pub ttl_security: Option<u8>,
    /// Long-lived stale time offered (RFC 9494 §3.1), seconds, 24 bits; `None` = no long-lived graceful restart.
    pub long_lived_stale_s: Option<u32>,
    /// Graceful restart also after a NOTIFICATION or the end of the hold time (RFC 8538, the N bit). Off: a machine that dies without
    /// taking a carrier with it would be sent packets for its whole restart time.
    pub notification_restart: bool,
    /// With graceful restart, keep the peer's routes also when the session ends with its link. They are not used before it stands again.
    pub keep_over_link_loss: bool,
    /// Wait this long for the peer's OPEN before ours is sent (RFC 4271 §8.1.1, DelayOpen); 0 = send at once.
    pub delay_open_ms: u32,
    /// A peer that keeps failing rests longer and longer between attempts (RFC 4271 §8.1.1, DampPeerOscillations).
    pub damp_oscillations: bool,
    /// A peer that reads nothing for so many seconds loses its session (RFC 9687); `None` = 480 or twice the hold time, 0 = never.
    pub send_hold_s: Option<u32>,
    /// No session before BFD is Up (draft-ietf-idr-bgp-bfd-strict-mode): the driver must say when it is.
    pub bfd_strict: bool,
    /// Our name, told to the peer (draft-walton-bgp-hostname-capability); `None` = not told.
    pub hostname: Option<String>,
    /// The only name that the peer may say: another one, or none, is a cable in the wrong port, and gets no session.
    pub expect_hostname: Option<String>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            role: None,
            role_strict: false,
            extended_message: true,
            ttl_security: None,
            long_lived_stale_s: None,
            notification_restart: false,
            keep_over_link_loss: false,
            delay_open_ms: 0,
            damp_oscillations: true,
            send_hold_s: None,
            bfd_strict: false,
            hostname: None,
            expect_hostname: None,
        }
    }
}

/// Several paths for a prefix on one session (RFC 7911), for every family of the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddPath {
    /// Offer to receive them.
    pub receive: bool,
    /// What to send to a peer that offers to receive them.
    pub send: AddPathSend,
    /// Most paths of one prefix that are taken from this peer (what draft-ietf-idr-add-paths-limit lets a receiver ask for); more
    /// are not taken, and counted. 1..=255.
    pub paths_limit: u8,
}

impl AddPath {
    /// A path is compared with the others of its prefix whenever one of them changes: a peer is not to make that a long list. More
    /// next hops than an ECMP set has members are of no use either.
    pub const PATHS_LIMIT: u8 = 64;

    /// What our OPEN says (RFC 7911 §4), the same for every family of the session.
    #[must_use]
    pub const fn offer(&self) -> PathDirections {
        PathDirections { receive: self.receive, send: !matches!(self.send, AddPathSend::None) }
    }
}

impl Default for AddPath {
    fn default() -> Self {
        Self { receive: false, send: AddPathSend::None, paths_limit: Self::PATHS_LIMIT }
    }
}

/// Which paths of a prefix are sent, of those that the export policy lets pass and that are not the peer's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddPathSend {
    /// The best one, as on any session: not offered.
    #[default]
    None,
    /// Every usable one.
    All,
    /// This many, the best first; at least 1.
    Best(u8),
}
