//! RFC 5970: what machines boot; and who they are by their DUIDs.

use crate::world::{RULES, World};
use crate::{address, association, given, question};
use serde_json::json;
use weft_netboot::config;
use weft_netboot::dhcp::v6::client::Client;
use weft_netboot::dhcp::v6::message::{Kind, Message, code};
use weft_netboot::dhcp::v6::rules::Rules;

/// 564d0a1b-2c3d-4e5f-8091-a2b3c4d5e6f7 as RFC 9562 orders it, and as SMBIOS does.
const CANONICAL: [u8; 18] =
    [0, 4, 0x56, 0x4d, 0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f, 0x80, 0x91, 0xa2, 0xb3, 0xc4, 0xd5, 0xe6, 0xf7];
const SMBIOS: [u8; 18] =
    [0, 4, 0x1b, 0x0a, 0x4d, 0x56, 0x3d, 0x2c, 0x5f, 0x4e, 0x80, 0x91, 0xa2, 0xb3, 0xc4, 0xd5, 0xe6, 0xf7];

fn class(word: &[u8]) -> (u16, Vec<u8>) {
    let length = u16::try_from(word.len()).unwrap().to_be_bytes();
    (code::VENDOR_CLASS, [&343_u32.to_be_bytes()[..], &length, word].concat())
}

fn arch(number: u16) -> (u16, Vec<u8>) {
    (code::ARCH, number.to_be_bytes().to_vec())
}

fn solicit(more: &[(u16, Vec<u8>)]) -> Message {
    question(Kind::Solicit, &CANONICAL, &[&[association(1, &[])], more].concat())
}

/// UEFI 2.10 §24.7.3: the vendor class says HTTPClient, and 59 is the URL.
#[test]
fn firmware_is_told_what_it_boots() {
    let mut world = World::new(1);
    let http = [class(b"HTTPClient:Arch:00016:UNDI:003001"), arch(16), (code::INTERFACE_TYPE, vec![1, 3, 16])];
    let answer = world.one(0, &solicit(&http));
    let url: &[u8] = b"http://[fd00:72::1]:8080/boot/uki.efi";
    assert_eq!(answer.options.once(code::BOOT_URL), Ok(Some(url)));
    let said: &[u8] = b"\0\0\x01\x57\0\x0aHTTPClient";
    assert_eq!(answer.options.once(code::VENDOR_CLASS), Ok(Some(said)));
    assert!(!answer.options.has(code::BOOT_PARAMETERS), "nobody asked for them");
    let pxe = world.one(0, &solicit(&[class(b"PXEClient:Arch:00007:UNDI:003001"), arch(7)]));
    let url: &[u8] = b"tftp://[fd00:72::1]/snponly.efi";
    assert_eq!(pxe.options.once(code::BOOT_URL), Ok(Some(url)));
    assert!(!pxe.options.has(code::VENDOR_CLASS));
    // RFC 5970 §3.2: each parameter with its length.
    let ipxe = [(code::USER_CLASS, b"\0\x04iPXE".to_vec()), arch(7), (code::WANTED, vec![0, 59, 0, 60])];
    let ipxe = world.one(0, &solicit(&ipxe));
    let script: &[u8] = b"http://[fd00:72::1]:8080/boot.ipxe";
    assert_eq!(ipxe.options.once(code::BOOT_URL), Ok(Some(script)));
    let words: &[u8] = b"\0\x05quiet\0\x0dconsole=ttyS0";
    assert_eq!(ipxe.options.once(code::BOOT_PARAMETERS), Ok(Some(words)));
    // Nothing for this architecture; who does not want to boot.
    let risc = world.one(0, &solicit(&[class(b"HTTPClient:Arch:00028"), arch(28)]));
    assert!(!risc.options.has(code::BOOT_URL) && world.servers[0].counts().nothing_to_boot == 1);
    assert!(!world.one(0, &solicit(&[])).options.has(code::BOOT_URL));
}

/// As `dhcp` has it: by the machine's role.
#[test]
fn only_who_has_our_authority_is_told_to_boot_by_tls() {
    for (role, url) in
        [("ss", &b"https://[fd00:72::1]:8443/boot/uki.efi"[..]), ("cs", &b"http://[fd00:72::1]:8080/boot/uki.efi"[..])]
    {
        let mut world = World::new(1);
        let uuid = "564d0a1b-2c3d-4e5f-8091-a2b3c4d5e6f7";
        world.register(json!({"serial": "N1", "rack": 1, "role": role, "ids": {"uuid": uuid}}));
        let http = [class(b"HTTPClient:Arch:00016:UNDI:003001"), arch(16)];
        assert_eq!(world.one(0, &solicit(&http)).options.once(code::BOOT_URL), Ok(Some(url)));
    }
}

