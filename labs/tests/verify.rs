//! The verifier against a plant whose truth is known: two servers, two routers between them, static routes.
//!
//! Namespaces are made with `ip netns`, so this needs root; an ordinary user's run says that it was skipped.
#![expect(clippy::unwrap_used, reason = "a plant that cannot be built has failed the test")]
#![expect(clippy::print_stdout, reason = "a skip is said aloud")]
#![expect(clippy::disallowed_methods, reason = "a thread per namespace entry")]

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;

use weft_labs::expect::Expectation;
use weft_labs::fault::Fault;
use weft_labs::verify::{Check, LinkEnd, OpenSocket, Options, Outcome, Plant, verify};

/// Two servers `a` and `b`, each linked to the routers `r1` and `r2`.
struct Static {
    prefix: String,
}

impl Static {
    fn build(name: &str) -> Self {
        let plant = Self { prefix: format!("weft-verify-{}{name}-", std::process::id()) };
        for node in plant.nodes() {
            ip(&format!("netns add {}{node}", plant.prefix));
            plant.ip(&node, "link set lo up");
            plant.sysctl(&node, "net.ipv4.ip_forward=1");
            plant.sysctl(&node, "net.ipv4.fib_multipath_hash_policy=1");
        }
        for (number, [a, b]) in plant.links().into_iter().enumerate() {
            ip(&format!(
                "link add {} netns {}{} type veth peer name {} netns {}{}",
                a.1, plant.prefix, a.0, b.1, plant.prefix, b.0
            ));
            for (end, last) in [(&a, 1), (&b, 2)] {
                plant.ip(&end.0, &format!("addr add 10.9.{number}.{last}/30 dev {}", end.1));
                plant.ip(&end.0, &format!("link set {} up", end.1));
            }
        }
        plant.ip("a", "addr add 10.8.0.1/32 dev lo");
        plant.ip("b", "addr add 10.8.0.2/32 dev lo");
        plant.ip("a", "route add 10.8.0.2/32 proto static nexthop via 10.9.0.2 nexthop via 10.9.1.2");
        plant.ip("b", "route add 10.8.0.1/32 proto static nexthop via 10.9.2.2 nexthop via 10.9.3.2");
        plant.ip("r1", "route add 10.8.0.1/32 proto static via 10.9.0.1");
        plant.ip("r1", "route add 10.8.0.2/32 proto static via 10.9.2.1");
        plant.ip("r2", "route add 10.8.0.1/32 proto static via 10.9.1.1");
        plant.ip("r2", "route add 10.8.0.2/32 proto static via 10.9.3.1");
        plant
    }

    fn ip(&self, node: &str, words: &str) {
        ip(&format!("-n {}{node} {words}", self.prefix));
    }

    fn sysctl(&self, node: &str, setting: &str) {
        ip(&format!("netns exec {}{node} sysctl -q -w {setting}", self.prefix));
    }
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {words}");
}

impl Drop for Static {
    fn drop(&mut self) {
        for node in self.nodes() {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}{node}", self.prefix)]).status();
        }
    }
}

impl Plant for Static {
    fn nodes(&self) -> Vec<String> {
        ["a", "b", "r1", "r2"].map(str::to_owned).to_vec()
    }

    fn personality(&self, _: &str) -> String {
        "plain".to_owned()
    }

    fn links(&self) -> Vec<[LinkEnd; 2]> {
        let link = |a: &str, x: &str, b: &str, y: &str| [(a.to_owned(), x.to_owned()), (b.to_owned(), y.to_owned())];
        vec![
            link("a", "eth0", "r1", "eth0"),
            link("a", "eth1", "r2", "eth0"),
            link("b", "eth0", "r1", "eth1"),
            link("b", "eth1", "r2", "eth1"),
        ]
    }

