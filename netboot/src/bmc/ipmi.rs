//! IPMI 2.0 (v2.0, revision 1.1) as far as power and boot go, for controllers that speak no Redfish.
//!
//! Octets of datagrams are [`packet`], keys and ciphers [`suite`], chassis commands [`chassis`], session and dialogue [`session`].
//! Only suites with authentication, integrity and encryption are offered: 17, then 3 (§22.15.2). A password is at most 20 octets, and whoever
//! asks a controller for a session, or listens, hears enough to try passwords (§13.31): IPMI belongs in a network of its own.

pub mod chassis;
pub mod packet;
pub mod session;
pub mod suite;

pub use session::{Session, Step};

use serde::Deserialize;

/// Octets of a user's name (§22.28).
pub const USER_MAX: usize = 16;
/// Octets of a password (§22.30).
pub const PASSWORD_MAX: usize = 20;

/// When a controller is asked by IPMI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// Never.
    Never,
    /// Always, and Redfish never.
    Only,
    /// When there is no Redfish.
    #[default]
    AfterRedfish,
}
