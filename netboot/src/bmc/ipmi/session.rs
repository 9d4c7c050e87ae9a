//! A session with a controller, and dialogues on it, one at a time.
//!
//! ```text
//!   nothing ─ capabilities ─▶ open (suite 17, then 3) ─ RAKP 1, 2 ─▶ RAKP 3, 4 ─▶ active: privilege, then what is asked
//!     no answer: sent again, as often as RETRIES has times; within a session that was idle: once more in a new session
//! ```
//!
//! Times count from any moment. A lost answer makes a command be sent again: nothing that is sent here does more when it is done twice.

mod handshake;

use super::chassis::{self, BOOT_FLAGS, KEEP_FLAGS};
use super::packet::{self, Command, Heard};
use super::suite::{Keys, Suite};
use super::{PASSWORD_MAX, USER_MAX};
use crate::bmc::redfish::{Goal, Outcome};
use crate::bmc::{Boot, BootFrom, Power, Reading, Trouble};
use handshake::Handshake;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// How long an answer is waited for, first and each time after it was sent again.
const RETRIES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// Packets behind the newest one that may still come: the window of a session (§6.12).
const WINDOW: u32 = 16;
/// Application commands: §22.13, §22.18, §22.19.
const CAPABILITIES: Command = Command { net_fn: 0x06, number: 0x38 };
const PRIVILEGE: Command = Command { net_fn: 0x06, number: 0x3b };
const CLOSE: Command = Command { net_fn: 0x06, number: 0x3c };
/// Privilege level "administrator": what firmware boots is for nobody less (appendix G).
const ADMINISTRATOR: u8 = 0x04;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this datagram.
    Send(Vec<u8>),
    /// Hand in what comes; nothing else before this time.
    Wait(Duration),
    /// It is over.
    End(Result<Outcome, Trouble>),
}

/// What is known of a controller, and what it is asked now.
pub struct Session {
    user: String,
    password: Vec<u8>,
    phase: Phase,
    goal: Goal,
    /// What is still to be asked within the session.
    commands: VecDeque<Asked>,
    /// When the last datagram was sent, if its answer has not come; how often it was.
    sent: Option<(Duration, usize)>,
    /// Number of the last message: six bits.
    number: u8,
    /// Whether the session was there before this dialogue, so that the controller may have forgotten it.
    was_open: bool,
    power: Option<Power>,
    boot: Option<Boot>,
    end: Option<Result<Outcome, Trouble>>,
}

#[derive(Debug)]
enum Phase {
    Nothing,
    Making(Handshake),
    Active(Active),
}

/// A session that both sides agreed on.
#[derive(Debug)]
struct Active {
    keys: Keys,
    /// Our number of it, and the controller's.
    own: u32,
    theirs: u32,
    sequence: u32,
    heard: Window,
}

/// Which packets have come.
#[derive(Debug, Default)]
struct Window {
    newest: u32,
    /// One bit for each before it.
    before: u32,
}

