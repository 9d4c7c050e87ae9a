//! What an answer says, and where it goes.

use super::{Output, Question, Server};
use crate::dhcp::v4::client::Loader;
use crate::dhcp::v4::counts::Refused;
use crate::dhcp::v4::server::{DEFAULT_MINUTES, MINUTES_MAX};
use crate::dhcp::v6::message::{Kind, MESSAGE_MAX, Message, Options, code};
use crate::inventory::Inventory;
use bytes::{BufMut as _, BytesMut};
use ring::digest::{SHA256, digest};
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

/// Name servers told.
const DNS_MAX: usize = 8;
/// The highest preference: no other server is to be waited for (RFC 8415 §18.2.1).
const PREFERENCE: u8 = 255;
/// Enterprise number of the vendor class that firmware takes for its own: Intel's, which PXE and UEFI HTTP Boot have (UEFI 2.10 §24.7.3).
const INTEL: [u8; 4] = 343_u32.to_be_bytes();
/// A DUID that is a UUID (RFC 6355 §4).
const DUID_UUID: [u8; 2] = [0, 4];

/// What comes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lot {
    /// An address; those behind it are not the client's any longer.
    Has(Ipv6Addr, Vec<Ipv6Addr>),
    /// None of these addresses is the client's.
    Over(Vec<Ipv6Addr>),
    /// No address, and why.
    Not(Status),
    /// It is done.
    Done,
    /// It is not, and why.
    Whole(Status),
    /// No address was asked for.
    Nothing,
}

/// How it went (RFC 8415 §21.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Success,
    NoAddresses,
    NoBinding,
    NotOnLink,
    UseMulticast,
}

impl Status {
    fn value(self) -> Vec<u8> {
        let (number, text): (u16, &str) = match self {
            Self::Success => (0, "done"),
            Self::NoAddresses => (2, "no address is free here"),
            Self::NoBinding => (3, "this address is not yours here"),
            Self::NotOnLink => (4, "this address is of another link"),
            Self::UseMulticast => (5, "ask through the relay"),
        };
        [&number.to_be_bytes(), text.as_bytes()].concat()
    }
}

/// The DUID of a service address: the same from all servers that have it, so that any of them may answer the next question. A UUID of
/// version 8 (RFC 9562 §5.8), made of the address.
pub(super) fn duid(address: Ipv6Addr) -> Vec<u8> {
    let hash = digest(&SHA256, &[&b"weft-netboot dhcp6 "[..], &address.octets()].concat());
    let mut uuid: Vec<u8> = hash.as_ref().iter().copied().take(16).collect();
    if let [_, _, _, _, _, _, version, _, variant, ..] = uuid.as_mut_slice() {
        *version = 0x80 | (*version & 0x0f);
        *variant = 0x80 | (*variant & 0x3f);
    }
    [&DUID_UUID, uuid.as_slice()].concat()
}

impl Server {
    /// The answer to a question, back through its relays.
    pub(super) fn answer(&mut self, inventory: &Inventory, question: &Question, lot: &Lot) -> Result<(), Refused> {
        let asked = &question.message;
        let is_rapid = asked.kind == Kind::Solicit && asked.options.has(code::RAPID_COMMIT);
        let is_bound = matches!(lot, Lot::Has(..));
        let is_advertised = asked.kind == Kind::Solicit && !(is_rapid && is_bound);
        let mut options = self.blank(asked);
        if is_advertised {
            options.add(code::PREFERENCE, [PREFERENCE]);
        } else if is_rapid {
            options.add(code::RAPID_COMMIT, []);
        }
        self.associations(inventory, question, lot, &mut options);
        match lot {
            Lot::Done => options.add(code::STATUS, Status::Success.value()),
            Lot::Whole(status) => options.add(code::STATUS, status.value()),
            Lot::Has(..) | Lot::Over(_) | Lot::Not(_) | Lot::Nothing => {}
        }
        // A goodbye is not told what to boot.
        if !matches!(asked.kind, Kind::Release | Kind::Decline | Kind::Confirm) {
            self.tell(inventory, question, &mut options);
        }
        let kind = if is_advertised { Kind::Advertise } else { Kind::Reply };
        self.send(question.from, &Message { kind, options, ..asked.clone() })
    }

    /// RFC 8415 §18.3.2 and others: who asks its server straight, without having been told that it may.
    pub(super) fn use_multicast(&mut self, from: SocketAddrV6, asked: Message) -> Result<(), Refused> {
        if !matches!(asked.kind, Kind::Request | Kind::Renew | Kind::Release | Kind::Decline) {
            return Err(Refused::NoRelay);
        }
        let mut options = self.blank(&asked);
        options.add(code::STATUS, Status::UseMulticast.value());
        self.send(from, &Message { kind: Kind::Reply, options, ..asked })
    }

    /// What every answer has: whose question it was, and who answers.
    fn blank(&self, asked: &Message) -> Options {
        let mut options = Options::default();
        options.add(code::SERVER, self.duid.as_slice());
        if let Ok(Some(client)) = asked.options.once(code::CLIENT) {
            options.add(code::CLIENT, client);
        }
        options
    }

