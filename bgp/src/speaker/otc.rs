//! Only to Customer: route leaks found by the roles of both ends (RFC 9234 §5). Without a role the attribute is handed on as it is.

use crate::peer::Session;
use crate::types::Asn;
use crate::wire::attrs::{Attrs, flag, kind, with};
use crate::wire::capability::Role;

/// The AS that said: from here on only to customers.
fn otc(attrs: Attrs<'_>) -> Option<Asn> {
    attrs.value(kind::ONLY_TO_CUSTOMER)?.first_chunk::<4>().map(|octets| Asn(u32::from_be_bytes(*octets)))
}

/// What we are to the external peer of this session, if that was said.
fn own_role(session: &Session) -> Option<Role> {
    session.role.filter(|_| session.codec.ebgp)
}

/// Whether a received route is a leak (§5, ingress 1 and 2): it must not be used.
pub(super) fn is_leak(session: &Session, attrs: Attrs<'_>) -> bool {
    match (own_role(session), otc(attrs)) {
        // A customer, or a client of ours as a route server, hands up what it may hand to its customers only.
        (Some(Role::Provider | Role::RouteServer), Some(_)) => true,
        (Some(Role::Peer), Some(by)) => by != session.remote_asn,
        _ => false,
    }
}

/// Marks what comes from a provider, a peer or a route server (§5, ingress 3).
pub(super) fn mark_received(session: &Session, block: &mut Vec<u8>) {
    let marks = matches!(own_role(session), Some(Role::Customer | Role::Peer | Role::RouteServerClient));
    if marks && otc(Attrs(block)).is_none() {
        *block = marked(block, session.remote_asn);
    }
}

/// Whether a route must not be told to a provider, a peer or a route server (§5, egress 2).
pub(super) fn stays_below(session: &Session, attrs: Attrs<'_>) -> bool {
    matches!(own_role(session), Some(Role::Customer | Role::Peer | Role::RouteServerClient)) && otc(attrs).is_some()
}

/// Marks what is told to a customer, a peer or a client of a route server (§5, egress 1).
pub(super) fn mark_told(session: &Session, own: Asn, block: Vec<u8>) -> Vec<u8> {
    let marks = matches!(own_role(session), Some(Role::Provider | Role::Peer | Role::RouteServer));
    if marks && otc(Attrs(&block)).is_none() { marked(&block, own) } else { block }
}

fn marked(block: &[u8], asn: Asn) -> Vec<u8> {
    let optional = flag::OPTIONAL | flag::TRANSITIVE;
    with(block, optional, kind::ONLY_TO_CUSTOMER, Some(&asn.0.to_be_bytes()))
}
