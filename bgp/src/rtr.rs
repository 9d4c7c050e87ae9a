//! The RPKI to Router protocol, the router's side (RFC 8210; RFC 6810 where a cache knows no more): one client for each cache, from
//! octets to a set of VRPs. Knows no socket: whoever owns it connects, hands over what comes, and sends what [`Client::poll_transmit`]
//! yields.
//!
//! ```text
//!            connected: Serial or Reset Query        Cache Response       End of Data
//! Idle ───────────────────────────────────▶ Asked ───────────────▶ Reading ───────▶ Resting ──(Notify, refresh)──▶ Asked
//!   └──────────────────────── lost, an error: VRPs stay until they expire ◀──────────────┘
//! ```

mod keep;
mod pdu;

pub use keep::Kept;
pub use pdu::{ErrorCode, Pdu};

use crate::rpki::{Vrp, Vrps};
use crate::time::{Duration, Instant};
use crate::types::IpNet;
use bytes::BytesMut;
use pdu::{Next, PduFault};
use std::collections::BTreeMap;

/// Most VRPs of one cache: three times what all trust anchors had in 2024. A cache that has more is refused.
pub const VRPS_MAX: usize = 2_000_000;
/// Changed prefixes remembered one by one; beyond, everything counts as changed.
pub(crate) const CHANGED_MAX: usize = 64;
/// A cache that does not answer a query for so long is as good as gone.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The three timers of End of Data (RFC 8210 §6), seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Between queries: 1..=86,400.
    pub refresh_s: u32,
    /// Between attempts: 1..=7,200.
    pub retry_s: u32,
    /// Life of the data: 600..=172,800, more than the other two.
    pub expire_s: u32,
}

impl Default for Timers {
    /// RFC 8210 §6.
    fn default() -> Self {
        Self { refresh_s: 3_600, retry_s: 600, expire_s: 7_200 }
    }
}

impl Timers {
    /// What a cache may say (RFC 8210 §6); beyond, the nearest that is allowed.
    fn clamped(self) -> Self {
        let (refresh_s, retry_s) = (self.refresh_s.clamp(1, 86_400), self.retry_s.clamp(1, 7_200));
        let expire_s = self.expire_s.clamp(600, 172_800).max(refresh_s.max(retry_s).saturating_add(1));
        Self { refresh_s, retry_s, expire_s }
    }
}

#[derive(Debug)]
enum State {
    /// No connection.
    Idle,
    /// A query was sent.
    Asked { until: Instant },
    /// The cache answers.
    Reading { until: Instant, answer: Answer },
    /// Everything is known; ask again then.
    Resting { refresh_at: Instant },
}

/// What a cache sends between Cache Response and End of Data: nothing of it counts before (RFC 8210 §5.8).
#[derive(Debug)]
enum Answer {
    /// To a Reset Query.
    All(Box<Vrps>),
    /// To a Serial Query: there from now on, or not.
    Changes(BTreeMap<Vrp, bool>),
}

/// Which prefixes may have another validity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// These, and what is below them.
    Prefixes(Vec<IpNet>),
    /// Any.
    Everything,
}

/// How a client is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `idle`, `asked`, `reading` or `established`.
    pub state: &'static str,
    /// Protocol version in use.
    pub version: u8,
    /// Session id and serial number of the data.
    pub session: Option<(u16, u32)>,
    /// VRPs in use: IPv4, IPv6.
    pub vrps: [usize; 2],
    /// When the data expires.
    pub expires_at: Option<Instant>,
    /// PDUs received.
    pub received: u64,
    /// Why the last connection ended.
    pub last_error: Option<String>,
}

