//! What machines on a server port and servers may send to a relay of DHCP.

use super::{Record, octet, records};
use std::net::{IpAddr, Ipv4Addr};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IfIndex;
use weft_fabric::config::RelayConfig;
use weft_fabric::dhcp::frame::{self, CLIENT_PORT, EVERYBODY, SERVER_PORT, To};
use weft_fabric::dhcp::{MESSAGE_MAX, Output, PORT_MAX, Port, Relay};

/// The port of whoever sends anything, and that of a machine which does as it should.
const WILD: IfIndex = IfIndex(4);
const TAME: IfIndex = IfIndex(5);
const PORTS: [(IfIndex, &str); 2] = [(WILD, "eth4"), (TAME, "eth5")];
const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MACHINE: [u8; 6] = [2, 0, 0, 0, 0, 9];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 72, 0, 1);
const GIADDR: Ipv4Addr = Ipv4Addr::new(10, 69, 255, 1);
const LENT: Ipv4Addr = Ipv4Addr::new(10, 69, 1, 7);
/// Octets before a datagram in a frame of the relay.
const HEADERS: usize = 42;

/// Records: frames on the wild port, datagrams as if of the server, both as they are or on top of a message that is well-formed.
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
            servers: vec![SERVER],
            ports: vec!["eth*".to_owned()],
            gateway: "10.69.1.1/26".parse().unwrap(),
            giaddr: GIADDR,
            unnumbered: true,
            file: "leases.json".into(),
            v6: None,
        };
        let ports = PORTS.map(|(link, name)| Port { link, name: name.to_owned(), mac: OURS });
        relay.configure(Instant::ZERO, Some(&config), ports.to_vec());
        Self { relay, now: Instant::ZERO, wild: 0 }
    }

    fn take(&mut self, record: &Record<'_>) {
        match record.what % 4 {
            0 => self.relay.on_frame(self.now, WILD, record.body),
            1 => self.relay.on_frame(self.now, WILD, &frame_of(&message(1, octet(record.body, 0), record.body))),
            2 => self.relay.on_datagram(self.now, SERVER.into(), record.body),
            _ => {
                let mut reply = message(2, octet(record.body, 0), record.body);
                reply[16..20].copy_from_slice(&[10, 69, 1, octet(record.body, 1)]);
                self.relay.on_datagram(self.now, SERVER.into(), &reply);
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
                    assert_eq!(server, IpAddr::V4(SERVER));
                    assert!((300..=MESSAGE_MAX).contains(&datagram.len()));
                    assert_eq!((datagram[0], &datagram[24..28]), (1, &GIADDR.octets()[..]));
                    assert_eq!(options(&datagram).iter().filter(|(kind, _)| *kind == 82).count(), 1);
                    let last = options(&datagram).pop().unwrap();
                    assert_eq!((last.0, &last.1[..6]), (82, &[1, 4, b'e', b't', b'h', b'4'][..]));
                }
                Output::ToClient { link, frame } => {
                    assert!(PORTS.iter().any(|(known, _)| *known == link) && frame.len() <= 14 + 28 + MESSAGE_MAX);
                    assert_eq!((&frame[6..12], &frame[36..38]), (&OURS[..], &CLIENT_PORT.to_be_bytes()[..]));
                    assert!(options(&frame[HEADERS..]).iter().all(|(kind, _)| *kind != 82));
                }
                Output::ToClient6 { .. } => panic!("DHCPv6 is not relayed"),
            }
        }
        let octets = |address| if let IpAddr::V4(address) = address { address.octets() } else { panic!("DHCPv6") };
        let network: Vec<_> = self.relay.leases().map(|lease| (octets(lease.address), lease.until)).collect();
        assert!(network.len() <= PORT_MAX * PORTS.len());
        assert!(network.iter().all(|([a, b, c, d], until)| {
            ([*a, *b, *c], (2..63).contains(d)) == ([10, 69, 1], true) && *until > self.now
        }));
        // As many at once, and as many a second.
        assert!(self.wild <= 100 + self.now.as_secs() * 100 + 100);
    }

    /// The other machine has noticed nothing.
    fn end(&mut self) {
        self.relay.on_frame(self.now, TAME, &frame_of(&message(1, 1, &[])));
        let Some(Output::ToServer { datagram, .. }) = self.relay.poll() else { panic!("not relayed") };
        let agent = options(&datagram).pop().unwrap();
        let mut reply = message(2, 5, &[51, 4, 0, 0, 14, 16, 82, u8::try_from(agent.1.len()).unwrap()]);
        reply.pop();
        reply.extend(agent.1);
        reply.push(255);
        reply[16..20].copy_from_slice(&LENT.octets());
        self.relay.on_datagram(self.now, SERVER.into(), &reply);
        let Some(Output::ToClient { link: TAME, .. }) = self.relay.poll() else { panic!("not answered") };
        assert!(self.relay.leases().any(|lease| lease.address == IpAddr::V4(LENT) && lease.port == "eth5"));
    }
}

/// A message with these octets for its options.
fn message(op: u8, kind: u8, options: &[u8]) -> Vec<u8> {
    let mut octets = vec![0; 240];
    octets[..3].copy_from_slice(&[op, 1, 6]);
    octets[24..28].copy_from_slice(if op == 2 { &[10, 69, 255, 1] } else { &[0; 4] });
    octets[28..34].copy_from_slice(&MACHINE);
    octets[236..].copy_from_slice(&[99, 130, 83, 99]);
    octets.extend([53, 1, kind]);
    octets.extend(options);
    octets.push(255);
    octets
}

fn frame_of(datagram: &[u8]) -> Vec<u8> {
    let to = To { mac: EVERYBODY, address: Ipv4Addr::BROADCAST };
    let mut frame = frame::write((MACHINE, Ipv4Addr::UNSPECIFIED), to, datagram);
    frame[36..38].copy_from_slice(&SERVER_PORT.to_be_bytes());
    frame
}

/// The options of a message as any reader finds them.
fn options(message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut rest = &message[240..];
    let mut all = Vec::new();
    while let [kind, behind @ ..] = rest
        && *kind != 255
    {
        rest = behind;
        if *kind != 0 {
            let (length, behind) = rest.split_first().unwrap();
            let (value, behind) = behind.split_at(usize::from(*length));
            all.push((*kind, value.to_vec()));
            rest = behind;
        }
    }
    all
}
