//! A whole speaker with two peers made of bytes: the guest, which may send anything, and the canary, which must not notice.

mod cache;
mod guest;
mod observer;

use super::lint;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use weft_bgp::event::Event;
use weft_bgp::peer::{Endpoint, PeerConfig, PeerRestart, RemoteAs, SessionOptions};
use weft_bgp::policy::Policies;
use weft_bgp::speaker::{Input, LinkState, NeighborInfo, Originate, Output, RouteInfo, Speaker, SpeakerConfig};
use weft_bgp::time::Instant;
use weft_bgp::types::{Asn, ConnId, Family, IfIndex, IpNet, NextHop, PeerId};
use weft_bgp::wire::attrs::{flag, kind, put};
use weft_bgp::wire::capability::{Capabilities, LongLived};
use weft_bgp::wire::framer::Framer;
use weft_bgp::wire::nlri::Paths;
use weft_bgp::wire::open::Open;
use weft_bgp::wire::update::{decode, put_announce, put_end_of_rib};
use weft_bgp::wire::{Codec, Kind, MAX_MESSAGE_BYTES, Notification, put_header, put_keepalive};

/// Our AS.
pub const OWN_ASN: u32 = 64_600;
/// The canary's.
pub const CANARY_ASN: u32 = 64_602;
/// What the speaker originates, and what the canary announces.
pub const OWN_PREFIX: &str = "10.9.0.0/16";
/// See [`OWN_PREFIX`].
pub const CANARY_PREFIX: &str = "10.2.0.0/16";
/// Offered by all: KEEPALIVEs come every three seconds.
const HOLD_S: u16 = 9;
/// The step of virtual time.
const STEP: Duration = Duration::from_millis(500);
/// Outputs after one input, and reads of one connection at a time: more is a loop without end.
const BUSY_MAX: usize = 20_000;
/// Octets told to the canary for each octet received from anybody, beyond the first 64 KB.
const ECHO_MAX: usize = 64;

/// What the guest is to the speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kin {
    /// An external peer with four-octet AS numbers and both families.
    External,
    /// An internal one, a reflection client.
    Internal,
    /// An external one whose OPEN has no capability at all.
    Old,
}

impl Kin {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::External, Self::Internal, Self::Old];

    /// The guest's AS.
    #[must_use]
    pub const fn asn(self) -> u32 {
        match self {
            Self::External | Self::Old => 64_601,
            Self::Internal => OWN_ASN,
        }
    }
}

/// One peer.
#[derive(Debug)]
struct Line {
    id: PeerId,
    address: IpAddr,
    open: Open,
    config: PeerConfig,
    conn: Option<ConnId>,
    framer: Framer,
    codec: Codec,
    /// Messages heard, UPDATEs, NOTIFICATIONs and all.
    heard: Vec<(Kind, Bytes)>,
    /// What it was told: the canonical block and the next hop of each prefix and path identifier (0 without, RFC 7911).
    routes: BTreeMap<(IpNet, u32), (Vec<u8>, NextHop)>,
    last_keepalive: Instant,
    octets: usize,
    /// The AS that must lead every path this peer is told from outside its AS.
    first_as: Option<u32>,
    /// The UPDATE that last announced each of them.
    updates: BTreeMap<(IpNet, u32), Bytes>,
}

/// The speaker and its peers.
#[derive(Debug)]
pub struct Plant {
    /// The speaker.
    pub speaker: Speaker,
    /// Virtual time.
    pub now: Instant,
    /// Everything it had to say to the operator.
    pub events: Vec<Event>,
    guest: Line,
    canary: Line,
    /// A second connection of the guest's, and what it heard.
    second: Option<(ConnId, Vec<u8>)>,
    /// The guest does not read.
    deaf: bool,
    next_conn: u64,
    received: usize,
}

