//! Who is at the other end of a cable: what neighbours say of themselves by LLDP (IEEE Std 802.1AB), which is heard here and never said,
//! and whether that is who is expected there. Knows frames and time; not sockets, not BGP.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use weft_bgp::time::{Duration, Instant};
use weft_bgp::types::IfIndex;

/// The protocol's EtherType (IEEE 802.1AB §7.2).
pub const ETHERTYPE: u16 = 0x88cc;
/// The address of the nearest bridge or station (§7.1): no bridge passes it on, so whoever is heard is at the other end of the cable.
pub const NEAREST: [u8; 6] = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e];
/// Octets of an Ethernet header.
const ETHERNET: usize = 14;
/// Octets of a name that are kept: the most that one can have (§8.5).
const NAME_MAX: usize = 255;

/// Types (§8.4) of what is read.
mod kind {
    pub(super) const END: u16 = 0;
    pub(super) const CHASSIS: u16 = 1;
    pub(super) const PORT: u16 = 2;
    pub(super) const LIFETIME: u16 = 3;
    pub(super) const PORT_DESCRIPTION: u16 = 4;
    pub(super) const SYSTEM_NAME: u16 = 5;
}

/// What a neighbour says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Which machine, in whatever form it chose.
    pub chassis: String,
    /// Which of its ports, likewise.
    pub port: String,
    /// The port in words.
    pub port_description: Option<String>,
    /// The machine's name.
    pub system: Option<String>,
    /// How long that holds; 0: it ends now.
    pub lifetime_s: u16,
}

impl Heard {
    /// Reads a frame with its Ethernet header; `None` if it is malformed, and then nothing of it counts (§9.2.7.7).
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        if frame.get(12..ETHERNET)? != ETHERTYPE.to_be_bytes() {
            return None;
        }
        let mut rest = frame.get(ETHERNET..)?;
        let mut heard = Self::default();
        // Chassis, port and lifetime come first, in this order and once (§8.2).
        let mut at = 0;
        loop {
            at += 1;
            let (kind, value, behind) = tlv(rest)?;
            rest = behind;
            match (at, kind) {
                (1, kind::CHASSIS) => heard.chassis = id(value, kind)?,
                (2, kind::PORT) => heard.port = id(value, kind)?,
                (3, kind::LIFETIME) => heard.lifetime_s = u16::from_be_bytes(value.get(..2)?.try_into().ok()?),
                (1..=3, _) | (_, kind::CHASSIS | kind::PORT | kind::LIFETIME) => return None,
                (_, kind::END) => return Some(heard),
                (_, kind::PORT_DESCRIPTION) => heard.port_description = Some(text(value)),
                (_, kind::SYSTEM_NAME) => heard.system = Some(text(value)),
                _ => {}
            }
            // The end may be left out where the frame ends (§8.5.1).
            if rest.is_empty() && at >= 3 {
                return Some(heard);
            }
        }
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = self.system.as_ref().unwrap_or(&self.chassis);
        write!(f, "{system} port {}", self.port)
    }
}

/// Seven bits of type, nine of length (§8.4): the value, and what is behind it.
fn tlv(data: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let head = u16::from_be_bytes(data.get(..2)?.try_into().ok()?);
    let end = 2 + usize::from(head & 0x1ff);
    Some((head >> 9, data.get(2..end)?, data.get(end..)?))
}

/// The id of a chassis or port: one octet says of which kind (§8.5.2, §8.5.3).
fn id(value: &[u8], of: u16) -> Option<String> {
    let (subtype, value) = value.split_first()?;
    let (mac, network) = if of == kind::CHASSIS { (4, 5) } else { (3, 4) };
    if value.is_empty() || value.len() > NAME_MAX {
        return None;
    }
    if *subtype == mac {
        let octets: [u8; 6] = value.try_into().ok()?;
        return Some(octets.map(|octet| format!("{octet:02x}")).join(":"));
    }
    if *subtype == network {
        // IANA's address family, then the address.
        return match *value {
            [1, a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).to_string()),
            [2, ref address @ ..] => Some(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_string()),
            _ => Some(hex(value)),
        };
    }
    Some(text(value))
}

fn hex(value: &[u8]) -> String {
    value.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// For people and logs: nothing that moves a cursor.
fn text(value: &[u8]) -> String {
    let value = value.get(..NAME_MAX).unwrap_or(value);
    String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()).collect()
}

/// Who is expected at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The machine's name, with its domain or without.
    pub system: Option<String>,
    /// Its port, by id or description.
    pub port: Option<String>,
}

