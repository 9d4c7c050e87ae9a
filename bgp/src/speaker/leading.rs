//! AS_PATH between us and one peer: what a path must look like to be taken, and what becomes of it when it is told (RFC 4271 §5.1.2,
//! §9.1.2; local AS as RFC 7705 describes it). Pure: knows two AS numbers and the peer's options.

use crate::peer::{LocalAs, RemovePrivateAs, RouteOptions, Session};
use crate::types::Asn;
use crate::wire::attrs::{AsPath, Attrs, flag, kind, with};

/// RFC 6996 §5.
const fn is_private(asn: Asn) -> bool {
    matches!(asn.0, 64_512..=65_534 | 4_200_000_000..=4_294_967_294)
}

/// Whether a path went round in a circle: our AS in it, more often than the peer's options allow; also the AS that we are to the peer.
pub(super) fn is_loop(own: Asn, options: &RouteOptions, path: AsPath<'_>) -> bool {
    let allowed = usize::from(options.allow_own_as);
    let count =
        |asn: Asn| path.segments().map(|segment| segment.asns().filter(|one| *one == asn).count()).sum::<usize>();
    // Nearly every path: not even once.
    let over = |asn: Asn| path.contains(asn) && count(asn) > allowed;
    over(own) || options.local_as.is_some_and(|local| over(local.asn))
}

/// RFC 4271 §6.3: whether an external peer put its own AS first, where that is asked of it.
pub(super) fn is_first_wrong(session: &Session, options: &RouteOptions, path: AsPath<'_>) -> bool {
    options.enforce_first_as && session.codec.ebgp && path.first_as() != Some(session.remote_asn)
}

/// Puts the AS that we are to this peer in front of what it sent: inside, the path shows what it was.
pub(super) fn with_local_as(options: &RouteOptions, block: &mut Vec<u8>) {
    if let Some(LocalAs { asn, no_prepend: false, .. }) = options.local_as {
        let path = Attrs(block).as_path().prepended(asn, 1);
        *block = with(block, flag::TRANSITIVE, kind::AS_PATH, Some(&path));
    }
}

/// The path that an external peer is told.
pub(super) fn told(own: Asn, session: &Session, options: &RouteOptions, path: AsPath<'_>) -> Vec<u8> {
    let outside = path.outside();
    let mut path = AsPath(&outside);
    let rewritten;
    if options.as_override || options.remove_private_as != RemovePrivateAs::No {
        rewritten = rewrite(own, session.remote_asn, options, path);
        path = AsPath(&rewritten);
    }
    match options.local_as {
        Some(LocalAs { asn, replace_as: true, .. }) => path.prepended(asn, 1),
        Some(LocalAs { asn, .. }) => AsPath(&path.prepended(own, 1)).prepended(asn, 1),
        None => path.prepended(own, 1),
    }
}

/// The peer's AS replaced by ours, and private numbers left out, as the options say. The peer's own number always stays or is
/// replaced: without it a loop would not be seen.
fn rewrite(own: Asn, peer: Asn, options: &RouteOptions, path: AsPath<'_>) -> Vec<u8> {
    let mut leading = true;
    let mut out = Vec::with_capacity(path.0.len());
    for segment in path.segments() {
        let mut asns: Vec<Asn> = Vec::with_capacity(segment.len());
        for asn in segment.asns() {
            leading &= is_private(asn);
            let removes = match options.remove_private_as {
                RemovePrivateAs::No => false,
                RemovePrivateAs::Leading => leading,
                RemovePrivateAs::All => is_private(asn),
            };
            if asn == peer {
                asns.push(if options.as_override { own } else { asn });
            } else if !removes {
                asns.push(asn);
            }
        }
        // RFC 7606 §7.2: no empty segment.
        if let Some(count) = u8::try_from(asns.len()).ok().filter(|count| *count > 0) {
            out.extend([segment.kind, count]);
            out.extend(asns.iter().flat_map(|asn| asn.0.to_be_bytes()));
        }
    }
    out
}

/// Whether an external peer would find itself in the path (RFC 4271 §9.1.2).
pub(super) fn finds_itself(session: &Session, options: &RouteOptions, attrs: Attrs<'_>) -> bool {
    session.codec.ebgp
        && !options.as_override
        && !options.advertise_peer_as
        && attrs.as_path().contains(session.remote_asn)
}
