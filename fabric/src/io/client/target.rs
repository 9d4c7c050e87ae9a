//! Which daemon is asked: one of this machine by its socket, or another machine's with certificates of both sides.

use crate::io::check::tls::certificates;
use crate::io::sockopt::plain;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weft_bgp::time::Duration;

/// The port of `api.remote`, unless another one is named.
pub const PORT: u16 = 9_180;
/// For a connection and its handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Of this machine, or of a lab.
    Socket(PathBuf),
    /// Of another machine.
    Remote(Box<Remote>),
}

/// A daemon elsewhere, and how we know each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    host: String,
    port: u16,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

/// Why nobody is reached there.
#[derive(Debug)]
pub(super) enum Missed {
    /// Nobody listens.
    Absent(io::Error),
    /// It is not who it should be, or does not believe us.
    Unknown(String),
}

impl From<&Path> for Target {
    fn from(socket: &Path) -> Self {
        Self::Socket(socket.to_owned())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(socket) => write!(f, "{}", socket.display()),
            Self::Remote(remote) if remote.host.contains(':') => write!(f, "[{}]:{}", remote.host, remote.port),
            Self::Remote(remote) => write!(f, "{}:{}", remote.host, remote.port),
        }
    }
}

impl Remote {
    /// `HOST`, `HOST:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`, and PEM files: the daemon's authority, our certificate and its key.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn new(place: &str, ca: PathBuf, cert: PathBuf, key: PathBuf) -> Result<Box<Self>, String> {
        let wrong =
            || format!("--remote {place}: write HOST or HOST:PORT, as tor1, 10.69.255.1:{PORT} or [fd00::1]:{PORT}");
        let (host, port) = if let Some(rest) = place.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            (host, port)
        } else if place.matches(':').count() > 1 {
            (place, "")
        } else {
            place.find(':').map_or((place, ""), |at| place.split_at(at))
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
            None if port.is_empty() => PORT,
            None => return Err(wrong()),
        };
        ServerName::try_from(host).map_err(|_| wrong())?;
        Ok(Box::new(Self { host: host.to_owned(), port, ca, cert, key }))
    }

    /// What says who we are, and whom we believe.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(|error| format!("{}: {error}", self.ca.display()))?;
        }
        let chain = certificates(&self.cert)?;
        let key = std::fs::read(&self.key).map_err(|error| format!("{}: {}", self.key.display(), plain(&error)))?;
        let key = PrivateKeyDer::from_pem_slice(&key);
        let key = key.map_err(|_| format!("{}: no unencrypted private key is in it", self.key.display()))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).map_err(|error| error.to_string())?;
        let builder = builder.with_root_certificates(roots);
        let mut config = builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("{}, {}: {error}", self.cert.display(), self.key.display()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// A connection on which both know who the other one is, as far as this end can tell.
    pub(super) async fn connect(&self, config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Missed> {
        let name = ServerName::try_from(self.host.clone()).map_err(|error| Missed::Unknown(error.to_string()))?;
        let connected = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(Missed::Absent)?;
            let _ = stream.set_nodelay(true);
            let secured = TlsConnector::from(config).connect(name, stream).await;
            secured.map_err(|error| Missed::Unknown(format!("TLS: {error}")))
        };
        let late = |_| Missed::Absent(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        tokio::time::timeout(CONNECT_LIMIT, connected).await.map_err(late)?
    }

    /// Whether somebody listens.
    pub(super) async fn is_there(&self) -> bool {
        let connected = TcpStream::connect((self.host.as_str(), self.port));
        tokio::time::timeout(CONNECT_LIMIT, connected).await.is_ok_and(|connected| connected.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(place: &str) -> Result<String, String> {
        let remote = Remote::new(place, PathBuf::new(), PathBuf::new(), PathBuf::new())?;
        Ok(Target::Remote(remote).to_string())
    }

    #[test]
    fn a_place_has_a_host_and_perhaps_a_port() {
        for (place, meant) in [
            ("tor1", "tor1:9180"),
            ("tor1.dc1.example:443", "tor1.dc1.example:443"),
            ("10.69.255.1", "10.69.255.1:9180"),
            ("10.69.255.1:1", "10.69.255.1:1"),
            ("fd00::1", "[fd00::1]:9180"),
            ("[fd00::1]", "[fd00::1]:9180"),
            ("[fd00::1]:8443", "[fd00::1]:8443"),
        ] {
            assert_eq!(shown(place).unwrap(), meant);
        }
        for wrong in
            ["", ":9180", "tor1:", "tor1:0", "tor1:x", "tor1:65536", "[fd00::1", "[fd00::1]x", "[]", "a b", "tor1/x"]
        {
            assert!(shown(wrong).unwrap_err().contains("write HOST"), "{wrong}");
        }
    }
}
