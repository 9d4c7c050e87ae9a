//! The node: BGP speaker, links and neighbour discovery as one machine. What to originate, which peers exist, which link-local
//! address an unnumbered peer has, and what a reload changes are decided here; sockets, clocks and the kernel are `io`'s.
//!
//! ```text
//! links ──▶ ra ──▶ SetRemote ─┐                      ┌──▶ Connect / Close / Writable ──▶ sockets
//! links ───────────▶ Links ───┼──▶ weft_bgp::Speaker ┼──▶ FibReady ──▶ poll_fib ──▶ Fib ──▶ FibAck
//! config ──▶ SetPeer, originate ┘                    └──▶ Event ──▶ log, history
//! ```

mod bfd;
mod dhcp;
mod discovery;
mod drain;
mod history;
mod import;
mod leases;
mod lldp;
mod observe;
mod probation;
mod quiet;
mod reload;
mod sources;
mod vip;

pub use crate::config::NodeConfig;
use crate::drain::{By, Scope, State};
use crate::fib::Member;
use crate::link::LinkInfo;
use crate::lldp::Heard;
use crate::ra;
use crate::vip::{Order, Vips};
use bytes::BytesMut;
pub use dhcp::Wanted as RelayWants;
#[cfg(test)]
pub(crate) use dhcp::tests as dhcp_tests;
pub use history::{Entry, KeptEntry};
pub use import::{Imported, LeftOut, MAX_IMPORTED};
pub use leases::{LEASE_MAX, Lease, MAX_ROUTES as MAX_LEASES, Refused};
use serde::{Deserialize, Serialize};
pub use sources::Source;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use weft_bgp::event::Event;
use weft_bgp::speaker::{self, FibChange, ForeignRoute, LinkState, Speaker};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{ConnId, IfIndex, IpNet, PeerId};

