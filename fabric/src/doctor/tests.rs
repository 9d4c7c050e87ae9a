//! Findings on stand-ins of real machines, and what a fix makes of them.

use super::*;
use crate::config;
use std::collections::BTreeMap;

/// A stand-in for /proc and /sys.
#[derive(Default)]
struct Stand {
    settings: BTreeMap<String, String>,
    mtus: BTreeMap<String, u32>,
    listeners: Vec<Listener>,
    landlock: Option<bool>,
    certificate: Option<Result<Certificate, String>>,
}

impl System for Stand {
    fn setting(&self, name: &str) -> Option<String> {
        self.settings.get(name).map(|value| format!("{value}\n"))
    }
    fn interfaces(&self) -> Vec<String> {
        self.mtus.keys().cloned().collect()
    }
    fn mtu(&self, interface: &str) -> Option<u32> {
        self.mtus.get(interface).copied()
    }
    fn listeners(&self) -> Vec<Listener> {
        self.listeners.clone()
    }
    fn has_landlock(&self) -> Option<bool> {
        self.landlock
    }
    fn certificate(&self, _remote: &RemoteConfig) -> Option<Result<Certificate, String>> {
        self.certificate.clone()
    }
}

/// A machine as it is after its installation: strict filter, no forwarding, router advertisements taken, small tables.
fn fresh(links: &[&str]) -> Stand {
    let mut stand = Stand::default();
    let mut set = |name: String, value: &str| drop(stand.settings.insert(name, value.to_owned()));
    for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.fib_multipath_hash_policy"] {
        set(name.to_owned(), "0");
    }
    set("net.ipv6.fib_multipath_hash_policy".to_owned(), "0");
    set("net.ipv4.fib_multipath_hash_seed".to_owned(), "0");
    for (name, value) in [("gc_thresh1", "128"), ("gc_thresh2", "512"), ("gc_thresh3", "1024")] {
        set(format!("net.ipv4.neigh.default.{name}"), value);
        set(format!("net.ipv6.neigh.default.{name}"), value);
    }
    for link in links.iter().chain(&["all"]) {
        set(format!("net.ipv4.conf.{link}.rp_filter"), "1");
        for name in ["arp_ignore", "arp_announce"] {
            set(format!("net.ipv4.conf.{link}.{name}"), "0");
        }
        for (name, value) in [("accept_ra", "1"), ("accept_dad", "1"), ("optimistic_dad", "0"), ("disable_ipv6", "0")] {
            set(format!("net.ipv6.conf.{link}.{name}"), value);
        }
        set(format!("net.ipv6.conf.{link}.forwarding"), "0");
    }
    stand.mtus = links.iter().map(|link| ((*link).to_owned(), 1_500)).collect();
    stand
}

const HOST: &str = "role: host\nasn: 4200000104\naddresses: [10.69.0.4/32]\nuplinks: [eth0, eth1]\n";
const TOR: &str = "role: tor\nasn: 4200000010\naddresses: [10.69.255.1/32]\nuplinks: [eth0, eth1]\n";

fn node(text: &str) -> NodeConfig {
    config::parse("t", text).unwrap().node().unwrap()
}

fn subjects(report: &Report) -> Vec<String> {
    report.findings.iter().map(|finding| finding.subject.clone()).collect()
}

/// As `--fix` does it.
fn fix(stand: &mut Stand, report: &Report) {
    for finding in &report.findings {
        if let Some(value) = &finding.fix {
            stand.settings.insert(finding.subject.clone(), value.clone());
        }
    }
}

#[test]
fn a_fresh_host_is_told_what_and_why_and_one_fix_is_enough() {
    let mut stand = fresh(&["eth0", "eth1", "lo"]);
    let report = examine(&node(HOST), &stand);
    assert!(report.has_faults());
    insta::assert_snapshot!("host", crate::show::doctor::text(&report));
    fix(&mut stand, &report);
    let after = examine(&node(HOST), &stand);
    assert_eq!(subjects(&after), [""; 0]);
    assert!(after.right > 10 && after.unseen.is_empty(), "{after:?}");
}

