//! What a client is told to boot: one function for machines that are known and those that are not. What it says is from the rules alone;
//! nothing that a client sent gets into a name or an address.

use super::client::{Arch, Client, Loader};
use super::message::Message;
use super::option::code;
use crate::inventory::machine::Machine;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Octets of a URL or a file name: option 67 and `file` have room for it with the rest in the shortest answer.
const NAME_MAX: usize = 200;

/// Roles whose firmware has our authority: more than there are.
const ROLES_MAX: usize = 64;

/// What UEFI HTTP Boot loads by TLS. Firmware ends a connection to a server whose authority it has not been given, so it is for machines
/// of which somebody said that they have it. These are told nothing else: an `http://` for them would be a way around it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Https {
    /// Roles of these machines.
    pub roles: Vec<String>,
    /// URLs by architecture.
    pub urls: BTreeMap<Arch, String>,
}

impl Https {
    /// Whether it can be done; `part` is `dhcp` or `dhcp6`.
    ///
    /// # Errors
    /// Field and remedy.
    pub fn check(&self, part: &str, most: usize) -> Result<(), String> {
        if self.roles.is_empty() || self.roles.len() > ROLES_MAX {
            let count = self.roles.len();
            return Err(format!(
                "{part}.boot.https.roles: {count} roles: write 1 to {ROLES_MAX} of machines whose firmware has our authority"
            ));
        }
        for (arch, url) in &self.urls {
            let is_word = url.len() <= most && url.bytes().all(|octet| octet.is_ascii_graphic());
            if *arch == Arch::Bios || !is_word || !url.starts_with("https://") {
                let field = format!("{part}.boot.https.urls.{arch:?}").to_lowercase();
                return Err(format!(
                    "{field}: `{url}`: write https://ADDRESS:PORT/PATH, at most {most} letters, digits and signs, for UEFI"
                ));
            }
        }
        Ok(())
    }

    /// Whether this machine is one of them.
    #[must_use]
    pub fn is_for(&self, machine: Option<&Machine>) -> bool {
        machine.is_some_and(|machine| self.roles.contains(&machine.role))
    }
}

/// What boots, by what loads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// URL of the script that iPXE runs; iPXE expands `${serial}`, `${uuid}` and `${net0/mac}` in it.
    pub script: Option<String>,
    /// URL of what UEFI HTTP Boot loads, by architecture.
    #[serde(default)]
    pub http: BTreeMap<Arch, String>,
    /// The same by TLS, for some machines; for nobody unless set.
    pub https: Option<Https>,
    /// Name of the file that PXE loads, by architecture.
    #[serde(default)]
    pub pxe: BTreeMap<Arch, String>,
    /// Where PXE loads it from; the server's own address unless given.
    pub tftp: Option<Ipv4Addr>,
}

impl Boot {
    /// All URLs that are told.
    pub fn urls(&self) -> impl Iterator<Item = &String> {
        let by_tls = self.https.iter().flat_map(|https| https.urls.values());
        self.script.iter().chain(self.http.values()).chain(by_tls)
    }

    /// Whether every name can be sent.
    ///
    /// # Errors
    /// Field and remedy.
    pub fn check(&self) -> Result<(), String> {
        let pxe = self.pxe.iter().map(|(arch, name)| (format!("dhcp.boot.pxe.{arch:?}").to_lowercase(), name, false));
        let http = self.http.iter().map(|(arch, name)| (format!("dhcp.boot.http.{arch:?}").to_lowercase(), name, true));
        let script = self.script.iter().map(|name| ("dhcp.boot.script".to_owned(), name, true));
        for (field, name, url) in pxe.chain(http).chain(script) {
            let word = !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(|octet| octet.is_ascii_graphic());
            if !word {
                return Err(format!("{field}: `{name}`: write 1 to {NAME_MAX} letters, digits and signs"));
            }
            if url && !name.starts_with("http://") && !name.starts_with("https://") {
                return Err(format!("{field}: `{name}` is no URL: write http://ADDRESS:PORT/PATH"));
            }
        }
        if self.http.contains_key(&Arch::Bios) {
            return Err("dhcp.boot.http.bios: BIOS has no HTTP Boot: write it under `dhcp.boot.pxe`".to_owned());
        }
        self.https.as_ref().map_or(Ok(()), |https| https.check("dhcp", NAME_MAX))
    }

    /// Puts into an answer what the client is to boot; whether there was something, or it did not ask.
    pub fn tell(&self, answer: &mut Message, client: &Client, machine: Option<&Machine>, own: Ipv4Addr) -> bool {
        let Some(loader) = client.loader else { return true };
        let name = match loader {
            Loader::Ipxe => self.script.as_ref(),
            Loader::Http(arch) => {
                let by_tls = self.https.as_ref().filter(|https| https.is_for(machine));
                arch.and_then(|arch| by_tls.map_or(&self.http, |https| &https.urls).get(&arch))
            }
            Loader::Pxe(arch) => arch.and_then(|arch| self.pxe.get(&arch)),
        };
        // Firmware that is told nothing goes on with its next boot device.
        let Some(name) = name else { return false };
        let options = &mut answer.options;
        options.set(code::BOOT_FILE, name.as_bytes());
        match loader {
            Loader::Ipxe => {
                // Sub-option 176: no need to wait for a ProxyDHCP server, which takes it three seconds.
                options.set(code::IPXE, [0xb0, 0x01, 0x01]);
                answer.file = name.as_bytes().to_vec();
            }
            // An absolute URL, and 60 in OFFER and ACK, are what tells UEFI HTTP Boot that it is meant (UEFI 2.10 §24.7.3.1).
            Loader::Http(_) => options.set(code::CLASS, *b"HTTPClient"),
            Loader::Pxe(_) => {
                let server = self.tftp.unwrap_or(own);
                // 60 without 43 would send UEFI to port 4011, where nobody is: sub-option 6 with bit 3 says that the file named here
                // is the one (PXE 2.1 §2.2).
                options.set(code::CLASS, *b"PXEClient");
                options.set(code::VENDOR, [0x06, 0x01, 0x08, 0xff]);
                options.set(code::TFTP_SERVER, server.to_string());
                answer.siaddr = server;
                answer.file = name.as_bytes().to_vec();
            }
        }
        // One octet of `file` stays zero.
        answer.file.truncate(if answer.file.len() < 128 { 127 } else { 0 });
        true
    }
}
