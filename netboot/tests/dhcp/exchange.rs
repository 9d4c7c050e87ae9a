//! What becomes of questions, by the sections of RFC 2131 and those who added to it.

use crate::world::{World, vip};
use crate::{address, fixture, question};
use serde_json::json;
use std::net::Ipv4Addr;
use weft_netboot::dhcp::v4::message::{Hardware, Kind, Message};
use weft_netboot::dhcp::v4::option::code;
use weft_netboot::dhcp::v4::server::Via;
use weft_netboot::inventory::command::Command;

fn captured(name: &str) -> Message {
    Message::read(&fixture(name)).unwrap()
}

/// A client by the last octet of its MAC address.
fn of(client: u8, kind: Kind) -> Message {
    Message { hardware: Hardware::ethernet([0x52, 0x54, 0, 0x69, 2, client]), xid: u32::from(client), ..question(kind) }
}

/// The REQUEST of who takes an offer.
fn taking(offer: &Message) -> Message {
    let mut request = Message { kind: Kind::Request, op: question(Kind::Request).op, ..question(Kind::Request) };
    (request.hardware, request.xid, request.giaddr) = (offer.hardware, offer.xid, offer.giaddr);
    request.options.set(code::SERVER, offer.options.raw(code::SERVER).unwrap());
    request.options.set(code::REQUESTED, offer.yiaddr.octets());
    request
}

/// The RENEW of who has an address: routed, without a relay.
fn keeping(client: u8, own: Ipv4Addr) -> Message {
    Message { ciaddr: own, giaddr: Ipv4Addr::UNSPECIFIED, hops: 0, ..of(client, Kind::Request) }
}

/// Takes a client from nothing to its lease.
fn bound(world: &mut World, at: usize, client: u8) -> Ipv4Addr {
    let (_, _, offer) = world.one(at, &of(client, Kind::Discover));
    let (_, _, ack) = world.one(at, &taking(&offer));
    assert_eq!((ack.kind, ack.yiaddr), (Kind::Ack, offer.yiaddr));
    ack.yiaddr
}

/// RFC 2131 §4.3.1, §4.1; RFC 3046 §2.1: the answer goes to the relay, with what it added as the last option.
#[test]
fn an_offer_goes_to_the_relay_with_its_option_last() {
    let mut world = World::new(1);
    let asked = captured("up.00.discover");
    let (via, to, offer) = world.one(0, &asked);
    assert_eq!((via, to), (Via::Service, "10.69.1.1:67".parse().unwrap()));
    assert_eq!((offer.kind, offer.xid, offer.flags, offer.giaddr), (Kind::Offer, asked.xid, asked.flags, asked.giaddr));
    assert_eq!((offer.hops, offer.secs, offer.hardware), (0, 0, asked.hardware));
    assert!((address("10.69.1.32")..=address("10.69.1.62")).contains(&offer.yiaddr), "{}", offer.yiaddr);
    let options = &offer.options;
    assert_eq!(options.address(code::SERVER), Ok(Some(vip())));
    assert_eq!(options.address(code::SUBNET_MASK), Ok(Some(address("255.255.255.192"))));
    assert_eq!(options.address(code::ROUTER), Ok(Some(address("10.69.1.1"))));
    assert_eq!(options.exact::<4>(code::LEASE_TIME), Ok(Some(3_600_u32.to_be_bytes())));
    // RFC 6842 §3, RFC 4578 §2.3.
    for echoed in [code::AGENT, code::CLIENT, code::UUID] {
        assert_eq!(options.raw(echoed), asked.options.raw(echoed), "{echoed}");
    }
    let octets = offer.write(1_472).unwrap();
    let agent = asked.options.raw(code::AGENT).unwrap();
    let end = octets.iter().rposition(|octet| *octet == code::END).unwrap();
    assert_eq!(&octets[end - agent.len()..end], agent);
}

