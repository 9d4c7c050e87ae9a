//! The certificates that a configuration names: whose they are, for which names, until when, whether key and chain fit together, and whether
//! what firmware is told to ask for is among the names. Nothing is asked of anybody: this is what the files say.

use super::boot::sign::Signer;
use crate::bmc::rules::Trust;
use crate::boot::rules::Sign;
use crate::config::{Config, StoreConfig};
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// A certificate that ends sooner than this is to be renewed now; `weft doctor` says the same of the daemon's.
pub const ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);
/// Permissions of a key that let everybody in.
const FOR_ALL: u32 = 0o007;

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Certificate {
    /// Whose it is: its subject.
    pub subject: String,
    /// Who says so.
    pub issuer: String,
    /// Its alternative names: of hosts, addresses, URIs.
    pub names: Vec<String>,
    /// It is not good before.
    pub begins: Timestamp,
    /// Nor after.
    pub ends: Timestamp,
}

/// What a field of the configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Examined {
    /// Which field.
    pub field: String,
    /// The file.
    pub file: PathBuf,
    /// What is in it, in its order.
    pub certificates: Vec<Certificate>,
    /// What is wrong with it, and what helps; empty: nothing.
    pub faults: Vec<String>,
}

/// Looks at all of them, in the order of the configuration.
#[must_use]
pub fn examine(config: &Config, now: Timestamp) -> Vec<Examined> {
    let mut all = Vec::new();
    if let StoreConfig::Etcd(etcd) = &config.store {
        all.extend(etcd.ca.iter().map(|file| of_file("store.etcd.ca", file, now).0));
        match (&etcd.cert, &etcd.key) {
            (Some(cert), Some(key)) => all.push(with_key("store.etcd.cert", cert, key, now).0),
            (None, None) => {}
            (cert, _) => all.push(alone("store.etcd", cert.as_deref().or(etcd.key.as_deref()))),
        }
    }
    if let Some(https) = &config.https {
        all.push(with_key("https.cert", &https.cert, &https.key, now).0);
        all.push(of_file("https.client_ca", &https.client_ca, now).0);
    }
    let boot = config.boot.as_ref();
    if let Some(https) = boot.and_then(|boot| boot.https.as_ref()) {
        let (mut found, chain) = with_key("boot.https.certificate", &https.certificate, &https.key, now);
        if let Some(first) = chain.first() {
            found.faults.extend(asked(config).into_iter().filter_map(|(field, host)| not_named(first, &field, &host)));
        }
        all.push(found);
    }
    if let Some(sign) = boot.and_then(|boot| boot.uki.as_ref()).and_then(|uki| uki.sign.as_ref()) {
        all.push(signer(sign, now));
    }
    if let Some(bmc) = &config.bmc {
        let files = bmc.rules.iter().filter_map(|rule| match &rule.trust {
            Trust::Ca(file) => Some(file.as_path()),
            Trust::Learn | Trust::Sha256(_) => None,
        });
        let files: BTreeSet<&Path> = files.collect();
        all.extend(files.into_iter().map(|file| of_file("bmc.rules.trust.ca", file, now).0));
    }
    all
}

