//! Service addresses: section `vips` as written, and what it comes to.

use super::file::Config;
use super::node::{Faults, check_host_bits};
use super::role::Role;
use super::value::{Community, LargeCommunity};
use ipnet::IpNet;
use rustls::pki_types::ServerName;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use weft_bgp::time::Duration;

/// Most service addresses of a node: each has a check under way now and then, and a line in every answer.
const VIPS_MAX: usize = 256;
/// Checks more often than this would be most of what the daemon does.
const EVERY_MIN: Duration = Duration::from_millis(10);
/// Longest interval, time and wait that can be meant.
const SPAN_MAX: Duration = Duration::from_secs(3_600);
/// Between the starts of two checks.
const EVERY: Duration = Duration::from_secs(1);
/// Good results in succession after which a service that had failed counts as good again.
const RISE: u32 = 2;
/// Bad results in succession after which a service counts as failed.
const FALL: u32 = 2;
/// Local clients have a route by then, and answers under way have left.
const DRAIN: Duration = Duration::from_secs(5);
/// How long a planned withdrawal is announced by GRACEFUL_SHUTDOWN: several times what a fabric needs to converge.
const SHED: Duration = Duration::from_secs(1);
/// A second failure in a row waits this long, each one after that twice as long as the one before.
const HOLD_DOWN: Duration = Duration::from_secs(1);
/// Words of a command.
const WORDS_MAX: usize = 64;

/// One entry of `vips`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vip {
    /// The address.
    pub address: Option<IpNet>,
    /// Several addresses that share one check, such as one of each family.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// What says whether the service is there; without it, it always is.
    pub check: Option<Check>,
    /// What the last origin does when its check fails.
    pub on_last: Option<OnLast>,
    /// Share beside other origins (RFC 10005).
    pub weight: Option<u16>,
    /// Standard communities.
    #[serde(default)]
    pub communities: Vec<Community>,
    /// Large communities.
    #[serde(default)]
    pub large_communities: Vec<LargeCommunity>,
    /// How long the address stays on `lo` after it was withdrawn.
    pub drain: Option<Span>,
    /// How long a planned withdrawal is announced beforehand (RFC 8326).
    pub shed: Option<Span>,
    /// Least time away after the second failure in a row; doubles with each.
    pub hold_down: Option<Span>,
}

/// `check` of a service address: one kind, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// A TCP connection can be made.
    pub tcp: Option<SocketAddr>,
    /// GET answers with a status of 200 to 299.
    pub http: Option<String>,
    /// Whose certificates an `https` service is believed; default: what the system believes.
    pub ca_file: Option<PathBuf>,
    /// The name in its certificate; default: the host of the URL.
    pub server_name: Option<String>,
    /// Believe any certificate.
    pub insecure: Option<bool>,
    /// A command ends with 0.
    pub exec: Option<Vec<String>>,
    /// As whom the command runs; default `nobody`.
    pub user: Option<String>,
    /// A file is there.
    pub file: Option<PathBuf>,
    /// `weft vip set` alone decides; this is how it starts.
    pub api: Option<Start>,
    /// Between the starts of two checks; default 1s.
    pub every: Option<Span>,
    /// An answer that takes longer is a failure; default `every`, at most 1s.
    pub timeout: Option<Span>,
    /// Good results in succession until it is up again; default 2.
    pub rise: Option<u32>,
    /// Bad results in succession until it is down; default 2.
    pub fall: Option<u32>,
}

/// How a service that `weft vip set` decides about starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Announced.
    Up,
    /// Not.
    Down,
}

/// What happens when the check of the last origin fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLast {
    /// It keeps announcing, with GRACEFUL_SHUTDOWN, and raises an alarm.
    Keep,
    /// It withdraws like any other.
    Withdraw,
}

