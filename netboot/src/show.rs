//! Tables for people, from the same answers that `--output json` prints. Pure: text out.

mod attempts;
mod bmc;
mod certificates;
mod images;
pub mod keys;
mod leases;
mod rollouts;
mod templates;

pub use attempts::boots;
pub use bmc::bmcs;
pub use certificates::certificates;
pub use images::{image, images, parts, pcrs};
pub use leases::leases;
pub use rollouts::{held, pins, rolled};
pub use templates::{checked, templates};

use crate::inventory::audit::AuditLine;
use crate::inventory::machine::Machine;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;

/// What stands in a cell without a value.
const NONE: &str = "-";
/// Characters of a value in a table of changes.
const VALUE_MAX: usize = 60;

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table
}

fn render(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, "{}", line.strip_prefix(' ').unwrap_or(&line).trim_end());
    }
    text
}

/// `12s`, `4m12s`, `3h05m`, `2d07h`.
fn age(since: Timestamp, now: Timestamp) -> String {
    span(u64::try_from(now.duration_since(since).as_secs()).unwrap_or_default())
}

fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

fn first<T: ToString>(all: &[T]) -> String {
    all.first().map_or_else(|| NONE.to_owned(), T::to_string)
}

/// Machines, a line for each.
#[must_use]
pub fn machines(machines: &[Machine], evidence: &Value, now: Timestamp) -> String {
    if machines.is_empty() {
        return "no such machines\n".to_owned();
    }
    let dual = machines.iter().any(|machine| !machine.ipv6.is_empty());
    let mut header = vec!["Serial", "Name", "Rack", "Index", "Role", "State", "For", "Address"];
    if dual {
        header.push("IPv6");
    }
    header.push("BMC");
    let watched = evidence.is_object();
    if watched {
        header.push("Evidence");
    }
    header.push("Reason");
    let mut lines = table(&header);
    for machine in machines {
        let mut row = vec![
            machine.serial.clone(),
            machine.name.clone(),
            machine.rack.to_string(),
            machine.index.to_string(),
            machine.role.clone(),
            machine.state.name.to_string(),
            age(machine.state.since, now),
            first(&machine.ipv4),
        ];
        if dual {
            row.push(first(&machine.ipv6));
        }
        row.push(machine.bmc.ipv4.map_or_else(|| NONE.to_owned(), |address| address.to_string()));
        if watched {
            row.push(shown(&evidence[&machine.serial]));
        }
        row.push(machine.state.reason.clone());
        lines.add_row(row);
    }
    render(&lines)
}

/// What the fabric shows of a machine: `2 paths 3m10s`, `no path 12s, reported 4s ago`.
fn shown(evidence: &Value) -> String {
    let paths = evidence["from"].as_array().map_or(0, Vec::len);
    let what = match evidence["route"].as_str() {
        Some("present") => format!("{paths} {}", if paths == 1 { "path" } else { "paths" }),
        Some("stale") => "stale path".to_owned(),
        Some(_) => "no path".to_owned(),
        None => return NONE.to_owned(),
    };
    let reported = evidence["reported_s"].as_u64().map(|seconds| format!(", reported {} ago", span(seconds)));
    format!("{what} {}{}", span(evidence["for_s"].as_u64().unwrap_or_default()), reported.unwrap_or_default())
}

