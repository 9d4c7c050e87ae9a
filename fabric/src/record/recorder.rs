//! A node that is recorded, or not. Reading is the node's own; whatever changes it goes through a method here, and there is no other way.

use super::log::Log;
use super::{Answer, Begin, Call, Entry, FORM, Octets, Page, Place, Sent, Written};
use crate::api::Refusal;
use crate::config::NodeConfig;
use crate::node::{Happened, Input, KeptEntry, Lease, Node, Output, Refused};
use crate::{drain, vip};
use bytes::{Bytes, BytesMut};
use std::net::SocketAddr;
use std::ops::Deref;
use weft_bgp::peer::Beats;
use weft_bgp::rtr;
use weft_bgp::speaker::{self, FibChange, MonitorConfig, Progress, TimeToLive};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{ConnId, IfIndex, IpNet};

/// A node. The methods are those of [`Node`].
#[derive(Debug)]
pub struct Recorder {
    node: Node,
    log: Option<Log>,
    /// Nothing was left to be done, and nothing has happened since.
    is_idle: bool,
}

impl Deref for Recorder {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Recorder {
    /// A node that is recorded from its first moment on if its configuration says so.
    #[must_use]
    pub fn new(config: NodeConfig, now: Instant) -> Self {
        let mut log = config.record_octets.map(|most| Log::new(config.speaker.seed, most));
        if let Some(log) = &mut log {
            let begin = Begin {
                form: FORM,
                weft: env!("CARGO_PKG_VERSION").to_owned(),
                at: now,
                config: Written::of(&config),
                seed: config.speaker.seed,
                restarting: config.speaker.restarting,
            };
            log.write(Some(now), &Entry::Begin(Box::new(begin)));
        }
        Self { node: Node::new(config, now), log, is_idle: false }
    }

    /// A page of the recording, from the place where the one before ended.
    ///
    /// # Errors
    /// When there is none, or not that one any more.
    pub fn page(&self, from: Option<Place>) -> Result<Page, Refusal> {
        let Some(log) = &self.log else {
            let remedy = "write `record: {memory_mb: 16}` in its configuration and `weft upgrade`: the sessions go on";
            return Err(Refusal::new(409, "nothing is recorded: this daemon was not told to at its start", remedy));
        };
        let another = || Refusal::new(410, "another recording has begun: the daemon was started anew", "begin again");
        log.page(from).ok_or_else(another)
    }

    /// Writes a line, where there is a recording that goes on; nothing is made otherwise.
    fn note(&mut self, line: impl FnOnce() -> (Call, Answer)) {
        if let Some(log) = self.log.as_mut().filter(|log| !log.is_over()) {
            let (call, answer) = line();
            self.is_idle = false;
            log.write(call.at(), &Entry::Did(Box::new(call), Box::new(answer)));
        }
    }

    fn told(&mut self, call: impl FnOnce() -> Call) {
        self.note(|| (call(), Answer::Nothing));
    }

    fn sent(&mut self, call: Call, octets: &[u8], more: bool) {
        self.note(|| (call, Answer::Sent(Sent::of(octets), more)));
    }

    /// See [`Node::handle`].
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.told(|| call(now, &input));
        self.node.handle(now, input);
    }