/// Something happened. A new configuration travels as its file does, see [`crate::record`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input {
    /// Interfaces as they are now: the whole picture. Peers start with the first of these.
    Links(Vec<LinkInfo>),
    /// Carrier or administrative state of an interface was lost; the picture follows.
    LinkDown(IfIndex),
    /// A port of a bridge lost its carrier, and these neighbours on the bridge were behind it; or some of those can be reached again.
    Reachable(Vec<(Member, bool)>),
    /// A router advertisement came on a link of `Output::RaLinks` with hop limit 255.
    RouterAdvertisement {
        /// On which link.
        link: IfIndex,
        /// From whom.
        from: Ipv6Addr,
        /// Its router lifetime.
        lifetime_s: u16,
        /// Its hardware address, if it says one.
        mac: Option<[u8; 6]>,
    },
    /// A router solicitation likewise.
    RouterSolicitation {
        /// On which link.
        link: IfIndex,
        /// From whom; may be `::`.
        from: Ipv6Addr,
        /// Its hardware address, if it says one.
        mac: Option<[u8; 6]>,
    },
    /// A connection was made, failed, yielded bytes or ended; a peer is to be cleared.
    Bgp(speaker::Input),
    /// A BFD session changed its state.
    Bfd(crate::bfd::Notice),
    /// The kernel holds every change up to `seq`, but for those listed.
    FibAck {
        /// [`FibChange::seq`] of the newest change done.
        seq: u64,
        /// Changes that failed.
        failed: Vec<IpNet>,
    },
    /// A service address: a check ended, or somebody says that it is to be up or down.
    Vip(crate::vip::Input),
    /// Routes of other software came or went in the kernel.
    Imported(Imported),
    /// A neighbour said by LLDP who it is, on a link of `Output::LldpLinks`.
    Lldp {
        /// On which link.
        link: IfIndex,
        /// What it said.
        heard: Heard,
    },
    /// A frame to UDP port 67 came on a link of `Output::DhcpSockets`.
    DhcpFrame {
        /// On which link.
        link: IfIndex,
        /// With its Ethernet header.
        frame: Vec<u8>,
    },
    /// A datagram came to port 67, or 547, of the address of `Output::DhcpSockets`.
    DhcpDatagram {
        /// From whom.
        from: IpAddr,
        /// What.
        datagram: Vec<u8>,
    },
    /// Leases of DHCP that an earlier run kept: before the first picture of the links.
    DhcpLeases {
        /// The time of day, since 1970-01-01 UTC.
        wall: Duration,
        /// What was lent.
        kept: Vec<crate::dhcp::Kept>,
    },
    /// Routes of other software that next hops may be reached by: the whole picture.
    ForeignRoutes(Vec<ForeignRoute>),
    /// A new configuration.
    #[serde(skip)]
    Reload(Box<NodeConfig>),
    /// A new configuration that goes again unless it is confirmed within this time.
    #[serde(skip)]
    Try(Box<NodeConfig>, Duration),
    /// What is tried stays.
    Confirm,
    /// The configuration of before, after `Output::RollBack`.
    #[serde(skip)]
    RollBack(Box<NodeConfig>),
    /// Somebody wants something out of service, or back in it.
    Drain {
        /// What.
        scope: Scope,
        /// How far.
        target: State,
        /// Who.
        by: By,
    },
    /// Connections with octets that the other end has not acknowledged: the whole picture, looked at while [`Node::is_draining`].
    Unacked(BTreeSet<ConnId>),
    /// The end.
    Shutdown {
        /// `true`: tell the peers and take the addresses away; `false`: a restart is meant, keep everything (RFC 4724).
        cease: bool,
    },
    /// A deadline of `next_timeout` passed.
    Tick,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// For the sockets; only `Connect`, `Close` and `Writable` come this way.
    Bgp(speaker::Output),
    /// Send a router advertisement: with lifetime 0, or as the router of machines that are to ask by DHCPv6.
    SendRa {
        /// On which link.
        link: IfIndex,
        /// Machines on it are to ask.
        managed: bool,
    },
    /// Send a router solicitation.
    SendRs {
        /// On which link.
        link: IfIndex,
    },
    /// The links to listen on for router advertisements and solicitations: the whole picture.
    RaLinks(Vec<IfIndex>),
    /// The links to listen on for LLDP: the whole picture.
    LldpLinks(Vec<IfIndex>),
    /// What the relay of DHCP needs: the whole picture; `None`: nothing is relayed.
    DhcpSockets(Option<RelayWants>),
    /// Keep the leases of DHCP over a restart.
    KeepLeases,
    /// Send a message of DHCP.
    Dhcp(crate::dhcp::Output),
    /// The BFD sessions that are wanted: the whole picture.
    Bfd(Vec<crate::bfd::Wanted>),
    /// Put an address on the loopback interface.
    AddAddress(IpNet),
    /// Take one away.
    RemoveAddress(IpNet),
    /// `poll_fib` has changes.
    FibReady,
    /// Make a check of a service, and say how it ended.
    Check(Order),
    /// For the log; also in [`Node::history`].
    Event(Event),
    /// Likewise, of a service address.
    Vip(crate::vip::Event),
    /// Likewise, of what is taken out of service.
    Drain(crate::drain::Event),
    /// Nobody confirmed the configuration: hand back what `take_earlier` yields, as `Input::RollBack`.
    RollBack,
}

/// A line of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Happened {
    /// With a session or the table.
    Bgp(Event),
    /// With a service address.
    Vip(crate::vip::Event),
    /// With BFD to a peer.
    Bfd(crate::bfd::Event),
    /// With the configuration.
    Configuration(crate::plan::Event),
    /// With what is taken out of service.
    Drain(crate::drain::Event),
}

/// A node. See [`Input`] and [`Output`].
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    speaker: Speaker,
    ra: ra::Ra,
    ra_links: Vec<IfIndex>,
    wiring: lldp::Wiring,
    relay: crate::dhcp::Relay,
    relay_wants: Option<RelayWants>,
    lease_routes: dhcp::Routes,
    links: Vec<LinkInfo>,
    /// Peers start with the first picture of the links, so that no dial is wasted on a link that is not there.
    started: bool,
    stopped: bool,
    peers: BTreeMap<String, PeerId>,
    next_peer: u32,
    established: BTreeSet<PeerId>,
    bfd: bfd::Book,
    output: VecDeque<Output>,
    history: history::History,
    sources: sources::Sources,
    vips: Vips,
    leases: leases::Leases,
    import_left_out: Vec<LeftOut>,
    reloads: probation::Reloads,
    drain: drain::Book,
}

