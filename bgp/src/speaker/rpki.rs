//! Route origin validation in the speaker (RFC 6811 §4, RFC 8210): one client for each cache, the data of the most preferred one that
//! has any, and what a change of it means for routes that were taken or refused. Nothing waits for a cache: without data, a route is
//! `not-found`.

use super::machine::{Member, Speaker};
use super::refused::Why;
use super::sweep::Gone;
use crate::policy::{Chosen, Route, Source, Verdict};
use crate::rib::table::{PathKey, SlotId};
use crate::rpki::{Validity, Vrps, origin};
use crate::rtr::{CHANGED_MAX, Changed, Client, Kept};
use crate::time::{Duration, Instant};
use crate::types::{Family, IpNet, PeerId};
use crate::wire::attrs::Attrs;
use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Slots looked at in one slice of a walk.
const SLICE: SlotId = 4_096;
/// A walk begins so long after the first change: a cache that comes with many serial numbers in a row costs one.
const PAUSE: Duration = Duration::from_secs(1);

/// How a cache is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheInfo {
    /// `idle`, `asked`, `reading` or `established`.
    pub state: String,
    /// Its data is the one in use.
    pub active: bool,
    /// Protocol version.
    pub version: u8,
    /// Session id.
    pub session: Option<u16>,
    /// Serial number.
    pub serial: Option<u32>,
    /// VRPs: IPv4, IPv6.
    pub vrps: [u64; 2],
    /// Seconds until its data expires.
    pub expires_in_s: Option<u64>,
    /// PDUs received.
    pub pdus: u64,
    /// Why its connection ended.
    pub last_error: Option<String>,
}

/// Looking again at routes whose validity may be another one.
#[derive(Debug)]
struct Revalidation {
    from: Instant,
    changed: Changed,
    next: SlotId,
    /// Peers that are to be asked for their routes again (RFC 2918): the table has them only as the policy left them.
    ask: BTreeSet<PeerId>,
}

/// All caches, the most preferred first.
#[derive(Debug, Default)]
pub(super) struct Rpki {
    clients: Vec<Client>,
    active: Option<usize>,
    again: Option<Revalidation>,
}

impl Rpki {
    /// The data in use.
    pub(super) fn vrps(&self) -> Option<&Vrps> {
        self.clients.get(self.active?)?.vrps()
    }
}

impl Speaker {
    /// So many caches, the most preferred first; they begin anew.
    pub fn set_caches(&mut self, now: Instant, count: usize) {
        self.rpki.clients = (0..count).map(|_| Client::default()).collect();
        self.on_cache(now);
    }

    /// What the next program needs of a cache, and its data; `None` where there is none to be used.
    #[must_use]
    pub fn keep_cache(&self, cache: usize) -> Option<(Kept, BytesMut)> {
        self.rpki.clients.get(cache)?.keep()
    }

