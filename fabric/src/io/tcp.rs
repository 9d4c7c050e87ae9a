//! The TCP connections of the daemon. Tasks only wait for readiness and say so in a few octets; the loop that owns the node reads
//! and writes itself. So nothing is buffered between a socket and the speaker, and a full socket simply leaves changes in the RIB.

use super::auth::{self, Key};
use super::sockopt;
use bytes::{Buf, Bytes, BytesMut};
use ipnet::IpNet;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
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
const READ_BYTES: usize = 64 * 1024;
/// What is asked of the node for one write.
const WRITE_BYTES: usize = 32 * 1024;
/// What one connection may send before the others have their turn.
const TURN_BYTES: usize = 4 * WRITE_BYTES;
/// Readiness announcements under way; each connection has at most two.
const READY: usize = 256;
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

    fn open(&mut self, conn: ConnId, stream: TcpStream) {
        let stream = Arc::new(stream);
        let gate = Arc::new(Notify::new());
        let task = tokio::spawn(watch(conn, Arc::clone(&stream), Arc::clone(&gate), self.ready.clone()));
        let reader = task.abort_handle();
        self.conns.insert(conn, Conn::Open(Open { stream, pending: Bytes::new(), gate, reader, writer: None }));
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
    }

    /// Sends what `fill` yields (it appends about so many bytes and says whether there is more) until there is no more, or no room, or
    /// others must have their turn. Says if the connection turned out to be over.
    pub fn transmit(&mut self, conn: ConnId, mut fill: impl FnMut(&mut BytesMut, usize) -> bool) -> Option<Input> {
        let Some(Conn::Open(open)) = self.conns.get_mut(&conn) else {
            return None;
        };
        let mut sent = 0;
        let mut more = true;
        while open.writer.is_none() {
            if open.pending.is_empty() {
                if !more {
                    return None;
                }
                if sent >= TURN_BYTES {
                    open.wait(conn, &self.ready);
                    return None;
                }
                more = fill(&mut self.write_buf, WRITE_BYTES);
                if self.write_buf.is_empty() {
                    return None;
                }
                open.pending = self.write_buf.split().freeze();
            }
            match open.stream.try_write(&open.pending) {
                Ok(length) => {
                    sent += length;
                    open.pending.advance(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => open.wait(conn, &self.ready),
                Err(_) => {
                    self.conns.remove(&conn);
                    return Some(Input::Closed { conn });
                }
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

    /// Waits for the connections that are being closed; they all end within a second.
    pub async fn closed(&mut self) {
        while self.closing.join_next().await.is_some() {}
    }
}

impl Open {
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
