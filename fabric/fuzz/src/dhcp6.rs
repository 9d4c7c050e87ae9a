//! What machines on a server port and servers may send to a relay of DHCPv6.

use super::{Record, octet, records};
use std::net::{IpAddr, Ipv6Addr};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IfIndex;
use weft_fabric::config::{Relay6Config, RelayConfig};
use weft_fabric::dhcp::v6::{EVERY_SERVER, MESSAGE_MAX};
use weft_fabric::dhcp::{Output, PORT_MAX, Port, Relay};

/// The port of whoever sends anything, and that of a machine which does as it should.
const WILD: IfIndex = IfIndex(4);
const TAME: IfIndex = IfIndex(5);
const PORTS: [(IfIndex, &str); 2] = [(WILD, "eth4"), (TAME, "eth5")];
const MACHINE: [u8; 6] = [2, 0, 0, 0, 0, 9];
const SERVER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x72, 0, 0, 0, 0, 0, 1);
const GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x69, 0, 4, 0, 0, 0, 1);
const LENT: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x69, 0, 4, 0, 0, 0, 7);
const PEER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);

/// Records: frames on the wild port, datagrams as if of the server, both as they are or within what is well-formed.
pub fn run(data: &[u8]) {
    let mut world = World::new();
    for record in records(data) {
        world.now = world.now + Duration::from_millis((1_u64 << record.pause) - 1);
        world.take(&record);
        world.check();
    }
    world.end();
}

struct World {
    relay: Relay,
    now: Instant,
    /// Messages of the wild port that went to the server.
    wild: u64,
}

impl World {
    fn new() -> Self {
        let mut relay = Relay::default();
        let config = RelayConfig {
            servers: vec![[10, 72, 0, 1].into()],
            ports: vec!["eth*".to_owned()],
            gateway: "10.69.1.1/26".parse().unwrap(),
            giaddr: [10, 69, 255, 1].into(),
            unnumbered: true,
            file: "leases.json".into(),
            v6: Some(Relay6Config {
                servers: vec![SERVER],
                gateway: "fd00:69:0:4::1/64".parse().unwrap(),
                source: "fd00:69:255::1".parse().unwrap(),
            }),
        };
        let ports = PORTS.map(|(link, name)| Port { link, name: name.to_owned(), mac: [2, 0, 0, 0, 0, 1] });
        relay.configure(Instant::ZERO, Some(&config), ports.to_vec());
        Self { relay, now: Instant::ZERO, wild: 0 }
    }

    fn take(&mut self, record: &Record<'_>) {
        let body = record.body;
        let within = |options: &[u8]| [&[octet(body, 0), 1, 2, 3], options].concat();
        match record.what % 5 {
            0 => self.relay.on_frame(self.now, WILD, body),
            1 => self.relay.on_frame(self.now, WILD, &frame_of(body)),
            2 => self.relay.on_datagram(self.now, SERVER.into(), body),
            3 => self.relay.on_datagram(self.now, SERVER.into(), &back(b"eth4", body)),
            // A reply that lends to the client of the body's first octet, with the rest behind it.
            _ => {
                let mut message = within(
                    &[lent(octet(body, 1), octet(body, 2)), body.get(3..).unwrap_or_default().to_vec()].concat(),
                );
                message[0] = 7;
                self.relay.on_datagram(self.now, SERVER.into(), &back(b"eth4", &message));
            }
        }
        self.relay.tick(self.now);
    }

    /// What goes out is well-formed, and bounded.
    fn check(&mut self) {
        for output in std::iter::from_fn(|| self.relay.poll()) {
            match output {
                Output::ToServer { server, datagram } => {
                    self.wild += 1;
                    assert_eq!((server, &datagram[..2]), (IpAddr::V6(SERVER), &[12, 0][..]));
                    assert_eq!(datagram[2..18], GATEWAY.octets());
                    assert_eq!(datagram[34..42], [0, 18, 0, 4, b'e', b't', b'h', b'4']);
                    assert!(datagram.len() <= MESSAGE_MAX);
                }
                Output::ToClient6 { link, peer, datagram } => {
                    assert!(PORTS.iter().any(|(known, _)| *known == link) && peer.is_unicast_link_local());
                    assert!(![12, 13].contains(&datagram[0]), "a relay's message to a client");
                }
                Output::ToClient { .. } => panic!("no DHCPv4 came"),
            }
        }
        let leases: Vec<_> = self.relay.leases().collect();
        assert!(leases.len() <= PORT_MAX * PORTS.len());
        assert!(leases.iter().all(|lease| {
            let IpAddr::V6(address) = lease.address else { return false };
            address.segments()[..4] == GATEWAY.segments()[..4] && address != GATEWAY && lease.until > self.now
        }));
        // As many at once, and as many a second.
        assert!(self.wild <= 100 + self.now.as_secs() * 100 + 100);
    }

    /// The other machine has noticed nothing.
    fn end(&mut self) {
        let question = [&[3, 1, 2, 3][..], &lent(7, 0)].concat();
        self.relay.on_frame(self.now, TAME, &frame_of(&question));
        let Some(Output::ToServer { .. }) = self.relay.poll() else { panic!("not relayed") };
        let reply = [&[7, 1, 2, 3][..], &lent(7, 9)].concat();
        self.relay.on_datagram(self.now, SERVER.into(), &back(b"eth5", &reply));
        let Some(Output::ToClient6 { link: TAME, .. }) = self.relay.poll() else { panic!("not answered") };
        assert!(self.relay.leases().any(|lease| lease.address == IpAddr::V6(LENT) && lease.port == "eth5"));
    }
}

fn option(code: u8, value: &[u8]) -> Vec<u8> {
    [&[0, code], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

/// A client's name, and an address of it for so many seconds.
fn lent(last: u8, seconds: u8) -> Vec<u8> {
    let mut address = LENT.octets();
    address[15] = last;
    let address = option(5, &[&address[..], &[0; 7], &[seconds]].concat());
    [option(1, &[0, 3, 0, 1, 2, 0, 0, 0, 0, last]), option(3, &[&[0; 12][..], &address].concat())].concat()
}

/// A relay's answer around it.
fn back(port: &[u8], message: &[u8]) -> Vec<u8> {
    let head = [&[13, 0][..], &GATEWAY.octets(), &PEER.octets()].concat();
    [head, option(18, port), option(9, message)].concat()
}

fn frame_of(datagram: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + datagram.len()).unwrap().to_be_bytes();
    let ethernet = [&[0x33, 0x33, 0, 1, 0, 2][..], &MACHINE, &[0x86, 0xdd]].concat();
    let ip = [&[0x60, 0, 0, 0][..], &length, &[17, 1], &PEER.octets(), &EVERY_SERVER.octets()].concat();
    [&ethernet[..], &ip, &[2, 34, 2, 35], &length, &[0, 0], datagram].concat()
}
