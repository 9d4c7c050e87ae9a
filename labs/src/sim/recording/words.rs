//! What stands in a recording, for people: a line each.

use super::Names;
use serde::Serialize;
use weft_bgp::speaker;
use weft_bgp::wire::{HEADER_BYTES, Kind};
use weft_fabric::link::LinkInfo;
use weft_fabric::node::{Input, Output};
use weft_fabric::record::{Answer, Begin, Call, Octets, Sent};

/// Longest text of something without words of its own.
const TEXT_MAX: usize = 240;
/// Messages of a piece that are told one by one.
const MESSAGES: usize = 8;

/// The first line.
pub(super) fn begin(begin: &Begin) -> String {
    let config = &begin.config;
    let how = if begin.restarting { "restarts" } else { "starts" };
    format!("begin    {} {how} with weft {}: {}, seed {}", config.hostname, begin.weft, config.file, begin.seed)
}

/// What was asked or told, and what was answered.
pub(super) fn line(asked: &Call, answered: &Answer, names: &Names) -> String {
    match answered {
        Answer::Nothing => call(asked, names),
        Answer::Output(_) => answer(answered, names),
        Answer::Caller(_)
        | Answer::Sent(..)
        | Answer::Fib(_)
        | Answer::Done(_)
        | Answer::Count(_)
        | Answer::Wait(_) => format!("{}: {}", call(asked, names), answer(answered, names)),
    }
}

/// Nothing was to be sent or done.
pub(super) fn is_empty(answer: &Answer) -> bool {
    match answer {
        Answer::Nothing => true,
        Answer::Sent(sent, _) => sent.length == 0,
        Answer::Fib(changes) => changes.is_empty(),
        Answer::Output(_) | Answer::Caller(_) | Answer::Done(_) | Answer::Count(_) | Answer::Wait(_) => false,
    }
}

/// What was asked or told.
pub(super) fn call(call: &Call, names: &Names) -> String {
    match call {
        Call::Handle { input, .. } => input_text(input, names),
        Call::Received { conn, octets, .. } => format!("received from {}: {}", names.of(*conn), messages(&octets.0)),
        Call::Reload { to, within: None, .. } => format!("reload   {}", to.file),
        Call::Reload { to, within: Some(within), .. } => {
            format!("reload   {}, to be confirmed within {} s", to.file, within.as_secs())
        }
        Call::RollBack { .. } => "roll back to the configuration before".to_owned(),
        Call::Poll => "what is to be done".to_owned(),
        Call::Caller { remote, .. } => format!("{remote} calls"),
        Call::Control { conn, .. } => format!("control messages to {}", names.of(*conn)),
        Call::Transmit { conn, .. } => format!("sent to {}", names.of(*conn)),
        Call::Fib { .. } => "changes for the kernel".to_owned(),
        Call::PollMonitor { id, .. } => format!("sent to observer {id}"),
        Call::PollCache { cache } => format!("sent to RPKI cache {cache}"),
        Call::Lease { .. }
        | Call::Release { .. }
        | Call::ReleaseAll { .. }
        | Call::ResumeDrains { .. }
        | Call::ResumeVips { .. }
        | Call::SetCaches { .. }
        | Call::ResumeCache { .. }
        | Call::CacheConnected { .. }
        | Call::CacheReceived { .. }
        | Call::CacheDisconnected { .. }
        | Call::OpenMonitor { .. }
        | Call::CloseMonitor { .. } => as_json(call),
    }
}

fn input_text(input: &Input, names: &Names) -> String {
    if let Input::Links(links) = input {
        let link = |link: &LinkInfo| format!("{}{}", link.name, if link.is_usable() { "" } else { " (down)" });
        format!("links    {}", short(&links.iter().map(link).collect::<Vec<_>>().join(", ")))
    } else if let Input::Bgp(speaker::Input::Connected { conn, local }) = input {
        format!("connected to {} from {local}", names.of(*conn))
    } else if let Input::Bgp(speaker::Input::Closed { conn }) = input {
        format!("closed by {}", names.of(*conn))
    } else if let Input::Bgp(speaker::Input::ConnectFailed { conn, error }) = input {
        format!("no connection to {}: {error}", names.of(*conn))
    } else if matches!(input, Input::Tick) {
        "tick".to_owned()
    } else {
        as_json(input)
    }
}

/// Whatever has no words of its own.
fn as_json(what: &impl Serialize) -> String {
    // Our own types always become JSON.
    short(&serde_json::to_string(what).unwrap_or_default())
}

/// What was answered.
pub(super) fn answer(answer: &Answer, names: &Names) -> String {
    match answer {
        Answer::Nothing => "nothing".to_owned(),
        Answer::Output(output) => output_text(output, names),
        Answer::Sent(sent, more) => format!("{}{}", sent_text(sent), if *more { ", and there is more" } else { "" }),
        Answer::Fib(changes) if changes.is_empty() => "none".to_owned(),
        Answer::Fib(changes) => {
            let change = |change: &speaker::FibChange| {
                let want = serde_json::to_string(&change.want).unwrap_or_default();
                format!("{} {} (change {})", change.prefix, want, change.seq)
            };
            short(&changes.iter().map(change).collect::<Vec<_>>().join(", "))
        }
        Answer::Caller(Some(_)) => "known".to_owned(),
        Answer::Caller(None) => "a stranger".to_owned(),
        Answer::Done(true) => "done".to_owned(),
        Answer::Done(false) => "refused".to_owned(),
        Answer::Count(count) => count.to_string(),
        Answer::Wait(wait) => format!("try again in {wait:?}"),
    }
}

fn output_text(output: &Output, names: &Names) -> String {
    if let Output::Bgp(speaker::Output::Writable(conn)) = output {
        format!("something to send to {}", names.of(*conn))
    } else if let Output::Bgp(speaker::Output::Connect { conn, .. }) = output {
        format!("connect to {}", names.of(*conn))
    } else if let Output::Bgp(speaker::Output::Close { conn, .. }) = output {
        format!("close    {}", names.of(*conn))
    } else if let Output::Event(event) = output {
        format!("event    {}", as_json(event))
    } else {
        as_json(output)
    }
}

fn sent_text(sent: &Sent) -> String {
    let Sent { length, crc, head: Octets(head) } = sent;
    format!("{length} octets, CRC {crc:08x}: {}", messages(head))
}

/// The messages of a piece of a stream, as far as it begins with one.
fn messages(octets: &[u8]) -> String {
    let (mut rest, mut all) = (octets, Vec::new());
    while let Some((head, _)) = rest.split_at_checked(HEADER_BYTES)
        && head.iter().take(16).all(|octet| *octet == 0xff)
        && all.len() < MESSAGES
    {
        let length = usize::from(u16::from_be_bytes([head[16], head[17]])).max(HEADER_BYTES);
        let kind = Kind::from_wire(head[18]).map_or_else(|| format!("type {}", head[18]), |kind| format!("{kind:?}"));
        let (body, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        let body = body.get(HEADER_BYTES..).unwrap_or_default();
        all.push(if body.is_empty() { kind } else { format!("{kind} {}", hexadecimal(body)) });
        rest = behind;
    }
    if !rest.is_empty() {
        all.push(format!("{} octets {}", rest.len(), hexadecimal(rest)));
    }
    short(&all.join(", "))
}

fn hexadecimal(octets: &[u8]) -> String {
    let digits: Vec<String> = octets.iter().take(TEXT_MAX / 2).map(|octet| format!("{octet:02x}")).collect();
    digits.concat()
}

fn short(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{} …", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
