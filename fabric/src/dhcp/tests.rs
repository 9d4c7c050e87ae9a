//! What a relay does, by RFC 2131 §4.1, RFC 1542 §4.1, RFC 3046, RFC 3527 and RFC 5107.

use super::*;
use proptest::prelude::*;
use weft_bgp::time::Duration;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x69, 1, 1];
const PORT: [u8; 6] = [2, 0, 0, 0, 0, 4];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 72, 0, 1);
const GIADDR: Ipv4Addr = Ipv4Addr::new(10, 69, 255, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 69, 1, 1);
const LENT: Ipv4Addr = Ipv4Addr::new(10, 69, 1, 7);
const LINK: IfIndex = IfIndex(4);
const NOW: Instant = Instant::ZERO;

fn config() -> RelayConfig {
    let gateway = "10.69.1.1/26".parse().unwrap();
    RelayConfig {
        servers: vec![SERVER],
        ports: vec!["eth*".to_owned()],
        gateway,
        giaddr: GIADDR,
        unnumbered: true,
        file: "leases.json".into(),
        v6: None,
    }
}

fn ports() -> Vec<Port> {
    let port = |index, name: &str| Port { link: IfIndex(index), name: name.to_owned(), mac: PORT };
    vec![port(4, "eth4"), port(5, "eth5")]
}

fn relay() -> Relay {
    let mut relay = Relay::default();
    relay.configure(NOW, Some(&config()), ports());
    relay
}

