//! What touches sockets.

pub mod ask;
