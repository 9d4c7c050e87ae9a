//! What relays put around messages, and octets that are none.

use crate::world::{World, unwrapped};
use crate::{address, association, duid, given, question, relay};
use weft_netboot::dhcp::v6::message::{Kind, MESSAGE_MAX, Malformed, Message, Options, RELAYS_MAX, code};

/// RFC 8415 §19.3: Relay-reply for each Relay-forward, with its hop count, link and peer, and the Interface-Id as it came; RFC 4649 §3 the
/// same of the Remote-Id. What else a relay said is not handed back.
#[test]
fn each_relay_gets_back_what_it_said() {
    let mut world = World::new(1);
    let mut solicit = question(Kind::Solicit, &duid(1), &[association(1, &[])]);
    solicit.relays[0].options.add(code::REMOTE, *b"\0\0\x01\x57port 7");
    solicit.relays[0].options.add(code::LINK_LAYER, *b"\0\x01\x52\x54\0\x69\x01\x01");
    let mut outer = relay("::");
    (outer.hops, outer.peer) = (1, address("fd00:69:0:4::1"));
    solicit.relays.insert(0, outer);
    let sent = world.tell(0, &solicit.write());
    assert_eq!(sent.len(), 1);
    let (to, octets) = &sent[0];
    assert_eq!(*to, "[fd00:69:255::1]:547".parse().unwrap(), "to the port of relays");
    assert_eq!(octets[..2], [13, 1], "RELAY-REPL, and its hop count");
    let answer = unwrapped(octets);
    assert_eq!(answer.relays.len(), 2);
    let said = |at: usize| (answer.relays[at].hops, answer.relays[at].link, answer.relays[at].peer);
    assert_eq!(said(0), (1, address("::"), address("fd00:69:0:4::1")));
    assert_eq!(said(1), (0, address("fd00:69:0:4::1"), address("fe80::1")));
    let inner = &answer.relays[1].options;
    assert_eq!(inner.once(code::INTERFACE), Ok(Some(&b"eth1"[..])));
    assert_eq!(inner.once(code::REMOTE), Ok(Some(&b"\0\0\x01\x57port 7"[..])));
    assert!(!inner.has(code::LINK_LAYER));
    assert_eq!((answer.kind, answer.transaction), (Kind::Advertise, [1, 2, 3]));
}

/// RFC 8415 §13.1: the link is that of the relay closest to the client which names one.
#[test]
fn the_relay_closest_to_the_client_says_the_link() {
    let mut world = World::new(1);
    let mut solicit = question(Kind::Solicit, &duid(1), &[association(1, &[])]);
    solicit.relays.insert(0, relay("fd00:69:0:7::1"));
    let (addresses, _) = given(&world.one(0, &solicit));
    assert!(addresses[0].0.to_string().starts_with("fd00:69:0:4:"), "{addresses:?}");
    // The closest one is a switch that names no link (RFC 6221 §6.1).
    solicit.relays[1].link = address("::");
    let (addresses, _) = given(&world.one(0, &solicit));
    assert!(addresses[0].0.to_string().starts_with("fd00:69:0:7:"), "{addresses:?}");
    // Nobody does, or it is nobody's.
    solicit.relays[0].link = address("::");
    assert_eq!(world.ask(0, &solicit), []);
    solicit.relays[0].link = address("fd00:66::1");
    assert_eq!(world.ask(0, &solicit), []);
    assert_eq!(world.refused(0), [("no_relay", 1), ("unknown_network", 1)]);
}

/// RFC 8415 §7.6: HOP_COUNT_LIMIT.
#[test]
fn eight_relays_are_read_and_nine_are_not() {
    let mut solicit = question(Kind::Solicit, &duid(1), &[association(1, &[])]);
    solicit.relays = vec![relay("fd00:69:0:4::1"); RELAYS_MAX];
    assert_eq!(Message::read(&solicit.write()), Ok(solicit.clone()));
    solicit.relays.push(relay("fd00:69:0:4::1"));
    assert_eq!(Message::read(&solicit.write()), Err(Malformed::Many));
}

