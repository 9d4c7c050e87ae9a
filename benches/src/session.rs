//! One BGP session of the generator: just enough of RFC 4271 to hold a session, offer a stream of bytes and record what
//! arrives. Non-blocking; [`crate::crowd`] polls it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::table::{HEADER_BYTES, PrefixSet, finish, put_header, walk_nlri};

/// Longest message (RFC 4271 §4.1).
const MESSAGE_BYTES: usize = 4_096;
/// Bytes read at once into a buffer that all sessions share.
const READ_BYTES: usize = 1 << 18;
/// Bytes offered to one write.
const WRITE_BYTES: usize = 1 << 18;

/// Where a session is: both addresses, and who we say we are.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// The device's address.
    pub theirs: Ipv4Addr,
    /// Ours, and our identifier.
    pub ours: Ipv4Addr,
    /// Our AS.
    pub asn: u32,
    /// Hold time that we propose (s).
    pub hold_s: u16,
    /// The device tells it its routes.
    pub is_told: bool,
    /// The device has a BFD session with it, 50 ms × 3.
    pub has_bfd: bool,
    /// Graceful restart is agreed on, and the device keeps its routes over the loss of the link.
    pub is_kept: bool,
}

/// A buffer to read into: room for what a message lacked, and one read.
pub fn scratch() -> Vec<u8> {
    vec![0; MESSAGE_BYTES + READ_BYTES]
}

/// A session with the device under test.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    /// The beginning of a message.
    rest: Vec<u8>,
    control: Vec<u8>,
    keepalive_every: Duration,
    last_keepalive: Instant,
    /// The OPEN of the other side has arrived.
    open_seen: bool,
    /// OPEN and KEEPALIVE of the other side have arrived.
    pub is_established: bool,
    /// Bytes to offer, and how many the socket has taken.
    offer: Arc<Vec<u8>>,
    offset: usize,
    /// What the device has announced to us, where that matters.
    pub held: Option<PrefixSet>,
    /// What we offer ourselves, where others offer the like: it is not held when it comes back.
    pub own: Option<Arc<PrefixSet>>,
    /// How many of our own prefixes were sent back to us.
    pub echoed: u64,
    /// NLRI received, announced or withdrawn.
    pub nlri: u64,
    /// When the last UPDATE arrived.
    pub last_update: Option<Instant>,
    /// When KEEPALIVEs arrived, if somebody wants to know.
    pub heartbeats: Option<Vec<Instant>>,
    /// The UPDATEs themselves, if somebody wants to have them.
    pub record: Option<Vec<u8>>,
}

