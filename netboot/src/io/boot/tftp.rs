//! Loaders over TFTP: one socket hears requests, and each transfer has one of its own, bound to the same address, so that what goes out comes
//! from where the client asked.

use super::Booter;
use crate::inventory::access::source;
use crate::io::server::places::{Place, Places};
use crate::tftp::{End, Output, REQUEST_MAX, Refused, Request, Transfer};
use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// Transfers at a time: some racks that load at once.
const TRANSFERS_MAX: usize = 512;
/// Of these to one source: firmware has one, and left one behind when it asked for the length.
const OF_SOURCE_MAX: usize = 8;
/// Longest transfer: a loader is some hundred kilobytes.
const WITHIN: Duration = Duration::from_secs(300);
/// Octets that the kernel keeps of requests while the server is busy.
const QUEUE: usize = 1024 * 1024;
/// Octets of a packet of a client, which is an acknowledgement or an error.
const PACKET_MAX: usize = 516;
/// Wait after a socket failed.
const FAILED_WAIT: Duration = Duration::from_millis(50);

/// How transfers ended, since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// The client has all of it.
    pub done: AtomicU64,
    /// The client ended it.
    pub aborted: AtomicU64,
    /// The client said nothing any more, or something else.
    pub broken: AtomicU64,
    /// Refused, as it was asked.
    pub refused: AtomicU64,
    /// There was no place.
    pub full: AtomicU64,
    /// Octets of files that were sent, those that were lost too.
    pub octets: AtomicU64,
}

fn one_more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Begins to hear.
///
/// # Errors
/// When the address cannot be used.
pub(super) fn start(at: SocketAddr, booter: Arc<Booter>) -> std::io::Result<()> {
    let socket = open(at)?;
    tokio::spawn(hear(socket, at, booter));
    Ok(())
}

async fn hear(socket: UdpSocket, own: SocketAddr, booter: Arc<Booter>) {
    let places = Places::new(TRANSFERS_MAX, OF_SOURCE_MAX);
    // One octet more than is read: what is too long shows.
    let mut buffer = vec![0; REQUEST_MAX + 1];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(heard) => heard,
            Err(error) => {
                tracing::warn!(%error, "cannot hear TFTP");
                tokio::time::sleep(FAILED_WAIT).await;
                continue;
            }
        };
        let counts = &booter.counts.tftp;
        let Some(request) = Request::read(buffer.get(..length).unwrap_or_default()) else { continue };
        let found = request.and_then(|request| {
            // The name is looked for, and nothing else: some firmware puts a slash before it.
            let loader = booter.loaders.get(request.name.trim_start_matches('/'));
            loader.map(|loader| (loader.octets.clone(), request)).ok_or(Refused::NO_FILE)
        });
        let (octets, request) = match found {
            Ok(found) => found,
            Err(refused) => {
                one_more(&counts.refused);
                tracing::debug!(%peer, why = refused.words, "TFTP");
                let _ = socket.try_send_to(&refused.octets(), peer);
                continue;
            }
        };
        // It asks again when it hears nothing.
        let Some(place) = places.enter(source(peer.ip())) else {
            one_more(&counts.full);
            continue;
        };
        tracing::info!(%peer, name = request.name, "sends a loader by TFTP");
        tokio::spawn(transfer(booter.clone(), (own, peer), octets, request, place));
    }
}

/// One transfer, to its end.
async fn transfer(
    booter: Arc<Booter>,
    (own, peer): (SocketAddr, SocketAddr),
    file: Bytes,
    request: Request,
    place: Place,
) {
    let counts = &booter.counts.tftp;
    let end = match tokio::time::timeout(WITHIN, run((own, peer), &file, &request, &counts.octets)).await {
        Ok(Ok(end)) => end,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TFTP");
            End::Silent
        }
        Err(_) => End::Silent,
    };
    drop(place);
    one_more(match end {
        End::Done => &counts.done,
        End::Aborted => &counts.aborted,
        End::Silent | End::Illegal => &counts.broken,
    });
}

async fn run(
    (own, peer): (SocketAddr, SocketAddr),
    file: &[u8],
    request: &Request,
    sent: &AtomicU64,
) -> std::io::Result<End> {
    let socket = open(SocketAddr::new(own.ip(), 0))?;
    // The kernel leaves out what comes from anywhere else (RFC 1350 §4).
    socket.connect(peer).await?;
    let begin = Instant::now();
    let length = u64::try_from(file.len()).unwrap_or(u64::MAX);
    let mut transfer = Transfer::new(begin.elapsed(), length, request.options);
    let mut buffer = [0; PACKET_MAX];
    loop {
        while let Some(output) = transfer.poll() {
            let octets = match output {
                Output::Send(octets) => octets,
                Output::Data { head, from, count } => {
                    let from = usize::try_from(from).unwrap_or(usize::MAX);
                    let part = file.get(from..from.saturating_add(count.into())).unwrap_or_default();
                    sent.fetch_add(u64::from(count), Ordering::Relaxed);
                    [&head, part].concat()
                }
            };
            socket.send(&octets).await?;
        }
        if let Some(end) = transfer.end() {
            return Ok(end);
        }
        match tokio::time::timeout_at(begin + transfer.next_timeout(), socket.recv(&mut buffer)).await {
            Ok(heard) => transfer.handle(begin.elapsed(), buffer.get(..heard?).unwrap_or_default()),
            Err(_) => transfer.tick(begin.elapsed()),
        }
    }
}

/// A service address may come later: `weft daemon` puts it on `lo` while its check passes.
fn open(at: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    match at {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    if at.port() != 0
        && let Err(error) = socket.set_recv_buffer_size(QUEUE)
    {
        tracing::debug!(%error, "the kernel keeps fewer requests");
    }
    socket.bind(&at.into())?;
    UdpSocket::from_std(socket.into())
}
