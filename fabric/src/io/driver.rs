//! The daemon: one loop that owns the [`Node`](crate::node::Node), and around it sockets, the kernel's thread, the API and signals, which all speak to
//! it over bounded channels. Whatever happens becomes one `handle`; then every output is carried out before the next thing is heard.
//!
//! ```text
//! timer ───────┐
//! sockets ─────┤                      ┌──▶ Conns: dial, close, write
//! discovery ───┼──▶ Node::handle ─────┼──▶ Discovery: RA, RS
//! kernel ──────┤      (this loop)     ├──▶ Kernel: routes in batches, addresses
//! API, signals ┘                      └──▶ log
//! ```

mod aloud;
mod ask;
mod drain;
mod foresee;
mod leases;
mod life;
mod start;
mod tell;
mod upgrade;

use super::auth::Keys;
use super::bfd::{self, Detector};
use super::check::Checks;
use super::clock::{self, Clock};
use super::dhcp;
use super::discovery::Discovery;
use super::http::{self, Ask, Changed};
use super::listen::Listeners;
use super::lldp::Ears;
use super::netlink::{self, Handle, Kernel};
use super::observe::{self, Observers};
use super::rtr::{self, Caches};
use super::sandbox::Sandbox;
use super::tcp::{Conns, Dial, Ready, WRITE_BYTES};
use crate::bfd::{Cause, State};
use crate::config::{NodeConfig, OnSigterm};
use crate::fib::FibReport;
use crate::node::{Happened, Imported, Input, Output};
use crate::pace::Pace;
use crate::record::Recorder;
use crate::vip;
use anyhow::Context as _;
use foresee::Changing;
pub use start::run;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use upgrade::{Early, Rehearsed, Upgrade};
use weft_bgp::event::Event;
use weft_bgp::speaker::{self, ForeignRoute};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::ConnId;

/// Changes in one batch for the kernel: few enough that the thread which writes takes one in while the kernel has work.
const BATCH: usize = 512;
/// Batches under way: some are being written while the others wait.
const BATCHES: usize = 16;
/// Tasks that have a turn before sockets are looked at again. A turn of the daemon's own takes milliseconds while a table arrives: with
/// the usual 61, whoever calls waits for as many of them (k1 of the bench: 55 ms, with this 7).
const EVENT_INTERVAL: u32 = 1;
/// How long routes wait at most while there is more to read: what arrived together is told together. Where nothing more has arrived
/// they do not wait at all, and control messages never do.
const HEAR_FIRST: Duration = Duration::from_millis(20);
/// How long routes are told before others are heard again.
const WRITE_SLICE: Duration = Duration::from_millis(2);
/// Questions of the API waiting for their turn.
const ASKS: usize = 64;

/// Changes of other software's routes that wait for the loop, in pieces; more of them are merged.
const IMPORTS: usize = 2;

/// Pictures of the routes of others that wait for the loop.
const PICTURES: usize = 2;

/// How the daemon is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Close without a word, keep routes and addresses: a new start is meant (RFC 4724).
    Restart,
    /// Cease, take away all that is ours.
    Stop,
}

/// What the other threads answered to a question that needed it.
#[derive(Debug, Default)]
struct Counts {
    fib: Option<FibReport>,
    bfd: Option<bfd::Report>,
}

/// Everything that speaks to the loop.
#[derive(Debug)]
struct Sources {
    ready: mpsc::Receiver<Ready>,
    kernel: mpsc::Receiver<netlink::Event>,
    heard: mpsc::Receiver<Input>,
    lldp: mpsc::Receiver<Input>,
    checked: mpsc::Receiver<vip::Input>,
    imported: mpsc::Receiver<Imported>,
    foreign: mpsc::Receiver<Vec<ForeignRoute>>,
    observed: mpsc::Receiver<observe::Event>,
    validated: mpsc::Receiver<rtr::Event>,
    asks: mpsc::Receiver<Ask>,
    counted: mpsc::Receiver<(Ask, Counts)>,
    detected: mpsc::Receiver<crate::bfd::Notice>,
    rehearsed: mpsc::Receiver<Rehearsed>,
    term: Signal,
    int: Signal,
    hup: Signal,
}