/// A time as people write it: `200ms`, `3s`, `2m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// Reads a time; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let at = text.find(|c: char| !c.is_ascii_digit())?;
        let (digits, unit) = text.split_at(at);
        let number: u64 = digits.parse().ok()?;
        let millis = match unit {
            "ms" => number,
            "s" => number.checked_mul(1_000)?,
            "m" => number.checked_mul(60_000)?,
            "h" => number.checked_mul(3_600_000)?,
            _ => return None,
        };
        Some(Self(Duration::from_millis(millis)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time with its unit, such as 200ms, 3s or 2m")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Span, E> {
                if value == 0 {
                    return Ok(Span(Duration::ZERO));
                }
                Err(E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Span, E> {
                Span::parse(value).ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// A service address as the node runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipConfig {
    /// Its name.
    pub name: String,
    /// Full-length prefixes, each once.
    pub addresses: Vec<IpNet>,
    /// What says whether the service is there.
    pub check: CheckConfig,
    /// What the last origin does.
    pub on_last: OnLast,
    /// Share beside other origins.
    pub weight: Option<u16>,
    /// Standard communities.
    pub communities: Vec<u32>,
    /// Large communities.
    pub large_communities: Vec<[u32; 3]>,
    /// How long the address outlives the announcement.
    pub drain: Duration,
    /// How long a planned withdrawal is announced beforehand.
    pub shed: Duration,
    /// First wait of a service that flaps; zero = none.
    pub hold_down: Duration,
}

/// What decides about a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckConfig {
    /// Nothing: it is always there.
    None,
    /// People and programs, by the API.
    Api {
        /// How it starts.
        up: bool,
    },
    /// Something that is tried again and again.
    Probe(ProbeConfig),
}

/// A check that is made again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// What is tried.
    pub probe: Probe,
    /// Between the starts of two.
    pub every: Duration,
    /// An answer that takes longer is a failure.
    pub timeout: Duration,
    /// Good results in succession until it is up again.
    pub rise: u32,
    /// Bad results in succession until it is down.
    pub fall: u32,
}

/// How the other end of TLS proves itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The name that its certificate must have, and that it is asked for.
    pub server_name: String,
    /// Who must have signed that.
    pub trust: Trust,
}

/// Which certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Those of the authorities that the system believes.
    System,
    /// Those of the authorities in this file.
    File(PathBuf),
    /// Any.
    Anything,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A TCP connection can be made.
    Tcp(SocketAddr),
    /// GET answers with a status of 200 to 299.
    Http {
        /// Where.
        address: SocketAddr,
        /// What the `Host` field says.
        host: String,
        /// Path and query.
        target: String,
        /// Over TLS, and how; plain otherwise.
        tls: Option<Tls>,
    },
    /// A command ends with 0.
    Exec {
        /// Program and arguments; at least one word.
        command: Vec<String>,
        /// As whom.
        user: String,
    },
    /// A file is there.
    File(PathBuf),
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Http { host, target, tls, .. } => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                write!(f, "{scheme}://{host}{target}")
            }
            Self::Exec { command, .. } => write!(f, "exec {}", command.join(" ")),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// All service addresses, by name in ascending order.
pub(super) fn vips(config: &Config, faults: &mut Faults<'_>) -> Vec<VipConfig> {
    if config.vips.len() > VIPS_MAX {
        faults.add("vips", format!("{} are more than {VIPS_MAX}", config.vips.len()), "give a service fewer addresses");
    }
    let mut seen: BTreeSet<IpAddr> = config.addresses.iter().map(IpNet::addr).collect();
    seen.extend(config.originate.iter().filter(|entry| is_host(&entry.prefix)).map(|entry| entry.prefix.addr()));
    config.vips.iter().map(|(name, vip)| one(config, (name, vip), &mut seen, faults)).collect()
}

fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

