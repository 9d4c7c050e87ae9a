//! Effects: files, sockets, clocks, threads. Everything else in this crate is pure.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tasks, threads and clocks are what this module is for"
)]

pub mod apart;
pub mod bmc;
pub mod boot;
pub mod certificates;
pub mod client;
pub mod dhcp;
pub mod dhcp6;
pub mod embedded;
pub mod etcd;
mod listen;
pub mod liveness;
pub mod rest;
pub mod server;
pub mod service;
