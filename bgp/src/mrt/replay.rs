//! A dump told to a peer: the routes of one of its peers, or the messages of its sessions, as UPDATEs of ours.

use super::{Attributes, Message, Rib};
use crate::rib::decide::DEFAULT_LOCAL_PREF;
use crate::types::{Asn, Family, IpNet, NextHop};
use crate::wire::attrs::{AsPath, Attrs, edited, flag, kind};
use crate::wire::nlri::Nlri;
use crate::wire::update::{decode, put_announce, put_withdraw};
use crate::wire::{Codec, Kind};
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// Whose words the UPDATEs are.
#[derive(Clone, Copy, Debug)]
pub struct Teller {
    /// Our AS: put in front of every path of another AS, unless the session is internal.
    pub asn: Asn,
    /// What the two OPENs agreed on.
    pub codec: Codec,
    /// Our end of the session: the next hop of every route of its family.
    pub address: IpAddr,
    /// The next hop of routes of the other family, `None`: they are not told.
    pub other: Option<IpAddr>,
}

impl Teller {
    /// Appends the UPDATEs of these prefixes, which share a block. Returns how many prefixes could not be told: their family was not
    /// negotiated or has no next hop, or the attributes leave no room in a message.
    pub fn announce(&self, buf: &mut BytesMut, block: &[u8], prefixes: &[IpNet]) -> usize {
        let block = self.block(block);
        let mut untold = 0;
        for run in prefixes.chunk_by(|a, b| Family::of(a) == Family::of(b)) {
            let Some((family, next_hop)) = run.first().and_then(|prefix| self.next_hop(Family::of(prefix))) else {
                untold += run.len();
                continue;
            };
            let mut left = run.iter().copied().peekable();
            while put_announce(buf, &self.codec, family, &block, &next_hop, &mut left) > 0 {}
            untold += left.count();
        }
        untold
    }

    /// The block as we would send it (RFC 4271 §5.1).
    fn block(&self, block: &[u8]) -> Vec<u8> {
        let attrs = Attrs(block);
        if !self.codec.ebgp {
            let pref = attrs.local_pref().unwrap_or(DEFAULT_LOCAL_PREF).to_be_bytes();
            return edited(block, &[(flag::TRANSITIVE, kind::LOCAL_PREF, Some(&pref))]);
        }
        let outside = attrs.as_path().outside();
        let path = match attrs.as_path().first_as() {
            Some(first) if first == self.asn => outside.into_owned(),
            _ => AsPath(&outside).prepended(self.asn, 1),
        };
        let edits = [
            (flag::TRANSITIVE, kind::AS_PATH, Some(path.as_slice())),
            (0, kind::LOCAL_PREF, None),
            (0, kind::ORIGINATOR_ID, None),
            (0, kind::CLUSTER_LIST, None),
        ];
        edited(block, &edits)
    }

    fn next_hop(&self, family: Family) -> Option<(Family, NextHop)> {
        if !self.codec.families[family.index()] {
            return None;
        }
        let own = self.address.is_ipv6() == (family == Family::Ipv6Unicast);
        let link_local = |address: Ipv6Addr| Some(address).filter(Ipv6Addr::is_unicast_link_local);
        let addr = if own { self.address } else { self.other? };
        let link_local = match addr {
            IpAddr::V6(v6) => link_local(v6),
            IpAddr::V4(_) => None,
        };
        Some((family, NextHop { addr, link_local }))
    }

    /// Appends what an UPDATE of a dump says, as ours. Returns how many prefixes could not be told; `None`: it is no UPDATE, or one
    /// that cannot be read.
    pub fn repeat(&self, buf: &mut BytesMut, message: &Message<'_>) -> Option<usize> {
        // RFC 8050 §3: path identifiers are not ours to repeat.
        if message.kind != Kind::Update || message.add_path {
            return None;
        }
        let codec = super::codec(message.as4);
        let mut block = Vec::new();
        let update = decode(message.message, &codec, &mut block).ok()?;
        let mut untold = 0;
        let withdrawn = [Some((Family::Ipv4Unicast, update.withdrawn)), update.mp_unreach];
        for (family, nlri) in withdrawn.into_iter().flatten() {
            let mut prefixes = Nlri::new(family, nlri).peekable();
            if self.codec.families[family.index()] {
                while put_withdraw(buf, &self.codec, family, &mut prefixes) > 0 {}
            }
            untold += prefixes.count();
        }
        let reach = update.mp_reach.map(|reach| (reach.family, reach.nlri));
        for (family, nlri) in [Some((Family::Ipv4Unicast, update.nlri)), reach].into_iter().flatten() {
            let prefixes: Vec<_> = Nlri::new(family, nlri).collect();
            untold += match update.withdraw {
                None => self.announce(buf, &block, &prefixes),
                Some(_) => prefixes.len(),
            };
        }
        Some(untold)
    }
}

/// Attributes as they lie in the dump, of which family.
type Key = (Vec<u8>, Family);
/// The canonical block, and the prefixes that have it.
type Set = (Vec<u8>, Vec<IpNet>);

/// The routes of a table dump, gathered by their attributes: what shares them shares UPDATEs.
#[derive(Debug, Default)]
pub struct Gathered {
    sets: BTreeMap<Key, Set>,
    /// Paths whose attributes nobody could announce.
    pub malformed: usize,
    /// Paths gathered.
    pub prefixes: usize,
}

impl Gathered {
    /// Adds the first path of a prefix whose peer `wanted` takes.
    pub fn add(&mut self, rib: &Rib<'_>, wanted: impl Fn(u16) -> bool) {
        let Some(entry) = rib.entries().find(|entry| wanted(entry.peer)) else {
            return;
        };
        self.add_path(entry.attributes, rib.prefix);
    }

    fn add_path(&mut self, attributes: Attributes<'_>, prefix: IpNet) {
        let key = (attributes.bytes.to_vec(), Family::of(&prefix));
        if let Some((_, prefixes)) = self.sets.get_mut(&key) {
            prefixes.push(prefix);
            self.prefixes += 1;
            return;
        }
        match attributes.route(&prefix) {
            Ok(route) => {
                self.sets.insert(key, (route.block, vec![prefix]));
                self.prefixes += 1;
            }
            Err(_) => self.malformed += 1,
        }
    }

    /// Every block and its prefixes.
    pub fn sets(&self) -> impl Iterator<Item = (&[u8], &[IpNet])> {
        self.sets.values().map(|(block, prefixes)| (block.as_slice(), prefixes.as_slice()))
    }
}
