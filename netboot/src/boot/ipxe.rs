//! Scripts for iPXE. A machine that iPXE leaves may be parked in a firmware menu until somebody comes, so no script ends but in a kernel,
//! or on purpose in the machine's own disk: what fails is tried again for ever, each time twice as late, and with a new script, because
//! what the machine boots may have changed meanwhile.
//!
//! ```text
//!   DHCP ─▶ ENTRY, the same for all ─▶ SCRIPT?who ─▶ files by their digests ─▶ kernel
//!               └─ tries again ─┘  ◀── tries again ──┘
//! ```
//!
//! Paths are relative to where the script came from: every server has the same ones, and none has to know how it is reached. Nothing that
//! a machine says is written into a script; iPXE itself puts its names into the address that it asks.

use super::{Boots, Choice, Image};
use crate::inventory::machine::Machine;
use std::fmt::Write as _;

/// The script that all machines load first.
pub const ENTRY: &str = "/boot.ipxe";
/// The script of one machine; the query says which.
pub const SCRIPT: &str = "/boot/script";
/// Below it are files, by digest; a further name is for people.
pub const BLOBS: &str = "/blobs/";
/// Longest wait between two tries, in seconds; they begin with one.
pub const WAIT_MAX_S: u32 = 32;

/// The image of one machine as one signed file, or nothing; the query says which.
pub const SIGNED: &str = "/boot/signed.efi";
/// The archive of one machine; the query says which.
pub const OWN: &str = "/boot/machine.img";
/// Wait of a machine that is held, in seconds.
pub const HELD_WAIT_S: u32 = 60;

/// Milliseconds without an octet after which iPXE gives a file up: by itself it waits for ever for what was sent over a cable that is dead.
const SILENT_MS: u32 = 10_000;

/// How iPXE asks for the script of its machine; `netX` is the card from which it boots. Without a colon: versions before 2020 would take
/// what stands before one for a scheme, wherever it is.
const ASK: &str = "/boot/script?serial=${serial:uristring}&uuid=${uuid}&mac=${netX/mac:hexhyp}";
/// The archive, likewise.
const ASK_OWN: &str = "/boot/machine.img?serial=${serial:uristring}&uuid=${uuid}&mac=${netX/mac:hexhyp}";
/// The image as one signed file, likewise.
const ASK_SIGNED: &str = "/boot/signed.efi?serial=${serial:uristring}&uuid=${uuid}&mac=${netX/mac:hexhyp}";

/// The script that all machines load first.
#[must_use]
pub fn entry() -> String {
    format!("#!ipxe\nset wait:int32 1\n{}", ask())
}

/// What a machine runs, and what a person at its console reads. `signed` is the architecture, as iPXE calls it (`buildarch`), for which
/// the server makes signed files.
#[must_use]
pub fn script(boots: &Boots, machine: Option<&Machine>, signed: Option<&str>) -> String {
    let named = |machine: &Machine| format!("{} ({})", machine.serial, machine.name);
    let who = plain(&machine.map_or_else(|| "an unknown machine".to_owned(), named));
    let image = match boots.choice(machine) {
        Some(Choice::Disk) => return format!("#!ipxe\necho weft: {who} boots from its disk\nexit\n"),
        Some(Choice::Image(name)) => boots.images.get_key_value(name),
        None => None,
    };
    let Some((name, image)) = image else {
        return format!("#!ipxe\n{}{}", later(&format!("nobody said yet what {who} boots")), ask());
    };
    let failed = later(&format!("{name} does not boot"));
    let load = load(image, signed);
    format!("#!ipxe\necho weft: {who} boots {name}\n{load}:failed\n{failed}{}", ask())
}

/// What a machine gets that is held: it waits, and asks again whether it still is.
#[must_use]
pub fn held(machine: &Machine, why: &str) -> String {
    let (who, why) = (plain(&machine.serial), plain(why));
    let remedy = plain(&format!("weft-netboot machines release {}", machine.serial));
    format!("#!ipxe\necho weft: {who} is held: {why}\necho weft: let it boot: {remedy}\nsleep {HELD_WAIT_S}\n{}", ask())
}

/// Asks for the machine's script until there is one, which then takes the place of this one. Without an answer the way there may be dead:
/// all cards are asked for a lease again, from the first one on, and `netX` is then the one that got it.
fn ask() -> String {
    let waits = later("no boot server answers");
    format!(
        ":again\nchain --timeout {SILENT_MS} --replace --autofree {ASK} ||\n{waits}ifclose ||\ndhcp ||\ngoto again\n"
    )
}