#[derive(Debug)]
struct Daemon {
    path: PathBuf,
    clock: Clock,
    node: Recorder,
    conns: Conns,
    keys: Keys,
    listeners: Listeners,
    discovery: Discovery,
    ears: Ears,
    relay: dhcp::Sockets,
    checks: Checks,
    /// Told by the thread that reads other software's routes; it is there while there are rules.
    imports: mpsc::Sender<Imported>,
    import: Option<Handle>,
    /// How often it was started.
    import_run: u64,
    /// Looks at the routes of others while next hops may be reached by them.
    foreign: Option<Handle>,
    kernel: Kernel,
    detector: Detector,
    observers: Observers,
    caches: Caches,
    sources: Sources,
    server: http::Server,
    /// Questions for which the kernel's thread was asked come back here.
    counted: mpsc::Sender<(Ask, Counts)>,
    /// Since when somebody waits for a turn to send.
    waiting: Option<Instant>,
    /// The batches that the kernel has not acknowledged, and how long others took.
    pace: Pace,
    /// The node has changes for the kernel.
    fib_ready: bool,
    /// What an earlier run left in the kernel goes as soon as the kernel holds what is wanted now.
    sweep: bool,
    changing: Changing,
    draining: drain::Draining,
    upgrade: Upgrade,
    sandbox: Sandbox,
    /// When code that only a start, a reload or a question needs is let go.
    let_go_at: Option<Instant>,
    ending: Option<Ending>,
}

impl Daemon {
    async fn start(path: &Path, read: start::Files, early: Early) -> anyhow::Result<Self> {
        let start::Files { node: mut config, keys, certificates } = read;
        let Early { clock, kernel, unstarted, detector, detected, mut taken, sandbox, runner } = early;
        let ((discovery, heard), (ears, lldp)) = (Discovery::new(), Ears::new());
        let ((conns, ready), (mut checks, checked)) = (Conns::new(), Checks::new());
        checks.set_runner(runner)?;
        let ((mut observers, observed), (mut caches, validated)) = (Observers::new(clock.now()), Caches::new());
        let kernel_events = unstarted.start(&config.fib).context("the kernel's routes cannot be managed")?;
        claim(&mut config, &kernel, taken.is_some()).await;
        let ((asked, asks), (counted, counts)) = (mpsc::channel(ASKS), mpsc::channel(ASKS));
        let (imports, imported_events) = mpsc::channel(IMPORTS);
        let server = http::serve(&config.api, (sandbox.group(), certificates), asked)?;
        let mut listeners = upgrade::listeners(&conns, taken.as_mut())?;
        // Before the first peer can call; links come with the kernel's first answer.
        listeners.set_keys(&conns, &keys, &[]);
        let (mut node, draining) = drain::begin(config, clock.now());
        observers.start(&mut node);
        Self::prepare(taken.as_mut(), clock.now(), &mut node, &mut caches);
        let (upgrade, rehearsals) = Upgrade::after(taken);
        let sources = Sources {
            ready,
            kernel: kernel_events,
            heard,
            lldp,
            checked,
            imported: imported_events,
            // Nobody tells anything before it is asked for.
            foreign: mpsc::channel(PICTURES).1,
            observed,
            validated,
            asks,
            counted: counts,
            detected,
            rehearsed: rehearsals,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        };
        Ok(Self {
            path: path.to_owned(),
            clock,
            node,
            conns,
            keys,
            listeners,
            discovery,
            ears,
            relay: dhcp::Sockets::new(),
            checks,
            imports,
            import: None,
            import_run: 0,
            foreign: None,
            kernel,
            detector,
            observers,
            caches,
            sources,
            server,
            counted,
            waiting: None,
            pace: Pace::new().context("histograms")?,
            fib_ready: false,
            sweep: false,
            changing: Changing::default(),
            draining,
            upgrade,
            sandbox,
            let_go_at: Some(clock.now() + life::LET_GO_AFTER),
            ending: None,
        })
    }

