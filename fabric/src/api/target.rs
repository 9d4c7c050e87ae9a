//! From the method and the target of an HTTP request to a [`Request`]: which paths exist behind which door, and what their
//! queries may say. Strict: an unknown parameter is refused by name.

use super::access::Access;
use super::{Command, LineForm, Listing, NEXT_HEADER, Question, Refusal, Reload, Request, Selection, Target, Watch};
use super::{drain, originated};
use crate::news::Kind;
use crate::record;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::collections::BTreeMap;
use weft_bgp::types::IpNet;

/// Routes in an answer that asks for no number.
const DEFAULT_LIMIT: usize = 1_000;
/// Most routes in one answer on the port, which everybody on this machine may ask.
pub const PORT_LIMIT: usize = 200;
/// Most routes in one answer: while the daemon's loop gathers them, it sends no keepalive.
pub const MAX_LIMIT: usize = 2_000;
/// Longest time within which a reload may be confirmed: whoever is away longer has forgotten it.
pub const CONFIRM_MAX_S: u64 = 86_400;
/// Prefixes of one watch: the pools of an address plan, of both families.
const WITHIN_MAX: usize = 64;
/// What stays readable in a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b':').remove(b'/').remove(b'-').remove(b'_');

/// Through which listener a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The unix socket: everything.
    Local,
    /// The port, from this machine: what the web page reads, `/metrics` and `/healthz`. For readers only.
    Web,
    /// The port otherwise: `/metrics` and `/healthz` alone, for readers only.
    Metrics,
    /// From another machine, with a certificate: what its role permits, `/metrics` and `/healthz` too.
    Remote(Access),
}

/// What is answered on the port whoever asks.
const ALWAYS: [&str; 2] = ["/metrics", "/healthz"];
/// What the web page reads. Each is a question, whose answer is bounded.
const PAGE: [&str; 8] = [
    "/v1/version",
    "/v1/neighbors",
    "/v1/interfaces",
    "/v1/routes",
    "/v1/explain",
    "/v1/health",
    "/v1/history",
    "/v1/watch/events",
];

impl Door {
    fn knows(self, path: &str) -> bool {
        match self {
            Self::Local => path.starts_with("/v1/"),
            Self::Remote(_) => path.starts_with("/v1/") || ALWAYS.contains(&path),
            Self::Web => ALWAYS.contains(&path) || PAGE.contains(&path),
            Self::Metrics => ALWAYS.contains(&path),
        }
    }

    /// HEAD is GET without the answer's body (RFC 9110 §9.3.2). Whatever else is asked for on the port, nobody carries it out.
    fn method(self, method: &str) -> Option<&str> {
        match (self, method) {
            (Self::Local | Self::Remote(_), _) => Some(method),
            (Self::Web | Self::Metrics, "GET" | "HEAD") => Some("GET"),
            (Self::Web | Self::Metrics, _) => None,
        }
    }

    /// What is behind the door for nobody but others is said, and whom to ask.
    fn admit(self, request: &Request) -> Result<(), Refusal> {
        let (Self::Remote(access), needed) = (self, Access::needed(request)) else {
            return Ok(());
        };
        if access >= needed {
            return Ok(());
        }
        let remedy = format!("use a certificate with the role {needed}");
        Err(Refusal::new(403, format!("your role, {access}, does not permit this"), remedy))
    }

    const fn limit(self) -> usize {
        match self {
            Self::Local | Self::Remote(_) => MAX_LIMIT,
            Self::Web | Self::Metrics => PORT_LIMIT,
        }
    }
}

/// A value for a query.
#[must_use]
pub fn query(value: &str) -> String {
    utf8_percent_encode(value, PLAIN).to_string()
}

