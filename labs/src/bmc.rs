//! A management controller for tests: Redfish over TLS in front of a script that has the power, with faults on demand.
//!
//! ```text
//!   weft-netboot ──TLS──▶ serve ──▶ Controller (what it says, what it does, what goes wrong) ──▶ SCRIPT get power | set power 1 | set boot pxe
//! ```
//!
//! The script is called as `ipmi_sim` calls its own, so that one script serves both. What is said follows DMTF's DSP0266 and DSP0268, as far as
//! power and boot go. Nothing here is random: a fault comes so many times, and on the next requests.

pub mod fault;
pub mod serve;

use fault::{Fault, Faults};
use serde_json::{Value, json};

const ROOT: &str = "/redfish/v1";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const SYSTEMS: &str = "/redfish/v1/Systems";
const SYSTEM: &str = "/redfish/v1/Systems/1";
const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
/// Sessions at a time, as few as real controllers have.
const SESSIONS_MAX: usize = 4;
/// What a reset may be, and what it does.
const RESETS: [(&str, Effect); 5] = [
    ("On", Effect::On),
    ("ForceOff", Effect::Off),
    ("GracefulShutdown", Effect::SoftOff),
    ("ForceRestart", Effect::Restart),
    ("PushPowerButton", Effect::SoftOff),
];
/// Boot sources: Redfish's word, and the script's.
const TARGETS: [(&str, &str); 4] = [("None", "none"), ("Pxe", "pxe"), ("UefiHttp", "http"), ("Hdd", "disk")];

/// What happens to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    On,
    Off,
    SoftOff,
    Restart,
}

/// Who it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Serial number of the machine.
    pub serial: String,
    /// SMBIOS UUID of the machine.
    pub uuid: String,
    /// Who may.
    pub user: String,
    /// With what.
    pub password: String,
}

/// A request as it was read.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// Without a query.
    pub path: String,
    /// `X-Auth-Token`.
    pub token: Option<String>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// The document.
    pub body: Value,
}

/// What comes of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// The document.
    pub body: Value,
    /// What the script is called with, in order.
    pub run: Vec<[&'static str; 3]>,
    /// What goes wrong on the way.
    pub fault: Option<Fault>,
}

/// A controller.
#[derive(Clone, Debug)]
pub struct Controller {
    identity: Identity,
    sessions: Vec<u64>,
    made: u64,
    /// Redfish's words for target, enabled and mode, and the URI.
    boot: [String; 4],
    /// Counts changes of the system.
    tag: u64,
    /// The state that was wished last; a boaster says it at once.
    wished: Option<bool>,
    /// What is to go wrong.
    pub faults: Faults,
}

