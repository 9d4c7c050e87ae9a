//! What a drain means for a node: how its peers, their routes and its services are treated in each state. The order and the times are
//! [`crate::drain`]'s; peers are changed as a reload would change them, so that who is not concerned hears nothing.

use super::{Happened, Node, Output};
use crate::drain::{Around, By, Drains, Info, Kept, Scope, State};
use crate::vip::{self, Vips};
use std::collections::{BTreeMap, BTreeSet};
use weft_bgp::peer::{Endpoint, Leave, PeerConfig, Tell};
use weft_bgp::speaker::{DynamicRange, Reconfiguration, Speaker};
use weft_bgp::time::Instant;
use weft_bgp::types::{ConnId, IpNet};

/// What the node remembers about it.
#[derive(Debug, Default)]
pub(super) struct Book {
    drains: Drains,
    /// Connections with octets that the other end has not acknowledged, when it was last looked.
    unacked: BTreeSet<ConnId>,
}

struct View<'a> {
    speaker: &'a Speaker,
    unacked: &'a BTreeSet<ConnId>,
    vips: &'a Vips,
    /// By link, of those that are back in service and watched still.
    without_session: BTreeMap<String, Vec<String>>,
}

impl Around for View<'_> {
    fn mark(&self) -> Option<u64> {
        self.speaker.told_mark()
    }

    fn waiting_for(&self, mark: u64) -> Vec<String> {
        let behind = self.speaker.untold(mark, &|conn| self.unacked.contains(&conn));
        behind.into_iter().filter_map(|peer| self.speaker.peer_name(peer)).map(str::to_owned).collect()
    }

    fn without_session(&self, interface: &str) -> Vec<String> {
        self.without_session.get(interface).cloned().unwrap_or_default()
    }

    fn is_gone(&self, vip: &str) -> bool {
        self.vips.is_gone(vip)
    }
}

impl Node {
    /// At the start, before anybody is told anything: what the configuration says, then what people said to an earlier run.
    pub fn resume_drains(&mut self, now: Instant, kept: &Kept) {
        let drains = &mut self.drain.drains;
        if let Some(state) = kept.node {
            drains.place(now, Scope::Node, state, By::Operator);
        }
        for (name, state) in &kept.interfaces {
            drains.place(now, Scope::Interface(name.clone()), *state, By::Operator);
        }
        for (name, state) in &kept.vips {
            drains.place(now, Scope::Vip(name.clone()), *state, By::Operator);
        }
    }

    /// The state that the configuration says for the start.
    pub(super) fn boot_drained(&mut self, now: Instant) {
        if self.config.drain.boot != State::Live {
            self.drain.drains.place(now, Scope::Node, self.config.drain.boot, By::Boot);
        }
    }

    /// Somebody wants something in another state.
    pub(super) fn set_drain(&mut self, now: Instant, scope: &Scope, target: State, by: By) {
        if self.stopped {
            return;
        }
        self.drain.drains.set(now, scope, target, by);
        self.put_drains(now);
        self.drain_tick(now);
    }

    /// Whose octets are under way: [`super::Input::Unacked`].
    pub(super) fn note_unacked(&mut self, conns: BTreeSet<ConnId>) {
        self.drain.unacked = conns;
    }

    pub(super) fn drain_timeout(&self) -> Option<(Instant, &'static str)> {
        self.drain.drains.next_timeout().filter(|_| !self.stopped)
    }

    pub(super) fn drain_tick(&mut self, now: Instant) {
        if self.drain_timeout().is_some_and(|(at, _)| at <= now) {
            let without_session = self.without_session();
            let Book { drains, unacked } = &mut self.drain;
            let view = View { speaker: &self.speaker, unacked, vips: &self.vips, without_session };
            if drains.tick(now, &self.config.drain, &view) {
                self.put_drains(now);
            }
        }
        while let Some(event) = self.drain.drains.poll() {
            self.history.note(now, Happened::Drain(event.clone()));
            self.output.push_back(Output::Drain(event));
        }
    }

