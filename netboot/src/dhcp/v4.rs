//! DHCPv4 (RFC 2131) for racks without a shared link: every question comes through a relay, or from a machine that has an address.
//!
//! | file | what it decides |
//! |---|---|
//! | [`message`], [`option`] | octets: the fixed part, the options, long ones, overload |
//! | [`agent`] | what a relay adds: option 82 |

pub mod agent;
pub mod message;
pub mod option;
