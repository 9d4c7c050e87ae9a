//! Signatures of programs that UEFI starts ("Windows Authenticode Portable Executable Signature Format", PKCS #7 by RFC 2315). Pure: what is
//! to be digested, and what a signature is made of; who holds the key is in `io`.
//!
//! ```text
//!   headers ▷ sections │ certificate table: length, type, PKCS #7 { digest of the program, certificates, signature of the digest }
//!      └ all but the checksum, and the entry that says where the table is, are digested
//! ```

use super::der::{BIT_STRING, INTEGER, OBJECT, OCTET_STRING, Reader, SEQUENCE, SET, context, element};
use super::uki::{u16_in, u32_in};
use ring::digest::{SHA256, digest as sha256};
use std::ops::Range;

/// SHA-256.
pub type Sum = [u8; 32];
/// A table begins at a multiple of this, and so does each signature in it.
pub const ALIGNMENT: u64 = 8;
/// Octets at the beginning of a program in which its headers are.
pub const HEAD_MAX: u64 = 64 * 1024;
/// Offsets in the optional header of PE32+.
const SIZE_OF_HEADERS: usize = 60;
const CHECKSUM: usize = 64;
const DIRECTORIES: usize = 108;
/// The fifth directory: the certificate table.
const DIRECTORY: usize = 112 + 4 * 8;
/// `wRevision` 2.0 and `wCertificateType` PKCS #7.
const CERTIFICATE: [u8; 4] = [0, 2, 2, 0];

/// Object identifiers, as DER has them.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SPC_INDIRECT_DATA: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x04];
const SPC_PE_IMAGE_DATA: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0f];
const NULL: &[u8] = &[5, 0];
/// What stands in a signature where its format once had more.
const OBSOLETE: &str = "<<<Obsolete>>>";

/// Where in a program is what its digest leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    checksum: u64,
    directory: u64,
    /// Where what is digested ends.
    end: u64,
    /// Whether it has a signature already.
    pub is_signed: bool,
}

impl Layout {
    /// Reads the headers of a program of so many octets.
    ///
    /// # Errors
    /// Why it cannot be signed.
    pub fn read(head: &[u8], length: u64) -> Result<Self, String> {
        let missing = || "it ends within its headers".to_owned();
        let u16_at = |at: usize| u16_in(head, at).ok_or_else(missing);
        let u32_at = |at: usize| u32_in(head, at).ok_or_else(missing);
        let pe = usize::try_from(u32_at(0x3c)?).map_err(|_| missing())?;
        let signature = pe.checked_add(4).and_then(|end| head.get(pe..end));
        let optional = pe.saturating_add(24);
        if signature != Some(b"PE\0\0") || u16_at(optional)? != 0x20b {
            return Err("it is no program of 64 bits (PE32+)".to_owned());
        }
        if u32_at(optional + DIRECTORIES)? < 5 {
            return Err("its headers have no place for a signature".to_owned());
        }
        let table = optional + usize::from(u16_at(pe + 20)?);
        let mut sections = Vec::new();
        for at in (0..usize::from(u16_at(pe + 6)?)).map(|section| table + section * 40) {
            let (raw, from) = (u32_at(at + 16)?, u32_at(at + 20)?);
            if raw != 0 {
                sections.push((u64::from(from), u64::from(raw)));
            }
        }
        sections.sort_unstable();
        let mut end = u64::from(u32_at(optional + SIZE_OF_HEADERS)?);
        for (from, raw) in sections {
            // With holes, firmware would digest something else than all octets in their order.
            if from != end {
                return Err("its sections are not one behind the other".to_owned());
            }
            end += raw;
        }
        let (certificates, size) = (u32_at(optional + DIRECTORY)?, u32_at(optional + DIRECTORY + 4)?);
        let is_signed = size != 0;
        let rest = if is_signed { u64::from(certificates) } else { length };
        let is_last = !is_signed || u64::from(certificates) + u64::from(size) == length;
        if end > rest || rest > length || !is_last {
            return Err("it ends before its sections do, or goes on behind its signature".to_owned());
        }
        let at = |offset: usize| u64::try_from(optional + offset).map_err(|_| missing());
        Ok(Self { checksum: at(CHECKSUM)?, directory: at(DIRECTORY)?, end: rest, is_signed })
    }

    /// What is digested, in this order.
    #[must_use]
    pub fn digested(&self) -> [Range<u64>; 3] {
        [0..self.checksum, self.checksum + 4..self.directory, self.directory + 8..self.end]
    }

    /// Writes into the headers that a table of so many octets is behind the program; `None` where it cannot be.
    #[must_use]
    pub fn point(&self, head: &mut [u8], table: usize) -> Option<()> {
        if !self.end.is_multiple_of(ALIGNMENT) || self.is_signed {
            return None;
        }
        let words = [u32::try_from(self.end).ok()?, u32::try_from(table).ok()?].map(u32::to_le_bytes).concat();
        let at = usize::try_from(self.directory).ok()?;
        head.get_mut(at..at + 8)?.copy_from_slice(&words);
        Some(())
    }
}

