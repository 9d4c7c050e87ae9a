//! The last hop of DHCP: a relay between the server ports of a switch and boot servers elsewhere (RFC 2131 §4.1, RFC 1542 §4.1, RFC 3046).
//! Knows frames, datagrams and time; not sockets, not BGP. What it does with a message is in this order:
//!
//! ```text
//! port ─▶ frame to us or to everybody ─▶ message ─▶ rules of RFC 1542 and 3046 ─▶ rate ─▶ giaddr, option 82 ─▶ every server
//! port ◀─ frame: hardware address or everybody ◀─ without option 82 ◀─ circuit = port ◀─ giaddr = ours ◀─ a server of ours
//! ```

pub mod frame;
mod message;
mod rate;
#[cfg(test)]
mod tests;

pub use message::MESSAGE_MAX;

use crate::config::RelayConfig;
use message::{Agent, Message, Op};
use rate::Rates;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use weft_bgp::time::Instant;
use weft_bgp::types::IfIndex;

/// A message that has been through more relays is in a loop (RFC 1542 §4.1.1).
const HOPS_MAX: u8 = 16;
/// Server ports: what no switch has more of. Further ones are not served.
pub const PORTS_MAX: usize = 512;

/// Why something is not relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dropped {
    /// It is no message of DHCP, or not one of an Ethernet client.
    Malformed,
    /// More than a port or a client may ask.
    Rate,
    /// It has been through too many relays.
    Hops,
    /// On a port it says that another relay has had it: nobody below a server port may say so (RFC 3046 §2.1).
    Spoofed,
    /// A server speaks on a server port: it is no server of ours.
    Rogue,
    /// With option 82 it is longer than a frame.
    TooLong,
    /// From somebody who is no server of ours.
    Stranger,
    /// The reply names no port of ours: its server does not echo option 82, or the port is gone.
    Circuit,
}

impl Dropped {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::Rate,
        Self::Hops,
        Self::Spoofed,
        Self::Rogue,
        Self::TooLong,
        Self::Stranger,
        Self::Circuit,
    ];

    /// Its name in answers and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Rate => "rate",
            Self::Hops => "hops",
            Self::Spoofed => "spoofed",
            Self::Rogue => "rogue",
            Self::TooLong => "too_long",
            Self::Stranger => "stranger",
            Self::Circuit => "circuit",
        }
    }
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Send a datagram from `giaddr`, port 67.
    ToServer {
        /// To port 67 of this server.
        server: Ipv4Addr,
        /// What.
        datagram: Vec<u8>,
    },
    /// Send a frame.
    ToClient {
        /// By this port.
        link: IfIndex,
        /// What.
        frame: Vec<u8>,
    },
}

/// A server port that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Which.
    pub link: IfIndex,
    /// Its name, which is also its circuit.
    pub name: String,
    /// Its hardware address.
    pub mac: [u8; 6],
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that went to servers.
    pub to_servers: u64,
    /// And to clients.
    pub to_clients: u64,
    /// What went nowhere.
    pub dropped: BTreeMap<Dropped, u64>,
}

impl Counts {
    fn drop(&mut self, why: Dropped) {
        *self.dropped.entry(why).or_default() += 1;
    }
}

#[derive(Debug)]
struct Served {
    port: Port,
    rates: Rates,
    counts: Counts,
}

/// The relay of a node.
#[derive(Debug, Default)]
pub struct Relay {
    config: Option<RelayConfig>,
    ports: BTreeMap<IfIndex, Served>,
    /// Of what belongs to no port.
    counts: Counts,
    output: VecDeque<Output>,
}

impl Relay {
    /// Another configuration is in force, and these are the ports that can be used; what was counted stays.
    pub fn configure(&mut self, now: Instant, config: Option<&RelayConfig>, ports: Vec<Port>) {
        self.config = config.cloned();
        let mut before = std::mem::take(&mut self.ports);
        for port in ports.into_iter().take(PORTS_MAX) {
            let old = before.remove(&port.link).filter(|old| old.port.name == port.name);
            let (rates, counts) =
                old.map_or_else(|| (Rates::new(now), Counts::default()), |old| (old.rates, old.counts));
            self.ports.insert(port.link, Served { port, rates, counts });
        }
    }