/// A message of DHCP with these options after its type.
fn message(op: u8, kind: u8, options: &[u8]) -> Vec<u8> {
    let mut octets = vec![0; 240];
    octets[..4].copy_from_slice(&[op, 1, 6, 0]);
    octets[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    octets[28..34].copy_from_slice(&MAC);
    octets[236..240].copy_from_slice(&[99, 130, 83, 99]);
    octets.extend([53, 1, kind]);
    octets.extend(options);
    octets.push(255);
    octets
}

fn discover() -> Vec<u8> {
    message(1, 1, &[55, 2, 1, 3])
}

/// As the client's card sends it: the frame that a relay writes, to port 67.
fn frame_of(to: Ipv4Addr, datagram: &[u8]) -> Vec<u8> {
    let to = frame::To { mac: frame::EVERYBODY, address: to };
    let mut frame = frame::write((MAC, Ipv4Addr::UNSPECIFIED), to, datagram);
    frame[36..38].copy_from_slice(&frame::SERVER_PORT.to_be_bytes());
    frame
}

fn ask(relay: &mut Relay, datagram: &[u8]) -> Vec<Output> {
    relay.on_frame(NOW, LINK, &frame_of(Ipv4Addr::BROADCAST, datagram));
    std::iter::from_fn(|| relay.poll()).collect()
}

/// A server's reply to what the relay sent it: option 82 echoed.
fn reply(kind: u8, circuit: &str, options: &[u8]) -> Vec<u8> {
    let mut agent = vec![82, u8::try_from(circuit.len() + 2).unwrap(), 1, u8::try_from(circuit.len()).unwrap()];
    agent.extend(circuit.as_bytes());
    let mut octets = message(2, kind, &[options, &agent].concat());
    octets[16..20].copy_from_slice(&LENT.octets());
    octets[24..28].copy_from_slice(&GIADDR.octets());
    octets
}

fn tell(relay: &mut Relay, from: Ipv4Addr, datagram: &[u8]) -> Vec<Output> {
    relay.on_datagram(NOW, from.into(), datagram);
    std::iter::from_fn(|| relay.poll()).collect()
}

fn dropped(relay: &Relay) -> Vec<(Dropped, u64)> {
    relay.counts().flat_map(|(_, _, counts)| counts.dropped.clone()).collect()
}

#[test]
fn a_question_gets_our_address_and_where_it_came_from_and_nothing_else() {
    let asked = discover();
    let mut relay = relay();
    let sent = ask(&mut relay, &asked);
    let [Output::ToServer { server: IpAddr::V4(SERVER), datagram }] = &sent[..] else { panic!("{sent:?}") };
    let mut expected = asked;
    // RFC 1542 §4.1.1: hops and giaddr; all other fields as they were.
    expected[3] = 1;
    expected[24..28].copy_from_slice(&GIADDR.octets());
    expected.pop();
    // RFC 3046 §2.1: the last option. RFC 3527 §3: 5, RFC 5107 §4: 11.
    expected.extend([82, 18, 1, 4]);
    expected.extend(b"eth4");
    expected.extend([&[5, 4][..], &GATEWAY.octets(), &[11, 4], &GIADDR.octets(), &[255]].concat());
    expected.resize(300, 0);
    assert_eq!(datagram, &expected);
}

#[test]
fn where_giaddr_is_the_gateway_it_selects_the_link_by_itself() {
    let mut relay = Relay::default();
    relay.configure(NOW, Some(&RelayConfig { giaddr: GATEWAY, ..config() }), ports());
    let sent = ask(&mut relay, &discover());
    let [Output::ToServer { datagram, .. }] = &sent[..] else { panic!("{sent:?}") };
    let agent = [&[82, 12, 1, 4][..], b"eth4", &[11, 4], &GATEWAY.octets(), &[255]].concat();
    assert!(datagram.windows(agent.len()).any(|window| window == agent), "{datagram:?}");
}

#[test]
fn every_server_hears_it() {
    let mut relay = Relay::default();
    let other = Ipv4Addr::new(10, 72, 0, 2);
    relay.configure(NOW, Some(&RelayConfig { servers: vec![SERVER, other], ..config() }), ports());
    let sent = ask(&mut relay, &discover());
    let to: Vec<_> = sent
        .iter()
        .map(|output| if let Output::ToServer { server, .. } = output { Some(*server) } else { None })
        .collect();
    assert_eq!(to, [Some(SERVER.into()), Some(other.into())]);
}

#[test]
fn a_reply_goes_to_the_port_that_its_circuit_names_without_option_82() {
    let mut relay = relay();
    let sent = tell(&mut relay, SERVER, &reply(2, "eth5", &[51, 4, 0, 0, 14, 16]));
    let [Output::ToClient { link: IfIndex(5), frame }] = &sent[..] else { panic!("{sent:?}") };
    // RFC 2131 §4.1: to the address that is given, at the client's hardware address, from the address of its router.
    assert_eq!((&frame[..6], &frame[6..12], &frame[12..14]), (&MAC[..], &PORT[..], &[8, 0][..]));
    assert_eq!((&frame[26..30], &frame[30..34]), (&GATEWAY.octets()[..], &LENT.octets()[..]));
    assert_eq!(frame[34..38], [0, 67, 0, 68]);
    let mut expected = message(2, 2, &[51, 4, 0, 0, 14, 16]);
    expected[16..20].copy_from_slice(&LENT.octets());
    expected[24..28].copy_from_slice(&GIADDR.octets());
    expected.resize(300, 0);
    assert_eq!(frame[42..], expected);
}

#[test]
fn checksums_of_a_frame_are_those_of_the_rfcs() {
    // RFC 791 §3.1, RFC 768: the sum over all with the checksum in it is all ones.
    let to = frame::To { mac: MAC, address: LENT };
    for datagram in [&[7; 301][..], &[1; 300]] {
        let frame = frame::write((PORT, GATEWAY), to, datagram);
        let sum = |octets: &[u8]| {
            let words = octets.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
            let sum: u32 = words.sum();
            (sum >> 16) + (sum & 0xffff)
        };
        assert_eq!(sum(&frame[14..34]), 0xffff);
        let pseudo = [&frame[26..34], &[0, 17], &frame[38..40], &frame[34..]].concat();
        assert_eq!(sum(&pseudo), 0xffff);
    }
}

#[test]
fn who_wants_it_told_to_everybody_gets_it_so() {
    // RFC 2131 §4.1: the broadcast flag; and who is given no address and has none can be reached in no other way.
    let mut flagged = reply(2, "eth4", &[]);
    flagged[10] = 0x80;
    let mut refused = reply(6, "eth4", &[]);
    refused[16..20].fill(0);
    let mut informed = refused.clone();
    informed[12..16].copy_from_slice(&LENT.octets());
    for (datagram, mac, to) in [
        (flagged, frame::EVERYBODY, Ipv4Addr::BROADCAST),
        (refused, frame::EVERYBODY, Ipv4Addr::BROADCAST),
        (informed, MAC, LENT),
    ] {
        let sent = tell(&mut relay(), SERVER, &datagram);
        let [Output::ToClient { frame, .. }] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!((&frame[..6], &frame[30..34]), (&mac[..], &to.octets()[..]));
    }
}

#[test]
fn what_must_not_be_relayed_is_counted_by_its_reason() {
    let mut looped = discover();
    looped[3] = 17;
    let mut relayed = discover();
    relayed[24..28].copy_from_slice(&[10, 0, 0, 9]);
    let mut bootp = discover();
    bootp[236] = 0;
    let mut token_ring = discover();
    token_ring[1] = 6;
    let pieces = [[&[224, 255][..], &[0; 255]].concat().repeat(4), [&[224, 198][..], &[0; 198]].concat()].concat();
    let long = message(1, 1, &pieces);
    assert_eq!(long.len(), MESSAGE_MAX);
    for (datagram, why) in [
        (looped, Dropped::Hops),
        (relayed, Dropped::Spoofed),
        // RFC 3046 §2.1.1
        (message(1, 1, &[82, 3, 1, 1, 65]), Dropped::Spoofed),
        (reply(5, "eth4", &[]), Dropped::Rogue),
        (bootp, Dropped::Malformed),
        (token_ring, Dropped::Malformed),
        (message(1, 1, &[50, 9, 1]), Dropped::Malformed),
        (long, Dropped::TooLong),
    ] {
        let mut relay = relay();
        assert_eq!((ask(&mut relay, &datagram), dropped(&relay)), (vec![], vec![(why, 1)]), "{why:?}");
    }
    let mut at_the_limit = discover();
    at_the_limit[3] = 16;
    assert_eq!(ask(&mut relay(), &at_the_limit).len(), 1, "RFC 1542 §4.1.1: more than 16");
}

#[test]
fn only_replies_of_our_servers_to_what_we_relayed_reach_a_port() {
    let mut of_another = reply(5, "eth4", &[]);
    of_another[24..28].copy_from_slice(&[10, 0, 0, 9]);
    let plain = {
        let mut octets = message(2, 5, &[]);
        octets[24..28].copy_from_slice(&GIADDR.octets());
        octets
    };
    for (from, datagram, why) in [
        (Ipv4Addr::new(10, 72, 0, 9), reply(5, "eth4", &[]), Dropped::Stranger),
        (SERVER, of_another, Dropped::Stranger),
        (SERVER, reply(5, "eth9", &[]), Dropped::Circuit),
        (SERVER, plain, Dropped::Circuit),
        (SERVER, vec![2; 40], Dropped::Malformed),
    ] {
        let mut relay = relay();
        assert_eq!((tell(&mut relay, from, &datagram), dropped(&relay)), (vec![], vec![(why, 1)]), "{why:?}");
    }
}

#[test]
fn what_passes_through_the_switch_is_left_alone_and_a_renewal_to_us_is_relayed() {
    let mut relay = relay();
    relay.on_frame(NOW, LINK, &frame_of(SERVER, &discover()));
    assert_eq!((relay.poll(), dropped(&relay)), (None, vec![]), "to a server itself: it is routed");
    relay.on_frame(NOW, LINK, &frame_of(GIADDR, &message(1, 3, &[])));
    assert!(matches!(relay.poll(), Some(Output::ToServer { .. })), "RFC 5107 §4: we are the client's server");
    assert_eq!(tell(&mut relay, LENT, &message(1, 3, &[])), [], "and our socket hears it too");
    relay.on_frame(NOW, IfIndex(9), &frame_of(Ipv4Addr::BROADCAST, &discover()));
    assert_eq!(relay.poll(), None, "another link");
}

#[test]
fn a_port_that_asks_too_much_is_not_heard_for_a_while_and_others_are() {
    let mut relay = relay();
    let sent = (0..100).flat_map(|_| ask(&mut relay, &discover())).count();
    assert_eq!((sent, dropped(&relay)), (10, vec![(Dropped::Rate, 90)]));
    relay.on_frame(NOW, IfIndex(5), &frame_of(Ipv4Addr::BROADCAST, &discover()));
    assert!(relay.poll().is_some());
    relay.on_frame(NOW + Duration::from_secs(2), LINK, &frame_of(Ipv4Addr::BROADCAST, &discover()));
    assert!(relay.poll().is_some());
}

/// An acknowledgement of an hour.
fn ack(circuit: &str) -> Vec<u8> {
    reply(5, circuit, &[51, 4, 0, 0, 14, 16])
}

fn lent(relay: &Relay) -> Vec<(IpAddr, String, u64)> {
    relay.leases().map(|lease| (lease.address, lease.port.clone(), lease.until.as_secs())).collect()
}

#[test]
fn an_acknowledged_lease_is_known_until_it_ends() {
    let mut relay = relay();
    // RFC 2131 §3.1: an offer is none yet.
    tell(&mut relay, SERVER, &reply(2, "eth4", &[51, 4, 0, 0, 14, 16]));
    assert_eq!((lent(&relay), relay.take_changed()), (vec![], false));
    tell(&mut relay, SERVER, &ack("eth4"));
    assert_eq!((lent(&relay), relay.take_changed()), (vec![(LENT.into(), "eth4".to_owned(), 3_600)], true));
    assert!(!relay.tick(NOW) && relay.tick(NOW + Duration::from_secs(1)), "kept a second later");
    let later = NOW + Duration::from_secs(1_800);
    relay.on_datagram(later, SERVER.into(), &ack("eth4"));
    assert_eq!(
        (lent(&relay), relay.take_changed()),
        (vec![(LENT.into(), "eth4".to_owned(), 5_400)], false),
        "lent for longer"
    );
    assert!(relay.tick(later + Duration::from_secs(1)), "and kept again");
    assert_eq!(relay.next_timeout().unwrap().0, NOW + Duration::from_secs(5_400));
    relay.tick(NOW + Duration::from_secs(5_400));
    assert_eq!((lent(&relay), relay.take_changed()), (vec![], true));
}

#[test]
fn a_machine_that_is_plugged_in_elsewhere_is_there_alone() {
    let mut relay = relay();
    tell(&mut relay, SERVER, &ack("eth4"));
    relay.take_changed();
    tell(&mut relay, SERVER, &ack("eth5"));
    assert_eq!((lent(&relay), relay.take_changed()), (vec![(LENT.into(), "eth5".to_owned(), 3_600)], true));
}

#[test]
fn only_who_has_an_address_gives_it_back() {
    // RFC 2131 §4.4.6: a release names it in ciaddr; §4.3.3: who declines, in option 50.
    let mut release = message(1, 7, &[]);
    release[12..16].copy_from_slice(&LENT.octets());
    let decline = message(1, 4, &[&[50, 4][..], &LENT.octets()].concat());
    for given_up in [release, decline] {
        let mut foreign = given_up.clone();
        foreign[33] = 9;
        let mut relay = relay();
        tell(&mut relay, SERVER, &ack("eth4"));
        assert_eq!(ask(&mut relay, &foreign).len(), 1, "the server decides on its own");
        relay.on_frame(NOW, IfIndex(5), &frame_of(GIADDR, &given_up));
        assert!(relay.poll().is_some());
        assert_eq!(lent(&relay).len(), 1, "neither another machine, nor the same one on another port");
        assert_eq!((ask(&mut relay, &given_up).len(), lent(&relay)), (1, vec![]));
    }
}

#[test]
fn what_informs_itself_has_no_lease_and_what_is_not_of_the_network_gets_none() {
    // RFC 2131 §4.3.5
    let mut informed = reply(5, "eth4", &[]);
    informed[16..20].fill(0);
    let mut relay = relay();
    assert_eq!((tell(&mut relay, SERVER, &informed).len(), lent(&relay)), (1, vec![]));
    for octets in [[10, 69, 1, 1], [10, 69, 1, 0], [10, 69, 1, 63], [10, 69, 1, 64], [127, 0, 0, 1]] {
        let mut outside = ack("eth4");
        outside[16..20].copy_from_slice(&octets);
        assert_eq!((tell(&mut relay, SERVER, &outside), lent(&relay)), (vec![], vec![]), "{octets:?}");
    }
    assert_eq!(dropped(&relay), [(Dropped::Outside, 5)]);
}

#[test]
fn a_port_has_no_more_leases_than_it_may() {
    let mut relay = Relay::default();
    let gateway = "10.69.0.1/16".parse().unwrap();
    relay.configure(NOW, Some(&RelayConfig { gateway, ..config() }), ports());
    let mut told = 0;
    for last in 2..=u8::try_from(PORT_MAX).unwrap() + 5 {
        let mut one = ack("eth4");
        one[16..20].copy_from_slice(&[10, 69, 3, last]);
        told += tell(&mut relay, SERVER, &one).len();
    }
    assert_eq!((told, lent(&relay).len(), dropped(&relay)), (PORT_MAX, PORT_MAX, vec![(Dropped::Full, 4)]));
    let mut renewed = ack("eth4");
    renewed[16..20].copy_from_slice(&[10, 69, 3, 2]);
    assert_eq!(tell(&mut relay, SERVER, &renewed).len(), 1, "one of them");
}

#[test]
fn leases_are_kept_by_the_time_of_day() {
    let mut before = relay();
    tell(&mut before, SERVER, &ack("eth4"));
    let kept = before.keep(NOW + Duration::from_secs(600), Duration::from_secs(1_000_600));
    assert_eq!(
        kept,
        [Kept { address: LENT.into(), holder: Holder::Mac(MAC), port: "eth4".to_owned(), until_s: 1_003_600 }]
    );
    let after = |wall: u64, kept: Vec<Kept>| {
        let mut relay = relay();
        relay.restore(NOW, Duration::from_secs(wall), kept);
        lent(&relay)
    };
    assert_eq!(after(1_001_600, kept.clone()), [(LENT.into(), "eth4".to_owned(), 2_000)]);
    assert_eq!(after(1_003_600, kept.clone()), [], "it ended meanwhile");
    let elsewhere = Kept { address: Ipv4Addr::new(10, 69, 2, 7).into(), ..kept[0].clone() };
    assert_eq!(after(1_001_600, vec![elsewhere]), [], "another network");
    let mut moved = before;
    moved.configure(NOW, Some(&RelayConfig { gateway: "10.69.9.1/26".parse().unwrap(), ..config() }), ports());
    assert_eq!(lent(&moved), [], "the rack has another network now");
}

#[test]
fn a_frame_is_read_as_a_whole_or_not_at_all() {
    let whole = frame_of(Ipv4Addr::BROADCAST, &discover());
    assert_eq!(frame::read(&whole).unwrap().datagram, discover());
    let padded = [&whole[..], &[0; 30]].concat();
    assert_eq!(frame::read(&padded).unwrap().datagram, discover(), "Ethernet pads");
    assert_eq!(frame::read(&whole[..whole.len() - 1]), None, "cut off");
    for (at, value) in [(12, 0x86), (14, 0x65), (20, 0x20), (23, 6), (24, 0), (37, 68)] {
        let mut other = whole.clone();
        other[at] = value;
        assert_eq!(frame::read(&other), None, "octet {at}");
    }
}

#[test]
fn a_port_keeps_its_counts_over_a_configuration_and_another_one_of_its_number_does_not() {
    let mut relay = relay();
    ask(&mut relay, &discover());
    relay.configure(NOW, Some(&config()), ports());
    let counted = |relay: &Relay| relay.counts().map(|(_, _, counts)| counts.to_servers).sum::<u64>();
    assert_eq!(counted(&relay), 1);
    let other = Port { link: LINK, name: "eth9".to_owned(), mac: PORT };
    relay.configure(NOW, Some(&config()), vec![other]);
    assert_eq!(counted(&relay), 0);
    relay.configure(NOW, None, vec![]);
    assert_eq!(ask(&mut relay, &discover()), []);
}

proptest! {
    #[test]
    fn whatever_a_client_sends_comes_to_servers_as_a_message_with_our_option_or_not_at_all(
        head in prop::collection::vec(any::<u8>(), 0..400),
        options in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut relay = relay();
        relay.on_frame(NOW, LINK, &head);
        prop_assert_eq!(ask(&mut relay, &head), vec![]);
        for output in ask(&mut relay, &message(1, 1, &options)) {
            let Output::ToServer { datagram, .. } = output else { panic!() };
            let read = Message::read(&datagram).unwrap();
            prop_assert_eq!((read.circuit(), read.giaddr(), read.hops()), (Some("eth4"), GIADDR, 1));
        }
    }

    #[test]
    fn whatever_a_server_sends_comes_to_a_client_without_option_82(options in prop::collection::vec(any::<u8>(), 0..300)) {
        for output in tell(&mut relay(), SERVER, &reply(5, "eth4", &options)) {
            let Output::ToClient { frame, .. } = output else { panic!() };
            prop_assert!(!Message::read(&frame[42..]).unwrap().has_agent());
        }
    }
}
