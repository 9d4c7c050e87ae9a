//! The machine of lab `routed` with a disk: an installed system takes over once the machine is routed, named by its partition. What cannot
//! run from a disk is said, and ends in another boot.

use std::io;
use std::time::Duration;

use crate::count::Outcome;
use crate::machine::{console, power_cycle, says};
use crate::routed::until;
use crate::vip::Lab;

/// For what has no figure of its own.
const LIMIT: Duration = Duration::from_secs(240);
/// Which disk the machine is told, and what it says then; each ends in a restart.
const WRONG: [(&str, &str, &str); 3] = [
    ("void", "PARTLABEL=void", "/dev/vda1: nothing on it is a file system of this kernel: "),
    ("bare", "PARTLABEL=bare", "/dev/vda3: the system has no first process: none of sbin/init"),
    ("twice", "LABEL=twice", "LABEL=twice: /dev/vda3 and /dev/vda4 are called so"),
];
/// Likewise; it waits for its disk for a minute.
const GONE: (&str, &str, &str) = ("gone", "UUID=0b5d", "UUID=0b5d: it is not there after 60 s; there are /dev/vda (");

/// A disk with an installed system, and beside it what is none. Who waits for a disk that never comes goes on to do so.
pub(crate) fn installed(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    lab.shell("boot1", "sh /etc/lab/disk.sh image")?;
    lab.shell("machine", "sh /etc/lab/disk.sh make")?;
    for (name, disk, _) in std::iter::once(&GONE).chain(&WRONG) {
        lab.shell("machine", &format!("sh /etc/lab/disk.sh try {name} {disk}"))?;
    }
    until("both servers have the image", || {
        Ok(lab.shell("boot2", "weft-netboot image show installed")?.matches("whole").count() == 4)
    })?;
    let began = power_cycle(lab, "on")?;
    says(lab, "installed: routed by both uplinks, as before", began, LIMIT)?;
    let took = began.elapsed().as_secs_f64();
    let said = console(lab)?;
    let order = [
        "routed: eth0 to tor1 up, eth1 to tor2 up",
        "hands over to sbin/init",
        "installed: runs on /dev/vda2, ext4, ro",
    ];
    let places: Vec<_> = order.iter().map(|what| said.find(what)).collect();
    outcome.add(&Outcome::check(
        places.iter().all(Option::is_some) && places.is_sorted(),
        format!("the installed system does not take over from a routed machine: {said}"),
    ));
    outcome.notes.push(format!("bios: from power-on to the routed system of the disk {took:.1} s"));
    until("the installed system is healthy by its route", || {
        Ok(lab.shell("boot3", "weft-netboot machines list serial=N1 state=healthy")?.contains("10.69.0.199"))
    })?;
    WRONG.iter().try_for_each(|wrong| ended(lab, outcome, wrong))?;
    lab.shell("machine", "sh /etc/lab/disk.sh unplug").map(drop)
}

/// Who waited for a disk that is not there.
pub(crate) fn gone(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    ended(lab, outcome, &GONE)
}

/// The machine said why, and started over.
fn ended(lab: &Lab<'_>, outcome: &mut Outcome, (name, _, why): &(&str, &str, &str)) -> io::Result<()> {
    let mut said = String::new();
    until(&format!("the machine told to run {name} starts over"), || {
        said = lab.shell("machine", &format!("sh /etc/lab/disk.sh tried {name}"))?;
        Ok(true)
    })?;
    let held = said.contains(why) && said.contains("starts over in 10 s");
    outcome.add(&Outcome::check(held, format!("disk {name}: the machine does not say why: {said}")));
    Ok(())
}
