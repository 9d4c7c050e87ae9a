//! The form of a recording, and what is in it. That a replay is the same is shown where nodes run, in the simulator.

use super::*;
use crate::config;
use crate::link::LinkInfo;
use crate::node::Node;
use weft_bgp::types::{Asn, IfIndex};

const CONFIG: &str = "
asn: 65001
router_id: 10.0.0.1
hostname: host
peers: {tor: {address: 10.0.0.2, remote_asn: 65002, password_file: /etc/weft/secret}}
record: {memory_mb: 1}
";

fn recorder(text: &str) -> Recorder {
    Recorder::new(config::parse("t", text).and_then(|config| config.node()).unwrap(), Instant(5))
}

fn lines(recorder: &Recorder) -> Vec<String> {
    recorder.page(None).unwrap().text.lines().map(str::to_owned).collect()
}

fn link() -> LinkInfo {
    LinkInfo {
        index: IfIndex(2),
        name: "eth0".to_owned(),
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1_500,
        up: true,
        carrier: true,
        damped: 0,
        loopback: false,
        master: None,
        kind: None,
        addrs: Vec::new(),
    }
}

#[test]
fn the_form_is_as_the_page_above_says() {
    let mut node = recorder(CONFIG);
    node.handle(Instant(7), Input::Links(vec![link()]));
    let data = Bytes::from_static(&[0xff, 0x00, 0x1d]);
    node.handle(Instant(8), Input::Bgp(weft_bgp::speaker::Input::Received { conn: ConnId(9), data }));
    assert!(node.poll_fib(4).is_empty());
    let all = lines(&node);
    let begin: serde_json::Value = serde_json::from_str(&all[0]).unwrap();
    assert_eq!(begin["begin"]["form"], 1);
    assert_eq!((&begin["begin"]["at"], &begin["begin"]["config"]["hostname"]), (&5.into(), &"host".into()));
    assert!(all[1].starts_with("{\"did\":[{\"handle\":{\"at\":7,\"input\":{\"Links\":[{"), "{}", all[1]);
    assert_eq!(
        all[2..],
        [
            "{\"did\":[{\"received\":{\"at\":8,\"conn\":9,\"octets\":\"ff001d\"}},\"nothing\"]}",
            "{\"did\":[{\"fib\":{\"max\":4}},{\"fib\":[]}]}"
        ]
    );
    for line in &all {
        let entry = read(line).unwrap();
        assert_eq!(&serde_json::to_string(&entry).unwrap(), line, "read and written again");
    }
}

