//! Redfish as far as power and boot go (DMTF DSP0266: protocol; DSP0268: `ServiceRoot`, `ComputerSystem`, `Session`, `Task`): what is asked,
//! and what of an answer is believed.
//!
//! Everything that comes from a controller is bounded, and whatever is not as the schema says is left out: it is a machine that somebody else
//! may have taken over.

mod dialog;

pub use dialog::{Dialog, Goal, Known, Outcome, Step};

use super::{Boot, BootFrom, Mode, Power, Press, Reading};
use serde_json::{Value, json};
use std::time::Duration;

/// Where everything begins (DSP0266 §6.2).
pub const ROOT: &str = "/redfish/v1/";
/// Octets of a path that a controller names.
const PATH_MAX: usize = 512;
/// Characters of what a controller says that people are shown.
const SAID_MAX: usize = 300;
/// Messages of one refusal that are shown.
const MESSAGES_MAX: usize = 4;
/// Systems behind one controller that are looked through for the machine.
const SYSTEMS_MAX: usize = 16;

/// What is done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads it.
    Get,
    /// Changes fields of it.
    Patch,
    /// Makes one, or acts on it.
    Post,
    /// Ends it.
    Delete,
}

/// What goes with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Nothing,
    /// A document.
    Document(Value),
    /// User and password, which only who sends it knows (`UserName`, `Password`).
    Login,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody: the service root is open (DSP0266 §13.3.2).
    Nobody,
    /// By name and password with each request (RFC 7617).
    Basic,
    /// By the token of a session.
    Token(String),
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What.
    pub method: Method,
    /// Of which resource.
    pub path: String,
    /// Who.
    pub identity: Identity,
    /// With what.
    pub content: Content,
    /// Only if the resource is still as it was with this tag (RFC 9110 §13.1.1).
    pub if_match: Option<String>,
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After` in seconds (RFC 9110 §10.2.3; a date counts as none).
    pub retry_after_s: Option<u64>,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Location`.
    pub location: Option<String>,
    /// `X-Auth-Token`.
    pub token: Option<String>,
    /// The document; null when there is none.
    pub body: Value,
}

/// The part of a path behind the name of the controller; none when it is no path of one.
fn path(said: &str) -> Option<String> {
    let path = match said.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/')?..],
        None => said,
    };
    let sign = |octet: u8| (0x21..0x7f).contains(&octet);
    (path.starts_with('/') && path.len() <= PATH_MAX && path.bytes().all(sign)).then(|| path.to_owned())
}

/// The path that a link names.
fn link(value: &Value) -> Option<String> {
    path(value["@odata.id"].as_str()?)
}

/// What a controller says, for people: short, and without control characters.
fn shown(said: &str) -> String {
    let mut text: String = said.chars().filter(|c| !c.is_control()).take(SAID_MAX + 1).collect();
    if text.chars().count() > SAID_MAX {
        text = text.chars().take(SAID_MAX).chain(['…']).collect();
    }
    text.trim().to_owned()
}

/// The messages of a refusal (DSP0266 §7.6.2), with what to do where it says so.
fn extended(body: &Value) -> Vec<&Value> {
    let error = &body["error"];
    error["@Message.ExtendedInfo"].as_array().map(|all| all.iter().take(MESSAGES_MAX).collect()).unwrap_or_default()
}

/// A refusal in the words of the controller.
fn refusal(answer: &Answer) -> String {
    let mut words: Vec<String> = Vec::new();
    for one in extended(&answer.body) {
        let said = one["Message"].as_str().or_else(|| one["MessageId"].as_str()).map(shown).unwrap_or_default();
        let remedy = one["Resolution"].as_str().map(shown).filter(|text| !text.is_empty() && text != "None");
        let remedy = remedy.map(|text| format!(" ({text})")).unwrap_or_default();
        if !said.is_empty() && !words.iter().any(|word| word.starts_with(&said)) {
            words.push(format!("{said}{remedy}"));
        }
    }
    if words.is_empty() {
        words.extend(answer.body["error"]["message"].as_str().map(shown).filter(|text| !text.is_empty()));
    }
    let words = words.join(" ");
    if words.is_empty() {
        format!("HTTP status {}", answer.status)
    } else {
        format!("{words} (HTTP {})", answer.status)
    }
}

/// Whether a refusal means that the controller does not know what it was asked: messages of DSP0268's Base registry.
fn is_unknown(answer: &Answer) -> bool {
    const IDS: [&str; 6] = [
        "ActionNotSupported",
        "ActionParameterNotSupported",
        "ActionParameterUnknown",
        "ActionParameterValueNotInList",
        "PropertyValueNotInList",
        "ActionParameterValueTypeError",
    ];
    let named = |one: &&Value| {
        let id = one["MessageId"].as_str().unwrap_or_default();
        IDS.iter().any(|name| id.rsplit('.').next() == Some(name))
    };
    matches!(answer.status, 404 | 405 | 501) || extended(&answer.body).iter().any(named)
}

/// A `ComputerSystem`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// What is told of it.
    pub reading: Reading,
    /// Where it is reset, and how; empty = it does not say.
    pub reset: Option<(String, Vec<String>)>,
    /// Where it says how it can be reset, when it does not say it itself.
    info: Option<String>,
    /// What it can be told to boot; empty = it does not say.
    pub targets: Vec<String>,
    /// Whether it lets `BootSourceOverrideMode` be set.
    has_mode: bool,
    etag: Option<String>,
    ids: [String; 2],
}

