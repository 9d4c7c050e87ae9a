//! Kernel routes: section `fib` as written, and what it comes to. What a role adds is said here.

use super::file::Config;
use super::node::{Faults, MAX_MULTIPATH, check_host_bits};
use super::role::{Defaults, Role};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metrics of the kernel's own routes and of DHCP and RA defaults: a route of equal prefix and metric would be overwritten.
const FOREIGN_METRICS: [u32; 5] = [0, 20, 32, 100, 1024];
/// Protocol numbers up to `static` belong to the kernel and to administrators (rtnetlink(7)).
const FIRST_OWN_PROTOCOL: u8 = 5;
/// First of our nexthop ids: above what other software counts up from 1.
const NEXTHOP_BASE: u32 = 0xF000_0000;
/// How many nexthop ids are ours.
const NEXTHOP_COUNT: u32 = 0x0100_0000;

/// As other routing daemons have it; without privileges the system grants less.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// Section `fib`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fib {
    /// Program the kernel; default true.
    pub install: Option<bool>,
    /// Most next hops per route, 1..=64; default 64.
    pub multipath: Option<u8>,
    /// Leave routes behind when the daemon ends for a restart; default true.
    pub keep_on_exit: Option<bool>,
    /// Metric of all our routes; default 77.
    pub metric: Option<u32>,
    /// Routing protocol number that marks our routes; default 77, which no other daemon is known to use (193 is LDP in FRR).
    pub protocol: Option<u8>,
    /// Kernel table; default 254 (main).
    pub table: Option<u32>,
    /// Whether other software on this host may read routes without knowing nexthop objects; default `fast` on a ToR or spine.
    pub nexthop_compat: Option<NexthopCompat>,
    /// Room for what the kernel tells of changes, octets; default 16 MiB. What does not fit is found by a dump.
    pub receive_buffer_bytes: Option<usize>,
    /// Keep a link that flaps out of use until it stands; default true.
    pub link_damping: Option<bool>,
    /// Ranges, or names of prefix sets, for which a last-resort unreachable route is held; default on a ToR or spine: `aggregates`.
    pub unreachable: Option<Vec<String>>,
    /// Ranges, or names of prefix sets, whose routes keep flows at their member when another one goes or comes.
    #[serde(default)]
    pub resilient: Vec<String>,
}

/// What `net.ipv4.nexthop_compat_mode` is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NexthopCompat {
    /// As it is, mostly 1: routes are told with their gateways, and when a group changes the kernel tells of every route of it.
    #[default]
    Keep,
    /// 0 while the daemon runs: a group changes in a tenth of a millisecond, whatever the routes, which are told with an id alone.
    Fast,
}

/// How routes go into the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibConfig {
    /// False: the kernel is left alone and every change counts as installed at once.
    pub install: bool,
    /// Kernel table.
    pub table: u32,
    /// Metric of all our routes.
    pub metric: u32,
    /// Routing protocol number that marks what is ours.
    pub protocol: u8,
    /// First nexthop id of ours.
    pub nexthop_base: u32,
    /// How many nexthop ids are ours.
    pub nexthop_count: u32,
    /// How the kernel tells others of nexthop objects.
    pub nexthop_compat: NexthopCompat,
    /// Room for notifications, octets.
    pub receive_buffer_bytes: usize,
    /// Keep a link that flaps out of use until it stands.
    pub link_damping: bool,
    /// Preferred source of IPv4 routes.
    pub prefer_source_v4: Option<Ipv4Addr>,
    /// Preferred source of IPv6 routes.
    pub prefer_source_v6: Option<Ipv6Addr>,
    /// Leave routes behind on exit.
    pub keep_on_exit: bool,
    /// Last-resort unreachable routes.
    pub unreachable: Vec<IpNet>,
    /// Routes within these have resilient groups.
    pub resilient: Vec<IpNet>,
}

