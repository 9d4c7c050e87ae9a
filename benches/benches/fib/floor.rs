//! What the kernel alone takes: ready-made messages, 256 for each send, one answer for each batch (netlink(7), rtnetlink(7)).

use super::Meter;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use weft_bgp::types::IfIndex;

const BATCH: usize = 256;
const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const REPLACE: u16 = 0x100;
const CREATE: u16 = 0x400;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const NEWNEXTHOP: u16 = 104;
const DELNEXTHOP: u16 = 105;
const GROUP: u32 = 9;

pub(crate) fn measure(number: u32, links: &[IfIndex]) {
    let mut socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(0))).unwrap();
    let mut members = Vec::new();
    let mut objects = Vec::new();
    for (id, link) in (1_u32..).zip(links) {
        let gateway = "fe80::2".parse::<Ipv6Addr>().unwrap().octets();
        let mut body = vec![10, 0, 193, 0, 0, 0, 0, 0];
        attribute(&mut body, 1, &id.to_ne_bytes());
        attribute(&mut body, 5, &link.0.to_ne_bytes());
        attribute(&mut body, 6, &gateway);
        objects.push(message(NEWNEXTHOP, CREATE, &body));
        members.extend(id.to_ne_bytes());
        members.extend([0; 4]);
    }
    let mut body = vec![0, 0, 193, 0, 0, 0, 0, 0];
    attribute(&mut body, 1, &GROUP.to_ne_bytes());
    attribute(&mut body, 2, &members);
    objects.push(message(NEWNEXTHOP, CREATE, &body));
    send(&mut socket, objects);
    for (what, kind, flags, id) in [
        ("kernel alone: add", NEWROUTE, CREATE, Some(GROUP)),
        ("kernel alone: replace", NEWROUTE, REPLACE, Some(1)),
        ("kernel alone: delete", DELROUTE, 0, None),
    ] {
        let messages = (0..number).map(|index| message(kind, flags, &route(index, id))).collect();
        let meter = Meter::start();
        send(&mut socket, messages);
        meter.stop(what, number);
    }
    let deletions = [GROUP, 1, 2].map(|id| {
        let mut body = vec![0; 8];
        attribute(&mut body, 1, &id.to_ne_bytes());
        message(DELNEXTHOP, 0, &body)
    });
    send(&mut socket, deletions.into());
}

fn route(index: u32, id: Option<u32>) -> Vec<u8> {
    let addr = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 0, 0, 0)) + index);
    let (scope, kind) = if id.is_some() { (0, 1) } else { (255, 0) };
    let mut body = vec![2, 32, 0, 0, 254, 193, scope, kind, 0, 0, 0, 0];
    attribute(&mut body, 1, &addr.octets());
    attribute(&mut body, 6, &77_u32.to_ne_bytes());
    if let Some(id) = id {
        attribute(&mut body, 30, &id.to_ne_bytes());
    }
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = u32::try_from(body.len() + 16).unwrap().to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((flags | REQUEST).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Sends all, and fails at the first answer that is not "done".
fn send(socket: &mut Socket, mut messages: Vec<Vec<u8>>) {
    let mut answer = [0; 256];
    for batch in messages.chunks_mut(BATCH) {
        batch.last_mut().unwrap()[6] |= u8::try_from(ACK).unwrap();
        socket.write_all(&batch.concat()).unwrap();
        let length = socket.read(&mut answer).unwrap();
        assert_eq!(answer.get(16..20), Some([0; 4].as_slice()), "{:?}", answer.get(..length));
    }
}
