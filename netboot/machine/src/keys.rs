//! What a machine and a boot server say to each other about the key of a disk, as JSON. The drawing is in the README of netboot.

use ring::digest::{Context, SHA256};
use ring::hmac;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Where a machine begins.
pub const CHALLENGE: &str = "/v1/keys/challenge";
/// Where it shows its quote.
pub const RELEASE: &str = "/v1/keys/release";
/// Where a machine without a TPM asks, with its certificate.
pub const CERTIFICATE: &str = "/v1/keys/certificate";
/// Octets of one value: the longest is an attestation.
const VALUE_MAX: usize = 1_024;

/// Octets that are hexadecimal digits in JSON.
#[derive(Clone, PartialEq, Eq, Default, PartialOrd, Ord)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Hex(pub Vec<u8>);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Hex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        match pairs.collect() {
            Some(octets) if text.len() <= 2 * VALUE_MAX => Ok(Self(octets)),
            Some(_) | None => Err(format!("write pairs of hexadecimal digits, at most {VALUE_MAX}")),
        }
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What only one TPM can open, and only while it has the attestation key that it was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// `TPMS_ID_OBJECT`: an HMAC, and what is sealed, encrypted.
    pub credential: Hex,
    /// `TPMS_ECC_POINT`: from which the TPM derives the keys of both.
    pub secret: Hex,
}

/// A machine says who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Its serial number.
    pub serial: String,
    /// Endorsement key (`TPMT_PUBLIC`).
    pub ek: Hex,
    /// Attestation key (`TPMT_PUBLIC`).
    pub ak: Hex,
}

/// What it must answer with a quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// Which one.
    pub turn: Hex,
    /// The nonce, for its TPM alone.
    pub nonce: Sealed,
    /// PCRs of SHA-256 that the quote must say, in their order.
    pub pcrs: Vec<u8>,
}

/// A quote, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Which challenge it answers.
    pub turn: Hex,
    /// Which disk: a word of the machine's own choice.
    pub disk: String,
    /// Whether the disk is about to be formatted; then there is a recovery key in the answer, if operators want one.
    pub format: bool,
    /// `TPMS_ATTEST`.
    pub quote: Hex,
    /// `TPMT_SIGNATURE`.
    pub signature: Hex,
    /// Values of the PCRs, of which the quote has only a digest.
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, Hex>"))]
    pub pcrs: BTreeMap<u8, Hex>,
}

/// The server's half of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Released {
    /// 32 octets.
    pub half: Sealed,
    /// 16 octets, from which [`recovery_text`] makes what opens the disk without TPM and server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Sealed>,
}

/// A machine without a TPM says which disk; its certificate says who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Which disk: a word of the machine's own choice.
    pub disk: String,
    /// Whether it is about to be formatted.
    #[serde(default)]
    pub format: bool,
}

/// What a machine without a TPM gets: in the clear, by TLS.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Plain {
    /// 32 octets: all that the disk's key is made of.
    pub half: Hex,
    /// 16 octets, as in [`Released`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Hex>,
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What the quote is made over: it says of what disk, so that a proof is of no use for another.
#[must_use]
pub fn quote_nonce(nonce: &[u8], disk: &str, format: bool) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(b"weft disk key 1\0");
    context.update(nonce);
    context.update(&[u8::from(format)]);
    context.update(disk.as_bytes());
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}

/// The key of a disk: of both halves, and of neither alone (HKDF with SHA-256, RFC 5869 §2; the output is one block).
#[must_use]
pub fn disk_key(machine_half: &[u8], server_half: &[u8], disk: &str) -> [u8; 32] {
    let hmac = |key: &[u8], parts: &[&[u8]]| {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        parts.iter().for_each(|part| context.update(part));
        let mut sum = [0; 32];
        sum.copy_from_slice(context.sign().as_ref());
        sum
    };
    let extracted = hmac(server_half, &[machine_half]);
    hmac(&extracted, &[b"weft disk key 1\0", disk.as_bytes(), &[1]])
}

/// What a person types to open a disk: `0123-4567-…`.
#[must_use]
pub fn recovery_text(octets: &[u8]) -> String {
    let digits = Hex(octets.to_vec()).to_string();
    let groups: Vec<&str> = (0..digits.len()).step_by(4).filter_map(|at| digits.get(at..at + 4)).collect();
    groups.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_makes_another_key() {
        let key = disk_key(&[1; 32], &[2; 32], "data");
        assert_eq!(key, disk_key(&[1; 32], &[2; 32], "data"));
        assert_ne!(key, disk_key(&[2; 32], &[2; 32], "data"));
        assert_ne!(key, disk_key(&[1; 32], &[1; 32], "data"));
        assert_ne!(key, disk_key(&[1; 32], &[2; 32], "date"));
        let nonce = quote_nonce(&[1; 32], "data", false);
        assert_ne!(nonce, quote_nonce(&[1; 32], "data", true));
        assert_ne!(nonce, quote_nonce(&[1; 32], "date", false));
        assert_ne!(nonce, quote_nonce(&[2; 32], "data", false));
    }

    #[test]
    fn hexadecimal_is_strict_and_bounded() {
        assert_eq!("00fF".parse(), Ok(Hex(vec![0, 255])));
        for wrong in ["0", "0g", "é", &"00".repeat(VALUE_MAX + 1)] {
            assert!(wrong.parse::<Hex>().is_err(), "{wrong}");
        }
        assert_eq!(recovery_text(&[0x12, 0x34, 0xab, 0xcd]), "1234-abcd");
    }
}
