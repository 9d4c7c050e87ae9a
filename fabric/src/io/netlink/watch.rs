//! The socket that listens: what it says about links goes to the daemon at once, what it says about routes is kept as hints.

use super::health::Health;
use super::links::{self, Change, Links};
use super::ports::{self, Ports};
use super::{Event, nexthop, request, route, wire};
use crate::config::FibConfig;
use crate::fib::{Ack, Hint, LAST_RESORT_METRIC, Member};
use crate::link::damp::Damper;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use socket2::{SockFilter, SockRef};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use tokio::sync::mpsc::{Sender, error::TrySendError};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::{IfIndex, IpNet};

/// Longest wait with a changed picture of the links: changes come in flocks.
const LINKS_DELAY: Duration = Duration::from_millis(10);
/// Most hints kept; beyond that a dump says it all.
const MAX_HINTS: usize = 4_096;
/// Notifications are far smaller, but several may come at once.
const CHUNK: usize = 64 << 10;

/// Multicast groups (linux/rtnetlink.h): links, addresses, nexthop objects; routes.
const GROUPS: [u32; 4] = [1, 5, 9, 32];
const ROUTE_GROUPS: [u32; 2] = [7, 11];

/// What the FIB must hear, in the order in which it happened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    Link(IfIndex, bool),
    /// A neighbour that was cut off is seen behind another port of its bridge.
    Reached(Member),
    /// There is a bridge with neighbours behind its ports: what it has learnt until now is to be listed.
    Bridge,
    Hint(Hint),
    /// An address came: what was refused may be taken now.
    AddressAdded,
    /// An address went from the loopback interface.
    AddressRemoved(IpNet),
    /// Notifications were lost: links must be listed again.
    Overrun,
}

impl Note {
    /// What cannot wait for anything.
    pub(super) const fn is_link(&self) -> bool {
        matches!(self, Self::Link(..) | Self::Reached(_))
    }
}

#[derive(Debug)]
pub(super) struct Watch {
    socket: Socket,
    chunk: Vec<u8>,
    events: Sender<Event>,
    pub(super) links: Links,
    pub(super) notes: VecDeque<Note>,
    /// Links that went down and of which the daemon has not heard yet; at most one per link.
    downs: VecDeque<IfIndex>,
    /// Neighbours of which the daemon has not heard yet whether they can be reached; each once, so at most as many as bridges have.
    reachable: Vec<(Member, bool)>,
    links_due: Option<Instant>,
    ack: Option<Ack>,
    routes_heard: bool,
    pub(super) ports: Ports,
    ports_heard: bool,
    damper: Damper,
    pub(super) health: Health,
    /// Whose routes and objects matter.
    config: FibConfig,
}

impl Watch {
    /// Listens. `port`: the socket whose own doings need not be told.
    pub(super) fn open(config: &FibConfig, port: u32, events: Sender<Event>) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        SockRef::from(&socket).attach_filter(&filter(port))?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        request::set_receive_buffer(socket.as_fd(), config.receive_buffer_bytes);
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        let mut watch = Self {
            socket,
            chunk: vec![0; CHUNK],
            events,
            links: Links::default(),
            notes: VecDeque::new(),
            downs: VecDeque::new(),
            reachable: Vec::new(),
            links_due: Some(Instant::ZERO),
            ack: None,
            routes_heard: false,
            ports: Ports::default(),
            ports_heard: false,
            damper: Damper::default(),
            health: Health::default(),
            config: config.clone(),
        };
        watch.hear_routes(config.install)?;
        Ok(watch)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn reconfigure(&mut self, config: &FibConfig) {
        self.config = config.clone();
    }

    /// Listens to routes or not: while very many are being changed, listening would cost half of the time.
    pub(super) fn hear_routes(&mut self, hear: bool) -> io::Result<()> {
        if std::mem::replace(&mut self.routes_heard, hear) != hear {
            for group in ROUTE_GROUPS {
                if hear { self.socket.add_membership(group)? } else { self.socket.drop_membership(group)? }
            }
        }
        Ok(())
    }

    pub(super) const fn hears_routes(&self) -> bool {
        self.routes_heard
    }

    /// Listens to what bridges learn, from when on there is one with neighbours behind its ports; whether that began just now.
    pub(super) fn hear_ports(&mut self) -> bool {
        if self.ports_heard || !self.links.has_routed_bridge() {
            return false;
        }
        match self.socket.add_membership(ports::GROUP) {
            Ok(()) => self.ports_heard = true,
            Err(error) => {
                tracing::warn!(%error, "what bridges learn is not heard: who is behind a port is left to timers")
            }
        }
        self.ports_heard
    }

    /// Whether it does.
    pub(super) const fn hears_ports(&self) -> bool {
        self.ports_heard
    }

    /// Takes what a bridge learnt or forgot.
    pub(super) fn take_learnt(&mut self, kind: u16, payload: &[u8]) {
        let links = &self.links;
        let reached = self.ports.take(kind, payload, |port| links.is_usable(port));
        self.notes.extend(reached.into_iter().map(Note::Reached));
    }

