//! Listens on the local socket and for TLS, says who each connection is, and serves the API on it.
//!
//! Handshakes have places, a deadline and a turn of their own (`handshakes`): clients with wrong certificates wait for each other and for
//! nobody else.

pub mod counts;
pub(in crate::io) mod handshakes;
mod open;
pub(in crate::io) mod places;
pub(in crate::io) mod reload;
pub(in crate::io) mod tls;
mod web;

use super::bmc::Bmcs;
use super::boot::Booter;
use super::dhcp::Dhcp;
use super::dhcp6::Dhcp6;
use super::listen;
use super::liveness::Watcher;
use super::rest::{self, Parts};
use super::service::Service;
use crate::config::Config;
use crate::inventory::access::{Access, Actor};
use anyhow::Context as _;
use axum::Router;
use counts::Counts;
use handshakes::Handshakes;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

/// Connections at a time, each of the local socket and of TLS. More wait in the kernel's queue, or with their finished handshake.
const CONNECTIONS_MAX: usize = 4_096;
/// Longest handshake; its packets need three round trips.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for a place after a handshake.
const PLACE_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for the head of a request, also of the next one on a connection.
const HEAD_WITHIN: Duration = Duration::from_secs(60);
/// Octets of a head.
const HEAD_MAX: usize = 32 * 1024;
/// Wait after the system refused a connection: it has no descriptors left, and will have some when others end.
const REFUSED_WAIT: Duration = Duration::from_millis(50);

/// Longest time to hand over what others can go on with.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// A running server; the local socket is there when this is made.
#[derive(Debug)]
pub struct Server {
    /// What it serves.
    pub service: Arc<Service>,
    /// Where it listens for TLS: the ports that the system chose.
    pub addresses: Vec<SocketAddr>,
    socket: PathBuf,
    bmcs: Option<Arc<Bmcs>>,
}

impl Server {
    /// Begins to listen.
    ///
    /// # Errors
    /// When a file or address cannot be used; says which.
    pub async fn start(config: &Config, service: Arc<Service>) -> anyhow::Result<Self> {
        let liveness = config.liveness.as_ref();
        let liveness = match liveness.map(|rules| rules.check().map(|()| rules)) {
            Some(Err(wrong)) => anyhow::bail!(wrong),
            Some(Ok(rules)) => Some(Watcher::start(rules, service.clone())),
            None => None,
        };
        let dhcp = config.dhcp.as_ref().map(|rules| Dhcp::start(rules, service.clone())).transpose()?;
        let dhcp6 = config.dhcp6.as_ref().map(|rules| Dhcp6::start(rules, service.clone())).transpose()?;
        let counts = Arc::new(Counts::default());
        let boot = config.boot.as_ref().map(|rules| Booter::start(rules, config.enrol, service.clone())).transpose()?;
        let bmcs = config.bmc.as_ref().map(|rules| Bmcs::start(rules, service.clone())).transpose()?;
        let keyring = config.disk_keys.as_ref();
        let makes_files = config.boot.as_ref().is_some_and(|rules| rules.uki.is_some());
        let keyring = keyring.map(|rules| rest::Keyring::new(rules, makes_files)).transpose()?.map(Arc::new);
        // This program, also when there is a newer file of its name.
        let renders = Some(PathBuf::from("/proc/self/exe"));
        let parts = Parts { liveness, dhcp, dhcp6, boot, bmcs, keyring, renders };
        let bmcs = parts.bmcs.clone();
        let router = rest::router(service.clone(), counts.clone(), parts);
        let local = listen_local(&config.socket).await?;
        tokio::spawn(serve_local(local, router.clone(), counts.clone()));
        if let Some(address) = &config.web {
            let listener = listen::open(*address).with_context(|| format!("web: {address}"))?;
            tokio::spawn(web::listen(listener, router.clone(), counts.clone()));
        }
        if let Some(address) = &config.enrol {
            let listener = listen::open(*address).with_context(|| format!("enrol: {address}"))?;
            tokio::spawn(open::listen(listener, router.clone(), counts.clone()));
        }
        let mut addresses = Vec::new();
        let mut hangup = signal(SignalKind::hangup())?;
        if let Some(https) = &config.https {
            // Before the files are read: a change meanwhile is seen.
            let files = tls::files(https);
            let known = reload::stamps(&files);
            let acceptor = tls::Acceptor::new(https, counts.tls.clone())?;
            let handshakes = Handshakes::new(counts.tls.clone(), HANDSHAKE_WITHIN);
            let door =
                Door { acceptor: acceptor.clone(), handshakes, connections: permits(CONNECTIONS_MAX), counts, router };
            for address in &https.listen {
                let listener = listen::open(*address).with_context(|| format!("https.listen: {address}"))?;
                addresses.push(listener.local_addr()?);
                tokio::spawn(serve_tls(listener, door.clone()));
            }
            let again = move || acceptor.reload();
            tokio::spawn(reload::follow(files, known, again, door.counts.tls.clone(), hangup));
        } else if config.boot.as_ref().is_none_or(|boot| boot.https.is_none()) {
            tokio::spawn(async move {
                while hangup.recv().await.is_some() {
                    tracing::info!(
                        "there are no certificates to read again: neither `https` nor `boot.https` is configured"
                    );
                }
            });
        }
        Ok(Self { service, addresses, socket: config.socket.clone(), bmcs })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// What every listener needs.
#[derive(Clone)]
struct Door {
    acceptor: tls::Acceptor,
    handshakes: Handshakes,
    connections: Arc<Semaphore>,
    counts: Arc<Counts>,
    router: Router,
}

fn permits(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count))
}

