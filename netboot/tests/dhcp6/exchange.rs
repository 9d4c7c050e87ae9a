//! RFC 8415 §18.3, message by message.

use crate::world::World;
use crate::{address, association, duid, given, question, status};
use serde_json::json;
use std::net::Ipv6Addr;
use weft_netboot::dhcp::v6::message::{Kind, Message, Options, code};

/// A message to a server by its name.
fn named(world: &World, kind: Kind, client: &[u8], more: &[(u16, Vec<u8>)]) -> Message {
    let server = (code::SERVER, world.servers[0].duid().to_vec());
    question(kind, client, &[&[server], more].concat())
}

/// SOLICIT and REQUEST.
fn lease(world: &mut World, at: usize, client: &[u8]) -> Ipv6Addr {
    let advertise = world.one(at, &question(Kind::Solicit, client, &[association(7, &[])]));
    let offered = given(&advertise).0[0].0;
    let reply = world.one(at, &named(world, Kind::Request, client, &[association(7, &[offered])]));
    assert_eq!((reply.kind, given(&reply)), (Kind::Reply, (vec![(offered, 3_600)], None)));
    offered
}

/// §18.3.1, §18.3.2, §21.4: four messages; T1 and T2 at half and 0.8; the lease is in the store before the REPLY says so.
#[test]
fn four_messages_make_a_lease() {
    let mut world = World::new(1);
    let advertise = world.one(0, &question(Kind::Solicit, &duid(1), &[association(7, &[])]));
    assert_eq!(advertise.kind, Kind::Advertise);
    assert_eq!(advertise.options.once(code::CLIENT), Ok(Some(&duid(1)[..])));
    assert_eq!(advertise.options.once(code::SERVER), Ok(Some(world.servers[0].duid())));
    assert_eq!(advertise.options.once(code::PREFERENCE), Ok(Some(&[255][..])), "no other server is to be waited for");
    let value = advertise.options.once(code::IA_NA).unwrap().unwrap();
    assert_eq!(value[..12], [[0, 0, 0, 7], 1_800_u32.to_be_bytes(), 2_880_u32.to_be_bytes()].concat());
    let offered = given(&advertise).0[0].0;
    assert!(address("fd00:69:0:4::20") <= offered && offered <= address("fd00:69:0:4::1020"), "{offered}");
    assert_eq!(world.writes(), 0, "an offer is in memory alone");
    let request = named(&world, Kind::Request, &duid(1), &[association(7, &[offered])]);
    assert_eq!(world.tell(0, &request.write()), [], "not before the store has it");
    let sent = world.answer().unwrap();
    assert_eq!((sent.len(), world.writes()), (1, 1));
    // Repeated: the same answer, and nothing more is written.
    let reply = world.one(0, &request);
    assert_eq!((given(&reply).0, world.writes()), (vec![(offered, 3_600)], 1));
}

/// §18.3.1: Rapid Commit.
#[test]
fn two_messages_make_a_lease_when_the_client_wants() {
    let mut world = World::new(1);
    let rapid = question(Kind::Solicit, &duid(1), &[association(7, &[]), (code::RAPID_COMMIT, Vec::new())]);
    assert_eq!(world.tell(0, &rapid.write()), []);
    let mut sent = world.answer().unwrap();
    let reply = crate::world::unwrapped(&sent.remove(0).1);
    assert_eq!((reply.kind, world.writes()), (Kind::Reply, 1));
    assert!(reply.options.has(code::RAPID_COMMIT) && !reply.options.has(code::PREFERENCE));
}

/// Every server offers a newcomer the same address, and any of them may be asked for it.
#[test]
fn a_request_may_reach_another_server() {
    let mut world = World::new(3);
    for client in 1..40 {
        let offers: Vec<_> = (0..3)
            .map(|at| given(&world.one(at, &question(Kind::Solicit, &duid(client), &[association(7, &[])]))).0[0].0)
            .collect();
        assert!(offers.iter().all(|offer| *offer == offers[0]), "{offers:?}");
        let at = usize::from(client) % 3;
        let reply = world.one(at, &named(&world, Kind::Request, &duid(client), &[association(7, &[offers[0]])]));
        assert_eq!(given(&reply).0, [(offers[0], 3_600)]);
        (0..3).for_each(|at| world.hear(at));
    }
    assert_eq!(world.writes(), 39);
}

