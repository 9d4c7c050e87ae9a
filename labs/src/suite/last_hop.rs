//! Server ports without addresses: the switch has the rack's gateway on all of them, and a route to each machine by its lease. Part of
//! stage `netboot`.

use std::io;
use std::time::Instant;

use crate::count::Outcome;
use crate::vip::Lab;

use super::{CLIENT, dhcp6, until, word};

/// Gives the ports' own address up, and has the ports without one.
const UNNUMBERED: &str = "ip address del 10.69.1.1/26 dev eth4; ip address del fd00:69:0:4::1/64 dev eth4; \
    sed 's|^    gateway: 10.69.1.1/26|&\\n    unnumbered: true|' /etc/weft/weft.yaml > /run/weft/next.yaml; \
    cat /run/weft/next.yaml > /run/weft/now.yaml; weft reload";
/// A client that stays; SIGUSR2 has it give its address back, and SIGUSR1 ask for one again.
const STAYS: &str =
    "busybox udhcpc -i eth0 -f -t 30 -T 1 -s /etc/lab/got.sh > /run/client 2>&1 & echo $! > /run/client.pid";
/// Minutes of the shortest lease that a boot server gives.
const SHORT: &str = "printf 'lease_minutes: 1\\n' > /run/dhcp.yaml; weft-netboot dhcp set /run/dhcp.yaml";

/// Goes on where the relay of weft has a port with an address.
pub(super) fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    lab.shell("tor", UNNUMBERED)?;
    let first = word(&lab.shell("machine", CLIENT)?, "bound ").trim_end_matches("/26").to_owned();
    let second = word(&lab.shell("other", CLIENT)?, "bound ").trim_end_matches("/26").to_owned();
    let good = first == "10.69.1.7" && second.starts_with("10.69.1.");
    outcome.add(&Outcome::check(good, format!("on ports without addresses machines have {first} and {second}")));
    reached(lab, outcome, [&first, &second])?;
    let third = dhcp6::reached(lab, outcome)?;
    restarted(lab, outcome, [&first, dhcp6::PLACE])?;
    dhcp6::given_back(lab, outcome, &third)?;
    given_back(lab, outcome, &second)
}

/// Each by its own port, and each other through the switch, though all believe that they share a link.
fn reached(lab: &Lab<'_>, outcome: &mut Outcome, [first, second]: [&str; 2]) -> io::Result<()> {
    for (address, port) in [(first, "eth4"), (second, "eth5")] {
        until(outcome, "the switch has a route to a machine by its port", || routed(lab, address, port))?;
        until(outcome, "boot servers hear of a machine", || {
            Ok(lab.shell("boot1", &format!("ip route show {address}/32"))?.contains("proto 77"))
        })?;
        let why = lab.shell("tor", &format!("weft explain {address}"))?;
        outcome.add(&Outcome::check(why.contains("lease of ") && why.contains(port), format!("explain: {why}")));
    }
    let began = Instant::now();
    for target in [second, "10.69.1.1", "10.72.0.1"] {
        let ping = lab.shell("machine", &format!("busybox ping -c 3 -W 2 {target} || true"))?;
        outcome.add(&Outcome::check(ping.contains(" 0% packet loss"), format!("machine to {target}: {ping}")));
    }
    outcome.notes.push(format!("three pings to each of three took {} ms", began.elapsed().as_millis()));
    // Nobody has this one: it must not be answered for, and nothing for it leaves the rack.
    let absent = lab.shell("machine", "busybox ping -c 1 -W 1 10.69.1.62; ip neighbour show 10.69.1.62")?;
    outcome.add(&Outcome::check(!absent.contains("lladdr"), format!("an address of nobody is answered for: {absent}")));
    for address in [first, second] {
        outcome.add(&Outcome::check(listed(lab, address)?, format!("{address} is among the leases of the switch")));
    }
    Ok(())
}

