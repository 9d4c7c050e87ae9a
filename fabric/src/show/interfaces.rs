//! `show interfaces`: links, their addresses, and who is on them.

use super::{NONE, or_none, render, table};
use crate::api::{Address, Interface, Interfaces};

/// The table of links.
#[must_use]
pub fn table_of(answer: &Interfaces) -> String {
    let mut lines = table(&["Interface", "State", "Kind", "Master", "MTU", "Addresses", "Neighbors", "Found by RA"]);
    for link in &answer.interfaces {
        let mut addresses = link.addresses.iter().map(address);
        lines.add_row([
            link.name.clone(),
            state(link),
            link.kind.clone().unwrap_or_else(|| "device".to_owned()),
            or_none(link.master.as_ref()),
            link.mtu.to_string(),
            addresses.next().unwrap_or_else(|| NONE.to_owned()),
            if link.neighbors.is_empty() { NONE.to_owned() } else { link.neighbors.join(" ") },
            found(link),
        ]);
        for address in addresses {
            let blank = String::new;
            lines.add_row([blank(), blank(), blank(), blank(), blank(), address]);
        }
    }
    render(&lines, 0)
}

/// The router, and what is wrong with the link.
fn found(link: &Interface) -> String {
    let mut words = vec![or_none(link.discovered)];
    words.extend(link.other_router.map(|other| format!("({other} too)")));
    words.extend(link.lldp.as_ref().map(|heard| format!("LLDP: {heard}")));
    words.extend(link.miswired.as_ref().map(|wrong| format!("CABLING: {wrong}")));
    if link.looped > 0 {
        words.push("LOOP: hears itself".to_owned());
    }
    words.join(" ")
}

fn state(link: &Interface) -> String {
    match (link.up, link.carrier) {
        (true, true) if link.damped > 0 => format!("damped ({} flaps)", link.damped),
        (true, true) => "up".to_owned(),
        (true, false) => "no carrier".to_owned(),
        (false, _) => "down".to_owned(),
    }
}

fn address(address: &Address) -> String {
    if address.duplicate {
        return format!("{} duplicate", address.net);
    }
    if address.tentative { format!("{} tentative", address.net) } else { address.net.to_string() }
}