fn one(
    config: &Config,
    (name, vip): (&String, &Vip),
    seen: &mut BTreeSet<IpAddr>,
    faults: &mut Faults<'_>,
) -> VipConfig {
    let path = format!("vips.{name}");
    let addresses: Vec<IpNet> = vip.address.iter().chain(&vip.addresses).copied().collect();
    if addresses.is_empty() {
        faults.add(&path, "it has no address", "add `address: 10.71.255.6/32`");
    }
    for net in &addresses {
        check_host_bits(*net, &path, faults);
        if !is_host(net) {
            let host = IpNet::from(net.addr());
            faults.add(&path, format!("{net} is a range, and `lo` takes single addresses"), format!("write {host}"));
        } else if !seen.insert(net.addr()) {
            let message = format!("{net} is an address of this node or of another service already");
            faults.add(&path, message, "write it once: here, or under `addresses` if it is to stay whatever happens");
        }
    }
    if vip.weight == Some(0) {
        faults.add(&format!("{path}.weight"), "0 is no share", "write 1..=65535, or leave it out");
    }
    let keep = if config.role == Some(Role::Boot) { OnLast::Keep } else { OnLast::Withdraw };
    VipConfig {
        name: name.clone(),
        addresses,
        check: vip.check.as_ref().map_or(CheckConfig::None, |check| check.config(&format!("{path}.check"), faults)),
        on_last: vip.on_last.unwrap_or(keep),
        weight: vip.weight,
        communities: vip.communities.iter().map(|value| value.0).collect(),
        large_communities: vip.large_communities.iter().map(|value| value.0).collect(),
        drain: span(vip.drain, DRAIN, &format!("{path}.drain"), faults),
        shed: span(vip.shed, SHED, &format!("{path}.shed"), faults),
        hold_down: span(vip.hold_down, HOLD_DOWN, &format!("{path}.hold_down"), faults),
    }
}

pub(super) fn span(written: Option<Span>, default: Duration, path: &str, faults: &mut Faults<'_>) -> Duration {
    let span = written.map_or(default, |span| span.0);
    if span > SPAN_MAX {
        faults.add(path, format!("{span:?} is more than an hour"), "write at most 1h");
    }
    span
}

impl Check {
    fn config(&self, path: &str, faults: &mut Faults<'_>) -> CheckConfig {
        self.check_tls(path, faults);
        let kinds =
            [self.tcp.is_some(), self.http.is_some(), self.exec.is_some(), self.file.is_some(), self.api.is_some()];
        if kinds.iter().filter(|is_there| **is_there).count() != 1 {
            faults.add(path, "a check is of one kind", "write one of tcp, http, exec, file and api");
        }
        if self.user.is_some() && self.exec.is_none() {
            faults.add(&format!("{path}.user"), "only a command runs as somebody", "leave it out");
        }
        if let Some(start) = self.api {
            return CheckConfig::Api { up: start == Start::Up };
        }
        let every = span(self.every, EVERY, &format!("{path}.every"), faults);
        if every < EVERY_MIN {
            faults.add(&format!("{path}.every"), format!("{every:?} is too often"), "write 10ms or more");
        }
        let timeout = span(self.timeout, every.min(EVERY), &format!("{path}.timeout"), faults);
        if timeout.is_zero() {
            faults.add(&format!("{path}.timeout"), "nothing answers in no time", "leave it out, or write 100ms");
        }
        for (field, value) in [("rise", self.rise), ("fall", self.fall)] {
            if value == Some(0) {
                faults.add(&format!("{path}.{field}"), "0 results decide nothing", "write 1 or more");
            }
        }
        let probe = self.probe(path, faults);
        let (rise, fall) = (self.rise.unwrap_or(RISE), self.fall.unwrap_or(FALL));
        CheckConfig::Probe(ProbeConfig { probe, every, timeout, rise, fall })
    }

    /// What only TLS has a use for.
    fn check_tls(&self, path: &str, faults: &mut Faults<'_>) {
        let is_tls = self.http.as_ref().is_some_and(|url| url.starts_with("https://"));
        let written = [
            ("ca_file", self.ca_file.is_some()),
            ("server_name", self.server_name.is_some()),
            ("insecure", self.insecure.is_some()),
        ];
        for (field, _) in written.iter().filter(|(_, is_written)| *is_written && !is_tls) {
            faults.add(
                &format!("{path}.{field}"),
                "only TLS has certificates",
                "write `http: \"https://…\"`, or leave it out",
            );
        }
    }