/// What the file comes to.
pub(super) fn config(config: &Config, defaults: &Defaults, faults: &mut Faults<'_>) -> FibConfig {
    let fib = &config.fib;
    check(fib, faults);
    let mut v4 = None;
    let mut v6 = None;
    for net in &config.addresses {
        match net.addr() {
            IpAddr::V4(addr) => v4 = v4.or(Some(addr)),
            IpAddr::V6(addr) => v6 = v6.or(Some(addr)),
        }
    }
    let unreachable = match (&fib.unreachable, config.role) {
        (Some(written), _) => ranges(config, "fib.unreachable", written, faults),
        // What is advertised as a whole must not leave by a default route when a part of it is lost.
        (None, Some(Role::Tor | Role::Spine)) => config.aggregates.iter().map(IpNet::trunc).collect(),
        (None, Some(Role::Host | Role::Boot | Role::Border) | None) => Vec::new(),
    };
    FibConfig {
        install: fib.install.unwrap_or(true),
        table: fib.table.unwrap_or(254),
        metric: fib.metric.unwrap_or(77),
        protocol: fib.protocol.unwrap_or(77),
        nexthop_base: NEXTHOP_BASE,
        nexthop_count: NEXTHOP_COUNT,
        nexthop_compat: fib.nexthop_compat.unwrap_or(defaults.nexthop_compat),
        receive_buffer_bytes: fib.receive_buffer_bytes.unwrap_or(RECEIVE_BUFFER_BYTES),
        link_damping: fib.link_damping.unwrap_or(true),
        prefer_source_v4: v4,
        prefer_source_v6: v6,
        keep_on_exit: fib.keep_on_exit.unwrap_or(true),
        unreachable,
        resilient: ranges(config, "fib.resilient", &fib.resilient, faults),
    }
}

/// The networks behind what is written: each a network, or the name of a prefix set, of which the networks count and not the lengths.
fn ranges(config: &Config, path: &str, written: &[String], faults: &mut Faults<'_>) -> Vec<IpNet> {
    let sets = config.policy.get("sets").and_then(serde_json::Value::as_object);
    let mut found = Vec::new();
    for (index, text) in written.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if let Ok(net) = text.parse() {
            check_host_bits(net, &path, faults);
            found.push(net);
        } else if let Some(entries) = sets.and_then(|sets| sets.get(text)?.as_array()) {
            let first = |entry: &serde_json::Value| entry.as_str()?.split_ascii_whitespace().next()?.parse().ok();
            let nets: Option<Vec<IpNet>> = entries.iter().map(first).collect();
            match nets {
                Some(nets) => found.extend(nets.iter().map(IpNet::trunc)),
                None => faults.add(&path, format!("`{text}` is no set of prefixes"), "name one of prefixes"),
            }
        } else {
            let known: Vec<_> = sets.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let remedy = if known.is_empty() {
                "write 10.0.0.0/8".to_owned()
            } else {
                format!("write 10.0.0.0/8, or one of: {}", known.join(", "))
            };
            faults.add(&path, format!("`{text}` is no prefix and no set of `policy.sets`"), remedy);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn check(fib: &Fib, faults: &mut Faults<'_>) {
    if let Some(metric) = fib.metric
        && FOREIGN_METRICS.contains(&metric)
    {
        faults.add(
            "fib.metric",
            format!("{metric} is used by the kernel or by DHCP and RA, whose routes would be overwritten"),
            "leave it out (77), or choose one that nobody else uses",
        );
    }
    if let Some(protocol) = fib.protocol
        && protocol < FIRST_OWN_PROTOCOL
    {
        faults.add(
            "fib.protocol",
            format!("{protocol} marks routes of the kernel or of an administrator"),
            "leave it out (77), or choose one of 5..=255 that no other daemon uses",
        );
    }
    if let Some(table) = fib.table
        && (table == 0 || table == 255)
    {
        faults.add("fib.table", format!("table {table} is the kernel's own"), "leave it out (254, main)");
    }
    if let Some(multipath) = fib.multipath
        && !(1..=MAX_MULTIPATH).contains(&multipath)
    {
        faults.add("fib.multipath", format!("{multipath} is not within 1..=64"), "leave it out (64)");
    }
}
