//! The kernel's routes, looked at from outside of the daemons (rtnetlink(7), linux/nexthop.h): by which gateways does a packet leave,
//! whether the route says so itself, in a list, or by the id of a nexthop object. Also sets links up and down.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;

use anyhow::{Context, Result, bail, ensure};
use socket2::Socket;

const NEWLINK: u16 = 16;
const GETROUTE: u16 = 26;
const GETNEXTHOP: u16 = 106;
const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The route itself is asked for, not the way of a packet.
const FIB_MATCH: u32 = 0x2000;
/// The main table. Asked for all tables, a kernel without rules goes through the trie of this one a second time, for the local table that
/// shares it: 120 to 190 ms in one call with a million routes, in which nobody else has the processor.
const MAIN: u8 = 254;
const HEADER: usize = 16;
const ROUTE: usize = 12;
/// `RTNH_F_DEAD` of a route or one of its next hops: not used. One without carrier is, unless a sysctl says otherwise.
const DEAD: u8 = 1;
/// A dump comes in pieces of at most 32 KiB.
const CHUNK: usize = 64 << 10;

/// Gateways of a route.
pub type Gateways = BTreeSet<Ipv4Addr>;

/// A socket in the namespace in which it was opened.
#[derive(Debug)]
pub struct Kernel {
    socket: Socket,
    chunk: Vec<u8>,
}

