//! The little of DHCP that a machine needs which nobody registered: an address to report from (RFC 2131 §3.1, the four messages). Octets alone.
//!
//! Answers are asked for by broadcast, so that an ordinary socket hears them before there is an address.

use std::net::Ipv4Addr;

/// Octets before the options.
const FIXED: usize = 236;
/// What stands before the options.
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Least octets of a message (RFC 951 has a fixed field for vendors; relays expect it).
const LEAST: usize = 300;

/// Which message it is (option 53).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An address is offered.
    Offer,
    /// It is lent.
    Ack,
    /// It is not.
    Nak,
}

/// What a server offers or lends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of its network's prefix.
    pub length: u8,
    /// The way out of it.
    pub router: Option<Ipv4Addr>,
    /// Who lends it.
    pub server: Ipv4Addr,
    /// For how long.
    pub seconds: u32,
}

/// DHCPDISCOVER.
#[must_use]
pub fn discover(mac: [u8; 6], xid: u32) -> Vec<u8> {
    message(mac, xid, &[&[53, 1, 1]])
}

/// DHCPREQUEST for what was offered.
#[must_use]
pub fn request(mac: [u8; 6], xid: u32, offer: &Lease) -> Vec<u8> {
    let address = [&[50, 4][..], &offer.address.octets()].concat();
    let server = [&[54, 4][..], &offer.server.octets()].concat();
    message(mac, xid, &[&[53, 1, 3], &address, &server])
}

fn message(mac: [u8; 6], xid: u32, options: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; FIXED];
    // op, htype, hlen; flags: broadcast.
    for (at, octets) in [(0, &[1, 1, 6][..]), (4, &xid.to_be_bytes()), (10, &[0x80, 0]), (28, &mac)] {
        if let Some(place) = out.get_mut(at..at + octets.len()) {
            place.copy_from_slice(octets);
        }
    }
    out.extend_from_slice(&COOKIE);
    for option in options {
        out.extend_from_slice(option);
    }
    // Subnet mask, router, lease time.
    out.extend_from_slice(&[55, 3, 1, 3, 51, 255]);
    out.resize(out.len().max(LEAST), 0);
    out
}

/// An answer to us; `None` for anything else.
#[must_use]
pub fn answer(octets: &[u8], mac: [u8; 6], xid: u32) -> Option<(Kind, Lease)> {
    let four = |at: usize| octets.get(at..)?.first_chunk::<4>().copied();
    let is_ours = octets.first() == Some(&2) && four(4)? == xid.to_be_bytes() && octets.get(28..34)? == mac;
    if !is_ours || four(FIXED)? != COOKIE {
        return None;
    }
    let (mut kind, mut rest) = (None, octets.get(FIXED + 4..)?);
    let mut lease = Lease {
        address: Ipv4Addr::from(four(16)?),
        length: 32,
        router: None,
        server: Ipv4Addr::UNSPECIFIED,
        seconds: 0,
    };
    while let [code, tail @ ..] = rest {
        match code {
            0 => rest = tail,
            255 => break,
            _ => {
                let (length, tail) = tail.split_first()?;
                let value = tail.get(..usize::from(*length))?;
                let word = || value.first_chunk::<4>().copied();
                match code {
                    1 => lease.length = u8::try_from(u32::from_be_bytes(word()?).leading_ones()).ok()?,
                    3 => lease.router = word().map(Ipv4Addr::from),
                    51 => lease.seconds = u32::from_be_bytes(word()?),
                    53 => kind = Some(*value.first()?),
                    54 => lease.server = Ipv4Addr::from(word()?),
                    _ => {}
                }
                rest = tail.get(usize::from(*length)..)?;
            }
        }
    }
    let kind = match kind? {
        2 => Kind::Offer,
        5 => Kind::Ack,
        6 => Kind::Nak,
        _ => return None,
    };
    Some((kind, lease))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x69, 1, 1];

    fn reply(options: &[u8]) -> Vec<u8> {
        let mut out = discover(MAC, 7);
        out.truncate(FIXED + 4);
        out[0] = 2;
        out[16..20].copy_from_slice(&[10, 69, 1, 40]);
        out.extend_from_slice(options);
        out
    }

    #[test]
    fn an_offer_is_asked_for() {
        let options = [
            53, 1, 2, 0, 1, 4, 255, 255, 255, 192, 3, 4, 10, 69, 1, 1, 51, 4, 0, 0, 14, 16, 54, 4, 10, 72, 0, 1, 82, 1,
            9, 255,
        ];
        let (kind, lease) = answer(&reply(&options), MAC, 7).unwrap();
        let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let expected = Lease {
            address: address("10.69.1.40"),
            length: 26,
            router: Some(address("10.69.1.1")),
            server: address("10.72.0.1"),
            seconds: 3_600,
        };
        assert_eq!((kind, lease), (Kind::Offer, expected));
        let asked = request(MAC, 7, &lease);
        // RFC 2131 §4.3.2: requested address and server identifier, in answer to an OFFER.
        for option in [&[53, 1, 3][..], &[50, 4, 10, 69, 1, 40], &[54, 4, 10, 72, 0, 1]] {
            assert!(asked.windows(option.len()).any(|found| found == option), "{option:?}");
        }
        assert!(asked.len() >= LEAST && asked[10] == 0x80);
    }

    #[test]
    fn what_is_not_for_us_is_nothing() {
        let good = reply(&[53, 1, 5, 255]);
        assert!(answer(&good, MAC, 7).is_some());
        assert_eq!(answer(&good, MAC, 8), None);
        assert_eq!(answer(&good, [0; 6], 7), None);
        assert_eq!(answer(&discover(MAC, 7), MAC, 7), None, "another client's");
        for end in 0..good.len() - 1 {
            assert_eq!(answer(&good[..end], MAC, 7), None, "{end}");
        }
        assert_eq!(answer(&reply(&[53, 1, 5, 51, 200, 1]), MAC, 7), None, "an option that is longer than the message");
    }
}
