//! TFTP for firmware that loads by PXE (RFC 1350; options RFC 2347, 2348, 2349, 7440): who asks, and one transfer. Reading only: a server
//! that takes nothing has nothing to lose. Pure: no socket and no file; a transfer says which octets of the file are to be sent.
//!
//! ```text
//!   RRQ ─▶ Request ─▶ Transfer:  OACK ─▶ ACK 0 ─▶ DATA 1 … window ─▶ ACK n ─▶ … ─▶ ACK of the last ─▶ done
//!                                  └── silence: the same again, each time later ──┘    ERROR of the client ─▶ ended
//! ```
//!
//! An acknowledgement that repeats the one before sends nothing (RFC 1123 §4.2.3.1, the sorcerer's apprentice), but that it says once in a
//! window of several blocks that the first of them was lost.

mod transfer;

pub use transfer::{End, Output, Transfer};

use std::collections::BTreeSet;

/// Octets of a request: name, mode and options. RFC 2347 §2 has 512.
pub const REQUEST_MAX: usize = 512;
/// Octets of a block, at most: what fits into one packet of an Ethernet with all headers.
pub const BLOCK_MAX: u16 = 1_468;
/// Blocks that are sent without an acknowledgement, at most.
pub const WINDOW_MAX: u16 = 16;

/// Kinds of packets (RFC 1350 §5, RFC 2347 §2).
mod opcode {
    pub(super) const READ: u16 = 1;
    pub(super) const WRITE: u16 = 2;
    pub(super) const DATA: u16 = 3;
    pub(super) const ACK: u16 = 4;
    pub(super) const ERROR: u16 = 5;
    pub(super) const OACK: u16 = 6;
}

/// Why something is refused, as the client is told: code (RFC 1350 §5, RFC 2347 §2) and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its code.
    pub code: u16,
    /// For a person at the console.
    pub words: &'static str,
}

impl Refused {
    /// There is no such file.
    pub const NO_FILE: Self = Self { code: 1, words: "no such file" };
    /// Nothing is written here.
    pub const READ_ONLY: Self = Self { code: 2, words: "for reading only" };
    /// Not a packet that goes here.
    pub const ILLEGAL: Self = Self { code: 4, words: "illegal operation" };
    /// An option that breaks its RFC.
    pub const OPTION: Self = Self { code: 8, words: "an option has a wrong value, or is there twice" };

    /// The packet.
    #[must_use]
    pub fn octets(self) -> Vec<u8> {
        let mut octets = [opcode::ERROR.to_be_bytes(), self.code.to_be_bytes()].concat();
        octets.extend_from_slice(self.words.as_bytes());
        octets.push(0);
        octets
    }
}

/// A request to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Name of the file, as it came: it is looked for among names, and gets into no path.
    pub name: String,
    /// What else is asked.
    pub options: Options,
}

/// What a client may ask for, each once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Octets of a block, 8 to 65464 (RFC 2348 §2).
    pub block_size: Option<u16>,
    /// Seconds until something is sent again, 1 to 255 (RFC 2349 §2).
    pub timeout_s: Option<u8>,
    /// The length of the file is wanted (RFC 2349 §3).
    pub length: bool,
    /// Blocks before an acknowledgement, from 1 (RFC 7440 §3).
    pub window: Option<u16>,
}

impl Request {
    /// Reads a datagram; `None` for one that is no request at all, to which nobody should answer.
    ///
    /// # Errors
    /// What the client is told.
    pub fn read(octets: &[u8]) -> Option<Result<Self, Refused>> {
        let (kind, rest) = octets.split_first_chunk::<2>()?;
        match u16::from_be_bytes(*kind) {
            opcode::READ if octets.len() <= REQUEST_MAX => Some(Self::read_words(rest)),
            opcode::READ => Some(Err(Refused::ILLEGAL)),
            opcode::WRITE => Some(Err(Refused::READ_ONLY)),
            _ => None,
        }
    }

    fn read_words(octets: &[u8]) -> Result<Self, Refused> {
        let Some((0, octets)) = octets.split_last() else { return Err(Refused::ILLEGAL) };
        let text = std::str::from_utf8(octets).map_err(|_| Refused::ILLEGAL)?;
        let mut words = text.split('\0');
        let (Some(name), Some(mode)) = (words.next(), words.next()) else { return Err(Refused::ILLEGAL) };
        // RFC 1350 §1: netascii would change line ends, and mail is obsolete: no firmware asks for them.
        if name.is_empty() || !mode.eq_ignore_ascii_case("octet") {
            return Err(Refused::ILLEGAL);
        }
        let (mut options, mut seen) = (Options::default(), BTreeSet::new());
        while let Some(key) = words.next() {
            let value = words.next().ok_or(Refused::ILLEGAL)?;
            // RFC 2347 §2: in any case of letters, each once, and one that a server does not know is left out of its answer.
            let key = key.to_ascii_lowercase();
            let number = value.bytes().all(|octet| octet.is_ascii_digit()).then(|| value.parse::<u64>().ok()).flatten();
            let within =
                |least: u64, most: u64| number.filter(|number| (least..=most).contains(number)).ok_or(Refused::OPTION);
            match key.as_str() {
                "blksize" => options.block_size = u16::try_from(within(8, 65_464)?).ok(),
                "timeout" => options.timeout_s = u8::try_from(within(1, 255)?).ok(),
                "tsize" => options.length = within(0, u64::MAX).map(|_| true)?,
                "windowsize" => options.window = u16::try_from(within(1, 65_535)?).ok(),
                _ => {}
            }
            if !seen.insert(key) {
                return Err(Refused::OPTION);
            }
        }
        Ok(Self { name: name.to_owned(), options })
    }
}