/// How the watcher of the fabric is.
#[must_use]
pub fn liveness(answer: &Value) -> String {
    let number = |key: &str| answer[key].as_u64().unwrap_or_default();
    let view = match answer["view"].as_str() {
        Some("clear") => format!("the fabric is seen by {} sessions for {}", number("sessions"), span(number("for_s"))),
        Some("holding") => {
            format!("the fabric is seen for {}: what is not there may be coming still", span(number("for_s")))
        }
        _ => {
            format!("the fabric is not seen for {}: {}", span(number("for_s")), answer["why"].as_str().unwrap_or(NONE))
        }
    };
    let leads = if answer["leads"] == true { "this server changes states" } else { "another server changes states" };
    let mut text = format!("{view}\n{leads}\n{} of {} machines are well\n", number("good"), number("machines"));
    if let Some(seconds) = answer["frozen_s"].as_u64() {
        let lost: Vec<&str> = answer["lost"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let _ = writeln!(
            text,
            "FROZEN for {}: {} machines went at once, no state is changed: {}\n  remedy: look at the fabric; `weft-netboot liveness thaw` when they are really gone",
            span(seconds),
            lost.len(),
            lost.join(" ")
        );
    }
    text
}

/// Everything about one machine.
#[must_use]
pub fn machine(machine: &Machine, now: Timestamp) -> String {
    let join = |all: Vec<String>| if all.is_empty() { NONE.to_owned() } else { all.join(" ") };
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line("serial", machine.serial.clone());
    line("name", machine.name.clone());
    line("place", format!("rack {}, index {}, role {}", machine.rack, machine.index, machine.role));
    let state = &machine.state;
    line("state", format!("{} for {}, said by {}: {}", state.name, age(state.since, now), state.by, state.reason));
    line("ipv4", join(machine.ipv4.iter().map(ToString::to_string).collect()));
    line("ipv6", join(machine.ipv6.iter().map(ToString::to_string).collect()));
    let bmc = machine.bmc.ipv4.iter().map(ToString::to_string).chain(machine.bmc.ipv6.iter().map(ToString::to_string));
    line("bmc", join([machine.bmc.kind.clone()].into_iter().filter(|kind| !kind.is_empty()).chain(bmc).collect()));
    line("labels", join(machine.labels.iter().map(|(label, value)| format!("{label}={value}")).collect()));
    line("macs", join(machine.ids.macs.clone()));
    if let Some(uuid) = &machine.ids.uuid {
        line("uuid", uuid.clone());
    }
    if !machine.announces.is_empty() {
        line("announces", machine.announces.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    line("registered", machine.registered.to_string());
    if let Some(retires) = machine.retires {
        line("retires", retires.to_string());
    }
    let hardware = &machine.hardware;
    if !hardware.product.is_empty() || hardware.threads > 0 {
        let gigabytes = hardware.memory_bytes / 1_000_000_000;
        let disks = hardware.disks.len();
        line(
            "hardware",
            format!(
                "{} {}, {} threads, {gigabytes} GB, {disks} disks",
                hardware.vendor, hardware.product, hardware.threads
            ),
        );
    }
    for passage in &machine.history {
        let _ =
            writeln!(text, "  {}  {} ▸ {} by {}: {}", passage.at, passage.from, passage.to, passage.by, passage.reason);
    }
    text
}

/// Machines that wait, a line for each.
#[must_use]
pub fn candidates(answer: &Value, now: Timestamp) -> String {
    let all = answer["candidates"].as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        return "no machine waits\n".to_owned();
    }
    let text = |value: &Value| value.as_str().unwrap_or(NONE).to_owned();
    let ago = |value: &Value| {
        let read: Option<Timestamp> = value.as_str().and_then(|time| time.parse().ok());
        read.map_or_else(|| NONE.to_owned(), |time| age(time, now))
    };
    let mut lines = table(&["Serial", "Rack", "Product", "Source", "First", "Last", "Rule", "Role", "Why"]);
    for one in all {
        let said = &one["said"];
        let product = [&said["hardware"]["vendor"], &said["hardware"]["product"]].into_iter().filter_map(Value::as_str);
        let product = product.collect::<Vec<_>>().join(" ");
        let source =
            if one["vouched"] == true { text(&one["source"]) } else { format!("{} (open)", text(&one["source"])) };
        lines.add_row([
            text(&said["serial"]),
            one["rack"].as_u64().map_or_else(|| NONE.to_owned(), |rack| rack.to_string()),
            if product.is_empty() { NONE.to_owned() } else { product },
            source,
            ago(&one["first_seen"]),
            ago(&one["last_seen"]),
            text(&one["rule"]),
            text(&one["role"]),
            text(&one["why"]),
        ]);
    }
    render(&lines)
}

/// What another address plan would change.
#[must_use]
pub fn preview(answer: &Value) -> String {
    let mut text = format!("{} of {} machines get other addresses\n", answer["moved"], answer["machines"]);
    text.push_str(&steps(&answer["steps"]));
    let each = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for switch in each("switches") {
        let _ = writeln!(text, "\n{}:", word(&switch["name"]));
        for line in switch["lines"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "  {}", word(line));
        }
    }
    for conflict in each("conflicts") {
        let serial = conflict["serial"].as_str().map(|serial| format!(" ({serial})")).unwrap_or_default();
        let (field, message) = (word(&conflict["field"]), word(&conflict["message"]));
        let _ = writeln!(text, "CONFLICT{serial}: {field}: {message}: {}", word(&conflict["rule"]));
    }
    if let Some(more @ 1..) = answer["left_off"].as_u64() {
        let _ = writeln!(text, "and {more} lines more");
    }
    text
}

/// How far a change of the address plan is.
#[must_use]
pub fn migration(answer: &Value) -> String {
    let Some(object) = answer["migration"].as_object() else {
        return "no change of the address plan is under way\n".to_owned();
    };
    let back = if object["back"] == true { ", aborted: machines go back" } else { "" };
    let (by, since) = (object["by"].as_str().unwrap_or(NONE), object["since"].as_str().unwrap_or(NONE));
    let head = format!(
        "begun by {by} at {since}{back}\n{} of {} machines are through\n",
        answer["through"], answer["machines"]
    );
    head + &steps(&answer["waiting"])
}

fn steps(answer: &Value) -> String {
    let all = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        return String::new();
    }
    let text = |value: &Value| value.as_str().unwrap_or(NONE).to_owned();
    let list = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(" ");
    let mut lines = table(&["Serial", "Name", "Rack", "AS", "Has", "Gets"]);
    for one in all {
        let asn = one["asn"].as_u64().map_or_else(|| NONE.to_owned(), |asn| asn.to_string());
        lines.add_row([
            text(&one["serial"]),
            text(&one["name"]),
            one["rack"].to_string(),
            asn,
            list(&one["before"]),
            list(&one["after"]),
        ]);
    }
    render(&lines)
}