#[test]
fn a_switch_must_forward_and_wants_a_seed_of_its_own() {
    let mut stand = fresh(&["eth0", "eth1"]);
    let report = examine(&node(TOR), &stand);
    let all = subjects(&report);
    for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.fib_multipath_hash_seed"] {
        assert!(all.iter().any(|subject| subject == name), "{name}: {all:?}");
    }
    assert!(
        report.sysctl_lines().contains("net.ipv4.fib_multipath_hash_seed = 172359425\n"),
        "{}",
        report.sysctl_lines()
    );
    fix(&mut stand, &report);
    assert_eq!(subjects(&examine(&node(TOR), &stand)), [""; 0]);
}

#[test]
fn a_host_with_pods_must_forward_and_another_need_not() {
    let forwards = |text: &str| {
        let report = examine(&node(text), &fresh(&["eth0", "eth1"]));
        subjects(&report).contains(&"net.ipv4.ip_forward".to_owned())
    };
    assert!(!forwards(HOST));
    assert!(forwards(&format!("{HOST}import_kernel: [{{table: 119, protocol: 30}}]\n")));
}

/// The greater of `all` and the interface's own value is in force.
#[test]
fn a_loose_filter_on_one_level_is_enough_and_a_strict_one_is_not_undone_by_zero() {
    let judged = |all: &str, own: &str| {
        let mut stand = fresh(&["eth0", "eth1"]);
        stand.settings.insert("net.ipv4.conf.all.rp_filter".to_owned(), all.to_owned());
        for link in ["eth0", "eth1"] {
            stand.settings.insert(format!("net.ipv4.conf.{link}.rp_filter"), own.to_owned());
        }
        !subjects(&examine(&node(HOST), &stand)).iter().any(|subject| subject.ends_with("rp_filter"))
    };
    assert_eq!(
        [judged("0", "0"), judged("0", "1"), judged("1", "0"), judged("1", "2"), judged("2", "1")],
        [true, false, false, true, true]
    );
}

#[test]
fn router_advertisements_conflict_only_where_the_kernel_obeys_them() {
    let judged = |accept: &str, forwarding: &str| {
        let mut stand = fresh(&["eth0", "eth1"]);
        for link in ["eth0", "eth1"] {
            stand.settings.insert(format!("net.ipv6.conf.{link}.accept_ra"), accept.to_owned());
            stand.settings.insert(format!("net.ipv6.conf.{link}.forwarding"), forwarding.to_owned());
        }
        !subjects(&examine(&node(HOST), &stand)).iter().any(|subject| subject.ends_with("accept_ra"))
    };
    assert_eq!([judged("0", "0"), judged("1", "0"), judged("1", "1"), judged("2", "1")], [true, false, true, false]);
}

#[test]
fn a_kernel_that_cannot_restrict_files_is_advice_where_that_is_wanted() {
    let severity = |text: &str, landlock| {
        let report = examine(&node(text), &Stand { landlock, ..fresh(&["eth0", "eth1"]) });
        report.findings.iter().find(|finding| finding.subject == "Landlock").map(|finding| finding.severity)
    };
    assert_eq!(severity(HOST, Some(false)), Some(Severity::Advice));
    assert_eq!(severity(HOST, Some(true)), None);
    assert_eq!(severity(HOST, None), None, "another system's kernel cannot be asked");
    assert_eq!(severity(&format!("{HOST}sandbox: {{landlock: false}}\n"), Some(false)), None);
}

#[test]
fn uplinks_of_unequal_size_are_a_fault_that_people_must_mend() {
    let mut stand = fresh(&["eth0", "eth1"]);
    stand.mtus.insert("eth0".to_owned(), 9_000);
    let report = examine(&node(HOST), &stand);
    let finding = report.findings.iter().find(|finding| finding.subject == "mtu of eth1").unwrap();
    assert_eq!((finding.severity, finding.fix.as_ref()), (Severity::Fault, None));
    assert_eq!(finding.remedy, "ip link set eth1 mtu 9000, here and at the far end, or less on the others");
}

