//! The making of a session (§13.17 to §13.24): open, RAKP 1 to 4. Both sides show that they know the password, and neither says it.
//!
//! Names are those of the text: `rm` and `rc` are the random numbers of console and controller, `sidm` and `sidc` their numbers of the session.

use super::super::packet;
use super::super::suite::{Keys, Suite, same};
use super::ADMINISTRATOR;
use crate::bmc::Trouble;

/// Types of payloads (table 13-16).
const OPEN_REQUEST: u8 = 0x10;
const OPEN_RESPONSE: u8 = 0x11;
const RAKP_1: u8 = 0x12;
const RAKP_2: u8 = 0x13;
const RAKP_3: u8 = 0x14;
const RAKP_4: u8 = 0x15;
/// Privilege, and that the user is looked up by his name alone (§13.20).
const ROLE: u8 = 0x10 | ADMINISTRATOR;

/// A session that is being made.
#[derive(Debug)]
pub(super) struct Handshake {
    suite: Suite,
    sidm: u32,
    at: At,
}

#[derive(Clone, Debug)]
enum At {
    Open,
    Rakp1 { sidc: u32, rm: Option<[u8; 16]> },
    Rakp3 { sidc: u32, rm: [u8; 16], rc: [u8; 16], guid: [u8; 16] },
}

/// What an answer came to.
#[derive(Debug)]
pub(super) enum Heard {
    /// It was no answer.
    Nothing,
    /// The next question can go.
    Next,
    /// It does not know this suite.
    OtherSuite(Suite),
    /// There will be no session.
    Failed(Trouble),
    /// There is one.
    Made { keys: Keys, own: u32, theirs: u32 },
}

impl Handshake {
    pub(super) const fn new(suite: Suite) -> Self {
        Self { suite, sidm: 0, at: At::Open }
    }

    /// The next question; the same one when it is sent again.
    pub(super) fn datagram(&mut self, tag: u8, user: &str, password: &[u8], fresh: [u8; 16]) -> Vec<u8> {
        match &mut self.at {
            At::Open => {
                if self.sidm == 0 {
                    let [one, two, three, four, ..] = fresh;
                    // Zero means no session.
                    self.sidm = u32::from_le_bytes([one, two, three, four]).max(1);
                }
                packet::setup(OPEN_REQUEST, &open(self.suite, tag, self.sidm))
            }
            At::Rakp1 { sidc, rm } => {
                let rm = *rm.get_or_insert(fresh);
                let mut payload = vec![tag, 0, 0, 0];
                payload.extend(sidc.to_le_bytes());
                payload.extend(rm);
                payload.extend([ROLE, 0, 0]);
                payload.extend(name(user));
                packet::setup(RAKP_1, &payload)
            }
            At::Rakp3 { sidc, rc, .. } => {
                let parts: [&[u8]; 4] = [rc, &self.sidm.to_le_bytes(), &[ROLE], &name(user)];
                let mut payload = vec![tag, 0, 0, 0];
                payload.extend(sidc.to_le_bytes());
                payload.extend(self.suite.code(password, &parts));
                packet::setup(RAKP_3, &payload)
            }
        }
    }

    pub(super) fn handle(&mut self, tag: u8, kind: u8, payload: &[u8], user: &str, password: &[u8]) -> Heard {
        let Some(([its_tag, status], rest)) = payload.split_first_chunk::<2>() else { return Heard::Nothing };
        let expected = match self.at {
            At::Open => OPEN_RESPONSE,
            At::Rakp1 { .. } => RAKP_2,
            At::Rakp3 { .. } => RAKP_4,
        };
        // Octets 4 to 7 are our number of the session, in every answer; with a status some controllers say nothing behind it.
        let ours = rest.get(2..6).map_or(*status != 0, |sidm| *sidm == self.sidm.to_le_bytes());
        if *its_tag != tag || kind != expected || !ours {
            return Heard::Nothing;
        }
        if *status != 0 {
            return self.on_status(*status, user);
        }
        let body = rest.get(6..).unwrap_or_default();
        let heard = match self.at.clone() {
            At::Open => self.on_open(body),
            At::Rakp1 { sidc, rm: Some(rm) } => self.on_rakp_2(body, sidc, rm, user, password),
            At::Rakp1 { rm: None, .. } => None,
            At::Rakp3 { sidc, rm, rc, guid } => self.on_rakp_4(body, (sidc, rm, rc, guid), user, password),
        };
        heard.unwrap_or(Heard::Nothing)
    }

