//! All sessions of a case in one thread over one epoll: dialling, offering, hearing, being idle.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use socket2::{Domain, Socket, Type};

use crate::session::{Seat, Session, scratch};

/// Ready sockets taken at once.
const EVENTS: usize = 1_024;
/// A connection that the device closed before it was Established is dialled again after this.
const REDIAL: Duration = Duration::from_millis(100);
/// A daemon that takes no connection by then does not start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Sessions of the generator.
#[derive(Debug)]
pub struct Crowd {
    seats: Vec<Seat>,
    /// One for each seat that was taken.
    sessions: Vec<Option<Session>>,
    /// Which sockets wait for room.
    waiting: Vec<bool>,
    epoll: OwnedFd,
    scratch: Vec<u8>,
    redial: Vec<(Instant, usize)>,
    /// Sessions that are Established.
    established: usize,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(seats: Vec<Seat>) -> Result<Self> {
        let sessions = seats.iter().map(|_| None).collect();
        let waiting = vec![false; seats.len()];
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { seats, sessions, waiting, epoll, scratch: scratch(), redial: Vec::new(), established: 0 })
    }

    /// Waits until the device listens; no seat's address is used for that.
    pub fn wait_for_listener(&self) -> Result<()> {
        let end = Instant::now() + START_LIMIT;
        let theirs = self.seats.first().context("no seats")?.theirs;
        while let Err(error) = TcpStream::connect((theirs, 179)) {
            if Instant::now() > end {
                return Err(error).context("the daemon does not listen on port 179");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Takes all seats, with at most `in_flight` connections that are not Established; false if that takes longer than `limit`.
    pub fn establish(&mut self, in_flight: usize, limit: Duration) -> Result<bool> {
        let start = Instant::now();
        let mut next = 0;
        while self.established < self.seats.len() {
            if start.elapsed() > limit {
                return Ok(false);
            }
            while next < self.seats.len() && next - self.established < in_flight {
                self.dial(next)?;
                next += 1;
            }
            self.redial()?;
            self.turn()?;
        }
        Ok(true)
    }

    /// Dials again where the device closed a connection that was not yet Established.
    pub fn redial(&mut self) -> Result<()> {
        let now = Instant::now();
        let (due, later) = self.redial.drain(..).partition(|(at, _)| *at <= now);
        self.redial = later;
        let due: Vec<(Instant, usize)> = due;
        for (_, at) in due {
            self.dial(at)?;
        }
        Ok(())
    }

    /// Connects from a seat's address, without waiting.
    pub fn dial(&mut self, at: usize) -> Result<()> {
        let seat = &self.seats[at];
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // The port is chosen when the other end is known: a thousand addresses share the range.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((seat.ours, 0)).into())?;
        match socket.connect(&SocketAddr::from((seat.theirs, 179)).into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        self.join(at, TcpStream::from(socket))
    }

    /// Waits for the device to dial the address of a seat.
    pub fn accept(&mut self, at: usize, listener: &TcpListener, limit: Duration) -> Result<()> {
        let limit = Timespec { tv_sec: i64::try_from(limit.as_secs())?, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&limit))?;
        ensure!(ready == 1, "the daemon did not dial");
        self.join(at, listener.accept()?.0)
    }

    fn join(&mut self, at: usize, stream: TcpStream) -> Result<()> {
        let session = Session::new(stream, &self.seats[at])?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        epoll::add(&self.epoll, session.socket(), epoll::EventData::new_u64(at as u64), flags)?;
        self.waiting[at] = true;
        self.sessions[at] = Some(session);
        Ok(())
    }

    /// Ends a session.
    pub fn leave(&mut self, at: usize) {
        if let Some(session) = self.sessions[at].take() {
            self.established -= usize::from(session.is_established);
        }
    }

    /// The session of a seat.
    pub fn session(&mut self, at: usize) -> Result<&mut Session> {
        self.sessions[at].as_mut().context("this seat is empty")
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = (usize, &Session)> {
        self.sessions.iter().enumerate().filter_map(|(at, session)| Some((at, session.as_ref()?)))
    }

    /// How many sessions are Established.
    pub const fn established(&self) -> usize {
        self.established
    }

    /// Gives a session something to offer, and offers it.
    pub fn offer(&mut self, at: usize, bytes: Arc<Vec<u8>>) -> Result<()> {
        self.session(at)?.offer(bytes);
        self.send(at)
    }

    /// Whether every offer was taken by its socket.
    pub fn is_offered(&self) -> bool {
        self.sessions.iter().flatten().all(|session| !session.wants_room())
    }

    /// Waits for sockets, at most 5 ms, and serves those that are ready; which ones had something to read.
    pub fn turn(&mut self) -> Result<Vec<usize>> {
        let mut events = Vec::with_capacity(EVENTS);
        let wait = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait))?;
        let mut heard = Vec::with_capacity(events.len());
        for event in events {
            let at = usize::try_from(event.data.u64())?;
            let flags = event.flags;
            let has_input = flags.intersects(!epoll::EventFlags::OUT);
            if let Err(error) = self.serve(at, has_input) {
                self.lost(at, error)?;
            } else if has_input {
                heard.push(at);
            }
        }
        Ok(heard)
    }

    fn serve(&mut self, at: usize, has_input: bool) -> Result<()> {
        let Some(session) = self.sessions.get_mut(at).and_then(Option::as_mut) else {
            return Ok(());
        };
        if has_input {
            let was = session.is_established;
            session.receive(&mut self.scratch)?;
            self.established += usize::from(!was && session.is_established);
        }
        self.send(at)
    }

    /// A session that was not yet Established is tried again.
    fn lost(&mut self, at: usize, error: anyhow::Error) -> Result<()> {
        let was = self.sessions[at].take().is_some_and(|session| session.is_established);
        if was {
            let ours = self.seats[at].ours;
            return Err(error).with_context(|| format!("the session of {ours} is lost"));
        }
        self.redial.push((Instant::now() + REDIAL, at));
        Ok(())
    }

    fn send(&mut self, at: usize) -> Result<()> {
        let Some(session) = self.sessions.get_mut(at).and_then(Option::as_mut) else {
            return Ok(());
        };
        session.send()?;
        let waits = session.wants_room();
        if waits != self.waiting[at] {
            self.waiting[at] = waits;
            let out = if waits { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(at as u64);
            epoll::modify(&self.epoll, session.socket(), data, epoll::EventFlags::IN | out)?;
        }
        Ok(())
    }

    /// Serves all until `quiet` has passed without a route, at most until `limit`.
    pub fn idle(&mut self, quiet: Duration, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let last = self.sessions.iter().flatten().filter_map(|session| session.last_update).max();
            let since = last.map_or(start, |last| last.max(start)).elapsed();
            if since > quiet || start.elapsed() > limit {
                return Ok(());
            }
            self.turn()?;
            self.keep_alive()?;
        }
    }

    /// Lets sessions that have nothing else to do send what the schedule asks for.
    pub fn keep_alive(&mut self) -> Result<()> {
        for at in 0..self.sessions.len() {
            let due = self.sessions[at].as_ref().is_some_and(|session| !session.wants_room());
            if due {
                self.send(at)?;
            }
        }
        Ok(())
    }
}