/// RFC 2131 §2: the flag is copied; EDK2 sets it.
#[test]
fn the_broadcast_flag_is_copied() {
    let mut world = World::new(1);
    let (_, _, offer) = world.one(0, &captured("uefipxe.up.00.discover"));
    assert_eq!(offer.flags, 0x8000);
}

/// An offer is from memory once the server has a block; the ACK of a new lease waits for the store.
#[test]
fn an_acknowledgement_of_a_new_lease_waits_for_the_store() {
    let mut world = World::new(1);
    let _first = bound(&mut world, 0, 1);
    let before = world.writes();
    let sent = world.tell(0, Via::Service, &of(2, Kind::Discover).write(1_472).unwrap());
    assert_eq!((sent.len(), world.late.len()), (1, 0), "the offer needs no store");
    let request = taking(&sent[0].2).write(1_472).unwrap();
    assert_eq!(world.tell(0, Via::Service, &request), []);
    assert_eq!(world.late.len(), 1);
    // Its copy waits with it, and others do not wait for it.
    assert_eq!(world.tell(0, Via::Service, &request), []);
    assert_eq!(world.tell(0, Via::Service, &of(3, Kind::Discover).write(1_472).unwrap()).len(), 1);
    assert_eq!(world.late.len(), 1);
    let acks = world.answer().unwrap();
    assert_eq!(
        acks.iter().map(|(_, _, ack)| (ack.kind, ack.yiaddr)).collect::<Vec<_>>(),
        [(Kind::Ack, sent[0].2.yiaddr), (Kind::Ack, sent[0].2.yiaddr)]
    );
    assert_eq!(world.writes(), before + 1);
    // RFC 2131 §4.3.2: a repetition is answered the same, and writes nothing.
    assert_eq!(world.tell(0, Via::Service, &request).len(), 1);
    assert_eq!((world.writes(), world.late.len()), (before + 1, 0));
}

/// A registered machine gets the address of its place in the network that it asks from, at once; no other one.
#[test]
fn registered_machines_get_the_address_of_the_formula() {
    let mut world = World::new(1);
    world.register(json!({"serial": "N1", "name": "node1", "rack": 1, "role": "cs", "index": 7,
        "ids": {"macs": ["52:54:00:69:01:01"], "uuid": "00000000-0000-4000-8000-000000000003"}}));
    // Rack 1 has parts 3 to 5 of 64 addresses; the relay 10.69.1.1 is the gateway of its network 1.
    let (_, _, offer) = world.one(0, &question(Kind::Discover));
    assert_eq!(offer.yiaddr, address("10.69.1.7"));
    assert_eq!(offer.options.raw(code::HOST_NAME), Some(b"node1".as_slice()));
    let (_, _, ack) = world.one(0, &taking(&offer));
    assert_eq!((ack.kind, ack.yiaddr), (Kind::Ack, address("10.69.1.7")));
    let from = |giaddr: &str| Message { giaddr: address(giaddr), ..question(Kind::Discover) };
    assert_eq!(world.one(0, &from("10.69.1.65")).2.yiaddr, address("10.69.1.71"));
    // By its UUID, from another card (netboot.md §6: the first three fields are the other way round).
    assert_eq!(world.one(0, &captured("ukihttp.up.00.discover")).2.yiaddr, address("10.69.1.7"));
    // In another rack it is a guest.
    let guest = world.one(0, &from("10.69.0.65")).2.yiaddr;
    assert!((address("10.69.0.96")..=address("10.69.0.126")).contains(&guest), "{guest}");
    let mut wrong = taking(&offer);
    wrong.options.set(code::REQUESTED, address("10.69.1.8").octets());
    assert_eq!(world.one(0, &wrong).2.kind, Kind::Nak);
    assert_eq!(world.writes(), 0);
}

