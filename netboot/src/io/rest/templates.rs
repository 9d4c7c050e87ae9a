//! Configuration templates: set, gone back, given to machines; and what a machine gets.

use super::Api;
use super::answer::{Failure, Input, Path, Reply, Who, json};
use super::openapi::{Operation, on};
use crate::boot::Whom;
use crate::boot::rollout::Why;
use crate::boot::template::render::{Renderer, Wrong, boot_servers};
use crate::boot::template::{Change, Kind, Pins, Template, Templates, Version};
use crate::error::{NetbootError, Refusal};
use crate::inventory::access::{Access, Actor};
use crate::inventory::command::Command;
use crate::inventory::machine::Machine;
use crate::io::apart;
use crate::io::service::now;
use axum::extract::State as Shared;
use axum::http::{Method, StatusCode};
use axum::routing::{delete, get, post, put};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Faults in an answer.
const WRONG_MAX: usize = 32;

/// What can be asked about templates.
pub(super) fn operations() -> Vec<Operation> {
    let name = "/v1/templates/{name}";
    vec![
        on(Method::GET, "/v1/templates", get(list), "Templates, and who gets which").needs(Access::Read).gives::<All>(),
        on(Method::GET, name, get(one), "A template with its versions").needs(Access::Read).gives::<Template>(),
        on(Method::PUT, name, put(set), "Set a template: rendered and checked for every machine that gets it")
            .needs(Access::Admin)
            .takes::<Text>()
            .gives::<Template>(),
        on(Method::DELETE, name, delete(remove), "Remove a template that nobody gets").needs(Access::Admin),
        on(Method::POST, "/v1/templates/{name}/rollback", post(roll_back), "Forget its newest version")
            .needs(Access::Admin)
            .gives::<Template>(),
        on(Method::PUT, "/v1/template-pins", put(pin), "Say which template somebody gets")
            .needs(Access::Admin)
            .takes::<Pin>()
            .gives::<All>(),
        on(Method::POST, "/v1/template-check", post(check), "Render what every machine gets")
            .needs(Access::Read)
            .gives::<Checked>(),
        on(Method::GET, "/v1/machines/{serial}/config", get(config), "What templates make for a machine")
            .gives::<BTreeMap<Kind, Made>>(),
    ]
}

/// Templates, without what they say.
#[derive(Serialize, JsonSchema)]
struct All {
    /// By name.
    templates: BTreeMap<String, Line>,
    pins: Pins,
}

