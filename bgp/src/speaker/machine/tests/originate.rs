//! Routes of our own that come and go one at a time.

use super::*;

fn own(prefix: &str, weight: Option<u16>) -> Originate {
    Originate {
        prefix: prefix.parse().unwrap(),
        communities: Vec::new(),
        large_communities: Vec::new(),
        weight,
        why: "test".to_owned(),
    }
}

#[test]
fn a_route_comes_and_goes_without_a_word_about_the_others() {
    let mut net = Net::new(&[65_001, 65_002]);
    net.join(1, 2, |_, _| {});
    let before = net.updates;
    net.give(0, Input::Originate(own("10.9.0.1/32", None)));
    net.settle();
    assert_eq!(net.routes(2), ["10.1.0.0/16 [65001] 192.0.2.1", "10.9.0.1/32 [65001] 192.0.2.1"]);
    assert_eq!(net.updates - before, 1);
    net.give(0, Input::Originate(own("10.9.0.1/32", None)));
    net.settle();
    assert_eq!(net.updates - before, 1, "the same again is no news");
    net.give(0, Input::Unoriginate("10.9.0.1/32".parse().unwrap()));
    net.give(0, Input::Unoriginate("10.8.0.0/16".parse().unwrap()));
    net.settle();
    assert_eq!(net.routes(2), ["10.1.0.0/16 [65001] 192.0.2.1"]);
    assert_eq!(net.updates - before, 2, "what was never there is not withdrawn");
    net.give(0, Input::SetOriginated(Vec::new()));
    net.settle();
    assert_eq!(net.routes(2), [""; 0]);
}

/// RFC 10005 §3.2: the bandwidths of the members of a set are their shares, across AS boundaries too.
#[test]
fn weights_of_origins_share_the_traffic() {
    let mut net = Net::new(&[65_001, 65_002, 65_003]);
    net.join(1, 2, |_, _| {});
    net.join(3, 2, |_, _| {});
    net.give(0, Input::Originate(own("10.9.0.1/32", Some(30))));
    net.give(2, Input::Originate(own("10.9.0.1/32", Some(10))));
    net.settle();
    let route = net.speakers[1].route_to(&"10.9.0.1/32".parse().unwrap()).unwrap();
    let mut weights: Vec<_> = route.hops.iter().map(|hop| (hop.gateway.to_string(), hop.weight)).collect();
    weights.sort();
    assert_eq!(weights, [("192.0.2.1".to_owned(), 3), ("192.0.2.3".to_owned(), 1)]);
}