impl Controller {
    /// One that nobody has told anything.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let boot = ["None", "Disabled", "UEFI", ""].map(str::to_owned);
        Self { identity, sessions: Vec::new(), made: 0, boot, tag: 0, wished: None, faults: Faults::default() }
    }

    /// Answers; `on`: whether the machine has power.
    pub fn handle(&mut self, request: &Request, on: bool) -> Reply {
        let path = request.path.trim_end_matches('/');
        if let Some(fault) = self.faults.of_transport() {
            let busy = || Reply {
                headers: vec![("retry-after", "1".to_owned())],
                ..refusal(503, "ServiceTemporarilyUnavailable")
            };
            return match fault {
                Fault::Busy => busy(),
                Fault::Slow(_) => Reply { fault: Some(fault), ..self.answer(request, path, on) },
                Fault::Hang
                | Fault::Reset
                | Fault::Forget
                | Fault::Deaf
                | Fault::Swallow
                | Fault::Boast
                | Fault::Wrong => Reply { fault: Some(fault), ..Reply::default() },
            };
        }
        self.answer(request, path, on)
    }

    fn answer(&mut self, request: &Request, path: &str, on: bool) -> Reply {
        match (request.method.as_str(), path) {
            ("GET", ROOT) => {
                let links = json!({ "Sessions": { "@odata.id": SESSIONS } });
                return says(
                    json!({ "@odata.id": "/redfish/v1/", "RedfishVersion": "1.15.0", "Systems": { "@odata.id": SYSTEMS }, "Links": links }),
                );
            }
            ("POST", SESSIONS) => return self.log_in(&request.body),
            _ => {}
        }
        if self.faults.takes(Fault::Forget) {
            self.sessions.clear();
        }
        let own = |session: &&u64| request.token.as_deref() == Some(token(**session).as_str());
        let Some(session) = self.sessions.iter().find(own).copied() else {
            return refusal(401, "NoValidSession");
        };
        match (request.method.as_str(), path) {
            ("GET", SYSTEMS) => says(json!({ "Members@odata.count": 1, "Members": [{ "@odata.id": SYSTEM }] })),
            ("GET", SYSTEM) => self.system(on),
            ("PATCH", SYSTEM) => self.patch(request),
            ("POST", RESET) => self.reset(&request.body, on),
            ("DELETE", _) if path == place(session) => {
                self.sessions.retain(|one| *one != session);
                Reply { status: 204, ..Reply::default() }
            }
            _ => refusal(404, "ResourceMissingAtURI"),
        }
    }

    fn log_in(&mut self, body: &Value) -> Reply {
        if body["UserName"] != self.identity.user || body["Password"] != self.identity.password {
            return refusal(401, "ResourceAtUriUnauthorized");
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return refusal(503, "SessionLimitExceeded");
        }
        self.made += 1;
        self.sessions.push(self.made);
        let place = place(self.made);
        let headers = vec![("x-auth-token", token(self.made)), ("location", place.clone())];
        Reply { status: 201, headers, ..says(json!({ "@odata.id": place, "UserName": self.identity.user })) }
    }

    fn system(&mut self, on: bool) -> Reply {
        let mut says_on = on;
        if self.wished.is_some_and(|wished| wished != on) && self.faults.takes(Fault::Boast) {
            says_on = !on;
        }
        if self.faults.takes(Fault::Wrong) {
            says_on = !says_on;
        }
        let [target, enabled, mode, uri] = &self.boot;
        let body = json!({
            "@odata.id": SYSTEM, "Id": "1", "Name": "machine", "Manufacturer": "weft", "Model": "lab",
            "SerialNumber": self.identity.serial, "UUID": self.identity.uuid, "PowerState": if says_on { "On" } else { "Off" },
            "Boot": {
                "BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": enabled, "BootSourceOverrideMode": mode, "HttpBootUri": uri,
                "BootSourceOverrideTarget@Redfish.AllowableValues": TARGETS.map(|(word, _)| word),
            },
            "Actions": { "#ComputerSystem.Reset": { "target": RESET, "ResetType@Redfish.AllowableValues": RESETS.map(|(word, _)| word) } },
        });
        Reply { headers: vec![("etag", self.etag())], ..says(body) }
    }

    fn etag(&self) -> String {
        format!("W/\"{}\"", self.tag)
    }

    fn patch(&mut self, request: &Request) -> Reply {
        if request.if_match.as_ref().is_some_and(|tag| *tag != self.etag()) {
            return refusal(412, "PreconditionFailed");
        }
        let said = &request.body["Boot"];
        let mut boot = self.boot.clone();
        let keys = ["BootSourceOverrideTarget", "BootSourceOverrideEnabled", "BootSourceOverrideMode", "HttpBootUri"];
        for (old, key) in boot.iter_mut().zip(keys) {
            if let Some(new) = said[key].as_str() {
                new.clone_into(old);
            }
        }
        let Some((_, word)) = TARGETS.iter().find(|(target, _)| *target == boot[0]) else {
            return refusal(400, "PropertyValueNotInList");
        };
        self.boot = boot;
        self.tag += 1;
        Reply { status: 204, run: vec![["set", "boot", word]], ..Reply::default() }
    }

    fn reset(&mut self, body: &Value, on: bool) -> Reply {
        let said = body["ResetType"].as_str().unwrap_or_default();
        let Some((_, effect)) = RESETS.iter().find(|(word, _)| *word == said) else {
            return refusal(400, "ActionParameterNotSupported");
        };
        self.wished = Some(matches!(effect, Effect::On | Effect::Restart));
        let taken = Reply { status: 204, ..Reply::default() };
        let is_deaf = *effect == Effect::SoftOff && self.faults.takes(Fault::Deaf);
        if is_deaf || self.faults.takes(Fault::Swallow) {
            return taken;
        }
        let mut run = match effect {
            Effect::On => vec![["set", "power", "1"]],
            Effect::Off => vec![["set", "power", "0"]],
            // The button of a machine that is off.
            Effect::SoftOff if said == "PushPowerButton" && !on => vec![["set", "power", "1"]],
            Effect::SoftOff => vec![["set", "shutdown", "1"]],
            Effect::Restart => vec![["set", "reset", "1"]],
        };
        let boots = run.iter().any(|words| *words == ["set", "power", "1"] || *words == ["set", "reset", "1"]);
        if boots && self.boot[1] == "Once" {
            // Firmware has read it when it is up, and the controller forgets it.
            run.push(["set", "boot", "none"]);
            self.boot = ["None", "Disabled", self.boot[2].as_str(), ""].map(str::to_owned);
            self.tag += 1;
        }
        Reply { run, ..taken }
    }
}