#[derive(Serialize, JsonSchema)]
struct Line {
    kind: Kind,
    version: u32,
    at: Timestamp,
    by: String,
    /// Versions that are kept.
    versions: Vec<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Text {
    kind: Kind,
    text: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pin {
    whom: Whom,
    kind: Kind,
    /// The name of a template; null = what those get that have nothing of their own.
    to: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Checked {
    machines: usize,
    /// Texts that were made.
    made: usize,
    /// What was not, some of it.
    wrong: Vec<Wrong>,
}

#[derive(Serialize, JsonSchema)]
struct Made {
    template: String,
    version: u32,
    why: Why,
    /// What comes of it.
    text: Option<String>,
    /// Why nothing does.
    wrong: Option<Wrong>,
}

fn machines(api: &Api) -> Vec<Arc<Machine>> {
    api.service.inventory().machines().cloned().collect()
}

/// Renders away from those who wait for sockets, and without holding what others want to change.
async fn render(api: &Api, templates: Templates) -> Result<(usize, Vec<Wrong>), Failure> {
    let (machines, program) = (machines(api), api.renders.clone());
    let work = tokio::task::spawn_blocking(move || {
        if let Some(program) = program {
            return apart::all(&program, &templates, &machines, WRONG_MAX);
        }
        let all = || machines.iter().map(Arc::as_ref);
        Ok(match Renderer::new(&templates, boot_servers(all())) {
            Ok(renderer) => renderer.all(all(), WRONG_MAX, |_, _| {}),
            Err(wrong) => (0, vec![wrong]),
        })
    });
    let done = work.await.map_err(anyhow::Error::from).flatten();
    done.map_err(|error| NetbootError::Store(format!("templates were not rendered: {error:#}")).into())
}

/// Carries out a change, unless a machine could not be served by what comes of it.
async fn change(api: &Api, actor: &Actor, change: Change) -> Result<(), Failure> {
    let command = Command::Template { change: change.clone() };
    actor.may(&command, None)?;
    let before = api.service.inventory().templates();
    let (_, known) = render(api, before.clone()).await?;
    let (_, wrong) = render(api, before.after(&change)?).await?;
    // What was wrong before is not this change's fault, and must not keep anybody from mending the rest.
    let new = wrong.iter().find(|wrong| !known.iter().any(|known| same(known, wrong)));
    if let Some(wrong) = new {
        let rule = "mend the template, or what is said of the machine (labels, …); nothing was changed";
        return Err(Refusal::invalid("text", wrong.to_string(), rule).into());
    }
    api.service.run(&command, actor).await?;
    Ok(())
}

fn same(a: &Wrong, b: &Wrong) -> bool {
    (&a.serial, &a.template, &a.reason) == (&b.serial, &b.template, &b.reason)
}

async fn list(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let Templates { all, pins } = api.service.inventory().templates();
    let line = |(name, template): (String, Arc<Template>)| {
        let last = template.versions.last()?;
        let versions = template.versions.iter().map(|version| version.number).collect();
        Some((name, Line { kind: template.kind, version: last.number, at: last.at, by: last.by.clone(), versions }))
    };
    let templates = all.into_iter().filter_map(line).collect();
    Ok(json(StatusCode::OK, &All { templates, pins: pins.as_ref().clone() }))
}

async fn one(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(name): Path<String>) -> Reply {
    actor.may_read(None)?;
    let found = api.service.inventory().templates().all.get(&name).cloned();
    Ok(json(StatusCode::OK, found.ok_or_else(|| Refusal::not_found("template", &name))?.as_ref()))
}

async fn set(
    Shared(api): Shared<Arc<Api>>,
    Who(actor): Who,
    Path(name): Path<String>,
    Input(Text { kind, text }): Input<Text>,
) -> Reply {
    let version = Version { number: 0, at: now(), by: actor.name.clone(), text };
    change(&api, &actor, Change::Set { name: name.clone(), kind, version }).await?;
    one(Shared(api), Who(actor), Path(name)).await
}

async fn roll_back(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(name): Path<String>) -> Reply {
    change(&api, &actor, Change::Rollback { name: name.clone() }).await?;
    one(Shared(api), Who(actor), Path(name)).await
}

async fn remove(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(name): Path<String>) -> Reply {
    change(&api, &actor, Change::Remove { name: name.clone() }).await?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "removed": name })))
}

async fn pin(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Input(Pin { whom, kind, to }): Input<Pin>) -> Reply {
    change(&api, &actor, Change::Pin { whom, kind, to }).await?;
    list(Shared(api), Who(actor)).await
}

async fn check(Shared(api): Shared<Arc<Api>>, Who(actor): Who) -> Reply {
    actor.may_read(None)?;
    let count = machines(&api).len();
    let templates = api.service.inventory().templates();
    let (made, wrong) = render(&api, templates).await?;
    Ok(json(StatusCode::OK, &Checked { machines: count, made, wrong }))
}

async fn config(Shared(api): Shared<Arc<Api>>, Who(actor): Who, Path(serial): Path<String>) -> Reply {
    actor.may_read(Some(&serial))?;
    let (templates, machines) = (api.service.inventory().templates(), machines(&api));
    let machine = machines.iter().find(|machine| machine.serial == serial);
    let machine = machine.ok_or_else(|| Refusal::not_found("machine", &serial))?;
    let renderer = Renderer::new(&templates, boot_servers(machines.iter().map(Arc::as_ref)));
    let mut all = BTreeMap::new();
    for kind in Kind::ALL {
        let Some((name, why)) = templates.pins.of(machine, kind) else { continue };
        let version =
            templates.all.get(name).and_then(|template| template.versions.last()).map_or(0, |last| last.number);
        let made = renderer.as_ref().map_err(Clone::clone).and_then(|renderer| renderer.render(machine, kind));
        let (text, wrong) = match made {
            Ok(made) => (made.map(|(_, text)| text), None),
            Err(wrong) => (None, Some(wrong)),
        };
        all.insert(kind, Made { template: name.to_owned(), version, why, text, wrong });
    }
    Ok(json(StatusCode::OK, &all))
}
