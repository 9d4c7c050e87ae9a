//! The routing table and what stands on it: interned attributes and the decision process. Knows no session and no socket.

pub mod aggregate;
pub mod attrs;
mod chunks;
pub mod decide;
pub mod index;
pub mod lives;
pub mod nexthop;
pub mod slots;
pub mod table;
pub mod weights;
