//! The files of `api.remote`: read at the start, by each reload, and whenever they have changed; what is wrong with them then is said, and
//! those before stay in use. The key is shown nowhere, and refused where everybody on the machine can read it.

use crate::api::{Caller, Certificate};
use crate::config::RemoteConfig;
use crate::io::check::tls::{Stamp, stamp_of};
use crate::io::clock;
use crate::io::sockopt::plain;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use weft_bgp::time::Duration;

/// How often the files are looked at, at most: when somebody connects, and when it is asked how they are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Larger files are no certificates: a chain is a few KiB, and a hundred authorities are 200.
const FILE_MAX: u64 = 1 << 20;
/// Bits of a mode that let everybody in.
const FOR_ALL: u32 = 0o007;
/// The first second of the year 10000: later than every date that a certificate can have (RFC 5280 §4.1.2.5).
const END_OF_TIME: u64 = 253_402_300_800;

/// Takes connections with the certificates that are in use.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: RemoteConfig,
    inner: Mutex<Inner>,
}

struct Inner {
    acceptor: TlsAcceptor,
    /// Unix time, seconds.
    expires: Option<u64>,
    /// Of the files as they were read last, good or not.
    stamps: [Stamp; 3],
    looked: Instant,
    broken: Option<String>,
    renewed: u64,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("expires", &self.expires).field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// Field, file and remedy: a file that cannot be read or holds something else, a key that everybody can read or that belongs to
    /// another certificate.
    pub fn load(config: &RemoteConfig) -> Result<Self, String> {
        // Before the files are read: a change meanwhile is seen.
        let stamps = stamps(config);
        let (acceptor, expires) = read(config)?;
        let inner = Inner { acceptor, expires, stamps, looked: Instant::now(), broken: None, renewed: 0 };
        Ok(Self(Arc::new(Shared { config: config.clone(), inner: Mutex::new(inner) })))
    }

    /// Reads the files again, changed or not; whether there are others now.
    ///
    /// # Errors
    /// As [`Certificates::load`]; nothing has changed then.
    pub fn renew(&self) -> Result<bool, String> {
        let stamps = stamps(&self.0.config);
        let is_changed = self.inner().stamps != stamps;
        self.take(stamps)?;
        Ok(is_changed)
    }

    /// How they are; what has changed in the files is taken first.
    #[must_use]
    pub fn state(&self) -> Certificate {
        self.look();
        let now = clock::wall().as_secs();
        let left =
            |at: u64| i64::try_from(at).unwrap_or(i64::MAX).saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
        let inner = self.inner();
        Certificate { expires_in_s: inner.expires.map(left), broken: inner.broken.clone(), renewed: inner.renewed }
    }

