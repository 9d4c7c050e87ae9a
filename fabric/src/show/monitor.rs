//! `monitor`: one line for each event, as it comes.

use crate::news::Line;
use serde_json::Value;

/// Of a line of the watch.
#[must_use]
pub fn line(value: &Value) -> String {
    if let Ok(Line { at_ms, kind, text, .. }) = serde_json::from_value(value.clone()) {
        let at = format!("{}.{:03}s", at_ms / 1_000, at_ms % 1_000);
        return format!("{at:>12}  {kind:6}  {text}");
    }
    if let Some(lost) = value["lost"].as_u64() {
        let of = value["of"].as_str().unwrap_or("events");
        return format!("{:>12}  {of:6}  {lost} lost: they came faster than they were read", "");
    }
    format!("{}: what happens from now on; seconds since its start", value["node"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_line_is_one() {
        let lines = [
            json!({"schema": "weft/v1", "node": "tor1", "watch": "events"}),
            json!({"at_ms": 12_003, "kind": "peers", "text": "spine1: session up, AS 64599", "event": "session_up"}),
            json!({"lost": 17, "of": "routes"}),
        ];
        assert_eq!(
            lines.iter().map(line).collect::<Vec<_>>(),
            [
                "tor1: what happens from now on; seconds since its start",
                "     12.003s  peers   spine1: session up, AS 64599",
                "              routes  17 lost: they came faster than they were read",
            ]
        );
    }
}
