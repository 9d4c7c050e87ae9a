//! The verbs of images: what is on this machine becomes an image of the server.

use crate::arguments::Output;
use crate::ask::{Asker, escaped};
use crate::build::Build;
use anyhow::{Context as _, bail};
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use weft_netboot::boot::pull::Spread;
use weft_netboot::boot::rollout;
use weft_netboot::boot::{Blob, Boots, Choice, Image, Whom};
use weft_netboot::io::client::Target;
use weft_netboot::io::service::now;
use weft_netboot::show;

#[derive(Debug, Subcommand)]
pub(crate) enum Images {
    /// All of them, with who boots which
    #[command(alias = "ls")]
    List,
    /// The files of one, and which servers have them
    #[command(alias = "get")]
    Show {
        /// Its name
        name: String,
    },
    /// Add one, or change it: its files go to the server, unless it has them
    Add {
        /// Its name
        name: String,
        /// Linux
        #[arg(long, value_name = "FILE")]
        kernel: PathBuf,
        /// Its initial file system (may be given several times: each is laid over those before)
        #[arg(long, value_name = "FILE")]
        initrd: Vec<PathBuf>,
        /// Its command line
        #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
        cmdline: String,
    },
    /// Make weft's initial file system from a kernel and static programs, and add it: a machine that boots it is a routed host
    /// before it has a root file system
    Build(Box<Build>),
    /// Remove one that nobody boots; its files stay until `gc`
    #[command(alias = "rm")]
    Remove {
        /// Its name
        name: String,
    },
    /// Say what a machine, a role or everybody else boots
    Pin {
        /// An image; `disk`: the machine's own disk; `none`: nothing of their own
        to: String,
        /// A machine, by its serial number
        #[arg(long, value_name = "SERIAL", conflicts_with_all = ["role", "rest"])]
        machine: Option<String>,
        /// All machines of a role that have nothing of their own
        #[arg(long, conflicts_with = "rest")]
        role: Option<String>,
        /// Everybody else: machines that nobody registered too
        #[arg(long)]
        rest: bool,
        /// Of the role only so many of a hundred machines, as `10%`; who is chosen stays chosen when it grows
        #[arg(long, value_name = "PERCENT", requires = "role")]
        canary: Option<String>,
        /// How long a machine of the canary may take to become healthy again
        #[arg(long, value_name = "SECONDS", requires = "canary", default_value_t = rollout::WITHIN_S)]
        within: u32,
        /// Also when a machine failed with the canary
        #[arg(long, requires = "canary")]
        force: bool,
    },
    /// Who boots what and why, and how the machines of canaries fare
    Pins,
    /// What some machines of a role try, all of them boot
    Promote {
        /// Which role
        #[arg(long)]
        role: String,
        /// Also when a machine failed with it
        #[arg(long)]
        force: bool,
    },
    /// Undo the last change of what a role boots: its canary ends, or its machines boot what they booted before
    Rollback {
        /// Which role
        #[arg(long)]
        role: String,
    },
    /// What a TPM says after a machine loaded an image as one file by UEFI: PCR 4 (programs that firmware started) and 11 (what is in the file)
    Pcrs {
        /// An image; that which the machine boots, unless given
        #[arg(required_unless_present = "machine")]
        name: Option<String>,
        /// With what this machine has of its own in it, by its serial number
        #[arg(long, value_name = "SERIAL")]
        machine: Option<String>,
    },
    /// Delete the files that no image has, and that are older than an hour, from the server that is asked
    Gc,
}