impl Window {
    /// Whether this one is new, and not too old; it has come then.
    fn take(&mut self, sequence: u32) -> bool {
        if sequence > self.newest {
            let by = sequence - self.newest;
            let moved = self.before.checked_shl(by).unwrap_or_default();
            // The newest of before is behind now.
            let last = 1_u32.checked_shl(by - 1).filter(|_| self.newest > 0).unwrap_or_default();
            (self.newest, self.before) = (sequence, moved | last);
            return true;
        }
        let behind = self.newest - sequence;
        if sequence == 0 || behind == 0 || behind > WINDOW {
            return false;
        }
        let bit = 1 << (behind - 1);
        let is_new = self.before & bit == 0;
        self.before |= bit;
        is_new
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Privilege,
    Status,
    Flags,
    Control(u8),
    Keep,
    Set([u8; 6]),
    Close,
}

impl Asked {
    fn request(self, theirs: u32) -> (Command, Vec<u8>) {
        match self {
            Self::Privilege => (PRIVILEGE, vec![ADMINISTRATOR]),
            Self::Status => (chassis::STATUS, Vec::new()),
            Self::Flags => (chassis::GET_BOOT, BOOT_FLAGS.to_vec()),
            Self::Control(what) => (chassis::CONTROL, vec![what]),
            Self::Keep => (chassis::SET_BOOT, KEEP_FLAGS.to_vec()),
            Self::Set(flags) => (chassis::SET_BOOT, flags.to_vec()),
            Self::Close => (CLOSE, theirs.to_le_bytes().to_vec()),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("user", &self.user).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Session {
    /// None yet, for this user.
    ///
    /// # Errors
    /// Names and passwords that IPMI cannot say.
    pub fn new(user: &str, password: &str) -> Result<Self, Trouble> {
        if user.len() > USER_MAX || password.len() > PASSWORD_MAX {
            let why = format!("{user}: IPMI takes names of {USER_MAX} octets and passwords of {PASSWORD_MAX} at most");
            return Err(Trouble::Credentials(why));
        }
        Ok(Self {
            user: user.to_owned(),
            password: password.as_bytes().to_vec(),
            phase: Phase::Nothing,
            goal: Goal::Read,
            commands: VecDeque::new(),
            sent: None,
            number: 0,
            was_open: false,
            power: None,
            boot: None,
            end: Some(Ok(Outcome::Done)),
        })
    }

    /// Whether the controller holds a session for us.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Active(_))
    }

    /// Whether it is a session of this user with this password.
    #[must_use]
    pub fn is_of(&self, user: &str, password: &str) -> bool {
        self.user == user && self.password == password.as_bytes()
    }

    /// Begins a dialogue; what was under way is over.
    pub fn begin(&mut self, goal: Goal) {
        (self.power, self.boot, self.sent, self.end) = (None, None, None, None);
        self.was_open = self.is_open();
        if let Phase::Making(_) = self.phase {
            self.phase = Phase::Nothing;
        }
        if goal == Goal::Leave && !self.was_open {
            self.end = Some(Ok(Outcome::Done));
        }
        if let Goal::Boot(boot) = &goal
            && let Err(trouble) = chassis::flags(boot)
        {
            self.end = Some(Err(trouble));
        }
        self.goal = goal;
        self.plan();
    }

    /// What the dialogue asks within a session.
    fn plan(&mut self) {
        self.commands.clear();
        if !self.is_open() {
            self.commands.push_back(Asked::Privilege);
        }
        match &self.goal {
            Goal::Read => self.commands.extend([Asked::Status, Asked::Flags]),
            Goal::Press(press) => self.commands.push_back(Asked::Control(chassis::control(*press))),
            Goal::Boot(boot) => {
                self.commands.push_back(Asked::Keep);
                self.commands.extend(chassis::flags(boot).ok().map(Asked::Set));
                self.commands.extend([Asked::Status, Asked::Flags]);
            }
            Goal::Leave => self.commands.push_back(Asked::Close),
        }
    }

    /// What to do now; `fresh` are random octets that were never handed in before.
    pub fn poll(&mut self, now: Duration, fresh: [u8; 16]) -> Step {
        if self.end.is_none() {
            match self.sent {
                Some((at, times)) => {
                    let until = at + RETRIES[times.min(RETRIES.len()) - 1];
                    if now < until {
                        return Step::Wait(until);
                    }
                    self.on_silence(times);
                }
                None => self.number = (self.number + 1) & 0x3f,
            }
        }
        if let Some(end) = &self.end {
            return Step::End(end.clone());
        }
        let Some(datagram) = self.datagram(fresh) else {
            let end = self.outcome();
            self.end = Some(end.clone());
            return Step::End(end);
        };
        self.sent = Some((now, self.sent.map_or(1, |(_, times)| times + 1)));
        Step::Send(datagram)
    }

    fn on_silence(&mut self, times: usize) {
        if times < RETRIES.len() {
            return;
        }
        if self.was_open && self.goal != Goal::Leave {
            // A controller that began anew drops packets of sessions that it does not know.
            (self.was_open, self.phase, self.sent) = (false, Phase::Nothing, None);
            self.plan();
            return;
        }
        let what = match &self.phase {
            Phase::Nothing => "to any word of IPMI",
            Phase::Making(_) => "while a session of IPMI was made",
            Phase::Active(_) => "within a session of IPMI",
        };
        self.phase = Phase::Nothing;
        self.end = Some(Err(Trouble::Silent(format!("no answer {what}, asked {times} times"))));
    }

    /// What [`Step::Send`] said had to wait for its turn, and went now: its answer is waited for from now on.
    pub fn sent(&mut self, now: Duration) {
        if let Some((at, _)) = &mut self.sent {
            *at = now;
        }
    }

    /// The next datagram, or that of before once more; `None` when nothing is left to ask.
    fn datagram(&mut self, fresh: [u8; 16]) -> Option<Vec<u8>> {
        match &mut self.phase {
            // Channel "this one", with the data of IPMI 2.0 (bit 7).
            Phase::Nothing => Some(packet::plain(&packet::request(CAPABILITIES, self.number, &[0x8e, ADMINISTRATOR]))),
            Phase::Making(handshake) => Some(handshake.datagram(self.number, &self.user, &self.password, fresh)),
            Phase::Active(active) => {
                let (command, data) = self.commands.front()?.request(active.theirs);
                active.sequence = active.sequence.checked_add(1).unwrap_or(1);
                let message = packet::request(command, self.number, &data);
                Some(packet::sealed(&active.keys, active.theirs, active.sequence, &message, fresh))
            }
        }
    }

    /// What it came to when everything was answered.
    fn outcome(&self) -> Result<Outcome, Trouble> {
        let reading = || match self.power {
            Some(power) => Ok(Reading { power, boot: self.boot.clone(), model: String::new() }),
            None => Err(Trouble::Refused("it says no power state".to_owned())),
        };
        match &self.goal {
            Goal::Read => reading().map(Outcome::Read),
            Goal::Press(_) | Goal::Leave => Ok(Outcome::Done),
            Goal::Boot(wanted) => {
                let is = self.boot.as_ref();
                let once = |is: &Boot| wanted.from == BootFrom::None || is.once == wanted.once;
                if is.is_some_and(|is| is.from == wanted.from && once(is)) {
                    return reading().map(Outcome::Read);
                }
                let is = is.map_or("nothing", |is| is.from.name());
                Err(Trouble::Refused(format!("it took the change, and still says that firmware boots {is}")))
            }
        }
    }

    /// A datagram from the controller's address. What is no answer to the last question changes nothing.
    pub fn handle(&mut self, datagram: &[u8]) {
        if self.sent.is_none() || self.end.is_some() {
            return;
        }
        let keys = match &self.phase {
            Phase::Active(active) => Some((&active.keys, active.own)),
            Phase::Nothing | Phase::Making(_) => None,
        };
        let Some(heard) = packet::read(datagram, keys) else { return };
        match (&mut self.phase, heard) {
            (Phase::Nothing, Heard::Plain(message)) => {
                if let Some((code, data)) = packet::answer(&message, CAPABILITIES, self.number) {
                    self.on_capabilities(code, data);
                }
            }
            (Phase::Making(handshake), Heard::Setup(kind, payload)) => {
                let heard = handshake.handle(self.number, kind, &payload, &self.user, &self.password);
                self.on_handshake(heard);
            }
            (Phase::Active(active), Heard::Sealed { sequence, message }) => {
                let Some(asked) = self.commands.front().copied().filter(|_| active.heard.take(sequence)) else {
                    return;
                };
                let (command, _) = asked.request(active.theirs);
                if let Some((code, data)) = packet::answer(&message, command, self.number) {
                    self.on_answer(asked, code, data);
                }
            }
            (Phase::Nothing | Phase::Making(_) | Phase::Active(_), _) => {}
        }
    }

    fn on_capabilities(&mut self, code: u8, data: &[u8]) {
        // Bit 7 of the second octet: what follows is of IPMI 2.0; bit 1 of the fourth: it is spoken here.
        let speaks = data.get(1).is_some_and(|octet| octet & 0x80 != 0) && data.get(3).is_some_and(|two| two & 2 != 0);
        if code != 0 || !speaks {
            self.fails(Trouble::Unsupported("no IPMI 2.0, and older sessions are not protected".to_owned()));
            return;
        }
        self.sent = None;
        self.phase = Phase::Making(Handshake::new(Suite::Sha256));
    }

    fn on_handshake(&mut self, heard: handshake::Heard) {
        match heard {
            handshake::Heard::Nothing => {}
            handshake::Heard::Next => self.sent = None,
            handshake::Heard::OtherSuite(Suite::Sha256) => {
                self.sent = None;
                self.phase = Phase::Making(Handshake::new(Suite::Sha1));
            }
            handshake::Heard::OtherSuite(Suite::Sha1) => {
                self.fails(Trouble::Unsupported("it knows neither cipher suite 17 nor 3 of IPMI".to_owned()));
            }
            handshake::Heard::Failed(trouble) => self.fails(trouble),
            handshake::Heard::Made { keys, own, theirs } => {
                self.sent = None;
                self.phase = Phase::Active(Active { keys, own, theirs, sequence: 0, heard: Window::default() });
            }
        }
    }

    fn fails(&mut self, trouble: Trouble) {
        if !self.is_open() {
            self.phase = Phase::Nothing;
        }
        self.end = Some(Err(trouble));
    }

    fn on_answer(&mut self, asked: Asked, code: u8, data: &[u8]) {
        // Busy, out of time, out of room: sent again when its time comes (§5.2).
        if matches!(code, 0xc0 | 0xc3 | 0xc4) {
            return;
        }
        let optional = matches!(asked, Asked::Flags | Asked::Keep | Asked::Close);
        if code != 0 && !optional {
            self.fails(refusal(asked, code));
            return;
        }
        match asked {
            Asked::Status => self.power = chassis::power(data),
            Asked::Flags if code == 0 => self.boot = chassis::boot(data),
            Asked::Close => self.phase = Phase::Nothing,
            Asked::Privilege | Asked::Flags | Asked::Control(_) | Asked::Keep | Asked::Set(_) => {}
        }
        self.sent = None;
        self.commands.pop_front();
        if asked == Asked::Close {
            self.end = Some(Ok(Outcome::Done));
        }
    }
}

/// Completion codes (§5.2, table 5-2; §22.18; §28.12).
fn refusal(asked: Asked, code: u8) -> Trouble {
    let what = match asked {
        Asked::Privilege => "privilege",
        Asked::Status => "power state",
        Asked::Control(_) => "power",
        Asked::Flags | Asked::Keep | Asked::Set(_) => "boot flags",
        Asked::Close => "end of the session",
    };
    let unknown = matches!(code, 0xc1 | 0xc2 | 0xc9 | 0xcc) || (code == 0x80 && matches!(asked, Asked::Set(_)));
    match (asked, code) {
        (Asked::Privilege, 0x80 | 0x81) | (_, 0xd4) => {
            Trouble::Refused(format!("{what}: the user is no administrator (completion code {code:#04x})"))
        }
        _ if unknown => Trouble::Unsupported(format!("{what}: unknown there (completion code {code:#04x})")),
        _ => Trouble::Refused(format!("{what}: completion code {code:#04x}")),
    }
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