    /// Until somebody wants an end.
    async fn live(&mut self) -> Ending {
        loop {
            self.act();
            if let Some(ending) = self.ending {
                return ending;
            }
            self.let_go_if_due();
            self.upgrade_if_due().await;
            let own = self.let_go_at.into_iter().chain(self.upgrade.due_at());
            let timeout = self.node.next_timeout().map(|(at, _)| at).into_iter().chain(own).min();
            // Slices of work are left: one for each thing that is heard meanwhile, so that neither waits for all of the other.
            let has_work = timeout == Some(Instant::ZERO);
            let timeout = timeout.filter(|_| !has_work).map(|at| self.clock.deadline(at));
            tokio::select! {
                // Timers first: what a peer sends in abundance must not starve anybody's keepalive.
                biased;
                () = sleep_until(timeout) => self.tick(),
                Some(notice) = self.sources.detected.recv() => self.on_detected(notice),
                Some(event) = self.sources.kernel.recv() => self.on_kernel(event),
                Some(input) = self.sources.heard.recv() => self.handle(input),
                Some(input) = self.sources.lldp.recv() => self.on_lldp(input),
                Some(imported) = self.sources.imported.recv() => self.on_imported(imported),
                Some(routes) = self.sources.foreign.recv() => self.handle(Input::ForeignRoutes(routes)),
                Some(input) = self.sources.checked.recv() => self.handle(Input::Vip(input)),
                Some(event) = self.sources.observed.recv() => {
                    self.observers.on_event(self.clock.now(), &mut self.node, event);
                }
                Some(event) = self.sources.validated.recv() => {
                    self.caches.on_event(self.clock.now(), &mut self.node, event);
                }
                _ = self.sources.term.recv() => self.on_sigterm(),
                _ = self.sources.int.recv() => self.on_sigterm(),
                _ = self.sources.hup.recv() => self.on_sighup(),
                Some(ready) = self.sources.ready.recv() => self.on_ready(ready),
                Some(ask) = self.sources.asks.recv() => self.on_ask(ask),
                Some(input) = self.relay.heard.recv() => self.handle(input),
                Some((ask, counts)) = self.sources.counted.recv() => self.on_counted(ask, counts),
                Some(rehearsed) = self.sources.rehearsed.recv() => self.on_rehearsed(rehearsed),
                // Nothing of all that, even after everybody had the chance to say so.
                () = tokio::task::yield_now(), if has_work || self.changing.is_foreseeing() || self.conns.has_turns() => self.write(),
            }
            if has_work {
                self.tick();
            }
            self.foresee_on();
            if self.conns.has_turns() {
                let now = self.clock.now();
                if now >= *self.waiting.get_or_insert(now) + HEAR_FIRST {
                    self.write();
                }
            }
            self.pace.look(self.clock.now(), self.conns.has_turns());
        }
    }

    fn handle(&mut self, input: Input) {
        self.node.handle(self.clock.now(), input);
    }

    /// Carries out everything the node wants.
    fn act(&mut self) {
        while let Some(output) = self.node.poll() {
            match output {
                Output::Bgp(output) => self.on_bgp(output),
                Output::SendRa { link, managed } => self.discovery.advertise(link, managed),
                Output::SendRs { link } => self.discovery.solicit(link),
                Output::RaLinks(links) => self.discovery.watch(&links, self.node.links()),
                Output::LldpLinks(links) => self.ears.watch(&links, self.node.links()),
                Output::DhcpSockets(wanted) => self.relay.watch(wanted.as_ref()),
                Output::KeepLeases => self.keep_leases(),
                Output::Dhcp(output) => self.relay.send(&output),
                Output::Bfd(sessions) => self.detector.want(sessions),
                Output::AddAddress(net) => self.kernel.add_address(net),
                // At the end they go after the routes that prefer them as source, with all the rest that is ours.
                Output::RemoveAddress(_) if self.ending.is_some() => {}
                Output::RemoveAddress(net) => self.kernel.remove_address(net),
                Output::FibReady => self.fib_ready = true,
                Output::Check(order) => self.checks.start(order),
                Output::Event(event) => self.on_event(event),
                Output::Vip(event) => {
                    aloud::log_vip(&event);
                    self.tell_happened(&Happened::Vip(event));
                }
                Output::Drain(event) => self.on_drain(event),
                Output::RollBack => self.roll_back(),
            }
            self.install();
        }
        self.observers.feed(self.clock.now(), &mut self.node);
        self.caches.flush(&mut self.node);
        // Only now it is sure that no change is on its way.
        if self.sweep && self.pace.under_way() == 0 && self.ending.is_none() {
            self.sweep = false;
            self.kernel.sweep();
        }
    }

