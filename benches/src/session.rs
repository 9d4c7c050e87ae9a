//! One BGP session of the generator: just enough of RFC 4271 to hold a session, offer a stream of bytes and record what
//! arrives. Non-blocking; the case's loop polls it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::table::{HEADER_BYTES, PrefixSet, finish, put_header, walk_nlri};

/// Bytes read at once; the receive buffer never holds more than this plus one message.
const READ_BYTES: usize = 1 << 20;
/// Bytes offered to one write.
const WRITE_BYTES: usize = 1 << 18;
/// Hold time we propose (s).
const HOLD_TIME_S: u16 = 180;
/// Interval of our keepalives: a third of the hold time (RFC 4271 §4.4).
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A session with the device under test.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    control: Vec<u8>,
    last_keepalive: Instant,
    /// The OPEN of the other side has arrived.
    open_seen: bool,
    /// OPEN and KEEPALIVE of the other side have arrived.
    pub is_established: bool,
    /// What the device has announced to us.
    pub held: PrefixSet,
    /// UPDATEs received.
    pub updates: u64,
    /// NLRI received, announced or withdrawn.
    pub nlri: u64,
    /// When the last UPDATE arrived.
    pub last_update: Option<Instant>,
}

impl Session {
    /// Takes a connected socket and queues our OPEN.
    pub fn new(stream: TcpStream, asn: u32, router_id: Ipv4Addr) -> Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: vec![0; READ_BYTES + 4_096],
            filled: 0,
            control: open(asn, router_id),
            last_keepalive: Instant::now(),
            open_seen: false,
            is_established: false,
            held: PrefixSet::default(),
            updates: 0,
            nlri: 0,
            last_update: None,
        })
    }

    /// The socket, to poll on.
    pub const fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether control messages wait for the socket.
    pub const fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// Writes waiting control messages, then as much of `stream` from `offset` on as fits; the number of `stream` bytes
    /// taken. Control goes out between whole UPDATEs only, so it waits while a stream is under way.
    pub fn send(&mut self, stream: &[u8], offset: usize) -> Result<usize> {
        if offset == 0 || offset == stream.len() {
            if self.is_established && self.last_keepalive.elapsed() > KEEPALIVE {
                self.control.extend(keepalive());
                self.last_keepalive = Instant::now();
            }
            while !self.control.is_empty() {
                match self.stream.write(&self.control) {
                    Ok(written) => drop(self.control.drain(..written)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let end = stream.len().min(offset + WRITE_BYTES);
        if offset == end {
            return Ok(0);
        }
        match self.stream.write(&stream[offset..end]) {
            Ok(written) => Ok(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads once and handles every whole message; false if nothing was there.
    pub fn receive(&mut self) -> Result<bool> {
        let end = self.input.len();
        let read = match self.stream.read(&mut self.input[self.filled..end]) {
            Ok(0) => bail!("the device closed the session"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        self.filled += read;
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while self.filled - at >= HEADER_BYTES {
            let length = usize::from(u16::from_be_bytes([input[at + 16], input[at + 17]]));
            ensure!((HEADER_BYTES..=4_096).contains(&length), "message of {length} octets");
            if self.filled - at < length {
                break;
            }
            self.handle(&input[at..at + length])?;
            at += length;
        }
        self.input = input;
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(true)
    }

    fn handle(&mut self, message: &[u8]) -> Result<()> {
        match message[18] {
            1 => {
                self.open_seen = true;
                self.control.extend(keepalive());
            }
            2 => self.handle_update(&message[HEADER_BYTES..])?,
            3 => bail!("the device sent NOTIFICATION {:?}", &message[HEADER_BYTES..]),
            4 => self.is_established = self.open_seen,
            _ => {}
        }
        Ok(())
    }

    /// RFC 4271 §4.3: withdrawn routes, attributes, NLRI.
    fn handle_update(&mut self, body: &[u8]) -> Result<()> {
        let (withdrawn, rest) = take_field(body)?;
        let (_, announced) = take_field(rest)?;
        let (held, nlri) = (&mut self.held, &mut self.nlri);
        let is_sound = walk_nlri(withdrawn, |prefix| {
            *nlri += 1;
            held.remove(prefix);
        }) && walk_nlri(announced, |prefix| {
            *nlri += 1;
            held.insert(prefix);
        });
        ensure!(is_sound, "malformed NLRI from the device");
        self.updates += 1;
        self.last_update = Some(Instant::now());
        Ok(())
    }
}

/// A field with a two-octet length before it, and what follows.
fn take_field(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    ensure!(bytes.len() >= 2, "short UPDATE");
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    ensure!(bytes.len() >= 2 + length, "short UPDATE");
    Ok(bytes[2..].split_at(length))
}

/// An OPEN with IPv4 unicast (RFC 4760 §8) and four-octet AS numbers (RFC 6793 §3).
pub fn open(asn: u32, router_id: Ipv4Addr) -> Vec<u8> {
    let mut out = Vec::new();
    put_header(&mut out, 1);
    out.push(4);
    out.extend(u16::try_from(asn).unwrap_or(23_456).to_be_bytes());
    out.extend(HOLD_TIME_S.to_be_bytes());
    out.extend(router_id.octets());
    out.extend([14, 2, 12, 1, 4, 0, 1, 0, 1, 65, 4]);
    out.extend(asn.to_be_bytes());
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
