//! Boot servers: the machine inventory, its address plan and its store. `weft-netboot` is the binary.
//!
//! Logic is pure and lives anywhere; effects live in [`io`] and `main.rs`. Persisted things carry wall-clock times, which are
//! arguments everywhere.

pub mod bmc;
pub mod boot;
pub mod config;
pub mod dhcp;
pub mod error;
pub mod inventory;
pub mod io;
pub mod ipam;
pub mod keys;
pub mod liveness;
pub mod metrics;
pub mod plan;
pub mod sabakan;
pub mod show;
pub mod store;
pub mod tftp;

pub use error::{NetbootError, Refusal};
