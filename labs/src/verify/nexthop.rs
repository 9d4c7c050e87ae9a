//! Nexthop objects of a kernel (linux/nexthop.h), which the packet crate lacks: what is behind an id, and their deletion.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use rustix::net::{RecvFlags, SendFlags};

use crate::verify::kernel::KernelHop;

const DELETE: u16 = 105;
const GET: u16 = 106;
const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
/// `struct nhmsg`.
const OBJECT: usize = 8;
/// The kernel builds at most 32 KiB of a dump at a time.
const DATAGRAM: usize = 64 << 10;

/// What an object is.
#[derive(Debug, Default)]
struct Object {
    hop: Option<KernelHop>,
    /// Ids and weights.
    members: Vec<(u32, u16)>,
}

/// The next hops behind every id.
///
/// # Errors
/// When the dump breaks off.
pub fn hops(fd: impl AsFd) -> io::Result<BTreeMap<u32, BTreeSet<KernelHop>>> {
    let objects = objects(fd)?;
    let behind = |object: &Object| {
        let member =
            |(id, weight): &(u32, u16)| objects.get(id)?.hop.clone().map(|hop| KernelHop { weight: *weight, ..hop });
        let members = object.members.iter().filter_map(member);
        object.hop.clone().into_iter().chain(members).collect()
    };
    Ok(objects.iter().map(|(id, object)| (*id, behind(object))).collect())
}

/// Deletes objects; how many were there.
///
/// # Errors
/// When the kernel does not answer.
pub fn delete(fd: impl AsFd, ids: impl Iterator<Item = u32>) -> io::Result<usize> {
    let mut deleted = 0;
    for id in ids {
        let mut body = vec![0; OBJECT];
        body.extend(8_u16.to_ne_bytes());
        body.extend(1_u16.to_ne_bytes());
        body.extend(id.to_ne_bytes());
        send(&fd, DELETE, REQUEST | ACK, &body)?;
        let mut buffer = vec![0; DATAGRAM];
        let (length, _) = rustix::net::recv(&fd, &mut buffer[..], RecvFlags::empty())?;
        deleted += usize::from(length >= HEADER + 4 && word(&buffer, HEADER) == Some(0));
    }
    Ok(deleted)
}

fn send(fd: impl AsFd, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    rustix::net::send(fd, &message, SendFlags::empty())?;
    Ok(())
}

fn objects(fd: impl AsFd) -> io::Result<BTreeMap<u32, Object>> {
    send(&fd, GET, REQUEST | DUMP, &[0; OBJECT])?;
    let mut found = BTreeMap::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let (length, _) = rustix::net::recv(&fd, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..length];
        while let Some(size) = word(rest, 0).and_then(|size| usize::try_from(size).ok()) {
            match half(rest, 4) {
                Some(DONE) => return Ok(found),
                // A kernel without nexthop objects has none.
                Some(ERROR) => return Ok(found),
                _ => {}
            }
            let body = rest.get(HEADER..size).ok_or_else(|| io::Error::other("a cut netlink message"))?;
            found.extend(object(body));
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn object(body: &[u8]) -> Option<(u32, Object)> {
    let (mut id, mut link, mut gateway) = (None, None, None);
    let mut object = Object::default();
    let mut rest = body.get(OBJECT..)?;
    while let Some(size) = half(rest, 0).map(usize::from).filter(|size| *size >= 4) {
        let value = rest.get(4..size)?;
        match half(rest, 2).map(|kind| kind & 0x3fff) {
            Some(1) => id = word(value, 0),
            Some(2) => object.members = value.chunks_exact(8).filter_map(member).collect(),
            Some(5) => link = word(value, 0),
            Some(6) => gateway = address(value),
            _ => {}
        }
        rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
    }
    object.hop = link.map(|link| KernelHop { gateway, link, weight: 1 });
    Some((id?, object))
}

/// `struct nexthop_grp`: id, weight less one, high octet of the weight.
fn member(entry: &[u8]) -> Option<(u32, u16)> {
    let weight = u16::from_le_bytes([*entry.get(4)?, *entry.get(5)?]);
    Some((word(entry, 0)?, weight.saturating_add(1)))
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

fn half(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::kernel;

    #[test]
    fn our_own_namespace_answers_and_what_is_not_there_is_not_deleted() {
        let fd = kernel::open().unwrap();
        let all = hops(&fd).unwrap();
        assert!(!all.contains_key(&0xfff0_0000));
        assert_eq!(delete(&fd, std::iter::once(0xfff0_0000)).unwrap(), 0);
    }

    #[test]
    fn a_group_and_a_member_are_read() {
        let mut member = vec![2, 0, 77, 0, 0, 0, 0, 0];
        for (kind, value) in [(1_u16, 7_u32.to_ne_bytes()), (5, 3_u32.to_ne_bytes()), (6, [10, 0, 0, 1])] {
            member.extend(8_u16.to_ne_bytes());
            member.extend(kind.to_ne_bytes());
            member.extend(value);
        }
        let (id, read) = object(&member).unwrap();
        assert_eq!((id, read.hop), (7, Some(KernelHop { gateway: Some([10, 0, 0, 1].into()), link: 3, weight: 1 })));
        let mut group = vec![0; OBJECT];
        group.extend([8, 0, 1, 0, 9, 0, 0, 0, 12, 0, 2, 0, 7, 0, 0, 0, 4, 0, 0, 0]);
        let (id, read) = object(&group).unwrap();
        assert_eq!((id, read.members), (9, vec![(7, 5)]));
    }
}