    /// It must have taken what was offered, and nothing weaker.
    fn on_open(&mut self, body: &[u8]) -> Option<Heard> {
        let (sidc, algorithms) = body.split_first_chunk::<4>()?;
        let taken = [algorithms.get(4)?, algorithms.get(12)?, algorithms.get(20)?].map(|octet| octet & 0x3f);
        let sidc = u32::from_le_bytes(*sidc);
        if taken != self.suite.numbers() || sidc == 0 {
            let why = format!("it chose algorithms {taken:?} of IPMI where {:?} were asked for", self.suite.numbers());
            return Some(Heard::Failed(Trouble::Unsupported(why)));
        }
        self.at = At::Rakp1 { sidc, rm: None };
        Some(Heard::Next)
    }

    fn on_rakp_2(&mut self, body: &[u8], sidc: u32, rm: [u8; 16], user: &str, password: &[u8]) -> Option<Heard> {
        let (rc, rest) = body.split_first_chunk::<16>()?;
        let (guid, code) = rest.split_first_chunk::<16>()?;
        let (sidm, sidc_octets) = (self.sidm.to_le_bytes(), sidc.to_le_bytes());
        let parts: [&[u8]; 7] = [&sidm, &sidc_octets, &rm, rc, guid, &[ROLE], &name(user)];
        if !same(&self.suite.code(password, &parts), code) {
            // Whoever answered knows another password than ours.
            return Some(Heard::Failed(Trouble::Credentials(user.to_owned())));
        }
        self.at = At::Rakp3 { sidc, rm, rc: *rc, guid: *guid };
        Some(Heard::Next)
    }

    fn on_rakp_4(
        &self,
        check: &[u8],
        (sidc, rm, rc, guid): (u32, [u8; 16], [u8; 16], [u8; 16]),
        user: &str,
        password: &[u8],
    ) -> Option<Heard> {
        // K_G is not set: the user's key is in its place (§13.33).
        let sik = self.suite.code(password, &[&rm, &rc, &[ROLE], &name(user)]);
        let mut expected = self.suite.code(&sik, &[&rm, &sidc.to_le_bytes(), &guid]);
        expected.truncate(self.suite.check_length());
        // Anybody can send a wrong one; the right one may still come.
        same(&expected, check).then(|| Heard::Made { keys: Keys::new(self.suite, &sik), own: self.sidm, theirs: sidc })
    }

    /// Status codes (table 13-15).
    fn on_status(&self, status: u8, user: &str) -> Heard {
        let credentials = || Heard::Failed(Trouble::Credentials(user.to_owned()));
        match status {
            0x04..=0x07 | 0x10 | 0x11 if matches!(self.at, At::Open) => Heard::OtherSuite(self.suite),
            0x01 | 0x0b => Heard::Failed(Trouble::Refused("all its sessions of IPMI are taken".to_owned())),
            0x09 | 0x0a => Heard::Failed(Trouble::Credentials(format!("{user}, who is no administrator by IPMI"))),
            0x0c | 0x0d | 0x0f => credentials(),
            other => {
                let why = format!("it makes no session of IPMI: status {other:#04x}");
                Heard::Failed(Trouble::Refused(why))
            }
        }
    }
}

/// A name with its length.
fn name(user: &str) -> Vec<u8> {
    let mut octets = vec![u8::try_from(user.len()).unwrap_or_default()];
    octets.extend(user.as_bytes());
    octets
}

/// Open session (§13.17): one record for each of authentication, integrity, confidentiality.
fn open(suite: Suite, tag: u8, sidm: u32) -> Vec<u8> {
    let mut payload = vec![tag, ADMINISTRATOR, 0, 0];
    payload.extend(sidm.to_le_bytes());
    for (kind, number) in (0_u8..).zip(suite.numbers()) {
        payload.extend([kind, 0, 0, 8, number, 0, 0, 0]);
    }
    payload
}
