//! Weighted ECMP: how much of the traffic each next hop of a set takes, from the bandwidths of its paths (RFC 10005 §3.2).
//!
//! Weights are used only where **every** member of the set says its bandwidth (RFC 10005 §4), and more than zero, which §3.2 leaves
//! to us; otherwise all members are alike, because nobody can say how much a silent one carries. The weights are the smallest that
//! are right to 4 %, so that a bandwidth which moves by a few per cent gives the same weights, and the same group in the kernel
//! (RFC 10005 §7.2).

use crate::types::Hop;
use crate::wire::community::Bandwidth;

/// The greatest weight of a member. The kernel takes 256; with this many, twenty members of any widths are told apart.
const WIDEST: u8 = 240;
/// How far a member's weight, next to the widest one's, may be from its bandwidth next to the widest: 4 %.
const TOLERANCE: f64 = 0.04;

/// Next hops with the bandwidths of their paths as a set: sorted, none twice, weights in lowest terms.
#[must_use]
pub fn weighted(mut members: Vec<(Hop, Option<Bandwidth>)>) -> Vec<Hop> {
    members.sort_unstable_by_key(|(hop, _)| *hop);
    // Two paths through one next hop: it is as wide as the wider one says.
    members.dedup_by(|(hop, rate), (kept, widest)| {
        let same = *hop == *kept;
        if same && rate.is_none_or(|rate| widest.is_some_and(|widest| rate > widest)) {
            *widest = *rate;
        }
        same
    });
    let widest = members.iter().filter_map(|(_, rate)| *rate).map(rate).fold(0.0, f64::max);
    let all_known = members.len() > 1 && members.iter().all(|(_, known)| known.is_some_and(|known| rate(known) > 0.0));
    if all_known {
        let shares: Vec<f64> =
            members.iter().filter_map(|(_, known)| known.map(|known| rate(known) / widest)).collect();
        let near = |widest: &u8| shares.iter().all(|share| is_near(*share, *widest));
        let greatest = (1..WIDEST).find(near).unwrap_or(WIDEST);
        for ((hop, _), share) in members.iter_mut().zip(shares) {
            hop.weight = weight(share, greatest);
        }
    }
    members.into_iter().map(|(hop, _)| hop).collect()
}

/// What the members carry together, if every one of them says. A next hop that several paths share is counted for each.
#[must_use]
pub fn total(members: &[(Hop, Option<Bandwidth>)]) -> Option<Bandwidth> {
    let sum = members.iter().try_fold(0.0, |sum, (_, known)| Some(sum + known.as_ref()?.octets_per_s()))?;
    Bandwidth::new(sum)
}

fn rate(bandwidth: Bandwidth) -> f64 {
    f64::from(bandwidth.octets_per_s())
}

/// Whether a member's weight says its share, 0 < `share` ≤ 1 of the widest one's bandwidth, well enough.
fn is_near(share: f64, widest: u8) -> bool {
    let said = f64::from(weight(share, widest)) / f64::from(widest);
    (said - share).abs() <= TOLERANCE * share
}

fn weight(share: f64, widest: u8) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 1..=240")]
    let weight = (share * f64::from(widest)).round().clamp(1.0, f64::from(widest)) as u8;
    weight
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::IfIndex;
    use proptest::prelude::*;

    fn set(rates: &[Option<&str>]) -> Vec<u8> {
        let member = |(at, rate): (usize, &Option<&str>)| {
            let link = IfIndex(u32::try_from(at).unwrap());
            let hop = Hop { link, gateway: "192.0.2.1".parse().unwrap(), weight: 1 };
            (hop, rate.map(|rate| rate.parse().unwrap()))
        };
        weighted(rates.iter().enumerate().map(member).collect()).into_iter().map(|hop| hop.weight).collect()
    }

    #[test]
    fn weights_follow_bandwidth_in_lowest_terms() {
        assert_eq!(set(&[Some("100G"), Some("100G")]), [1, 1]);
        assert_eq!(set(&[Some("100G"), Some("25G")]), [4, 1]);
        assert_eq!(set(&[Some("400G"), Some("25G"), Some("100G")]), [16, 1, 4]);
        assert_eq!(set(&[Some("10G"), Some("40G"), Some("50G")]), [1, 4, 5]);
        assert_eq!(set(&[Some("1T"), Some("1M")]), [240, 1]);
    }

    #[test]
    fn a_silent_or_empty_member_makes_all_alike() {
        assert_eq!(set(&[Some("100G"), None]), [1, 1]);
        assert_eq!(set(&[Some("100G"), Some("0")]), [1, 1]);
        assert_eq!(set(&[Some("25G")]), [1]);
    }

    #[test]
    fn noise_of_a_few_per_cent_changes_nothing() {
        for noisy in ["97G", "99G", "100.9G", "103G"] {
            assert_eq!(set(&[Some("100G"), Some(noisy)]), [1, 1], "{noisy}");
        }
        assert_eq!(set(&[Some("100G"), Some("50.9G")]), set(&[Some("100G"), Some("49.1G")]));
    }

    #[test]
    fn one_next_hop_of_two_paths_stands_once() {
        let hop = Hop { link: IfIndex(1), gateway: "192.0.2.1".parse().unwrap(), weight: 1 };
        let other = Hop { link: IfIndex(2), ..hop };
        let rate = |text: &str| Some(text.parse().unwrap());
        let hops = weighted(vec![(hop, rate("10G")), (other, rate("10G")), (hop, rate("20G"))]);
        assert_eq!(hops, [Hop { weight: 2, ..hop }, other]);
    }

    proptest! {
        #[test]
        fn shares_are_right_to_a_few_per_cent(rates in proptest::collection::vec(1.0_f32..100.0, 2..9)) {
            let members = rates.iter().enumerate().map(|(at, rate)| {
                let link = IfIndex(u32::try_from(at).unwrap());
                (Hop { link, gateway: "192.0.2.1".parse().unwrap(), weight: 1 }, Bandwidth::new(*rate))
            });
            let weights: Vec<f64> = weighted(members.collect()).iter().map(|hop| f64::from(hop.weight)).collect();
            let (all, of) = (weights.iter().sum::<f64>(), rates.iter().map(|rate| f64::from(*rate)).sum::<f64>());
            for (weight, rate) in weights.iter().zip(&rates) {
                let (got, due) = (weight / all, f64::from(*rate) / of);
                prop_assert!((got - due).abs() <= 0.05, "{got} of the traffic instead of {due}");
            }
        }
    }
}
