//! Commands of the chassis (§28): power, and what firmware boots.

use super::packet::Command;
use crate::bmc::{Boot, BootFrom, Mode, Power, Press, Trouble};

/// §28.2.
pub const STATUS: Command = Command { net_fn: 0x00, number: 0x01 };
/// §28.3.
pub const CONTROL: Command = Command { net_fn: 0x00, number: 0x02 };
/// §28.12.
pub const SET_BOOT: Command = Command { net_fn: 0x00, number: 0x08 };
/// §28.13.
pub const GET_BOOT: Command = Command { net_fn: 0x00, number: 0x09 };
/// Parameter 3: a boot flag stays valid until a boot, not for 60 s only (table 28-14).
pub const KEEP_FLAGS: [u8; 2] = [0x03, 0x08];
/// Asks for parameter 5, the boot flags: no set, no block.
pub const BOOT_FLAGS: [u8; 3] = [0x05, 0x00, 0x00];

/// Bits of the boot flags (table 28-14).
const VALID: u8 = 0x80;
const ALWAYS: u8 = 0x40;
const EFI: u8 = 0x20;

/// Power, from the data of [`STATUS`].
#[must_use]
pub fn power(data: &[u8]) -> Option<Power> {
    data.first().map(|state| if state & 0x01 == 0 { Power::Off } else { Power::On })
}

/// Data of [`CONTROL`].
#[must_use]
pub const fn control(press: Press) -> u8 {
    match press {
        Press::HardOff => 0x00,
        Press::On => 0x01,
        // By an overheating that ACPI tells.
        Press::SoftOff => 0x05,
    }
}

/// Data of [`SET_BOOT`] that say what firmware boots.
///
/// # Errors
/// What IPMI has no word for.
pub fn flags(boot: &Boot) -> Result<[u8; 6], Trouble> {
    let device = match boot.from {
        BootFrom::None => return Ok([0x05, 0, 0, 0, 0, 0]),
        BootFrom::Pxe => 0x01,
        BootFrom::Disk => 0x02,
        BootFrom::Http => return Err(Trouble::Unsupported("IPMI has no word for a boot by HTTP: use pxe".to_owned())),
        BootFrom::Other => return Err(Trouble::Unsupported("IPMI has no word for that".to_owned())),
    };
    let always = if boot.once { 0 } else { ALWAYS };
    let efi = if boot.mode == Some(Mode::Uefi) { EFI } else { 0 };
    Ok([0x05, VALID | always | efi, device << 2, 0, 0, 0])
}

/// What firmware boots, from the data of [`GET_BOOT`]: version, selector, flags.
#[must_use]
pub fn boot(data: &[u8]) -> Option<Boot> {
    let (head, flags) = data.split_first_chunk::<2>()?;
    let (first, second) = (*flags.first()?, *flags.get(1)?);
    // The highest bit of the selector: the parameter is not valid.
    if head[1] != 0x05 {
        return None;
    }
    let from = match second >> 2 & 0x0f {
        _ if first & VALID == 0 => BootFrom::None,
        0x00 => BootFrom::None,
        0x01 => BootFrom::Pxe,
        0x02 => BootFrom::Disk,
        _ => BootFrom::Other,
    };
    let mode = if first & EFI == 0 { Mode::Legacy } else { Mode::Uefi };
    let mode = Some(mode).filter(|_| from != BootFrom::None);
    Some(Boot { from, once: first & ALWAYS == 0, mode, uri: None })
}
