//! DHCPv6 on server ports (RFC 8415 §19): what [`Relay`] does with frames of machines, and with answers of servers to our address.

mod message;
#[cfg(test)]
mod tests;

pub use message::MESSAGE_MAX;

use super::lease::{Holder, Lease};
use super::{Dropped, KEEP_AFTER, Output, Relay, Served, frame};
use crate::config::Relay6Config;
use message::{Back, From, Kind, Message, forward};
use std::net::{IpAddr, Ipv6Addr};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IfIndex;

/// Servers and relays of a link (RFC 8415 §7.1).
pub const EVERY_SERVER: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

impl Relay {
    /// A frame to port 547 came by a port.
    pub(super) fn on_frame6(&mut self, now: Instant, link: IfIndex, heard: &frame::Heard6<'_>) {
        let config = self.config.as_ref().and_then(|config| config.v6.as_ref());
        let (Some(config), Some(served)) = (config, self.ports.get_mut(&link)) else {
            return;
        };
        // What is for somebody else is on its way through the switch, and none of ours: clients ask all (RFC 8415 §13).
        if heard.to != EVERY_SERVER {
            return;
        }
        let message = match from_client(now, served, heard) {
            Ok(message) => message,
            Err(why) => return served.v6.counts.drop(why),
        };
        let from = From { link: config.gateway.addr(), peer: heard.from, interface: &served.port.name, mac: heard.mac };
        let Some(datagram) = forward(&from, heard.datagram) else {
            return served.v6.counts.drop(Dropped::TooLong);
        };
        served.v6.counts.to_servers += 1;
        for server in &config.servers {
            self.output.push_back(Output::ToServer { server: IpAddr::V6(*server), datagram: datagram.clone() });
        }
        if message.kind == Kind::GivenUp {
            let port = served.port.name.clone();
            self.give_up(now, &port, &message, |_| true);
        }
    }

    /// A datagram came to our address, port 547.
    pub(super) fn on_datagram6(&mut self, now: Instant, from: Ipv6Addr, datagram: &[u8]) {
        let Some(config) = self.config.as_ref().and_then(|config| config.v6.as_ref()) else {
            return;
        };
        if !config.servers.contains(&from) {
            return self.v6.drop(Dropped::Stranger);
        }
        let back = match Back::read(datagram) {
            Ok(Some(back)) if back.link == config.gateway.addr() => back,
            Ok(_) => return self.v6.drop(Dropped::Stranger),
            Err(_) => return self.v6.drop(Dropped::Malformed),
        };
        let whole = self.config.as_ref();
        let served = self.ports.values_mut().find(|served| Some(served.port.name.as_str()) == back.interface);
        let (Some(served), Some(whole)) = (served, whole) else {
            return self.v6.drop(Dropped::Circuit);
        };
        // We sent it from a client, who has no other address to us.
        let message = Message::read(back.message).ok().filter(|_| back.peer.is_unicast_link_local());
        let Some(message) = message.filter(|message| message.kind != Kind::OfRelay) else {
            return served.v6.counts.drop(Dropped::Malformed);
        };
        let lent = lent(now, &served.port.name, &message);
        if !lent.is_empty() {
            match self.leases.lend(now, lent, |address| super::is_lendable(whole, address)) {
                Ok(is_changed) => self.is_changed |= is_changed,
                Err(why) => return served.v6.counts.drop(why),
            }
            self.keep_at.get_or_insert(now + KEEP_AFTER);
        }
        served.v6.counts.to_clients += 1;
        let link = served.port.link;
        self.output.push_back(Output::ToClient6 { link, peer: back.peer, datagram: back.message.to_vec() });
        if message.kind == Kind::Reply {
            let port = served.port.name.clone();
            self.give_up(now, &port, &message, |valid_s| valid_s == 0);
        }
    }

    /// Only who has an address, on the port where it has it, gives it back, or is told that it is over.
    fn give_up(&mut self, now: Instant, port: &str, message: &Message, is_over: impl Fn(u32) -> bool) {
        let Some(holder) = message.duid.clone().map(Holder::Duid) else {
            return;
        };
        for (address, _) in message.addresses.iter().filter(|(_, valid_s)| is_over(*valid_s)) {
            let address = IpAddr::V6(*address);
            if self.leases.get(address).is_some_and(|lease| lease.holder == holder && lease.port == port) {
                self.leases.remove(address);
                self.touch(now);
            }
        }
    }
}

/// Addresses that a reply lends on a port.
fn lent(now: Instant, port: &str, message: &Message) -> Vec<Lease> {
    let duid = message.duid.clone().filter(|_| message.kind == Kind::Reply);
    let Some(holder) = duid.map(Holder::Duid) else {
        return Vec::new();
    };
    let lasting = message.addresses.iter().filter(|(_, valid_s)| *valid_s > 0);
    let lease = |(address, valid_s): &(Ipv6Addr, u32)| Lease {
        address: IpAddr::V6(*address),
        holder: holder.clone(),
        port: port.to_owned(),
        until: now + Duration::from_secs(u64::from(*valid_s)),
    };
    lasting.map(lease).collect()
}

/// Whether an address is one of a machine in the network, and not its router's.
pub(super) fn is_lendable(config: &Relay6Config, address: Ipv6Addr) -> bool {
    let gateway = config.gateway;
    // RFC 4291 §2.6.1: the first address is every router's.
    gateway.contains(&address) && ![gateway.addr(), gateway.network(), config.source].contains(&address)
}

/// What of a client may be relayed.
fn from_client(now: Instant, served: &mut Served, heard: &frame::Heard6<'_>) -> Result<Message, Dropped> {
    let message = Message::read(heard.datagram).map_err(|_| Dropped::Malformed)?;
    match message.kind {
        Kind::Reply | Kind::OfServer => return Err(Dropped::Rogue),
        // RFC 8415 §19.1.2 would pass it on: with it a machine could say that it is on another port.
        Kind::OfRelay => return Err(Dropped::Spoofed),
        Kind::GivenUp | Kind::Other => {}
    }
    if !heard.from.is_unicast_link_local() {
        return Err(Dropped::Malformed);
    }
    if !served.v6.rates.take(now, heard.mac) {
        return Err(Dropped::Rate);
    }
    Ok(message)
}
