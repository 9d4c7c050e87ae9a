//! What Prometheus reads at `/metrics`. The names are in `docs/operation.md`, and a test holds the two together.

use crate::boot::rollout::{Trial, rollouts};
use crate::inventory::Inventory;
use crate::inventory::state::State;
use crate::io::dhcp::Shown;
use crate::io::dhcp6::Shown as Shown6;
use crate::io::server::counts::{Counts, Keyed, Reported, Tls};
use crate::io::{bmc, boot};
use crate::liveness::Status;
use jiff::Timestamp;
use prometheus::{Encoder as _, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use std::sync::atomic::{AtomicU64, Ordering};

/// What has parts of its own, as far as this server does it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Others<'a> {
    /// The watcher of the fabric.
    pub watched: Option<&'a Watched>,
    /// DHCP.
    pub dhcp: Option<&'a Shown>,
    /// DHCPv6.
    pub dhcp6: Option<&'a Shown6>,
    /// What machines boot, and files from other servers.
    pub boot: Option<Booted<'a>>,
    /// Management controllers.
    pub bmcs: Option<&'a bmc::Counts>,
}

/// All of them, in Prometheus' text format.
#[must_use]
pub fn text(now: Timestamp, inventory: &Inventory, watchers: usize, counts: &Counts, others: Others<'_>) -> String {
    let page = Page { registry: Registry::new() };
    page.gauge("build_info", "1; what runs here is in the label", "version", [(env!("CARGO_PKG_VERSION"), 1)]);
    let mut states = State::ALL.map(|state| (state.name(), 0));
    for machine in inventory.machines() {
        if let Some((_, count)) = states.iter_mut().find(|(name, _)| *name == machine.state.name.name()) {
            *count += 1;
        }
    }
    page.gauge("machines", "Machines by state", "state", states);
    page.gauge("revision", "Revision of the store that this server knows", "", [("", inventory.revision().0)]);
    let watchers = u64::try_from(watchers).unwrap_or(u64::MAX);
    page.gauge("watchers", "Watch streams now", "", [("", watchers)]);
    page.tls("", &counts.tls, now);
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    let answers: Vec<_> = classes.into_iter().zip(counts.answers.iter().map(read)).collect();
    page.counter("answers_total", "Answers of the API by class of status", "class", answers);
    let reports: Vec<_> =
        Reported::ALL.iter().zip(&counts.reports).map(|((_, name), count)| (*name, read(count))).collect();
    page.counter("enrol_reports_total", "Reports of machines by what became of them", "result", reports);
    page.disk_keys(counts);
    page.candidates(inventory);
    let migration = inventory.migration();
    let late = inventory.machines().filter(|machine| migration.is_some_and(|m| m.beside(machine).is_some())).count();
    let through = if migration.is_some() { inventory.machines().len() - late } else { 0 };
    let steps = [("waiting", late), ("through", through)];
    let steps = steps.map(|(name, count)| (name, u64::try_from(count).unwrap_or(u64::MAX)));
    page.gauge("migration_machines", "Machines while the address plan is changed", "state", steps);
    page.rollouts(now, inventory);
    page.others(now, others);
    page.text()
}

/// What the boot service counts.
#[derive(Clone, Copy, Debug)]
pub struct Booted<'a> {
    /// What was asked for.
    pub counts: &'a boot::Counts,
    /// Files from other servers.
    pub pulls: &'a boot::pull::Counts,
    /// Machines that got their kernel whole.
    pub boots: &'a AtomicU64,
}

/// What the watcher of the fabric counts.
#[derive(Clone, Debug)]
pub struct Watched {
    /// How it is.
    pub status: Status,
    /// Whether its verdicts are stored.
    pub leads: bool,
    /// Verdicts stored since the start, by the state that they said.
    pub marked: Vec<(State, u64)>,
    /// Verdicts that the store did not take.
    pub not_stored: u64,
}

struct Page {
    registry: Registry,
}