/// The audit log, newest first.
#[must_use]
pub fn audit(entries: &[AuditLine]) -> String {
    if entries.is_empty() {
        return "no such changes\n".to_owned();
    }
    let mut lines = table(&["Time", "Who", "Role", "From", "What", "Subject", "Change"]);
    for line in entries {
        let entry = &line.entry;
        lines.add_row([
            entry.at.to_string(),
            entry.who.clone(),
            entry.role.to_string(),
            entry.via.clone(),
            entry.action.clone(),
            entry.subject.clone(),
            change(entry.before.as_ref(), entry.after.as_ref()),
        ]);
    }
    render(&lines)
}

/// The fields that changed, in few words.
fn change(before: Option<&Value>, after: Option<&Value>) -> String {
    match (before, after) {
        (None, Some(_)) => "new".to_owned(),
        (Some(_), None) => "gone".to_owned(),
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let fields = after.iter().map(|(key, value)| {
                let old = before.get(key).map_or_else(|| NONE.to_owned(), short);
                format!("{key}: {old} ▸ {}", short(value))
            });
            fields.collect::<Vec<_>>().join("; ")
        }
        _ => NONE.to_owned(),
    }
}

fn short(value: &Value) -> String {
    // Of a state its name says most.
    let value = value.get("name").unwrap_or(value);
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.chars().count() > VALUE_MAX {
        format!("{}…", text.chars().take(VALUE_MAX).collect::<String>())
    } else {
        text
    }
}

/// What an address is.
#[must_use]
pub fn meaning(answer: &Value) -> String {
    let address = answer["address"].as_str().unwrap_or_default();
    let (is, at) = (answer["meaning"]["is"].as_str().unwrap_or_default(), &answer["meaning"]);
    let owner = match (answer["machine"]["serial"].as_str(), answer["machine"]["name"].as_str()) {
        (Some(serial), Some(name)) => {
            format!("{name} ({serial}), {}", answer["machine"]["state"].as_str().unwrap_or_default())
        }
        _ => "nobody is registered there".to_owned(),
    };
    match is {
        "node" => {
            format!("{address} is network {} of rack {}, index {}: {owner}\n", at["network"], at["rack"], at["index"])
        }
        "bmc" => {
            format!("{address} is the management controller of rack {}, index {}: {owner}\n", at["rack"], at["index"])
        }
        "gateway" => format!("{address} is the router of network {} of rack {}\n", at["network"], at["rack"]),
        "lease" => format!("{address} is for machines of rack {} that boot, network {}\n", at["rack"], at["network"]),
        "unused" => format!("{address} is in rack {}, and nobody's\n", at["rack"]),
        _ => format!("{address} is not in the address plan\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::tests::machine as sample;

    #[test]
    fn tables_of_machines() {
        let now = Timestamp::from_second(3_725).unwrap();
        insta::assert_snapshot!("machines", machines(&[sample("a", 0, 3), sample("b", 1, 5)], &Value::Null, now));
        let mut one = sample("b", 1, 5);
        one.labels.insert("zone".to_owned(), "x".to_owned());
        one.ids.macs = vec!["52:54:00:00:00:01".to_owned()];
        insta::assert_snapshot!("machine", machine(&one, now));
        assert_eq!(machines(&[], &Value::Null, now), "no such machines\n");
        let evidence = serde_json::json!({"a": {"route": "present", "from": ["tor1", "tor2"], "for_s": 190, "reported_s": 4},
            "b": {"route": "absent", "from": [], "for_s": 12}});
        let text = machines(&[sample("a", 0, 3), sample("b", 1, 5), sample("c", 1, 6)], &evidence, now);
        assert!(text.contains("2 paths 3m10s, reported 4s ago") && text.contains("no path 12s"), "{text}");
    }

    #[test]
    fn changes_in_few_words() {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let (before, after) =
            (json(r#"{"state": {"name": "healthy"}}"#), json(r#"{"state": {"name": "unhealthy"}, "rack": 1}"#));
        assert_eq!(change(Some(&before), Some(&after)), "rack: - ▸ 1; state: healthy ▸ unhealthy");
        assert_eq!(change(None, Some(&after)), "new");
    }

    #[test]
    fn addresses_are_explained() {
        let answer = serde_json::json!({"address": "10.69.1.5", "meaning": {"is": "node", "rack": 1, "network": 1, "index": 5},
            "machine": {"serial": "b", "name": "cs-1-5", "state": "healthy"}});
        assert_eq!(meaning(&answer), "10.69.1.5 is network 1 of rack 1, index 5: cs-1-5 (b), healthy\n");
        assert_eq!(
            meaning(&serde_json::json!({"address": "192.0.2.1", "meaning": null})),
            "192.0.2.1 is not in the address plan\n"
        );
    }
}
