//! The server with real sockets and a store on disk: a relay and a client on addresses of the loopback network, which need no rights.

use crate::question;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use weft_netboot::config;
use weft_netboot::dhcp::v4::message::{Kind, Message};
use weft_netboot::dhcp::v4::option::code;
use weft_netboot::dhcp::v4::rules::Rules;
use weft_netboot::inventory::access::{Access, Actor};
use weft_netboot::inventory::command::Command;
use weft_netboot::io::dhcp::Dhcp;
use weft_netboot::io::embedded::Embedded;
use weft_netboot::io::service::Service;

/// Longest wait for an answer: a compiler may use the machine.
const WITHIN: Duration = Duration::from_secs(20);
/// A client asks again when it heard nothing.
const AGAIN: Duration = Duration::from_millis(500);
/// How often a file that is in use is tried.
const POLL: Duration = Duration::from_millis(50);
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 72, 0, 1);

/// A relay, with a port that it shares with the server.
struct Relay {
    socket: UdpSocket,
    address: Ipv4Addr,
}

impl Relay {
    fn new() -> Self {
        let address = Ipv4Addr::new(127, 69, 1, 1);
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(AGAIN)).unwrap();
        Self { socket, address }
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// Asks until there is an answer.
    fn ask(&self, message: &Message) -> Message {
        ask(&self.socket, self.port(), message)
    }
}

fn ask(socket: &UdpSocket, port: u16, message: &Message) -> Message {
    let mut buffer = [0; 1_500];
    for _ in 0..WITHIN.as_millis() / AGAIN.as_millis() {
        socket.send_to(&message.write(1_472).unwrap(), (SERVER, port)).unwrap();
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            assert_eq!(from, (SERVER, port).into(), "the answer comes from the service address");
            return Message::read(&buffer[..length]).unwrap();
        }
    }
    panic!("no answer to {message:?}")
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The store, once the thread of the server before has closed the file.
async fn opened(folder: &Folder) -> Embedded {
    let path = folder.0.join("inventory.redb");
    for _ in 0..WITHIN.as_millis() / POLL.as_millis() {
        if let Ok(store) = Embedded::open(&path) {
            return store;
        }
        tokio::time::sleep(POLL).await;
    }
    Embedded::open(&path).unwrap()
}

async fn server(folder: &Folder, port: u16) -> Arc<Dhcp> {
    let store = opened(folder).await;
    let service = Service::start(Arc::new(store)).await.unwrap();
    let ipam = r#"{"max_nodes_in_rack": 28, "node_index_offset": 3, "node_networks": 3,
        "node": [{ "prefix": "127.69.0.0/16", "range_bits": 6, "mask": 26, "gateway_offset": 1 }]}"#;
    let actor = Actor { name: "root".to_owned(), access: Access::Admin, via: "test".to_owned() };
    service.run(&Command::SetIpam { ipam: serde_json::from_str(ipam).unwrap() }, &actor).await.unwrap();
    let rules: Rules = config::parse("rules", &format!("{{address: {SERVER}, port: {port}, name: boot1}}")).unwrap();
    Dhcp::start(&rules, service).unwrap()
}

/// A lease, and its renewal at a server that was started anew: what it knows is from the store.
#[test]
fn a_lease_outlives_the_server() {
    let folder = Folder(std::env::temp_dir().join(format!("weft-dhcp-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let relay = Relay::new();
    let port = relay.port();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = runtime.block_on(server(&folder, port));
    let relayed = |kind| Message { giaddr: relay.address, ..question(kind) };
    let offer = relay.ask(&relayed(Kind::Discover));
    assert_eq!((offer.kind, offer.yiaddr), (Kind::Offer, Ipv4Addr::new(127, 69, 1, 32)));
    let mut request = relayed(Kind::Request);
    request.options.set(code::SERVER, SERVER.octets());
    request.options.set(code::REQUESTED, offer.yiaddr.octets());
    assert_eq!(relay.ask(&request).kind, Kind::Ack);
    let sent: u64 = running.shown().counts.sent().map(|(_, count)| count).sum();
    assert!(sent >= 2, "{sent}");
    drop((running, runtime));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _running = runtime.block_on(server(&folder, port));
    let client = UdpSocket::bind((offer.yiaddr, port + 1)).unwrap();
    client.set_read_timeout(Some(AGAIN)).unwrap();
    let renew = Message { ciaddr: offer.yiaddr, giaddr: Ipv4Addr::UNSPECIFIED, ..question(Kind::Request) };
    let ack = ask(&client, port, &renew);
    assert_eq!((ack.kind, ack.yiaddr), (Kind::Ack, offer.yiaddr));
}