    /// Hands changes to the kernel's thread, as many as it has room for. At the end the kernel keeps or loses all at once: what ending
    /// sessions leave in the table means nothing.
    fn install(&mut self) {
        if self.ending.is_some() {
            return;
        }
        while self.fib_ready && self.pace.under_way() < BATCHES {
            let changes = self.node.poll_fib(BATCH);
            self.fib_ready = changes.len() == BATCH;
            if self.server.changes.receiver_count() > 0 {
                for change in &changes {
                    let _ = self.server.changes.send(Changed::Route(change.prefix));
                }
            }
            self.tell_routes(&changes);
            if let Some(last) = changes.iter().map(|change| change.seq).max() {
                self.pace.handed(last, self.clock.now());
                self.kernel.install(changes);
            }
        }
    }

    fn on_bgp(&mut self, output: speaker::Output) {
        let now = self.clock.now();
        match output {
            speaker::Output::Connect { conn, remote, local, ttl, .. } => {
                let key = self.keys.of(remote, self.node.links()).cloned();
                self.conns.connect(conn, Dial { remote, local, ttl, key });
            }
            speaker::Output::Close { conn, flush } => {
                let node = &mut self.node;
                self.conns.close(conn, flush, |buf, limit| node.poll_transmit(now, conn, buf, limit));
            }
            speaker::Output::Writable(conn) => {
                // Control messages alone, which are few; routes when it is their turn.
                let node = &mut self.node;
                let over = self.conns.transmit(conn, |buf| {
                    node.poll_control(now, conn, buf);
                    true
                });
                self.after_turn(over);
            }
            speaker::Output::HoldBack { link, addr, held } => {
                self.kernel.hold_back(crate::fib::Member { link, gateway: addr }, held);
            }
            // The node takes these out.
            speaker::Output::Event(_) | speaker::Output::FibReady => {}
        }
    }

    /// Tells routes in turns, until none has more or others are to be heard.
    fn write(&mut self) {
        let start = self.clock.now();
        let mut now = start;
        while now < start + WRITE_SLICE
            && let Some(conn) = self.conns.next_turn()
        {
            self.transmit(now, conn);
            now = self.clock.now();
        }
        self.waiting = self.conns.has_turns().then_some(now);
    }

    fn transmit(&mut self, now: Instant, conn: ConnId) {
        let node = &mut self.node;
        let over = self.conns.transmit(conn, |buf| node.poll_transmit(now, conn, buf, WRITE_BYTES));
        self.after_turn(over);
    }

    fn after_turn(&mut self, over: Option<speaker::Input>) {
        if let Some(input) = over {
            self.handle(Input::Bgp(input));
        }
    }

    fn on_ready(&mut self, ready: Ready) {
        let input = match ready {
            Ready::Dialled(conn, result) => self.conns.on_dialled(conn, result),
            Ready::Accepted(stream, remote) => {
                let known = self.node.caller(self.clock.now(), remote);
                known.and_then(|ttl| self.conns.on_accepted(stream, remote, ttl))
            }
            Ready::Readable(conn) => self.conns.on_readable(conn),
            Ready::Writable(conn) => {
                self.conns.on_writable(conn);
                None
            }
        };
        let Some(input) = input else {
            return;
        };
        let accepted = if let speaker::Input::Accepted { conn, .. } = input { Some(conn) } else { None };
        self.handle(Input::Bgp(input));
        if let Some(early) = accepted.and_then(|conn| self.conns.read_early(conn)) {
            self.handle(Input::Bgp(early));
        }
    }

    /// The kernel knows already.
    fn on_detected(&mut self, notice: crate::bfd::Notice) {
        let peer = self.node.peer_name(notice.peer).unwrap_or_default().to_owned();
        let (state, cause) = (notice.state, notice.cause.text());
        if notice.failure > self.node.bfd_failure(notice.peer) {
            tracing::warn!(peer, %state, cause, retained = notice.keeps, "BFD: path failed");
        } else if matches!(state, State::Up | State::AdminDown) || notice.cause == Cause::NeighborAdminDown {
            tracing::info!(peer, %state, cause, "BFD");
        } else {
            tracing::debug!(peer, %state, cause, "BFD");
        }
        let now = self.clock.now();
        self.node.handle(now, Input::Bfd(notice));
        // What of it is worth the history.
        let newest = self.node.history().next_back().filter(|entry| entry.at == now);
        if let Some(entry) = newest.filter(|entry| matches!(entry.event, Happened::Bfd(_))) {
            self.tell_happened(&entry.event);
        }
    }