pub(crate) async fn run(target: &Target, verb: Images, output: Output) -> anyhow::Result<()> {
    let asker = Asker { target, output };
    let place = |name: &str| format!("/v1/boot/images/{}", escaped(name));
    match verb {
        Images::List => {
            let answer = asker.get("/v1/boot").await?;
            let boots: Boots = serde_json::from_value(answer.clone())?;
            let pins = asker.get("/v1/boot/pins").await?;
            asker.show(&answer, |_| show::images(&boots) + &show::held(&pins))
        }
        Images::Show { name } => {
            let answer = asker.get(&place(&name)).await?;
            let image: Image = serde_json::from_value(answer["image"].clone())?;
            let files: Vec<Spread> = serde_json::from_value(answer["files"].clone())?;
            asker.show(&answer, |_| show::image(&image, &files))
        }
        Images::Add { name, kernel, initrd, cmdline } => {
            let has = asker.get("/v1/boot/files").await?;
            let kernel = bring(target, &has, &kernel).await?;
            let mut initrds = Vec::new();
            for file in &initrd {
                initrds.push(bring(target, &has, file).await?);
            }
            let body = json!({ "kernel": kernel, "initrds": initrds, "cmdline": cmdline });
            let image = asker.change(Method::PUT, &place(&name), &body).await?;
            let image: Image = serde_json::from_value(image)?;
            asker.show(&json!(image), |_| show::image(&image, &[]))
        }
        Images::Build(build) => make(&asker, *build).await,
        Images::Remove { name } => {
            asker.change(Method::DELETE, &place(&name), &Value::Null).await?;
            asker.show(&json!({ "removed": name }), |_| format!("image {name} is removed\n"))
        }
        Images::Pin { to, role: Some(role), canary: Some(percent), within, force, .. } => {
            let percent: u8 = percent.trim_end_matches('%').parse().context("--canary: write a percentage, as 10%")?;
            let wish = json!({ "role": role, "to": to, "percent": percent, "within_s": within, "force": force });
            let answer = asker.change(Method::PUT, "/v1/boot/canary", &wish).await?;
            asker.show(&answer, |answer| show::pins(answer, now()))
        }
        Images::Pins => asker.show(&asker.get("/v1/boot/pins").await?, |answer| show::pins(answer, now())),
        Images::Promote { role, force } => {
            let wish = json!({ "role": role, "force": force });
            let answer = asker.change(Method::POST, "/v1/boot/promote", &wish).await?;
            asker.show(&answer, show::rolled)
        }
        Images::Rollback { role } => {
            let answer = asker.change(Method::POST, "/v1/boot/rollback", &json!({ "role": role })).await?;
            asker.show(&answer, show::rolled)
        }
        Images::Pin { to, machine, role, rest, .. } => {
            let whom = match (machine, role) {
                (Some(serial), _) => Whom::Machine(serial),
                (None, Some(role)) => Whom::Role(role),
                (None, None) if rest => Whom::Rest,
                (None, None) => bail!("say whose: --machine SERIAL, --role ROLE or --rest"),
            };
            let to = (to != "none").then(|| Choice::from(to));
            let answer = asker.change(Method::PUT, "/v1/boot/pin", &json!({ "whom": whom, "to": to })).await?;
            let boots: Boots = serde_json::from_value(answer.clone())?;
            asker.show(&answer, |_| show::images(&boots))
        }
        Images::Pcrs { name, machine } => predicted(&asker, name.as_deref(), machine.as_deref()).await,
        Images::Gc => {
            let answer = asker.change(Method::POST, "/v1/boot/gc", &Value::Null).await?;
            let files = || answer["files"].as_array().into_iter().flatten();
            let octets: u64 = files().filter_map(|file| file["bytes"].as_u64()).sum();
            asker.show(&answer, |_| format!("{} files are deleted, {octets} octets\n", files().count()))
        }
    }
}

/// Builds an image, and brings it to the server.
async fn make(asker: &Asker<'_>, build: Build) -> anyhow::Result<()> {
    let built = crate::build::build(&build)?;
    let target = asker.target;
    let has = asker.get("/v1/boot/files").await?;
    let kernel = bring(target, &has, &build.kernel).await.context("--kernel")?;
    let scratch = std::env::temp_dir().join(format!("weft-netboot-{}.initrd", std::process::id()));
    let at = build.out.as_ref().unwrap_or(&scratch);
    std::fs::write(at, &built.octets).with_context(|| at.display().to_string())?;
    let initrd = bring(target, &has, at).await;
    let _ = std::fs::remove_file(&scratch);
    let start = match (&build.root, &build.disk) {
        (Some(root), _) => json!({ "load": bring(target, &has, root).await.context("--root")? }),
        (None, Some(device)) => json!({ "disk": device }),
        (None, None) => json!("run"),
    };
    let body = json!({ "kernel": kernel, "initrds": [initrd?], "cmdline": build.cmdline, "start": start });
    let path = format!("/v1/boot/images/{}", escaped(&build.name));
    let image = asker.change(Method::PUT, &path, &body).await?;
    let image: Image = serde_json::from_value(image)?;
    asker.show(&json!(image), |_| format!("{}{}", show::image(&image, &[]), show::parts(&built.parts)))
}

/// The PCRs that a machine will have.
async fn predicted(asker: &Asker<'_>, name: Option<&str>, machine: Option<&str>) -> anyhow::Result<()> {
    let said = [("image", name), ("machine", machine)];
    let said = said.iter().filter_map(|(key, value)| value.map(|value| format!("{key}={}", escaped(value))));
    let answer = asker.get(&format!("/v1/boot/pcrs?{}", said.collect::<Vec<_>>().join("&"))).await?;
    asker.show(&answer, show::pcrs)
}

/// A file of this machine, which the server has afterwards.
async fn bring(target: &Target, has: &Value, file: &Path) -> anyhow::Result<Blob> {
    let blob = weft_netboot::io::boot::blobs::digest(file).with_context(|| file.display().to_string())?;
    let same = |found: &Value| found["sha256"] == blob.sha256.as_str() && found["bytes"] == blob.bytes;
    if has["files"].as_array().is_some_and(|files| files.iter().any(same)) {
        return Ok(blob);
    }
    let path = format!("/v1/boot/files/{}", blob.sha256);
    target.upload(&path, file).await.with_context(|| file.display().to_string())?.document()?;
    Ok(blob)
}
