//! The TCP connections of the daemon. Tasks only wait for readiness and say so in a few octets; the loop that owns the node reads
//! and writes itself. So nothing is buffered between a socket and the speaker, and a full socket simply leaves changes in the RIB.

use super::auth::{self, Key};
use super::raw;
use super::sockopt;
use bytes::{Buf, Bytes, BytesMut};
use ipnet::IpNet;
use rustix::net::RecvFlags;
use socket2::SockRef;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use weft_bgp::speaker::{Input, TimeToLive};
use weft_bgp::time::Duration;
use weft_bgp::types::ConnId;

/// A dial that is not answered is given up.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How long a NOTIFICATION may take to reach a peer that is being closed.
const LINGER: Duration = Duration::from_secs(1);
/// One read: what the node takes before it looks at its timers again.
const READ_BYTES: usize = 32 * 1024;
/// What is asked of the node for one write, before the others have their turn.
pub const WRITE_BYTES: usize = 32 * 1024;
/// Readiness announcements under way; each connection has at most two. A thousand peers may have something to say at once, and what
/// they say is taken together.
const READY: usize = 2_048;
/// Wait after an accept that failed because we have too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket is ready for something.
#[derive(Debug)]
pub enum Ready {
    /// A dial ended.
    Dialled(ConnId, io::Result<TcpStream>),
    /// Somebody connected to us.
    Accepted(TcpStream, SocketAddr),
    /// There is something to read, or the end of it.
    Readable(ConnId),
    /// There is room to write.
    Writable(ConnId),
}

/// Where to, and how.
#[derive(Debug)]
pub struct Dial {
    /// The peer.
    pub remote: SocketAddr,
    /// Our address, if it matters.
    pub local: Option<IpAddr>,
    /// How far packets go, and from how far they are taken.
    pub ttl: TimeToLive,
    /// What segments are signed with.
    pub key: Option<Key>,
}

#[derive(Debug)]
struct Open {
    stream: Arc<TcpStream>,
    /// What the socket had no room for.
    pending: Bytes,
    /// It waits for its turn to send.
    queued: bool,
    /// Lets the reading task wait for the next readiness.
    gate: Arc<Notify>,
    reader: AbortHandle,
    /// Waits for room.
    writer: Option<AbortHandle>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // The tasks hold the stream: it is closed when they are gone.
        self.reader.abort();
        if let Some(writer) = &self.writer {
            writer.abort();
        }
    }
}

#[derive(Debug)]
enum Conn {
    Dialling(AbortHandle),
    Open(Open),
}

/// All connections, by id.
#[derive(Debug)]
pub struct Conns {
    conns: BTreeMap<ConnId, Conn>,
    /// Who has something to send, each once.
    turns: VecDeque<ConnId>,
    ready: mpsc::Sender<Ready>,
    read_buf: Box<[u8]>,
    write_buf: BytesMut,
    accepted: u64,
    closing: JoinSet<()>,
}