    /// Who is not back yet on links that are.
    fn without_session(&self) -> BTreeMap<String, Vec<String>> {
        let back = self.drain.drains.infos().filter(|info| info.state == State::Live && !info.is_settled);
        let links = back.filter_map(|info| match info.scope {
            Scope::Interface(link) => Some(link),
            Scope::Node | Scope::Vip(_) => None,
        });
        let absent = |link: &str| -> Vec<String> {
            let on_link = self.config.peers.iter().filter(|config| self.link_named(config) == Some(link));
            let wanted = on_link.filter(|config| !self.is_shut(config));
            let is_absent = |name: &str| self.peer(name).is_some_and(|peer| !self.established.contains(&peer));
            wanted.map(|config| config.name.clone()).filter(|name| is_absent(name)).collect()
        };
        links.map(|link| (absent(&link), link)).map(|(names, link)| (link, names)).collect()
    }

    /// Puts the states into force: who is not concerned hears nothing.
    pub(super) fn put_drains(&mut self, now: Instant) {
        if !self.started || self.stopped {
            return;
        }
        let peers = self.config.peers.iter();
        let peers = peers.filter_map(|config| Some((self.peer(&config.name)?, self.in_force(config)))).collect();
        let ranges = Some(self.ranges_in_force(&self.config.dynamic));
        let config = self.config.speaker.clone();
        self.reload_speaker(now, Reconfiguration { config, peers, gone: Vec::new(), ranges });
        self.bfd.is_dirty = true;
        self.drain_vips(now);
    }

    /// Tells the services how far they are out of service.
    pub(super) fn drain_vips(&mut self, now: Instant) {
        let (node, vips) = (self.drain.drains.state(&Scope::Node), self.drain.drains.vips());
        self.serve(now, vip::Input::Drain { node, vips });
    }

    /// Links came, went, or have other addresses: other peers may be on those that are drained.
    pub(super) fn drain_links(&mut self, now: Instant) {
        if self.drain.drains.interfaces().next().is_some() {
            self.put_drains(now);
        }
    }

    /// A peer's configuration with what the drains make of it.
    #[must_use]
    pub fn in_force(&self, config: &PeerConfig) -> PeerConfig {
        let link = self.link_named(config);
        let on_link = |(name, state): (&str, State)| (Some(name) == link).then_some(state);
        let mut config = config.clone();
        self.treat(&mut config, self.drain.drains.interfaces().find_map(on_link).unwrap_or_default(), link);
        config
    }

    /// Whether a peer is without a session on purpose.
    pub(super) fn is_shut(&self, config: &PeerConfig) -> bool {
        let mut gone = self.drain.drains.interfaces().filter(|(_, state)| *state == State::Drained);
        config.shutdown.is_some() || gone.any(|(name, _)| self.link_named(config) == Some(name))
    }

    /// Ranges likewise: those that lie within the network of a drained link.
    pub(super) fn ranges_in_force(&self, ranges: &[DynamicRange]) -> Vec<DynamicRange> {
        let nets = |name: &str| -> Vec<IpNet> {
            let links = self.links.iter().filter(|link| link.name == name);
            links.flat_map(|link| link.addrs.iter().map(|addr| addr.net)).collect()
        };
        let drained: Vec<(&str, State, Vec<IpNet>)> =
            self.drain.drains.interfaces().map(|(name, state)| (name, state, nets(name))).collect();
        let treated = |range: &DynamicRange| {
            let on_link = drained.iter().find(|(_, _, nets)| nets.iter().any(|net| net.contains(&range.prefix)));
            let (name, state) = on_link.map_or((None, State::Live), |(name, state, _)| (Some(*name), *state));
            let mut range = range.clone();
            self.treat(&mut range.template, state, name);
            range
        };
        ranges.iter().map(treated).collect()
    }

