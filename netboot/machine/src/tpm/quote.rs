//! What a TPM says of its PCRs (part 2, "TPMS_ATTEST", "TPML_PCR_SELECTION"), and the signature under it.

use super::wire::{ALG_ECDSA, ALG_SHA256, Malformed, Reader};

/// Octets of an attestation: names and nonces are of 66 octets at most.
pub const ATTEST_MAX: usize = 512;
/// Octets of a selection's bits: 24 PCRs.
const SELECT: u8 = 3;
/// What all that a TPM made itself begins with: `\xffTCG`.
const MAGIC: u32 = 0xff54_4347;
/// It is a quote (`TPM_ST_ATTEST_QUOTE`).
const QUOTE: u16 = 0x8018;
/// Clock, resets, restarts, whether the clock is right, and the version of the firmware.
const CLOCK: usize = 8 + 4 + 4 + 1 + 8;

/// A quote that was read; nothing is verified by that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// What the one who asked gave.
    pub nonce: Vec<u8>,
    /// Which PCRs of SHA-256.
    pub pcrs: Vec<u8>,
    /// SHA-256 of their values behind each other.
    pub digest: [u8; 32],
}

impl Quoted {
    /// Reads one.
    ///
    /// # Errors
    /// When it is something else, as another attestation of a TPM.
    pub fn read(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(octets);
        if reader.u32()? != MAGIC {
            return Err(Malformed("no TPM made it"));
        }
        if reader.u16()? != QUOTE {
            return Err(Malformed("it is no quote"));
        }
        let _signer = reader.sized(2 + 64)?;
        let nonce = reader.sized(64)?.to_vec();
        reader.take(CLOCK)?;
        let pcrs = read_selection(&mut reader)?;
        let digest = reader.array_sized()?;
        reader.end()?;
        Ok(Self { nonce, pcrs, digest })
    }
}

/// A signature by ECDSA with SHA-256 (`TPMT_SIGNATURE`): r and s, 32 octets each.
///
/// # Errors
/// When it is another one.
pub fn signature(octets: &[u8]) -> Result<[u8; 64], Malformed> {
    let mut reader = Reader::new(octets);
    if (reader.u16()?, reader.u16()?) != (ALG_ECDSA, ALG_SHA256) {
        return Err(Malformed("it is no signature by ECDSA with SHA-256"));
    }
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&reader.number()?);
    signature[32..].copy_from_slice(&reader.number()?);
    reader.end()?;
    Ok(signature)
}

/// PCRs of SHA-256; those from 24 on cannot be said.
pub(super) fn selection(pcrs: &[u8]) -> Vec<u8> {
    let bits = pcrs.iter().filter(|pcr| **pcr < 24).fold(0_u32, |bits, pcr| bits | 1 << pcr);
    let [first, second, third, _] = bits.to_le_bytes();
    [&1_u32.to_be_bytes()[..], &ALG_SHA256.to_be_bytes(), &[SELECT, first, second, third]].concat()
}

/// Which PCRs a selection has, in their order.
pub(super) fn read_selection(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    if (reader.u32()?, reader.u16()?, reader.u8()?) != (1, ALG_SHA256, SELECT) {
        return Err(Malformed("its PCRs are not those of SHA-256 alone"));
    }
    let bits = reader.take(usize::from(SELECT))?;
    Ok((0..24).filter(|pcr| bits[usize::from(*pcr / 8)] >> (pcr % 8) & 1 == 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(nonce: &[u8], pcrs: &[u8]) -> Vec<u8> {
        let mut octets = [&MAGIC.to_be_bytes()[..], &QUOTE.to_be_bytes(), &[0, 1, 5]].concat();
        super::super::sized(&mut octets, nonce);
        octets.extend([0; CLOCK]);
        octets.extend(selection(pcrs));
        super::super::sized(&mut octets, &[3; 32]);
        octets
    }

    #[test]
    fn a_quote_says_nonce_and_pcrs() {
        let wanted = Quoted { nonce: vec![1; 32], pcrs: vec![0, 4, 7, 11, 23], digest: [3; 32] };
        assert_eq!(Quoted::read(&quote(&wanted.nonce, &wanted.pcrs)), Ok(wanted));
    }

    /// Part 2, "TPMS_ATTEST": another attestation, or something that is no attestation, must not pass for a quote.
    #[test]
    fn nothing_else_is_a_quote() {
        let well = quote(&[1; 32], &[4]);
        for at in 0..6 {
            let mut other = well.clone();
            other[at] ^= 1;
            assert!(Quoted::read(&other).is_err(), "octet {at}");
        }
        for cut in 0..well.len() {
            assert!(Quoted::read(&well[..cut]).is_err(), "{cut} octets");
        }
        assert!(Quoted::read(&[&well[..], &[0]].concat()).is_err());
    }

    #[test]
    fn numbers_of_a_signature_may_be_short() {
        let octets = [&ALG_ECDSA.to_be_bytes()[..], &ALG_SHA256.to_be_bytes(), &[0, 1, 9, 0, 2, 1, 2]].concat();
        let read = signature(&octets).unwrap();
        assert_eq!((read[31], &read[62..], read[0]), (9, &[1, 2][..], 0));
        assert!(signature(&octets[..8]).is_err());
    }
}
