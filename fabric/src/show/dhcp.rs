//! `dhcp leases` and `dhcp relay`: who was lent which address on which port, and what is relayed.

use super::{NONE, duration, render, table};
use crate::api::{Dhcp, DhcpLease};
use crate::dhcp::Dropped;
use std::collections::BTreeMap;

/// What is said where nothing is relayed.
const NOTHING: &str = "nothing is relayed: the configuration has no `dhcp.relay`\n";

/// The table of leases.
#[must_use]
pub fn leases(answer: &Dhcp) -> String {
    let Some(relay) = &answer.relay else {
        return NOTHING.to_owned();
    };
    if answer.leases.is_empty() {
        return "no leases: no server has acknowledged one on a server port\n".to_owned();
    }
    let mut lines = table(&["Address", "Machine", "Port", "Left", "Route"]);
    for lease in &answer.leases {
        let route = match (relay.unnumbered, lease.routed) {
            (false, _) => NONE,
            (true, true) => "yes",
            (true, false) => "no: the port cannot be used",
        };
        lines.add_row([
            lease.address.to_string(),
            machine(lease),
            lease.port.clone(),
            duration(lease.left_s),
            route.to_owned(),
        ]);
    }
    render(&lines, 0)
}

/// The network card, else the DUID.
fn machine(lease: &DhcpLease) -> String {
    let duid = || lease.duid.as_ref().map(|duid| format!("DUID {duid}"));
    lease.mac.clone().or_else(duid).unwrap_or_else(|| NONE.to_owned())
}

/// The relay and its ports.
#[must_use]
pub fn relay(answer: &Dhcp) -> String {
    let Some(relay) = &answer.relay else {
        return NOTHING.to_owned();
    };
    let servers: Vec<String> = relay.servers.iter().map(ToString::to_string).collect();
    let ports =
        if relay.unnumbered { "without addresses, a route for each lease" } else { "with addresses of their own" };
    let also = |v6: Option<String>| v6.map(|v6| format!(", {v6}")).unwrap_or_default();
    let from = format!("{}{}", relay.giaddr, also(relay.source6.map(|source| source.to_string())));
    let gateway = format!("{}{}", relay.gateway, also(relay.gateway6.map(|gateway| gateway.to_string())));
    let mut text = format!("to {} from {from}; gateway {gateway}; ports {ports}\n", servers.join(", "));
    let mut lines = table(&["Port", "Family", "To servers", "To machines", "Leases", "Dropped"]);
    for port in &relay.ports {
        lines.add_row([
            port.name.clone(),
            port.family.name().to_owned(),
            port.to_servers.to_string(),
            port.to_clients.to_string(),
            port.leases.to_string(),
            dropped(&port.dropped),
        ]);
    }
    if relay.ports.is_empty() {
        text.push_str("no server port can be used: `weft show interfaces`\n");
    } else {
        text.push_str(&render(&lines, 0));
    }
    if !relay.dropped.is_empty() {
        text.push_str(&format!("dropped of what came from servers: {}\n", dropped(&relay.dropped)));
    }
    text
}

fn dropped(all: &BTreeMap<Dropped, u64>) -> String {
    let each: Vec<String> = all.iter().map(|(why, count)| format!("{count} {}", why.name())).collect();
    if each.is_empty() { NONE.to_owned() } else { each.join(", ") }
}
