//! The shape of a `*.clab.yml` file: containerlab's keys, strictly, and our own `weft:`, `expect:`, `steps:` and `faults:`.
//!
//! A key of containerlab's that has no meaning without containers only warns.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::stage::{HealthFile, StagesFile};
use super::{Flaw, TopologyError};
use crate::expect::Expectation;
use crate::fault::Incident;
use crate::step::Step;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: Spanned<String>,
    pub(super) prefix: Option<String>,
    pub(super) mgmt: Option<Mgmt>,
    pub(super) settings: Option<IgnoredAny>,
    pub(super) topology: Body,
    #[serde(default)]
    pub(super) weft: Extension,
    #[serde(default)]
    pub(super) expect: Vec<Spanned<Expectation>>,
    #[serde(default)]
    pub(super) steps: Vec<Spanned<Step>>,
    #[serde(default)]
    pub(super) faults: Vec<Spanned<Incident>>,
}

/// `mgmt:`; only links to `mgmt-net` make such a network, and its prefix lengths are those of addresses in it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Mgmt {
    pub(super) ipv4_subnet: Option<String>,
    pub(super) ipv6_subnet: Option<String>,
    #[serde(rename = "network")]
    _network: Option<IgnoredAny>,
    #[serde(rename = "bridge")]
    _bridge: Option<IgnoredAny>,
    #[serde(rename = "ipv4-gw")]
    _ipv4_gw: Option<IgnoredAny>,
    #[serde(rename = "ipv4-range")]
    _ipv4_range: Option<IgnoredAny>,
    #[serde(rename = "ipv6-gw")]
    _ipv6_gw: Option<IgnoredAny>,
    #[serde(rename = "ipv6-range")]
    _ipv6_range: Option<IgnoredAny>,
    #[serde(rename = "mtu")]
    _mtu: Option<IgnoredAny>,
    #[serde(rename = "external-access")]
    _external_access: Option<IgnoredAny>,
    #[serde(rename = "skip-when-unused")]
    _skip_when_unused: Option<IgnoredAny>,
    #[serde(rename = "driver-opts")]
    _driver_opts: Option<IgnoredAny>,
}

/// `topology:`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    #[serde(default)]
    pub(super) defaults: Node,
    #[serde(default)]
    pub(super) kinds: BTreeMap<String, Node>,
    #[serde(default)]
    pub(super) groups: BTreeMap<String, Node>,
    pub(super) nodes: BTreeMap<String, Spanned<Option<Node>>>,
    #[serde(default)]
    pub(super) links: Vec<Spanned<Link>>,
}

/// A node, or what nodes inherit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Node {
    pub(super) kind: Option<Spanned<String>>,
    pub(super) group: Option<String>,
    pub(super) image: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) binds: Vec<Spanned<String>>,
    pub(super) exec: Vec<Spanned<String>>,
    pub(super) entrypoint: Option<Spanned<String>>,
    pub(super) cmd: Option<Spanned<String>>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) sysctls: BTreeMap<String, Spanned<String>>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) network_mode: Option<Spanned<String>>,
    pub(super) mgmt_ipv4: Option<Spanned<String>>,
    pub(super) mgmt_ipv6: Option<Spanned<String>>,
    pub(super) env_files: Vec<Spanned<String>>,
    pub(super) volumes: Vec<Spanned<String>>,
    pub(super) tmpfs: BTreeMap<String, Option<Spanned<String>>>,
    pub(super) user: Option<Spanned<String>>,
    pub(super) startup_delay: Option<Spanned<u32>>,
    pub(super) stages: StagesFile,
    pub(super) healthcheck: Option<Spanned<HealthFile>>,
    // without a container these say nothing
    license: Option<IgnoredAny>,
    r#type: Option<IgnoredAny>,
    position: Option<IgnoredAny>,
    certificate: Option<IgnoredAny>,
    credentials: Option<IgnoredAny>,
    runtime: Option<IgnoredAny>,
    image_pull_policy: Option<IgnoredAny>,
    shm_size: Option<IgnoredAny>,
    devices: Option<IgnoredAny>,
    security_opts: Option<IgnoredAny>,
    components: Option<IgnoredAny>,
    extras: Option<IgnoredAny>,
    privileged: Option<IgnoredAny>,
    cap_add: Option<IgnoredAny>,
    restart_policy: Option<IgnoredAny>,
    ports: Option<IgnoredAny>,
    aliases: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    auto_remove: Option<IgnoredAny>,
    cgroupns_mode: Option<IgnoredAny>,
    cgroup_parent: Option<IgnoredAny>,
    pid_mode: Option<IgnoredAny>,
    cpu: Option<IgnoredAny>,
    cpu_set: Option<IgnoredAny>,
    memory: Option<IgnoredAny>,
    dns: Option<IgnoredAny>,
    link_apply_mode: Option<IgnoredAny>,
    startup_config: Option<IgnoredAny>,
    enforce_startup_config: Option<IgnoredAny>,
    suppress_startup_config: Option<IgnoredAny>,
}

