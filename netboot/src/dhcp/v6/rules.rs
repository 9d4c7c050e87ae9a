//! What people say of the DHCPv6 server: the part `dhcp6` of the configuration of `weft-netboot serve`.

use crate::dhcp::v4::boot::Https;
use crate::dhcp::v4::client::{Arch, Loader};
use crate::dhcp::v4::rules::Rate;
use crate::inventory::machine::Machine;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// Octets of a URL, and of a parameter; how many of these there are. They fit with the rest in a frame that a relay or two lengthen.
const URL_MAX: usize = 255;
const PARAMETERS_MAX: usize = 8;

/// The whole part.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The service address: relays send to it. All servers that have it are one server to the clients.
    pub address: Ipv6Addr,
    /// UDP port; clients have the one before. Another one than 547 is for tests.
    #[serde(default = "default_port")]
    pub port: u16,
    /// What machines boot.
    #[serde(default)]
    pub boot: Boot,
    /// How much of one network is answered.
    #[serde(default)]
    pub rate: Rate,
    /// Seconds for which nobody gets an address that a client found in use.
    #[serde(default = "default_quarantine_s")]
    pub quarantine_s: u32,
    /// Name of this server among others; the host's name unless given.
    pub name: Option<String>,
}

/// What boots, by what loads it: URLs, because DHCPv6 has nothing else (RFC 5970 §3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// What iPXE runs.
    pub script: Option<String>,
    /// What UEFI HTTP Boot loads, by architecture.
    #[serde(default)]
    pub http: BTreeMap<Arch, String>,
    /// The same by TLS, for some machines; for nobody unless set.
    pub https: Option<Https>,
    /// What PXE loads, by architecture: `tftp://[ADDRESS]/FILE`.
    #[serde(default)]
    pub pxe: BTreeMap<Arch, String>,
    /// What goes with it, for all (RFC 5970 §3.2).
    #[serde(default)]
    pub parameters: Vec<String>,
}

impl Boot {
    /// All URLs that are told.
    pub fn urls(&self) -> impl Iterator<Item = &String> {
        let by_tls = self.https.iter().flat_map(|https| https.urls.values());
        self.script.iter().chain(self.http.values()).chain(by_tls)
    }
}

const fn default_port() -> u16 {
    547
}

const fn default_quarantine_s() -> u32 {
    3_600
}

impl Rules {
    /// Whether it can be done.
    ///
    /// # Errors
    /// Field and remedy.
    pub fn check(&self) -> Result<(), String> {
        if self.address.is_unspecified() || self.address.is_multicast() || self.address.is_unicast_link_local() {
            return Err(format!("dhcp6.address: `{}`: write the service address, which is routed", self.address));
        }
        if self.port < 2 {
            return Err(format!("dhcp6.port: {}: 2 to 65535, or leave it out for 547", self.port));
        }
        if self.rate.each_s == 0 || self.rate.burst == 0 {
            return Err("dhcp6.rate: 0 would answer nobody: leave it out for the defaults".to_owned());
        }
        if !(60..=86_400).contains(&self.quarantine_s) {
            return Err(format!("dhcp6.quarantine_s: {}: 60 to 86400", self.quarantine_s));
        }
        if self.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > 64) {
            return Err("dhcp6.name: write 1 to 64 letters, another for each server".to_owned());
        }
        self.boot.check()
    }
}

impl Boot {
    fn check(&self) -> Result<(), String> {
        let word = |name: &str| {
            !name.is_empty() && name.len() <= URL_MAX && name.bytes().all(|octet| octet.is_ascii_graphic())
        };
        let pxe =
            self.pxe.iter().map(|(arch, url)| (format!("dhcp6.boot.pxe.{arch:?}").to_lowercase(), url, "tftp://"));
        let http =
            self.http.iter().map(|(arch, url)| (format!("dhcp6.boot.http.{arch:?}").to_lowercase(), url, "http"));
        let script = self.script.iter().map(|url| ("dhcp6.boot.script".to_owned(), url, "http"));
        for (field, url, scheme) in pxe.chain(http).chain(script) {
            let is_known = ["tftp://", "http://", "https://"].iter().any(|one| url.starts_with(one));
            if !word(url) || !is_known || !url.starts_with(scheme) {
                let wanted = if scheme == "http" { "http://[ADDRESS]:PORT/PATH" } else { "tftp://[ADDRESS]/FILE" };
                return Err(format!("{field}: `{url}`: write {wanted}, at most {URL_MAX} letters, digits and signs"));
            }
        }
        if self.parameters.len() > PARAMETERS_MAX || !self.parameters.iter().all(|one| word(one)) {
            return Err(format!("dhcp6.boot.parameters: at most {PARAMETERS_MAX}, each of 1 to {URL_MAX} signs"));
        }
        self.https.as_ref().map_or(Ok(()), |https| https.check("dhcp6", URL_MAX))
    }

    /// The URL for a loader of a machine.
    #[must_use]
    pub fn url(&self, loader: Loader, machine: Option<&Machine>) -> Option<&String> {
        match loader {
            Loader::Ipxe => self.script.as_ref(),
            Loader::Http(arch) => {
                let by_tls = self.https.as_ref().filter(|https| https.is_for(machine));
                arch.and_then(|arch| by_tls.map_or(&self.http, |https| &https.urls).get(&arch))
            }
            Loader::Pxe(arch) => arch.and_then(|arch| self.pxe.get(&arch)),
        }
    }
}
