//! How a machine gets the key of a disk: what it says to the boot server, and what it does with its TPM meanwhile. Generic over both streams,
//! so that tests and fuzzers are either of them.
//!
//! ```text
//!   TPM: EK, AK ──▶ Hello ──▶ server ──▶ Challenge ──▶ TPM: opens the nonce, quotes with it ──▶ Proof ──▶ server ──▶ Released
//!   TPM: opens the server's half; its own half + that = the key of the disk
//!   without a TPM: Wanted, with a certificate ──▶ server ──▶ Plain = the key of the disk
//! ```

use crate::keys::{
    CERTIFICATE, CHALLENGE, Challenge, Hello, Hex, Plain, Proof, RELEASE, Released, Sealed, Wanted, disk_key,
    quote_nonce,
};
use crate::tpm::key::{Kind, Public};
use crate::tpm::{HALF, Handle, PCRS_MAX, Tpm};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{ErrorKind, Read, Write};

/// Octets of an answer, head and body.
const ANSWER_MAX: usize = 16 * 1024;
/// A word of a refusal that is shown, in characters.
const SHOWN_MAX: usize = 600;

/// Why there is no key.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed {
    /// The server does not answer as it should, or is busy: another try may do.
    Again(String),
    /// It will not be otherwise by itself.
    Refused(String),
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// The server, as `Host` says it.
    pub host: &'a str,
    /// This machine.
    pub serial: &'a str,
    /// The disk.
    pub disk: &'a str,
    /// Whether it is about to be formatted.
    pub format: bool,
}

/// The key of a disk.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// What opens it.
    pub key: [u8; 32],
    /// What else must open it, when it is being formatted and operators want that.
    pub recovery: Option<Vec<u8>>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// The two keys of a TPM while they are used.
struct Loaded {
    ek: (Handle, Public),
    ak: (Handle, Public),
}

/// Gets a key over one connection: the server that gave the challenge hears the proof, whatever its address means elsewhere.
///
/// # Errors
/// Why not.
pub fn claim<T: Read + Write, S: Read + Write>(
    claim: &Claim<'_>,
    tpm: &mut Tpm<T>,
    server: &mut S,
) -> Result<Key, Failed> {
    let own = own_half(tpm, claim.format)?;
    let ek = tpm.primary(Kind::Endorsement).map_err(refused)?;
    let loaded = match tpm.primary(Kind::Attestation) {
        Ok(ak) => Loaded { ek, ak },
        Err(error) => {
            tpm.flush(ek.0).map_err(refused)?;
            return Err(refused(error));
        }
    };
    let released = exchange(claim, tpm, server, &loaded);
    for handle in [loaded.ak.0, loaded.ek.0] {
        tpm.flush(handle).map_err(refused)?;
    }
    let (half, recovery) = released?;
    Ok(Key { key: disk_key(&own, &half, claim.disk), recovery })
}

/// Gets a key without a TPM, over a connection that knows this machine by its certificate: all of the key comes from the server. Of `claim`
/// the serial number is not said: the certificate has it.
///
/// # Errors
/// Why not.
pub fn claim_by_certificate<S: Read + Write>(claim: &Claim<'_>, server: &mut S) -> Result<Key, Failed> {
    let wanted = Wanted { disk: claim.disk.to_owned(), format: claim.format };
    let Plain { half, recovery } = ask(server, claim.host, CERTIFICATE, &wanted)?;
    let half = is_half(half.0)?;
    Ok(Key { key: disk_key(&[], &half, claim.disk), recovery: recovery.map(|Hex(octets)| octets) })
}

/// A half must be what a server makes: nothing shorter opens a disk.
fn is_half(half: Vec<u8>) -> Result<Vec<u8>, Failed> {
    match half.len() {
        HALF => Ok(half),
        octets => Err(Failed::Refused(format!("the server's half has {octets} octets, and not {HALF}"))),
    }
}

/// The TPM's half; made when a disk is formatted and there is none yet.
fn own_half<T: Read + Write>(tpm: &mut Tpm<T>, format: bool) -> Result<[u8; HALF], Failed> {
    match tpm.half().map_err(refused)? {
        Some(half) => Ok(half),
        None if format => {
            let mut half = [0; HALF];
            let filled = SystemRandom::new().fill(&mut half);
            filled.map_err(|_| Failed::Again("this system gives no random numbers".to_owned()))?;
            tpm.keep_half(&half).map_err(refused)?;
            Ok(half)
        }
        None => Err(Failed::Refused(
            "the TPM has no half of a key: it was cleared, or the disk is of another machine".to_owned(),
        )),
    }
}

type Halves = (Vec<u8>, Option<Vec<u8>>);

