//! Listens on the local socket and for TLS, says who each connection is, and serves the API on it.
//!
//! Handshakes have a place and a deadline of their own: clients with wrong certificates wait for each other and for nobody else.

mod tls;

use super::rest;
use super::service::Service;
use crate::config::Config;
use crate::inventory::access::{Access, Actor};
use anyhow::Context as _;
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

/// Connections at a time, each of the local socket and of TLS; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;
/// TLS handshakes at a time: a quarter of the connections, so that those who never finish theirs leave room for who is known already.
const HANDSHAKES_MAX: usize = 1_024;
/// Longest handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for the head of a request, also of the next one on a connection.
const HEAD_WITHIN: Duration = Duration::from_secs(60);
/// Octets of a head.
const HEAD_MAX: usize = 32 * 1024;
/// Wait after the system refused a connection: it has no descriptors left, and will have some when others end.
const REFUSED_WAIT: Duration = Duration::from_millis(50);

/// A running server; the local socket is there when this is made.
#[derive(Debug)]
pub struct Server {
    /// What it serves.
    pub service: Arc<Service>,
    /// Where it listens for TLS: the ports that the system chose.
    pub addresses: Vec<std::net::SocketAddr>,
    socket: PathBuf,
}

impl Server {
    /// Begins to listen.
    ///
    /// # Errors
    /// When a file or address cannot be used; says which.
    pub async fn start(config: &Config, service: Arc<Service>) -> anyhow::Result<Self> {
        let router = rest::router(service.clone());
        let local = listen_local(&config.socket).await?;
        tokio::spawn(serve_local(local, router.clone()));
        let mut addresses = Vec::new();
        if let Some(https) = &config.https {
            let acceptor = tls::Acceptor::new(https)?;
            let places = Places { connections: permits(CONNECTIONS_MAX), handshakes: permits(HANDSHAKES_MAX) };
            for address in &https.listen {
                let listener = TcpListener::bind(address).await.with_context(|| format!("https.listen: {address}"))?;
                addresses.push(listener.local_addr()?);
                tokio::spawn(serve_tls(listener, acceptor.clone(), router.clone(), places.clone()));
            }
        }
        Ok(Self { service, addresses, socket: config.socket.clone() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

#[derive(Clone)]
struct Places {
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
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

async fn serve_local(listener: UnixListener, router: Router) {
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
        let router = router.clone();
        tokio::spawn(async move {
            serve(stream, router, actor).await;
            drop(place);
        });
    }
}

async fn serve_tls(listener: TcpListener, acceptor: tls::Acceptor, router: Router, places: Places) {
    loop {
        let Ok(place) = places.connections.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(REFUSED_WAIT).await;
                continue;
            }
        };
        let (acceptor, router, handshakes) = (acceptor.clone(), router.clone(), places.handshakes.clone());
        tokio::spawn(async move {
            let shaken = async {
                let _turn = handshakes.acquire_owned().await.ok()?;
                let _ = stream.set_nodelay(true);
                tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream, peer)).await.ok()
            };
            match shaken.await {
                Some(Ok((stream, actor))) => serve(stream, router, actor).await,
                Some(Err(error)) => tracing::debug!(%peer, error = format!("{error:#}"), "handshake"),
                None => tracing::debug!(%peer, "no handshake in time"),
            }
            drop(place);
        });
    }
}

/// One connection, to its end.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, router: Router, actor: Actor) {
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(actor.clone());
        router.clone().oneshot(request)
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
    tracing::info!(socket = %config.socket.display(), store = server.service.store().describe(), "serves");
    pin!(until).await;
    Ok(())
}