/// Only this user may use it: whoever can connect is an administrator.
async fn listen_local(path: &Path) -> anyhow::Result<UnixListener> {
    let shown = path.display();
    if tokio::net::UnixStream::connect(path).await.is_ok() {
        anyhow::bail!("socket: another server answers on {shown}");
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("socket: {}", folder.display()))?;
    }
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("socket: {shown}"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("socket: {shown}"))?;
    Ok(listener)
}

async fn serve_local(listener: UnixListener, router: Router, counts: Arc<Counts>) {
    let places = permits(CONNECTIONS_MAX);
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the local socket");
                tokio::time::sleep(REFUSED_WAIT).await;
                continue;
            }
        };
        let user = stream.peer_cred().map_or_else(|_| "local".to_owned(), |peer| format!("uid {}", peer.uid()));
        let actor = Actor { name: user, access: Access::Admin, via: "local socket".to_owned() };
        let (router, counts) = (router.clone(), counts.clone());
        tokio::spawn(async move {
            serve(stream, router, counts, actor).await;
            drop(place);
        });
    }
}

async fn serve_tls(listener: TcpListener, door: Door) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let place = door.handshakes.enter(peer.ip());
                tokio::spawn(door.clone().receive(stream, peer, place));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(REFUSED_WAIT).await;
            }
        }
    }
}

impl Door {
    /// From the first packet to the end of the connection.
    async fn receive(self, stream: TcpStream, peer: SocketAddr, mut place: handshakes::Place) {
        let _ = stream.set_nodelay(true);
        let (stream, actor) = match place.shake(self.acceptor.accept(stream, peer)).await {
            Ok(known) => known,
            Err(failed) => {
                tracing::debug!(%peer, %failed, "handshake");
                return;
            }
        };
        // His handshake counts as one until there is room, so that not more than these wait here.
        let Ok(Ok(_connection)) = tokio::time::timeout(PLACE_WITHIN, self.connections.acquire_owned()).await else {
            self.counts.tls.full.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%peer, name = actor.name, "all {CONNECTIONS_MAX} connections are taken");
            return;
        };
        drop(place);
        self.counts.tls.connections.fetch_add(1, Ordering::Relaxed);
        serve(stream, self.router, self.counts.clone(), actor).await;
        self.counts.tls.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection, to its end.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    router: Router,
    counts: Arc<Counts>,
    actor: Actor,
) {
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(actor.clone());
        let (router, counts) = (router.clone(), counts.clone());
        async move {
            let answer = router.oneshot(request).await;
            if let Ok(answer) = &answer {
                counts.answered(answer.status().as_u16());
            }
            answer
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection");
    }
}

/// Runs until the future ends: a signal.
///
/// # Errors
/// As [`Server::start`].
pub async fn run(config: &Config, service: Arc<Service>, until: impl Future<Output = ()>) -> anyhow::Result<()> {
    let server = Server::start(config, service).await?;
    for address in &server.addresses {
        tracing::info!(%address, "serves the API with TLS");
    }
    if let Some(address) = &config.web {
        tracing::info!(%address, "serves the web page");
    }
    if let Some(rules) = &config.dhcp {
        tracing::info!(address = %rules.address, port = rules.port, devices = rules.devices.len(), "answers DHCP");
    }
    if let Some(rules) = &config.dhcp6 {
        tracing::info!(address = %rules.address, port = rules.port, "answers DHCPv6");
    }
    if let Some(rules) = &config.boot {
        let https = rules.https.as_ref().map(|https| &https.listen);
        tracing::info!(listen = ?rules.listen, ?https, tftp = ?rules.tftp, images = %rules.images.display(), "serves what machines boot");
    }
    if let Some(address) = &config.enrol {
        tracing::info!(%address, "hears machines without certificates");
    }
    tracing::info!(socket = %config.socket.display(), store = server.service.store().describe(), "serves");
    pin!(until).await;
    if let Some(bmcs) = &server.bmcs
        && tokio::time::timeout(LEAVE_WITHIN, bmcs.leave()).await.is_err()
    {
        tracing::warn!("wishes of power are not handed over: other servers take them when this one is missed");
    }
    Ok(())
}
