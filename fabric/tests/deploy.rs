//! What is deployed beside the daemon keeps to what the daemon has: metrics by their names, commands by their words.

use std::path::Path;
use std::process::Command;
use weft_fabric::sandbox::{Needs, RUNNER};

const ALERTS: &str = include_str!("../deploy/alerts.yaml");
const ALERT_TESTS: &str = include_str!("../deploy/alerts.test.yaml");
const DASHBOARD: &str = include_str!("../deploy/dashboard.json");
const SERVICE: &str = include_str!("../deploy/weft.service");
const METRICS: &str = include_str!("../docs/metrics.md");

/// The names of metrics in a text.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'));
    words.filter(|word| word.starts_with("weft_"))
}

#[test]
fn alerts_are_about_metrics_that_there_are() {
    // Its list is held to the daemon's own by the tests of the metrics.
    assert!(metrics(ALERTS).count() > 15);
    for name in metrics(ALERTS).chain(metrics(ALERT_TESTS)) {
        assert!(METRICS.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_dashboard_shows_metrics_and_alerts_that_there_are() {
    let panels = serde_json::from_str::<serde_json::Value>(DASHBOARD).unwrap();
    assert!(panels["panels"].as_array().unwrap().len() > 20);
    assert!(metrics(DASHBOARD).count() > 30);
    for name in metrics(DASHBOARD) {
        assert!(METRICS.contains(&format!("`{name}`")), "{name}");
    }
    let alerts =
        DASHBOARD.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| word.starts_with("Weft"));
    for alert in alerts {
        assert!(ALERTS.contains(&format!("- alert: {alert}\n")), "{alert}");
    }
}

#[test]
fn alerts_name_commands_that_there_are() {
    let quoted = ALERTS.split('`').skip(1).step_by(2);
    let commands: Vec<&str> = quoted.filter(|text| text.starts_with("weft ")).collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let words = command.split(' ').skip(1).filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
        let answer = Command::new(env!("CARGO_BIN_EXE_weft")).args(words).arg("--help").output().unwrap();
        assert!(answer.status.success(), "{command}: {}", String::from_utf8_lossy(&answer.stderr));
    }
}

#[test]
fn every_alert_has_a_severity_and_says_what_to_do_next() {
    let blocks: Vec<&str> = ALERTS.split("- alert: ").skip(1).collect();
    for block in &blocks {
        let name = block.lines().next().unwrap_or_default();
        let severity =
            ["severity: page}", "severity: ticket}"].iter().filter(|wanted| block.contains(**wanted)).count();
        assert_eq!((severity, block.contains("summary: '"), block.contains("next: '")), (1, true, true), "{name}");
        assert!(METRICS.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
}

#[test]
fn the_service_lets_the_daemon_start_with_what_it_gives_up_later() {
    let line = SERVICE.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let granted: Vec<&str> = line.split(' ').filter_map(|name| name.strip_prefix("CAP_")).collect();
    let text = "asn: 1\naddresses: [10.0.0.1/32]\nuplinks: [eth0]\n";
    let node = weft_fabric::config::parse("t", text).unwrap().node().unwrap();
    let needs = Needs::of(&node, Path::new("/etc/weft/weft.yaml"), Path::new("/run/weft/drain.json"));
    let mut needed = [needs.capabilities.names(), RUNNER.names()].concat();
    needed.extend(["SYS_NICE", "SETPCAP"].map(str::to_owned));
    let [mut granted, mut needed] = [granted, needed.iter().map(String::as_str).collect()];
    granted.sort_unstable();
    needed.sort_unstable();
    assert_eq!(granted, needed);
}

#[test]
fn the_service_calls_commands_that_there_are() {
    let commands = SERVICE
        .lines()
        .filter_map(|line| line.strip_prefix("Exec")?.split_once("=/usr/bin/weft "))
        .map(|(_, words)| words);
    let commands: Vec<&str> = commands.collect();
    assert_eq!(commands.len(), 2);
    for words in commands {
        let answer = Command::new(env!("CARGO_BIN_EXE_weft")).args(words.split(' ')).arg("--help").output().unwrap();
        assert!(answer.status.success(), "{words}: {}", String::from_utf8_lossy(&answer.stderr));
    }
}
