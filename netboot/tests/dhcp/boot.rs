//! What each firmware is told to boot: the client messages of the captures against one table.

use crate::world::World;
use crate::{fixtures, question};
use weft_netboot::dhcp::v4::message::{Kind, Message, Op};
use weft_netboot::dhcp::v4::option::code;

fn told(answer: &Message) -> String {
    let text = |code| answer.options.raw(code).map(|value| String::from_utf8_lossy(value).into_owned());
    let raw = |code| answer.options.raw(code).map(|value| format!("{value:02x?}"));
    let word = |name: &str, value: Option<String>| value.map(|value| format!("{name}={value}"));
    let file = Some(String::from_utf8_lossy(&answer.file).into_owned()).filter(|file| !file.is_empty());
    let next = Some(answer.siaddr).filter(|address| !address.is_unspecified()).map(|address| address.to_string());
    let all = [
        word("60", text(code::CLASS)),
        word("43", raw(code::VENDOR)),
        word("66", text(code::TFTP_SERVER)),
        word("67", text(code::BOOT_FILE)),
        word("175", raw(code::IPXE)),
        word("file", file),
        word("siaddr", next),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

const SCRIPT: &str = "67=http://10.72.0.1:8080/boot.ipxe 175=[b0, 01, 01] file=http://10.72.0.1:8080/boot.ipxe";
const HTTP: &str = "60=HTTPClient 67=http://10.72.0.1:8080/uki.efi";
const PXE: &str = "60=PXEClient 43=[06, 01, 08, ff] 66=10.72.0.1 67=snponly.efi file=snponly.efi siaddr=10.72.0.1";

/// netboot.md §6, the decision that booted all three clients; which client sent which packet is in its table of prefixes.
#[test]
fn captured_clients_are_told_what_booted_them() {
    let mut world = World::new(1);
    let mut seen = [0; 4];
    for (name, packet) in fixtures() {
        let message = Message::read(&packet).unwrap();
        if message.op == Op::Reply || message.kind != Kind::Discover || message.giaddr.is_unspecified() {
            continue;
        }
        let (which, expected) = match name.trim_end_matches(".discover") {
            "up.00" | "up.01" | "uefipxe.up.04" => (0, SCRIPT),
            "ukihttp.up.00" => (1, HTTP),
            "uefipxe.up.00" | "renew.isc.00" | "renew.dnsmasq.00" => (2, PXE),
            // The kernel's client.
            "up.06" | "up.10" | "up.11" | "ukihttp.up.04" => (3, ""),
            other => panic!("{other}"),
        };
        seen[which] += 1;
        assert_eq!(told(&world.one(0, &message).2), expected, "{name}");
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

/// RFC 4578 §2.1 and the numbers of IANA: each architecture by each way, and nothing for what the rules do not name.
#[test]
fn architectures_get_their_own_files() {
    let mut world = World::new(1);
    let mut ask = |class: &[u8], arch: u16| {
        let mut message = question(Kind::Discover);
        message.options.set(code::CLASS, class);
        message.options.set(code::ARCH, arch.to_be_bytes());
        world.one(0, &message).2.options.raw(code::BOOT_FILE).map(|name| String::from_utf8_lossy(name).into_owned())
    };
    let (pxe, http) = (b"PXEClient:Arch:00000:UNDI:002001".as_slice(), b"HTTPClient:Arch:00016:UNDI:003000".as_slice());
    for (arch, name) in [(0, "undionly.kpxe"), (7, "snponly.efi"), (9, "snponly.efi"), (11, "snponly-arm64.efi")] {
        assert_eq!(ask(pxe, arch).as_deref(), Some(name), "{arch}");
    }
    assert_eq!(ask(http, 16).as_deref(), Some("http://10.72.0.1:8080/uki.efi"));
    assert_eq!(ask(http, 19).as_deref(), Some("http://10.72.0.1:8080/arm64.efi"));
    for (class, arch) in [(pxe, 6), (pxe, 0xffff), (http, 18), (http, 0)] {
        assert_eq!(ask(class, arch), None, "{arch}");
    }
    assert_eq!(world.nodes[0].server.counts().nothing_to_boot, 4);
}

/// Machines of the roles that have our authority are told nothing but `https://`, not even where there is none for their architecture;
/// others, and those that nobody knows, never.
#[test]
fn only_who_has_our_authority_is_told_to_boot_by_tls() {
    let mut world = World::new(1);
    let ask = |world: &mut World, class: &[u8], arch: u16| {
        let mut message = question(Kind::Discover);
        message.options.set(code::CLASS, class);
        message.options.set(code::ARCH, arch.to_be_bytes());
        told(&world.one(0, &message).2)
    };
    let (http, pxe) = (b"HTTPClient:Arch:00016:UNDI:003000".as_slice(), b"PXEClient:Arch:00007:UNDI:003000".as_slice());
    assert_eq!(ask(&mut world, http, 16), HTTP);
    let machine = |role: &str| serde_json::json!({"serial": "N1", "rack": 1, "role": role, "index": 7, "ids": {"macs": ["52:54:00:69:01:01"]}});
    world.register(machine("ss"));
    assert_eq!(ask(&mut world, http, 16), "60=HTTPClient 67=https://10.72.0.1:8443/uki.efi");
    assert_eq!(ask(&mut world, http, 19), "", "no way around TLS");
    assert_eq!(ask(&mut world, pxe, 7), PXE);
    let mut world = World::new(1);
    world.register(machine("cs"));
    assert_eq!(ask(&mut world, http, 16), HTTP);
}

/// iPXE says its name bare, others with the length before it (RFC 3004 §4); 175 is enough.
#[test]
fn ipxe_is_known_by_its_name_or_its_option() {
    let mut world = World::new(1);
    for (which, value) in
        [(code::USER_CLASS, b"iPXE".as_slice()), (code::USER_CLASS, b"\x04iPXE"), (code::IPXE, b"\x13\x01\x01")]
    {
        let mut message = question(Kind::Discover);
        message.options.set(code::CLASS, *b"PXEClient:Arch:00007:UNDI:003010");
        message.options.set(code::ARCH, [0, 7]);
        message.options.set(which, value);
        assert_eq!(told(&world.one(0, &message).2), SCRIPT);
    }
}
