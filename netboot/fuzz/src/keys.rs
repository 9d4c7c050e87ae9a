//! What strangers send for a disk key, and what a TPM and a server that are not what they should be answer to a machine.

use std::io::{Read, Write};
use weft_machine::claim::{Claim, claim};
use weft_machine::keys::{Hello, Proof};
use weft_machine::tpm::Tpm;
use weft_machine::tpm::key::{Kind, Public};
use weft_machine::tpm::quote::{Quoted, signature};
use weft_netboot::keys::verify::verify;

/// A key of the form that it must have, for what needs one.
const AK: &str = "0023000b00050472000000100018000b000300100020";

/// Structures and documents on their own; then, behind two octets of its length, what a TPM answers, and what a server does.
pub fn keys(data: &[u8]) {
    for kind in [Kind::Endorsement, Kind::Attestation] {
        if let Ok(public) = Public::read(kind, data) {
            assert_eq!(public.octets(), data);
            assert_eq!(public.fingerprint().len(), 64);
        }
    }
    if let Ok(quoted) = Quoted::read(data) {
        assert!(quoted.nonce.len() <= 64 && quoted.pcrs.is_sorted() && quoted.pcrs.iter().all(|pcr| *pcr < 24));
    }
    let _ = signature(data);
    if let Ok(hello) = serde_json::from_slice::<Hello>(data) {
        let _ = Public::read(Kind::Endorsement, &hello.ek.0);
    }
    if let Ok(proof) = serde_json::from_slice::<Proof>(data) {
        let point = format!("{}0020{}", "11".repeat(32), "22".repeat(32));
        let octets = format!("{AK}{point}").parse::<weft_machine::keys::Hex>().unwrap_or_default();
        let ak = Public::read(Kind::Attestation, &octets.0);
        // Nobody has the private key of this one.
        assert!(ak.is_ok_and(|ak| verify(&proof, &[5; 32], &ak, &[4, 7, 11]).is_err()));
    }
    machine(data);
}

fn machine(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let (tpm, server) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
    for format in [true, false] {
        let wanted = Claim { host: "h", serial: "N1", disk: "data", format };
        let (mut tpm, mut server) =
            (Tpm::new(Script { left: tpm, is_tpm: true }), Script { left: server, is_tpm: false });
        let _ = claim(&wanted, &mut tpm, &mut server);
    }
}

/// Whatever is said to it, it says what comes next: a TPM one answer at a time.
struct Script<'a> {
    left: &'a [u8],
    is_tpm: bool,
}

impl Read for Script<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let size = self.left.get(2..6).and_then(|size| size.first_chunk::<4>()).map(|size| u32::from_be_bytes(*size));
        let size = size.filter(|_| self.is_tpm).and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
        let count = size.max(1).min(self.left.len()).min(into.len());
        let (now, later) = self.left.split_at(count);
        into[..count].copy_from_slice(now);
        self.left = later;
        Ok(count)
    }
}

impl Write for Script<'_> {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
