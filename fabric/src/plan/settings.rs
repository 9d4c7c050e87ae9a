//! What differs of a node apart from what its speaker compares. Every field of the configuration stands here by name, so that a new one
//! does not compile before it is decided whether a plan shows it.

use super::{FieldChange, Setting};
use crate::config::{FibConfig, NodeConfig, Protection, RemoteConfig};
use crate::drain::DrainConfig;
use std::fmt::Debug;
use weft_bgp::speaker::SpeakerConfig;

/// Longest value shown of a setting; of longer ones, that they are different.
const VALUE_MAX: usize = 60;

/// Collects what differs.
#[derive(Default)]
struct Settings(Vec<Setting>);

impl Settings {
    fn note<T: PartialEq + Debug>(&mut self, field: &str, old: &T, new: &T) {
        if old != new {
            self.0.push(Setting { field: field.to_owned(), from: text(old), to: text(new) });
        }
    }
}

/// A value as shown: names of variants and options are no word of the file.
fn text(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    let text = text.strip_prefix("Some(").and_then(|text| text.strip_suffix(')')).unwrap_or(&text);
    match text {
        "None" => "not set".to_owned(),
        text if text.len() > VALUE_MAX => "(long)".to_owned(),
        text => text.trim_matches('"').to_owned(),
    }
}

/// Fields of the node.
pub(super) fn settings(old: &NodeConfig, new: &NodeConfig) -> Vec<Setting> {
    let mut all = Settings::default();
    let NodeConfig {
        hostname,
        role,
        speaker,
        // Compiled in `speaker`.
        policy: _,
        // The speaker compares them.
        peers: _,
        dynamic,
        // Named with their peers, see `beside`; those of ranges here.
        protections,
        bfd,
        cabling: _,
        // In lists of their own.
        addresses: _,
        originate: _,
        vips: _,
        import,
        relay,
        fib,
        api,
        bmp,
        mrt,
        rpki,
        on_sigterm,
        drain,
        sandbox,
        // In force from the next start on.
        record_octets: _,
        // What it says is above.
        source: _,
    } = old;
    all.note("hostname", hostname, &new.hostname);
    all.note("role", &role.map(|role| role.to_string()), &new.role.map(|role| role.to_string()));
    of_speaker(&mut all, speaker, &new.speaker);
    let prefixes = |config: &[weft_bgp::speaker::DynamicRange]| -> Vec<String> {
        config.iter().map(|range| format!("{} limit {}", range.prefix, range.limit)).collect()
    };
    if dynamic != &new.dynamic {
        let (from, to) = (prefixes(dynamic).join(", "), prefixes(&new.dynamic).join(", "));
        all.0.push(Setting { field: "listen".to_owned(), from, to });
    }
    let of_ranges = |all: &[Protection]| -> Vec<Protection> {
        all.iter().filter(|one| one.field.starts_with("listen")).cloned().collect()
    };
    all.note("listen: keys", &of_ranges(protections), &of_ranges(&new.protections));
    all.note("listen: bfd", &bfd.ranges, &new.bfd.ranges);
    all.note("import_kernel", &import.kernel, &new.import.kernel);
    all.note("import_connected", &import.connected, &new.import.connected);
    all.note("dhcp.relay", relay, &new.relay);
    of_kernel(&mut all, fib, &new.fib);
    all.note("api.socket", &api.socket, &new.api.socket);
    all.note("api.group", &api.group, &new.api.group);
    all.note("api.http", &api.http, &new.api.http);
    all.note("api.web", &api.web, &new.api.web);
    of_remote(&mut all, api.remote.as_ref(), new.api.remote.as_ref());
    all.note("bmp", bmp, &new.bmp);
    all.note("mrt", mrt, &new.mrt);
    all.note("rpki", rpki, &new.rpki);
    all.note("on_sigterm", on_sigterm, &new.on_sigterm);
    all.note("drain.boot", &drain.boot, &new.drain.boot);
    let times = |config: &DrainConfig| (config.settle.as_millis(), config.limit.as_millis());
    if times(drain) != times(&new.drain) {
        let text = |config: &DrainConfig| format!("{:?}, {:?}", config.settle, config.limit);
        let (from, to) = (text(drain), text(&new.drain));
        all.0.push(Setting { field: "drain.settle, drain.limit".to_owned(), from, to });
    }
    all.note("drain.file", &drain.file, &new.drain.file);
    all.note("sandbox.capabilities", &sandbox.capabilities, &new.sandbox.capabilities);
    all.note("sandbox.landlock", &sandbox.landlock, &new.sandbox.landlock);
    all.note("sandbox.seccomp", &sandbox.seccomp, &new.sandbox.seccomp);
    all.note("sandbox.required", &sandbox.required, &new.sandbox.required);
    all.0
}

