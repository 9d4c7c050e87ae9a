//! What Prometheus reads: the counters that the machines keep anyway, written down at each scrape. The list of names is in this
//! crate's `docs/metrics.md`, and a test holds the two together.

use crate::api::{Doors, Handshakes, KernelCounts, Observer, Requests, Surroundings};
use crate::bfd::{State, Status};
use crate::dhcp::{self, Counts, Dropped, Lease};
use crate::drain::{self, Scope};
use crate::io::bfd::Report;
use crate::node::{LeftOut, Node};
use crate::pace;
use crate::vip::{self, Info};
use prometheus::{Encoder as _, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use weft_bgp::speaker::NeighborInfo;
use weft_bgp::time::Instant;
use weft_bgp::types::Family;

/// All metrics of a node in Prometheus' text format.
#[must_use]
pub fn text(node: &Node, now: Instant, around: &Surroundings) -> String {
    let page = Page { registry: Registry::new() };
    page.daemon(node, now, around);
    page.neighbors(&node.speaker().neighbors(now));
    page.table(node);
    page.kernel(node, around);
    page.links(node);
    page.observers(&around.observers);
    page.rpki(node, now);
    page.bfd(node, around.bfd.as_ref());
    page.vips(&node.vips(now), now);
    page.dhcp(node);
    page.drains(node);
    page.paces(around.pace.as_ref());
    page.doors(&around.doors);
    let mut out = Vec::new();
    // Writing to memory fails only for a metric without samples, and none of ours is.
    if TextEncoder::new().encode(&page.registry.gather(), &mut out).is_err() {
        out.clear();
    }
    String::from_utf8(out).unwrap_or_default()
}

/// One scrape.
struct Page {
    registry: Registry,
}

impl Page {
    /// A metric and its samples, each with the values of its labels.
    fn gauge(&self, name: &str, help: &str, labels: &[&str], samples: impl IntoIterator<Item = (Vec<String>, u64)>) {
        let Ok(family) = IntGaugeVec::new(Opts::new(name, help), labels) else {
            return;
        };
        for (values, sample) in samples {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            if let Ok(gauge) = family.get_metric_with_label_values(&values) {
                gauge.set(i64::try_from(sample).unwrap_or(i64::MAX));
            }
        }
        // Refused only when a name is there twice, which the test of all names would show.
        let _ = self.registry.register(Box::new(family));
    }

    fn counter(&self, name: &str, help: &str, labels: &[&str], samples: impl IntoIterator<Item = (Vec<String>, u64)>) {
        let Ok(family) = IntCounterVec::new(Opts::new(name, help), labels) else {
            return;
        };
        for (values, sample) in samples {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            if let Ok(counter) = family.get_metric_with_label_values(&values) {
                counter.inc_by(sample);
            }
        }
        let _ = self.registry.register(Box::new(family));
    }

    fn number(&self, name: &str, help: &str, sample: u64) {
        self.gauge(name, help, &[], [(Vec::new(), sample)]);
    }

    fn daemon(&self, node: &Node, now: Instant, around: &Surroundings) {
        let config = node.config();
        let role = config.role.map(|role| role.to_string()).unwrap_or_default();
        let build = vec![env!("CARGO_PKG_VERSION").to_owned(), role, config.speaker.asn.to_string()];
        self.gauge("weft_build_info", "1; what runs here is in the labels", &["version", "role", "asn"], [(build, 1)]);
        self.number("weft_uptime_seconds", "Seconds since the daemon started", now.as_secs());
        let help = "Times that another program took over in this process";
        self.counter("weft_upgrades_total", help, &[], [(Vec::new(), around.upgrades)]);
        let help = "Programs that could not take over, so that the one before went on";
        self.counter("weft_upgrades_undone_total", help, &[], [(Vec::new(), around.upgrades_undone)]);
        if let Some((kept, stood)) = around.upgrade_sessions {
            let broken = u64::try_from(stood.saturating_sub(kept)).unwrap_or(u64::MAX);
            self.number("weft_upgrade_sessions_lost", "Sessions that did not go on the last time", broken);
        }
        let converged = node.speaker().summary().converged;
        self.number("weft_converged", "1 once the first wait for End-of-RIB is over", u64::from(converged));
        if let Some(octets) = around.resident_bytes {
            self.number("weft_resident_memory_bytes", "Resident memory of the daemon", octets);
        }
    }

    fn neighbors(&self, all: &[NeighborInfo]) {
        let each = |value: fn(&NeighborInfo) -> u64| all.iter().map(move |peer| (vec![peer.name.clone()], value(peer)));
        let label = &["neighbor"];
        self.gauge(
            "weft_neighbor_state",
            "State as in RFC 4273: 1 Idle, 2 Connect, 3 Active, 4 OpenSent, 5 OpenConfirm, 6 Established",
            label,
            each(|peer| state_number(&peer.state)),
        );
        let since = "Seconds since the session came up or was lost, or since the start";
        self.gauge("weft_neighbor_state_seconds", since, label, each(|peer| peer.since_s));
        for (name, help, value) in NEIGHBOR_COUNTERS {
            self.counter(name, help, label, each(value));
        }
        let per_family = |value: fn(&NeighborInfo) -> [u64; 2]| {
            all.iter().flat_map(move |peer| {
                Family::ALL.map(|family| (vec![peer.name.clone(), family.to_string()], value(peer)[family.index()]))
            })
        };
        let labels = &["neighbor", "family"];
        let received = "Paths of the neighbor in the table";
        self.gauge("weft_neighbor_prefixes_received", received, labels, per_family(|peer| peer.prefixes_received));
        let old = "Paths that an earlier policy left as they are: the neighbor cannot refresh";
        self.gauge("weft_neighbor_old_policy_paths", old, label, each(|peer| peer.old_policy.unwrap_or_default()));
        let sent = "Prefixes the neighbor was told";
        self.gauge("weft_neighbor_prefixes_sent", sent, labels, per_family(|peer| peer.prefixes_sent));
    }

    fn paces(&self, measured: Option<&pace::Histograms>) {
        for histogram in measured.into_iter().flat_map(|all| [&all.install, &all.convergence]) {
            let _ = self.registry.register(Box::new(histogram.clone()));
        }
    }

    fn doors(&self, doors: &Doors) {
        let of = |door: &str, requests: Requests| {
            let label = move |result: &str| vec![door.to_owned(), result.to_owned()];
            [
                (label("answered"), requests.answered),
                (label("refused"), requests.refused),
                (label("failed"), requests.failed),
            ]
        };
        let all = [of("socket", doors.socket), of("http", doors.port), of("remote", doors.remote)];
        let help = "Requests of the API by the way they came and what became of them";
        self.counter("weft_api_requests_total", help, &["door", "result"], all.into_iter().flatten());
        let Some(certificate) = &doors.certificate else {
            return;
        };
        let Handshakes { known, refused, late, displaced, full } = doors.handshakes;
        let ends = [("known", known), ("refused", refused), ("late", late), ("displaced", displaced), ("full", full)];
        let ends = ends.map(|(result, count)| (vec![result.to_owned()], count));
        self.counter("weft_api_handshakes_total", "TLS handshakes of the remote API by their end", &["result"], ends);
        let help = "Times that other certificates of the remote API were taken from their files";
        self.counter("weft_api_certificate_renewals_total", help, &[], [(Vec::new(), certificate.renewed)]);
        let broken = u64::from(certificate.broken.is_some());
        self.number("weft_api_certificate_broken", "1 while what is in the files cannot be used", broken);
        if let Some(left) = certificate.expires_in_s {
            let left = u64::try_from(left).unwrap_or_default();
            self.number("weft_api_certificate_expires_seconds", "Seconds until it expires; 0: it has", left);
        }
    }

    fn drains(&self, node: &Node) {
        let number = |state: drain::State| drain::State::ALL.iter().position(|one| *one == state).unwrap_or_default();
        let labels = |scope: &Scope| vec![scope.kind().to_owned(), scope.name().unwrap_or_default().to_owned()];
        let others = node.drains().map(|info| info.scope).filter(|scope| *scope != Scope::Node);
        let all = std::iter::once(Scope::Node).chain(others);
        self.gauge(
            "weft_drain_state",
            "How far something is out of service: 0 live, 1 soft, 2 warm, 3 drained",
            &["scope", "name"],
            all.map(|scope| (labels(&scope), u64::try_from(number(node.drain_state(&scope))).unwrap_or_default())),
        );
    }

    fn table(&self, node: &Node) {
        let summary = node.speaker().summary();
        self.number("weft_rib_prefixes", "Prefixes in the table, both families", summary.prefixes);
        let paths = Family::ALL.map(|family| (vec![family.to_string()], summary.paths_received[family.index()]));
        self.gauge("weft_rib_paths", "Paths learnt from neighbors", &["family"], paths);
        self.number("weft_rib_originated", "Prefixes originated here", summary.originated);
        self.number("weft_rib_held_back", "Prefixes that guards keep from being used", summary.held_back);
        let rules = node.config().import.kernel.iter().map(|rule| (rule.table, rule.protocol)).collect::<BTreeSet<_>>();
        let left_out = rules.into_iter().map(|(table, protocol)| {
            let of_rule = |some: &&LeftOut| (some.table, some.protocol) == (table, protocol);
            let routes = node.import_left_out().iter().find(of_rule).map_or(0, |some| some.routes);
            (vec![table.to_string(), protocol.to_string()], routes)
        });
        let text = "Routes of other software that are not announced because there are too many";
        self.gauge("weft_import_left_out", text, &["table", "protocol"], left_out);
    }

    fn kernel(&self, node: &Node, around: &Surroundings) {
        let summary = node.speaker().summary();
        let waiting = "Changes of the table that the kernel has not acknowledged";
        self.number("weft_fib_waiting", waiting, summary.fib_changes_waiting);
        self.number("weft_fib_refused", "Prefixes that the kernel does not hold as wanted", summary.fib_failed);
        if let Some(kernel) = around.kernel {
            self.number("weft_fib_routes", "Routes of ours in the kernel", kernel.routes);
            self.number("weft_fib_nexthops", "Next-hop objects of ours in the kernel", kernel.nexthops);
            let help = "Changes that the kernel refused";
            self.counter("weft_fib_failures_total", help, &[], [(Vec::new(), kernel.failures)]);
            for (name, help, value) in FIB_GAUGES {
                self.number(name, help, value(&kernel));
            }
            for (name, help, value) in FIB_COUNTERS {
                self.counter(name, help, &[], [(Vec::new(), value(&kernel))]);
            }
        }
    }

    /// Only where there are caches.
    fn rpki(&self, node: &Node, now: Instant) {
        let all: Vec<_> = node.config().rpki.iter().zip(node.speaker().caches(now)).collect();
        if all.is_empty() {
            return;
        }
        let label = |address: &SocketAddr| vec![address.to_string()];
        let up = all.iter().map(|(address, info)| (label(address), u64::from(info.expires_in_s.is_some())));
        self.gauge("weft_rpki_cache_usable", "1 while the cache's data may be used", &["cache"], up);
        let active = all.iter().map(|(address, info)| (label(address), u64::from(info.active)));
        self.gauge("weft_rpki_cache_active", "1 for the cache whose data is used", &["cache"], active);
        let vrps = all.iter().flat_map(|(address, info)| {
            Family::ALL.map(|family| (vec![address.to_string(), family.to_string()], info.vrps[family.index()]))
        });
        self.gauge("weft_rpki_vrps", "Validated ROA payloads of the cache", &["cache", "family"], vrps);
    }

    /// Only where a peer has BFD.
    fn bfd(&self, node: &Node, report: Option<&Report>) {
        let Some(report) = report else {
            return;
        };
        let label = |status: &Status| vec![node.peer_name(status.peer).unwrap_or_default().to_owned()];
        let each =
            |value: fn(&Status) -> u64| report.sessions.iter().map(move |(status, _)| (label(status), value(status)));
        let labels = &["neighbor"];
        let up = "1 while BFD is Up (RFC 5880)";
        self.gauge("weft_bfd_up", up, labels, each(|status| u64::from(status.state == State::Up)));
        let failures = "Times BFD found the path broken";
        self.counter("weft_bfd_failures_total", failures, labels, each(|status| status.failures));
        let received = "BFD packets taken";
        self.counter("weft_bfd_packets_received_total", received, labels, each(|status| status.received));
        let sent = "BFD packets sent";
        self.counter("weft_bfd_packets_sent_total", sent, labels, each(|status| status.transmitted));
        let none = || Vec::new();
        let discarded = "BFD packets discarded";
        let count = report.totals.discarded.iter().sum();
        self.counter("weft_bfd_packets_discarded_total", discarded, &[], [(none(), count)]);
        let starved = "Times the BFD thread could not run when it had to";
        self.counter("weft_bfd_starved_total", starved, &[], [(none(), report.totals.starved)]);
    }

    /// Only where there are service addresses.
    fn vips(&self, all: &[Info], now: Instant) {
        if all.is_empty() {
            return;
        }
        let each = |value: fn(&Info) -> u64| all.iter().map(move |vip| (vec![vip.config.name.clone()], value(vip)));
        let states = all.iter().flat_map(|vip| {
            vip::State::ALL
                .map(|state| (vec![vip.config.name.clone(), state.to_string()], u64::from(vip.state == state)))
        });
        self.gauge("weft_vip_state", "1 for the state in which the service address is", &["vip", "state"], states);
        let label = &["vip"];
        let announced = "1 while others hear of the service address";
        self.gauge("weft_vip_announced", announced, label, each(|vip| u64::from(vip.state.is_announced())));
        let kept = "1 while the service has failed but nobody else announces it";
        self.gauge("weft_vip_last_origin_alarm", kept, label, each(|vip| u64::from(vip.state == vip::State::Kept)));
        let since = all.iter().map(|vip| (vec![vip.config.name.clone()], now.since(vip.since).as_secs()));
        self.gauge("weft_vip_state_seconds", "Seconds in its state", label, since);
        self.counter("weft_vip_checks_total", "Results of checks", label, each(|vip| vip.results));
        self.counter("weft_vip_checks_failed_total", "Results that were bad", label, each(|vip| vip.failures));
        self.counter("weft_vip_announced_total", "Times it was announced", label, each(|vip| vip.ups));
        self.counter("weft_vip_withdrawn_total", "Times it was withdrawn", label, each(|vip| vip.downs));
    }

    /// Only where DHCP is relayed.
    fn dhcp(&self, node: &Node) {
        if node.config().relay.is_none() {
            return;
        }
        let relay = node.relay();
        // Of a family on a port; `port` is empty for what came from servers and belongs to none.
        let all: Vec<(Vec<String>, &Counts)> = relay
            .counts()
            .map(|(port, family, counts)| {
                let port = port.map(|port| port.name.clone()).unwrap_or_default();
                (vec![port, family.name().to_owned()], counts)
            })
            .collect();
        let ports = all.iter().filter(|(labels, _)| labels.first().is_some_and(|port| !port.is_empty()));
        let each = |value: fn(&Counts) -> u64| {
            ports.clone().map(move |(labels, counts)| (labels.clone(), value(counts))).collect::<Vec<_>>()
        };
        let labels = ["port", "family"];
        let to_servers = "Messages of machines that went to DHCP servers";
        self.counter("weft_dhcp_requests_total", to_servers, &labels, each(|counts| counts.to_servers));
        let to_clients = "Replies of DHCP servers that went to machines";
        self.counter("weft_dhcp_replies_total", to_clients, &labels, each(|counts| counts.to_clients));
        let dropped = all.iter().flat_map(|(labels, counts)| {
            Dropped::ALL.map(|why| {
                let count = counts.dropped.get(&why).copied().unwrap_or_default();
                ([labels.clone(), vec![why.name().to_owned()]].concat(), count)
            })
        });
        let by_reason = ["port", "family", "reason"];
        self.counter("weft_dhcp_dropped_total", "Messages of DHCP that went nowhere", &by_reason, dropped);
        let leases = ports.clone().map(|(labels, _)| {
            let is_one = |lease: &&Lease| [lease.port.as_str(), dhcp::Family::of(lease.address).name()] == labels[..];
            let count = relay.leases().filter(is_one).count();
            (labels.clone(), u64::try_from(count).unwrap_or(u64::MAX))
        });
        self.gauge("weft_dhcp_leases", "Leases in force on a server port", &labels, leases);
    }

    /// Only where somebody observes.
    fn observers(&self, all: &[Observer]) {
        if all.is_empty() {
            return;
        }
        let each = |value: fn(&Observer) -> u64| {
            all.iter().map(move |observer| (vec![observer.name.clone(), observer.kind.clone()], value(observer)))
        };
        let labels = &["observer", "kind"];
        let up = "1 while a BMP collector is connected, or a dump is written";
        self.gauge("weft_observer_up", up, labels, each(|observer| u64::from(observer.connected)));
        let waiting = "Octets that wait for an observer";
        self.gauge("weft_observer_waiting_bytes", waiting, labels, each(|observer| observer.waiting_bytes));
        let messages = "Messages or records made since the observer came";
        self.gauge("weft_observer_messages", messages, labels, each(|observer| observer.messages));
        let dropped = "Records left out since the observer came";
        self.gauge("weft_observer_dropped", dropped, labels, each(|observer| observer.dropped));
        let overflows = "Times an observer was too slow";
        self.counter("weft_observer_overflows_total", overflows, labels, each(|observer| observer.overflows));
    }

    fn links(&self, node: &Node) {
        let damped = node.links().iter().map(|link| (vec![link.name.clone()], u64::from(link.damped)));
        let help = "Losses of carrier within a minute for which the interface is kept out of use; 0: it is not";
        self.gauge("weft_interface_damped", help, &["interface"], damped);
        let usable = node.links().iter().map(|link| (vec![link.name.clone()], u64::from(link.is_usable())));
        self.gauge("weft_interface_up", "1 while the interface is up and has carrier", &["interface"], usable);
        let expecting = node.links().iter().filter(|link| node.is_somebody_expected(link.index));
        let miswired = expecting.map(|link| (vec![link.name.clone()], u64::from(node.miswired(link.index).is_some())));
        let help = "1 while who must be at the other end of the interface (expect_lldp) is not, or was not heard";
        self.gauge("weft_interface_miswired", help, &["interface"], miswired);
    }
}

type OfKernel = fn(&KernelCounts) -> u64;

/// Gauges of the kernel's side.
const FIB_GAUGES: [(&str, &str, OfKernel); 5] = [
    ("weft_fib_pending", "Operations not yet sent to the kernel", |kernel| kernel.pending),
    ("weft_fib_without_neighbor", "Routes that wait for a live neighbor", |kernel| kernel.waiting),
    ("weft_fib_conflicts", "Prefixes where a route of others is in the place of ours", |kernel| kernel.conflicts),
    ("weft_fib_dump_age_seconds", "Seconds since all of ours in the kernel was compared", |kernel| kernel.dump_age_s),
    ("weft_fib_differences", "What that comparison found different, mended since", |kernel| kernel.differences),
];

/// Counters of the kernel's side.
const FIB_COUNTERS: [(&str, &str, OfKernel); 5] = [
    ("weft_fib_dumps_total", "Times all of ours in the kernel was compared", |kernel| kernel.dumps),
    ("weft_fib_dumps_interrupted_total", "Dumps begun again because of changes", |kernel| kernel.interrupted),
    ("weft_fib_drift_total", "What comparisons found different", |kernel| kernel.drift),
    ("weft_fib_overruns_total", "Times netlink notifications were lost", |kernel| kernel.overruns),
    ("weft_fib_foreign_deletions_total", "Routes and next hops of ours deleted by others", |kernel| {
        kernel.foreign_deletions
    }),
];

type OfNeighbor = fn(&NeighborInfo) -> u64;

/// Counters of a neighbor: name, help, value.
const NEIGHBOR_COUNTERS: [(&str, &str, OfNeighbor); 10] = [
    ("weft_neighbor_established_total", "Times the session came up", |peer| peer.established),
    ("weft_neighbor_dropped_total", "Times the session was lost", |peer| peer.dropped),
    ("weft_neighbor_messages_received_total", "Messages received", |peer| peer.messages_received),
    ("weft_neighbor_messages_sent_total", "Messages sent", |peer| peer.messages_sent),
    ("weft_neighbor_updates_received_total", "UPDATEs received", |peer| peer.updates_received),
    ("weft_neighbor_updates_sent_total", "UPDATEs sent in this session", |peer| peer.updates_sent),
    ("weft_neighbor_updates_rejected_total", "UPDATEs whose routes a loop check refused", |peer| peer.updates_rejected),
    ("weft_neighbor_prefixes_rejected_total", "Prefixes that the import policy refused", |peer| peer.prefixes_rejected),
    ("weft_neighbor_paths_over_limit_total", "Paths beyond paths_limit (RFC 7911)", |peer| peer.paths_over_limit),
    ("weft_neighbor_withdraw_faults_total", "UPDATEs treated as withdraw (RFC 7606)", |peer| peer.withdraw_faults),
];

/// RFC 4273 §4, `bgpPeerState`.
fn state_number(name: &str) -> u64 {
    let names = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"];
    (1..).zip(names).find(|(_, known)| *known == name).map_or(0, |(number, _)| number)
}
