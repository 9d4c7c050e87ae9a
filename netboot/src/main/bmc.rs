//! The verbs of management controllers: of one machine or many at the same time.

use crate::arguments::Output;
use crate::ask::{Asker, escaped};
use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};
use futures_util::StreamExt as _;
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use weft_netboot::bmc::power::Wish;
use weft_netboot::bmc::{BootFrom, Mode};
use weft_netboot::io::bmc::Shown;
use weft_netboot::io::client::Target;
use weft_netboot::show;

/// Machines that are spoken of at a time.
const AT_ONCE: usize = 16;
/// Between two looks at a wish.
const LOOK: Duration = Duration::from_millis(500);
/// How long a server that does not answer is waited for: another one goes on with the wish, and answers at the same service address.
const AWAY: Duration = Duration::from_secs(60);
/// Longest wait for a wish: longer than the server itself tries.
const LONGEST: Duration = Duration::from_secs(3 * 3_600);

#[derive(Debug, Subcommand)]
pub(crate) enum Bmcs {
    /// Ask controllers (Redfish, or IPMI where there is none) for power, boot source and model, with the last wish
    #[command(alias = "show")]
    Status {
        /// Serial numbers, names, or a query as rack=0 role=cs
        #[arg(required = true, value_name = "MACHINE|KEY=VALUE")]
        machines: Vec<String>,
    },
    /// Give power, take it, or both: soft first, then hard, until the controller says so for a while
    Power {
        /// What is wished
        #[arg(value_enum)]
        wish: WishWord,
        /// Serial numbers, names, or a query as rack=0 role=cs
        #[arg(required = true, value_name = "MACHINE|KEY=VALUE")]
        machines: Vec<String>,
        /// Do not ask the operating system
        #[arg(long)]
        hard: bool,
        /// Wait for the end, whichever server has it, and say how far it is meanwhile; the exit code says whether all went well
        #[arg(long)]
        wait: bool,
    },
    /// Say what firmware boots the next time
    Boot {
        /// From where; `none`: as its own settings say
        #[arg(value_enum)]
        from: FromWord,
        /// Serial numbers, names, or a query as rack=0 role=cs
        #[arg(required = true, value_name = "MACHINE|KEY=VALUE")]
        machines: Vec<String>,
        /// Each time, and not only the next
        #[arg(long)]
        always: bool,
        /// How firmware starts [default: as it is]
        #[arg(long, value_enum)]
        mode: Option<ModeWord>,
        /// What it loads by HTTP [default: what DHCP says]
        #[arg(long, value_name = "URL")]
        uri: Option<String>,
    },
    /// Forget the certificate of a controller that was replaced, and how it is asked: both are learned anew
    Forget {
        /// Serial numbers, names, or a query as rack=0 role=cs
        #[arg(required = true, value_name = "MACHINE|KEY=VALUE")]
        machines: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum WishWord {
    /// Power
    On,
    /// No power
    Off,
    /// Off, then on
    Restart,
    /// The same, without asking the operating system
    Cycle,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FromWord {
    /// As its own settings say
    None,
    /// The network, by PXE
    Pxe,
    /// The network, by UEFI HTTP (IPMI cannot say it)
    Http,
    /// Its disk
    Disk,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ModeWord {
    /// UEFI
    Uefi,
    /// BIOS
    Legacy,
}

pub(crate) async fn run(target: &Target, verb: Bmcs, output: Output) -> anyhow::Result<()> {
    let asker = Asker { target, output };
    let (machines, method, what, body, wait) = match verb {
        Bmcs::Status { machines } => (machines, Method::GET, "", Value::Null, false),
        Bmcs::Power { wish, machines, hard, wait } => {
            let wish = match wish {
                WishWord::On => Wish::On,
                WishWord::Off => Wish::Off,
                WishWord::Restart => Wish::Restart,
                WishWord::Cycle => Wish::Cycle,
            };
            (machines, Method::POST, "/power", json!({ "wish": wish, "hard": hard }), wait)
        }
        Bmcs::Boot { from, machines, always, mode, uri } => {
            let from = match from {
                FromWord::None => BootFrom::None,
                FromWord::Pxe => BootFrom::Pxe,
                FromWord::Http => BootFrom::Http,
                FromWord::Disk => BootFrom::Disk,
            };
            let mode = mode.map(|mode| match mode {
                ModeWord::Uefi => Mode::Uefi,
                ModeWord::Legacy => Mode::Legacy,
            });
            let body = json!({ "from": from, "once": !always, "mode": mode, "uri": uri });
            (machines, Method::PUT, "/boot", body, false)
        }
        Bmcs::Forget { machines } => (machines, Method::DELETE, "/certificate", Value::Null, false),
    };
    let serials = asker.meant(&machines).await?;
    let (asker, method, body) = (&asker, &method, &body);
    let asked = serials.into_iter().map(|serial| async move {
        let said = asker.one(&serial, method.clone(), what, body, wait).await;
        (serial, said.map_err(|error| format!("{error:#}")))
    });
    let all: Vec<(String, Result<Shown, String>)> = futures_util::stream::iter(asked).buffered(AT_ONCE).collect().await;
    let entry = |(serial, shown): &(String, Result<Shown, String>)| match shown {
        Ok(shown) => json!(shown),
        Err(error) => json!({ "serial": serial, "error": error }),
    };
    let document = json!({ "machines": all.iter().map(entry).collect::<Vec<_>>() });
    asker.show(&document, |_| show::bmcs(&all))?;
    let is_failed = |shown: &Result<Shown, String>| {
        let end = |shown: &Shown| shown.task.as_ref().and_then(|task| task.end.clone());
        shown.as_ref().map_or(true, |shown| wait && end(shown).as_deref() != Some("done"))
    };
    match all.iter().filter(|(_, shown)| is_failed(shown)).count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} machines: not done", all.len()),
    }
}

impl Asker<'_> {
    /// The serial numbers of the machines that words mean: all pairs together are one query.
    async fn meant(&self, words: &[String]) -> anyhow::Result<Vec<String>> {
        let (pairs, names): (Vec<&String>, Vec<&String>) = words.iter().partition(|word| word.contains('='));
        let mut serials = Vec::new();
        for name in names {
            let found = self.serials(&format!("serial={}", escaped(name))).await?;
            let found = if found.is_empty() { self.serials(&format!("name={}", escaped(name))).await? } else { found };
            let one = found.into_iter().next().with_context(|| format!("there is no machine `{name}`"))?;
            serials.push(one);
        }
        if !pairs.is_empty() {
            let query: Vec<String> = pairs
                .iter()
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| format!("{}={}", escaped(key), escaped(value)))
                .collect();
            let found = self.serials(&query.join("&")).await?;
            anyhow::ensure!(!found.is_empty(), "no machine is meant by the query");
            serials.extend(found);
        }
        serials.sort();
        serials.dedup();
        Ok(serials)
    }

