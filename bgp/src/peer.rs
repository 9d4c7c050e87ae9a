//! One peer: its configuration, at most two connections ([`crate::fsm`]), and the arbiter between them (RFC 4271 §6.8, RFC 6286).

mod arbiter;
mod bfd;
pub mod change;
mod damping;
mod ending;
mod facts;
mod handover;
mod options;
mod quiet;
mod restart;
mod routes;
mod trail;

pub use arbiter::{Over, Peer};
pub use handover::Handed;
pub use options::{AddPath, AddPathSend, SessionOptions};
pub use quiet::Beats;
pub use restart::Retain;
pub use routes::{Leave, LinkLocalForm, LocalAs, MaxPrefixesAction, RemovePrivateAs, RouteOptions, Tell};
pub(crate) use trail::Trail;
pub use trail::{FsmEvent, FsmState, MessageRecord, PeerHistory, Transition, Way};

use crate::time::Instant;
use crate::types::{Asn, ConnId, Family, IfIndex, RouterId};
use crate::wire::capability::{LongLived, Role};
use crate::wire::{Codec, Notification};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// At a fixed address.
    Address(IpAddr),
    /// Whoever answers on an interface (unnumbered): the address comes by `SetRemote`.
    Interface(String),
}

/// Which AS a peer may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RemoteAs {
    /// Exactly this.
    Is(Asn),
    /// Any but ours.
    External,
    /// One of these.
    OneOf(Vec<Asn>),
}

/// How NEXT_HOP is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextHopRule {
    /// RFC 4271 §5.1.3: self towards external peers (and for what we originate), unchanged towards internal ones.
    #[default]
    Standard,
    /// Always ourselves on export.
    SelfOnExport,
    /// On import from this peer: if NEXT_HOP lies in the connected prefix that also holds the peer, keep it; otherwise the peer itself
    /// is the next hop (Neco's receiver-side rule). Export as `Standard`.
    PeerOnImport,
}

/// Everything configured about a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerConfig {
    /// Unique, for people: `tor1`, `eth0`.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its AS.
    pub remote_asn: RemoteAs,
    /// Do not dial, only accept.
    pub passive: bool,
    /// Administratively down, with the shutdown communication to send (RFC 9003).
    pub shutdown: Option<String>,
    /// Families offered.
    pub families: Vec<Family>,
    /// Offered hold time in seconds: 0 or ≥ 3.
    pub hold_time_s: u16,
    /// Least and most wait between connection attempts, milliseconds; jittered in between.
    pub connect_retry_ms: (u32, u32),
    /// Restart time offered (RFC 4724), seconds, 12 bits; `None` = no graceful restart, neither ours nor the peer's.
    pub graceful_restart_s: Option<u16>,
    /// The peer is our route reflection client (RFC 4456).
    pub route_reflector_client: bool,
    /// Next-hop treatment.
    pub next_hop: NextHopRule,
    /// Most prefixes over all families; one more ends the session (Cease/1, RFC 4486).
    pub max_prefixes: Option<u32>,
    /// Name of the import policy; `None` = RFC 8212: eBGP rejects, iBGP accepts.
    pub import: Option<String>,
    /// Name of the export policy; `None` likewise.
    pub export: Option<String>,
    /// Export only what we originate ourselves (role host: never transits), before the policy.
    pub originated_only: bool,
    /// Local address to dial from.
    pub local_address: Option<IpAddr>,
    /// More than one hop away: no TTL 1.
    pub multihop: bool,
    /// How the session is run.
    pub session: SessionOptions,
    /// How its routes are treated.
    pub routes: RouteOptions,
    /// Several paths for a prefix.
    pub add_path: AddPath,
}

impl PeerConfig {
    /// A peer with every default: both families, a hold time of 9 s, graceful restart, no policy (RFC 8212).
    #[must_use]
    pub fn new(name: &str, endpoint: Endpoint, remote_asn: RemoteAs) -> Self {
        Self {
            name: name.to_owned(),
            endpoint,
            remote_asn,
            passive: false,
            shutdown: None,
            families: Family::ALL.to_vec(),
            hold_time_s: 9,
            connect_retry_ms: (1_000, 2_000),
            graceful_restart_s: Some(120),
            route_reflector_client: false,
            next_hop: NextHopRule::Standard,
            max_prefixes: None,
            import: None,
            export: None,
            originated_only: false,
            local_address: None,
            multihop: false,
            session: SessionOptions::default(),
            routes: RouteOptions::default(),
            add_path: AddPath::default(),
        }
    }
}

/// What is the same for all peers.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    /// Our AS.
    pub asn: Asn,
    /// Our identifier.
    pub router_id: RouterId,
    /// R bit: we just started, so nobody is to wait for our End-of-RIB (RFC 4724 §3). Without it, speakers that start together
    /// would wait for each other.
    pub restarted: bool,
    /// F bits in the first OPEN: our forwarding state was kept over the restart. Later ones have them anyway.
    pub kept: bool,
}

