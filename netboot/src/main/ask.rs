//! Verbs that ask a server, and how its answers are printed.

use crate::arguments::{Enrol, Fabric, Ipam, Liveness, Machines, Migration, Output, Sabakan, Setting, Verb};
use anyhow::Context as _;
use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use weft_netboot::config;
use weft_netboot::inventory::audit::AuditLine;
use weft_netboot::inventory::command::REGISTER_MAX;
use weft_netboot::inventory::machine::Machine;
use weft_netboot::inventory::state::State;
use weft_netboot::io::client::Target;
use weft_netboot::io::service::now;
use weft_netboot::sabakan::{IpamConfig, MachineFile};
use weft_netboot::show;

/// Everything but what stands in paths and queries for itself.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b',').remove(b'~');

pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

pub(crate) async fn run(target: &Target, verb: Verb, output: Output) -> anyhow::Result<()> {
    let asker = Asker { target, output };
    match verb {
        Verb::Machines(verb) => asker.machines(verb).await,
        Verb::Enrol(verb) => asker.enrol(verb).await,
        Verb::Ipam(Ipam::Get) => asker.print(&asker.get("/v1/ipam").await?),
        Verb::Ipam(Ipam::Set { file }) => asker.set("/v1/ipam", &file).await,
        Verb::Ipam(Ipam::Plan { file }) => {
            let answer = asker.change(Method::POST, "/v1/ipam/plan", &read(&file)?).await?;
            asker.show(&answer, show::preview)
        }
        Verb::Ipam(Ipam::Migrate { file }) => asker.migration("", &read(&file)?).await,
        Verb::Ipam(Ipam::Migration(verb)) => match verb {
            Migration::Show => asker.show(&asker.get("/v1/ipam/migration").await?, show::migration),
            Migration::Finish => asker.migration("/finish", &Value::Null).await,
            Migration::Abort => asker.migration("/abort", &Value::Null).await,
            Migration::Confirm { serials } => {
                let body = json!({ "serials": serials });
                let answer = asker.change(Method::POST, "/v1/ipam/migration/confirm", &body).await?;
                asker.show(&answer, |answer| format!("{} machines are through\n", answer["confirmed"]))
            }
        },
        Verb::Ipam(Ipam::Explain { address }) => {
            let answer = asker.get(&format!("/v1/ipam/explain/{}", escaped(&address.to_string()))).await?;
            asker.show(&answer, show::meaning)
        }
        Verb::Plan(setting) => asker.setting("/v1/plan", setting).await,
        Verb::Dhcp(setting) => asker.setting("/v1/dhcp", setting).await,
        Verb::Leases { all } => asker.leases(all).await,
        Verb::Fabric(Fabric::Config { name }) => {
            let said = target.ask(Method::GET, &format!("/v1/fabric/config/{}", escaped(&name)), None).await?;
            if said.status != 200 {
                said.document()?;
            }
            Ok(std::io::stdout().write_all(&said.body)?)
        }
        Verb::Liveness(Liveness::Show) => asker.show(&asker.get("/v1/liveness").await?, show::liveness),
        Verb::Liveness(Liveness::Thaw) => {
            let answer = asker.change(Method::POST, "/v1/liveness/thaw", &Value::Null).await?;
            println!("{}", answer["done"].as_str().unwrap_or_default());
            Ok(())
        }
        Verb::Audit { subject, since, until, limit } => {
            let mut pairs = vec![format!("limit={limit}")];
            pairs.extend(subject.map(|subject| format!("subject={}", escaped(&subject))));
            pairs.extend(since.map(|time| format!("since={}", escaped(&time.to_string()))));
            pairs.extend(until.map(|time| format!("until={}", escaped(&time.to_string()))));
            let answer = asker.get(&format!("/v1/audit?{}", pairs.join("&"))).await?;
            let entries: Vec<AuditLine> = serde_json::from_value(answer["entries"].clone())?;
            asker.show(&answer, |_| show::audit(&entries))
        }
        Verb::Sabakan(Sabakan::Import { ipam, dhcp, machines }) => {
            asker.import(ipam.as_deref(), dhcp.as_deref(), machines.as_deref()).await
        }
        // `main` has taken these.
        Verb::Image(_)
        | Verb::Template(_)
        | Verb::Bmc(_)
        | Verb::Keys(_)
        | Verb::Serve { .. }
        | Verb::Check { .. }
        | Verb::Agent { .. }
        | Verb::Store(_)
        | Verb::RenderTemplates
        | Verb::Tls(_)
        | Verb::Completions { .. } => Ok(()),
    }
}

