//! Datagrams as a client, a relay or anybody else sends them to the DHCP server.

use jiff::Timestamp;
use weft_netboot::dhcp::v4::agent::Agent;
use weft_netboot::dhcp::v4::message::{MESSAGE_MAX, Message};
use weft_netboot::dhcp::v4::option::code;
use weft_netboot::dhcp::v4::server::{Input, Output, Said, Server, Via};
use weft_netboot::store::Revision;

/// One datagram.
pub fn dhcp4(data: &[u8]) {
    let Ok(message) = Message::read(data) else { return };
    let _ = Agent::read(message.options.raw(code::AGENT).unwrap_or_default());
    let written = message.write(2 * MESSAGE_MAX).unwrap();
    if written.len() <= MESSAGE_MAX {
        assert_eq!(Message::read(&written).as_ref(), Ok(&message));
    }
    for most in [0, 300, 548, 1_472] {
        if let Ok(short) = message.write(most) {
            assert!(short.len() <= most.max(300));
            assert_eq!(Message::read(&short).as_ref(), Ok(&message));
        }
    }
}

/// Datagrams, each with two octets of its length before it, to a server whose store says no, or yes.
pub fn dhcp4_server(data: &[u8]) {
    let Some((&how, mut data)) = data.split_first() else { return };
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let rules = weft_netboot::config::parse("fuzz", RULES).unwrap();
    let world = super::World::new();
    let mut server = Server::new(rules, "fuzz".to_owned(), now);
    server.handle(now, &world.inventory, Input::Whole(Vec::new()));
    let mut revision = 1_000;
    for turn in 0..32 {
        let Some((length, rest)) = data.split_first_chunk::<2>() else { break };
        let (octets, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        data = rest;
        let via = if turn % 3 == 2 { Via::Device(0) } else { Via::Service };
        server.handle(now, &world.inventory, Input::Datagram { via, octets });
        for _ in 0..64 {
            let Some(output) = server.poll() else { break };
            let (id, said) = match output {
                Output::Send { to, octets, .. } => {
                    let answer = Message::read(&octets).unwrap();
                    assert!(octets.len() <= 1_472 && (to.port() == 67 || to.port() == 68));
                    assert!(answer.options.raw(code::SERVER).is_some());
                    continue;
                }
                Output::Commit { id, .. } if how & 1 == 0 => {
                    revision += 1;
                    (id, Said::Committed(Revision(revision)))
                }
                Output::Commit { id, .. } => (id, Said::Failed),
                Output::Look { id, .. } => (id, Said::Is { value: None, modified: Revision(revision) }),
            };
            server.handle(now, &world.inventory, Input::Done { id, said });
        }
    }
    assert_eq!(server.holds(now)[3], ("waiting", 0));
}

const RULES: &str = "
address: 10.72.0.1
devices: [{name: eth1, address: 10.69.2.1}]
boot: {script: 'http://10.72.0.1/s', http: {x64: 'http://10.72.0.1/u'}, pxe: {x64: snponly.efi}}
";
