//! The verbs of configuration templates.

use crate::arguments::Output;
use crate::ask::{Asker, escaped};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use weft_netboot::boot::Whom;
use weft_netboot::boot::template::Kind;
use weft_netboot::io::client::Target;
use weft_netboot::io::service::now;
use weft_netboot::show;

/// Lines around what differs.
const CONTEXT: usize = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum Templates {
    /// All of them, and who gets which
    #[command(alias = "ls")]
    List,
    /// What one says
    #[command(alias = "get")]
    Show {
        /// Its name; NAME@VERSION: as it was
        name: String,
    },
    /// Set one: rendered and checked for every machine that gets it, before any can boot it
    Set {
        /// Its name
        name: String,
        /// ignition, user-data, meta-data, vendor-data, network-config, or part: what others include
        #[arg(long)]
        kind: Kind,
        /// The file; - reads standard input
        file: PathBuf,
    },
    /// Say what one said before again; its newest version is forgotten
    Rollback {
        /// Its name
        name: String,
    },
    /// Remove one that nobody gets
    #[command(alias = "rm")]
    Remove {
        /// Its name
        name: String,
    },
    /// Say which template a machine, a role or everybody else gets
    Pin {
        /// Its name; `none`: nothing of their own
        to: String,
        /// What it is for
        #[arg(long)]
        kind: Kind,
        /// A machine, by its serial number
        #[arg(long, value_name = "SERIAL", conflicts_with_all = ["role", "rest"])]
        machine: Option<String>,
        /// All machines of a role that have nothing of their own
        #[arg(long, conflicts_with = "rest")]
        role: Option<String>,
        /// All other machines
        #[arg(long)]
        rest: bool,
    },
    /// What a machine gets
    Render {
        /// Its serial number
        serial: String,
        /// Of this kind alone
        #[arg(long)]
        kind: Option<Kind>,
    },
    /// What differs between what two machines get, or between two versions (NAME@1 NAME@2)
    Diff {
        /// A serial number, or NAME@VERSION
        a: String,
        /// Another one
        b: String,
        /// Of this kind alone
        #[arg(long)]
        kind: Option<Kind>,
    },
    /// Render what every machine gets; exit code 1 when something is wrong
    Check,
}

pub(crate) async fn run(target: &Target, verb: Templates, output: Output) -> anyhow::Result<()> {
    let asker = Asker { target, output };
    let place = |name: &str| format!("/v1/templates/{}", escaped(name));
    match verb {
        Templates::List => asker.show(&asker.get("/v1/templates").await?, |answer| show::templates(answer, now())),
        Templates::Show { name } => {
            let text = version(&asker, &name).await?;
            asker.show(&json!({ "name": name, "text": text }), |_| text.clone())
        }
        Templates::Set { name, kind, file } => {
            let body = json!({ "kind": kind, "text": read(&file)? });
            let answer = asker.change(Method::PUT, &place(&name), &body).await?;
            asker.show(&answer, |answer| format!("template {name} is at version {}\n", last(answer)))
        }
        Templates::Rollback { name } => {
            let answer = asker.change(Method::POST, &format!("{}/rollback", place(&name)), &Value::Null).await?;
            asker.show(&answer, |answer| format!("template {name} is at version {} again\n", last(answer)))
        }
        Templates::Remove { name } => {
            let answer = asker.change(Method::DELETE, &place(&name), &Value::Null).await?;
            asker.show(&answer, |_| format!("template {name} is removed\n"))
        }
        Templates::Pin { to, kind, machine, role, rest } => {
            let whom = match (machine, role) {
                (Some(serial), _) => Whom::Machine(serial),
                (None, Some(role)) => Whom::Role(role),
                (None, None) if rest => Whom::Rest,
                (None, None) => bail!("say whose: --machine SERIAL, --role ROLE or --rest"),
            };
            let to = (to != "none").then_some(to);
            let body = json!({ "whom": whom, "kind": kind, "to": to });
            let answer = asker.change(Method::PUT, "/v1/template-pins", &body).await?;
            asker.show(&answer, |answer| show::templates(answer, now()))
        }
        Templates::Render { serial, kind } => {
            let answer = machine(&asker, &serial, kind).await?;
            asker.show(&answer, joined)
        }
        Templates::Diff { a, b, kind } => {
            let (old, new) = (side(&asker, &a, kind).await?, side(&asker, &b, kind).await?);
            let colour = std::io::stdout().is_terminal();
            asker.show(&json!({ "diff": unified((&a, &old), (&b, &new), false) }), |_| {
                unified((&a, &old), (&b, &new), colour)
            })
        }
        Templates::Check => {
            let answer = asker.change(Method::POST, "/v1/template-check", &Value::Null).await?;
            let wrong = answer["wrong"].as_array().map_or(0, Vec::len);
            asker.show(&answer, show::checked)?;
            if wrong == 0 { Ok(()) } else { bail!("{wrong} are wrong") }
        }
    }
}

