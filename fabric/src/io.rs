//! Effects: sockets, files, clocks, threads. Everything else in this crate is pure.

pub mod files;
