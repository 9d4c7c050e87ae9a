//! A TPM 2.0, as far as disk keys need one: two keys that are made anew from its seeds at every boot, quotes, credentials, and 32 octets
//! that it keeps. All authorisations are empty: who may use it at all is the operating system's business, and what a key is given out for is
//! the boot server's.
//!
//! ```text
//!   endorsement key (EK)   the identity: opens credentials, never signs      primary of the endorsement hierarchy, TCG's template for P-256
//!   attestation key (AK)   signs what the TPM itself says, nothing else      primary of the owner hierarchy: gone when the TPM is cleared
//!   half                   32 octets in the TPM's memory                     gone when the TPM is cleared
//! ```
//!
//! Commands and structures: TCG, Trusted Platform Module Library, parts 2 and 3 (1.59). The few that are needed are written here: the crate
//! tpm2-protocol has all of them, in eleven thousand lines.

pub mod key;
pub mod quote;
pub mod wire;

use crate::keys;
use key::{Kind, Public};
use std::io::{Read, Write};
use wire::{Malformed, Reader, sized};

/// Octets of an answer: TPMs have buffers of 4 KiB at most (`TPM_PT_MAX_RESPONSE_SIZE`).
pub const ANSWER_MAX: usize = 4_096;
/// Octets that a credential gives to who can open it: a digest of SHA-256.
pub const CREDENTIAL_MAX: usize = 32;
/// PCRs of one question: a TPM answers with no more digests at a time (`TPML_DIGEST`).
pub const PCRS_MAX: usize = 8;
/// Where the half is: in the part of the TPM's memory that is the owner's (TCG registry of reserved handles).
const HALF_AT: u32 = 0x0180_7765;
/// Octets of the half.
pub const HALF: usize = 32;

const OWNER: u32 = 0x4000_0001;
const ENDORSEMENT: u32 = 0x4000_000b;
const NULL: u32 = 0x4000_0007;
/// The session that is only a password, and here an empty one (`TPM_RS_PW`).
const PASSWORD: u32 = 0x4000_0009;
/// The owner reads and writes; guesses do not lock it (`TPMA_NV_OWNERWRITE`, `OWNERREAD`, `NO_DA`).
const HALF_ATTRIBUTES: u32 = 0x0202_0002;
/// No such handle, the first of the command (`TPM_RC_HANDLE`).
const NO_HANDLE: u32 = 0x18b;
/// The second.
const NO_INDEX: u32 = 0x28b;
/// Defined and never written (`TPM_RC_NV_UNINITIALIZED`).
const NEVER_WRITTEN: u32 = 0x14a;

/// Commands, by their name in part 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names of the specification")]
pub enum Command {
    NvDefineSpace = 0x12a,
    CreatePrimary = 0x131,
    NvWrite = 0x137,
    ActivateCredential = 0x147,
    NvRead = 0x14e,
    PolicySecret = 0x151,
    Quote = 0x158,
    FlushContext = 0x165,
    StartAuthSession = 0x176,
    PcrRead = 0x17e,
    PcrExtend = 0x182,
}

/// Why the TPM did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// It says no.
    #[error("the TPM refuses {command:?} with 0x{code:x}{}", meaning(*.code))]
    Refused {
        /// What.
        command: Command,
        /// As `tpm2_rc_decode` explains it.
        code: u32,
    },
    /// Its answer makes no sense.
    #[error("the TPM's answer to {0:?} cannot be read: {1}")]
    Malformed(Command, Malformed),
    /// It cannot be reached.
    #[error("the TPM does not answer: {0}; is another program using it?")]
    Io(#[from] std::io::Error),
}

fn meaning(code: u32) -> &'static str {
    match code {
        0x921 => " (it is locked out after too many wrong guesses: wait, or clear it)",
        0x9a2 | 0x98e => " (its owner or endorsement hierarchy has a password: weft uses TPMs without)",
        0x185 => " (a hierarchy is switched off in the firmware's setup)",
        _ => "",
    }
}

/// A TPM behind a stream: `/dev/tpmrm0`, or the socket of a software TPM.
#[derive(Debug)]
pub struct Tpm<S> {
    stream: S,
}

/// A handle that is to be flushed: a TPM has room for three objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(u32);

impl<S: Read + Write> Tpm<S> {
    /// On a stream where commands and answers follow each other.
    pub const fn new(stream: S) -> Self {
        Self { stream }
    }

