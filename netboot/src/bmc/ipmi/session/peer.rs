//! A controller that is written from the text alone: its hashes, checks and headers are its own. Tests of the session hand its datagrams over,
//! others give it a port.

use aes::Aes128;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use ring::hmac;

const USER: &[u8] = b"root";
const SIDC: [u8; 4] = [0x11, 0x22, 0x33, 0x44];
const RC: [u8; 16] = [0xc5; 16];
const GUID: [u8; 16] = [0x9d; 16];

/// A controller that knows one suite.
pub(super) struct Peer {
    sha256: bool,
    pub(super) password: Vec<u8>,
    /// What it says that it chose, in place of what was asked.
    pub(super) chooses: Option<u8>,
    sidm: [u8; 4],
    rm: [u8; 16],
    who: Vec<u8>,
    pub(super) k1: Vec<u8>,
    k2: [u8; 16],
    sequence: u32,
    newest: u32,
    pub(super) on: bool,
    pub(super) flags: [u8; 5],
    /// Completion code of everything that is asked, once.
    pub(super) code: u8,
    pub(super) seen: Vec<u8>,
    /// Whether its operating system does not listen.
    pub(super) deaf: bool,
    /// Chassis controls, as they came (table 28-4).
    pub(super) controls: Vec<u8>,
}

impl Peer {
    pub(super) fn new(sha256: bool) -> Self {
        let password = b"calvin".to_vec();
        let (sidm, rm, k2) = ([0; 4], [0; 16], [0; 16]);
        let (who, k1, seen) = (Vec::new(), Vec::new(), Vec::new());
        let (chooses, sequence, newest, on, flags, code) = (None, 0, 0, false, [0; 5], 0);
        Self {
            sha256,
            password,
            chooses,
            sidm,
            rm,
            who,
            k1,
            k2,
            sequence,
            newest,
            on,
            flags,
            code,
            seen,
            deaf: false,
            controls: Vec::new(),
        }
    }

    fn hash(&self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let algorithm = if self.sha256 { hmac::HMAC_SHA256 } else { hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY };
        hmac::sign(&hmac::Key::new(algorithm, key), &parts.concat()).as_ref().to_vec()
    }

    const fn short(&self) -> usize {
        if self.sha256 { 16 } else { 12 }
    }

    fn setup(kind: u8, payload: &[u8]) -> Vec<u8> {
        let head = [6, 0, 0xff, 7, 6, kind, 0, 0, 0, 0, 0, 0, 0, 0, u8::try_from(payload.len()).unwrap(), 0];
        [&head[..], payload].concat()
    }

    fn message(request: &[u8], code: u8, data: &[u8]) -> Vec<u8> {
        let sum = |octets: &[u8]| 0_u8.wrapping_sub(octets.iter().fold(0, |all, one| all.wrapping_add(*one)));
        let head = [0x81, request[1] | 0x04];
        let body = [&[0x20, request[4], request[5], code], data].concat();
        [&head[..], &[sum(&head)], &body, &[sum(&body)]].concat()
    }

