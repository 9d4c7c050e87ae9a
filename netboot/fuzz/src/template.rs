//! Configuration templates: what somebody writes, and what a machine would get of it.

use super::{World, named};
use serde_json::Value;
use weft_netboot::boot::Whom;
use weft_netboot::boot::template::check::check;
use weft_netboot::boot::template::render::{RENDERED_MAX, Renderer, boot_servers};
use weft_netboot::boot::template::{Change, Kind, Templates, Version};
use weft_netboot::inventory::command::Command;
use weft_netboot::inventory::machine::Spec;

/// Parts of one input.
const PARTS: [&str; 3] = ["a", "b", "c"];
/// What makes a text of a few words long, or slow: the process in which a server renders has bounds for it, which this one has not.
const GROWS: [&str; 10] = ["*", "~", "+", "set ", "macro", "replace", "range", "format", "filter", "indent"];

/// First octet: the kind. Then, with a NUL between them, the template and the parts `a`, `b` and `c`.
pub fn template(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let kind = Kind::ALL[usize::from(*kind) % Kind::ALL.len()];
    let mut texts = text.split('\0');
    let own = texts.next().unwrap_or_default();
    // What is no template, and what a machine gets of it.
    verdict(kind, own);
    if GROWS.iter().any(|word| text.contains(word)) {
        return;
    }
    let mut templates = Templates::default();
    let parts = PARTS.into_iter().zip(texts).map(|(name, text)| (name, Kind::Part, text));
    for (name, kind, text) in std::iter::once(("own", kind, own)).chain(parts) {
        let version =
            Version { number: 0, at: jiff::Timestamp::UNIX_EPOCH, by: "m0".to_owned(), text: text.to_owned() };
        match templates.after(&Change::Set { name: name.to_owned(), kind, version }) {
            Ok(after) => templates = after,
            Err(refusal) => return named(&refusal),
        }
    }
    let pin = Change::Pin { whom: Whom::Rest, kind, to: Some("own".to_owned()) };
    match templates.after(&pin) {
        Ok(after) => templates = after,
        Err(refusal) => return named(&refusal),
    }
    made(&templates, kind);
}

fn made(templates: &Templates, kind: Kind) {
    let mut world = World::new();
    let labels = [("zone".to_owned(), "dc1.x".to_owned())].into();
    let spec = Spec { serial: "t0".to_owned(), rack: 2, role: "cs".to_owned(), labels, ..Spec::default() };
    world.run(&Command::Register { machines: vec![spec] }).unwrap();
    let servers = boot_servers(world.inventory.machines().map(AsRef::as_ref));
    let renderer = match Renderer::new(templates, servers) {
        Ok(renderer) => renderer,
        Err(wrong) => {
            assert!(templates.all.contains_key(&wrong.template) && !wrong.reason.is_empty(), "{wrong}");
            return;
        }
    };
    for machine in world.inventory.machines() {
        let first = renderer.render(machine, kind);
        assert_eq!(first, renderer.render(machine, kind), "the same machine gets the same");
        match first {
            Ok(made) => {
                let (name, text) = made.unwrap();
                assert!(name == "own" && text.len() <= RENDERED_MAX && check(kind, &text).is_ok());
            }
            Err(wrong) => {
                // A template reads nothing but templates, so nothing else is at fault.
                assert!(templates.all.contains_key(&wrong.template), "{wrong}");
                assert!(wrong.serial == machine.serial && !wrong.reason.is_empty(), "{wrong}");
                assert!(wrong.reason.len() < 4_096, "{} octets", wrong.reason.len());
            }
        }
    }
}

/// What is right is what the format's own grammar takes.
fn verdict(kind: Kind, text: &str) {
    match check(kind, text) {
        Err((line, reason)) => {
            assert!(!reason.is_empty() && !reason.chars().any(char::is_control), "{reason:?}");
            assert!(line.is_none_or(|line| line > 0 && line <= text.split('\n').count() + 1), "{line:?}: {reason}");
        }
        Ok(()) if kind == Kind::Ignition => {
            let read: Value = serde_json::from_str(text).unwrap();
            let version = read["ignition"]["version"].as_str().unwrap();
            assert!(version.starts_with("3.") || version == "2.3.0");
            let known = ["ignition", "storage", "systemd", "passwd", "kernelArguments", "networkd"];
            assert!(read.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())));
        }
        Ok(()) => {}
    }
}
