//! The two keys, each of one form only: what differs from the form is not taken. EK: TCG EK Credential Profile 2.5, template L-2 (ECC NIST
//! P-256). P-256 and not RSA: every TPM of the PC Client profile has both, its credentials need no decryption by RSA, and a key is made in
//! milliseconds.

use super::wire::{ALG_ECDSA, ALG_NULL, ALG_SHA256, Malformed, Reader};
use ring::digest::{SHA256, digest};
use std::fmt::Write as _;

/// Octets of a public area: 58 of the form and 68 of the point.
pub const PUBLIC_MAX: usize = 160;
/// The policy of the endorsement key: who knows the secret of its hierarchy (EK Credential Profile, B.3).
const EK_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
/// fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
const EK_ATTRIBUTES: u32 = 0x0003_00b2;
/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign: it signs nothing that the TPM did not make itself.
const AK_ATTRIBUTES: u32 = 0x0005_0472;
const ALG_AES: u16 = 0x0006;
const ALG_ECC: u16 = 0x0023;
const ALG_CFB: u16 = 0x0043;
const CURVE_P256: u16 = 0x0003;
/// What precedes the point in the usual form of a public key of P-256 (RFC 5480 §2).
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The TPM's identity.
    Endorsement,
    /// What signs quotes.
    Attestation,
}

/// Type, digest, attributes, policy, parameters: `TPMT_PUBLIC` up to the point.
fn form(kind: Kind) -> Vec<u8> {
    let (attributes, policy) = match kind {
        Kind::Endorsement => (EK_ATTRIBUTES, &EK_POLICY[..]),
        Kind::Attestation => (AK_ATTRIBUTES, &[][..]),
    };
    let mut form = [ALG_ECC, ALG_SHA256].map(u16::to_be_bytes).concat();
    form.extend(attributes.to_be_bytes());
    super::sized(&mut form, policy);
    let parameters: &[u16] = match kind {
        Kind::Endorsement => &[ALG_AES, 128, ALG_CFB, ALG_NULL, CURVE_P256, ALG_NULL],
        Kind::Attestation => &[ALG_NULL, ALG_ECDSA, ALG_SHA256, CURVE_P256, ALG_NULL],
    };
    form.extend(parameters.iter().flat_map(|word| word.to_be_bytes()));
    form
}

/// What a TPM is told to make a key by.
pub(super) fn template(kind: Kind) -> Vec<u8> {
    let mut template = form(kind);
    // The endorsement key's template says zeros for its point (L-2), which are part of what it is derived from.
    let point: &[u8] = match kind {
        Kind::Endorsement => &[0; 32],
        Kind::Attestation => &[],
    };
    super::sized(&mut template, point);
    super::sized(&mut template, point);
    template
}

/// The public part of one of the two keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    octets: Vec<u8>,
    x: [u8; 32],
    y: [u8; 32],
}

impl Public {
    /// Reads one that has the form of its kind.
    ///
    /// # Errors
    /// When it is another key, or none.
    pub fn read(kind: Kind, octets: &[u8]) -> Result<Self, Malformed> {
        let form = form(kind);
        let Some(point) = octets.strip_prefix(&form[..]) else {
            return Err(match kind {
                Kind::Endorsement => Malformed("it is no endorsement key by TCG's template for P-256 (L-2)"),
                Kind::Attestation => Malformed("it is no restricted signing key of P-256 that stays in its TPM"),
            });
        };
        let mut reader = Reader::new(point);
        let (x, y) = (reader.number()?, reader.number()?);
        reader.end()?;
        Ok(Self { octets: octets.to_vec(), x, y })
    }

    /// As the TPM writes it (`TPMT_PUBLIC`).
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// What a TPM knows it by: its digest behind the digest's algorithm (part 1, "Names").
    #[must_use]
    pub fn name(&self) -> [u8; 34] {
        let mut name = [0; 34];
        name[..2].copy_from_slice(&ALG_SHA256.to_be_bytes());
        name[2..].copy_from_slice(digest(&SHA256, &self.octets).as_ref());
        name
    }

    /// The x-coordinate.
    #[must_use]
    pub const fn x(&self) -> &[u8; 32] {
        &self.x
    }

    /// The point, uncompressed (SEC 1, 2.3.3).
    #[must_use]
    pub fn point(&self) -> [u8; 65] {
        let mut point = [4; 65];
        point[1..33].copy_from_slice(&self.x);
        point[33..].copy_from_slice(&self.y);
        point
    }

    /// SHA-256 of its usual form (DER, SubjectPublicKeyInfo), in hexadecimal: what the inventory has as `ids.tpm_ek`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let spki = [&SPKI_HEAD[..], &self.point()].concat();
        digest(&SHA256, &spki).as_ref().iter().fold(String::with_capacity(64), |mut text, octet| {
            let _ = write!(text, "{octet:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EK Credential Profile, B.4.4: the policy of the template is `PolicySecret` of the endorsement hierarchy: part 3, "TPM2_PolicySecret",
    /// policyUpdate(TPM_CC_PolicySecret, entityName, policyRef) of a policy that begins with zeros.
    #[test]
    fn the_policy_is_that_of_the_endorsement_hierarchy() {
        let first = [&[0; 32][..], &0x151_u32.to_be_bytes(), &0x4000_000b_u32.to_be_bytes()].concat();
        let with_reference = digest(&SHA256, digest(&SHA256, &first).as_ref());
        assert_eq!(with_reference.as_ref(), EK_POLICY);
    }

    #[test]
    fn only_the_form_is_taken() {
        let well = |kind| [form(kind), vec![0, 1, 7, 0, 32], vec![9; 32]].concat();
        let ak = Public::read(Kind::Attestation, &well(Kind::Attestation)).unwrap();
        assert_eq!((ak.x()[31], ak.x()[30], ak.point()[33]), (7, 0, 9), "a short number has zeros in front");
        assert!(Public::read(Kind::Endorsement, &well(Kind::Endorsement)).is_ok());
        assert!(Public::read(Kind::Endorsement, &well(Kind::Attestation)).is_err());
        // Each octet of the form counts: a key that signs anything, or leaves its TPM, is none of ours.
        for at in 0..form(Kind::Attestation).len() {
            let mut other = well(Kind::Attestation);
            other[at] ^= 1;
            assert!(Public::read(Kind::Attestation, &other).is_err(), "octet {at}");
        }
        let longer = [well(Kind::Attestation), vec![0]].concat();
        assert!(Public::read(Kind::Attestation, &longer).is_err());
        let wide = [form(Kind::Attestation), vec![0, 33], vec![1; 33], vec![0, 32], vec![9; 32]].concat();
        assert!(Public::read(Kind::Attestation, &wide).is_err());
    }
}
