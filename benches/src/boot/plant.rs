//! The plant that asks: racks with a relay each, machines that are registered and machines that are not. Every server is told the same.

use std::net::Ipv4Addr;

/// Racks, each with a relay: as many questions a second as the rate of a network allows by default, 120, come to 122,880.
pub const RACKS: u32 = 1_024;
/// Registered machines of a rack, and others.
pub const EACH: u32 = 8;
/// Where all racks are. Each has two networks of 64 addresses: the machines' own, and the switch's, which is the one that asks.
pub const PREFIX: &str = "10.64.0.0/15";
const FIRST: u32 = 0x0a40_0000;
const PART: u32 = 64;
/// The router, and the relay, of a network.
const GATEWAY: u32 = 1;
/// The first machine of a rack has this place, after that of its boot server.
const NODE: u32 = 4;
/// Places of addresses that are lent: those above 28 machines and the boot server.
pub const LENT: (u32, u32) = (32, 62);
/// The service address.
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 72, 0, 1);

/// A machine that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its rack.
    pub rack: u32,
    /// Its number there.
    pub number: u32,
    /// Whether it is registered.
    pub is_known: bool,
}

impl Client {
    /// Its network card.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        let [_, _, high, low] = self.rack.to_be_bytes();
        let [.., number] = self.number.to_be_bytes();
        [0x02, u8::from(self.is_known), 0, high, low, number]
    }

    /// The same as people write it.
    #[must_use]
    pub fn mac_text(&self) -> String {
        self.mac().map(|octet| format!("{octet:02x}")).join(":")
    }

    /// The address that it must get, if it is registered.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.is_known.then(|| place(self.rack, NODE + self.number))
    }

    /// Whether an answer gives it an address that it may have.
    #[must_use]
    pub fn may_have(&self, address: Ipv4Addr) -> bool {
        let lent = place(self.rack, LENT.0)..=place(self.rack, LENT.1);
        self.address().map_or_else(|| lent.contains(&address), |own| own == address)
    }
}

/// Machines of all racks, rack by rack in turn, so that questions come from another network each time.
#[must_use]
pub fn clients(is_known: bool) -> Vec<Client> {
    let of_number = |number| (0..RACKS).map(move |rack| Client { rack, number, is_known });
    (0..EACH).flat_map(of_number).collect()
}

/// An address of the network that asks.
#[must_use]
pub fn place(rack: u32, place: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST + PART * (2 * rack + 1) + place)
}

/// The relay of a rack.
#[must_use]
pub fn relay(rack: u32) -> Ipv4Addr {
    place(rack, GATEWAY)
}
