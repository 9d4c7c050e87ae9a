//! Which daemon is asked, as the command line and the environment say.

use crate::io::client::Target;
use crate::io::verbs::{self, Named};
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Which daemon is asked; what is not said may stand in the environment.
#[derive(Debug, Args)]
pub struct Whom {
    /// The node of a lab to talk to, as in two-racks/tor1
    #[arg(long, global = true, value_name = "NAME/NODE", conflicts_with_all = ["socket", "remote"])]
    lab: Option<String>,
    /// The daemon's API socket [default: /run/weft/weft.sock]
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "remote")]
    socket: Option<PathBuf>,
    /// A daemon elsewhere (its `api.remote`), port 9180 unless said; needs --ca, --cert and --key [env: WEFT_REMOTE]
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    remote: Option<String>,
    /// PEM file with the authority of that daemon's certificate [env: WEFT_CA]
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file with our certificate [env: WEFT_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// PEM file with our key [env: WEFT_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Whom {
    /// The daemon; `environment` is asked for what is not said.
    ///
    /// # Errors
    /// When it is not named wholly: what is wrong, for a person.
    pub fn target(&self, environment: impl Fn(&str) -> Option<OsString>) -> Result<Target, String> {
        let named = Named {
            socket: self.socket.as_deref(),
            lab: self.lab.as_deref(),
            remote: self.remote.as_deref(),
            ca: self.ca.as_deref(),
            cert: self.cert.as_deref(),
            key: self.key.as_deref(),
        };
        verbs::target(named, environment)
    }

    /// The lab and the node, where one is named.
    #[must_use]
    pub fn lab(&self) -> Option<(&str, &str)> {
        self.lab.as_deref().and_then(|lab| lab.split_once('/'))
    }
}
