//! Recovery keys: what opens a disk when its machine is gone. The server makes them, tells them to the machine that formats the disk, and
//! keeps them encrypted for the operators' public key only (HPKE, RFC 9180 §6.1: X25519, HKDF with SHA-256, ChaCha20-Poly1305). So neither
//! a copy of the store nor a server that somebody broke into opens a disk, and no server has to be asked to keep something to itself.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _, single_shot_open, single_shot_seal};
use weft_machine::keys::Hex;

/// Octets of either key of the operators.
pub const KEY: usize = 32;
/// Octets of a recovery key: 128 bits, which people can type.
pub const RECOVERY: usize = 16;
const ABOUT: &[u8] = b"weft disk recovery key 1";

type Mechanism = X25519HkdfSha256;
type PublicKey = <Mechanism as hpke::Kem>::PublicKey;
type PrivateKey = <Mechanism as hpke::Kem>::PrivateKey;
type Begun = <Mechanism as hpke::Kem>::EncappedKey;

/// A pair of keys for operators: the private one, which nobody else may have, and the public one, for the configuration.
#[must_use]
pub fn pair() -> (Hex, Hex) {
    let (private, public) = Mechanism::gen_keypair();
    (Hex(private.to_bytes().to_vec()), Hex(public.to_bytes().to_vec()))
}

/// The public key of a private one.
///
/// # Errors
/// When it is none.
pub fn public(private: &Hex) -> Result<Hex, String> {
    let private = PrivateKey::from_bytes(&private.0).map_err(|error| format!("it is no private key: {error}"))?;
    Ok(Hex(Mechanism::sk_to_pk(&private).to_bytes().to_vec()))
}

/// Encrypts a recovery key; machine and disk are bound to it.
///
/// # Errors
/// When the public key is none.
pub fn seal(recovery: &[u8], to: &Hex, serial: &str, disk: &str) -> Result<Hex, String> {
    let to = PublicKey::from_bytes(&to.0).map_err(|error| format!("`recovery_to` is no public key: {error}"))?;
    let bound = format!("{serial}/{disk}");
    let sealed = single_shot_seal::<ChaCha20Poly1305, HkdfSha256, Mechanism>(
        &OpModeS::Base,
        &to,
        ABOUT,
        recovery,
        bound.as_bytes(),
    );
    let (begun, text) = sealed.map_err(|error| format!("a recovery key cannot be encrypted: {error}"))?;
    Ok(Hex([&begun.to_bytes()[..], &text].concat()))
}

/// The recovery key.
///
/// # Errors
/// When it was encrypted for somebody else, or is of another disk.
pub fn open(sealed: &Hex, private: &Hex, serial: &str, disk: &str) -> Result<Vec<u8>, String> {
    let private = PrivateKey::from_bytes(&private.0).map_err(|error| format!("it is no private key: {error}"))?;
    let (begun, text) = sealed.0.split_at_checked(KEY).ok_or("it is too short")?;
    let begun = Begun::from_bytes(begun).map_err(|error| error.to_string())?;
    let bound = format!("{serial}/{disk}");
    single_shot_open::<ChaCha20Poly1305, HkdfSha256, Mechanism>(
        &OpModeR::Base,
        &private,
        &begun,
        ABOUT,
        text,
        bound.as_bytes(),
    )
    .map_err(|_| format!("it was encrypted for another key, or is not of disk `{disk}` of {serial}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_operators_key_opens_it_and_only_for_this_disk() {
        let (private, public_key) = pair();
        assert_eq!(public(&private), Ok(public_key.clone()));
        let sealed = seal(&[7; RECOVERY], &public_key, "N1", "data").unwrap();
        assert_eq!(open(&sealed, &private, "N1", "data"), Ok(vec![7; RECOVERY]));
        assert!(open(&sealed, &private, "N1", "other").is_err());
        assert!(open(&sealed, &private, "N2", "data").is_err());
        assert!(open(&sealed, &pair().0, "N1", "data").is_err());
        assert_ne!(seal(&[7; RECOVERY], &public_key, "N1", "data").unwrap(), sealed);
    }
}
