//! The speaker: all peers, one RIB. Composes [`crate::peer`] and [`crate::rib`]. This file is the contract with the driver; the
//! machine is in `speaker/machine`, what is told to whom in `speaker/export`, what is taken from whom in `speaker/import`.

mod aggregate;
mod answers;
mod batch;
mod dump;
mod dynamic;
mod explain;
mod export;
mod filter;
mod forecast;
mod import;
mod kernel;
mod leading;
mod leaving;
mod lines;
mod links;
mod long_lived;
mod machine;
mod monitor;
mod news;
mod originate;
mod otc;
mod paths;
mod place;
mod quiet;
mod reconfigure;
mod refused;
mod rpki;
mod sessions;
mod settle;
mod sweep;
mod told;

pub use answers::{LOCAL_NAME, NeighborInfo, PathInfo, RouteInfo, SpeakerSummary, origin};
pub use dump::{DumpedPath, DumpedPeer, DumpedRoute};
pub use explain::{ToldInfo, ToldPath};
pub use forecast::{Forecast, Found, NAMED_MAX, PeerRoutes, QUESTIONS_MAX};
pub use lines::{PathLine, RouteLine};
pub use machine::Speaker;
pub use monitor::{Form, MonitorConfig, MonitorInfo, Progress, QUEUE_BYTES_MAX, Views};
pub use quiet::Steady;
pub use reconfigure::{PeerStep, Reconfiguration, Step};
pub use refused::RefusedInfo;
pub use rpki::CacheInfo;

use crate::event::Event;
use crate::peer::{Handed, PeerConfig};
use crate::policy::Policies;
use crate::time::Instant;
use crate::types::{Asn, ConnId, Hop, IfIndex, IpNet, PeerId, RouterId};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// What the speaker is, apart from its peers.
#[derive(Clone, Debug)]
pub struct SpeakerConfig {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// Cluster id for route reflection (RFC 4456); the router id unless set.
    pub cluster_id: RouterId,
    /// Most members of an ECMP set, 1..=64.
    pub multipath: u8,
    /// Advertise a prefix only after the kernel holds it (`Input::FibAck`).
    pub advertise_after_install: bool,
    /// At start, advertise nothing until every configured peer sent End-of-RIB or this many milliseconds passed; 0 = do not hold back.
    pub hold_back_ms: u32,
    /// We restarted and kept our forwarding state: set the F bits in the first OPENs (RFC 4724 §3), and leave the kernel as it is
    /// until the first convergence (§4.1).
    pub restarting: bool,
    /// Seed of jitter and hashes.
    pub seed: u64,
    /// Compiled policies, by name.
    pub policies: Arc<Policies>,
    /// Aggregates: originated while a more specific contributor exists, with a discard route.
    pub aggregates: Vec<IpNet>,
    /// Of what we originate, the addresses of the node itself: told to peers that are told nothing else ([`crate::peer::Tell`]).
    pub addresses: Vec<IpNet>,
}

/// A range from which unknown addresses may open sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamicRange {
    /// Source addresses accepted.
    pub prefix: IpNet,
    /// Template of the peers made (its endpoint is replaced by the source address; they are passive).
    pub template: PeerConfig,
    /// Most peers from this range at a time.
    pub limit: u32,
}

/// An interface as next-hop resolution sees it. Only interfaces that are up and have carrier are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// Kernel index.
    pub link: IfIndex,
    /// Its addresses with prefix length (the connected prefixes), link-local ones included.
    pub addrs: Vec<IpNet>,
}

/// A route of somebody else's in the kernel, as next-hop resolution sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignRoute {
    /// Where to; a default route leads no next hop anywhere and is left out.
    pub prefix: IpNet,
    /// Interface, and gateway unless the prefix is on the link itself; empty where the route drops packets.
    pub via: Vec<(IfIndex, Option<IpAddr>)>,
}

/// A route we originate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Originate {
    /// What is announced.
    pub prefix: IpNet,
    /// Standard communities to attach.
    pub communities: Vec<u32>,
    /// Large communities to attach (RFC 8092).
    pub large_communities: Vec<[u32; 3]>,
    /// Share of the traffic beside other origins of the prefix: told as a link bandwidth of so many Gbit/s that crosses AS boundaries
    /// (RFC 10005).
    pub weight: Option<u16>,
    /// Whom the route is for in explain: `node address`, `vip boot`, …
    pub why: String,
}