    /// Neighbours are cut off, or can be reached again: the daemon is told, in the order of the last news of each.
    pub(super) fn set_reachable(&mut self, members: &[Member], is: bool) {
        self.reachable.retain(|(member, _)| !members.contains(member));
        self.reachable.extend(members.iter().map(|member| (*member, is)));
    }

    /// Reads all there is.
    pub(super) fn read(&mut self, now: Instant) {
        let mut chunk = std::mem::take(&mut self.chunk);
        loop {
            match request::receive(&self.socket, &mut chunk) {
                Ok(length) => {
                    for message in wire::messages(chunk.get(..length).unwrap_or_default()) {
                        self.take(now, &message);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // ENOBUFS: some were dropped. Anything else is as bad.
                Err(error) => {
                    tracing::debug!(%error, "netlink notifications were lost");
                    self.overrun();
                    if error.raw_os_error() != Some(libc::ENOBUFS) {
                        break;
                    }
                }
            }
        }
        self.chunk = chunk;
        self.deliver(now);
    }

    fn overrun(&mut self) {
        self.health.overruns += 1;
        if !matches!(self.notes.back(), Some(Note::Overrun)) {
            self.notes.push_back(Note::Overrun);
        }
    }

    fn take(&mut self, now: Instant, message: &wire::Message<'_>) {
        match message.kind {
            links::RTM_NEWLINK | links::RTM_DELLINK | links::RTM_NEWADDR | links::RTM_DELADDR => {
                let change = self.links.take(message.kind, message.payload);
                let change = self.damp(now, change);
                self.changed(now, change);
                let changed = wire::word(message.payload, 4).map(IfIndex);
                if !self.ports_heard
                    && changed.is_some_and(|link| self.links.is_routed_bridge(link))
                    && self.hear_ports()
                {
                    self.notes.push_back(Note::Bridge);
                }
            }
            ports::RTM_NEWNEIGH | ports::RTM_DELNEIGH => self.take_learnt(message.kind, message.payload),
            nexthop::RTM_NEWNEXTHOP | nexthop::RTM_DELNEXTHOP => self.take_nexthop(now, message),
            route::RTM_NEWROUTE | route::RTM_DELROUTE => self.take_route(now, message),
            _ => {}
        }
    }

    /// A link that flaps is kept out of use for a while: what the change comes to.
    fn damp(&mut self, now: Instant, change: Change) -> Change {
        match change {
            Change::Unusable(link) => self.damper.down(now, link),
            Change::Gone(link) => self.damper.forget(link),
            Change::Usable(link) if self.config.link_damping => {
                if let Some(flaps) = self.damper.up(now, link) {
                    tracing::warn!(link = self.links.name(link), flaps, "the link flaps: not used until it stands");
                    self.links.damp(link, flaps);
                    return Change::Properties;
                }
                self.links.damp(link, 0);
            }
            Change::None
            | Change::Usable(_)
            | Change::Properties
            | Change::AddressAdded
            | Change::AddressRemoved(..) => {}
        }
        change
    }

    /// Links that have stood long enough are used again.
    pub(super) fn undamp(&mut self, now: Instant) {
        while let Some(link) = self.damper.poll(now) {
            if self.links.damped(link) > 0 {
                tracing::info!(link = self.links.name(link), "the link stands: used again");
                self.links.damp(link, 0);
                self.changed(now, Change::Usable(link));
            }
        }
    }

    /// Follows a change of the links.
    pub(super) fn changed(&mut self, now: Instant, change: Change) {
        match change {
            Change::None => return,
            Change::Properties => {}
            Change::Usable(link) => {
                self.notes.push_back(Note::Link(link, true));
                self.hint(Hint::Doubt);
                // Routes wait for it.
                self.links_due = Some(now);
            }
            Change::Unusable(link) | Change::Gone(link) => {
                if !self.downs.contains(&link) {
                    self.downs.push_back(link);
                }
                self.notes.push_back(Note::Link(link, false));
                self.hint(Hint::Doubt);
            }
            Change::AddressAdded => self.notes.push_back(Note::AddressAdded),
            Change::AddressRemoved(link, net) => {
                if Some(link) == self.links.loopback() {
                    self.notes.push_back(Note::AddressRemoved(net));
                }
                self.hint(Hint::Doubt);
            }
        }
        self.links_due = self.links_due.or(Some(now + LINKS_DELAY));
    }

    fn hint(&mut self, hint: Hint) {
        if matches!((self.notes.back(), hint), (Some(Note::Hint(Hint::Doubt)), Hint::Doubt)) {
            return;
        }
        if self.notes.len() < MAX_HINTS {
            self.notes.push_back(Note::Hint(hint));
        } else {
            self.overrun();
        }
    }

    fn take_nexthop(&mut self, now: Instant, message: &wire::Message<'_>) {
        let Some(object) = nexthop::parse(message.payload, self.config.protocol) else { return };
        let range = self.config.nexthop_base..self.config.nexthop_base.saturating_add(self.config.nexthop_count);
        if !self.config.install || !range.contains(&object.id.0) {
            return;
        }
        if message.kind == nexthop::RTM_DELNEXTHOP && object.ours && message.port != 0 {
            self.health.deleted(now, message.port);
        }
        // An object of another protocol under our id has taken the place of ours.
        let gone = message.kind == nexthop::RTM_DELNEXTHOP || !object.ours;
        self.hint(if gone { Hint::NexthopGone(object.id) } else { Hint::Doubt });
    }

    fn take_route(&mut self, now: Instant, message: &wire::Message<'_>) {
        let Some(seen) = route::parse(message.payload) else { return };
        let key = seen.route.key;
        let own_metric = key.metric == self.config.metric || key.metric == LAST_RESORT_METRIC;
        if key.table != self.config.table || !own_metric {
            return;
        }
        let ours = seen.protocol == self.config.protocol;
        if message.kind == route::RTM_DELROUTE && ours && message.port != 0 {
            self.health.deleted(now, message.port);
        }
        self.hint(match (message.kind, ours) {
            (route::RTM_DELROUTE, true) => Hint::RouteGone(key),
            (route::RTM_DELROUTE, false) => Hint::RouteFreed(key),
            // A route of another protocol under our key has taken the place of ours.
            (_, false) => Hint::RouteGone(key),
            (_, true) => Hint::Doubt,
        });
    }

    /// Keeps an acknowledgement until the daemon takes it.
    pub(super) fn acknowledge(&mut self, ack: Ack) {
        let kept = self.ack.get_or_insert(Ack { seq: 0, failed: Vec::new() });
        kept.seq = kept.seq.max(ack.seq);
        kept.failed.extend(ack.failed);
    }

    /// Gives the daemon what is due; what does not fit stays.
    pub(super) fn deliver(&mut self, now: Instant) {
        while let Some(link) = self.downs.front() {
            if !self.offer(Event::LinkDown(*link)) {
                return;
            }
            self.downs.pop_front();
        }
        if !self.reachable.is_empty() {
            if !self.offer(Event::Reachable(self.reachable.clone())) {
                return;
            }
            self.reachable.clear();
        }
        if self.links_due.is_some_and(|at| at <= now) {
            if !self.offer(Event::Links(self.links.list())) {
                return;
            }
            self.links_due = None;
        }
        if let Some(Ack { seq, failed }) = self.ack.take()
            && !self.offer(Event::Acked { seq, failed: failed.clone() })
        {
            self.ack = Some(Ack { seq, failed });
        }
    }

    fn offer(&self, event: Event) -> bool {
        match self.events.try_send(event) {
            Ok(()) => true,
            // Nobody listens any more: nothing is owed to anybody.
            Err(TrySendError::Closed(_)) => true,
            Err(TrySendError::Full(_)) => false,
        }
    }

    /// When [`Watch::deliver`] has something to do; `Instant::ZERO` for at once.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.downs.is_empty() && self.reachable.is_empty() && self.ack.is_none() {
            self.links_due.into_iter().chain(self.damper.next_timeout()).min()
        } else {
            Some(Instant::ZERO)
        }
    }