/// What an Established session agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The surviving connection.
    pub conn: ConnId,
    /// Our end.
    pub local: SocketAddr,
    /// Their end.
    pub remote: SocketAddr,
    /// The interface of a link-local session.
    pub link: Option<IfIndex>,
    /// Their AS.
    pub remote_asn: Asn,
    /// Their identifier.
    pub router_id: RouterId,
    /// Agreed hold time, seconds.
    pub hold_time_s: u16,
    /// For encoding and decoding.
    pub codec: Codec,
    /// They understand ROUTE-REFRESH (RFC 2918).
    pub route_refresh: bool,
    /// Both understand its demarcations (RFC 7313).
    pub enhanced_refresh: bool,
    /// Their graceful restart capability, cut down to the families of the session; `None` also if we did not offer it (RFC 4724 §3).
    pub graceful: Option<PeerRestart>,
    /// Their long-lived graceful restart likewise (RFC 9494 §3.1); empty without `graceful`.
    pub long_lived: Vec<LongLived>,
    /// They know long-lived stale routes: they sent that capability, whatever its families (RFC 9494 §4.3).
    pub knows_long_lived: bool,
    /// What they call themselves (draft-walton-bgp-hostname-capability).
    pub hostname: Option<String>,
    /// Our role towards an external peer (RFC 9234): OTC is treated by it whether or not they said theirs (§4.2).
    pub role: Option<Role>,
}

/// The graceful restart capability as received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRestart {
    /// R bit.
    pub restarted: bool,
    /// N bit: a NOTIFICATION too begins a graceful restart (RFC 8538 §2). In a session: both said so.
    pub notification: bool,
    /// Restart time, seconds.
    pub time_s: u16,
    /// Families listed, each with its F bit.
    pub families: Vec<(Family, bool)>,
}

/// What the arbiter is told.
#[derive(Clone, Debug)]
pub enum PeerInput {
    /// Begin (or begin again) to connect.
    Start,
    /// End: with a NOTIFICATION, or silently.
    Stop(Option<Notification>),
    /// The address of an unnumbered peer.
    Remote(Option<(Ipv6Addr, IfIndex)>),
    /// Our dial succeeded.
    Connected {
        /// Which.
        conn: ConnId,
        /// Our end.
        local: SocketAddr,
    },
    /// Our dial failed.
    ConnectFailed {
        /// Which.
        conn: ConnId,
        /// Why.
        error: String,
    },
    /// They connected to us.
    Accepted {
        /// Which.
        conn: ConnId,
        /// Our end.
        local: SocketAddr,
        /// Their end.
        remote: SocketAddr,
    },
    /// The process before this one had a session on this connection.
    Handed {
        /// Which.
        conn: ConnId,
        /// The session.
        session: Box<Handed>,
    },
    /// Bytes arrived.
    Received {
        /// On which connection.
        conn: ConnId,
        /// The bytes.
        data: Bytes,
    },
    /// End of file or error.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// Carrier of the session's link was lost.
    LinkDown,
    /// The link to a peer at a fixed address is there (again).
    LinkUp,
    /// The peer cannot be reached on a link that stands: as if its carrier was lost, and nobody is dialled or listened to.
    CutOff,
    /// It can be again.
    Reached,
    /// The layer above found a fault in an UPDATE that resets the session, or wants Cease.
    Fault(Notification),
    /// BFD lost the peer (RFC 9384).
    BfdDown {
        /// Its control plane alone may be gone: keep its routes if graceful restart was agreed on (RFC 5882 §4.3).
        retain: bool,
    },
    /// The peer's BFD may be one with our life before a restart: until this time a session waits for BFD to be Up, so that none comes up
    /// only to be ended by what the peer's BFD finds of that life.
    AwaitBfd(Instant),
    /// Whether BFD to the peer is Up, for a strict session (draft-ietf-idr-bgp-bfd-strict-mode).
    BfdState {
        /// It is.
        is_up: bool,
    },
    /// A deadline passed.
    Tick,
}

/// What the arbiter wants.
#[derive(Clone, Debug)]
pub enum PeerOutput {
    /// Dial `remote`; ids come from the `next_conn` counter handed to `handle`.
    Connect {
        /// The new connection.
        conn: ConnId,
        /// Where to.
        remote: SocketAddr,
    },
    /// Close.
    Close {
        /// Which.
        conn: ConnId,
        /// After what is buffered.
        flush: bool,
    },
    /// Control bytes wait in `poll_transmit`.
    Writable(ConnId),
    /// Established.
    Up(Arc<Session>),
    /// A whole UPDATE message (header included), already length-checked; the hold timer is renewed.
    Update(Bytes),
    /// After `Up`: the session is one of the process before, of which we know no route, and the peer those that we told it then.
    TakenOver,
    /// They told everything of a family again: what they did not repeat is to go (RFC 7313 §4.2).
    Refreshed(Family),
    /// A ROUTE-REFRESH for a negotiated family (RFC 2918 §4).
    Refresh(Family),
    /// They begin to tell everything of a family again: what they do not repeat until `FlushStale` is to go (RFC 7313 §4.2).
    RefreshBegan(Family),
    /// What is kept as stale in these families is long-lived stale from now on (RFC 9494 §4.2).
    LongLived(Vec<Family>),
    /// Established ended.
    Down {
        /// As a sentence.
        reason: String,
        /// What is to be kept as stale.
        retain: Retain,
    },
    /// The restart timer ran out, or the peer came back without keeping state: drop what is still stale in these.
    FlushStale(Vec<Family>),
    /// An attempt failed before Established.
    Refused(String),
    /// A peer that was to be forgotten has nothing left.
    Gone,
}

/// Counters and facts of a peer for `show neighbors`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// RFC 4271 §8.2.2 name of the further of the two connections: `Idle` … `Established`.
    pub state: String,
    /// Since when Established or down.
    pub since: Instant,
    /// Messages received, by type 1..=5 at index type-1 (OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE-REFRESH).
    pub received: [u64; 5],
    /// Messages sent, likewise (UPDATEs are counted by the speaker).
    pub sent: [u64; 5],
    /// Times Established was reached.
    pub established: u64,
    /// Times it was left.
    pub dropped: u64,
    /// Why it was last left or refused.
    pub last_error: Option<String>,
}

#[cfg(test)]
mod tests;