impl Happened {
    /// The peer that it is about, if it is about BFD to it.
    #[must_use]
    pub const fn bfd_peer(&self) -> Option<PeerId> {
        match self {
            Self::Bfd(crate::bfd::Event::Bfd { peer, .. }) => Some(*peer),
            Self::Bgp(_) | Self::Vip(_) | Self::Configuration(_) | Self::Drain(_) => None,
        }
    }

    /// Which peer it is about.
    const fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Bgp(event) => event.peer(),
            Self::Vip(_) | Self::Configuration(_) | Self::Drain(_) => None,
            Self::Bfd(crate::bfd::Event::Bfd { peer, .. }) => Some(*peer),
        }
    }
}

impl Node {
    /// A node that waits for the first [`Input::Links`].
    #[must_use]
    pub fn new(config: NodeConfig, now: Instant) -> Self {
        let mut node = Self {
            speaker: Speaker::new(config.speaker.clone()),
            ra: ra::Ra::new(config.speaker.seed),
            ra_links: Vec::new(),
            wiring: lldp::Wiring::default(),
            relay: crate::dhcp::Relay::default(),
            relay_wants: None,
            lease_routes: dhcp::Routes::default(),
            links: Vec::new(),
            started: false,
            stopped: false,
            peers: BTreeMap::new(),
            next_peer: 1,
            established: BTreeSet::new(),
            bfd: bfd::Book::default(),
            output: VecDeque::new(),
            history: history::History::default(),
            sources: sources::Sources::default(),
            vips: Vips::default(),
            leases: leases::Leases::default(),
            import_left_out: Vec::new(),
            reloads: probation::Reloads::default(),
            drain: drain::Book::default(),
            config,
        };
        node.boot_drained(now);
        node.originate_all(now, Source::Configured, node.config.originate.clone());
        node.pump(now);
        node
    }

