//! Asks as the machines of a plant do, at a fixed rate whatever the server does: what is not sent in time is late, and counts from when it
//! should have been sent. Messages are written and read by hand.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::plant::{Client, SERVICE, relay};

/// Octets of answers that the kernel keeps for us: nothing is to be lost here.
const QUEUE: usize = 32 << 20;
/// Questions sent before answers are looked at again.
const BURST: usize = 16;
/// Less than this is not slept.
const SPIN: Duration = Duration::from_micros(20);
/// Wait for answers when all is asked.
const IDLE: Duration = Duration::from_millis(1);
/// Answers read before questions are looked at again.
const READ: usize = 64;
/// What has no answer after this is lost.
pub const LOST: Duration = Duration::from_secs(2);
/// The same for a single question, which asks whether there is a server.
const LOST_ALONE: Duration = Duration::from_millis(100);

const HEADER: usize = 240;
const SMALLEST: usize = 300;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// DISCOVER, and that is all.
    Discover,
    /// DISCOVER, and REQUEST for what is offered: the time is that from REQUEST to ACK.
    Bind,
    /// REQUEST of an address that the client has, straight from it (RFC 2131 §4.3.2, RENEWING).
    Renew,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Milliseconds until each answer that is asked for, in order.
    pub times_ms: Vec<f64>,
    /// Questions.
    pub asked: usize,
    /// Answers that no client may get: another address, a refusal.
    pub wrong: usize,
    /// Where each client has its address now, by its place in the list.
    pub addresses: Vec<Option<Ipv4Addr>>,
    /// Most that a question was sent too late (ms).
    pub late_ms: f64,
}

impl Heard {
    /// Questions without an answer.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.asked.saturating_sub(self.times_ms.len())
    }

    /// The time within which so many of a thousand questions have their answer (ms); infinite when that many have none.
    #[must_use]
    pub fn within(&self, of_thousand: usize) -> f64 {
        let at = (self.asked * of_thousand).div_ceil(1_000).max(1) - 1;
        self.times_ms.get(at).copied().unwrap_or(f64::INFINITY)
    }
}

/// The sockets of all relays and machines: their addresses are all this host's.
#[derive(Debug)]
pub struct Asker {
    relays: UdpSocket,
    machines: UdpSocket,
    began: u32,
}

/// A question under way.
#[derive(Clone, Copy, Debug)]
struct Open {
    due: Duration,
    client: usize,
    is_answered: bool,
}

impl Asker {
    /// Opens them in the namespace of the thread.
    ///
    /// # Errors
    /// When a port cannot be had.
    pub fn new() -> Result<Self> {
        Ok(Self { relays: open(67)?, machines: open(68)?, began: 1 })
    }

    /// Asks `total` times, `rate` times a second, each client in its turn; `had` says what clients have, for [`What::Renew`].
    ///
    /// # Errors
    /// When the sockets fail.
    pub fn ask(
        &mut self,
        what: What,
        clients: &[Client],
        had: &[Option<Ipv4Addr>],
        rate: u32,
        total: usize,
    ) -> Result<Heard> {
        ensure!(!clients.is_empty() && rate > 0, "nobody asks");
        let first = self.began;
        self.began = first.wrapping_add(u32::try_from(total)?);
        let mut heard = Heard { asked: total, addresses: had.to_vec(), ..Heard::default() };
        heard.addresses.resize(clients.len(), None);
        let mut open: Vec<Open> = Vec::with_capacity(total);
        let step = Duration::from_secs(1).div_f64(f64::from(rate));
        let begin = Instant::now();
        let mut end = None;
        let mut buffer = [0; 2_048];
        loop {
            let mut now = begin.elapsed();
            for _ in 0..BURST {
                let due = step.mul_f64(open.len() as f64);
                if open.len() == total || due > now {
                    break;
                }
                heard.late_ms = heard.late_ms.max((now - due).as_secs_f64() * 1e3);
                let client = open.len() % clients.len();
                let xid = first.wrapping_add(u32::try_from(open.len())?);
                self.question(what, &clients[client], heard.addresses[client], xid)?;
                open.push(Open { due, client, is_answered: false });
                now = begin.elapsed();
            }
            for _ in 0..READ {
                let socket = if what == What::Renew { &self.machines } else { &self.relays };
                let octets = match socket.recv(&mut buffer) {
                    Ok(length) => &buffer[..length],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("hear answers"),
                };
                let Some(answer) = Answer::read(octets) else { continue };
                let at = usize::try_from(answer.xid.wrapping_sub(first))?;
                let Some(asked) = open.get_mut(at).filter(|asked| !asked.is_answered) else { continue };
                let client = &clients[asked.client];
                if answer.kind == NAK || answer.mac != client.mac() || !client.may_have(answer.address) {
                    heard.wrong += 1;
                    continue;
                }
                let now = begin.elapsed();
                match (what, answer.kind) {
                    (What::Bind, OFFER) => {
                        asked.due = now;
                        self.request(client, &answer)?;
                        continue;
                    }
                    (What::Discover, OFFER) => {}
                    (What::Bind | What::Renew, ACK) => heard.addresses[asked.client] = Some(answer.address),
                    (What::Discover | What::Bind | What::Renew, _) => continue,
                }
                asked.is_answered = true;
                heard.times_ms.push(now.saturating_sub(asked.due).as_secs_f64() * 1e3);
            }
            // Not without pause on a processor: the kernel would take it away when that is least welcome.
            let due = step.mul_f64(open.len() as f64).saturating_sub(begin.elapsed() + SPIN);
            let wait = if open.len() < total { due } else { IDLE };
            if !wait.is_zero() {
                let socket = if what == What::Renew { &self.machines } else { &self.relays };
                poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&Timespec::try_from(wait)?))?;
            }
            if open.len() == total {
                let until = *end.get_or_insert_with(|| begin.elapsed() + if total == 1 { LOST_ALONE } else { LOST });
                if heard.times_ms.len() == total || begin.elapsed() > until {
                    break;
                }
            }
        }
        heard.times_ms.sort_by(f64::total_cmp);
        Ok(heard)
    }

    fn question(&self, what: What, client: &Client, has: Option<Ipv4Addr>, xid: u32) -> Result<()> {
        match what {
            What::Discover | What::Bind => self.by_relay(client, &message(1, client, xid, None, &[])),
            What::Renew => {
                let has = has.context("a client without an address cannot renew it")?;
                send(&self.machines, &message(3, client, xid, Some(has), &[]))
            }
        }
    }

    fn request(&self, client: &Client, offer: &Answer) -> Result<()> {
        let more = [&[50, 4][..], &offer.address.octets(), &[54, 4], &offer.server].concat();
        self.by_relay(client, &message(3, client, offer.xid, None, &more))
    }

    fn by_relay(&self, client: &Client, question: &[u8]) -> Result<()> {
        let mut relayed = question.to_vec();
        relayed[3] = 1;
        relayed[24..28].copy_from_slice(&relay(client.rack).octets());
        send(&self.relays, &relayed)
    }
}