impl Kernel {
    /// In the namespace of the calling thread.
    pub fn open() -> Result<Self> {
        let socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE)?;
        // The filter of a dump is obeyed.
        socket.set_netlink_get_strict_chk(true)?;
        let socket = Socket::from(socket.as_fd().try_clone_to_owned()?);
        Ok(Self { socket, chunk: vec![0; CHUNK] })
    }

    /// Sets a link up or down.
    pub fn set_link(&mut self, name: &str, up: bool) -> Result<()> {
        let mut body = vec![0; 8];
        body.extend(u32::from(up).to_ne_bytes());
        body.extend(1_u32.to_ne_bytes());
        attribute(&mut body, 3, &[name.as_bytes(), &[0]].concat());
        self.ask(NEWLINK, REQUEST | ACK, &body)?;
        let length = self.socket.read(&mut self.chunk)?;
        let errno = self.chunk.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok());
        ensure!(length >= HEADER + 4 && errno.map(i32::from_ne_bytes) == Some(0), "link {name}: {errno:?}");
        Ok(())
    }

    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
        let mut message = u32::try_from(body.len() + HEADER)?.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        self.socket.write_all(&message)?;
        Ok(())
    }

    /// Every message of an answer of one message, or of a dump.
    fn hear(&mut self, dump: bool, mut each: impl FnMut(&[u8])) -> Result<()> {
        self.pieces(|message| {
            each(message);
            dump
        })
    }

    /// Every message of an answer, until one is enough.
    fn pieces(&mut self, mut each: impl FnMut(&[u8]) -> bool) -> Result<()> {
        loop {
            let length = self.socket.read(&mut self.chunk)?;
            let mut rest = &self.chunk[..length];
            while rest.len() >= HEADER {
                let size = usize::try_from(word(rest, 0))?;
                match half(rest, 4) {
                    DONE => return Ok(()),
                    // There is none.
                    ERROR => return Ok(()),
                    _ if !each(rest.get(HEADER..size).context("a cut message")?) => return Ok(()),
                    _ => {}
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    /// The gateways behind a nexthop id.
    fn behind(&mut self, id: u32) -> Result<Gateways> {
        let mut body = vec![0; 8];
        attribute(&mut body, 1, &id.to_ne_bytes());
        self.ask(GETNEXTHOP, REQUEST, &body)?;
        let (mut gateways, mut members) = (Gateways::new(), Vec::new());
        self.hear(false, |object| take_object(object, &mut gateways, &mut members))?;
        for member in members {
            gateways.extend(self.behind(member)?);
        }
        Ok(gateways)
    }

    /// The gateways of the route for an address; empty: there is none.
    pub fn gateways(&mut self, address: Ipv4Addr) -> Result<Gateways> {
        let mut body = vec![2, 32, 0, 0, 0, 0, 0, 0];
        body.extend(FIB_MATCH.to_ne_bytes());
        attribute(&mut body, 1, &address.octets());
        self.ask(GETROUTE, REQUEST, &body)?;
        let mut route = Seen::default();
        self.hear(false, |message| route = Seen::read(message))?;
        match route.id {
            Some(id) => self.behind(id),
            None => Ok(route.gateways),
        }
    }

    /// Whether there is a route to just this prefix, if none is longer.
    pub fn holds(&mut self, address: Ipv4Addr, length: u8) -> Result<bool> {
        let mut body = vec![2, 32, 0, 0, 0, 0, 0, 0];
        body.extend(FIB_MATCH.to_ne_bytes());
        attribute(&mut body, 1, &address.octets());
        self.ask(GETROUTE, REQUEST, &body)?;
        let mut holds = false;
        self.hear(false, |message| holds = message[1] == length)?;
        Ok(holds)
    }

    /// Whether there are more routes than so many, of any table and kind. Reads no more than it must: to be asked once, and dropped.
    pub fn has_more_than(mut self, number: usize) -> Result<bool> {
        let mut body = vec![0; ROUTE];
        body[0] = 2;
        self.ask(GETROUTE, REQUEST | DUMP, &body)?;
        let mut found = 0;
        self.pieces(|_| {
            found += 1;
            found <= number
        })?;
        Ok(found > number)
    }

    /// How many routes to single addresses of the main table have exactly these gateways, and how many others.
    pub fn count(&mut self, wanted: &Gateways) -> Result<(usize, usize)> {
        let mut body = vec![0; ROUTE];
        (body[0], body[4]) = (2, MAIN);
        self.ask(GETROUTE, REQUEST | DUMP, &body)?;
        let (mut inline, mut by_id) = ((0, 0), BTreeMap::<u32, usize>::new());
        self.hear(true, |message| {
            // Unicast to /32 in the main table.
            if message[1] != 32 || message[4] != MAIN || message[7] != 1 {
                return;
            }
            let seen = Seen::read(message);
            match seen.id {
                Some(id) => *by_id.entry(id).or_default() += 1,
                None if seen.gateways == *wanted => inline.0 += 1,
                None => inline.1 += 1,
            }
        })?;
        let (mut right, mut wrong) = inline;
        for (id, routes) in by_id {
            if self.behind(id)? == *wanted { right += routes } else { wrong += routes }
        }
        Ok((right, wrong))
    }
}

/// What a route says.
#[derive(Debug, Default)]
struct Seen {
    id: Option<u32>,
    gateways: Gateways,
}

impl Seen {
    fn read(message: &[u8]) -> Self {
        let mut seen = Self::default();
        // The low octet of `rtm_flags`.
        if message[8] & DEAD != 0 {
            return seen;
        }
        for (kind, value) in attributes(&message[ROUTE..]) {
            match kind {
                5 => seen.gateways.extend(address(value)),
                9 => seen.gateways.extend(listed(value)),
                30 => seen.id = Some(word(value, 0)),
                _ => {}
            }
        }
        seen
    }
}

/// `RTA_MULTIPATH`: `struct rtnexthop` (length, flags, hops, interface) with attributes of its own, one after another.
fn listed(mut value: &[u8]) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    while value.len() >= 8 {
        let size = usize::from(half(value, 0));
        let Some(hop) = value.get(8..size) else { break };
        if value[2] & DEAD == 0 {
            found.extend(attributes(hop).filter(|(kind, _)| *kind == 5).filter_map(|(_, value)| address(value)));
        }
        value = value.get(size.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// `NHA_GROUP` has eight octets for each member, `NHA_GATEWAY` an address.
fn take_object(object: &[u8], gateways: &mut Gateways, members: &mut Vec<u32>) {
    for (kind, value) in attributes(&object[8..]) {
        match kind {
            2 => members.extend(value.chunks_exact(8).map(|member| word(member, 0))),
            6 => gateways.extend(address(value)),
            _ => {}
        }
    }
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(u16::try_from(value.len() + 4).unwrap_or(u16::MAX).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn attributes(mut data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        if data.len() < 4 {
            return None;
        }
        let size = usize::from(half(data, 0));
        let found = (half(data, 2) & 0x3fff, data.get(4..size)?);
        data = data.get(size.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

fn word(data: &[u8], at: usize) -> u32 {
    data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn half(data: &[u8], at: usize) -> u16 {
    data.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

/// Waits until the routes of some addresses have exactly these gateways one after another, and then all of them; when the samples
/// had them first, if a dump confirms it.
pub fn wait_for(
    kernel: &mut Kernel,
    samples: &[Ipv4Addr],
    total: usize,
    wanted: &Gateways,
    mut meanwhile: impl FnMut() -> Result<bool>,
) -> Result<Option<std::time::Instant>> {
    loop {
        for sample in samples {
            while kernel.gateways(*sample)? != *wanted {
                if !meanwhile()? {
                    return Ok(None);
                }
            }
        }
        let seen = std::time::Instant::now();
        let (right, wrong) = kernel.count(wanted)?;
        if (right, wrong) == (total, 0) {
            return Ok(Some(seen));
        }
        if right > total {
            bail!("{right} routes, and {total} were offered");
        }
        if !meanwhile()? {
            return Ok(None);
        }
    }
}