/// RFC 2131 §4.3.2 (RENEWING): unicast, no relay; answered to the client itself, from memory, until the time that the store keeps.
#[test]
fn renewals_are_answered_from_memory_and_never_beyond_what_is_stored() {
    let mut world = World::new(1);
    let own = bound(&mut world, 0, 1);
    for turn in 0..6 {
        world.pass(1_800);
        let sent = world.tell(0, Via::Service, &keeping(1, own).write(1_472).unwrap());
        assert_eq!(sent.len(), 1, "turn {turn}");
        let (via, to, ack) = &sent[0];
        assert_eq!((*via, *to), (Via::Service, format!("{own}:68").parse().unwrap()));
        assert_eq!((ack.kind, ack.yiaddr, ack.ciaddr), (Kind::Ack, own, own));
        let stored = world.memory.read(&format!("leases/{own}"));
        let lease: serde_json::Value = serde_json::from_slice(&stored.entries[0].value).unwrap();
        let until: jiff::Timestamp = lease["until"].as_str().unwrap().parse().unwrap();
        assert!(until.duration_since(world.now).as_secs() >= 3_600, "turn {turn}");
        while world.answer().is_some() {}
    }
    // Without the store: once more from memory, then not.
    world.pass(1_800);
    assert_eq!(world.tell(0, Via::Service, &keeping(1, own).write(1_472).unwrap()).len(), 1);
    world.late.clear();
    world.pass(3_700);
    assert_eq!(world.tell(0, Via::Service, &keeping(1, own).write(1_472).unwrap()), []);
}

/// netboot.md §7: isc-dhcp-relay sends a routed RENEW or RELEASE that it merely sees a second time, as a relay.
#[test]
fn a_renewal_that_comes_twice_has_two_answers_and_one_change() {
    let mut world = World::new(1);
    let (_, _, offer) = world.one(0, &captured("renew.isc.00.discover"));
    let (_, _, ack) = world.one(0, &taking(&offer));
    let writes = world.writes();
    world.pass(1_800);
    let mut destinations = Vec::new();
    for name in ["renew.isc.04.request", "renew.isc.05.request"] {
        let renew = Message { ciaddr: ack.yiaddr, ..captured(name) };
        let (_, to, again) = world.one(0, &renew);
        assert_eq!((again.kind, again.yiaddr), (Kind::Ack, ack.yiaddr));
        destinations.push(to.to_string());
    }
    assert_eq!(destinations, [format!("{}:68", ack.yiaddr), "10.69.1.1:67".to_owned()]);
    assert_eq!(world.writes(), writes + 1);
    for name in ["renew.isc.08.release", "renew.isc.09.release"] {
        let mut release = Message { ciaddr: ack.yiaddr, ..captured(name) };
        release.options.set(code::SERVER, vip().octets());
        assert_eq!(world.ask(0, &release), []);
    }
    assert_eq!((world.writes(), world.refused(0)), (writes + 2, vec![]));
}

/// The REQUEST comes to another server than the OFFER: it asks the store, and writes only if nobody has the address.
#[test]
fn a_request_at_another_server_is_served_by_the_store() {
    let mut world = World::new(2);
    let (_, _, offer) = world.one(0, &of(1, Kind::Discover));
    let (_, _, ack) = world.one(1, &taking(&offer));
    assert_eq!((ack.kind, ack.yiaddr), (Kind::Ack, offer.yiaddr));
    // The first server has not heard of it, and offers the address to somebody else, whom the store refuses.
    world.pass(61);
    let mut wants = of(2, Kind::Discover);
    wants.options.set(code::REQUESTED, offer.yiaddr.octets());
    let (_, _, second) = world.one(0, &wants);
    assert_eq!(second.yiaddr, offer.yiaddr);
    assert_eq!(world.one(0, &taking(&second)).2.kind, Kind::Nak);
    // A renewal at the other server takes the lease over, by compare-and-swap.
    world.hear(0);
    let (_, _, ack) = world.one(0, &keeping(1, offer.yiaddr));
    assert_eq!((ack.kind, ack.yiaddr), (Kind::Ack, offer.yiaddr));
    let stored = world.memory.read(&format!("leases/{}", offer.yiaddr));
    assert!(String::from_utf8_lossy(&stored.entries[0].value).contains("boot0"));
}