impl Expected {
    /// What is wrong with who is there; `None` if nothing is.
    #[must_use]
    pub fn objection(&self, heard: Option<&Heard>) -> Option<String> {
        let Some(heard) = heard else {
            return Some(format!("{self} is expected here, and nobody was heard by LLDP yet"));
        };
        let is_system = |name: &String| {
            let said = heard.system.as_deref().unwrap_or_default();
            said == name || said.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'))
        };
        let is_port = |port: &String| heard.port == *port || heard.port_description.as_ref() == Some(port);
        let fits = self.system.iter().all(is_system) && self.port.iter().all(is_port);
        (!fits).then(|| format!("{self} is expected here, and {heard} is"))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.system, &self.port) {
            (Some(system), Some(port)) => write!(f, "{system} port {port}"),
            (Some(system), None) => f.write_str(system),
            (None, port) => write!(f, "port {}", port.as_deref().unwrap_or("?")),
        }
    }
}

/// Who is heard on which link: the last one that spoke, for there are two ends to a cable.
#[derive(Debug, Default)]
pub struct Wires(BTreeMap<IfIndex, (Heard, Instant)>);

impl Wires {
    /// A neighbour spoke.
    pub fn handle(&mut self, now: Instant, link: IfIndex, heard: Heard) {
        if heard.lifetime_s == 0 {
            self.0.remove(&link);
        } else {
            let until = now + Duration::from_secs(u64::from(heard.lifetime_s));
            self.0.insert(link, (heard, until));
        }
    }

    /// Links that are not among these are without carrier, or nobody asks about them: who was there is forgotten.
    pub fn keep(&mut self, links: &[IfIndex]) {
        self.0.retain(|link, _| links.contains(link));
    }

    /// Who is there now.
    #[must_use]
    pub fn heard(&self, link: IfIndex) -> Option<&Heard> {
        self.0.get(&link).map(|(heard, _)| heard)
    }