    /// See [`Node::poll`].
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.node.poll();
        // The daemon's loop looks whenever it is awake, also when somebody only asked something. Once is enough.
        if output.is_some() || !self.is_idle {
            self.note(|| (Call::Poll, output.clone().map_or(Answer::Nothing, Answer::Output)));
        }
        self.is_idle = output.is_none();
        output
    }

    /// See [`Node::caller`].
    pub fn caller(&mut self, now: Instant, remote: SocketAddr) -> Option<TimeToLive> {
        let known = self.node.caller(now, remote);
        self.note(|| (Call::Caller { at: now, remote }, Answer::Caller(known)));
        known
    }

    /// See [`Node::poll_control`].
    pub fn poll_control(&mut self, now: Instant, conn: ConnId, buf: &mut BytesMut) {
        let before = buf.len();
        self.node.poll_control(now, conn, buf);
        self.sent(Call::Control { at: now, conn }, buf.get(before..).unwrap_or_default(), false);
    }

    /// See [`Node::poll_transmit`].
    pub fn poll_transmit(&mut self, now: Instant, conn: ConnId, buf: &mut BytesMut, limit: usize) -> bool {
        let before = buf.len();
        let more = self.node.poll_transmit(now, conn, buf, limit);
        self.sent(Call::Transmit { at: now, conn, limit }, buf.get(before..).unwrap_or_default(), more);
        more
    }

    /// See [`Node::poll_fib`].
    pub fn poll_fib(&mut self, max: usize) -> Vec<FibChange> {
        let changes = self.node.poll_fib(max);
        self.note(|| (Call::Fib { max }, Answer::Fib(changes.clone())));
        changes
    }

    /// See [`Node::lease`].
    ///
    /// # Errors
    /// As there.
    pub fn lease(&mut self, now: Instant, lease: Lease) -> Result<(), Refused<'_>> {
        let Self { node, log, is_idle } = self;
        *is_idle = false;
        let call = log.as_ref().map(|_| Call::Lease { at: now, lease: Box::new(lease.clone()) });
        let done = node.lease(now, lease);
        if let (Some(log), Some(call)) = (log, call) {
            log.write(Some(now), &Entry::Did(Box::new(call), Box::new(Answer::Done(done.is_ok()))));
        }
        done
    }

    /// See [`Node::release`].
    ///
    /// # Errors
    /// As there.
    pub fn release(&mut self, now: Instant, owner: &str, prefix: &IpNet) -> Result<(), Refused<'_>> {
        let Self { node, log, is_idle } = self;
        *is_idle = false;
        let done = node.release(now, owner, prefix);
        if let Some(log) = log {
            let call = Call::Release { at: now, owner: owner.to_owned(), prefix: *prefix };
            log.write(Some(now), &Entry::Did(Box::new(call), Box::new(Answer::Done(done.is_ok()))));
        }
        done
    }

    /// See [`Node::release_all`].
    pub fn release_all(&mut self, now: Instant, owner: &str) -> usize {
        let count = self.node.release_all(now, owner);
        self.note(|| (Call::ReleaseAll { at: now, owner: owner.to_owned() }, Answer::Count(count)));
        count
    }

    /// See [`Node::resume_drains`].
    pub fn resume_drains(&mut self, now: Instant, kept: &drain::Kept) {
        self.told(|| Call::ResumeDrains { at: now, kept: kept.clone() });
        self.node.resume_drains(now, kept);
    }

    /// See [`Node::resume_vips`].
    pub fn resume_vips(&mut self, kept: Vec<vip::Kept>) {
        self.told(|| Call::ResumeVips { kept: kept.clone() });
        self.node.resume_vips(kept);
    }

    /// Not recorded: what is shown of the past decides nothing.
    pub fn resume_history(&mut self, kept: Vec<KeptEntry>) {
        self.node.resume_history(kept);
    }

    /// Likewise.
    pub fn note_happened(&mut self, now: Instant, event: Happened) {
        self.node.note_happened(now, event);
    }

    /// Comes with `Input::RollBack`.
    pub fn take_earlier(&mut self) -> Option<Box<NodeConfig>> {
        self.node.take_earlier()
    }

    /// See [`Node::set_caches`].
    pub fn set_caches(&mut self, now: Instant) {
        self.told(|| Call::SetCaches { at: now });
        self.node.set_caches(now);
    }

    /// See [`Node::resume_cache`].
    ///
    /// # Errors
    /// As there.
    pub fn resume_cache(
        &mut self,
        now: Instant,
        cache: usize,
        kept: &rtr::Kept,
        octets: &[u8],
    ) -> Result<(), &'static str> {
        let done = self.node.resume_cache(now, cache, kept, octets);
        self.note(|| {
            let octets = Octets(Bytes::copy_from_slice(octets));
            (Call::ResumeCache { at: now, cache, kept: *kept, octets }, Answer::Done(done.is_ok()))
        });
        done
    }

    /// See [`Node::cache_connected`].
    pub fn cache_connected(&mut self, now: Instant, cache: usize) {
        self.told(|| Call::CacheConnected { at: now, cache });
        self.node.cache_connected(now, cache);
    }

    /// See [`Node::cache_received`].
    pub fn cache_received(&mut self, now: Instant, cache: usize, data: &[u8]) {
        self.told(|| Call::CacheReceived { at: now, cache, octets: Octets(Bytes::copy_from_slice(data)) });
        self.node.cache_received(now, cache, data);
    }

    /// See [`Node::cache_disconnected`].
    pub fn cache_disconnected(&mut self, cache: usize, error: &str) -> Duration {
        let wait = self.node.cache_disconnected(cache, error);
        self.note(|| (Call::CacheDisconnected { cache, error: error.to_owned() }, Answer::Wait(wait)));
        wait
    }

    /// See [`Node::poll_cache`].
    pub fn poll_cache(&mut self, cache: usize) -> (BytesMut, bool) {
        let (octets, close) = self.node.poll_cache(cache);
        if close || !octets.is_empty() || !self.is_idle {
            self.sent(Call::PollCache { cache }, &octets, close);
        }
        (octets, close)
    }

    /// See [`Node::open_monitor`].
    pub fn open_monitor(&mut self, now: Instant, id: u32, config: MonitorConfig) {
        self.told(|| Call::OpenMonitor { at: now, id, config: config.clone() });
        self.node.open_monitor(now, id, config);
    }

    /// See [`Node::close_monitor`].
    pub fn close_monitor(&mut self, id: u32) {
        self.told(|| Call::CloseMonitor { id });
        self.node.close_monitor(id);
    }

    /// See [`Node::poll_monitor`].
    pub fn poll_monitor(&mut self, now: Instant, id: u32, buf: &mut BytesMut, limit: usize) -> Progress {
        let before = buf.len();
        let progress = self.node.poll_monitor(now, id, buf, limit);
        let more = progress == Progress::More;
        self.sent(Call::PollMonitor { at: now, id, limit }, buf.get(before..).unwrap_or_default(), more);
        progress
    }
}