pub(crate) struct Asker<'a> {
    pub(crate) target: &'a Target,
    pub(crate) output: Output,
}

impl Asker<'_> {
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.target.ask(Method::GET, path, None).await?.document()
    }

    pub(crate) async fn change(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.target.ask(method, path, Some(body)).await?.document()
    }

    async fn set(&self, path: &str, file: &Path) -> anyhow::Result<()> {
        let document: Value = read(file)?;
        self.change(Method::PUT, path, &document).await?;
        println!("{} is set", path.trim_start_matches("/v1/"));
        Ok(())
    }

    async fn migration(&self, what: &str, body: &Value) -> anyhow::Result<()> {
        let answer = self.change(Method::POST, &format!("/v1/ipam/migration{what}"), body).await?;
        self.show(&answer, show::migration)
    }

    /// All pages in one document.
    async fn leases(&self, all: bool) -> anyhow::Result<()> {
        let mut document = self.get(&format!("/v1/leases?all={all}")).await?;
        while let Some(next) = document["next"].as_str().map(escaped) {
            let mut page = self.get(&format!("/v1/leases?all={all}&after={next}")).await?;
            if let (Some(all), Some(more)) = (document["leases"].as_array_mut(), page["leases"].as_array_mut()) {
                all.append(more);
            }
            document["next"] = page["next"].take();
        }
        self.show(&document, |answer| show::leases(answer, now()))
    }

    async fn setting(&self, path: &str, setting: Setting) -> anyhow::Result<()> {
        match setting {
            Setting::Get => self.print(&self.get(path).await?),
            Setting::Set { file } => self.set(path, &file).await,
        }
    }

    async fn machines(&self, verb: Machines) -> anyhow::Result<()> {
        let place = |serial: &str, what: &str| format!("/v1/machines/{}{what}", escaped(serial));
        match verb {
            Machines::List { query } => self.list(&query).await,
            Machines::Show { serial } => {
                let answer = self.get(&place(&serial, "")).await?;
                let boots = self.get(&place(&serial, "/boots")).await?;
                let machine: Machine = serde_json::from_value(answer.clone())?;
                self.show(&answer, |_| show::machine(&machine, now()) + &show::boots(&boots, now()))?;
                self.disk_keys(&serial).await
            }
            Machines::Release { serial } => {
                let answer = self.change(Method::POST, &place(&serial, "/release"), &Value::Null).await?;
                self.show(&answer, |_| format!("{serial} may boot\n"))
            }
            Machines::Register { file } => {
                let answer = self.change(Method::POST, "/v1/machines", &read(&file)?).await?;
                let machines: Vec<Machine> = serde_json::from_value(answer["machines"].clone())?;
                self.show(&answer, |answer| show::machines(&machines, &answer["evidence"], now()))
            }
            Machines::SetState { serial, state, reason } => {
                let body = json!({ "state": state, "reason": reason });
                self.machine(&self.change(Method::PUT, &place(&serial, "/state"), &body).await?)
            }
            Machines::Label { serial, set, remove } => {
                let body = json!({ "set": labels(&set)?, "remove": remove });
                self.machine(&self.change(Method::PATCH, &place(&serial, "/labels"), &body).await?)
            }
            Machines::Retire { serial, at } => {
                let body = json!({ "at": at });
                self.machine(&self.change(Method::PUT, &place(&serial, "/retires"), &body).await?)
            }
            Machines::Announce { serial, prefixes } => {
                self.machine(&self.change(Method::PUT, &place(&serial, "/announces"), &json!(prefixes)).await?)
            }
            Machines::Report { serial, file } => {
                self.machine(&self.change(Method::PUT, &place(&serial, "/report"), &read(&file)?).await?)
            }
            Machines::Remove { serial } => {
                self.change(Method::DELETE, &place(&serial, ""), &Value::Null).await?;
                println!("{serial} is removed");
                Ok(())
            }
            Machines::Watch { since } => {
                let since = since.map(|since| format!("?since={since}")).unwrap_or_default();
                self.target.stream(&format!("/v1/watch/machines{since}"), &mut std::io::stdout()).await
            }
        }
    }

    async fn enrol(&self, verb: Enrol) -> anyhow::Result<()> {
        let place = |serial: &str, what: &str| format!("/v1/enrol/candidates/{}{what}", escaped(serial));
        match verb {
            Enrol::List => {
                let answer = self.get("/v1/enrol/candidates").await?;
                self.show(&answer, |answer| show::candidates(answer, now()))
            }
            Enrol::Accept { serial, role, rack, index, name, label } => {
                let body =
                    json!({ "role": role, "rack": rack, "index": index, "name": name, "labels": labels(&label)? });
                self.machine(&self.change(Method::POST, &place(&serial, "/accept"), &body).await?)
            }
            Enrol::Reject { serial, reason } => {
                let body = json!({ "reason": reason });
                let answer = self.change(Method::POST, &place(&serial, "/reject"), &body).await?;
                self.show(&answer, |_| format!("{serial} is rejected\n"))
            }
            Enrol::Forget { serial } => {
                self.change(Method::DELETE, &place(&serial, ""), &Value::Null).await?;
                println!("{serial} is forgotten");
                Ok(())
            }
            Enrol::Report { file, open } => {
                let target = open.map_or_else(|| self.target.clone(), Target::Open);
                let body: Value = read(&file)?;
                let answer = target.ask(Method::POST, "/v1/enrol", Some(&body)).await?.document()?;
                self.show(&answer, |answer| {
                    let why = answer["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
                    let is = answer["is"].as_str().unwrap_or_default();
                    format!("{} is {is}{why}\n", body["serial"].as_str().unwrap_or_default())
                })
            }
            Enrol::Rules(setting) => self.setting("/v1/enrol/rules", setting).await,
        }
    }

    /// All pages in one document.
    async fn list(&self, query: &[String]) -> anyhow::Result<()> {
        let mut pairs = Vec::new();
        for pair in query {
            let (key, value) = pair.split_once('=').with_context(|| format!("`{pair}`: write KEY=VALUE, as rack=0"))?;
            pairs.push(format!("{}={}", escaped(key), escaped(value)));
        }
        let mut whole: Option<Value> = None;
        loop {
            let next = whole.as_ref().and_then(|whole| whole["next"].as_str()).map(escaped);
            let after = next.map(|next| format!("after={next}"));
            let asked: Vec<String> = pairs.iter().cloned().chain(after).collect();
            let mut page = self.get(&format!("/v1/machines?{}", asked.join("&"))).await?;
            if let Some(whole) = &mut whole {
                if let (Some(all), Some(more)) = (whole["machines"].as_array_mut(), page["machines"].as_array_mut()) {
                    all.append(more);
                }
                whole["next"] = page["next"].take();
                if let (Some(all), Some(more)) = (whole["evidence"].as_object_mut(), page["evidence"].as_object_mut()) {
                    all.append(more);
                }
            } else {
                whole = Some(page);
            }
            if let Some(document) = whole.take_if(|whole| whole["next"].as_str().is_none()) {
                let machines: Vec<Machine> = serde_json::from_value(document["machines"].clone())?;
                return self.show(&document, |answer| show::machines(&machines, &answer["evidence"], now()));
            }
        }
    }

    /// How a machine's disk keys are given out, for people: by a TPM, or in a weaker way.
    async fn disk_keys(&self, serial: &str) -> anyhow::Result<()> {
        if self.output != Output::Table {
            return Ok(());
        }
        let path = format!("/v1/keys/machines/{}", escaped(serial));
        let answer = self.target.ask(Method::GET, &path, None).await?;
        let Ok(shown) = serde_json::from_slice::<weft_netboot::keys::Shown>(&answer.body) else { return Ok(()) };
        if shown.disks.is_empty() {
            return Ok(());
        }
        Ok(write!(std::io::stdout(), "\n{}", show::keys::keys(&[shown], now()))?)
    }

    fn machine(&self, answer: &Value) -> anyhow::Result<()> {
        let machine: Machine = serde_json::from_value(answer.clone())?;
        self.show(answer, |_| show::machine(&machine, now()))
    }

    async fn import(&self, ipam: Option<&Path>, dhcp: Option<&Path>, machines: Option<&Path>) -> anyhow::Result<()> {
        if let Some(file) = ipam {
            let config: IpamConfig = read(file)?;
            let plan = config.into_ipam().map_err(|refusal| anyhow::anyhow!("{}: {refusal}", file.display()))?;
            self.change(Method::PUT, "/v1/ipam", &serde_json::to_value(plan)?).await?;
            println!("ipam is set");
        }
        if let Some(file) = dhcp {
            self.change(Method::PUT, "/api/v1/config/dhcp", &read(file)?).await?;
            println!("dhcp is set");
        }
        if let Some(file) = machines {
            let files: Vec<MachineFile> = read(file)?;
            for part in files.chunks(REGISTER_MAX) {
                let specs: Vec<_> = part.iter().cloned().map(MachineFile::into_spec).collect();
                self.change(Method::POST, "/v1/machines", &serde_json::to_value(&specs)?).await?;
                for (file, spec) in part.iter().zip(&specs) {
                    self.restore(file, &spec.serial).await?;
                }
                println!("{} machines are registered", specs.len());
            }
        }
        Ok(())
    }

    /// The state that Sabakan knew, by ways that are allowed.
    async fn restore(&self, file: &MachineFile, serial: &str) -> anyhow::Result<()> {
        let MachineFile::Known { status, .. } = file else { return Ok(()) };
        let steps: &[State] = match status.state {
            State::Uninitialized => &[],
            State::Healthy => &[State::Healthy],
            State::Unhealthy => &[State::Unhealthy],
            State::Unreachable => &[State::Unreachable],
            State::Updating => &[State::Healthy, State::Updating],
            State::Retiring => &[State::Retiring],
            State::Retired => &[State::Retiring, State::Retired],
        };
        for state in steps {
            let body = json!({ "state": state, "reason": "taken over from Sabakan" });
            self.change(Method::PUT, &format!("/v1/machines/{}/state", escaped(serial)), &body).await?;
        }
        Ok(())
    }

    pub(crate) fn show(&self, answer: &Value, table: impl FnOnce(&Value) -> String) -> anyhow::Result<()> {
        match self.output {
            Output::Table => Ok(std::io::stdout().write_all(table(answer).as_bytes())?),
            Output::Json | Output::Yaml => self.print(answer),
        }
    }

    /// A document; where people look at a plan, YAML is what they write it in.
    fn print(&self, answer: &Value) -> anyhow::Result<()> {
        let text = match self.output {
            Output::Json => format!("{answer:#}\n"),
            Output::Table | Output::Yaml => serde_saphyr::to_string(answer)?,
        };
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}

fn labels(pairs: &[String]) -> anyhow::Result<BTreeMap<&str, &str>> {
    pairs.iter().map(|pair| pair.split_once('=').with_context(|| format!("`{pair}`: write LABEL=VALUE"))).collect()
}

/// YAML or JSON.
fn read<T: serde::de::DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    let name = file.display().to_string();
    let text = if name == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| name.clone())?
    };
    config::parse(&name, &text).map_err(anyhow::Error::msg)
}
