//! A dialogue against a controller as DSP0266 and DSP0268 describe one, with faults.

use super::*;
use crate::bmc::Trouble;
use std::collections::BTreeMap;

/// Answers by method and path.
#[derive(Default)]
struct Model {
    answers: BTreeMap<String, Vec<Answer>>,
    asked: Vec<String>,
    slept: Duration,
}

fn says(body: Value) -> Answer {
    Answer { status: 200, body, ..Answer::default() }
}

fn refuses(status: u16, id: &str) -> Answer {
    let message =
        json!({ "MessageId": format!("Base.1.8.{id}"), "Message": format!("words of {id}"), "Resolution": "None" });
    let body =
        json!({ "error": { "code": "Base.1.8.GeneralError", "message": "see", "@Message.ExtendedInfo": [message] } });
    Answer { status, body, ..Answer::default() }
}

fn system(power: &str) -> Value {
    json!({
        "@odata.id": "/redfish/v1/Systems/1", "PowerState": power, "Manufacturer": "Contoso", "Model": "3500", "SerialNumber": "N1",
        "Boot": { "BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None", "BootSourceOverrideMode": "UEFI",
                  "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "Hdd", "UefiHttp"] },
        "Actions": { "#ComputerSystem.Reset": { "target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
                     "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "GracefulShutdown", "ForceRestart"] } }
    })
}

fn token(word: &str) -> Answer {
    Answer {
        status: 201,
        token: Some(word.to_owned()),
        location: Some("https://10.72.17.4/redfish/v1/SessionService/Sessions/7".to_owned()),
        ..Answer::default()
    }
}

const RESET: &str = "Post /redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
const SYSTEM: &str = "Get /redfish/v1/Systems/1";
const CHANGE: &str = "Patch /redfish/v1/Systems/1";
const LOGIN: &str = "Post /redfish/v1/SessionService/Sessions";

impl Model {
    fn new() -> Self {
        let mut model = Self::default();
        let root = json!({ "Systems": { "@odata.id": "/redfish/v1/Systems" }, "Links": { "Sessions": { "@odata.id": "/redfish/v1/SessionService/Sessions" } } });
        model.on("Get /redfish/v1/", [says(root)]);
        model.on("Get /redfish/v1/Systems", [says(json!({ "Members": [{ "@odata.id": "/redfish/v1/Systems/1" }] }))]);
        model.on(SYSTEM, [says(system("Off"))]);
        model.on(LOGIN, [token("t1")]);
        model.on(RESET, [Answer { status: 204, ..Answer::default() }]);
        model
    }

    /// One after the other, the last one for ever.
    fn on(&mut self, what: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut all: Vec<Answer> = answers.into_iter().collect();
        all.reverse();
        self.answers.insert(what.to_owned(), all);
    }

    fn run(&mut self, known: &mut Known, goal: Goal) -> Result<Outcome, Trouble> {
        let mut dialog = Dialog::new(goal, None, "N1", "root");
        for _ in 0..200 {
            match dialog.next(known) {
                Step::Ask(ask) => {
                    let what = format!("{:?} {}", ask.method, ask.path);
                    let with = match &ask.content {
                        Content::Document(document) => format!(" {document}"),
                        Content::Nothing | Content::Login => String::new(),
                    };
                    let tag = ask.if_match.as_ref().map(|tag| format!(" if {tag}")).unwrap_or_default();
                    let who = match &ask.identity {
                        Identity::Nobody => String::new(),
                        Identity::Basic => " as root".to_owned(),
                        Identity::Token(token) => format!(" by {token}"),
                    };
                    self.asked.push(format!("{what}{with}{tag}{who}"));
                    let all = self.answers.get_mut(&what).unwrap_or_else(|| panic!("nobody expects {what}"));
                    let answer = if all.len() > 1 { all.pop().unwrap() } else { all[0].clone() };
                    dialog.handle(known, Ok(answer));
                }
                Step::Wait(rest) => self.slept += rest,
                Step::End(end) => return end,
            }
        }
        panic!("a dialogue without an end: {:?}", self.asked);
    }

    fn press(&mut self, known: &mut Known, press: Press) -> Result<Outcome, Trouble> {
        self.run(known, Goal::Press(press))
    }

    fn asked(&mut self) -> Vec<String> {
        std::mem::take(&mut self.asked)
    }
}

#[test]
fn what_is_known_is_not_asked_again() {
    let (mut model, mut known) = (Model::new(), Known::default());
    let Ok(Outcome::Read(reading)) = model.run(&mut known, Goal::Read) else { panic!("{:?}", model.asked) };
    assert_eq!((reading.power, reading.model.as_str()), (Power::Off, "Contoso 3500"));
    assert_eq!(reading.boot.map(|boot| boot.from), Some(BootFrom::None));
    let first = ["Get /redfish/v1/", LOGIN, "Get /redfish/v1/Systems by t1", "Get /redfish/v1/Systems/1 by t1"];
    assert_eq!(model.asked(), first);
    assert_eq!(model.press(&mut known, Press::On), Ok(Outcome::Done));
    assert_eq!(model.asked(), [format!("{RESET} {{\"ResetType\":\"On\"}} by t1")]);
    model.on("Delete /redfish/v1/SessionService/Sessions/7", [Answer { status: 204, ..Answer::default() }]);
    assert_eq!(model.run(&mut known, Goal::Leave), Ok(Outcome::Done));
    assert!(!known.has_session(), "the path is that of its `Location`, whichever host it names");
}

/// DSP0266 §13.3.4.1: a session ends when nobody used it for a while, or the controller starts anew.
#[test]
fn a_forgotten_session_is_made_anew_and_wrong_credentials_are_tried_once() {
    let (mut model, mut known) = (Model::new(), Known::default());
    model.run(&mut known, Goal::Read).unwrap();
    model.asked();
    model.on(SYSTEM, [Answer { status: 401, ..Answer::default() }, says(system("On"))]);
    model.on(LOGIN, [token("t2")]);
    model.run(&mut known, Goal::Read).unwrap();
    assert_eq!(model.asked(), ["Get /redfish/v1/Systems/1 by t1", LOGIN, "Get /redfish/v1/Systems/1 by t2"]);
    model.on(LOGIN, [Answer { status: 401, ..Answer::default() }]);
    let refused = model.run(&mut Known::default(), Goal::Read);
    assert_eq!(refused, Err(Trouble::Credentials("root".to_owned())));
    assert_eq!(model.asked(), ["Get /redfish/v1/", LOGIN]);
    // All its sessions are taken: name and password with each request.
    model.on(LOGIN, [refuses(503, "SessionLimitExceeded")]);
    model.run(&mut Known::default(), Goal::Read).unwrap();
    assert_eq!(model.asked.last().unwrap(), "Get /redfish/v1/Systems/1 as root");
}

#[test]
fn a_busy_controller_is_asked_again_when_it_says() {
    let (mut model, mut known) = (Model::new(), Known::default());
    let busy = |after| Answer { retry_after_s: after, ..refuses(503, "ServiceTemporarilyUnavailable") };
    model.on(SYSTEM, [busy(Some(7)), busy(None), says(system("On"))]);
    model.run(&mut known, Goal::Read).unwrap();
    assert_eq!(model.slept, Duration::from_secs(9));
    model.on(SYSTEM, [busy(Some(86_400))]);
    let error = model.run(&mut known, Goal::Read).unwrap_err();
    assert_eq!(error, Trouble::Refused("words of ServiceTemporarilyUnavailable (HTTP 503)".to_owned()));
    assert_eq!(model.slept, Duration::from_secs(9 + 5 * 30), "but not whatever it says, nor for ever");
}

#[test]
fn words_that_are_not_known_are_not_said_again() {
    let (mut model, mut known) = (Model::new(), Known::default());
    let mut button = system("On");
    button["Actions"]["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"] = json!(["On", "PushPowerButton"]);
    model.on(SYSTEM, [says(button)]);
    model.press(&mut known, Press::SoftOff).unwrap();
    assert!(model.asked().last().unwrap().contains("PushPowerButton"));
    let error = model.press(&mut known, Press::HardOff).unwrap_err();
    assert_eq!(error, Trouble::Unsupported("it knows On, PushPowerButton, and none of ForceOff".to_owned()));
    assert_eq!(model.asked(), Vec::<String>::new(), "what it lists is believed");
    // Another one lists what it does not know.
    let mut known = Known::default();
    model.on(SYSTEM, [says(system("On"))]);
    model.on(RESET, [refuses(400, "ActionParameterNotSupported")]);
    assert!(matches!(model.press(&mut known, Press::SoftOff), Err(Trouble::Unsupported(_))));
    let asked = model.asked().len();
    assert!(matches!(model.press(&mut known, Press::SoftOff), Err(Trouble::Unsupported(_))));
    assert!(asked > 0 && model.asked().is_empty(), "and it is asked once");
    // A machine that is off already: that is no reason not to ask the next time.
    model.on(RESET, [refuses(409, "OperationFailed"), Answer { status: 204, ..Answer::default() }]);
    assert_eq!(
        model.press(&mut known, Press::HardOff),
        Err(Trouble::Refused("words of OperationFailed (HTTP 409)".to_owned()))
    );
    assert_eq!(model.press(&mut known, Press::HardOff), Ok(Outcome::Done));
}

/// DSP0266 §9.3: what can be said to an action may stand in a resource of its own.
#[test]
fn the_words_of_an_action_are_looked_up() {
    let (mut model, mut known) = (Model::new(), Known::default());
    let mut apart = system("Off");
    apart["Actions"]["#ComputerSystem.Reset"] = json!({ "target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
        "@Redfish.ActionInfo": "/redfish/v1/Systems/1/ResetActionInfo" });
    model.on(SYSTEM, [says(apart)]);
    let info = json!({ "Parameters": [{ "Name": "ResetType", "AllowableValues": ["ForceOn", "ForceOff"] }] });
    model.on("Get /redfish/v1/Systems/1/ResetActionInfo", [says(info)]);
    model.press(&mut known, Press::On).unwrap();
    assert!(model.asked().last().unwrap().contains("ForceOn"));
}

#[test]
fn the_boot_source_is_changed_under_its_tag_and_read_again() {
    let (mut model, mut known) = (Model::new(), Known::default());
    let tagged = |tag: &str, body: Value| Answer { etag: Some(tag.to_owned()), ..says(body) };
    let mut set = system("Off");
    set["Boot"]["BootSourceOverrideEnabled"] = json!("Once");
    set["Boot"]["BootSourceOverrideTarget"] = json!("UefiHttp");
    set["Boot"]["HttpBootUri"] = json!("http://10.72.0.1:8080/boot/uki.efi");
    model.on(SYSTEM, [tagged("W/\"1\"", system("Off")), tagged("W/\"2\"", system("Off")), says(set)]);
    model.on(CHANGE, [Answer { status: 412, ..Answer::default() }, Answer { status: 204, ..Answer::default() }]);
    let uri = Some("http://10.72.0.1:8080/boot/uki.efi".to_owned());
    let boot = Boot { from: BootFrom::Http, once: true, mode: Some(Mode::Uefi), uri: uri.clone() };
    let Ok(Outcome::Read(reading)) = model.run(&mut known, Goal::Boot(boot.clone())) else {
        panic!("{:?}", model.asked)
    };
    assert_eq!(reading.boot.unwrap(), boot);
    let document = json!({ "Boot": { "BootSourceOverrideTarget": "UefiHttp", "BootSourceOverrideEnabled": "Once",
        "BootSourceOverrideMode": "UEFI", "HttpBootUri": uri } });
    let changes: Vec<String> = model.asked().into_iter().filter(|asked| asked.starts_with("Patch")).collect();
    assert_eq!(changes, ["W/\"1\"", "W/\"2\""].map(|tag| format!("{CHANGE} {document} if {tag} by t1")));
    // It takes the change and does nothing.
    model.on(SYSTEM, [says(system("Off"))]);
    let error = model.run(&mut known, Goal::Boot(boot.clone())).unwrap_err();
    assert!(error.to_string().contains("took the change, and still says that firmware boots as set up"), "{error}");
    let mut poor = system("Off");
    poor["Boot"]["BootSourceOverrideTarget@Redfish.AllowableValues"] = json!(["Pxe", "Hdd"]);
    model.on(SYSTEM, [says(poor)]);
    let error = model.run(&mut known, Goal::Boot(boot)).unwrap_err();
    assert_eq!(error, Trouble::Unsupported("firmware boots from Pxe, Hdd, and not from http".to_owned()));
}

/// DSP0266 §12.2: 202 and the location of a task monitor, which answers 202 until it is done.
#[test]
fn a_task_of_the_controller_is_followed() {
    let task = |status, state: &str| Answer {
        status,
        ..says(json!({ "TaskState": state, "Messages": [{ "Message": "no power supply" }] }))
    };
    let monitor = Answer {
        status: 202,
        location: Some("/redfish/v1/TaskService/TaskMonitors/5".to_owned()),
        ..Answer::default()
    };
    let (mut model, mut known) = (Model::new(), Known::default());
    model.on(RESET, [monitor]);
    model.on("Get /redfish/v1/TaskService/TaskMonitors/5", [task(202, "Running"), task(200, "Completed")]);
    assert_eq!(model.press(&mut known, Press::On), Ok(Outcome::Done));
    model.on("Get /redfish/v1/TaskService/TaskMonitors/5", [task(202, "Running"), task(200, "Exception")]);
    let error = model.press(&mut known, Press::On).unwrap_err();
    assert!(error.to_string().contains("ended as Exception: no power supply"), "{error}");
    model.on("Get /redfish/v1/TaskService/TaskMonitors/5", [task(202, "Running")]);
    assert!(model.press(&mut known, Press::On).unwrap_err().to_string().contains("does not end"));
}

#[test]
fn the_system_is_that_of_the_machine_and_of_no_other() {
    let members =
        json!({ "Members": [{ "@odata.id": "/redfish/v1/Systems/1" }, { "@odata.id": "/redfish/v1/Systems/2" }] });
    let (mut model, mut known) = (Model::new(), Known::default());
    model.on("Get /redfish/v1/Systems", [says(members)]);
    let mut other = system("On");
    other["SerialNumber"] = json!("N2");
    model.on("Get /redfish/v1/Systems/2", [says(other.clone())]);
    model.run(&mut known, Goal::Read).unwrap();
    model.asked();
    model.run(&mut known, Goal::Read).unwrap();
    assert_eq!(model.asked(), ["Get /redfish/v1/Systems/1 by t1"]);
    model.on(SYSTEM, [says(other)]);
    let error = model.run(&mut Known::default(), Goal::Read).unwrap_err();
    assert!(error.to_string().contains("controller of another machine: serial number `N2`"), "{error}");
}

/// The octets of a UUID as SMBIOS stores them, and as people write it (DSP0134 §7.2.1).
#[test]
fn a_uuid_is_known_in_both_orders_of_octets() {
    let of = |uuid: &str, serial: &str| {
        let mut body = system("On");
        (body["UUID"], body["SerialNumber"]) = (json!(uuid), json!(serial));
        System::read(&says(body)).unwrap().is_of(Some("00112233-4455-6677-8899-aabbccddeeff"), "N1")
    };
    assert_eq!(of("00112233-4455-6677-8899-AABBCCDDEEFF", ""), Some(true));
    assert_eq!(of("33221100-5544-7766-8899-aabbccddeeff", ""), Some(true));
    assert_eq!(of("99999999-5544-7766-8899-aabbccddeeff", "CN7"), Some(false));
    assert_eq!(of("99999999-5544-7766-8899-aabbccddeeff", "N1"), Some(true));
    assert_eq!(of("", "CN7"), None, "a serial number of the board tells nothing");
}

#[test]
fn whatever_a_controller_says_leads_nowhere_else_and_ends() {
    for said in ["//evil/x y", "relative", "https://evil", &format!("/{}", "a".repeat(600)), "/a\r\nHost: b"] {
        assert_eq!(path(said), None, "{said}");
    }
    assert_eq!(path("https://evil/redfish/v1/x").as_deref(), Some("/redfish/v1/x"), "the name is left out");
    let (mut model, mut known) = (Model::new(), Known::default());
    model.on("Get /redfish/v1/", [says(json!({ "Systems": 7 }))]);
    assert!(matches!(model.run(&mut known, Goal::Read), Err(Trouble::Absent(_))));
    model.on("Get /redfish/v1/", [Answer { status: 404, ..Answer::default() }]);
    assert!(matches!(model.run(&mut known, Goal::Read), Err(Trouble::Absent(_))));
    let mut model = Model::new();
    model.on("Get /redfish/v1/Systems/1", [Answer { status: 404, ..Answer::default() }]);
    assert!(model.run(&mut Known::default(), Goal::Read).is_err());
    model.on("Get /redfish/v1/Systems/1", [says(json!(["no", "object"]))]);
    assert!(model.run(&mut Known::default(), Goal::Read).unwrap_err().to_string().contains("is no system"));
    assert!(shown(&"\u{1b}[2J".repeat(500)).chars().all(|c| !c.is_control()));
}
