//! Makes text of a template and a machine. What is undefined is an error, a template reads nothing but other templates, and steps, depth
//! and octets are bounded.

use super::check::check;
use super::{Kind, Pins, Templates};
use crate::inventory::machine::Machine;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Steps of one rendering: a loop over all that is known of a machine takes hundreds.
const FUEL: u64 = 100_000;
/// Templates within each other.
const DEPTH_MAX: usize = 32;
/// Octets of what comes of it.
pub const RENDERED_MAX: usize = 256 * 1024;

/// What a template knows.
#[derive(Debug, Serialize)]
struct Known<'a> {
    /// The machine's record: `serial`, `name`, `labels`, `rack`, `index`, `role`, `ipv4`, `ipv6`, `bmc`, `ids`, `hardware`, `state`, …
    #[serde(flatten)]
    machine: &'a Machine,
    /// Its own addresses: of each family the first.
    addresses: Vec<IpAddr>,
    boot_servers: &'a [BootServer],
}

/// A boot server, as templates know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BootServer {
    /// Its name.
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
}

/// The boot servers among machines: those whose role is `boot`.
#[must_use]
pub fn boot_servers<'m>(machines: impl Iterator<Item = &'m Machine>) -> Vec<BootServer> {
    let boot = machines.filter(|machine| machine.role == "boot");
    boot.map(|machine| BootServer { name: machine.name.clone(), addresses: machine.own_addresses().collect() })
        .collect()
}

/// Why there is no text for a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wrong {
    /// Whose it would be; empty: of no machine, the template itself.
    pub serial: String,
    /// The template where it is.
    pub template: String,
    /// Its line, or when `rendered`, the line of what comes of it; null = nobody knows.
    pub line: Option<usize>,
    /// Whether the template rendered, and what came of it is wrong.
    pub rendered: bool,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = self.line.map(|line| format!(", line {line}")).unwrap_or_default();
        let what = if self.rendered { " of what comes of it" } else { "" };
        let whose = if self.serial.is_empty() { String::new() } else { format!("for {}: ", self.serial) };
        write!(f, "{whose}template {}{line}{what}: {}", self.template, self.reason)
    }
}

/// Templates, read and ready to be rendered for many machines.
#[derive(Debug)]
pub struct Renderer<'t> {
    environment: Environment<'t>,
    templates: &'t Templates,
    boot_servers: Vec<BootServer>,
}

impl<'t> Renderer<'t> {
    /// Reads all templates.
    ///
    /// # Errors
    /// The one that cannot be read.
    pub fn new(templates: &'t Templates, boot_servers: Vec<BootServer>) -> Result<Self, Wrong> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // Nothing here is HTML: a template says `| tojson` where it means JSON.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_keep_trailing_newline(true);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH_MAX);
        for (name, template) in &templates.all {
            environment.add_template(name, template.text()).map_err(|error| wrong(name, "", &error))?;
        }
        Ok(Self { environment, templates, boot_servers })
    }

    /// What a machine gets of a kind, with the template's name; `None` = nobody said.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn render(&self, machine: &Machine, kind: Kind) -> Result<Option<(&'t str, String)>, Wrong> {
        let pins: &'t Pins = &self.templates.pins;
        let Some((name, _)) = pins.of(machine, kind) else { return Ok(None) };
        let template = self.environment.get_template(name).map_err(|error| wrong(name, &machine.serial, &error))?;
        let addresses = machine.own_addresses().collect();
        let text = template.render(Known { machine, addresses, boot_servers: &self.boot_servers });
        let text = text.map_err(|error| wrong(name, &machine.serial, &error))?;
        let not = |(line, reason)| Wrong {
            serial: machine.serial.clone(),
            template: name.to_owned(),
            line,
            rendered: true,
            reason,
        };
        if text.len() > RENDERED_MAX {
            return Err(not((None, format!("{} octets: at most {RENDERED_MAX}", text.len()))));
        }
        check(kind, &text).map_err(not)?;
        Ok(Some((name, text)))
    }

    /// Renders all that machines get: how many texts came, and up to `most` that did not.
    /// `begins` hears before each whose it is, and of which template.
    pub fn all<'m>(
        &self,
        machines: impl Iterator<Item = &'m Machine>,
        most: usize,
        mut begins: impl FnMut(&str, &str),
    ) -> (usize, Vec<Wrong>) {
        let (mut count, mut all) = (0, Vec::new());
        for machine in machines {
            for kind in Kind::ALL {
                if let Some((name, _)) = self.templates.pins.of(machine, kind) {
                    begins(&machine.serial, name);
                }
                match self.render(machine, kind) {
                    Ok(text) => count += usize::from(text.is_some()),
                    Err(wrong) if all.len() < most => all.push(wrong),
                    Err(_) => return (count, all),
                }
            }
        }
        (count, all)
    }
}

