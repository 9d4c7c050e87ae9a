//! What people say of the DHCP server: the part `dhcp` of the configuration of `weft-netboot serve`.

use super::boot::Boot;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Devices with clients on them: a boot server has a few ports.
const DEVICES_MAX: usize = 16;
/// Octets of a device's name (Linux: IFNAMSIZ without the zero).
const DEVICE_MAX: usize = 15;

/// The whole part.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The service address: where relays send to, and what clients take for their server.
    pub address: Ipv4Addr,
    /// Ports of this host with clients on them, without a relay between.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// UDP port; clients have the next one. Another one than 67 is for tests.
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
    /// Name of this server among others, to which blocks of addresses are granted; the host's name unless given.
    pub name: Option<String>,
}

/// A port with clients on it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Our address there, which says the network.
    pub address: Ipv4Addr,
}

/// Questions from one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// In a second.
    #[serde(default = "default_each_s")]
    pub each_s: u32,
    /// At once.
    #[serde(default = "default_burst")]
    pub burst: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { each_s: default_each_s(), burst: default_burst() }
    }
}

const fn default_port() -> u16 {
    67
}

/// Each of 29 machines may ask four times in a second.
const fn default_each_s() -> u32 {
    120
}

/// All of a rack at once, with OFFER and ACK for firmware, iPXE and kernel.
const fn default_burst() -> u32 {
    240
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
        let host = |address: Ipv4Addr| !address.is_unspecified() && !address.is_broadcast() && !address.is_multicast();
        if !host(self.address) {
            return Err(format!("dhcp.address: `{}` is of no host: write the service address", self.address));
        }
        if self.devices.len() > DEVICES_MAX {
            return Err(format!("dhcp.devices: {} devices: at most {DEVICES_MAX}", self.devices.len()));
        }
        let mut names = BTreeSet::new();
        for (at, Device { name, address }) in self.devices.iter().enumerate() {
            if name.is_empty() || name.len() > DEVICE_MAX || name.contains(['/', ' ']) || !names.insert(name) {
                return Err(format!("dhcp.devices[{at}].name: `{name}`: write the name of a device, each once"));
            }
            if !host(*address) {
                return Err(format!("dhcp.devices[{at}].address: `{address}`: write the address that {name} has"));
            }
        }
        if self.port == 0 || self.port == u16::MAX {
            return Err(format!("dhcp.port: {}: 1 to 65534, or leave it out for 67", self.port));
        }
        if self.rate.each_s == 0 || self.rate.burst == 0 {
            return Err("dhcp.rate: 0 would answer nobody: leave it out for the defaults".to_owned());
        }
        if !(60..=86_400).contains(&self.quarantine_s) {
            return Err(format!("dhcp.quarantine_s: {}: 60 to 86400", self.quarantine_s));
        }
        if self.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > 64) {
            return Err("dhcp.name: write 1 to 64 letters, another for each server".to_owned());
        }
        self.boot.check()
    }
}
