//! `show neighbors NAME --history`: the last states and messages of one peer, and what became of BFD to it.

use super::{duration, render, table};
use crate::api::NeighborHistory;
use std::fmt::Write as _;
use weft_bgp::peer::Way;

/// Octets of a message in one line of the table; all that were kept are in the JSON.
const HEX_DIGITS: usize = 48;

/// The tables, the newest last.
#[must_use]
pub fn tables_of(answer: &NeighborHistory) -> String {
    let mut text = format!("{}: the last states, the newest last\n\n", answer.neighbor);
    let mut lines = table(&["Ago", "From", "To", "Because of", "Dialled by"]);
    for step in &answer.transitions {
        let event = serde_json::to_value(step.event).ok().and_then(|name| name.as_str().map(str::to_owned));
        lines.add_row([
            duration(answer.ago_s(step.at)),
            step.from.name().to_owned(),
            step.to.name().to_owned(),
            event.unwrap_or_default(),
            if step.accepted { "them" } else { "us" }.to_owned(),
        ]);
    }
    text.push_str(&render(&lines, 2));
    text.push_str("\nthe last messages\n\n");
    let mut lines = table(&["Ago", "", "Message", "Octets", "Says", "Begins with"]);
    for heard in &answer.messages {
        let kind = if heard.times > 1 { format!("{} ×{}", heard.kind, heard.times) } else { heard.kind.clone() };
        // The marker says nothing.
        let hex = heard.hex.get(32..).unwrap_or_default();
        let cut = hex.get(..HEX_DIGITS).map_or_else(|| hex.to_owned(), |first| format!("{first}…"));
        let way = match heard.way {
            Way::Received => "received",
            Way::Sent => "sent",
        };
        lines.add_row([
            duration(answer.ago_s(heard.at)),
            way.to_owned(),
            kind,
            heard.length.to_string(),
            heard.text.clone(),
            cut,
        ]);
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", render(&lines, 2));
    if !answer.bfd.is_empty() {
        text.push_str("\nBFD\n\n");
        let mut lines = table(&["Ago", "Event"]);
        for event in &answer.bfd {
            lines.add_row([duration(event.ago_ms / 1_000), super::history::line(event)]);
        }
        text.push_str(&render(&lines, 2));
    }
    text
}