fn last(answer: &Value) -> u64 {
    answer["versions"]
        .as_array()
        .and_then(|all| all.last())
        .and_then(|last| last["number"].as_u64())
        .unwrap_or_default()
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| file.display().to_string())
}

/// What a template says, or said.
async fn version(asker: &Asker<'_>, said: &str) -> anyhow::Result<String> {
    let (name, number) = said.rsplit_once('@').map_or((said, None), |(name, number)| (name, Some(number)));
    let answer = asker.get(&format!("/v1/templates/{}", escaped(name))).await?;
    let all = answer["versions"].as_array().cloned().unwrap_or_default();
    let found = match number {
        None => all.last(),
        Some(number) => all.iter().find(|version| version["number"].as_u64() == number.parse().ok()),
    };
    let kept: Vec<String> = all.iter().map(|version| version["number"].to_string()).collect();
    let found = found.with_context(|| format!("{said}: there is no such version: {} are kept", kept.join(", ")))?;
    Ok(found["text"].as_str().unwrap_or_default().to_owned())
}

/// What a machine gets, of one kind or all.
async fn machine(asker: &Asker<'_>, serial: &str, kind: Option<Kind>) -> anyhow::Result<Value> {
    let mut answer = asker.get(&format!("/v1/machines/{}/config", escaped(serial))).await?;
    if let (Some(kind), Some(all)) = (kind, answer.as_object_mut()) {
        all.retain(|name, _| name == kind.name());
    }
    Ok(answer)
}

fn joined(answer: &Value) -> String {
    let mut text = String::new();
    for (kind, made) in answer.as_object().into_iter().flatten() {
        let (template, version) = (made["template"].as_str().unwrap_or_default(), &made["version"]);
        let _ = writeln!(text, "# {kind}: {template}@{version}");
        let made = made["text"].as_str().map_or_else(|| format!("WRONG: {}", made["wrong"]["reason"]), str::to_owned);
        text.push_str(&made);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    if text.is_empty() { "nobody said which templates it gets\n".to_owned() } else { text }
}

async fn side(asker: &Asker<'_>, said: &str, kind: Option<Kind>) -> anyhow::Result<String> {
    if said.contains('@') {
        return version(asker, said).await;
    }
    Ok(joined(&machine(asker, said, kind).await?))
}

/// As `diff -u` says it.
fn unified((a, old): (&str, &str), (b, new): (&str, &str), colour: bool) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut text = String::new();
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        if text.is_empty() {
            let _ = writeln!(text, "--- {a}\n+++ {b}");
        }
        let _ = writeln!(text, "{}", hunk.header());
        for change in hunk.iter_changes() {
            let (sign, paint) = match change.tag() {
                ChangeTag::Delete => ('-', "\u{1b}[31m"),
                ChangeTag::Insert => ('+', "\u{1b}[32m"),
                ChangeTag::Equal => (' ', ""),
            };
            let line = change.value().trim_end_matches('\n');
            let painted = colour && !paint.is_empty();
            let _ =
                if painted { writeln!(text, "{paint}{sign}{line}\u{1b}[0m") } else { writeln!(text, "{sign}{line}") };
        }
    }
    text
}
