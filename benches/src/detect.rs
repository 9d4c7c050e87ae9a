//! The other end of BFD sessions (RFC 5880 §6.8), by hand: just enough to be Up with a device at 50 ms, to see when its packets come, and
//! to notice when it goes down. One thread, before all ordinary work where the system permits that: it must not be late itself.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use socket2::{Domain, Socket, Type};

use crate::session::Seat;

/// What both ends are configured to (RFC 5880 §6.8.1).
pub const INTERVAL: Duration = Duration::from_millis(50);
/// The device may miss so many of ours where we are not what is measured.
pub const PATIENT: u8 = 20;
/// So many where the device is to notice that we are gone, as it is configured itself.
pub const STRICT: u8 = 3;
/// Of the interval: the least that jitter may make of it is 75 % (RFC 5880 §6.8.7).
const PACE: Duration = Duration::from_millis(42);
const SLOW: Duration = Duration::from_millis(900);
const PORT: u16 = 3784;
const FIRST_SOURCE_PORT: u16 = 49_152;
const EVENTS: usize = 256;

const DOWN: u8 = 1;
const INIT: u8 = 2;
const UP: u8 = 3;
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;

/// One session, seen from here.
#[derive(Debug)]
pub struct Watched {
    ears: UdpSocket,
    mouth: UdpSocket,
    to: SocketAddr,
    discriminator: u32,
    theirs: u32,
    state: u8,
    polls: bool,
    next: Instant,
    /// How many of ours the device may miss (bfd.DetectMult).
    multiplier: u8,
    /// When ours was sent last.
    pub sent: Instant,
    /// When the device's packets came, if somebody wants to know.
    pub heard: Option<Vec<Instant>>,
    /// Packets that came.
    pub packets: u64,
    /// Times it was Up, and then not.
    pub downs: u64,
}

impl Watched {
    fn new(seat: &Seat, number: u16, multiplier: u8) -> Result<Self> {
        let socket = |port: u16| -> Result<UdpSocket> {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), None)?;
            socket.set_ttl_v4(255)?;
            socket.bind(&SocketAddr::from((seat.ours, port)).into()).context("a port of BFD is taken")?;
            Ok(socket.into())
        };
        Ok(Self {
            ears: socket(PORT)?,
            mouth: socket(FIRST_SOURCE_PORT + number)?,
            to: (seat.theirs, PORT).into(),
            discriminator: 0x0bed_0001 + u32::from(number),
            theirs: 0,
            state: DOWN,
            polls: false,
            next: Instant::now(),
            multiplier,
            sent: Instant::now(),
            heard: None,
            packets: 0,
            downs: 0,
        })
    }

    fn send(&mut self, now: Instant, answers: bool) -> Result<()> {
        let interval = if self.state == UP { INTERVAL } else { Duration::from_secs(1) };
        let flags = if answers { FINAL } else { u8::from(self.polls) * POLL };
        let mut packet = [0; 24];
        packet[..4].copy_from_slice(&[0x20, self.state << 6 | flags, self.multiplier, 24]);
        let words = [self.discriminator, self.theirs, us(interval)?, us(INTERVAL)?, 0];
        for (place, word) in packet[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        // A device that is not there yet is no error.
        let _ = self.mouth.send_to(&packet, self.to);
        self.sent = now;
        if !answers {
            self.next = now + if self.state == UP { PACE } else { SLOW };
        }
        Ok(())
    }

    /// All that has come.
    fn receive(&mut self, now: Instant) -> Result<()> {
        let mut packet = [0; 64];
        while let Ok(length) = self.ears.recv(&mut packet) {
            if length < 24 {
                continue;
            }
            self.packets += 1;
            if let Some(heard) = &mut self.heard {
                heard.push(now);
            }
            self.theirs = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
            let was = self.state;
            self.state = match (was, packet[1] >> 6) {
                (DOWN, DOWN) => INIT,
                (DOWN, INIT) | (INIT, INIT | UP) => UP,
                (UP, 0 | DOWN) | (INIT, 0) => DOWN,
                _ => was,
            };
            self.downs += u64::from(was == UP && self.state != UP);
            self.polls |= was != UP && self.state == UP;
            self.polls &= packet[1] & FINAL == 0;
            if packet[1] & POLL != 0 {
                self.send(now, true)?;
            }
            if was != self.state {
                self.send(now, false)?;
            }
        }
        Ok(())
    }
}

fn us(time: Duration) -> Result<u32> {
    Ok(u32::try_from(time.as_micros())?)
}

/// All sessions of a case.
#[derive(Debug)]
pub struct Watch {
    /// In the order of the seats.
    pub sessions: Vec<Watched>,
    epoll: std::os::fd::OwnedFd,
}

impl Watch {
    /// One for each seat; the device may miss so many packets of each.
    pub fn new(seats: &[Seat], multiplier: u8) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut sessions = Vec::new();
        for (number, seat) in (0..).zip(seats) {
            let session = Watched::new(seat, number, multiplier)?;
            epoll::add(&epoll, &session.ears, epoll::EventData::new_u64(number.into()), epoll::EventFlags::IN)?;
            sessions.push(session);
        }
        Ok(Self { sessions, epoll })
    }

    /// How many are Up.
    pub fn up(&self) -> usize {
        self.sessions.iter().filter(|session| session.state == UP).count()
    }

    /// Holds the sessions until `is_over` says so.
    pub fn hold(&mut self, mut is_over: impl FnMut(&Self) -> bool) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        while !is_over(self) {
            let next = self.sessions.iter().map(|session| session.next).min();
            let wait = next.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            let wait = wait.min(Duration::from_millis(5));
            let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait))?;
            let now = Instant::now();
            for event in &events {
                self.sessions[usize::try_from(event.data.u64())?].receive(now)?;
            }
            for session in self.sessions.iter_mut().filter(|session| session.next <= now) {
                session.send(now, false)?;
            }
        }
        Ok(())
    }

    /// Holds the sessions until the other end of the channel is gone.
    pub fn hold_until(&mut self, ended: &Receiver<()>) -> Result<()> {
        self.hold(|_| ended.try_recv() != Err(TryRecvError::Empty))
    }
}

/// Lets this thread run before ordinary ones, on the last processor. Without permission it is as good as they are. It is not moved to another
/// processor when it wakes, and a kernel without preemption lets it wait there for as long as a call takes: the generator's own calls are short.
pub fn hurry() {
    if let Ok(allowed) = sched_getaffinity(None)
        && let Some(last) = (0..CpuSet::MAX_CPU).rev().find(|&processor| allowed.is_set(processor))
    {
        let mut one = CpuSet::new();
        one.set(last);
        let _ = sched_setaffinity(None, &one);
    }
    let parameters = libc::sched_param { sched_priority: 20 };
    #[expect(unsafe_code, reason = "sched_setscheduler(2) has no safe wrapper")]
    // SAFETY: 0 is the calling thread, and the parameters are read during the call only.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
}