    fn associations(&self, inventory: &Inventory, question: &Question, lot: &Lot, options: &mut Options) {
        let Some(association) = &question.association else { return };
        let lease_s = Self::lease_s(inventory);
        let address = |address: &Ipv6Addr, lifetime_s: u32| {
            [&address.octets()[..], &lifetime_s.to_be_bytes(), &lifetime_s.to_be_bytes()].concat()
        };
        let mut within = Options::default();
        let none: &[Ipv6Addr] = &[];
        let (own, over, status) = match lot {
            Lot::Has(own, over) => (Some(own), over.as_slice(), None),
            Lot::Over(over) => (None, over.as_slice(), None),
            Lot::Not(status) => (None, none, Some(*status)),
            // RFC 8415 §18.3.3, §18.3.7: the message says it, not the association.
            Lot::Done | Lot::Whole(_) | Lot::Nothing => return,
        };
        if let Some(own) = own {
            within.add(code::ADDRESS, address(own, lease_s));
        }
        over.iter().for_each(|over| within.add(code::ADDRESS, address(over, 0)));
        if let Some(status) = status {
            within.add(code::STATUS, status.value());
        }
        options.add(code::IA_NA, put(association.id, if own.is_some() { lease_s } else { 0 }, &within));
        // One address for a client: RFC 8415 §18.3.1, §18.3.4 say what the other associations are told.
        let is_new = matches!(question.message.kind, Kind::Solicit | Kind::Request);
        let status = if is_new { Status::NoAddresses } else { Status::NoBinding };
        for id in &question.others {
            let mut within = Options::default();
            within.add(code::STATUS, status.value());
            options.add(code::IA_NA, put(*id, 0, &within));
        }
    }

    /// What goes with an address.
    fn tell(&mut self, inventory: &Inventory, question: &Question, options: &mut Options) {
        let asked = &question.message.options;
        let wanted = asked.once(code::WANTED).ok().flatten().unwrap_or_default();
        let wants = |code: u16| wanted.chunks_exact(2).any(|one| one == code.to_be_bytes());
        let dns = inventory.dhcp().map(|dhcp| dhcp.dns_servers.as_slice()).unwrap_or_default();
        let dns = dns.iter().filter_map(|server| match server {
            IpAddr::V6(server) => Some(server.octets()),
            IpAddr::V4(_) => None,
        });
        let dns: Vec<u8> = dns.take(DNS_MAX).flatten().collect();
        if !dns.is_empty() && wants(code::DNS) {
            options.add(code::DNS, dns);
        }
        let Some((client, loader)) =
            question.client.as_ref().and_then(|client| client.loader.map(|loader| (client, loader)))
        else {
            return;
        };
        let Some(url) = self.rules.boot.url(loader, client.machine(inventory).map(Arc::as_ref)) else {
            self.counts.nothing_to_boot += 1;
            return;
        };
        options.add(code::BOOT_URL, url.as_bytes());
        if !self.rules.boot.parameters.is_empty() && wants(code::BOOT_PARAMETERS) {
            options.add(code::BOOT_PARAMETERS, words(self.rules.boot.parameters.iter().map(String::as_bytes)));
        }
        // Without it UEFI HTTP Boot takes the answer for one of PXE's.
        if let Loader::Http(_) = loader {
            let number = if client.enterprise == [0; 4] { INTEL } else { client.enterprise };
            options.add(code::VENDOR_CLASS, [&number[..], &words([&b"HTTPClient"[..]].into_iter())].concat());
        }
    }

    fn send(&mut self, from: SocketAddrV6, answer: &Message) -> Result<(), Refused> {
        let octets = answer.write_answer();
        if octets.len() > MESSAGE_MAX {
            return Err(Refused::TooLong);
        }
        self.counts.send(answer.kind);
        // RFC 8415 §7.2: relays hear the port of servers, clients the one before.
        let port = if answer.relays.is_empty() { self.rules.port - 1 } else { self.rules.port };
        let to = SocketAddrV6::new(*from.ip(), port, 0, from.scope_id());
        self.out.push_back(Output::Send { to, octets });
        Ok(())
    }

    /// Seconds for which an address is lent.
    pub(super) fn lease_s(inventory: &Inventory) -> u32 {
        let minutes = inventory.dhcp().map_or(DEFAULT_MINUTES, |dhcp| dhcp.lease_minutes);
        minutes.clamp(1, MINUTES_MAX) * 60
    }
}

/// An IA_NA (RFC 8415 §21.4): asked for again at half of its time, and of everybody at 0.8.
fn put(id: u32, lease_s: u32, within: &Options) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_u32(id);
    out.put_u32(lease_s / 2);
    out.put_u32(lease_s / 10 * 8);
    out.put_slice(&within.octets());
    out.to_vec()
}

/// Words with two octets of length before each.
fn words<'a>(all: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for word in all {
        // The rules hold them shorter.
        out.put_u16(u16::try_from(word.len()).unwrap_or(u16::MAX));
        out.put_slice(word);
    }
    out
}
