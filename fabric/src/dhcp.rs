//! The last hop of DHCP: a relay between the server ports of a switch and boot servers elsewhere (RFC 2131 §4.1, RFC 1542 §4.1, RFC 3046;
//! DHCPv6: RFC 8415 §19, in [`v6`]).
//! Knows frames, datagrams and time; not sockets, not BGP. What it does with a message is in this order:
//!
//! ```text
//! port ─▶ frame to us or to everybody ─▶ message ─▶ rules of RFC 1542 and 3046 ─▶ rate ─▶ giaddr, option 82 ─▶ every server
//! port ◀─ frame: hardware address or everybody ◀─ without option 82 ◀─ circuit = port ◀─ giaddr = ours ◀─ a server of ours
//! ```

pub mod frame;
mod lease;
mod message;
mod rate;
#[cfg(test)]
mod tests;
pub mod v6;

pub use lease::{ALL_MAX, Holder, Kept, Lease, PORT_MAX};
pub use message::MESSAGE_MAX;

use crate::config::RelayConfig;
use lease::Leases;
use message::{Agent, Kind, Message, Op};
use rate::Rates;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IfIndex;

/// A message that has been through more relays is in a loop (RFC 1542 §4.1.1).
const HOPS_MAX: u8 = 16;
/// Server ports: what no switch has more of. Further ones are not served.
pub const PORTS_MAX: usize = 512;

/// How long a change waits for others before leases are kept: renewals come one by one.
const KEEP_AFTER: Duration = Duration::from_secs(1);

/// Why something is not relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dropped {
    /// It is no message of DHCP, or not one of an Ethernet client, or of DHCPv6 and not from a link-local address.
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
    /// The reply names no port of ours: its server does not echo option 82 or the Interface-Id, or the port is gone.
    Circuit,
    /// The port, or all of them, have as many leases as there may be.
    Full,
    /// An address is lent that is not in the network of the gateway, or is the gateway's or ours.
    Outside,
}

impl Dropped {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::Rate,
        Self::Hops,
        Self::Spoofed,
        Self::Rogue,
        Self::TooLong,
        Self::Stranger,
        Self::Circuit,
        Self::Full,
        Self::Outside,
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
            Self::Full => "full",
            Self::Outside => "outside",
        }
    }
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Send a datagram from `giaddr`, port 67; by DHCPv6 from our address there, port 547.
    ToServer {
        /// To this server, the same port.
        server: IpAddr,
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
    /// Send a datagram to port 546.
    ToClient6 {
        /// By this port.
        link: IfIndex,
        /// To this link-local address.
        peer: Ipv6Addr,
        /// What.
        datagram: Vec<u8>,
    },
}

/// Which DHCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// RFC 2131.
    Ipv4,
    /// RFC 8415.
    Ipv6,
}

impl Family {
    /// Its name in answers and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    /// That of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
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

/// One family on a port.
#[derive(Debug)]
struct Side {
    rates: Rates,
    counts: Counts,
}

#[derive(Debug)]
struct Served {
    port: Port,
    v4: Side,
    v6: Side,
}

/// The relay of a node.
#[derive(Debug, Default)]
pub struct Relay {
    config: Option<RelayConfig>,
    ports: BTreeMap<IfIndex, Served>,
    leases: Leases,
    /// Leases are not as [`Relay::take_changed`] has said.
    is_changed: bool,
    /// When they are to be kept.
    keep_at: Option<Instant>,
    /// Of what belongs to no port.
    v4: Counts,
    v6: Counts,
    output: VecDeque<Output>,
}

impl Relay {
    /// Another configuration is in force, and these are the ports that can be used; what was counted stays.
    pub fn configure(&mut self, now: Instant, config: Option<&RelayConfig>, ports: Vec<Port>) {
        self.config = config.cloned();
        if let Some(config) = config
            && self.leases.keep(|address| is_lendable(config, address))
        {
            self.touch(now);
        }
        let mut before = std::mem::take(&mut self.ports);
        for port in ports.into_iter().take(PORTS_MAX) {
            let old = before.remove(&port.link).filter(|old| old.port.name == port.name);
            let new = || Side { rates: Rates::new(now), counts: Counts::default() };
            let (v4, v6) = old.map_or_else(|| (new(), new()), |old| (old.v4, old.v6));
            self.ports.insert(port.link, Served { port, v4, v6 });
        }
    }

    /// Leases of an earlier run, with the time of day; what is over or not of this network is left out.
    pub fn restore(&mut self, now: Instant, wall: Duration, kept: Vec<Kept>) {
        let Some(config) = &self.config else {
            return;
        };
        for Kept { address, holder, port, until_s } in kept {
            let left = Duration::from_secs(until_s).saturating_sub(wall);
            if is_lendable(config, address) && !left.is_zero() {
                // What has no room is as if it had not been heard.
                let _ = self.leases.put(now, Lease { address, holder, port, until: now + left });
            }
        }
        self.is_changed = true;
    }

    /// All leases, by address.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter()
    }

    /// All leases, to be kept over a restart.
    #[must_use]
    pub fn keep(&self, now: Instant, wall: Duration) -> Vec<Kept> {
        let kept = |lease: &Lease| Kept {
            address: lease.address,
            holder: lease.holder.clone(),
            port: lease.port.clone(),
            until_s: (wall + lease.until.since(now)).as_secs(),
        };
        self.leases.iter().map(kept).collect()
    }