    fn open(&self, node: &str, open: OpenSocket) -> io::Result<OwnedFd> {
        let namespace = std::fs::File::open(format!("/run/netns/{}{node}", self.prefix))?;
        let entered = std::thread::spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(kind))?;
            open()
        });
        entered.join().unwrap_or_else(|_| Err(io::Error::other("the thread died")))
    }

    fn api_socket(&self, _: &str) -> PathBuf {
        "/nonexistent".into()
    }

    fn kill_daemon(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn start_daemon(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn run(&self, node: &str, words: &[String]) -> io::Result<(bool, String)> {
        let name = format!("{}{node}", self.prefix);
        let output = Command::new("ip").args(["netns", "exec", &name]).args(words).output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    fn make_fault(&self, _: &Fault) -> io::Result<u64> {
        Err(io::Error::other("nothing goes wrong here"))
    }

    fn undo_fault(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn settle_faults(&self) {}

    fn set_links(&self, ends: &[LinkEnd], up: bool) -> io::Result<()> {
        for (node, interface) in ends {
            self.ip(node, &format!("link set {interface} {}", if up { "up" } else { "down" }));
        }
        Ok(())
    }
}

fn can_build() -> bool {
    let can = rustix::process::geteuid().is_root() && Command::new("ip").arg("-V").output().is_ok();
    if !can {
        println!("SKIPPED: a plant of namespaces needs root and `ip`");
    }
    can
}

fn expectations(list: &str) -> Vec<Expectation> {
    list.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_saphyr::from_str(line.trim()).unwrap())
        .collect()
}

#[test]
fn a_true_plant_passes_and_its_flows_spread_and_survive_a_router() {
    if !can_build() {
        return;
    }
    let plant = Static::build("t");
    let list = expectations(
        "{at: a, route: 10.8.0.2/32, via: [r1, r2], paths: 2, within: 2s}
         {at: r1, route: 10.8.0.1/32, via: [a], within: 2s}
         {at: a, only: [10.8.0.2/32]}
         {at: a, absent: 10.8.0.3/32}
         {from: a, ping: b, loss: 0}",
    );
    let options = Options { failover: true, heal: false, spread: true, steps: Vec::new(), faults: Vec::new() };
    let report = verify(&plant, &list, &options).unwrap();
    println!("{}", report.text());
    // Static routes send packets into a returning link before its carrier is up: that loss is the kernel's.
    // Nor does anybody here route around a link that is cut, and an interface that is set down takes its static route with it.
    let is_cut = |check: &&Check| check.name.ends_with("loses its carrier, and comes back");
    let bad = report.checks.iter().filter(|check| check.outcome != Outcome::Passed && check.name != "r1 returns");
    assert_eq!(bad.filter(|check| !is_cut(check)).count(), 0, "{}", report.text());
    let cut: Vec<Outcome> = report.checks.iter().filter(is_cut).map(|check| check.outcome).collect();
    // The way back is the kernel's choice for each of four flows: one time in sixteen none of them goes by the cut link.
    let lost = report.figures.iter().find(|figure| figure.event.starts_with("r1's link to a ")).unwrap().lost;
    let first = if lost > 0 { Outcome::Failed } else { Outcome::Passed };
    assert_eq!(cut, [first, Outcome::Failed], "a cut that nobody sees: {}", report.text());
    let dies = report.figures.first().unwrap();
    assert!(dies.event == "r1 dies" && dies.sent > 10_000, "{dies:?}");
    assert!(report.junit("static").contains("tests=\"14\""), "{}", report.junit("static"));
}

#[test]
fn what_is_false_is_reported_with_what_is_there_instead() {
    if !can_build() {
        return;
    }
    let report = {
        let plant = Static::build("f");
        let list = expectations(
            "{at: a, route: 10.8.0.2/32, via: [r1], within: 100ms}
             {at: a, route: 10.8.0.9/32, within: 100ms}
             {at: a, only: [], within: 100ms}
             {at: a, absent: 10.8.0.2/32, within: 100ms}
             {at: a, route: 10.8.0.2/32, paths: 3, within: 100ms}",
        );
        verify(&plant, &list, &Options::default()).unwrap()
    };
    let details: Vec<&str> = report.checks.iter().map(|check| check.detail.as_str()).collect();
    assert_eq!(
        details,
        [
            "via r1, r2",
            "the kernel has no 10.8.0.9/32 (1 other routes)",
            "too many: [10.8.0.2/32], missing: []",
            "the kernel has 10.8.0.2/32",
            "2 paths",
        ]
    );
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Failed));
    assert_eq!(report.converged_s, None);
}
