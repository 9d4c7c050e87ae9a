//! Who signs programs for UEFI: reads key and certificate, and signs digests. The key is in no message.

use crate::boot::authenticode::{ALIGNMENT, Certificate, Layout, Sum, to_be_signed};
use crate::boot::measure::sum;
use crate::boot::rules::Sign;
use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::os::unix::fs::PermissionsExt as _;

/// Permissions that a key may not have: anybody else reads it, or its group changes it.
const FORBIDDEN: u32 = 0o027;
/// Bits of a key that ring signs with, and firmware verifies.
const BITS: std::ops::RangeInclusive<usize> = 2_048..=4_096;
/// Certificates of a chain: the one that signs, and those between it and its authority.
const CHAIN_MAX: usize = 8;

/// A key with its certificate.
#[derive(Debug)]
pub(in crate::io) struct Signer {
    key: RsaKeyPair,
    certificate: Certificate,
    random: SystemRandom,
}

impl Signer {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with which of them, and the remedy.
    pub(in crate::io) fn open(sign: &Sign) -> anyhow::Result<Self> {
        let of_key = || format!("boot.uki.sign.key: {}", sign.key.display());
        let mode = std::fs::metadata(&sign.key).with_context(of_key)?.permissions().mode();
        ensure!(
            mode & FORBIDDEN == 0,
            "{}: others may read it (mode {:03o}): chmod 600 {}",
            of_key(),
            mode & 0o777,
            sign.key.display()
        );
        let remedy = "write a key of RSA without a passphrase, as `openssl genrsa 3072` makes it";
        let read = PrivateKeyDer::from_pem_file(&sign.key).map_err(|error| anyhow!("{error}: {remedy}"));
        let key = match read.with_context(of_key)? {
            PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            PrivateKeyDer::Sec1(_) | _ => return Err(anyhow!("{}: {remedy}", of_key())),
        };
        let key = key.map_err(|error| anyhow!("{}: {error}: {remedy}", of_key()))?;
        let bits = key.public().modulus_len() * 8;
        ensure!(BITS.contains(&bits), "{}: {bits} bits: {} to {}", of_key(), BITS.start(), BITS.end());

        let of_certificate = || format!("boot.uki.sign.certificate: {}", sign.certificate.display());
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(&sign.certificate).with_context(of_certificate)?.collect();
        let chain = chain.with_context(of_certificate)?;
        ensure!(chain.len() <= CHAIN_MAX, "{}: {} certificates: at most {CHAIN_MAX}", of_certificate(), chain.len());
        let chain: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
        let certificate = Certificate::read(&chain).map_err(|wrong| anyhow!("{}: {wrong}", of_certificate()))?;
        ensure!(
            certificate.key == key.public().as_ref(),
            "{}: it is not the certificate of the key {}: write the one that was made for it, first in the file",
            of_certificate(),
            sign.key.display()
        );
        Ok(Self { key, certificate, random: SystemRandom::new() })
    }

    /// The certificate table of a program with this digest. Takes some milliseconds.
    ///
    /// # Errors
    /// When there is no randomness, with which ring hides how long it takes.
    pub(super) fn table(&self, sum: &Sum) -> std::io::Result<Vec<u8>> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        let done = self.key.sign(&RSA_PKCS1_SHA256, &self.random, &to_be_signed(sum), &mut signature);
        done.map_err(|_| std::io::Error::other("there is no randomness to sign with"))?;
        Ok(self.certificate.table(sum, &signature))
    }

    /// A program with its signature; as it was when it is none that can be signed, or has one.
    pub(super) fn loader(&self, name: &str, octets: Bytes) -> anyhow::Result<Bytes> {
        let mut program = octets.to_vec();
        let multiple = usize::try_from(ALIGNMENT)?;
        program.resize(program.len().next_multiple_of(multiple), 0);
        let layout = match Layout::read(&program, u64::try_from(program.len())?) {
            Ok(layout) if layout.is_signed => return Ok(octets),
            Ok(layout) => layout,
            Err(why) => {
                tracing::debug!(loader = name, why, "is not signed");
                return Ok(octets);
            }
        };
        let mut digested = Vec::with_capacity(program.len());
        for part in layout.digested() {
            let at = usize::try_from(part.start)?..usize::try_from(part.end)?;
            digested.extend_from_slice(program.get(at).unwrap_or_default());
        }
        let table = self.table(&sum(&digested)).with_context(|| format!("boot.loaders.{name}"))?;
        layout.point(&mut program, table.len()).ok_or_else(|| anyhow!("boot.loaders.{name}: it cannot be signed"))?;
        program.extend_from_slice(&table);
        Ok(Bytes::from(program))
    }
}