/// Reads a request.
///
/// # Errors
/// With 400 for a query that cannot be understood, 404 for a path that does not exist behind this door, 405 for the wrong method.
pub fn parse(door: Door, method: &str, target: &str) -> Result<Request, Refusal> {
    let (path, text) = target.split_once('?').unwrap_or((target, ""));
    let commands = ["/v1/reload", "/v1/reload/confirm", "/v1/stop", "/v1/upgrade", "/v1/clear", "/v1/vips/set"];
    if !door.knows(path) {
        return Err(unknown_path(door, path));
    }
    let refused = |right: &str| Refusal::new(405, format!("{method} {path} is not possible"), format!("use {right}"));
    let method = door.method(method).ok_or_else(|| refused("GET"))?;
    let changes_routes = path == "/v1/routes" && ["POST", "DELETE"].contains(&method);
    let drains = path == "/v1/drain" && method == "POST";
    let wanted = match path {
        _ if changes_routes || drains => method,
        _ if commands.contains(&path) => "POST",
        _ => "GET",
    };
    let mut query = Query::read(text)?;
    let request = match path {
        "/v1/version" => Request::Show(Question::Version),
        "/v1/neighbors" => Request::Show(Question::Neighbors),
        "/v1/neighbors/history" => Request::Show(Question::NeighborHistory(query.needed("peer")?)),
        "/v1/routes" if method == "POST" => Request::Do(originated::add(&mut query)?),
        "/v1/routes" if method == "DELETE" => Request::Do(originated::remove(&mut query)?),
        "/v1/routes" => Request::Show(routes(&mut query, door.limit())?),
        "/v1/bgp" => Request::Show(Question::Bgp(selection(&mut query, MAX_LIMIT)?)),
        "/v1/bgp/lines" => Request::Show(lines(&mut query, Listing::Paths)?),
        "/v1/routes/lines" => Request::Show(lines(&mut query, Listing::Routes)?),
        "/v1/watch/routes" => Request::Watch(Watch::Routes(within(&query.needed("within")?)?)),
        "/v1/watch/events" => Request::Watch(Watch::Events(kinds(query.take("kinds"))?)),
        "/v1/record" => Request::Record(query.take("from").map(|text| place(&text)).transpose()?),
        "/v1/rpki" => Request::Show(Question::Rpki),
        "/v1/bfd" => Request::Show(Question::Bfd),
        "/v1/originated" => Request::Show(Question::Originated),
        "/v1/drain" if drains => Request::Do(drain::order(&mut query)?),
        "/v1/drain" => Request::Show(Question::Drains),
        "/v1/vips" => Request::Show(Question::Vips),
        "/v1/dhcp" => Request::Show(Question::Dhcp),
        "/v1/vips/set" => Request::Do(set_vip(&mut query)?),
        "/v1/observers" => Request::Show(Question::Observers),
        "/v1/dump" => Request::Show(Question::Dump(selection(&mut query, MAX_LIMIT)?)),
        "/v1/fib" => Request::Show(Question::Fib { diff: flag(&mut query, "diff")? }),
        "/v1/interfaces" => Request::Show(Question::Interfaces),
        "/v1/explain" => Request::Show(Question::Explain(target_of(&query.needed("target")?)?)),
        "/v1/history" => Request::Show(Question::History),
        "/v1/config" => Request::Show(Question::Configuration),
        "/v1/policy" => Request::Show(Question::Policy),
        "/v1/health" | "/healthz" => Request::Show(Question::Health),
        "/v1/metrics" | "/metrics" => Request::Show(Question::Metrics),
        "/v1/plan" => Request::Plan,
        "/v1/reload" => Request::Do(reload(&mut query)?),
        "/v1/reload/confirm" => Request::Do(Command::ConfirmReload),
        "/v1/stop" => Request::Do(Command::Stop),
        "/v1/upgrade" => Request::Do(Command::Upgrade { program: query.take("program").map(Into::into) }),
        "/v1/clear" => Request::Do(clear(&mut query)?),
        _ => return Err(unknown_path(door, path)),
    };
    if method != wanted {
        return Err(refused(wanted));
    }
    query.end(path)?;
    door.admit(&request)?;
    Ok(request)
}

