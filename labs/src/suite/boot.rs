//! Real boots: lab `boot`, whose machine is QEMU without KVM. It is powered on by every way that firmware knows, timed from there until the
//! boot server has heard of it, and has to come up by itself after its boot server was away.
#![expect(clippy::disallowed_methods, reason = "polls a lab with a deadline; the suite has no event loop")]

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::count::Outcome;
use crate::machine::{self, console, in_lab, power_cycle, says};
use crate::run::{Context, Log};
use crate::vip::Lab;

/// For what has no figure of its own.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);
/// How often the machine's console is looked at.
const POLL: Duration = Duration::from_millis(100);
/// A way to boot.
struct Way {
    /// The word of `power.sh`.
    name: &'static str,
    /// What the console says on it.
    says: &'static str,
    /// What it would say on another one.
    lacks: &'static str,
    /// Three times the time that `netboot/docs/figures.md` has for it.
    limit: Duration,
}

/// All of them: iPXE in the card, iPXE that UEFI loads, and the image in one file (UKI) that UEFI loads.
const WAYS: [Way; 3] = [
    Way { name: "bios", says: "weft: N1 (node1) boots debian", lacks: ">>Start", limit: Duration::from_secs(66) },
    Way { name: "pxe", says: ">>Start PXE over IPv4", lacks: ">>Start HTTP Boot", limit: Duration::from_secs(100) },
    Way { name: "http", says: ">>Start HTTP Boot over IPv4", lacks: "iPXE", limit: Duration::from_secs(100) },
];
/// The last word of a machine that is up.
pub(crate) const UP: &str = "machine: the boot server says registered";
/// Secure Boot; three times the time that `netboot/docs/figures.md` has for it.
const SECURE: Way = Way {
    name: "secure",
    says: ">>Start HTTP Boot over IPv4",
    lacks: "Access Denied",
    limit: Duration::from_secs(100),
};
/// The same by PXE: iPXE, signed by the server, gets the image as one signed file, too.
const SECURE_PXE: Way = Way { name: "secure-pxe", says: ">>Start PXE over IPv4", ..SECURE };
/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 10] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("etcd", "etcd-server"),
    ("busybox", "busybox-static"),
    ("openssl", "openssl"),
    ("sbverify", "sbsigntool"),
    ("swtpm", "swtpm"),
    ("cert-to-efi-sig-list", "efitools"),
    ("ipmi_sim", "openipmi"),
    ("sfdisk", "fdisk"),
    ("mke2fs", "e2fsprogs"),
];
/// Firmware and the packages that have it.
const FIRMWARE: [(&str, &str); 5] = [
    ("/usr/lib/ipxe/qemu/pxe-virtio.rom", "ipxe-qemu"),
    ("/usr/lib/ipxe/snponly.efi", "ipxe"),
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf"),
    ("/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd", "ovmf"),
    ("/usr/lib/systemd/boot/efi/linuxx64.efi.stub", "systemd-boot-efi"),
];

/// Runs the lab.
pub(crate) fn boot(context: &Context) -> io::Result<Outcome> {
    let log = context.log("boot")?;
    match missing(context, &log)? {
        Some(missing) => Ok(Outcome::skipped(format!("real boots: {missing}"))),
        None => in_lab(context, &log, "boot", scenario),
    }
}

/// What is not there and cannot be had, the kernel of the machine included.
pub(crate) fn missing(context: &Context, log: &Log) -> io::Result<Option<String>> {
    static ONE: Mutex<()> = Mutex::new(());
    if let Some(missing) = machine::missing(context, log, &PROGRAMS, &FIRMWARE)? {
        return Ok(Some(missing));
    }
    let _one = ONE.lock().map_err(|_| io::Error::other("another stage died while it got what machines boot"))?;
    let script = context.root.join("labs/topologies/boot/files.sh").display().to_string();
    let has = log.run(&mut context.command(Path::new("sh"), &[&script]))?;
    Ok((!has).then(|| "no kernel for the machine, and it could not be loaded: see the log".to_owned()))
}

