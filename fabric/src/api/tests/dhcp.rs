//! What is relayed of DHCP, in tables and metrics.

use super::*;
use crate::node::dhcp_tests::{FILE, ack, links};

/// A switch with one lease, one rogue server, and one stranger among its servers.
fn relayed() -> Node {
    let mut node = Node::new(config::parse("t", FILE).unwrap().node().unwrap(), Instant::ZERO);
    node.handle(Instant::ZERO, Input::Links(links([true, true])));
    node.handle(Instant::ZERO, ack("eth4", 90));
    node.handle(Instant::ZERO, ack("eth9", 90));
    node
}

fn ask(node: &Node, question: &Question) -> Body {
    answer(node, Instant::ZERO + Duration::from_secs(30), &Surroundings::default(), question).body
}

#[test]
fn leases_and_ports_are_told_in_tables() {
    let node = relayed();
    let Body::Dhcp(dhcp) = ask(&node, &Question::Dhcp) else { panic!("no answer") };
    assert_eq!(
        crate::show::dhcp::leases(&dhcp),
        "Address    Machine            Port  Left   Route\n10.69.1.7  52:54:00:69:01:01  eth4  1m00s  yes\n"
    );
    assert_eq!(
        crate::show::dhcp::relay(&dhcp),
        "to 10.72.0.1 from 10.69.255.1; gateway 10.69.1.1/26; ports without addresses, a route for each lease\n\
         Port  Family  To servers  To machines  Leases  Dropped\n\
         eth4  ipv4    0           1            1       -\n\
         eth5  ipv4    0           0            0       -\n\
         dropped of what came from servers: 1 circuit\n"
    );
    let nobody = Plant::start();
    let Body::Dhcp(none) = nobody.ask(HOST_AT, &Question::Dhcp).body else { panic!("no answer") };
    assert!(crate::show::dhcp::leases(&none).contains("no `dhcp.relay`"));
}

#[test]
fn an_explanation_says_whose_lease_a_route_is() {
    let node = relayed();
    let target = Target::Address("10.69.1.7".parse().unwrap());
    let Body::Explain(explanation) = ask(&node, &Question::Explain(target)) else { panic!("no answer") };
    let text = crate::show::explain::text(&explanation);
    assert!(text.contains("lease of 52:54:00:69:01:01 on eth4"), "{text}");
}

#[test]
fn metrics_of_dhcp_are_there_with_the_relay_and_as_documented() {
    let Body::Metrics { text } = ask(&relayed(), &Question::Metrics) else { panic!("no metrics") };
    for line in [
        "weft_dhcp_leases{family=\"ipv4\",port=\"eth4\"} 1",
        "weft_dhcp_replies_total{family=\"ipv4\",port=\"eth4\"} 1",
        "weft_dhcp_requests_total{family=\"ipv4\",port=\"eth5\"} 0",
        "weft_dhcp_dropped_total{family=\"ipv4\",port=\"\",reason=\"circuit\"} 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
    let (metrics, told) = (include_str!("../../../docs/metrics.md"), include_str!("../../../docs/dhcp.md"));
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    assert_eq!(names.filter(|name| name.starts_with("weft_dhcp") && metrics.contains(&format!("`{name}`"))).count(), 4);
    let reasons = crate::dhcp::Dropped::ALL.map(|why| why.name());
    assert!(reasons.iter().all(|name| told.contains(&format!("`{name}`"))), "{reasons:?}");
}
