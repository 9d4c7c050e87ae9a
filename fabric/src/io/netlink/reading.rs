//! What octets of a netlink socket mean to those who read them here, without a socket: for tools that let the readers have what no
//! kernel says. Every reader of the daemon is asked: of links and addresses, of nexthop objects, of routes (ours and those of other
//! software), of answers.

use super::links::{Change, Links};
use super::ports::{self, Ports};
use super::{foreign, import, links, nexthop, route, wire};
use crate::fib::{HeldNexthop, HeldRoute, Member, Op, Refusal, RouteKey};
use crate::link::LinkInfo;
use weft_bgp::types::IfIndex;

/// A picture of the links, and whose routes and objects are ours.
#[derive(Debug)]
pub struct Reading {
    links: Links,
    ports: Ports,
    protocol: u8,
}

/// What one message means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A link or an address: the link that can be used from now on, or no longer.
    Link(Option<(IfIndex, bool)>),
    /// A nexthop object, there or gone.
    Nexthop {
        /// It is gone.
        gone: bool,
        /// Which.
        object: HeldNexthop,
    },
    /// A route, there or gone.
    Route {
        /// It is gone.
        gone: bool,
        /// As it is read for what the kernel should hold, with its protocol.
        held: Option<(HeldRoute, u8)>,
        /// As it is read for what is announced of other software's, with its protocol.
        imported: Option<(RouteKey, u8)>,
        /// As it is read for what next hops may be reached by, with its protocol.
        foreign: Option<(RouteKey, u8)>,
    },
    /// Who is on a link.
    Neighbour(Member),
    /// The answer to a request, with the kernel's words.
    Answer(Result<(), Refusal>, Option<String>),
    /// Nothing that is read.
    Other,
}

impl Reading {
    /// Without links. `protocol`: what marks routes and objects as ours.
    #[must_use]
    pub fn new(protocol: u8) -> Self {
        Self { links: Links::default(), ports: Ports::default(), protocol }
    }

    /// Every message of a datagram.
    pub fn read(&mut self, datagram: &[u8]) -> Vec<Said> {
        wire::messages(datagram).map(|message| self.take(&message)).collect()
    }

    fn take(&mut self, message: &wire::Message<'_>) -> Said {
        let payload = message.payload;
        match message.kind {
            links::RTM_NEWLINK | links::RTM_DELLINK | links::RTM_NEWADDR | links::RTM_DELADDR => {
                let before: Vec<IfIndex> = self.links.usable().collect();
                Said::Link(match self.links.take(message.kind, payload) {
                    Change::Usable(link) => Some((link, true)),
                    Change::Unusable(link) => Some((link, false)),
                    Change::Gone(link) => before.contains(&link).then_some((link, false)),
                    Change::None | Change::Properties | Change::AddressAdded | Change::AddressRemoved(..) => None,
                })
            }
            nexthop::RTM_NEWNEXTHOP | nexthop::RTM_DELNEXTHOP => {
                let gone = message.kind == nexthop::RTM_DELNEXTHOP;
                nexthop::parse(payload, self.protocol).map_or(Said::Other, |object| Said::Nexthop { gone, object })
            }
            route::RTM_NEWROUTE | route::RTM_DELROUTE => Said::Route {
                gone: message.kind == route::RTM_DELROUTE,
                held: route::parse(payload).map(|seen| (seen.route, seen.protocol)),
                imported: import::read(payload),
                foreign: foreign::read(payload),
            },
            ports::RTM_NEWNEIGH | ports::RTM_DELNEIGH => {
                let links = &self.links;
                self.ports.take(message.kind, payload, |port| links.is_usable(port));
                ports::neighbour(payload).map_or(Said::Other, |(member, _)| Said::Neighbour(member))
            }
            wire::NLMSG_DONE | wire::NLMSG_ERROR => {
                let (outcome, words) = wire::answer(message);
                Said::Answer(outcome, words)
            }
            _ => Said::Other,
        }
    }

    /// The picture of the links.
    #[must_use]
    pub fn links(&self) -> Vec<LinkInfo> {
        self.links.list()
    }
}

/// The message that asks the kernel for an operation.
#[must_use]
pub fn written(op: &Op, protocol: u8) -> Vec<u8> {
    let mut out = Vec::new();
    if nexthop::push(&mut out, op, protocol, 1).is_none() {
        route::push(&mut out, op, protocol, 1);
    }
    out
}

/// A message of this type with this body, as the kernel would frame it.
#[must_use]
pub fn framed(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = wire::begin(&mut out, kind, 0, 1);
    out.extend(body);
    wire::end(&mut out, start);
    out
}