    /// A cache goes on where the program before left it. This comes before the first route: nothing has to be looked at again.
    ///
    /// # Errors
    /// Why what was left is not used; the cache begins anew.
    pub fn resume_cache(&mut self, now: Instant, cache: usize, kept: &Kept, octets: &[u8]) -> Result<(), &'static str> {
        let place = self.rpki.clients.get_mut(cache).ok_or("there is no such cache")?;
        *place = Client::resume(now, kept, octets)?;
        self.rpki.active = self.rpki.clients.iter().position(|client| client.vrps().is_some());
        Ok(())
    }

    /// The connection to a cache stands.
    pub fn cache_connected(&mut self, now: Instant, cache: usize) {
        if let Some(client) = self.rpki.clients.get_mut(cache) {
            client.connected(now);
        }
    }

    /// Octets came from a cache.
    pub fn cache_received(&mut self, now: Instant, cache: usize, data: &[u8]) {
        if let Some(client) = self.rpki.clients.get_mut(cache) {
            client.received(now, data);
        }
        self.on_cache(now);
    }

    /// The connection to a cache is over, or could not be made; how long to wait before the next attempt.
    pub fn cache_disconnected(&mut self, cache: usize, error: &str) -> Duration {
        let Some(client) = self.rpki.clients.get_mut(cache) else {
            return Duration::MAX;
        };
        client.disconnected(error);
        client.retry()
    }

    /// Octets for a cache; true: close its connection behind them.
    pub fn poll_cache(&mut self, cache: usize) -> (BytesMut, bool) {
        self.rpki.clients.get_mut(cache).map_or_else(|| (BytesMut::new(), true), Client::poll_transmit)
    }

    /// How the caches are doing.
    #[must_use]
    pub fn caches(&self, now: Instant) -> Vec<CacheInfo> {
        let one = |(at, client): (usize, &Client)| {
            let status = client.status();
            CacheInfo {
                state: status.state.to_owned(),
                active: self.rpki.active == Some(at),
                version: status.version,
                session: status.session.map(|(session, _)| session),
                serial: status.session.map(|(_, serial)| serial),
                vrps: status.vrps.map(|count| count as u64),
                expires_in_s: status.expires_at.map(|at| at.since(now).as_secs()),
                pdus: status.received,
                last_error: status.last_error,
            }
        };
        self.rpki.clients.iter().enumerate().map(one).collect()
    }

    /// The validation state of a route; `None` where there are no caches.
    pub(super) fn validity(&self, prefix: &IpNet, attrs: Attrs<'_>) -> Option<Validity> {
        if self.rpki.clients.is_empty() {
            return None;
        }
        let vrps = self.rpki.vrps();
        Some(vrps.map_or(Validity::NotFound, |vrps| vrps.validity(prefix, origin(attrs, self.config.asn))))
    }

    /// When a cache is to be called, or routes are to be looked at.
    pub(super) fn rpki_timeout(&self) -> Option<(Instant, &'static str)> {
        let clients = self.rpki.clients.iter().filter_map(Client::next_timeout).min();
        let again = self.rpki.again.as_ref().map(|again| (again.from, "route origin validation"));
        clients.map(|at| (at, "RPKI cache")).into_iter().chain(again).min()
    }

    pub(super) fn tick_rpki(&mut self, now: Instant) {
        if self.rpki.clients.iter().any(|client| client.next_timeout().is_some_and(|at| at <= now)) {
            for client in &mut self.rpki.clients {
                client.tick(now);
            }
            self.on_cache(now);
        }
        self.revalidate(now);
    }

    /// What a cache did may have changed the data in use.
    fn on_cache(&mut self, now: Instant) {
        let active = self.rpki.clients.iter().position(|client| client.vrps().is_some());
        let mut changed = None;
        for (at, client) in self.rpki.clients.iter_mut().enumerate() {
            let news = client.take_changed();
            if active == Some(at) {
                changed = news;
            }
        }
        if active != self.rpki.active {
            self.rpki.active = active;
            changed = Some(Changed::Everything);
        }
        let Some(changed) = changed else {
            return;
        };
        let (from, changed) = match self.rpki.again.take() {
            None => (now + PAUSE, changed),
            // What was looked at already may have changed again.
            Some(before) => (before.from, merged(before.changed, changed)),
        };
        self.rpki.again = Some(Revalidation { from, changed, next: 0, ask: BTreeSet::new() });
    }

    /// One slice of looking again (RFC 6811 §4): a path that the policy refuses now goes at once; who may have others is asked.
    fn revalidate(&mut self, now: Instant) {
        let Some(mut again) = self.rpki.again.take_if(|again| again.from <= now) else {
            return;
        };
        let end = again.next.saturating_add(SLICE).min(self.table.slots());
        for slot in again.next..end {
            let Some(entry) = self.table.entry(slot) else {
                continue;
            };
            let prefix = entry.prefix;
            if !is_within(&again.changed, &prefix) {
                continue;
            }
            let keys: Vec<PathKey> = entry.paths.iter().map(|path| path.key()).collect();
            for key in keys {
                self.look_again(now, slot, (key, prefix), &mut again.ask);
            }
        }
        again.next = end;
        if end < self.table.slots() {
            self.rpki.again = Some(again);
            return;
        }
        self.ask_for_routes(&again);
    }

    fn look_again(&mut self, now: Instant, slot: SlotId, (key, prefix): (PathKey, IpNet), ask: &mut BTreeSet<PeerId>) {
        let Some(member) = self.members.get(&key.peer) else {
            return;
        };
        let (Some(session), Some(entry)) = (member.peer.session(), self.table.entry(slot)) else {
            return;
        };
        let chosen = self.import_policy(member, session.codec.ebgp);
        let Some(path) = entry.paths.iter().find(|path| path.key() == key).filter(|_| chosen.asks_of_validity()) else {
            return;
        };
        let attrs = Attrs(self.table.attrs.block(path.attrs));
        let outcome = chosen.evaluate(Route {
            prefix: &prefix,
            attrs,
            next_hop: self.table.hops.next_hop(path.hop).addr,
            source: if session.codec.ebgp { Source::Ebgp } else { Source::Ibgp },
            peer_name: &member.peer.config().name,
            peer_address: session.remote.ip(),
            peer_asn: session.remote_asn,
            own_asn: self.config.asn,
            next_hops: 1,
            bandwidth: attrs.link_bandwidth(),
            vrps: self.rpki.vrps(),
        });
        ask.insert(key.peer);
        if outcome.verdict == Verdict::Reject && self.validity(&prefix, attrs) == Some(Validity::Invalid) {
            let life = self.table.lives.now(key.peer, Family::of(&prefix));
            if let Some(came) = self.table.remove(&prefix, key)
                && let Some(member) = self.members.get_mut(&key.peer)
            {
                member.held.went(Family::of(&prefix), life, came);
                member.prefixes_rejected += 1;
                member.refused.note(now.as_secs(), (key.id, prefix), Why::Policy(outcome.rule));
                if self.is_observed(key.peer) {
                    let mut gone = Gone::default();
                    gone[Family::of(&prefix).index()].push((key.id, prefix));
                    self.observe_refused(now, key.peer, &gone);
                }
            }
        }
    }

    /// The walk is over: routes that the table does not have, or has as the policy changed them, only their peer can say again.
    fn ask_for_routes(&mut self, again: &Revalidation) {
        let policies = std::sync::Arc::clone(&self.config.policies);
        for member in self.members.values_mut() {
            let Some(ebgp) = member.peer.session().map(|session| session.codec.ebgp) else {
                continue;
            };
            let config = member.peer.config();
            let import = policies.choose(config.import.as_deref(), ebgp);
            let export = policies.choose(config.export.as_deref(), ebgp);
            let refused = || member.refused.may_have(|prefix| is_within(&again.changed, prefix));
            if import.asks_of_validity() && (again.ask.contains(&member.peer.id()) || refused()) {
                for family in Family::ALL {
                    member.peer.request_refresh(family);
                }
            }
            if export.asks_of_validity() {
                member.out.restart();
                self.has_news = true;
            }
        }
        self.groups.clear();
    }

    fn import_policy(&self, member: &Member, ebgp: bool) -> Chosen<'_> {
        self.config.policies.choose(member.peer.config().import.as_deref(), ebgp)
    }
}

fn merged(one: Changed, other: Changed) -> Changed {
    match (one, other) {
        (Changed::Prefixes(mut all), Changed::Prefixes(more)) => {
            all.extend(more);
            // Each is compared with every prefix of the table.
            if all.len() > CHANGED_MAX { Changed::Everything } else { Changed::Prefixes(all) }
        }
        (Changed::Everything, _) | (_, Changed::Everything) => Changed::Everything,
    }
}

/// Whether a prefix may have another validity: a VRP covers it that came or went.
fn is_within(changed: &Changed, prefix: &IpNet) -> bool {
    match changed {
        Changed::Everything => true,
        Changed::Prefixes(all) => all.iter().any(|net| net.contains(prefix)),
    }
}