fn exchange<T: Read + Write, S: Read + Write>(
    claim: &Claim<'_>,
    tpm: &mut Tpm<T>,
    server: &mut S,
    Loaded { ek, ak }: &Loaded,
) -> Result<Halves, Failed> {
    let hello =
        Hello { serial: claim.serial.to_owned(), ek: Hex(ek.1.octets().to_vec()), ak: Hex(ak.1.octets().to_vec()) };
    let Challenge { turn, nonce, pcrs } = ask(server, claim.host, CHALLENGE, &hello)?;
    if pcrs.is_empty() || pcrs.len() > PCRS_MAX || !pcrs.is_sorted_by(|a, b| a < b) || pcrs.iter().any(|pcr| *pcr > 23)
    {
        return Err(Failed::Refused(format!("the server asks for PCRs that cannot be shown: {pcrs:?}")));
    }
    let nonce = tpm.activate(ak.0, ek.0, &nonce).map_err(refused)?;
    let over = quote_nonce(&nonce, claim.disk, claim.format);
    let (quote, signature) = tpm.quote(ak.0, &over, &pcrs).map_err(refused)?;
    let values = tpm.pcrs(&pcrs).map_err(refused)?;
    let pcrs = pcrs.into_iter().zip(values).map(|(pcr, value)| (pcr, Hex(value.to_vec()))).collect();
    let (quote, signature) = (Hex(quote), Hex(signature));
    let proof = Proof { turn, disk: claim.disk.to_owned(), format: claim.format, quote, signature, pcrs };
    let Released { half, recovery } = ask(server, claim.host, RELEASE, &proof)?;
    let mut open = |sealed: &Sealed| tpm.activate(ak.0, ek.0, sealed).map_err(refused);
    let half = is_half(open(&half)?)?;
    let recovery = recovery.as_ref().map(&mut open).transpose()?;
    Ok((half, recovery))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: crate::tpm::TpmError) -> Failed {
    Failed::Refused(error.to_string())
}

/// One question on a connection that stays.
fn ask<S: Read + Write, Q: Serialize, A: DeserializeOwned>(
    server: &mut S,
    host: &str,
    path: &str,
    question: &Q,
) -> Result<A, Failed> {
    let again = |error: &dyn std::fmt::Display| Failed::Again(format!("the boot server does not answer: {error}"));
    // TLS says in this way that the other side accepts no certificate, or shows one that does not count.
    let broken = |error: std::io::Error| {
        let is_tls = error.kind() == ErrorKind::InvalidData;
        if is_tls { Failed::Refused(format!("the boot server, by TLS: {error}")) } else { again(&error) }
    };
    let body = serde_json::to_string(question).map_err(|error| Failed::Refused(error.to_string()))?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    server.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).map_err(broken)?;
    let mut answer = Vec::new();
    let (status, from, to) = loop {
        if let Some(found) = whole(&answer).map_err(Failed::Again)? {
            break found;
        }
        let mut part = [0; 4_096];
        let read = server.read(&mut part).map_err(broken)?;
        if read == 0 || answer.len() + read > ANSWER_MAX {
            return Err(again(&"it ends early, or is too long"));
        }
        answer.extend(part.get(..read).unwrap_or_default());
    };
    let body = answer.get(from..to).unwrap_or_default();
    match status {
        200 => {
            serde_json::from_slice(body).map_err(|error| Failed::Again(format!("its answer cannot be read: {error}")))
        }
        409 | 429 | 500.. => Err(Failed::Again(says(body, status))),
        _ => Err(Failed::Refused(says(body, status))),
    }
}

/// Status, and where the body is, of an answer that is all there (RFC 9112 §6.3; ours say their length).
fn whole(answer: &[u8]) -> Result<Option<(u16, usize, usize)>, String> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = answer.get(..end).and_then(|head| std::str::from_utf8(head).ok()).ok_or("a head that is no text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|rest| rest.get(..3));
    let status = status.and_then(|code| code.parse().ok()).ok_or("that is no answer of HTTP")?;
    let length =
        lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.trim().parse::<usize>().ok()).ok_or("it says no length")?;
    let from = end + 4;
    let to = from.checked_add(length).filter(|to| *to <= ANSWER_MAX).ok_or("it is too long")?;
    Ok((answer.len() >= to).then_some((status, from, to)))
}

/// What a refusal says, as far as it can be shown.
fn says(body: &[u8], status: u16) -> String {
    let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let part = |name: &str| document["error"][name].as_str().unwrap_or_default().to_owned();
    let text = format!("{}: {}", part("message"), part("rule"));
    let shown: String = text.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect();
    format!("{shown} (status {status})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_length_is_there() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        for cut in 0..text.len() {
            assert_eq!(whole(&text[..cut]), Ok(None), "{cut} octets");
        }
        assert_eq!(whole(text), Ok(Some((200, text.len() - 2, text.len()))));
        assert!(whole(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").is_err());
        assert!(whole(b"SSH-2.0-x\r\n\r\n").is_err());
    }

    #[test]
    fn a_refusal_is_shown_without_what_could_move_a_terminal() {
        let body = br#"{"error": {"message": "PCR 11 is \u001b[2Jab", "rule": "boot what you were given"}}"#;
        assert_eq!(says(body, 403), "PCR 11 is [2Jab: boot what you were given (status 403)");
        assert_eq!(says(b"\xff", 502), ":  (status 502)");
    }
}