impl System {
    fn read(answer: &Answer) -> Option<Self> {
        let body = &answer.body;
        if !body.is_object() || (body["PowerState"].is_null() && body["Actions"].is_null()) {
            return None;
        }
        let action = &body["Actions"]["#ComputerSystem.Reset"];
        let target = action["target"].as_str().and_then(path);
        let boot = &body["Boot"];
        let text = |value: &Value| value.as_str().map(shown).unwrap_or_default();
        let model = [text(&body["Manufacturer"]), text(&body["Model"])].join(" ").trim().to_owned();
        let etag = answer.etag.clone().or_else(|| body["@odata.etag"].as_str().map(str::to_owned));
        Some(Self {
            reading: Reading { power: power(&body["PowerState"]), boot: override_of(boot), model },
            reset: target.map(|target| (target, words(&action["ResetType@Redfish.AllowableValues"]))),
            info: action["@Redfish.ActionInfo"].as_str().and_then(path),
            targets: words(&boot["BootSourceOverrideTarget@Redfish.AllowableValues"]),
            has_mode: !boot["BootSourceOverrideMode"].is_null(),
            etag: etag.filter(|etag| etag.len() <= PATH_MAX && etag.bytes().all(|octet| (0x20..0x7f).contains(&octet))),
            ids: [text(&body["UUID"]).to_ascii_lowercase(), text(&body["SerialNumber"])],
        })
    }
}

impl System {
    /// Whether it is the machine with these; `None` when they do not tell.
    fn is_of(&self, uuid: Option<&str>, serial: &str) -> Option<bool> {
        let [its_uuid, its_serial] = &self.ids;
        if its_serial == serial {
            return Some(true);
        }
        let uuid = uuid.filter(|_| !its_uuid.is_empty())?;
        Some(its_uuid == uuid || swapped(its_uuid).is_some_and(|its| its == uuid))
    }
}

/// A UUID whose first three fields have their octets the other way round: SMBIOS stores them so, and not every controller turns them.
fn swapped(uuid: &str) -> Option<String> {
    let turned =
        |field: &str| -> Option<String> { (0..field.len()).step_by(2).rev().map(|at| field.get(at..at + 2)).collect() };
    let mut fields = uuid.split('-');
    let first: Option<Vec<String>> = fields.by_ref().take(3).map(turned).collect();
    let rest = fields.map(str::to_owned);
    Some(first?.into_iter().chain(rest).collect::<Vec<_>>().join("-"))
}

/// The words of a list.
fn words(list: &Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.take(SYSTEMS_MAX * 2).filter_map(|value| value.as_str()).map(shown).collect()
}

fn power(value: &Value) -> Power {
    match value.as_str().unwrap_or_default() {
        "On" => Power::On,
        "Off" => Power::Off,
        "PoweringOn" => Power::TurningOn,
        "PoweringOff" => Power::TurningOff,
        _ => Power::Unknown,
    }
}

fn override_of(boot: &Value) -> Option<Boot> {
    let enabled = boot["BootSourceOverrideEnabled"].as_str()?;
    let from = match boot["BootSourceOverrideTarget"].as_str().unwrap_or_default() {
        _ if enabled == "Disabled" => BootFrom::None,
        "None" => BootFrom::None,
        "Pxe" => BootFrom::Pxe,
        "UefiHttp" => BootFrom::Http,
        "Hdd" => BootFrom::Disk,
        _ => BootFrom::Other,
    };
    let mode = match boot["BootSourceOverrideMode"].as_str() {
        Some("UEFI") => Some(Mode::Uefi),
        Some("Legacy") => Some(Mode::Legacy),
        _ => None,
    };
    let uri = boot["HttpBootUri"].as_str().map(shown).filter(|uri| !uri.is_empty() && from == BootFrom::Http);
    Some(Boot { from, once: enabled != "Continuous", mode, uri })
}

/// The change that tells firmware what to boot; `None` where no controller can be told that.
fn patch(boot: &Boot, has_mode: bool) -> Option<(&'static str, Value)> {
    let target = match boot.from {
        BootFrom::None => "None",
        BootFrom::Pxe => "Pxe",
        BootFrom::Http => "UefiHttp",
        BootFrom::Disk => "Hdd",
        BootFrom::Other => return None,
    };
    let enabled = match (boot.from, boot.once) {
        (BootFrom::None, _) => "Disabled",
        (_, true) => "Once",
        (_, false) => "Continuous",
    };
    let mut document = json!({ "BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": enabled });
    if boot.from != BootFrom::None
        && let Some(mode) = boot.mode.filter(|_| has_mode)
    {
        document["BootSourceOverrideMode"] = json!(match mode {
            Mode::Uefi => "UEFI",
            Mode::Legacy => "Legacy",
        });
    }
    if let Some(uri) = &boot.uri {
        document["HttpBootUri"] = json!(uri);
    }
    Some((target, json!({ "Boot": document })))
}

/// The words of DSP0268 for a press, the fittest first.
const fn resets(press: Press) -> &'static [&'static str] {
    match press {
        Press::On => &["On", "ForceOn", "PushPowerButton"],
        // The button of a machine that is on asks its operating system (ACPI).
        Press::SoftOff => &["GracefulShutdown", "PushPowerButton"],
        Press::HardOff => &["ForceOff"],
    }
}

/// How long to wait before asking again, when the controller is busy.
fn patience(answer: &Answer) -> Duration {
    /// When it does not say.
    const USUAL_S: u64 = 2;
    /// Whatever it says.
    const LONGEST_S: u64 = 30;
    Duration::from_secs(answer.retry_after_s.unwrap_or(USUAL_S).clamp(1, LONGEST_S))
}

#[cfg(test)]
#[path = "redfish/tests.rs"]
mod tests;