    /// Whether leases came, went or moved since this was asked last.
    pub const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.is_changed, false)
    }

    /// When to call [`Relay::tick`].
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        let end = self.leases.next_timeout().map(|at| (at, "lease of DHCP"));
        end.into_iter().chain(self.keep_at.map(|at| (at, "leases to be kept"))).min()
    }

    /// Time has passed: leases end. Whether they are to be kept now.
    pub fn tick(&mut self, now: Instant) -> bool {
        if self.leases.end(now) {
            self.touch(now);
        }
        self.keep_at.take_if(|at| *at <= now).is_some()
    }

    fn touch(&mut self, now: Instant) {
        self.is_changed = true;
        self.keep_at.get_or_insert(now + KEEP_AFTER);
    }

    /// What must be done.
    pub fn poll(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// The ports.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.values().map(|served| &served.port)
    }

    /// What was counted of what is relayed, by port, and at last of what belongs to none.
    pub fn counts(&self) -> impl Iterator<Item = (Option<&Port>, Family, &Counts)> {
        let has_v6 = self.config.as_ref().is_some_and(|config| config.v6.is_some());
        let ports = self.ports.values();
        let all = ports.flat_map(|served| {
            let port = Some(&served.port);
            [(port, Family::Ipv4, &served.v4.counts), (port, Family::Ipv6, &served.v6.counts)]
        });
        let rest = [(None, Family::Ipv4, &self.v4), (None, Family::Ipv6, &self.v6)];
        all.chain(rest).filter(move |(_, family, _)| *family == Family::Ipv4 || has_v6)
    }

    /// A frame to port 67, or to port 547 of IPv6, came by a port.
    pub fn on_frame(&mut self, now: Instant, link: IfIndex, frame: &[u8]) {
        if let Some(heard) = frame::read6(frame) {
            return self.on_frame6(now, link, &heard);
        }
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
            Err(why) => return served.v4.counts.drop(why),
        };
        let link = (config.gateway.addr() != config.giaddr).then(|| config.gateway.addr());
        let agent = Agent { circuit: &served.port.name, link, server: config.giaddr };
        let Some(datagram) = message.for_server(config.giaddr, &agent) else {
            return served.v4.counts.drop(Dropped::TooLong);
        };
        served.v4.counts.to_servers += 1;
        for server in &config.servers {
            self.output.push_back(Output::ToServer { server: IpAddr::V4(*server), datagram: datagram.clone() });
        }
        let given_up = match message.kind {
            Kind::Release => Some(message.ciaddr()),
            Kind::Decline => message.requested,
            Kind::Ack | Kind::Other => None,
        };
        // Only who has it, on the port where it has it, gives it back.
        let lease = given_up.and_then(|address| self.leases.get(IpAddr::V4(address)));
        if let Some(lease) =
            lease.filter(|lease| lease.holder == Holder::Mac(message.mac()) && lease.port == served.port.name)
        {
            let address = lease.address;
            self.leases.remove(address);
            self.touch(now);
        }
    }

    /// A datagram came to `giaddr`, port 67, or to our address, port 547.
    pub fn on_datagram(&mut self, now: Instant, from: IpAddr, datagram: &[u8]) {
        let from = match from {
            IpAddr::V4(from) => from,
            IpAddr::V6(from) => return self.on_datagram6(now, from, datagram),
        };
        let Some(config) = &self.config else {
            return;
        };
        let Ok(message) = Message::read(datagram) else {
            return self.v4.drop(Dropped::Malformed);
        };
        // A renewal of a client to whom we are the server comes by its port too, and is taken there.
        if message.op == Op::Request {
            return;
        }
        if !config.servers.contains(&from) || message.giaddr() != config.giaddr {
            return self.v4.drop(Dropped::Stranger);
        }
        let circuit = message.circuit();
        let Some(served) = self.ports.values_mut().find(|served| Some(served.port.name.as_str()) == circuit) else {
            return self.v4.drop(Dropped::Circuit);
        };
        // An answer to who only informs itself gives no address (RFC 2131 §4.3.5).
        if let (Kind::Ack, false, Some(seconds)) = (message.kind, message.yiaddr().is_unspecified(), message.lease_s) {
            let until = now + Duration::from_secs(u64::from(seconds));
            let holder = Holder::Mac(message.mac());
            let lease = Lease { address: IpAddr::V4(message.yiaddr()), holder, port: served.port.name.clone(), until };
            match self.leases.lend(now, vec![lease], |address| is_lendable(config, address)) {
                Ok(is_changed) => self.is_changed |= is_changed,
                Err(why) => return served.v4.counts.drop(why),
            }
            self.keep_at.get_or_insert(now + KEEP_AFTER);
        }
        // RFC 2131 §4.1: the address that it is given, or has; to everybody if it says so or has none.
        let address = [message.yiaddr(), message.ciaddr()].into_iter().find(|address| !address.is_unspecified());
        let to = match address {
            Some(address) if !message.is_broadcast() => frame::To { mac: message.mac(), address },
            Some(_) | None => frame::To { mac: frame::EVERYBODY, address: Ipv4Addr::BROADCAST },
        };
        let frame = frame::write((served.port.mac, config.gateway.addr()), to, &message.for_client());
        served.v4.counts.to_clients += 1;
        self.output.push_back(Output::ToClient { link: served.port.link, frame });
    }
}

/// Whether an address is one of a machine in the network, and not its router's.
fn is_lendable(config: &RelayConfig, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let gateway = config.gateway;
            let taken = [gateway.addr(), gateway.network(), gateway.broadcast(), config.giaddr];
            gateway.contains(&address) && !taken.contains(&address)
        }
        IpAddr::V6(address) => config.v6.as_ref().is_some_and(|config| v6::is_lendable(config, address)),
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
    if !served.v4.rates.take(now, message.mac()) {
        return Err(Dropped::Rate);
    }
    Ok(message)
}