    /// RFC 8326 §4.2: what the session was told is tagged, what it brings is tagged and the last choice, and in the end it is shut down
    /// with a reason (RFC 9003).
    fn treat(&self, config: &mut PeerConfig, link: State, name: Option<&str>) {
        let node = self.drain.drains.state(&Scope::Node);
        config.routes.graceful_shutdown |= node.max(link) >= State::Soft;
        config.routes.tell = match (link, node) {
            (State::Warm | State::Drained, _) => Tell::Nothing,
            (State::Live | State::Soft, State::Warm | State::Drained) => Tell::Addresses,
            (State::Live | State::Soft, State::Live | State::Soft) => Tell::All,
        };
        config.routes.leave = match link {
            State::Live => Leave::No,
            State::Soft => Leave::LastChoice,
            State::Warm | State::Drained => Leave::Untold,
        };
        if link == State::Drained && config.shutdown.is_none() {
            config.shutdown = Some(format!("link {} is drained", name.unwrap_or_default()));
        }
    }

    /// The link of a peer, if it is on one.
    fn link_named<'a>(&'a self, config: &'a PeerConfig) -> Option<&'a str> {
        match &config.endpoint {
            Endpoint::Interface(name) => Some(name),
            Endpoint::Address(_) if config.multihop => None,
            Endpoint::Address(address) => {
                let link = self.link_of(*address)?;
                self.links.iter().find(|known| known.index == link).map(|known| known.name.as_str())
            }
        }
    }

    /// Everything that is not, or was not always, live.
    pub fn drains(&self) -> impl Iterator<Item = Info> + '_ {
        self.drain.drains.infos()
    }

    /// The state of something.
    #[must_use]
    pub fn drain_state(&self, scope: &Scope) -> State {
        self.drain.drains.state(scope)
    }

    /// Whether something is in a state for good, and everybody was told.
    #[must_use]
    pub fn is_drain_settled(&self, scope: &Scope, state: State) -> bool {
        self.drain.drains.is_settled(scope, state)
    }

    /// Whether one more can be drained.
    #[must_use]
    pub fn has_room_to_drain(&self, scope: &Scope) -> bool {
        self.drain.drains.has_room(scope)
    }

    /// Whether somebody is being told, or settling: the acknowledgements of connections are looked at meanwhile.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.drains.next_timeout().is_some()
    }

    /// What must outlive the daemon.
    #[must_use]
    pub fn kept_drains(&self) -> Kept {
        self.drain.drains.kept()
    }

    /// Whether there is a link of this name, or a peer on one.
    #[must_use]
    pub fn knows_interface(&self, name: &str) -> bool {
        self.links.iter().any(|link| link.name == name && !link.loopback)
            || self.config.unnumbered_links().any(|link| link == name)
    }

    /// Peers with a session that would be left if a link went beside those that are drained, and those that would go with it.
    #[must_use]
    pub fn sessions_beside(&self, now: Instant, interface: &str) -> (usize, usize) {
        let far = self.drain.drains.interfaces().filter(|(_, state)| *state >= State::Warm);
        let drained: BTreeSet<&str> = far.map(|(name, _)| name).collect();
        let (mut left, mut gone) = (0, 0);
        for peer in self.speaker.neighbors(now).iter().filter(|peer| self.established.contains(&peer.id)) {
            let configured = self.config.peers.iter().find(|config| config.name == peer.name);
            let link = match configured {
                Some(config) => self.link_named(config),
                None => peer.address.and_then(|address| {
                    let link = self.link_of(address)?;
                    self.links.iter().find(|known| known.index == link).map(|known| known.name.as_str())
                }),
            };
            match link {
                Some(name) if name == interface => gone += 1,
                Some(name) if drained.contains(name) => {}
                Some(_) | None => left += 1,
            }
        }
        (left, gone)
    }
}