    fn on_kernel(&mut self, event: netlink::Event) {
        match event {
            netlink::Event::Links(links) => {
                self.listeners.set_keys(&self.conns, &self.keys, &links);
                aloud::warn_of_duplicates(self.node.links(), &links);
                // Routes may have gone with an address or a link, of which the kernel says nothing.
                self.import.iter().for_each(Handle::doubt);
                self.foreign.iter().for_each(Handle::doubt);
                let before = self.server.events.is_watched().then(|| self.node.links().to_vec());
                self.handle(Input::Links(links));
                self.take_over();
                before.iter().for_each(|before| self.tell_links(before));
            }
            netlink::Event::LinkDown(link) => {
                let before = self.server.events.is_watched().then(|| self.node.links().to_vec());
                self.handle(Input::LinkDown(link));
                before.iter().for_each(|before| self.tell_links(before));
            }
            netlink::Event::Reachable(members) => self.handle(Input::Reachable(members)),
            netlink::Event::Acked { seq, failed } => {
                self.pace.acknowledged(seq, self.clock.now());
                self.tell_refused(&failed);
                self.handle(Input::FibAck { seq, failed });
                self.install();
            }
        }
    }

    /// Says once what is found wrong, and when it is right again.
    fn on_lldp(&mut self, input: Input) {
        let Input::Lldp { link, .. } = input else {
            return;
        };
        let before = self.node.miswired(link);
        self.handle(input);
        match self.node.miswired(link) {
            now if now == before => {}
            Some(wrong) => tracing::error!(link = link.0, "cabling: {wrong}; no session there"),
            None => tracing::info!(link = link.0, "cabling: who is expected is there"),
        }
    }

    fn on_imported(&mut self, imported: Imported) {
        if imported.run == self.import_run {
            self.handle(Input::Imported(imported));
        }
    }

    fn on_event(&mut self, event: Event) {
        self.log_event(&event);
        self.tell_happened(&Happened::Bgp(event));
    }

    /// One line per change.
    fn log_event(&mut self, event: &Event) {
        if !matches!(event, Event::SessionRefused { .. }) {
            // Nobody watches, mostly.
            let _ = self.server.changes.send(Changed::Sessions);
        }
        match event {
            Event::SessionUp { name, asn, .. } => tracing::info!(peer = name, %asn, "session up"),
            Event::SessionDown { name, reason, retained, .. } => {
                tracing::warn!(peer = name, reason, retained, "session down");
            }
            Event::SessionRefused { name, reason, .. } => tracing::debug!(peer = name, reason, "no session"),
            Event::LongLivedStale { name, families, .. } => {
                tracing::warn!(neighbor = %name, ?families, "long-lived stale");
            }
            Event::EndOfRib { peer, family } => tracing::debug!(peer = peer.0, %family, "end of rib"),
            Event::NearMaxPrefixes { name, limit, count, .. } => {
                tracing::warn!(peer = name, limit, count, "near the maximum of prefixes");
            }
            Event::OldPolicy { name, paths, .. } => {
                tracing::warn!(peer = name, paths, "cannot refresh: its routes stay as the old policy left them");
            }
            Event::MaxPrefixes { name, limit, .. } => tracing::error!(peer = name, limit, "too many prefixes"),
            Event::MaxPrefixesOut { name, limit, .. } => {
                tracing::error!(peer = name, limit, "too many prefixes to tell: none of them sent, session ended");
            }
            Event::Converged { cause } => {
                tracing::info!(cause, "converged");
                self.sweep = true;
            }
        }
    }

    fn on_sigterm(&mut self) {
        match self.node.config().on_sigterm {
            OnSigterm::Restart => self.ending = Some(Ending::Restart),
            OnSigterm::Stop => self.ending = Some(Ending::Stop),
            OnSigterm::Drain => self.drain_to_end(),
        }
    }
}

/// What an earlier run left is ours again.
async fn claim(config: &mut NodeConfig, kernel: &Kernel, is_upgrade: bool) {
    // Also the addresses that are there: the rest of them can go.
    config.addresses.iter().for_each(|net| kernel.add_address(*net));
    config.speaker.seed = clock::seed();
    // Its routes are still forwarding: that is what the R and F bits promise (RFC 4724 §3).
    config.speaker.restarting = is_upgrade || kernel.report().await.leftovers > 0;
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