/// Two servers of one network offer different addresses.
#[test]
fn servers_offer_from_blocks_of_their_own() {
    let mut world = World::new(2);
    let first: Vec<_> = (0..10).map(|client| world.one(0, &of(client, Kind::Discover)).2.yiaddr).collect();
    world.hear(1);
    let second: Vec<_> = (10..20).map(|client| world.one(1, &of(client, Kind::Discover)).2.yiaddr).collect();
    let mut all: Vec<_> = first.iter().chain(&second).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 20);
    // A range of 31 addresses has room for 31 clients, whosever the blocks are.
    world.hear(0);
    let more: Vec<_> = (20..60).flat_map(|client| world.ask(0, &of(client, Kind::Discover))).collect();
    assert!(more.len() >= 11, "{}", more.len());
    assert!(world.refused(0).iter().any(|(why, _)| *why == "exhausted"), "{:?}", world.refused(0));
}

/// RFC 2131 §4.3.2 (INIT-REBOOT).
#[test]
fn who_was_restarted_keeps_its_address_or_hears_no() {
    let mut world = World::new(2);
    let own = bound(&mut world, 0, 1);
    let rebooting = |client: u8, wanted: Ipv4Addr, giaddr: &str| {
        let mut request = Message { giaddr: address(giaddr), ..of(client, Kind::Request) };
        request.options.set(code::REQUESTED, wanted.octets());
        request
    };
    assert_eq!(world.one(0, &rebooting(1, own, "10.69.1.1")).2.kind, Kind::Ack);
    // The other server has not heard of the lease: it asks before it says anything.
    let (_, _, ack) = world.one(1, &rebooting(1, own, "10.69.1.1"));
    assert_eq!((ack.kind, ack.yiaddr), (Kind::Ack, own));
    // In another network: no, to everybody on that link, for it has no address there.
    let (_, to, nak) = world.one(0, &rebooting(1, own, "10.69.0.65"));
    assert_eq!((nak.kind, nak.yiaddr, nak.flags), (Kind::Nak, Ipv4Addr::UNSPECIFIED, 0x8000));
    assert_eq!(to, "10.69.0.65:67".parse().unwrap());
    // Another client's.
    assert_eq!(world.one(0, &rebooting(2, own, "10.69.1.1")).2.kind, Kind::Nak);
    assert_eq!(world.one(0, &rebooting(2, address("10.69.1.60"), "10.69.1.1")).2.kind, Kind::Nak);
}

/// RFC 2131 §4.3.3: only who has it can say that somebody else uses it.
#[test]
fn a_declined_address_rests() {
    let mut world = World::new(1);
    let own = bound(&mut world, 0, 1);
    let declining = |client: u8| {
        let mut message = of(client, Kind::Decline);
        message.options.set(code::SERVER, vip().octets());
        message.options.set(code::REQUESTED, own.octets());
        message
    };
    assert_eq!(world.ask(0, &declining(2)), []);
    assert_eq!(world.refused(0), [("not_owner", 1)]);
    assert_eq!(world.ask(0, &declining(1)), []);
    for client in [1, 2] {
        let mut wants = of(client, Kind::Discover);
        wants.options.set(code::REQUESTED, own.octets());
        assert_ne!(world.one(0, &wants).2.yiaddr, own);
    }
    world.pass(3_601);
    let mut wants = of(3, Kind::Discover);
    wants.options.set(code::REQUESTED, own.octets());
    assert_eq!(world.one(0, &wants).2.yiaddr, own);
}

