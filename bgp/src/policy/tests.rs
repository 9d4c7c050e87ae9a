//! The language by examples, and what cannot happen.

use super::*;
use crate::types::Asn;
use crate::wire::attrs::{AsPath, Attrs, flag, kind, put};
use crate::wire::community::Bandwidth;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

fn policies(section: &Value) -> Policies {
    compile(section, &BTreeSet::from(["node1".to_owned(), "spine1".to_owned()])).unwrap()
}

fn block(path: &[u32], communities: &[u32]) -> Vec<u8> {
    let mut block = Vec::new();
    put(&mut block, flag::TRANSITIVE, kind::ORIGIN, &[0]);
    let path = path.iter().rev().fold(Vec::new(), |path, asn| AsPath(&path).prepended(Asn(*asn), 1));
    put(&mut block, flag::TRANSITIVE, kind::AS_PATH, &path);
    put(&mut block, flag::OPTIONAL, kind::MULTI_EXIT_DISC, &[0, 0, 0, 7]);
    if !communities.is_empty() {
        let value: Vec<_> = communities.iter().flat_map(|word| word.to_be_bytes()).collect();
        put(&mut block, flag::OPTIONAL | flag::TRANSITIVE, kind::COMMUNITIES, &value);
    }
    // rt:65000:7
    put(&mut block, flag::OPTIONAL | flag::TRANSITIVE, kind::EXTENDED_COMMUNITIES, &[0, 2, 0xfd, 0xe8, 0, 0, 0, 7]);
    block
}

