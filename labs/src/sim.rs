//! A datacenter on virtual time: every node of a topology file is a [`weft_fabric::node::Node`], and what the kernel and the cables
//! would do is done by the simulator. One seed decides latencies, the cutting of byte streams, timers and the order of starts, so a
//! run can be repeated to the last event; nothing here waits, reads a clock or opens a socket.
//!
//! ```text
//! faults ─▶ network (cables, bridges, power) ─▶ who hears whom ──┐
//!                                                                ▼
//!   clock ─▶ event ─▶ Node::handle ─▶ Node::poll ─▶ tcp · discovery · kernel (addresses, Fib) ─▶ later events
//!                                                                │
//!   check ◀─ tables, RIBs ◀─ watch (loops, lost packets) ◀───────┘  after every event that packets can notice
//! ```

mod bfd;
pub mod check;
pub mod clock;
pub mod clos;
pub mod explore;
pub mod fault;
pub mod fib;
mod kernel;
pub mod live;
pub mod network;
pub mod node;
pub mod pipe;
pub mod plan;
mod quiet;
pub mod recording;
pub mod report;
pub mod scenario;
mod tcp;
pub mod trace;
mod view;
pub mod walk;
pub mod watch;

use crate::personality::Personality;
use crate::topology::Topology;
use clock::Queue;
use fault::Fault;
use network::{Network, NodeId, Port};
use node::Machine;
use pipe::{Pipe, PipeId};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use trace::Trace;
use walk::Plane;
use watch::Watch;
use weft_bgp::event::Event as BgpEvent;
use weft_bgp::rng::Rng;
use weft_bgp::speaker;
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{ConnId, IfIndex};
use weft_fabric::bfd::{Heard, Notice};
use weft_fabric::config::{self, NodeConfig};
use weft_fabric::node::{Input, Output};
use weft_fabric::record::Recorder;
use weft_fabric::vip;

/// Events at one instant beyond which a machine is taken to turn in circles.
const STUCK: u32 = 200_000;
/// No message but keepalives for this long is rest. Longer than the hold time, so that a silent death is noticed within it.
const REST: Duration = Duration::from_secs(10);
/// Session events kept for the checks.
const HISTORY: usize = 100_000;

/// What a run may vary beside its seed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Latency of a cable, least and most, microseconds.
    pub latency_us: (u64, u64),
    /// From a wanted change to the kernel's acknowledgement, least and most, microseconds.
    pub install_us: (u64, u64),
    /// From a change of an interface to the daemon's notice, least and most, microseconds.
    pub notice_us: (u64, u64),
    /// Most bytes handed over at once.
    pub chunk_bytes: u64,
    /// What may be on its way in one direction of a connection.
    pub window_bytes: usize,
    /// What is asked of a daemon for one write.
    pub write_bytes: usize,
    /// Within which the daemons start, milliseconds.
    pub start_ms: u64,
    /// Flows and loops are followed through every change.
    pub watches: bool,
    /// Quiet time is passed at once where that comes to the same: see `sim/quiet.rs`.
    pub leaps: bool,
}

impl Settings {
    /// For networks of thousands of nodes: streams come in as large pieces as daemons write them, and only the result is looked at.
    #[must_use]
    pub fn large() -> Self {
        Self { chunk_bytes: 65_536, window_bytes: 65_536, write_bytes: 16_384, watches: false, ..Self::default() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency_us: (5, 500),
            install_us: (50, 5_000),
            notice_us: (50, 3_000),
            chunk_bytes: 200,
            window_bytes: 8_192,
            write_bytes: 1_024,
            start_ms: 1_000,
            watches: true,
            leaps: true,
        }
    }
}

