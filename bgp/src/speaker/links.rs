//! What interfaces mean to the speaker: next hops are resolved anew, sessions end with their carrier, and a peer whose link is
//! there again is dialled at once instead of after the retry timer.

use super::machine::{Member, Speaker};
use super::sweep::SLICE;
use super::{ForeignRoute, LinkState, Output};
use crate::peer::{Endpoint, PeerInput, Session};
use crate::time::Instant;
use crate::types::{IfIndex, PeerId};
use std::net::IpAddr;

impl Speaker {
    pub(super) fn set_links(&mut self, now: Instant, links: Vec<LinkState>) {
        let unreachable: Vec<PeerId> =
            self.members.iter().filter(|(_, member)| !self.is_on_link(member)).map(|(id, _)| *id).collect();
        let changed = self.table.hops.set_links(links);
        self.table.hops_changed(&changed);
        self.table.rerank(SLICE);
        for peer in unreachable {
            if self.members.get(&peer).is_some_and(|member| self.is_on_link(member)) {
                self.give(now, peer, PeerInput::LinkUp);
            }
        }
    }

    /// Next hops behind a gateway may be reachable now, or no longer, or by another way.
    pub(super) fn set_foreign_routes(&mut self, routes: Vec<ForeignRoute>) {
        let changed = self.table.hops.set_routes(routes);
        self.table.hops_changed(&changed);
        self.table.rerank(SLICE);
    }

    /// Loss of carrier is certain, so sessions over that link end now.
    pub(super) fn on_link_down(&mut self, now: Instant, link: IfIndex) {
        let on_link = |member: &&Member| member.last.as_ref().is_some_and(|last| self.link_of(last) == Some(link));
        let hit: Vec<_> = self.members.values().filter(on_link).map(|member| member.peer.id()).collect();
        for peer in hit {
            self.give(now, peer, PeerInput::LinkDown);
            self.hold_back(peer);
        }
    }

    /// Nothing is sent to a peer whose link was lost and whose routes are kept: what it forwards is known when its session stands.
    fn hold_back(&mut self, peer: PeerId) {
        let Some(member) = self.members.get(&peer).filter(|member| member.peer.waits()) else {
            return;
        };
        let Some((link, addr)) = member.last.as_ref().and_then(|last| Some((self.link_of(last)?, last.remote.ip())))
        else {
            return;
        };
        if self.held_back.insert(peer, (link, addr)).is_none() {
            self.apply_hold((link, addr), true);
        }
    }

    /// Packets go again to whom nothing keeps them from: its session stands, or nothing is left of its routes; and what it says that it
    /// no longer forwards has gone.
    pub(super) fn release_held(&mut self) {
        let is_over = |(peer, _): &(&PeerId, &(IfIndex, IpAddr))| {
            !self.members.get(peer).is_some_and(|member| member.peer.waits())
                && !self.sweeps.iter().any(|sweep| sweep.removes(**peer))
        };
        let over: Vec<_> = self.held_back.iter().filter(is_over).map(|(peer, at)| (*peer, *at)).collect();
        for (peer, at) in over {
            self.held_back.remove(&peer);
            self.apply_hold(at, false);
        }
    }

    fn apply_hold(&mut self, (link, addr): (IfIndex, IpAddr), held: bool) {
        let changed = self.table.hops.hold_back(link, addr, held);
        self.table.hops_changed(&changed);
        self.table.rerank(SLICE);
        self.output.push_back(Output::HoldBack { link, addr, held });
    }

    /// Somebody on a link that stands cannot be reached, or can be again. Until then routes do without it, and it has no session: one
    /// that began while a port is damped would not end with the port.
    pub(super) fn set_reachable(&mut self, now: Instant, (link, addr): (IfIndex, IpAddr), reachable: bool) {
        let is_there = |member: &&Member| match member.peer.config().endpoint {
            Endpoint::Address(address) if address == addr => {
                self.table.hops.connected(addr).is_some_and(|(own, _)| own == link)
            }
            Endpoint::Address(_) | Endpoint::Interface(_) => {
                let last = member.last.as_ref().filter(|last| last.remote.ip() == addr);
                last.is_some_and(|last| self.link_of(last) == Some(link))
            }
        };
        let peers: Vec<_> = self.members.values().filter(is_there).map(|member| member.peer.id()).collect();
        let changed = self.table.hops.set_reachable(link, addr, reachable);
        self.table.hops_changed(&changed);
        self.table.rerank(SLICE);
        for peer in peers {
            self.give(now, peer, if reachable { PeerInput::Reached } else { PeerInput::CutOff });
            if !reachable {
                self.hold_back(peer);
            }
        }
    }

    /// The interface of a session with a directly connected peer.
    fn link_of(&self, session: &Session) -> Option<IfIndex> {
        session.link.or_else(|| Some(self.table.hops.connected(session.local.ip())?.0))
    }

    /// Whether a peer's fixed address is in a connected prefix; where an unnumbered one is, discovery says.
    fn is_on_link(&self, member: &Member) -> bool {
        match member.peer.config().endpoint {
            Endpoint::Address(address) => self.table.hops.connected(address).is_some(),
            Endpoint::Interface(_) => true,
        }
    }
}
