//! `weft-netboot tls`: what the certificates of a configuration come to, without a server.

use clap::Subcommand;
use std::path::PathBuf;
use weft_netboot::io::{certificates, service};
use weft_netboot::show;

use crate::arguments::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Whose each certificate is, for which names, until when, and what is wrong; exit code 1 when something is, or ends within 14 days
    Check {
        /// The server's configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/weft/netboot.yaml")]
        config: PathBuf,
    },
}

pub(crate) fn run(verb: &Tls, output: Output) -> anyhow::Result<()> {
    let Tls::Check { config } = verb;
    let now = service::now();
    let all = certificates::examine(&crate::load(config)?, now);
    match output {
        Output::Table => print!("{}", show::certificates(&all, now)),
        Output::Json => println!("{}", serde_json::to_string(&all)?),
        Output::Yaml => print!("{}", serde_saphyr::to_string(&all)?),
    }
    let faults: usize = all.iter().map(|one| one.faults.len()).sum();
    anyhow::ensure!(faults == 0, "{faults} to be mended");
    Ok(())
}
