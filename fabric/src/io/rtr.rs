//! Connections to RPKI caches: a task for each carries octets; the loop that owns the node hands them to its client (RFC 8210) and
//! sends what that wants to say. A cache that is not there is dialled again when the client says so; nothing waits for it.

use super::sockopt;
use crate::handover::KeptCache;
use crate::node::Node;
use crate::record::Recorder;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weft_bgp::time::{Duration, Instant};

/// A dial that is not answered is given up.
const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// Octets read at a time: what the node takes before it looks at its timers again.
const READ_BYTES: usize = 64 << 10;
/// Reports that wait for the loop.
const EVENTS: usize = 8;
/// Pieces for a cache under way; a query is twelve octets.
const PIECES: usize = 8;

/// Most octets of data that are handed to the next program: four million prefixes of IPv6.
pub const CACHES_BYTES: u64 = 128 << 20;

/// What a task reports, and for which cache.
#[derive(Debug)]
pub struct Event {
    /// Which run of tasks: one that was replaced is not heard any more.
    run: u64,
    cache: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Up(mpsc::Sender<Bytes>),
    Data(Bytes),
    Lost(String),
}

/// All caches.
#[derive(Debug)]
pub struct Caches {
    addresses: Vec<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
    pieces: Vec<Option<mpsc::Sender<Bytes>>>,
    events: mpsc::Sender<Event>,
    run: u64,
}

impl Drop for Caches {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Caches {
    /// None yet, and where tasks report.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (events, heard) = mpsc::channel(EVENTS);
        (Self { addresses: Vec::new(), tasks: Vec::new(), pieces: Vec::new(), events, run: 0 }, heard)
    }

    /// Begins to speak to the caches of the configuration; those of before are forgotten with what they told.
    pub fn start(&mut self, now: Instant, node: &mut Recorder) {
        self.tasks.drain(..).for_each(|task| task.abort());
        self.run += 1;
        self.addresses.clone_from(&node.config().rpki);
        self.pieces = self.addresses.iter().map(|_| None).collect();
        node.set_caches(now);
        self.tasks = (0..self.addresses.len()).map(|cache| self.spawn(cache, Duration::ZERO)).collect();
    }

    /// What the next program needs to go on, and the data of all; one that does not fit is left out, the least preferred first.
    #[must_use]
    pub fn keep(&self, node: &Node) -> (Vec<KeptCache>, Vec<u8>) {
        let (mut caches, mut data) = (Vec::new(), Vec::new());
        for (cache, address) in self.addresses.iter().enumerate() {
            let Some((client, octets)) = node.keep_cache(cache) else {
                continue;
            };
            let octets_of = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
            if octets_of(data.len() + octets.len()) > CACHES_BYTES {
                tracing::warn!(cache = %address, "what it said is too much to be handed over");
                continue;
            }
            data.extend_from_slice(&octets);
            caches.push(KeptCache { address: *address, octets: octets_of(octets.len()), client });
        }
        (caches, data)
    }

    /// Goes on with what the program before left of these caches; nobody has answered yet.
    pub fn resume(&self, now: Instant, node: &mut Recorder, kept: &[KeptCache], mut data: &[u8]) {
        for KeptCache { address, octets, client } in kept {
            let split = usize::try_from(*octets).ok().and_then(|octets| data.split_at_checked(octets));
            let Some((own, rest)) = split else {
                tracing::warn!("what RPKI caches said is not all there");
                return;
            };
            data = rest;
            let Some(cache) = self.addresses.iter().position(|known| known == address) else {
                continue;
            };
            match node.resume_cache(now, cache, client, own) {
                Ok(()) => tracing::info!(cache = %address, "goes on with what the cache said before"),
                Err(error) => tracing::warn!(cache = %address, error, "what the cache said before is not used"),
            }
        }
    }

    fn spawn(&self, cache: usize, wait: Duration) -> JoinHandle<()> {
        let (address, events, run) = (self.addresses[cache], self.events.clone(), self.run);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let report = |what| Event { run, cache, what };
            let error = match serve(address, &events, report).await {
                Ok(()) => "closed".to_owned(),
                Err(error) => sockopt::plain(&error),
            };
            // The loop is gone only when the daemon is.
            let _ = events.send(report(What::Lost(error))).await;
        })
    }

    /// A task reports.
    pub fn on_event(&mut self, now: Instant, node: &mut Recorder, event: Event) {
        let Event { run, cache, what } = event;
        if run != self.run {
            return;
        }
        match what {
            What::Up(pieces) => {
                tracing::info!(cache = %self.addresses[cache], "RPKI cache is there");
                self.pieces[cache] = Some(pieces);
                node.cache_connected(now, cache);
            }
            What::Data(data) => node.cache_received(now, cache, &data),
            What::Lost(error) => {
                if self.pieces[cache].take().is_some() {
                    tracing::warn!(cache = %self.addresses[cache], error, "RPKI cache is gone");
                }
                let wait = node.cache_disconnected(cache, &error);
                self.tasks[cache] = self.spawn(cache, wait);
            }
        }
        self.flush(node);
    }

    /// Sends what the clients want to say.
    pub fn flush(&mut self, node: &mut Recorder) {
        for (cache, slot) in self.pieces.iter_mut().enumerate() {
            let Some(pieces) = slot else {
                continue;
            };
            let (octets, close) = node.poll_cache(cache);
            // A cache that does not even read queries loses its connection.
            let lost = !octets.is_empty() && pieces.try_send(octets.freeze()).is_err();
            if close || lost {
                // The task ends the connection behind what it was given.
                *slot = None;
            }
        }
    }
}

/// One connection, from the dial to the end.
async fn serve(address: SocketAddr, events: &mpsc::Sender<Event>, report: impl Fn(What) -> Event) -> io::Result<()> {
    let dialled = tokio::time::timeout(DIAL_LIMIT, TcpStream::connect(address)).await;
    let stream = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    let (sender, mut pieces) = mpsc::channel::<Bytes>(PIECES);
    if events.send(report(What::Up(sender))).await.is_err() {
        return Ok(());
    }
    let (mut reader, mut writer) = stream.into_split();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        tokio::select! {
            piece = pieces.recv() => match piece {
                Some(piece) => writer.write_all(&piece).await?,
                None => return writer.shutdown().await,
            },
            read = reader.read(&mut buffer) => {
                let length = read?;
                if length == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let data = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
                if events.send(report(What::Data(data))).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
