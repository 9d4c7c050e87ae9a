//! DHCPv4 (RFC 2131) for racks without a shared link: every question comes through a relay, or from a machine that has an address.
//!
//! | file | what it decides |
//! |---|---|
//! | [`message`], [`option`] | octets: the fixed part, the options, long ones, overload |
//! | [`agent`] | what a relay adds: option 82 |
//! | [`network`], [`client`], [`boot`] | where a question came from, who asks, what it is to boot |
//! | [`server`], [`block`], [`super::lease`] | what becomes of it: the machine, and what the store holds |
//! | [`rules`], [`counts`] | the configuration, the figures |

pub mod agent;
pub mod block;
pub mod boot;
pub mod client;
pub mod counts;
pub mod message;
pub mod network;
pub mod option;
pub mod rules;
pub mod server;
