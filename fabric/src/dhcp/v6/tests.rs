//! What a relay does, by RFC 8415 §19, RFC 6939 and RFC 7283. Messages are written here from the text of the RFC.

use super::*;
use crate::config::RelayConfig;
use crate::dhcp::{ALL_MAX, Family, PORT_MAX, Port};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x69, 1, 1];
const PEER: &str = "fe80::5054:ff:fe69:101";
const SERVER: &str = "fd00:72::1";
const GATEWAY: &str = "fd00:69:0:4::1";
const LENT: &str = "fd00:69:0:4::7";
const LINK: IfIndex = IfIndex(4);
const NOW: Instant = Instant::ZERO;
/// A DUID of a network card (RFC 8415 §11.4).
const DUID: [u8; 10] = [0, 3, 0, 1, 0x52, 0x54, 0, 0x69, 1, 1];
// RFC 8415 §7.3.
const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;
const RELEASE: u8 = 8;
const DECLINE: u8 = 9;
const RELAY_FORWARD: u8 = 12;
const RELAY_REPLY: u8 = 13;

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Instant {
    NOW + Duration::from_secs(seconds)
}

fn relay() -> Relay {
    let config = RelayConfig {
        servers: vec!["10.72.0.1".parse().unwrap()],
        ports: vec!["eth*".to_owned()],
        gateway: "10.69.1.1/26".parse().unwrap(),
        giaddr: "10.69.255.1".parse().unwrap(),
        unnumbered: true,
        file: "leases.json".into(),
        v6: Some(Relay6Config {
            servers: vec![v6(SERVER), v6("fd00:72::2")],
            gateway: format!("{GATEWAY}/64").parse().unwrap(),
            source: v6("fd00:69:255::1"),
        }),
    };
    let port = |index, name: &str| Port { link: IfIndex(index), name: name.to_owned(), mac: [2, 0, 0, 0, 0, 4] };
    let mut relay = Relay::default();
    relay.configure(NOW, Some(&config), vec![port(4, "eth4"), port(5, "eth5")]);
    relay
}

/// RFC 8415 §21.1.
fn option(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// An IA_NA (§21.4) with addresses (§21.6), each with its valid lifetime.
fn association(addresses: &[(&str, u32)], more: &[u8]) -> Vec<u8> {
    let address = |(address, valid_s): &(&str, u32)| {
        option(5, &[&v6(address).octets()[..], &[0; 4], &valid_s.to_be_bytes()].concat())
    };
    let all: Vec<u8> = addresses.iter().flat_map(address).collect();
    option(3, &[&[0, 0, 0, 7][..], &[0; 8], &all, more].concat())
}

fn message(kind: u8, options: &[u8]) -> Vec<u8> {
    [&[kind, 0xa1, 0xb2, 0xc3][..], &option(1, &DUID), options].concat()
}

/// An Ethernet frame (RFC 8200 §3, RFC 768) to all servers.
fn frame_to(to: &str, from: &str, datagram: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + datagram.len()).unwrap().to_be_bytes();
    let ethernet = [&[0x33, 0x33, 0, 1, 0, 2][..], &MAC, &[0x86, 0xdd]].concat();
    let ip = [&[0x60, 0, 0, 0][..], &length, &[17, 1], &v6(from).octets(), &v6(to).octets()].concat();
    [ethernet, ip, [&546_u16.to_be_bytes()[..], &547_u16.to_be_bytes(), &length, &[0, 0]].concat(), datagram.to_vec()]
        .concat()
}

fn frame_of(datagram: &[u8]) -> Vec<u8> {
    frame_to("ff02::1:2", PEER, datagram)
}

/// Around a server's message, as it echoes what a relay has said (§19.3, §21.18).
fn back(port: &str, message: &[u8]) -> Vec<u8> {
    let head = [&[RELAY_REPLY, 0][..], &v6(GATEWAY).octets(), &v6(PEER).octets()].concat();
    [head, option(18, port.as_bytes()), option(9, message)].concat()
}

fn told(relay: &mut Relay, now: Instant, port: &str, message: &[u8]) -> Option<Output> {
    relay.on_datagram(now, IpAddr::V6(v6(SERVER)), &back(port, message));
    relay.poll()
}

fn dropped(relay: &Relay) -> Vec<(Option<&str>, Dropped, u64)> {
    let v6 = relay.counts().filter(|(_, family, _)| *family == Family::Ipv6);
    v6.flat_map(|(port, _, counts)| {
        counts.dropped.iter().map(move |(why, count)| (port.map(|port| port.name.as_str()), *why, *count))
    })
    .collect()
}

