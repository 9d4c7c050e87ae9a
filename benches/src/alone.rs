//! A speaker without sockets, for benches of the machine alone: its peers are all external, at addresses of one link.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use weft_bgp::peer::{Endpoint, PeerConfig, RemoteAs};
use weft_bgp::speaker::{Input, LinkState, Speaker, SpeakerConfig};
use weft_bgp::time::Instant;
use weft_bgp::types::{Asn, ConnId, IfIndex, PeerId};

use crate::session::{keepalive, open};

/// AS number of peer 0; the others follow.
const FIRST_ASN: u32 = 4_200_000_001;

/// A speaker that has its link and no peer.
#[must_use]
pub fn speaker() -> Speaker {
    let mut speaker = Speaker::new(SpeakerConfig {
        asn: Asn(65_000),
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        cluster_id: Ipv4Addr::new(10, 0, 0, 1),
        multipath: 64,
        advertise_after_install: false,
        hold_back_ms: 0,
        restarting: false,
        seed: 1,
        policies: std::sync::Arc::default(),
        aggregates: Vec::new(),
        addresses: Vec::new(),
    });
    let links = vec![LinkState { link: IfIndex(2), addrs: "10.0.0.1/8".parse().into_iter().collect() }];
    speaker.handle(Instant::ZERO, Input::Links(links));
    speaker
}

/// What brings peer `at` up.
#[must_use]
pub fn session(at: usize) -> [Input; 4] {
    let number = u32::try_from(at).unwrap_or(u32::MAX);
    let (id, asn) = (PeerId(number), FIRST_ASN + number);
    let accept_all = Some("accept-all".to_owned());
    let endpoint = Endpoint::Address(IpAddr::V4(address(at)));
    let config = PeerConfig {
        passive: true,
        hold_time_s: 180,
        graceful_restart_s: Some(30),
        import: accept_all.clone(),
        export: accept_all,
        ..PeerConfig::new(&format!("p{at}"), endpoint, RemoteAs::Is(Asn(asn)))
    };
    let local = SocketAddr::from(([10, 0, 0, 1], 179));
    let remote = SocketAddr::from((address(at), 40_000));
    [
        Input::SetPeer { peer: id, config: Box::new(config) },
        Input::Accepted { conn: conn(at), local, remote },
        Input::Received { conn: conn(at), data: open(asn, address(at), 180).into() },
        Input::Received { conn: conn(at), data: keepalive().into() },
    ]
}

/// Where peer `at` is.
#[must_use]
pub fn address(at: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a01_0001 + u32::try_from(at).unwrap_or(u32::MAX))
}

/// Its connection.
#[must_use]
pub const fn conn(at: usize) -> ConnId {
    ConnId(ConnId::ACCEPTED | at as u64)
}