/// A message with a right header around any body.
#[must_use]
pub fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.extend(u16::try_from(19 + body.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

/// The attributes of an ordinary external route.
#[must_use]
pub fn block() -> Vec<u8> {
    let mut block = Vec::new();
    put(&mut block, flag::TRANSITIVE, kind::ORIGIN, &[0]);
    put(&mut block, flag::TRANSITIVE, kind::AS_PATH, &[2, 2, 0, 0, 0xfc, 0x5a, 0, 0, 0xfc, 0x5b]);
    put(&mut block, flag::OPTIONAL | flag::TRANSITIVE, kind::COMMUNITIES, &[0xfc, 0x5a, 0, 7]);
    block
}

fn config(name: &str, address: IpAddr, asn: u32) -> PeerConfig {
    let accept_all = Some("accept-all".to_owned());
    PeerConfig {
        passive: true,
        hold_time_s: HOLD_S,
        graceful_restart_s: None,
        route_reflector_client: asn == OWN_ASN,
        import: accept_all.clone(),
        export: accept_all,
        session: SessionOptions { notification_restart: true, ..SessionOptions::default() },
        ..PeerConfig::new(name, Endpoint::Address(address), RemoteAs::Is(Asn(asn)))
    }
}

fn line(at: u8, (asn, name): (u32, &str), plain: bool) -> Line {
    let can = if plain {
        Capabilities { families: vec![Family::Ipv4Unicast], ..Capabilities::default() }
    } else {
        Capabilities {
            as4: Some(Asn(asn)),
            families: Family::ALL.to_vec(),
            extended_next_hop: true,
            route_refresh: true,
            ..Capabilities::default()
        }
    };
    let open = Open { asn: Asn(asn), hold_time_s: HOLD_S, router_id: Ipv4Addr::new(10, 0, 0, at), can };
    let codec = Codec {
        as4: !plain,
        ebgp: asn != OWN_ASN,
        families: [true, !plain],
        extended_next_hop: !plain,
        ..Codec::PLAIN
    };
    let address = IpAddr::from([192, 0, 2, at]);
    Line {
        id: PeerId(u32::from(at)),
        address,
        open,
        config: config(name, address, asn),
        conn: None,
        framer: Framer::new(MAX_MESSAGE_BYTES),
        codec,
        heard: Vec::new(),
        routes: BTreeMap::new(),
        last_keepalive: Instant::ZERO,
        octets: 0,
        first_as: Some(OWN_ASN),
        updates: BTreeMap::new(),
    }
}

impl Line {
    /// Reads what the speaker says; everything must be well-formed.
    fn hear(&mut self, now: Instant, data: &[u8]) {
        self.octets += data.len();
        self.framer.push(data);
        while let Some(next) = self.framer.next_message() {
            let (kind, message) = next.unwrap();
            match kind {
                Kind::Update => self.learn(&message),
                Kind::Open => drop(Open::decode(&message).unwrap()),
                Kind::Keepalive => self.last_keepalive = now,
                Kind::Notification | Kind::RouteRefresh => {}
            }
            self.heard.push((kind, message));
        }
    }

    fn learn(&mut self, message: &Bytes) {
        let mut block = Vec::new();
        let update = decode(message, &self.codec, &mut block).unwrap();
        assert_eq!((update.withdraw, update.discarded), (None, 0), "malformed UPDATE told: {message:02x?}");
        lint::update(message, &self.codec, self.first_as, &block);
        let mut count = usize::from(update.end_of_rib.is_some());
        let unreach = update.mp_unreach.unwrap_or((Family::Ipv6Unicast, &[]));
        for (family, nlri) in [(Family::Ipv4Unicast, update.withdrawn), unreach] {
            for (id, prefix) in Paths::new(family, nlri, self.codec.add_path_rx[family.index()]) {
                count += 1;
                assert!(self.routes.remove(&(prefix, id)).is_some(), "{prefix} {id} was withdrawn but never told");
            }
        }
        let classic = update.next_hop.map(|hop| (Family::Ipv4Unicast, NextHop::new(IpAddr::V4(hop)), update.nlri));
        let reach = update.mp_reach.map(|reach| (reach.family, reach.next_hop, reach.nlri));
        for (family, next_hop, nlri) in classic.into_iter().chain(reach) {
            for (id, prefix) in Paths::new(family, nlri, self.codec.add_path_rx[family.index()]) {
                count += 1;
                self.routes.insert((prefix, id), (block.clone(), next_hop));
                self.updates.insert((prefix, id), message.clone());
            }
        }
        assert!(count > 0, "an UPDATE that says nothing: {message:02x?}");
    }
}

impl Plant {
    /// A speaker with an Established canary, which has told its prefix and was told ours. The guest has not yet connected.
    #[must_use]
    pub fn new(kin: Kin) -> Self {
        Self::configured(kin, |_, _, _| {})
    }

    /// The same, after a change of what the speaker, the guest and the canary are configured to be.
    #[must_use]
    pub fn configured(kin: Kin, change: impl FnOnce(&mut SpeakerConfig, &mut PeerConfig, &mut PeerConfig)) -> Self {
        let router_id = Ipv4Addr::new(10, 0, 0, 9);
        let mut config = SpeakerConfig {
            asn: Asn(OWN_ASN),
            router_id,
            cluster_id: router_id,
            multipath: 64,
            advertise_after_install: false,
            hold_back_ms: 0,
            restarting: false,
            seed: 1,
            policies: Arc::new(Policies::default()),
            aggregates: Vec::new(),
            addresses: Vec::new(),
        };
        let mut guest = line(1, (kin.asn(), "guest"), kin == Kin::Old);
        let mut canary = line(2, (CANARY_ASN, "canary"), false);
        change(&mut config, &mut guest.config, &mut canary.config);
        if canary.config.session.long_lived_stale_s.is_some() {
            let (restarted, notification, time_s) = (false, false, 0);
            let families = Vec::new();
            canary.open.can.graceful = Some(PeerRestart { restarted, notification, time_s, families });
            let family = Family::Ipv4Unicast;
            canary.open.can.long_lived = vec![LongLived { family, forwarding: false, time_s: 0 }];
        }
        let mut speaker = Speaker::new(config);
        let addrs = vec!["192.0.2.9/24".parse().unwrap(), "2001:db8::9/64".parse().unwrap()];
        speaker.handle(Instant::ZERO, Input::Links(vec![LinkState { link: IfIndex(2), addrs }]));
        speaker.handle(
            Instant::ZERO,
            Input::SetOriginated(vec![Originate {
                prefix: OWN_PREFIX.parse().unwrap(),
                communities: Vec::new(),
                large_communities: Vec::new(),
                weight: None,
                why: "test".to_owned(),
            }]),
        );
        for line in [&guest, &canary] {
            speaker.handle(Instant::ZERO, Input::SetPeer { peer: line.id, config: Box::new(line.config.clone()) });
        }
        let next_conn = ConnId::ACCEPTED;
        let events = Vec::new();
        let mut plant = Self {
            speaker,
            now: Instant::ZERO,
            events,
            guest,
            canary,
            second: None,
            deaf: false,
            next_conn,
            received: 0,
        };
        plant.canary.conn = Some(plant.connect(plant.canary.address));
        let mut bytes = BytesMut::new();
        plant.canary.open.put(&mut bytes);
        put_keepalive(&mut bytes);
        let hop = NextHop::new(plant.canary.address);
        let mut path = Vec::new();
        put(&mut path, flag::TRANSITIVE, kind::ORIGIN, &[0]);
        put(&mut path, flag::TRANSITIVE, kind::AS_PATH, &[2, 1, 0, 0, 0xfc, 0x5a]);
        let mut own = std::iter::once(CANARY_PREFIX.parse::<IpNet>().unwrap()).peekable();
        put_announce(&mut bytes, &plant.canary.codec, Family::Ipv4Unicast, &path, &hop, &mut own);
        Family::ALL.into_iter().for_each(|family| put_end_of_rib(&mut bytes, family));
        plant.canary_sends(&bytes);
        plant.check();
        plant
    }

    fn connect(&mut self, address: IpAddr) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let (local, remote) = (SocketAddr::from(([192, 0, 2, 9], 179)), SocketAddr::new(address, 40_000));
        self.speaker.handle(self.now, Input::Accepted { conn, local, remote });
        conn
    }

    /// The guest connects, anew if it had before.
    pub fn accept(&mut self) {
        self.leave();
        let conn = self.connect(self.guest.address);
        self.guest.conn = Some(conn);
        self.run();
    }

    /// The guest's valid OPEN and KEEPALIVE: it is Established.
    pub fn open(&mut self) {
        let mut bytes = BytesMut::new();
        if self.guest.codec.as4 {
            self.guest.open.put(&mut bytes);
        } else {
            put_header(&mut bytes, 10, Kind::Open);
            let asn = u16::try_from(self.guest.open.asn.0).unwrap();
            let fixed = [vec![4], asn.to_be_bytes().to_vec(), vec![0, 9, 10, 0, 0, 1, 0]].concat();
            bytes.extend_from_slice(&fixed);
        }
        put_keepalive(&mut bytes);
        self.send(&bytes);
        assert_eq!(self.guest_state(), "Established");
    }

    /// The guest sends.
    pub fn send(&mut self, data: &[u8]) {
        let Some(conn) = self.guest.conn else {
            return;
        };
        self.received += data.len();
        self.speaker.handle(self.now, Input::Received { conn, data: Bytes::copy_from_slice(data) });
        self.run();
    }

    /// The guest sends an UPDATE with these withdrawn routes, attributes and prefixes.
    pub fn update(&mut self, withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) {
        let counted = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        self.send(&framed(Kind::Update.to_wire(), &[&counted(withdrawn), &counted(attributes), nlri].concat()));
    }

    /// The canary announces one more IPv4 prefix with this AS_PATH (four octets) and more attributes in canonical form.
    pub fn canary_announces(&mut self, prefix: &str, as_path: &[u8], more: &[u8]) {
        let mut block = Vec::new();
        put(&mut block, flag::TRANSITIVE, kind::ORIGIN, &[0]);
        put(&mut block, flag::TRANSITIVE, kind::AS_PATH, as_path);
        block.extend_from_slice(more);
        let mut bytes = BytesMut::new();
        let mut prefixes = std::iter::once(prefix.parse::<IpNet>().unwrap()).peekable();
        let hop = NextHop::new(self.canary.address);
        put_announce(&mut bytes, &self.canary.codec, Family::Ipv4Unicast, &block, &hop, &mut prefixes);
        self.canary_sends(&bytes);
    }

    fn canary_sends(&mut self, data: &[u8]) {
        if let Some(conn) = self.canary.conn {
            self.received += data.len();
            self.speaker.handle(self.now, Input::Received { conn, data: Bytes::copy_from_slice(data) });
        }
        self.run();
    }

    /// The guest's TCP connection ends.
    pub fn leave(&mut self) {
        if let Some(conn) = self.guest.conn.take() {
            self.speaker.handle(self.now, Input::Closed { conn });
        }
        self.guest.framer = Framer::new(self.guest_max());
        self.guest.routes.clear();
        self.tick();
    }

    /// Time passes; the canary says its KEEPALIVEs.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + STEP;
            if self.now.0.is_multiple_of(2_000_000_000) {
                let mut bytes = BytesMut::new();
                put_keepalive(&mut bytes);
                self.canary_sends(&bytes);
            }
            self.tick();
            let silence = self.now.since(self.canary.last_keepalive);
            assert!(silence <= Duration::from_secs(u64::from(HOLD_S) / 3) + STEP, "the canary's keepalives stop");
        }
    }

    fn tick(&mut self) {
        self.run();
        for _ in 0..BUSY_MAX {
            if self.speaker.next_timeout().is_none_or(|(at, _)| at > self.now) {
                return;
            }
            self.speaker.handle(self.now, Input::Tick);
            self.run();
        }
        panic!("timers without end: {:?} at {}", self.speaker.next_timeout(), self.now);
    }

    fn run(&mut self) {
        for _ in 0..BUSY_MAX {
            match self.speaker.poll() {
                Some(Output::Writable(conn)) => self.transfer(conn),
                Some(Output::Close { conn, flush }) => {
                    if flush {
                        self.transfer(conn);
                    }
                    assert_ne!(self.canary.conn, Some(conn), "the canary's session is closed: {:?}", self.events);
                    self.guest.conn.take_if(|own| *own == conn);
                    self.speaker.handle(self.now, Input::Closed { conn });
                }
                Some(Output::Event(event)) => self.events.push(event),
                Some(Output::FibReady) => {
                    if let Some(last) = self.speaker.poll_fib(usize::MAX).last() {
                        self.speaker.handle(self.now, Input::FibAck { seq: last.seq, failed: Vec::new() });
                    }
                }
                // The guest does not ask for it.
                Some(Output::HoldBack { .. }) => panic!("somebody is held back"),
                Some(Output::Connect { .. }) => panic!("a passive peer is dialled"),
                None => return,
            }
        }
        panic!("work without end");
    }

    fn transfer(&mut self, conn: ConnId) {
        if self.deaf && self.guest.conn == Some(conn) {
            return;
        }
        for _ in 0..BUSY_MAX {
            let mut buf = BytesMut::new();
            let more = self.speaker.poll_transmit(self.now, conn, &mut buf, 10_000);
            for line in [&mut self.guest, &mut self.canary] {
                if line.conn == Some(conn) {
                    line.hear(self.now, &buf);
                }
            }
            if let Some((_, heard)) = self.second.as_mut().filter(|(second, _)| *second == conn) {
                heard.extend_from_slice(&buf);
            }
            if !more {
                return;
            }
        }
        panic!("UPDATEs without end");
    }

    /// The canary is at peace: one session since the start, its route is known and right, what it was told is what the speaker
    /// believes to have told it, and that was not more than the input can account for.
    ///
    /// # Panics
    /// If not.
    pub fn check(&self) {
        let info = self.neighbor(self.canary.id);
        assert_eq!((info.state.as_str(), info.established, info.dropped), ("Established", 1, 0));
        assert_eq!((info.withdraw_faults, info.updates_rejected), (0, 0));
        assert_eq!(info.prefixes_received, [1, 0]);
        let route = self.route(CANARY_PREFIX).unwrap();
        let path = route.paths.iter().find(|path| path.from == "canary").unwrap();
        assert_eq!((path.as_path.as_str(), path.next_hop, path.stale), ("64602", self.canary.address, false));
        assert!(self.canary.routes.contains_key(&(OWN_PREFIX.parse().unwrap(), 0)), "ours was withdrawn");
        let told = Family::ALL
            .map(|family| self.canary.routes.keys().filter(|(prefix, _)| Family::of(prefix) == family).count() as u64);
        assert_eq!(told, info.prefixes_sent);
        assert!(self.canary.octets <= 65_536 + ECHO_MAX * self.received, "{} octets told", self.canary.octets);
    }

    fn neighbor(&self, id: PeerId) -> NeighborInfo {
        self.speaker.neighbors(self.now).into_iter().find(|info| info.id == id).unwrap()
    }

    /// The guest as the speaker sees it.
    #[must_use]
    pub fn guest(&self) -> NeighborInfo {
        self.neighbor(self.guest.id)
    }

    /// The state of the guest's session.
    #[must_use]
    pub fn guest_state(&self) -> String {
        self.guest().state
    }

    /// NOTIFICATIONs that the guest was sent.
    #[must_use]
    pub fn notifications(&self) -> Vec<Notification> {
        let bodies = self.guest.heard.iter().filter(|(kind, _)| *kind == Kind::Notification);
        bodies.map(|(_, message)| Notification::decode(&message[19..]).unwrap()).collect()
    }

    /// The route that the speaker has to exactly this prefix.
    #[must_use]
    pub fn route(&self, prefix: &str) -> Option<RouteInfo> {
        let prefix: IpNet = prefix.parse().unwrap();
        self.speaker.route_to(&prefix).filter(|route| route.prefix == prefix)
    }

    /// All that the canary was told: blocks and next hops by prefix.
    #[must_use]
    pub fn canary_routes(&self) -> BTreeMap<(IpNet, u32), (Vec<u8>, NextHop)> {
        self.canary.routes.clone()
    }

    /// The attribute block with which the canary was told a prefix.
    #[must_use]
    pub fn told(&self, prefix: &str) -> Option<Vec<u8>> {
        self.canary.routes.get(&(prefix.parse().unwrap(), 0)).map(|(block, _)| block.clone())
    }

    /// The attribute block with which the guest was told a prefix, and the UPDATE that told it.
    #[must_use]
    pub fn guest_told(&self, prefix: &str) -> Option<(Vec<u8>, Bytes)> {
        let route = (prefix.parse().unwrap(), 0);
        let (block, _) = self.guest.routes.get(&route)?;
        Some((block.clone(), self.guest.updates.get(&route)?.clone()))
    }

    /// The AS that must lead the paths told to the guest and to the canary from now on, if one must.
    pub fn expect_first_as(&mut self, guest: Option<u32>, canary: Option<u32>) {
        self.guest.first_as = guest;
        self.canary.first_as = canary;
    }

    /// UPDATEs that the canary heard.
    #[must_use]
    pub fn canary_updates(&self) -> usize {
        self.canary.heard.iter().filter(|(kind, _)| *kind == Kind::Update).count()
    }
}
