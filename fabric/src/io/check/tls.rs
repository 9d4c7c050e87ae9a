//! TLS for health checks: whom a configuration believes, read from files that may change while the daemon runs, and the handshake. The
//! cryptography is rustls's with ring.

use crate::config::Trust;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where systems keep the authorities that they believe: Debian and Alpine, Red Hat, SUSE, others.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Configurations kept: as many as there may be services. With more of them, after reloads, all are read again.
const KEPT: usize = 256;

/// What tells one content of a file from another without reading it: inode, length, and the time of the last change in two parts.
pub(in crate::io) type Stamp = Option<[i64; 4]>;

/// What is believed, by who says so: files are read again when they change.
#[derive(Clone, Debug, Default)]
pub(super) struct Trusted(Arc<Mutex<Known>>);

type Known = BTreeMap<Trust, (Stamp, Arc<ClientConfig>)>;

impl Trusted {
    /// The configuration of a client; reads files.
    ///
    /// # Errors
    /// A sentence, when certificates cannot be read, or there are none.
    pub(super) fn config(&self, trust: &Trust) -> Result<Arc<ClientConfig>, String> {
        let file = match trust {
            Trust::Anything => None,
            Trust::File(file) => Some(file.clone()),
            Trust::System => {
                Some(system_file().ok_or("this system has no file of authorities: name one with `ca_file`")?)
            }
        };
        let stamp = file.as_deref().map(stamp_of).transpose()?;
        let known =
            |all: &Known| all.get(trust).filter(|(known, _)| *known == stamp).map(|(_, config)| Arc::clone(config));
        if let Some(config) = known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(config);
        }
        let config = Arc::new(read(file.as_deref())?);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(trust.clone(), (stamp, Arc::clone(&config)));
        Ok(config)
    }
}

fn system_file() -> Option<PathBuf> {
    SYSTEM_FILES.iter().map(PathBuf::from).find(|file| file.is_file())
}

/// See [`Stamp`].
pub(in crate::io) fn stamp_of(file: &Path) -> Result<[i64; 4], String> {
    let metadata = std::fs::metadata(file);
    let metadata = metadata.map_err(|error| format!("{}: {}", file.display(), crate::io::sockopt::plain(&error)))?;
    let number = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
    Ok([number(metadata.ino()), number(metadata.size()), metadata.mtime(), metadata.mtime_nsec()])
}

/// Without a file every certificate is believed.
fn read(file: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let mut config = match file {
        Some(file) => {
            let believed = certificates(file)?;
            let verifier = Believed::new(believed, provider).map_err(|error| format!("{}: {error}", file.display()))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Each check looks at the certificate, which may have ended meanwhile.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The certificates of a PEM file, one at least; what is wrong with it, with its name.
pub(in crate::io) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", file.display());
    let all = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| wrong(&error))?;
    if all.is_empty() { Err(wrong(&"no certificate is in it")) } else { Ok(all) }
}

/// The handshake.
pub(super) async fn secure(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    server_name: &str,
) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(server_name.to_owned()).map_err(|error| format!("{server_name}: {error}"))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| format!("TLS: {error}"))
}

/// Believes what the authorities of a file have signed, and what is in the file itself: a service that signed its own certificate is
/// known by that, as curl has it. Of such a one the name is looked at, but not the dates.
#[derive(Debug)]
struct Believed {
    authorities: Arc<WebPkiServerVerifier>,
    themselves: Vec<CertificateDer<'static>>,
}

impl Believed {
    fn new(certificates: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        // Among those of a system there are some of kinds that nobody reads any more.
        store.add_parsable_certificates(certificates.iter().cloned());
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider);
        let authorities = authorities.build().map_err(|error| error.to_string())?;
        Ok(Self { authorities, themselves: certificates })
    }
}

impl ServerCertVerifier for Believed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.themselves.contains(end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Believes every certificate; that its key signed the handshake is still looked at.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