/// The end of the first that ends, of a certificate and those between it and its authority; `None`: they cannot be read.
pub(super) fn end(chain: &[CertificateDer<'_>]) -> Option<Timestamp> {
    chain.iter().filter_map(|one| read(one).ok()).map(|one| one.ends).min()
}

/// A certificate without a key, or the other way round.
fn alone(field: &str, file: Option<&Path>) -> Examined {
    let faults = vec![format!("`{field}.cert` and `{field}.key` go together: write both")];
    Examined {
        field: field.to_owned(),
        file: file.map(Path::to_owned).unwrap_or_default(),
        certificates: Vec::new(),
        faults,
    }
}

/// A file of certificates.
fn of_file(field: &str, file: &Path, now: Timestamp) -> (Examined, Vec<CertificateDer<'static>>) {
    let mut found =
        Examined { field: field.to_owned(), file: file.to_owned(), certificates: Vec::new(), faults: Vec::new() };
    let chain = match super::server::tls::certificates(file) {
        Ok(chain) => chain,
        Err(error) => {
            found.faults.push(format!("{error:#}: write a PEM file of certificates"));
            return (found, Vec::new());
        }
    };
    for one in &chain {
        match read(one) {
            Ok(certificate) => {
                found.faults.extend(time(&certificate, now));
                found.certificates.push(certificate);
            }
            Err(error) => found.faults.push(format!("a certificate that cannot be read: {error}")),
        }
    }
    (found, chain)
}

/// One with its key, and those between it and its authority.
fn with_key(field: &str, file: &Path, key: &Path, now: Timestamp) -> (Examined, Vec<CertificateDer<'static>>) {
    let (mut found, chain) = of_file(field, file, now);
    let shown = key.display();
    match std::fs::metadata(key) {
        Ok(known) if known.mode() & FOR_ALL != 0 => {
            found.faults.push(format!("everybody on this machine may open {shown}: chmod 600 {shown}"));
        }
        Ok(_) | Err(_) => {}
    }
    let provider = rustls::crypto::ring::default_provider();
    match PrivateKeyDer::from_pem_file(key) {
        Err(error) => found.faults.push(format!("{shown}: {error}: write a PEM file with an unencrypted key")),
        Ok(read) => match provider.key_provider.load_private_key(read) {
            Err(error) => found.faults.push(format!("{shown}: {error}: write a key of RSA, P-256, P-384 or Ed25519")),
            Ok(key) if !chain.is_empty() && CertifiedKey::new(chain.clone(), key.clone()).keys_match().is_err() => {
                found
                    .faults
                    .push(format!("{shown} is not its key: renew both together, the certificate first in its file"));
            }
            Ok(_) => {}
        },
    }
    found.faults.extend(chained(&chain, now));
    (found, chain)
}

/// Each is signed by the one behind it.
fn chained(chain: &[CertificateDer<'_>], now: Timestamp) -> Option<String> {
    let [first, between @ .., last] = chain else { return None };
    let provider = rustls::crypto::ring::default_provider();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default()));
    let (first, anchor) = (webpki::EndEntityCert::try_from(first).ok()?, webpki::anchor_from_trusted_cert(last).ok()?);
    let usage = webpki::KeyUsage::server_auth();
    let all = provider.signature_verification_algorithms.all;
    match first.verify_for_usage(all, &[anchor], between, at, usage, None, None) {
        // Its time is said elsewhere, and what it is for is for who asks to judge.
        Ok(_)
        | Err(
            webpki::Error::CertExpired { .. }
            | webpki::Error::CertNotValidYet { .. }
            | webpki::Error::RequiredEkuNotFoundContext(_),
        ) => None,
        Err(error) => Some(format!("the chain does not hold ({error}): write it first, then who signed it, and so on")),
    }
}

/// What signs programs for UEFI.
fn signer(sign: &Sign, now: Timestamp) -> Examined {
    let (mut found, _) = of_file("boot.uki.sign.certificate", &sign.certificate, now);
    if let Err(error) = Signer::open(sign) {
        found.faults.push(format!("{error:#}"));
    }
    found
}

/// Hosts of URLs with TLS that firmware is told to ask, and the field that says so.
fn asked(config: &Config) -> Vec<(String, String)> {
    let v4 = config.dhcp.iter().flat_map(|rules| rules.boot.urls()).map(|url| ("dhcp.boot", url));
    let v6 = config.dhcp6.iter().flat_map(|rules| rules.boot.urls()).map(|url| ("dhcp6.boot", url));
    let https = v4.chain(v6).filter_map(|(field, url)| {
        let uri: hyper::Uri = url.parse().ok()?;
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        (uri.scheme_str() == Some("https")).then(|| (field.to_owned(), host))
    });
    https.collect::<BTreeSet<_>>().into_iter().collect()
}

fn not_named(certificate: &CertificateDer<'_>, field: &str, host: &str) -> Option<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let name = ServerName::try_from(host.to_owned()).ok();
    let is_named = name.is_some_and(|name| parsed.verify_is_valid_for_subject_name(&name).is_ok());
    (!is_named).then(|| format!("`{field}` tells firmware to ask https://{host}, which is none of its names: add it"))
}

/// What its time comes to.
fn time(certificate: &Certificate, now: Timestamp) -> Option<String> {
    let whose = &certificate.subject;
    let left = certificate.ends.as_second() - now.as_second();
    let days = left.abs() / 86_400;
    let soon = i64::try_from(ENDS_SOON.as_secs()).unwrap_or(i64::MAX);
    match left {
        ..0 => Some(format!("`{whose}` ended {days} days ago: renew it")),
        _ if left < soon => {
            Some(format!("`{whose}` ends in {days} days: renew it; a running server reads the files again by itself"))
        }
        _ if certificate.begins > now => {
            Some(format!("`{whose}` is not good before {}: set the clock, or wait", certificate.begins))
        }
        _ => None,
    }
}

fn read(certificate: &CertificateDer<'_>) -> Result<Certificate, String> {
    let (_, read) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let second = |at: i64| Timestamp::from_second(at).map_err(|error| error.to_string());
    let names = read.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| {
        if let GeneralName::DNSName(name) | GeneralName::URI(name) = name {
            return Some((*name).to_owned());
        }
        if let GeneralName::IPAddress(octets) = name { address(octets) } else { None }
    });
    Ok(Certificate {
        subject: shown(&read.subject().to_string()),
        issuer: shown(&read.issuer().to_string()),
        names: names.map(|name| shown(&name)).collect(),
        begins: second(read.validity().not_before.timestamp())?,
        ends: second(read.validity().not_after.timestamp())?,
    })
}

/// Nothing in it moves a terminal's cursor.
fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| std::net::Ipv4Addr::from(octets).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| std::net::Ipv6Addr::from(octets).to_string())).ok()
}
