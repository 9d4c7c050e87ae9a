//! Effects: sockets, files, clocks, threads. Everything else in this crate is pure.

pub mod clock;
pub mod files;
pub mod icmp6;
pub mod sockopt;
