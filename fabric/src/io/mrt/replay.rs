//! `weft mrt replay`: a dump told to a BGP speaker by a peer that has nothing else to say.

use super::Dump;
use crate::io::clock::Clock;
use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use weft_bgp::mrt::{self, Gathered, Record, Teller};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{Asn, Family};
use weft_bgp::wire::capability::Capabilities;
use weft_bgp::wire::framer::Framer;
use weft_bgp::wire::open::Open;
use weft_bgp::wire::update::put_end_of_rib;
use weft_bgp::wire::{Codec, HEADER_BYTES, Kind, MAX_MESSAGE_BYTES, Notification, put_keepalive};

/// How long the other end may take to accept the session.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// Hold time offered, seconds: whoever is busy with a million routes still answers within it.
const HOLD_S: u16 = 90;
/// Octets made ahead of the socket.
const AHEAD_BYTES: usize = 256 << 10;

/// What is replayed, to whom, as whom.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Where the speaker is.
    pub to: SocketAddr,
    /// Our address; the system's choice unless set.
    pub from: Option<IpAddr>,
    /// Our AS.
    pub asn: Asn,
    /// Our identifier.
    pub router_id: Ipv4Addr,
    /// Index of the only peer whose routes are told, in a table dump; of every prefix its first path unless set.
    pub peer: Option<u16>,
    /// Stay this long after everything was told; until the session ends unless set.
    pub stay: Option<Duration>,
}

/// What was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Octets of UPDATEs.
    pub octets: u64,
    /// Prefixes of the table dump.
    pub prefixes: usize,
    /// Messages of an update dump.
    pub messages: u64,
    /// Prefixes that could not be told, paths and messages that could not be read.
    pub untold: u64,
    /// From the first octet offered until the socket had taken the last.
    pub took: Duration,
}

/// Replays a file; `progress` is told when everything has been said.
///
/// # Errors
/// When the file cannot be read, or the session is refused or lost.
pub fn run(file: &Path, replay: &Replay, progress: impl FnOnce(&Told)) -> Result<()> {
    let (gathered, has_messages) = gather(file, replay.peer)?;
    let mut session = Session::open(replay)?;
    let mut told = Told { prefixes: gathered.prefixes, untold: gathered.malformed as u64, ..Told::default() };
    let begun = session.clock.now();
    for (block, prefixes) in gathered.sets() {
        told.untold += session.teller.announce(&mut session.out, block, prefixes) as u64;
        session.pump(AHEAD_BYTES)?;
    }
    drop(gathered);
    if has_messages {
        repeat(file, &mut session, &mut told)?;
    }
    for family in Family::ALL.into_iter().filter(|family| session.teller.codec.families[family.index()]) {
        put_end_of_rib(&mut session.out, family);
    }
    session.pump(0)?;
    told.took = session.clock.now().since(begun);
    told.octets = session.sent;
    progress(&told);
    session.stay(replay.stay)
}

/// The table of a dump, and whether there are messages in it. What cannot be read is counted as malformed.
fn gather(file: &Path, peer: Option<u16>) -> Result<(Gathered, bool)> {
    let (mut source, mut dump) = (Dump::open(file)?, mrt::Dump::default());
    let (mut gathered, mut has_messages) = (Gathered::default(), false);
    while let Some(next) = source.next_record()? {
        match next.as_ref().map_err(Clone::clone).and_then(|raw| dump.record(raw)) {
            Ok(Record::Rib(rib)) => gathered.add(&rib, |index| peer.is_none_or(|wanted| wanted == index)),
            Ok(Record::Message(message)) => has_messages |= message.kind == Kind::Update,
            Ok(Record::Peers { .. } | Record::StateChange(_) | Record::Other) => {}
            Err(_) => gathered.malformed += 1,
        }
    }
    ensure!(gathered.prefixes > 0 || has_messages, "{}: holds no routes to tell", file.display());
    Ok((gathered, has_messages))
}

/// Tells the UPDATEs of a dump, in its order, as fast as they are taken.
fn repeat(file: &Path, session: &mut Session, told: &mut Told) -> Result<()> {
    let (mut source, mut dump) = (Dump::open(file)?, mrt::Dump::default());
    while let Some(next) = source.next_record()? {
        let Ok(raw) = next else { continue };
        let Ok(Record::Message(message)) = dump.record(&raw) else { continue };
        match session.teller.repeat(&mut session.out, &message) {
            Some(untold) => {
                told.untold += untold as u64;
                told.messages += 1;
            }
            None => told.untold += u64::from(message.kind == Kind::Update),
        }
        session.pump(AHEAD_BYTES)?;
    }
    Ok(())
}

/// A session that speaks and hardly listens.
struct Session {
    stream: TcpStream,
    framer: Framer,
    teller: Teller,
    clock: Clock,
    out: BytesMut,
    sent: u64,
    hold: Duration,
    keepalive_at: Instant,
}