/// The certificate of who signs.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// With those between it and its authority.
    chain: Vec<u8>,
    issuer: Vec<u8>,
    serial: Vec<u8>,
    /// The RSA key (PKCS #1), in DER.
    pub key: Vec<u8>,
}

impl Certificate {
    /// Reads the first of a chain (RFC 5280 §4.1), each in DER.
    ///
    /// # Errors
    /// Why it is none that can be used.
    pub fn read(chain: &[&[u8]]) -> Result<Self, String> {
        let first = chain.first().ok_or("there is no certificate")?;
        let read = || {
            let mut body = Reader(Reader(Reader(first).take(SEQUENCE)?.content).take(SEQUENCE)?.content);
            let _version = body.take(context(0));
            let serial = body.take(INTEGER)?;
            let _signature = body.take(SEQUENCE)?;
            let issuer = body.take(SEQUENCE)?;
            let (_validity, _subject) = (body.take(SEQUENCE)?, body.take(SEQUENCE)?);
            let mut subject_key = Reader(body.take(SEQUENCE)?.content);
            let algorithm = Reader(subject_key.take(SEQUENCE)?.content).take(OBJECT)?.content;
            let key = subject_key.take(BIT_STRING)?.content.strip_prefix(&[0])?;
            Some((serial.whole, issuer.whole, algorithm, key))
        };
        let (serial, issuer, algorithm, key) = read().ok_or("it is no certificate (X.509)")?;
        if algorithm != RSA {
            return Err("its key is not of RSA, and firmware knows no other".to_owned());
        }
        let own = |octets: &[u8]| octets.to_vec();
        Ok(Self { chain: chain.concat(), issuer: own(issuer), serial: own(serial), key: own(key) })
    }

    /// The certificate table for a program with this digest, and the signature of [`to_be_signed`].
    #[must_use]
    pub fn table(&self, digest: &Sum, signature: &[u8]) -> Vec<u8> {
        let signer = element(
            SEQUENCE,
            &[
                &[INTEGER, 1, 1],
                &element(SEQUENCE, &[&self.issuer, &self.serial]),
                &algorithm(SHA_256),
                &element(context(0), &[&attributes(digest)]),
                &algorithm(RSA),
                &element(OCTET_STRING, &[signature]),
            ],
        );
        let content = element(
            SEQUENCE,
            &[&object(SPC_INDIRECT_DATA), &element(context(0), &[&element(SEQUENCE, &[&indirect_data(digest)])])],
        );
        let signed_data = element(
            SEQUENCE,
            &[
                &[INTEGER, 1, 1],
                &element(SET, &[&algorithm(SHA_256)]),
                &content,
                &element(context(0), &[&self.chain]),
                &element(SET, &[&signer]),
            ],
        );
        let all = element(SEQUENCE, &[&object(SIGNED_DATA), &element(context(0), &[&signed_data])]);
        let length = u32::try_from(all.len() + 8).unwrap_or(u32::MAX);
        let mut table = [&length.to_le_bytes()[..], &CERTIFICATE, &all].concat();
        let multiple = usize::try_from(ALIGNMENT).unwrap_or(8);
        table.resize(table.len().next_multiple_of(multiple), 0);
        table
    }
}

/// What is to be signed for a program with this digest, by RSA with PKCS #1 padding and SHA-256: the attributes of the signature, as a set.
#[must_use]
pub fn to_be_signed(digest: &Sum) -> Vec<u8> {
    element(SET, &[&attributes(digest)])
}

fn object(identifier: &[u8]) -> Vec<u8> {
    element(OBJECT, &[identifier])
}

fn algorithm(identifier: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&object(identifier), NULL])
}

/// The content of `SpcIndirectDataContent`: that the digest is one of a program, and the digest.
fn indirect_data(digest: &Sum) -> Vec<u8> {
    let obsolete: Vec<u8> = OBSOLETE.encode_utf16().flat_map(u16::to_be_bytes).collect();
    // SpcLink: a file [2], whose name is in Unicode [0].
    let link = element(context(0), &[&element(context(2), &[&element(0x80, &[&obsolete])])]);
    let program = element(SEQUENCE, &[&[BIT_STRING, 1, 0], &link]);
    let kind = element(SEQUENCE, &[&object(SPC_PE_IMAGE_DATA), &program]);
    [kind, element(SEQUENCE, &[&algorithm(SHA_256), &element(OCTET_STRING, &[digest])])].concat()
}

