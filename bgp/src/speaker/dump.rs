//! The table as others read it: every path with its attributes, for dumps (RFC 6396 §4.3). In slices, behind a cursor.

use super::machine::Speaker;
use crate::rib::table::{Entry, LOCAL, is_own};
use crate::types::{Asn, IpNet, NextHop, PeerId, RouterId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Whose paths a dump holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpedPeer {
    /// As paths name it.
    pub id: PeerId,
    /// Its BGP identifier.
    pub router_id: RouterId,
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: Asn,
}

/// A prefix with its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// Its paths.
    pub paths: Vec<DumpedPath>,
}

/// A path, as the table holds it: after the import policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedPath {
    /// Whose.
    pub peer: PeerId,
    /// The peer's path identifier, 0 without (RFC 7911 §3).
    pub id: u32,
    /// Seconds since start at which it came.
    pub since_s: u32,
    /// Through what.
    pub next_hop: NextHop,
    /// Its canonical attribute block.
    pub block: Vec<u8>,
}

impl Speaker {
    /// Everybody whose paths the table may hold, this speaker itself first.
    #[must_use]
    pub fn dumped_peers(&self) -> Vec<DumpedPeer> {
        let router_id = self.config.router_id;
        let own = DumpedPeer { id: LOCAL, router_id, address: IpAddr::V4(router_id), asn: self.config.asn };
        let others = self.members.values().filter_map(|member| {
            let session = member.last.as_ref()?;
            let (router_id, address, asn) = (session.router_id, session.remote.ip(), session.remote_asn);
            Some(DumpedPeer { id: member.peer.id(), router_id, address, asn })
        });
        std::iter::once(own).chain(others).collect()
    }

    /// Up to `limit` prefixes behind a cursor, in order of family and prefix.
    #[must_use]
    pub fn dump(&self, after: Option<IpNet>, limit: usize) -> Vec<DumpedRoute> {
        let known = self.table.after(after).filter(|entry| !entry.paths.is_empty());
        known.take(limit).map(|entry| self.dumped(&entry)).collect()
    }

    /// The paths of one prefix.
    #[must_use]
    pub fn dump_one(&self, prefix: &IpNet) -> Option<DumpedRoute> {
        self.table.get(prefix).filter(|entry| !entry.paths.is_empty()).map(|entry| self.dumped(&entry))
    }

    fn dumped(&self, entry: &Entry<'_>) -> DumpedRoute {
        let paths = entry.paths.iter().map(|path| DumpedPath {
            peer: if is_own(path.peer) { LOCAL } else { path.peer },
            id: path.id,
            since_s: path.came.seconds(),
            next_hop: self.table.hops.next_hop(path.hop),
            block: self.table.attrs.block(path.attrs).to_vec(),
        });
        DumpedRoute { prefix: entry.prefix, paths: paths.collect() }
    }
}