/// A DECLINE that reaches a server with an old copy of the lease is not lost.
#[test]
fn a_declined_address_rests_also_when_another_server_renewed_it_meanwhile() {
    let mut world = World::new(2);
    let own = bound(&mut world, 0, 1);
    world.hear(1);
    world.pass(1_800);
    assert_eq!(world.one(0, &keeping(1, own)).2.kind, Kind::Ack);
    let mut declining = of(1, Kind::Decline);
    declining.options.set(code::SERVER, vip().octets());
    declining.options.set(code::REQUESTED, own.octets());
    assert_eq!(world.ask(1, &declining), []);
    assert_eq!(world.refused(1), []);
    world.hear(0);
    let mut wants = of(2, Kind::Discover);
    wants.options.set(code::REQUESTED, own.octets());
    assert_ne!(world.one(0, &wants).2.yiaddr, own);
    assert_eq!(world.one(0, &keeping(1, own)).2.kind, Kind::Nak);
}

/// RFC 2131 §4.3.4: by the owner only; the next one may have it, but who had it gets it again if it can.
#[test]
fn a_released_address_is_free_and_remembered() {
    let mut world = World::new(1);
    let own = bound(&mut world, 0, 1);
    let releasing = |client: u8| {
        let mut message = Message { ciaddr: own, giaddr: Ipv4Addr::UNSPECIFIED, ..of(client, Kind::Release) };
        message.options.set(code::SERVER, vip().octets());
        message
    };
    assert_eq!(world.ask(0, &releasing(2)), []);
    assert_eq!(world.refused(0), [("not_owner", 1)]);
    assert_eq!(world.one(0, &keeping(1, own)).2.kind, Kind::Ack);
    assert_eq!(world.ask(0, &releasing(1)), []);
    assert_eq!(world.one(0, &of(1, Kind::Discover)).2.yiaddr, own);
    world.pass(61);
    let mut wants = of(2, Kind::Discover);
    wants.options.set(code::REQUESTED, own.octets());
    assert_eq!(world.one(0, &wants).2.yiaddr, own);
}

/// RFC 2131 §4.3.5: everything but an address and its time, to the client itself.
#[test]
fn who_has_an_address_is_told_the_rest() {
    let mut world = World::new(1);
    let asked = Message { ciaddr: address("10.69.1.9"), ..of(1, Kind::Inform) };
    let (_, to, ack) = world.one(0, &asked);
    assert_eq!((ack.kind, ack.yiaddr, to), (Kind::Ack, Ipv4Addr::UNSPECIFIED, "10.69.1.9:68".parse().unwrap()));
    assert_eq!(ack.options.raw(code::LEASE_TIME), None);
    assert_eq!(ack.options.address(code::ROUTER), Ok(Some(address("10.69.1.1"))));
}

/// RFC 3527 §3: the link is not that of `giaddr`; RFC 5107 §4: the client takes the relay for its server.
#[test]
fn a_relay_may_name_the_link_and_the_server() {
    let mut world = World::new(1);
    let mut asked = of(1, Kind::Discover);
    asked.giaddr = address("10.70.0.1");
    assert_eq!(world.ask(0, &asked), []);
    assert_eq!(world.refused(0), [("unknown_network", 1)]);
    let said = b"\x01\x03eth\x05\x04\x0a\x45\x00\x41\x0b\x04\x0a\x45\x00\x41";
    asked.options.set(code::AGENT, *said);
    let (_, to, offer) = world.one(0, &asked);
    assert_eq!(to, "10.70.0.1:67".parse().unwrap());
    assert!((address("10.69.0.96")..=address("10.69.0.126")).contains(&offer.yiaddr), "{}", offer.yiaddr);
    assert_eq!(offer.options.address(code::SERVER), Ok(Some(address("10.69.0.65"))));
    assert_eq!(offer.options.raw(code::AGENT), Some(said.as_slice()));
    let mut request = taking(&offer);
    request.options.set(code::AGENT, *said);
    assert_eq!(world.one(0, &request).2.kind, Kind::Ack);
    // Without a relay nobody has vouched for it.
    let mut renew = keeping(1, offer.yiaddr);
    renew.options.set(code::AGENT, *said);
    assert_eq!(world.one(0, &renew).2.options.address(code::SERVER), Ok(Some(vip())));
}