impl Session {
    /// Takes a socket that is connected or will be, and queues our OPEN.
    pub fn new(stream: TcpStream, seat: &Seat) -> Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            rest: Vec::new(),
            control: open_with(seat.asn, seat.ours, seat.hold_s, if seat.is_kept { &FORWARDED } else { &[] }),
            // RFC 4271 §4.4: a third of the hold time.
            keepalive_every: Duration::from_secs(u64::from(seat.hold_s)) / 3,
            last_keepalive: Instant::now(),
            open_seen: false,
            is_established: false,
            offer: Arc::default(),
            offset: 0,
            held: None,
            own: None,
            echoed: 0,
            nlri: 0,
            last_update: None,
            heartbeats: None,
            record: None,
        })
    }

    /// The socket, to poll on.
    pub const fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether bytes wait for the socket.
    pub fn wants_room(&self) -> bool {
        !self.control.is_empty() || self.offset < self.offer.len()
    }

    /// Bytes to offer from now on.
    pub fn offer(&mut self, bytes: Arc<Vec<u8>>) {
        (self.offer, self.offset) = (bytes, 0);
    }

    /// Writes what waits, as much as fits. Control messages go out between whole UPDATEs only: before or after the offer.
    pub fn send(&mut self) -> Result<()> {
        if self.offset == 0 || self.offset == self.offer.len() {
            if self.is_established && self.last_keepalive.elapsed() > self.keepalive_every {
                self.control.extend(keepalive());
                self.last_keepalive = Instant::now();
            }
            while !self.control.is_empty() {
                match self.stream.write(&self.control) {
                    Ok(written) => drop(self.control.drain(..written)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if self.offset < self.offer.len() {
            let end = self.offer.len().min(self.offset + WRITE_BYTES);
            match self.stream.write(&self.offer[self.offset..end]) {
                Ok(written) => self.offset += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads once and handles every whole message.
    pub fn receive(&mut self, scratch: &mut [u8]) -> Result<()> {
        let kept = self.rest.len();
        scratch[..kept].copy_from_slice(&self.rest);
        let filled = match self.stream.read(&mut scratch[kept..]) {
            Ok(0) => bail!("the device closed the session"),
            Ok(read) => kept + read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut rest = &scratch[..filled];
        while let Some(length) = message_length(rest)? {
            let (message, behind) = rest.split_at(length);
            self.handle(message)?;
            rest = behind;
        }
        self.rest.clear();
        self.rest.extend_from_slice(rest);
        Ok(())
    }

    fn handle(&mut self, message: &[u8]) -> Result<()> {
        match message[18] {
            1 => {
                self.open_seen = true;
                self.control.extend(keepalive());
            }
            2 => {
                if let Some(record) = &mut self.record {
                    record.extend_from_slice(message);
                }
                self.handle_update(&message[HEADER_BYTES..])?;
            }
            3 => bail!("the device sent NOTIFICATION {:?}", &message[HEADER_BYTES..]),
            4 => {
                self.is_established = self.open_seen;
                if let Some(heartbeats) = &mut self.heartbeats {
                    heartbeats.push(Instant::now());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 4271 §4.3: withdrawn routes, attributes, NLRI.
    fn handle_update(&mut self, body: &[u8]) -> Result<()> {
        let (withdrawn, rest) = take_field(body)?;
        let (_, announced) = take_field(rest)?;
        let (held, own, mut nlri, mut echoed) = (&mut self.held, self.own.as_deref(), 0, 0);
        let is_sound = walk_nlri(withdrawn, |prefix| {
            nlri += 1;
            if let Some(held) = held {
                held.remove(prefix);
            }
        }) && walk_nlri(announced, |prefix| {
            nlri += 1;
            if own.is_some_and(|own| own.contains(prefix)) {
                echoed += 1;
            } else if let Some(held) = held {
                held.insert(prefix);
            }
        });
        ensure!(is_sound, "malformed NLRI from the device");
        if nlri > 0 {
            // An End-of-RIB (RFC 4724 §2) says nothing about routes.
            self.last_update = Some(Instant::now());
        }
        self.nlri += nlri;
        self.echoed += echoed;
        Ok(())
    }
}

/// Length of the first message, when all of it is there.
pub fn message_length(bytes: &[u8]) -> Result<Option<usize>> {
    if bytes.len() < HEADER_BYTES {
        return Ok(None);
    }
    let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    ensure!((HEADER_BYTES..=MESSAGE_BYTES).contains(&length), "message of {length} octets");
    Ok((length <= bytes.len()).then_some(length))
}

/// A field with a two-octet length before it, and what follows.
fn take_field(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    ensure!(bytes.len() >= 2, "short UPDATE");
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    ensure!(bytes.len() >= 2 + length, "short UPDATE");
    Ok(bytes[2..].split_at(length))
}

/// An OPEN with IPv4 unicast (RFC 4760 §8) and four-octet AS numbers (RFC 6793 §3).
pub fn open(asn: u32, router_id: Ipv4Addr, hold_s: u16) -> Vec<u8> {
    open_with(asn, router_id, hold_s, &[])
}

/// Graceful restart of IPv4 unicast within two minutes, and forwarding went on (RFC 4724 §3).
const FORWARDED: [u8; 8] = [64, 6, 0, 120, 0, 1, 1, 0x80];

fn open_with(asn: u32, router_id: Ipv4Addr, hold_s: u16, more: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_header(&mut out, 1);
    out.push(4);
    out.extend(u16::try_from(asn).unwrap_or(23_456).to_be_bytes());
    out.extend(hold_s.to_be_bytes());
    out.extend(router_id.octets());
    let more_bytes = u8::try_from(more.len()).unwrap_or(0);
    out.extend([14 + more_bytes, 2, 12 + more_bytes, 1, 4, 0, 1, 0, 1, 65, 4]);
    out.extend(asn.to_be_bytes());
    out.extend(more);
    finish(&mut out, 0);
    out
}

/// A KEEPALIVE (RFC 4271 §4.4).
pub fn keepalive() -> Vec<u8> {
    let mut out = Vec::new();
    put_header(&mut out, 4);
    finish(&mut out, 0);
    out
}
