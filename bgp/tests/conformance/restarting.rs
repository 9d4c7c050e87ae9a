//! A guest that can restart gracefully, for the RFCs about that.

use crate::harness::plant::{Kin, Plant};
use weft_bgp::peer::PeerRestart;
use weft_bgp::types::Family;
use weft_bgp::wire::attrs::{flag, kind, put, with};
use weft_bgp::wire::capability::LongLived;

/// Two prefixes of the guest's: 10.1.0.0/16 and 10.3.0.0/16.
pub(crate) const NLRI: [u8; 6] = [16, 10, 1, 16, 10, 3];
/// The first.
pub(crate) const FIRST: &str = "10.1.0.0/16";
/// The second.
pub(crate) const SECOND: &str = "10.3.0.0/16";
/// The guest's restart time.
pub(crate) const RESTART_S: u16 = 40;
/// The guest's long-lived stale time.
pub(crate) const STALE_S: u32 = 600;

/// What the guest's OPEN says of restarts: N bit, F bit of IPv4.
pub(crate) fn graceful([notification, forwarding]: [bool; 2]) -> PeerRestart {
    let families = vec![(Family::Ipv4Unicast, forwarding)];
    PeerRestart { restarted: false, notification, time_s: RESTART_S, families }
}

/// An OPEN with graceful restart, its N bit, and long-lived graceful restart.
pub(crate) fn offer(plant: &mut Plant, restart: Option<PeerRestart>, long_lived_s: Option<u32>) {
    plant.offer(|open| {
        open.can.graceful = restart;
        open.can.enhanced_refresh = true;
        let family = Family::Ipv4Unicast;
        let entry = |time_s| LongLived { family, forwarding: true, time_s };
        open.can.long_lived = long_lived_s.map(entry).into_iter().collect();
    });
}

/// Announces these prefixes with these communities.
pub(crate) fn announce(plant: &mut Plant, nlri: &[u8], communities: &[u32]) {
    let value: Vec<u8> = communities.iter().flat_map(|community| community.to_be_bytes()).collect();
    let value = Some(value.as_slice()).filter(|value| !value.is_empty());
    let mut plain = Vec::new();
    put(&mut plain, flag::TRANSITIVE, kind::ORIGIN, &[0]);
    put(&mut plain, flag::TRANSITIVE, kind::AS_PATH, &[2, 1, 0, 0, 0xfc, 0x59]);
    let mut attributes = with(&plain, flag::OPTIONAL | flag::TRANSITIVE, kind::COMMUNITIES, value);
    attributes = with(&attributes, flag::TRANSITIVE, kind::NEXT_HOP, Some(&[192, 0, 2, 1]));
    plant.update(&[], &attributes, nlri);
}

/// The guest says End-of-RIB for IPv4.
pub(crate) fn end_of_rib(plant: &mut Plant) {
    plant.update(&[], &[], &[]);
}

/// An Established guest with that OPEN which has told both prefixes.
pub(crate) fn established(kin: Kin, restart: Option<PeerRestart>, long_lived_s: Option<u32>) -> Plant {
    let mut plant = Plant::configured(kin, |_, guest, canary| {
        guest.graceful_restart_s = Some(120);
        guest.session.long_lived_stale_s = long_lived_s;
        canary.session.long_lived_stale_s = None;
    });
    offer(&mut plant, restart, long_lived_s);
    plant.try_open();
    announce(&mut plant, &NLRI, &[]);
    end_of_rib(&mut plant);
    assert_eq!(stale(&plant), [Some(false); 2]);
    plant
}

/// Whether each prefix of the guest's is stale; `None` = gone.
pub(crate) fn stale(plant: &Plant) -> [Option<bool>; 2] {
    [FIRST, SECOND].map(|prefix| plant.route(prefix).map(|route| route.paths[0].stale))
}
