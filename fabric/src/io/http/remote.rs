//! The API for other machines: TLS 1.3 with certificates of both sides, and nothing for nobody without one. All of it is done by a thread of
//! its own with less of the processor than others get: whoever knocks, and with what, the daemon's loop has nothing to do with it.
//!
//! ```text
//! TCP ──▶ Handshakes (few, short, one step at a time) ──▶ a place ──▶ HTTP, as on the socket ──▶ Ask ──▶ the loop
//!              └── no certificate of `client_ca`: the connection ends     └── one without an identity: 403, and why
//! ```

mod certificates;
mod handshakes;

pub use certificates::{Certificates, examine};

use super::counts::add;
use super::{Hall, MAX_CONNECTIONS, Way, context, converse, pause};
use crate::config::RemoteConfig;
use handshakes::Handshakes;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use weft_bgp::time::Duration;

/// Longest wait for a place after a handshake.
const PLACE_WITHIN: Duration = Duration::from_secs(5);
/// Connections that the system keeps until they are taken.
const BACKLOG: i32 = 128;
/// Added to the thread's nice value: sessions go first.
const NICE: i32 = 5;
/// What to do about a certificate that says of nobody who he is.
pub(super) const IDENTITY_REMEDY: &str = "its alternative names must have one URI spiffe://TRUST_DOMAIN/weft/ROLE/NAME, with the role read, operator or admin";

/// Listens, and serves until the hall closes: where, and what ends when it is over. Call it before anything depends on it.
///
/// # Errors
/// When an address cannot be used, or there can be no thread.
pub(super) fn serve(
    config: &RemoteConfig,
    certificates: Certificates,
    hall: Hall,
) -> io::Result<(Vec<SocketAddr>, oneshot::Receiver<()>)> {
    let mut listeners = Vec::new();
    for address in &config.listen {
        let at = |error| context(&format!("remote API {address} (`api.remote.listen`)"), &error);
        listeners.push(listen(*address).map_err(at)?);
    }
    let addresses = listeners.iter().map(StdListener::local_addr).collect::<io::Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (end, over) = oneshot::channel();
    let thread = std::thread::Builder::new().name("remote-api".into());
    thread.spawn(move || {
        step_back();
        runtime.block_on(accept_all(listeners, certificates, hall));
        drop(end);
    })?;
    Ok((addresses, over))
}

/// `[::]` takes both families; every other address its own.
fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// This thread is not as important as the others.
fn step_back() {
    let this = rustix::thread::gettid();
    // Where the system does not let it, it is as important as they are.
    let before = rustix::process::getpriority_process(Some(this)).unwrap_or_default();
    let _ = rustix::process::setpriority_process(Some(this), before + NICE);
}

async fn accept_all(listeners: Vec<StdListener>, certificates: Certificates, hall: Hall) {
    let door = Door {
        handshakes: Handshakes::new(hall.counts.clone()),
        places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        certificates,
        hall,
    };
    let mut all = JoinSet::new();
    for listener in listeners {
        match TcpListener::from_std(listener) {
            Ok(listener) => drop(all.spawn(accept(listener, door.clone()))),
            Err(error) => tracing::error!(%error, "an address of the remote API cannot be used"),
        }
    }
    while all.join_next().await.is_some() {}
}

async fn accept(listener: TcpListener, door: Door) {
    let mut closing = door.hall.closing.clone();
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.changed() => break,
        };
        while tasks.try_join_next().is_some() {}
        match accepted {
            Ok((stream, from)) => {
                let place = door.handshakes.enter(from.ip());
                tasks.spawn(door.clone().receive(stream, from, place));
            }
            Err(error) => pause(&error).await,
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// What every connection needs.
#[derive(Clone)]
struct Door {
    certificates: Certificates,
    handshakes: Handshakes,
    places: Arc<Semaphore>,
    hall: Hall,
}

impl Door {
    /// From the first packet to the end of the connection.
    async fn receive(self, stream: TcpStream, from: SocketAddr, mut place: handshakes::Place) {
        let (stream, caller) = match place.shake(self.certificates.accept(stream)).await {
            Ok(known) => known,
            Err(failed) => {
                tracing::debug!(%from, %failed, "handshake");
                return;
            }
        };
        // The handshake's place is held until there is one here, so that no more than those wait.
        let Ok(Ok(held)) = tokio::time::timeout(PLACE_WITHIN, self.places.acquire_owned()).await else {
            add(&self.hall.counts.full);
            return;
        };
        drop(place);
        if let Err(error) = &caller {
            tracing::debug!(%from, error, "a certificate without identity");
        }
        converse(stream, Way::Remote(Arc::new(caller), from.ip().to_canonical()), self.hall).await;
        drop(held);
    }
}
