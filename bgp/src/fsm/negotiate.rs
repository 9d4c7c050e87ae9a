//! What two OPENs come to: the session both can hold, or the NOTIFICATION that refuses theirs (RFC 4271 §6.2, RFC 5492 §3,
//! RFC 9234 §4.2). Pure: two OPENs and the configuration in, no state of the connection.

use crate::peer::{Local, PeerConfig, PeerRestart, RemoteAs, Session};
use crate::types::{ConnId, Family, IfIndex};
use crate::wire::capability::{Capabilities, LongLived, Role};
use crate::wire::open::Open;
use crate::wire::{Codec, EXTENDED_MESSAGE_BYTES, MAX_MESSAGE_BYTES, Notification};
use std::net::SocketAddr;

/// Subcodes of an OPEN Message Error (RFC 4271 §6.2, RFC 5492 §5, RFC 9234 §4.2).
mod subcode {
    pub(super) const BAD_PEER_AS: u8 = 2;
    pub(super) const BAD_IDENTIFIER: u8 = 3;
    pub(super) const UNSUPPORTED_CAPABILITY: u8 = 7;
    pub(super) const ROLE_MISMATCH: u8 = 11;
}

/// Which connection this is about.
pub(super) struct Place {
    pub(super) conn: ConnId,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// The session of two OPENs.
pub(super) fn negotiate(
    place: &Place,
    (ours, theirs): (&Open, &Open),
    config: &PeerConfig,
    local: &Local,
) -> Result<Session, Notification> {
    let refused = |subcode| Err(Notification::new(Notification::OPEN, subcode));
    let expected = match &config.remote_asn {
        RemoteAs::Is(asn) => theirs.asn == *asn,
        RemoteAs::External => theirs.asn != ours.asn,
        RemoteAs::OneOf(asns) => asns.contains(&theirs.asn),
    };
    if !expected {
        return refused(subcode::BAD_PEER_AS);
    }
    let ebgp = theirs.asn != ours.asn;
    if !ebgp && theirs.router_id == local.router_id {
        // RFC 6286 §2.2: within an AS, the identifier is unique.
        return refused(subcode::BAD_IDENTIFIER);
    }
    if ebgp && !roles_fit(config.session.role, config.session.role_strict, &theirs.can.roles) {
        return refused(subcode::ROLE_MISMATCH);
    }
    wired(config.session.expect_hostname.as_deref(), theirs.can.hostname.as_deref())?;
    let codec = codec(&ours.can, &theirs.can, ebgp);
    if !codec.families.contains(&true) {
        // RFC 5492 §3: the data names the capabilities that we miss.
        let families = Capabilities { families: ours.can.families.clone(), ..Capabilities::default() };
        let mut data = Vec::new();
        families.for_each(|kind, value| {
            data.extend([kind, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
            data.extend(value);
        });
        return Err(Notification::with_data(Notification::OPEN, subcode::UNSUPPORTED_CAPABILITY, &data));
    }
    let (graceful, long_lived) = restart(&ours.can, &theirs.can, &codec);
    Ok(Session {
        conn: place.conn,
        local: place.local,
        remote: place.remote,
        link: link_of(place.remote),
        remote_asn: theirs.asn,
        router_id: theirs.router_id,
        // RFC 4271 §4.2: the smaller of the two.
        hold_time_s: ours.hold_time_s.min(theirs.hold_time_s),
        codec,
        route_refresh: theirs.can.route_refresh,
        enhanced_refresh: ours.can.enhanced_refresh && theirs.can.enhanced_refresh && theirs.can.route_refresh,
        graceful,
        long_lived,
        // RFC 9494 §4.5: not without the graceful restart capability.
        knows_long_lived: theirs.can.knows_long_lived && theirs.can.graceful.is_some(),
        hostname: theirs.can.hostname.clone(),
        role: config.session.role.filter(|_| ebgp),
    })
}

fn codec(ours: &Capabilities, theirs: &Capabilities, ebgp: bool) -> Codec {
    let both = |family| ours.families.contains(&family) && theirs.families.contains(&family);
    let families = Family::ALL.map(both);
    // RFC 7911 §4: in each direction, one must be able to receive and the other be going to send.
    let paths = |receiver: &Capabilities, sender: &Capabilities| {
        Family::ALL.map(|family| {
            let at = family.index();
            families[at] && receiver.add_path[at].receive && sender.add_path[at].send
        })
    };
    Codec {
        as4: ours.as4.is_some() && theirs.as4.is_some(),
        ebgp,
        families,
        extended_next_hop: ours.extended_next_hop && theirs.extended_next_hop,
        link_local_next_hop: ours.link_local_next_hop && theirs.link_local_next_hop,
        add_path_rx: paths(ours, theirs),
        add_path_tx: paths(theirs, ours),
        // RFC 8654 §4: they may be sent what they said that they can receive.
        max_message: if ours.extended_message && theirs.extended_message {
            EXTENDED_MESSAGE_BYTES
        } else {
            MAX_MESSAGE_BYTES
        },
    }
}

/// Whether the neighbour is who should be at the other end of the cable; its name alone, or with its domain. The data says whom we
/// expected in the form of RFC 9003 §2, which gives it to other subcodes only: both operators want to know.
fn wired(expected: Option<&str>, name: Option<&str>) -> Result<(), Notification> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let is_it = |name: &str| name == expected || name.split_once('.').is_some_and(|(host, _)| host == expected);
    if name.is_some_and(is_it) {
        return Ok(());
    }
    let found = name.unwrap_or("nobody by name");
    let text = format!("cabling: {expected} is expected here, and {found} answers");
    Err(Notification::shutdown(Notification::CONNECTION_REJECTED, &text))
}

/// Whether the roles fit (RFC 9234 §4.2): what is claimed twice must be the same, and be the counterpart of ours. Silence is
/// accepted unless the operator is strict; without a role of our own nothing is compared.
fn roles_fit(ours: Option<Role>, strict: bool, theirs: &[u8]) -> bool {
    match (ours, theirs) {
        (_, [_, _, ..]) => false,
        (Some(role), [claimed]) => *claimed == role.counterpart().to_wire(),
        (Some(_), []) => !strict,
        (None, [] | [_]) => true,
    }
}

/// What they said of restarts, cut down to the families of the session.
fn restart(ours: &Capabilities, theirs: &Capabilities, codec: &Codec) -> (Option<PeerRestart>, Vec<LongLived>) {
    let spoken = |family: Family| codec.families[family.index()];
    let Some(mine) = &ours.graceful else {
        return (None, Vec::new());
    };
    let graceful = theirs.graceful.clone().map(|graceful| PeerRestart {
        families: graceful.families.into_iter().filter(|&(family, _)| spoken(family)).collect(),
        // RFC 8538 §2: in force when both said so.
        notification: graceful.notification && mine.notification,
        ..graceful
    });
    // RFC 9494 §3.1: without the graceful restart capability, the long-lived one is disregarded.
    let offered = theirs.long_lived.iter().filter(|_| graceful.is_some() && !ours.long_lived.is_empty());
    let long_lived = offered.filter(|entry| spoken(entry.family)).copied().collect();
    (graceful, long_lived)
}

/// The interface of a link-local address.
fn link_of(address: SocketAddr) -> Option<IfIndex> {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => Some(IfIndex(v6.scope_id())),
        SocketAddr::V6(_) | SocketAddr::V4(_) => None,
    }
}