    /// Makes one of the two keys from the TPM's seed: the same key each time, until the TPM is cleared.
    ///
    /// # Errors
    /// When the TPM refuses or another key comes out than was asked for.
    pub fn primary(&mut self, kind: Kind) -> Result<(Handle, Public), TpmError> {
        let hierarchy = match kind {
            Kind::Endorsement => ENDORSEMENT,
            Kind::Attestation => OWNER,
        };
        // No password, no data; no outside information, no PCRs.
        let mut parameters = vec![0, 4, 0, 0, 0, 0];
        sized(&mut parameters, &key::template(kind));
        parameters.extend([0; 2 + 4]);
        let command = Command::CreatePrimary;
        let answer = self.call(command, &[hierarchy], &[PASSWORD], &parameters)?;
        let (handle, public) = read(command, &answer, |reader| {
            let handle = Handle(reader.u32()?);
            reader.u32()?;
            Ok((handle, reader.sized(key::PUBLIC_MAX)?.to_vec()))
        })?;
        match Public::read(kind, &public) {
            Ok(public) => Ok((handle, public)),
            Err(malformed) => {
                self.flush(handle)?;
                Err(TpmError::Malformed(command, malformed))
            }
        }
    }

    /// Values of PCRs of the bank of SHA-256, in their order.
    ///
    /// # Errors
    /// When the TPM refuses, as one without that bank does.
    pub fn pcrs(&mut self, pcrs: &[u8]) -> Result<Vec<[u8; 32]>, TpmError> {
        let command = Command::PcrRead;
        let answer = self.call(command, &[], &[], &quote::selection(pcrs))?;
        read(command, &answer, |reader| {
            reader.u32()?;
            let selected = quote::read_selection(reader)?;
            let count = reader.u32()?;
            if selected != pcrs || usize::try_from(count).ok() != Some(pcrs.len()) {
                return Err(Malformed("it has other PCRs than those asked for; is its bank of SHA-256 switched on?"));
            }
            pcrs.iter().map(|_| reader.array_sized()).collect()
        })
    }