impl Node {
    /// Keys that are there and do nothing.
    pub(super) fn ignored(&self) -> Vec<&'static str> {
        [
            (&self.license, "license"),
            (&self.r#type, "type"),
            (&self.position, "position"),
            (&self.certificate, "certificate"),
            (&self.credentials, "credentials"),
            (&self.runtime, "runtime"),
            (&self.image_pull_policy, "image-pull-policy"),
            (&self.shm_size, "shm-size"),
            (&self.devices, "devices"),
            (&self.security_opts, "security-opts"),
            (&self.components, "components"),
            (&self.extras, "extras"),
            (&self.privileged, "privileged"),
            (&self.cap_add, "cap-add"),
            (&self.restart_policy, "restart-policy"),
            (&self.ports, "ports"),
            (&self.aliases, "aliases"),
            (&self.config, "config"),
            (&self.auto_remove, "auto-remove"),
            (&self.cgroupns_mode, "cgroupns-mode"),
            (&self.cgroup_parent, "cgroup-parent"),
            (&self.pid_mode, "pid-mode"),
            (&self.cpu, "cpu"),
            (&self.cpu_set, "cpu-set"),
            (&self.memory, "memory"),
            (&self.dns, "dns"),
            (&self.link_apply_mode, "link-apply-mode"),
            (&self.startup_config, "startup-config"),
            (&self.enforce_startup_config, "enforce-startup-config"),
            (&self.suppress_startup_config, "suppress-startup-config"),
        ]
        .into_iter()
        .filter_map(|(value, name)| value.is_some().then_some(name))
        .collect()
    }
}

/// A link in either form: brief (`endpoints: ["a:eth1", "b:eth1"]`) or with a `type` and mappings as endpoints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Link {
    #[serde(rename = "type")]
    pub(super) kind: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) endpoints: Vec<Spanned<End>>,
    pub(super) mtu: Option<u32>,
    #[serde(default)]
    pub(super) ipv4: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) ipv6: Vec<Spanned<String>>,
    #[serde(rename = "labels")]
    _labels: Option<IgnoredAny>,
    #[serde(rename = "vars")]
    _vars: Option<IgnoredAny>,
    // of the types that are not veth
    pub(super) endpoint: Option<Spanned<End>>,
    pub(super) host_interface: Option<Spanned<String>>,
    pub(super) mode: Option<Spanned<String>>,
    pub(super) remote: Option<Spanned<String>>,
    pub(super) vni: Option<Spanned<u32>>,
    pub(super) dst_port: Option<u16>,
    pub(super) src_port: Option<u16>,
    pub(super) parent_interface: Option<Spanned<String>>,
}

/// One end, in either form.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) node: String,
    pub(super) interface: String,
    pub(super) mac: Option<String>,
    pub(super) ipv4: Option<String>,
    pub(super) ipv6: Option<String>,
}

