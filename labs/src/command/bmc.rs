//! `bmc`: plays the management controller of a machine.

use crate::bmc::serve::{Settings, serve};
use crate::bmc::{Controller, Identity};
use anyhow::{Context as _, Result};
use clap::Args;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Options of `bmc`.
#[derive(Debug, Clone, Args)]
pub struct Bmc {
    /// Where it answers, with TLS
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:443")]
    listen: SocketAddr,
    /// File with `user` and `password` (YAML or JSON)
    #[arg(long, value_name = "FILE")]
    credentials: PathBuf,
    /// Serial number of its machine
    #[arg(long)]
    serial: String,
    /// SMBIOS UUID of its machine
    #[arg(long, default_value = "")]
    uuid: String,
    /// File that says what goes wrong, read for each request: in each line a fault and how often (slow N MSms, hang, reset, busy, forget,
    /// deaf, swallow, boast, wrong)
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// What has the power, called as ipmi_sim calls its own: `get power` says power:0 or power:1; `set power 0|1`, `set shutdown 1`,
    /// `set reset 1`, `set boot none|pxe|http|disk`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    script: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    user: String,
    password: String,
}

/// Serves until it is ended.
///
/// # Errors
/// When a file cannot be read, or it cannot listen.
pub fn bmc(options: &Bmc) -> Result<()> {
    let name = || options.credentials.display().to_string();
    let text = std::fs::read_to_string(&options.credentials).with_context(name)?;
    let read: Result<Credentials, _> = serde_saphyr::from_str(&text);
    let Credentials { user, password } =
        read.map_err(|_| anyhow::anyhow!("{}: write `user` and `password`", name()))?;
    let identity = Identity { serial: options.serial.clone(), uuid: options.uuid.clone(), user, password };
    let (listen, script, faults) = (options.listen, options.script.clone(), options.faults.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(Settings { listen, script, faults }, Controller::new(identity)))
}