    async fn serials(&self, query: &str) -> anyhow::Result<Vec<String>> {
        let mut serials: Vec<String> = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.get(&format!("/v1/machines?{query}{after}")).await?;
            let machines = page["machines"].as_array().into_iter().flatten();
            serials.extend(machines.filter_map(|machine| machine["serial"].as_str()).map(str::to_owned));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", escaped(next)),
                None => return Ok(serials),
            }
        }
    }

    async fn one(&self, serial: &str, method: Method, what: &str, body: &Value, wait: bool) -> anyhow::Result<Shown> {
        let place = format!("/v1/bmc/{}", escaped(serial));
        let answer = match method {
            Method::GET => self.get(&format!("{place}?ask=true")).await?,
            method => self.change(method, &format!("{place}{what}"), body).await?,
        };
        let mut shown: Shown = serde_json::from_value(answer)?;
        let (mut said, began) = (String::new(), Instant::now());
        let since = shown.task.as_ref().map(|task| task.since);
        while wait && began.elapsed() < LONGEST {
            let Some(task) = &shown.task else { break };
            anyhow::ensure!(Some(task.since) == since, "another wish took its place: `{}` by {}", task.wish, task.who);
            if task.says != said {
                said.clone_from(&task.says);
                eprintln!("{:>5}s {} {}: {said}", task.seconds, shown.name, task.wish);
            }
            if task.end.is_some() {
                break;
            }
            tokio::time::sleep(LOOK).await;
            shown = serde_json::from_value(self.again(&place).await?)?;
        }
        Ok(shown)
    }

    /// An answer of the server, or of whoever has its address when it is away.
    async fn again(&self, place: &str) -> anyhow::Result<Value> {
        let began = Instant::now();
        let mut complained = false;
        loop {
            let why = match self.target.ask(Method::GET, place, None).await {
                Ok(said) if said.status < 500 => return said.document(),
                Ok(said) => said.document().err(),
                Err(error) => Some(error),
            };
            let why = why.context("no answer").unwrap_or_else(|error| error);
            if began.elapsed() > AWAY {
                return Err(why);
            }
            if !complained {
                eprintln!("       waits for a server: {why:#}");
            }
            complained = true;
            tokio::time::sleep(LOOK).await;
        }
    }
}