impl Options {
    /// Those that are granted: never more than was asked for (RFC 2348 §2, RFC 7440 §3), the timeout as it is (RFC 2349 §2).
    fn granted(self) -> Self {
        let least = |asked: Option<u16>, most: u16| asked.map(|asked| asked.min(most));
        Self { block_size: least(self.block_size, BLOCK_MAX), window: least(self.window, WINDOW_MAX), ..self }
    }

    /// The packet that says so; `None` when nothing was asked (RFC 2347 §2: then there is no OACK).
    fn octets(self, length: u64) -> Option<Vec<u8>> {
        let all = [
            ("blksize", self.block_size.map(u64::from)),
            ("timeout", self.timeout_s.map(u64::from)),
            ("tsize", self.length.then_some(length)),
            ("windowsize", self.window.map(u64::from)),
        ];
        let mut octets = opcode::OACK.to_be_bytes().to_vec();
        for (key, value) in all {
            if let Some(value) = value {
                octets.extend_from_slice(format!("{key}\0{value}\0").as_bytes());
            }
        }
        (octets.len() > 2).then_some(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn request(words: &[&str]) -> Vec<u8> {
        let mut octets = vec![0, 1];
        for word in words {
            octets.extend_from_slice(word.as_bytes());
            octets.push(0);
        }
        octets
    }

    fn read(words: &[&str]) -> Result<Request, Refused> {
        Request::read(&request(words)).unwrap()
    }

    #[test]
    fn a_request_is_read_as_edk2_sends_it() {
        // Captured: name, mode, tsize 0, blksize 1468, windowsize 4.
        let asked = read(&["snponly.efi", "octet", "tsize", "0", "blksize", "1468", "windowsize", "4"]).unwrap();
        let options = Options { block_size: Some(1_468), length: true, window: Some(4), timeout_s: None };
        assert_eq!(asked, Request { name: "snponly.efi".to_owned(), options });
        assert_eq!(
            options.granted().octets(174_000).unwrap(),
            b"\x00\x06blksize\x001468\x00tsize\x00174000\x00windowsize\x004\x00"
        );
    }

    #[test]
    fn options_are_granted_as_their_rfcs_say() {
        let granted = |words: &[&str]| {
            let octets = read(&[&["f", "OcTeT"], words].concat()).unwrap().options.granted().octets(7)?;
            Some(String::from_utf8_lossy(&octets[2..]).replace('\0', " "))
        };
        // RFC 2347 §2: letters in any case, and an unknown option is left out.
        assert_eq!(granted(&["BLKSIZE", "8", "multicast", ""]).as_deref(), Some("blksize 8 "));
        assert_eq!(granted(&["blksize", "65464"]).as_deref(), Some("blksize 1468 "));
        assert_eq!(granted(&["windowsize", "65535", "timeout", "255"]).as_deref(), Some("timeout 255 windowsize 16 "));
        assert_eq!(granted(&[]), None);
        assert_eq!(granted(&["unknown", "1"]), None, "RFC 2347 §2: without options that are granted there is no OACK");
    }

    #[test]
    fn a_wrong_option_is_error_8() {
        for wrong in [
            ["blksize", "7"],
            ["blksize", "65465"],
            ["blksize", "-8"],
            ["blksize", ""],
            ["timeout", "0"],
            ["timeout", "256"],
            ["windowsize", "0"],
            ["windowsize", "65536"],
            ["tsize", "x"],
            ["blksize", "99999999999999999999999"],
        ] {
            assert_eq!(read(&[&["f", "octet"], &wrong[..]].concat()), Err(Refused::OPTION), "{wrong:?}");
        }
        assert_eq!(read(&["f", "octet", "blksize", "8", "blksize", "8"]), Err(Refused::OPTION));
        assert_eq!(Refused::OPTION.octets()[..4], [0, 5, 0, 8]);
    }

    #[test]
    fn what_is_no_request_to_read_is_refused_or_left_alone() {
        assert_eq!(Request::read(b"\x00\x02f\x00octet\x00"), Some(Err(Refused::READ_ONLY)));
        for illegal in [&["f", "netascii"][..], &["f", "mail"], &["", "octet"], &["f"], &["f", "octet", "blksize"]] {
            assert_eq!(read(illegal), Err(Refused::ILLEGAL), "{illegal:?}");
        }
        assert_eq!(Request::read(b"\x00\x01f\x00octet"), Some(Err(Refused::ILLEGAL)));
        assert_eq!(Request::read(b"\x00\x01\xff\x00octet\x00"), Some(Err(Refused::ILLEGAL)));
        assert_eq!(read(&[&"n".repeat(600), "octet"]), Err(Refused::ILLEGAL));
        // Nobody answers to an answer.
        for none in [
            &b""[..],
            b"\x00",
            b"\x00\x03\x00\x01",
            b"\x00\x04\x00\x00",
            b"\x00\x05\x00\x00\x00",
            b"\x00\x06",
            b"\x01\x01",
        ] {
            assert_eq!(Request::read(none), None, "{none:?}");
        }
    }
}