    /// Begins the picture of the links anew; what can no longer be used, or can be again, is told.
    pub(super) fn replace_links(&mut self, links: Links, now: Instant) {
        let before: Vec<_> = self.links.usable().collect();
        let damped: Vec<_> = self.links.list().iter().map(|link| (link.index, link.damped)).collect();
        self.links = links;
        for (link, flaps) in damped {
            self.links.damp(link, flaps);
        }
        let after: Vec<_> = self.links.usable().collect();
        // A link that is up before and after may have flickered unheard: that is the dump's business, asked for by the doubt.
        for link in before.iter().filter(|link| !after.contains(link)) {
            self.damper.down(now, *link);
            self.changed(now, Change::Unusable(*link));
        }
        for link in after.iter().filter(|link| !before.contains(link)) {
            self.changed(now, Change::Usable(*link));
        }
        self.hint(Hint::Doubt);
        self.links_due = Some(now);
    }
}

/// Lets in everything but notifications of what `port` itself did to routes and nexthop objects.
fn filter(port: u32) -> [SockFilter; 9] {
    // `BPF_LD | BPF_W/H | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K` of linux/bpf_common.h. They read in network order
    // what stands in host order: offset 4 = type, offset 12 = port.
    const LOAD_WORD: u16 = 0x20;
    const LOAD_HALF: u16 = 0x28;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let kind = |kind: u16| u32::from(u16::from_be_bytes(kind.to_ne_bytes()));
    [
        SockFilter::new(LOAD_WORD, 0, 0, 12),
        SockFilter::new(EQUAL, 0, 5, u32::from_be_bytes(port.to_ne_bytes())),
        SockFilter::new(LOAD_HALF, 0, 0, 4),
        SockFilter::new(EQUAL, 4, 0, kind(route::RTM_NEWROUTE)),
        SockFilter::new(EQUAL, 3, 0, kind(route::RTM_DELROUTE)),
        SockFilter::new(EQUAL, 2, 0, kind(nexthop::RTM_NEWNEXTHOP)),
        SockFilter::new(EQUAL, 1, 0, kind(nexthop::RTM_DELNEXTHOP)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
