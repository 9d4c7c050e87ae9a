//! The load generator and the test bed of the comparisons with other BGP daemons and boot servers. It encodes BGP and DHCP by hand: a fault in
//! weft's own codec cannot hide behind the same fault here.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a load generator measures real time on real sockets, and says what it sees"
)]

pub mod alone;
pub mod bed;
pub mod boot;
pub mod case;
pub mod ceiling;
pub mod crowd;
pub mod detect;
pub mod dut;
pub mod kernel;
pub mod null;
pub mod plan;
pub mod real;
pub mod report;
pub mod session;
pub mod set;
pub mod table;
