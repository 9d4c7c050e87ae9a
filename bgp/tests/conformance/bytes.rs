//! UPDATEs in bytes, and what became of them: common ground of the files about attributes.
use crate::harness::plant::{Kin, Plant};
use std::time::Duration;
use weft_bgp::wire::attrs::{Attr, Attrs};

/// 10.5.0.0/24, as it stands in a message.
pub(crate) const NLRI: [u8; 4] = [24, 10, 5, 0];
/// The same as text.
pub(crate) const PREFIX: &str = "10.5.0.0/24";
/// Another prefix of the guest, which a fault in a message about [`PREFIX`] must not touch.
pub(crate) const OTHER: &str = "10.6.0.0/24";
/// ORIGIN IGP.
pub(crate) const ORIGIN: [u8; 4] = [0x40, 1, 1, 0];
/// AS_PATH 64601, in four octets.
pub(crate) const AS_PATH: [u8; 9] = [0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0x59];
/// AS_PATH 64601, as a two-octet speaker writes it.
pub(crate) const OLD_PATH: [u8; 7] = [0x40, 2, 4, 2, 1, 0xfc, 0x59];
/// NEXT_HOP 192.0.2.1, the guest.
pub(crate) const NEXT_HOP: [u8; 7] = [0x40, 3, 4, 192, 0, 2, 1];
/// LOCAL_PREF 100.
pub(crate) const LOCAL_PREF: [u8; 7] = [0x40, 5, 4, 0, 0, 0, 100];

/// What an UPDATE cost, from nothing to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// The route is used, with the attribute.
    Nothing,
    /// The route is used without the attribute.
    Discard,
    /// The route is withdrawn and the session stays.
    Withdraw,
    /// NOTIFICATION with this code and subcode.
    Reset(u8, u8),
}

/// A guest that is Established.
pub(crate) fn established(kin: Kin) -> Plant {
    let mut plant = Plant::new(kin);
    plant.accept();
    plant.open();
    plant
}

/// An attribute, its length in one octet where it fits.
pub(crate) fn attribute(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    match u8::try_from(value.len()) {
        Ok(length) => [&[flags, kind, length], value].concat(),
        Err(_) => {
            let [high, low] = u16::try_from(value.len()).unwrap().to_be_bytes();
            [&[flags | 0x10, kind, high, low], value].concat()
        }
    }
}

/// The attributes of an ordinary route of a peer of this kind, `changed` in the place of those of its type, or behind all.
pub(crate) fn route_with(kin: Kin, changed: &[u8]) -> Vec<u8> {
    let path: &[u8] = if kin == Kin::Old { &OLD_PATH } else { &AS_PATH };
    let pref: &[u8] = if kin == Kin::Internal { &LOCAL_PREF } else { &[] };
    let good = [&ORIGIN[..], path, &NEXT_HOP, pref];
    let kept = good.into_iter().filter(|attr| attr.get(1) != changed.get(1));
    kept.chain([changed]).flatten().copied().collect()
}

/// The route was known, and comes again with these attributes: what that costs. The canary, and another route of the same peer,
/// suffer in no case but a reset.
pub(crate) fn cost(kin: Kin, attributes: &[u8], kind: u8) -> Cost {
    let mut plant = established(kin);
    plant.update(&[], &route_with(kin, &[]), &NLRI);
    plant.update(&[], &route_with(kin, &[]), &[24, 10, 6, 0]);
    assert!(plant.told(PREFIX).is_some() && plant.told(OTHER).is_some(), "the ordinary route is not told");
    plant.update(&[], attributes, &NLRI);
    plant.pass(Duration::from_secs(2));
    plant.check();
    let sent = plant.notifications();
    if let [notification] = sent.as_slice() {
        assert_eq!(plant.told(PREFIX), None, "the route outlives its session");
        return Cost::Reset(notification.code, notification.subcode);
    }
    assert_eq!((plant.guest_state().as_str(), sent.len()), ("Established", 0));
    assert!(plant.told(OTHER).is_some(), "another prefix suffers");
    let faults = plant.guest().withdraw_faults;
    let (Some(route), Some(told)) = (plant.route(PREFIX), plant.told(PREFIX)) else {
        assert_eq!((faults, plant.told(PREFIX)), (1, None));
        return Cost::Withdraw;
    };
    assert_eq!(faults, 0);
    let path = &route.paths[0];
    let held = match kind {
        5 => path.local_pref.is_some(),
        9 => path.originator_id.is_some(),
        10 => !path.cluster_list.is_empty(),
        4 => path.med.is_some(),
        3 => true,
        kind => Attrs(&told).value(kind).is_some(),
    };
    if held { Cost::Nothing } else { Cost::Discard }
}

/// What one attribute costs in an otherwise ordinary route.
pub(crate) fn cost_of(kin: Kin, flags: u8, kind: u8, value: &[u8]) -> Cost {
    cost(kin, &route_with(kin, &attribute(flags, kind, value)), kind)
}

/// The attribute as the canary was told it, with its flags.
pub(crate) fn told_attr(plant: &Plant, kind: u8) -> Option<(u8, Vec<u8>)> {
    let block = plant.told(PREFIX)?;
    let found = Attrs(&block).iter().find(|attr| attr.kind == kind);
    found.map(|Attr { flags, value, .. }| (flags, value.to_vec()))
}

/// An Established guest of this kind that has told its route with one more attribute.
pub(crate) fn telling(kin: Kin, flags: u8, kind: u8, value: &[u8]) -> Plant {
    let mut plant = established(kin);
    plant.update(&[], &route_with(kin, &attribute(flags, kind, value)), &NLRI);
    plant.check();
    plant
}
