//! The check of what is relayed of DHCP.

use super::{Check, Picture, count, ok, some, warn};
use crate::dhcp::Dropped;

/// Machines on server ports get their addresses, as far as the relay sees.
pub(super) fn dhcp(picture: &Picture<'_>) -> Check {
    let name = "dhcp";
    let Some(relay) = &picture.dhcp.relay else {
        return ok(name, "nothing is relayed");
    };
    let dropped = |why: Dropped| -> Vec<String> {
        let ports = relay.ports.iter().filter_map(|port| Some((port.name.as_str(), *port.dropped.get(&why)?)));
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
            "compare `dhcp.relay.gateway` with the servers' networks",
        ),
    ] {
        let ports = dropped(why);
        if !ports.is_empty() {
            return warn(name, format!("{fact} {}", some(&ports)), remedy);
        }
    }
    if let Some(count) = relay.dropped.get(&Dropped::Circuit) {
        let fact = format!("{count} replies named no port: their server does not echo option 82 (RFC 3046 §2.2)");
        return warn(name, fact, "have the server echo it whole, or take it out of `dhcp.relay.servers`");
    }
    let deaf: Vec<String> = relay
        .ports
        .iter()
        .filter(|port| port.to_servers > 0 && port.to_clients == 0)
        .map(|port| port.name.clone())
        .collect();
    if !deaf.is_empty() {
        let fact = format!("no server has ever answered machines on {}", some(&deaf));
        return warn(name, fact, format!("see whether servers have a route to {} and know its network", relay.giaddr));
    }
    let (ports, leases) = (relay.ports.len(), picture.dhcp.leases.len());
    ok(name, format!("{}, {}", count(ports, "server port", "server ports"), count(leases, "lease", "leases")))
}