/// §19.1, §19.1.1, §9.1: hop-count 0, an address of the link, whom it is from; §21.18 Interface-Id; RFC 6939 §4 the network card.
#[test]
fn a_clients_message_goes_to_every_server_with_where_it_came_from() {
    let mut relay = relay();
    let solicit = message(SOLICIT, &association(&[], &[]));
    relay.on_frame(NOW, LINK, &frame_of(&solicit));
    let card = [&[0, 1][..], &MAC].concat();
    let head = [&[RELAY_FORWARD, 0][..], &v6(GATEWAY).octets(), &v6(PEER).octets()].concat();
    let expected = [head, option(18, b"eth4"), option(79, &card), option(9, &solicit)].concat();
    for server in [SERVER, "fd00:72::2"] {
        let server = IpAddr::V6(v6(server));
        assert_eq!(relay.poll(), Some(Output::ToServer { server, datagram: expected.clone() }));
    }
    assert_eq!(relay.poll(), None);
    // RFC 7283 §4.1: a kind that nobody knows yet is relayed too.
    relay.on_frame(NOW, LINK, &frame_of(&[99, 1, 2, 3, 4]));
    assert!(matches!(relay.poll(), Some(Output::ToServer { .. })));
}

/// §19.2: what is in the reply goes to the peer address, by the port that the Interface-Id names, as it is.
#[test]
fn a_servers_message_goes_to_the_client_by_its_port() {
    let mut relay = relay();
    let advertise = message(ADVERTISE, &association(&[(LENT, 3_600)], &[]));
    let sent = told(&mut relay, NOW, "eth5", &advertise);
    assert_eq!(sent, Some(Output::ToClient6 { link: IfIndex(5), peer: v6(PEER), datagram: advertise }));
    assert_eq!(relay.leases().count(), 0, "an offer is no lease");
}

#[test]
fn nobody_below_a_port_is_a_server_or_a_relay() {
    let mut relay = relay();
    let solicit = message(SOLICIT, &[]);
    let forward = [&[RELAY_FORWARD, 0][..], &[0; 32], &option(9, &solicit)].concat();
    let damaged = [&solicit[..], &[0, 6, 0, 9, 1]].concat();
    for (octets, why) in [
        (message(ADVERTISE, &[]), Dropped::Rogue),
        (message(REPLY, &[]), Dropped::Rogue),
        (message(10, &[]), Dropped::Rogue),
        (forward, Dropped::Spoofed),
        (back("eth5", &solicit), Dropped::Spoofed),
        (damaged, Dropped::Malformed),
        ([&solicit[..], &option(1, &DUID)].concat(), Dropped::Malformed),
        (vec![SOLICIT, 1, 2], Dropped::Malformed),
    ] {
        let before = dropped(&relay).iter().find(|one| one.1 == why).map_or(0, |one| one.2);
        relay.on_frame(NOW, LINK, &frame_of(&octets));
        let after = dropped(&relay).iter().find(|one| one.1 == why).map_or(0, |one| one.2);
        assert_eq!((relay.poll(), after), (None, before + 1), "{why:?}");
    }
    relay.on_frame(NOW, LINK, &frame_to("ff02::1:2", "fd00:69:0:4::9", &solicit));
    assert_eq!(relay.poll(), None, "a client asks from its link-local address");
    relay.on_frame(NOW, LINK, &frame_to(SERVER, PEER, &solicit));
    assert_eq!((relay.poll(), dropped(&relay).len()), (None, 3), "what is on its way to somebody else is none of ours");
}

#[test]
fn only_our_servers_speak_and_only_of_our_ports() {
    let mut relay = relay();
    let reply = message(REPLY, &association(&[(LENT, 3_600)], &[]));
    relay.on_datagram(NOW, "fd00:72::9".parse().unwrap(), &back("eth4", &reply));
    let mut other_link = back("eth4", &reply);
    other_link[2..18].copy_from_slice(&v6("fd00:69:0:7::1").octets());
    let mut other_peer = back("eth4", &reply);
    other_peer[18..34].copy_from_slice(&v6("fd00:69:0:4::7").octets());
    let whole = back("eth4", &reply);
    for octets in
        [&other_link, &other_peer, &reply, &back("eth9", &reply), &back("eth4", &whole), &whole[..60].to_vec()]
    {
        relay.on_datagram(NOW, SERVER.parse().unwrap(), octets);
    }
    let mut found = dropped(&relay);
    found.sort();
    assert_eq!(
        found,
        [
            (None, Dropped::Malformed, 1),
            (None, Dropped::Stranger, 3),
            (None, Dropped::Circuit, 1),
            (Some("eth4"), Dropped::Malformed, 2)
        ]
    );
    assert_eq!((relay.poll(), relay.leases().count()), (None, 0));
}

