//! What a kernel really said (Linux 6.18: dumps, notifications, a refusal), read as it is, cut off anywhere, and with octets changed at
//! random: nothing falls over, and nothing comes out that was not in it.

use super::links::Links;
use super::{foreign, import, nexthop, route, wire};
use weft_bgp::rng::Rng;

const FILES: [(&str, &[u8]); 6] = [
    ("links", include_bytes!("../../../tests/corpus/netlink/links")),
    ("addresses", include_bytes!("../../../tests/corpus/netlink/addresses")),
    ("routes", include_bytes!("../../../tests/corpus/netlink/routes")),
    ("nexthops", include_bytes!("../../../tests/corpus/netlink/nexthops")),
    ("notifications", include_bytes!("../../../tests/corpus/netlink/notifications")),
    ("refusal", include_bytes!("../../../tests/corpus/netlink/refusal")),
];
/// Changed copies of each file.
const COPIES: u64 = 500;
/// Between the lengths at which files are cut off: no divisor of what messages are aligned to.
const STEP: usize = 13;

/// What all readers make of it.
#[derive(Debug, Default)]
struct Found {
    messages: usize,
    links: Links,
    routes: Vec<String>,
    reachable: usize,
    nexthops: usize,
    refusals: Vec<String>,
}

fn read(data: &[u8]) -> Found {
    let mut found = Found::default();
    for message in wire::messages(data) {
        found.messages += 1;
        found.links.take(message.kind, message.payload);
        if [route::RTM_NEWROUTE, route::RTM_DELROUTE].contains(&message.kind) {
            found.routes.extend(route::parse(message.payload).map(|seen| seen.route.key.prefix.to_string()));
            found.reachable += usize::from(foreign::parse(message.payload).is_some());
            let _ = import::parse(message.payload);
        }
        if [nexthop::RTM_NEWNEXTHOP, nexthop::RTM_DELNEXTHOP].contains(&message.kind) {
            found.nexthops += usize::from(nexthop::parse(message.payload, 77).is_some());
        }
        if message.kind == wire::NLMSG_ERROR {
            found.refusals.push(format!("{:?}", wire::answer(&message).0));
        }
    }
    found
}

fn all_of(name: &str) -> &'static [u8] {
    FILES.iter().find(|(file, _)| *file == name).unwrap().1
}

#[test]
fn what_a_kernel_says_is_understood() {
    let both = read(&[all_of("links"), all_of("addresses")].concat());
    let names: Vec<_> = both.links.list().into_iter().map(|link| link.name).collect();
    assert!(["lo", "eth0", "br0"].iter().all(|name| names.iter().any(|known| known == name)), "{names:?}");
    let eth0 = both.links.list().into_iter().find(|link| link.name == "eth0").unwrap();
    assert!(eth0.is_usable() && eth0.kind.as_deref() == Some("veth") && eth0.addrs.len() >= 3, "{eth0:?}");
    let routes = read(all_of("routes"));
    for prefix in ["10.9.0.0/16", "10.10.0.0/16", "10.11.0.0/16", "10.12.0.0/16", "10.64.4.0/27", "2001:db8:8::/48"] {
        assert!(routes.routes.iter().any(|known| known == prefix), "{prefix}: {:?}", routes.routes);
    }
    assert_eq!((read(all_of("nexthops")).nexthops, routes.reachable > 6), (4, true));
    assert_eq!(read(all_of("refusal")).refusals, ["Err(LinkDown)"]);
    let told = read(all_of("notifications"));
    assert!(told.messages > 20 && !told.routes.is_empty(), "{told:?}");
}

#[test]
fn what_is_cut_off_anywhere_is_read_as_far_as_it_goes() {
    for (name, data) in FILES {
        let whole = read(data);
        for length in (0..data.len()).step_by(STEP) {
            let found = read(&data[..length]);
            assert!(found.messages <= whole.messages && found.routes.len() <= whole.routes.len(), "{name} {length}");
        }
    }
}

#[test]
fn octets_that_are_not_what_they_were_cost_no_more_than_what_they_say() {
    for (name, data) in FILES {
        for seed in 0..COPIES {
            let mut rng = Rng::new(seed);
            let mut changed = data.to_vec();
            for _ in 0..1 + seed % 8 {
                let at = usize::try_from(rng.next_u64()).unwrap() % changed.len();
                changed[at] = rng.next_u64().to_ne_bytes()[0];
            }
            let found = read(&changed);
            // A message is at least a header.
            assert!(found.messages <= changed.len() / 16, "{name}, seed {seed}");
            assert!(found.links.list().len() <= found.messages, "{name}, seed {seed}");
        }
    }
}