    /// Something happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Links(links) => self.set_links(now, links),
            Input::LinkDown(link) => self.link_down(now, link),
            Input::Reachable(members) => {
                for (Member { link, gateway: addr }, is) in members {
                    self.speaker.handle(now, speaker::Input::Reachable { link, addr, is });
                }
            }
            Input::RouterAdvertisement { link, from, lifetime_s, mac } => {
                self.ra.handle(now, ra::Input::Advertisement { link, from, lifetime_s, mac });
            }
            Input::RouterSolicitation { link, from, mac } => {
                self.ra.handle(now, ra::Input::Solicitation { link, from, mac });
            }
            Input::Lldp { link, heard } => self.wired(now, link, heard),
            Input::DhcpLeases { wall, kept } => self.restore_leases(now, wall, kept),
            Input::DhcpFrame { link, frame } => self.dhcp_frame(now, link, &frame),
            Input::DhcpDatagram { from, datagram } => self.dhcp_datagram(now, from, &datagram),
            Input::Bgp(input) => self.bgp(now, input),
            Input::Bfd(notice) => self.bfd_notice(now, notice),
            Input::FibAck { seq, mut failed } => {
                // The speaker has no part in these; the kernel's thread tries them again by itself, and says so in its report.
                failed.retain(|prefix| !self.lease_routes.has(prefix));
                self.speaker.handle(now, speaker::Input::FibAck { seq, failed });
            }
            Input::Vip(input) => self.serve(now, input),
            Input::Imported(imported) => self.imported(now, imported),
            Input::ForeignRoutes(routes) => self.speaker.handle(now, speaker::Input::ForeignRoutes(routes)),
            Input::Reload(config) => self.reload(now, *config, None),
            Input::Try(config, within) => self.reload(now, *config, Some(within)),
            Input::Confirm => self.confirm(now),
            Input::RollBack(config) => self.roll_back(now, *config),
            Input::Drain { scope, target, by } => self.set_drain(now, &scope, target, by),
            Input::Unacked(conns) => self.note_unacked(conns),
            Input::Shutdown { cease } => self.shutdown(now, cease),
            Input::Tick => {
                if self.ra.next_timeout().is_some_and(|(at, _)| at <= now) {
                    self.ra.handle(now, ra::Input::Tick);
                }
                if self.speaker.next_timeout().is_some_and(|(at, _)| at <= now) {
                    self.speaker.handle(now, speaker::Input::Tick);
                }
                self.wiring_tick(now);
                self.bfd_tick(now);
                self.end_leases(now);
                self.dhcp_tick(now);
                self.probation_tick(now);
                self.drain_tick(now);
                if self.vips.next_timeout().is_some_and(|(at, _)| at <= now) {
                    self.serve(now, crate::vip::Input::Tick);
                }
            }
        }
        self.pump(now);
        self.want_bfd(now);
    }

    /// What must be done.
    pub fn poll(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Somebody connected: what the socket needs before [`speaker::Input::Accepted`]; `None` = a stranger, to be closed at once.
    pub fn caller(&mut self, now: Instant, remote: SocketAddr) -> Option<speaker::TimeToLive> {
        self.called(now, remote);
        self.speaker.caller(remote)
    }

    /// The control messages of a connection.
    pub fn poll_control(&mut self, now: Instant, conn: ConnId, buf: &mut BytesMut) {
        self.speaker.poll_control(now, conn, buf);
    }

    /// Bytes for a connection, about `limit` of them; true if more is waiting.
    pub fn poll_transmit(&mut self, now: Instant, conn: ConnId, buf: &mut BytesMut, limit: usize) -> bool {
        self.speaker.poll_transmit(now, conn, buf, limit)
    }

    /// At most `max` changes for the kernel.
    pub fn poll_fib(&mut self, max: usize) -> Vec<FibChange> {
        let changes = self.speaker.poll_fib(max);
        self.lease_routes.join(changes, max)
    }

    /// When to call with [`Input::Tick`], and who asked.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let own = [
            self.vips.next_timeout(),
            self.leases.next_timeout(),
            self.relay.next_timeout(),
            self.wiring_timeout(),
            self.probation_timeout(),
            self.drain_timeout(),
        ];
        let all = [self.speaker.next_timeout(), self.ra.next_timeout(), self.bfd_timeout()];
        all.into_iter().chain(own).flatten().min()
    }

    /// Peers, RIB and counters.
    #[must_use]
    pub const fn speaker(&self) -> &Speaker {
        &self.speaker
    }

    /// How many sessions stand.
    #[must_use]
    pub fn established(&self) -> usize {
        self.established.len()
    }

    /// Interfaces as last seen.
    #[must_use]
    pub fn links(&self) -> &[LinkInfo] {
        &self.links
    }

    /// The configuration in force.
    #[must_use]
    pub const fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// The last events, oldest first, a run of the same as one.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.history.iter()
    }

    /// The neighbour found on a link of an unnumbered peer.
    #[must_use]
    pub fn neighbour(&self, link: IfIndex) -> Option<Ipv6Addr> {
        self.ra.neighbour(link)
    }

    /// The name of a peer: configured, or else the address that it called from.
    #[must_use]
    pub fn peer_name(&self, peer: PeerId) -> Option<&str> {
        self.speaker.peer_name(peer)
    }

    /// What was heard on a link of an unnumbered peer.
    #[must_use]
    pub fn heard_on(&self, now: Instant, link: IfIndex) -> ra::Seen {
        self.ra.seen(now, link)
    }

    /// The id of a configured peer.
    #[must_use]
    pub fn peer(&self, name: &str) -> Option<PeerId> {
        self.peers.get(name).copied()
    }

    fn set_links(&mut self, now: Instant, links: Vec<LinkInfo>) {
        self.links = links;
        self.bfd.is_dirty = true;
        if self.stopped {
            return;
        }
        self.tell_links(now);
        if !self.started {
            self.started = true;
            self.start_peers(now);
            self.drain_vips(now);
            self.serve(now, crate::vip::Input::Configure(self.config.vips.clone()));
        }
        self.drain_links(now);
        self.import_connected(now);
        self.want_addresses();
        self.watch(now);
        self.serve(now, crate::vip::Input::Tick);
    }

    fn link_down(&mut self, now: Instant, link: IfIndex) {
        for known in self.links.iter_mut().filter(|known| known.index == link) {
            known.carrier = false;
        }
        // The sessions first: what they leave behind is decided before the next hops are resolved again.
        self.speaker.handle(now, speaker::Input::LinkDown(link));
        self.tell_links(now);
        self.import_connected(now);
        self.watch(now);
    }

    /// Next-hop resolution sees links that can carry packets, with addresses that are ours for sure (RFC 4862 §5.4).
    fn tell_links(&mut self, now: Instant) {
        let usable = self.links.iter().filter(|link| link.is_usable() && !link.loopback);
        let states = usable.map(|link| LinkState {
            link: link.index,
            addrs: link.addrs.iter().filter(|addr| !addr.tentative).map(|addr| addr.net).collect(),
        });
        let states = states.collect();
        self.speaker.handle(now, speaker::Input::Links(states));
    }

    /// Asks for addresses of ours that no interface has, also when somebody took them away.
    fn want_addresses(&mut self) {
        for &net in &self.config.addresses {
            let has = |link: &LinkInfo| link.addrs.iter().any(|addr| addr.net.addr() == net.addr());
            if !self.links.iter().any(has) {
                self.output.push_back(Output::AddAddress(net));
            }
        }
    }

    fn bgp(&mut self, now: Instant, input: speaker::Input) {
        let accepted = if let speaker::Input::Accepted { conn, remote, .. } = &input {
            Some((*conn, *remote))
        } else if let speaker::Input::Handed { conn, session } = &input {
            Some((*conn, session.remote))
        } else {
            None
        };
        if let Some((_, remote)) = accepted {
            // The address must have reached the peer before the connection does.
            self.called(now, remote);
        }
        self.speaker.handle(now, input);
        if let Some((conn, remote)) = accepted {
            self.bfd_caller(now, conn, remote.ip());
        }
    }

    fn shutdown(&mut self, now: Instant, cease: bool) {
        self.stopped = true;
        self.bfd.is_dirty = true;
        self.vips = Vips::default();
        self.ra.handle(now, ra::Input::Links(Vec::new()));
        while self.ra.poll().is_some() {}
        self.speaker.handle(now, speaker::Input::Shutdown { cease });
        if cease {
            self.output.extend(self.config.addresses.iter().copied().map(Output::RemoveAddress));
        }
    }

    /// Carries what one part wants to the other until neither wants anything.
    fn pump(&mut self, now: Instant) {
        loop {
            if let Some(wanted) = self.ra.poll() {
                self.discovered(now, wanted);
            } else if let Some(wanted) = self.speaker.poll() {
                match wanted {
                    speaker::Output::Event(event) => self.note(now, event),
                    speaker::Output::FibReady => self.output.push_back(Output::FibReady),
                    speaker::Output::Connect { .. }
                    | speaker::Output::Close { .. }
                    | speaker::Output::Writable(_)
                    | speaker::Output::HoldBack { .. } => {
                        self.output.push_back(Output::Bgp(wanted));
                    }
                }
            } else {
                return;
            }
        }
    }

    fn note(&mut self, now: Instant, event: Event) {
        match &event {
            Event::SessionUp { peer, name, .. } => {
                self.session(now, *peer, true);
                self.bfd_session(now, *peer, name, None);
            }
            Event::SessionDown { peer, name, retained, .. } => {
                self.session(now, *peer, false);
                self.bfd_session(now, *peer, name, Some(*retained));
            }
            Event::SessionRefused { .. }
            | Event::EndOfRib { .. }
            | Event::LongLivedStale { .. }
            | Event::MaxPrefixes { .. }
            | Event::NearMaxPrefixes { .. }
            | Event::OldPolicy { .. }
            | Event::MaxPrefixesOut { .. }
            | Event::Converged { .. } => {}
        }
        self.history.note(now, Happened::Bgp(event.clone()));
        self.output.push_back(Output::Event(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hardware address of every interface below.
    pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// An interface without addresses.
    pub(super) fn link(index: u32, name: &str, carrier: bool) -> LinkInfo {
        LinkInfo {
            index: IfIndex(index),
            name: name.to_owned(),
            mac: MAC,
            mtu: 1_500,
            up: true,
            carrier,
            damped: 0,
            loopback: false,
            master: None,
            kind: None,
            addrs: Vec::new(),
        }
    }
}