impl Conns {
    /// No connections yet, and where readiness is announced.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Ready>) {
        let (ready, events) = mpsc::channel(READY);
        let conns = Self {
            conns: BTreeMap::new(),
            turns: VecDeque::new(),
            ready,
            read_buf: vec![0; READ_BYTES].into_boxed_slice(),
            write_buf: BytesMut::new(),
            accepted: 0,
            closing: JoinSet::new(),
        };
        (conns, events)
    }

    /// Accepts from a listener from now on, until the task is aborted.
    pub fn listen(&self, listener: Arc<TcpListener>) -> AbortHandle {
        tokio::spawn(accept(listener, self.ready.clone())).abort_handle()
    }

    /// Dials; ends with [`Ready::Dialled`].
    pub fn connect(&mut self, conn: ConnId, dial: Dial) {
        let ready = self.ready.clone();
        let task = tokio::spawn(async move {
            let Dial { remote, local, ttl, key } = dial;
            let dial = tokio::time::timeout(CONNECT_LIMIT, sockopt::connect(remote, local, ttl, key));
            let result = dial.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            // The other end goes only when the daemon does.
            let _ = ready.send(Ready::Dialled(conn, result)).await;
        });
        self.conns.insert(conn, Conn::Dialling(task.abort_handle()));
    }

    /// A dial ended: what to tell the node, unless it lost interest.
    pub fn on_dialled(&mut self, conn: ConnId, result: io::Result<TcpStream>) -> Option<Input> {
        let Some(Conn::Dialling(_)) = self.conns.remove(&conn) else {
            return None;
        };
        let stood = result.and_then(|stream| Ok((stream.local_addr()?, stream)));
        Some(match stood {
            Ok((local, stream)) => {
                self.open(conn, stream);
                Input::Connected { conn, local }
            }
            Err(error) => Input::ConnectFailed { conn, error: sockopt::plain(&error) },
        })
    }

    /// Somebody connected who was expected: what to tell the node.
    pub fn on_accepted(&mut self, stream: TcpStream, remote: SocketAddr, ttl: TimeToLive) -> Option<Input> {
        if let Err(error) = sockopt::limit(&SockRef::from(&stream), remote, ttl) {
            tracing::warn!(%remote, error = sockopt::plain(&error), "a connection cannot be limited to near peers: closed");
            return None;
        }
        let local = stream.local_addr().ok()?;
        let conn = ConnId(ConnId::ACCEPTED | self.accepted);
        self.accepted += 1;
        self.open(conn, stream);
        Some(Input::Accepted { conn, local, remote })
    }

    /// Reads what is there although nothing was announced: whoever connects has mostly sent its OPEN by the time it is accepted, and ours and
    /// the answer to it then go as one. An end is announced later.
    pub fn read_early(&mut self, conn: ConnId) -> Option<Input> {
        let Some(Conn::Open(open)) = self.conns.get(&conn) else {
            return None;
        };
        let length = rustix::net::recv(&*open.stream, &mut *self.read_buf, RecvFlags::DONTWAIT).ok()?.0;
        let data = self.read_buf.get(..length).filter(|data| !data.is_empty())?;
        Some(Input::Received { conn, data: Bytes::copy_from_slice(data) })
    }

    /// Who stands, for another process: each connection's socket and what it had no room for.
    pub fn standing(&self) -> impl Iterator<Item = (ConnId, BorrowedFd<'_>, &[u8])> {
        self.conns.iter().filter_map(|(conn, state)| match state {
            Conn::Open(open) => Some((*conn, open.stream.as_fd(), &*open.pending)),
            Conn::Dialling(_) => None,
        })
    }

    /// A connection of the process before, with what it had no room for.
    ///
    /// # Errors
    /// When it is none.
    pub fn take_over(&mut self, socket: OwnedFd, unsent: Vec<u8>) -> io::Result<ConnId> {
        let stream = TcpStream::from_std(std::net::TcpStream::from(socket))?;
        let conn = ConnId(ConnId::ACCEPTED | self.accepted);
        self.accepted += 1;
        self.open(conn, stream);
        if let Some(Conn::Open(open)) = self.conns.get_mut(&conn) {
            open.pending = unsent.into();
        }
        Ok(conn)
    }

    fn open(&mut self, conn: ConnId, stream: TcpStream) {
        let stream = Arc::new(stream);
        let gate = Arc::new(Notify::new());
        let task = tokio::spawn(watch(conn, Arc::clone(&stream), Arc::clone(&gate), self.ready.clone()));
        let reader = task.abort_handle();
        self.conns.insert(
            conn,
            Conn::Open(Open { stream, pending: Bytes::new(), queued: false, gate, reader, writer: None }),
        );
    }

    /// New keys for those who are connected: both ends may change theirs at leisure, as long as it takes less than the hold time.
    pub fn set_keys(&self, key_of: impl Fn(SocketAddr) -> Option<Key>) {
        for conn in self.conns.values() {
            let Conn::Open(open) = conn else {
                continue;
            };
            // Without an address the connection is over already.
            let Ok(remote) = open.stream.peer_addr() else {
                continue;
            };
            let net = IpNet::from(remote.ip());
            match key_of(remote) {
                Some(key) => {
                    if let Err(error) = key.give(&*open.stream, net) {
                        tracing::warn!(%remote, error = sockopt::plain(&error), "the session cannot have the new key");
                    }
                }
                // Mostly there was none.
                None => auth::clear(&*open.stream, net),
            }
        }
    }

    /// Reads once: what came, or that it is over.
    pub fn on_readable(&mut self, conn: ConnId) -> Option<Input> {
        let Some(Conn::Open(open)) = self.conns.get(&conn) else {
            return None;
        };
        match open.stream.try_read(&mut self.read_buf) {
            Ok(length @ 1..) => {
                open.gate.notify_one();
                let data = Bytes::copy_from_slice(self.read_buf.get(..length)?);
                Some(Input::Received { conn, data })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                open.gate.notify_one();
                None
            }
            Ok(_) | Err(_) => {
                self.conns.remove(&conn);
                Some(Input::Closed { conn })
            }
        }
    }

    /// The socket has room again.
    pub fn on_writable(&mut self, conn: ConnId) {
        if let Some(Conn::Open(open)) = self.conns.get_mut(&conn) {
            open.writer = None;
        }
        self.queue(conn);
    }

    /// Lets a connection have its turn to send, behind those that wait already.
    pub fn queue(&mut self, conn: ConnId) {
        if let Some(Conn::Open(open)) = self.conns.get_mut(&conn)
            && !std::mem::replace(&mut open.queued, true)
        {
            self.turns.push_back(conn);
        }
    }

    /// Whether somebody waits for a turn.
    #[must_use]
    pub fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Whose turn it is.
    pub fn next_turn(&mut self) -> Option<ConnId> {
        let conn = self.turns.pop_front()?;
        if let Some(Conn::Open(open)) = self.conns.get_mut(&conn) {
            open.queued = false;
        }
        Some(conn)
    }

    /// Sends once what `fill` yields (it says whether there is more), or what there was no room for before; queues the connection again
    /// if it has more. Says if it turned out to be over.
    pub fn transmit(&mut self, conn: ConnId, fill: impl FnOnce(&mut BytesMut) -> bool) -> Option<Input> {
        let Some(Conn::Open(open)) = self.conns.get_mut(&conn) else {
            return None;
        };
        // Behind a full socket, it is asked again when there is room.
        if open.writer.is_some() {
            return None;
        }
        let mut more = true;
        let outcome = if open.pending.is_empty() {
            self.write_buf.clear();
            more = fill(&mut self.write_buf);
            open.send_new(&self.write_buf)
        } else {
            open.send_rest()
        };
        match outcome {
            Ok(()) if more || !open.pending.is_empty() => self.queue(conn),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => open.wait(conn, &self.ready),
            Err(_) => {
                self.conns.remove(&conn);
                return Some(Input::Closed { conn });
            }
        }
        None
    }

    /// Closes: at once, or after what `fill` still yields has been read by the peer, for at most a second.
    pub fn close(&mut self, conn: ConnId, flush: bool, mut fill: impl FnMut(&mut BytesMut, usize) -> bool) {
        match self.conns.remove(&conn) {
            Some(Conn::Dialling(task)) => task.abort(),
            Some(Conn::Open(open)) if flush => {
                let mut rest = BytesMut::from(&open.pending[..]);
                fill(&mut rest, WRITE_BYTES);
                let stream = Arc::clone(&open.stream);
                self.closing.spawn(async move {
                    // Whoever does not read for a second misses the rest.
                    let _ = tokio::time::timeout(LINGER, linger(stream, rest.freeze())).await;
                });
            }
            Some(Conn::Open(_)) | None => {}
        }
        while self.closing.try_join_next().is_some() {}
    }

    /// Connections with octets that the other end has not acknowledged.
    #[must_use]
    pub fn unacked(&self) -> BTreeSet<ConnId> {
        let open = self.conns.iter().filter_map(|(conn, state)| match state {
            Conn::Open(open) => Some((*conn, open)),
            Conn::Dialling(_) => None,
        });
        let waits = |open: &Open| open.queued || !open.pending.is_empty() || raw::is_unacked(&*open.stream);
        open.filter(|(_, open)| waits(open)).map(|(conn, _)| conn).collect()
    }

    /// Waits for the connections that are being closed; they all end within a second.
    pub async fn closed(&mut self) {
        while self.closing.join_next().await.is_some() {}
    }
}