/// What is to happen.
#[derive(Debug)]
enum Event {
    Start(NodeId),
    Wake(NodeId, u32),
    Links(NodeId, u32),
    LinkDown(NodeId, u32, IfIndex),
    Syn(PipeId, u32),
    SynAck(PipeId, Result<(), &'static str>),
    Deliver(PipeId, usize),
    Reset(PipeId, usize),
    Discovery { to: Port, from: Ipv6Addr, solicit: bool },
    Bfd(NodeId, u32, Notice),
    BfdPacket(NodeId, Box<Heard>),
    BfdWake(NodeId, u32),
    Install(NodeId, u32),
    Installed(NodeId, u32, u64),
    Fault(Fault),
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events handled.
    pub events: u64,
    /// BGP messages by type, as in [`weft_bgp::wire::Kind::ALL`].
    pub messages: [u64; 5],
    /// Changes of forwarding tables.
    pub fib_changes: u64,
}

/// A simulated network.
#[derive(Debug)]
pub struct Sim {
    now: Instant,
    rng: Rng,
    settings: Settings,
    queue: Queue<Event>,
    network: Network,
    machines: Vec<Machine>,
    pipes: BTreeMap<PipeId, Pipe>,
    next_pipe: u64,
    same_instant: u32,
    last_activity: Instant,
    counters: Counters,
    events: Vec<(Instant, NodeId, BgpEvent)>,
    /// What happened.
    pub trace: Trace,
    /// Flows and loops, followed through every change.
    pub watch: Watch,
}

impl Sim {
    /// Reads the nodes' configurations as the topology's binds name them.
    ///
    /// # Errors
    /// When one cannot be read or is wrong, as a text for a person.
    pub fn load(topology: &Topology) -> Result<BTreeMap<String, NodeConfig>, String> {
        let mut configs = BTreeMap::new();
        for (name, spec) in &topology.nodes {
            if spec.personality != Personality::Weft {
                return Err(format!("{name} runs {}: the simulator has weft alone", spec.personality.name()));
            }
            if let Some(text) = &spec.config {
                let config = config::parse(name, text).map_err(|error| error.to_string())?;
                configs.insert(name.clone(), config.node().map_err(|error| error.to_string())?);
                continue;
            }
            let bind = spec.binds.iter().find(|bind| bind.target.as_os_str() == "/etc/weft/weft.yaml");
            let bind = bind.ok_or_else(|| format!("{name} has no /etc/weft/weft.yaml among its binds"))?;
            let config = config::load(&bind.host).map_err(|error| error.to_string())?;
            configs.insert(name.clone(), config.node().map_err(|error| error.to_string())?);
        }
        Ok(configs)
    }

    /// A network whose daemons start within the first moments.
    ///
    /// # Errors
    /// When a node of the topology has no configuration.
    pub fn new(
        topology: &Topology,
        configs: &BTreeMap<String, NodeConfig>,
        settings: Settings,
        seed: u64,
    ) -> Result<Self, String> {
        let mut rng = Rng::new(seed);
        let (network, pictures) = Network::new(topology, settings.latency_us, &mut rng);
        let mut machines = Vec::new();
        for (name, links) in topology.nodes.keys().zip(pictures) {
            let config = configs.get(name).ok_or_else(|| format!("{name} has no configuration"))?;
            machines.push(Machine::new(name.clone(), config.clone(), links));
        }
        let mut sim = Self {
            now: Instant::ZERO,
            rng,
            settings,
            queue: Queue::default(),
            network,
            machines,
            pipes: BTreeMap::new(),
            next_pipe: 0,
            same_instant: 0,
            last_activity: Instant::ZERO,
            counters: Counters::default(),
            events: Vec::new(),
            trace: Trace::default(),
            watch: Watch::default(),
        };
        sim.watch.set_targets(&sim.machines);
        for node in 0..sim.machines.len() {
            let wait = Duration::from_millis(sim.rng.next_u64() % (sim.settings.start_ms + 1));
            sim.queue.push(Instant::ZERO + wait, Event::Start(NodeId(node)));
        }
        Ok(sim)
    }

    /// Follows the packets between two nodes' own addresses from now on.
    pub fn follow(&mut self, from: NodeId, to: NodeId) {
        self.watch.add_flow(&self.machines, from, to);
        self.watch_after();
    }

    /// A fault, now or later.
    pub fn at(&mut self, when: Instant, fault: Fault) {
        self.queue.push(when.max(self.now), Event::Fault(fault));
    }

    /// A fault at once.
    pub fn inject(&mut self, fault: Fault) {
        self.on_fault(fault);
        self.watch_after();
    }

    /// Runs for a time.
    ///
    /// # Errors
    /// When a machine turns in circles.
    pub fn run_for(&mut self, time: Duration) -> Result<(), String> {
        self.run_until(self.now + time)
    }

