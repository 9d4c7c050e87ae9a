//! Aggregates stand while a contributor does; what the kernel refuses nobody is told.

use super::*;
use crate::rib::table::AGGREGATE;
use crate::speaker::{FibChange, Want};
use crate::wire::attrs::kind;
use proptest::prelude::*;

/// 1 originates what it is told to, 2 aggregates, 3 listens.
fn line(aggregates: &[&str]) -> Net {
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.join(1, 2, |_, _| {});
    net.join(2, 3, |_, _| {});
    let aggregates = aggregates.iter().map(|prefix| prefix.parse().unwrap()).collect();
    let config = SpeakerConfig { aggregates, ..net.speakers[1].config.clone() };
    let now = net.now;
    net.speakers[1].set_config(now, config);
    net.settle();
    net
}

fn originate(net: &mut Net, at: usize, prefixes: &[&str]) {
    let route = |prefix: &&str| Originate {
        prefix: prefix.parse().unwrap(),
        communities: Vec::new(),
        large_communities: Vec::new(),
        weight: None,
        why: "test".to_owned(),
    };
    net.give(at - 1, Input::SetOriginated(prefixes.iter().map(route).collect()));
    net.settle();
}

fn best(net: &Net, at: usize, prefix: &str) -> Option<(String, String)> {
    let prefix = prefix.parse().unwrap();
    let route = net.speakers[at - 1].route_to(&prefix).filter(|route| route.prefix == prefix)?;
    route.paths.into_iter().find(|path| path.best).map(|path| (path.from, path.reason))
}

/// What the kernel of 2 is asked for, from now on in place of the answers of the harness.
fn wants(net: &mut Net) -> Vec<(String, Want)> {
    let changes = net.speakers[1].poll_fib(usize::MAX);
    if let Some(last) = changes.last() {
        net.give(1, Input::FibAck { seq: last.seq, failed: Vec::new() });
    }
    changes.into_iter().map(|FibChange { prefix, want, .. }| (prefix.to_string(), want)).collect()
}

#[test]
fn an_aggregate_comes_with_the_first_contributor_and_goes_with_the_last() {
    // RFC 4271 §9.1.4
    let mut net = line(&["10.64.0.0/12"]);
    assert_eq!(best(&net, 2, "10.64.0.0/12"), None);
    originate(&mut net, 1, &["10.65.0.0/16", "10.66.1.0/24", "10.80.0.0/16"]);
    assert_eq!(best(&net, 2, "10.64.0.0/12"), Some(("local".to_owned(), "aggregate of 2 contributors".to_owned())));
    let heard = net.speakers[2].route_to(&"10.64.0.0/12".parse().unwrap()).unwrap();
    assert_eq!(heard.paths[0].as_path, "65002");
    originate(&mut net, 1, &["10.66.1.0/24"]);
    assert_eq!(best(&net, 2, "10.64.0.0/12").unwrap().1, "aggregate of 1 contributor");
    originate(&mut net, 1, &["10.80.0.0/16", "10.64.0.0/10"]);
    assert_eq!(best(&net, 2, "10.64.0.0/12"), None);
    assert_eq!(best(&net, 3, "10.64.0.0/12"), None, "withdrawn");
}

#[test]
fn it_says_that_as_numbers_were_left_out_and_by_whom() {
    // RFC 4271 §5.1.6, §5.1.7
    let mut net = line(&["10.64.0.0/12"]);
    originate(&mut net, 1, &["10.65.0.0/16"]);
    let entry = net.speakers[2].table.get(&"10.64.0.0/12".parse().unwrap()).unwrap();
    let attrs = crate::wire::attrs::Attrs(net.speakers[2].table.attrs.block(entry.paths[0].attrs));
    assert_eq!(attrs.value(kind::ATOMIC_AGGREGATE), Some(&[][..]));
    assert_eq!(attrs.value(kind::AGGREGATOR), Some(&[0, 0, 0xfd, 0xea, 10, 0, 0, 2][..]));
}