/// The mapping form of an end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndMap {
    node: String,
    interface: String,
    mac: Option<String>,
    ipv4: Option<String>,
    ipv6: Option<String>,
    #[serde(rename = "vars")]
    _vars: Option<IgnoredAny>,
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = End;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"node:interface\" or {node, interface, mac?, ipv4?, ipv6?}")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<End, E> {
                let (node, interface) =
                    text.split_once(':').ok_or_else(|| E::custom(format!("`{text}`: write \"node:interface\"")))?;
                Ok(End { node: node.to_owned(), interface: interface.to_owned(), ..End::default() })
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<End, A::Error> {
                let end = EndMap::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(End { node: end.node, interface: end.interface, mac: end.mac, ipv4: end.ipv4, ipv6: end.ipv6 })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `weft:`, which containerlab does not read: a mapping, or the word `auto` for one that has nothing but `auto: true`.
#[derive(Debug, Default)]
pub(super) struct Extension {
    /// Addresses, AS numbers and configurations for what has none.
    pub(super) auto: bool,
    /// What servers are told, with `auto`.
    pub(super) servers: Servers,
    pub(super) nodes: BTreeMap<String, Spanned<NodeExtension>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtensionMap {
    #[serde(default)]
    auto: bool,
    #[serde(default)]
    servers: Servers,
    #[serde(default)]
    nodes: BTreeMap<String, Spanned<NodeExtension>>,
}

/// What servers are told of the network, with `auto`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Servers {
    /// Every address.
    #[default]
    All,
    /// A default route.
    Default,
}

impl<'de> Deserialize<'de> for Extension {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Extension;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`auto`, or {auto?, servers?, nodes?}")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Extension, E> {
                match text {
                    "auto" => Ok(Extension { auto: true, ..Extension::default() }),
                    other => Err(E::custom(format!("`{other}`: write `auto`, or a mapping"))),
                }
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Extension, A::Error> {
                let map = ExtensionMap::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Extension { auto: map.auto, servers: map.servers, nodes: map.nodes })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// What a node has beyond containerlab's file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeExtension {
    /// Its AS, with `auto`.
    pub(super) asn: Option<u32>,
    #[serde(default)]
    pub(super) addresses: BTreeMap<String, Vec<IpNet>>,
    #[serde(default)]
    pub(super) bridges: BTreeMap<String, BridgeExtension>,
}

/// A bridge inside a node.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BridgeExtension {
    pub(super) ports: Vec<String>,
    pub(super) address: Option<IpNet>,
    #[serde(default)]
    pub(super) addresses: Vec<IpNet>,
}

/// Something wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    line: u64,
    column: u64,
    field: String,
    message: String,
    /// More of the same kind, shown in lines of their own.
    more: Vec<Self>,
}

impl Fault {
    /// At a value of the file.
    pub(super) fn new<T>(place: &Spanned<T>, field: impl Into<String>, message: impl Into<String>) -> Self {
        let location = place.referenced;
        Self {
            line: location.line(),
            column: location.column(),
            field: field.into(),
            message: message.into(),
            more: Vec::new(),
        }
    }

    /// The key that nobody knows, and its line, if that is the fault.
    pub(super) fn unknown_key(&self) -> Option<(&str, u64)> {
        let key = self.message.strip_prefix("unknown field `")?.split('`').next()?;
        Some((key, self.line))
    }

    /// All of them as one, at the place of the first.
    pub(super) fn together(faults: Vec<Self>) -> Option<Self> {
        let mut faults = faults.into_iter();
        let mut first = faults.next()?;
        first.more = faults.collect();
        Some(first)
    }

    /// As the public error, in this file; `source` gives the line of a template from which a line was made.
    pub(super) fn at(self, path: &std::path::Path, source: &dyn Fn(u64) -> u64) -> TopologyError {
        let flaw =
            |Self { line, column, field, message, more: _ }: Self| Flaw { line: source(line), column, field, message };
        let mut first = self;
        let more = std::mem::take(&mut first.more).into_iter().map(flaw).collect();
        TopologyError::Invalid { path: path.to_owned(), first: flaw(first), more }
    }
}

/// Reads the text; the first fault has its line and field.
pub(super) fn read(text: &str) -> Result<File, Fault> {
    let mut field = String::new();
    serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            // `Spanned` shows up in the path as a field of its own.
            field = error.path().to_string().replace(".value", "");
            error.into_inner()
        })
    })
    .map_err(|error| {
        let location = error.location();
        let whole = error.without_snippet().to_string();
        // The location is printed once, in front.
        let message = whole.split(" at line ").next().unwrap_or(&whole).to_owned();
        let (line, column) = location.map_or((1, 1), |location| (location.line(), location.column()));
        let field = if field == "." { String::new() } else { field };
        Fault { line, column, field, message, more: Vec::new() }
    })
}