fn unknown_path(door: Door, path: &str) -> Refusal {
    let remedy = match door {
        Door::Local | Door::Remote(_) => {
            "GET /v1/ version, neighbors, neighbors/history, bfd, routes, routes/lines, bgp, bgp/lines, watch/routes, watch/events, dump, observers, rpki, fib, vips, dhcp, drain, originated, interfaces, explain, history, policy, config, health, plan, record, metrics; POST /v1/ reload, reload/confirm, stop, upgrade, clear, vips/set, drain, routes; DELETE /v1/routes"
        }
        Door::Web => {
            "GET /, /metrics, /healthz, /v1/ version, neighbors, interfaces, routes, explain, health, history, watch/events; everything else is answered on the unix socket only"
        }
        Door::Metrics => "GET /metrics or /healthz; everything else is answered on the unix socket only",
    };
    Refusal::new(404, format!("there is no {path}"), remedy)
}

fn routes(query: &mut Query, most: usize) -> Result<Question, Refusal> {
    let Some(text) = query.take("within") else {
        return Ok(Question::Routes(selection(query, most)?));
    };
    let wrong = || Refusal::new(400, format!("within=`{text}` is no prefix"), "write within=10.69.0.0/16");
    let net: IpNet = text.parse().map_err(|_| wrong())?;
    let (after, limit) = page(query, most)?;
    Ok(Question::RoutesWithin { net: net.trunc(), after, limit })
}

fn selection(query: &mut Query, most: usize) -> Result<Selection, Refusal> {
    if let Some(prefix) = query.take("prefix") {
        return Ok(Selection::One(target_of(&prefix)?));
    }
    let (after, limit) = page(query, most)?;
    Ok(Selection::Page { after, limit })
}

fn lines(query: &mut Query, of: Listing) -> Result<Question, Refusal> {
    let form = match query.take("form").as_deref() {
        None | Some("text") => LineForm::Text,
        Some("json") => LineForm::Json,
        Some(other) => return Err(Refusal::new(400, format!("form={other} is not possible"), "write text or json")),
    };
    let (after, limit) = page(query, MAX_LIMIT)?;
    Ok(Question::Lines { of, form, after, limit })
}

fn page(query: &mut Query, most: usize) -> Result<(Option<IpNet>, usize), Refusal> {
    let after = match query.take("after") {
        Some(text) => Some(text.parse().map_err(|_| no_prefix("after", &text))?),
        None => None,
    };
    let limit = match query.take("limit") {
        Some(text) => text.parse().ok().filter(|limit| (1..=most).contains(limit)).ok_or_else(|| {
            Refusal::new(400, format!("limit={text} is not possible"), format!("write a number of 1..={most}"))
        })?,
        None => DEFAULT_LIMIT.min(most),
    };
    Ok((after, limit))
}

/// A place in a recording.
fn place(text: &str) -> Result<record::Place, Refusal> {
    let remedy = format!("write what `{NEXT_HEADER}` of the answer before said");
    text.parse().map_err(|()| Refusal::new(400, format!("from={text} is no place in a recording"), remedy))
}

/// The prefixes of a watch.
fn within(text: &str) -> Result<Vec<IpNet>, Refusal> {
    let wrong =
        |one: &str| Refusal::new(400, format!("within=`{one}` is no prefix"), "write within=10.69.0.0/16,fd00:69::/48");
    let read = |one: &str| one.parse().map(|net: IpNet| net.trunc()).map_err(|_| wrong(one));
    let all: Vec<IpNet> = text.split(',').map(read).collect::<Result<_, _>>()?;
    if all.len() > WITHIN_MAX {
        let remedy = format!("at most {WITHIN_MAX}: name a shorter prefix that holds several");
        return Err(Refusal::new(400, format!("`within` has {} prefixes", all.len()), remedy));
    }
    Ok(all)
}