    /// Whom an `https` check believes.
    fn trust(&self, tls: &mut Tls, path: &str, faults: &mut Faults<'_>) {
        if let Some(name) = &self.server_name {
            tls.server_name.clone_from(name);
            if ServerName::try_from(name.as_str()).is_err() {
                let message = format!("`{name}` is neither a name nor an address");
                faults.add(
                    &format!("{path}.server_name"),
                    message,
                    "write what the certificate says, as boot.example.org",
                );
            }
        }
        match (self.insecure == Some(true), &self.ca_file) {
            (true, Some(_)) => faults.add(
                &format!("{path}.insecure"),
                "any certificate is believed, and only those of `ca_file`",
                "leave one of the two out",
            ),
            (true, None) => tls.trust = Trust::Anything,
            (false, Some(file)) if file.is_absolute() => tls.trust = Trust::File(file.clone()),
            (false, Some(file)) => {
                let message = format!("`{}` is no absolute path", file.display());
                faults.add(&format!("{path}.ca_file"), message, "write it from / on");
            }
            (false, None) => {}
        }
    }

    fn probe(&self, path: &str, faults: &mut Faults<'_>) -> Probe {
        if let Some(address) = self.tcp {
            return Probe::Tcp(address);
        }
        if let Some(url) = &self.http {
            let mut probe = http(url).unwrap_or_else(|(message, remedy)| {
                faults.add(&format!("{path}.http"), message, remedy);
                Probe::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
            });
            if let Probe::Http { tls: Some(tls), .. } = &mut probe {
                self.trust(tls, path, faults);
            }
            return probe;
        }
        if let Some(command) = &self.exec {
            let program = command.first().map_or("", String::as_str);
            if !program.starts_with('/') {
                let message = format!("`{program}` is no absolute path");
                faults.add(&format!("{path}.exec"), message, "write [\"/usr/bin/program\", \"argument\"]");
            }
            if command.len() > WORDS_MAX {
                let message = format!("{} words are more than {WORDS_MAX}", command.len());
                faults.add(&format!("{path}.exec"), message, "put them in a script");
            }
            let user = self.user.clone().unwrap_or_else(|| "nobody".to_owned());
            return Probe::Exec { command: command.clone(), user };
        }
        let file = self.file.clone().unwrap_or_default();
        if self.file.is_some() && !file.is_absolute() {
            let message = format!("`{}` is no absolute path", file.display());
            faults.add(&format!("{path}.file"), message, "write it from / on");
        }
        Probe::File(file)
    }
}

/// Reads `http://127.0.0.1:8080/health`, or the same with `https`. Only addresses: a check that waits for a name server checks the name server.
fn http(url: &str) -> Result<Probe, (String, &'static str)> {
    const REMEDY: &str =
        "write \"http://127.0.0.1:8080/health\" or \"https://127.0.0.1:8443/health\", with an address or localhost";
    let wrong = || (format!("`{url}` is no such URL"), REMEDY);
    let plain = url.strip_prefix("http://");
    let rest = plain.or_else(|| url.strip_prefix("https://")).ok_or_else(wrong)?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (host, target) = rest.split_at(at);
    let port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|c| c.is_ascii_digit()));
    let full =
        if port.is_some() { host.to_owned() } else { format!("{host}:{}", if plain.is_some() { 80 } else { 443 }) };
    let full = match full.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => full,
    };
    let address: SocketAddr = full.parse().map_err(|_| wrong())?;
    let target = if target.is_empty() { "/" } else { target };
    if !target.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(wrong());
    }
    let name = || {
        let host = full.rsplit_once(':').map_or("", |(host, _)| host);
        let written = if url.starts_with("https://localhost") { "localhost" } else { host };
        Tls { server_name: written.trim_matches(['[', ']']).to_owned(), trust: Trust::System }
    };
    let tls = plain.is_none().then(name);
    Ok(Probe::Http { address, host: host.to_owned(), target: target.to_owned(), tls })
}

#[cfg(test)]
mod tests;
