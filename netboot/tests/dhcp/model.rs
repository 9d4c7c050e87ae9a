//! No address is of two clients at a time, whatever comes when: servers with old copies, answers of the store that are late, clients that
//! repeat themselves at other servers, give back, and come again.

use crate::question;
use crate::world::{Sent, World};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use weft_netboot::dhcp::v4::message::{Hardware, Kind, Message};
use weft_netboot::dhcp::v4::option::code;
use weft_netboot::dhcp::v4::server::Via;

const CLIENTS: usize = 12;

#[derive(Clone, Debug)]
enum Step {
    /// A client asks a server for an address; which one it would like.
    Discover {
        client: usize,
        server: usize,
        wanted: u8,
    },
    /// A client takes what it was offered, at some server.
    Take {
        client: usize,
        server: usize,
    },
    /// A client keeps what it has, or had.
    Keep {
        client: usize,
        server: usize,
    },
    /// A client gives it back.
    Release {
        client: usize,
        server: usize,
    },
    /// A server hears what the store holds.
    Hear(usize),
    /// The store answers.
    Answer,
    /// Its answer is lost, and nothing was written.
    Lose,
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let who = || (0..CLIENTS, 0..3_usize);
    prop_oneof![
        4 => (who(), any::<u8>()).prop_map(|((client, server), wanted)| Step::Discover { client, server, wanted }),
        4 => who().prop_map(|(client, server)| Step::Take { client, server }),
        3 => who().prop_map(|(client, server)| Step::Keep { client, server }),
        1 => who().prop_map(|(client, server)| Step::Release { client, server }),
        3 => (0..3_usize).prop_map(Step::Hear),
        6 => Just(Step::Answer),
        1 => Just(Step::Lose),
        2 => (0..3_000_u16).prop_map(Step::Pass),
    ]
}

/// What clients believe.
#[derive(Default)]
struct Clients {
    offers: BTreeMap<usize, Message>,
    /// Address and the time until which the client was told that it has it.
    own: BTreeMap<usize, (Ipv4Addr, Timestamp)>,
}

impl Clients {
    fn hear(&mut self, now: Timestamp, sent: Vec<Sent>) {
        for (_, _, message) in sent {
            let client = usize::from(message.hardware.octets()[5]);
            match message.kind {
                Kind::Offer => drop(self.offers.insert(client, message)),
                Kind::Ack => {
                    let seconds = u32::from_be_bytes(message.options.exact(code::LEASE_TIME).unwrap().unwrap());
                    let until = now.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap();
                    for (other, (address, theirs)) in &self.own {
                        assert!(
                            *other == client || *address != message.yiaddr || *theirs <= now,
                            "{address} is of client {other} until {theirs}, and now of {client} too"
                        );
                    }
                    self.own.insert(client, (message.yiaddr, until));
                }
                Kind::Nak => drop((self.own.remove(&client), self.offers.remove(&client))),
                Kind::Discover | Kind::Request | Kind::Decline | Kind::Release | Kind::Inform => panic!("a question"),
            }
        }
    }
}

fn of(client: usize, kind: Kind) -> Message {
    let last = u8::try_from(client).unwrap();
    Message { hardware: Hardware::ethernet([2, 0, 0, 0, 0, last]), ..question(kind) }
}

fn message(clients: &mut Clients, now: Timestamp, step: &Step) -> Option<(usize, Message)> {
    Some(match *step {
        Step::Discover { client, server, wanted } => {
            let mut message = of(client, Kind::Discover);
            message.options.set(code::REQUESTED, [10, 69, 1, 32 + wanted % 31]);
            (server, message)
        }
        Step::Take { client, server } => {
            let offer = clients.offers.get(&client)?;
            let mut message = of(client, Kind::Request);
            message.options.set(code::REQUESTED, offer.yiaddr.octets());
            message.options.set(code::SERVER, offer.options.raw(code::SERVER)?);
            (server, message)
        }
        Step::Keep { client, server } => {
            let (own, until) = *clients.own.get(&client)?;
            if until <= now {
                return None;
            }
            (server, Message { ciaddr: own, giaddr: Ipv4Addr::UNSPECIFIED, ..of(client, Kind::Request) })
        }
        Step::Release { client, server } => {
            let (own, _) = clients.own.remove(&client)?;
            let mut message = Message { ciaddr: own, giaddr: Ipv4Addr::UNSPECIFIED, ..of(client, Kind::Release) };
            message.options.set(code::SERVER, [10, 72, 0, 1]);
            (server, message)
        }
        Step::Hear(_) | Step::Answer | Step::Lose | Step::Pass(_) => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_address_is_of_two_clients(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World::new(3);
        let mut clients = Clients::default();
        for step in steps {
            let sent = match &step {
                Step::Hear(server) => {
                    world.hear(*server);
                    Vec::new()
                }
                Step::Answer => world.answer().unwrap_or_default(),
                Step::Lose => world.lose(),
                Step::Pass(seconds) => {
                    world.pass(i64::from(*seconds));
                    Vec::new()
                }
                Step::Discover { .. } | Step::Take { .. } | Step::Keep { .. } | Step::Release { .. } => {
                    match message(&mut clients, world.now, &step) {
                        Some((server, message)) => world.tell(server, Via::Service, &message.write(1_472).unwrap()),
                        None => Vec::new(),
                    }
                }
            };
            clients.hear(world.now, sent);
        }
    }
}
