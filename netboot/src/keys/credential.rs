//! What only one TPM can open, while it has one certain key (TCG, Trusted Platform Module Library, part 1, "Credential Protection", and
//! C.6.1 for an endorsement key of P-256): TPM2_MakeCredential, which needs no TPM.
//!
//! AES in CFB comes from the crates aes and cfb-mode: ring gives neither out. It does the rest: an endorsement key of RSA would need the crate
//! rsa, whose decryption leaks by its timing (RUSTSEC-2023-0071).

use aes::Aes128;
use cfb_mode::Encryptor;
use cfb_mode::cipher::KeyIvInit as _;
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::digest::{self, SHA256};
use ring::hmac;
use ring::rand::SecureRandom;
use weft_machine::keys::{Hex, Sealed};
use weft_machine::tpm::CREDENTIAL_MAX;
use weft_machine::tpm::key::Public;
use weft_machine::tpm::wire::sized;

/// Seals a value for the TPM that has both keys.
///
/// # Errors
/// When the endorsement key is no point of the curve, or there is no randomness.
pub fn seal(value: &[u8], ek: &Public, ak: &Public, random: &dyn SecureRandom) -> Result<Sealed, &'static str> {
    debug_assert!(value.len() <= CREDENTIAL_MAX, "a TPM opens no more");
    let ours = EphemeralPrivateKey::generate(&ECDH_P256, random).map_err(|_| "there is no randomness")?;
    let public = ours.compute_public_key().map_err(|_| "there is no randomness")?;
    // Uncompressed: 4, x, y.
    let (x, y) =
        public.as_ref().get(1..65).and_then(|point| point.split_at_checked(32)).ok_or("a point has 65 octets")?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, ek.point());
    let seed = agree_ephemeral(ours, &theirs, |shared| kdf_e(shared, b"IDENTITY\0", x, ek.x()));
    let seed = seed.map_err(|_| "the endorsement key is no point of P-256")?;
    let mut secret = Vec::new();
    sized(&mut secret, x);
    sized(&mut secret, y);
    let credential = protect(&seed, value, &ak.name())?;
    Ok(Sealed { credential: Hex(credential), secret: Hex(secret) })
}

/// `TPMS_ID_OBJECT`: encrypted, and under an HMAC with the name of the key for which it is.
fn protect(seed: &[u8; 32], value: &[u8], name: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut encrypted = Vec::new();
    sized(&mut encrypted, value);
    let key = kdf_a(seed, b"STORAGE\0", name, 128);
    let (key, _) = key.split_first_chunk::<16>().ok_or("a digest has 32 octets")?;
    Encryptor::<Aes128>::new(&(*key).into(), &[0; 16].into()).encrypt(&mut encrypted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &kdf_a(seed, b"INTEGRITY\0", &[], 256));
    let sum = hmac::sign(&key, &[&encrypted, name].concat());
    let mut object = Vec::new();
    sized(&mut object, sum.as_ref());
    object.extend(encrypted);
    Ok(object)
}

/// KDFa (part 1, 11.4.10.2) of one block: at most 256 bits.
fn kdf_a(seed: &[u8; 32], label: &[u8], context: &[u8], bits: u32) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, seed);
    let input = [&1_u32.to_be_bytes()[..], label, context, &bits.to_be_bytes()].concat();
    let mut sum = [0; 32];
    sum.copy_from_slice(hmac::sign(&key, &input).as_ref());
    sum
}

/// KDFe (part 1, 11.4.10.3) of one block.
fn kdf_e(shared: &[u8], label: &[u8], ours: &[u8], theirs: &[u8]) -> [u8; 32] {
    let input = [&1_u32.to_be_bytes()[..], shared, label, ours, theirs].concat();
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&SHA256, &input).as_ref());
    sum
}
