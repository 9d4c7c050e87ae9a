//! DHCP: what machines ask before they have an address, and what a boot server tells them. Pure: sockets and the store are in `io/dhcp`.

pub mod lease;
mod rate;
pub mod v4;
pub mod v6;
