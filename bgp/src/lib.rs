//! weft's BGP speaker as a pure machine: no socket, no clock, no thread.
//!
//! Every stateful thing has the same verbs: `handle` takes what happened, `poll` yields what must be done,
//! `poll_transmit` makes bytes when a socket has room, `next_timeout` says when to call again. See the README.
#![forbid(unsafe_code)]

pub mod bmp;
pub mod event;
pub mod fsm;
pub mod mrt;
pub mod peer;
pub mod policy;
pub mod rib;
pub mod rng;
pub mod rpki;
pub mod rtr;
pub mod speaker;
pub mod time;
pub mod types;
pub mod wire;