impl Session {
    /// Connects and exchanges OPENs.
    fn open(replay: &Replay) -> Result<Self> {
        let stream = connect(replay).with_context(|| format!("{}: cannot connect", replay.to))?;
        let address = stream.local_addr()?.ip();
        let clock = Clock::start();
        let can = Capabilities {
            as4: Some(replay.asn),
            families: Family::ALL.to_vec(),
            extended_next_hop: true,
            route_refresh: true,
            ..Capabilities::default()
        };
        let open = Open { asn: replay.asn, hold_time_s: HOLD_S, router_id: replay.router_id, can };
        let teller = Teller { asn: replay.asn, codec: Codec::PLAIN, address, other: None };
        let hold = Duration::from_secs(u64::from(HOLD_S));
        let keepalive_at = clock.now() + OPEN_LIMIT;
        let (framer, out) = (Framer::new(MAX_MESSAGE_BYTES), BytesMut::new());
        let mut session = Self { stream, framer, teller, clock, out, sent: 0, hold, keepalive_at };
        open.put(&mut session.out);
        let theirs = session.wait(Kind::Open)?;
        let theirs = Open::decode(&theirs).map_err(|fault| anyhow::anyhow!("its OPEN is malformed: {fault}"))?;
        session.agree(&theirs, replay.asn);
        put_keepalive(&mut session.out);
        session.wait(Kind::Keepalive)?;
        session.renew();
        session.sent = 0;
        Ok(session)
    }

    /// What both OPENs come to (RFC 4271 §4.2, RFC 4760 §8, RFC 6793 §4.1).
    fn agree(&mut self, theirs: &Open, asn: Asn) {
        let plain = theirs.can.families.is_empty();
        let speaks = |family: Family| match family {
            Family::Ipv4Unicast if plain => true,
            Family::Ipv4Unicast | Family::Ipv6Unicast => theirs.can.families.contains(&family),
        };
        self.teller.codec = Codec {
            as4: theirs.can.as4.is_some(),
            ebgp: theirs.asn != asn,
            families: Family::ALL.map(speaks),
            extended_next_hop: theirs.can.extended_next_hop,
            ..Codec::PLAIN
        };
        // An IPv4 address can be written as an IPv6 next hop; the other way needs RFC 8950.
        self.teller.other = match self.teller.address {
            IpAddr::V4(v4) => Some(IpAddr::V6(v4.to_ipv6_mapped())),
            IpAddr::V6(v6) => Some(IpAddr::V6(v6)).filter(|_| theirs.can.extended_next_hop),
        };
        self.hold = Duration::from_secs(u64::from(theirs.hold_time_s.min(HOLD_S)));
    }

    /// Sends what there is and waits for a message of this type.
    fn wait(&mut self, wanted: Kind) -> Result<bytes::Bytes> {
        let until = self.clock.now() + OPEN_LIMIT;
        loop {
            if let Some((kind, message)) = self.heard()? {
                ensure!(kind == wanted, "expected {wanted:?} and heard {kind:?}");
                return Ok(message);
            }
            ensure!(self.clock.now() < until, "no {wanted:?} within {} s", OPEN_LIMIT.as_secs());
            self.turn(until)?;
        }
    }

    /// The next message heard; a NOTIFICATION is the end.
    fn heard(&mut self) -> Result<Option<(Kind, bytes::Bytes)>> {
        let Some(next) = self.framer.next_message() else {
            return Ok(None);
        };
        let (kind, message) = next.map_err(|fault| anyhow::anyhow!("what it says is malformed: {fault}"))?;
        if kind == Kind::Notification {
            let said = message.get(HEADER_BYTES..).and_then(Notification::decode);
            bail!("it ended the session: {}", said.map_or_else(String::new, |said| said.to_string()));
        }
        Ok(Some((kind, message)))
    }

    /// Sends until no more than `ahead` octets wait.
    fn pump(&mut self, ahead: usize) -> Result<()> {
        while self.out.len() > ahead {
            self.turn(self.keepalive_at)?;
            while self.heard()?.is_some() {}
            self.keep_alive();
        }
        Ok(())
    }

    /// Keeps the session until it ends, or for so long.
    fn stay(mut self, stay: Option<Duration>) -> Result<()> {
        let until = stay.map(|stay| self.clock.now() + stay);
        while until.is_none_or(|until| self.clock.now() < until) {
            self.keep_alive();
            self.turn(until.map_or(self.keepalive_at, |until| until.min(self.keepalive_at)))?;
            while self.heard()?.is_some() {}
        }
        // RFC 4486 §4: Administrative Shutdown.
        Notification::new(Notification::CEASE, 2).put(&mut self.out);
        self.pump(0)
    }

    fn keep_alive(&mut self) {
        if self.clock.now() >= self.keepalive_at {
            put_keepalive(&mut self.out);
            self.renew();
        }
    }

    /// RFC 4271 §4.4: a third of the hold time, or never.
    fn renew(&mut self) {
        let wait = if self.hold.is_zero() { Duration::from_secs(3_600) } else { self.hold / 3 };
        self.keepalive_at = self.clock.now() + wait;
    }

    /// Waits until something can be read or written, or until a time, and does it.
    fn turn(&mut self, until: Instant) -> Result<()> {
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, !self.out.is_empty());
        let wait = until.since(self.clock.now()).max(Duration::from_millis(1));
        let wait = Timespec::try_from(wait).context("the wait is too long")?;
        poll(&mut [PollFd::new(&self.stream, wanted)], Some(&wait))?;
        if !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(length) => {
                    self.out.advance(length);
                    self.sent += length as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("the session was lost"),
            }
        }
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => bail!("the session was closed without a word"),
            Ok(length) => self.framer.push(piece.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("the session was lost"),
        }
        Ok(())
    }
}

fn connect(replay: &Replay) -> std::io::Result<TcpStream> {
    let domain = socket2::Domain::for_address(replay.to);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    if let Some(from) = replay.from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.connect_timeout(&replay.to.into(), OPEN_LIMIT)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