fn says(body: Value) -> Reply {
    Reply { status: 200, body, ..Reply::default() }
}

/// A refusal in the form of DSP0266 §7.6.2.
fn refusal(status: u16, id: &str) -> Reply {
    let message = json!({ "MessageId": format!("Base.1.18.{id}"), "Message": id, "Resolution": "None" });
    let error = json!({ "code": format!("Base.1.18.{id}"), "message": id, "@Message.ExtendedInfo": [message] });
    Reply { status, body: json!({ "error": error }), ..Reply::default() }
}

fn token(session: u64) -> String {
    format!("weft-lab-{session}")
}

fn place(session: u64) -> String {
    format!("{SESSIONS}/{session}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller(faults: &str) -> Controller {
        let word = |text: &str| text.to_owned();
        let identity = Identity { serial: word("N1"), uuid: word("u"), user: word("root"), password: word("calvin") };
        let mut controller = Controller::new(identity);
        controller.faults.tell(faults).unwrap();
        controller
    }

    fn ask(controller: &mut Controller, method: &str, path: &str, body: Value) -> Reply {
        let (token, path) = (Some(token(1)), path.to_owned());
        controller.handle(&Request { method: method.to_owned(), path, token, if_match: None, body }, false)
    }

    fn log_in(controller: &mut Controller) -> u16 {
        ask(controller, "POST", SESSIONS, json!({ "UserName": "root", "Password": "calvin" })).status
    }

    #[test]
    fn power_and_boot_source_go_to_the_script() {
        let mut one = controller("");
        assert_eq!(ask(&mut one, "GET", SYSTEM, Value::Null).status, 401);
        assert_eq!(log_in(&mut one), 201);
        let http = json!({ "Boot": { "BootSourceOverrideTarget": "UefiHttp", "BootSourceOverrideEnabled": "Once" } });
        assert_eq!(ask(&mut one, "PATCH", SYSTEM, http).run, [["set", "boot", "http"]]);
        let on = ask(&mut one, "POST", RESET, json!({ "ResetType": "On" }));
        assert_eq!(on.run, [["set", "power", "1"], ["set", "boot", "none"]], "once");
        assert_eq!(ask(&mut one, "GET", SYSTEM, Value::Null).body["Boot"]["BootSourceOverrideEnabled"], "Disabled");
        assert_eq!(ask(&mut one, "POST", RESET, json!({ "ResetType": "Nmi" })).status, 400);
    }

    #[test]
    fn a_fault_comes_as_often_as_it_was_told() {
        let mut one = controller("");
        log_in(&mut one);
        one.faults.tell("busy 1\ndeaf 1\nboast 2\n").unwrap();
        assert_eq!(ask(&mut one, "GET", SYSTEM, Value::Null).status, 503);
        let soft = json!({ "ResetType": "GracefulShutdown" });
        assert_eq!(ask(&mut one, "POST", RESET, soft.clone()), Reply { status: 204, ..Reply::default() });
        assert_eq!(ask(&mut one, "POST", RESET, soft).run, [["set", "shutdown", "1"]]);
        assert_eq!(ask(&mut one, "POST", RESET, json!({ "ResetType": "On" })).run, [["set", "power", "1"]]);
        let states: Vec<Value> =
            (0..3).map(|_| ask(&mut one, "GET", SYSTEM, Value::Null).body["PowerState"].clone()).collect();
        assert_eq!(states, ["On", "On", "Off"], "it boasts twice");
    }

    #[test]
    fn sessions_are_few_and_can_be_forgotten() {
        let mut one = controller("");
        for _ in 0..SESSIONS_MAX {
            assert_eq!(log_in(&mut one), 201);
        }
        assert_eq!(log_in(&mut one), 503);
        assert_eq!(ask(&mut one, "DELETE", &place(1), Value::Null).status, 204);
        assert_eq!(ask(&mut one, "GET", SYSTEMS, Value::Null).status, 401);
        one.faults.tell("forget 1").unwrap();
        assert_eq!((ask(&mut one, "GET", SYSTEMS, Value::Null).status, log_in(&mut one)), (401, 201));
    }
}
