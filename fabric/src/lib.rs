//! The weft daemon: BGP to the host, kernel routes over netlink, and the commands that inspect it.
//!
//! Logic is pure and lives anywhere; effects live in [`io`] and `main.rs`.

pub mod api;
pub mod bfd;
pub mod cli;
pub mod config;
pub mod dhcp;
pub mod doctor;
pub mod drain;
pub mod fib;
pub mod handover;
pub mod health;
pub mod io;
pub mod lines;
pub mod link;
pub mod lldp;
pub mod metrics;
pub mod news;
pub mod node;
pub mod pace;
pub mod plan;
pub mod ra;
pub mod record;
pub mod sandbox;
pub mod show;
pub mod trace;
pub mod trial;
pub mod vip;
