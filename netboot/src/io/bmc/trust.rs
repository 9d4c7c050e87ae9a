//! Whether a controller is the one that it was: its certificate's fingerprint, learned or given, or an authority. Signatures of the
//! handshake are always checked: who shows a certificate has its key.

use crate::bmc::rules::{Trust, fingerprint};
use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Fingerprints at most: as many as the largest inventory has machines.
const PINS_MAX: usize = 100_000;

/// Fingerprints that were learned, by serial number; a file of JSON.
#[derive(Debug)]
pub(super) struct Pins {
    file: PathBuf,
    all: Mutex<BTreeMap<String, String>>,
}

impl Pins {
    pub(super) fn load(file: &Path) -> anyhow::Result<Self> {
        let all = match std::fs::read(file) {
            Ok(octets) => serde_json::from_slice(&octets).map_err(|error| {
                anyhow::anyhow!(
                    "bmc.pins: {}: {error}; who deletes it lets all certificates be learned anew",
                    file.display()
                )
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => anyhow::bail!("bmc.pins: {}: {error}", file.display()),
        };
        Ok(Self { file: file.to_owned(), all: Mutex::new(all) })
    }

    pub(super) fn of(&self, serial: &str) -> Option<String> {
        super::lock(&self.all).get(serial).cloned()
    }

    fn learn(&self, serial: &str, found: &str) -> Result<(), String> {
        self.change(|all| {
            if all.len() < PINS_MAX {
                all.insert(serial.to_owned(), found.to_owned());
            }
        })
    }

    pub(super) fn forget(&self, serial: &str) -> Result<(), String> {
        self.change(|all| drop(all.remove(serial)))
    }

    /// Whole or not at all: the file counts only when it has its name.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) -> Result<(), String> {
        let mut all = super::lock(&self.all);
        let mut next = all.clone();
        change(&mut next);
        let new = self.file.with_extension("new");
        let write = || {
            if let Some(folder) = self.file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let mut text = serde_json::to_vec_pretty(&next)?;
            text.push(b'\n');
            std::fs::write(&new, text)?;
            std::fs::File::open(&new)?.sync_all()?;
            std::fs::rename(&new, &self.file)
        };
        write().map_err(|error: std::io::Error| format!("bmc.pins: {}: {error}", self.file.display()))?;
        *all = next;
        Ok(())
    }
}

/// What a handshake is to hold to: made for each connection.
pub(super) fn client(trust: &Trust, pins: &Pins, serial: &str) -> Result<(ClientConfig, Arc<Seen>), String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let wanted = match trust {
        Trust::Learn => Wanted::Pin(pins.of(serial)),
        Trust::Sha256(said) => Wanted::Pin(fingerprint(said)),
        Trust::Ca(file) => Wanted::Authority(authority(file, &provider)?),
    };
    let seen =
        Arc::new(Seen { wanted, algorithms: provider.signature_verification_algorithms, found: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let config = config.dangerous().with_custom_certificate_verifier(seen.clone()).with_no_client_auth();
    Ok((config, seen))
}

fn authority(file: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let name = || format!("bmc.rules.trust.ca: {}", file.display());
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    for certificate in read.map_err(|error| format!("{}: {error}", name()))? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", name()))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    verifier.map_err(|error| format!("{}: {error}", name()))
}

/// Looks at one certificate.
#[derive(Debug)]
pub(super) struct Seen {
    wanted: Wanted,
    algorithms: WebPkiSupportedAlgorithms,
    /// The fingerprint of what was shown.
    found: Mutex<Option<String>>,
}

#[derive(Debug)]
enum Wanted {
    /// This one; any when there is none yet.
    Pin(Option<String>),
    Authority(Arc<WebPkiServerVerifier>),
}

impl Seen {
    /// After a handshake: what was not known is, from now on.
    pub(super) fn learn(&self, pins: &Pins, serial: &str) -> Result<(), String> {
        let found = super::lock(&self.found).clone();
        match (&self.wanted, found) {
            (Wanted::Pin(None), Some(found)) => {
                tracing::info!(serial, sha256 = found, "learned the certificate of a BMC");
                pins.learn(serial, &found)
            }
            (Wanted::Pin(_) | Wanted::Authority(_), _) => Ok(()),
        }
    }

    /// Why a handshake was broken off by us, if it was.
    pub(super) fn objection(&self, serial: &str) -> Option<String> {
        let found = super::lock(&self.found).clone()?;
        let Wanted::Pin(Some(wanted)) = &self.wanted else { return None };
        (*wanted != found).then(|| {
            format!(
                "its certificate is {found}, and was {wanted}: if it was replaced, `weft-netboot bmc forget {serial}`, \
                 or write the new one to `bmc.rules.trust.sha256`"
            )
        })
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut found = String::new();
        for octet in digest(&SHA256, end_entity).as_ref() {
            let _ = write!(found, "{octet:02x}");
        }
        let is_wanted = match &self.wanted {
            Wanted::Pin(wanted) => wanted.as_ref().is_none_or(|wanted| *wanted == found),
            Wanted::Authority(verifier) => {
                return verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
            }
        };
        *super::lock(&self.found) = Some(found);
        match is_wanted {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