/// A daemon that begins anew knows who is where, but for what it heard in its last second.
fn restarted(lab: &Lab<'_>, outcome: &mut Outcome, addresses: [&str; 2]) -> io::Result<()> {
    for address in addresses {
        until(outcome, "a lease is kept over a restart", || {
            Ok(lab.shell("tor", "cat /run/weft/leases.json")?.contains(&format!("\"{address}\"")))
        })?;
    }
    lab.node("kill", "tor")?;
    for address in addresses {
        outcome.add(&Outcome::check(routed(lab, address, "eth4")?, "the route stays without the daemon"));
    }
    lab.node("start", "tor")?;
    for address in addresses {
        until(outcome, "a daemon that was killed has its leases back", || listed(lab, address))?;
    }
    until(outcome, "and has converged", || Ok(lab.ask("tor", &["health"])?["healthy"] == true))?;
    let ping = lab.shell("machine", "busybox ping -c 3 -W 2 10.72.0.1 || true")?;
    outcome.add(&Outcome::check(ping.contains(" 0% packet loss"), format!("after the restart: {ping}")));
    for address in addresses {
        outcome.add(&Outcome::check(routed(lab, address, "eth4")?, "the route to a machine after the restart"));
    }
    Ok(())
}

/// Released, then lent for a minute to a client that dies.
fn given_back(lab: &Lab<'_>, outcome: &mut Outcome, address: &str) -> io::Result<()> {
    lab.shell("other", STAYS)?;
    let told = |what: &str| Ok(lab.shell("other", "cat /run/client")?.contains(what));
    until(outcome, "a client that stays has its address", || told("bound "))?;
    lab.shell("other", "kill -USR2 $(cat /run/client.pid)")?;
    until(outcome, "a released address has no route", || Ok(!routed(lab, address, "eth5")?))?;
    until(outcome, "and nobody hears of it", || {
        Ok(lab.shell("boot1", &format!("ip route show {address}/32"))?.is_empty())
    })?;
    lab.shell("boot1", SHORT)?;
    for server in ["boot1", "boot2", "boot3"] {
        until(outcome, "all servers lend for a minute", || {
            Ok(lab.shell(server, "weft-netboot dhcp get")?.contains("lease_minutes: 1"))
        })?;
    }
    lab.shell("other", "kill -USR1 $(cat /run/client.pid)")?;
    until(outcome, "a client has an address for a minute", || told("lease 60"))?;
    let again = lab.shell("other", "tail -n 1 /run/client")?;
    let again = word(&again, "bound ").trim_end_matches("/26").to_owned();
    until(outcome, "and a route", || routed(lab, &again, "eth5"))?;
    let began = Instant::now();
    lab.shell("other", "kill -KILL $(cat /run/client.pid)")?;
    super::until_within(outcome, super::LIMIT * 2, "a lease that ended has no route", || {
        Ok(!routed(lab, &again, "eth5")?)
    })?;
    outcome
        .notes
        .push(format!("the route of a lease of 60 s went {} ms after its client", began.elapsed().as_millis()));
    Ok(())
}

/// Whether the switch knows of a lease, and has a route for it.
pub(super) fn listed(lab: &Lab<'_>, address: &str) -> io::Result<bool> {
    let answer = lab.ask("tor", &["dhcp", "leases"])?;
    let all = answer["leases"].as_array().cloned().unwrap_or_default();
    Ok(all.iter().any(|lease| lease["address"] == address && lease["routed"] == true))
}

/// Whether the kernel of the switch has a route of weft's to a machine.
pub(super) fn routed(lab: &Lab<'_>, address: &str, port: &str) -> io::Result<bool> {
    let family = if address.contains(':') { "-6" } else { "-4" };
    let asked = format!("ip {family} route show {address}; ip {family} route get {address} 2>&1 || true");
    let shown = lab.shell("tor", &asked)?;
    let by_port = |line: &str| line.starts_with(address) && line.contains(&format!(" dev {port} "));
    Ok(shown.contains("proto 77") && !shown.contains(" via ") && shown.lines().any(by_port))
}
