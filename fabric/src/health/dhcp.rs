//! The check of what is relayed of DHCP.

use super::{Check, Picture, count, ok, some, warn};
use crate::api::DhcpPort;
use crate::dhcp::{Dropped, Family};

/// Machines on server ports get their addresses, as far as the relay sees.
pub(super) fn dhcp(picture: &Picture<'_>) -> Check {
    let name = "dhcp";
    let Some(relay) = &picture.dhcp.relay else {
        return ok(name, "nothing is relayed");
    };
    let dropped = |why: Dropped| -> Vec<String> {
        let ports = relay.ports.iter().filter_map(|port| Some((named(port), *port.dropped.get(&why)?)));
        ports.map(|(port, count)| format!("{port} ({count})")).collect()
    };
    let rogue = dropped(Dropped::Rogue);
    if !rogue.is_empty() {
        let fact = format!("a DHCP server speaks on {}", some(&rogue));
        return warn(name, fact, "find it: machines behind the same port may believe it");
    }
    for (why, fact, remedy) in [
        (
            Dropped::Full,
            "there are as many leases as there may be on",
            "`weft dhcp leases` lists them; somebody may be taking all",
        ),
        (
            Dropped::Outside,
            "servers lend what is not of `gateway`'s network on",
            "compare `dhcp.relay.gateway` (DHCPv6: `gateway6`) with the servers' networks",
        ),
    ] {
        let ports = dropped(why);
        if !ports.is_empty() {
            return warn(name, format!("{fact} {}", some(&ports)), remedy);
        }
    }
    if let Some(count) = relay.dropped.get(&Dropped::Circuit) {
        let fact = format!(
            "{count} replies named no port: their server does not echo option 82 (RFC 3046 §2.2) or the Interface-Id (RFC 8415 §21.18)"
        );
        return warn(name, fact, "have the server echo it whole, or take it out of `dhcp.relay.servers`");
    }
    let deaf: Vec<String> =
        relay.ports.iter().filter(|port| port.to_servers > 0 && port.to_clients == 0).map(named).collect();
    if !deaf.is_empty() {
        let fact = format!("no server has ever answered machines on {}", some(&deaf));
        let source6 = relay.source6.map(|source| format!(" (DHCPv6: {source})")).unwrap_or_default();
        let giaddr = relay.giaddr;
        return warn(name, fact, format!("see whether servers have a route to {giaddr}{source6} and know its network"));
    }
    let ports = relay.ports.iter().filter(|port| port.family == Family::Ipv4).count();
    let leases = picture.dhcp.leases.len();
    ok(name, format!("{}, {}", count(ports, "server port", "server ports"), count(leases, "lease", "leases")))
}

/// A port, as of DHCPv4 unless it says so.
fn named(port: &DhcpPort) -> String {
    match port.family {
        Family::Ipv4 => port.name.clone(),
        Family::Ipv6 => format!("{} by DHCPv6", port.name),
    }
}
