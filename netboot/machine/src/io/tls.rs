//! A connection by TLS, for a machine that has a certificate and no TPM. Its files are read anew for each connection.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

/// Who this machine is, and whom it believes: files of PEM.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Its certificate, with those between it and the authority.
    pub certificate: &'a Path,
    /// The certificate's private key.
    pub key: &'a Path,
    /// Authorities of boot servers.
    pub ca: &'a Path,
}

/// Speaks TLS on a connection to `server` (`HOST:PORT`; its certificate must be of that host). Nothing is said yet: the first question has the
/// handshake before it, within the connection's own time limits.
///
/// # Errors
/// Which file cannot be used, and why.
pub fn over(
    stream: TcpStream,
    server: &str,
    identity: &Identity<'_>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let of = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(identity.ca)? {
        roots.add(certificate).map_err(|error| of(identity.ca, &error))?;
    }
    let key = PrivateKeyDer::from_pem_file(identity.key).map_err(|error| of(identity.key, &error))?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(identity.certificate)?, key)
        .map_err(|error| of(identity.certificate, &error))?;
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(|error| format!("{server}: {error}"))?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    Ok(StreamOwned::new(connection, stream))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{}: no certificate in it", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