impl Page {
    fn options(name: &str, help: &str) -> Opts {
        Opts::new(format!("weft_netboot_{name}"), help)
    }

    fn candidates(&self, inventory: &Inventory) {
        let rejected = inventory.candidates().filter(|candidate| candidate.rejected.is_some()).count();
        let candidates = [("waiting", inventory.candidates().len() - rejected), ("rejected", rejected)];
        let candidates = candidates.map(|(name, count)| (name, u64::try_from(count).unwrap_or(u64::MAX)));
        self.gauge("candidates", "Machines that nobody registered", "state", candidates);
    }

    fn disk_keys(&self, counts: &Counts) {
        let all = Keyed::ALL.iter().zip(&counts.keys);
        let keys = all.map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)));
        self.counter("disk_keys_total", "Questions for disk keys by what became of them", "result", keys);
    }

    /// A metric and its samples, each with the value of its label; no label when that is empty.
    fn gauge<'a>(&self, name: &str, help: &str, label: &str, samples: impl IntoIterator<Item = (&'a str, u64)>) {
        let labels = [label];
        let labels = if label.is_empty() { &[][..] } else { &labels[..] };
        let Ok(family) = IntGaugeVec::new(Self::options(name, help), labels) else { return };
        for (value, sample) in samples {
            let values = [value];
            if let Ok(gauge) = family.get_metric_with_label_values(&values[..labels.len()]) {
                gauge.set(i64::try_from(sample).unwrap_or(i64::MAX));
            }
        }
        // Refused only when a name is there twice, which the test of all names would show.
        let _ = self.registry.register(Box::new(family));
    }

    fn counter<'a>(&self, name: &str, help: &str, label: &str, samples: impl IntoIterator<Item = (&'a str, u64)>) {
        let Ok(family) = IntCounterVec::new(Self::options(name, help), &[label]) else { return };
        for (value, sample) in samples {
            if let Ok(counter) = family.get_metric_with_label_values(&[value]) {
                counter.inc_by(sample);
            }
        }
        let _ = self.registry.register(Box::new(family));
    }

    fn rollouts(&self, now: Timestamp, inventory: &Inventory) {
        let boots = inventory.boots().cloned().unwrap_or_default();
        let mut canary = Trial::ALL.map(|trial| (trial.name(), 0));
        for tried in rollouts(&boots, inventory.machines(), now)
            .iter()
            .filter_map(|one| one.canary.as_ref())
            .flat_map(|one| &one.machines)
        {
            if let Some((_, count)) = canary.iter_mut().find(|(name, _)| *name == tried.trial.name()) {
                *count += 1;
            }
        }
        self.gauge("canary_machines", "Machines that try another image, by how they fare", "trial", canary);
        let held = u64::try_from(inventory.holds().count()).unwrap_or(u64::MAX);
        self.gauge("boot_held", "Machines that boot again and again and get nothing to boot", "", [("", held)]);
    }

    fn others(&self, now: Timestamp, Others { watched, dhcp, dhcp6, boot, bmcs }: Others<'_>) {
        if let Some(watched) = watched {
            self.liveness(watched);
        }
        if let Some(shown) = dhcp {
            self.dhcp(shown);
        }
        if let Some(shown) = dhcp6 {
            self.dhcp6(shown);
        }
        if let Some(Booted { counts, pulls, boots }) = boot {
            let boots = boots.load(Ordering::Relaxed);
            self.counter("boots_total", "Machines that got their kernel whole", "what", [("whole", boots)]);
            self.boot(now, counts);
            self.pulls(pulls);
        }
        if let Some(counts) = bmcs {
            self.bmcs(counts);
        }
    }

    fn liveness(&self, watched: &Watched) {
        let Watched { status, leads, marked, not_stored } = watched;
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let views = ["blind", "holding", "clear"].map(|view| (view, u64::from(status.view == view)));
        self.gauge("liveness_view", "1 for how much of the fabric is seen", "view", views);
        let all = [
            ("leads", u64::from(*leads)),
            ("frozen", u64::from(status.frozen_s.is_some())),
            ("lost", count(status.lost.len())),
            ("well", count(status.good)),
            ("sessions", count(status.sessions)),
        ];
        self.gauge("liveness", "The watcher of the fabric", "what", all);
        let marked = marked.iter().map(|(state, count)| (state.name(), *count));
        self.counter("liveness_marked_total", "States changed by this server", "state", marked);
        let refused = [("not_stored", *not_stored)];
        self.counter("liveness_refused_total", "Changes of state that the store did not take", "why", refused);
    }

    fn dhcp(&self, shown: &Shown) {
        let counts = &shown.counts;
        self.counter("dhcp_received_total", "Messages of DHCP clients by kind", "kind", counts.received());
        self.counter("dhcp_sent_total", "Answers to DHCP clients by kind", "kind", counts.sent());
        self.counter("dhcp_refused_total", "Messages without an answer by reason", "why", counts.refused());
        let nothing = [("no_file", counts.nothing_to_boot)];
        self.counter("dhcp_not_booted_total", "Answers to firmware for which the rules have nothing", "why", nothing);
        let holds = shown.holds.map(|(name, count)| (name, u64::try_from(count).unwrap_or(u64::MAX)));
        self.gauge("dhcp_leases", "Addresses lent, at rest, offered; clients that wait for the store", "state", holds);
    }

    fn dhcp6(&self, shown: &Shown6) {
        let counts = &shown.counts;
        self.counter("dhcp6_received_total", "Messages of DHCPv6 clients by kind", "kind", counts.received());
        self.counter("dhcp6_sent_total", "Answers to DHCPv6 clients by kind", "kind", counts.sent());
        self.counter("dhcp6_refused_total", "DHCPv6 messages without an answer by reason", "why", counts.refused());
        let nothing = [("no_file", counts.nothing_to_boot)];
        self.counter("dhcp6_not_booted_total", "Answers to firmware for which `dhcp6` has nothing", "why", nothing);
        let holds = shown.holds.map(|(name, count)| (name, u64::try_from(count).unwrap_or(u64::MAX)));
        self.gauge("dhcp6_leases", "The same of DHCPv6", "state", holds);
    }

    /// Of the API, or of another listener, whose name is before all others.
    fn tls(&self, of: &str, counts: &Tls, now: Timestamp) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let connections = [("", read(&counts.connections))];
        self.gauge(&format!("{of}tls_connections"), "Connections with TLS now", "", connections);
        let handshakes = [
            ("known", read(&counts.handshakes)),
            ("refused", read(&counts.refused)),
            ("late", read(&counts.late)),
            ("displaced", read(&counts.displaced)),
            ("full", read(&counts.full)),
        ];
        self.counter(&format!("{of}tls_handshakes_total"), "TLS handshakes by their end", "result", handshakes);
        let reloads = [("done", read(&counts.reloads)), ("failed", read(&counts.reload_failures))];
        let name = format!("{of}certificate_reloads_total");
        self.counter(&name, "Certificates read again, or tried to", "result", reloads);
        let broken = [("", read(&counts.reload_broken))];
        let help = "1 while the files hold none that work, and those before serve";
        self.gauge(&format!("{of}certificates_broken"), help, "", broken);
        let left = counts.left_s(now).map(|left| ("", u64::try_from(left).unwrap_or_default()));
        let help = "Seconds until the first of the certificates in use ends; 0: it has";
        self.gauge(&format!("{of}certificate_expires_seconds"), help, "", left);
    }

    fn boot(&self, now: Timestamp, counts: &boot::Counts) {
        self.tls("boot_", &counts.tls, now);
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let requests = [
            ("entry", read(&counts.entries)),
            ("script", read(&counts.scripts)),
            ("config", read(&counts.configs)),
            ("file", read(&counts.files)),
            ("missing", read(&counts.missing)),
            ("refused", read(&counts.refused)),
            ("full", read(&counts.full)),
        ];
        self.counter("boot_requests_total", "What machines that boot asked for, or why not", "what", requests);
        let tftp = &counts.tftp;
        let ends = [
            ("done", read(&tftp.done)),
            ("aborted", read(&tftp.aborted)),
            ("broken", read(&tftp.broken)),
            ("refused", read(&tftp.refused)),
            ("full", read(&tftp.full)),
        ];
        self.counter("tftp_transfers_total", "Transfers by TFTP by their end, or why there was none", "end", ends);
        let octets = [("http", read(&counts.octets)), ("tftp", read(&tftp.octets))];
        self.counter("boot_octets_total", "Octets of files for machines that boot", "by", octets);
    }

    fn pulls(&self, counts: &boot::pull::Counts) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let ends = [("done", read(&counts.done)), ("broken", read(&counts.broken)), ("wrong", read(&counts.wrong))];
        self.counter("boot_pulls_total", "Files from other servers: whole, ended early, or wrong octets", "end", ends);
        let octets = [("octets", read(&counts.octets))];
        self.counter("boot_pulled_octets_total", "Octets of files from other servers", "what", octets);
    }

    fn bmcs(&self, counts: &bmc::Counts) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let ends = [
            ("answered", read(&counts.answered)),
            ("refused", read(&counts.refused)),
            ("silent", read(&counts.silent)),
            ("untrusted", read(&counts.untrusted)),
        ];
        self.counter("bmc_dialogues_total", "Dialogues with management controllers by their end", "end", ends);
        let sent = [("redfish", read(&counts.requests))];
        self.counter("bmc_requests_total", "Requests to management controllers", "by", sent);
        let wishes = [("done", read(&counts.done)), ("failed", read(&counts.failed))];
        self.counter("bmc_wishes_total", "Wishes of power by their end", "end", wishes);
        let now = read(&counts.under_way);
        self.gauge("bmc_wishes_under_way", "Wishes of power under way", "", [("", now)]);
    }

    fn text(&self) -> String {
        let mut out = Vec::new();
        // Writing to memory fails only for a metric without samples, and none of ours is.
        if TextEncoder::new().encode(&self.registry.gather(), &mut out).is_err() {
            out.clear();
        }
        String::from_utf8(out).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_names_every_metric_and_no_other() {
        let status = crate::liveness::Liveness::new(crate::liveness::Rules::default(), std::time::Duration::ZERO)
            .status(std::time::Duration::ZERO);
        let marked = State::ALL.map(|state| (state, 0)).to_vec();
        let watched = Watched { status, leads: false, marked, not_stored: 0 };
        let shown =
            Shown { holds: [("bound", 0), ("declined", 0), ("offered", 0), ("waiting", 0)], ..Shown::default() };
        let shown6 = Shown6 { holds: shown.holds, ..Shown6::default() };
        let (boot, pulls) = (boot::Counts::default(), boot::pull::Counts::default());
        let bmcs = bmc::Counts::default();
        let counts = Counts::default();
        for tls in [&counts.tls, &boot.tls] {
            tls.in_use_until(Timestamp::from_second(60).ok());
        }
        let booted = Booted { counts: &boot, pulls: &pulls, boots: &AtomicU64::new(0) };
        let (dhcp, dhcp6) = (Some(&shown), Some(&shown6));
        let others = Others { watched: Some(&watched), dhcp, dhcp6, boot: Some(booted), bmcs: Some(&bmcs) };
        let text = text(Timestamp::UNIX_EPOCH, &Inventory::default(), 3, &counts, others);
        let names: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
        assert!(names.len() >= 9, "{text}");
        let table = include_str!("../docs/operation.md");
        let told: BTreeSet<&str> = table
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("weft_netboot_"))
            .collect();
        assert_eq!(names, told);
        assert!(
            text.contains("weft_netboot_boot_certificate_expires_seconds 60\n")
                && text.contains("weft_netboot_watchers 3\n")
                && text.contains("weft_netboot_machines{state=\"healthy\"} 0"),
            "{text}"
        );
    }
}
