//! What each verb of the command line does: asks the daemon, prints its answer as a table or as the JSON that came.

mod drain;
mod frr;
mod listing;
mod monitor;

use super::client::{Client, ClientError, Remote, Target};
use super::files;
use crate::api::{
    self, BfdSessions, Explanation, Health, History, Interfaces, Kernel, Neighbors, Observers, Originated, Planned,
    Policy, Rpki, Version, Vips,
};
use crate::health::State;
use crate::news::Kind;
use crate::show;
pub use drain::Order;
pub use frr::Frr;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use weft_bgp::time::Duration;

/// How long `weft stop` waits: Cease to every peer (1 s), then a million routes removed (a few seconds).
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long `weft upgrade` waits: a million routes of the kernel are read in a few seconds.
const UPGRADE_LIMIT: Duration = Duration::from_secs(30);

/// In which form an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What is wanted of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Peers, or one of them.
    Neighbors(Option<String>),
    /// `show neighbors NAME --history`.
    NeighborHistory(String),
    /// Paths: of one prefix, or so many.
    Bgp(Option<String>, Option<usize>),
    /// Routes: one, or so many.
    Routes(Option<String>, Option<usize>),
    /// The kernel's side, perhaps with a fresh dump beside what is wanted.
    Fib(bool),
    /// Links.
    Interfaces,
    /// What runs.
    Version,
    /// Events.
    History,
    /// Policy.
    Policy,
    /// Collectors and dumps.
    Observers,
    /// Every check; with a verdict: what is bad is exit code 1.
    Health(bool),
    /// RPKI caches.
    Rpki,
    /// `show bfd`.
    Bfd,
    /// Service addresses.
    Vips,
    /// The relay of DHCP.
    Dhcp(Dhcp),
    /// What we originate.
    Originated,
    /// One of FRR's documents.
    Frr(Frr),
    /// Announce a route.
    AddRoute(NewRoute),
    /// No longer: an owner's prefix, or all of his.
    RemoveRoutes(String, Option<String>),
    /// Hold a service address down, or let it be up.
    SetVip(String, bool),
    /// Take something out of service, or back.
    Drain(Order),
    /// What is out of service.
    Drains,
    /// Events of these kinds, or of all, as they happen.
    Monitor(Vec<Kind>),
    /// One prefix.
    Explain(String),
    /// Say what applying the changed configuration would do.
    Plan,
    /// Apply it.
    Reload(api::Reload),
    /// What was applied to be confirmed stays.
    ConfirmReload,
    /// Let this program take over, or the one that is now in the place of the running one.
    Upgrade(Option<PathBuf>),
    /// End.
    Stop,
    /// Refresh or reset a peer.
    Clear(String, bool),
}

/// What of the relay of DHCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dhcp {
    /// Who was lent what.
    Leases,
    /// Ports and counters.
    Relay,
}

/// A route for `weft route add`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoute {
    /// What is announced.
    pub prefix: String,
    /// For whom.
    pub owner: String,
    /// How long.
    pub lease_s: u64,
    /// Standard communities.
    pub communities: Vec<String>,
    /// Large communities.
    pub large_communities: Vec<String>,
    /// Share beside other origins.
    pub weight: Option<u16>,
}

impl NewRoute {
    /// What is asked for it.
    #[must_use]
    pub fn target(&self) -> String {
        let mut target = format!(
            "/v1/routes?prefix={}&owner={}&lease_s={}",
            api::query(&self.prefix),
            api::query(&self.owner),
            self.lease_s
        );
        for (name, values) in [("communities", &self.communities), ("large_communities", &self.large_communities)] {
            if !values.is_empty() {
                target.push_str(&format!("&{name}={}", api::query(&values.join(","))));
            }
        }
        if let Some(weight) = self.weight {
            target.push_str(&format!("&weight={weight}"));
        }
        target
    }
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// The daemon gave no answer, or a refusal.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is no such thing.
    #[error("{0}")]
    Unknown(String),
    /// Nobody was asked: there is no way to.
    #[error("cannot ask: {0}")]
    Unusable(io::Error),
    /// The answer could not be printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl VerbError {
    /// Exit code: 3 nobody there, 1 everything else. (2 is a wrong command line.)
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) => Self::exit_code_of(error),
            Self::Unknown(_) | Self::Unusable(_) | Self::Print(_) => 1,
        }
    }

    /// The same where there was no answer.
    #[must_use]
    pub const fn exit_code_of(error: &ClientError) -> u8 {
        match error {
            ClientError::Absent { .. } | ClientError::Forbidden { .. } | ClientError::Unknown { .. } => 3,
            ClientError::Refused(_) | ClientError::Broken { .. } => 1,
        }
    }

    /// Nobody reads any more, as in `weft show routes | head`: no fault.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Print(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// How a daemon is named on the command line; what is left out there may stand in the environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'a> {
    /// `--socket`.
    pub socket: Option<&'a Path>,
    /// `--lab`.
    pub lab: Option<&'a str>,
    /// `--remote`, else `WEFT_REMOTE` where neither of the above is said.
    pub remote: Option<&'a str>,
    /// `--ca`, else `WEFT_CA`.
    pub ca: Option<&'a Path>,
    /// `--cert`, else `WEFT_CERT`.
    pub cert: Option<&'a Path>,
    /// `--key`, else `WEFT_KEY`.
    pub key: Option<&'a Path>,
}