/// Asks policy `p` about a route; `accept plan[2]` or `reject p.end`, and the block after the changes.
fn ask(policies: &Policies, prefix: &str, block: &[u8], change: impl Fn(&mut Route<'_>)) -> (String, Vec<u8>) {
    let prefix = prefix.parse().unwrap();
    let mut route = Route {
        prefix: &prefix,
        attrs: Attrs(block),
        next_hop: IpAddr::from([192, 0, 2, 1]),
        source: Source::Ebgp,
        peer_name: "spine1",
        peer_address: IpAddr::from([192, 0, 2, 1]),
        peer_asn: Asn(64_599),
        own_asn: Asn(64_600),
        next_hops: 2,
        bandwidth: Bandwidth::new(1.25e9),
        vrps: None,
    };
    change(&mut route);
    let chosen = policies.choose(Some("p"), true);
    let outcome = chosen.evaluate(route);
    let verdict = match outcome.verdict {
        Verdict::Accept => "accept",
        Verdict::Reject => "reject",
    };
    let rule = policies.rule_name(outcome.rule.unwrap());
    (format!("{verdict} {rule}"), chosen.changed(block, &outcome.changes, Asn(64_600), route.bandwidth))
}

fn decides(rules: &Value, prefix: &str, block: &[u8]) -> String {
    ask(
        &policies(&json!({"sets": {"a": ["10.0.0.0/8 ge 16 le 24", "192.0.2.0/24"]}, "p": rules})),
        prefix,
        block,
        |_| {},
    )
    .0
}

#[test]
fn without_a_policy_external_routes_are_rejected() {
    // RFC 8212 §3
    let policies = Policies::default();
    let verdict = |name, ebgp| match policies.choose(name, ebgp) {
        Chosen::Always(verdict) => verdict,
        Chosen::Rules(..) => panic!("there are none"),
    };
    assert_eq!(verdict(None, true), Verdict::Reject);
    assert_eq!(verdict(None, false), Verdict::Accept);
    assert_eq!(verdict(Some("accept-all"), true), Verdict::Accept);
    assert_eq!(verdict(Some("reject-all"), false), Verdict::Reject);
    assert_eq!(verdict(Some("misspelt"), false), Verdict::Reject);
}

#[test]
fn the_first_verdict_counts_and_the_end_rejects() {
    let rules = json!([
        {"match": {"prefix": "a"}, "then": "accept"},
        {"match": {"prefix": ["10.1.0.0/16 ge 32"]}, "then": "next"},
        {"match": {"prefix": "10.1.0.0/16 ge 25"}, "then": "reject"},
    ]);
    for (prefix, expected) in [
        ("10.1.0.0/16", "accept p[0]"),
        ("192.0.2.0/24", "accept p[0]"),
        ("192.0.2.0/25", "reject p.end"),
        ("10.1.2.3/32", "reject p[2]"),
        ("10.2.2.3/32", "reject p.end"),
        ("10.0.0.0/8", "reject p.end"),
    ] {
        assert_eq!(decides(&rules, prefix, &block(&[1], &[])), expected, "{prefix}");
    }
    assert_eq!(decides(&json!([]), "10.1.0.0/16", &block(&[1], &[])), "reject p.end");
}

#[test]
fn every_condition_tells_fitting_routes_from_others() {
    let route = block(&[64_599, 64_601, 65_010], &[0xfde8_0001]);
    for (condition, fits) in [
        (json!({"family": "ipv4"}), true),
        (json!({"family": "ipv6"}), false),
        (json!({"route": "ebgp"}), true),
        (json!({"route": ["local", "ibgp"]}), false),
        (json!({"peer": "spine1"}), true),
        (json!({"peer": ["node1", "192.0.2.0/24"]}), true),
        (json!({"peer": "192.0.2.2"}), false),
        (json!({"neighbor_asn": 64_599}), true),
        (json!({"neighbor_asn": [1, 2]}), false),
        (json!({"next_hop": "192.0.2.0/30"}), true),
        (json!({"next_hop": "192.0.2.2"}), false),
        (json!({"origin": "igp"}), true),
        (json!({"origin": ["egp", "incomplete"]}), false),
        (json!({"med": 7}), true),
        (json!({"med": "ge 8"}), false),
        (json!({"local_pref": 100}), true),
        (json!({"local_pref": "le 99"}), false),
        (json!({"community": "65000:1"}), true),
        (json!({"community": ["65000:2", "no-export"]}), false),
        (json!({"community": "65000:*"}), true),
        (json!({"large_community": "*:*:*"}), false),
        (json!({"ext_community": "rt:65000:7"}), true),
        (json!({"ext_community": "0x0002fde800000007"}), true),
        (json!({"ext_community": ["rt:65000:8", "ro:*", "link-bandwidth:*"]}), false),
        (json!({"ext_community": "rt:65000:*"}), true),
        (json!({"ext_community": "rt:*"}), true),
        (json!({"ext_community": "rt:10.0.0.1:*"}), false),
        (json!({"link_bandwidth": "ge 10G"}), true),
        (json!({"link_bandwidth": "ge 10.5G"}), false),
        (json!({"link_bandwidth": "10G"}), true),
        (json!({"next_hops": "ge 2"}), true),
        (json!({"next_hops": 1}), false),
        (json!({"as_path": 64_601}), true),
        (json!({"as_path": [1, 2]}), false),
        (json!({"as_path": {"starts_with": 64_599, "ends_with": [65_010, 65_011]}}), true),
        (json!({"as_path": {"starts_with": 64_601}}), false),
        (json!({"as_path": {"length": 3}}), true),
        (json!({"as_path": {"length": "ge 4"}}), false),
        (json!({"prefix": "a", "peer": "node1"}), false),
    ] {
        let rules = json!([{"match": condition, "then": "accept"}]);
        assert_eq!(decides(&rules, "10.1.0.0/16", &route) == "accept p[0]", fits, "{condition}");
        let inverse = json!([{"not": condition, "then": "accept"}]);
        assert_eq!(decides(&inverse, "10.1.0.0/16", &route) == "accept p[0]", !fits, "not {condition}");
    }
}

#[test]
fn named_sets_hold_as_numbers_and_communities_too() {
    let sets = json!({
        "ours": [64_599, 64_601], "tags": ["65000:1", "65001:*"], "large": ["4200000010:1:*"], "targets": ["rt:65000:7"],
    });
    let fits = |condition: Value| {
        let policies = policies(&json!({"sets": sets, "p": [{"match": condition, "then": "accept"}]}));
        ask(&policies, "10.1.0.0/16", &block(&[64_599, 64_700], &[0xfde8_0001]), |_| {}).0 == "accept p[0]"
    };
    assert!(fits(json!({"neighbor_asn": "ours"})) && fits(json!({"as_path": {"contains": ["ours", 7]}})));
    assert!(fits(json!({"as_path": {"starts_with": "ours"}})) && !fits(json!({"as_path": {"ends_with": "ours"}})));
    assert!(fits(json!({"community": "tags"})) && fits(json!({"community": ["1:1", "tags"]})));
    assert!(fits(json!({"ext_community": "targets"})) && !fits(json!({"large_community": "large"})));
    let wrong = |section: Value| compile(&section, &BTreeSet::new()).unwrap_err()[0].to_owned();
    let mixed = wrong(json!({"sets": {"a": [64_599, "10.0.0.0/8"]}, "p": []}));
    assert_eq!(mixed.field, "policy.sets.a[1]");
    let kind = wrong(json!({"sets": {"a": ["65000:1"]}, "p": [{"match": {"neighbor_asn": "a"}, "then": "accept"}]}));
    assert_eq!(
        (kind.field.as_str(), kind.message.as_str()),
        ("policy.p[0].match.neighbor_asn[0]", "`65000:1` is no AS number")
    );
}

#[test]
fn a_set_of_a_hundred_thousand_is_one_search() {
    let all: Vec<u32> = (1..=100_000).map(|asn| asn * 2).collect();
    let policies = policies(
        &json!({"sets": {"many": all}, "p": [{"match": {"as_path": {"contains": "many"}}, "then": "accept"}]}),
    );
    for (asn, expected) in
        [(2, "accept p[0]"), (200_000, "accept p[0]"), (99_999, "reject p.end"), (200_002, "reject p.end")]
    {
        assert_eq!(ask(&policies, "10.1.0.0/16", &block(&[asn], &[]), |_| {}).0, expected, "{asn}");
    }
}

#[test]
fn path_patterns_fit_whole_paths() {
    for (pattern, path, fits) in [
        ("64599 * 64600", &[64_599, 64_600][..], true),
        ("64599 * 64600", &[64_599, 1, 2, 64_600], true),
        ("64599 * 64600", &[64_599, 64_600, 3], false),
        ("64599 ? 64600", &[64_599, 64_600], false),
        ("* 5 * 5", &[1, 5, 5, 2, 5], true),
        ("* 5 * 5", &[1, 5, 2], false),
        ("", &[], true),
        ("", &[1], false),
        ("*", &[], true),
        ("7", &[7], true),
        ("7", &[7, 7], false),
    ] {
        let rules = json!([{"match": {"as_path": pattern}, "then": "accept"}]);
        assert_eq!(decides(&rules, "10.1.0.0/16", &block(path, &[])) == "accept p[0]", fits, "{pattern:?} {path:?}");
    }
}

#[test]
fn local_includes_aggregates_but_not_the_other_way_round() {
    let of = |kind: &str, source| {
        let policies = policies(&json!({"p": [{"match": {"route": kind}, "then": "accept"}]}));
        ask(&policies, "10.0.0.0/8", &block(&[], &[]), |route| route.source = source).0 == "accept p[0]"
    };
    assert!(of("local", Source::Local) && of("local", Source::Aggregate) && of("aggregate", Source::Aggregate));
    assert!(!of("aggregate", Source::Local) && !of("local", Source::Ibgp));
}

#[test]
fn changes_are_made_in_their_order_and_seen_by_later_rules() {
    let policies = policies(&json!({"p": [
        {"then": {"set": {"local_pref": 50, "med": 9, "origin": "egp"}, "add": {"communities": ["65000:2", "no-export"]},
                  "remove": {"communities": ["65000:1"]}, "prepend": 2, "do": "next"}},
        {"match": {"local_pref": 50, "community": "65000:2", "as_path": "64600 64600 1"},
         "then": {"add": {"large_communities": ["1:2:3"]}, "prepend": [7, 8], "do": "accept"}},
    ]}));
    let (verdict, out) = ask(&policies, "10.0.0.0/8", &block(&[1], &[0xfde8_0001]), |_| {});
    assert_eq!(verdict, "accept p[1]");
    let attrs = Attrs(&out);
    assert_eq!((attrs.local_pref(), attrs.med(), attrs.origin()), (Some(50), Some(9), 1));
    assert_eq!(attrs.communities().collect::<Vec<_>>(), [0xfde8_0002, 0xffff_ff01]);
    assert_eq!(attrs.large_communities().collect::<Vec<_>>(), [[1, 2, 3]]);
    assert_eq!(attrs.as_path().to_string(), "7 8 64600 64600 1");
}

#[test]
fn the_last_community_takes_the_attribute_with_it() {
    for then in [
        json!({"remove": {"communities": "*:*", "med": true}, "do": "accept"}),
        json!({"set": {"communities": []}, "do": "accept"}),
    ] {
        let policies = policies(&json!({"p": [{"then": then}]}));
        let (_, out) = ask(&policies, "10.0.0.0/8", &block(&[1], &[5, 6]), |_| {});
        assert_eq!(Attrs(&out).value(kind::COMMUNITIES), None);
    }
}

#[test]
fn a_called_policy_decides_or_hands_back() {
    let policies = policies(&json!({
        "p": [{"then": {"set": {"med": 1}, "call": "q"}}, {"then": "accept"}],
        "q": [{"match": {"prefix": "10.0.0.0/8"}, "then": "reject"},
              {"match": {"med": 1}, "then": {"add": {"communities": "1:1"}, "do": "next"}}],
    }));
    assert_eq!(ask(&policies, "10.0.0.0/8", &block(&[1], &[]), |_| {}).0, "reject q[0]");
    let (verdict, out) = ask(&policies, "11.0.0.0/8", &block(&[1], &[]), |_| {});
    assert_eq!(verdict, "accept p[1]");
    assert_eq!((Attrs(&out).med(), Attrs(&out).communities().count()), (Some(1), 1));
}

#[test]
fn hits_are_counted_by_rule() {
    let policies = policies(&json!({"p": [{"then": "accept"}], "q": [{"then": "next"}]}));
    assert_eq!(policies.rule_count(), 4);
    let names: Vec<_> = policies.rules().map(|rule| policies.rule_name(rule)).collect();
    assert_eq!(names, ["p[0]", "p.end", "q[0]", "q.end"]);
    let (mut hits, mut more) = (Hits::default(), Hits::default());
    for rule in policies.rules().skip(1) {
        hits.count(Some(rule));
        more.count(Some(rule));
    }
    hits.count(None);
    hits.add(&more);
    assert_eq!(policies.rules().map(|rule| hits.of(rule)).collect::<Vec<_>>(), [0, 2, 2, 2]);
}

fn faults(section: &Value) -> Vec<(String, String, String)> {
    let found = compile(section, &BTreeSet::from(["node1".to_owned()])).unwrap_err();
    found.into_iter().map(|fault| (fault.field, fault.message, fault.remedy)).collect()
}

#[test]
fn faults_name_the_field_the_value_and_the_remedy() {
    for (section, field, message, remedy) in [
        (json!([1]), "policy", "is no mapping", "policies by name"),
        (
            json!({"sets": {"a": ["10.0.0.0/33"]}}),
            "policy.sets.a[0]",
            "`10.0.0.0/33` is no prefix",
            "write 10.69.0.0/26",
        ),
        (json!({"sets": {"a": [true]}}), "policy.sets.a[0]", "`true` is no prefix", "write"),
        (json!({"sets": {"a": "10.0.0.1/8"}}), "policy.sets.a", "bits set beyond", "10.0.0.0/8 or 10.0.0.1/32"),
        (json!({"sets": {"a": "10.0.0.0/8 ge 4"}}), "policy.sets.a", "lengths 4 to 32", "8 <= ge <= le <= 32"),
        (json!({"sets": {"a": "10.0.0.0/8 gt 9"}}), "policy.sets.a", "`ge N`", "ge 8"),
        (
            json!({"sets": {"node4": []}, "p": [{"match": {"prefix": "node9"}, "then": "accept"}]}),
            "policy.p[0].match.prefix",
            "no such set `node9`",
            "did you mean `node4`?",
        ),
        (
            json!({"p": [{"match": {"peer": ["node7"]}, "then": "accept"}]}),
            "policy.p[0].match.peer[0]",
            "there is no peer `node7`",
            "did you mean `node1`?",
        ),
        (
            json!({"p": [{"match": {"prefx": "a"}, "then": "accept"}]}),
            "policy.p[0].match.prefx",
            "unknown field `prefx`",
            "did you mean `prefix`?",
        ),
        (json!({"p": [{"then": "permit"}]}), "policy.p[0].then", "`permit` is no verdict", "accept, reject or next"),
        (json!({"p": [{"then": {"set": {"med": 1}}}]}), "policy.p[0].then", "what becomes of", "do: accept"),
        (json!({"p": [{"match": {"family": "ipv4"}}]}), "policy.p[0]", "what is to be done", "then: accept"),
        (
            json!({"p": [{"then": {"call": "q"}}]}),
            "policy.p[0].then.call",
            "there is no policy `q`",
            "policies of this file: p",
        ),
        (json!({"p": [{"then": {"call": "p"}}]}), "policy.p", "calls itself in a circle", "take one `call`"),
        (json!({"accept-all": []}), "policy.accept-all", "is built in", "another name"),
        (
            json!({"p": [{"match": {"community": "65000:70000"}, "then": "accept"}]}),
            "policy.p[0].match.community",
            "`65000:70000` is no community",
            "65000:1",
        ),
        (
            json!({"p": [{"match": {"as_path": []}, "then": "accept"}]}),
            "policy.p[0].match.as_path",
            "empty list",
            "64600",
        ),
        (
            json!({"p": [{"then": {"prepend": 0, "do": "accept"}}]}),
            "policy.p[0].then.prepend",
            "`0` is no number of times",
            "1..=32",
        ),
    ] {
        let found = faults(&section);
        assert_eq!(found.len(), 1, "{section}: {found:?}");
        let (is_field, is_message, is_remedy) = &found[0];
        assert_eq!(is_field, field, "{section}");
        assert!(is_message.contains(message) && is_remedy.contains(remedy), "{section}: {found:?}");
    }
}

#[test]
fn an_empty_section_is_no_fault() {
    assert_eq!(compile(&Value::Null, &BTreeSet::new()).unwrap(), Policies::default());
}

fn any_json() -> impl Strategy<Value = Value> {
    let words =
        ["accept", "next", "sets", "p", "match", "10.0.0.0/8 ge 9", "10.0.0.0/8 le", "*", "65000:1", "peer", "then"];
    let keys = [
        "sets",
        "p",
        "q",
        "match",
        "not",
        "then",
        "set",
        "add",
        "do",
        "call",
        "prefix",
        "as_path",
        "communities",
        "prepend",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| json!(number)),
        proptest::sample::select(words.to_vec()).prop_map(|word| json!(word)),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        let keys = proptest::sample::select(keys.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((keys, inner), 0..5).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_compiler_panic_and_every_fault_has_a_remedy(section in any_json()) {
        if let Err(faults) = compile(&section, &BTreeSet::new()) {
            prop_assert!(!faults.is_empty());
            for fault in faults {
                prop_assert!(fault.field.starts_with("policy") && !fault.message.is_empty() && !fault.remedy.is_empty());
            }
        }
    }

    #[test]
    fn a_pattern_of_stars_and_numbers_fits_as_the_naive_reading_does(
        pattern in proptest::collection::vec(0_u32..4, 0..6),
        path in proptest::collection::vec(1_u32..4, 0..7),
    ) {
        fn naive(pattern: &[u32], path: &[u32]) -> bool {
            match (pattern, path) {
                ([], []) => true,
                ([0, rest @ ..], _) => naive(rest, path) || !path.is_empty() && naive(pattern, &path[1..]),
                ([wanted, rest @ ..], [asn, behind @ ..]) => wanted == asn && naive(rest, behind),
                _ => false,
            }
        }
        let text: Vec<_> = pattern.iter().map(|word| if *word == 0 { "*".to_owned() } else { word.to_string() }).collect();
        let rules = json!([{"match": {"as_path": text.join(" ")}, "then": "accept"}]);
        let fits = decides(&rules, "10.0.0.0/8", &block(&path, &[])) == "accept p[0]";
        prop_assert_eq!(fits, naive(&pattern, &path));
    }
}

#[test]
fn calls_are_bounded_in_a_row_and_in_all() {
    let chain = |length: usize, each: usize| {
        let mut section = serde_json::Map::new();
        for at in 0..length {
            let rule = serde_json::json!({"then": {"call": format!("p{:03}", at + 1)}});
            section.insert(format!("p{at:03}"), Value::Array(vec![rule; each]));
        }
        section.insert(format!("p{length:03}"), serde_json::json!([]));
        compile(&Value::Object(section), &BTreeSet::new())
    };
    assert!(chain(16, 1).is_ok());
    assert!(chain(17, 1).is_err(), "too deep");
    assert!(chain(10, 2).is_ok());
    assert!(chain(14, 2).is_err(), "too many");
}