    /// Adds to a PCR of SHA-256: nobody takes it away before the next boot.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn extend(&mut self, pcr: u8, digest: &[u8; 32]) -> Result<(), TpmError> {
        let parameters = [&1_u32.to_be_bytes()[..], &wire::ALG_SHA256.to_be_bytes(), digest].concat();
        self.call(Command::PcrExtend, &[pcr.into()], &[PASSWORD], &parameters).map(drop)
    }

    /// What the TPM says of PCRs, with a nonce, and the signature of the attestation key under it (`TPMS_ATTEST`, `TPMT_SIGNATURE`).
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn quote(&mut self, ak: Handle, nonce: &[u8; 32], pcrs: &[u8]) -> Result<(Vec<u8>, Vec<u8>), TpmError> {
        let mut parameters = Vec::new();
        sized(&mut parameters, nonce);
        // The scheme of the key.
        parameters.extend(wire::ALG_NULL.to_be_bytes());
        parameters.extend(quote::selection(pcrs));
        let command = Command::Quote;
        let answer = self.call(command, &[ak.0], &[PASSWORD], &parameters)?;
        read(command, &answer, |reader| {
            let size = reader.u32()?;
            let mut inner = Reader::new(reader.take(usize::try_from(size).map_err(|_| wire::SHORT)?)?);
            Ok((inner.sized(quote::ATTEST_MAX)?.to_vec(), inner.rest().to_vec()))
        })
    }

    /// Opens a credential, which was made for this endorsement key, and for this attestation key in the same TPM (part 1, "Credential
    /// Protection").
    ///
    /// # Errors
    /// When it was made for others.
    pub fn activate(&mut self, ak: Handle, ek: Handle, sealed: &keys::Sealed) -> Result<Vec<u8>, TpmError> {
        let session = self.policy_of_endorsement()?;
        let mut parameters = Vec::new();
        sized(&mut parameters, &sealed.credential.0);
        sized(&mut parameters, &sealed.secret.0);
        let command = Command::ActivateCredential;
        let answer = self.call(command, &[ak.0, ek.0], &[PASSWORD, session.0], &parameters);
        // A policy session of a command that failed is still there.
        let flushed = self.flush(session);
        let answer = answer?;
        flushed?;
        read(command, &answer, |reader| {
            reader.u32()?;
            Ok(reader.sized(CREDENTIAL_MAX)?.to_vec())
        })
    }

    /// A session that fulfils the policy of the endorsement key: whoever knows the (empty) password of the hierarchy.
    fn policy_of_endorsement(&mut self) -> Result<Handle, TpmError> {
        // No salt, no binding; the nonce is only of use where an HMAC is.
        let mut parameters = Vec::new();
        sized(&mut parameters, &[0; 32]);
        parameters.extend([0, 0, 1]);
        parameters.extend(wire::ALG_NULL.to_be_bytes());
        parameters.extend(wire::ALG_SHA256.to_be_bytes());
        let command = Command::StartAuthSession;
        let answer = self.call(command, &[NULL, NULL], &[], &parameters)?;
        let session = read(command, &answer, |reader| Ok(Handle(reader.u32()?)))?;
        // No nonce, no restriction to a command, no reference, no end.
        let done = self.call(Command::PolicySecret, &[ENDORSEMENT, session.0], &[PASSWORD], &[0; 2 + 2 + 2 + 4]);
        if let Err(error) = done {
            self.flush(session)?;
            return Err(error);
        }
        Ok(session)
    }

    /// The half that the TPM keeps; `None` = it has none.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn half(&mut self) -> Result<Option<[u8; HALF]>, TpmError> {
        let command = Command::NvRead;
        match self.call(command, &[OWNER, HALF_AT], &[PASSWORD], &[0, 32, 0, 0]) {
            Ok(answer) => read(command, &answer, |reader| {
                reader.u32()?;
                reader.array_sized().map(Some)
            }),
            Err(TpmError::Refused { code: NO_INDEX | NO_HANDLE | NEVER_WRITTEN, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has the TPM keep a half. One that is there stays: disks depend on it.
    ///
    /// # Errors
    /// When the TPM refuses, or has one.
    pub fn keep_half(&mut self, half: &[u8; HALF]) -> Result<(), TpmError> {
        let mut public = Vec::new();
        public.extend(HALF_AT.to_be_bytes());
        public.extend(wire::ALG_SHA256.to_be_bytes());
        public.extend(HALF_ATTRIBUTES.to_be_bytes());
        public.extend([0, 0, 0, 32]);
        let mut parameters = vec![0, 0];
        sized(&mut parameters, &public);
        match self.call(Command::NvDefineSpace, &[OWNER], &[PASSWORD], &parameters) {
            // It was switched off between defining and writing (`TPM_RC_NV_DEFINED`).
            Ok(_) | Err(TpmError::Refused { code: 0x14c, .. }) if self.half()?.is_none() => {}
            Ok(_) => return Err(TpmError::Refused { command: Command::NvDefineSpace, code: 0x14c }),
            Err(error) => return Err(error),
        }
        let mut parameters = Vec::new();
        sized(&mut parameters, half);
        parameters.extend([0, 0]);
        self.call(Command::NvWrite, &[OWNER, HALF_AT], &[PASSWORD], &parameters).map(drop)
    }

    /// Forgets a key or a session.
    ///
    /// # Errors
    /// When the TPM does not know it.
    pub fn flush(&mut self, handle: Handle) -> Result<(), TpmError> {
        self.call(Command::FlushContext, &[], &[], &handle.0.to_be_bytes()).map(drop)
    }

    /// A command and what follows the head of its answer.
    fn call(
        &mut self,
        command: Command,
        handles: &[u32],
        sessions: &[u32],
        parameters: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        self.stream.write_all(&wire::command(command as u32, handles, sessions, parameters))?;
        self.stream.flush()?;
        let mut answer = vec![0; ANSWER_MAX];
        let mut read = 0;
        loop {
            match wire::whole(&answer[..read]) {
                Ok(Some(_)) => break,
                Ok(None) => {}
                Err(malformed) => return Err(TpmError::Malformed(command, malformed)),
            }
            let more = self.stream.read(&mut answer[read..])?;
            if more == 0 {
                return Err(TpmError::Malformed(command, wire::SHORT));
            }
            read += more;
        }
        answer.truncate(read);
        match wire::answer(&answer) {
            Ok((0, body)) => Ok(body.to_vec()),
            Ok((code, _)) => Err(TpmError::Refused { command, code }),
            Err(malformed) => Err(TpmError::Malformed(command, malformed)),
        }
    }
}

fn read<T>(
    command: Command,
    answer: &[u8],
    how: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<T, TpmError> {
    how(&mut Reader::new(answer)).map_err(|malformed| TpmError::Malformed(command, malformed))
}