/// Two servers that know nothing of each other: compare-and-swap gives the address to one client, and the other gets another one.
#[test]
fn no_address_is_of_two_clients() {
    let mut world = World::new(2);
    let wish = address("fd00:69:0:4::100");
    let mut requests = Vec::new();
    for (at, client) in [(0, 1), (1, 2)] {
        let request = named(&world, Kind::Request, &duid(client), &[association(7, &[wish])]);
        assert_eq!(world.tell(at, &request.write()), []);
        requests.push(request);
    }
    let mut given_to = Vec::new();
    while let Some(sent) = world.answer() {
        given_to.extend(sent.iter().map(|(_, octets)| given(&crate::world::unwrapped(octets)).0[0].0));
    }
    assert_eq!(given_to.len(), 2);
    assert!(given_to.contains(&wish) && given_to[0] != given_to[1], "{given_to:?}");
}

/// §18.3.2, §21.13: an address of another link; addresses in a second association, of which a client gets none.
#[test]
fn wishes_that_cannot_be_granted_are_answered() {
    let mut world = World::new(1);
    let other_link = named(&world, Kind::Request, &duid(1), &[association(7, &[address("fd00:69:0:7::30")])]);
    assert_eq!(given(&world.one(0, &other_link)), (Vec::new(), Some(4)), "NotOnLink");
    // On the link, and of a machine by the plan: another one is given.
    let of_a_place = named(&world, Kind::Request, &duid(1), &[association(7, &[address("fd00:69:0:4::5")])]);
    let (addresses, _) = given(&world.one(0, &of_a_place));
    assert!(addresses[0].0 >= address("fd00:69:0:4::20"));
    let two = question(Kind::Solicit, &duid(2), &[association(7, &[]), association(8, &[])]);
    let advertise = world.one(0, &two);
    let all: Vec<&[u8]> = advertise.options.all(code::IA_NA).collect();
    let within = Options::read(&all[1][12..]).unwrap();
    assert_eq!((all.len(), &all[1][..4], status(&within)), (2, &[0, 0, 0, 8][..], Some(2)), "NoAddrsAvail");
}

/// §18.3.4: from memory by the server that lent it, and the store is told when a quarter of the time is over.
#[test]
fn a_lease_is_renewed() {
    let mut world = World::new(2);
    let own = lease(&mut world, 0, &duid(1));
    let renew = named(&world, Kind::Renew, &duid(1), &[association(7, &[own])]);
    let sent = world.tell(0, &renew.write());
    assert_eq!((sent.len(), world.late.len()), (1, 0), "from memory, and nothing is written");
    world.pass(1_800);
    let sent = world.tell(0, &renew.write());
    assert_eq!((sent.len(), world.late.len()), (1, 1), "answered first, stored beside");
    while world.answer().is_some() {}
    // Another server reads the store, and has the lease as its own from then on.
    let reply = world.one(1, &renew);
    assert_eq!(given(&reply), (vec![(own, 3_600)], None));
    // An address that it never had, and one of another link beside its own.
    let never = named(&world, Kind::Renew, &duid(2), &[association(7, &[own])]);
    assert_eq!(given(&world.one(1, &never)), (Vec::new(), Some(3)), "NoBinding");
    let stale = address("fd00:69:0:7::30");
    let both = named(&world, Kind::Renew, &duid(1), &[association(7, &[stale, own])]);
    assert_eq!(given(&world.one(1, &both)).0, [(own, 3_600), (stale, 0)]);
    let moved = named(&world, Kind::Renew, &duid(1), &[association(7, &[stale])]);
    assert_eq!(given(&world.one(1, &moved)).0, [(stale, 0)], "it is to stop using it");
}

/// §18.3.5: nobody is named; a server that does not know of the lease reads the store.
#[test]
fn a_lease_is_rebound() {
    let mut world = World::new(2);
    let own = lease(&mut world, 0, &duid(1));
    let rebind = |client: u8, wish: Ipv6Addr| question(Kind::Rebind, &duid(client), &[association(7, &[wish])]);
    assert_eq!(given(&world.one(1, &rebind(1, own))), (vec![(own, 3_600)], None));
    assert_eq!(given(&world.one(1, &rebind(2, own))).0, [(own, 0)], "it is somebody else's");
    let free = address("fd00:69:0:4::200");
    assert_eq!(given(&world.one(1, &rebind(2, free))).0, [(free, 3_600)], "forgotten, and free");
    let stale = address("fd00:69:0:7::30");
    assert_eq!(given(&world.one(1, &rebind(2, stale))).0, [(stale, 0)]);
}

/// §18.3.3: whether the addresses belong to the link, and no more.
#[test]
fn confirm_asks_for_the_link() {
    let mut world = World::new(1);
    let confirm = |wish: &[Ipv6Addr]| question(Kind::Confirm, &duid(1), &[association(7, wish)]);
    let here = world.one(0, &confirm(&[address("fd00:69:0:4::30")]));
    assert_eq!((here.kind, status(&here.options), here.options.has(code::IA_NA)), (Kind::Reply, Some(0), false));
    let moved = world.one(0, &confirm(&[address("fd00:69:0:4::30"), address("fd00:69:0:7::30")]));
    assert_eq!(status(&moved.options), Some(4));
    assert_eq!(world.ask(0, &confirm(&[])), [], "no address: no answer");
}

