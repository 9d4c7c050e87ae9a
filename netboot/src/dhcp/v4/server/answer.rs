//! What an answer says, and where it goes.

use super::{Output, Question, Server, Via};
use crate::dhcp::v4::counts::Refused;
use crate::dhcp::v4::message::{Hardware, Kind, Message, Op};
use crate::dhcp::v4::option::{Options, code};
use crate::inventory::Inventory;
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

/// Octets of a host name (RFC 1035 §2.3.4: a label).
const HOST_NAME_MAX: usize = 63;
/// Name servers told: resolvers use three (resolv.conf), others a few.
const DNS_MAX: usize = 8;
/// What a refused client may show.
const NOT_HERE: &[u8] = b"this address is not yours here";
/// The flag that asks for an answer to everybody.
const BROADCAST: u16 = 0x8000;

impl Server {
    /// An OFFER or ACK of an address.
    pub(super) fn answer(
        &mut self,
        inventory: &Inventory,
        question: &Question,
        kind: Kind,
        address: Ipv4Addr,
    ) -> Result<(), Refused> {
        let mut answer = blank(question, kind);
        answer.yiaddr = address;
        // RFC 2131 §4.3.1, table 3: an OFFER has none.
        answer.ciaddr = if kind == Kind::Ack { question.message.ciaddr } else { Ipv4Addr::UNSPECIFIED };
        let lease_s = self.lease_s(inventory);
        // RFC 2131 §4.4.5: at half, and at 0.875.
        answer.options.set(code::LEASE_TIME, lease_s.to_be_bytes());
        answer.options.set(code::RENEWAL, (lease_s / 2).to_be_bytes());
        answer.options.set(code::REBINDING, (lease_s / 8 * 7).to_be_bytes());
        self.tell(inventory, question, &mut answer);
        self.send(question, &answer)
    }

    /// RFC 2131 §4.3.5: all but an address and its time, to the address that the client has.
    pub(super) fn inform(&mut self, inventory: &Inventory, question: &Question) -> Result<(), Refused> {
        if !question.network.part.contains(&question.message.ciaddr) {
            return Err(Refused::NoAddress);
        }
        let mut answer = blank(question, Kind::Ack);
        answer.ciaddr = question.message.ciaddr;
        self.tell(inventory, question, &mut answer);
        self.send(question, &answer)
    }

    /// A NAK: the client begins anew.
    pub(super) fn refuse(&mut self, question: &Question) -> Result<(), Refused> {
        let mut answer = blank(question, Kind::Nak);
        answer.options.set(code::TEXT, NOT_HERE);
        if !answer.giaddr.is_unspecified() {
            // RFC 2131 §4.3.2: the client has no address that a relay could send to.
            answer.flags |= BROADCAST;
        }
        self.send(question, &answer)
    }

    /// What goes with every address.
    fn tell(&mut self, inventory: &Inventory, question: &Question, answer: &mut Message) {
        let network = &question.network;
        let options = &mut answer.options;
        if let Ok(net) = Ipv4Net::new(network.gateway, network.mask) {
            options.set(code::SUBNET_MASK, net.netmask().octets());
        }
        options.set(code::ROUTER, network.gateway.octets());
        let dns = inventory.dhcp().map(|dhcp| dhcp.dns_servers.as_slice()).unwrap_or_default();
        let dns: Vec<u8> = dns
            .iter()
            .filter_map(|server| match server {
                IpAddr::V4(server) => Some(server.octets()),
                IpAddr::V6(_) => None,
            })
            .take(DNS_MAX)
            .flatten()
            .collect();
        if !dns.is_empty() {
            options.set(code::DNS, dns);
        }
        let machine = question.client.machine(inventory);
        if let Some(machine) = machine.filter(|machine| machine.name.len() <= HOST_NAME_MAX) {
            options.set(code::HOST_NAME, machine.name.as_bytes());
        }
        if !self.rules.boot.tell(answer, &question.client, machine.map(Arc::as_ref), self.rules.address) {
            self.counts.nothing_to_boot += 1;
        }
    }

    fn send(&mut self, question: &Question, answer: &Message) -> Result<(), Refused> {
        let asked = &question.message;
        let octets = answer.write(asked.answer_max()).map_err(|_| Refused::TooLong)?;
        let is_inform = asked.kind == Kind::Inform;
        let client_port = self.rules.port + 1;
        // RFC 2131 §4.1.
        let (via, to) = if !asked.giaddr.is_unspecified() && !is_inform {
            (Via::Service, SocketAddrV4::new(asked.giaddr, self.rules.port))
        } else if !asked.ciaddr.is_unspecified() && (answer.kind == Kind::Ack || question.via == Via::Service) {
            // Differs from RFC 2131 §4.1 for a NAK, which goes to everybody there: a question that was routed here has no link of ours.
            (question.via, SocketAddrV4::new(asked.ciaddr, client_port))
        } else {
            // Nobody answers ARP for an address that the client does not have yet: RFC 2131 §4.1 lets it be a broadcast.
            (question.via, SocketAddrV4::new(Ipv4Addr::BROADCAST, client_port))
        };
        self.counts.send(answer.kind);
        self.out.push_back(Output::Send { via, to, octets });
        Ok(())
    }
}

/// What every answer has from its question (RFC 2131 §4.3.1, table 3).
fn blank(question: &Question, kind: Kind) -> Message {
    let asked = &question.message;
    let hardware: Hardware = asked.hardware;
    let mut options = Options::default();
    options.set(code::SERVER, question.server.octets());
    // Echoed: the client's identifier (RFC 6842 §3), its UUID (RFC 4578 §2.3), what the relay added (RFC 3046 §2.2).
    for code in [code::CLIENT, code::UUID, code::AGENT] {
        if let Some(value) = asked.options.raw(code) {
            options.set(code, value);
        }
    }
    Message {
        op: Op::Reply,
        kind,
        hardware,
        hops: 0,
        xid: asked.xid,
        secs: 0,
        flags: asked.flags,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        siaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: asked.giaddr,
        sname: Vec::new(),
        file: Vec::new(),
        options,
    }
}
