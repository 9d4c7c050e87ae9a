//! Cipher suites (§22.15.2, table 22-20) and the keys of a session (§13.31, §13.32).
//!
//! HMAC comes from ring. AES in CBC comes from the crates aes and cbc, because ring has none.

use aes::Aes128;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use ring::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256};
use std::fmt;

/// Octets of a block of AES.
const BLOCK: usize = 16;

/// How a session is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// 17: HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Sha256,
    /// 3: HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Sha1,
}

impl Suite {
    /// Numbers of authentication (table 13-17), integrity (13-18) and confidentiality (13-19).
    #[must_use]
    pub const fn numbers(self) -> [u8; 3] {
        match self {
            Self::Sha256 => [0x03, 0x04, 0x01],
            Self::Sha1 => [0x01, 0x01, 0x01],
        }
    }

    /// Octets of the check at the end of a packet, and of the one in RAKP 4.
    #[must_use]
    pub const fn check_length(self) -> usize {
        match self {
            Self::Sha256 => 16,
            Self::Sha1 => 12,
        }
    }

    /// Octets of a whole HMAC.
    #[must_use]
    pub const fn code_length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha1 => 20,
        }
    }

    /// HMAC of the parts, one after the other.
    #[must_use]
    pub fn code(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => HMAC_SHA256,
            Self::Sha1 => HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        };
        let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
        for part in parts {
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }
}

/// Whether both are the same, in a time that does not tell where they differ.
#[must_use]
pub fn same(ours: &[u8], theirs: &[u8]) -> bool {
    let differ = ours.iter().zip(theirs).fold(0_u8, |all, (one, other)| all | (one ^ other));
    ours.len() == theirs.len() && std::hint::black_box(differ) == 0
}

/// What protects the packets of a session.
#[derive(Clone)]
pub struct Keys {
    suite: Suite,
    /// K1: integrity.
    integrity: Vec<u8>,
    /// The first octets of K2: encryption.
    cipher: [u8; BLOCK],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl Keys {
    /// From the session integrity key: K1 and K2 are HMACs of a constant (§13.32).
    #[must_use]
    pub fn new(suite: Suite, sik: &[u8]) -> Self {
        /// Octets of the constants, whatever the hash.
        const CONSTANT: usize = 20;
        let mut cipher = [0; BLOCK];
        for (to, from) in cipher.iter_mut().zip(suite.code(sik, &[&[0x02; CONSTANT]])) {
            *to = from;
        }
        Self { suite, integrity: suite.code(sik, &[&[0x01; CONSTANT]]), cipher }
    }

    /// The check of a packet.
    #[must_use]
    pub fn check(&self, octets: &[u8]) -> Vec<u8> {
        let mut code = self.suite.code(&self.integrity, &[octets]);
        code.truncate(self.suite.check_length());
        code
    }

    /// Octets of a check.
    #[must_use]
    pub const fn check_length(&self) -> usize {
        self.suite.check_length()
    }

    /// Encrypts a payload: vector, then octets, padding 1, 2, 3…, and its length (§13.29).
    #[must_use]
    pub fn encrypt(&self, vector: [u8; BLOCK], octets: &[u8]) -> Vec<u8> {
        let padding = (BLOCK - (octets.len() + 1) % BLOCK) % BLOCK;
        let mut plain = octets.to_vec();
        plain.extend((1_u8..).take(padding));
        plain.push(u8::try_from(padding).unwrap_or_default());
        let mut encryptor = cbc::Encryptor::<Aes128>::new(&self.cipher.into(), &vector.into());
        let mut whole = vector.to_vec();
        let (blocks, _) = plain.as_chunks::<BLOCK>();
        for block in blocks {
            let mut block = (*block).into();
            encryptor.encrypt_block(&mut block);
            whole.extend_from_slice(&block);
        }
        whole
    }

    /// The other way; `None` when it cannot have been encrypted so.
    #[must_use]
    pub fn decrypt(&self, octets: &[u8]) -> Option<Vec<u8>> {
        let (vector, rest) = octets.split_first_chunk::<BLOCK>()?;
        let (blocks, more) = rest.as_chunks::<BLOCK>();
        if !more.is_empty() {
            return None;
        }
        let mut decryptor = cbc::Decryptor::<Aes128>::new(&self.cipher.into(), &(*vector).into());
        let mut plain = Vec::with_capacity(rest.len());
        for block in blocks {
            let mut block = (*block).into();
            decryptor.decrypt_block(&mut block);
            plain.extend_from_slice(&block);
        }
        let padding = usize::from(plain.pop()?);
        let length = plain.len().checked_sub(padding)?;
        // §13.29: the padding is to be looked at.
        let right = plain.get(length..)?.iter().zip(1_u8..).all(|(is, should)| *is == should);
        plain.truncate(length);
        (padding < BLOCK && right).then_some(plain)
    }
}
