//! What a quote shows. The order is that of who could have made what: the signature first, so that nothing is believed of what anybody may
//! have written.

use ring::digest::{Context, SHA256};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use std::collections::BTreeMap;
use weft_machine::keys::{Proof, quote_nonce};
use weft_machine::tpm::key::Public;
use weft_machine::tpm::quote::{Quoted, signature};

/// Values of PCRs, by their number.
pub type Pcrs = BTreeMap<u8, [u8; 32]>;

/// The values of the PCRs that were asked for, when this key says so, of this nonce and for this disk.
///
/// # Errors
/// What does not hold.
pub fn verify(proof: &Proof, nonce: &[u8], ak: &Public, wanted: &[u8]) -> Result<Pcrs, String> {
    let signature = signature(&proof.signature.0).map_err(|wrong| format!("the signature cannot be read: {wrong}"))?;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, ak.point());
    key.verify(&proof.quote.0, &signature).map_err(|_| "the signature is not of this attestation key")?;
    let quoted = Quoted::read(&proof.quote.0).map_err(|wrong| format!("the quote cannot be read: {wrong}"))?;
    if quoted.nonce != quote_nonce(nonce, &proof.disk, proof.format) {
        return Err("the quote is of another nonce, or for another disk".to_owned());
    }
    if quoted.pcrs != wanted {
        return Err(format!("the quote is of other PCRs, {:?}; wanted are {wanted:?}", quoted.pcrs));
    }
    let mut pcrs = Pcrs::new();
    let mut sum = Context::new(&SHA256);
    for pcr in wanted {
        let value = proof.pcrs.get(pcr).and_then(|value| <[u8; 32]>::try_from(&value.0[..]).ok());
        let value = value.ok_or_else(|| format!("the value of PCR {pcr} is missing, or no digest of SHA-256"))?;
        sum.update(&value);
        pcrs.insert(*pcr, value);
    }
    if sum.finish().as_ref() != quoted.digest {
        return Err("the values are not those of which the quote is".to_owned());
    }
    Ok(pcrs)
}
