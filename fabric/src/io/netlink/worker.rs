//! The thread: hears the kernel first, then the daemon, then does one batch, and so on; a dump when one is due.

mod behind;
mod dump;
mod relay;

use super::bursts::Bursts;
use super::compat::Compat;
use super::links::{self, Links};
use super::request::Requests;
use super::watch::{Note, Watch};
use super::{Command, Event, wire};
use crate::config::FibConfig;
use crate::fib::{Dump, Fib, FibDiff, FibReport, Hint, Op, Refusal};
use crate::io::clock::{self, Clock};
use crate::io::place;
use relay::Courier;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use tokio::sync::mpsc::Sender;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IpNet;

/// Operations per send: sixteen already give all there is to gain, and a link that goes down waits for one batch at most.
const BATCH: usize = 128;
/// Operations that are decided on at once: so many batches go to the kernel one after another without a pause.
const MANY: usize = 32 * BATCH;
/// After so many operations without a pause, routes are not listened to: that costs up to half of the time.
const BURST: usize = 2_048;
/// What counts as a pause. It ends a burst: routes are listened to again, and a dump says what was missed.
const PAUSE: Duration = Duration::from_millis(50);
/// A burst that lasts longer is no table that arrives but a network that does not rest: doubts no longer wait for its end.
const BURST_LONGEST: Duration = Duration::from_secs(10);
/// How long a periodic dump may be away.
const DUMP_PERIOD: Duration = Duration::from_secs(30);
/// How long a doubt waits for its like.
const DUMP_DELAY: Duration = Duration::from_millis(40);
/// A dump may take one part in this of the thread's time.
const DUMP_SHARE: u32 = 20;
/// How soon a failed dump is tried again.
const DUMP_RETRY: Duration = Duration::from_millis(200);
/// How soon an event that did not fit is offered again.
const EVENT_RETRY: Duration = Duration::from_millis(2);
/// How soon an address that was refused is asked for again; twice as long each time.
const ADDRESS_RETRY: Duration = Duration::from_millis(100);
/// And no longer than this.
const ADDRESS_RETRY_MAX: Duration = Duration::from_secs(10);
/// Rounds of work and dump at the end: one removes, one confirms, the others are for disturbances.
const LAST_ROUNDS: u32 = 4;

#[derive(Debug)]
pub(super) struct Worker {
    clock: Clock,
    fib: Fib,
    requests: Requests,
    watch: Watch,
    commands: Receiver<Command>,
    wake: Arc<OwnedFd>,
    /// Commands that came while a dump or a burst was under way, in order.
    put_off: VecDeque<Command>,
    compat: Compat,
    /// While there is a burst.
    courier: Option<Courier>,
    /// Told when one is long enough that nobody should listen to routes, and when it ends.
    bursts: Bursts,
    /// Operations since the last pause, since when, and when the next one will be long enough.
    burst: usize,
    burst_since: Instant,
    pause_at: Option<Instant>,
    /// Addresses on the loopback interface that are ours.
    addresses: BTreeSet<IpNet>,
    /// Addresses of an earlier run that nobody has asked for yet.
    left_addresses: BTreeSet<IpNet>,
    /// Addresses that the kernel refused: when each is asked for again, and the pause before that.
    refused_addresses: BTreeMap<IpNet, (Instant, Duration)>,
    /// Notifications were lost: when links are to be listed again.
    list_at: Option<Instant>,
    dump_at: Instant,
    /// No dump before this, so that dumps of a large table do not eat the thread.
    dump_not_before: Instant,
    /// The last operations: nobody follows links or commands any more, so nothing may wait for that.
    is_ending: bool,
}

