//! The same by DHCPv6, with dhclient as the machine and as its firmware, behind isc-dhcp-relay and then behind the switch's weft. Part of
//! stage `netboot`.

use std::io;
use std::time::Instant;

use serde_json::Value;

use crate::count::Outcome;
use crate::vip::Lab;

use super::last_hop::{listed, routed};
use super::{END, lease, link, until, word};

/// It sends each message to all three servers, by the link that it is told with each.
const RELAY: &str =
    "dhcrelay -6 -q -pf /run/relay.pid -l eth4 -u fd00:72::1%eth1 -u fd00:72::1%eth2 -u fd00:72::1%eth3";
/// Asks until it has an address, and prints what it was told.
const CLIENT: &str = "sh /etc/lab/ask6.sh";
/// Begins again with the lease that is in its file: CONFIRM, and RENEW at once, because the time for it has come.
const RENEW: &str = "sed -i 's/renew .*;/renew 1;/' /run/leases6; \
    dhclient -6 -d -D LL -sf /etc/lab/got6.sh -lf /run/leases6 -pf /run/client6.pid eth0 > /run/client6 2>&1 & true";
/// RELEASE.
const RELEASE: &str = "dhclient -6 -r -D LL -sf /etc/lab/got6.sh -lf /run/leases6 -pf /run/client6.pid eth0";
/// The address of the registered machine's place.
pub(super) const PLACE: &str = "fd00:69:0:4::7";
/// Configurations of dhclient that say what firmware says, and what it is told to boot.
const BOOTED: [(&str, &str); 2] =
    [("firmware", "http://[fd00:72::1]:8080/boot/uki.efi"), ("ipxe", "http://[fd00:72::1]:8080/boot.ipxe")];

/// Leases of a machine that nobody registered, before the switch's weft has the port.
pub(super) fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    lab.shell("tor", RELAY)?;
    let began = Instant::now();
    let told = lab.shell("machine", CLIENT)?;
    outcome
        .notes
        .push(format!("behind dhcrelay -6 a machine has its address after {} ms", began.elapsed().as_millis()));
    let address = word(&told, "BOUND6 ").to_owned();
    let good = address.starts_with("fd00:69:0:4::") && told.contains(" lifetime 3600 boot \n");
    outcome.add(&Outcome::check(good, format!("behind dhcrelay -6 the machine was told: {told}")));
    for server in ["boot1", "boot2", "boot3"] {
        let listed = lease(lab, server, &address)?;
        let good = listed["mac"] == "52:54:00:69:01:01" && listed["state"] == "bound";
        outcome.add(&Outcome::check(good, format!("{server} lists of {address}: {listed}")));
    }
    renewal(lab, outcome, &address)?;
    lab.shell("machine", RELEASE)?;
    until(outcome, "a released address is nobody's", || Ok(lease(lab, "boot1", &address)?["state"] != "bound"))?;
    for (client, url) in BOOTED {
        let told = lab.shell("machine", &format!("{CLIENT} -cf /etc/lab/{client}.conf"))?;
        let good = told.contains(&format!(" boot {url}\n"));
        outcome.add(&Outcome::check(good, format!("{client} by DHCPv6 was told: {told}")));
    }
    lab.shell("machine", RELEASE)?;
    lab.shell("tor", END).map(drop)
}

/// The server that lent the address is cut off while the client is not there; it confirms its address and renews it at another one.
fn renewal(lab: &Lab<'_>, outcome: &mut Outcome, address: &str) -> io::Result<()> {
    let lent = lease(lab, "boot1", address)?;
    let victim = lent["server"].as_str().unwrap_or_default().to_owned();
    let other = if victim == "boot1" { "boot2" } else { "boot1" };
    link(lab, "down", &victim)?;
    let began = Instant::now();
    lab.shell("machine", RENEW)?;
    let mut said = String::new();
    until(outcome, "another server answers the renewal of DHCPv6", || {
        said = lab.shell("machine", "cat /run/client6")?;
        Ok(said.contains(&format!("RENEW6 {address} lifetime 3600")))
    })?;
    outcome.notes.push(format!(
        "the server of a lease of DHCPv6 is cut off: confirmed and renewed by another one after {} ms",
        began.elapsed().as_millis()
    ));
    let place = |one: &Value| (one["client"].clone(), one["since"].clone());
    let now = lease(lab, other, address)?;
    let is_confirmed = said.contains(&format!("BOUND6 {address}"));
    let good = is_confirmed && now["server"] != lent["server"] && place(&now) == place(&lent);
    outcome
        .add(&Outcome::check(good, format!("{other} lists of {address}: {now}, before: {lent}; the client: {said}")));
    link(lab, "up", &victim)?;
    lab.shell("machine", "kill $(cat /run/client6.pid)").map(drop)
}

/// By weft: somebody has registered the machine, and firmware is told what to boot.
pub(super) fn formula(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let began = Instant::now();
    let told = lab.shell("machine", CLIENT)?;
    let good = word(&told, "BOUND6 ") == PLACE;
    outcome
        .notes
        .push(format!("by DHCPv6 behind weft a machine has its address after {} ms", began.elapsed().as_millis()));
    outcome.add(&Outcome::check(good, format!("a registered machine gets the IPv6 address of its place: {told}")));
    let (client, url) = BOOTED[0];
    let told = lab.shell("machine", &format!("{CLIENT} -cf /etc/lab/{client}.conf"))?;
    let good = told.contains(&format!(" boot {url}\n"));
    outcome.add(&Outcome::check(good, format!("{client} by DHCPv6 behind weft was told: {told}")));
    lab.shell("machine", RELEASE).map(drop)
}

/// On ports without addresses: each by its own port, and each other by the switch, which says that it is the way. The address of the
/// machine that nobody registered.
pub(super) fn reached(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<String> {
    lab.shell("machine", CLIENT)?;
    let other = word(&lab.shell("other", CLIENT)?, "BOUND6 ").to_owned();
    for (address, port) in [(PLACE, "eth4"), (&other, "eth5")] {
        until(outcome, "the switch has a route to a machine's IPv6 address by its port", || {
            routed(lab, address, port)
        })?;
        until(outcome, "boot servers hear of a machine's IPv6 address", || {
            Ok(lab.shell("boot1", &format!("ip -6 route show {address}"))?.contains("proto 77"))
        })?;
        outcome.add(&Outcome::check(listed(lab, address)?, format!("{address} is among the leases of the switch")));
    }
    until(outcome, "the switch advertises itself as a router", || {
        Ok(lab.shell("machine", "ip -6 route show default")?.contains("proto ra"))
    })?;
    for target in [other.as_str(), "fd00:72::1", "fd00:69:0:4::1"] {
        let ping = lab.shell("machine", &format!("busybox ping -6 -c 1 -W 5 {target} || true"))?;
        outcome.add(&Outcome::check(ping.contains(" 0% packet loss"), format!("machine to {target}: {ping}")));
    }
    Ok(other)
}

/// RELEASE takes the route away, here and elsewhere.
pub(super) fn given_back(lab: &Lab<'_>, outcome: &mut Outcome, address: &str) -> io::Result<()> {
    lab.shell("other", RELEASE)?;
    until(outcome, "a released IPv6 address has no route", || Ok(!routed(lab, address, "eth5")?))?;
    until(outcome, "and nobody hears of it", || {
        Ok(lab.shell("boot1", &format!("ip -6 route show {address}"))?.is_empty())
    })
}