/// The client of one cache.
#[derive(Debug)]
pub struct Client {
    version: u8,
    state: State,
    session: Option<u16>,
    serial: u32,
    vrps: Vrps,
    timers: Timers,
    expires_at: Option<Instant>,
    input: BytesMut,
    out: BytesMut,
    /// The connection is to be closed, once what is in `out` was sent.
    close: bool,
    changed: Option<Changed>,
    received: u64,
    last_error: Option<String>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            version: 1,
            state: State::Idle,
            session: None,
            serial: 0,
            vrps: Vrps::default(),
            timers: Timers::default(),
            expires_at: None,
            input: BytesMut::new(),
            out: BytesMut::new(),
            close: false,
            changed: None,
            received: 0,
            last_error: None,
        }
    }
}

impl Client {
    /// The connection stands.
    pub fn connected(&mut self, now: Instant) {
        self.input.clear();
        self.out.clear();
        self.close = false;
        self.ask(now);
    }

    /// The connection is over, or could not be made.
    pub fn disconnected(&mut self, error: &str) {
        if !matches!(self.state, State::Idle) || self.last_error.is_none() {
            self.last_error.get_or_insert_with(|| error.to_owned());
        }
        self.state = State::Idle;
        self.input = BytesMut::new();
    }

    /// Octets came, in any split.
    pub fn received(&mut self, now: Instant, data: &[u8]) {
        if self.close {
            return;
        }
        self.input.extend_from_slice(data);
        while !self.close {
            match pdu::next(&mut self.input) {
                Next::Pdu(version, pdu) => {
                    self.received += 1;
                    if let Err(fault) = self.on_pdu(now, version, pdu) {
                        self.fail(&fault);
                    }
                }
                Next::Fault(fault) => self.fail(&fault),
                Next::More => return,
            }
        }
    }

    /// A deadline passed.
    pub fn tick(&mut self, now: Instant) {
        if self.expires_at.take_if(|at| *at <= now).is_some() {
            // RFC 8210 §6: what is older must not be used.
            self.flush();
        }
        match self.state {
            State::Resting { refresh_at } if refresh_at <= now => self.ask(now),
            State::Asked { until } | State::Reading { until, .. } if until <= now => {
                self.last_error = Some(format!("no answer within {} s", ANSWER_LIMIT.as_secs()));
                self.end();
            }
            State::Idle | State::Asked { .. } | State::Reading { .. } | State::Resting { .. } => {}
        }
    }

