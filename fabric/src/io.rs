//! Effects: sockets, files, clocks, threads. Everything else in this crate is pure.

#![expect(clippy::disallowed_methods, reason = "tasks, threads and clocks are what this module is for")]

pub mod auth;
pub mod bfd;
pub mod check;
pub mod client;
pub mod clock;
pub mod dhcp;
pub mod discovery;
pub mod doctor;
pub mod drain;
pub mod driver;
pub mod files;
pub mod group;
pub mod handover;
pub mod http;
pub mod icmp6;
pub mod listen;
pub mod lldp;
pub mod mrt;
pub mod netlink;
pub mod observe;
pub mod place;
mod raw;
pub mod record;
pub mod rtr;
pub mod sandbox;
pub mod sockopt;
pub mod tcp;
pub mod top;
pub mod trace;
pub mod verbs;

pub use raw::bind_packet;