#[test]
fn the_kernel_discards_what_no_contributor_covers() {
    let mut net = line(&["10.64.0.0/12"]);
    net.speakers[1].fib_signalled = true; // the harness does not answer for the kernel
    originate(&mut net, 1, &["10.65.0.0/16"]);
    let changes = wants(&mut net);
    assert!(changes.contains(&("10.64.0.0/12".to_owned(), Want::Discard)), "{changes:?}");
    net.speakers[1].fib_signalled = true;
    originate(&mut net, 1, &[]);
    let changes = wants(&mut net);
    assert!(changes.contains(&("10.64.0.0/12".to_owned(), Want::Nothing)), "{changes:?}");
}

#[test]
fn the_kernel_hears_of_an_aggregate_whose_contributor_is_no_concern_of_its() {
    let mut net = line(&["10.64.0.0/12"]);
    net.speakers[1].fib_signalled = true;
    originate(&mut net, 2, &["10.65.0.1/32"]);
    assert_eq!(wants(&mut net), [("10.64.0.0/12".to_owned(), Want::Discard)]);
}

#[test]
fn a_received_route_of_equal_prefix_waits_behind_and_comes_back() {
    let mut net = line(&["10.64.0.0/12"]);
    originate(&mut net, 1, &["10.64.0.0/12", "10.65.0.0/16"]);
    assert_eq!(best(&net, 2, "10.64.0.0/12").unwrap().1, "aggregate of 1 contributor");
    originate(&mut net, 1, &["10.64.0.0/12"]);
    assert_eq!(
        best(&net, 2, "10.64.0.0/12"),
        Some(("r1".to_owned(), "the only path".to_owned())),
        "it is no contributor itself"
    );
    assert_eq!(net.routes(3)[1], "10.64.0.0/12 [65002 65001] 192.0.2.2");
}

#[test]
fn a_route_originated_by_name_takes_the_place_of_the_aggregate() {
    let mut net = line(&["10.64.0.0/12"]);
    originate(&mut net, 1, &["10.65.0.0/16"]);
    originate(&mut net, 2, &["10.64.0.0/12"]);
    assert_eq!(best(&net, 2, "10.64.0.0/12").unwrap().1, "the only path");
    originate(&mut net, 2, &[]);
    assert_eq!(best(&net, 2, "10.64.0.0/12").unwrap().1, "aggregate of 1 contributor");
}

#[test]
fn a_changed_list_of_aggregates_is_counted_anew() {
    let mut net = line(&["10.64.0.0/12"]);
    originate(&mut net, 1, &["10.65.0.0/16"]);
    let config = SpeakerConfig { aggregates: vec!["10.0.0.0/8".parse().unwrap()], ..net.speakers[1].config.clone() };
    let now = net.now;
    net.speakers[1].set_config(now, config);
    net.settle();
    assert_eq!((best(&net, 2, "10.64.0.0/12"), best(&net, 3, "10.64.0.0/12")), (None, None));
    assert_eq!(best(&net, 2, "10.0.0.0/8").unwrap().1, "aggregate of 3 contributors", "also of 2 and 3");
}

#[test]
fn what_the_kernel_refuses_is_told_to_nobody_until_it_is_repaired() {
    let mut net = line(&[]);
    net.speakers[1].config.advertise_after_install = true;
    let prefix: IpNet = "10.1.0.0/16".parse().unwrap();
    let installed = |net: &Net| net.speakers[1].route_to(&prefix).unwrap().installed;
    assert!(installed(&net) && best(&net, 3, "10.1.0.0/16").is_some());
    // The route changes, and the kernel does not take the change.
    net.speakers[1].fib_signalled = true;
    let route =
        Originate { prefix, communities: vec![1], large_communities: Vec::new(), weight: None, why: "test".to_owned() };
    net.give(0, Input::SetOriginated(vec![route]));
    net.settle();
    let changes = net.speakers[1].poll_fib(usize::MAX);
    let seq = changes.last().unwrap().seq;
    net.give(1, Input::FibAck { seq, failed: vec![prefix] });
    net.settle();
    assert!(!installed(&net));
    assert_eq!(best(&net, 3, "10.1.0.0/16"), None);
    assert_eq!(net.speakers[1].told(&prefix)[1].reason.as_deref(), Some("the kernel refused it"));
    net.give(1, Input::FibRepaired(vec![prefix]));
    net.settle();
    assert!(installed(&net) && best(&net, 3, "10.1.0.0/16").is_some());
}

