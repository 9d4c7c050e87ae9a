//! What breaks while the machine of lab `routed` boots: an uplink, or the boot server that serves it, while firmware loads the kernel and
//! while the initial file system loads the root. It completes, or boots by itself on its next attempt.

use std::io;
use std::time::{Duration, Instant};

use crate::count::Outcome;
use crate::machine::{self, console, power_cycle};
use crate::routed::until;
use crate::vip::Lab;

/// For what has no figure of its own.
const LIMIT: Duration = Duration::from_secs(300);
/// The machine speaks from here, by the formula.
const ADDRESS: &str = "10.69.0.199";
/// The last word of a machine whose root came.
const UP: &str = "system: runs";

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The cable by which most comes.
    Uplink,
    /// The boot server that serves.
    Server,
}

/// When it does: once the console says this.
struct Moment {
    name: &'static str,
    /// The word of `power.sh`.
    way: &'static str,
    says: &'static str,
    /// What the console says once for every attempt to boot.
    attempt: &'static str,
}

const DOWNLOAD: Moment =
    Moment { name: "while the root file system comes", way: "on", says: "root: 10 %", attempt: "SeaBIOS (version" };
const IPXE: Moment = Moment {
    name: "while iPXE loads the initial file system",
    way: "on",
    says: "boots load",
    attempt: "SeaBIOS (version",
};
const UEFI: Moment = Moment {
    name: "while UEFI loads the image in one file",
    way: "http",
    says: "Downloading...",
    attempt: ">>Start HTTP Boot",
};

/// Another image, whose root file system is loaded; then all faults at all moments.
pub(crate) fn faults(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    lab.shell("boot1", "sh /etc/lab/load.sh")?;
    until("both servers have the image", || {
        Ok(lab.shell("boot2", "weft-netboot image show load")?.matches("whole").count() == 6)
    })?;
    lab.shell("machine", "sh /etc/lab/power.sh slow")?;
    let began = power_cycle(lab, "on")?;
    says(lab, UP)?;
    let console = console(lab)?;
    let loaded = console.lines().find_map(|line| line.split_once("root: all is there after ")).map(|(_, rest)| rest);
    outcome.add(&Outcome::check(loaded.is_some(), "the root file system came"));
    let (took, loaded) =
        (began.elapsed().as_secs_f64(), loaded.unwrap_or_default().split(',').next().unwrap_or_default());
    outcome.notes.push(format!(
        "bios, uplinks of 60 Mbit/s: a root of 70 MB came within {loaded}; from power-on to the system {took:.1} s"
    ));
    for moment in [&DOWNLOAD, &IPXE, &UEFI] {
        for fault in [Fault::Uplink, Fault::Server] {
            broken(lab, outcome, fault, moment)?;
        }
    }
    Ok(())
}

/// A machine that nobody registered reports itself from an address that it is lent, and boots again when it is accepted.
pub(crate) fn stranger(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    lab.shell("boot1", "weft-netboot image pin weft --rest")?;
    power_cycle(lab, "stranger")?;
    says(lab, "this is a machine that nobody registered")?;
    says(lab, "waits until somebody accepts it")?;
    let waiting = lab.shell("boot2", "weft-netboot --output json enrol list")?;
    let has = [
        "X9",
        "52:54:00:69:09:01",
        "52:54:00:69:09:02",
        "memory_bytes",
        "QEMU",
        "00000000-0000-4000-8000-000000000009",
    ];
    let missing: Vec<&str> = has.into_iter().filter(|what| !waiting.contains(what)).collect();
    outcome
        .add(&Outcome::check(missing.is_empty(), format!("a stranger does not say {}: {waiting}", missing.join(", "))));
    lab.shell("boot2", "weft-netboot enrol accept X9 --role spare")?;
    says(lab, "somebody accepted this machine")?;
    says(lab, "this is X9")?;
    outcome.add(&Outcome::passed());
    Ok(())
}

fn broken(lab: &Lab<'_>, outcome: &mut Outcome, fault: Fault, moment: &Moment) -> io::Result<()> {
    let began = power_cycle(lab, moment.way)?;
    says(lab, moment.says)?;
    let (what, mend): (String, Vec<(&str, String)>) = match fault {
        Fault::Uplink => {
            let busy = lab.shell("machine", "sh /etc/lab/power.sh busy")?.trim().to_owned();
            link(lab, "down", &format!("machine:{busy}"))?;
            (format!("uplink {busy}"), vec![("link", format!("machine:{busy}"))])
        }
        Fault::Server => {
            let serves = |node: &&str| {
                lab.shell(node, "ss -Htn state established '( sport = :8080 )'")
                    .is_ok_and(|said| said.contains("10.72.0.1:8080"))
            };
            let server = ["boot1", "boot2"].into_iter().find(serves).unwrap_or("boot1");
            for interface in ["eth0", "eth1"] {
                link(lab, "down", &format!("{server}:{interface}"))?;
            }
            lab.node("kill", server)?;
            (
                server.to_owned(),
                vec![
                    ("link", format!("{server}:eth0")),
                    ("link", format!("{server}:eth1")),
                    ("node", server.to_owned()),
                ],
            )
        }
    };
    let fell = Instant::now();
    let held = says(lab, UP);
    let took = fell.elapsed().as_secs_f64();
    let console = console(lab)?;
    let attempts = console.matches(moment.attempt).count();
    if let Err(error) = held {
        return Err(io::Error::other(format!("{what} fails {}: {error}", moment.name)));
    }
    let resumed = console.lines().filter(|line| line.contains("goes on at octet")).count();
    outcome.add(&Outcome::check(
        fault == Fault::Server || console.contains(&format!("from {ADDRESS}")),
        "the machine loads from its own address",
    ));
    outcome.notes.push(format!(
        "{what} fails {}: the system runs {took:.1} s later ({:.1} s after power-on), {resumed} times resumed, {attempts} attempts to boot",
        moment.name,
        began.elapsed().as_secs_f64()
    ));
    for (kind, place) in mend {
        match kind {
            "link" => link(lab, "up", &place)?,
            _ => lab.node("start", &place)?,
        }
    }
    until("the machine is healthy afterwards", || {
        Ok(lab.shell("boot3", "weft-netboot machines list serial=N1 state=healthy")?.contains(ADDRESS))
    })?;
    // Of the third server, which nobody kills: the one that was started again may not answer yet.
    let shown = lab.shell("boot3", "weft-netboot machines show N1")?;
    outcome.add(&Outcome::check(
        !shown.contains("HELD"),
        format!("it is taken for a machine that boots again and again: {shown}"),
    ));
    until("and both servers serve", || {
        let routes = lab.shell("tor1", "ip route show 10.72.0.1/32")?;
        Ok(!routes.is_empty()
            && ["boot1", "boot2"].iter().all(|node| {
                lab.shell(node, "weft-netboot image show load").is_ok_and(|said| said.matches("whole").count() == 6)
            }))
    })?;
    outcome.add(&Outcome::passed());
    Ok(())
}

fn link(lab: &Lab<'_>, verb: &str, place: &str) -> io::Result<()> {
    match lab.log.run(&mut lab.lab_command(&["link", verb, &lab.name, place]))? {
        true => Ok(()),
        false => Err(io::Error::other(format!("`weft-lab link {verb} {place}` failed"))),
    }
}

fn says(lab: &Lab<'_>, what: &str) -> io::Result<()> {
    machine::says(lab, what, Instant::now(), LIMIT)
}