    /// The handshake; then whose certificate it is, or why nobody's.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Result<Caller, String>), String> {
        self.look();
        let acceptor = self.inner().acceptor.clone();
        let stream = acceptor.accept(stream).await.map_err(|error| error.to_string())?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(|chain| chain.first()).ok_or("no certificate")?;
        let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|error| error.to_string())?;
        let caller = Caller::of(&self.0.config.trust_domain, parsed.valid_uri_names());
        Ok((stream, caller))
    }

    /// Takes what has changed in the files.
    fn look(&self) {
        let now = Instant::now();
        {
            let mut inner = self.inner();
            if now.duration_since(inner.looked) < LOOK_EVERY {
                return;
            }
            inner.looked = now;
        }
        let stamps = stamps(&self.0.config);
        // What was wrong may be right without another stamp: a mode, a folder.
        let (is_known, broken) = {
            let inner = self.inner();
            (inner.stamps == stamps, inner.broken.clone())
        };
        if is_known && broken.is_none() {
            return;
        }
        match self.take(stamps) {
            Ok(()) => tracing::info!("the certificates of `api.remote` have changed and are in use"),
            Err(error) if Some(&error) == broken.as_ref() => {}
            Err(error) => tracing::error!("the certificates before stay in use: {error}"),
        }
    }

    fn take(&self, stamps: [Stamp; 3]) -> Result<(), String> {
        let fresh = read(&self.0.config);
        let mut inner = self.inner();
        inner.stamps = stamps;
        inner.broken = fresh.as_ref().err().cloned();
        let (acceptor, expires) = fresh?;
        (inner.acceptor, inner.expires) = (acceptor, expires);
        inner.renewed += 1;
        Ok(())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing in it can be half done: it has no code that panics.
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the certificates that a configuration names expire, in seconds from now; what is wrong with them if they cannot be used.
///
/// # Errors
/// As [`Certificates::load`].
pub fn examine(config: &RemoteConfig) -> Result<Certificate, String> {
    Certificates::load(config).map(|read| read.state())
}

fn stamps(config: &RemoteConfig) -> [Stamp; 3] {
    // A file that is not there has none.
    [&config.cert, &config.key, &config.client_ca].map(|file| stamp_of(file).ok())
}

/// What is in the files, if it fits together, and when it expires.
fn read(config: &RemoteConfig) -> Result<(TlsAcceptor, Option<u64>), String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let fault = |field: &str, file: &Path, why: String, remedy: &str| {
        format!("api.remote.{field}: {}: {why}\n  remedy: {remedy}", file.display())
    };
    let pem = "a PEM file of certificates, readable for the daemon, that stays below its folder";
    let of_cert = |why: String, remedy: &str| fault("cert", &config.cert, why, remedy);
    let of_ca = |why: String| fault("client_ca", &config.client_ca, why, pem);
    let of_key = |why: String, remedy: &str| fault("key", &config.key, why, remedy);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&config.client_ca).map_err(of_ca)? {
        roots.add(certificate).map_err(|error| of_ca(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let verifier = verifier.map_err(|error| of_ca(error.to_string()))?;
    let chain = certificates(&config.cert).map_err(|why| of_cert(why, pem))?;
    let expires = chain.iter().filter_map(not_after).min();
    let (text, mode) = bytes(&config.key).map_err(|why| of_key(why, "a PEM file, readable for the daemon"))?;
    if mode & FOR_ALL != 0 {
        let why = format!("everybody on this machine may open it (mode {:04o})", mode & 0o7777);
        return Err(of_key(why, &format!("chmod 600 {}", config.key.display())));
    }
    let key = PrivateKeyDer::from_pem_slice(&text);
    let key = key.map_err(|_| of_key("no private key is in it".to_owned(), "a PEM file with an unencrypted key"))?;
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.map_err(|error| error.to_string())?.with_client_cert_verifier(verifier);
    let mut server = builder.with_single_cert(chain, key).map_err(|error| {
        of_cert(error.to_string(), &format!("{} must be its key: renew both together", config.key.display()))
    })?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Each connection shows its certificate, which may have expired since the last one.
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok((Arc::new(server).into(), expires))
}

/// A small file, and its mode.
fn bytes(file: &Path) -> Result<(Vec<u8>, u32), String> {
    let opened = File::open(file).map_err(|error| plain(&error))?;
    let mode = opened.metadata().map_err(|error| plain(&error))?.mode();
    let mut text = Vec::new();
    opened.take(FILE_MAX + 1).read_to_end(&mut text).map_err(|error| plain(&error))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > FILE_MAX) {
        return Err(format!("longer than {FILE_MAX} bytes"));
    }
    Ok((text, mode))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let (text, _) = bytes(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| error.to_string())?;
    if all.is_empty() { Err("no certificate is in it".to_owned()) } else { Ok(all) }
}

/// When a certificate expires (Unix time, seconds); `None`: never, or it says so in a way that nobody can read. The library has no word for the date
/// alone: asked whether the certificate is good at the end of time, it says since when it is not.
fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(END_OF_TIME));
    match parsed.verify_for_usage(&[], &[], &[], at, webpki::KeyUsage::server_auth(), None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(not_after.as_secs()),
        Err(_) | Ok(_) => None,
    }
}