#[test]
fn what_a_reply_lends_is_a_lease_until_its_valid_lifetime_ends() {
    let mut relay = relay();
    assert!(told(&mut relay, NOW, "eth4", &message(REPLY, &association(&[(LENT, 60)], &[]))).is_some());
    let lease = relay.leases().next().unwrap().clone();
    assert_eq!((lease.address, lease.port.as_str(), lease.until), (LENT.parse().unwrap(), "eth4", at(60)));
    assert_eq!((lease.holder.to_string(), relay.take_changed()), ("52:54:00:69:01:01".to_owned(), true));
    told(&mut relay, at(30), "eth4", &message(REPLY, &association(&[(LENT, 60)], &[])));
    assert_eq!(relay.leases().next().unwrap().until, at(90));
    assert!(!relay.take_changed(), "lent for longer");
    relay.tick(at(89));
    assert_eq!(relay.leases().count(), 1);
    relay.tick(at(90));
    assert_eq!((relay.leases().count(), relay.take_changed()), (0, true));
    // §21.13: an association that is refused lends nothing.
    told(&mut relay, at(91), "eth4", &message(REPLY, &association(&[(LENT, 60)], &option(13, &[0, 3]))));
    assert_eq!(relay.leases().count(), 0);
}

/// §18.2.7, §18.2.8; and §18.3.4: a server says by a lifetime of 0 that an address is no longer the client's.
#[test]
fn a_lease_ends_when_its_client_or_its_server_says_so() {
    let lent = message(REPLY, &association(&[(LENT, 600)], &[]));
    for kind in [RELEASE, DECLINE] {
        let mut relay = relay();
        told(&mut relay, NOW, "eth4", &lent);
        let given_up = message(kind, &association(&[(LENT, 0)], &[]));
        let mut others = given_up.clone();
        others[17] ^= 1;
        relay.on_frame(NOW, LINK, &frame_of(&others));
        relay.on_frame(NOW, IfIndex(5), &frame_of(&given_up));
        assert_eq!(relay.leases().count(), 1, "of somebody else, or on another port");
        relay.on_frame(NOW, LINK, &frame_of(&given_up));
        assert_eq!(relay.leases().count(), 0);
    }
    let mut relay = relay();
    told(&mut relay, NOW, "eth4", &lent);
    let over = message(REPLY, &association(&[("fd00:69:0:4::8", 600), (LENT, 0)], &[]));
    assert!(told(&mut relay, NOW, "eth4", &over).is_some(), "the client hears of it");
    let left: Vec<IpAddr> = relay.leases().map(|lease| lease.address).collect();
    assert_eq!(left, ["fd00:69:0:4::8".parse::<IpAddr>().unwrap()]);
}

#[test]
fn what_is_not_of_the_rack_is_not_lent_and_there_is_an_end() {
    let mut relay = relay();
    for address in [GATEWAY, "fd00:69:0:4::", "fd00:69:0:5::7", "fe80::7", "fd00:69:255::1"] {
        let all = association(&[(LENT, 600), (address, 600)], &[]);
        assert_eq!(told(&mut relay, NOW, "eth4", &message(REPLY, &all)), None, "{address}");
    }
    assert_eq!((dropped(&relay), relay.leases().count()), (vec![(Some("eth4"), Dropped::Outside, 5)], 0));
    let address = |last: usize| format!("fd00:69:0:4::{last:x}");
    for last in 0..PORT_MAX {
        assert!(
            told(&mut relay, NOW, "eth4", &message(REPLY, &association(&[(&address(last + 16), 600)], &[]))).is_some()
        );
    }
    assert_eq!(told(&mut relay, NOW, "eth4", &message(REPLY, &association(&[(LENT, 600)], &[]))), None);
    assert!(dropped(&relay).contains(&(Some("eth4"), Dropped::Full, 1)));
    assert!(
        told(&mut relay, NOW, "eth5", &message(REPLY, &association(&[(LENT, 600)], &[]))).is_some(),
        "another port"
    );
    assert!(relay.leases().count() <= ALL_MAX);
}

