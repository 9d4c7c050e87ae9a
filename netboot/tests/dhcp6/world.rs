//! Servers of one store, without sockets: what they send, and what they ask of the store.

use crate::begin;
use jiff::{SignedDuration, Timestamp};
use std::net::SocketAddrV6;
use weft_netboot::config;
use weft_netboot::dhcp::v4::server::Said;
use weft_netboot::dhcp::v6::message::Message;
use weft_netboot::dhcp::v6::rules::Rules;
use weft_netboot::dhcp::v6::server::{Input, Output, Server};
use weft_netboot::inventory::access::{Access, Actor};
use weft_netboot::inventory::audit::Stamp;
use weft_netboot::inventory::command::Command;
use weft_netboot::inventory::{Decision, Inventory};
use weft_netboot::store::memory::Memory;
use weft_netboot::store::{Outcome, Revision};

/// Networks of 2^64 addresses: the machines of rack 1 have fd00:69:0:3::/64 and fd00:69:0:4::/64, leases begin at ::20.
pub(crate) const IPAM: &str = r#"{"max_nodes_in_rack": 28, "node_index_offset": 3, "node_networks": 3, "node": [
    {"prefix": "10.69.0.0/16", "range_bits": 6, "mask": 26, "gateway_offset": 1},
    {"prefix": "fd00:69::/48", "range_bits": 64, "mask": 64, "gateway_offset": 1}]}"#;

pub(crate) const RULES: &str = "
address: fd00:72::1
boot:
  script: 'http://[fd00:72::1]:8080/boot.ipxe'
  http: {x64: 'http://[fd00:72::1]:8080/boot/uki.efi'}
  https: {roles: [ss], urls: {x64: 'https://[fd00:72::1]:8443/boot/uki.efi'}}
  pxe: {x64: 'tftp://[fd00:72::1]/snponly.efi'}
  parameters: [quiet, console=ttyS0]
";

pub(crate) struct World {
    memory: Memory,
    pub(crate) inventory: Inventory,
    pub(crate) servers: Vec<Server>,
    heard: Vec<Revision>,
    pub(crate) now: Timestamp,
    /// Asked of the store, and by whom, but not answered.
    pub(crate) late: Vec<(usize, Output)>,
    turn: u64,
}

impl World {
    pub(crate) fn new(servers: usize) -> Self {
        let rules: Rules = config::parse("rules", RULES).unwrap();
        rules.check().unwrap();
        let mut world = Self {
            memory: Memory::default(),
            inventory: Inventory::default(),
            servers: Vec::new(),
            heard: Vec::new(),
            now: begin(),
            late: Vec::new(),
            turn: 0,
        };
        world.run(&Command::SetIpam { ipam: serde_json::from_str(IPAM).unwrap() });
        for at in 0..servers {
            let mut server = Server::new(rules.clone(), format!("boot{at}"), world.now);
            server.handle(world.now, &world.inventory, Input::Whole(Vec::new()));
            world.servers.push(server);
            world.heard.push(world.memory.read("").revision);
        }
        world
    }

    /// A change of the inventory, as a server does it.
    pub(crate) fn run(&mut self, command: &Command) {
        self.turn += 1;
        let actor = Actor { name: "root".to_owned(), access: Access::Admin, via: "test".to_owned() };
        let stamp = Stamp { now: self.now, nonce: self.turn };
        let Decision { transaction, .. } = self.inventory.decide(command, &actor, &stamp).unwrap();
        assert!(matches!(self.memory.commit(&transaction), Ok(Outcome::Committed(_))));
        self.inventory = Inventory::load(&self.memory.read("")).unwrap();
    }

