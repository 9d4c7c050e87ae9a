//! Comparisons of boot servers: DHCP beside Kea and dnsmasq, files beside nginx. Machines ask through the relays of as many racks as a plan has; nothing but
//! routes joins them with the server.

pub mod ask;
pub mod cases;
pub mod fetch;
pub mod plant;
pub mod server;
