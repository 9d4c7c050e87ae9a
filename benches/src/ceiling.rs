//! The ceiling of fan-out: a process that writes, from the same sockets, exactly the bytes that weft would send, and decides
//! nothing. The bytes were recorded from weft; equal messages of many peers lie in memory once, as a good speaker would have it.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::bed::LINKS;
use crate::dut::ASN;
use crate::session::{keepalive, message_length, open};

/// The listener among the events.
const LISTENER: u64 = u64::MAX;
/// Slices of one write; the kernel takes 1,024.
const SLICES: usize = 256;

/// What each peer was told: pieces of one pool.
#[derive(Debug, Default)]
pub struct Recording {
    pool: Vec<u8>,
    told: Vec<(Ipv4Addr, Vec<Range<usize>>)>,
}

impl Recording {
    /// Of whole messages to each peer.
    pub fn new<'a>(streams: impl Iterator<Item = (Ipv4Addr, &'a [u8])>) -> Result<Self> {
        let mut recording = Self::default();
        let mut known: HashMap<&[u8], usize> = HashMap::new();
        for (peer, mut rest) in streams {
            let mut pieces: Vec<Range<usize>> = Vec::new();
            while let Some(length) = message_length(rest)? {
                let (message, behind) = rest.split_at(length);
                rest = behind;
                let at = *known.entry(message).or_insert_with(|| {
                    recording.pool.extend_from_slice(message);
                    recording.pool.len() - length
                });
                match pieces.last_mut() {
                    Some(last) if last.end == at => last.end += length,
                    Some(_) | None => pieces.push(at..at + length),
                }
            }
            recording.told.push((peer, pieces));
        }
        Ok(recording)
    }

    /// Writes it to a file, as numbers of eight octets and the pool behind them.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut out = Vec::new();
        let mut put = |number: usize| out.extend((number as u64).to_be_bytes());
        put(self.told.len());
        for (peer, pieces) in &self.told {
            put(peer.to_bits() as usize);
            put(pieces.len());
            pieces.iter().for_each(|piece| [piece.start, piece.end].into_iter().for_each(&mut put));
        }
        out.extend_from_slice(&self.pool);
        fs::write(path, out).with_context(|| format!("write {}", path.display()))
    }

    fn load(path: &Path) -> Result<Self> {
        let bytes = fs::read(path)?;
        let mut rest = bytes.as_slice();
        let mut take = || -> Result<usize> {
            let (number, behind) = rest.split_first_chunk::<8>().context("a short recording")?;
            rest = behind;
            Ok(usize::try_from(u64::from_be_bytes(*number))?)
        };
        let mut told = Vec::new();
        for _ in 0..take()? {
            let peer = Ipv4Addr::from_bits(u32::try_from(take()?)?);
            let count = take()?;
            let pieces: Result<Vec<_>> = (0..count).map(|_| Ok(take()?..take()?)).collect();
            told.push((peer, pieces?));
        }
        Ok(Self { pool: rest.to_vec(), told })
    }
}

#[derive(Debug)]
struct Conn {
    stream: TcpStream,
    input: Vec<u8>,
    /// OPEN and KEEPALIVE came.
    greeted: bool,
    pieces: Vec<Range<usize>>,
    /// The piece under way.
    next: usize,
}

