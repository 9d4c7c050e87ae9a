//! DHCPv6: each section of RFC 8415 that a server behind relays must keep, RFC 5970 for what machines boot, and servers of one store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test helper fails by panicking")]

mod boot;
mod exchange;
mod relay;
mod sockets;
mod world;

use jiff::Timestamp;
use std::net::Ipv6Addr;
use weft_netboot::dhcp::v6::message::{Association, Kind, Message, Options, Relay, code};

/// The DUID of a network card (RFC 8415 §11.4).
pub(crate) fn duid(last: u8) -> Vec<u8> {
    vec![0, 3, 0, 1, 0x52, 0x54, 0, 0x69, 1, last]
}

pub(crate) fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// A client's message as its relay sends it: rack 1, network 1 has the link fd00:69:0:4::/64.
pub(crate) fn question(kind: Kind, client: &[u8], more: &[(u16, Vec<u8>)]) -> Message {
    let mut options = Options::default();
    options.add(code::CLIENT, client);
    for (code, value) in more {
        options.add(*code, value.as_slice());
    }
    Message { relays: vec![relay("fd00:69:0:4::1")], kind, transaction: [1, 2, 3], options }
}

pub(crate) fn relay(link: &str) -> Relay {
    let mut options = Options::default();
    options.add(code::INTERFACE, *b"eth1");
    Relay { hops: 0, link: address(link), peer: address("fe80::1"), options }
}

/// An IA_NA with addresses in it.
pub(crate) fn association(id: u32, addresses: &[Ipv6Addr]) -> (u16, Vec<u8>) {
    let mut within = Options::default();
    for address in addresses {
        within.add(code::ADDRESS, [&address.octets()[..], &[0; 8]].concat());
    }
    (code::IA_NA, [&id.to_be_bytes()[..], &[0; 8], &within.octets()].concat())
}

/// Addresses of the first association of an answer, each with its valid lifetime, and the status in it.
pub(crate) fn given(answer: &Message) -> (Vec<(Ipv6Addr, u32)>, Option<u16>) {
    let value = answer.options.all(code::IA_NA).next().expect("an association");
    let addresses = Association::read(value).unwrap().addresses;
    let within = Options::read(&value[12..]).unwrap();
    let lifetimes = within.all(code::ADDRESS).map(|one| u32::from_be_bytes(one[20..24].try_into().unwrap()));
    (addresses.into_iter().zip(lifetimes).collect(), status(&within))
}

/// The number of a status (RFC 8415 §21.13).
pub(crate) fn status(options: &Options) -> Option<u16> {
    let value = options.once(code::STATUS).unwrap()?;
    Some(u16::from_be_bytes([value[0], value[1]]))
}

pub(crate) fn begin() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}
