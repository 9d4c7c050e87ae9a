//! Policy between the wire and the table: asks it about each prefix, and changes equal routes once.

use super::leaving::left;
use super::machine::{Member, Speaker};
use super::refused::Why;
use crate::peer::{Leave, PeerConfig, Session};
use crate::policy::{Chosen, Outcome, Route, RuleId, SetNextHop, Source, Verdict};
use crate::rib::attrs::AttrsId;
use crate::rib::nexthop::HopId;
use crate::rib::table::{AGGREGATE, Entry, LOCAL, Path};
use crate::types::{IpNet, NextHop, PeerId};
use crate::wire::attrs::{Attrs, community, flag, kind, with};
use std::net::IpAddr;

/// Why a peer is not told of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The protocol, or the role, says so.
    Because(&'static str),
    /// The export policy says so; the rule, if one was asked.
    Policy(Option<RuleId>),
}

/// What a peer may be told for an entry.
#[derive(Debug)]
pub(super) struct Offer<'t> {
    pub(super) path: &'t Path,
    pub(super) rule: Option<RuleId>,
    /// Rules whose changes apply.
    pub(super) changes: Vec<RuleId>,
}

/// Routes of one UPDATE on their way into the table.
#[derive(Debug)]
pub(super) struct Import<'u> {
    pub(super) id: PeerId,
    pub(super) session: &'u Session,
    pub(super) chosen: Chosen<'u>,
    pub(super) block: &'u [u8],
    pub(super) next_hop: NextHop,
    /// What distinct changes made of the block, as prefixes asked for them.
    pub(super) made: Vec<(Vec<RuleId>, AttrsId, HopId)>,
    /// The peer's link is about to go.
    pub(super) leave: Leave,
}

impl Speaker {
    /// What the import policy says of one prefix, counted.
    pub(super) fn imported(&mut self, import: &mut Import<'_>, prefix: &IpNet) -> Result<(AttrsId, HopId), Why> {
        if let Chosen::Rules(..) = import.chosen {
            return self.filtered(import, prefix);
        }
        Ok(self.made(import, Vec::new()))
    }

    fn filtered(&mut self, import: &mut Import<'_>, prefix: &IpNet) -> Result<(AttrsId, HopId), Why> {
        let member = self.members.get_mut(&import.id).ok_or(Why::Policy(None))?;
        let session = import.session;
        let outcome = import.chosen.evaluate(Route {
            prefix,
            attrs: Attrs(import.block),
            next_hop: import.next_hop.addr,
            source: if session.codec.ebgp { Source::Ebgp } else { Source::Ibgp },
            peer_name: &member.peer.config().name,
            peer_address: session.remote.ip(),
            peer_asn: session.remote_asn,
            own_asn: self.config.asn,
            next_hops: 1,
            bandwidth: Attrs(import.block).link_bandwidth(),
            vrps: self.rpki.vrps(),
        });
        member.hits.count(outcome.rule);
        match outcome.verdict {
            Verdict::Accept => Ok(self.made(import, outcome.changes)),
            Verdict::Reject => Err(Why::Policy(outcome.rule)),
        }
    }

    /// The interned block and next hop after these changes, each with a holder for the path.
    fn made(&mut self, import: &mut Import<'_>, changes: Vec<RuleId>) -> (AttrsId, HopId) {
        if let Some((_, attrs, hop)) = import.made.iter().find(|(made, _, _)| *made == changes) {
            // A path of this message holds both; a later one of the same message may have been its last holder.
            self.table.attrs.hold(*attrs);
            self.table.hops.hold(*hop);
            return (*attrs, *hop);
        }
        let mut next_hop = import.next_hop;
        let attrs = if changes.is_empty() {
            self.table.attrs.intern(&left(import.block, import.leave))
        } else {
            let mut block = import.chosen.changed(import.block, &changes, self.config.asn, None);
            // RFC 8326 §4: whatever a rule prefers, who asks to be left is left.
            if is_draining(import.block) || is_draining(&block) {
                block = with(&block, flag::TRANSITIVE, kind::LOCAL_PREF, Some(&[0; 4]));
            }
            match import.chosen.next_hop(&changes) {
                Some(SetNextHop::Peer) => next_hop = at_peer(import.session),
                Some(SetNextHop::Address(address)) => next_hop = NextHop::new(address),
                Some(SetNextHop::Me) | None => {}
            }
            self.table.attrs.intern(&left(&block, import.leave))
        };
        let hop = self.table.hops.intern(next_hop, import.session.link);
        // Held by the list too, until the message is done.
        self.table.attrs.hold(attrs);
        self.table.hops.hold(hop);
        import.made.push((changes, attrs, hop));
        (attrs, hop)
    }

    /// The export policy in force for a peer.
    pub(super) fn export_policy(&self, member: &Member, session: &Session) -> Chosen<'_> {
        self.config.policies.choose(member.peer.config().export.as_deref(), session.codec.ebgp)
    }

    /// What the export policy says of a path that may be told otherwise.
    pub(super) fn offered<'t>(
        &self,
        (config, session): (&PeerConfig, &Session),
        (entry, path): (&Entry<'_>, &'t Path),
        chosen: Chosen<'_>,
    ) -> Result<Offer<'t>, Refusal> {
        let outcome = match chosen {
            Chosen::Always(verdict) => Outcome { verdict, rule: None, changes: Vec::new() },
            Chosen::Rules(..) => chosen.evaluate(Route {
                prefix: &entry.prefix,
                attrs: Attrs(self.table.attrs.block(path.attrs)),
                next_hop: self.table.hops.next_hop(path.hop).addr,
                source: self.learnt(path.peer),
                peer_name: &config.name,
                peer_address: session.remote.ip(),
                peer_asn: session.remote_asn,
                own_asn: self.config.asn,
                next_hops: entry.hops.map_or(0, |hops| u32::try_from(hops.len()).unwrap_or(u32::MAX)),
                bandwidth: entry.bandwidth,
                vrps: self.rpki.vrps(),
            }),
        };
        match outcome.verdict {
            Verdict::Accept => Ok(Offer { path, rule: outcome.rule, changes: outcome.changes }),
            Verdict::Reject => Err(Refusal::Policy(outcome.rule)),
        }
    }

    fn learnt(&self, source: PeerId) -> Source {
        if source == LOCAL {
            return Source::Local;
        }
        if source == AGGREGATE {
            return Source::Aggregate;
        }
        if self.table.peer(source).is_some_and(|facts| !facts.ebgp) { Source::Ibgp } else { Source::Ebgp }
    }

    /// A refusal as a sentence.
    pub(super) fn refusal(&self, refusal: Refusal) -> String {
        match refusal {
            Refusal::Because(why) => why.to_owned(),
            Refusal::Policy(None) => "the export policy rejects everything, or there is none (RFC 8212)".to_owned(),
            Refusal::Policy(Some(rule)) => {
                format!("the export policy rejects it (rule {})", self.config.policies.rule_name(rule))
            }
        }
    }
}

fn is_draining(block: &[u8]) -> bool {
    Attrs(block).has_community(community::GRACEFUL_SHUTDOWN)
}

/// The peer itself as a next hop.
pub(super) fn at_peer(session: &Session) -> NextHop {
    let addr = session.remote.ip();
    let link_local = match addr {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    NextHop { addr, link_local }
}
