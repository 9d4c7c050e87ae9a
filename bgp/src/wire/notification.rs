//! NOTIFICATION (RFC 4271 §4.5, §6; RFC 4486; RFC 9003): what it says and how people read it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A NOTIFICATION message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Data; never more than was received or 128 octets of our own.
    pub data: Bytes,
}