    /// Runs until a point in time.
    ///
    /// # Errors
    /// When a machine turns in circles.
    pub fn run_until(&mut self, until: Instant) -> Result<(), String> {
        while self.now < until {
            if self.settings.leaps && self.leap(until) {
                continue;
            }
            let next = if self.settings.leaps { until.min(self.now + quiet::PATIENCE) } else { until };
            while self.step(next)? {}
            self.advance(next);
        }
        while self.step(until)? {}
        Ok(())
    }

    /// Runs until nothing but keepalives was said for a while; when the last thing else happened.
    ///
    /// # Errors
    /// When that does not come within `limit`, or a machine turns in circles.
    pub fn settle(&mut self, limit: Duration) -> Result<Instant, String> {
        let limit = self.now + limit;
        self.last_activity = self.now;
        loop {
            let rest = self.last_activity + REST;
            if rest > limit {
                return Err(format!("no rest by {limit}"));
            }
            if !self.step(rest)? {
                self.advance(rest);
                return Ok(self.last_activity);
            }
        }
    }

    fn step(&mut self, until: Instant) -> Result<bool, String> {
        let Some((at, event)) = self.queue.pop(until) else {
            return Ok(false);
        };
        self.same_instant = if at == self.now { self.same_instant + 1 } else { 0 };
        if self.same_instant > STUCK {
            return Err(format!("{STUCK} events at {at}: something turns in circles, last {event:?}"));
        }
        self.advance(at);
        self.counters.events += 1;
        self.on_event(event);
        self.watch_after();
        Ok(true)
    }

    fn advance(&mut self, at: Instant) {
        self.watch.pass(self.now, at);
        self.now = at;
    }

    fn watch_after(&mut self) {
        if !self.settings.watches {
            self.watch.skip();
            return;
        }
        let plane = Plane { network: &self.network, machines: &self.machines };
        for line in self.watch.look(plane) {
            self.trace.line(self.now, "network", format_args!("{line}"));
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Start(node) => {
                if self.machines[node.0].enabled {
                    self.start(node);
                }
            }
            Event::Wake(node, life) => {
                // It may have asked for an earlier call since, and asked again in that.
                if self.is_current(node, life) && self.machines[node.0].armed == Some(self.now) {
                    self.machines[node.0].armed = None;
                    self.handle(node, Input::Tick);
                }
            }
            Event::Links(node, life) => {
                if self.is_current(node, life) {
                    let links = self.machines[node.0].links.clone();
                    self.handle(node, Input::Links(links));
                }
            }
            Event::LinkDown(node, life, link) => {
                if self.is_current(node, life) {
                    self.handle(node, Input::LinkDown(link));
                    // The kernel's messages come in order: a picture that shows the link as it is now is behind this one.
                    self.notice_links(node);
                }
            }
            Event::Syn(pipe, tries) => self.on_syn(pipe, tries),
            Event::SynAck(pipe, result) => self.on_syn_ack(pipe, result),
            Event::Deliver(pipe, side) => self.on_deliver(pipe, side),
            Event::Reset(pipe, side) => self.on_end_of_stream(pipe, side, "reset"),
            Event::Discovery { to, from, solicit } => self.on_discovery(to, from, solicit),
            Event::Bfd(node, life, notice) => self.on_bfd_notice(node, life, notice),
            Event::BfdPacket(node, heard) => self.on_bfd_packet(node, *heard),
            Event::BfdWake(node, life) => self.on_bfd_wake(node, life),
            Event::Install(node, life) => self.on_install(node, life),
            Event::Installed(node, life, seq) => self.on_installed(node, life, seq),
            Event::Fault(fault) => self.on_fault(fault),
        }
    }

    fn is_current(&self, node: NodeId, life: u32) -> bool {
        let machine = &self.machines[node.0];
        machine.life == life && machine.daemon.is_some()
    }

    /// Tells a daemon something and does what it wants.
    fn handle(&mut self, node: NodeId, input: Input) {
        let Some(daemon) = self.machines[node.0].daemon.as_mut() else {
            return;
        };
        daemon.handle(self.now, input);
        self.drain(node);
    }