/// The paths of files alone: what is in them is read again by each reload, and shown nowhere.
fn of_remote(all: &mut Settings, old: Option<&RemoteConfig>, new: Option<&RemoteConfig>) {
    let listen = |one: &RemoteConfig| one.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    all.note("api.remote.listen", &old.map(listen), &new.map(listen));
    let (Some(old), Some(new)) = (old, new) else { return };
    all.note("api.remote.cert", &old.cert, &new.cert);
    all.note("api.remote.key", &old.key, &new.key);
    all.note("api.remote.client_ca", &old.client_ca, &new.client_ca);
    all.note("api.remote.trust_domain", &old.trust_domain, &new.trust_domain);
}

fn of_speaker(all: &mut Settings, old: &SpeakerConfig, new: &SpeakerConfig) {
    let SpeakerConfig {
        asn,
        router_id,
        cluster_id,
        multipath,
        advertise_after_install,
        hold_back_ms,
        // Of the run, not of the file.
        restarting: _,
        seed: _,
        policies,
        aggregates,
        // In a list of their own.
        addresses: _,
    } = old;
    all.note("asn", &asn.0, &new.asn.0);
    all.note("router_id", router_id, &new.router_id);
    all.note("cluster_id", cluster_id, &new.cluster_id);
    all.note("fib.multipath", multipath, &new.multipath);
    all.note("advertise after install", advertise_after_install, &new.advertise_after_install);
    all.note("timers.hold_back_ms", hold_back_ms, &new.hold_back_ms);
    all.note("aggregates", aggregates, &new.aggregates);
    all.note("policy.guards", policies.guards(), new.policies.guards());
    if !policies.has_rules_of(&new.policies) {
        let rules = |count: usize| format!("{count} rules");
        let (from, to) = (rules(policies.rule_count()), rules(new.policies.rule_count()));
        all.0.push(Setting { field: "policy".to_owned(), from, to });
    }
}

fn of_kernel(all: &mut Settings, old: &FibConfig, new: &FibConfig) {
    let FibConfig {
        install,
        table,
        metric,
        protocol,
        nexthop_base,
        nexthop_count,
        nexthop_compat,
        receive_buffer_bytes,
        link_damping,
        prefer_source_v4,
        prefer_source_v6,
        keep_on_exit,
        unreachable,
        resilient,
    } = old;
    all.note("fib.install", install, &new.install);
    all.note("fib.table", table, &new.table);
    all.note("fib.metric", metric, &new.metric);
    all.note("fib.protocol", protocol, &new.protocol);
    all.note("fib.nexthop_base", nexthop_base, &new.nexthop_base);
    all.note("fib.nexthop_count", nexthop_count, &new.nexthop_count);
    all.note("fib.nexthop_compat", nexthop_compat, &new.nexthop_compat);
    all.note("fib.receive_buffer_bytes", receive_buffer_bytes, &new.receive_buffer_bytes);
    all.note("fib.link_damping", link_damping, &new.link_damping);
    all.note("preferred source, IPv4", prefer_source_v4, &new.prefer_source_v4);
    all.note("preferred source, IPv6", prefer_source_v6, &new.prefer_source_v6);
    all.note("fib.keep_on_exit", keep_on_exit, &new.keep_on_exit);
    all.note("fib.unreachable", unreachable, &new.unreachable);
    all.note("fib.resilient", resilient, &new.resilient);
}

/// Fields of a configured peer that its session does not notice and the speaker does not know: BFD, cabling, where its key is.
pub(super) fn beside(old: &NodeConfig, new: &NodeConfig, name: &str) -> Vec<FieldChange> {
    let mut all = Settings::default();
    all.note("bfd", &old.bfd.peers.get(name), &new.bfd.peers.get(name));
    all.note("expect_lldp", &old.cabling.get(name), &new.cabling.get(name));
    let method = |config: &NodeConfig| {
        let prefix = format!("peers.{name}.");
        config.protections.iter().find(|one| one.field.starts_with(&prefix)).map(|one| one.method.clone())
    };
    if method(old) != method(new) {
        // The paths of files alone: what is in them is shown nowhere.
        all.0.push(Setting { field: "password_file, tcp_ao".to_owned(), from: String::new(), to: String::new() });
    }
    let change = |Setting { field, from, to }| FieldChange { field, from, to, effect: "at once".to_owned() };
    all.0.into_iter().map(change).collect()
}