fn scenario(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    for way in &WAYS {
        let took = power_on(lab, way)?;
        outcome.add(&Outcome::passed());
        let (name, took) = (way.name, took.as_secs_f64());
        outcome.notes.push(format!("{name}: from power-on to known at the boot server {took:.1} s"));
    }
    let reached = lab.shell("boot1", "busybox ping -c 3 10.69.1.7")?;
    outcome.add(&Outcome::check(
        reached.contains("3 packets received"),
        format!("the machine does not answer: {reached}"),
    ));
    by_tftp(lab, outcome)?;
    without_image(lab, outcome)?;
    without_server(lab, outcome)?;
    by_tls(lab, outcome)?;
    measured(lab, outcome)?;
    signed(lab, outcome)?;
    crate::power::scenario(lab, outcome)
}

/// Cuts the power, gives it back, and waits until the boot server has heard of the machine.
fn power_on(lab: &Lab<'_>, way: &Way) -> io::Result<Duration> {
    let began = power_cycle(lab, way.name)?;
    says(lab, UP, began, way.limit)?;
    let took = began.elapsed();
    let console = console(lab)?;
    match console.contains(way.says) && !console.contains(way.lacks) {
        true => Ok(took),
        false => Err(io::Error::other(format!("{}: the machine came up by another way", way.name))),
    }
}

/// Another client than firmware, from the switch: what it gets is the file.
fn by_tftp(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    for options in ["", "-b 1468"] {
        let line = format!(
            "cd /run && busybox tftp -g -r snponly.efi {options} 10.72.0.1 && cmp snponly.efi /usr/lib/ipxe/snponly.efi && echo same"
        );
        let said = lab.shell("tor", &line)?;
        outcome.add(&Outcome::check(said.contains("same"), format!("busybox tftp {options}: {said}")));
    }
    Ok(())
}

/// Nobody says what the machine boots, then somebody does: it waits in its script, and goes on.
fn without_image(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    lab.shell("boot1", "weft-netboot image pin none --role cs")?;
    let began = power_cycle(lab, "bios")?;
    says(lab, "nobody said yet what N1 (node1) boots", began, LIMIT)?;
    let began = Instant::now();
    lab.shell("boot1", "weft-netboot image pin debian --role cs")?;
    says(lab, UP, began, LIMIT)?;
    outcome.add(&Outcome::passed());
    Ok(())
}

/// The boot server is away while firmware asks: the machine fails, and is up by itself when the server is back.
fn without_server(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let link = |what: &str| match lab.log.run(&mut lab.lab_command(&["link", what, &lab.name, "boot1:eth0"]))? {
        true => Ok(()),
        false => Err(io::Error::other(format!("`weft-lab link {what} boot1:eth0` failed"))),
    };
    lab.shell("machine", "sh /etc/lab/power.sh off")?;
    link("down")?;
    lab.shell("machine", "sh /etc/lab/power.sh bios")?;
    // SeaBIOS says so when no device of its list boots; it begins again after three seconds.
    says(lab, "No bootable device", Instant::now(), LIMIT)?;
    link("up")?;
    let began = Instant::now();
    says(lab, UP, began, LIMIT)?;
    outcome.add(&Outcome::passed());
    let took = began.elapsed().as_secs_f64();
    outcome
        .notes
        .push(format!("bios: the boot server is back: known there {took:.1} s later, nobody touched the machine"));
    Ok(())
}

/// UEFI HTTPS, from here until `signed`: firmware that knows another authority ends its handshake with the boot server, which says so.
/// That it boots when it knows ours is what `measured` needs.
fn by_tls(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let said = lab.shell("boot1", "sh /etc/lab/https.sh")?;
    outcome.add(&Outcome::check(said.contains("it has TLS"), format!("https.sh: {said}")));
    trust(lab, "other")?;
    let began = power_cycle(lab, "http")?;
    let refused = "no TLS with a machine that boots from=10.69.1.7";
    while !lab.shell("boot1", "cat /run/netboot.log")?.contains(refused) {
        if began.elapsed() > WAYS[2].limit {
            return Err(io::Error::other("firmware that knows another authority: the boot server does not say so"));
        }
        std::thread::sleep(POLL);
    }
    outcome.add(&Outcome::passed());
    trust(lab, "ca")
}