    /// What must be done.
    pub fn poll(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// The ports, each with what was counted there.
    pub fn ports(&self) -> impl Iterator<Item = (&Port, &Counts)> {
        self.ports.values().map(|served| (&served.port, &served.counts))
    }

    /// What was counted of what belongs to no port.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A frame to port 67 came by a port.
    pub fn on_frame(&mut self, now: Instant, link: IfIndex, frame: &[u8]) {
        let (Some(config), Some(served)) = (&self.config, self.ports.get_mut(&link)) else {
            return;
        };
        let Some(heard) = frame::read(frame) else {
            return;
        };
        // What is for somebody else is on its way through the switch, and none of ours.
        if ![Ipv4Addr::BROADCAST, config.giaddr, config.gateway.addr()].contains(&heard.to) {
            return;
        }
        let message = match from_client(now, served, heard.datagram) {
            Ok(message) => message,
            Err(why) => return served.counts.drop(why),
        };
        let link = (config.gateway.addr() != config.giaddr).then(|| config.gateway.addr());
        let agent = Agent { circuit: &served.port.name, link, server: config.giaddr };
        let Some(datagram) = message.for_server(config.giaddr, &agent) else {
            return served.counts.drop(Dropped::TooLong);
        };
        served.counts.to_servers += 1;
        for server in &config.servers {
            self.output.push_back(Output::ToServer { server: *server, datagram: datagram.clone() });
        }
    }

    /// A datagram came to `giaddr`, port 67.
    pub fn on_datagram(&mut self, from: Ipv4Addr, datagram: &[u8]) {
        let Some(config) = &self.config else {
            return;
        };
        let Ok(message) = Message::read(datagram) else {
            return self.counts.drop(Dropped::Malformed);
        };
        // A renewal of a client to whom we are the server comes by its port too, and is taken there.
        if message.op == Op::Request {
            return;
        }
        if !config.servers.contains(&from) || message.giaddr() != config.giaddr {
            return self.counts.drop(Dropped::Stranger);
        }
        let circuit = message.circuit();
        let Some(served) = self.ports.values_mut().find(|served| Some(served.port.name.as_str()) == circuit) else {
            return self.counts.drop(Dropped::Circuit);
        };
        // RFC 2131 §4.1: the address that it is given, or has; to everybody if it says so or has none.
        let address = [message.yiaddr(), message.ciaddr()].into_iter().find(|address| !address.is_unspecified());
        let to = match address {
            Some(address) if !message.is_broadcast() => frame::To { mac: message.mac(), address },
            Some(_) | None => frame::To { mac: frame::EVERYBODY, address: Ipv4Addr::BROADCAST },
        };
        let frame = frame::write((served.port.mac, config.gateway.addr()), to, &message.for_client());
        served.counts.to_clients += 1;
        self.output.push_back(Output::ToClient { link: served.port.link, frame });
    }
}

/// What of a client may be relayed.
fn from_client(now: Instant, served: &mut Served, datagram: &[u8]) -> Result<Message, Dropped> {
    let message = Message::read(datagram).map_err(|_| Dropped::Malformed)?;
    if message.op == Op::Reply {
        return Err(Dropped::Rogue);
    }
    if message.hops() > HOPS_MAX {
        return Err(Dropped::Hops);
    }
    // RFC 3046 §2.1.1: what has an agent's option without its address is discarded where nobody is trusted to add it. RFC 1542 §4.1.1
    // would pass on what has an address: with it a machine could have servers send answers to anybody.
    if message.has_agent() || !message.giaddr().is_unspecified() {
        return Err(Dropped::Spoofed);
    }
    if !served.rates.take(now, message.mac()) {
        return Err(Dropped::Rate);
    }
    Ok(message)
}