fn open(port: u16) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(QUEUE)?;
    // Beyond the limit of the system, where we may: lost answers would count against the server.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE);
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into()).with_context(|| format!("port {port}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn send(socket: &UdpSocket, octets: &[u8]) -> Result<()> {
    match socket.send_to(octets, SocketAddrV4::new(SERVICE, 67)) {
        // No room: it is lost, as on a real link.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        sent => sent.map(drop).context("ask"),
    }
}

/// A message of a client (RFC 2131 §2, §4.4.1), with the list of what it would like to know that dhclient sends.
fn message(kind: u8, client: &Client, xid: u32, has: Option<Ipv4Addr>, more: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEADER - COOKIE.len()];
    out[..3].copy_from_slice(&[1, 1, 6]);
    out[4..8].copy_from_slice(&xid.to_be_bytes());
    if let Some(has) = has {
        out[12..16].copy_from_slice(&has.octets());
    }
    out[28..34].copy_from_slice(&client.mac());
    out.extend_from_slice(&COOKIE);
    out.extend_from_slice(&[53, 1, kind]);
    out.extend_from_slice(more);
    out.extend_from_slice(&[55, 7, 1, 3, 6, 12, 15, 28, 42, 255]);
    out.resize(out.len().max(SMALLEST), 0);
    out
}

/// What is read of an answer.
struct Answer {
    xid: u32,
    kind: u8,
    address: Ipv4Addr,
    mac: [u8; 6],
    server: [u8; 4],
}

impl Answer {
    fn read(octets: &[u8]) -> Option<Self> {
        if octets.first() != Some(&2) || octets.get(236..240) != Some(&COOKIE) {
            return None;
        }
        let four = |at: usize| octets.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
        let mut answer = Self {
            xid: u32::from_be_bytes(four(4)?),
            kind: 0,
            address: Ipv4Addr::from(four(16)?),
            mac: octets.get(28..34)?.try_into().ok()?,
            server: [0; 4],
        };
        let mut at = HEADER;
        while let (Some(code), Some(length)) = (octets.get(at), octets.get(at + 1)) {
            match (code, length) {
                (0, _) => {
                    at += 1;
                    continue;
                }
                (255, _) => break,
                (53, 1) => answer.kind = *octets.get(at + 2)?,
                (54, 4) => answer.server = four(at + 2)?,
                _ => {}
            }
            at += 2 + usize::from(*length);
        }
        Some(answer)
    }
}

/// Answers each question at once with the first address of its network that is lent: what the test bed allows. Never ends.
///
/// # Errors
/// When the port cannot be had.
pub fn mirror() -> Result<()> {
    let socket = UdpSocket::bind(SocketAddrV4::new(SERVICE, 67))?;
    let mut buffer = [0; 2_048];
    loop {
        let (length, _) = socket.recv_from(&mut buffer)?;
        let Some(question) = buffer.get_mut(..length).filter(|question| question.len() > HEADER + 3) else { continue };
        question[0] = 2;
        question[HEADER + 2] = OFFER;
        let giaddr = Ipv4Addr::from([question[24], question[25], question[26], question[27]]);
        let lent = Ipv4Addr::from_bits(giaddr.to_bits() - 1 + super::plant::LENT.0);
        question[16..20].copy_from_slice(&lent.octets());
        socket.send_to(question, SocketAddrV4::new(giaddr, 67))?;
    }
}
