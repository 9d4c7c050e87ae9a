//! What people say of the boot service: the part `boot` of the configuration of `weft-netboot serve`.

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Addresses of one server: the service address, and its own.
const LISTEN_MAX: usize = 8;

/// The whole part.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Where scripts and files are served, to everybody and without TLS: firmware has neither names nor certificates.
    pub listen: Vec<SocketAddr>,
    /// Folder of the files of images.
    pub images: PathBuf,
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
        match self.images.is_absolute() {
            true => Ok(()),
            false => Err(format!("boot.images: `{}`: write the whole path of a folder", self.images.display())),
        }
    }
}