/// The kinds of a watch of events: all unless said.
fn kinds(text: Option<String>) -> Result<Vec<Kind>, Refusal> {
    let Some(text) = text else {
        return Ok(Kind::ALL.to_vec());
    };
    let read =
        |one: &str| one.parse().map_err(|remedy: String| Refusal::new(400, format!("kinds=`{one}` is none"), remedy));
    text.split(',').map(read).collect()
}

fn target_of(text: &str) -> Result<Target, Refusal> {
    Target::read(text).ok_or_else(|| {
        Refusal::new(400, format!("`{text}` is no address and no prefix"), "write 10.69.0.4, 10.69.0.0/26 or fd00::/64")
    })
}

fn no_prefix(name: &str, text: &str) -> Refusal {
    Refusal::new(400, format!("{name}=`{text}` is no prefix"), "write the value of `next` as it came")
}

fn clear(query: &mut Query) -> Result<Command, Refusal> {
    let peer = query.needed("peer")?;
    Ok(Command::Clear { peer, hard: flag(query, "hard")? })
}

fn reload(query: &mut Query) -> Result<Command, Refusal> {
    let allow_reset = flag(query, "allow_reset")?;
    let confirm_within_s = match query.take("confirm_within_s") {
        Some(text) => {
            let seconds = text.parse().ok().filter(|seconds| (1..=CONFIRM_MAX_S).contains(seconds));
            let error = format!("confirm_within_s={text} is not possible");
            Some(seconds.ok_or_else(|| Refusal::new(400, error, format!("write a number of 1..={CONFIRM_MAX_S}")))?)
        }
        None => None,
    };
    Ok(Command::Reload(Reload { allow_reset, confirm_within_s }))
}

pub(super) fn flag(query: &mut Query, name: &str) -> Result<bool, Refusal> {
    match query.take(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true" | "") => Ok(true),
        Some(other) => Err(Refusal::new(400, format!("{name}={other} is not possible"), "write true or false")),
    }
}

fn set_vip(query: &mut Query) -> Result<Command, Refusal> {
    let name = query.needed("name")?;
    match query.needed("state")?.as_str() {
        "up" => Ok(Command::SetVip { name, up: true }),
        "down" => Ok(Command::SetVip { name, up: false }),
        other => Err(Refusal::new(400, format!("state={other} is not possible"), "write up or down")),
    }
}