#[test]
fn arp_matters_more_with_service_addresses() {
    let severity = |text: &str| {
        let report = examine(&node(text), &fresh(&["eth0", "eth1"]));
        report.findings.iter().find(|finding| finding.subject.ends_with("arp_ignore")).map(|finding| finding.severity)
    };
    assert_eq!(severity(HOST), Some(Severity::Advice));
    assert_eq!(severity(&format!("{HOST}vips: {{web: {{address: 10.71.0.80/32}}}}\n")), Some(Severity::Fault));
}

#[test]
fn what_a_namespace_does_not_show_is_said_and_is_no_fault() {
    let mut stand = fresh(&["eth0", "eth1"]);
    stand.settings.retain(|name, _| !name.contains("neigh"));
    let report = examine(&node(HOST), &stand);
    assert_eq!(report.unseen.len(), 6);
    assert!(!subjects(&report).iter().any(|subject| subject.contains("neigh")));
}

#[test]
fn a_setting_that_is_no_number_is_found() {
    let mut stand = fresh(&["eth0", "eth1"]);
    stand.settings.insert("net.ipv4.fib_multipath_hash_policy".to_owned(), "what".to_owned());
    assert!(subjects(&examine(&node(HOST), &stand)).contains(&"net.ipv4.fib_multipath_hash_policy".to_owned()));
}

#[test]
fn a_service_that_needs_its_address_to_be_there_is_found() {
    let config = node(&format!("{HOST}vips:\n  web: {{addresses: [10.71.0.80/32, \"fd00:71::80/128\"]}}\n"));
    let listener = |address: &str, is_free| Listener { address: address.parse().unwrap(), is_udp: false, is_free };
    let mut stand = fresh(&["eth0"]);
    stand.listeners = vec![
        listener("10.71.0.80:80", false),
        listener("10.71.0.80:443", true),
        listener("[fd00:71::80]:80", false),
        listener("10.69.0.4:22", false),
    ];
    let found = |stand: &Stand| -> Vec<String> {
        subjects(&examine(&config, stand)).into_iter().filter(|subject| subject.contains("socket")).collect()
    };
    assert_eq!(found(&stand), ["TCP socket at 10.71.0.80:80", "TCP socket at [fd00:71::80]:80"]);
    stand.settings.insert("net.ipv4.ip_nonlocal_bind".to_owned(), "1".to_owned());
    assert_eq!(found(&stand), ["TCP socket at [fd00:71::80]:80"]);
    let without = node(HOST);
    assert!(examine(&without, &stand).findings.iter().all(|finding| !finding.subject.contains("socket")));
}

#[test]
fn a_certificate_that_expires_soon_is_named_before_it_does() {
    let text = format!("{HOST}api: {{remote: {{listen: ['[::]:9180'], cert: a, key: b, client_ca: c}}}}\n");
    let found = |text: &str, certificate| {
        let report = examine(&node(text), &Stand { certificate, ..fresh(&["eth0", "eth1"]) });
        let finding = report.findings.into_iter().find(|finding| finding.subject.contains("api.remote"));
        finding.map(|finding| (finding.severity, finding.found, finding.remedy))
    };
    let good_for = |days: i64| Some(Ok(Certificate { expires_in_s: Some(days * 86_400), ..Certificate::default() }));
    assert_eq!(found(HOST, good_for(1)), None, "nobody connects anyway");
    assert_eq!(found(&text, None), None, "of another system");
    assert_eq!(found(&text, good_for(15)), None);
    assert_eq!(found(&text, Some(Ok(Certificate::default()))), None, "it never expires");
    let renew = "renew it; a running daemon reads the files again by itself".to_owned();
    assert_eq!(found(&text, good_for(13)), Some((Severity::Advice, "expires in 13d00h".to_owned(), renew.clone())));
    assert_eq!(found(&text, good_for(-2)), Some((Severity::Fault, "expired 2d00h ago".to_owned(), renew)));
    let broken = "api.remote.key: b: No such file or directory\n  remedy: a PEM file".to_owned();
    let wanted = (Severity::Fault, "api.remote.key: b: No such file or directory".to_owned(), "a PEM file".to_owned());
    assert_eq!(found(&text, Some(Err(broken))), Some(wanted));
}
