//! What the machine is, as the kernel shows it, in the form in which boot servers hear it (`POST /v1/enrol`).

use serde_json::{Value, json};
use std::fs::read_to_string;
use std::path::Path;
use weft_machine::orders::Card;

/// Octets of a sector in `/sys/block/*/size`, whatever the disk has.
const SECTOR: u64 = 512;
/// What is no disk of the machine.
pub(super) const NO_DISKS: [&str; 5] = ["loop", "ram", "zram", "sr", "dm-"];

/// Cards with a driver: names and addresses, by name.
pub(super) fn cards() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = names("/sys/class/net")
        .into_iter()
        .filter(|name| Path::new("/sys/class/net").join(name).join("device").exists())
        .map(|name| (name.clone(), word(&format!("/sys/class/net/{name}/address"))))
        .collect();
    found.sort();
    found
}

/// The report.
pub(super) fn document(card: &Card) -> Value {
    let id = |name: &str| word(&format!("/sys/class/dmi/id/{name}"));
    let cards = cards();
    let macs: Vec<&String> = cards.iter().map(|(_, mac)| mac).collect();
    let uuid = Some(id("product_uuid").to_ascii_lowercase()).filter(|uuid| !uuid.is_empty());
    let nics: Vec<Value> =
        cards.iter().map(|(name, mac)| json!({"name": name, "mac": mac, "megabits": megabits(name)})).collect();
    let cpus = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    let model = cpus.lines().find(|line| line.starts_with("model name")).and_then(field).unwrap_or_default();
    let threads = cpus.lines().filter(|line| line.starts_with("processor")).count();
    json!({
        "serial": card.serial.clone().unwrap_or_else(|| id("product_serial")),
        "ids": {"macs": macs, "uuid": uuid},
        "hardware": {
            "vendor": id("sys_vendor"), "product": id("product_name"), "firmware": id("bios_version"), "cpu": model,
            "threads": threads, "memory_bytes": memory(), "disks": disks(), "nics": nics,
        },
    })
}

/// Speed of a link; 0 while it is unknown.
fn megabits(name: &str) -> u64 {
    word(&format!("/sys/class/net/{name}/speed")).parse().unwrap_or(0)
}

fn memory() -> u64 {
    let text = read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes: u64 =
        line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0);
    kibibytes * 1_024
}

fn disks() -> Vec<Value> {
    let mut names = names("/sys/block");
    names.retain(|name| !NO_DISKS.iter().any(|other| name.starts_with(other)));
    names.sort();
    let about = |name: &str, what: &str| word(&format!("/sys/block/{name}/{what}"));
    let disk = |name: &String| {
        let sectors: u64 = about(name, "size").parse().unwrap_or(0);
        json!({"name": name, "bytes": sectors * SECTOR, "model": about(name, "device/model"), "serial": about(name, "serial")})
    };
    names.iter().map(disk).collect()
}

pub(super) fn names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

pub(super) fn word(file: &str) -> String {
    read_to_string(file).unwrap_or_default().trim().to_owned()
}