/// §18.3.7: by who has it; the same client gets it again.
#[test]
fn a_lease_is_released_by_its_owner() {
    let mut world = World::new(1);
    let own = lease(&mut world, 0, &duid(1));
    let anothers = named(&world, Kind::Release, &duid(2), &[association(7, &[own])]);
    assert_eq!(given(&world.one(0, &anothers)), (Vec::new(), Some(3)));
    let release = named(&world, Kind::Release, &duid(1), &[association(7, &[own])]);
    let reply = world.one(0, &release);
    assert_eq!((reply.kind, status(&reply.options)), (Kind::Reply, Some(0)));
    let writes = world.writes();
    assert_eq!(status(&world.one(0, &release).options), Some(0), "repeated");
    assert_eq!(world.writes(), writes);
    assert_eq!(lease(&mut world, 0, &duid(1)), own);
}

/// §18.3.8: the address rests.
#[test]
fn a_declined_address_rests() {
    let mut world = World::new(1);
    let own = lease(&mut world, 0, &duid(1));
    let decline = named(&world, Kind::Decline, &duid(1), &[association(7, &[own])]);
    assert_eq!(status(&world.one(0, &decline).options), Some(0));
    assert_ne!(lease(&mut world, 0, &duid(1)), own);
    let wish = named(&world, Kind::Request, &duid(2), &[association(7, &[own])]);
    assert_ne!(given(&world.one(0, &wish)).0[0].0, own);
    world.pass(3_601);
    assert_eq!(given(&world.one(0, &wish)).0[0].0, own);
}

/// A registered machine has its address by formula: at once, without the store, and by any server.
#[test]
fn a_known_machine_gets_the_address_of_its_place() {
    let mut world = World::new(2);
    world.register(json!({"serial": "N1", "rack": 1, "role": "cs", "ids": {"macs": ["52:54:00:69:01:01"]}}));
    let formula = address("fd00:69:0:4::4");
    let advertise = world.one(0, &question(Kind::Solicit, &duid(1), &[association(7, &[])]));
    assert_eq!(given(&advertise).0, [(formula, 3_600)]);
    for kind in [Kind::Request, Kind::Renew] {
        let message = named(&world, kind, &duid(1), &[association(7, &[formula])]);
        assert_eq!(given(&world.one(1, &message)).0, [(formula, 3_600)], "{kind:?}");
    }
    // It had been lent one before it was registered.
    let lent = address("fd00:69:0:4::30");
    let renew = named(&world, Kind::Renew, &duid(1), &[association(7, &[lent])]);
    assert_eq!(given(&world.one(0, &renew)).0, [(formula, 3_600), (lent, 0)]);
    assert_eq!(world.writes(), 0);
    // In another rack it is a guest.
    let mut elsewhere = question(Kind::Solicit, &duid(1), &[association(7, &[])]);
    elsewhere.relays[0].link = address("fd00:69:0:7::1");
    assert!(given(&world.one(0, &elsewhere)).0[0].0 >= address("fd00:69:0:7::20"));
    // Found in use by the machine: it rests, and the machine has another one meanwhile.
    let decline = named(&world, Kind::Decline, &duid(1), &[association(7, &[formula])]);
    assert_eq!(status(&world.one(0, &decline).options), Some(0));
    assert_ne!(given(&world.one(0, &question(Kind::Solicit, &duid(1), &[association(7, &[])]))).0[0].0, formula);
}

/// §18.3.6: everything but an address.
#[test]
fn information_is_given_without_an_address() {
    let mut world = World::new(1);
    let dhcp = serde_json::from_value(json!({"lease_minutes": 60, "dns_servers": ["fd00:72::53", "10.72.0.53"]}));
    world.run(&weft_netboot::inventory::command::Command::SetDhcp { dhcp: dhcp.unwrap() });
    let wanted = (code::WANTED, vec![0, 23]);
    let reply = world.one(0, &question(Kind::InformationRequest, &duid(1), std::slice::from_ref(&wanted)));
    assert_eq!(reply.options.once(code::DNS), Ok(Some(&address("fd00:72::53").octets()[..])));
    assert_eq!(reply.kind, Kind::Reply);
    let mut nameless = question(Kind::InformationRequest, &duid(1), &[]);
    nameless.options = Options::default();
    nameless.options.add(wanted.0, wanted.1);
    assert_eq!(world.one(0, &nameless).options.once(code::CLIENT), Ok(None));
}
