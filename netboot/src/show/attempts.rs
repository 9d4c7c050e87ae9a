//! How a machine boots.

use super::{NONE, age};
use crate::boot::attempts::{Event, What};
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;

/// What was seen of a machine, and why it is held.
#[must_use]
pub fn boots(answer: &Value, now: Timestamp) -> String {
    let mut text = String::new();
    if let Some(why) = answer["held"]["why"].as_str() {
        let serial = answer["serial"].as_str().unwrap_or(NONE);
        let _ = writeln!(text, "HELD: {why}\n  remedy: `weft-netboot machines release {serial}`");
    }
    let events: Vec<Event> = serde_json::from_value(answer["events"].clone()).unwrap_or_default();
    if events.is_empty() {
        return text;
    }
    let counted = answer["boots"].as_array().map_or(0, Vec::len);
    let _ = writeln!(text, "boots       {counted} since it was healthy; this server saw:");
    for event in &events {
        let what = match &event.what {
            What::Told { boots: Some(boots) } => format!("told to boot {boots}"),
            What::Told { boots: None } => "told that nobody said yet what it boots".to_owned(),
            What::Held => "told to wait".to_owned(),
            What::Kernel { image } => format!("has the kernel of {image}"),
            What::OneFile { image } => format!("has {image} as one file"),
        };
        let times = if event.times == 1 { String::new() } else { format!(", {} times", event.times) };
        let _ = writeln!(text, "  {}  {} ago  {what}{times}", event.first, age(event.last, now));
    }
    text
}