impl Worker {
    pub(super) fn new(
        config: &FibConfig,
        (commands, wake): (Receiver<Command>, Arc<OwnedFd>),
        bursts: Bursts,
        events: Sender<Event>,
    ) -> io::Result<Self> {
        let mut requests = Requests::open()?;
        if config.install && requests.probe() == Err(Refusal::Forbidden) {
            let message = "no permission to change the kernel's routes: give the daemon CAP_NET_ADMIN in this network namespace, \
                           or write `fib: {install: false}`";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let clock = Clock::start();
        let watch = Watch::open(config, requests.port(), events)?;
        let mut worker = Self {
            clock,
            fib: Fib::new(config.clone(), clock::seed()),
            requests,
            watch,
            commands,
            wake,
            put_off: VecDeque::new(),
            compat: Compat::default(),
            courier: None,
            bursts,
            burst: 0,
            burst_since: Instant::ZERO,
            pause_at: None,
            addresses: BTreeSet::new(),
            left_addresses: BTreeSet::new(),
            refused_addresses: BTreeMap::new(),
            list_at: None,
            dump_at: Instant::ZERO + DUMP_PERIOD,
            dump_not_before: Instant::ZERO,
            is_ending: false,
        };
        // Listening began first: whatever changes from here on is heard.
        worker.watch.links = worker.list_links()?;
        for link in worker.watch.links.usable().collect::<Vec<_>>() {
            worker.fib.set_link(link, true);
        }
        if worker.watch.hear_ports() {
            worker.list_learnt();
        }
        if config.install {
            let dump = worker.dump()?;
            worker.compat.follow(config.nexthop_compat, dump != Dump::default());
            worker.fib.compare(dump);
            (worker.watch.health.dumps, worker.watch.health.dumped_at) = (1, Some(clock.now()));
            worker.left_addresses = worker.watch.links.all_marked(config.protocol).collect();
        }
        worker.watch.deliver(clock.now());
        Ok(worker)
    }

    pub(super) fn run(mut self) {
        place::be_prompt();
        loop {
            self.watch.read(self.clock.now());
            self.watch.undamp(self.clock.now());
            self.follow_notes();
            if let Some((keep, done)) = self.obey() {
                self.finish(keep);
                self.watch.deliver(self.clock.now());
                // Nobody may be waiting.
                let _ = done.map(|done| done.send(()));
                return;
            }
            self.list_if_due();
            self.retry_addresses();
            let busy = self.work();
            self.dump_if_due();
            self.watch.deliver(self.clock.now());
            if !busy && self.put_off.is_empty() {
                self.sleep();
            }
        }
    }

    /// Waits for the kernel, for the daemon, or for the next deadline.
    fn sleep(&self) {
        let now = self.clock.now();
        let events = self.watch.next_timeout().map(|at| at.max(now + EVENT_RETRY));
        let timeout = self.next_timeout().into_iter().chain(events).min().map(|at| at.since(now));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds =
            [PollFd::from_borrowed_fd(self.watch.fd(), PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        // An interrupted wait is a short wait.
        let _ = poll(&mut fds, timeout.as_ref());
        let mut counter = [0; 8];
        let _ = rustix::io::read(self.wake.as_fd(), &mut counter);
    }

    /// When something is to be done, whatever is heard until then; delivering events is not part of it.
    fn next_timeout(&self) -> Option<Instant> {
        let dump = Some(self.dump_due_at()).filter(|_| self.fib.config().install);
        let address = self.refused_addresses.values().map(|(at, _)| *at).min();
        [dump, self.fib.next_timeout(), self.pause_at, address, self.list_at].into_iter().flatten().min()
    }

    /// Takes commands until there are none or one says to finish.
    fn obey(&mut self) -> Option<(bool, Option<tokio::sync::oneshot::Sender<()>>)> {
        loop {
            let command = match self.put_off.pop_front() {
                Some(command) => command,
                None => match self.commands.try_recv() {
                    Ok(command) => command,
                    Err(TryRecvError::Empty) => return None,
                    Err(TryRecvError::Disconnected) => return Some((true, None)),
                },
            };
            match command {
                Command::Install(changes) => self.fib.want(&changes),
                Command::AddAddress(net) => self.add_address(net),
                Command::RemoveAddress(net) => self.remove_address(net),
                Command::Sweep => self.sweep(),
                Command::SetAlive(member, alive) => self.fib.set_alive(member, alive),
                Command::HoldBack(member, held) => self.fib.hold_back(member, held),
                Command::Reconfigure(config) => self.reconfigure(*config),
                Command::Report(answer) => drop(answer.send(self.report())),
                Command::Diff(answer) => drop(answer.send(self.diff())),
                Command::Route(prefix, answer) => drop(answer.send(self.fib.route(prefix))),
                Command::Finish { keep, done } => return Some((keep, Some(done))),
            }
        }
    }

    fn report(&self) -> FibReport {
        let mut report = self.fib.report();
        report.health = self.watch.health.report(self.clock.now());
        report.health.nexthop_compat_fast = self.compat.is_fast();
        report
    }

    /// What is wanted beside a fresh dump. What the dump shows is mended afterwards, by the next comparison.
    fn diff(&mut self) -> Result<FibDiff, String> {
        let begun = self.clock.now();
        if !self.fib.config().install {
            return Ok(FibDiff::default());
        }
        let dump = self.dump().map_err(|error| error.to_string())?;
        let links = &self.watch.links;
        let mut diff = self.fib.diff(&dump, &|link| links.name(link));
        if !diff.is_clean() {
            self.doubt();
        }
        let took = self.clock.now().since(begun);
        diff.took_ms = took.as_millis().try_into().unwrap_or(u64::MAX);
        Ok(diff)
    }

    fn sweep(&mut self) {
        self.fib.sweep();
        for net in self.left_addresses.clone() {
            self.remove_address(net);
        }
    }

    fn reconfigure(&mut self, config: FibConfig) {
        if self.fib.reconfigure(config) {
            tracing::warn!("fib.install and fib.protocol take effect when the daemon is started again");
        }
        if self.fib.config().install {
            self.compat.follow(self.fib.config().nexthop_compat, false);
        }
        self.watch.reconfigure(self.fib.config());
        self.doubt();
    }

    fn follow_notes(&mut self) {
        while let Some(note) = self.watch.notes.pop_front() {
            self.follow_note(note);
        }
    }

    fn follow_note(&mut self, note: Note) {
        match note {
            Note::Link(link, usable) => {
                self.fib.set_link(link, usable);
                self.follow_port(link, usable);
            }
            Note::Reached(member) => self.reached(&[member]),
            Note::Bridge => self.list_learnt(),
            Note::Hint(Hint::Doubt) => self.doubt(),
            Note::Hint(hint @ (Hint::NexthopGone(_) | Hint::RouteGone(_) | Hint::RouteFreed(_))) => self.fib.hint(hint),
            Note::AddressAdded => self.fib.retry_all(),
            Note::AddressRemoved(net) => {
                if self.addresses.contains(&net) {
                    self.add_address(net);
                }
            }
            Note::Overrun => self.list_at = Some(Instant::ZERO),
        }
    }

    /// Lists the links again where notifications were lost, until that succeeds.
    fn list_if_due(&mut self) {
        let now = self.clock.now();
        if self.list_at.is_none_or(|at| at > now) {
            return;
        }
        match self.list_links() {
            Ok(links) => {
                self.list_at = None;
                self.watch.replace_links(links, self.clock.now());
                self.follow_notes();
                self.watch.hear_ports();
                self.list_learnt();
            }
            Err(error) => {
                tracing::warn!(%error, "cannot list the links; it is tried again");
                self.list_at = Some(now + DUMP_RETRY);
            }
        }
    }

    fn doubt(&mut self) {
        let soon = (self.clock.now() + DUMP_DELAY).max(self.dump_not_before);
        self.dump_at = self.dump_at.min(soon);
    }

    /// One batch, or many together; whether there was anything to do.
    fn work(&mut self) -> bool {
        let now = self.clock.now();
        let ops = self.fib.next_ops(now, MANY);
        let any = !ops.is_empty();
        self.follow_burst(now, ops.len());
        match ops.len() {
            0 => self.acknowledge(),
            1..=BATCH => self.carry_out(now, &ops),
            _ if self.is_ending => ops.chunks(BATCH).for_each(|batch| self.carry_out(now, batch)),
            _ => self.carry_out_many(now, ops),
        }
        if self.fib.take_dump_request() {
            self.doubt();
        }
        any
    }

    fn carry_out(&mut self, now: Instant, ops: &[Op]) {
        let outcomes = self.requests.batch(ops, self.fib.config().protocol);
        self.follow(now, ops, &outcomes);
    }

    fn follow(&mut self, now: Instant, ops: &[Op], outcomes: &[Result<(), Refusal>]) {
        self.log_failures(ops, outcomes);
        for (op, outcome) in ops.iter().zip(outcomes) {
            self.fib.done(now, op, *outcome);
        }
        self.acknowledge();
    }

    fn acknowledge(&mut self) {
        while let Some(ack) = self.fib.poll_ack() {
            self.watch.acknowledge(ack);
        }
    }

    /// Stops listening to routes in a burst of operations, and begins again after it.
    fn follow_burst(&mut self, now: Instant, ops: usize) {
        if ops > 0 {
            if self.burst == 0 {
                self.burst_since = now;
            }
            self.burst += ops;
            self.pause_at = None;
            if self.burst > BURST && self.watch.hears_routes() {
                self.bursts.set(true);
                self.hear_routes(false);
            }
        } else if self.burst > 0 && *self.pause_at.get_or_insert(now + PAUSE) <= now {
            self.burst = 0;
            self.pause_at = None;
            self.courier = None;
            if !self.watch.hears_routes() {
                self.bursts.set(false);
                self.hear_routes(true);
                self.doubt();
            }
        }
    }

    fn hear_routes(&mut self, hear: bool) {
        if let Err(error) = self.watch.hear_routes(hear) {
            tracing::warn!(%error, "cannot change what netlink tells; dumps will tell");
        }
    }

    fn log_failures(&mut self, ops: &[Op], outcomes: &[Result<(), Refusal>]) {
        let words = self.requests.words.take().unwrap_or_default();
        let mut failed = ops.iter().zip(outcomes).filter_map(|(op, outcome)| Some((op, outcome.err()?)));
        // One line for a batch: thousands may fail for one reason. All of them are in the report.
        let is_news = |reason: &Refusal| !matches!(reason, Refusal::Missing | Refusal::LinkDown);
        if let Some((op, reason)) = failed.find(|(_, reason)| is_news(reason)) {
            let more = failed.count();
            tracing::warn!(?op, %reason, kernel = words, more, "the kernel refused; it is tried again");
        }
    }

    /// A dump in the middle of a burst tells what the one after it tells as well, and keeps routes waiting meanwhile.
    fn dump_due_at(&self) -> Instant {
        let at = self.dump_at.max(self.dump_not_before);
        if self.burst > BURST { at.max(self.burst_since + BURST_LONGEST) } else { at }
    }

    fn dump_if_due(&mut self) {
        let begun = self.clock.now();
        if !self.fib.config().install || begun < self.dump_due_at() {
            return;
        }
        match self.compare() {
            Ok(drift) => {
                let now = self.clock.now();
                let health = &mut self.watch.health;
                (health.dumps, health.last_drift, health.dumped_at) = (health.dumps + 1, drift, Some(now));
                self.dump_at = now + DUMP_PERIOD;
                self.dump_not_before = now + now.since(begun) * DUMP_SHARE;
            }
            Err(error) => {
                tracing::debug!(%error, "dump");
                self.watch.health.failed_dumps += 1;
                self.dump_at = self.clock.now() + DUMP_RETRY;
            }
        }
    }

    fn list_links(&mut self) -> io::Result<Links> {
        let mut links = Links::default();
        for (kind, header) in [(links::RTM_GETLINK, links::LINK_HEADER), (links::RTM_GETADDR, links::ADDR_HEADER)] {
            // What is gone meanwhile is told by a notification, since listening began before: nothing is void.
            let take = |message: Option<&wire::Message<'_>>| {
                if let Some(message) = message {
                    links.take(message.kind, message.payload);
                }
            };
            self.requests.dump(kind, &vec![0; header], take, || ())?;
        }
        Ok(links)
    }

    fn add_address(&mut self, net: IpNet) {
        if self.left_addresses.remove(&net) {
            self.addresses.insert(net);
            return;
        }
        if let Some(outcome) = self.address(links::RTM_NEWADDR, wire::NLM_F_CREATE | wire::NLM_F_EXCL, net) {
            match outcome {
                Ok(()) => {
                    self.addresses.insert(net);
                    self.refused_addresses.remove(&net);
                }
                Err(Refusal::Exists) => {
                    self.refused_addresses.remove(&net);
                    self.watch.read(self.clock.now());
                    if self.watch.links.is_marked(&net, self.fib.config().protocol) {
                        self.addresses.insert(net);
                    }
                }
                Err(reason) => self.address_refused(net, reason),
            }
        }
    }

    fn address_refused(&mut self, net: IpNet, reason: Refusal) {
        let wait = match self.refused_addresses.get(&net) {
            Some((_, wait)) => (*wait * 2).min(ADDRESS_RETRY_MAX),
            None => {
                let kernel = self.requests.words.take().unwrap_or_default();
                tracing::error!(address = %net, %reason, kernel, "cannot put the address on the loopback interface; it is tried again");
                ADDRESS_RETRY
            }
        };
        self.refused_addresses.insert(net, (self.clock.now() + wait, wait));
    }

    fn retry_addresses(&mut self) {
        let now = self.clock.now();
        let due: Vec<IpNet> =
            self.refused_addresses.iter().filter(|(_, (at, _))| *at <= now).map(|(net, _)| *net).collect();
        for net in due {
            self.add_address(net);
        }
    }

    fn remove_address(&mut self, net: IpNet) {
        self.refused_addresses.remove(&net);
        if !self.addresses.remove(&net) && !self.left_addresses.remove(&net) {
            return;
        }
        match self.address(links::RTM_DELADDR, 0, net) {
            // EADDRNOTAVAIL: gone already.
            None | Some(Ok(()) | Err(Refusal::Missing | Refusal::Other(libc::EADDRNOTAVAIL))) => {}
            Some(Err(reason)) => {
                tracing::warn!(address = %net, %reason, "cannot take the address from the loopback interface");
            }
        }
    }

    fn address(&mut self, kind: u16, flags: u16, net: IpNet) -> Option<Result<(), Refusal>> {
        if !self.fib.config().install {
            return None;
        }
        let Some(link) = self.watch.links.loopback() else {
            return Some(Err(Refusal::LinkDown));
        };
        let body = links::address(link, &net, self.fib.config().protocol);
        Some(self.requests.request(kind, flags, &body))
    }

    fn finish(&mut self, keep: bool) {
        if !self.fib.config().install {
            return;
        }
        self.fib.hurry();
        self.is_ending = true;
        if keep {
            while self.work() {}
            self.compat.restore();
            return;
        }
        self.fib.remove_all();
        for _ in 0..LAST_ROUNDS {
            while self.work() {}
            match self.dump() {
                Ok(dump) if dump == Dump::default() => break,
                Ok(dump) => {
                    self.fib.compare(dump);
                }
                Err(error) => tracing::debug!(%error, "dump"),
            }
        }
        let report = self.fib.report();
        if report.routes + report.nexthops + report.groups > 0 {
            tracing::error!(?report, "some of our routes could not be removed");
        }
        for net in &self.addresses | &self.left_addresses {
            self.remove_address(net);
        }
        self.compat.restore();
    }
}
