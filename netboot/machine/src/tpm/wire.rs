//! Octets of commands and answers: big-endian numbers, and buffers behind their length of two octets. Everything that is read has a bound.

/// SHA-256 (`TPM_ALG_SHA256`).
pub const ALG_SHA256: u16 = 0x000b;
/// None (`TPM_ALG_NULL`).
pub const ALG_NULL: u16 = 0x0010;
/// ECDSA (`TPM_ALG_ECDSA`).
pub const ALG_ECDSA: u16 = 0x0018;
/// Octets of tag, length and code.
const HEAD: usize = 10;
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
/// It ends too early.
pub const SHORT: Malformed = Malformed("it ends too early");

/// What is wrong with octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Reads from the front.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// All of it.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { left: octets }
    }

    /// So many octets.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (front, left) = self.left.split_at_checked(count).ok_or(SHORT)?;
        self.left = left;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (front, left) = self.left.split_first_chunk().ok_or(SHORT)?;
        self.left = left;
        Ok(*front)
    }

    /// One octet.
    ///
    /// # Errors
    /// When there is none.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// Two octets.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four octets.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// A buffer behind its length (`TPM2B`).
    ///
    /// # Errors
    /// When it is longer than `most` or than what is there.
    pub fn sized(&mut self, most: usize) -> Result<&'a [u8], Malformed> {
        let size = usize::from(self.u16()?);
        if size > most {
            return Err(Malformed("a part of it is too long"));
        }
        self.take(size)
    }

    /// A digest of SHA-256 behind its length.
    ///
    /// # Errors
    /// When it has another length.
    pub fn array_sized(&mut self) -> Result<[u8; 32], Malformed> {
        let octets = self.sized(32)?;
        octets.try_into().map_err(|_| Malformed("a digest has not 32 octets"))
    }

    /// A positive number of up to 32 octets, which may have fewer (part 1, C.8).
    ///
    /// # Errors
    /// When it is longer.
    pub fn number(&mut self) -> Result<[u8; 32], Malformed> {
        let octets = self.sized(32)?;
        let mut number = [0; 32];
        number[32 - octets.len()..].copy_from_slice(octets);
        Ok(number)
    }

    /// What is left.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.left
    }

    /// Says that this was all.
    ///
    /// # Errors
    /// When something is left.
    pub const fn end(&self) -> Result<(), Malformed> {
        if self.left.is_empty() { Ok(()) } else { Err(Malformed("something follows its end")) }
    }
}

/// Writes a buffer behind its length. Ours are short: what is longer than a length can say is cut, and the TPM refuses it.
pub fn sized(into: &mut Vec<u8>, octets: &[u8]) {
    let size = u16::try_from(octets.len()).unwrap_or(u16::MAX);
    into.extend(size.to_be_bytes());
    into.extend(&octets[..usize::from(size)]);
}

/// A command: each session is a password that is empty, or a policy that is fulfilled.
pub(super) fn command(code: u32, handles: &[u32], sessions: &[u32], parameters: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(parameters.len() + 64);
    for handle in handles {
        body.extend(handle.to_be_bytes());
    }
    if !sessions.is_empty() {
        let mut area = Vec::new();
        for session in sessions {
            area.extend(session.to_be_bytes());
            // No nonce; the session goes on; no password and no HMAC.
            area.extend([0, 0, 1, 0, 0]);
        }
        body.extend(u32::try_from(area.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend(area);
    }
    body.extend(parameters);
    let tag = if sessions.is_empty() { NO_SESSIONS } else { SESSIONS };
    let size = u32::try_from(HEAD + body.len()).unwrap_or(u32::MAX);
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), &body].concat()
}

/// The length of an answer that is all there; `None` = more is to come.
pub(super) fn whole(octets: &[u8]) -> Result<Option<usize>, Malformed> {
    if octets.len() < HEAD {
        return Ok(None);
    }
    let mut reader = Reader::new(octets);
    reader.u16()?;
    let size = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    if !(HEAD..=super::ANSWER_MAX).contains(&size) {
        return Err(Malformed("its length is that of no answer"));
    }
    match octets.len().cmp(&size) {
        std::cmp::Ordering::Less => Ok(None),
        std::cmp::Ordering::Equal => Ok(Some(size)),
        std::cmp::Ordering::Greater => Err(Malformed("it is longer than it says")),
    }
}

/// The code of an answer (0 = done), and what follows.
pub(super) fn answer(octets: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let mut reader = Reader::new(octets);
    let tag = reader.u16()?;
    reader.u32()?;
    let code = reader.u32()?;
    if !matches!(tag, NO_SESSIONS | SESSIONS) {
        return Err(Malformed("its tag is none of an answer"));
    }
    Ok((code, reader.rest()))
}