    pub(crate) fn register(&mut self, machine: serde_json::Value) {
        self.run(&Command::Register { machines: vec![serde_json::from_value(machine).unwrap()] });
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    /// A server hears what others wrote.
    pub(crate) fn hear(&mut self, at: usize) {
        for event in self.memory.events("lease", self.heard[at]).unwrap() {
            for change in &event.changes {
                let (key, value, modified) = (change.key.clone(), change.value.clone(), event.revision);
                self.servers[at].handle(self.now, &self.inventory, Input::Heard { key, value, modified });
            }
            self.heard[at] = event.revision;
        }
    }

    /// Octets to a server; what it sends at once, as it is on the wire. What it asks of the store is late.
    pub(crate) fn tell(&mut self, at: usize, octets: &[u8]) -> Vec<(SocketAddrV6, Vec<u8>)> {
        let from = "[fd00:69:255::1]:547".parse().unwrap();
        self.servers[at].handle(self.now, &self.inventory, Input::Datagram { from, octets });
        self.drain(at)
    }

    fn drain(&mut self, at: usize) -> Vec<(SocketAddrV6, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some(output) = self.servers[at].poll() {
            match output {
                Output::Send { to, octets } => sent.push((to, octets.to_vec())),
                Output::Commit { .. } | Output::Look { .. } => self.late.push((at, output)),
            }
        }
        sent
    }

    /// The store answers what it was asked first; what is sent then.
    pub(crate) fn answer(&mut self) -> Option<Vec<(SocketAddrV6, Vec<u8>)>> {
        let (at, output) = if self.late.is_empty() { None } else { Some(self.late.remove(0)) }?;
        let (id, said) = match output {
            Output::Commit { id, transaction } => match self.memory.commit(&transaction).unwrap() {
                Outcome::Committed(revision) => (id, Said::Committed(revision)),
                Outcome::Conflict => (id, self.is(&transaction.writes[0].key)),
            },
            Output::Look { id, key } => (id, self.is(&key)),
            Output::Send { .. } => panic!("sent is not late"),
        };
        self.servers[at].handle(self.now, &self.inventory, Input::Done { id, said });
        Some(self.drain(at))
    }

    fn is(&self, key: &str) -> Said {
        let found = self.memory.read(key);
        match found.entries.iter().find(|entry| entry.key == key) {
            Some(entry) => Said::Is { value: Some(entry.value.clone()), modified: entry.modified },
            None => Said::Is { value: None, modified: found.revision },
        }
    }

    /// A message to a server, and all that comes of it.
    pub(crate) fn ask(&mut self, at: usize, message: &Message) -> Vec<Message> {
        let mut sent = self.tell(at, &message.write());
        while let Some(more) = self.answer() {
            sent.extend(more);
        }
        sent.iter().map(|(_, octets)| unwrapped(octets)).collect()
    }

    /// The only answer.
    pub(crate) fn one(&mut self, at: usize, message: &Message) -> Message {
        let mut sent = self.ask(at, message);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    /// Why a server did not answer: counters that are not zero.
    pub(crate) fn refused(&self, at: usize) -> Vec<(&'static str, u64)> {
        self.servers[at].counts().refused().filter(|(_, count)| *count > 0).collect()
    }

    /// Changes of leases in the store.
    pub(crate) fn writes(&self) -> usize {
        self.memory.events("leases6/", Revision(0)).unwrap().iter().map(|event| event.changes.len()).sum()
    }
}

/// An answer as its relays hand it on: the reader takes what relays send, so their kind is made that.
pub(crate) fn unwrapped(octets: &[u8]) -> Message {
    let mut octets = octets.to_vec();
    let mut at = 0;
    // A relay's part: 34 octets and its options; the message within is the last of them, so its length says where it begins.
    while octets.get(at) == Some(&13) {
        octets[at] = 12;
        let mut option = at + 34;
        loop {
            let head: [u8; 4] = octets[option..option + 4].try_into().unwrap();
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            if head[..2] == [0, 9] {
                at = option + 4;
                break;
            }
            option += 4 + length;
        }
    }
    Message::read(&octets).unwrap()
}