/// RFC 2315 §9.2: the type of the content, and its digest without tag and length.
fn attributes(digest: &Sum) -> Vec<u8> {
    let attribute = |kind: &[u8], value: &[u8]| element(SEQUENCE, &[&object(kind), &element(SET, &[value])]);
    let content = sha256(&SHA256, &indirect_data(digest));
    [
        attribute(CONTENT_TYPE, &object(SPC_INDIRECT_DATA)),
        attribute(MESSAGE_DIGEST, &element(OCTET_STRING, &[content.as_ref()])),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = include_str!("../../tests/fixtures/sign/certificate.pem");

    fn certificate() -> Vec<u8> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap().to_vec()
    }

    /// Headers of 0x400 octets with sections of 0x200 at these offsets.
    fn program(sections: &[u32], certificates: [u32; 2]) -> Vec<u8> {
        let mut octets = vec![0; 0x400];
        let mut put = |at: usize, value: &[u8]| octets[at..at + value.len()].copy_from_slice(value);
        put(0x3c, &0x80_u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(0x86, &u16::try_from(sections.len()).unwrap().to_le_bytes());
        put(0x94, &240_u16.to_le_bytes());
        put(0x98, &0x20b_u16.to_le_bytes());
        put(0x98 + SIZE_OF_HEADERS, &0x400_u32.to_le_bytes());
        put(0x98 + DIRECTORIES, &16_u32.to_le_bytes());
        put(0x98 + DIRECTORY, &certificates.map(u32::to_le_bytes).concat());
        for (section, from) in sections.iter().enumerate() {
            put(0x188 + section * 40 + 16, &[0x200_u32, *from].map(u32::to_le_bytes).concat());
        }
        octets
    }

    /// The specification, "Calculating the PE Image Hash": all but the checksum, the entry of the table, and the table.
    #[test]
    fn what_changes_with_a_signature_is_not_digested() {
        let plain = Layout::read(&program(&[0x600, 0x400], [0; 2]), 0x800).unwrap();
        assert_eq!(plain.digested(), [0..0xd8, 0xdc..0x128, 0x130..0x800]);
        let signed = Layout::read(&program(&[0x400, 0x600], [0x808, 0x10]), 0x818).unwrap();
        assert!(signed.is_signed && !plain.is_signed);
        assert_eq!(signed.digested()[2], 0x130..0x808);
        let mut head = program(&[0x400, 0x600], [0; 2]);
        plain.point(&mut head, 0x10).unwrap();
        assert_eq!(head, program(&[0x400, 0x600], [0x800, 0x10]));
        assert_eq!(signed.point(&mut head, 0x10), None);
        assert_eq!(
            Layout::read(&head, 0x804),
            Err("it ends before its sections do, or goes on behind its signature".into())
        );
    }

    #[test]
    fn what_cannot_be_signed_says_why() {
        let mut without_directories = program(&[], [0; 2]);
        without_directories[0x98 + DIRECTORIES] = 4;
        for (octets, length, why) in [
            (Vec::new(), 0, "within its headers"),
            (vec![0; 0x400], 0x400, "no program of 64 bits"),
            (without_directories, 0x400, "no place"),
            (program(&[0x400, 0x800], [0; 2]), 0xa00, "one behind the other"),
            (program(&[0x400], [0; 2]), 0x5ff, "ends before"),
            (program(&[0x400], [0x600, 8]), 0x610, "ends before"),
            (program(&[0x400], [0x500, 8]), 0x508, "ends before"),
            (program(&[0x400], [u32::MAX, u32::MAX]), 0x600, "ends before"),
        ] {
            let error = Layout::read(&octets, length).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
        let odd = Layout::read(&program(&[], [0; 2]), 0x401).unwrap();
        assert_eq!(odd.point(&mut [0; 0x400], 8), None, "a table begins at a multiple of eight");
    }

    /// The octets that the specification's structures have when `signtool` writes them, around the digest.
    #[test]
    fn content_is_as_the_format_has_it() {
        let written = indirect_data(&[0xab; 32]);
        let link: Vec<u8> = "<<<Obsolete>>>".bytes().flat_map(|sign| [0, sign]).collect();
        let begin = [
            0x30, 0x33, 6, 10, 0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 15, 0x30, 0x25, 3, 1, 0, 0xa0, 0x20, 0xa2, 0x1e,
            0x80, 0x1c,
        ];
        let end = [0x30, 0x31, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 32];
        assert_eq!(written, [&begin[..], &link, &end, &[0xab; 32]].concat());
        // RFC 2315 §9.3: what is signed is the attributes as a set; in the signature they have the tag [0].
        let signed = to_be_signed(&[0xab; 32]);
        let table = Certificate::read(&[&certificate()]).unwrap().table(&[0xab; 32], &[7; 256]);
        assert!(
            signed[0] == SET && table.windows(signed.len()).any(|part| part[0] == 0xa0 && part[1..] == signed[1..])
        );
        assert_eq!(table.len() % 8, 0);
    }

    #[test]
    fn any_octets_are_a_certificate_or_not() {
        let good = certificate();
        assert_eq!(Certificate::read(&[&good]).unwrap().key.len(), 270, "two numbers, of 257 and 3 octets");
        for at in 0..good.len() {
            let _ = Certificate::read(&[&good[..at]]).unwrap_err();
            let mut wrong = good.clone();
            wrong[at] ^= 0x41;
            let _ = Certificate::read(&[&wrong]);
        }
        assert!(Certificate::read(&[]).unwrap_err().contains("no certificate"));
    }
}
