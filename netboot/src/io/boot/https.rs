//! The boot service with TLS, for UEFI HTTPS Boot: the same answers as without it. Firmware has no certificate of its own, so nobody is
//! asked for one; what it says of itself counts for as much as without TLS.
//!
//! Firmware may know neither curves nor TLS 1.3 (OVMF of 2022): beside everything that rustls has, this listener has DHE over a prime
//! field (`ffdhe`), and its key is of RSA. Handshakes have places, a deadline and a turn of their own.

mod ffdhe;

use super::{Booter, OF_SOURCE_MAX, REFUSED_WAIT, open};
use crate::boot::rules::Https;
use crate::inventory::access::source;
use crate::io::certificates::end;
use crate::io::server::counts::Tls;
use crate::io::server::handshakes::{Handshakes, Place};
use crate::io::server::places::Places;
use crate::io::server::{reload, tls};
use anyhow::Context as _;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, SignatureAlgorithm};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

/// Connections at a time, beside those without TLS.
const CONNECTIONS_MAX: usize = 1_024;
/// Longest handshake: firmware computes slowly, and looks at its card from time to time only.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(20);

/// What the listeners have in common.
#[derive(Clone)]
struct Door {
    booter: Arc<Booter>,
    current: Arc<RwLock<TlsAcceptor>>,
    handshakes: Handshakes,
    places: Places,
    counts: Arc<Tls>,
}

/// Begins to listen.
///
/// # Errors
/// When a file or address cannot be used; says which.
pub(super) fn start(rules: &Https, booter: &Arc<Booter>) -> anyhow::Result<()> {
    let files = vec![rules.certificate.clone(), rules.key.clone()];
    // Before the files are read: a change meanwhile is seen.
    let known = reload::stamps(&files);
    let counts = booter.counts.tls.clone();
    let current = Arc::new(RwLock::new(read(rules, &counts)?));
    let door = Door {
        booter: booter.clone(),
        current: current.clone(),
        handshakes: Handshakes::new(counts.clone(), HANDSHAKE_WITHIN),
        places: Places::new(CONNECTIONS_MAX, OF_SOURCE_MAX),
        counts: counts.clone(),
    };
    for address in &rules.listen {
        let listener = open(*address).with_context(|| format!("boot.https.listen: {address}"))?;
        tokio::spawn(door.clone().listen(listener));
    }
    let (rules, of) = (rules.clone(), counts.clone());
    let again = move || {
        let fresh = read(&rules, &of)?;
        *current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    };
    tokio::spawn(reload::follow(files, known, again, counts, signal(SignalKind::hangup())?));
    Ok(())
}

impl Door {
    async fn listen(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let place = self.handshakes.enter(peer.ip());
                    tokio::spawn(self.clone().receive(stream, peer, place));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a TLS connection of a machine that boots");
                    tokio::time::sleep(REFUSED_WAIT).await;
                }
            }
        }
    }

    /// From the first packet to the end of the connection.
    async fn receive(self, stream: TcpStream, peer: SocketAddr, mut place: Place) {
        let _ = stream.set_nodelay(true);
        let acceptor = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = match place.shake(async { Ok(acceptor.accept(stream).await?) }).await {
            Ok(stream) => stream,
            Err(failed) => {
                // Firmware shows its people nothing: this is where it is said why a machine does not boot.
                tracing::info!(from = %peer.ip(), %failed, "no TLS with a machine that boots");
                return;
            }
        };
        drop(place);
        let Some(_place) = self.places.enter(source(peer.ip())) else {
            self.counts.full.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.counts.connections.fetch_add(1, Ordering::Relaxed);
        self.booter.serve(stream, peer.ip().to_canonical()).await;
        self.counts.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is in the files, if it fits together.
fn read(rules: &Https, counts: &Tls) -> anyhow::Result<TlsAcceptor> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.extend(ffdhe::suites());
    provider.kx_groups.push(ffdhe::GROUP);
    let shown = || format!("boot.https.key: {}", rules.key.display());
    let key = PrivateKeyDer::from_pem_file(&rules.key).with_context(shown)?;
    let loaded = provider.key_provider.load_private_key(key.clone_key()).with_context(shown)?;
    anyhow::ensure!(
        loaded.algorithm() == SignatureAlgorithm::RSA,
        "{}: not of RSA, and firmware may know nothing else: `openssl genrsa 3072` makes one",
        shown()
    );
    let chain = tls::certificates(&rules.certificate).context("boot.https.certificate")?;
    let end = end(&chain);
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("boot.https.certificate and boot.https.key")?;
    counts.in_use_until(end);
    // A machine comes twice at most: nothing is kept of it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config).into())
}
