//! The verbs of disk keys. No key is ever an argument: recovery keys are opened here, with the operators' private key from a file.

use crate::arguments::Output;
use crate::ask::{Asker, escaped};
use anyhow::Context as _;
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use weft_machine::keys::{Hex, recovery_text};
use weft_netboot::io::client::Target;
use weft_netboot::io::service::now;
use weft_netboot::keys::{Shown, recovery};
use weft_netboot::show::keys as show;

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Whose disk keys are kept, and how each machine asked last
    #[command(alias = "ls")]
    List,
    /// What one machine showed, beside what is accepted of it
    #[command(alias = "get")]
    Show {
        /// Its serial number
        serial: String,
    },
    /// Accept the PCRs that a machine showed last: what it runs now may have its keys
    Accept {
        /// Its serial number
        serial: String,
    },
    /// Print what opens a disk without its machine; the server has it only encrypted, and the audit log says that you took it
    Recover {
        /// The machine's serial number
        serial: String,
        /// The disk
        disk: String,
        /// The operators' private key
        #[arg(long = "private", value_name = "FILE")]
        private: PathBuf,
    },
    /// Delete the keys of a machine that retires: what is on its disks is lost
    #[command(alias = "rm")]
    Delete {
        /// Its serial number
        serial: String,
    },
    /// Make the operators' pair of keys: the private one into a file, the public one for `disk_keys.recovery_to`
    Operator {
        /// Where nothing is yet
        file: PathBuf,
    },
}

pub(crate) async fn run(target: &Target, verb: Keys, output: Output) -> anyhow::Result<()> {
    let asker = Asker { target, output };
    let place = |serial: &str, what: &str| format!("/v1/keys/machines/{}{what}", escaped(serial));
    match verb {
        Keys::List => {
            let answer = asker.get("/v1/keys").await?;
            let all: Vec<Shown> = serde_json::from_value(answer.clone())?;
            asker.show(&answer, |_| show::keys(&all, now()))
        }
        Keys::Show { serial } => machine(&asker, &asker.get(&place(&serial, "")).await?),
        Keys::Accept { serial } => {
            machine(&asker, &asker.change(Method::POST, &place(&serial, "/accept"), &Value::Null).await?)
        }
        Keys::Recover { serial, disk, private } => {
            // Before the server is asked: it writes down who took one.
            let private = read(&private)?;
            let body = json!({ "disk": disk });
            let answer = asker.change(Method::POST, &place(&serial, "/recover"), &body).await?;
            let sealed: Hex = serde_json::from_value(answer["recovery"].clone())?;
            let opened = recovery::open(&sealed, &private, &serial, &disk).map_err(anyhow::Error::msg)?;
            let text = recovery_text(&opened);
            asker.show(&json!({ "recovery": text }), |_| format!("{text}\n"))
        }
        Keys::Delete { serial } => {
            asker.change(Method::DELETE, &place(&serial, ""), &Value::Null).await?;
            asker.show(&json!({ "deleted": serial }), |_| format!("the disk keys of {serial} are deleted\n"))
        }
        Keys::Operator { file } => {
            let (private, public) = recovery::pair();
            let shown = || file.display().to_string();
            let mut new =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).with_context(shown)?;
            writeln!(new, "{private}").with_context(shown)?;
            asker.show(&json!({ "recovery_to": public }), |_| format!("disk_keys: {{recovery_to: {public}}}\n"))
        }
    }
}

fn machine(asker: &Asker<'_>, answer: &Value) -> anyhow::Result<()> {
    let one: Shown = serde_json::from_value(answer.clone())?;
    asker.show(answer, |_| show::of_machine(&one, now()))
}

fn read(file: &Path) -> anyhow::Result<Hex> {
    let shown = || file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(shown)?;
    text.trim().parse::<Hex>().map_err(anyhow::Error::msg).with_context(shown)
}
