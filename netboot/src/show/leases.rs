//! The table of DHCP leases.

use super::{NONE, render, span, table};
use jiff::Timestamp;
use serde_json::Value;
use std::net::IpAddr;

/// Leases, a line for each, by address.
#[must_use]
pub fn leases(answer: &Value, now: Timestamp) -> String {
    let mut all: Vec<&Value> = answer["leases"].as_array().map(|all| all.iter().collect()).unwrap_or_default();
    if all.is_empty() {
        return "no address is lent\n".to_owned();
    }
    let text = |value: &Value| value.as_str().unwrap_or(NONE).to_owned();
    all.sort_by_key(|lease| lease["address"].as_str().and_then(|address| address.parse::<IpAddr>().ok()));
    let time = |value: &Value| value.as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let apart = |from: Timestamp, to: Timestamp| span(u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0));
    let mut lines = table(&["Address", "State", "MAC", "Machine", "Since", "Kept for", "Server", "Client"]);
    for lease in all {
        let client = text(&lease["client"]);
        let is_mac = lease["client"] == lease["mac"];
        lines.add_row([
            text(&lease["address"]),
            text(&lease["state"]),
            Some(text(&lease["mac"])).filter(|mac| !mac.is_empty()).unwrap_or_else(|| NONE.to_owned()),
            text(&lease["machine"]),
            time(&lease["since"]).map_or_else(|| NONE.to_owned(), |since| apart(since, now)),
            time(&lease["until"]).map_or_else(|| NONE.to_owned(), |until| apart(now, until)),
            text(&lease["server"]),
            if is_mac { NONE.to_owned() } else { client },
        ]);
    }
    render(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn leases_are_listed_by_address() {
        let lease = |address: &str, client: &str, state: &str| {
            json!({"address": address, "client": client, "mac": "52:54:00:69:01:01", "state": state, "machine": null,
                "since": "2026-11-28T10:00:00Z", "until": "2026-11-28T12:10:00Z", "server": "boot1"})
        };
        let answer = json!({"leases": [lease("10.69.1.100", "id:00aabb", "declined"), lease("10.69.1.32", "52:54:00:69:01:01", "bound")]});
        let text = leases(&answer, "2026-11-28T10:10:00Z".parse().unwrap());
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["10.69.1.32", "bound", "52:54:00:69:01:01", "-", "10m00s", "2h00m", "boot1", "-"]);
        assert_eq!(lines[2][..2], ["10.69.1.100", "declined"]);
        assert_eq!(lines[2][7], "id:00aabb");
        assert_eq!(leases(&json!({"leases": []}), Timestamp::UNIX_EPOCH), "no address is lent\n");
    }
}
