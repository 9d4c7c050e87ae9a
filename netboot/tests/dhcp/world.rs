//! Boot servers that share a store in memory, and an inventory of the reference plan. Time stands still unless a test moves it.

use crate::address;
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use weft_netboot::config;
use weft_netboot::dhcp::v4::message::Message;
use weft_netboot::dhcp::v4::rules::Rules;
use weft_netboot::dhcp::v4::server::{Input, Output, Said, Server, Via};
use weft_netboot::inventory::access::{Access, Actor};
use weft_netboot::inventory::audit::Stamp;
use weft_netboot::inventory::command::Command;
use weft_netboot::inventory::{Decision, Inventory};
use weft_netboot::store::memory::Memory;
use weft_netboot::store::{Outcome, Revision};

/// Three networks for each rack, 28 nodes from index 4 on, addresses 32 to 62 of each network for who boots.
const IPAM: &str = r#"{
    "max_nodes_in_rack": 28, "node_index_offset": 3, "node_networks": 3,
    "node": [{ "prefix": "10.69.0.0/16", "range_bits": 6, "mask": 26, "gateway_offset": 1 }]
}"#;

/// What boots in the tests.
pub(crate) const RULES: &str = "
address: 10.72.0.1
devices: [{name: eth1, address: 10.69.2.1}]
boot:
  script: 'http://10.72.0.1:8080/boot.ipxe'
  http: {x64: 'http://10.72.0.1:8080/uki.efi', arm64: 'http://10.72.0.1:8080/arm64.efi'}
  https: {roles: [ss], urls: {x64: 'https://10.72.0.1:8443/uki.efi'}}
  pxe: {bios: undionly.kpxe, x64: snponly.efi, arm64: snponly-arm64.efi}
";

/// An answer: by which socket, where to, what.
pub(crate) type Sent = (Via, SocketAddrV4, Message);

/// A server with what it has not heard yet.
pub(crate) struct Node {
    pub(crate) server: Server,
    heard: Revision,
}

pub(crate) struct World {
    pub(crate) memory: Memory,
    pub(crate) inventory: Inventory,
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Timestamp,
    /// Asked of the store, and by whom, but not answered.
    pub(crate) late: VecDeque<(usize, Output)>,
    turn: u64,
}

impl World {
    pub(crate) fn new(servers: usize) -> Self {
        Self::with(servers, RULES)
    }

    pub(crate) fn with(servers: usize, rules: &str) -> Self {
        let rules: Rules = config::parse("rules", rules).unwrap();
        rules.check().unwrap();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let mut world = Self {
            memory: Memory::default(),
            inventory: Inventory::default(),
            nodes: Vec::new(),
            now,
            late: VecDeque::new(),
            turn: 0,
        };
        world.run(&Command::SetIpam { ipam: serde_json::from_str(IPAM).unwrap() });
        for at in 0..servers {
            let mut server = Server::new(rules.clone(), format!("boot{at}"), now);
            server.handle(now, &world.inventory, Input::Whole(Vec::new()));
            world.nodes.push(Node { server, heard: world.memory.read("").revision });
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
        let node = &mut self.nodes[at];
        for event in self.memory.events("lease", node.heard).unwrap() {
            for change in &event.changes {
                let (key, value, modified) = (change.key.clone(), change.value.clone(), event.revision);
                node.server.handle(self.now, &self.inventory, Input::Heard { key, value, modified });
            }
            node.heard = event.revision;
        }
    }

    /// A message to a server; what it sends at once. What it asks of the store is late.
    pub(crate) fn tell(&mut self, at: usize, via: Via, octets: &[u8]) -> Vec<Sent> {
        self.nodes[at].server.handle(self.now, &self.inventory, Input::Datagram { via, octets });
        self.drain(at)
    }

    fn drain(&mut self, at: usize) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let Some(output) = self.nodes[at].server.poll() {
            match output {
                Output::Send { via, to, octets } => sent.push((via, to, Message::read(&octets).unwrap())),
                Output::Commit { .. } | Output::Look { .. } => self.late.push_back((at, output)),
            }
        }
        sent
    }

    /// The store answers the question that is first in the line; what is sent then.
    pub(crate) fn answer(&mut self) -> Option<Vec<Sent>> {
        let (at, output) = self.late.pop_front()?;
        let (id, said) = match output {
            Output::Commit { id, transaction } => match self.memory.commit(&transaction).unwrap() {
                Outcome::Committed(revision) => (id, Said::Committed(revision)),
                Outcome::Conflict => (id, self.is(&transaction.writes[0].key)),
            },
            Output::Look { id, key } => (id, self.is(&key)),
            Output::Send { .. } => panic!("sent is not late"),
        };
        self.nodes[at].server.handle(self.now, &self.inventory, Input::Done { id, said });
        Some(self.drain(at))
    }

    /// The store does not do what it was asked first.
    pub(crate) fn lose(&mut self) -> Vec<Sent> {
        let Some((at, Output::Commit { id, .. } | Output::Look { id, .. })) = self.late.pop_front() else {
            return Vec::new();
        };
        self.nodes[at].server.handle(self.now, &self.inventory, Input::Done { id, said: Said::Failed });
        self.drain(at)
    }

    fn is(&self, key: &str) -> Said {
        let found = self.memory.read(key);
        match found.entries.iter().find(|entry| entry.key == key) {
            Some(entry) => Said::Is { value: Some(entry.value.clone()), modified: entry.modified },
            None => Said::Is { value: None, modified: found.revision },
        }
    }

    /// A message to a server, and all that comes of it.
    pub(crate) fn ask(&mut self, at: usize, message: &Message) -> Vec<Sent> {
        let mut sent = self.tell(at, Via::Service, &message.write(1_472).unwrap());
        while let Some(more) = self.answer() {
            sent.extend(more);
        }
        sent
    }

    /// The only answer.
    pub(crate) fn one(&mut self, at: usize, message: &Message) -> Sent {
        let mut sent = self.ask(at, message);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    /// Why a server did not answer: counters that are not zero.
    pub(crate) fn refused(&self, at: usize) -> Vec<(&'static str, u64)> {
        self.nodes[at].server.counts().refused().filter(|(_, count)| *count > 0).collect()
    }

    /// Changes of leases in the store.
    pub(crate) fn writes(&self) -> usize {
        self.memory.events("leases/", Revision(0)).unwrap().iter().map(|event| event.changes.len()).sum()
    }
}

/// The service address.
pub(crate) fn vip() -> Ipv4Addr {
    address("10.72.0.1")
}