impl Open {
    /// Sends octets; what there is no room for is kept, and no more memory than it takes.
    fn send_new(&mut self, octets: &[u8]) -> io::Result<()> {
        if octets.is_empty() {
            return Ok(());
        }
        match self.stream.try_write(octets) {
            Ok(length) => {
                self.pending = Bytes::copy_from_slice(octets.get(length..).unwrap_or_default());
                Ok(())
            }
            Err(error) => {
                self.pending = Bytes::copy_from_slice(octets);
                Err(error)
            }
        }
    }

    fn send_rest(&mut self) -> io::Result<()> {
        let length = self.stream.try_write(&self.pending)?;
        self.pending.advance(length);
        Ok(())
    }

    /// Announces the next room to write.
    fn wait(&mut self, conn: ConnId, ready: &mpsc::Sender<Ready>) {
        let (stream, ready) = (Arc::clone(&self.stream), ready.clone());
        let task = tokio::spawn(async move {
            // An error shows itself when written to; the receiver goes only when the daemon does.
            let _ = stream.writable().await;
            let _ = ready.send(Ready::Writable(conn)).await;
        });
        self.writer = Some(task.abort_handle());
    }
}

/// Announces each readiness to read, one at a time.
async fn watch(conn: ConnId, stream: Arc<TcpStream>, gate: Arc<Notify>, ready: mpsc::Sender<Ready>) {
    // An error shows itself when read from.
    while stream.readable().await.is_ok() && ready.send(Ready::Readable(conn)).await.is_ok() {
        gate.notified().await;
    }
}

async fn accept(listener: Arc<TcpListener>, ready: mpsc::Sender<Ready>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if ready.send(Ready::Accepted(stream, remote)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Sends the rest, says that this was all, and waits until the peer closes too: unread input would turn our close into a reset, and
/// a reset may overtake the NOTIFICATION.
async fn linger(stream: Arc<TcpStream>, mut rest: Bytes) {
    while !rest.is_empty() {
        match stream.try_write(&rest) {
            Ok(length) => rest.advance(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && stream.writable().await.is_ok() => {}
            Err(_) => return,
        }
    }
    sockopt::finish(&stream);
    let mut sink = [0; 4096];
    loop {
        match stream.try_read(&mut sink) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && stream.readable().await.is_ok() => {}
            Ok(0) | Err(_) => return,
        }
    }
}
