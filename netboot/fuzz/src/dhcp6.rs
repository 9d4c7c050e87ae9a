//! Datagrams as a client, a relay or anybody else sends them to the DHCPv6 server.

use jiff::Timestamp;
use weft_netboot::dhcp::v4::server::Said;
use weft_netboot::dhcp::v6::client::Client;
use weft_netboot::dhcp::v6::message::{Association, MESSAGE_MAX, Message, code};
use weft_netboot::dhcp::v6::server::{Input, Output, Server};
use weft_netboot::inventory::command::Command;
use weft_netboot::ipam::Pool;
use weft_netboot::store::Revision;

/// One datagram.
pub fn dhcp6(data: &[u8]) {
    let Ok(message) = Message::read(data) else { return };
    assert_eq!(Message::read(&message.write()).as_ref(), Ok(&message));
    assert!(message.write_answer().len() <= message.write().len());
    let _ = Client::of(&message);
    for association in message.options.all(code::IA_NA) {
        let _ = Association::read(association);
    }
}

/// Datagrams, each with two octets of its length before it, to a server whose store says no, or yes.
pub fn dhcp6_server(data: &[u8]) {
    let Some((&how, mut data)) = data.split_first() else { return };
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let rules = weft_netboot::config::parse("fuzz", RULES).unwrap();
    let mut world = super::World::new();
    let mut ipam = super::ipam();
    ipam.node.push(serde_json::from_str::<Pool>(POOL).unwrap());
    world.run(&Command::SetIpam { ipam }).unwrap();
    let mut server = Server::new(rules, "fuzz".to_owned(), now);
    server.handle(now, &world.inventory, Input::Whole(Vec::new()));
    let mut revision = 1_000;
    for _ in 0..32 {
        let Some((length, rest)) = data.split_first_chunk::<2>() else { break };
        let (octets, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        data = rest;
        let from = "[fd00:69:255::1]:547".parse().unwrap();
        server.handle(now, &world.inventory, Input::Datagram { from, octets });
        for _ in 0..64 {
            let Some(output) = server.poll() else { break };
            let (id, said) = match output {
                Output::Send { to, octets } => {
                    let is_relayed = octets.first() == Some(&13);
                    assert!(octets.len() <= MESSAGE_MAX && to.port() == if is_relayed { 547 } else { 546 });
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

const POOL: &str = r#"{"prefix": "fd00:69::/48", "range_bits": 64, "mask": 64, "gateway_offset": 1}"#;

const RULES: &str = "
address: fd00:72::1
boot:
  script: 'http://[fd00:72::1]/s'
  http: {x64: 'http://[fd00:72::1]/u'}
  pxe: {x64: 'tftp://[fd00:72::1]/snponly.efi'}
  parameters: [quiet]
";
