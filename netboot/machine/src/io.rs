//! What touches sockets.

pub mod ask;
pub mod tls;
