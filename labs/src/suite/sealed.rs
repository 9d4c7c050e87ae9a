//! Disk keys on a machine with a TPM: lab `sealed`, in QEMU under UEFI. Its key comes when it booted what its server gives it,
//! again after a power cycle and with a new image, and not with another command line.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::count::Outcome;
use crate::machine::{self, console, in_lab, power_cycle};
use crate::run::{Context, Log};
use crate::vip::Lab;

/// Three times what `netboot/docs/figures.md` has from power-on to the open disk.
const LIMIT: Duration = Duration::from_secs(60);
/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("swtpm", "swtpm"),
    ("cryptsetup", "cryptsetup-bin"),
    ("busybox", "busybox-static"),
    ("etcd", "etcd-server"),
];
/// Firmware and the packages that have it.
const FIRMWARE: [(&str, &str); 3] = [
    ("/usr/lib/ipxe/snponly.efi", "ipxe"),
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf"),
    ("/usr/lib/systemd/boot/efi/linuxx64.efi.stub", "systemd-boot-efi"),
];

/// Runs the lab.
pub(crate) fn keys(context: &Context) -> io::Result<Outcome> {
    let log = context.log("keys")?;
    if let Some(missing) = machine::missing(context, &log, &PROGRAMS, &FIRMWARE)? {
        return Ok(Outcome::skipped(format!("disk keys by TPM: {missing}")));
    }
    match files(context, &log) {
        Ok(()) => in_lab(context, &log, "sealed", scenario),
        Err(error) => Ok(Outcome::failed(format!("{error}: see keys.log"))),
    }
}

/// What the machine boots.
fn files(context: &Context, log: &Log) -> io::Result<()> {
    let built = log.run(&mut context.cargo(&["build", "-p", "weft-machine", "--bin", "weft-key"]))?;
    let script = context.root.join("labs/topologies/sealed/files.sh").display().to_string();
    let key = context.target.join("debug/weft-key").display().to_string();
    match built && log.run(&mut context.command(Path::new("sh"), &[&script, &key]))? {
        true => Ok(()),
        false => Err(io::Error::other("what the machine boots cannot be had")),
    }
}

fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let mut step = |what: &str, held: bool, said: &str| {
        outcome.add(&Outcome::check(held, format!("{what}: {said}")));
    };
    // The lab leaves it as a stranger that is refused.
    lab.shell("boot1", "weft-netboot enrol accept N1 --role cs --rack 1 --index 7 --name node1")?;
    says(lab, "and nobody accepted that")?;
    let shown = lab.shell("boot1", "weft-netboot keys show N1")?;
    step("only how Secure Boot is needs somebody", refused(&shown) == ["PCR 7 is "], &shown);
    lab.shell("boot1", "weft-netboot keys accept N1")?;
    says(lab, "/dev/vda is formatted, with a recovery key")?;
    let first = written(lab)?;
    says(lab, "machine: no key any more in this boot")?;
    let line = "weft-netboot keys recover N1 data --private /etc/lab/operators";
    let recovery = lab.shell("boot1", line)?;
    let test = "cryptsetup open --test-passphrase --key-file=- /run/disk && echo opens";
    let said = lab.shell("machine", &format!("printf %s '{}' | {test}", recovery.trim()))?;
    step("the recovery key opens the disk", said.contains("opens"), &said);
    // After a power cycle, with another image: nobody accepts anything.
    lab.shell("boot1", "sh /etc/lab/setup.sh weft.other")?;
    let began = power_cycle(lab, "on")?;
    says(lab, &format!("machine: the disk says: written in boot {first}"))?;
    let took = began.elapsed().as_secs_f64();
    step("after a power cycle another image that the server gives finds the content", true, "");
    let second = written(lab)?;
    // The same with another command line, from a stick: the PCRs of the program and of what is in it.
    lab.shell("machine", "sh /etc/lab/power.sh stick")?;
    power_cycle(lab, "on")?;
    says(lab, "weft-key: PCR 4 is ")?;
    let shown = lab.shell("boot1", "weft-netboot keys show N1")?;
    step("the PCRs that differ are named", refused(&shown) == ["PCR 4 is ", "PCR 11 is "], &shown);
    let audit = lab.shell("boot1", "weft-netboot audit --subject N1 --limit 1")?;
    step("the refusal is in the audit log", audit.contains("refuse disk key"), &audit);
    let console = console(lab)?;
    step("nothing of the disk is seen", !console.contains("the disk says"), &console);
    lab.shell("machine", "sh /etc/lab/power.sh unplug")?;
    power_cycle(lab, "on")?;
    says(lab, &format!("machine: the disk says: written in boot {second}"))?;
    step("what it is given opens it again", true, "");
    outcome.notes.push(format!("UEFI, TPM in software: from power-on to the open disk {took:.1} s"));
    Ok(())
}

/// Which PCRs a refusal names.
fn refused(shown: &str) -> Vec<&'static str> {
    let line = shown.lines().find(|line| line.starts_with("refused: ")).unwrap_or_default();
    ["PCR 4 is ", "PCR 7 is ", "PCR 11 is "].into_iter().filter(|pcr| line.contains(pcr)).collect()
}

/// What the machine says it wrote.
fn written(lab: &Lab<'_>) -> io::Result<String> {
    let sentence = "machine: it was written in boot ";
    says(lab, sentence)?;
    let console = console(lab)?;
    let line = console.lines().find_map(|line| line.split_once(sentence)).map(|(_, boot)| boot.trim().to_owned());
    line.ok_or_else(|| io::Error::other("the console does not say which boot it is"))
}

fn says(lab: &Lab<'_>, what: &str) -> io::Result<()> {
    machine::says(lab, what, Instant::now(), LIMIT)
}
