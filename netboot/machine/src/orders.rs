//! What a boot server tells a machine that boots: who it is, where the boot servers are, and what to do once it is routed. The server writes
//! it into the archive that it makes for the machine, `weft-init` reads it.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Where the card is, in the initial file system.
pub const CARD: &str = "/etc/weft/machine.json";
/// Where the configuration of the routing daemon is; a machine that nobody registered has none.
pub const CONFIG: &str = "/etc/weft/weft.yaml";
/// Modules of the kernel in the order in which they are loaded, one file name in each line.
pub const MODULES: &str = "/lib/modules/weft.list";
/// Files of images, by digest, at a boot server.
pub const BLOBS: &str = "/blobs/";

/// Who the machine is, and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Its serial number; absent for a machine that nobody registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Its name, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its role, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its own address, from which it speaks; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Where boot servers serve files: the service address, whoever answers.
    pub server: SocketAddr,
    /// Where they hear what machines say of themselves, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<SocketAddr>,
    /// What it does.
    pub orders: Orders,
}

/// What a machine does once it is routed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Orders {
    /// It reports itself until somebody accepts it, then boots again.
    Wait,
    /// The initial file system is the system.
    Run,
    /// It loads a root file system into memory and runs what is in it.
    Load(Root),
    /// It runs the system that is installed on a disk.
    Disk(Disk),
}

/// A root file system as one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// Its octets.
    pub bytes: u64,
}

/// An installed system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Its device or partition ([`crate::disk::Place`]), as `/dev/vda2` or `PARTUUID=…`.
    pub device: String,
}

impl Card {
    /// Reads a card.
    ///
    /// # Errors
    /// What is wrong with it, with line and column.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("{CARD}: {error}"))
    }

    /// How a person calls the machine.
    #[must_use]
    pub fn shown(&self) -> String {
        match (&self.serial, &self.name) {
            (Some(serial), Some(name)) => format!("{serial} ({name})"),
            (Some(serial), None) => serial.clone(),
            (None, _) => "a machine that nobody registered".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_read_as_it_was_written() {
        let root = Root { sha256: "0".repeat(64), bytes: 5 };
        let disk = Disk { device: "/dev/vda2".to_owned() };
        for orders in [Orders::Wait, Orders::Run, Orders::Load(root), Orders::Disk(disk)] {
            let card = Card {
                serial: Some("N1".to_owned()),
                name: Some("node1".to_owned()),
                role: Some("cs".to_owned()),
                address: "10.69.0.4".parse().ok(),
                server: "10.72.0.1:8080".parse().unwrap(),
                report: None,
                orders,
            };
            assert_eq!(Card::read(&serde_json::to_string(&card).unwrap()).as_ref(), Ok(&card));
        }
        let wrong = Card::read("{\"server\": \"10.72.0.1:8080\", \"orders\": \"dance\"}").unwrap_err();
        assert!(wrong.contains(CARD) && wrong.contains("dance"), "{wrong}");
    }
}
