//! What people say of the boot service: the part `boot` of the configuration of `weft-netboot serve`.

use super::attempts;
use super::ipxe::ENTRY;
use super::pull::PEERS_MAX;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Addresses of one server: the service address, and its own.
const LISTEN_MAX: usize = 8;

/// Loaders: each firmware has one, and some a second one.
const LOADERS_MAX: usize = 16;
/// Octets of the name of a loader: `file` of DHCP has room for it.
const NAME_MAX: usize = 64;

/// The whole part.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Where scripts and files are served, to everybody and without TLS: firmware has neither names nor certificates.
    pub listen: Vec<SocketAddr>,
    /// Folder of the files of images.
    pub images: PathBuf,
    /// Boot services of other servers (addresses and ports of `listen`), from which this one gets the files that images have and it has not.
    /// Those of its own are left out, so all servers may have the same list.
    #[serde(default)]
    pub peers: Vec<SocketAddr>,
    /// How fast files come from them, all together, in megabits a second; as fast as they can unless set.
    pub pull_mbit_s: Option<u32>,
    /// When a machine that boots again and again is held.
    #[serde(default)]
    pub loops: attempts::Rules,
    /// Ends a canary by itself when a machine failed with it.
    #[serde(default)]
    pub auto_rollback: bool,
    /// What firmware loads first, as iPXE: names, and the files that they mean. They are read at the start, and served by HTTP and TFTP.
    #[serde(default)]
    pub loaders: BTreeMap<String, PathBuf>,
    /// Makes one file of an image, for UEFI on x64; nobody does unless set.
    pub uki: Option<Uki>,
    /// The same with TLS, for UEFI HTTPS Boot; nowhere unless set.
    pub https: Option<Https>,
    /// Where loaders are served by TFTP; nowhere unless set. Its port is 69, if not for tests.
    pub tftp: Option<SocketAddr>,
}

/// Where machines whose firmware wants to know the server get the same.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Https {
    /// Addresses and ports.
    pub listen: Vec<SocketAddr>,
    /// PEM file with our certificate, whose alternative names have what the URLs have, and those between it and its authority, which
    /// firmware knows.
    pub certificate: PathBuf,
    /// PEM file with its key, of RSA.
    pub key: PathBuf,
}

/// What one file of an image is made with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uki {
    /// The program that finds kernel and initial file system in itself: `linuxx64.efi.stub` of systemd-boot.
    pub stub: PathBuf,
    /// The loader, one of `loaders`, that a machine gets which has no image, or whose disk it is to boot: an iPXE, whose script says so.
    pub otherwise: String,
    /// Signs what is made, and loaders that have no signature, for machines with Secure Boot; nobody does unless set.
    pub sign: Option<Sign>,
}

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// PEM file with a key of RSA, 2,048 to 4,096 bits, which nobody else may read.
    pub key: PathBuf,
    /// PEM file with its certificate, which firmware knows (`db`), or its authority, and then those between them.
    pub certificate: PathBuf,
}

impl Rules {
    /// Whether it can be done.
    ///
    /// # Errors
    /// Field and remedy.
    pub fn check(&self) -> Result<(), String> {
        if self.listen.is_empty() || self.listen.len() > LISTEN_MAX {
            let count = self.listen.len();
            return Err(format!("boot.listen: {count} addresses: write 1 to {LISTEN_MAX}, as [10.72.0.1:8080]"));
        }
        if let Some(Https { listen, .. }) =
            self.https.as_ref().filter(|https| !(1..=LISTEN_MAX).contains(&https.listen.len()))
        {
            let count = listen.len();
            return Err(format!("boot.https.listen: {count} addresses: write 1 to {LISTEN_MAX}, as [10.72.0.1:8443]"));
        }
        if self.peers.len() > PEERS_MAX {
            return Err(format!("boot.peers: {} addresses: at most {PEERS_MAX}", self.peers.len()));
        }
        self.loops.check()?;
        if self.pull_mbit_s == Some(0) {
            return Err("boot.pull_mbit_s: 0: write 1 or more, or leave it out".to_owned());
        }
        if self.loaders.len() > LOADERS_MAX {
            return Err(format!("boot.loaders: {} files: at most {LOADERS_MAX}", self.loaders.len()));
        }
        for (name, file) in &self.loaders {
            let sign = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
            if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(sign) || format!("/{name}") == ENTRY {
                return Err(format!("boot.loaders.{name}: write 1 to {NAME_MAX} letters, digits, `-`, `_` and `.`"));
            }
            if !file.is_absolute() {
                return Err(format!("boot.loaders.{name}: `{}`: write the whole path of a file", file.display()));
            }
        }
        if let Some(Uki { otherwise, .. }) = self.uki.as_ref().filter(|uki| !self.loaders.contains_key(&uki.otherwise))
        {
            return Err(format!("boot.uki.otherwise: `{otherwise}`: write a name of `boot.loaders`"));
        }
        match self.images.is_absolute() {
            true => Ok(()),
            false => Err(format!("boot.images: `{}`: write the whole path of a folder", self.images.display())),
        }
    }
}