/// The daemon that was meant: `--socket`, else a lab's node, else a remote one, else the default. `environment` is asked for what is
/// not said.
///
/// # Errors
/// When `lab` is not `NAME/NODE`, or a remote one is not named wholly.
pub fn target(named: Named<'_>, environment: impl Fn(&str) -> Option<OsString>) -> Result<Target, String> {
    if let Some(path) = named.socket {
        return Ok(path.into());
    }
    if let Some(lab) = named.lab {
        return match lab.split_once('/') {
            Some((name, node)) if !name.is_empty() && !node.is_empty() && !node.contains('/') => {
                Ok(Target::Socket(files::lab_socket(name, node)))
            }
            _ => Err(format!("--lab {lab}: write the name of the lab and of the node, as in --lab two-racks/tor1")),
        };
    }
    let said = |name: &str| environment(name).filter(|value| !value.is_empty());
    let place = named.remote.map(str::to_owned);
    let Some(place) = place.or_else(|| Some(said("WEFT_REMOTE")?.to_string_lossy().into_owned())) else {
        return Ok(Target::Socket(crate::config::ApiConfig::default().socket));
    };
    let file = |option: &str, variable: &str, given: Option<&Path>| {
        let file = given.map(Path::to_owned).or_else(|| said(variable).map(PathBuf::from));
        file.ok_or_else(|| {
            format!("--remote {place}: {option} FILE (or {variable}) is missing; a daemon elsewhere knows nobody without a certificate")
        })
    };
    let ca = file("--ca", "WEFT_CA", named.ca)?;
    let cert = file("--cert", "WEFT_CERT", named.cert)?;
    let key = file("--key", "WEFT_KEY", named.key)?;
    Remote::new(&place, ca, cert, key).map(Target::Remote)
}

