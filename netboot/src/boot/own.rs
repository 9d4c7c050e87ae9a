//! What a machine has of its own in the initial file system: an archive with the configuration of its routing daemon, and with who it is and what it does.
//! It goes behind the initial file systems of the image, in the one file for UEFI and as a further file of the script. Pure and
//! deterministic: the same inventory makes the same octets on every server, because what a machine boots is signed and measured.

use super::cpio::{Archive, Entry};
use super::{Image, Start};
use crate::error::Refusal;
use crate::inventory::Inventory;
use crate::inventory::machine::Machine;
use crate::plan::generate;
use flate2::Compression;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use weft_machine::orders::{CARD, CONFIG, Card, Disk, Orders, Root};

/// Where machines find boot servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    /// Files.
    pub server: SocketAddr,
    /// Reports of machines, if they are heard.
    pub report: Option<SocketAddr>,
}

impl Door {
    /// From what the server's file says: the first address of `boot.listen`, and there the port of `enrol`.
    #[must_use]
    pub fn new(listen: &[SocketAddr], enrol: Option<SocketAddr>) -> Self {
        let nowhere = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0);
        let server = listen.first().copied().unwrap_or(nowhere);
        Self { server, report: enrol.map(|enrol| SocketAddr::new(server.ip(), enrol.port())) }
    }
}

/// The archive, in gzip without compression: it may stand behind an archive of any length, and no version of a library changes it.
///
/// # Errors
/// When the plan does not say how this machine is routed.
pub fn archive(
    inventory: &Inventory,
    machine: Option<&Machine>,
    image: &Image,
    door: Door,
) -> Result<Vec<u8>, Refusal> {
    let mut archive = Archive::default();
    if let Some(machine) = machine {
        let missing = |what: &str| {
            let rule = format!("set one first: `weft-netboot {what} set FILE`");
            Refusal { rule, ..Refusal::not_found("setting", what) }
        };
        let plan = inventory.plan().ok_or_else(|| missing("plan"))?;
        let ipam = inventory.addressing().ok_or_else(|| missing("ipam"))?;
        let document = generate(&machine.serial, plan, ipam, inventory.machines().map(Arc::as_ref))?;
        archive.put(CONFIG, Entry::File(document.to_string().into_bytes(), 0o644));
    }
    let card = card(machine, image, door);
    // Of plain fields: it is always text.
    let text = serde_json::to_string(&card).unwrap_or_default();
    archive.put(CARD, Entry::File(format!("{text}\n").into_bytes(), 0o644));
    Ok(archive.gzip(Compression::none()).unwrap_or_default())
}

fn card(machine: Option<&Machine>, image: &Image, door: Door) -> Card {
    let orders = match (machine, &image.start) {
        (None, _) => Orders::Wait,
        (Some(_), None | Some(Start::Run)) => Orders::Run,
        (Some(_), Some(Start::Load(root))) => Orders::Load(Root { sha256: root.sha256.to_string(), bytes: root.bytes }),
        (Some(_), Some(Start::Disk(device))) => Orders::Disk(Disk { device: device.clone() }),
    };
    Card {
        serial: machine.map(|machine| machine.serial.clone()),
        name: machine.map(|machine| machine.name.clone()),
        role: machine.map(|machine| machine.role.clone()),
        address: machine.and_then(|machine| address(machine, door)),
        server: door.server,
        report: door.report,
        orders,
    }
}

/// Its own address in the family of the boot servers.
fn address(machine: &Machine, door: Door) -> Option<IpAddr> {
    match door.server {
        SocketAddr::V4(_) => machine.ipv4.first().copied().map(IpAddr::V4),
        SocketAddr::V6(_) => machine.ipv6.first().copied().map(IpAddr::V6),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Blob, Digest};
    use super::*;
    use std::io::Read as _;

    fn image(start: Start) -> Image {
        let blob = Blob { sha256: Digest::of(&[1; 32]), bytes: 7 };
        Image { kernel: blob.clone(), initrds: vec![blob], cmdline: String::new(), start: Some(start) }
    }

    fn door() -> Door {
        Door::new(&["10.72.0.1:8080".parse().unwrap()], "0.0.0.0:10480".parse().ok())
    }

    /// What is in a file of an archive: the text between the name and the next entry.
    fn text(octets: &[u8], path: &str) -> Option<String> {
        let mut all = Vec::new();
        flate2::read::GzDecoder::new(octets).read_to_end(&mut all).unwrap();
        let all = String::from_utf8(all).unwrap();
        let (_, rest) = all.split_once(&format!("{}\0", path.trim_start_matches('/')))?;
        rest.trim_start_matches('\0').split("070701").next().map(|text| text.trim_end_matches('\0').to_owned())
    }

    #[test]
    fn a_machine_that_nobody_registered_reports_itself() {
        let inventory = crate::inventory::tests::with_machines();
        let octets = archive(&inventory, None, &image(Start::Run), door()).unwrap();
        let card = Card::read(&text(&octets, CARD).unwrap()).unwrap();
        assert_eq!((card.orders, card.serial, card.address), (Orders::Wait, None, None));
        assert_eq!(card.report, "10.72.0.1:10480".parse().ok());
        assert_eq!(text(&octets, CONFIG), None);
    }

    #[test]
    fn without_a_plan_of_the_fabric_a_machine_is_not_routed_and_it_is_said() {
        let inventory = crate::inventory::tests::with_machines();
        let machine = inventory.machine("N1").unwrap().value.clone();
        let refusal = archive(&inventory, Some(&machine), &image(Start::Run), door()).unwrap_err();
        assert!(refusal.rule.contains("weft-netboot plan set"), "{refusal}");
    }

    #[test]
    fn a_machine_finds_its_orders_and_its_configuration() {
        let inventory = crate::inventory::tests::with_fabric();
        let machine = inventory.machine("N1").unwrap().value.clone();
        let root = Blob { sha256: Digest::of(&[9; 32]), bytes: 70 };
        for (start, orders) in [
            (Start::Run, Orders::Run),
            (Start::Load(root.clone()), Orders::Load(Root { sha256: root.sha256.to_string(), bytes: 70 })),
            (Start::Disk("/dev/vda2".to_owned()), Orders::Disk(Disk { device: "/dev/vda2".to_owned() })),
        ] {
            let made = || archive(&inventory, Some(&machine), &image(start.clone()), door()).unwrap();
            let octets = made();
            assert_eq!(octets, made(), "the same octets each time");
            let card = Card::read(&text(&octets, CARD).unwrap()).unwrap();
            assert_eq!(card.orders, orders);
            assert_eq!(card.address, machine.ipv4.first().copied().map(IpAddr::V4));
            let config = weft_fabric::config::parse(CONFIG, &text(&octets, CONFIG).unwrap()).unwrap();
            assert_eq!(config.addresses.len(), machine.ipv4.len().min(1) + machine.ipv6.len().min(1));
        }
    }
}