    /// The octets of a datagram that came, by their places in table 13-8, §13.17 and §13.20 to §13.24.
    pub(super) fn hear(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        self.seen.push(datagram[5]);
        assert_eq!(datagram[..4], [6, 0, 0xff, 7]);
        if datagram[4] == 0 {
            let message = Self::message(&datagram[14..], 0, &[1, 0x80, 0x04, 0x02, 0, 0, 0, 0]);
            let head = [6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
            return Some([&head[..], &message].concat());
        }
        let (tag, payload) = (datagram[16], &datagram[16..]);
        match datagram[5] {
            0x10 => {
                let wanted: [u8; 3] = if self.sha256 { [3, 4, 1] } else { [1, 1, 1] };
                self.sidm = payload[4..8].try_into().unwrap();
                if [payload[12], payload[20], payload[28]] != wanted {
                    return Some(Self::setup(0x11, &[&[tag, 0x11, 0, 0][..], &self.sidm].concat()));
                }
                let mut records = payload[8..32].to_vec();
                records[4] = self.chooses.unwrap_or(records[4]);
                Some(Self::setup(0x11, &[&[tag, 0, 4, 0][..], &self.sidm, &SIDC, &records].concat()))
            }
            0x12 => {
                if payload[4..8] != SIDC {
                    return None;
                }
                self.rm = payload[8..24].try_into().unwrap();
                self.who = [&payload[24..25], &payload[27..]].concat();
                assert_eq!(self.who, [&[0x14, 4][..], USER].concat());
                let code = self.hash(&self.password, &[&self.sidm, &SIDC, &self.rm, &RC, &GUID, &self.who]);
                Some(Self::setup(0x13, &[&[tag, 0, 0, 0][..], &self.sidm, &RC, &GUID, &code].concat()))
            }
            0x14 => {
                let code = self.hash(&self.password, &[&RC, &self.sidm, &self.who]);
                assert_eq!(payload[8..], code, "RAKP 3");
                let sik = self.hash(&self.password, &[&self.rm, &RC, &self.who]);
                self.k1 = self.hash(&sik, &[&[1; 20]]);
                self.k2 = self.hash(&sik, &[&[2; 20]])[..16].try_into().unwrap();
                (self.sequence, self.newest) = (0, 0);
                let check = self.hash(&sik, &[&self.rm, &SIDC, &GUID]);
                Some(Self::setup(0x15, &[&[tag, 0, 0, 0][..], &self.sidm, &check[..self.short()]].concat()))
            }
            0xc0 => self.sealed(datagram),
            other => panic!("payload {other:#x}"),
        }
    }

    fn sealed(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        if self.k1.is_empty() || datagram[6..10] != SIDC {
            return None;
        }
        let (checked, check) = datagram.split_at(datagram.len() - self.short());
        assert_eq!(self.hash(&self.k1, &[&checked[4..]])[..self.short()], *check);
        assert_eq!((checked.len() - 4) % 4, 0);
        let sequence = u32::from_le_bytes(datagram[10..14].try_into().unwrap());
        assert!(sequence > self.newest, "each packet has a number of its own");
        self.newest = sequence;
        let length = usize::from(datagram[14]);
        let mut vector: [u8; 16] = datagram[16..32].try_into().unwrap();
        let mut plain = Vec::new();
        let mut aes = cbc::Decryptor::<Aes128>::new(&self.k2.into(), &vector.into());
        for block in datagram[32..16 + length].chunks(16) {
            let mut block = <[u8; 16]>::try_from(block).unwrap().into();
            aes.decrypt_block(&mut block);
            plain.extend_from_slice(&block);
        }
        let padding = usize::from(*plain.last()?);
        let message = plain[..plain.len() - 1 - padding].to_vec();
        let (code, data) = self.obey(message[1] >> 2, message[5], &message[6..message.len() - 1]);
        let mut plain = Self::message(&message, code, &data);
        let padding = 15 - plain.len() % 16;
        plain.extend((1..=padding).chain([padding]).map(|one| u8::try_from(one).unwrap()));
        vector[0] ^= 0xff;
        let mut aes = cbc::Encryptor::<Aes128>::new(&self.k2.into(), &vector.into());
        let mut payload = vector.to_vec();
        for block in plain.chunks(16) {
            let mut block = <[u8; 16]>::try_from(block).unwrap().into();
            aes.encrypt_block(&mut block);
            payload.extend_from_slice(&block);
        }
        self.sequence += 1;
        let length = [u8::try_from(payload.len()).unwrap(), 0];
        // 12 octets of head, whole blocks, 2 octets of end: two of padding.
        let end = [0xff, 0xff, 2, 7];
        let body = [&[6, 0xc0][..], &self.sidm, &self.sequence.to_le_bytes(), &length, &payload, &end].concat();
        let check = self.hash(&self.k1, &[&body]);
        if message[1] >> 2 == 6 && message[5] == 0x3c {
            self.k1.clear();
        }
        Some([&[6, 0, 0xff, 7][..], &body, &check[..self.short()]].concat())
    }

    fn obey(&mut self, net_fn: u8, command: u8, data: &[u8]) -> (u8, Vec<u8>) {
        let code = std::mem::take(&mut self.code);
        if code != 0 {
            return (code, Vec::new());
        }
        match (net_fn, command) {
            (6, 0x3b) => (0, vec![data[0]]),
            (6, 0x3c) => {
                assert_eq!(data, SIDC);
                (0, Vec::new())
            }
            (0, 0x01) => (0, vec![u8::from(self.on), 0, 0]),
            (0, 0x02) => {
                self.controls.push(data[0]);
                self.on = data[0] == 1 || (self.on && self.deaf && data[0] == 5);
                (0, Vec::new())
            }
            (0, 0x08) if data[0] == 5 => {
                self.flags = data[1..].try_into().unwrap();
                (0, Vec::new())
            }
            // It knows no other parameter.
            (0, 0x08) => (0x80, Vec::new()),
            (0, 0x09) => (0, [&[1, 5][..], &self.flags].concat()),
            _ => (0xc1, Vec::new()),
        }
    }
}