/// RFC 8415 §16: what a message must name, and must not.
#[test]
fn messages_that_name_the_wrong_ones_are_dropped() {
    let mut world = World::new(1);
    let own = world.servers[0].duid().to_vec();
    let (client, wish) = (duid(1), association(1, &[address("fd00:69:0:4::30")]));
    let alone = std::slice::from_ref(&wish);
    let server = |duid: &[u8]| (code::SERVER, duid.to_vec());
    let nobody = |kind| {
        let mut message = question(kind, &client, &[wish.clone(), server(&own)]);
        message.options = Options::default();
        message
    };
    let wrong = [
        (question(Kind::Solicit, &client, &[wish.clone(), server(&own)]), "malformed"), // §16.2
        (question(Kind::Request, &client, alone), "malformed"),                         // §16.4
        (question(Kind::Request, &client, &[wish.clone(), server(b"\0\x04somebodyelse...")]), "other_server"),
        (question(Kind::Confirm, &client, &[wish.clone(), server(&own)]), "malformed"), // §16.5
        (question(Kind::Renew, &client, alone), "malformed"),                           // §16.6
        (question(Kind::Rebind, &client, &[wish.clone(), server(&own)]), "malformed"),  // §16.7
        (question(Kind::Decline, &client, alone), "malformed"),                         // §16.8
        (question(Kind::Release, &client, alone), "malformed"),                         // §16.9
        (question(Kind::InformationRequest, &client, alone), "malformed"),              // §16.12
        (question(Kind::Advertise, &client, &[]), "answer"),                            // §16.3
        (question(Kind::Reply, &client, &[]), "answer"),                                // §16.10
        (question(Kind::Reconfigure, &client, &[]), "answer"),                          // §16.11
        (nobody(Kind::Solicit), "malformed"),
        (nobody(Kind::Rebind), "malformed"),
    ];
    for (at, (message, why)) in wrong.iter().enumerate() {
        let before = world.refused(0);
        assert_eq!(world.ask(0, message), [], "{at}");
        let after = world.refused(0);
        let count = |all: &[(&str, u64)]| all.iter().find(|(name, _)| name == why).map_or(0, |(_, count)| *count);
        assert_eq!(count(&after), count(&before) + 1, "{at}: {after:?}");
    }
    assert_eq!(world.writes(), 0);
}

/// RFC 8415 §18.3.2, §18.3.4: who asks its server straight without being told that it may is told so, and nothing else is done.
#[test]
fn who_comes_without_a_relay_is_sent_to_it() {
    let mut world = World::new(1);
    let server = (code::SERVER, world.servers[0].duid().to_vec());
    let mut request = question(Kind::Request, &duid(1), &[association(1, &[]), server]);
    request.relays.clear();
    let sent = world.tell(0, &request.write());
    assert_eq!(sent[0].0.port(), 546, "clients hear there (§7.2)");
    let answer = Message::read(&sent[0].1).unwrap();
    assert_eq!((answer.kind, crate::status(&answer.options)), (Kind::Reply, Some(5)));
    assert!(!answer.options.has(code::IA_NA));
    let mut solicit = question(Kind::Solicit, &duid(1), &[association(1, &[])]);
    solicit.relays.clear();
    assert_eq!(world.ask(0, &solicit), []);
    assert_eq!(world.refused(0), [("no_relay", 1)]);
}

/// Octets at random, and messages cut short or changed, are read or refused; what is read is written again as it was.
#[test]
fn random_and_damaged_octets_harm_nobody() {
    let mut world = World::new(1);
    let mut seed = 1_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut good = question(Kind::Solicit, &duid(1), &[association(1, &[address("fd00:69:0:4::40")])]);
    good.relays.push(relay("fd00:69:0:4::1"));
    let good = good.write();
    for _ in 0..100_000 {
        let mut octets = good.to_vec();
        if next() % 4 == 0 {
            octets = (0..next() % 200).map(|_| next().to_le_bytes()[0]).collect();
        }
        for _ in 0..next() % 4 {
            let at = usize::try_from(next()).unwrap() % octets.len().max(1);
            octets.iter_mut().skip(at).take(1).for_each(|octet| *octet = next().to_le_bytes()[0]);
        }
        octets.truncate(usize::try_from(next()).unwrap() % (2 * octets.len() + 1));
        if let Ok(message) = Message::read(&octets) {
            assert_eq!(Message::read(&message.write()), Ok(message));
        }
        world.tell(0, &octets);
        world.late.clear();
    }
    assert_eq!(Message::read(&vec![0; MESSAGE_MAX + 1]), Err(Malformed::Size(MESSAGE_MAX + 1)));
}