    fn drain(&mut self, node: NodeId) {
        while let Some(output) = self.machines[node.0].daemon.as_mut().and_then(Recorder::poll) {
            match output {
                Output::Bgp(speaker::Output::Connect { conn, remote, local, .. }) => {
                    self.connect(node, conn, remote, local);
                }
                Output::Bgp(speaker::Output::Close { conn, flush }) => self.close(node, conn, flush),
                Output::Bgp(speaker::Output::Writable(conn)) => self.pump(node, conn),
                Output::Bgp(speaker::Output::HoldBack { link, addr, held }) => {
                    self.machines[node.0].fib.hold_back(link, addr, held);
                    self.watch.everything_changed();
                }
                Output::Event(event) | Output::Bgp(speaker::Output::Event(event)) => self.on_bgp_event(node, event),
                Output::FibReady | Output::Bgp(speaker::Output::FibReady) => self.on_fib_ready(node),
                Output::SendRa { link, .. } => self.discovery(Port { node, link }, false),
                Output::SendRs { link } => self.discovery(Port { node, link }, true),
                Output::RaLinks(links) => self.machines[node.0].ra_links = links,
                // No machine of the simulator says who it is.
                Output::LldpLinks(_) => {}
                // Nor is a simulated machine's port a server port.
                Output::DhcpSockets(_) | Output::KeepLeases | Output::Dhcp(_) => {}
                Output::Bfd(wanted) => self.want_bfd(node, wanted),
                // A simulated machine has no services to look at: they are well.
                Output::Check(order) => {
                    let (name, run) = (order.name, order.run);
                    self.handle(node, Input::Vip(vip::Input::Checked { name, run, outcome: Ok(()) }));
                }
                Output::RollBack => {
                    let daemon = self.machines[node.0].daemon.as_mut();
                    if let Some(earlier) = daemon.and_then(Recorder::take_earlier) {
                        self.handle(node, Input::RollBack(earlier));
                    }
                }
                Output::Drain(event) => {
                    let name = &self.machines[node.0].name;
                    self.trace.line(self.now, name, format_args!("{event:?}"));
                }
                Output::Vip(event) => {
                    let name = &self.machines[node.0].name;
                    self.trace.line(self.now, name, format_args!("{event:?}"));
                }
                Output::AddAddress(net) => {
                    if self.machines[node.0].add_address(net) {
                        self.watch.everything_changed();
                        self.notice_links(node);
                    }
                }
                Output::RemoveAddress(net) => {
                    self.machines[node.0].remove_address(net);
                    self.watch.everything_changed();
                    self.notice_links(node);
                }
            }
        }
        self.arm(node);
    }

    /// Sees to it that the daemon is called when it asked.
    fn arm(&mut self, node: NodeId) {
        let machine = &mut self.machines[node.0];
        let Some((at, _)) = machine.daemon.as_deref().and_then(weft_fabric::node::Node::next_timeout) else {
            return;
        };
        let at = at.max(self.now);
        if machine.armed.is_none_or(|armed| at < armed) {
            machine.armed = Some(at);
            self.queue.push(at, Event::Wake(node, machine.life));
        }
    }

    fn on_bgp_event(&mut self, node: NodeId, event: BgpEvent) {
        let name = &self.machines[node.0].name;
        self.trace.line(self.now, name, format_args!("{event:?}"));
        match &event {
            BgpEvent::SessionRefused { .. } => {}
            BgpEvent::Converged { .. } => {
                self.machines[node.0].sweep_due = true;
                self.on_fib_ready(node);
                self.last_activity = self.now;
            }
            BgpEvent::SessionUp { .. }
            | BgpEvent::SessionDown { .. }
            | BgpEvent::EndOfRib { .. }
            | BgpEvent::LongLivedStale { .. }
            | BgpEvent::MaxPrefixes { .. }
            | BgpEvent::NearMaxPrefixes { .. }
            | BgpEvent::OldPolicy { .. }
            | BgpEvent::MaxPrefixesOut { .. } => self.last_activity = self.now,
        }
        if self.events.len() < HISTORY {
            self.events.push((self.now, node, event));
        }
    }

    /// Somewhere within a range of microseconds.
    fn wait(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_micros(least + self.rng.next_u64() % (most.saturating_sub(least) + 1))
    }
}

/// Names a connection that was accepted.
const fn accepted(count: u64) -> ConnId {
    ConnId(ConnId::ACCEPTED | count)
}