/// Quiet time of simulations. What happens in it is no call that could be written: a node that is recorded has none.
impl Recorder {
    /// See [`Node::quiet_until`].
    #[must_use]
    pub fn quiet_until(&self) -> Option<Instant> {
        if self.log.is_some() { None } else { self.node.quiet_until() }
    }

    /// See [`Node::keep_alive`].
    pub fn keep_alive(&mut self, until: Instant, sent: impl FnMut(usize, Instant)) {
        self.node.keep_alive(until, sent);
    }

    /// See [`Node::exchanged`].
    pub fn exchanged(&mut self, all: impl Iterator<Item = (ConnId, Beats)>) {
        self.node.exchanged(all);
    }

    /// See [`Node::advertise`].
    pub fn advertise(&mut self, until: Instant, sent: impl FnMut(IfIndex, Instant)) {
        self.node.advertise(until, sent);
    }
}

/// How an input is written.
fn call(at: Instant, input: &Input) -> Call {
    if let Input::Bgp(speaker::Input::Received { conn, data }) = input {
        Call::Received { at, conn: *conn, octets: Octets(data.clone()) }
    } else if let Input::Reload(to) = input {
        Call::Reload { at, to: Box::new(Written::of(to)), within: None }
    } else if let Input::Try(to, within) = input {
        Call::Reload { at, to: Box::new(Written::of(to)), within: Some(*within) }
    } else if let Input::RollBack(_) = input {
        Call::RollBack { at }
    } else {
        Call::Handle { at, input: Box::new(input.clone()) }
    }
}