#[test]
fn whatever_the_daemon_may_hand_in_has_a_form() {
    use crate::drain::{By, Scope, State};
    let mut node = recorder(CONFIG);
    let [mac, link] = [Some([1; 6]), Some([2; 6])];
    let heard = crate::lldp::Heard::default();
    let inputs = [
        Input::LinkDown(IfIndex(2)),
        Input::Reachable(vec![(crate::fib::Member { link: IfIndex(2), gateway: [10, 0, 0, 2].into() }, false)]),
        Input::RouterAdvertisement { link: IfIndex(2), from: "fe80::2".parse().unwrap(), lifetime_s: 0, mac },
        Input::RouterSolicitation { link: IfIndex(2), from: "fe80::2".parse().unwrap(), mac: link },
        Input::FibAck { seq: 0, failed: vec!["10.0.0.0/8".parse().unwrap()] },
        Input::Vip(vip::Input::Checked { name: "a".to_owned(), run: 1, outcome: Err("timed out".to_owned()) }),
        Input::Vip(vip::Input::Set { name: "a".to_owned(), up: false }),
        Input::Imported(crate::node::Imported { run: 1, all: true, changes: Vec::new(), left_out: Vec::new() }),
        Input::Lldp { link: IfIndex(2), heard },
        Input::DhcpLeases {
            wall: Duration::from_secs(1_000),
            kept: vec![crate::dhcp::Kept {
                address: [10, 69, 1, 7].into(),
                holder: crate::dhcp::Holder::Mac([2; 6]),
                port: "eth4".to_owned(),
                until_s: 2_000,
            }],
        },
        Input::DhcpFrame { link: IfIndex(2), frame: vec![0; 20] },
        Input::DhcpDatagram { from: [10, 0, 0, 9].into(), datagram: vec![1; 20] },
        Input::ForeignRoutes(Vec::new()),
        Input::Confirm,
        Input::Drain { scope: Scope::Interface("eth0".to_owned()), target: State::Soft, by: By::Operator },
        Input::Unacked(std::iter::once(ConnId(1)).collect()),
        Input::Shutdown { cease: true },
        Input::Tick,
    ];
    for input in inputs {
        node.handle(Instant(9), input);
    }
    let owner = || "lb".to_owned();
    let route = weft_bgp::speaker::Originate {
        prefix: "10.9.0.0/24".parse().unwrap(),
        communities: Vec::new(),
        large_communities: Vec::new(),
        weight: None,
        why: "test".to_owned(),
    };
    let lease = Lease { owner: owner(), time: Duration::from_secs(9), route };
    node.lease(Instant(9), lease).unwrap();
    assert!(node.release(Instant(9), "other", &"10.9.0.0/24".parse().unwrap()).is_err());
    assert_eq!(node.release_all(Instant(9), &owner()), 1);
    let all = lines(&node);
    assert_eq!(all.len(), 1 + 18 + 3);
    let entries: Vec<Entry> = all.iter().map(|line| read(line).unwrap()).collect();
    let [Entry::Did(_, taken), Entry::Did(_, refused), Entry::Did(_, count)] = &entries[19..] else { panic!() };
    assert_eq!([&**taken, &**refused, &**count], [&Answer::Done(true), &Answer::Done(false), &Answer::Count(1)]);
    let Entry::Begin(first) = &entries[0] else { panic!("{entries:?}") };
    let mut second: Node = begin(first).unwrap();
    for entry in &entries[1..] {
        let Entry::Did(call, answer) = entry else { panic!("{entry:?}") };
        assert_eq!(&perform(&mut second, call).unwrap(), &**answer, "{call:?}");
    }
}

#[test]
fn a_configuration_travels_as_its_file_and_without_what_is_in_others() {
    let mut node = recorder(CONFIG);
    let other = CONFIG.replace("65001", "65009");
    let config = Box::new(config::parse("t", &other).and_then(|config| config.node()).unwrap());
    node.handle(Instant(6), Input::Try(config, Duration::from_secs(1)));
    let Entry::Did(call, _) = read(&lines(&node)[1]).unwrap() else { panic!("no call") };
    let Call::Reload { to, within, .. } = *call else { panic!("{call:?}") };
    assert_eq!((to.text.as_str(), within), (other.as_str(), Some(Duration::from_secs(1))));
    assert_eq!(node.config().speaker.asn, Asn(65009));
    // The name of the file with the key, which nobody has opened.
    assert!(lines(&node)[0].contains("/etc/weft/secret"));
}

#[test]
fn nothing_is_recorded_unless_it_is_wanted() {
    let node = recorder(&CONFIG.replace("record: {memory_mb: 1}", ""));
    let refusal = node.page(None).unwrap_err();
    assert_eq!((refusal.status, refusal.remedy.unwrap().contains("weft upgrade")), (409, true));
    let wrong = config::parse("t", &CONFIG.replace("memory_mb: 1", "memory_mb: 0")).unwrap().node().unwrap_err();
    assert!(wrong.to_string().starts_with("t:6:21: record.memory_mb: 0 MiB are not possible"), "{wrong}");
}

#[test]
fn a_loop_that_looks_again_and_again_leaves_no_trace() {
    let mut node = recorder(CONFIG);
    node.handle(Instant(7), Input::Links(vec![link()]));
    while node.poll().is_some() {}
    let before = lines(&node).len();
    for _ in 0..9 {
        assert!(node.poll().is_none());
    }
    assert_eq!(lines(&node).len(), before);
    node.handle(Instant(8), Input::Tick);
    assert!(node.poll().is_none());
    assert_eq!(lines(&node).len(), before + 2);
}

#[test]
fn octets_are_pairs_of_digits() {
    let octets: Octets = serde_json::from_str("\"00fF\"").unwrap();
    assert_eq!(&octets.0[..], [0x00, 0xff]);
    for wrong in ["\"0\"", "\"0x\"", "\"+1\"", "\"é\"", "1", "\"0é0\""] {
        assert!(serde_json::from_str::<Octets>(wrong).is_err(), "{wrong}");
    }
}