/// Gives the firmware of the machine one authority of the boot server's folder, and no other.
fn trust(lab: &Lab<'_>, authority: &str) -> io::Result<()> {
    let pem = lab.shell("boot1", &format!("cat /run/boot/{authority}.pem"))?;
    lab.shell("machine", &format!("sh /etc/lab/power.sh trust <<'END'\n{}\nEND", pem.trim())).map(drop)
}

/// What the TPM of a machine says is what the boot server said before; with another command line it is something else. It boots by HTTPS.
fn measured(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let way = Way { name: "tpm", says: "https://10.72.0.1:8443/boot/uki.efi", ..WAYS[2] };
    let mut before = Vec::new();
    for cmdline in ["console=ttyS0 quiet panic=5", "console=ttyS0 quiet panic=5 weft.other"] {
        let line = format!(
            "weft-netboot image add debian --kernel ${{WEFT_BOOT_FILES:-/var/cache/weft-lab/boot}}/vmlinuz --initrd /run/initrd.gz \
             --cmdline '{cmdline}' > /dev/null && weft-netboot image pcrs --machine N1"
        );
        let said = lab.shell("boot1", &line)?;
        let lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let wanted: Vec<String> = lines
            .filter_map(|words| match words[..] {
                [pcr @ ("4" | "11"), value] => Some(format!("machine: PCR {pcr} {value}")),
                _ => None,
            })
            .collect();
        let took = power_on(lab, &way)?.as_secs_f64();
        outcome.notes.push(format!("https, with a TPM: from power-on to known at the boot server {took:.1} s"));
        let console = console(lab)?;
        let has: Vec<&str> = console.lines().map(str::trim).filter(|line| line.starts_with("machine: PCR ")).collect();
        outcome.add(&Outcome::check(
            wanted.len() == 2 && has == wanted,
            format!("the TPM says {has:?}, and the boot server said {wanted:?} ({said})"),
        ));
        let differ = wanted.iter().all(|line| !before.contains(line));
        outcome.add(&Outcome::check(differ, "another command line changes no PCR".to_owned()));
        before = wanted;
    }
    Ok(())
}

/// Firmware that starts only what is signed: it refuses what is not, and at the next power-on starts what is signed from now on.
fn signed(lab: &Lab<'_>, outcome: &mut Outcome) -> io::Result<()> {
    let began = power_cycle(lab, "secure")?;
    says(lab, "Access Denied", began, LIMIT)?;
    let said = lab.shell("boot1", "sh /etc/lab/sign.sh")?;
    outcome.add(&Outcome::check(said.contains("it signs"), format!("sign.sh: {said}")));
    // As another program sees it; and with an octet of the command line changed.
    let certificate = "/usr/share/ovmf/PkKek-1-snakeoil.pem";
    let line = format!(
        "cd /run && busybox wget -q -O uki.efi http://10.72.0.1:8080/boot/uki.efi?serial=N1 && sbverify --cert {certificate} uki.efi && \
         sed 's/quiet panic=5/quiet panic=6/' uki.efi > changed.efi && ! cmp -s uki.efi changed.efi && \
         if sbverify --cert {certificate} changed.efi; then echo changed octets pass; else echo changed octets are refused; fi"
    );
    let said = lab.shell("boot1", &line)?;
    let is_so = said.contains("Signature verification OK") && said.contains("changed octets are refused");
    outcome.add(&Outcome::check(is_so, format!("sbverify: {said}")));
    for way in &[SECURE, SECURE_PXE] {
        let took = power_on(lab, way)?.as_secs_f64();
        outcome.add(&Outcome::passed());
        outcome.notes.push(format!("{}: from power-on to known at the boot server {took:.1} s", way.name));
    }
    Ok(())
}
