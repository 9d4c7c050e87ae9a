//! TLS with certificates on both sides, and who a certificate says its holder is.
//!
//! A client's identity is one URI among the alternative names of its certificate, as SPIFFE has it:
//! `spiffe://TRUST_DOMAIN/weft/ROLE/NAME`, with the roles of [`Access`]. The subject is not looked at.

use super::counts::Tls;
use crate::config::Https;
use crate::inventory::access::{Access, Actor};
use crate::inventory::machine::word;
use crate::io::certificates::end;
use anyhow::{Context as _, anyhow};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Takes connections with the certificates that are in use.
#[derive(Clone)]
pub(super) struct Acceptor {
    shared: Arc<Shared>,
}

struct Shared {
    https: Https,
    counts: Arc<Tls>,
    current: RwLock<TlsAcceptor>,
}

impl Acceptor {
    pub(super) fn new(https: &Https, counts: Arc<Tls>) -> anyhow::Result<Self> {
        let current = RwLock::new(read(https, &counts)?);
        Ok(Self { shared: Arc::new(Shared { https: https.clone(), counts, current }) })
    }

    /// Reads the files again; connections from now on meet what is in them.
    ///
    /// # Errors
    /// What is wrong with them; nothing has changed then.
    pub(super) fn reload(&self) -> anyhow::Result<()> {
        let fresh = read(&self.shared.https, &self.shared.counts)?;
        *self.shared.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> anyhow::Result<(TlsStream<TcpStream>, Actor)> {
        let acceptor = self.shared.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = acceptor.accept(stream).await?;
        let (_, session) = stream.get_ref();
        let first = session.peer_certificates().and_then(|chain| chain.first());
        let certificate = first.ok_or_else(|| anyhow!("no certificate"))?;
        let parsed = webpki::EndEntityCert::try_from(certificate)?;
        let (access, name) = identity(&self.shared.https.trust_domain, parsed.valid_uri_names())?;
        Ok((stream, Actor { name, access, via: peer.ip().to_string() }))
    }
}

/// The files that are followed.
pub(super) fn files(https: &Https) -> Vec<PathBuf> {
    vec![https.cert.clone(), https.key.clone(), https.client_ca.clone()]
}

/// What is in the files, if it fits together.
fn read(https: &Https, counts: &Tls) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&https.client_ca).context("https.client_ca")? {
        roots.add(certificate).with_context(|| format!("https.client_ca: {}", https.client_ca.display()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let verifier = verifier.context("https.client_ca")?;
    let key =
        PrivateKeyDer::from_pem_file(&https.key).with_context(|| format!("https.key: {}", https.key.display()))?;
    let chain = certificates(&https.cert).context("https.cert")?;
    let end = end(&chain);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .context("https.cert and https.key")?;
    counts.in_use_until(end);
    Ok(Arc::new(config).into())
}

/// Role and name; a certificate with two identities has none.
fn identity<'a>(trust_domain: &str, names: impl Iterator<Item = &'a str>) -> anyhow::Result<(Access, String)> {
    let prefix = format!("spiffe://{trust_domain}/weft/");
    let ours: Vec<&str> = names.filter_map(|name| name.strip_prefix(&prefix)).collect();
    let [one] = ours.as_slice() else {
        return Err(anyhow!("the certificate has {} identities {prefix}ROLE/NAME, not one", ours.len()));
    };
    let (role, name) = one.split_once('/').ok_or_else(|| anyhow!("`{prefix}{one}` names nobody"))?;
    let access = Access::ALL.into_iter().find(|access| access.name() == role);
    let access = access.ok_or_else(|| anyhow!("`{role}` is no role: machine, read, operator or admin"))?;
    word("name", name)?;
    Ok((access, name.to_owned()))
}

/// What a PEM file has, which is at least one.
pub(in crate::io) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let shown = || path.display().to_string();
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).with_context(shown)?.collect();
    let found = read.with_context(shown)?;
    anyhow::ensure!(!found.is_empty(), "{}: no certificate in it", shown());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_has_one_identity() {
        let read = |names: &[&str]| identity("dc1", names.iter().copied());
        let known = read(&["https://other", "spiffe://dc1/weft/operator/cke"]).unwrap();
        assert_eq!(known, (Access::Operator, "cke".to_owned()));
        for names in [
            &[] as &[&str],
            &["spiffe://dc2/weft/admin/a"],
            &["spiffe://dc1/weft/admin/a", "spiffe://dc1/weft/read/a"],
            &["spiffe://dc1/weft/root/a"],
            &["spiffe://dc1/weft/admin"],
            &["spiffe://dc1/weft/admin/"],
            &["spiffe://dc1/weft/admin/a/b"],
            &["spiffe://dc1x/weft/admin/a"],
        ] {
            assert!(read(names).is_err(), "{names:?}");
        }
    }
}