/// How far packets of a session travel: time to live of IPv4, hop limit of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeToLive {
    /// Of what we send: 1 for a directly connected eBGP peer, 255 with GTSM, 64 otherwise.
    pub send: u8,
    /// What arrives with less is not the peer's (RFC 5082 §3): the socket drops it. 0 = whatever arrives.
    pub least: u8,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Add a peer, or change it in place; a change that needs a new session resets only that one.
    SetPeer {
        /// Chosen by the caller, below 1 << 31; dynamic peers get ids from 1 << 31 up.
        peer: PeerId,
        /// Its whole configuration.
        config: Box<PeerConfig>,
    },
    /// Remove a peer: Cease/De-configured, its routes go.
    RemovePeer {
        /// Which.
        peer: PeerId,
    },
    /// Replace the ranges of dynamic peers; live sessions that no range covers any more are removed, the others follow the template.
    /// At the start this comes after the configured peers, even without any range: nobody else is waited for.
    SetDynamicRanges(Vec<DynamicRange>),
    /// An unnumbered peer's link-local address was learnt (or lost).
    SetRemote {
        /// Which peer.
        peer: PeerId,
        /// Where it is; `None` = nobody answers on that link.
        remote: Option<(Ipv6Addr, IfIndex)>,
    },
    /// The connection asked for by `Output::Connect` stands.
    Connected {
        /// Which.
        conn: ConnId,
        /// Our end.
        local: SocketAddr,
    },
    /// It could not be made.
    ConnectFailed {
        /// Which.
        conn: ConnId,
        /// The system's words.
        error: String,
    },
    /// Somebody connected to us. Unknown senders get `Output::Close` at once.
    Accepted {
        /// Named by the driver, with [`ConnId::ACCEPTED`] set.
        conn: ConnId,
        /// Our end.
        local: SocketAddr,
        /// Their end (scope id set for link-local addresses).
        remote: SocketAddr,
    },
    /// The process before this one had a session on this connection: it goes on. Senders that are unknown now get `Output::Close`.
    Handed {
        /// Named by the driver, with [`ConnId::ACCEPTED`] set.
        conn: ConnId,
        /// The session.
        session: Box<Handed>,
    },
    /// Bytes arrived.
    Received {
        /// On which connection.
        conn: ConnId,
        /// As they came: any split.
        data: bytes::Bytes,
    },
    /// The connection ended (end of file, reset, …): graceful restart may start.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// Interfaces, addresses and carrier changed: the whole picture.
    Links(Vec<LinkState>),
    /// Routes of others in the kernel that next hops may be reached by: the whole picture.
    ForeignRoutes(Vec<ForeignRoute>),
    /// Carrier was lost: sessions on this link end now, and are not retained (loss of carrier ends the helper role at once).
    LinkDown(IfIndex),
    /// The same for who is behind one port of a bridge: of sessions on this link, those with this address end now, and there is no
    /// other before it can be reached again.
    Reachable {
        /// The bridge.
        link: IfIndex,
        /// Who.
        addr: IpAddr,
        /// Whether it can be reached.
        is: bool,
    },
    /// BFD lost a peer (RFC 9384): its session ends with Cease/BFD Down.
    BfdDown {
        /// Which peer.
        peer: PeerId,
        /// Its control plane alone may be gone (its C bit is clear): its routes are kept if graceful restart was agreed on (RFC 5882
        /// §4.3).
        retain: bool,
    },
    /// A session with the peer waits until this time for BFD to be Up: after a restart its BFD may be one with our life before.
    AwaitBfd {
        /// Which peer.
        peer: PeerId,
        /// Until when.
        until: Instant,
    },
    /// Whether BFD to a peer is Up: a strict session waits for that (draft-ietf-idr-bgp-bfd-strict-mode).
    BfdState {
        /// Which peer.
        peer: PeerId,
        /// It is.
        is_up: bool,
    },
    /// Replace everything we originate.
    SetOriginated(Vec<Originate>),
    /// Originate one route, or change it.
    Originate(Originate),
    /// No longer originate this one.
    Unoriginate(IpNet),
    /// The kernel holds every change up to `seq`, but for those listed.
    FibAck {
        /// [`FibChange::seq`] of the newest change done.
        seq: u64,
        /// Changes that failed: with `advertise_after_install` nobody is told of these.
        failed: Vec<IpNet>,
    },
    /// The kernel holds these at last, after a `FibAck` had listed them as failed.
    FibRepaired(Vec<IpNet>),
    /// Ask a peer for its routes again and tell it ours again, or reset it.
    Clear {
        /// Which peer.
        peer: PeerId,
        /// End the session instead of refreshing.
        hard: bool,
    },
    /// End everything.
    Shutdown {
        /// `true`: Cease / Administrative Shutdown; `false`: close without a word so that peers retain our routes (RFC 4724).
        cease: bool,
    },
    /// A deadline of `next_timeout` passed, or slices of work are left.
    Tick,
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Dial.
    Connect {
        /// The name of the connection from now on.
        conn: ConnId,
        /// For whom.
        peer: PeerId,
        /// Where to (scope id set for link-local addresses).
        remote: SocketAddr,
        /// From where, if it matters.
        local: Option<IpAddr>,
        /// Time to live / hop limit, out and in.
        ttl: TimeToLive,
    },
    /// Close; `flush`: first send what `poll_transmit` still yields (a NOTIFICATION).
    Close {
        /// Which.
        conn: ConnId,
        /// Send the rest first.
        flush: bool,
    },
    /// `poll_transmit` has bytes for this connection.
    Writable(ConnId),
    /// For the log and the history.
    Event(Event),
    /// `poll_fib` has changes.
    FibReady,
    /// Packets go to this neighbor no more, or again, whatever routes want: its link was lost, and its routes are kept until its session
    /// stands again.
    HoldBack {
        /// The link.
        link: IfIndex,
        /// The neighbor on it.
        addr: IpAddr,
        /// From now on, or no longer.
        held: bool,
    },
}

/// What the kernel should hold for one prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// No route of ours.
    Nothing,
    /// Send to those of these whose links are up (sorted, without duplicates, 1..=64). One that is down stands here while its path would
    /// be as good as the others: whoever installs routes lets go of it, and takes it back with its link.
    Hops(Arc<[Hop]>),
    /// Drop (an aggregate's discard route).
    Discard,
}

/// One change of the wanted kernel state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibChange {
    /// The prefix.
    pub prefix: IpNet,
    /// What it should be now.
    pub want: Want,
    /// Counts up; acknowledged by `Input::FibAck`.
    pub seq: u64,
}
