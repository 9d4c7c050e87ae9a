//! The server with a real socket and a store on disk, in a network namespace of its own. What a relay and a client say is written here octet by
//! octet from the text of RFC 8415, not by what the server reads with.

use std::net::{Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::Arc;
use std::time::Duration;
use weft_netboot::config;
use weft_netboot::dhcp::v6::message::MESSAGE_MAX;
use weft_netboot::dhcp::v6::rules::Rules;
use weft_netboot::inventory::access::{Access, Actor};
use weft_netboot::inventory::command::Command;
use weft_netboot::io::dhcp6::Dhcp6;
use weft_netboot::io::embedded::Embedded;
use weft_netboot::io::service::Service;

/// Longest wait for an answer: a compiler may use the machine.
const WITHIN: Duration = Duration::from_secs(20);
/// A client asks again when it heard nothing.
const AGAIN: Duration = Duration::from_millis(300);
/// How often a file that is in use is tried.
const POLL: Duration = Duration::from_millis(50);
const PORT: u16 = 547;
const SERVER: &str = "fd00:72::1";
const RELAY: &str = "fd00:69:255::1";
/// An address of the client's link: rack 1, network 1.
const LINK: &str = "fd00:69:0:4::1";

/// Kinds of messages (RFC 8415 §7.3).
mod kind {
    pub(super) const SOLICIT: u8 = 1;
    pub(super) const ADVERTISE: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const RENEW: u8 = 5;
    pub(super) const REPLY: u8 = 7;
    pub(super) const FORWARD: u8 = 12;
    pub(super) const BACK: u8 = 13;
}

/// An option (RFC 8415 §21.1).
fn option(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// The value of an option.
fn find(mut options: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [a, b, c, d, rest @ ..] = options {
        let (value, rest) = rest.split_at(usize::from(u16::from_be_bytes([*c, *d])));
        if u16::from_be_bytes([*a, *b]) == wanted {
            return Some(value);
        }
        options = rest;
    }
    None
}

fn octets(address: &str) -> [u8; 16] {
    address.parse::<Ipv6Addr>().unwrap().octets()
}

/// A client: kind, transaction, its DUID of a network card, an association number 7.
fn message(kind: u8, more: &[Vec<u8>], addresses: &[u8]) -> Vec<u8> {
    let association = [&[0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0], addresses].concat();
    let options = [option(1, &[0, 3, 0, 1, 0x52, 0x54, 0, 0x69, 1, 9]), option(3, &association)].concat();
    [&[kind, 0xa1, 0xb2, 0xc3], options.as_slice(), &more.concat()].concat()
}

/// A relay around it (RFC 8415 §9.1, §19.1.1), and its answer without it (§9.2).
struct Relay(UdpSocket);

impl Relay {
    fn new() -> Self {
        let socket = UdpSocket::bind((RELAY.parse::<Ipv6Addr>().unwrap(), PORT)).unwrap();
        socket.set_read_timeout(Some(AGAIN)).unwrap();
        Self(socket)
    }

    /// Asks until there is an answer: what is in it.
    fn ask(&self, message: &[u8]) -> Vec<u8> {
        let server = (SERVER.parse::<Ipv6Addr>().unwrap(), PORT);
        let peer = octets("fe80::5054:ff:fe69:109");
        let head = [&[kind::FORWARD, 0][..], &octets(LINK), &peer].concat();
        let forward = [head.clone(), option(18, b"swp4"), option(9, message)].concat();
        let mut buffer = [0; 1_500];
        for _ in 0..WITHIN.as_millis() / AGAIN.as_millis() {
            // There is no way to an address that is not there yet.
            let _ = self.0.send_to(&forward, server);
            if let Ok((length, from)) = self.0.recv_from(&mut buffer) {
                assert_eq!(from, server.into(), "the answer comes from the service address");
                let answer = &buffer[..length];
                assert_eq!((answer[0], &answer[1..34]), (kind::BACK, &head[1..]), "hops, link and peer as they were");
                assert_eq!(find(&answer[34..], 18), Some(&b"swp4"[..]));
                let inner = find(&answer[34..], 9).unwrap().to_vec();
                assert_eq!(inner[1..4], message[1..4], "the transaction");
                return inner;
            }
        }
        panic!("no answer to {message:?}")
    }
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The store, once the thread of the server before has closed the file.
async fn opened(folder: &Path) -> Embedded {
    let path = folder.join("inventory.redb");
    for _ in 0..WITHIN.as_millis() / POLL.as_millis() {
        if let Ok(store) = Embedded::open(&path) {
            return store;
        }
        tokio::time::sleep(POLL).await;
    }
    Embedded::open(&path).unwrap()
}

async fn server(folder: &Path) -> Arc<Dhcp6> {
    let service = Service::start(Arc::new(opened(folder).await)).await.unwrap();
    let ipam = serde_json::from_str(crate::world::IPAM).unwrap();
    let actor = Actor { name: "root".to_owned(), access: Access::Admin, via: "test".to_owned() };
    service.run(&Command::SetIpam { ipam }, &actor).await.unwrap();
    let rules: Rules = config::parse("rules", crate::world::RULES).unwrap();
    Dhcp6::start(&Rules { name: Some("boot1".to_owned()), ..rules }, service).unwrap()
}

fn ip(words: &str) {
    assert!(Program::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}

/// Runs the test below where the addresses are its own.
#[test]
fn a_server_with_a_socket_and_a_store() {
    let mut program = Program::new("unshare");
    program.args(["--user", "--map-root-user", "--net"]);
    if !Program::new("unshare")
        .args(["--user", "--map-root-user", "--net", "true"])
        .status()
        .is_ok_and(|it| it.success())
    {
        println!(
            "*** SKIPPED: DHCPv6 with sockets: no network namespace (sysctl user.max_user_namespaces; Debian: util-linux)"
        );
        return;
    }
    program.arg(std::env::current_exe().unwrap());
    let output = program.args(["--ignored", "--exact", "sockets::in_its_namespace", "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("test result: ok. 1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// A lease at an address that came after the server; what firmware is told; a renewal at a server that was started anew: what that one
/// knows is from the store.
#[test]
#[ignore = "needs the namespace that the test above makes"]
fn in_its_namespace() {
    ip("link set lo up");
    ip(&format!("address add {RELAY}/128 dev lo"));
    let folder = Folder(std::env::temp_dir().join(format!("weft-dhcp6-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let relay = Relay::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = runtime.block_on(server(&folder.0));
    ip(&format!("address add {SERVER}/128 dev lo"));

    let advertise = relay.ask(&message(kind::SOLICIT, &[], &[]));
    assert_eq!(advertise[0], kind::ADVERTISE);
    let by = option(2, find(&advertise[4..], 2).unwrap());
    let offered = find(&find(&advertise[4..], 3).unwrap()[12..], 5).unwrap()[..16].to_vec();
    assert_eq!(offered[..8], octets(LINK)[..8], "of the client's link");
    let wish = option(5, &[offered.as_slice(), &[0; 8]].concat());
    let has = |reply: &[u8]| {
        let association = find(&reply[4..], 3).unwrap();
        let address = find(&association[12..], 5).unwrap();
        (reply[0], association[..12].to_vec(), address[..16].to_vec(), address[16..].to_vec())
    };
    // T1 and T2 at half and at 0.8 of an hour; preferred and valid lifetime.
    let times = |times: [u32; 2]| times.map(u32::to_be_bytes).concat();
    let bound = (kind::REPLY, [vec![0, 0, 0, 7], times([1_800, 2_880])].concat(), offered, times([3_600, 3_600]));
    assert_eq!(has(&relay.ask(&message(kind::REQUEST, std::slice::from_ref(&by), &wish))), bound);

    // UEFI 2.10 §24.7.3, RFC 5970 §3: Intel's number and one word, the architecture of x86-64 by HTTP.
    let class = option(16, &[&[0, 0, 1, 0x57, 0, 10], &b"HTTPClient"[..]].concat());
    let firmware = relay.ask(&message(kind::SOLICIT, &[class.clone(), option(61, &[0, 16])], &[]));
    assert_eq!(find(&firmware[4..], 59), Some(&b"http://[fd00:72::1]:8080/boot/uki.efi"[..]));
    assert_eq!(option(16, find(&firmware[4..], 16).unwrap()), class, "without it firmware takes it for PXE's");
    let ipxe = relay.ask(&message(kind::SOLICIT, &[option(15, b"\0\x04iPXE")], &[]));
    assert_eq!(find(&ipxe[4..], 59), Some(&b"http://[fd00:72::1]:8080/boot.ipxe"[..]));
    assert_eq!(find(&advertise[4..], 59), None, "who does not boot is not told");

    // What is longer than a message is counted, and the next one answered.
    let long = vec![kind::FORWARD; MESSAGE_MAX + 1];
    relay.0.send_to(&long, (SERVER.parse::<Ipv6Addr>().unwrap(), PORT)).unwrap();
    relay.ask(&message(kind::SOLICIT, &[], &[]));
    let counts = running.shown().counts;
    assert!(counts.refused().any(|refused| refused == ("malformed", 1)), "{counts:?}");
    drop((running, runtime));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _running = runtime.block_on(server(&folder.0));
    assert_eq!(has(&relay.ask(&message(kind::RENEW, &[by], &wish))), bound);
}