    /// When somebody was silent for too long.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.0.values().map(|(_, until)| *until).min()
    }

    /// Forgets who was silent for too long: the links.
    pub fn tick(&mut self, now: Instant) -> Vec<IfIndex> {
        let over: Vec<IfIndex> = self.0.iter().filter(|(_, (_, until))| *until <= now).map(|(link, _)| *link).collect();
        self.0.retain(|_, (_, until)| *until > now);
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(frame: &mut Vec<u8>, kind: u16, value: &[u8]) {
        frame.extend(((kind << 9) | u16::try_from(value.len()).unwrap()).to_be_bytes());
        frame.extend(value);
    }

    fn frame(tlvs: &[(u16, &[u8])]) -> Vec<u8> {
        let mut frame = [&NEAREST[..], &[2, 0, 0, 0, 0, 9], &ETHERTYPE.to_be_bytes()].concat();
        tlvs.iter().for_each(|(kind, value)| put(&mut frame, *kind, value));
        frame
    }

    const CHASSIS: (u16, &[u8]) = (1, &[4, 2, 0, 0, 0, 0, 9]);
    const PORT: (u16, &[u8]) = (2, b"\x05Ethernet3");
    const LIFETIME: (u16, &[u8]) = (3, &[0, 120]);
    const NAME: (u16, &[u8]) = (5, b"tor1.rack0.example");
    const END: (u16, &[u8]) = (0, b"");

    #[test]
    fn a_frame_says_machine_port_and_lifetime() {
        // IEEE 802.1AB §8.2, §8.5
        let whole =
            frame(&[CHASSIS, PORT, LIFETIME, (4, b"to node4"), NAME, (6, b"SONiC"), (127, &[0, 1, 2, 3, 4]), END]);
        let heard = Heard::read(&whole).unwrap();
        assert_eq!(
            heard,
            Heard {
                chassis: "02:00:00:00:00:09".to_owned(),
                port: "Ethernet3".to_owned(),
                port_description: Some("to node4".to_owned()),
                system: Some("tor1.rack0.example".to_owned()),
                lifetime_s: 120,
            }
        );
        assert_eq!(heard.to_string(), "tor1.rack0.example port Ethernet3");
        // Ethernet pads short frames; what is behind the end is nothing.
        let padded = [&frame(&[CHASSIS, PORT, LIFETIME, END])[..], &[0xff; 20]].concat();
        assert_eq!(Heard::read(&padded).unwrap().to_string(), "02:00:00:00:00:09 port Ethernet3");
        assert!(Heard::read(&frame(&[CHASSIS, PORT, LIFETIME])).is_some(), "without an end");
        let network = frame(&[(1, &[5, 1, 10, 69, 255, 1]), (2, &[3, 2, 0, 0, 0, 0, 7]), LIFETIME, END]);
        assert_eq!(Heard::read(&network).unwrap().to_string(), "10.69.255.1 port 02:00:00:00:00:07");
    }

    #[test]
    fn a_frame_that_is_not_as_it_must_be_says_nothing() {
        // IEEE 802.1AB §9.2.7.7
        for tlvs in [
            &[PORT, CHASSIS, LIFETIME, END][..],
            &[CHASSIS, LIFETIME, PORT, END],
            &[CHASSIS, PORT, END],
            &[CHASSIS, PORT, LIFETIME, LIFETIME, END],
            &[CHASSIS, PORT, LIFETIME, CHASSIS, END],
            &[(1, &[4]), PORT, LIFETIME, END],
            &[(1, &[4, 1, 2]), PORT, LIFETIME, END],
            &[CHASSIS, PORT, (3, &[7]), END],
            &[CHASSIS],
            &[],
        ] {
            assert_eq!(Heard::read(&frame(tlvs)), None, "{tlvs:?}");
        }
        let whole = frame(&[CHASSIS, PORT, LIFETIME, NAME]);
        assert_eq!(Heard::read(&whole[..whole.len() - 1]), None, "cut off");
        let mut other = whole;
        other[13] = 0;
        assert_eq!(Heard::read(&other), None, "another protocol");
        let escape = frame(&[CHASSIS, PORT, LIFETIME, (5, b"\x1b[31mtor\n1"), END]);
        assert_eq!(Heard::read(&escape).unwrap().system.unwrap(), "[31mtor1");
    }

    fn expected(system: Option<&str>, port: Option<&str>) -> Expected {
        Expected { system: system.map(str::to_owned), port: port.map(str::to_owned) }
    }

    #[test]
    fn who_is_expected_is_known_by_name_and_port() {
        let heard = Heard::read(&frame(&[CHASSIS, PORT, LIFETIME, (4, b"to node4"), NAME, END])).unwrap();
        for (system, port, fits) in [
            (Some("tor1"), None, true),
            (Some("tor1.rack0.example"), Some("Ethernet3"), true),
            (None, Some("to node4"), true),
            (Some("tor"), None, false),
            (Some("tor2"), None, false),
            (Some("tor1"), Some("Ethernet4"), false),
        ] {
            let objection = expected(system, port).objection(Some(&heard));
            assert_eq!(objection.is_none(), fits, "{system:?} {port:?}: {objection:?}");
        }
        let words = expected(Some("tor2"), Some("eth1")).objection(Some(&heard)).unwrap();
        assert_eq!(words, "tor2 port eth1 is expected here, and tor1.rack0.example port Ethernet3 is");
        assert!(expected(Some("tor1"), None).objection(None).unwrap().contains("nobody was heard"));
    }

    #[test]
    fn who_is_silent_or_says_goodbye_is_forgotten() {
        let (at, link) = (|seconds| Instant::ZERO + Duration::from_secs(seconds), IfIndex(2));
        let heard = Heard::read(&frame(&[CHASSIS, PORT, LIFETIME, NAME, END])).unwrap();
        let mut wires = Wires::default();
        wires.handle(at(0), link, heard.clone());
        wires.handle(at(30), link, heard.clone());
        assert_eq!((wires.tick(at(149)), wires.next_timeout()), (vec![], Some(at(150))));
        assert_eq!((wires.tick(at(150)), wires.heard(link)), (vec![link], None));
        wires.handle(at(200), link, heard.clone());
        // IEEE 802.1AB §9.2.7.7.3: a lifetime of 0 ends it.
        wires.handle(at(201), link, Heard { lifetime_s: 0, ..heard.clone() });
        assert_eq!(wires.heard(link), None);
        wires.handle(at(202), link, heard);
        wires.keep(&[]);
        assert_eq!(wires.heard(link), None, "the carrier went");
    }

    proptest! {
        #[test]
        fn whatever_a_neighbour_sends_is_read_without_a_panic(rest in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Heard::read(&[&frame(&[])[..], &rest].concat());
            let _ = Heard::read(&[&frame(&[CHASSIS, PORT, LIFETIME])[..], &rest].concat());
            let _ = Heard::read(&rest);
        }
    }
}