/// Waits. `wait` lives longer than a script: who fails again and again waits longer.
fn later(why: &str) -> String {
    format!(
        "echo weft: {why}: again in ${{wait}} s\nsleep ${{wait}}\niseq ${{wait}} {WAIT_MAX_S} || inc wait ${{wait}}\n"
    )
}

/// The kernel with its initial file systems. `initrd=` tells UEFI which files these are, and BIOS does not mind. Where the server signs, UEFI
/// gets all of it in one signed file: with Secure Boot iPXE starts nothing else, and whether that is on it cannot say.
fn load(image: &Image, signed: Option<&str>) -> String {
    let mut script = String::from("imgfree\n");
    if let Some(arch) = signed {
        let _ = writeln!(script, "iseq ${{platform}} efi && iseq ${{buildarch}} {arch} && goto signed ||");
    }
    let mut names = String::new();
    for (at, initrd) in image.initrds.iter().enumerate() {
        let _ = writeln!(
            script,
            "initrd --timeout {SILENT_MS} --name initrd{at} {BLOBS}{}/initrd{at} || goto failed",
            initrd.sha256
        );
        let _ = write!(names, " initrd=initrd{at}");
    }
    if image.start.is_some() {
        let _ = writeln!(script, "initrd --timeout {SILENT_MS} --name machine {ASK_OWN} || goto failed");
        names.push_str(" initrd=machine");
    }
    let cmdline = if image.cmdline.is_empty() { String::new() } else { format!(" {}", image.cmdline) };
    let _ = writeln!(
        script,
        "kernel --timeout {SILENT_MS} {BLOBS}{}/vmlinuz{names}{cmdline} || goto failed",
        image.kernel.sha256
    );
    script.push_str("boot || goto failed\n");
    if signed.is_some() {
        let _ = writeln!(script, ":signed\nchain --timeout {SILENT_MS} {ASK_SIGNED} || goto failed");
    }
    script
}

/// Without what iPXE would read in a line.
fn plain(text: &str) -> String {
    let sign = |sign: char| sign.is_ascii_alphanumeric() || " -_.()".contains(sign);
    text.chars().map(|found| if sign(found) { found } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Blob, Change, Digest, Whom};
    use super::*;

    fn blob(octet: u8) -> Blob {
        Blob { sha256: Digest::of(&[octet; 32]), bytes: 1 }
    }

    fn boots(to: Option<Choice>) -> Boots {
        let image = Image {
            kernel: blob(1),
            initrds: vec![blob(2), blob(3)],
            cmdline: "quiet panic=5".to_owned(),
            start: None,
        };
        let added = Boots::default().after(&Change::Add { name: "a".to_owned(), image }).unwrap();
        added.after(&Change::Pin { whom: Whom::Rest, to }).unwrap()
    }

    #[test]
    fn scripts_are_as_they_were_read_by_people() {
        let machine = crate::inventory::tests::machine("N1", 0, 4);
        let image = boots(Some(Choice::Image("a".to_owned())));
        let all = [
            entry(),
            script(&image, Some(&machine), None),
            script(&image, Some(&machine), Some("x86_64")),
            script(&boots(None), None, Some("x86_64")),
            script(&boots(Some(Choice::Disk)), None, Some("x86_64")),
        ];
        insta::assert_snapshot!(all.join("----\n"));
    }

    #[test]
    fn a_script_ends_in_a_kernel_or_on_purpose_on_the_disk() {
        for to in [None, Some(Choice::Image("a".to_owned()))] {
            let script = script(&boots(to), None, None);
            assert!(script.ends_with("goto again\n") && !script.contains("exit"), "{script}");
        }
        // Every line that can fail says where it goes on; iPXE ends a script at the first one that does not.
        let image = boots(Some(Choice::Image("a".to_owned())));
        for line in [entry(), script(&image, None, Some("x86_64"))].concat().lines() {
            let can_fail = ["chain", "kernel", "initrd", "boot", "iseq", "ifclose", "dhcp"]
                .iter()
                .any(|verb| line.starts_with(verb));
            assert_eq!(can_fail, line.contains("||"), "{line}");
        }
    }

    #[test]
    fn what_a_machine_is_called_is_no_command() {
        let mut machine = crate::inventory::tests::machine("N1", 0, 4);
        machine.name = "x\n|| shell ${net0/ip}".to_owned();
        let script = script(&boots(Some(Choice::Disk)), Some(&machine), None);
        assert_eq!(script.lines().nth(1), Some("echo weft: N1 (x??? shell ??net0?ip?) boots from its disk"));
    }
}
