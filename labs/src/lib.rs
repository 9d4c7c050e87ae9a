//! Virtual datacenters: what is in a lab, what must be true in it, and how that is measured.

pub mod bmc;
pub mod command;
pub mod draw;
pub mod expect;
pub mod fault;
pub mod generate;
pub mod graph;
pub mod image;
pub mod lab;
pub mod personality;
pub mod probe;
pub mod sim;
pub mod step;
pub mod topology;
pub mod verify;