fn wrong(name: &str, serial: &str, error: &Error) -> Wrong {
    // The innermost one: what an include ran into, and in which template.
    let mut inner = error;
    let mut at = (error.name(), error.line());
    while let Some(below) = std::error::Error::source(inner).and_then(|source| source.downcast_ref::<Error>()) {
        inner = below;
        if inner.line().is_some() {
            at = (inner.name(), inner.line());
        }
    }
    let reason = match inner.detail() {
        Some(detail) => format!("{}: {detail}", inner.kind()),
        None => inner.kind().to_string(),
    };
    let template = at.0.unwrap_or(name).to_owned();
    Wrong { serial: serial.to_owned(), template, line: at.1, rendered: false, reason }
}

#[cfg(test)]
mod tests {
    use super::super::{Change, Version};
    use super::*;
    use crate::boot::Whom;
    use crate::inventory::tests::machine;

    fn with(all: &[(&str, Kind, &str)]) -> Templates {
        let mut templates = Templates::default();
        for (name, kind, text) in all {
            let version =
                Version { number: 0, at: jiff::Timestamp::UNIX_EPOCH, by: String::new(), text: (*text).to_owned() };
            templates = templates.after(&Change::Set { name: (*name).to_owned(), kind: *kind, version }).unwrap();
            if *kind != Kind::Part {
                let pin = Change::Pin { whom: Whom::Rest, kind: *kind, to: Some((*name).to_owned()) };
                templates = templates.after(&pin).unwrap();
            }
        }
        templates
    }

    fn rendered(all: &[(&str, Kind, &str)]) -> Result<String, Wrong> {
        let machines = [machine("N1", 0, 4), machine("B0", 0, 3)];
        let templates = with(all);
        let renderer = Renderer::new(&templates, boot_servers(machines.iter()))?;
        let kind = all.iter().find(|(_, kind, _)| *kind != Kind::Part).unwrap().1;
        renderer.render(&machines[0], kind).map(|found| found.unwrap().1)
    }

    #[test]
    fn a_machine_and_parts_make_a_text() {
        let text = "#cloud-config\nhostname: {{ name }}\n{% include 'base' %}\nwrite_files:\n\
            {% for server in boot_servers %}\n- {path: /etc/boot/{{ server.name }}, content: {{ server.addresses | join(',') | tojson }}}\n{% endfor %}\n\
            {% if retires is defined %}never{% endif %}";
        let made = rendered(&[("cs", Kind::UserData, text), ("base", Kind::Part, "timezone: UTC\n")]).unwrap();
        let wanted = "#cloud-config\nhostname: cs-0-4\ntimezone: UTC\nwrite_files:\n\
            - {path: /etc/boot/boot-0-3, content: \"10.69.0.3\"}\n";
        assert_eq!(made, wanted);
    }

    #[test]
    fn what_is_wrong_is_named_with_template_and_line() {
        for (text, template, line, reason) in [
            ("#cloud-config\nhostname: {{ nmae }}\n", "cs", Some(2), "undefined"),
            ("#cloud-config\nhostname: {{ labels.zone }}\n", "cs", Some(2), "undefined"),
            ("#cloud-config\n{% include 'base' %}\n", "base", Some(2), "undefined"),
            ("#cloud-config\n{% include 'none' %}\n", "cs", Some(2), "not found"),
            ("#cloud-config\n\n{% if %}\n", "cs", Some(3), "syntax"),
            (
                "#cloud-config\n{% for a in range(9000) %}{% for b in range(9000) %}{% endfor %}{% endfor %}",
                "cs",
                Some(2),
                "fuel",
            ),
            ("#cloud-config\n{% include 'cs' %}\n", "cs", None, "recursion"),
        ] {
            let wrong =
                rendered(&[("cs", Kind::UserData, text), ("base", Kind::Part, "a: 1\nb: {{ zone }}\n")]).unwrap_err();
            assert_eq!((wrong.template.as_str(), wrong.rendered), (template, false), "{text}: {wrong}");
            assert!(line.is_none() || wrong.line == line, "{text}: {wrong}");
            assert!(wrong.reason.to_lowercase().contains(reason), "{text}: {wrong}");
        }
        let wrong = rendered(&[("cs", Kind::UserData, "#cloud-config\nhostnmae: x\n")]).unwrap_err();
        assert!(wrong.rendered && wrong.to_string().starts_with("for N1: template cs"), "{wrong}");
        let long = format!("#!/bin/sh\n{}", "{% for a in range(60) %}{{ serial }}{% include 'base' %}{% endfor %}");
        let base = "x".repeat(8_000);
        let wrong = rendered(&[("cs", Kind::UserData, &long), ("base", Kind::Part, &base)]).unwrap_err();
        assert!(wrong.reason.contains("at most 262144"), "{wrong}");
    }
}
