//! Renders templates in a process of their own, which has so much memory and time and no more. A template of two lines can double a text forty
//! times, and no step of that is a long one: whoever writes it must lose his template, not the boot servers.

use crate::boot::template::render::{Renderer, Wrong, boot_servers};
use crate::boot::template::{Pins, Template, Templates};
use crate::inventory::machine::Machine;
use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The verb of `weft-netboot` that does it.
pub const VERB: &str = "render-templates";
/// Octets of memory; a fleet of 10,000 machines takes a tenth.
const MEMORY_MAX: u64 = 512 * 1024 * 1024;
/// Seconds of a processor, and machines for each further one.
const SECONDS: u64 = 10;
const MACHINES_OF_A_SECOND: u64 = 50;
/// Octets of what it says: what it begins with, and what is wrong.
const SAID_MAX: u64 = 64 * 1024 * 1024;

/// What is to be done, as it is sent.
#[derive(Serialize)]
struct Asked<'a> {
    templates: BTreeMap<&'a str, &'a Template>,
    pins: &'a Pins,
    machines: Vec<&'a Machine>,
    most: usize,
}

/// The same, as it comes.
#[derive(Deserialize)]
struct Work {
    templates: BTreeMap<String, Template>,
    pins: Pins,
    machines: Vec<Machine>,
    most: usize,
}

/// Renders all that machines get: how many texts came, and up to `most` that did not.
///
/// # Errors
/// When there is no such process.
pub(super) fn all(
    program: &Path,
    templates: &Templates,
    machines: &[Arc<Machine>],
    most: usize,
) -> anyhow::Result<(usize, Vec<Wrong>)> {
    let asked = Asked {
        templates: templates.all.iter().map(|(name, template)| (name.as_str(), template.as_ref())).collect(),
        pins: &templates.pins,
        machines: machines.iter().map(Arc::as_ref).collect(),
        most,
    };
    let mut child = Command::new(program);
    let child = child.arg(VERB).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = child.spawn().context("a process that renders templates")?;
    // It reads everything before it says anything; one that ended before is seen by what it said.
    if let Some(mut into) = child.stdin.take() {
        let _ = into.write_all(&serde_json::to_vec(&asked)?);
    }
    let mut said = String::new();
    if let Some(from) = child.stdout.take() {
        from.take(SAID_MAX).read_to_string(&mut said).context("what a process says that renders templates")?;
    }
    let ended = child.wait()?;
    if let Some(answer) = said.lines().last().and_then(|line| line.strip_prefix('=')).filter(|_| ended.success()) {
        return Ok(serde_json::from_str(answer)?);
    }
    let (serial, template) = said.lines().last().and_then(|line| line.split_once(' ')).unwrap_or_default();
    let limit = MEMORY_MAX / (1024 * 1024);
    let reason = format!("it takes more than {limit} MiB of memory, or more time than there is for it: write less");
    let wrong = Wrong { serial: serial.to_owned(), template: template.to_owned(), line: None, rendered: false, reason };
    Ok((0, vec![wrong]))
}

/// What the process does: reads what is to be done, says before each text whose and of which template it is, and at last what came of it.
///
/// # Errors
/// When nothing can be read, or nobody hears.
pub fn run() -> anyhow::Result<()> {
    let limit = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Data, limit(MEMORY_MAX))?;
    setrlimit(Resource::Core, limit(0))?;
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text)?;
    let Work { templates, pins, machines, most } = serde_json::from_slice(&text)?;
    let count = u64::try_from(machines.len()).unwrap_or(u64::MAX);
    setrlimit(Resource::Cpu, limit(SECONDS.saturating_add(count / MACHINES_OF_A_SECOND)))?;
    let all = templates.into_iter().map(|(name, template)| (name, Arc::new(template))).collect();
    let templates = Templates { all, pins: Arc::new(pins) };
    let mut out = std::io::stdout().lock();
    let answer = match Renderer::new(&templates, boot_servers(machines.iter())) {
        Ok(renderer) => renderer.all(machines.iter(), most, |serial, name| {
            let _ = writeln!(out, "{serial} {name}");
        }),
        Err(wrong) => (0, vec![wrong]),
    };
    writeln!(out, "={}", serde_json::to_string(&answer)?)?;
    Ok(())
}
