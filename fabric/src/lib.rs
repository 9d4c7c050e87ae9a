//! The weft daemon and its command line: a pure [`node`] between BGP, links and the kernel, and the effects in [`io`].

pub mod link;
pub mod ra;