    /// When to call with `tick`.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let own = match self.state {
            State::Idle => None,
            State::Asked { until } | State::Reading { until, .. } => Some(until),
            State::Resting { refresh_at } => Some(refresh_at),
        };
        own.into_iter().chain(self.expires_at).min()
    }

    /// Octets to send; true: close the connection behind them.
    pub fn poll_transmit(&mut self) -> (BytesMut, bool) {
        (self.out.split(), self.close)
    }

    /// How long to wait before the next connection (RFC 8210 §6).
    #[must_use]
    pub const fn retry(&self) -> Duration {
        // Without data there is nothing to be patient for.
        if self.expires_at.is_none() { Duration::from_secs(5) } else { Duration::from_secs(self.timers.retry_s as u64) }
    }

    /// What changed since this was asked.
    pub fn take_changed(&mut self) -> Option<Changed> {
        self.changed.take()
    }

    /// The data, if it may be used.
    #[must_use]
    pub fn vrps(&self) -> Option<&Vrps> {
        self.expires_at.map(|_| &self.vrps)
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            state: match self.state {
                State::Idle => "idle",
                State::Asked { .. } => "asked",
                State::Reading { .. } => "reading",
                State::Resting { .. } => "established",
            },
            version: self.version,
            session: self.session.map(|session| (session, self.serial)),
            vrps: self.vrps.len(),
            expires_at: self.expires_at,
            received: self.received,
            last_error: self.last_error.clone(),
        }
    }

    /// RFC 8210 §8.1, §8.2: what changed since the serial number that we have, or everything.
    fn ask(&mut self, now: Instant) {
        match self.session {
            Some(session) => pdu::put_serial_query(&mut self.out, self.version, session, self.serial),
            None => pdu::put_reset_query(&mut self.out, self.version),
        }
        self.state = State::Asked { until: now + ANSWER_LIMIT };
    }

    fn on_pdu(&mut self, now: Instant, version: u8, pdu: Pdu) -> Result<(), PduFault> {
        if let Pdu::ErrorReport { code, text } = pdu {
            // RFC 8210 §5.11: never answered.
            self.on_error(version, code, &text);
            return Ok(());
        }
        self.check_version(version, &pdu)?;
        match pdu {
            Pdu::SerialNotify { session, serial } => self.on_notify(now, session, serial),
            Pdu::CacheResponse { session } => self.on_response(now, session),
            Pdu::Prefix { announce, vrp } => self.on_prefix(announce, vrp),
            Pdu::EndOfData { session, serial, timers } => self.on_end(now, session, serial, timers),
            Pdu::CacheReset => {
                // RFC 8210 §8.3: it cannot say what changed.
                if !matches!(self.state, State::Asked { .. }) || self.session.is_none() {
                    return Err(PduFault::new(ErrorCode::CorruptData, "Cache Reset answers no query"));
                }
                self.session = None;
                self.ask(now);
                Ok(())
            }
            // RFC 8210 §5.10: keys of routers are for others.
            Pdu::RouterKey => Ok(()),
            Pdu::ErrorReport { .. } => Ok(()),
        }
    }

    /// RFC 8210 §7: a cache that answers the first query in version 0 knows no more; later the version does not change.
    fn check_version(&mut self, version: u8, pdu: &Pdu) -> Result<(), PduFault> {
        if version == self.version {
            return Ok(());
        }
        let first = matches!(pdu, Pdu::CacheResponse { .. }) && matches!(self.state, State::Asked { .. });
        if version == 0 && first && self.session.is_none() {
            self.version = 0;
            return Ok(());
        }
        // RFC 8210 §7: a notify that comes before the version is agreed is ignored.
        if matches!(pdu, Pdu::SerialNotify { .. }) && matches!(self.state, State::Asked { .. }) {
            return Ok(());
        }
        Err(PduFault::new(ErrorCode::UnexpectedVersion, "the protocol version changed"))
    }

    fn on_notify(&mut self, now: Instant, session: u16, serial: u32) -> Result<(), PduFault> {
        // RFC 8210 §8.2: ignored while a query is under way; its answer has the newest data.
        if !matches!(self.state, State::Resting { .. }) {
            return Ok(());
        }
        self.check_session(session)?;
        if serial != self.serial {
            self.ask(now);
        }
        Ok(())
    }

    /// RFC 8210 §5.1: another session id means that the cache began anew, and that what we have of it is worth nothing.
    fn check_session(&mut self, session: u16) -> Result<(), PduFault> {
        if self.session.is_none_or(|known| known == session) {
            return Ok(());
        }
        self.flush();
        Err(PduFault::new(ErrorCode::CorruptData, "the session id changed"))
    }

    fn on_response(&mut self, now: Instant, session: u16) -> Result<(), PduFault> {
        if !matches!(self.state, State::Asked { .. }) {
            return Err(PduFault::new(ErrorCode::CorruptData, "Cache Response answers no query"));
        }
        self.check_session(session)?;
        let answer = match self.session {
            None => Answer::All(Box::default()),
            Some(_) => Answer::Changes(BTreeMap::new()),
        };
        self.session = Some(session);
        self.state = State::Reading { until: now + ANSWER_LIMIT, answer };
        Ok(())
    }

    /// RFC 8210 §5.6, §5.7, §12: what is announced must be new, what is withdrawn must be there.
    fn on_prefix(&mut self, announce: bool, vrp: Vrp) -> Result<(), PduFault> {
        let State::Reading { answer, .. } = &mut self.state else {
            return Err(PduFault::new(ErrorCode::CorruptData, "a prefix outside of an answer"));
        };
        let duplicate = Err(PduFault::new(ErrorCode::DuplicateAnnouncement, "the record is there already"));
        let unknown = Err(PduFault::new(ErrorCode::UnknownWithdrawal, "there is no such record"));
        let total = match answer {
            Answer::All(vrps) => {
                if !announce && !vrps.remove(&vrp) {
                    return unknown;
                }
                if announce && !vrps.insert(&vrp) {
                    return duplicate;
                }
                vrps.len().iter().sum()
            }
            Answer::Changes(changes) => {
                let is_there = changes.get(&vrp).copied().unwrap_or_else(|| self.vrps.contains(&vrp));
                if announce == is_there {
                    return if announce { duplicate } else { unknown };
                }
                changes.insert(vrp, announce);
                self.vrps.len().iter().sum::<usize>() + changes.len()
            }
        };
        if total > VRPS_MAX {
            return Err(PduFault::new(ErrorCode::InternalError, "more records than this router takes"));
        }
        Ok(())
    }

    fn on_end(&mut self, now: Instant, session: u16, serial: u32, timers: Option<Timers>) -> Result<(), PduFault> {
        if !matches!(self.state, State::Reading { .. }) {
            return Err(PduFault::new(ErrorCode::CorruptData, "End of Data outside of an answer"));
        }
        self.check_session(session)?;
        self.timers = timers.unwrap_or_default().clamped();
        let refresh_at = now + Duration::from_secs(u64::from(self.timers.refresh_s));
        if let State::Reading { answer, .. } = std::mem::replace(&mut self.state, State::Resting { refresh_at }) {
            self.apply(answer);
        }
        self.serial = serial;
        self.expires_at = Some(now + Duration::from_secs(u64::from(self.timers.expire_s)));
        self.last_error = None;
        Ok(())
    }

    fn apply(&mut self, answer: Answer) {
        match answer {
            Answer::All(vrps) => {
                self.vrps = *vrps;
                self.changed = Some(Changed::Everything);
            }
            Answer::Changes(changes) => {
                for (vrp, is_there) in &changes {
                    if *is_there {
                        self.vrps.insert(vrp);
                    } else {
                        self.vrps.remove(vrp);
                    }
                }
                self.note_changed(changes.into_keys().map(|vrp| vrp.prefix));
            }
        }
    }

    fn note_changed(&mut self, prefixes: impl Iterator<Item = IpNet>) {
        let mut prefixes = prefixes.peekable();
        if prefixes.peek().is_none() {
            return;
        }
        let mut all = match self.changed.take() {
            Some(Changed::Everything) => {
                self.changed = Some(Changed::Everything);
                return;
            }
            Some(Changed::Prefixes(all)) => all,
            None => Vec::new(),
        };
        all.extend(prefixes);
        all.dedup();
        self.changed = Some(if all.len() > CHANGED_MAX { Changed::Everything } else { Changed::Prefixes(all) });
    }

    /// Forgets what the cache told.
    fn flush(&mut self) {
        self.session = None;
        self.expires_at = None;
        if !self.vrps.is_empty() {
            self.vrps = Vrps::default();
            self.changed = Some(Changed::Everything);
        }
    }

    /// RFC 8210 §12: an error ends the connection; the data stays until it expires.
    fn on_error(&mut self, version: u8, code: u16, text: &str) {
        let name = ErrorCode::name(code);
        self.last_error = Some(if text.is_empty() { name.to_owned() } else { format!("{name}: {text}") });
        if code == ErrorCode::UnsupportedVersion as u16 && version < self.version {
            // RFC 8210 §7: once more in the version that it knows.
            self.version = version;
            self.session = None;
        }
        self.end();
    }

    /// Something was wrong: says so, and ends the connection.
    fn fail(&mut self, fault: &PduFault) {
        self.last_error = Some(format!("sent {}: {}", ErrorCode::name(fault.code as u16), fault.text));
        pdu::put_error(&mut self.out, self.version, fault);
        self.end();
    }

    fn end(&mut self) {
        self.close = true;
        self.state = State::Idle;
        self.input = BytesMut::new();
    }
}
