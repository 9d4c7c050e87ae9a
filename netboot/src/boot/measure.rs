//! What a TPM says after a machine started an image in one file: the values of PCRs (SHA-256) that follow from the file alone.
//!
//! ```text
//!   PCR 4   "Calling EFI Application from Boot Option" ▷ separator ▷ the file ▷ the kernel in it      by firmware, as it starts them
//!   PCR 11  name ▷ content of each section                                                            by the stub, systemd-stub(7)
//! ```
//!
//! Firmware: TCG PC Client Platform Firmware Profile, §3.3.4.5 (PCR 4) and §10.4 (events); seen with EDK2 2022.11 and the stub of systemd 252,
//! which starts the kernel as firmware would start a program. Programs are measured by their Authenticode digest, which is the same with a
//! signature and without.

use super::authenticode::Sum;
use crate::keys::verify::Pcrs;
use ring::digest::{SHA256, digest};

/// Where firmware says which programs it started.
pub const PROGRAMS: u8 = 4;
/// Where the stub says what was in the file.
pub const SECTIONS: u8 = 11;
/// What firmware measures before it tries to boot (`EV_EFI_ACTION`), and then (`EV_SEPARATOR`).
const CALLING: &[u8] = b"Calling EFI Application from Boot Option";
const SEPARATOR: &[u8] = &[0; 4];
/// Sections that the stub measures, in the order in which it does; it leaves out what is not there.
const ORDER: [&str; 4] = [".linux", ".osrel", ".cmdline", ".initrd"];

/// Digests of what is measured of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Of the file, as a program.
    pub program: Sum,
    /// Of the kernel, as a program; `None` when it is none that firmware starts.
    pub kernel: Option<Sum>,
    /// Of the content of each section, with its name.
    pub sections: Vec<(&'static str, Sum)>,
}

/// The PCRs of a machine whose firmware tried this file first, by [`PROGRAMS`] and [`SECTIONS`]: firmware that started something before has
/// more in PCR 4, and the same in PCR 11. PCR 4 is not there when the kernel is no program.
#[must_use]
pub fn predict(measured: &Measured) -> Pcrs {
    let mut pcrs = Pcrs::new();
    if let Some(kernel) = &measured.kernel {
        let programs = [sum(CALLING), sum(SEPARATOR), measured.program, *kernel];
        pcrs.insert(PROGRAMS, programs.iter().fold([0; 32], extend));
    }
    let sections = ORDER.iter().filter_map(|name| measured.sections.iter().find(|(found, _)| found == name));
    let events = sections.flat_map(|(name, content)| [sum(&[name.as_bytes(), &[0]].concat()), *content]);
    pcrs.insert(SECTIONS, events.fold([0; 32], |value, event| extend(value, &event)));
    pcrs
}

/// TPM 2.0 Library, part 1, §17.4: the digest of the value before and what is measured.
fn extend(value: Sum, event: &Sum) -> Sum {
    sum(&[value, *event].concat())
}

/// SHA-256.
#[must_use]
pub fn sum(octets: &[u8]) -> Sum {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, octets).as_ref());
    sum
}

#[cfg(test)]
mod tests {
    use super::super::Digest;
    use super::*;

    fn of_hex(text: &str) -> Sum {
        let mut sum = [0; 32];
        for (octet, digits) in sum.iter_mut().zip(text.as_bytes().chunks(2)) {
            *octet = u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        }
        sum
    }

    /// What a machine in QEMU had (OVMF 2022.11, swtpm, stub of systemd 252) after it loaded an image with Debian's kernel 6.1 by HTTP. The
    /// digests of files are those of its event log.
    fn seen() -> Measured {
        let release = "ID=weft\nNAME=weft\nVERSION_ID=tpm\nPRETTY_NAME=\"weft tpm\"\n";
        Measured {
            program: of_hex("836fa910a928775e71e766ac3b3b2644eb88f82412ec48259c92cd8f619421ac"),
            kernel: Some(of_hex("5ae8836350d3f8e6ed13b2c8c010adb150e108d471f37c98a04ace17b402f653")),
            sections: vec![
                (".osrel", sum(release.as_bytes())),
                (".cmdline", sum(b"console=ttyS0 quiet panic=5\0")),
                (".initrd", of_hex("05988b0671f675b17e69576d01937b3700dbd644085a7dbbf999cd61ae6743a1")),
                (".linux", of_hex("7d9264a3a9a2278cb35c8741de1234c896141096e7c292b53f481ed030c5a88b")),
            ],
        }
    }

    #[test]
    fn a_machine_says_what_was_predicted() {
        let pcrs = predict(&seen());
        let shown: Vec<_> = pcrs.iter().map(|(pcr, value)| (*pcr, Digest::of(value).to_string())).collect();
        let wanted = [
            (4, "2b3c2167b02e399c0ec15f5230088413e23704e4a7b3530ad7d6f1dc24e3a611".to_owned()),
            (11, "07f4687029e14be715c178b830eae5b6f6cce4a8308e88aa79fc800ddcae9c8a".to_owned()),
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn what_is_not_known_is_not_predicted() {
        let pcrs = predict(&Measured { kernel: None, ..seen() });
        assert_eq!(pcrs.keys().copied().collect::<Vec<_>>(), [11]);
        let other = Measured { sections: vec![(".cmdline", sum(b"single\0"))], ..seen() };
        assert_ne!(predict(&other).get(&11), pcrs.get(&11));
        assert_eq!(predict(&other).get(&4), predict(&seen()).get(&4), "the digest of the file says it there");
    }
}