/// What OVMF 2022.11 and the iPXE that it loaded sent (2026-11, QEMU, one machine): SOLICIT of each. The UUID is in either order, and the
/// firmware is told the image, iPXE the script.
#[test]
fn packets_of_real_firmware_are_one_machine() {
    let ovmf = "013282b60001001200041b0a4d563d2c5f4e8091a2b3c4d5e6f70008000200000003000cbd60cae6ffffffffffffffff00060008003b003c00170010\
        003e0003010300003d000200100010002700000157002148545450436c69656e743a417263683a30303031363a554e44493a303033303030";
    let ipxe = "01ed39b5000100120004564d0a1b2c3d4e5f8091a2b3c4d5e6f70003000ca5cf318f00000000000000000006000800170018003b003c001000260000\
        01570020505845436c69656e743a417263683a30303030373a554e44493a303033303130003d00020007003e000301030a000f0006000469505845000800020000";
    let mut world = World::new(1);
    let mut names = Vec::new();
    for (hex, wanted) in
        [(ovmf, &b"http://[fd00:72::1]:8080/boot/uki.efi"[..]), (ipxe, b"http://[fd00:72::1]:8080/boot.ipxe")]
    {
        let octets: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let mut message = Message::read(&octets).unwrap();
        assert_eq!(message.write(), octets, "written as it was");
        message.relays.push(crate::relay("fd00:69:0:4::1"));
        names.push(Client::of(&message).unwrap().unwrap().name);
        assert_eq!(world.one(0, &message).options.once(code::BOOT_URL), Ok(Some(wanted)));
    }
    assert_eq!(names[0], names[1]);
}

/// EDK2 and iPXE write the UUID of one machine in different orders: it is one machine, registered or not.
#[test]
fn a_uuid_is_one_client_in_either_order() {
    let mut world = World::new(1);
    let ask = |client: &[u8]| question(Kind::Solicit, client, &[association(1, &[])]);
    let firmware = given(&world.one(0, &ask(&SMBIOS))).0;
    assert_eq!(given(&world.one(0, &ask(&CANONICAL))).0, firmware);
    let uuid = "564d0a1b-2c3d-4e5f-8091-a2b3c4d5e6f7";
    world.register(json!({"serial": "N1", "rack": 1, "role": "cs", "ids": {"uuid": uuid}}));
    for client in [SMBIOS, CANONICAL] {
        assert_eq!(given(&world.one(0, &ask(&client))).0, [(address("fd00:69:0:4::4"), 3_600)]);
    }
}

/// A machine is known by its network card, whoever says it: the DUID (RFC 8415 §11.2), the relay (RFC 6939), its link-local address.
#[test]
fn a_network_card_is_known_by_three_ways() {
    let mut world = World::new(1);
    world.register(json!({"serial": "N1", "rack": 1, "role": "cs", "ids": {"macs": ["52:54:00:69:01:01"]}}));
    let formula = [(address("fd00:69:0:4::4"), 3_600)];
    let with_time = [0, 1, 0, 1, 0x2b, 0x5a, 0x11, 0x22, 0x52, 0x54, 0, 0x69, 1, 1];
    let by_duid = question(Kind::Solicit, &with_time, &[association(1, &[])]);
    assert_eq!(given(&world.one(0, &by_duid)).0, formula);
    let mut by_relay = solicit(&[]);
    by_relay.relays[0].options.add(code::LINK_LAYER, *b"\0\x01\x52\x54\0\x69\x01\x01");
    assert_eq!(given(&world.one(0, &by_relay)).0, formula);
    let mut by_address = solicit(&[]);
    by_address.relays[0].peer = address("fe80::5054:ff:fe69:101");
    assert_eq!(given(&world.one(0, &by_address)).0, formula);
    assert_ne!(given(&world.one(0, &solicit(&[]))).0, formula);
}

#[test]
fn rules_are_checked_with_field_and_remedy() {
    let wrong = [
        ("fd00:72::1", "fe80::1", "dhcp6.address: `fe80::1`: write the service address"),
        ("tftp://[fd00:72::1]/snponly.efi", "snponly.efi", "dhcp6.boot.pxe.x64: `snponly.efi`: write tftp://"),
        ("http://[fd00:72::1]:8080/boot.ipxe", "tftp://x/y", "dhcp6.boot.script: `tftp://x/y`: write http://"),
        ("quiet", "'a b'", "dhcp6.boot.parameters: at most 8"),
        ("boot:", "quarantine_s: 1\nboot:", "dhcp6.quarantine_s: 1: 60 to 86400"),
    ];
    for (good, bad, says) in wrong {
        let rules: Rules = config::parse("rules", &RULES.replacen(good, bad, 1)).unwrap();
        let error = rules.check().unwrap_err();
        assert!(error.starts_with(says), "{error}");
    }
    assert!(config::parse::<Rules>("rules", "address: fd00::1\nscript: x").unwrap_err().contains("unknown field"));
}
