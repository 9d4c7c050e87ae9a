//! Disk keys with a real software TPM (swtpm): what it makes is what the boot server verifies, and what the server seals it opens.
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]
#![expect(clippy::disallowed_types, reason = "waits for a process with a deadline")]
#![expect(clippy::print_stdout, reason = "says what is not tested, and why")]

mod software;

use ring::rand::SystemRandom;
use software::Software;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use weft_machine::keys::{Hex, Proof, quote_nonce};
use weft_machine::tpm::Tpm;
use weft_machine::tpm::key::{Kind, Public};
use weft_netboot::keys::credential;
use weft_netboot::keys::verify::verify;

/// Part 1, "Credential Protection": the TPM with both keys opens a credential; one with another attestation key, or another TPM, does not.
#[test]
fn a_credential_is_for_one_tpm_and_one_key() {
    let Some(software) = Software::start("credential") else { return };
    let mut tpm = software.tpm();
    let (ek, ek_public) = tpm.primary(Kind::Endorsement).unwrap();
    let (ak, ak_public) = tpm.primary(Kind::Attestation).unwrap();
    let random = SystemRandom::new();
    let sealed = credential::seal(&[7; 32], &ek_public, &ak_public, &random).unwrap();
    assert_eq!(tpm.activate(ak, ek, &sealed).unwrap(), [7; 32]);
    let mut other = sealed.clone();
    other.credential.0[40] ^= 1;
    tpm.activate(ak, ek, &other).unwrap_err();
    assert_eq!(tpm.activate(ak, ek, &sealed).unwrap(), [7; 32], "a refusal leaves no session behind");
    let stranger = Software::start("credential-stranger").unwrap();
    let mut stranger = stranger.tpm();
    let (their_ek, _) = stranger.primary(Kind::Endorsement).unwrap();
    let (their_ak, their_ak_public) = stranger.primary(Kind::Attestation).unwrap();
    stranger.activate(their_ak, their_ek, &sealed).unwrap_err();
    let mixed = credential::seal(&[7; 32], &ek_public, &their_ak_public, &random).unwrap();
    tpm.activate(ak, ek, &mixed).unwrap_err();
    // The same keys come out each time, and the TPM has room for them: flushed handles are free.
    for _ in 0..8 {
        tpm.flush(ak).unwrap();
        let again = tpm.primary(Kind::Attestation).unwrap();
        assert_eq!((again.0, &again.1), (ak, &ak_public));
    }
}

#[test]
fn a_half_is_kept_over_a_power_cycle_and_never_replaced() {
    let Some(mut software) = Software::start("half") else { return };
    let mut tpm = software.tpm();
    assert_eq!(tpm.half().unwrap(), None);
    tpm.keep_half(&[9; 32]).unwrap();
    assert_eq!(tpm.half().unwrap(), Some([9; 32]));
    tpm.keep_half(&[8; 32]).unwrap_err();
    drop(tpm);
    software.power_cycle();
    assert_eq!(software.tpm().half().unwrap(), Some([9; 32]));
}

const PCRS: [u8; 3] = [4, 7, 11];
const NONCE: [u8; 32] = [5; 32];

/// A proof as a machine makes it, and the key that signed it.
fn proof(tpm: &mut Tpm<UnixStream>) -> (Proof, Public) {
    let (ak, public) = tpm.primary(Kind::Attestation).unwrap();
    let (quote, signature) = tpm.quote(ak, &quote_nonce(&NONCE, "data", false), &PCRS).unwrap();
    let values = tpm.pcrs(&PCRS).unwrap();
    tpm.flush(ak).unwrap();
    let pcrs: BTreeMap<u8, Hex> = PCRS.into_iter().zip(values).map(|(pcr, value)| (pcr, Hex(value.to_vec()))).collect();
    let (quote, signature) = (Hex(quote), Hex(signature));
    (Proof { turn: Hex(vec![1]), disk: "data".to_owned(), format: false, quote, signature, pcrs }, public)
}

/// Part 3, "TPM2_Quote": what is shown holds for the nonce, the key and the PCRs of which it is, and for nothing else.
#[test]
fn a_quote_holds_for_what_it_was_made_of() {
    let Some(software) = Software::start("quote") else { return };
    let mut tpm = software.tpm();
    let (before, ak) = proof(&mut tpm);
    assert_eq!(verify(&before, &NONCE, &ak, &PCRS).unwrap()[&4], [0; 32], "nothing was measured yet");
    tpm.extend(4, &[1; 32]).unwrap();
    let (well, ak) = proof(&mut tpm);
    let pcrs = verify(&well, &NONCE, &ak, &PCRS).unwrap();
    assert_ne!(pcrs[&4], [0; 32]);
    let refused = |proof: &Proof, nonce: &[u8], ak: &Public, pcrs: &[u8]| verify(proof, nonce, ak, pcrs).unwrap_err();
    assert!(refused(&well, &[6; 32], &ak, &PCRS).contains("another nonce"));
    assert!(refused(&well, &NONCE, &ak, &[4, 7]).contains("other PCRs"));
    assert!(refused(&Proof { disk: "other".to_owned(), ..well.clone() }, &NONCE, &ak, &PCRS).contains("another nonce"));
    assert!(refused(&Proof { format: true, ..well.clone() }, &NONCE, &ak, &PCRS).contains("another nonce"));
    // The values of before with the quote of now.
    assert!(refused(&Proof { pcrs: before.pcrs, ..well.clone() }, &NONCE, &ak, &PCRS).contains("values"));
    let mut changed = well.clone();
    *changed.quote.0.last_mut().unwrap() ^= 1;
    assert!(refused(&changed, &NONCE, &ak, &PCRS).contains("signature"));
    let stranger = Software::start("quote-stranger").unwrap();
    let (_, theirs) = proof(&mut stranger.tpm());
    assert!(refused(&well, &NONCE, &theirs, &PCRS).contains("signature"));
}