/// The parameters of a request, each taken once.
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    fn read(text: &str) -> Result<Self, Refusal> {
        let mut all = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| {
                    Refusal::new(400, format!("`{text}` is no UTF-8"), "encode it with % and two hex digits per octet")
                })
            };
            let name = decode(name)?;
            let value = decode(value)?;
            if all.insert(name.clone(), value).is_some() {
                return Err(Refusal::new(400, format!("`{name}` is there twice"), "keep one"));
            }
        }
        Ok(Self(all))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub(super) fn needed(&mut self, name: &str) -> Result<String, Refusal> {
        self.take(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Refusal::new(400, format!("`{name}` is missing"), format!("add ?{name}=…")))
    }

    fn end(self, path: &str) -> Result<(), Refusal> {
        match self.0.into_keys().next() {
            Some(name) => Err(Refusal::new(400, format!("{path} knows no `{name}`"), "leave it out")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const CASES: [(Door, &str, &str); 79] = [
        (Door::Local, "GET", "/v1/version"),
        (Door::Local, "GET", "/v1/neighbors"),
        (Door::Local, "GET", "/v1/routes"),
        (Door::Local, "GET", "/v1/routes?limit=5&after=10.0.0.0/8"),
        (Door::Local, "GET", "/v1/routes?prefix=10.0.0.1"),
        (Door::Local, "GET", "/v1/routes?prefix=10.0.0.1/8"),
        (Door::Local, "GET", "/v1/bgp?prefix=fd00%3A%3A%2F64"),
        (Door::Local, "GET", "/v1/explain?target=fd00::1"),
        (Door::Local, "GET", "/v1/health"),
        (Door::Local, "GET", "/v1/fib"),
        (Door::Local, "GET", "/v1/fib?diff=true"),
        (Door::Local, "GET", "/v1/metrics"),
        (Door::Local, "POST", "/v1/clear?peer=spine%201&hard=true"),
        (Door::Local, "POST", "/v1/clear?peer=tor1"),
        (Door::Local, "GET", "/v1/watch/routes?within=10.69.0.1/16,fd00:69::/48"),
        (Door::Local, "GET", "/v1/watch/events"),
        (Door::Local, "GET", "/v1/watch/events?kinds=peers,routes"),
        (Door::Local, "POST", "/v1/stop"),
        (Door::Local, "POST", "/v1/drain?interface=eth1&state=soft&force=true"),
        (Door::Local, "POST", "/v1/reload"),
        (Door::Local, "POST", "/v1/reload?allow_reset=true&confirm_within_s=60"),
        (Door::Local, "POST", "/v1/reload/confirm"),
        (Door::Local, "GET", "/v1/plan"),
        (Door::Local, "GET", "/v1/routes?within=10.69.0.1/16&after=10.69.0.0/26&limit=5"),
        (Door::Local, "GET", "/v1/routes/lines?after=10.69.0.0/26&limit=5"),
        (Door::Local, "GET", "/v1/bgp/lines?form=json&limit=5"),
        (Door::Local, "GET", "/v1/config"),
        (Door::Local, "GET", "/v1/record?from=1f.262144"),
        (Door::Metrics, "GET", "/metrics"),
        (Door::Metrics, "GET", "/healthz"),
        (Door::Metrics, "HEAD", "/healthz"),
        (Door::Web, "GET", "/metrics"),
        (Door::Web, "GET", "/v1/routes"),
        (Door::Web, "HEAD", "/v1/routes?prefix=10.69.0.4"),
        (Door::Web, "GET", "/v1/routes?within=10.69.0.0/16&limit=200"),
        (Door::Web, "GET", "/v1/explain?target=10.69.0.4"),
        (Door::Web, "GET", "/v1/watch/events?kinds=peers"),
        // refused
        (Door::Local, "GET", "/v1/record?from=-1"),
        (Door::Web, "GET", "/v1/record"),
        (Door::Local, "GET", "/v1/stop"),
        (Door::Local, "GET", "/v1/watch/routes"),
        (Door::Local, "GET", "/v1/watch/routes?within=10.69.0.0"),
        (Door::Metrics, "GET", "/v1/watch/routes?within=10.69.0.0/16"),
        (Door::Local, "GET", "/v1/watch/events?kinds=peers,x"),
        (Door::Metrics, "GET", "/v1/watch/events"),
        (Door::Local, "POST", "/v1/routes"),
        (Door::Local, "POST", "/v1/reload?confirm_within_s=0"),
        (Door::Metrics, "GET", "/v1/plan"),
        (Door::Local, "POST", "/v1/drain?state=asleep"),
        (Door::Local, "POST", "/v1/drain?interface=eth1&vip=web&state=soft"),
        (Door::Local, "GET", "/v1/routes?limit=0"),
        (Door::Local, "GET", "/v1/routes?limit=2001"),
        (Door::Local, "GET", "/v1/routes?limit=-1"),
        (Door::Local, "GET", "/v1/routes?after=x"),
        (Door::Local, "GET", "/v1/routes/lines?form=xml"),
        (Door::Local, "GET", "/v1/routes?prefix=10.0.0.0/33"),
        (Door::Local, "GET", "/v1/routes?prefix=10.0.0.0/8&limit=4"),
        (Door::Local, "GET", "/v1/routes?prefix=1.1.1.1&prefix=1.1.1.2"),
        (Door::Local, "GET", "/v1/explain"),
        (Door::Local, "GET", "/v1/explain?target=%FF"),
        (Door::Local, "POST", "/v1/clear?hard=true"),
        (Door::Local, "POST", "/v1/clear?peer=a&hard=yes"),
        (Door::Local, "GET", "/v1/"),
        (Door::Local, "GET", "/metrics"),
        (Door::Metrics, "GET", "/v1/neighbors"),
        (Door::Metrics, "POST", "/v1/stop"),
        (Door::Metrics, "GET", "/"),
        (Door::Local, "GET", "/v1/routes?within=10.69.0.0"),
        (Door::Local, "GET", "/v1/routes?within=10.69.0.0/16&prefix=10.69.0.4"),
        (Door::Local, "HEAD", "/v1/routes"),
        (Door::Web, "GET", "/v1/routes?limit=201"),
        (Door::Web, "GET", "/v1/routes?within=10.69.0.0/16&limit=201"),
        (Door::Web, "POST", "/v1/routes?prefix=10.0.0.0/8&owner=x"),
        (Door::Web, "DELETE", "/v1/routes?owner=x"),
        (Door::Web, "POST", "/metrics"),
        (Door::Web, "POST", "/v1/stop"),
        (Door::Web, "GET", "/v1/bgp"),
        (Door::Web, "GET", "/v1/dump"),
        (Door::Web, "GET", "/v1/watch/routes?within=10.69.0.0/16"),
    ];

    #[test]
    fn requests_are_read_strictly() {
        let mut all = String::new();
        for (door, method, target) in CASES {
            match parse(door, method, target) {
                Ok(request) => writeln!(all, "{door:?} {method} {target}\n  {request:?}").unwrap(),
                Err(refusal) => writeln!(
                    all,
                    "{door:?} {method} {target}\n  {} {}; {}",
                    refusal.status,
                    refusal.error,
                    refusal.remedy.unwrap_or_default()
                )
                .unwrap(),
            }
        }
        insta::assert_snapshot!("requests", all);
    }

    #[test]
    fn the_port_is_for_readers_whatever_is_asked() {
        let paths = "version neighbors neighbors/history bfd routes routes/lines bgp bgp/lines watch/routes watch/events dump observers rpki fib \
            vips dhcp drain originated interfaces explain history policy config health plan record metrics reload reload/confirm stop upgrade clear \
            vips/set";
        // Every parameter that a command may have: what is refused is refused for its method or path, not for a missing word.
        let queries =
            ["", "peer=a", "name=a&state=up", "state=soft", "prefix=10.0.0.0/8&owner=x&lease_s=10", "owner=x"];
        let (mut questions, mut commands) = (0, 0);
        for path in paths.split_whitespace().map(|path| format!("/v1/{path}")).chain(["/".into(), "/metrics".into()]) {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get"] {
                for query in queries {
                    let target = format!("{path}?{query}");
                    commands += usize::from(matches!(parse(Door::Local, method, &target), Ok(Request::Do(_))));
                    for door in [Door::Web, Door::Metrics] {
                        match parse(door, method, &target) {
                            Ok(Request::Show(_) | Request::Watch(Watch::Events(_))) => questions += 1,
                            Ok(other) => panic!("{door:?} {method} {target}: {other:?}"),
                            Err(refusal) => assert!([400, 404, 405].contains(&refusal.status), "{refusal:?}"),
                        }
                    }
                }
            }
        }
        assert!(questions > 10 && commands > 7, "{questions} questions, {commands} commands");
    }

    #[test]
    fn a_query_value_survives_the_journey() {
        for name in ["tor1", "spine 1", "a&b=c", "fd00::1/64", "ä%"] {
            let request = parse(Door::Local, "POST", &format!("/v1/clear?peer={}", query(name)));
            assert_eq!(request, Ok(Request::Do(Command::Clear { peer: name.to_owned(), hard: false })));
        }
    }
}
