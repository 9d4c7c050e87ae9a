//! A machine without an address, a relay, and three boot servers with one service address: lab `dhcp`, with real clients and relays.
#![expect(clippy::disallowed_methods, reason = "polls a lab with a deadline; the suite has no event loop")]

mod dhcp6;
mod last_hop;

use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::count::Outcome;
use crate::interop::Stage;
use crate::packages;
use crate::readers;
use crate::run::{Context, Log, find_program};
use crate::vip::Lab;

/// For everything that is waited for.
const LIMIT: Duration = Duration::from_secs(60);
/// How often something is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 5] = [
    ("etcd", "etcd-server"),
    ("busybox", "busybox-static"),
    ("dnsmasq", "dnsmasq-base"),
    ("dhcrelay", "isc-dhcp-relay"),
    ("dhclient", "isc-dhcp-client"),
];
/// A relay on the switch.
struct Relay {
    name: &'static str,
    starts: &'static str,
    /// Whom its clients take for their server.
    server: &'static str,
}

/// One that adds option 82 and sends from the uplink, one that does neither, and ours, which stays.
const RELAYS: [Relay; 3] = [
    Relay {
        name: "dhcrelay",
        starts: "dhcrelay -4 -q -a -m replace -pf /run/relay.pid -id eth4 -iu eth1 -iu eth2 -iu eth3 10.72.0.1",
        server: "10.72.0.1",
    },
    Relay {
        name: "dnsmasq",
        starts: "dnsmasq --port=0 --conf-file=/dev/null --no-resolv --pid-file=/run/relay.pid --dhcp-relay=10.69.1.1,10.72.0.1",
        server: "10.72.0.1",
    },
    Relay {
        name: "weft",
        starts: "cat /etc/weft/weft.yaml /etc/lab/tor.relay.yaml > /run/weft/now.yaml; \
                 mount --bind /run/weft/now.yaml /etc/weft/weft.yaml; weft reload",
        server: "10.69.255.1",
    },
];
/// Ends the relay of before, and returns when it is gone.
const END: &str = "kill $(cat /run/relay.pid); while kill -0 $(cat /run/relay.pid); do :; done 2> /dev/null; true";
/// A client that goes on until it has an address, and prints what it was told.
const CLIENT: &str = "busybox udhcpc -i eth0 -f -q -n -t 30 -T 1 -s /etc/lab/got.sh 2>&1";

/// Runs the lab.
pub(crate) fn netboot(context: &Context) -> io::Result<Outcome> {
    let log = context.log("netboot")?;
    if let Some(missing) = missing(context, &log)? {
        return Ok(Outcome::skipped(format!("DHCP through relays: {missing}")));
    }
    let Some(stage) = Stage::prepare(context, &log)? else {
        return Ok(Outcome::failed("the lab's binaries do not build"));
    };
    let mut outcome = Outcome::default();
    let lab = Lab { context, log: &log, folder: stage.folder.clone(), name: format!("dhcp-{}", std::process::id()) };
    if lab.up("dhcp")? {
        outcome.add(&Outcome::passed());
        if let Err(error) = scenario(&lab, &mut outcome) {
            outcome.add(&Outcome::failed(format!("lab dhcp: {error}")));
        }
    } else {
        outcome.add(&Outcome::failed("lab dhcp does not come up as expected"));
    }
    lab.down()?;
    outcome.add(&readers::run(context, &log)?);
    Ok(outcome)
}

/// What is not there and cannot be had.
fn missing(context: &Context, log: &Log) -> io::Result<Option<String>> {
    let lacks = || PROGRAMS.iter().filter(|(program, _)| find_program(program).is_none());
    let packages: Vec<&str> = lacks().map(|(_, package)| *package).collect();
    if rustix::process::geteuid().is_root() && find_program("apt-get").is_some() {
        packages::install_each(context, log, &packages)?;
    }
    Ok(lacks()
        .next()
        .map(|(program, package)| format!("no program `{program}` (Debian: {package}), and it could not be installed")))
}

fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    dhcp6::scenario(lab, outcome)?;
    let mut own = String::new();
    for (at, Relay { name, starts, server }) in RELAYS.iter().enumerate() {
        lab.shell("tor", starts)?;
        let began = Instant::now();
        let told = lab.shell("machine", CLIENT)?;
        outcome.notes.push(format!("behind {name} a machine has its address after {} ms", began.elapsed().as_millis()));
        own = word(&told, "bound ").to_owned();
        let good = own.starts_with("10.69.1.") && own.ends_with("/26");
        let rest = told.contains(&format!("router 10.69.1.1 server {server} lease 3600"));
        outcome.add(&Outcome::check(good && rest, format!("behind {name} the machine was told: {told}")));
        if at + 1 < RELAYS.len() {
            lab.shell("tor", END)?;
        }
    }
    let address = own.trim_end_matches("/26").to_owned();
    for server in ["boot1", "boot2", "boot3"] {
        let listed = lease(lab, server, &address)?;
        let good = listed["mac"] == "52:54:00:69:01:01" && listed["state"] == "bound";
        outcome.add(&Outcome::check(good, format!("{server} lists of {address}: {listed}")));
    }
    renewal(lab, outcome, &address)?;
    formula(lab, outcome)?;
    dhcp6::formula(lab, outcome)?;
    last_hop::scenario(lab, outcome)
}

/// The server that lent the address is cut off: the client's renewal goes to the same address, and another server answers it.
fn renewal(lab: &Lab<'_>, outcome: &mut Outcome, address: &str) -> io::Result<()> {
    lab.shell(
        "machine",
        "busybox udhcpc -i eth0 -f -t 30 -T 1 -s /etc/lab/got.sh > /run/client 2>&1 & echo $! > /run/client.pid",
    )?;
    let says = |what: &str| Ok(lab.shell("machine", "cat /run/client")?.contains(what));
    until(outcome, "a client that stays has the address that it had", || says(&format!("bound {address}/26")))?;
    let lent = lease(lab, "boot1", address)?;
    let victim = lent["server"].as_str().unwrap_or_default().to_owned();
    link(lab, "down", &victim)?;
    let began = Instant::now();
    // The route of the server that is gone goes with its link; until then a renewal is lost, and the client would ask again later.
    until(outcome, "another server answers the renewal", || {
        lab.shell("machine", "kill -USR1 $(cat /run/client.pid)")?;
        says(&format!("renew {address}/26"))
    })?;
    outcome.notes.push(format!(
        "the server of a lease is cut off: renewed by another one after {} ms",
        began.elapsed().as_millis()
    ));
    let other = if victim == "boot1" { "boot2" } else { "boot1" };
    let now = lease(lab, other, address)?;
    let good = now["server"] != lent["server"] && now["since"] == lent["since"];
    outcome.add(&Outcome::check(good, format!("{other} lists of {address}: {now}, before: {lent}")));
    lab.shell("machine", "kill $(cat /run/client.pid)")?;
    link(lab, "up", &victim)
}

/// Sets the only link of a boot server down or up.
fn link(lab: &Lab<'_>, verb: &str, server: &str) -> io::Result<()> {
    let place = format!("{server}:eth0");
    if lab.log.run(&mut lab.lab_command(&["link", verb, &lab.name, &place]))? {
        return Ok(());
    }
    Err(io::Error::other(format!("`weft-lab link {verb} {place}` failed")))
}

/// Somebody registers the machine: it gets the address of its place.
fn formula(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let mut said = String::new();
    until(outcome, "the machine is registered", || {
        said = lab.shell(
            "boot1",
            "weft-netboot machines register /etc/lab/machine.netboot.yaml; weft-netboot machines list",
        )?;
        Ok(said.contains("N1"))
    })?;
    // Whichever server answers has heard of it by now, or does soon.
    until(outcome, "a registered machine gets the address of its place", || {
        Ok(word(&lab.shell("machine", CLIENT)?, "bound ") == "10.69.1.7/26")
    })
}

/// What stands behind some words.
fn word<'a>(text: &'a str, before: &str) -> &'a str {
    let rest = text.lines().find_map(|line| line.strip_prefix(before)).unwrap_or_default();
    rest.split(' ').next().unwrap_or_default()
}

/// What a server says of a lease.
fn lease(lab: &Lab<'_>, server: &str, address: &str) -> io::Result<Value> {
    let text = lab.shell(server, "weft-netboot --output json leases")?;
    let answer: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
    let all = answer["leases"].as_array().cloned().unwrap_or_default();
    Ok(all.into_iter().find(|lease| lease["address"] == address).unwrap_or_default())
}

fn until(outcome: &mut Outcome, what: &str, holds: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    until_within(outcome, LIMIT, what, holds)
}

fn until_within(
    outcome: &mut Outcome,
    limit: Duration,
    what: &str,
    mut holds: impl FnMut() -> io::Result<bool>,
) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    while !holds().unwrap_or(false) {
        if Instant::now() > deadline {
            return Err(io::Error::other(what.to_owned()));
        }
        std::thread::sleep(POLL);
    }
    outcome.add(&Outcome::passed());
    Ok(())
}