#[test]
fn a_client_that_asks_too_often_is_not_relayed_and_dhcpv4_has_its_own_rate() {
    let mut relay = relay();
    for _ in 0..50 {
        relay.on_frame(NOW, LINK, &frame_of(&message(SOLICIT, &[])));
    }
    assert_eq!(dropped(&relay), [(Some("eth4"), Dropped::Rate, 40)]);
    let of_v4 = relay.counts().find(|(port, family, _)| port.is_some() && *family == Family::Ipv4).unwrap().2;
    assert_eq!(*of_v4, super::super::Counts::default());
}

#[test]
fn leases_of_both_are_kept_together_and_those_of_before_are_read() {
    let mut before = relay();
    told(&mut before, NOW, "eth4", &message(REPLY, &association(&[(LENT, 600)], &[])));
    let kept = before.keep(NOW, Duration::from_secs(1_000));
    let text = serde_json::to_string(&kept).unwrap();
    assert!(text.contains(r#""holder":"00030001525400690101""#), "{text}");
    let old = r#"{"address":"10.69.1.7","mac":[82,84,0,105,1,1],"port":"eth4","until_s":1600}"#;
    let text = format!("[{old},{}]", text.trim_matches(['[', ']']));
    let mut relay = relay();
    relay.restore(NOW, Duration::from_secs(1_100), serde_json::from_str(&text).unwrap());
    let all: Vec<String> =
        relay.leases().map(|lease| format!("{} {} {}", lease.address, lease.holder, lease.until.as_secs())).collect();
    assert_eq!(all, ["10.69.1.7 52:54:00:69:01:01 500", "fd00:69:0:4::7 52:54:00:69:01:01 500"]);
}

#[test]
fn a_duid_is_named_by_its_network_card() {
    let name = |duid: &str| Holder::Duid(duid.to_owned()).to_string();
    assert_eq!(name("000100012a3b4c5d525400690101"), "52:54:00:69:01:01", "with a time (§11.2)");
    assert_eq!(
        name("0004cce38da122cc85debcac70fcd9a5dcfe"),
        "DUID 0004cce38da122cc85debcac70fcd9a5dcfe",
        "a UUID (§11.5)"
    );
    assert_eq!(name("0003000152540069"), "DUID 0003000152540069");
}

/// Whatever comes, as it is or within what is well-formed: nothing but what is well-formed goes out.
#[test]
fn a_hundred_thousand_random_packets_harm_nobody() {
    let mut relay = relay();
    let mut random = weft_bgp::rng::Rng::new(8_415);
    let mut sent = [0_u32; 2];
    for turn in 0..100_000 {
        let mut below = |limit: u64| random.next_u64() % limit;
        let (way, cut) = (below(5), usize::try_from(below(160)).unwrap());
        let length = below(96);
        let octets: Vec<u8> = (0..length).map(|_| u8::try_from(below(256)).unwrap()).collect();
        let kind = u8::try_from(below(16)).unwrap();
        let (now, server) = (at(turn), IpAddr::V6(v6(SERVER)));
        match way {
            0 => relay.on_frame(now, LINK, &frame_of(&octets)),
            1 => relay.on_frame(now, LINK, &frame_of(&message(kind, &octets))),
            2 => relay.on_frame(now, LINK, frame_of(&message(kind, &[])).get(..cut).unwrap_or_default()),
            3 => relay.on_datagram(now, server, &octets),
            _ => {
                let lends = association(&[(LENT, 60)], octets.get(..cut).unwrap_or_default());
                relay.on_datagram(now, server, &back("eth4", &message(kind, &lends)));
            }
        }
        while let Some(output) = relay.poll() {
            match output {
                Output::ToServer { datagram, .. } => {
                    assert!(datagram.starts_with(&[RELAY_FORWARD, 0]) && datagram.len() <= MESSAGE_MAX);
                    sent[0] += 1;
                }
                Output::ToClient6 { link, peer, datagram } => {
                    assert_eq!((link, peer), (LINK, v6(PEER)));
                    assert!(datagram[0] != RELAY_FORWARD && datagram[0] != RELAY_REPLY);
                    sent[1] += 1;
                }
                Output::ToClient { .. } => panic!("no DHCPv4 came"),
            }
        }
        relay.tick(now);
        assert!(relay.leases().all(|lease| lease.address == IpAddr::V6(v6(LENT)) && lease.until > now));
    }
    assert!(sent.iter().all(|count| *count > 1_000), "{sent:?}");
}