/// A relay that names itself by the address of its `lo` is the switch that has it in the plan of the fabric, although the address plan
/// would number a rack there.
#[test]
fn a_relay_is_known_by_the_plan_of_the_fabric() {
    let mut world = World::new(1);
    let plan = json!({"asn": {"per_rack": {"base": 64600}},
        "switches": {"tor2": {"rack": 1, "network": 2, "addresses": ["10.69.255.1/32"]}}});
    world.run(&Command::SetPlan { plan: serde_json::from_value(plan).unwrap() });
    let (_, to, offer) = world.one(0, &Message { giaddr: address("10.69.255.1"), ..of(1, Kind::Discover) });
    assert_eq!(to, "10.69.255.1:67".parse().unwrap());
    assert!((address("10.69.1.96")..=address("10.69.1.126")).contains(&offer.yiaddr), "{}", offer.yiaddr);
    assert_eq!(offer.options.address(code::ROUTER), Ok(Some(address("10.69.1.65"))));
}

/// A client on a port of the server itself: no relay, the answer is for everybody there.
#[test]
fn a_client_on_a_port_of_the_server_is_answered_there() {
    let mut world = World::new(1);
    let asked = Message { giaddr: Ipv4Addr::UNSPECIFIED, hops: 0, ..of(1, Kind::Discover) };
    assert_eq!(world.ask(0, &asked), []);
    assert_eq!(world.refused(0), [("no_relay", 1)]);
    let octets = asked.write(1_472).unwrap();
    assert_eq!(world.tell(0, Via::Device(0), &octets), []);
    let (via, to, offer) = world.answer().unwrap().remove(0);
    assert_eq!((via, to), (Via::Device(0), "255.255.255.255:68".parse().unwrap()));
    assert!((address("10.69.2.32")..=address("10.69.2.62")).contains(&offer.yiaddr), "{}", offer.yiaddr);
    assert_eq!(offer.options.address(code::SERVER), Ok(Some(address("10.69.2.1"))));
}

/// A rack that runs wild takes nothing from the others, and is heard again.
#[test]
fn one_network_has_its_rate() {
    let mut world = World::with(1, &format!("{}rate: {{each_s: 10, burst: 20}}\n", crate::world::RULES));
    let asked = of(1, Kind::Discover);
    let answered = (0..100).filter(|_| !world.ask(0, &asked).is_empty()).count();
    assert_eq!(answered, 20);
    assert_eq!(world.refused(0), [("limited", 80)]);
    let other = Message { giaddr: address("10.69.0.65"), ..of(2, Kind::Discover) };
    assert_eq!(world.ask(0, &other).len(), 1);
    world.pass(1);
    assert_eq!((0..100).filter(|_| !world.ask(0, &asked).is_empty()).count(), 10);
}

/// A store that does not answer holds no more than its places.
#[test]
fn who_waits_for_the_store_has_a_place_or_is_refused() {
    let mut world = World::with(1, &format!("{}rate: {{each_s: 100000, burst: 100000}}\n", crate::world::RULES));
    for giaddr in 0..2_000_u32 {
        let giaddr = Ipv4Addr::from(u32::from(address("10.69.0.1")) + 64 * (giaddr % 1_020));
        for client in 0..3 {
            world.tell(0, Via::Service, &Message { giaddr, ..of(client, Kind::Discover) }.write(1_472).unwrap());
        }
    }
    assert_eq!(world.late.len(), 1_020);
    let busy = world.refused(0);
    assert!(matches!(busy.as_slice(), [("busy", 1_000..)]), "{busy:?}");
}
