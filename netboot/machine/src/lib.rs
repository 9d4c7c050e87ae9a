//! What runs on a machine that boots, before anything is installed on it. It is small, so that it loads fast, and needs nothing of the boot
//! server's crate; what both sides must agree on is here.

pub mod claim;
pub mod dhcp;
pub mod disk;
pub mod fetch;
pub mod http;
pub mod io;
pub mod keys;
pub mod orders;
pub mod sessions;
pub mod tpm;
pub mod unpack;