/// Carries out a verb and prints to `out`.
///
/// # Errors
/// See [`VerbError`].
pub fn run(verb: &Verb, target: &Target, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    let client = Client::new(target).map_err(VerbError::Unusable)?;
    match verb {
        Verb::Neighbors(name) => neighbors(&client, name.as_deref(), form, out),
        Verb::NeighborHistory(name) => {
            let target = format!("/v1/neighbors/history?peer={}", api::query(name));
            simple(&client, &target, form, out, |_, answer| show::trail::tables_of(answer))
        }
        Verb::Bgp(one, limit) => listing::bgp(&client, one.as_deref(), *limit, form, out),
        Verb::Routes(one, limit) => listing::routes(&client, one.as_deref(), *limit, form, out),
        Verb::Fib(diff) => fib(&client, *diff, form, out),
        Verb::Interfaces => {
            simple(&client, "/v1/interfaces", form, out, |_, answer: &Interfaces| show::interfaces::table_of(answer))
        }
        Verb::Version => {
            simple(&client, "/v1/version", form, out, |node, answer: &Version| show::version::text(node, answer))
        }
        Verb::History => {
            simple(&client, "/v1/history", form, out, |_, answer: &History| show::history::table_of(answer))
        }
        Verb::Bfd => simple(&client, "/v1/bfd", form, out, |_, answer: &BfdSessions| show::bfd::table_of(answer)),
        Verb::Health(verdict) => health(&client, *verdict, form, out),
        Verb::Rpki => simple(&client, "/v1/rpki", form, out, |_, answer: &Rpki| show::rpki::table_of(answer)),
        Verb::Vips => simple(&client, "/v1/vips", form, out, |_, answer: &Vips| show::vips::table_of(answer)),
        Verb::Dhcp(what) => simple(&client, "/v1/dhcp", form, out, |_, answer| match what {
            Dhcp::Leases => show::dhcp::leases(answer),
            Dhcp::Relay => show::dhcp::relay(answer),
        }),
        Verb::Originated => {
            simple(&client, "/v1/originated", form, out, |_, answer: &Originated| show::originated::table_of(answer))
        }
        Verb::Frr(wanted) => frr::run(&client, wanted, out),
        Verb::AddRoute(route) => order(&client, &route.target(), form, out),
        Verb::RemoveRoutes(owner, prefix) => {
            let prefix = prefix.as_ref().map(|prefix| format!("&prefix={}", api::query(prefix)));
            let target = format!("/v1/routes?owner={}{}", api::query(owner), prefix.unwrap_or_default());
            let reply = client.delete(&target)?;
            say(&reply.node, &reply.body.done, form, out)
        }
        Verb::SetVip(name, up) => {
            let state = if *up { "up" } else { "down" };
            order(&client, &format!("/v1/vips/set?name={}&state={state}", api::query(name)), form, out)
        }
        Verb::Drain(order) => drain::run(&client, order, form, out),
        Verb::Drains => drain::show(&client, form, out),
        Verb::Observers => {
            simple(&client, "/v1/observers", form, out, |_, answer: &Observers| show::observers::table_of(answer))
        }
        Verb::Policy => simple(&client, "/v1/policy", form, out, |_, answer: &Policy| show::policy::text(answer)),
        Verb::Monitor(kinds) => monitor::run(&client, kinds, form, out),
        Verb::Explain(target) => explain(&client, target, form, out),
        Verb::Plan => simple(&client, "/v1/plan", form, out, |_, answer: &Planned| show::plan::text(answer)),
        Verb::Reload(how) => {
            let within = how.confirm_within_s.map(|seconds| format!("&confirm_within_s={seconds}")).unwrap_or_default();
            order(&client, &format!("/v1/reload?allow_reset={}{within}", how.allow_reset), form, out)
        }
        Verb::ConfirmReload => order(&client, "/v1/reload/confirm", form, out),
        Verb::Upgrade(program) => upgrade(&client, program.as_deref(), form, out),
        Verb::Stop => stop(&client, form, out),
        Verb::Clear(peer, hard) => {
            order(&client, &format!("/v1/clear?peer={}&hard={hard}", api::query(peer)), form, out)
        }
    }
}

fn simple<T: DeserializeOwned>(
    client: &Client,
    target: &str,
    form: Form,
    out: &mut impl Write,
    table: impl Fn(&str, &T) -> String,
) -> Result<(), VerbError> {
    let text = client.text(target)?;
    let reply = client.read::<T>(&text)?;
    match form {
        Form::Json => out.write_all(text.as_bytes())?,
        Form::Table => out.write_all(table(&reply.node, &reply.body).as_bytes())?,
    }
    Ok(())
}

/// As diff(1): a difference is the exit code 1.
fn fib(client: &Client, diff: bool, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    let text = client.text(if diff { "/v1/fib?diff=true" } else { "/v1/fib" })?;
    let reply = client.read::<Kernel>(&text)?;
    match form {
        Form::Json => out.write_all(text.as_bytes())?,
        Form::Table => out.write_all(show::fib::text(&reply.body).as_bytes())?,
    }
    if reply.body.diff.is_some_and(|diff| !diff.is_clean()) {
        out.flush()?;
        return Err(VerbError::Unknown(format!("{}: the kernel is not as wanted", reply.node)));
    }
    Ok(())
}

/// As fib: what is bad is the exit code 1, where a verdict is wanted.
fn health(client: &Client, verdict: bool, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    let text = client.text("/v1/health")?;
    let reply = client.read::<Health>(&text)?;
    match form {
        Form::Json => out.write_all(text.as_bytes())?,
        Form::Table => out.write_all(show::health::text(&reply.node, &reply.body).as_bytes())?,
    }
    let bad: Vec<&str> =
        reply.body.checks.iter().filter(|check| check.state == State::Bad).map(|check| check.name.as_str()).collect();
    if verdict && !bad.is_empty() {
        out.flush()?;
        return Err(VerbError::Unknown(format!("{}: bad: {}", reply.node, bad.join(", "))));
    }
    Ok(())
}

