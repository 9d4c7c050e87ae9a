//! Who asks: the name under which an address is lent, the machine of the inventory, and the firmware.

use super::message::{Malformed, Message};
use super::option::code;
use crate::inventory::Inventory;
use crate::inventory::machine::Machine;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::sync::Arc;

/// A client, as one question of it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its name: the MAC address, or `id:` and the identifier that it chose in hexadecimal digits (RFC 2131 §4.2).
    pub name: String,
    /// Its hardware address.
    pub mac: String,
    /// SMBIOS UUID in the order in which people write it.
    pub uuid: Option<String>,
    /// What loads what it boots; `None` when it does not want to boot.
    pub loader: Option<Loader>,
}

/// What loads the next stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// iPXE, whatever it runs on.
    Ipxe,
    /// UEFI HTTP Boot; the architecture, if it is one that can be booted.
    Http(Option<Arch>),
    /// PXE: TFTP.
    Pxe(Option<Arch>),
}

/// Processor and firmware (RFC 4578 §2.1, and the numbers of IANA that followed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86 with BIOS.
    Bios,
    /// UEFI, x86 of 32 bits.
    Ia32,
    /// UEFI, x86 of 64 bits.
    X64,
    /// UEFI, ARM of 32 bits.
    Arm32,
    /// UEFI, ARM of 64 bits.
    Arm64,
    /// UEFI, RISC-V of 64 bits.
    Riscv64,
}

impl Arch {
    /// By the number of option 93. 9 is what x64 was called before RFC 4578 had errata, and firmware says either.
    pub(in crate::dhcp) const fn read(number: u16) -> Option<Self> {
        match number {
            0 | 20 => Some(Self::Bios),
            6 | 15 => Some(Self::Ia32),
            7 | 9 | 16 => Some(Self::X64),
            10 | 18 => Some(Self::Arm32),
            11 | 19 => Some(Self::Arm64),
            27 | 28 => Some(Self::Riscv64),
            _ => None,
        }
    }
}

impl Client {
    /// What a question says of who asks.
    ///
    /// # Errors
    /// When an option that is read here has a wrong length.
    pub fn of(message: &Message) -> Result<Self, Malformed> {
        let options = &message.options;
        let hardware = message.hardware;
        // RFC 2132 §9.14: type 1 and the MAC address is the same as none. Firmware sends none, iPXE after it this: one machine, one lease.
        let named =
            options.raw(code::CLIENT).filter(|id| id.split_first() != Some((&hardware.kind(), hardware.octets())));
        if named.is_some_and(|id| id.len() < 2) {
            return Err(Malformed::Length(code::CLIENT));
        }
        let mac = hardware.to_string();
        let name = named.map_or_else(|| mac.clone(), |id| format!("id:{}", hex(id)));
        Ok(Self { name, mac, uuid: uuid(options.raw(code::UUID))?, loader: loader(message)? })
    }

    /// The machine that it is: by a network card, else by its UUID.
    #[must_use]
    pub fn machine<'i>(&self, inventory: &'i Inventory) -> Option<&'i Arc<Machine>> {
        let by_uuid = || self.uuid.as_ref().and_then(|uuid| inventory.owner(&format!("ids.uuid {uuid}")));
        inventory.owner(&format!("ids.macs {}", self.mac)).or_else(by_uuid)
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Option 97 is type 0 and the UUID in SMBIOS order: its first three fields have their octets backwards (RFC 4578 §2.3).
fn uuid(value: Option<&[u8]>) -> Result<Option<String>, Malformed> {
    let Some(value) = value else { return Ok(None) };
    let (0, Ok(id)) = (value.first().copied().unwrap_or(1), <[u8; 16]>::try_from(value.get(1..).unwrap_or_default()))
    else {
        return Err(Malformed::Length(code::UUID));
    };
    let [a, b, c, d, e, f, g, h, rest @ ..] = id;
    let (first, second, third) = (hex(&[d, c, b, a]), hex(&[f, e]), hex(&[h, g]));
    Ok(Some(format!("{first}-{second}-{third}-{}-{}", hex(&rest[..2]), hex(&rest[2..]))))
}

/// iPXE says its name bare in option 77, where RFC 3004 §4 puts the length before it, and always sends 175.
fn loader(message: &Message) -> Result<Option<Loader>, Malformed> {
    let options = &message.options;
    let user_class = options.raw(code::USER_CLASS);
    if matches!(user_class, Some(b"iPXE" | b"\x04iPXE")) || options.raw(code::IPXE).is_some() {
        return Ok(Some(Loader::Ipxe));
    }
    let class = options.raw(code::CLASS).unwrap_or_default();
    // Several architectures may be named (RFC 4578 §2.1); the first is the one that runs.
    let arch = match options.raw(code::ARCH) {
        None => None,
        Some([high, low, rest @ ..]) if rest.len() % 2 == 0 => Arch::read(u16::from_be_bytes([*high, *low])),
        Some(_) => return Err(Malformed::Length(code::ARCH)),
    };
    Ok(if class.starts_with(b"HTTPClient") {
        Some(Loader::Http(arch))
    } else if class.starts_with(b"PXEClient") {
        Some(Loader::Pxe(arch))
    } else {
        None
    })
}