#[test]
fn what_the_kernel_refused_is_asked_for_again_until_it_is_there() {
    let mut net = line(&[]);
    net.speakers[1].config.advertise_after_install = true;
    let prefix: IpNet = "10.1.0.0/16".parse().unwrap();
    net.speakers[1].fib_signalled = true;
    let route =
        Originate { prefix, communities: vec![1], large_communities: Vec::new(), weight: None, why: "test".to_owned() };
    net.give(0, Input::SetOriginated(vec![route]));
    net.settle();
    // Three times in vain, one, two and four seconds apart; then the harness answers again.
    let mut asked = Vec::new();
    for seconds in [0, 1, 2] {
        net.run(seconds);
        let change = net.speakers[1].poll_fib(usize::MAX).pop().unwrap();
        asked.push(change.prefix);
        net.speakers[1].fib_signalled = true;
        net.give(1, Input::FibAck { seq: change.seq, failed: vec![prefix] });
        net.settle();
        assert_eq!(best(&net, 3, "10.1.0.0/16"), None);
    }
    assert_eq!(asked, [prefix; 3]);
    net.speakers[1].fib_signalled = false;
    net.run(4);
    assert!(best(&net, 3, "10.1.0.0/16").is_some());
    net.run(8);
    assert!(net.speakers[1].ask_again.is_none(), "and then no more");
}

#[test]
fn a_late_refusal_of_an_older_change_is_not_held_against_the_newer_one() {
    let mut net = line(&[]);
    net.speakers[1].config.advertise_after_install = true;
    let prefix: IpNet = "10.1.0.0/16".parse().unwrap();
    let mut seqs = Vec::new();
    for community in [1, 2] {
        net.speakers[1].fib_signalled = true;
        let communities = vec![community];
        let route =
            Originate { prefix, communities, large_communities: Vec::new(), weight: None, why: "test".to_owned() };
        net.give(0, Input::SetOriginated(vec![route]));
        net.settle();
        seqs.push(net.speakers[1].poll_fib(usize::MAX).last().unwrap().seq);
    }
    net.give(1, Input::FibAck { seq: seqs[0], failed: vec![prefix] });
    net.give(1, Input::FibAck { seq: seqs[1], failed: Vec::new() });
    net.settle();
    assert!(net.speakers[1].route_to(&prefix).unwrap().installed);
}

/// A small world of overlapping prefixes.
fn prefix(at: u8) -> String {
    [
        "10.0.0.0/8",
        "10.0.0.0/12",
        "10.0.0.0/16",
        "10.1.0.0/16",
        "10.16.0.0/12",
        "10.16.1.0/24",
        "11.0.0.0/8",
        "11.1.0.0/16",
    ][usize::from(at)]
    .to_owned()
}

proptest! {
    #[test]
    fn the_counts_equal_those_made_from_scratch(
        aggregates in proptest::collection::btree_set(0_u8..7, 1..4),
        steps in proptest::collection::vec((0_usize..4, proptest::collection::btree_set(0_u8..8, 0..5)), 1..20),
    ) {
        let names: Vec<String> = aggregates.iter().map(|at| prefix(*at)).collect();
        let mut net = line(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (what, set) in steps {
            let all: Vec<String> = set.into_iter().map(prefix).collect();
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            match what {
                0 => net.give(1, Input::Links(Vec::new())),
                1 => {
                    let addrs = vec![IpNet::new(address(2), 24).unwrap()];
                    net.give(1, Input::Links(vec![LinkState { link: IfIndex(2), addrs }]));
                }
                2 => originate(&mut net, 2, &all),
                _ => originate(&mut net, 1, &all),
            }
            net.settle();
            let speaker = &net.speakers[1];
            let entries: Vec<_> = speaker.table.after(None).collect();
            for name in &names {
                let prefix: IpNet = name.parse().unwrap();
                let inside = entries.iter().filter(|entry| {
                    prefix.contains(&entry.prefix) && prefix != entry.prefix
                        && entry.best_peer().is_some_and(|best| best != AGGREGATE)
                });
                let count = inside.count() as u64;
                prop_assert_eq!(speaker.aggregates.count(&prefix), count, "{}", name);
                let stands = entries.iter().any(|entry| {
                    entry.prefix == prefix && entry.paths.iter().any(|path| path.peer == AGGREGATE)
                });
                prop_assert_eq!(stands, count > 0 && !speaker.originated.contains(&prefix), "{}", name);
            }
        }
    }
}