/// Serves the peers of a recording in the current namespace until one leaves; the first UPDATE lets it write everything.
pub fn run(path: &Path) -> Result<()> {
    let recording = Recording::load(path)?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 179))?;
    rustix::net::listen(&listener, 1_024)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut conns: Vec<Option<Conn>> = Vec::new();
    let mut scratch = vec![0; 1 << 18];
    let mut is_writing = false;
    let mut events = Vec::with_capacity(1_024);
    loop {
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            if event.data.u64() == LISTENER {
                while let Ok((stream, peer)) = listener.accept() {
                    conns.push(join(stream, peer.ip(), &recording, &epoll, conns.len())?);
                }
                continue;
            }
            let Some(place) = conns.get_mut(usize::try_from(event.data.u64())?) else { continue };
            let Some(conn) = place else { continue };
            let flags = event.flags;
            if flags.intersects(!epoll::EventFlags::OUT) {
                match conn.stream.read(&mut scratch) {
                    Ok(0) if conn.greeted => return Ok(()),
                    // Somebody who only looked whether we listen.
                    Ok(0) | Err(_) => *place = None,
                    Ok(length) => {
                        if conn.hears_update(&scratch[..length])? && !is_writing {
                            is_writing = true;
                            for (at, conn) in conns.iter_mut().enumerate() {
                                conn.as_mut().map_or(Ok(()), |conn| conn.write(&recording, &epoll, at))?;
                            }
                        }
                    }
                }
            } else if is_writing {
                conn.write(&recording, &epoll, usize::try_from(event.data.u64())?)?;
            }
        }
    }
}

fn join(
    mut stream: TcpStream,
    peer: IpAddr,
    recording: &Recording,
    epoll: &OwnedFd,
    at: usize,
) -> Result<Option<Conn>> {
    let Some((_, pieces)) = recording.told.iter().find(|(known, _)| IpAddr::V4(*known) == peer) else {
        return Ok(None);
    };
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let hello = [open(ASN, Ipv4Addr::from(LINKS[0].0), 180), keepalive()].concat();
    if stream.write_all(&hello).is_err() {
        return Ok(None);
    }
    epoll::add(epoll, &stream, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
    Ok(Some(Conn { stream, input: Vec::new(), greeted: false, pieces: pieces.clone(), next: 0 }))
}

impl Conn {
    /// Whether an UPDATE began; behind the greeting nothing else is looked at.
    fn hears_update(&mut self, bytes: &[u8]) -> Result<bool> {
        if self.greeted && self.input.is_empty() {
            return Ok(bytes.get(18) == Some(&2));
        }
        self.input.extend_from_slice(bytes);
        while let Some(length) = message_length(&self.input)? {
            self.greeted |= self.input[18] == 4;
            self.input.drain(..length);
        }
        Ok(false)
    }

    /// Writes as much as fits.
    fn write(&mut self, recording: &Recording, epoll: &OwnedFd, at: usize) -> Result<()> {
        while self.next < self.pieces.len() {
            let slices: Vec<_> = self.pieces[self.next..]
                .iter()
                .take(SLICES)
                .map(|piece| IoSlice::new(&recording.pool[piece.clone()]))
                .collect();
            let mut written = match self.stream.write_vectored(&slices) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
                    epoll::modify(epoll, &self.stream, epoll::EventData::new_u64(at as u64), flags)?;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            while let Some(piece) = self.pieces.get_mut(self.next).filter(|_| written > 0) {
                let part = written.min(piece.len());
                piece.start += part;
                written -= part;
                self.next += usize::from(piece.start == piece.end);
            }
        }
        epoll::modify(epoll, &self.stream, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_messages_lie_in_the_pool_once_and_come_back_in_order() {
        let [a, b, c] = [1_u8, 2, 3].map(|hold| open(1, Ipv4Addr::LOCALHOST, u16::from(hold)));
        let streams = [[&a[..], &b, &c].concat(), [&a[..], &c].concat(), [&b[..], &c].concat()];
        let peers = (1_u32..).map(Ipv4Addr::from_bits);
        let made = Recording::new(peers.zip(streams.iter().map(Vec::as_slice))).unwrap();
        assert_eq!(made.pool.len(), streams[0].len());
        assert_eq!(made.told.iter().map(|(_, pieces)| pieces.len()).collect::<Vec<_>>(), [1, 2, 1]);
        let path = std::env::temp_dir().join(format!("weft-recording-{}", std::process::id()));
        made.save(&path).unwrap();
        let read = Recording::load(&path).unwrap();
        fs::remove_file(&path).unwrap();
        for ((_, pieces), stream) in read.told.iter().zip(&streams) {
            let all: Vec<u8> = pieces.iter().flat_map(|piece| &read.pool[piece.clone()]).copied().collect();
            assert_eq!(&all, stream);
        }
    }
}
