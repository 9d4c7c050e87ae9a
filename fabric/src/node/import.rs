//! Routes of the machine that a node announces: those of other software, as the kernel's tables hold them, and connected networks.

use super::Node;
use super::sources::Source;
use crate::config::Terms;
use serde::{Deserialize, Serialize};
use weft_bgp::peer::RemoteAs;
use weft_bgp::speaker::Originate;
use weft_bgp::time::Instant;
use weft_bgp::types::IpNet;

/// Most prefixes of other software: what a machine's pods and addresses need many times over, and nothing that a mistake may flood
/// the fabric with.
pub const MAX_IMPORTED: usize = 8_192;

/// What the kernel's tables hold of other software's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Which start of the import; what an earlier one still had to say is void.
    pub run: u64,
    /// These are all: what was told before and is not among them is gone.
    pub all: bool,
    /// Prefixes, each with the rule that it is announced by, or none if it is gone.
    pub changes: Vec<(IpNet, Option<usize>)>,
    /// What was left out because there are more than [`MAX_IMPORTED`].
    pub left_out: Vec<LeftOut>,
}

/// Routes of other software that nobody is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Kernel table.
    pub table: u32,
    /// Their routing protocol number.
    pub protocol: u8,
    /// How many.
    pub routes: u64,
}

impl Node {
    /// Routes of other software came or went.
    pub(super) fn imported(&mut self, now: Instant, imported: Imported) {
        self.import_left_out = imported.left_out;
        let rules = &self.config.import.kernel;
        let route = |(prefix, rule): (IpNet, Option<usize>)| {
            let why =
                |rule: usize| rules.get(rule).map(|rule| format!("table {} protocol {}", rule.table, rule.protocol));
            let route = rule.and_then(|at| Some(originate(prefix, &rules.get(at)?.terms, why(at)?)));
            (prefix, route)
        };
        let changes: Vec<_> = imported.changes.into_iter().map(route).collect();
        if imported.all {
            let all = changes.into_iter().filter_map(|(_, route)| route).collect();
            self.originate_all(now, Source::Kernel, all);
            return;
        }
        for (prefix, route) in changes {
            match route {
                Some(route) => self.originate(now, Source::Kernel, route),
                None => self.unoriginate(now, Source::Kernel, &prefix),
            }
        }
    }

    /// Connected networks of usable interfaces, as they are now.
    pub(super) fn import_connected(&mut self, now: Instant) {
        let rules = &self.config.import.connected;
        if rules.is_empty() && self.sources.of(Source::Connected).next().is_none() {
            return;
        }
        let links = self.links.iter().filter(|link| link.is_usable() && !link.loopback);
        let networks = links.flat_map(|link| link.addrs.iter().map(move |addr| (link, addr)));
        let meant = networks.filter(|(_, addr)| !addr.link_local && !addr.tentative).filter_map(|(link, addr)| {
            let prefix = addr.net.trunc();
            let rule = rules.iter().find(|rule| rule.is_on(&link.name) && rule.terms.covers(&prefix))?;
            Some(originate(prefix, &rule.terms, format!("connected on {}", link.name)))
        });
        let meant = meant.collect();
        self.originate_all(now, Source::Connected, meant);
    }

    /// Whether next hops may be behind gateways that other software's routes know: an external peer on a link names itself or somebody
    /// beside it.
    #[must_use]
    pub fn needs_foreign_routes(&self) -> bool {
        let own = RemoteAs::Is(self.config.speaker.asn);
        let templates = self.config.dynamic.iter().map(|range| &range.template);
        self.config.peers.iter().chain(templates).any(|peer| peer.multihop || peer.remote_asn == own)
    }

    /// Routes of other software that are not announced because there are too many, by table and protocol.
    #[must_use]
    pub fn import_left_out(&self) -> &[LeftOut] {
        &self.import_left_out
    }
}

fn originate(prefix: IpNet, terms: &Terms, why: String) -> Originate {
    Originate {
        prefix,
        communities: terms.communities.clone(),
        large_communities: terms.large_communities.clone(),
        weight: None,
        why,
    }
}