/// Returns when the new program runs with the sessions that it took over.
fn upgrade(client: &Client, program: Option<&Path>, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    let before = client.get::<Version>("/v1/version")?;
    let named = program.map(|program| format!("?program={}", api::query(&program.to_string_lossy())));
    match client.post(&format!("/v1/upgrade{}", named.unwrap_or_default())) {
        // The process may have become another before its answer was read.
        Ok(_) | Err(ClientError::Broken { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let is_done = |now: &Version| {
        let is_another = now.upgrades > before.body.upgrades || now.upgrades_undone > before.body.upgrades_undone;
        is_another && now.upgrade_sessions.is_some()
    };
    let Some(after) = client.wait_for("/v1/version", UPGRADE_LIMIT, is_done) else {
        let limit = UPGRADE_LIMIT.as_secs();
        return Err(VerbError::Unknown(format!(
            "{}: no other program runs after {limit} s\n  remedy: look at the daemon's log",
            before.node
        )));
    };
    if after.body.upgrades_undone > before.body.upgrades_undone {
        return Err(VerbError::Unknown(format!(
            "{}: the new program did not start, and the one before runs again, with its sessions\n  remedy: look at the daemon's log",
            after.node
        )));
    }
    let (kept, stood) = after.body.upgrade_sessions.unwrap_or_default();
    let done = format!("weft {} runs, {kept} of {stood} sessions went on", after.body.version);
    say(&after.node, &done, form, out)
}

fn order(client: &Client, target: &str, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    let reply = client.post(target)?;
    say(&reply.node, &reply.body.done, form, out)
}

fn say(node: &str, done: &str, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    match form {
        Form::Json => writeln!(out, "{}", serde_json::json!({ "schema": api::SCHEMA, "node": node, "done": done }))?,
        Form::Table => writeln!(out, "{node}: {done}")?,
    }
    Ok(())
}

fn stop(client: &Client, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    let reply = client.post("/v1/stop")?;
    if !client.wait_gone(STOP_LIMIT) {
        let limit = STOP_LIMIT.as_secs();
        return Err(VerbError::Unknown(format!(
            "{}: is ending, but not gone after {limit} s\n  remedy: look at its log",
            reply.node
        )));
    }
    say(&reply.node, "stopped", form, out)
}

fn neighbors(client: &Client, name: Option<&str>, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    let Some(name) = name else {
        let table = |node: &str, answer: &Neighbors| show::neighbors::table_of(node, answer);
        return simple(client, "/v1/neighbors", form, out, table);
    };
    let text = client.text("/v1/neighbors")?;
    let reply = client.read::<Neighbors>(&text)?;
    let address = name.parse().ok();
    let all = &reply.body.neighbors;
    let found = all.iter().find(|peer| peer.name == name || (address.is_some() && peer.address == address));
    let Some(peer) = found else {
        let known: Vec<&str> = all.iter().map(|peer| peer.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(VerbError::Unknown(format!("{} has no neighbor `{name}`\n  known: {known}", reply.node)));
    };
    match form {
        Form::Json => {
            let one = serde_json::json!({ "schema": api::SCHEMA, "node": reply.node, "neighbors": [peer] });
            writeln!(out, "{one}")?;
        }
        Form::Table => out.write_all(show::neighbors::details(peer).as_bytes())?,
    }
    Ok(())
}

fn explain(client: &Client, target: &str, form: Form, out: &mut impl Write) -> Result<(), VerbError> {
    let text = client.text(&format!("/v1/explain?target={}", api::query(target)))?;
    let reply = client.read::<Explanation>(&text)?;
    match form {
        Form::Json => out.write_all(text.as_bytes())?,
        Form::Table if !is_known(&reply.body) => {}
        Form::Table => out.write_all(show::explain::text(&reply.body).as_bytes())?,
    }
    if !is_known(&reply.body) {
        out.flush()?;
        return Err(VerbError::Unknown(format!("{}: no prefix of the table covers {target}", reply.node)));
    }
    Ok(())
}

/// Whether there is something to explain: a route, or one that somebody announced and that was not taken.
fn is_known(answer: &Explanation) -> bool {
    answer.route.is_some() || !answer.refused.is_empty()
}

#[cfg(test)]
mod tests;
