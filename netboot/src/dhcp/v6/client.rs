//! Who asks by DHCPv6: the DUID in one form, the machine of the inventory, and the firmware.

use super::message::{Malformed, Message, code};
use crate::dhcp::v4::client::{Arch, Loader};
use crate::inventory::Inventory;
use crate::inventory::machine::Machine;
use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// Octets of the longest DUID (RFC 8415 §11.1: 128 and the type).
const DUID_MAX: usize = 130;
/// Kinds of DUIDs (RFC 8415 §11, RFC 6355 §4).
const LINK_LAYER_TIME: u16 = 1;
const LINK_LAYER: u16 = 3;
const UUID: u16 = 4;
/// Ethernet (RFC 826).
const ETHERNET: u16 = 1;

/// A client, as one question of it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its name: the DUID in hexadecimal digits, that of a UUID the same in whichever order its octets came.
    pub name: String,
    /// The UUID of its DUID in both orders, as people write it.
    pub uuids: Vec<String>,
    /// Its network card, where the DUID, a relay or the link-local address says it.
    pub mac: Option<String>,
    /// What loads what it boots; `None` when it does not want to boot.
    pub loader: Option<Loader>,
    /// Enterprise number of its vendor class.
    pub enterprise: [u8; 4],
}

impl Client {
    /// What a question says of who asks; `None` without a DUID.
    ///
    /// # Errors
    /// When an option that is read here is there twice, or has a wrong length.
    pub fn of(message: &Message) -> Result<Option<Self>, Malformed> {
        let Some(duid) = message.options.once(code::CLIENT)? else { return Ok(None) };
        if !(3..=DUID_MAX).contains(&duid.len()) {
            return Err(Malformed::Value(code::CLIENT));
        }
        let (kind, rest) = (u16::from_be_bytes([duid[0], duid[1]]), &duid[2..]);
        let uuids = match <[u8; 16]>::try_from(rest) {
            // EDK2 sends the order of SMBIOS, iPXE that of RFC 9562: both are looked up, and the smaller one is the client's name.
            Ok(uuid) if kind == UUID => vec![text(&uuid), text(&swapped(&uuid))],
            Ok(_) | Err(_) => Vec::new(),
        };
        let name = uuids.iter().min().map_or_else(|| hex(duid), |uuid| format!("uuid:{uuid}"));
        let (loader, enterprise) = loader(message)?;
        Ok(Some(Self { name, uuids, mac: of_duid(kind, rest).or_else(|| of_relay(message)), loader, enterprise }))
    }

    /// The machine that it is: by a network card, else by its UUID.
    #[must_use]
    pub fn machine<'i>(&self, inventory: &'i Inventory) -> Option<&'i Arc<Machine>> {
        let by_mac = self.mac.iter().find_map(|mac| inventory.owner(&format!("ids.macs {mac}")));
        by_mac.or_else(|| self.uuids.iter().find_map(|uuid| inventory.owner(&format!("ids.uuid {uuid}"))))
    }
}

/// The network card that a DUID was made of (RFC 8415 §11.2, §11.4). It may be another one than that which asks, but it is the machine's.
fn of_duid(kind: u16, rest: &[u8]) -> Option<String> {
    let card = match kind {
        LINK_LAYER_TIME => rest.get(6..),
        LINK_LAYER => rest.get(2..),
        _ => None,
    }?;
    let hardware = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
    (hardware == ETHERNET).then(|| mac(card))?
}

/// The network card as the first relay saw it (RFC 6939 §4), else in the link-local address, if that is made of it (RFC 4291, appendix A).
fn of_relay(message: &Message) -> Option<String> {
    let first = message.relays.last()?;
    let said = first.options.once(code::LINK_LAYER).ok().flatten().and_then(|said| said.strip_prefix(&[0, 1]));
    said.and_then(mac).or_else(|| of_address(first.peer))
}

fn of_address(peer: Ipv6Addr) -> Option<String> {
    let [_, _, _, _, _, _, _, _, a, b, c, 0xff, 0xfe, d, e, f] = peer.octets() else { return None };
    peer.is_unicast_link_local().then(|| mac(&[a ^ 2, b, c, d, e, f]))?
}

fn mac(octets: &[u8]) -> Option<String> {
    let octets = <[u8; 6]>::try_from(octets).ok()?;
    Some(octets.map(|octet| format!("{octet:02x}")).join(":"))
}

/// The first three fields with their octets backwards: the order of SMBIOS, or back from it.
const fn swapped(uuid: &[u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *uuid;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

fn text(uuid: &[u8; 16]) -> String {
    let [first, second, third, fourth, fifth] =
        [&uuid[..4], &uuid[4..6], &uuid[6..8], &uuid[8..10], &uuid[10..]].map(hex);
    format!("{first}-{second}-{third}-{fourth}-{fifth}")
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// iPXE by its user class (RFC 8415 §21.15), firmware by its vendor class (§21.16) and architecture (RFC 5970 §3.3).
fn loader(message: &Message) -> Result<(Option<Loader>, [u8; 4]), Malformed> {
    let options = &message.options;
    let arch = match options.once(code::ARCH)? {
        None => None,
        Some([high, low, rest @ ..]) if rest.len() % 2 == 0 => Arch::read(u16::from_be_bytes([*high, *low])),
        Some(_) => return Err(Malformed::Value(code::ARCH)),
    };
    if options.once(code::INTERFACE_TYPE)?.is_some_and(|said| said.len() != 3) {
        return Err(Malformed::Value(code::INTERFACE_TYPE));
    }
    let mut enterprise = [0; 4];
    let mut loader = None;
    for class in options.all(code::VENDOR_CLASS) {
        let (number, words) = class.split_first_chunk().ok_or(Malformed::Value(code::VENDOR_CLASS))?;
        for word in parts(words, code::VENDOR_CLASS)? {
            let found = match word {
                [b'H', b'T', b'T', b'P', b'C', b'l', b'i', b'e', b'n', b't', ..] => Some(Loader::Http(arch)),
                [b'P', b'X', b'E', b'C', b'l', b'i', b'e', b'n', b't', ..] => Some(Loader::Pxe(arch)),
                _ => None,
            };
            if loader.is_none() && found.is_some() {
                (loader, enterprise) = (found, *number);
            }
        }
    }
    let user = options.once(code::USER_CLASS)?.unwrap_or_default();
    let is_ipxe = parts(user, code::USER_CLASS)?.contains(&b"iPXE".as_slice());
    Ok((if is_ipxe { Some(Loader::Ipxe) } else { loader }, enterprise))
}

/// Words with two octets of length before each.
fn parts(mut field: &[u8], code: u16) -> Result<Vec<&[u8]>, Malformed> {
    let mut parts = Vec::new();
    while !field.is_empty() {
        let (length, rest) = field.split_first_chunk::<2>().ok_or(Malformed::Value(code))?;
        let (part, rest) =
            rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(Malformed::Value(code))?;
        parts.push(part);
        field = rest;
    }
    Ok(parts)
}
